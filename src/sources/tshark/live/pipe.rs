//! `mode: pipe`: dumpcap writes to a tshark directly, so that packets come within a second.
//!
//! Data passes: interface → dumpcap, which buffers → pipe → tshark → [`Emitter`]. A start of the two is
//! an epoch. tshark's memory grows with the flows it has seen, by some 0.65 KB a packet of new flows.

use std::{
    io::{self, PipeReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::super::process::{
    arguments,
    child::{Child, Exit, Launch},
    programs::{self, Privilege},
    worker::{Finish, Tshark, Worker},
};
use super::super::{Config, order::Emitter};
use super::{
    attend::{PIPE_BYTES, Reason, Unaccounted, attend},
    silence::{LOOK_EVERY, Silence},
    supervise::{BEGUN, Supervisor},
};
use crate::{
    component::{Clock, Error, Outputs, drain},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause},
    task,
};

/// dumpcap and tshark, one behind the other.
struct Pair<'a> {
    config: &'a Config,
    dumpcap: PathBuf,
    reader: &'a Tshark,
    out: &'a Outputs,
}

/// The two at work.
struct Started {
    dumpcap: Child,
    worker: Worker,
    /// The end of the pipe between them that tshark reads.
    packets: PipeReader,
}

/// Captures until `stop`, then hands on what was captured.
///
/// # Errors
/// If a program is missing, or refuses its command line.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    reader: Tshark,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    reader.try_out().await?;
    let pair =
        Pair { config, dumpcap: programs::find(&config.programs.dumpcap)?, reader: &reader, out };
    let mut supervisor = Supervisor::new(config, Arc::clone(out.meter()));
    let mut emitter = Emitter::new(out, config.interface.as_deref());
    loop {
        emitter.begin_epoch(supervisor.epoch);
        pair.once(&mut supervisor, &mut emitter, &stop).await?;
        if !supervisor.pause(&stop).await {
            return Ok(());
        }
    }
}

// === impl Pair ===

impl Pair<'_> {
    /// From the start of both to the end of both.
    async fn once(
        &self,
        supervisor: &mut Supervisor,
        emitter: &mut Emitter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let started = match self.start(&self.dumpcap).await {
            Ok(started) => started,
            Err(error) if error.is_configuration() => return Err(error),
            Err(error) => {
                supervisor.failed(ErrorType::DumpcapFailed, &error.to_string());
                return Ok(());
            }
        };
        supervisor.started();
        self.follow(started, supervisor, emitter, stop).await
    }

    async fn start(&self, dumpcap: &Path) -> Result<Started, Error> {
        let (packets, output) = io::pipe()
            .map_err(|error| Error::failure("no pipe for dumpcap could be made").because(error))?;
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&packets, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from dumpcap keeps its size");
        }
        let ours = packets
            .try_clone()
            .map_err(|error| Error::failure("the pipe from dumpcap has no copy").because(error))?;
        let worker = self.reader.start(packets.into()).await?;
        let launch = Launch {
            program: dumpcap.to_owned(),
            arguments: arguments::dumpcap_pipe(self.config),
            stdin: Stdio::null(),
            stdout: output.into(),
            privilege: Privilege::Capture,
            death_signal: "TERM",
        };
        let dumpcap = Child::start(launch, Some(self.out.meter())).await?;
        Ok(Started { dumpcap, worker, packets: ours })
    }

    async fn follow(
        &self,
        started: Started,
        supervisor: &mut Supervisor,
        emitter: &mut Emitter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let Started { dumpcap, mut worker, packets } = started;
        let mut unaccounted = Unaccounted::new(self.out.meter());
        let reader_gone = CancellationToken::new();
        let attending = attend(dumpcap, stop.clone(), reader_gone.clone());
        let mut capture = AbortOnDropHandle::new(task::spawn(attending));
        let mut ended = None;
        // On a quiet wire no line says that dumpcap captures, but what it refuses it refuses at once.
        let mut captures = false;
        let mut deadline = Instant::now() + BEGUN;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silence, mut blocks) = (Silence::new(), 0_u64);
        // How long tshark has said nothing though there were packets to read. Looks are counted, no clock: a
        // wait for the destination, or a machine that stood still, is none of its doing.
        let (mut waited, mut is_stalled) = (Duration::ZERO, false);
        loop {
            tokio::select! {
                block = worker.blocks.recv() => {
                    let Some(block) = block else { break };
                    (blocks, waited) = (blocks + 1, Duration::ZERO);
                    if ended.is_none() {
                        captures = true;
                        supervisor.captures();
                    }
                    emitter.emit(block).await?;
                }
                how = &mut capture, if ended.is_none() => {
                    ended = Some(how);
                    deadline = Instant::now() + drain::READERS;
                }
                _ = look.tick(), if captures && ended.is_none() => {
                    let is_read = is_empty(&packets);
                    let is_silent = !is_read && worker.blocks.is_empty();
                    waited = if is_silent { waited + LOOK_EVERY } else { Duration::ZERO };
                    if waited >= self.reader.stalled_after {
                        is_stalled = true;
                        break;
                    }
                    let state = is_read.then_some(blocks);
                    if let Some(time) = silence.look(state, Clock::Wall.now(None)) {
                        emitter.reached(time).await?;
                    }
                }
                () = sleep_until(deadline), if ended.is_some() || !captures => {
                    if ended.is_some() {
                        self.out.meter().count(ERRORS, ErrorType::TsharkSlow, 1);
                        tracing::error!("what was captured could not be read before the deadline");
                        break;
                    }
                    captures = true;
                    supervisor.captures();
                }
            }
        }
        // With nobody to read, dumpcap shall not wait for one.
        drop(packets);
        if ended.is_none() {
            reader_gone.cancel();
        }
        let (how, finish) = if is_stalled {
            // As long as it has the pipe, dumpcap waits for it.
            let finish = worker.give_up().await?;
            (capture.await, finish)
        } else {
            let how = match ended {
                Some(how) => how,
                None => capture.await,
            };
            (how, worker.finish().await?)
        };
        let (ended, reason) = how.map_err(|error| {
            Error::failure("the supervisor of dumpcap has failed").because(error)
        })?;
        unaccounted.is_counted();
        let is_reader_gone = is_stalled || reason == Reason::ReaderGone;
        if is_reader_gone {
            let (error_type, reason) = describe(&finish);
            supervisor.failed(error_type, &reason);
        }
        let statistics = supervisor.ended(&ended, is_reader_gone || reason == Reason::Stopped)?;
        if let Some(captured) = statistics.captured {
            let missing = captured.saturating_sub(emitter.packets());
            self.out.meter().count(CAPTURE_LOST, LossCause::Unaccounted, missing);
        }
        Ok(())
    }
}

/// Whether tshark has taken all that dumpcap wrote: what it did not print by then, it never will.
fn is_empty(packets: &PipeReader) -> bool {
    rustix::io::ioctl_fionread(packets).is_ok_and(|bytes| bytes == 0)
}

fn describe(finish: &Finish) -> (ErrorType, String) {
    match finish.ended.exit {
        _ if finish.stalled => {
            let reason =
                "tshark said nothing any more, though packets waited for it, and was killed";
            (ErrorType::TsharkStalled, reason.to_owned())
        }
        Exit::Signal(_) => (ErrorType::TsharkKilled, format!("tshark: {}", finish.ended.exit)),
        Exit::Code(_) => (
            ErrorType::TsharkFailed,
            format!("tshark: {}: {}", finish.ended.exit, finish.ended.words),
        ),
    }
}
