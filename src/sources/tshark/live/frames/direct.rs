//! `mode: pipe` with `dissect: headers`: dumpcap writes to us.
//!
//! Data passes: interface → dumpcap, which buffers → pipe → [`Reader`] on a thread of its own →
//! [`FrameEmitter`]. A start of dumpcap is an epoch.

use std::{
    cell::Cell,
    io::{self, PipeReader, Read},
    path::PathBuf,
    process::Stdio,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::super::super::process::{
    arguments,
    child::{Child, Launch},
    programs::{self, Privilege},
};
use super::super::{
    attend::{PIPE_BYTES, Reason, Unaccounted, attend},
    silence::{self, LOOK_EVERY},
    supervise::{BEGUN, Supervisor},
};
use super::{Config, FrameEmitter};
use crate::{
    capture::{Part, Reader},
    component::{Clock, Error, Outputs, drain},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause},
    record::{Frames, Timestamp},
    task,
};

/// Batches that are read ahead, of 256 KiB each at most. What is more waits in the pipe and in dumpcap.
const BATCHES_AHEAD: usize = 16;

/// dumpcap writes packet by packet; so much later they are fetched together.
const GATHER: Duration = Duration::from_millis(10);
/// What is no small part of the pipe: there may be more, which dumpcap waits to write.
const LARGE_READ: usize = 64 << 10;

/// A dumpcap that has closed the pipe ends within this time.
const CLOSED_BEFORE: Duration = Duration::from_secs(5);

/// What the thread that reads has to say.
enum News {
    Frames(Frames),
    /// All packets captured before this time were among those before.
    Reached(Timestamp),
    /// What dumpcap writes is no capture, for this reason.
    Damaged(String),
}

/// dumpcap's end of the pipe.
struct Input {
    pipe: PipeReader,
    /// What came of the last try to read.
    came: Rc<Cell<Came>>,
    read: usize,
}

/// What came of a try to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Bytes,
    /// Nothing for [`LOOK_EVERY`].
    Nothing,
    /// The end.
    End,
}

/// Captures until `stop`, then hands on what was captured.
///
/// # Errors
/// If dumpcap is missing, or refuses its command line.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    let dumpcap = programs::find(&config.programs.dumpcap)?;
    let mut supervisor = Supervisor::new(config, Arc::clone(out.meter()));
    let mut emitter = FrameEmitter::new(out, config);
    loop {
        emitter.begin_epoch(supervisor.epoch);
        match start(config, dumpcap.clone(), out).await {
            Ok((child, packets)) => {
                supervisor.started();
                follow(child, packets, &mut supervisor, &mut emitter, out, &stop).await?;
            }
            Err(error) if error.is_configuration() => return Err(error),
            Err(error) => supervisor.failed(ErrorType::DumpcapFailed, &error.to_string()),
        }
        if !supervisor.pause(&stop).await {
            return Ok(());
        }
    }
}

async fn start(
    config: &Config,
    dumpcap: PathBuf,
    out: &Outputs,
) -> Result<(Child, PipeReader), Error> {
    let (packets, output) = io::pipe()
        .map_err(|error| Error::failure("no pipe for dumpcap could be made").because(error))?;
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(&packets, PIPE_BYTES) {
        tracing::debug!(%error, "the pipe from dumpcap keeps its size");
    }
    let launch = Launch {
        program: dumpcap,
        arguments: arguments::dumpcap_pipe(config),
        stdin: Stdio::null(),
        stdout: output.into(),
        privilege: Privilege::Capture,
        death_signal: "TERM",
    };
    Ok((Child::start(launch, Some(out.meter())).await?, packets))
}

