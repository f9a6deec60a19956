//! A bounded edge between two stages: bounded in batches, records and bytes, and either it waits
//! when it is full or it sheds the newest batch and says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll},
};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    ack::End,
    batch::Batch,
    metrics::{DISCARDED, Level, Meter, Reason},
};

/// Batches an edge holds at most; empty ones, which only carry a watermark, count too.
pub(super) const MAX_BATCHES: usize = 64;

/// How much an edge may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Records.
    pub max_events: u32,
    /// Bytes of memory.
    pub max_bytes: u32,
}

/// What happens when an edge is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The pipeline before it waits.
    #[default]
    Block,
    /// What comes is dropped and counted.
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
    coming: Arc<AtomicBool>,
    spared: CancellationToken,
}

/// The downstream end.
#[derive(Debug)]
pub struct EdgeReceiver {
    queue: mpsc::Receiver<Held>,
    /// The next batch, if it has been looked at: it still takes its room.
    head: Option<Held>,
    level: Level,
    coming: Arc<AtomicBool>,
    spared: CancellationToken,
}

/// Says that a batch is on its way, until it is dropped.
#[derive(Debug)]
pub(super) struct Coming<'a>(&'a AtomicBool);

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
        coming: Arc::default(),
        spared: CancellationToken::new(),
    };
    let (coming, spared) = (Arc::clone(&sender.coming), sender.spared.clone());
    let level = consumer.level();
    (sender, EdgeReceiver { queue: receiver, head: None, level, coming, spared })
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
        self.consumer.level().add(events.into(), bytes.into());
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
        self.consumer.level().add(events.into(), bytes.into());
        let held = Held { batch, events, bytes, _room: room };
        self.queue.send(held).await.map_err(|_| Gone)
    }

    /// Waits until there is room for `batch`: [`offer`](Self::offer) then takes it at once, if nothing
    /// else was sent meanwhile. Dropping it loses nothing.
    ///
    /// # Errors
    /// The consumer has gone.
    pub async fn room(&self, batch: &Batch) -> Result<(), Gone> {
        if self.when_full == WhenFull::DropNewest {
            return Ok(());
        }
        let (events, bytes) = self.size(batch);
        let room = async {
            let events = self.events.acquire_many(events).await;
            let bytes = self.bytes.acquire_many(bytes).await;
            self.queue.reserve().await.is_ok() && events.is_ok() && bytes.is_ok()
        };
        tokio::select! {
            is_there = room => if is_there { Ok(()) } else { Err(Gone) },
            () = self.queue.closed() => Err(Gone),
        }
    }

    /// Tells the consumer that it need not wait for its destination: the next run has what it does not deliver.
    pub fn spare(&self) {
        self.spared.cancel();
    }

    /// Tells the consumer that a batch is on its way to it.
    pub(super) fn coming(&self) -> Coming<'_> {
        self.coming.store(true, Ordering::Release);
        Coming(&self.coming)
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
        task::ready!(self.poll_head(cx));
        Poll::Ready(self.take())
    }

    /// Looks at the next batch, which keeps its place and its room.
    pub(super) fn poll_head(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<&Batch>> {
        if self.head.is_none() {
            self.head = task::ready!(self.queue.poll_recv(cx));
        }
        Poll::Ready(self.head())
    }

    /// The next batch, if [`poll_head`](Self::poll_head) has found it.
    pub(super) fn head(&self) -> Option<&Batch> {
        self.head.as_ref().map(|held| &held.batch)
    }

    /// Takes the batch that [`poll_head`](Self::poll_head) has found.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let held = self.head.take()?;
        self.level.remove(held.events.into(), held.bytes.into());
        Some(held.batch)
    }

    /// Cancelled once the consumer need not wait for its destination.
    pub fn spared(&self) -> &CancellationToken {
        &self.spared
    }

    /// Whether its sender has a batch for it that it has not placed. To be asked before
    /// [`poll_head`](Self::poll_head): what is placed in between is found there.
    pub(super) fn is_coming(&self) -> bool {
        self.coming.load(Ordering::Acquire)
    }
}

// === impl Coming ===

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
