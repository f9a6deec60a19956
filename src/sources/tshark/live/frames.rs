//! `dissect: headers` of a live capture: what dumpcap writes is read by ourselves, and no tshark runs.
//!
//! Data passes: dumpcap → segments on disk, or a pipe ([`direct`]) → [`capture::Reader`](crate::capture)
//! on a thread of its own → [`FrameEmitter`], which numbers the frames within their epoch.

pub(in crate::sources::tshark) mod direct;
pub(in crate::sources::tshark) mod segments;

use std::sync::Arc;

use super::super::Config;
use crate::{
    batch::{Batch, Watermark},
    component::{Closed, Outputs, Port},
    record::{Frames, Interface, Kind, ObservationPoint, Records, Timestamp},
};

/// Hands frames on, and counts them.
#[derive(Debug)]
pub(in crate::sources::tshark) struct FrameEmitter<'a> {
    out: &'a Outputs,
    origin: ObservationPoint,
    verify_checksums: bool,
    epoch: u32,
    /// Packets of the epoch before the present capture.
    first: u64,
    /// Packets of the present capture.
    packets: u64,
}

// === impl FrameEmitter ===

impl<'a> FrameEmitter<'a> {
    /// At the beginning of epoch 0.
    pub(in crate::sources::tshark) fn new(out: &'a Outputs, config: &Config) -> Self {
        let interface = config.interface.as_deref().map(|name| Interface::Named(name.into()));
        Self {
            out,
            origin: ObservationPoint::of(out.meter().id(), interface),
            verify_checksums: config.checksums,
            epoch: 0,
            first: 0,
            packets: 0,
        }
    }

    /// A new capturer.
    pub(in crate::sources::tshark) fn begin_epoch(&mut self, epoch: u32) {
        (self.epoch, self.first, self.packets) = (epoch, 0, 0);
    }

    /// The present segment is finished: the next one's packets count on from here, or, where it is known
    /// how many `packets` the present one has, from its last.
    pub(in crate::sources::tshark) fn end_capture(&mut self, packets: Option<u64>) {
        self.first += self.packets.max(packets.unwrap_or(0));
        self.packets = 0;
    }

    /// `packets` of the epoch were left out.
    pub(in crate::sources::tshark) fn skip_packets(&mut self, packets: u64) {
        self.first += packets;
    }

    /// Packets of the epoch before the present segment.
    pub(in crate::sources::tshark) fn first(&self) -> u64 {
        self.first
    }

    /// Packets of the present segment that were seen.
    pub(in crate::sources::tshark) fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets of the epoch that were seen.
    pub(in crate::sources::tshark) fn epoch_packets(&self) -> u64 {
        self.first + self.packets
    }

    /// Hands on frames that are numbered from [`first`](Self::first) on.
    pub(in crate::sources::tshark) async fn emit(&mut self, frames: Frames) -> Result<(), Closed> {
        let count = frames.len() as u64;
        self.packets += count;
        self.out.meter().received(count);
        let frames = Frames {
            source: self.origin,
            epoch: self.epoch,
            verify_checksums: self.verify_checksums,
            ..frames
        };
        self.send(Records::Frames(Arc::new(frames)), None).await
    }

    /// All packets captured before `time` were handed on.
    pub(in crate::sources::tshark) async fn reached(&self, time: Timestamp) -> Result<(), Closed> {
        let mark = Watermark { epoch: self.epoch, time };
        self.send(Records::none(Kind::Frame), Some(mark)).await
    }

    async fn send(&self, records: Records, watermark: Option<Watermark>) -> Result<(), Closed> {
        let ack = self.out.receipts().open();
        self.out.pass(Port::MAIN, Batch { records, ack, watermark }).await
    }
}
