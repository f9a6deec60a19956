//! The loop that reads what is synced, hands it on, and acknowledges it in the log in its order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::{PAUSE, Shared, unreadable};
use crate::{
    ack::{End, Receipts},
    batch::Batch,
    buffer::{
        disk::Folder,
        log::Log,
        reader::{Chunk, Reader},
    },
    codec::wire,
    component::{Clock, Error, Outputs, Port, with_causes},
    metrics::{BufferLoss, Holding},
    task,
};

/// What is read and handed on at once.
pub(super) const CHUNK_BYTES: usize = 512 << 10;
const CHUNK_ENTRIES: usize = 1_024;
/// So often a place that can't be read is tried.
const READ_TRIES: u32 = 4;
/// How often the acknowledged position is made to survive a power loss, at least.
const SYNC_ACKS: Duration = Duration::from_secs(5);

/// Hands on what was read.
pub(super) struct Forward {
    pub(super) shared: Arc<Shared>,
    pub(super) receipts: Receipts,
    pub(super) reader: Reader<std::fs::File>,
    /// Batches that were read and are to be handed on, with the sequence behind each.
    pub(super) ready: VecDeque<(Batch, crate::ack::Receipt, u64)>,
    pub(super) failed_reads: u32,
    /// The entry that only a later version of this program can read: nothing goes on behind it.
    pub(super) newer: Option<(u64, wire::ReadError)>,
    pub(super) damaged: Option<Holding>,
}

/// What came of reading.
enum Read {
    Some,
    /// There is nothing.
    None,
    /// It is to be tried again.
    Failed,
}

// === impl Forward ===

