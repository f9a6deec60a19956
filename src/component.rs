//! What a component of the pipeline is: its ports, its run loop, and what it may touch.
//!
//! Data passes `Source` → edges → `Transform`s fused into chains, or `Stage`s with a task of their
//! own → edges → `Sink`s. Configs implement [`Configure`]; the topology erases what they build into a
//! [`Component`] and runs it. A sink only encodes and sends: `sinks::driver` does the rest.

mod clock;
mod configure;
pub mod drain;
pub mod edge;
mod error;
mod input;
mod machine;
mod outbox;
mod outputs;
mod role;
mod sink;

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc};

use tokio_util::sync::CancellationToken;

pub use self::{
    clock::Clock,
    configure::{
        Asks, Claim, Configure, Context, Decoding, Evidence, Need, Problem, Reference, Renewed,
    },
    error::{Error, with_causes},
    input::Input,
    machine::{Machine, View},
    outbox::Outbox,
    outputs::{Closed, Outputs},
    role::Role,
    sink::{Item, ItemEnd, Items, SendError, SendOutcome, Sink},
};
use crate::{
    batch::Batch,
    record::{Kind, Kinds, Timestamp},
    verdict::Store,
};

/// What a component takes and where it puts what it makes.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The kinds its inputs may carry; none for a source.
    pub accepts: Kinds,
    /// Its output ports, the main one first if it has one; none for a sink.
    pub ports: Vec<PortSpec>,
}

/// One output port.
#[derive(Debug, Clone)]
pub struct PortSpec {
    /// Its name behind the component's id (`contacts` in `flows.contacts`); empty for the main one.
    pub name: Cow<'static, str>,
    /// What comes out.
    pub carries: Carries,
    /// Whether its edges may shed the newest batch, with a counter, rather than wait.
    pub sheds: bool,
}

/// The kinds a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// This kind.
    Only(Kind),
    /// Whatever the inputs carry.
    Inputs,
}

/// An output port by its place in [`Signature::ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub usize);

/// Brings records in from outside. Only sources see `stop`.
pub trait Source: Send + 'static {
    /// Runs until the input has ended or `stop` is cancelled, then hands over what it still holds.
    ///
    /// # Errors
    /// When it can't begin, or can't go on and has no way to mend that itself.
    fn run(
        self,
        out: Outputs,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Turns batches into batches: no I/O, no clock, no waiting. Neighbours are fused into one task.
///
/// For each batch it takes it pushes one on each of its ports, even an empty one, so that the
/// watermark arrives. It settles the share of a batch whose records it keeps (they entered an
/// aggregate), and reports what it did not pass on to the [`Outbox`].
pub trait Transform: Send {
    /// Takes one batch. `now` is event time in a replay, the wall clock live.
    fn apply(&mut self, batch: Batch, now: Timestamp, out: &mut Outbox<'_>);

    /// When [`tick`](Self::tick) wants to be called next.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The deadline has passed.
    fn tick(&mut self, _now: Timestamp, _out: &mut Outbox<'_>) {}

    /// The input has ended: hand over what is still held, or a part of it. True if there is more: it is
    /// called again once what it gave has been taken.
    fn drain(&mut self, _now: Timestamp, _out: &mut Outbox<'_>) -> bool {
        false
    }

    /// How many records [`drain`](Self::drain) has yet to make.
    fn undrained(&self) -> u64 {
        0
    }
}

/// A step with a task of its own: it may wait, or read its inputs in an order of its own.
pub trait Stage: Send + 'static {
    /// Runs until the input has ended and everything held is handed over.
    ///
    /// # Errors
    /// When it can't go on.
    fn run(self, input: Input, out: Outputs) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A component's run loop once its types are erased.
pub type Run = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

type RunSource = Box<dyn FnOnce(Outputs, CancellationToken) -> Run + Send>;
type RunStage = Box<dyn FnOnce(Input, Outputs) -> Run + Send>;
type RunSink = Box<dyn FnOnce(Input) -> Run + Send>;

/// A component that is ready to run.
#[expect(missing_debug_implementations, reason = "it is a closure over a run loop")]
pub enum Component {
    /// Brings records in; perhaps it can block, and offers a store for verdicts.
    Source(RunSource, Option<Arc<dyn Store>>),
    /// Pure; fused with its neighbours.
    Transform(Box<dyn Transform>),
    /// A step with a task of its own.
    Stage(RunStage),
    /// Takes records out.
    Sink(RunSink),
}

// === impl Signature ===

impl Signature {
    /// A source's: one main port of `kind`.
    pub fn source(kind: Kind) -> Self {
        Self { accepts: Kinds::NONE, ports: vec![PortSpec::main(Carries::Only(kind))] }
    }

    /// A transform's: takes `accepts`, gives `carries` on its main port.
    pub fn transform(accepts: Kinds, carries: Carries) -> Self {
        Self { accepts, ports: vec![PortSpec::main(carries)] }
    }

    /// A sink's.
    pub fn sink(accepts: Kinds) -> Self {
        Self { accepts, ports: Vec::new() }
    }

    /// Adds a further port.
    #[must_use]
    pub fn and(mut self, port: PortSpec) -> Self {
        self.ports.push(port);
        self
    }

    /// The port of this name; the main one for `None`.
    pub fn port(&self, name: Option<&str>) -> Option<Port> {
        let name = name.unwrap_or_default();
        self.ports.iter().position(|port| port.name == name).map(Port)
    }
}

// === impl PortSpec ===

impl PortSpec {
    fn main(carries: Carries) -> Self {
        Self { name: Cow::Borrowed(""), carries, sheds: false }
    }

    /// A named port.
    pub fn named(name: impl Into<Cow<'static, str>>, carries: Carries) -> Self {
        Self { name: name.into(), carries, sheds: false }
    }

    /// Lets the port's edges shed rather than wait.
    #[must_use]
    pub fn shedding(mut self) -> Self {
        self.sheds = true;
        self
    }
}

// === impl Port ===

impl Port {
    /// The first, unnamed port.
    pub const MAIN: Self = Self(0);
}

// === impl Component ===

impl Component {
    /// Erases a source.
    pub fn source(source: impl Source) -> Self {
        Self::Source(Box::new(move |out, stop| Box::pin(source.run(out, stop))), None)
    }

    /// Erases a source that blocks as the verdicts in `store` say: components that name it by `via` get
    /// the store. Its config says so beforehand ([`Configure::takes_verdicts`]).
    pub fn source_with_store(source: impl Source, store: Arc<dyn Store>) -> Self {
        Self::Source(Box::new(move |out, stop| Box::pin(source.run(out, stop))), Some(store))
    }

    /// Erases a transform.
    pub fn transform(transform: impl Transform + 'static) -> Self {
        Self::Transform(Box::new(transform))
    }

    /// Erases a stage.
    pub fn stage(stage: impl Stage) -> Self {
        Self::Stage(Box::new(move |input, out| Box::pin(stage.run(input, out))))
    }

    /// Erases a sink's run loop.
    pub fn sink<F>(run: impl FnOnce(Input) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Self::Sink(Box::new(move |input| Box::pin(run(input))))
    }
}
