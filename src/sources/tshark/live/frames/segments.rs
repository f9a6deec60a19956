//! Reads the frames of segments that dumpcap closed, one segment after the other.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::{
    backlog::{Backlog, Item, Segment},
    capture::remove,
    left,
    shelf::Shelf,
};
use super::FrameEmitter;
use crate::{
    capture::{Part, Reader},
    component::{Error, Outputs},
    metrics::{CAPTURE_LOST, LossCause},
    record::Frames,
    task,
};

/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// The readers' side of a backlog.
pub(in crate::sources::tshark) struct FrameReaders<'a> {
    pub(in crate::sources::tshark) backlog: &'a Backlog,
    pub(in crate::sources::tshark) emitter: FrameEmitter<'a>,
    pub(in crate::sources::tshark) out: &'a Outputs,
    pub(in crate::sources::tshark) shelf: Shelf,
    /// Cancelled when what is not read yet is given up.
    pub(in crate::sources::tshark) overdue: CancellationToken,
}

/// How a segment was read.
#[derive(Debug)]
enum ReadEnd {
    Complete,
    /// Its whole packets were read, and it goes wrong there.
    Damaged(String),
    Unreadable(String),
}

// === impl FrameReaders ===

impl FrameReaders<'_> {
    /// Reads until the backlog has ended, or is overdue.
    pub(in crate::sources::tshark) async fn run(&mut self) -> Result<(), Error> {
        while !self.overdue.is_cancelled() {
            let Some(item) = self.backlog.next().await else { return Ok(()) };
            match item {
                Item::Begin(epoch) => self.emitter.begin_epoch(epoch),
                Item::Shed(packets) => self.emitter.skip_packets(packets),
                Item::Reached(time) => self.emitter.reached(time).await?,
                Item::End(captured) => {
                    let missing = captured
                        .and_then(|captured| captured.checked_sub(self.emitter.epoch_packets()))
                        .unwrap_or(0);
                    self.out.meter().count(CAPTURE_LOST, LossCause::Unaccounted, missing);
                }
                Item::Segment(segment) => {
                    self.read(&segment).await?;
                    self.backlog.read(&segment);
                }
            }
        }
        Ok(())
    }

    /// Reads a segment; where that is overdue, it stays where it is.
    async fn read(&mut self, segment: &Segment) -> Result<(), Error> {
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let (path, first) = (segment.path.clone(), self.emitter.first());
        let reading = task::blocking(move || read(&path, first, &sender));
        while let Some(frames) = batches.recv().await {
            self.emitter.emit(frames).await?;
            if self.overdue.is_cancelled() {
                return Ok(());
            }
        }
        let end = reading
            .await
            .map_err(|error| Error::failure("the reader of segments has failed").because(error))?;
        let seen = self.emitter.packets();
        let is_gone = !matches!(end, ReadEnd::Complete);
        let packets = match end {
            ReadEnd::Complete => {
                left::note(segment, self.emitter.epoch_packets()).await;
                remove(&segment.path).await;
                None
            }
            ReadEnd::Damaged(says) => {
                self.shelf.damaged(segment, &says, seen).await;
                None
            }
            ReadEnd::Unreadable(why) => self.shelf.given_up(segment, &why, seen).await,
        };
        self.emitter.end_capture(packets);
        if is_gone {
            left::note(segment, self.emitter.epoch_packets()).await;
        }
        Ok(())
    }
}

fn read(path: &Path, first: u64, sender: &mpsc::Sender<Frames>) -> ReadEnd {
    match open(path, first) {
        Ok(mut reader) => loop {
            match reader.read() {
                Ok(Part::Frames(frames)) => {
                    if sender.blocking_send(frames).is_err() {
                        return ReadEnd::Complete;
                    }
                }
                Ok(Part::End) => match reader.finish() {
                    Ok(()) => return ReadEnd::Complete,
                    Err(damage) => return ReadEnd::Damaged(damage.to_string()),
                },
                Err(damage) => return ReadEnd::Damaged(damage.to_string()),
            }
        },
        Err(error) => ReadEnd::Unreadable(error.to_string()),
    }
}

fn open(path: &Path, first: u64) -> std::io::Result<Reader<std::fs::File>> {
    Ok(Reader::open(path)?.counting_from(first))
}
