//! The plan: components that are built but not connected yet, and who reads whom.

use std::sync::Arc;

use super::{networks::Keeper, renew::Renewer};
use crate::{
    ack::Receipts,
    buffer,
    component::{
        Carries, Clock, Component, Port, Role, Signature,
        edge::{Bounds, WhenFull},
    },
    metrics::Meter,
    record::Kinds,
    storage::directory::OwnDirectory,
};

/// The type of the source that waits for brokers, and reads again what was not acknowledged.
pub(super) const READS_AGAIN: &str = "kafka";

/// A pipeline that is checked and built, but not connected.
///
/// Links point backwards or forwards, but never in a circle, and only from ports that exist.
#[expect(missing_debug_implementations, reason = "its components are closures")]
pub struct Plan {
    /// Its components, in any order.
    pub parts: Vec<Part>,
    /// Which clock the run goes by.
    pub clock: Clock,
    /// The run's ledger.
    pub receipts: Receipts,
    /// The directory of what its components keep, if they keep anything: ours until the run has ended.
    pub data_dir: Option<OwnDirectory>,
    /// Hands on a config that was read again.
    pub renewer: Option<Renewer>,
    /// Keeps the networks that its components were built with.
    pub(super) networks: Option<Keeper>,
}

/// One component of a plan.
#[expect(missing_debug_implementations, reason = "its component is a closure")]
pub struct Part {
    /// Counts for it, and knows its id and type.
    pub meter: Arc<Meter>,
    /// Its ports.
    pub signature: Signature,
    /// What runs.
    pub component: Component,
    /// What it reads.
    pub inputs: Vec<Link>,
    /// How much each of its inputs may hold.
    pub bounds: Bounds,
    /// What its inputs do when they are full.
    pub when_full: WhenFull,
}

/// One edge, seen from its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Place of the writer in [`Plan::parts`].
    pub from: usize,
    /// The writer's port.
    pub port: Port,
    /// The kinds that come over it.
    pub carries: Kinds,
}

/// For each part whether what it holds is kept elsewhere until it has ended, so that a run which is killed, or cut
/// off, loses none of it: a disk buffer has it, or Kafka gives it again.
pub(super) fn kept(parts: &[Part]) -> Vec<bool> {
    let mut kept: Vec<_> = parts.iter().map(Part::reads_again).collect();
    loop {
        let is_kept = |part: &Part, at: usize| {
            let gives = |link: &Link| {
                let from = parts.get(link.from);
                from.is_some_and(|from| {
                    from.keeps() || kept[link.from] && from.passes_on(link.port)
                })
            };
            kept[at] || !part.inputs.is_empty() && part.inputs.iter().all(gives)
        };
        let next: Vec<_> = (0..).zip(parts).map(|(at, part)| is_kept(part, at)).collect();
        if next == kept {
            return kept;
        }
        kept = next;
    }
}

// === impl Part ===

impl Part {
    /// Where it stands: by what it could read, for in a replay what read only another source reads
    /// nothing.
    pub(super) fn role(&self) -> Role {
        match (self.signature.accepts.is_empty(), self.signature.ports.is_empty()) {
            (true, _) => Role::Source,
            (false, false) => Role::Transform,
            (false, true) => Role::Sink,
        }
    }

    /// Whether it has what it hands on until that has ended, whatever becomes of the run.
    fn keeps(&self) -> bool {
        self.meter.kind() == buffer::stage::KIND
    }

    /// Whether it reads again what has not ended.
    fn reads_again(&self) -> bool {
        self.meter.kind() == READS_AGAIN && self.role() == Role::Source
    }

    /// Whether what comes out of a port are records that came in, with their receipts; what it makes itself it
    /// answers for alone.
    fn passes_on(&self, port: Port) -> bool {
        let accepts = self.signature.accepts;
        match self.signature.ports.get(port.0).map(|port| port.carries) {
            Some(Carries::Inputs) => true,
            Some(Carries::Only(kind)) => accepts.is_empty() || accepts.contains(kind),
            None => false,
        }
    }
}
