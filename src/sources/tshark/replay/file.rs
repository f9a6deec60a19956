//! `mode: file`: capture files, in order, read by several tsharks at once.
//!
//! Data passes: files → [`Cutter`] → chunks → tsharks → [`Emitter`], which takes the chunks' lines in
//! the order of the files. A file is an epoch.

use std::{collections::VecDeque, env, path::PathBuf, process::Stdio, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::super::process::{programs, refusal::refused, worker::Tshark};
use super::super::{
    Config,
    order::Emitter,
    reading::{ReadEnd, Reading},
};
use super::chunks::{Cutter, Unit, Work, open};
use crate::{
    component::{Error, Outputs, with_causes},
    metrics::{CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, ERRORS, ErrorType, LossCause},
    storage::private,
    task,
};

/// With so many packets to go, the next chunk's tshark is started: it takes about as long to begin.
const HEAD_START_PACKETS: u64 = 12_000;

/// A unit that is being worked on.
struct Job {
    unit: Unit,
    /// `None` for units that only say something.
    reading: Option<Reading>,
}

/// The files' replay.
struct Replay<'a> {
    files: Arc<[PathBuf]>,
    workers: usize,
    reader: &'a Tshark,
    units: mpsc::Receiver<Unit>,
    jobs: VecDeque<Job>,
    emitter: Emitter<'a>,
    file: usize,
    out: &'a Outputs,
}

/// Reads the configured files to their end, or until `stop`.
///
/// # Errors
/// If a program is missing, or tshark refuses its command line.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    reader: Tshark,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    let base = env::temp_dir();
    let swept = base.clone();
    let sweeping = task::blocking(move || private::sweep(&swept, |_| true));
    let files: Arc<[PathBuf]> = config.files.clone().into();
    let cutter = Cutter {
        editcap: programs::find(&config.programs.editcap)?,
        base,
        meter: Arc::clone(out.meter()),
    };
    let (sender, units) = mpsc::channel(1);
    drop(sweeping.await);
    let cutting = AbortOnDropHandle::new(task::spawn(cutter.run(Arc::clone(&files), sender)));
    let replay = Replay {
        files,
        workers: config.workers.into(),
        reader: &reader,
        units,
        jobs: VecDeque::new(),
        emitter: Emitter::new(out, None),
        file: 0,
        out,
    };
    let done = tokio::select! {
        done = replay.run() => done,
        () = stop.cancelled() => {
            out.meter().count(ERRORS, ErrorType::Interrupted, 1);
            tracing::error!("stopped before the captures were read to their end");
            Ok(())
        }
    };
    // The units are unwanted now, so this ends at once; with it goes the chunks' folder.
    let folder = cutting.await;
    drop(task::blocking(move || drop(folder)).await);
    done
}

// === impl Replay ===

