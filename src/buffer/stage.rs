//! The stage that topology puts in front of a sink with a disk buffer.
//!
//! Two loops share the log: one takes batches, appends and syncs them in groups, and acknowledges them; the
//! other reads what is synced, hands it on under new receipts, and acknowledges it in the log in its order.
//! Once a run is stopped and all that came is synced, the sink need not wait for its destination any more.
//! What it takes in counts as absorbed, what it hands on as made; what stays on disk at the end as stored
//! (docs/adr/0022-what-a-disk-buffer-takes-is-absorbed.md).

mod forward;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::Notify;
use tracing::{error, warn};

use self::forward::{CHUNK_BYTES, Forward};
use super::{
    disk::Folder,
    log::{Log, bytes_of},
    reader::{Reader, lock},
    segment::Place,
};
use crate::{
    ack::{Ack, End, Receipts},
    batch::Batch,
    codec::wire,
    component::{
        Clock, Component, Context, Error, Input, Outputs, Port, Stage, edge::WhenFull, with_causes,
    },
    log_limit::LogLimit,
    metrics::{BUFFER_LOST, BufferLoss, DISCARDED, ERRORS, ErrorType, Meter, Reason},
    record::Records,
    storage::{self, directory::OwnDirectory},
    task,
};

/// The type of the component that a disk buffer is.
pub const KIND: &str = "disk_buffer";
/// Payloads that are synced at once, in bytes, about.
const GROUP_BYTES: usize = 1 << 20;
/// Between two tries of a disk.
const PAUSE: Duration = Duration::from_secs(1);

/// What a disk buffer is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its directory.
    pub path: PathBuf,
    /// Bytes it may take there.
    pub max_bytes: u64,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

/// Bytes of memory that a disk buffer needs beside the edges around it.
pub const fn memory_bytes() -> u64 {
    (4 * GROUP_BYTES + 4 * CHUNK_BYTES) as u64
}

/// The buffer at work.
struct Buffer {
    shared: Arc<Shared>,
    receipts: Receipts,
    when_full: WhenFull,
    max_bytes: u64,
    /// What all below of was acknowledged when the log was opened.
    acknowledged: u64,
    _directory: OwnDirectory,
}

/// What both loops need.
#[derive(Debug)]
struct Shared {
    /// Held while its disk is waited for: only threads that may wait take it.
    log: Mutex<Log<Folder>>,
    meter: Arc<Meter>,
    /// How the log stood after the last operation, as the gauges say; never held for long.
    standing: Mutex<Standing>,
    /// Something was synced, or nothing more comes.
    synced: Notify,
    /// Something was acknowledged.
    freed: Notify,
    failures: LogLimit,
    full: LogLimit,
    damage: LogLimit,
}

/// How a log stands.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// Entries that are synced and not acknowledged.
    waiting: u64,
    bytes: u64,
    /// Bytes that it may still take.
    room: u64,
    /// All entries below are acknowledged.
    acknowledged: u64,
    /// All entries below are handed on.
    handed_to: u64,
}

/// Records that are encoded, and who waits for them.
#[derive(Debug, Default)]
struct Group {
    payloads: Vec<u8>,
    ends: Vec<usize>,
    /// Each batch's share, and how many records there are up to its end.
    shares: Vec<(Ack, usize)>,
    /// Records that can't be stored, each a batch: they go past the buffer.
    past: Vec<Batch>,
}

/// The stage of a disk buffer.
///
/// # Errors
/// When its directory can't be used, or what is in it can't be read by this version.
pub fn component(settings: &Settings, context: &Context) -> Result<Component, Error> {
    Ok(Component::stage(Buffer::open(settings, context)?))
}

// === impl Buffer ===

impl Stage for Buffer {
    async fn run(self, mut input: Input, out: Outputs) -> Result<(), Error> {
        let forward = Forward {
            shared: Arc::clone(&self.shared),
            receipts: self.receipts.clone(),
            reader: Reader::new(self.acknowledged),
            ready: VecDeque::new(),
            failed_reads: 0,
            newer: None,
            damaged: None,
        };
        let (done, ended) = tokio::sync::watch::channel(false);
        let stop = input.stop().clone();
        let take = async {
            while let Some(batch) = input.recv().await {
                let mut group = Group::default();
                group.add(batch, self.max_bytes);
                while group.payloads.len() < GROUP_BYTES
                    && let Some(Some(batch)) = input.recv().now_or_never()
                {
                    group.add(batch, self.max_bytes);
                }
                self.store(group, &out).await?;
            }
            done.send_replace(true);
            self.shared.synced.notify_one();
            Ok(())
        };
        let spare = async {
            let mut ended = ended.clone();
            if ended.wait_for(|ended| *ended).await.is_ok() {
                stop.cancelled().await;
                out.spare();
            }
            std::future::pending().await
        };
        let forward = async {
            tokio::select! {
                done = forward.run(&out, &ended) => done,
                never = spare => never,
            }
        };
        tokio::try_join!(take, forward)?;
        Ok(())
    }
}