/// From the start of a dumpcap to its end.
async fn follow(
    dumpcap: Child,
    packets: PipeReader,
    supervisor: &mut Supervisor,
    emitter: &mut FrameEmitter<'_>,
    out: &Outputs,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let meter = out.meter();
    let mut unaccounted = Unaccounted::new(meter);
    let reader_gone = CancellationToken::new();
    let attending = attend(dumpcap, stop.clone(), reader_gone.clone());
    let mut capture = AbortOnDropHandle::new(task::spawn(attending));
    let (sender, mut news) = mpsc::channel(BATCHES_AHEAD);
    let abandoned = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&abandoned);
    let reading = task::blocking(move || read(packets, &sender, &flag));
    let (mut ended, mut damage) = (None, None);
    // On a quiet wire no packet says that dumpcap captures, but what it refuses it refuses at once.
    let mut captures = false;
    let mut deadline = Instant::now() + BEGUN;
    loop {
        tokio::select! {
            said = news.recv() => match said {
                Some(News::Frames(frames)) => {
                    if ended.is_none() {
                        captures = true;
                        supervisor.captures();
                    }
                    emitter.emit(frames).await?;
                }
                Some(News::Reached(time)) if captures => emitter.reached(time).await?,
                Some(News::Reached(_)) => {}
                Some(News::Damaged(says)) => damage = Some(says),
                None => break,
            },
            how = &mut capture, if ended.is_none() => {
                abandoned.store(true, Ordering::Release);
                ended = Some(how);
                deadline = Instant::now() + drain::READERS;
            }
            () = sleep_until(deadline), if ended.is_some() || !captures => {
                if ended.is_some() {
                    meter.count(ERRORS, ErrorType::TsharkSlow, 1);
                    tracing::error!("what was captured could not be read before the deadline");
                    break;
                }
                captures = true;
                supervisor.captures();
            }
        }
    }
    drop(news);
    // The thread has the pipe: with nobody to read, dumpcap shall not wait for one.
    reading
        .await
        .map_err(|error| Error::failure("the reader of the capture has failed").because(error))?;
    if ended.is_none() && damage.is_none() {
        // dumpcap has closed the pipe, as it does at its end.
        ended = timeout(CLOSED_BEFORE, &mut capture).await.ok();
    }
    let how = if let Some(how) = ended {
        how
    } else {
        reader_gone.cancel();
        capture.await
    };
    let (ended, reason) =
        how.map_err(|error| Error::failure("the supervisor of dumpcap has failed").because(error))?;
    unaccounted.is_counted();
    if reason == Reason::ReaderGone {
        let says = damage.unwrap_or_else(|| "dumpcap has closed its output".to_owned());
        supervisor.failed(ErrorType::DamagedCapture, &says);
    }
    let statistics = supervisor.ended(&ended, reason != Reason::Ended)?;
    if let Some(captured) = statistics.captured {
        let missing = captured.saturating_sub(emitter.epoch_packets());
        meter.count(CAPTURE_LOST, LossCause::Unaccounted, missing);
    }
    Ok(())
}

/// Reads what comes through the pipe, as long as somebody wants it; with dumpcap gone (`abandoned`), what
/// it left there.
fn read(pipe: PipeReader, sender: &mpsc::Sender<News>, abandoned: &AtomicBool) {
    let came = Rc::new(Cell::new(Came::Bytes));
    let mut reader =
        Reader::new(Input { pipe, came: Rc::clone(&came), read: LARGE_READ }).at_once();
    loop {
        let news = match reader.read() {
            Ok(Part::Frames(frames)) => News::Frames(frames),
            Ok(Part::End) if came.get() == Came::Nothing => {
                if sender.is_closed() || abandoned.load(Ordering::Acquire) {
                    return;
                }
                // Nobody waits for it: the next one says the same.
                drop(sender.try_send(News::Reached(silence::reached(Clock::Wall.now(None)))));
                continue;
            }
            // A last packet that is cut was not captured, and dumpcap's counts say so.
            Ok(Part::End) => return,
            Err(damage) => {
                drop(sender.blocking_send(News::Damaged(damage.to_string())));
                return;
            }
        };
        if sender.blocking_send(news).is_err() {
            return;
        }
    }
}

// === impl Input ===

