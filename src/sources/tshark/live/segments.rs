//! `mode: segments`: dumpcap writes short files, tsharks read them once they are closed, or we do.
//!
//! Data passes: interface → dumpcap → segments on disk → [`Backlog`] → tsharks → [`Emitter`], or with
//! `dissect: headers` → [`FrameReaders`]. Nothing is lost while the disk's budget lasts, whatever happens to
//! tshark: a segment is deleted only when it was read, and what is left the next run reads ([`mod@left`]). A
//! start of dumpcap is an epoch.

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

use super::super::process::{pcap, programs, worker::Tshark};
use super::super::replay::chunks::open;
use super::super::{
    Config, Restart,
    order::Emitter,
    reading::{ReadEnd, Reading},
};
use super::{
    backlog::{Backlog, Item, Segment},
    capture::{Capturer, remove},
    frames::{FrameEmitter, segments::FrameReaders},
    left,
    shelf::Shelf,
};
use crate::{
    component::{Context, Error, Outputs, drain, with_causes},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause},
    retry::Delays,
    storage::private::{self, PrivateFolder},
    task,
};

/// How often a segment is tried whose tshark does not start: with the delays of a default config a
/// shortage of processes or memory, or an update of tshark, may last some 45 seconds.
const TRIES: u32 = 8;
/// The folder in `data_dir` that has one for each source without a `segment.dir`.
const BY_DEFAULT: &str = "segments";

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
    shelf: Shelf,
    /// Cancelled when what is not read yet is given up.
    overdue: CancellationToken,
}

/// What the readers of segments work with.
struct Place<'a> {
    config: &'a Config,
    backlog: &'a Backlog,
    out: &'a Outputs,
    shelf: Shelf,
    overdue: CancellationToken,
}

/// Captures until `stop`, then has a `reader` read what was captured, or reads it ourselves.
///
/// # Errors
/// If a program is missing, or refuses its command line.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    context: &Context,
    reader: Option<Tshark>,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    let base = folder(config, context);
    let (mut private, epochs) = prepare(base.clone(), former(config, context)).await?;
    // Whatever becomes of us, the next run reads what lies there.
    private.keep(true);
    let backlog = Arc::new(Backlog::default());
    let first_epoch = left::queue(epochs, &backlog);
    let capturer = Capturer {
        config: config.clone(),
        dumpcap: programs::find(&config.programs.dumpcap)?,
        folder: private.path().to_owned(),
        first_epoch,
        backlog: Arc::clone(&backlog),
        meter: Arc::clone(out.meter()),
    };
    let mut capture = AbortOnDropHandle::new(task::spawn(capturer.run(stop.clone())));
    if let Some(reader) = &reader {
        reader.try_out().await?;
    }
    let overdue = CancellationToken::new();
    let place = Place {
        config,
        backlog: &backlog,
        out,
        shelf: Shelf::new(&base, Arc::clone(out.meter())),
        overdue: overdue.clone(),
    };
    // Readers look at it between blocks: what they handed on stays handed on.
    let deadline = AbortOnDropHandle::new(task::spawn(async move {
        stop.cancelled().await;
        sleep(drain::READERS).await;
        overdue.cancel();
    }));
    let (read, in_hand) = match &reader {
        Some(reader) => place.by_tshark(reader).await,
        None => place.by_ourselves().await,
    };
    drop(deadline);
    let stopped = if read.is_ok() {
        (&mut capture).await.unwrap_or_else(|error| {
            Err(Error::failure("the supervisor of dumpcap has failed").because(error))
        })
    } else {
        Ok(())
    };
    let left = left(private.path().to_owned()).await;
    let unread = left.saturating_sub(in_hand);
    if unread > 0 {
        out.meter().count(ERRORS, ErrorType::SegmentUnread, 1);
        tracing::error!(
            packets = unread,
            folder = %private.path().display(),
            "segments were not read before the end, as what follows was too slow: the next run reads them"
        );
    }
    private.keep(unread > 0);
    drop(task::blocking(move || drop(private)).await);
    read.and(stopped)
}