impl Buffer {
    fn open(settings: &Settings, context: &Context) -> Result<Self, Error> {
        let Settings { path, max_bytes, when_full } = settings;
        let unusable = |error: storage::Error| {
            let message = "the disk buffer's directory can't be used";
            match error {
                storage::Error::Busy { .. } => Error::failure(message).because(error),
                _ => Error::configuration(message)
                    .because(error)
                    .hint("give the user that runs tidegate access, or set `buffer.path`"),
            }
        };
        let directory = OwnDirectory::open(path).map_err(unusable)?;
        let opened = Log::open(Folder(path.clone()), *max_bytes);
        let (log, found) = opened.map_err(|error| {
            Error::failure(format!("the disk buffer in {} can't be opened", path.display()))
                .because(error)
        })?;
        if found.torn_bytes > 0 {
            context.meter.count(ERRORS, ErrorType::BufferTorn, 1);
            warn!(
                torn_bytes = found.torn_bytes,
                zero = found.torn_zero,
                "the buffer ended in bytes that a crash had left there; they were cut off"
            );
        }
        for place in &found.unreadable {
            unreadable(&context.meter, place);
        }
        let acknowledged = log.acknowledged();
        let shared = Shared {
            log: Mutex::new(log),
            meter: Arc::clone(&context.meter),
            standing: Mutex::default(),
            synced: Notify::new(),
            freed: Notify::new(),
            failures: LogLimit::series(),
            full: LogLimit::series(),
            damage: LogLimit::series(),
        };
        shared.with_log(|_| ());
        Ok(Self {
            shared: Arc::new(shared),
            receipts: context.receipts.clone(),
            when_full: *when_full,
            max_bytes: *max_bytes,
            acknowledged,
            _directory: directory,
        })
    }

    /// Brings a group to the disk, a part that has room after the other, and acknowledges it.
    async fn store(&self, mut group: Group, out: &Outputs) -> Result<(), Error> {
        let total = group.ends.len();
        let payloads = Arc::new(std::mem::take(&mut group.payloads));
        let ends = Arc::new(std::mem::take(&mut group.ends));
        let (mut from, mut dropped) = (0, Vec::new());
        while from < total {
            let to = part(&ends, from, self.part_bytes());
            if self.has_room(&ends, from..to).await {
                self.persist(&payloads, &ends, from..to).await;
                self.shared.meter.absorbed((to - from) as u64);
            } else {
                self.shared.meter.count(DISCARDED, Reason::BufferFull, (to - from) as u64);
                dropped.push(from..to);
            }
            from = to;
        }
        let mut from = 0;
        for (ack, to) in group.shares {
            let shed = dropped.iter().any(|part| part.start < to && from < part.end);
            ack.settle(if shed { End::Dropped } else { End::Delivered });
            from = to;
        }
        for batch in group.past {
            out.pass(Port::MAIN, batch).await?;
        }
        Ok(())
    }

    /// Bytes that are written at once: several parts have to fit into the buffer.
    fn part_bytes(&self) -> usize {
        usize::try_from(self.max_bytes / 8).unwrap_or(GROUP_BYTES).min(GROUP_BYTES)
    }

    /// Waits for room, or says that there is none.
    async fn has_room(&self, ends: &[usize], part: std::ops::Range<usize>) -> bool {
        let bytes = bytes_of(part.len(), end(ends, part.end) - end(ends, part.start));
        let mut holding = None;
        loop {
            let freed = self.shared.freed.notified();
            if self.shared.standing().room >= bytes {
                return true;
            }
            if let Some(suppressed) = self.shared.full.admit(1, Clock::Wall.now(None)) {
                warn!(suppressed, max_bytes = self.max_bytes, "the disk buffer is full");
            }
            if self.when_full == WhenFull::DropNewest {
                return false;
            }
            holding.get_or_insert_with(|| self.shared.meter.holding());
            freed.await;
        }
    }

    /// Appends and syncs records, as often as it takes.
    async fn persist(
        &self,
        payloads: &Arc<Vec<u8>>,
        ends: &Arc<Vec<usize>>,
        part: std::ops::Range<usize>,
    ) {
        let mut holding = None;
        loop {
            let shared = Arc::clone(&self.shared);
            let (payloads, ends, part) = (Arc::clone(payloads), Arc::clone(ends), part.clone());
            let write = move || shared.write(&payloads, &ends, part);
            let Err(error) = task::blocking(write).await.unwrap_or_else(|join| {
                Err(Error::failure("writing to the disk buffer panicked").because(join))
            }) else {
                break;
            };
            holding.get_or_insert_with(|| self.shared.meter.holding());
            self.shared.failed(&error);
            tokio::time::sleep(PAUSE).await;
        }
        self.shared.synced.notify_one();
    }
}

