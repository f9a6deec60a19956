//! The account of one component: what became of the records it took in.

use std::collections::BTreeMap;

/// A component's account of the records it saw:
/// `received = passed + delivered + dead_lettered + absorbed + filtered + dropped + held`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// Taken in.
    pub received: u64,
    /// Of these, handed on.
    pub passed: u64,
    /// New records, made of others; not part of the equation.
    pub made: u64,
    /// Entered an aggregate.
    pub absorbed: u64,
    /// Of no interest to what the config asks for.
    pub filtered: u64,
    /// Confirmed by the destination.
    pub delivered: u64,
    /// Of these, there already (or possibly twice).
    pub duplicated: u64,
    /// In the dead-letter file.
    pub dead_lettered: u64,
    /// Could not be used or were refused, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets lost before there was a record of them, and records that a disk buffer could not read
    /// back, by cause; not part of the equation.
    pub lost: BTreeMap<&'static str, u64>,
    /// Intervals with losses nobody counted.
    pub unknown_losses: u64,
    /// Errors, by type.
    pub errors: BTreeMap<&'static str, u64>,
    /// Records it would have made of what it absorbed (open flows), when it was cut off; not part of the
    /// equation.
    pub unmade: u64,
    /// Records on disk that are not delivered; not part of the equation.
    pub stored: u64,
    /// Taken in and not accounted for yet: what the component still holds.
    pub held: u64,
}

// === impl Balance ===

impl Balance {
    /// Records out of all that were taken in: handed on, delivered or dead-lettered.
    pub fn out(&self) -> u64 {
        self.passed + self.delivered + self.dead_lettered
    }

    /// Records dropped, whatever the reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether the equation holds: it fails if more was accounted for than was taken in.
    pub fn holds(&self) -> bool {
        self.received == self.accounted() + self.held
    }

    pub(super) fn accounted(&self) -> u64 {
        self.out() + self.absorbed + self.filtered + self.dropped_total()
    }
}
