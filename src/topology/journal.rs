//! How many records are in memory, written down once a second: a run that is killed can't say what it takes
//! along, but the next one can.
//!
//! The file is there as long as the run. It is not synced: it is about the end of the process; a power
//! loss may take it along.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::summary::Observed;
use crate::{
    component::{Role, drain},
    metrics::{CAPTURE_LOST, FLOW_ACTIVE, LossCause},
    task,
};

/// The file's name in `data_dir`.
const NAME: &str = "in-memory";

const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Keeps the file.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<File>,
    writing: AbortOnDropHandle<()>,
}

/// The file, to be worked on in threads that may wait for a disk.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Nothing is to be there any more.
    ended: AtomicBool,
    /// Held by whoever works on it.
    turn: Mutex<()>,
}

// === impl Journal ===

impl Journal {
    /// Counts what the run before took along, if it was killed, and starts to write. Needs a tokio runtime.
    pub(super) fn start(directory: &Path, components: &[Observed]) -> Self {
        let path = directory.join(NAME);
        let source = components.iter().find(|component| component.role == Role::Source);
        if let (Some(records @ 1..), Some(source)) = (read(&path), source) {
            source.meter.count(CAPTURE_LOST, LossCause::PreviousRun, records);
            source.meter.span().in_scope(|| {
                tracing::error!(
                    records,
                    "an earlier run was killed while up to so many records and open flows were in memory"
                );
            });
        }
        let components = components.to_vec();
        let file = Arc::new(File { path, ended: AtomicBool::new(false), turn: Mutex::default() });
        let writing = AbortOnDropHandle::new(task::spawn(write(Arc::clone(&file), components)));
        Self { file, writing }
    }

    /// The run has ended and its account says what was lost.
    pub(super) async fn end(self) {
        self.end_within(drain::JOURNAL).await;
    }

    async fn end_within(self, limit: Duration) {
        let Self { file, writing } = self;
        writing.abort();
        // An abort does not stop a write that is under way: that sees this, or the removal waits for it.
        file.ended.store(true, Ordering::SeqCst);
        let removal = task::blocking(move || file.remove());
        let removed = match timeout(limit, removal).await {
            Ok(removed) => removed.map_err(io::Error::other).flatten(),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "the next run will take this one for killed");
        }
    }
}

async fn write(file: Arc<File>, components: Vec<Observed>) {
    let mut every = interval(WRITE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = None;
    loop {
        every.tick().await;
        let records = in_memory(&components);
        if written == Some(records) {
            continue;
        }
        let file = Arc::clone(&file);
        let done = task::blocking(move || file.put(records)).await;
        match done.map_err(io::Error::other).flatten() {
            Ok(()) => written = Some(records),
            Err(error) => tracing::debug!(%error, "what is in memory is not written down"),
        }
    }
}

/// Records that a component has taken and not ended and that nobody else has, and flows that are yet to be reported.
fn in_memory(components: &[Observed]) -> u64 {
    let of = |Observed { meter, kept, .. }: &Observed| {
        let held = if *kept { 0 } else { meter.balance().held };
        held + meter.gauged(FLOW_ACTIVE)
    };
    components.iter().map(of).sum()
}

// === impl File ===

impl File {
    fn put(&self, records: u64) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended.load(Ordering::SeqCst) {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        fs::write(&new, format!("{records}\n"))?;
        if self.ended.load(Ordering::SeqCst) {
            return fs::remove_file(new);
        }
        fs::rename(new, &self.path)
    }

    fn remove(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// What stands there; `None` if nothing does, or no number.
fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        slice::from_ref,
    };

    use super::*;
    use crate::metrics::Meter;

    fn component(held: u64) -> Observed {
        let meter = Meter::new("wire", "tshark");
        meter.received(held + 5);
        meter.passed(5);
        Observed { meter, role: Role::Source, kept: false }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_run_counts_what_a_killed_one_had_in_memory_and_an_ended_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let killed = component(7);
        killed.meter.set(FLOW_ACTIVE, 3);
        let journal = Journal::start(folder.path(), from_ref(&killed));
        while read(&folder.path().join(NAME)) != Some(10) {
            tokio::time::sleep(WRITE_EVERY).await;
        }
        assert_eq!(killed.meter.balance().lost.len(), 0);
        drop(journal);

        let next = component(0);
        let journal = Journal::start(folder.path(), from_ref(&next));
        assert_eq!(next.meter.balance().lost.get("previous_run"), Some(&10));
        while read(&folder.path().join(NAME)) != Some(0) {
            tokio::time::sleep(WRITE_EVERY).await;
        }
        journal.end().await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let last = component(0);
        Journal::start(folder.path(), from_ref(&last)).end().await;
        assert_eq!(last.meter.balance().lost.len(), 0);
    }

    /// What a disk buffer had in it, or Kafka gave again, counted as lost.
    #[test]
    fn what_is_kept_elsewhere_is_not_in_memory_alone_but_for_open_flows() {
        let kept = Observed { kept: true, ..component(7) };
        kept.meter.set(FLOW_ACTIVE, 3);
        assert_eq!(in_memory(&[kept, component(2)]), 5);
    }

    /// How many open files of this process are the one at `path`.
    fn opened(path: &Path) -> usize {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let target = |entry: io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
        open.filter_map(target).filter(|target| target == path).count()
    }

    /// A write that was under way came to its end after the removal: the next run took this one for killed.
    #[tokio::test]
    async fn a_write_that_hangs_leaves_nothing_when_it_comes_to_its_end_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let run = component(0);
        let journal = Journal::start(folder.path(), from_ref(&run));
        let pause = || tokio::time::sleep(Duration::from_millis(20));
        while read(&folder.path().join(NAME)).is_none() {
            pause().await;
        }
        // A write into a pipe that is full.
        let new = folder.path().join(NAME).with_extension("new");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &new, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let pipe = fs::OpenOptions::new().read(true).write(true).open(&new).unwrap();
        let room = rustix::pipe::fcntl_getpipe_size(&pipe).unwrap();
        (&pipe).write_all(&vec![0; room]).unwrap();
        run.meter.received(3);
        while opened(&new) < 2 {
            pause().await;
        }
        journal.end_within(Duration::from_millis(50)).await;
        (&pipe).read_exact(&mut vec![0; room]).unwrap();
        while opened(&new) > 1 {
            pause().await;
        }
        let is_empty = async {
            while fs::read_dir(folder.path()).unwrap().count() > 0 {
                pause().await;
            }
        };
        let emptied = timeout(Duration::from_mins(1), is_empty).await;
        assert!(emptied.is_ok(), "what is left would be counted by the next run");
    }

    #[test]
    fn garbage_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(read(&path), None);
        for (text, number) in [("12\n", Some(12)), ("", None), ("-1", None), ("\u{0}\u{0}", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path), number, "{text:?}");
        }
    }
}
