//! What a component's config answers, before anything starts and when it does.

use std::{
    any::Any,
    collections::BTreeMap,
    path::{self, Path, PathBuf, absolute},
    sync::Arc,
};

use tokio::sync::watch;

use super::{Clock, Component, Error, Machine, Port, Signature};
use crate::{
    ack::Receipts,
    metrics::{Books, Meter},
    networks::Networks,
    record::{Added, Kind, Kinds},
    verdict::Store,
};

/// What every component is built with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Counts what the component does, under its id.
    pub meter: Arc<Meter>,
    /// The run's ledger.
    pub receipts: Receipts,
    /// Which clock the run goes by.
    pub clock: Clock,
    /// Whether a destination that refuses us before it took anything ends the run: in a replay, unless it
    /// is told to wait.
    pub gives_up: bool,
    /// Where buffers, segments and the verdict log lie.
    pub data_dir: PathBuf,
    /// The sensor's name: part of every record id.
    pub observer: Arc<str>,
    /// The machine that it runs on.
    pub machine: Arc<Machine>,
    /// The interface on which all that it reads was captured, if it is one.
    pub interface: Option<Arc<str>>,
    /// Whether what it reads comes from other sensors, perhaps long after it happened: then time is what the
    /// records say.
    pub from_others: bool,
    /// What the config as a whole adds to every record.
    pub added: Arc<Added>,
    /// How frames that it reads are to be decoded.
    pub decoding: Decoding,
    /// Which of its ports somebody reads.
    pub read: Vec<Port>,
    /// The hash of the config as it was loaded, without its secrets.
    pub config_hash: Arc<str>,
    /// The networks that the config lists for everybody. They change on SIGHUP, and once the addresses
    /// of the sinks' servers are known.
    pub networks: watch::Receiver<Arc<Networks>>,
    /// The stores of verdicts of the sources that it acts through ([`Configure::references`]), by their
    /// ids. In a replay, where those sources don't run, each is one that blocks nothing.
    pub stores: BTreeMap<String, Arc<dyn Store>>,
    /// The accounts of all components.
    pub books: Books,
    /// Changes on SIGHUP: files are reopened and lists read again.
    pub reload: watch::Receiver<u64>,
    /// What of the component's config holds from now on, as it was read again on SIGHUP.
    pub renewed: watch::Receiver<Option<Renewed>>,
}

/// What a component can take of its config while it runs ([`Configure::renewal`]).
#[derive(Debug, Clone)]
pub struct Renewed {
    value: Arc<dyn Any + Send + Sync>,
    config_hash: Arc<str>,
}

/// How frames are to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoding {
    /// How many threads may do so; 0 where no source above gives frames.
    pub workers: u16,
    /// Whether somebody below reads DNS answers.
    pub dns: bool,
    /// Whether somebody below reads the names that packets ask for, and of their applications.
    pub names: bool,
}

/// Something wrong with a component's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key within the component, dotted (`segment.dir`, `files[1]`); empty for the whole.
    pub key: String,
    /// What is wrong, with the value.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// Whether it keeps nothing from running.
    pub is_warning: bool,
}

/// Something only one component may use: the path of an output file, reports on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The key within the component that asks for it.
    pub key: String,
    /// What is claimed (`file /var/log/a.ndjson`), as the message names it.
    pub what: String,
}

/// A tshark field that some source upstream has to be told to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The key within the component that asks for it.
    pub key: String,
    /// The field, in tshark's dotted name (`dns.a`).
    pub field: String,
}

/// A field of records that a component asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// The key within the component that names it.
    pub key: String,
    /// The field.
    pub field: String,
    /// The kinds of record that may have it.
    pub kinds: Kinds,
    /// The extra field of tshark's that it is or has to be, with `_` for `.`: some component before it
    /// has to provide it.
    pub extra: Option<Arc<str>>,
}

/// A source that a component acts through, beside the edges (`block.via`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The key within the component that names it.
    pub key: String,
    /// The source's id.
    pub id: String,
}

/// What the packets of a source are to whoever judges by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evidence {
    /// All there are, as they come.
    #[default]
    Sound,
    /// Seconds late: nobody's packets could be dropped in time.
    Late,
    /// Some of them alone, chosen at random: what was answered may look as if it was not.
    Sampled,
}

/// The config of a source or a transform.
pub trait Configure {
    /// Its ports.
    fn signature(&self) -> Signature;