/// The end of the records before `index`.
fn end(ends: &[usize], index: usize) -> usize {
    index.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0)
}

/// Where the part of about `bytes` ends that begins with the record `from`.
fn part(ends: &[usize], from: usize, bytes: usize) -> usize {
    let limit = end(ends, from).saturating_add(bytes);
    let fits = ends.get(from..).unwrap_or_default().iter().take_while(|end| **end <= limit).count();
    from + fits.max(1)
}

// === impl Shared ===

impl Shared {
    /// Works on the log, and then says how it stands. Waits for the disk, and for others who do: to be
    /// called in a thread that may.
    fn with_log<T>(&self, work: impl FnOnce(&mut Log<Folder>) -> T) -> T {
        let mut log = lock(&self.log);
        let done = work(&mut log);
        let (waiting, bytes, room) = (log.waiting(), log.bytes(), log.room());
        let acknowledged = log.acknowledged();
        // Under the log's lock: what is told last is what holds.
        let mut standing = known(&self.standing);
        let before = *standing;
        let handed_to = before.handed_to.max(acknowledged);
        *standing = Standing { waiting, bytes, room, acknowledged, handed_to };
        self.meter.handed_on(handed_to - acknowledged);
        drop(standing);
        let level = self.meter.level();
        level.add(waiting.saturating_sub(before.waiting), bytes.saturating_sub(before.bytes));
        level.remove(before.waiting.saturating_sub(waiting), before.bytes.saturating_sub(bytes));
        self.meter.stored(waiting);
        done
    }

    fn standing(&self) -> Standing {
        *known(&self.standing)
    }

    /// All entries below `to` are handed on.
    fn handed_on(&self, to: u64) {
        let mut standing = known(&self.standing);
        standing.handed_to = standing.handed_to.max(to);
        self.meter.handed_on(standing.handed_to - standing.acknowledged);
    }

    /// Appends records and syncs them, without keeping others from the log meanwhile.
    fn write(
        &self,
        payloads: &[u8],
        ends: &[usize],
        part: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let failure = |error: super::Error| Error::failure("kept, and tried again").because(error);
        let each =
            part.map(|at| payloads.get(end(ends, at)..end(ends, at + 1)).unwrap_or_default());
        let appended = self.with_log(|log| log.append(each)).map_err(failure)?;
        let synced = appended.sync();
        self.with_log(|log| match synced {
            Ok(()) => {
                log.commit(appended);
                Ok(())
            }
            Err(error) => {
                log.abort(appended);
                Err(failure(error))
            }
        })
    }

    fn failed(&self, error: &Error) {
        self.meter.count(ERRORS, ErrorType::BufferDisk, 1);
        if let Some(suppressed) = self.failures.admit(1, Clock::Wall.now(None)) {
            error!(suppressed, "the disk buffer can't go on: {}", with_causes(error));
        }
    }

    fn lost(&self, cause: BufferLoss, entries: u64) {
        self.meter.count(BUFFER_LOST, cause, entries);
        if let Some(suppressed) = self.damage.admit(entries, Clock::Wall.now(None)) {
            error!(
                entries,
                suppressed,
                "records in the disk buffer can't be read: {}",
                cause.why()
            );
        }
    }
}

/// Says where the disk does not give back what is there.
fn unreadable(meter: &Meter, place: &Place) {
    meter.count(ERRORS, ErrorType::BufferDisk, 1);
    error!("a place of the disk buffer can't be read, and is passed over: {place}");
}

fn known(standing: &Mutex<Standing>) -> std::sync::MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

// === impl Group ===

impl Group {
    /// Encodes a batch. What is too large for the buffer, or has no wire form, goes past it.
    fn add(&mut self, batch: Batch, max_bytes: u64) {
        let largest = usize::try_from(max_bytes / 4).unwrap_or(usize::MAX).min(wire::MAX_BYTES);
        let mut past = Vec::new();
        for index in 0..batch.records.len() {
            let start = self.payloads.len();
            let written = wire::write(&batch.records, index, "", &mut self.payloads);
            if written.is_err() || self.payloads.len() - start > largest {
                self.payloads.truncate(start);
                past.push(index);
            } else {
                self.ends.push(self.payloads.len());
            }
        }
        for index in past {
            let records = one(&batch.records, index);
            self.past.push(Batch { records, ack: batch.ack.share(), watermark: batch.watermark });
        }
        self.shares.push((batch.ack, self.ends.len()));
    }
}

/// The record at an index alone.
fn one(records: &Records, index: usize) -> Records {
    struct Only(usize);
    impl<R: Clone> crate::record::VisitMut<R, ()> for Only {
        fn visit_mut(self, records: &mut Arc<Vec<R>>) {
            *records = Arc::new(records.get(self.0).cloned().into_iter().collect());
        }
    }
    let mut records = records.clone();
    records.visit_mut(Only(index));
    records
}
