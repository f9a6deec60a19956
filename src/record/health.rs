//! A health record: a silent sensor must be visible in the SIEM.

use std::sync::Arc;

use super::{Id, Kind, ObservationPoint, Record, Records, Timestamp};

/// The minute's self-report of a sensor. Counts are those of the interval, over all components of
/// the pipeline; what waits, and all fills, are those of its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// When it was written: the end of the interval.
    pub time: Timestamp,
    /// Nanoseconds that the interval lasted, by a clock that nobody sets.
    pub interval_nanos: u64,
    /// Nanoseconds since the sensor was started.
    pub uptime_nanos: u64,
    /// Packets the sources received.
    pub packets: u64,
    /// Packets known to be lost before there was a record of them, by cause, sorted; causes of the
    /// metric `tidegate_capture_lost_packets_total`, and only those that lost something.
    pub lost: Vec<(&'static str, u64)>,
    /// How often something happened that may have lost packets uncounted.
    pub unknown_losses: u64,
    /// Records that destinations confirmed.
    pub delivered: u64,
    /// Records written to dead-letter files.
    pub dead_lettered: u64,
    /// Records the config has no interest in.
    pub filtered: u64,
    /// Records that could not be used, were refused, or met a full buffer that was told to drop.
    pub dropped: u64,
    /// Records that wait in the buffers between components.
    pub waiting_events: u64,
    /// Bytes of memory that those records take.
    pub waiting_bytes: u64,
    /// The fill of the kernel's map of verdicts; `None` without a firewall.
    pub verdict_map: Option<MapFill>,
    /// The gates, those of the source `xdp`; none without a firewall.
    pub gates: GateStates,
    /// What the kernel says of the system clock; `None` where it can't be asked.
    pub clock: Option<ClockState>,
    /// The hash of the config as it was loaded; equal configs have equal ones.
    pub config_hash: Arc<str>,
    /// Whose report it is, if it is that of another sensor.
    pub origin: ObservationPoint,
}

/// How full a map of fixed size is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapFill {
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// Gates, each at the same place of all three lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GateStates {
    /// The interface it is on.
    pub interfaces: Vec<Box<str>>,
    /// `observe` or `enforce`.
    pub modes: Vec<Box<str>>,
    /// How it is attached, `native` or `skb`; `no` while it is not.
    pub attached: Vec<Box<str>>,
}

/// What the kernel knows of its clock (`adjtimex(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// How far the clock is off, in nanoseconds; positive if it is behind.
    pub offset_nanos: i64,
    /// Whether somebody keeps it in step with a reference.
    pub synchronised: bool,
}

// === impl Health ===

impl Health {
    /// The id: the same whenever the record of `observer` is sent again.
    pub fn id(&self, observer: &str) -> Id {
        Id::of("health", observer).time(self.time).finish()
    }

    /// Packets known to be lost, whatever the cause.
    pub fn lost_packets(&self) -> u64 {
        self.lost.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The tag of a sensor whose clock nobody keeps in step.
    pub const CLOCK_UNSYNCED: &'static str = "clock_unsynced";

    /// Whether the clock is known to be kept in step by nobody.
    pub fn is_unsynced(&self) -> bool {
        self.clock.is_some_and(|clock| !clock.synchronised)
    }
}

// === impl GateStates ===

impl GateStates {
    /// Interfaces, modes and attachments.
    pub fn lists(&self) -> [&[Box<str>]; 3] {
        [&self.interfaces, &self.modes, &self.attached]
    }
}

impl Record for Health {
    const KIND: Kind = Kind::Health;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Health(records)
    }

    fn origin(&self) -> ObservationPoint {
        self.origin
    }

    fn origin_mut(&mut self) -> Option<&mut ObservationPoint> {
        Some(&mut self.origin)
    }

    fn time(&self) -> Option<Timestamp> {
        Some(self.time)
    }

    fn memory_bytes(&self) -> usize {
        let gates = self.gates.lists().into_iter().flatten();
        let gates: usize = gates.map(|text| size_of_val(text) + text.len()).sum();
        size_of::<Self>() + self.lost.len() * size_of::<(&str, u64)>() + gates
    }

    fn identity(&self, observer: &str) -> Option<(Id, Option<u32>)> {
        Some((self.id(observer), None))
    }
}
