//! The judge's snapshot on disk: read when the stage is built, written in turn and at the end.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval_at, timeout},
};
use tracing::{info, warn};

use crate::{
    component::{Context, drain},
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Meter},
    record::Timestamp,
    score::{Judge, Snapshot, snapshot::MAX_BYTES},
    storage::{self, directory::create_directory_of, replace::replace},
    task,
};

/// The directory of snapshots in `data_dir`.
const DIRECTORY: &str = "snapshots";

/// How what the judge knows is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// Whether it is kept, as `snapshots/ID` in `data_dir` (true). Without it a restart forgets everybody,
    /// and the judge warms up again.
    pub enabled: bool,
    /// Seconds between two snapshots (60); another one is taken at the end.
    #[schemars(range(min = 1, max = 86_400))]
    pub interval_secs: u64,
}

/// Keeps a judge.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    interface: Option<Arc<str>>,
    interval_secs: u64,
    meter: Arc<Meter>,
    limit: Arc<LogLimit>,
    ticks: Option<Interval>,
    pub(super) writing: Option<JoinHandle<()>>,
}

// === impl Kept ===

impl Default for Kept {
    fn default() -> Self {
        Self { enabled: true, interval_secs: 60 }
    }
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(kept: &Kept, context: &Context) -> Self {
        Self {
            path: context.data_dir.join(DIRECTORY).join(context.meter.id()),
            interface: context.interface.clone(),
            interval_secs: kept.interval_secs,
            meter: Arc::clone(&context.meter),
            limit: Arc::new(LogLimit::series()),
            ticks: None,
            writing: None,
        }
    }

    /// Lets the judge go on from the last snapshot, if there is one. One that can't be read is said, and
    /// he begins anew.
    pub(super) fn resume(&self, judge: &mut Judge, now: Timestamp) {
        let read = match self.read() {
            Ok(Some(bytes)) => Snapshot::decode(&bytes).map_err(|error| error.to_string()),
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        let resumed = read.and_then(|snapshot| {
            let (sources, taken) = (snapshot.sources(), snapshot.taken());
            let resumed = judge.resume(snapshot, self.interface.as_deref(), now);
            resumed.map(|warm| (sources, taken, warm)).map_err(|error| error.to_string())
        });
        let snapshot = self.path.display();
        match resumed {
            Ok((sources, taken, is_recent)) => {
                let age_secs = now.since(taken) / 1_000_000_000;
                info!(%snapshot, sources, age_secs, is_recent, "the judge goes on from its snapshot");
            }
            Err(error) => {
                self.meter.count(ERRORS, ErrorType::Snapshot, 1);
                warn!(%snapshot, "the judge begins anew, its snapshot can't be gone on from: {error}");
            }
        }
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other("it is longer than a snapshot can be"));
        }
        Ok(Some(bytes))
    }

    /// Comes when the next snapshot is due, once the last one is written. Dropping the future loses nothing.
    pub(super) async fn due(&mut self) {
        self.written().await;
        let period = Duration::from_secs(self.interval_secs);
        let ticks = self.ticks.get_or_insert_with(|| {
            let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        ticks.tick().await;
    }

    /// Takes a snapshot and has it written, which the judge does not wait for.
    pub(super) fn write(&mut self, judge: &Judge, now: Timestamp) {
        self.write_out(judge.snapshot(self.interface.as_deref(), now), now);
    }

    fn write_out(&mut self, snapshot: Snapshot, now: Timestamp) {
        let (path, meter, limit) =
            (self.path.clone(), Arc::clone(&self.meter), Arc::clone(&self.limit));
        self.writing = Some(task::blocking(move || {
            let written = create_directory_of(&path, false)
                .and_then(|()| replace(&path, &snapshot.encode(), 0o600));
            if let Err(error) = written {
                meter.count(ERRORS, ErrorType::Snapshot, 1);
                unwritten(&error, &limit, now);
            }
        }));
    }

    /// Takes the last snapshot at once. The future waits until it is written, but no longer than
    /// [`drain::STATE`].
    pub(super) fn finish(
        mut self,
        judge: &Judge,
        now: Timestamp,
    ) -> impl Future<Output = ()> + use<> {
        let snapshot = judge.snapshot(self.interface.as_deref(), now);
        async move {
            let write = async {
                self.written().await;
                self.write_out(snapshot, now);
                self.written().await;
            };
            if timeout(drain::STATE, write).await.is_err() {
                self.meter.count(ERRORS, ErrorType::Snapshot, 1);
                let (snapshot, after) = (self.path.display(), drain::STATE.as_secs());
                warn!(%snapshot, "the judge's last snapshot was not written within {after} s: is its disk there?");
            }
        }
    }

    async fn written(&mut self) {
        if let Some(writing) = &mut self.writing {
            if let Err(error) = writing.await {
                warn!("the judge's snapshot was not written: {error}");
            }
            self.writing = None;
        }
    }
}

fn unwritten(error: &storage::Error, limit: &LogLimit, now: Timestamp) {
    if let Some(before) = limit.admit(1, now) {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        warn!(before, "the judge's snapshot was not written: {error}: {cause}");
    }
}
