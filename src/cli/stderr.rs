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

/// Takes away what stands in a terminal's present line (ECMA-48: CR, EL).
const CLEAR: &str = "\r\x1b[K";

static WRITER: OnceLock<Writer> = OnceLock::new();

struct Writer {
    pieces: SyncSender<Piece>,
    left_out: AtomicU64,
}

enum Piece {
    Text(Vec<u8>),
    /// What the last line of a terminal shows from now on; nothing, if it is empty.
    Status(String),
    /// Everything before it has been written when this is answered.
    Flush(SyncSender<()>),
}

/// One piece of text, handed over when it is dropped: a line of the log is not torn.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<u8>);

/// Starts the writer.
pub(super) fn start() {
    let (pieces, queue) = sync_channel(MAX_WAITING);
    let writing = thread::Builder::new()
        .name("stderr".to_owned())
        .spawn(move || write(&queue, &mut io::stderr()));
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

/// Shows `text` as the last line of a terminal, below all other text, until the next one.
pub(super) fn status(text: String) {
    if let Some(writer) = WRITER.get() {
        // Where there is no room for it, the next one says the same.
        writer.pieces.try_send(Piece::Status(text)).unwrap_or_default();
    }
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

fn write(pieces: &Receiver<Piece>, stderr: &mut impl Write) {
    let mut status = String::new();
    for piece in pieces {
        // A reader that has gone away stays away, and there is nobody else to tell.
        match piece {
            Piece::Text(text) if status.is_empty() => stderr.write_all(&text).unwrap_or_default(),
            Piece::Text(text) => {
                let all = [CLEAR.as_bytes(), &text, status.as_bytes()].concat();
                stderr.write_all(&all).unwrap_or_default();
            }
            Piece::Status(text) => {
                if !(text.is_empty() && status.is_empty()) {
                    stderr.write_all(format!("{CLEAR}{text}").as_bytes()).unwrap_or_default();
                }
                status = text;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_stays_below_all_other_text_and_goes() {
        let (sender, queue) = sync_channel(10);
        let text = |text: &str| Piece::Text(text.as_bytes().to_vec());
        let status = |text: &str| Piece::Status(text.to_owned());
        for piece in [
            text("a\n"),
            status(""),
            status("1/s"),
            text("b\n"),
            status("2/s"),
            status(""),
            text("c\n"),
        ] {
            sender.send(piece).unwrap();
        }
        drop(sender);
        let mut shown = Vec::new();
        write(&queue, &mut shown);
        let shown = String::from_utf8(shown).unwrap().replace(CLEAR, "<");
        assert_eq!(shown, "a\n<1/s<b\n1/s<2/s<c\n");
    }
}