impl Read for Input {
    /// Reads what is there; 0 also where nothing came for a while, which [`Came`] tells from the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read < LARGE_READ {
            thread::sleep(GATHER);
        }
        let wait = Timespec::try_from(LOOK_EVERY).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&self.pipe, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) => {
                // What comes after a pause is waited for, not slept for.
                self.read = LARGE_READ;
                self.came.set(Came::Nothing);
                return Ok(0);
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Err(io::ErrorKind::Interrupted.into()),
            Err(error) => return Err(error.into()),
        }
        self.read = self.pipe.read(buffer)?;
        self.came.set(if self.read == 0 { Came::End } else { Came::Bytes });
        Ok(self.read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::sources::tshark::tests::capture;

    /// What is read of a pipe into which `write` writes, on a thread of its own.
    fn reads(write: impl FnOnce(io::PipeWriter) + Send + 'static) -> (u64, Option<String>) {
        let (pipe, writer) = io::pipe().unwrap();
        let writing = thread::spawn(move || write(writer));
        let (sender, mut news) = mpsc::channel(1);
        let reading = thread::spawn(move || read(pipe, &sender, &AtomicBool::new(false)));
        let (mut packets, mut damage) = (0, None);
        while let Some(said) = news.blocking_recv() {
            match said {
                News::Frames(frames) => {
                    let first = frames.places[0].number;
                    assert_eq!(first, packets + 1);
                    packets += frames.len() as u64;
                }
                News::Reached(_) => {}
                News::Damaged(says) => damage = Some(says),
            }
        }
        writing.join().unwrap();
        reading.join().unwrap();
        (packets, damage)
    }

    #[test]
    fn frames_come_in_order_however_they_were_written() {
        let bytes = capture(3_000);
        for piece in [7, 4_096, 200_000] {
            let bytes = bytes.clone();
            let got = reads(move |mut pipe| {
                for piece in bytes.chunks(piece).take(2_000) {
                    pipe.write_all(piece).unwrap();
                }
                let written = (2_000 * piece).min(bytes.len());
                pipe.write_all(&bytes[written..]).unwrap();
            });
            assert_eq!(got, (3_000, None), "pieces of {piece}");
        }
    }

    #[test]
    fn a_silent_pipe_tells_the_time_also_in_the_middle_of_a_packet() {
        let bytes = capture(2);
        for pause in [0, 2, 24, 30, bytes.len() - 92, bytes.len() - 1] {
            let (pipe, mut writer) = io::pipe().unwrap();
            let (sender, mut news) = mpsc::channel(1);
            let reading = thread::spawn(move || read(pipe, &sender, &AtomicBool::new(false)));
            writer.write_all(&bytes[..pause]).unwrap();
            let mut packets = 0;
            let mut next = |packets: &mut usize| match news.blocking_recv() {
                Some(News::Frames(frames)) => {
                    *packets += frames.len();
                    false
                }
                Some(News::Reached(_)) => true,
                other => panic!("{pause}: {}", other.is_some()),
            };
            while !next(&mut packets) {}
            writer.write_all(&bytes[pause..]).unwrap();
            while packets < 2 {
                next(&mut packets);
            }
            drop((writer, news));
            reading.join().unwrap();
        }
    }

    #[test]
    fn a_cut_end_gives_the_whole_packets_and_garbage_says_so() {
        let bytes = capture(10);
        let cut = bytes.len() - 5;
        assert_eq!(reads(move |mut pipe| pipe.write_all(&bytes[..cut]).unwrap()), (9, None));
        assert_eq!(reads(drop), (0, None));
        let (packets, damage) = reads(|mut pipe| pipe.write_all(b"no capture at all").unwrap());
        assert!(packets == 0 && damage.is_some());
    }

    #[test]
    fn a_reader_whose_dumpcap_is_gone_does_not_wait_for_who_holds_the_pipe() {
        let (pipe, mut writer) = io::pipe().unwrap();
        writer.write_all(&capture(5)).unwrap();
        let (sender, mut news) = mpsc::channel(4);
        read(pipe, &sender, &AtomicBool::new(true));
        let Ok(News::Frames(frames)) = news.try_recv() else { panic!("no frames") };
        assert_eq!(frames.len(), 5);
    }
}
