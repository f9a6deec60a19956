//! One tshark at work on one capture: its lines as they come, then how it ended.

use std::{
    io::{self, PipeReader},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    child::{Child, Ended, Exit, Launch},
    lines::{BUFFER_BYTES, Block, Framer},
    programs::Privilege,
    refusal::refused,
};
use crate::{
    component::Error,
    metrics::{ERRORS, ErrorType, Meter},
    task,
};

/// Blocks that a worker may be ahead: with [`BUFFER_BYTES`] each, 32 MiB, the output of about 60,000
/// packets with the base fields. A worker that is further ahead waits.
const BLOCKS_AHEAD: usize = (32 << 20) / BUFFER_BYTES;

/// How often a tshark is tried out that is killed.
const TRIES: u32 = 3;

/// Room in the pipe between tshark and us.
const PIPE_BYTES: usize = 1 << 20;

/// tshark writes 4 KiB at a time; this much later they are fetched together.
const GATHER: Duration = Duration::from_millis(20);

/// How often it is looked whether there is still somebody at either end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait for the end of a child whose output has ended.
const EXIT_DEADLINE: Duration = Duration::from_secs(10);

/// How to start a tshark, the same for all of a source.
#[derive(Debug, Clone)]
pub(in crate::sources::tshark) struct Tshark {
    /// Where tshark is.
    pub(in crate::sources::tshark) program: PathBuf,
    /// What it is asked for.
    pub(in crate::sources::tshark) arguments: Arc<[String]>,
    /// The cap of a line.
    pub(in crate::sources::tshark) max_line_bytes: usize,
    /// Whether input may stay away, as it may from a live capture. Then only who writes it knows of a
    /// tshark that is stuck ([`Worker::give_up`]).
    pub(in crate::sources::tshark) live: bool,
    /// One that says nothing for so long, though there is something to read, is stuck.
    pub(in crate::sources::tshark) stalled_after: Duration,
    /// Counts what happens to children.
    pub(in crate::sources::tshark) meter: Arc<Meter>,
}

/// A running tshark; killed when dropped.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Worker {
    /// Its lines, in order, as far as it is ahead.
    pub(in crate::sources::tshark) blocks: mpsc::Receiver<Block>,
    /// It is stuck, and to be killed.
    given_up: Arc<AtomicBool>,
    task: JoinHandle<Finish>,
}

/// How a worker ended.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Finish {
    /// How its tshark ended.
    pub(in crate::sources::tshark) ended: Ended,
    /// It had to be killed because it said nothing any more.
    pub(in crate::sources::tshark) stalled: bool,
    /// Its last line has no end.
    pub(in crate::sources::tshark) cut: bool,
}

// === impl Tshark ===

impl Tshark {
    /// Starts a tshark that reads the capture in `input`.
    ///
    /// # Errors
    /// If it can't be started.
    pub(in crate::sources::tshark) async fn start(&self, input: Stdio) -> Result<Worker, Error> {
        let (output, stdout) = io::pipe()
            .map_err(|error| Error::failure("no pipe for tshark could be made").because(error))?;
        // A small pipe only costs wake-ups.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from tshark keeps its size");
        }
        let child = Child::start(
            Launch {
                program: self.program.clone(),
                arguments: self.arguments.to_vec(),
                stdin: input,
                stdout: stdout.into(),
                privilege: Privilege::None,
                death_signal: "KILL",
            },
            Some(&self.meter),
        )
        .await?;
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let abandoned = Arc::new(AtomicBool::new(false));
        let given_up = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            output,
            framer: Framer::new(self.max_line_bytes),
            sender,
            patience: (!self.live).then_some(self.stalled_after),
            abandoned: Arc::clone(&abandoned),
            given_up: Arc::clone(&given_up),
        };
        let task = task::spawn(accompany(child, pump, abandoned));
        Ok(Worker { blocks, given_up, task })
    }

    /// Has tshark read an empty capture, for what it says about its command line. One that is killed says
    /// nothing of it, so it is tried again.
    ///
    /// # Errors
    /// If it refuses it.
    pub(in crate::sources::tshark) async fn try_out(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let finish = self.read_nothing().await?;
            match finish.ended.exit {
                Exit::Code(0) => return Ok(()),
                Exit::Code(_) => return Err(refused("tshark", &finish.ended.words)),
                Exit::Signal(signal) => {
                    self.meter.count(ERRORS, ErrorType::TsharkKilled, 1);
                    tracing::warn!(signal, "tshark was killed before it could be tried out");
                }
            }
        }
        Ok(())
    }

    async fn read_nothing(&self) -> Result<Finish, Error> {
        let (nothing, end) = io::pipe()
            .map_err(|error| Error::failure("no pipe for tshark could be made").because(error))?;
        drop(end);
        self.start(nothing.into()).await?.finish().await
    }
}

