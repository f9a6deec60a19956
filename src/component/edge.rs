//! A bounded edge between two stages: bounded in batches, records and bytes, and either it waits
//! when it is full or it sheds the newest batch and says so.

use std::{
    sync::Arc,
    task::{self, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    ack::End,
    batch::Batch,
    metrics::{DISCARDED, Level, Meter, Reason},
};

/// Batches an edge holds at most; empty ones, which only carry a watermark, count too.
const MAX_BATCHES: usize = 64;

/// How much an edge may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Records.
    pub max_events: u32,
    /// Bytes of memory.
    pub max_bytes: u32,
}

/// What an edge does when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The sender waits.
    #[default]
    Block,
    /// The newest batch is dropped, counted as `buffer_full` at the consumer.
    DropNewest,
}

/// The upstream end.
#[derive(Debug)]
pub struct EdgeSender {
    queue: mpsc::Sender<Held>,
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bounds: Bounds,
    when_full: WhenFull,
    consumer: Arc<Meter>,
}

/// The downstream end.
#[derive(Debug)]
pub struct EdgeReceiver {
    queue: mpsc::Receiver<Held>,
    level: Level,
}

/// The consumer has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// A batch and the room it takes, given back when it is received.
#[derive(Debug)]
struct Held {
    batch: Batch,
    events: u32,
    bytes: u32,
    _room: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// An edge into the component that `consumer` counts for.
pub fn edge(
    bounds: Bounds,
    when_full: WhenFull,
    consumer: &Arc<Meter>,
) -> (EdgeSender, EdgeReceiver) {
    let (sender, receiver) = mpsc::channel(MAX_BATCHES);
    let sender = EdgeSender {
        queue: sender,
        events: Arc::new(Semaphore::new(bounds.max_events as usize)),
        bytes: Arc::new(Semaphore::new(bounds.max_bytes as usize)),
        bounds,
        when_full,
        consumer: Arc::clone(consumer),
    };
    (sender, EdgeReceiver { queue: receiver, level: consumer.level() })
}

// === impl Bounds ===

impl Default for Bounds {
    /// 16,384 records or 16 MiB: what edges between stages hold where the config says nothing.
    fn default() -> Self {
        Self { max_events: 16_384, max_bytes: 16 << 20 }
    }
}

impl Bounds {
    /// The part of each of `edges` edges that together keep to these bounds.
    #[must_use]
    pub fn shared_by(self, edges: usize) -> Self {
        let edges = u32::try_from(edges).unwrap_or(u32::MAX).max(1);
        Self {
            max_events: (self.max_events / edges).max(1),
            max_bytes: (self.max_bytes / edges).max(1),
        }
    }
}

// === impl EdgeSender ===

impl EdgeSender {
    /// Sends without waiting. `Ok(Some(batch))` gives the batch back: the edge is full, and the batch is
    /// for [`wait`](Self::wait). Either way the consumer answers for the records from here on.
    ///
    /// # Errors
    /// The consumer has gone.
    pub fn offer(&self, batch: Batch) -> Result<Option<Batch>, Gone> {
        self.consumer.received(batch.records.len() as u64);
        let (events, bytes) = self.size(&batch);
        let room = match (
            Arc::clone(&self.events).try_acquire_many_owned(events),
            Arc::clone(&self.bytes).try_acquire_many_owned(bytes),
        ) {
            (Ok(events), Ok(bytes)) => (events, bytes),
            _ => return Ok(self.full(batch)),
        };
        let held = Held { batch, events, bytes, _room: Some(room) };
        // Once it has a place the consumer may take it at any moment: it is counted before.
        let place = match self.queue.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => return Ok(self.full(held.batch)),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Gone),
        };
        self.consumer.level().add(events, bytes);
        place.send(held);
        Ok(None)
    }

    /// Sends, waiting for room.
    ///
    /// # Errors
    /// The consumer has gone.
    pub async fn send(&self, batch: Batch) -> Result<(), Gone> {
        match self.offer(batch)? {
            Some(batch) => self.wait(batch).await,
            None => Ok(()),
        }
    }

    /// Sends a batch that [`offer`](Self::offer) gave back, waiting for room. Dropped on the way, its
    /// records are held by the consumer, which never saw them.
    ///
    /// # Errors
    /// The consumer has gone.
    pub async fn wait(&self, batch: Batch) -> Result<(), Gone> {
        let (events, bytes) = self.size(&batch);
        let wait = async {
            let events = Arc::clone(&self.events).acquire_many_owned(events).await.ok()?;
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok()?;
            Some((events, bytes))
        };
        let room = tokio::select! {
            room = wait => room,
            () = self.queue.closed() => return Err(Gone),
        };
        self.consumer.level().add(events, bytes);
        let held = Held { batch, events, bytes, _room: room };
        self.queue.send(held).await.map_err(|_| Gone)
    }

    /// A batch larger than the whole edge takes all of its room, or it could never pass.
    fn size(&self, batch: &Batch) -> (u32, u32) {
        let events = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
        let bytes = u32::try_from(batch.records.memory_bytes()).unwrap_or(u32::MAX);
        (events.min(self.bounds.max_events), bytes.min(self.bounds.max_bytes))
    }

    /// Records for it that were never sent: the consumer holds them, and never saw them.
    pub fn count_unsent(&self, records: u64) {
        self.consumer.received(records);
    }

    fn full(&self, batch: Batch) -> Option<Batch> {
        match self.when_full {
            WhenFull::Block => Some(batch),
            WhenFull::DropNewest => {
                self.consumer.count(DISCARDED, Reason::BufferFull, batch.records.len() as u64);
                batch.ack.settle(End::Dropped);
                None
            }
        }
    }
}

// === impl EdgeReceiver ===

impl EdgeReceiver {
    /// Whether every sender has gone: nothing comes but what waits.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// The next batch; `None` once every sender has gone and the edge is empty.
    pub fn poll_recv(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Batch>> {
        self.queue.poll_recv(cx).map(|held| {
            held.map(|held| {
                self.level.remove(held.events, held.bytes);
                held.batch
            })
        })
    }
}
