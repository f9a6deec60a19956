//! A checked config → a plan: every component built, its inputs as links.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    budget::share,
    machine::{HOST_NAME, machine},
    networks::Keeper,
    plan::{Link, Part, Plan},
    renew::Renewer,
    stores::Stores,
};
use crate::{
    ack::Receipts,
    buffer,
    component::{
        Carries, Clock, Component, Context, Error, Machine, Port, Reference, Renewed, Signature,
        edge::{Bounds, WhenFull},
        with_causes,
    },
    config::{Components, Config, Declared, Edge, Family, SinkConfig},
    metrics::{Books, Meter},
    record::{Kind, Kinds},
    sinks::Host,
    sources::dead_letters::{self, DeadLetters},
    storage::{self, directory::OwnDirectory},
};

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
    gives_up: bool,
    receipts: Receipts,
    reload: watch::Receiver<u64>,
    observer: Arc<str>,
    machine: Arc<Machine>,
    places: HashMap<&'a str, usize>,
    /// Of every component, by its id.
    meters: HashMap<&'a str, Arc<Meter>>,
    /// Of every disk buffer.
    buffers: HashMap<String, Arc<Meter>>,
    /// Whether there are disk buffers. Dead letters are on disk already, and the buffers may be in use by
    /// the sensor that wrote them.
    keeps_buffers: bool,
    books: Books,
    keeper: Keeper,
    stores: Stores,
    parts: Vec<Part>,
    /// Hand on what of a new config the components can take.
    renewals: HashMap<String, watch::Sender<Option<Renewed>>>,
    data_dir: Option<OwnDirectory>,
}

/// What is in front of a component: how much may wait on each of its inputs, and what happens then.
struct Intake {
    bounds: Bounds,
    when_full: WhenFull,
}

/// Builds every component of `config`, for a run that waits until destinations take what they refuse.
/// `reload` changes on SIGHUP.
///
/// # Errors
/// The first component that lacks something it needs to begin.
pub async fn build(
    config: &Config<Components>,
    clock: Clock,
    reload: watch::Receiver<u64>,
) -> Result<Plan, Unbuilt> {
    build_all(config, Builder::new(config, clock, reload).await?)
}

/// Builds a replay of `config`, by event time. It ends where a destination refuses us before it took
/// anything, unless it `waits`. `reload` changes on SIGHUP.
///
/// # Errors
/// The first component that lacks something it needs to begin.
pub async fn build_replay(
    config: &Config<Components>,
    waits: bool,
    reload: watch::Receiver<u64>,
) -> Result<Plan, Unbuilt> {
    let mut builder = Builder::new(config, Clock::Event, reload).await?;
    builder.gives_up = !waits;
    build_all(config, builder)
}

fn build_all<'a>(
    config: &'a Config<Components>,
    mut builder: Builder<'a>,
) -> Result<Plan, Unbuilt> {
    builder.data_dir = data_dir(config, builder.clock)?;
    let share = share(config)?;
    let edge = Intake { bounds: with_bytes(Bounds::default(), share), when_full: WhenFull::Block };
    for source in &config.sources {
        let config = source.config.configure();
        let references = config.references();
        builder.add(source, Vec::new(), &edge, &references, |context| config.build(context))?;
    }
    for transform in &config.transforms {
        let config = transform.config.configure();
        let (links, references) = (builder.links(transform), config.references());
        if config.renewal().is_some() {
            builder.renewals.insert(transform.id.clone(), watch::channel(None).0);
        }
        builder.add(transform, links, &edge, &references, |context| config.build(context))?;
    }
    for sink in &config.sinks {
        builder.add_sink(sink, builder.links(sink), share)?;
    }
    Ok(builder.plan())
}