impl Replay<'_> {
    async fn run(mut self) -> Result<(), Error> {
        loop {
            while self.jobs.len() < self.workers {
                let Some(unit) = (if self.jobs.is_empty() {
                    self.units.recv().await
                } else {
                    self.units.try_recv().ok()
                }) else {
                    break;
                };
                self.begin(unit).await?;
            }
            let Some(job) = self.jobs.pop_front() else {
                return Ok(());
            };
            self.finish(job).await?;
        }
    }

    async fn begin(&mut self, unit: Unit) -> Result<(), Error> {
        let mut job = Job { reading: None, unit };
        match job.open(&self.files).await {
            None => {}
            Some(Ok(capture)) => {
                job.reading = Some(Reading::new(self.reader.start(capture).await?));
            }
            Some(Err(error)) => job.unit.work = Work::Unreadable(with_causes(&error)),
        }
        self.jobs.push_back(job);
        Ok(())
    }

    /// Hands on all of a job's lines, and begins others meanwhile.
    async fn finish(&mut self, mut job: Job) -> Result<(), Error> {
        if job.unit.file != self.file {
            self.file = job.unit.file;
            self.emitter.begin_epoch(u32::try_from(self.file).unwrap_or(u32::MAX));
        }
        match &job.unit.work {
            Work::Rest => self.emitter.again_from_whole(),
            Work::Chunk { .. } => {}
            Work::Damaged(words) => self.damaged(ErrorType::DamagedCapture, job.unit.file, words),
            Work::Unreadable(words) => {
                self.damaged(ErrorType::UnreadableCapture, job.unit.file, words);
            }
        }
        let Some(mut reading) = job.reading.take() else {
            return Ok(());
        };
        let end = loop {
            let open = async { job.open(&self.files).await.unwrap_or_else(|| Ok(Stdio::null())) };
            let step = reading.step(self.reader, open, &mut self.emitter).await?;
            if let Some(end) = step {
                break end;
            }
            if self.may_begin(&job, &reading)
                && let Ok(unit) = self.units.try_recv()
            {
                self.begin(unit).await?;
            }
        };
        self.ended(&job.unit, end).await
    }

    /// Workers that are at work must not outnumber the configured ones, but for one that is only
    /// starting, and of those that are done one fewer may wait for their turn.
    fn may_begin(&self, job: &Job, reading: &Reading) -> bool {
        let done = |job: &&Job| job.reading.as_ref().is_none_or(Reading::is_done);
        let waiting = self.jobs.iter().filter(done).count();
        let working = self.jobs.len() - waiting + usize::from(!reading.is_done());
        let nearly_done = job
            .unit
            .packets()
            .is_some_and(|packets| self.emitter.packets() + HEAD_START_PACKETS >= packets);
        waiting < self.workers && working < self.workers + usize::from(nearly_done)
    }

    async fn ended(&mut self, unit: &Unit, end: ReadEnd) -> Result<(), Error> {
        let meter = self.out.meter();
        let missing = unit.packets().map(|all| all.saturating_sub(self.emitter.packets()));
        match end {
            ReadEnd::Complete => {
                meter.count(CAPTURE_LOST, LossCause::FrameGap, missing.unwrap_or(0));
            }
            ReadEnd::Damaged(words) => {
                meter.count(CAPTURE_LOST, LossCause::FrameGap, missing.unwrap_or(0));
                self.damaged(ErrorType::DamagedCapture, unit.file, &words);
            }
            ReadEnd::Died(how) => {
                match missing {
                    Some(missing) => meter.count(CAPTURE_LOST, LossCause::TsharkFailed, missing),
                    None => meter.count(CAPTURE_UNKNOWN_LOSS, (), 1),
                }
                self.died(unit.file, missing, &how);
            }
            ReadEnd::Refused(words) => return Err(refused("tshark", &words)),
            ReadEnd::NotStarted(error) => return Err(error),
        }
        self.emitter.end_capture(unit.packets());
        if let Work::Chunk { path, .. } = &unit.work
            && let Err(error) = tokio::fs::remove_file(path).await
        {
            tracing::debug!(%error, "a chunk stays until the end of the run");
        }
        Ok(())
    }

    fn died(&self, file: usize, missing: Option<u64>, how: &str) {
        self.out.meter().count(ERRORS, ErrorType::TsharkFailed, 1);
        tracing::error!(
            file = self.name(file),
            packets = self.emitter.epoch_packets(),
            missing = missing.map_or_else(|| "unknown".to_owned(), |missing| missing.to_string()),
            how,
            "tshark can't read on in the capture file: what follows in this part of it is lost"
        );
    }

    fn name(&self, file: usize) -> String {
        self.files.get(file).map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn damaged(&self, error_type: ErrorType, file: usize, words: &str) {
        let name = self.name(file);
        let words =
            words.replace("The standard input", &format!("the file \"{name}\"")).replace('\n', " ");
        self.out.meter().count(ERRORS, error_type, 1);
        tracing::error!(
            file = name,
            packets = self.emitter.epoch_packets(),
            says = words,
            "the capture file is damaged or can't be read: its complete packets were read"
        );
    }
}

// === impl Job ===

impl Job {
    async fn open(&self, files: &[PathBuf]) -> Option<Result<Stdio, Error>> {
        let path = match &self.unit.work {
            Work::Rest => files.get(self.unit.file)?,
            Work::Chunk { path, .. } => path,
            Work::Damaged(_) | Work::Unreadable(_) => return None,
        };
        Some(open(path).await)
    }
}

// === impl Unit ===

impl Unit {
    fn packets(&self) -> Option<u64> {
        match &self.work {
            Work::Chunk { packets, .. } => *packets,
            Work::Rest | Work::Damaged(_) | Work::Unreadable(_) => None,
        }
    }
}
