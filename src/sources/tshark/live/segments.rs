//! `mode: segments`: dumpcap writes short files, tsharks read them once they are closed.
//!
//! Data passes: interface → dumpcap → segments on disk → [`Backlog`] → tsharks → [`Emitter`]. Nothing
//! is lost while the disk's budget lasts, whatever happens to tshark: a segment is deleted only when it
//! was read. A start of dumpcap is an epoch.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::super::process::{
    pcap,
    private::{self, PrivateFolder},
    programs,
    worker::Tshark,
};
use super::super::replay::{chunks::open, file::describe};
use super::super::{
    Config, Restart,
    order::Emitter,
    reading::{ReadEnd, Reading},
};
use super::{
    backlog::{Backlog, Item, Segment},
    capture::{Capturer, remove},
};
use crate::{
    component::{Context, Error, Outputs},
    metrics::{CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, ERRORS, ErrorType, LossCause},
    retry::Delays,
    task,
};

/// How long after a stop segments are still read; what is left then is counted as lost.
const DRAIN: Duration = Duration::from_secs(30);

/// How often a segment is tried whose tshark does not start: with the delays of a default config a
/// shortage of processes or memory, or an update of tshark, may last some 45 seconds.
const TRIES: u32 = 8;

/// Damaged segments that are kept, for whoever wants to know why.
const KEPT_DAMAGED: usize = 4;

/// An item, and the tshark that reads it if it is a segment.
struct Job {
    item: Item,
    reading: Option<Result<Reading, Error>>,
}

/// The readers' side.
struct Readers<'a> {
    backlog: &'a Backlog,
    workers: usize,
    reader: &'a Tshark,
    jobs: VecDeque<Job>,
    emitter: Emitter<'a>,
    out: &'a Outputs,
    /// How long to wait between tries.
    restart: &'a Restart,
    /// Where damaged segments go.
    damaged: PathBuf,
    /// Cancelled when what is not read yet is given up.
    overdue: CancellationToken,
}

/// Captures until `stop`, then reads what was captured.
///
/// # Errors
/// If a program is missing, or refuses its command line.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    context: &Context,
    reader: Tshark,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    let base = folder(config, context);
    let mut private = prepare(&base, out)?;
    let backlog = Arc::new(Backlog::default());
    let capturer = Capturer {
        config: config.clone(),
        dumpcap: programs::find(&config.programs.dumpcap)?,
        folder: private.path().to_owned(),
        backlog: Arc::clone(&backlog),
        meter: Arc::clone(out.meter()),
    };
    let mut capture = AbortOnDropHandle::new(task::spawn(capturer.run(stop.clone())));
    reader.try_out().await?;
    // Should we be dropped, the next run counts what lies there.
    private.keep(true);
    let overdue = CancellationToken::new();
    let mut readers = Readers {
        backlog: &backlog,
        workers: config.workers.into(),
        reader: &reader,
        jobs: VecDeque::new(),
        emitter: Emitter::new(out),
        out,
        restart: &config.restart,
        damaged: base.join("damaged"),
        overdue: overdue.clone(),
    };
    // Readers look at it between blocks: what they handed on stays handed on.
    let deadline = AbortOnDropHandle::new(task::spawn(async move {
        stop.cancelled().await;
        sleep(DRAIN).await;
        overdue.cancel();
    }));
    let read = readers.run().await;
    drop(deadline);
    let stopped = if read.is_ok() {
        (&mut capture).await.unwrap_or_else(|error| {
            Err(Error::failure("the supervisor of dumpcap has failed").because(error))
        })
    } else {
        Ok(())
    };
    let left = left(private.path()).saturating_sub(readers.emitter.packets());
    if left > 0 {
        out.meter().count(ERRORS, ErrorType::SegmentUnread, 1);
        out.meter().count(CAPTURE_LOST, LossCause::Shutdown, left);
        tracing::error!(
            packets = left,
            "segments were not read before the end: what follows them was too slow"
        );
    }
    private.keep(false);
    read.and(stopped)
}

/// Where segments go.
pub(in crate::sources::tshark) fn folder(config: &Config, context: &Context) -> PathBuf {
    let default = || context.data_dir.join("segments").join(context.meter.id());
    config.segment.dir.clone().unwrap_or_else(default)
}

fn prepare(base: &Path, out: &Outputs) -> Result<PrivateFolder, Error> {
    let unwritable = |error| {
        Error::configuration(format!("no segments can be written to {}", base.display()))
            .hint("make the folder writable, or choose another with `segment.dir`")
            .because(error)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(unwritable)?;
    private::sweep(base, |folder| {
        let packets = left(folder);
        if packets > 0 {
            out.meter().count(ERRORS, ErrorType::SegmentUnread, 1);
            out.meter().count(CAPTURE_LOST, LossCause::PreviousRun, packets);
            tracing::error!(
                packets,
                "an earlier run ended before it read all it had captured: up to so many packets are lost"
            );
        }
    });
    PrivateFolder::create(base).map_err(unwritable)
}

/// Packets in the segments in `folder`.
fn left(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => left(&entry.path()),
            Ok(kind) if kind.is_file() => pcap::count_packets(&entry.path()).unwrap_or(0),
            _ => 0,
        })
        .sum()
}

// === impl Readers ===