// === impl Worker ===

impl Worker {
    /// Whether tshark is done, though perhaps not all of its lines are fetched.
    pub(in crate::sources::tshark) fn is_done(&self) -> bool {
        self.task.is_finished()
    }

    /// Kills a tshark that is stuck, and waits for its end.
    pub(in crate::sources::tshark) async fn give_up(self) -> Result<Finish, Error> {
        self.given_up.store(true, Ordering::Release);
        self.finish().await
    }

    /// Waits for its end. Blocks that were not fetched are dropped.
    pub(in crate::sources::tshark) async fn finish(mut self) -> Result<Finish, Error> {
        self.blocks.close();
        while self.blocks.recv().await.is_some() {}
        (&mut self.task)
            .await
            .map_err(|error| Error::failure("the reader of a tshark has failed").because(error))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fetches what tshark prints, on a thread of its own: the runtime would be woken by each 4 KiB.
struct Pump {
    output: PipeReader,
    framer: Framer,
    sender: mpsc::Sender<Block>,
    patience: Option<Duration>,
    /// The child has gone: what it left in the pipe is all there is.
    abandoned: Arc<AtomicBool>,
    given_up: Arc<AtomicBool>,
}

/// How the fetching ended.
#[derive(Debug, Default)]
struct Pumped {
    stalled: bool,
    cut: bool,
}

/// Stays with a child until it has ended and its output is fetched, whichever comes first.
async fn accompany(mut child: Child, pump: Pump, abandoned: Arc<AtomicBool>) -> Finish {
    let mut pumping = task::blocking(|| pump.run());
    let pumped = tokio::select! {
        pumped = &mut pumping => {
            if pumped.as_ref().is_ok_and(|pumped| pumped.stalled) {
                child.signal(Signal::KILL);
            }
            pumped
        }
        _ = child.ended() => {
            abandoned.store(true, Ordering::Release);
            pumping.await
        }
    };
    let pumped = pumped.unwrap_or_default();
    // Without its output read it either ends at once or not at all.
    if timeout(EXIT_DEADLINE, child.ended()).await.is_err() {
        child.signal(Signal::KILL);
    }
    let ended = child.ended().await;
    Finish { ended, stalled: pumped.stalled, cut: pumped.cut }
}

// === impl Pump ===

impl Pump {
    fn run(mut self) -> Pumped {
        let mut silence = Duration::ZERO;
        let mut stalled = false;
        loop {
            let read = match self.fetch() {
                Ok(Some(0)) | Err(_) => break,
                Ok(Some(read)) => read,
                Ok(None) => {
                    silence += LOOK_EVERY;
                    stalled = self.patience.is_some_and(|patience| silence >= patience)
                        || self.given_up.load(Ordering::Acquire);
                    let abandoned = self.abandoned.load(Ordering::Acquire);
                    if stalled || abandoned || self.sender.is_closed() {
                        break;
                    }
                    continue;
                }
            };
            silence = Duration::ZERO;
            let block = self.framer.take();
            let is_empty = block.lines.is_empty() && block.too_long == 0;
            if !is_empty && self.sender.blocking_send(block).is_err() {
                break;
            }
            // A read that filled its room left something behind: tshark may be waiting for it.
            if read < BUFFER_BYTES / 2 {
                thread::sleep(GATHER);
            }
        }
        Pumped { stalled, cut: self.framer.is_cut() }
    }

    /// One read: 0 at the end, `None` if nothing came for [`LOOK_EVERY`].
    fn fetch(&mut self) -> io::Result<Option<usize>> {
        let wait = Timespec::try_from(LOOK_EVERY).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&self.output, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let read = rustix::io::read(&self.output, spare_capacity(self.framer.room()))?;
        Ok(Some(read))
    }
}
