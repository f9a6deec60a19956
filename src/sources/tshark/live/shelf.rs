//! Segments that can't be read to their end: what is missing is counted, and a few of them are kept for
//! whoever wants to know why.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::super::process::pcap;
use super::{backlog::Segment, capture::remove};
use crate::{
    metrics::{CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, ERRORS, ErrorType, LossCause, Meter},
    task,
};

/// Damaged segments that are kept.
const KEPT: usize = 4;

/// Where damaged segments go.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Shelf {
    folder: PathBuf,
    meter: Arc<Meter>,
}

// === impl Shelf ===

impl Shelf {
    /// A shelf in the folder of the segments.
    pub(in crate::sources::tshark) fn new(base: &Path, meter: Arc<Meter>) -> Self {
        Self { folder: base.join("damaged"), meter }
    }

    /// A segment that was read up to where it is damaged, which the reader `says`, after so many packets.
    pub(in crate::sources::tshark) async fn damaged(
        &self,
        segment: &Segment,
        says: &str,
        packets: u64,
    ) {
        if segment.may_be_cut {
            // That packets are missing was said when its capturer was killed.
            remove(&segment.path).await;
            return;
        }
        self.meter.count(ERRORS, ErrorType::DamagedSegment, 1);
        self.meter.count(CAPTURE_UNKNOWN_LOSS, (), 1);
        tracing::error!(
            says,
            packets,
            folder = %self.folder.display(),
            "a segment is damaged: its complete packets were read, and it is kept"
        );
        self.keep(segment).await;
    }

    /// A segment that nobody reads to its end, of which so many packets were `seen`: counts what is
    /// missing. Answers how many it has, where that can be known.
    pub(in crate::sources::tshark) async fn given_up(
        &self,
        segment: &Segment,
        why: &str,
        seen: u64,
    ) -> Option<u64> {
        let path = segment.path.clone();
        let packets = task::blocking(move || pcap::count_packets(&path)).await;
        let packets = packets.ok().and_then(Result::ok);
        self.meter.count(ERRORS, ErrorType::DamagedSegment, 1);
        match packets {
            Some(packets) => {
                let missing = packets.saturating_sub(seen);
                self.meter.count(CAPTURE_LOST, LossCause::TsharkFailed, missing);
            }
            None => self.meter.count(CAPTURE_UNKNOWN_LOSS, (), 1),
        }
        tracing::error!(
            why,
            packets = seen,
            of = packets,
            folder = %self.folder.display(),
            "a segment can't be read to its end: the rest of it is lost, and it is kept"
        );
        self.keep(segment).await;
        packets
    }

    async fn keep(&self, segment: &Segment) {
        let (path, folder) = (segment.path.clone(), self.folder.clone());
        let kept = task::blocking(move || keep(&path, &folder)).await;
        if let Err(error) = kept.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "the damaged segment is not kept");
            remove(&segment.path).await;
        }
    }
}

fn keep(segment: &Path, folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut kept: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| (entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path()))
        .collect();
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(KEPT);
    for (_, path) in kept.into_iter().take(surplus) {
        fs::remove_file(path)?;
    }
    fs::rename(segment, folder.join(segment.file_name().unwrap_or_default()))
}