impl Readers<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        while !self.overdue.is_cancelled() {
            while self.jobs.len() < self.workers {
                let Some(item) = (if self.jobs.is_empty() {
                    self.backlog.next().await
                } else {
                    self.backlog.try_next()
                }) else {
                    break;
                };
                self.begin(item).await;
            }
            let Some(job) = self.jobs.pop_front() else {
                return Ok(());
            };
            self.finish(job).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, item: Item) {
        let reading = match &item {
            Item::Segment(segment) => Some(self.start(segment).await),
            Item::Begin(_) | Item::Shed(_) | Item::End(_) => None,
        };
        self.jobs.push_back(Job { item, reading });
    }

    async fn start(&self, segment: &Segment) -> Result<Reading, Error> {
        Ok(Reading::new(self.reader.start(open(&segment.path)?).await?))
    }

    /// Takes the item's turn, and begins others meanwhile.
    async fn finish(&mut self, job: Job) -> Result<(), Error> {
        match job.item {
            Item::Begin(epoch) => self.emitter.begin_epoch(epoch),
            Item::Shed(packets) => self.emitter.skip_packets(packets),
            Item::End(captured) => {
                let missing = captured
                    .and_then(|captured| captured.checked_sub(self.emitter.epoch_packets()))
                    .unwrap_or(0);
                self.out.meter().count(CAPTURE_LOST, LossCause::Unaccounted, missing);
            }
            Item::Segment(segment) => {
                if let Some(reading) = job.reading {
                    self.read(&segment, reading).await?;
                }
                self.backlog.read(&segment);
            }
        }
        Ok(())
    }

    /// Reads a segment. As tshark took its command line before, one that does not start now has met a
    /// shortage, which may pass: the segment waits for it on the disk.
    async fn read(
        &mut self,
        segment: &Segment,
        mut reading: Result<Reading, Error>,
    ) -> Result<(), Error> {
        let mut delays = Delays::new(
            Duration::from_secs(self.restart.initial_secs),
            Duration::from_secs(self.restart.max_secs),
        );
        for left in (0..TRIES).rev() {
            let end = match reading {
                Ok(reading) => self.follow(segment, reading).await?,
                Err(error) => Some(ReadEnd::NotStarted(error)),
            };
            let why = match end {
                None => return Ok(()),
                Some(ReadEnd::Complete) => {
                    remove(&segment.path);
                    self.emitter.end_capture(None);
                    return Ok(());
                }
                Some(ReadEnd::Damaged(words)) => {
                    self.damaged(segment, &words);
                    return Ok(());
                }
                Some(ReadEnd::Died(how)) => {
                    self.given_up(segment, &how).await;
                    return Ok(());
                }
                Some(ReadEnd::Refused(words)) => words,
                Some(ReadEnd::NotStarted(error)) => describe(&error),
            };
            self.out.meter().count(ERRORS, ErrorType::TsharkFailed, 1);
            if left == 0 || !segment.path.exists() {
                self.given_up(segment, &why).await;
                return Ok(());
            }
            let delay = delays.next_delay();
            tracing::warn!(why, ?delay, "tshark did not start; the segment is tried again");
            tokio::select! {
                () = sleep(delay) => {}
                () = self.overdue.cancelled() => return Ok(()),
            }
            self.emitter.again();
            reading = self.start(segment).await;
        }
        Ok(())
    }

    /// Hands on what a tshark prints, and begins others meanwhile; `None` when it is overdue.
    async fn follow(
        &mut self,
        segment: &Segment,
        mut reading: Reading,
    ) -> Result<Option<ReadEnd>, Error> {
        loop {
            let open = || open(&segment.path);
            if let Some(end) = reading.step(self.reader, open, &mut self.emitter).await? {
                return Ok(Some(end));
            }
            if self.overdue.is_cancelled() {
                return Ok(None);
            }
            if self.jobs.len() + 1 < self.workers
                && let Some(item) = self.backlog.try_next()
            {
                self.begin(item).await;
            }
        }
    }

    /// A segment of which tshark says that it is damaged.
    fn damaged(&mut self, segment: &Segment, words: &str) {
        if segment.may_be_cut {
            // That packets are missing was said when its capturer was killed.
            remove(&segment.path);
        } else {
            self.out.meter().count(ERRORS, ErrorType::DamagedSegment, 1);
            self.out.meter().count(CAPTURE_UNKNOWN_LOSS, (), 1);
            tracing::error!(
                says = words,
                packets = self.emitter.packets(),
                folder = %self.damaged.display(),
                "a segment is damaged: its complete packets were read, and it is kept"
            );
            self.keep(segment);
        }
        self.emitter.end_capture(None);
    }

    /// A segment that no tshark reads to its end: counts what is missing.
    async fn given_up(&mut self, segment: &Segment, why: &str) {
        let path = segment.path.clone();
        let packets = task::blocking(move || pcap::count_packets(&path)).await;
        let packets = packets.ok().and_then(Result::ok);
        let seen = self.emitter.packets();
        let meter = self.out.meter();
        meter.count(ERRORS, ErrorType::DamagedSegment, 1);
        match packets {
            Some(packets) => {
                meter.count(CAPTURE_LOST, LossCause::TsharkFailed, packets.saturating_sub(seen));
            }
            None => meter.count(CAPTURE_UNKNOWN_LOSS, (), 1),
        }
        tracing::error!(
            why,
            packets = seen,
            of = packets,
            folder = %self.damaged.display(),
            "no tshark reads a segment to its end: the rest of it is lost, and it is kept"
        );
        self.keep(segment);
        self.emitter.end_capture(packets);
    }

    /// Keeps a damaged segment, and no more than a few of them.
    fn keep(&self, segment: &Segment) {
        if let Err(error) = keep(&segment.path, &self.damaged) {
            tracing::warn!(%error, "the damaged segment is not kept");
            remove(&segment.path);
        }
    }
}

fn keep(segment: &Path, folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut kept: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| (entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path()))
        .collect();
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(KEPT_DAMAGED);
    for (_, path) in kept.into_iter().take(surplus) {
        fs::remove_file(path)?;
    }
    fs::rename(segment, folder.join(segment.file_name().unwrap_or_default()))
}
