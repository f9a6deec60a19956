//! The plan: components that are built but not connected yet, and who reads whom.

use std::sync::Arc;

use super::{networks::Keeper, renew::Renewer};
use crate::{
    ack::Receipts,
    component::{
        Clock, Component, Port, Role, Signature,
        edge::{Bounds, WhenFull},
    },
    metrics::Meter,
    record::Kinds,
    storage::directory::OwnDirectory,
};

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
}