/// Where segments go. Sources that name one folder have one of their own in it, each: they must not read
/// what another one captured.
pub(in crate::sources::tshark) fn folder(config: &Config, context: &Context) -> PathBuf {
    let id = context.meter.id();
    match &config.segment.dir {
        Some(dir) => dir.join(format!("source-{id}")),
        None => context.data_dir.join(BY_DEFAULT).join(id),
    }
}

/// Where earlier versions put them, without telling sources apart: the first source that comes reads what they
/// left. What lies in the folder that another source has by default is that one's.
fn former(config: &Config, context: &Context) -> Option<PathBuf> {
    let dir = std::path::absolute(config.segment.dir.as_ref()?).ok()?;
    let defaults = std::path::absolute(context.data_dir.join(BY_DEFAULT)).ok()?;
    let is_anothers = dir.parent() == Some(&defaults) && !dir.ends_with(context.meter.id());
    (!is_anothers).then_some(dir)
}

/// A new folder for segments in `base`, with what earlier runs left there, and in the `former` place.
async fn prepare(
    base: PathBuf,
    former: Option<PathBuf>,
) -> Result<(PrivateFolder, Vec<left::Epoch>), Error> {
    let prepare = move || {
        let unwritable = |error| {
            Error::configuration(format!("no segments can be written to {}", base.display()))
                .hint("make the folder writable, or choose another with `segment.dir`")
                .because(error)
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&base).map_err(unwritable)?;
        let folder = PrivateFolder::create(&base).map_err(unwritable)?;
        let mut taken = Ok(());
        for place in former.iter().chain([&base]) {
            private::sweep(place, |dead| {
                if taken.is_ok() {
                    taken = left::take_over(dead, folder.path());
                }
                taken.is_ok()
            });
        }
        let found = taken.and_then(|()| left::found(folder.path())).map_err(unwritable)?;
        let bytes: u64 = found.iter().map(left::Epoch::bytes).sum();
        if bytes > 0 {
            tracing::warn!(bytes, "an earlier run left segments: they are read first");
        }
        Ok((folder, found))
    };
    let prepared = task::blocking(prepare).await;
    prepared.map_err(|join| Error::failure("the folder for segments is not made").because(join))?
}

/// Packets in the segments in `folder`, of which there may be gigabytes.
async fn left(folder: PathBuf) -> u64 {
    // One that panicked has said so.
    task::blocking(move || count(&folder)).await.unwrap_or_default()
}

/// Packets in the segments in `folder`; waits for the disk.
fn count(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count(&entry.path()),
            Ok(kind) if kind.is_file() => pcap::count_packets(&entry.path()).unwrap_or(0),
            _ => 0,
        })
        .sum()
}

// === impl Place ===

