//! A component's fan-out: each port feeds its edges, which share the records.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Port,
    edge::{EdgeSender, Gone},
};
use crate::{
    ack::{End, Receipts},
    batch::{Batch, Watermark},
    metrics::Meter,
    record::Records,
};

/// What flows out of a component.
#[derive(Debug)]
pub struct Outputs {
    ports: Vec<Vec<EdgeSender>>,
    meter: Arc<Meter>,
    receipts: Receipts,
}

/// A consumer has gone, so nothing more can be sent on this port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a component downstream has ended early")]
pub struct Closed;

impl Outputs {
    /// Outputs with `ports` ports and no edges yet.
    pub fn new(ports: usize, meter: Arc<Meter>, receipts: Receipts) -> Self {
        Self { ports: (0..ports).map(|_| Vec::new()).collect(), meter, receipts }
    }

    /// Adds an edge to a port.
    pub fn connect(&mut self, port: Port, edge: EdgeSender) {
        self.ports[port.0].push(edge);
    }

    /// Which ports have a reader.
    pub fn connected(&self) -> Vec<bool> {
        self.ports.iter().map(|edges| !edges.is_empty()).collect()
    }

    /// Whether anybody reads this port.
    pub fn wants(&self, port: Port) -> bool {
        self.ports.get(port.0).is_some_and(|edges| !edges.is_empty())
    }

    /// Counts what the component does.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The run's ledger.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// Passes on records that came in, with their share, and waits for room.
    ///
    /// # Errors
    /// [`Closed`] if a consumer has gone; its share of the batch ends as lost.
    pub async fn pass(&self, port: Port, batch: Batch) -> Result<(), Closed> {
        self.meter.passed(batch.records.len() as u64);
        self.send(port, batch).await
    }

    /// Passes on records, of which `further` are new beside those that came in, under the share of these,
    /// and waits for room.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub async fn pass_with(&self, port: Port, batch: Batch, further: u64) -> Result<(), Closed> {
        self.meter.passed((batch.records.len() as u64).saturating_sub(further));
        self.meter.made(further);
        self.send(port, batch).await
    }

    /// Sends new records under a receipt of their own, and waits for room.
    ///
    /// # Errors
    /// [`Closed`] if a consumer has gone.
    pub async fn emit(
        &self,
        port: Port,
        records: Records,
        watermark: Option<Watermark>,
    ) -> Result<(), Closed> {
        self.meter.made(records.len() as u64);
        self.send(port, Batch { records, ack: self.receipts.open(), watermark }).await
    }

    /// Waits until every edge of the port has room for `batch`, without taking it: whatever sends it
    /// next does not wait, if nothing else was sent on the port meanwhile. An edge that sheds counts as
    /// having room, and so does one whose consumer has gone: sending says so.
    ///
    /// This is what stands in a `select!`: dropped, it loses nothing.
    pub async fn room(&self, port: Port, batch: &Batch) {
        for edge in &self.ports[port.0] {
            if let Err(Gone) = edge.room(batch).await {
                return;
            }
        }
    }

    /// Tells all consumers that the run was stopped, and that the next one has what they do not deliver.
    pub fn spare(&self) {
        self.ports.iter().flatten().for_each(EdgeSender::spare);
    }

    /// Sends a batch that is already counted, to every edge of the port. An edge with room gets it
    /// at once, so a full one holds up the others by no more than this one batch.
    ///
    /// It has the batch while it waits: dropped in a `select!` (as [`pass`](Self::pass) and
    /// [`emit`](Self::emit) too) it loses the batch, whose share then ends as lost. Who has something
    /// else to do meanwhile keeps the batch, waits for [`room`](Self::room), and then sends.
    ///
    /// # Errors
    /// [`Closed`] if a consumer has gone; its share of the batch ends as lost. The others have theirs.
    pub async fn send(&self, port: Port, batch: Batch) -> Result<(), Closed> {
        let Some((last, others)) = self.ports[port.0].split_last() else {
            batch.ack.settle(End::Delivered);
            return Ok(());
        };
        if others.is_empty() {
            return last.send(batch).await.map_err(|Gone| Closed);
        }
        // Each consumer knows of the batch before any can act on it: one that also reads what another
        // makes of it waits for it (`Input`).
        let last_coming = last.coming();
        let coming: Vec<_> = others.iter().map(EdgeSender::coming).collect();
        let (mut waiting, mut sent) = (Vec::new(), Ok(()));
        let mut offer = |edge, coming, batch| match EdgeSender::offer(edge, batch) {
            Ok(None) => {}
            Ok(Some(batch)) => waiting.push((edge, coming, batch)),
            Err(Gone) => sent = Err(Closed),
        };
        for (edge, coming) in others.iter().zip(coming) {
            offer(edge, coming, batch.share());
        }
        offer(last, last_coming, batch);
        // Together: one that has room again does not wait for the others.
        let waiting = waiting.into_iter().map(|(edge, coming, batch)| async move {
            let sent = edge.wait(batch).await;
            drop(coming);
            sent
        });
        for waited in join_all(waiting).await {
            sent = waited.map_err(|Gone| Closed).and(sent);
        }
        sent
    }

    /// Batches that are already counted and will never be sent: their readers hold them, and never saw
    /// them.
    pub fn count_unsent(&self, port: Port, records: u64) {
        self.ports[port.0].iter().for_each(|edge| edge.count_unsent(records));
    }
}