/// Builds a run that sends what stands in dead-letter files to the sinks of `config`, each record to
/// the one that its line names. It ends where one refuses us before it took anything, unless it `waits`.
/// `reload` changes on SIGHUP.
///
/// # Errors
/// When a file can't be read, or is one that a sink may write to meanwhile; the first sink that lacks
/// something it needs to begin.
pub async fn build_dead_letters(
    config: &Config<Components>,
    files: &[PathBuf],
    waits: bool,
    reload: watch::Receiver<u64>,
) -> Result<Plan, Unbuilt> {
    for path in files {
        not_in_use(path, config)?;
    }
    let sinks = config.sinks.iter().map(|sink| sink.id.clone()).collect();
    let letters = DeadLetters::open(files, sinks).await?;
    let mut builder = Builder::new(config, Clock::Wall, reload).await?;
    builder.keeps_buffers = false;
    builder.gives_up = !waits;
    builder.parts.push(Part {
        meter: Meter::new(dead_letters::KIND, dead_letters::KIND),
        signature: letters.signature(),
        component: Component::source(letters),
        inputs: Vec::new(),
        bounds: Bounds::default(),
        when_full: WhenFull::Block,
    });
    let share = share(config)?;
    for (port, sink) in config.sinks.iter().enumerate() {
        let link = Link { from: 0, port: Port(port), carries: Kind::Returned.into() };
        builder.add_sink(sink, vec![link], share)?;
    }
    Ok(builder.plan())
}

/// Fails if the file is the dead-letter file of a sink.
fn not_in_use(path: &Path, config: &Config<Components>) -> Result<(), Error> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let read = identity(path);
    let writes_it = |sink: &&Declared<SinkConfig>| {
        let written = sink.common.dead_letter.as_ref();
        read.is_some() && written.is_some_and(|written| identity(&written.path) == read)
    };
    let Some(sink) = config.sinks.iter().find(writes_it) else { return Ok(()) };
    let message = format!(
        "{} is the dead-letter file of the sink {}, which may write to it meanwhile",
        path.display(),
        sink.id
    );
    Err(Error::configuration(message).hint("move it away first, and name it by its new path"))
}

/// Takes the directory of what components keep, if they keep anything. In a replay transforms don't: their
/// state is that of a live run.
fn data_dir(config: &Config<Components>, clock: Clock) -> Result<Option<OwnDirectory>, Error> {
    let sources = config.sources.iter().any(|source| source.config.configure().keeps_state());
    let buffers = config.sinks.iter().any(|sink| sink.common.buffer.keeps_state());
    let mut transforms = config.transforms.iter();
    let transforms = clock == Clock::Wall
        && transforms.any(|transform| transform.config.configure().keeps_state());
    if !sources && !transforms && !buffers {
        // For what is in memory alone: a run that can't write that down goes on without.
        let journals = clock == Clock::Wall && config.globals.names_data_dir;
        let own = journals.then(|| {
            OwnDirectory::open(&config.globals.data_dir).map_err(|error| unjournaled(&error))
        });
        return Ok(own.and_then(Result::ok));
    }
    OwnDirectory::open(&config.globals.data_dir).map(Some).map_err(|error| {
        let message = "data_dir can't be used";
        match error {
            storage::Error::Busy { .. } => Error::failure(message).because(error),
            _ => Error::configuration(message)
                .because(error)
                .hint("give the user that runs tidegate access, or set `data_dir`"),
        }
    })
}

fn unjournaled(error: &storage::Error) {
    let error = with_causes(error);
    tracing::warn!(
        error,
        "data_dir can't be used: what is in memory when this run is killed is counted by nobody"
    );
}

fn with_bytes(bounds: Bounds, max_bytes: u32) -> Bounds {
    Bounds { max_bytes, ..bounds }
}

/// The hosts that no verdict may cut off, if there is anybody who gives verdicts or takes them.
fn never_blocked(config: &Config<Components>) -> Vec<Host> {
    let takes = config.sources.iter().any(|source| source.config.configure().takes_verdicts());
    let mut transforms = config.transforms.iter();
    if !takes && transforms.all(|transform| transform.config.configure().references().is_empty()) {
        return Vec::new();
    }
    config.sinks.iter().flat_map(|sink| sink.config.configure().hosts()).collect()
}