impl Forward {
    pub(super) async fn run(
        mut self,
        out: &Outputs,
        ended: &tokio::sync::watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut under_way = FuturesOrdered::new();
        let mut sync = tokio::time::interval(SYNC_ACKS);
        sync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut is_read, mut is_lost, mut is_last_look) = (false, false, false);
        // When what could not be read is read again.
        let mut again = None;
        loop {
            is_read |= self.newer.is_some();
            if self.ready.is_empty() && !is_read {
                match self.read_on().await {
                    Read::Some => {}
                    Read::None => is_read = true,
                    Read::Failed => {
                        (is_read, again) = (true, Some(Instant::now() + PAUSE));
                    }
                }
                continue;
            }
            if is_lost && *ended.borrow() {
                // The sink has left what it could not deliver, or is gone: what is left is for the next start.
                break;
            }
            let is_idle = is_read && self.ready.is_empty() && under_way.is_empty();
            if is_idle && self.newer.is_some() {
                break;
            }
            if is_idle && again.is_none() && *ended.borrow() {
                // What was synced after the last look is still to be read; what can't be is for the next start.
                if std::mem::replace(&mut is_last_look, true) {
                    // No receipt answers for what was counted as lost behind the last record.
                    if !is_lost {
                        self.acknowledge(self.read_to()).await;
                    }
                    break;
                }
                is_read = false;
                continue;
            }
            tokio::select! {
                biased;
                Some((end, to)) = under_way.next(), if !under_way.is_empty() => {
                    // After a loss nothing is acknowledged: it is read again at the next start.
                    is_lost |= end == End::Lost;
                    if !is_lost {
                        self.acknowledge(to).await;
                    }
                }
                () = room(out, self.ready.front()), if !self.ready.is_empty() => {
                    if let Some((batch, receipt, to)) = self.ready.pop_front() {
                        under_way.push_back(async move { (receipt.ended().await, to) });
                        self.shared.handed_on(to);
                        self.shared.meter.made(batch.records.len() as u64);
                        out.send(Port::MAIN, batch).await?;
                    }
                }
                () = self.shared.synced.notified(), if is_read && again.is_none() => is_read = false,
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    (is_read, again) = (false, None);
                }
                _ = sync.tick() => {
                    // Where nothing is under way, nothing else answers for what could not be read.
                    let to = if is_idle && !is_lost { self.read_to() } else { 0 };
                    self.acknowledge(to).await;
                    self.sync_acknowledged().await;
                }
            }
        }
        self.sync_acknowledged().await;
        self.newer.map_or(Ok(()), |(_, error)| Err(written_by_later(error)))
    }

    /// All entries below were read and handed on, or can't be read at all.
    fn read_to(&self) -> u64 {
        self.newer.as_ref().map_or(self.reader.expected(), |(sequence, _)| *sequence)
    }

    /// Reads what is synced.
    async fn read_on(&mut self) -> Read {
        let shared = Arc::clone(&self.shared);
        let mut reader = std::mem::replace(&mut self.reader, Reader::new(0));
        let read = task::blocking(move || {
            let chunk = reader.read(&shared.log, CHUNK_BYTES, CHUNK_ENTRIES);
            (reader, chunk)
        });
        let chunk = match read.await {
            Ok((reader, chunk)) => {
                self.reader = reader;
                chunk.map_err(|error| {
                    (error.is_damage(), Error::failure("read again").because(error))
                })
            }
            Err(join) => {
                Err((false, Error::failure("reading the disk buffer panicked").because(join)))
            }
        };
        match chunk {
            Ok(chunk) => {
                self.failed_reads = 0;
                self.take(&chunk).await;
                if chunk.is_empty() { Read::None } else { Read::Some }
            }
            Err((is_damage, error)) => {
                self.shared.failed(&error);
                self.failed_reads += 1;
                if self.failed_reads >= READ_TRIES {
                    self.failed_reads = 0;
                    self.skip(is_damage).await;
                }
                Read::Failed
            }
        }
    }

    /// Gives up what can't be read: a place of the disk that is damaged, or else the rest of its segment.
    async fn skip(&mut self, is_damage: bool) {
        let shared = Arc::clone(&self.shared);
        let mut reader = std::mem::replace(&mut self.reader, Reader::new(0));
        let skip = task::blocking(move || {
            let skipped = if is_damage {
                reader.leap(&shared.log);
                0
            } else {
                reader.skip(&shared.log)
            };
            (reader, skipped)
        });
        if let Ok((reader, skipped)) = skip.await {
            self.reader = reader;
            self.lost(BufferLoss::Unreadable, skipped);
        }
    }

    /// Decodes what was read.
    async fn take(&mut self, chunk: &Chunk) {
        self.lost(BufferLoss::Missing, chunk.missing);
        self.lost(BufferLoss::Damaged, chunk.damaged);
        self.lost(BufferLoss::Unreadable, chunk.unreadable);
        for place in &chunk.places {
            unreadable(&self.shared.meter, place);
        }
        let mut records = wire::Reader::default();
        let (mut to, mut unknown) = (Vec::new(), Vec::new());
        for (sequence, payload) in chunk.entries() {
            match records.read(payload) {
                Ok(()) => to.push(sequence + 1),
                Err(error @ wire::ReadError::Newer { .. }) => {
                    self.newer = Some((sequence, error));
                    break;
                }
                Err(error) => {
                    unknown.push(sequence);
                    self.lost(BufferLoss::Unknown, 1);
                    if let Some(suppressed) = self.shared.failures.admit(1, Clock::Wall.now(None)) {
                        error!(suppressed, "a record of the disk buffer: {}", with_causes(&error));
                    }
                }
            }
        }
        if !unknown.is_empty() {
            let mark = |log: &mut Log<Folder>| {
                for sequence in unknown {
                    log.mark_damaged(sequence);
                }
                Ok(())
            };
            self.work(mark).await;
        }
        let (runs, mut taken) = (records.take(), 0);
        let last = runs.len();
        for (at, (observer, mut records)) in (1..).zip(runs) {
            // Those of this sensor are written without a name.
            if !observer.is_empty() {
                records.seen_by(&observer);
            }
            taken += records.len();
            // The last one answers for all that was read, also for what is not there.
            let behind = if at == last { Some(self.read_to()) } else { None };
            let behind = behind.or_else(|| to.get(taken - 1).copied()).unwrap_or_default();
            let (ack, receipt) = self.receipts.open_awaited();
            self.ready.push_back((Batch { records, ack, watermark: None }, receipt, behind));
        }
    }

    /// Notes a loss, and shows it in `/health` to the end of the run.
    fn lost(&mut self, cause: BufferLoss, entries: u64) {
        if entries > 0 {
            self.damaged.get_or_insert_with(|| self.shared.meter.holding());
            self.shared.lost(cause, entries);
        }
    }

    /// All below `to` is delivered. Makes up for what failed before, whatever `to` is.
    async fn acknowledge(&self, to: u64) {
        self.work(move |log| log.acknowledge(to)).await;
        self.shared.freed.notify_one();
    }

    async fn sync_acknowledged(&self) {
        self.work(Log::sync_acknowledged).await;
    }

    /// Works on the log in a thread that may wait for it.
    async fn work(
        &self,
        work: impl FnOnce(&mut Log<Folder>) -> Result<(), crate::buffer::Error> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        match task::blocking(move || shared.with_log(work)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.shared.failed(&Error::failure("tried again").because(error)),
            Err(join) => self.shared.failed(&Error::failure("it panicked").because(join)),
        }
    }
}

/// What is left is kept as it is, for one who can read it.
fn written_by_later(error: wire::ReadError) -> Error {
    Error::failure("a record of the disk buffer is kept for the later Tidegate that wrote it")
        .because(error)
        .hint("start that one again, at least until it has delivered what is there")
}

/// Waits until there is room for a batch.
async fn room(out: &Outputs, batch: Option<&(Batch, crate::ack::Receipt, u64)>) {
    match batch {
        Some((batch, ..)) => out.room(Port::MAIN, batch).await,
        None => std::future::pending().await,
    }
}
