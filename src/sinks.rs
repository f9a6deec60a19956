//! Where records leave the pipeline. Each sink only encodes and sends; [`driver`] does what all of
//! them have in common.

pub mod blackhole;
mod compression;
pub mod console;
pub mod dead_letter;
pub mod driver;
pub mod elasticsearch;
pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod options;
pub mod splunk_hec;

pub use self::compression::Compression;
use self::options::{BatchLimits, Options};
pub use crate::remote::{Host, secret};
use crate::{
    codec::Schema,
    component::{Claim, Component, Context, Error, Problem, Signature},
    record::Kinds,
};

/// How a sink makes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// What fills one, where the config says nothing.
    pub batch: BatchLimits,
    /// Whether they must reach the destination in the order of the records: then one is in flight at
    /// a time, whatever the config says.
    pub in_order: bool,
    /// Whether the destination confirms them later, so that they are kept meanwhile.
    pub confirmed_later: bool,
    /// Whether the destination may fail at some of its items for good: these are set aside, so that others
    /// go on meanwhile.
    pub items_fail: bool,
}

/// The config of a sink: its own keys. What it shares with the others is in [`Options`], which
/// checks and claims for itself.
pub trait ConfigureSink {
    /// What it takes.
    fn signature(&self) -> Signature {
        Signature::sink(Kinds::REPORTS)
    }

    /// How it makes requests.
    fn requests(&self) -> Requests {
        Requests::default()
    }

    /// The schema of its records, unless the config names another.
    fn schema(&self) -> Schema {
        Schema::Ecs
    }

    /// Whether it may write whole records, in the codec `wire`: then it takes contacts too.
    fn takes_wire(&self) -> bool {
        false
    }

    /// What is wrong with the values, or with these options for this sink, seen without looking at
    /// the machine.
    fn check(&self, _options: &Options) -> Vec<Problem> {
        Vec::new()
    }

    /// What this machine lacks.
    fn check_environment(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// The hosts that it connects to.
    fn hosts(&self) -> Vec<Host> {
        Vec::new()
    }

    /// What nobody else may use.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// Where records go, in a few words without secrets.
    fn outline(&self) -> Option<String> {
        None
    }

    /// Builds the sink and what drives it.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error>;
}
