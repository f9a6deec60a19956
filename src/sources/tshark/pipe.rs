//! `mode: pipe`: dumpcap writes to a tshark directly, so that packets come within a second.
//!
//! Data passes: interface → dumpcap, which buffers → pipe → tshark → [`Emitter`]. A start of the two is
//! an epoch. tshark's memory grows with the flows it has seen, by some 0.65 KB a packet of new flows.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Config, arguments,
    child::{Child, Exit, Launch},
    order::Emitter,
    programs::{self, Privilege},
    supervise::{BEGUN, Supervisor},
    worker::{Finish, Reader, Worker},
};
use crate::component::{Error, Outputs};

/// How long dumpcap may take to end, and after it tshark to print what it has.
const END_DEADLINE: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(30);

/// Room in the pipe between the two.
const PIPE_BYTES: usize = 1 << 20;

/// dumpcap and tshark, one behind the other.
struct Pair<'a> {
    config: &'a Config,
    dumpcap: PathBuf,
    reader: &'a Reader,
    out: &'a Outputs,
}

/// Captures until `stop`, then hands on what was captured.
///
/// # Errors
/// If a program is missing, or refuses its command line.
pub(super) async fn run(
    config: &Config,
    reader: Reader,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    reader.try_out().await?;
    let pair =
        Pair { config, dumpcap: programs::find(&config.programs.dumpcap)?, reader: &reader, out };
    let mut supervisor = Supervisor::new(&config.restart, Arc::clone(out.meter()));
    let mut emitter = Emitter::new(out);
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
        let (dumpcap, worker) = match self.start(&self.dumpcap).await {
            Ok(started) => started,
            Err(error) if error.is_configuration() => return Err(error),
            Err(error) => {
                supervisor.failed("dumpcap_failed", &error.to_string());
                return Ok(());
            }
        };
        supervisor.started();
        self.follow(dumpcap, worker, supervisor, emitter, stop).await
    }

    async fn start(&self, dumpcap: &Path) -> Result<(Child, Worker), Error> {
        let (packets, output) = io::pipe()
            .map_err(|error| Error::failure("no pipe for dumpcap could be made").because(error))?;
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&packets, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from dumpcap keeps its size");
        }
        let worker = self.reader.start(packets.into()).await?;
        let launch = Launch {
            program: dumpcap.to_owned(),
            arguments: arguments::dumpcap_pipe(self.config),
            stdin: Stdio::null(),
            stdout: output.into(),
            privilege: Privilege::Capture,
            death_signal: "TERM",
        };
        let dumpcap = Child::start(launch, self.out.meter()).await?;
        Ok((dumpcap, worker))
    }

    async fn follow(
        &self,
        mut dumpcap: Child,
        mut worker: Worker,
        supervisor: &mut Supervisor,
        emitter: &mut Emitter<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        // Until one of them ends, or we are told to stop. On a quiet wire no line says that dumpcap
        // captures, but what it refuses it refuses at once.
        let mut captures = false;
        let begun = Instant::now() + BEGUN;
        let (asked, mut open) = loop {
            tokio::select! {
                block = worker.blocks.recv() => match block {
                    Some(block) => {
                        captures = true;
                        supervisor.captures();
                        emitter.emit(block).await?;
                    }
                    None => break (false, false),
                },
                () = sleep_until(begun), if !captures => {
                    captures = true;
                    supervisor.captures();
                }
                _ = dumpcap.ended() => break (false, true),
                () = stop.cancelled() => break (true, true),
            }
        };
        // tshark first: without it dumpcap has nowhere to write, and is ended by us.
        let tshark_died = !open;
        let ended = if asked {
            dumpcap.finish_capture(END_DEADLINE).await
        } else {
            dumpcap.finish(END_DEADLINE).await
        };
        let deadline = Instant::now() + DRAIN;
        while open {
            tokio::select! {
                block = worker.blocks.recv() => match block {
                    Some(block) => emitter.emit(block).await?,
                    None => open = false,
                },
                () = sleep_until(deadline) => {
                    self.out.meter().error("tshark_slow");
                    tracing::error!("what was captured could not be read before the deadline");
                    break;
                }
            }
        }
        let finish = worker.finish().await?;
        if tshark_died {
            let (error_type, reason) = describe(&finish);
            supervisor.failed(error_type, &reason);
        }
        let statistics = supervisor.ended(&ended, asked || tshark_died)?;
        if let Some(captured) = statistics.captured {
            let missing = captured.saturating_sub(emitter.packets());
            self.out.meter().lost("unaccounted", missing);
        }
        Ok(())
    }
}

fn describe(finish: &Finish) -> (&'static str, String) {
    match finish.ended.exit {
        Exit::Signal(_) => ("tshark_killed", format!("tshark: {}", finish.ended.exit)),
        Exit::Code(_) => {
            ("tshark_failed", format!("tshark: {}: {}", finish.ended.exit, finish.ended.words))
        }
    }
}