    /// What is wrong with the values, seen without looking at the machine.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// What this machine lacks (a program, an interface, a permission).
    fn check_environment(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// What of it can't be checked on this machine as it is, and why: `capture_filter (there is no interface
    /// eth9)`.
    fn unchecked(&self) -> Vec<String> {
        Vec::new()
    }

    /// The interface it captures on.
    fn interface(&self) -> Option<&str> {
        None
    }

    /// What nobody else may use.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// Fields it needs from upstream beyond the base fields.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    /// Fields it makes use of where they are there, beyond the base fields.
    fn uses(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is right but better said otherwise: warnings.
    fn remarks(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Fields of records it asks for: one that no record on its inputs can have is a mistake.
    fn asks(&self) -> Vec<Asks> {
        Vec::new()
    }

    /// Fields it provides beyond the base fields.
    fn provides(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it is a source that offers a store for verdicts.
    fn takes_verdicts(&self) -> bool {
        false
    }

    /// Whether verdicts have effect in the store that it offers.
    fn enforces(&self) -> bool {
        false
    }

    /// Whether its outputs are for whoever wants them: one that nobody reads is no oversight then.
    fn has_outputs_to_choose(&self) -> bool {
        false
    }

    /// The kind that its main output passes on, if it makes nothing for it: without any on its inputs there is
    /// nothing to read.
    fn passes_on(&self) -> Option<Kind> {
        None
    }

    /// What its packets are as evidence.
    fn evidence(&self) -> Evidence {
        Evidence::Sound
    }

    /// Sources it acts through, each one that takes verdicts; such a source counts as used.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Bytes of records that may wait in it, beside those in the buffer before it.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// Whether it keeps anything in `data_dir`, which no other process may use then.
    fn keeps_state(&self) -> bool {
        false
    }

    /// What of it may change while the component runs: handed to it ([`Context::renewed`]) when the config
    /// was read again. All else takes a restart.
    fn renewal(&self) -> Option<Renewed> {
        None
    }

    /// What it takes from where, in a few words for whoever starts it; of a source.
    fn outline(&self) -> Option<String> {
        None
    }

    /// Builds the component.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    fn build(&self, context: &Context) -> Result<Component, Error>;
}

// === impl Claim ===

impl Claim {
    /// The file at `path`, in whatever spelling: in the directory `/log`, `a`, `./a`, `b/../a` and
    /// `/log/a` are one.
    pub fn file(key: impl Into<String>, path: &Path) -> Self {
        let mut plain = PathBuf::new();
        for part in absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
            if part == path::Component::ParentDir {
                plain.pop();
            } else {
                plain.push(part);
            }
        }
        Self { key: key.into(), what: format!("file {}", plain.display()) }
    }
}

// === impl Renewed ===

impl Renewed {
    /// This, of a config that has no hash yet.
    pub fn new(value: impl Any + Send + Sync) -> Self {
        Self { value: Arc::new(value), config_hash: Arc::default() }
    }

    /// Of the config with this hash.
    #[must_use]
    pub fn of(self, config_hash: &Arc<str>) -> Self {
        Self { config_hash: Arc::clone(config_hash), ..self }
    }

    /// What it is, if it is a `T`.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }

    /// The hash of the config that it is of.
    pub const fn config_hash(&self) -> &Arc<str> {
        &self.config_hash
    }
}

// === impl Context ===

impl Context {
    /// Of a component that runs by itself, without a pipeline around it, as tests and benches do: live,
    /// on no interface, with no folder. They set what they are about:
    /// `Context { clock: Clock::Event, ..Context::alone(meter) }`.
    pub fn alone(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            receipts: Receipts::default(),
            clock: Clock::Wall,
            gives_up: false,
            data_dir: PathBuf::from("/nonexistent"),
            observer: "test".into(),
            machine: Arc::default(),
            interface: None,
            from_others: false,
            added: Arc::default(),
            decoding: Decoding::default(),
            read: Vec::new(),
            config_hash: "".into(),
            networks: watch::channel(Arc::default()).1,
            stores: BTreeMap::new(),
            books: Books::default(),
            reload: watch::channel(0).1,
            renewed: watch::channel(None).1,
        }
    }
}

// === impl Problem ===

impl Problem {
    /// A problem with the value of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None, is_warning: false }
    }

    /// It keeps nothing from running.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.is_warning = true;
        self
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_one_path_are_one_claim() {
        let here = std::env::current_dir().unwrap();
        let claim = |path: &str| Claim::file("path", Path::new(path)).what;
        let whole = format!("{}/flows-%F", here.display());
        for spelling in [
            "flows-%F",
            "./flows-%F",
            "logs/../flows-%F",
            ".//flows-%F",
            "a/b/../../flows-%F",
            &whole,
        ] {
            assert_eq!(claim(spelling), format!("file {whole}"), "{spelling}");
        }
        assert_eq!(claim("/log/./a//b/../../../x"), "file /x");
        assert_ne!(claim("/log/a"), claim("/log/b"));
        assert_eq!(claim(""), "file ");
    }
}
