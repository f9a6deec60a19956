//! The accounts of all components of a run, to be read but not written.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use super::{CAPTURE_LOST, FLOW_ACTIVE, Meter, State};

/// All accounts of a run: what a self-report is made of.
#[derive(Debug, Clone, Default)]
pub struct Books {
    sources: Arc<[Arc<Meter>]>,
    others: Arc<[Arc<Meter>]>,
}

/// Sums over all components, since the run began; what waits is that of this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Packets the sources received.
    pub packets: u64,
    /// Packets lost before there was a record of them, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// Intervals with losses nobody counted.
    pub unknown_losses: u64,
    /// Records destinations confirmed.
    pub delivered: u64,
    /// Records in dead-letter files.
    pub dead_lettered: u64,
    /// Records of no interest to the config.
    pub filtered: u64,
    /// Records that could not be used, were refused or shed.
    pub dropped: u64,
    /// Records that wait in the buffers before components, on disk too.
    pub waiting_events: u64,
    /// Records that components have taken in and that have not ended yet: in a sink, what its destination has
    /// not confirmed.
    pub held: u64,
    /// Records on disk that were not handed on yet.
    pub on_disk: u64,
    /// Bytes of memory that the waiting ones take.
    pub waiting_bytes: u64,
    /// Flows that have not ended.
    pub flows_open: u64,
}

/// A gate as its source says in `/health` that it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateFigures {
    /// The interface it is on.
    pub interface: Box<str>,
    /// `observe` or `enforce`.
    pub mode: Box<str>,
    /// How it is attached; `no` while it is not.
    pub attached: Box<str>,
    /// Verdicts in the kernel.
    pub verdicts: u64,
    /// Verdicts that it can hold.
    pub capacity: u64,
}

/// What of a source says that it is one.
#[derive(Deserialize)]
struct Says {
    gate: GateFigures,
}

// === impl Books ===

impl Books {
    /// The accounts of these sources and of all other components.
    pub fn new(
        sources: impl IntoIterator<Item = Arc<Meter>>,
        others: impl IntoIterator<Item = Arc<Meter>>,
    ) -> Self {
        Self { sources: sources.into_iter().collect(), others: others.into_iter().collect() }
    }

    /// The states of all sources but the one with this id.
    pub fn other_sources(&self, id: &str) -> impl Iterator<Item = State> {
        self.sources.iter().filter(move |meter| meter.id() != id).map(|meter| meter.state())
    }

    /// The gates among the sources, as they said last.
    pub fn gates(&self) -> impl Iterator<Item = GateFigures> {
        let says = self.sources.iter().filter_map(|meter| meter.says());
        says.filter_map(|says| Some(Says::deserialize(says).ok()?.gate))
    }

    /// The sums so far.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures {
            packets: self.sources.iter().map(|meter| meter.balance().received).sum(),
            ..Figures::default()
        };
        for meter in self.sources.iter().chain(self.others.iter()) {
            figures.add(meter);
        }
        figures.held = self.others.iter().map(|meter| meter.balance().held).sum();
        figures
    }
}

// === impl Figures ===

impl Figures {
    /// Records that are on their way, each counted once: what waits before a component is among those that it
    /// holds, as is what a disk buffer has handed on and keeps until that is confirmed.
    pub fn under_way(&self) -> u64 {
        self.held + self.on_disk
    }

    fn add(&mut self, meter: &Meter) {
        let balance = meter.balance();
        let (events, bytes) = meter.level().waiting();
        self.unknown_losses += balance.unknown_losses;
        self.delivered += balance.delivered;
        self.dead_lettered += balance.dead_lettered;
        self.filtered += balance.filtered;
        self.dropped += balance.dropped_total();
        let (stored, handed_on) = meter.on_disk();
        self.on_disk += stored.saturating_sub(handed_on);
        self.waiting_events += events.saturating_sub(handed_on);
        self.waiting_bytes += bytes;
        self.flows_open += meter.gauged(FLOW_ACTIVE);
        for (cause, n) in meter.counted(CAPTURE_LOST) {
            *self.lost.entry(cause).or_default() += n;
        }
    }
}
