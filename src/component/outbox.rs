//! Where a transform puts what it makes of a batch, and says what it did not pass on.

use super::Port;
use crate::{
    ack::Receipts,
    batch::{Batch, Watermark},
    metrics::{DISCARDED, Meter, Reason},
    record::Records,
};

/// A transform's outgoing batches of one call, in order, and its account of the rest.
#[derive(Debug)]
pub struct Outbox<'a> {
    ready: &'a mut Vec<(Port, Batch)>,
    connected: &'a [bool],
    meter: &'a Meter,
    receipts: &'a Receipts,
}

impl<'a> Outbox<'a> {
    /// An outbox that fills `ready`; `connected` says which ports anybody reads.
    pub fn new(
        ready: &'a mut Vec<(Port, Batch)>,
        connected: &'a [bool],
        meter: &'a Meter,
        receipts: &'a Receipts,
    ) -> Self {
        Self { ready, connected, meter, receipts }
    }

    /// Whether anybody reads this port: if not, what would go there need not be made.
    pub fn wants(&self, port: Port) -> bool {
        self.connected.get(port.0).copied().unwrap_or(false)
    }

    /// Which ports anybody reads.
    pub fn connected(&self) -> &'a [bool] {
        self.connected
    }

    /// Passes on records that came in, with their share.
    pub fn push(&mut self, port: Port, batch: Batch) {
        self.meter.passed(batch.records.len() as u64);
        self.ready.push((port, batch));
    }

    /// Passes on records, `copies` of which are new beside those that came in: a record that left through
    /// another port as well, or further ones made of the same record. All have the share of these.
    pub fn push_copies(&mut self, port: Port, batch: Batch, copies: u64) {
        self.meter.passed((batch.records.len() as u64).saturating_sub(copies));
        self.meter.made(copies);
        self.ready.push((port, batch));
    }

    /// Sends new records, made here of others, under a receipt of their own.
    pub fn emit(&mut self, port: Port, records: Records, watermark: Option<Watermark>) {
        self.meter.made(records.len() as u64);
        self.ready.push((port, Batch { records, ack: self.receipts.open(), watermark }));
    }

    /// `records` entered an aggregate.
    pub fn absorbed(&mut self, records: u64) {
        self.meter.absorbed(records);
    }

    /// `records` are not passed on, for this reason.
    pub fn discarded(&mut self, reason: Reason, records: u64) {
        self.meter.count(DISCARDED, reason, records);
    }
}
