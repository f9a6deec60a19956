//! What travels between two stages: records, the share in their receipt, and how far time has come.

use crate::{
    ack::Ack,
    record::{Records, Timestamp},
};

/// Records of one kind on their way, never one alone where several can be had.
///
/// Every component passes one batch on for each it takes, on each of its ports, even when no record
/// is left: the watermark has to arrive.
#[derive(Debug)]
pub struct Batch {
    /// The records.
    pub records: Records,
    /// The share in the receipt of whoever read or made them.
    pub ack: Ack,
    /// How far event time has come in this stream; `None` in streams outside event time.
    pub watermark: Option<Watermark>,
}

/// How far event time has come in a stream.
///
/// It never goes back: within an epoch it is the latest time seen, and a new epoch (a new file of a
/// replay, a restarted capturer) ranks above all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark {
    /// The epoch the time belongs to.
    pub epoch: u32,
    /// The latest event time seen in the epoch.
    pub time: Timestamp,
}

impl Batch {
    /// A batch that nobody waits for.
    pub fn unacknowledged(records: Records) -> Self {
        Self { records, ack: Ack::none(), watermark: None }
    }

    /// A second batch of the same records with a share of its own, for a further consumer.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { records: self.records.clone(), ack: self.ack.share(), watermark: self.watermark }
    }

    /// The same share and watermark with other records.
    #[must_use]
    pub fn with(self, records: Records) -> Self {
        Self { records, ..self }
    }
}