/// A meter for each component, by its id.
fn meters<F: Family>(components: &[Declared<F>]) -> impl Iterator<Item = (&str, Arc<Meter>)> {
    components
        .iter()
        .map(|declared| (declared.id.as_str(), Meter::new(&declared.id, declared.kind)))
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
    async fn new(
        config: &'a Config<Components>,
        clock: Clock,
        reload: watch::Receiver<u64>,
    ) -> Result<Self, Error> {
        let ids = config.sources.iter().map(|source| source.id.as_str());
        let ids = ids.chain(config.transforms.iter().map(|transform| transform.id.as_str()));
        let sources: Vec<_> = meters(&config.sources).collect();
        let others: Vec<_> = meters(&config.transforms).chain(meters(&config.sinks)).collect();
        let on_disk = config.sinks.iter().filter(|sink| sink.common.buffer.is_on_disk());
        let buffers: HashMap<_, _> = on_disk
            .map(|sink| format!("{}.buffer", sink.id))
            .map(|id| (id.clone(), Meter::new(id, buffer::stage::KIND)))
            .collect();
        let of = |meters: &[(_, Arc<Meter>)]| {
            meters.iter().map(|(_, meter)| Arc::clone(meter)).collect::<Vec<_>>()
        };
        let hosts = never_blocked(config);
        Ok(Self {
            books: Books::new(
                of(&sources),
                of(&others).into_iter().chain(buffers.values().map(Arc::clone)),
            ),
            buffers,
            keeps_buffers: true,
            meters: sources.into_iter().chain(others).collect(),
            config,
            clock,
            gives_up: false,
            receipts: Receipts::default(),
            keeper: Keeper::start(config.networks.clone(), hosts, clock, reload.clone()).await,
            stores: Stores::default(),
            reload,
            observer: observer(config)?,
            machine: Arc::new(machine(config.globals.observer.role)),
            places: ids.enumerate().map(|(place, id)| (id, place)).collect(),
            parts: Vec::new(),
            renewals: HashMap::new(),
            data_dir: None,
        })
    }

    fn add_sink(
        &mut self,
        sink: &'a Declared<SinkConfig>,
        inputs: Vec<Link>,
        share: u32,
    ) -> Result<(), Unbuilt> {
        let buffer = &sink.common.buffer;
        let bounds = with_bytes(buffer.bounds(), buffer.memory_bytes().unwrap_or(share));
        let mut intake = Intake { bounds, when_full: buffer.when_full };
        let mut inputs = inputs;
        let settings = buffer.on_disk(&sink.id, &self.config.globals.data_dir);
        if let Some(settings) = settings.filter(|_| self.keeps_buffers) {
            intake.when_full = WhenFull::Block;
            inputs = self.add_buffer(sink, inputs, &intake, &settings)?;
        }
        let config = sink.config.configure();
        self.add(sink, inputs, &intake, &[], |context| config.build(&sink.common, context))
    }

    /// Puts a disk buffer in front of a sink, and gives what the sink reads then.
    fn add_buffer(
        &mut self,
        sink: &'a Declared<SinkConfig>,
        inputs: Vec<Link>,
        intake: &Intake,
        settings: &buffer::stage::Settings,
    ) -> Result<Vec<Link>, Unbuilt> {
        let unbuilt = |error| Unbuilt { component: sink.id.clone(), error };
        let id = format!("{}.buffer", sink.id);
        let meter = self.buffers.get(&id).map(Arc::clone);
        let meter = meter.unwrap_or_else(|| Meter::new(&id, buffer::stage::KIND));
        let context = Context {
            meter: Arc::clone(&meter),
            receipts: self.receipts.clone(),
            clock: self.clock,
            ..Context::alone(Arc::clone(&meter))
        };
        let build = || buffer::stage::component(settings, &context);
        let component = meter.span().in_scope(build).map_err(unbuilt)?;
        let accepts = sink.signature.accepts;
        let carries = inputs.iter().fold(Kinds::NONE, |kinds, link| kinds.union(link.carries));
        let from = self.parts.len();
        self.parts.push(Part {
            meter,
            signature: Signature::transform(accepts, Carries::Inputs),
            component,
            bounds: intake.bounds.shared_by(inputs.len()),
            inputs,
            when_full: intake.when_full,
        });
        Ok(vec![Link { from, port: Port::MAIN, carries }])
    }

    fn add<F: Family>(
        &mut self,
        declared: &'a Declared<F>,
        inputs: Vec<Link>,
        intake: &Intake,
        references: &[Reference],
        build: impl FnOnce(&Context) -> Result<Component, Error>,
    ) -> Result<(), Unbuilt> {
        let unbuilt = |error| Unbuilt { component: declared.id.clone(), error };
        let meter = self.meters.get(declared.id.as_str()).map(Arc::clone);
        let networks = self.keeper.networks();
        let stores = self.stores.of(references, self.clock, &networks).map_err(unbuilt)?;
        let context = Context {
            meter: meter.unwrap_or_else(|| Meter::new(&declared.id, declared.kind)),
            receipts: self.receipts.clone(),
            clock: self.clock,
            gives_up: self.gives_up,
            data_dir: self.config.globals.data_dir.clone(),
            observer: Arc::clone(&self.observer),
            machine: Arc::clone(&self.machine),
            interface: self.config.interface_above(&declared.inputs).map(Arc::from),
            from_others: self.config.is_from_others(&declared.inputs),
            added: Arc::new(self.config.globals.add.clone()),
            decoding: self.config.decoding(&declared.id, &declared.inputs),
            read: self.config.read(&declared.id),
            config_hash: Arc::clone(&self.config.hash),
            networks,
            stores,
            books: self.books.clone(),
            reload: self.reload.clone(),
            renewed: match self.renewals.get(&declared.id) {
                Some(renewals) => renewals.subscribe(),
                None => watch::channel(None).1,
            },
        };
        let span = context.meter.span();
        let component = span.in_scope(|| build(&context)).map_err(unbuilt)?;
        self.stores.offered(&declared.id, &component);
        self.parts.push(Part {
            meter: context.meter,
            signature: Signature::clone(&declared.signature),
            component,
            bounds: intake.bounds.shared_by(inputs.len()),
            inputs,
            when_full: intake.when_full,
        });
        Ok(())
    }

    /// What a component of the config reads, as far as that takes part in the run.
    fn links<F: Family>(&self, declared: &Declared<F>) -> Vec<Link> {
        let link = |edge: &Edge| {
            let from = *self.places.get(edge.from.as_str())?;
            Some(Link { from, port: edge.port, carries: edge.carries })
        };
        declared.inputs.iter().filter_map(link).collect()
    }

    fn plan(self) -> Plan {
        let Self { config, parts, clock, receipts, data_dir, keeper, renewals, .. } = self;
        let renewer =
            Renewer { lists: keeper.lists(), components: renewals, hash: Arc::clone(&config.hash) };
        let (renewer, networks) = (Some(renewer), Some(keeper));
        Plan { parts, clock, receipts, data_dir, renewer, networks }
    }
}

