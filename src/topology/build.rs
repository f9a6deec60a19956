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
    metrics::Meter,
    sinks::driver,
};

const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// The least a buffer works with: some batches of tshark's lines.
const MIN_SHARE_BYTES: u64 = 1 << 20;

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
    let share = share(config)?;
    let edge = Intake { bounds: with_bytes(Bounds::default(), share), when_full: WhenFull::Block };
    for source in &config.sources {
        builder.add(source, &edge, |context| source.config.configure().build(context))?;
    }
    for transform in &config.transforms {
        builder.add(transform, &edge, |context| transform.config.configure().build(context))?;
    }
    for (sink, meter) in config.sinks.iter().zip(sinks) {
        let buffer = &sink.common.buffer;
        let bounds = with_bytes(buffer.bounds(), buffer.max_bytes.unwrap_or(share));
        let intake = Intake { bounds, when_full: buffer.when_full.into() };
        builder
            .add(sink, &intake, |context| sink.config.configure().build(&sink.common, context))?;
    }
    Ok(Plan { parts: builder.parts, clock, receipts: builder.receipts })
}

/// Bytes that may wait before each transform, and before each sink that sets no limit of its own: an
/// even share of what the memory budget leaves beside those limits and the sinks' requests. With it
/// all that waits anywhere stays within the budget, and no edge ever waits for another's room.
fn share(config: &Config<Components>) -> Result<u32, Error> {
    let budget = config.globals.memory_budget_bytes;
    let requests = config
        .sinks
        .iter()
        .map(|sink| driver::memory_bytes(sink.config.configure().requests(), &sink.common));
    let limits = config.sinks.iter().map(|sink| sink.common.buffer.max_bytes);
    let fixed = requests.chain(limits.clone().map(|limit| limit.unwrap_or(0).into()));
    let fixed = fixed.fold(0, u64::saturating_add);
    let sharing = config.transforms.len() + limits.filter(Option::is_none).count();
    let share = budget.saturating_sub(fixed) / (sharing as u64).max(1);
    if fixed <= budget && (share >= MIN_SHARE_BYTES || sharing == 0) {
        return Ok(u32::try_from(share).unwrap_or(u32::MAX).min(Bounds::default().max_bytes));
    }
    let message = format!(
        "memory_budget_bytes is {budget}, and this config needs {}: {fixed} for the requests and \
         buffer.max_bytes of its sinks, {MIN_SHARE_BYTES} for each of {sharing} other buffers",
        fixed.saturating_add(MIN_SHARE_BYTES * sharing as u64)
    );
    Err(Error::configuration(message).hint(
        "raise memory_budget_bytes, or lower batch.max_bytes, request.concurrency or \
         buffer.max_bytes of sinks",
    ))
}

fn with_bytes(bounds: Bounds, max_bytes: u32) -> Bounds {
    Bounds { max_bytes, ..bounds }
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
}

// === impl Unbuilt ===

impl From<Error> for Unbuilt {
    fn from(error: Error) -> Self {
        Self { component: String::new(), error }
    }
}
