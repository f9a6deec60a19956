//! The way to stderr. A thread of its own writes, so that a reader that is slow, stuck or gone neither stops
//! the program, nor ends it, nor changes its exit code. What finds no room is left out, and how much is said.

use std::{
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// Pieces of text (a line of the log, a report) that may wait.
const MAX_WAITING: usize = 4_096;
/// How long the process waits at its end for a reader to take what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

static WRITER: OnceLock<Writer> = OnceLock::new();

struct Writer {
    pieces: SyncSender<Piece>,
    left_out: AtomicU64,
}

enum Piece {
    Text(Vec<u8>),
    /// Everything before it has been written when this is answered.
    Flush(SyncSender<()>),
}

/// One piece of text, handed over when it is dropped: a line of the log is not torn.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<u8>);

/// Starts the writer.
pub(super) fn start() {
    let (pieces, queue) = sync_channel(MAX_WAITING);
    let writing = thread::Builder::new().name("stderr".to_owned()).spawn(move || write(&queue));
    // Without a thread for it the program writes by itself, as long as it gets that far.
    if writing.is_ok() {
        WRITER.get_or_init(|| Writer { pieces, left_out: AtomicU64::new(0) });
    }
}

/// Hands over text as it is.
pub(super) fn print(text: &str) {
    let Some(writer) = WRITER.get() else {
        // Nobody to tell if nobody reads.
        io::stderr().write_all(text.as_bytes()).unwrap_or_default();
        return;
    };
    writer.hand_over(text.as_bytes().to_vec());
}

/// Waits until what was handed over is written, or is not going to be.
pub(super) fn finish() {
    let Some(writer) = WRITER.get() else { return };
    writer.say_left_out();
    let (written, done) = sync_channel(1);
    if writer.pieces.try_send(Piece::Flush(written)).is_ok() {
        done.recv_timeout(LAST_WORDS).unwrap_or_default();
    }
}

fn write(pieces: &Receiver<Piece>) {
    let mut stderr = io::stderr();
    for piece in pieces {
        match piece {
            // A reader that has gone away stays away, and there is nobody else to tell.
            Piece::Text(text) => stderr.write_all(&text).unwrap_or_default(),
            Piece::Flush(done) => done.try_send(()).unwrap_or_default(),
        }
    }
}

// === impl Writer ===

impl Writer {
    fn hand_over(&self, text: Vec<u8>) {
        self.say_left_out();
        self.offer(text);
    }

    /// Says how much was left out, once there is room again.
    fn say_left_out(&self) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let text = format!(
                "warning: {left_out} pieces of this output were left out: its reader is too slow\n"
            );
            if !self.offer(text.into_bytes()) {
                // That sentence is none of them.
                self.left_out.fetch_add(left_out - 1, Ordering::Relaxed);
            }
        }
    }

    /// Whether there was room.
    fn offer(&self, text: Vec<u8>) -> bool {
        match self.pieces.try_send(Piece::Text(text)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

// === impl Line ===

impl Write for Line {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            print(&String::from_utf8_lossy(&self.0));
        }
    }
}
