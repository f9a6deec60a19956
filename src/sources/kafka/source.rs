//! The task that hands chunks on, and notes in the ledger what became of them.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    PORTS,
    chunk::{Chunk, WAITING},
    ledger::Ticket,
    reader::Reader,
    watch::{Phase, Shared},
};
use crate::{
    ack::{End, Receipt, Receipts},
    batch::{Batch, Watermark},
    component::{Error, Outputs, Port, Source, drain},
    metrics::DISCARDED,
    record::Records,
    task,
};

/// A batch that was handed on, until it has ended.
type UnderWay = Pin<Box<dyn Future<Output = (Ticket, End)> + Send>>;

/// Nanoseconds that event time has to move before ports on which nothing comes are told.
const TELL_NANOS: u64 = 1_000_000_000;

/// The source of one config.
pub(super) struct Consumer {
    pub(super) reader: Reader,
    pub(super) shared: Arc<Shared>,
    pub(super) receipts: Receipts,
}

/// What is handed on at present.
struct HandingOn {
    shared: Arc<Shared>,
    receipts: Receipts,
    /// The next chunk, as long as nothing of it is handed on.
    next: Option<Chunk>,
    /// Batches of the chunk before, still to be handed on.
    ready: VecDeque<(Port, Batch, Option<Ticket>)>,
    /// The watermark that each port was told last.
    told: [Option<Watermark>; PORTS.len()],
}

impl Source for Consumer {
    async fn run(self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let Self { reader, shared, receipts } = self;
        let (sender, mut chunks) = mpsc::channel(WAITING);
        let connected = out.connected();
        let thread = task::blocking(move || reader.run(&sender, &connected));
        let mut handing_on = HandingOn {
            shared: Arc::clone(&shared),
            receipts,
            next: None,
            ready: VecDeque::new(),
            told: [None; PORTS.len()],
        };
        let mut under_way = FuturesUnordered::new();
        let handed_on = handing_on.run(&out, &mut chunks, &mut under_way, &stop).await;
        shared.enter(Phase::Draining);
        drop(chunks);
        // Those that read from here may end now; what they have is still acknowledged.
        drop(out);
        let settle = async {
            while let Some((ticket, end)) = under_way.next().await {
                shared.settle(&ticket, end);
            }
        };
        timeout(drain::ACKNOWLEDGEMENTS, settle).await.unwrap_or_default();
        shared.enter(Phase::Over);
        if let Ok(ended) = timeout(drain::LEAVE, thread).await {
            ended.map_err(|join| Error::failure("the consumer panicked").because(join))?;
        } else {
            warn!(
                "the group can't be left in time, as its coordinator is away: it notices by itself, and what was \
                 not committed is read again"
            );
        }
        handed_on
    }
}

// === impl HandingOn ===

impl HandingOn {
    /// Hands on until it is stopped.
    async fn run(
        &mut self,
        out: &Outputs,
        chunks: &mut mpsc::Receiver<Chunk>,
        under_way: &mut FuturesUnordered<UnderWay>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let is_busy = self.next.is_some() || !self.ready.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((ticket, end)) = under_way.next(), if !under_way.is_empty() => {
                    self.shared.settle(&ticket, end);
                }
                () = self.room(out), if is_busy => {
                    if let Some(receipt) = self.send(out).await? {
                        under_way.push(receipt);
                    }
                }
                chunk = chunks.recv(), if !is_busy => {
                    let ended = || Error::failure("the thread that reads has ended");
                    self.next = Some(chunk.ok_or_else(ended)?);
                }
            }
        }
    }

    /// Waits until there is room for what is due.
    async fn room(&self, out: &Outputs) {
        if let Some((port, records, _)) = self.ready.front() {
            return out.room(*port, records).await;
        }
        let first = self.next.as_ref().and_then(|chunk| chunk.batches.front());
        if let Some((port, records)) = first {
            out.room(*port, &Batch::unacknowledged(records.clone())).await;
        }
    }

    /// Hands on what is due, for which there is room. Gives what is to be waited for.
    async fn send(&mut self, out: &Outputs) -> Result<Option<UnderWay>, Error> {
        // A chunk begins when its first batch has room: until then its partition may go to somebody else.
        if self.ready.is_empty() {
            self.begin(out);
        }
        let Some((port, batch, ticket)) = self.ready.pop_front() else { return Ok(None) };
        let Some(ticket) = ticket else {
            out.send(port, batch).await?;
            return Ok(None);
        };
        let (ack, receipt) = self.receipts.open_awaited();
        out.meter().received(batch.records.len() as u64);
        out.pass(port, Batch { ack, ..batch }).await?;
        Ok(Some(Box::pin(ended(ticket, receipt))))
    }

    /// Makes the batches of the next chunk ready, if its partition is still ours.
    fn begin(&mut self, out: &Outputs) {
        let Some(chunk) = self.next.take() else { return };
        let Chunk { part, term, next, batches, refused, watermark } = chunk;
        let begun = self.shared.ledger().begin(&part, term, next, batches.len());
        let Some(ticket) = begun else { return };
        for (reason, n) in refused {
            out.meter().received(n);
            out.meter().count(DISCARDED, reason, n);
        }
        for (port, records) in batches {
            let batch = Batch { watermark, ..Batch::unacknowledged(records) };
            self.told[port.0] = watermark;
            self.ready.push_back((port, batch, Some(ticket.clone())));
        }
        self.tell(watermark, out);
    }

    /// Tells the ports on which nothing came how far time is.
    fn tell(&mut self, watermark: Option<Watermark>, out: &Outputs) {
        let Some(mark) = watermark else { return };
        for (at, (_, kind)) in PORTS.into_iter().enumerate() {
            let port = Port(at);
            let is_due = self.told[at].is_none_or(|told| mark.time.since(told.time) >= TELL_NANOS);
            if is_due && out.wants(port) {
                let batch = Batch { watermark, ..Batch::unacknowledged(Records::none(kind)) };
                self.told[at] = watermark;
                self.ready.push_back((port, batch, None));
            }
        }
    }
}

/// Waits for a batch's end.
async fn ended(ticket: Ticket, receipt: Receipt) -> (Ticket, End) {
    (ticket, receipt.ended().await)
}
