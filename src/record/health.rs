//! A health record: a silent sensor must be visible in the SIEM.

use super::{Id, Timestamp};

/// The minute's self-report of a sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// When it was written.
    pub time: Timestamp,
    /// Packets received since the last report.
    pub packets: u64,
    /// Packets known to be lost since the last report, whatever the cause.
    pub lost_packets: u64,
}

// === impl Health ===

impl Health {
    /// The id: the same whenever the record of `observer` is sent again.
    pub fn id(&self, observer: &str) -> Id {
        Id::of("health", observer).time(self.time).finish()
    }
}
