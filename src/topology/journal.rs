//! How many records are in memory, written down once a second: a run that is killed can't say what it takes
//! along, but the next one can.
//!
//! The file is there as long as the run. It is not synced: it is about the end of the process; a power
//! loss may take it along.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::summary::Observed;
use crate::{
    component::Role,
    metrics::{CAPTURE_LOST, FLOW_ACTIVE, LossCause, Meter},
    task,
};

/// The file's name in `data_dir`.
const NAME: &str = "in-memory";

const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Keeps the file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    writing: AbortOnDropHandle<()>,
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
        let meters = components.iter().map(|component| Arc::clone(&component.meter)).collect();
        let writing = AbortOnDropHandle::new(task::spawn(write(path.clone(), meters)));
        Self { path, writing }
    }

    /// The run has ended and its account says what was lost.
    pub(super) async fn end(self) {
        let Self { path, writing } = self;
        writing.abort();
        // An abort does not stop a write that is under way.
        let ended = writing.await;
        drop(ended);
        let removed = task::blocking(move || fs::remove_file(path)).await;
        match removed.map_err(io::Error::other).flatten() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the next run will take this one for killed");
            }
            _ => {}
        }
    }
}

async fn write(path: PathBuf, meters: Vec<Arc<Meter>>) {
    let mut every = interval(WRITE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = None;
    loop {
        every.tick().await;
        let records = in_memory(&meters);
        if written == Some(records) {
            continue;
        }
        let path = path.clone();
        let done = task::blocking(move || put(&path, records)).await;
        match done.map_err(io::Error::other).flatten() {
            Ok(()) => written = Some(records),
            Err(error) => tracing::debug!(%error, "what is in memory is not written down"),
        }
    }
}

/// Records that a component has taken and not ended, and flows that are yet to be reported.
fn in_memory(meters: &[Arc<Meter>]) -> u64 {
    meters.iter().map(|meter| meter.balance().held + meter.gauged(FLOW_ACTIVE)).sum()
}

fn put(path: &Path, records: u64) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, format!("{records}\n"))?;
    fs::rename(new, path)
}

/// What stands there; `None` if nothing does, or no number.
fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn component(held: u64) -> Observed {
        let meter = Meter::new("wire", "tshark");
        meter.received(held + 5);
        meter.passed(5);
        Observed { meter, role: Role::Source }
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
