//! The maps as the store sees them. The trait is small so that the store is tested without root, and on
//! errors that a kernel gives when it likes.

use std::{fmt, time::Duration};

use ipnet::IpNet;

use crate::{
    metrics::XdpOutcome,
    record::{Id, Timestamp},
    verdict::{Action, By, Entry, Mode, Scope, Verdict},
};

/// A verdict as the kernel holds it: all but its reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Names it in records.
    pub id: Id,
    /// What becomes of packets.
    pub action: Action,
    /// Which packets.
    pub scope: Scope,
    /// The destination port it is confined to.
    pub port: Option<u16>,
    /// Whether it has effect.
    pub mode: Mode,
    /// Who decided.
    pub by: By,
    /// The risk score.
    pub score: u8,
    /// How often they have been blocked before.
    pub offence: u32,
    /// Since when it holds.
    pub since: Timestamp,
    /// How long it holds.
    pub ttl: Option<Duration>,
    /// Packets it dropped, or would have.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a map was not written: each has another remedy, so each is apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// There is no room (E2BIG).
    #[error("the map is full")]
    Full,
    /// The program writes to the same place (EBUSY): once more, and it goes.
    #[error("the map is busy")]
    Busy,
    /// The kernel has no memory (ENOMEM).
    #[error("the kernel has no memory")]
    NoMemory,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// The maps.
pub trait Kernel: fmt::Debug + Send {
    /// Puts a verdict in force, in place of the one about the same network, that ends by itself after
    /// `ends_in`.
    ///
    /// # Errors
    /// If the map is not written.
    fn put(
        &mut self,
        network: IpNet,
        held: &Held,
        ends_in: Option<Duration>,
    ) -> Result<(), MapError>;

    /// The verdict about exactly this network.
    ///
    /// # Errors
    /// If the map can't be read.
    fn get(&mut self, network: IpNet) -> Result<Option<Held>, MapError>;

    /// Takes the verdict about exactly this network away.
    ///
    /// # Errors
    /// If the map is not written.
    fn remove(&mut self, network: IpNet) -> Result<(), MapError>;

    /// All verdicts, those whose time is over too.
    ///
    /// # Errors
    /// If a map can't be read.
    fn all(&mut self) -> Result<Vec<(IpNet, Held)>, MapError>;

    /// Makes the allow list hold these networks and no others.
    ///
    /// # Errors
    /// If it is not written.
    fn allow(&mut self, networks: &[IpNet]) -> Result<(), MapError>;

    /// How often verdicts were changed beside the daemon.
    ///
    /// # Errors
    /// If it can't be read.
    fn changes(&mut self) -> Result<u64, MapError>;

    /// Verdicts were changed beside the daemon.
    ///
    /// # Errors
    /// If it is not written.
    fn changed(&mut self) -> Result<(), MapError>;

    /// Packets by what became of them, counted since the maps were made.
    ///
    /// # Errors
    /// If they can't be read.
    fn counts(&mut self) -> Result<Vec<(XdpOutcome, u64)>, MapError>;
}

// === impl Held ===

impl Held {
    /// What the kernel is to hold of an entry.
    pub(super) fn of(entry: &Entry) -> Self {
        let verdict = &entry.verdict;
        Self {
            id: verdict.id,
            action: verdict.action,
            scope: verdict.scope,
            port: verdict.port,
            mode: entry.mode,
            by: verdict.by,
            score: verdict.score,
            offence: verdict.offence,
            since: entry.since,
            ttl: verdict.ttl,
            packets: entry.packets,
            bytes: entry.bytes,
        }
    }

    /// When it ends by itself; `None`: never.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let nanos = |ttl: Duration| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        self.ttl.map(|ttl| self.since.saturating_add(nanos(ttl)))
    }

    /// The entry of it, with these reasons.
    pub(super) fn entry(&self, network: IpNet, reasons: Vec<Box<str>>) -> Entry {
        let verdict = Verdict {
            id: self.id,
            network,
            action: self.action,
            scope: self.scope,
            port: self.port,
            ttl: self.ttl,
            score: self.score,
            offence: self.offence,
            reasons,
            by: self.by,
        };
        let entry = Entry::new(verdict, self.mode, self.since);
        Entry { packets: self.packets, bytes: self.bytes, ..entry }
    }
}
