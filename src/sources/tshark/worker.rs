//! One tshark at work on one capture: its lines as they come, then how it ended.

use std::{os::fd::AsFd, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    io::AsyncReadExt,
    process::ChildStdout,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    child::{Child, Ended, Launch},
    lines::{BUFFER_BYTES, Block, Framer},
    programs::Privilege,
};
use crate::{component::Error, metrics::Meter};

/// Blocks that a worker may be ahead: with [`BUFFER_BYTES`] each, 32 MiB, the output of about 60,000
/// packets with the base fields. A worker that is further ahead waits.
const BLOCKS_AHEAD: usize = (32 << 20) / BUFFER_BYTES;

/// Room in the pipe between tshark and us.
const PIPE_BYTES: usize = 1 << 20;

/// tshark writes 4 KiB at a time; this much later they are fetched together.
const GATHER: Duration = Duration::from_millis(10);

/// A reader of a file that says nothing for so long is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// How to start a tshark, the same for all of a source.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Where tshark is.
    pub(super) program: PathBuf,
    /// What it is asked for.
    pub(super) arguments: Arc<[String]>,
    /// The cap of a line.
    pub(super) max_line_bytes: usize,
    /// Whether input may stay away, as it may from a live capture.
    pub(super) live: bool,
    /// Counts what happens to children.
    pub(super) meter: Arc<Meter>,
}

/// A running tshark; killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its lines, in order, as far as it is ahead.
    pub(super) blocks: mpsc::Receiver<Block>,
    task: JoinHandle<Finish>,
}

/// How a worker ended.
#[derive(Debug)]
pub(super) struct Finish {
    /// How its tshark ended.
    pub(super) ended: Ended,
    /// It had to be killed because it said nothing any more.
    pub(super) stalled: bool,
    /// Its last line has no end.
    pub(super) cut: bool,
}

// === impl Reader ===

impl Reader {
    /// Starts a tshark that reads the capture in `input`.
    ///
    /// # Errors
    /// If it can't be started.
    pub(super) async fn start(&self, input: Stdio) -> Result<Worker, Error> {
        let mut child = Child::start(
            Launch {
                program: self.program.clone(),
                arguments: self.arguments.to_vec(),
                stdin: input,
                stdout: Stdio::piped(),
                privilege: Privilege::None,
                death_signal: "KILL",
            },
            &self.meter,
        )
        .await?;
        let stdout = child.stdout.take();
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let framer = Framer::new(self.max_line_bytes);
        let patience = (!self.live).then_some(STALLED_AFTER);
        let task = tokio::spawn(read(child, stdout, framer, sender, patience));
        Ok(Worker { blocks, task })
    }
}

// === impl Worker ===

impl Worker {
    /// Whether tshark is done, though perhaps not all of its lines are fetched.
    pub(super) fn is_done(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end. Blocks that were not fetched are dropped.
    pub(super) async fn finish(mut self) -> Result<Finish, Error> {
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

async fn read(
    mut child: Child,
    stdout: Option<ChildStdout>,
    mut framer: Framer,
    sender: mpsc::Sender<Block>,
    patience: Option<Duration>,
) -> Finish {
    let mut stalled = false;
    if let Some(mut stdout) = stdout {
        // A small pipe only costs wake-ups.
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(stdout.as_fd(), PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from tshark keeps its size");
        }
        loop {
            let read = stdout.read_buf(framer.room());
            let read = match patience {
                Some(patience) => timeout(patience, read).await,
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) => {
                    stalled = true;
                    break;
                }
            }
            let block = framer.take();
            if (!block.lines.is_empty() || block.too_long > 0) && sender.send(block).await.is_err()
            {
                break;
            }
            sleep(GATHER).await;
        }
    }
    if stalled || sender.is_closed() {
        child.signal(Signal::KILL);
    }
    let ended = end(&mut child).await;
    Finish { ended, stalled, cut: framer.is_cut() }
}

/// The output has ended, so the child ends at once or not at all.
async fn end(child: &mut Child) -> Ended {
    const DEADLINE: Duration = Duration::from_secs(10);
    if let Ok(ended) = timeout(DEADLINE, child.ended()).await {
        return ended;
    }
    child.signal(Signal::KILL);
    child.ended().await
}
