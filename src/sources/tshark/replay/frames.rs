//! `mode: file` with `dissect: headers`: capture files, in order, read by ourselves.
//!
//! Data passes: file → [`Reader`] on a thread of its own → frames, which share the reader's buffers.
//! A file is an epoch. Nobody looks into the frames here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::Config;
use crate::{
    batch::Batch,
    capture::{Part, Reader},
    component::{Error, Outputs, Port},
    metrics::{ERRORS, ErrorType},
    record::{Frames, ObservationPoint, Records},
    task,
};

/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// What the thread that reads has to say.
enum News {
    Frames(Frames),
    /// It can't read on in the file, for this reason.
    Stopped(Stopped),
}

/// Why a file was not read to a good end.
struct Stopped {
    error_type: ErrorType,
    file: PathBuf,
    says: String,
    /// Frames before.
    frames: u64,
}

/// Reads the configured files to their end, or until `stop`.
///
/// # Errors
/// If a component downstream has ended.
pub(in crate::sources::tshark) async fn run(
    config: &Config,
    out: &Outputs,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (sender, news) = mpsc::channel(BATCHES_AHEAD);
    let files = config.files.clone();
    let verify_checksums = config.checksums;
    let source = ObservationPoint::of(out.meter().id(), None);
    let reading = task::blocking(move || read(files, source, verify_checksums, &sender));
    tokio::select! {
        done = hand_on(news, out) => done?,
        () = stop.cancelled() => {
            out.meter().count(ERRORS, ErrorType::Interrupted, 1);
            tracing::error!("stopped before the captures were read to their end");
            return Ok(());
        }
    }
    reading
        .await
        .map_err(|error| Error::failure("the reader of captures has failed").because(error))
}

/// Reads the files, as long as somebody wants them.
fn read(
    files: Vec<PathBuf>,
    source: ObservationPoint,
    verify_checksums: bool,
    sender: &mpsc::Sender<News>,
) {
    for (epoch, file) in (0..).zip(files) {
        let with_origin = |frames| Frames { source, epoch, verify_checksums, ..frames };
        let mut frames = 0;
        let ended = read_one(&file, |part| {
            frames = part.places.last().map_or(frames, |place| place.number);
            sender.blocking_send(News::Frames(with_origin(part))).is_ok()
        });
        if let Err((error_type, says)) = ended {
            let stopped = Stopped { error_type, file, says, frames };
            if sender.blocking_send(News::Stopped(stopped)).is_err() {
                return;
            }
        }
    }
}

/// Reads a file until `take` wants no more.
fn read_one(file: &Path, mut take: impl FnMut(Frames) -> bool) -> Result<(), (ErrorType, String)> {
    let mut reader =
        Reader::open(file).map_err(|error| (ErrorType::UnreadableCapture, error.to_string()))?;
    let ended = loop {
        match reader.read() {
            Ok(Part::Frames(frames)) => {
                if !take(frames) {
                    return Ok(());
                }
            }
            Ok(Part::End) => break reader.finish(),
            Err(damage) => break Err(damage),
        }
    };
    ended.map_err(|damage| (ErrorType::DamagedCapture, damage.to_string()))
}

async fn hand_on(mut news: mpsc::Receiver<News>, out: &Outputs) -> Result<(), Error> {
    while let Some(news) = news.recv().await {
        match news {
            News::Frames(frames) => {
                out.meter().received(frames.len() as u64);
                let batch = Batch {
                    records: Records::Frames(Arc::new(frames)),
                    ack: out.receipts().open(),
                    watermark: None,
                };
                out.pass(Port::MAIN, batch).await?;
            }
            News::Stopped(Stopped { error_type, file, says, frames }) => {
                out.meter().count(ERRORS, error_type, 1);
                tracing::error!(
                    file = %file.display(),
                    packets = frames,
                    says,
                    "the capture file is damaged or can't be read: its complete packets were read"
                );
            }
        }
    }
    Ok(())
}