// === impl Unbuilt ===

impl From<Error> for Unbuilt {
    fn from(error: Error) -> Self {
        Self { component: String::new(), error }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Surroundings, load};

    /// A kill of a run that keeps nothing was counted by nobody.
    #[tokio::test]
    async fn a_run_that_names_a_data_dir_writes_down_what_is_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let surroundings =
            Surroundings { variable: &|_| None, directory: folder.path(), lenient: false };
        let text = |data_dir: &str| {
            format!(
                "{data_dir}
sources: {{ wire: {{ type: tshark, mode: pipe, interface: lo, dissect: headers }} }}
transforms: {{ packets: {{ type: extract, inputs: [wire] }} }}
sinks: {{ out: {{ type: blackhole, inputs: [packets] }} }}
"
            )
        };
        let state = folder.path().join("state");
        let table: [(&str, Clock, Option<&Path>); 4] = [
            ("data_dir: state", Clock::Wall, Some(&state)),
            ("data_dir: state", Clock::Event, None),
            ("data_dir: /proc/version/state", Clock::Wall, None),
            ("", Clock::Wall, None),
        ];
        for (data_dir, clock, expected) in table {
            let loaded = load::<Components>("a.yaml", text(data_dir).as_bytes(), surroundings);
            let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
            let plan = build(&config, clock, watch::channel(0).1).await.unwrap();
            let own = plan.data_dir.as_ref().map(OwnDirectory::path);
            assert_eq!(own, expected, "{data_dir:?} {clock:?}");
        }
    }
}
