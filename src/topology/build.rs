//! A checked config → a plan: every component built, its inputs as links.

use std::{collections::HashMap, fs, sync::Arc};

use tokio::sync::watch;

use super::plan::{Link, Part, Plan};
use crate::{
    ack::Receipts,
    component::{
        Clock, Component, Context, Error, Signature,
        edge::{Bounds, WhenFull},
    },
    config::{Components, Config, Declared, Edge, Family},
    metrics::{Books, Meter},
};

const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// A component that could not be built.
#[derive(Debug)]
pub struct Unbuilt {
    /// Its id; empty if it is the config as a whole.
    pub component: String,
    /// Why.
    pub error: Error,
}

/// Builds the components of a config.
struct Builder<'a> {
    config: &'a Config<Components>,
    clock: Clock,
    receipts: Receipts,
    reload: watch::Receiver<u64>,
    observer: Arc<str>,
    places: HashMap<&'a str, usize>,
    books: Books,
    parts: Vec<Part>,
}

/// What is in front of a component: how much may wait on each of its inputs, and what happens then.
struct Intake {
    bounds: Bounds,
    when_full: WhenFull,
}

/// Builds every component of `config`. `reload` changes on SIGHUP.
///
/// # Errors
/// The first component that lacks something it needs to begin.
pub fn build(
    config: &Config<Components>,
    clock: Clock,
    reload: watch::Receiver<u64>,
) -> Result<Plan, Unbuilt> {
    let ids = config.sources.iter().map(|source| source.id.as_str());
    let ids = ids.chain(config.transforms.iter().map(|transform| transform.id.as_str()));
    let (sources, transforms, sinks) =
        (meters(&config.sources), meters(&config.transforms), meters(&config.sinks));
    let others = transforms.iter().chain(&sinks).cloned();
    let mut builder = Builder {
        config,
        clock,
        receipts: Receipts::default(),
        reload,
        observer: observer(config)?,
        places: ids.enumerate().map(|(place, id)| (id, place)).collect(),
        books: Books::new(sources.iter().cloned(), others),
        parts: Vec::new(),
    };
    builder.within_budget()?;
    for (source, meter) in config.sources.iter().zip(sources) {
        builder.add(source, meter, &Intake::default(), |context| {
            source.config.configure().build(context)
        })?;
    }
    for (transform, meter) in config.transforms.iter().zip(transforms) {
        builder.add(transform, meter, &Intake::default(), |context| {
            transform.config.configure().build(context)
        })?;
    }
    for (sink, meter) in config.sinks.iter().zip(sinks) {
        let buffer = &sink.common.buffer;
        let intake = Intake { bounds: buffer.bounds(), when_full: buffer.when_full.into() };
        builder.add(sink, meter, &intake, |context| {
            sink.config.configure().build(&sink.common, context)
        })?;
    }
    Ok(Plan { parts: builder.parts, clock, receipts: builder.receipts })
}

/// A meter for each component, in the config's order.
fn meters<F: Family>(components: &[Declared<F>]) -> Vec<Arc<Meter>> {
    components.iter().map(|declared| Meter::new(&declared.id, declared.kind)).collect()
}

/// The sensor's name: as configured, else the host's (`proc_sys_kernel(5)`).
fn observer(config: &Config<Components>) -> Result<Arc<str>, Error> {
    if let Some(name) = &config.globals.observer.name {
        return Ok(name.as_str().into());
    }
    let name = fs::read_to_string(HOST_NAME).map_err(|error| {
        Error::configuration(format!("the host's name can't be read from {HOST_NAME}"))
            .because(error)
            .hint("name the sensor: `observer: { name: … }`")
    })?;
    Ok(name.trim().into())
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn add<F: Family>(
        &mut self,
        declared: &'a Declared<F>,
        meter: Arc<Meter>,
        intake: &Intake,
        build: impl FnOnce(&Context) -> Result<Component, Error>,
    ) -> Result<(), Unbuilt> {
        let context = Context {
            meter,
            receipts: self.receipts.clone(),
            clock: self.clock,
            data_dir: self.config.globals.data_dir.clone(),
            observer: Arc::clone(&self.observer),
            config_hash: Arc::clone(&self.config.hash),
            books: self.books.clone(),
            reload: self.reload.clone(),
        };
        let component =
            build(&context).map_err(|error| Unbuilt { component: declared.id.clone(), error })?;
        self.parts.push(Part {
            meter: context.meter,
            signature: Signature::clone(&declared.signature),
            component,
            inputs: declared.inputs.iter().filter_map(|edge| self.link(edge)).collect(),
            bounds: intake.bounds.shared_by(declared.inputs.len()),
            when_full: intake.when_full,
        });
        Ok(())
    }

    fn link(&self, edge: &Edge) -> Option<Link> {
        let from = *self.places.get(edge.from.as_str())?;
        Some(Link { from, port: edge.port, carries: edge.carries })
    }

    /// All buffers together may hold no more than the config's memory budget.
    fn within_budget(&self) -> Result<(), Unbuilt> {
        let sinks = self.config.sinks.iter().map(|sink| u64::from(sink.common.buffer.max_bytes));
        let others = self.config.transforms.iter().filter(|transform| !transform.inputs.is_empty());
        let others = others.map(|_| u64::from(Bounds::default().max_bytes));
        let (needed, budget) =
            (sinks.chain(others).sum::<u64>(), self.config.globals.memory_budget_bytes);
        if needed <= budget {
            return Ok(());
        }
        let message = format!(
            "the buffers of this config may hold {needed} bytes of memory, and \
             memory_budget_bytes is {budget}"
        );
        let error = Error::configuration(message)
            .hint("raise memory_budget_bytes, or lower the buffer.max_bytes of sinks");
        Err(error.into())
    }
}

// === impl Intake ===

impl Default for Intake {
    fn default() -> Self {
        Self { bounds: Bounds::default(), when_full: WhenFull::Block }
    }
}

// === impl Unbuilt ===

impl From<Error> for Unbuilt {
    fn from(error: Error) -> Self {
        Self { component: String::new(), error }
    }
}