impl Place<'_> {
    /// Reads to the end; also answers how many packets of a segment were handed on that is still there.
    async fn by_tshark(self, reader: &Tshark) -> (Result<(), Error>, u64) {
        let mut readers = Readers {
            backlog: self.backlog,
            workers: self.config.workers.into(),
            reader,
            jobs: VecDeque::new(),
            emitter: Emitter::new(self.out, self.config.interface.as_deref()),
            out: self.out,
            restart: &self.config.restart,
            shelf: self.shelf,
            overdue: self.overdue,
        };
        let read = readers.run().await;
        (read, readers.emitter.packets())
    }

    /// The same without tshark.
    async fn by_ourselves(self) -> (Result<(), Error>, u64) {
        let mut readers = FrameReaders {
            backlog: self.backlog,
            emitter: FrameEmitter::new(self.out, self.config),
            out: self.out,
            shelf: self.shelf,
            overdue: self.overdue,
        };
        let read = readers.run().await;
        (read, readers.emitter.packets())
    }
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
            Item::Begin(_) | Item::Shed(_) | Item::Reached(_) | Item::End(_) => None,
        };
        self.jobs.push_back(Job { item, reading });
    }

    async fn start(&self, segment: &Segment) -> Result<Reading, Error> {
        Ok(Reading::new(self.reader.start(open(&segment.path).await?).await?))
    }

    /// Takes the item's turn, and begins others meanwhile.
    async fn finish(&mut self, job: Job) -> Result<(), Error> {
        match job.item {
            Item::Begin(epoch) => self.emitter.begin_epoch(epoch),
            Item::Shed(packets) => self.emitter.skip_packets(packets),
            Item::Reached(time) => self.emitter.reached(time).await?,
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
                    left::note(segment, self.emitter.epoch_packets()).await;
                    remove(&segment.path).await;
                    self.emitter.end_capture(None);
                    return Ok(());
                }
                Some(ReadEnd::Damaged(words)) => {
                    self.shelf.damaged(segment, &words, self.emitter.packets()).await;
                    self.emitter.end_capture(None);
                    left::note(segment, self.emitter.epoch_packets()).await;
                    return Ok(());
                }
                Some(ReadEnd::Died(how)) => {
                    self.given_up(segment, &how).await;
                    return Ok(());
                }
                Some(ReadEnd::Refused(words)) => words,
                Some(ReadEnd::NotStarted(error)) => with_causes(&error),
            };
            self.out.meter().count(ERRORS, ErrorType::TsharkFailed, 1);
            let is_there = tokio::fs::try_exists(&segment.path).await.unwrap_or(false);
            if left == 0 || !is_there {
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
            let open = open(&segment.path);
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

    /// A segment that no tshark reads to its end.
    async fn given_up(&mut self, segment: &Segment, why: &str) {
        let packets = self.shelf.given_up(segment, why, self.emitter.packets()).await;
        self.emitter.end_capture(packets);
        left::note(segment, self.emitter.epoch_packets()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::poll;

    use super::*;

    /// A pcap file of so many packets of four bytes.
    fn segment(packets: usize) -> Vec<u8> {
        let header = [&[0xd4, 0xc3, 0xb2, 0xa1][..], &[0; 20]].concat();
        let packet = [&[0; 8][..], &[4, 0, 0, 0], &[4, 0, 0, 0], &[0; 4]].concat();
        [header, packet.repeat(packets)].concat()
    }

    /// Does `work` in a runtime of one thread, whose only thread for what may wait is taken until
    /// `work` sends: what it does meanwhile, it would do on the runtime's own thread.
    fn with_no_thread_that_may_wait<W: Future>(work: impl FnOnce(mpsc::Sender<()>) -> W) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, released) = mpsc::channel();
            let taken = task::blocking(move || released.recv());
            work(release).await;
            taken.await.unwrap().unwrap();
        });
    }

    #[test]
    fn segments_are_not_counted_on_a_thread_of_the_runtime() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("0")).unwrap();
        fs::write(folder.path().join("0/a.pcap"), segment(7)).unwrap();
        fs::write(folder.path().join("b.pcap"), segment(3)).unwrap();
        with_no_thread_that_may_wait(|release| async move {
            let mut counting = Box::pin(left(folder.path().to_owned()));
            assert!(poll!(&mut counting).is_pending());
            release.send(()).unwrap();
            assert_eq!(counting.await, 10);
        });
    }

    #[test]
    fn what_an_earlier_run_left_is_not_looked_for_on_a_thread_of_the_runtime() {
        let base = tempfile::tempdir().unwrap();
        let dead = base.path().join("tidegate-1-0");
        fs::create_dir_all(dead.join("3")).unwrap();
        fs::write(dead.join("3/segment_00001_20260101.pcap"), segment(5)).unwrap();
        let (path, is_there) = (base.path().to_owned(), dead.clone());
        with_no_thread_that_may_wait(|release| async move {
            let mut preparing = Box::pin(prepare(path, None));
            assert!(poll!(&mut preparing).is_pending());
            assert!(is_there.exists());
            release.send(()).unwrap();
            let (folder, found) = preparing.await.unwrap();
            assert!(folder.path().join("3").is_dir());
            assert_eq!(left::queue(found, &Backlog::default()), 4);
        });
        assert!(!dead.exists());
    }
}
