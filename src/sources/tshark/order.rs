//! Hands lines on in the order of the capture, and notices packets that are missing.

use std::sync::Arc;

use super::process::lines::{Block, frame_number};
use crate::{
    batch::{Batch, Watermark},
    component::{Closed, Outputs, Port},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause},
    record::{Interface, Kind, ObservationPoint, Raw, Records, Timestamp},
};

/// Lines in a batch, at most.
const BATCH_LINES: usize = 512;

/// A number that leaves out more packets than this is not tshark's.
const LARGEST_GAP: u64 = 10_000_000;

/// Where a source has come to: which epoch, and which packet of it.
#[derive(Debug)]
pub(super) struct Emitter<'a> {
    out: &'a Outputs,
    origin: ObservationPoint,
    epoch: u32,
    /// Packets of the epoch before the present capture.
    first: u64,
    place: Place,
}

/// Where in one capture.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The last packet's number.
    last: u64,
    /// Packets up to this number were handed on by an earlier try.
    skip: u64,
    /// Over-long lines whose packets' numbers were not seen to be missing yet.
    too_long: u64,
}

// === impl Emitter ===

impl<'a> Emitter<'a> {
    /// At the beginning of epoch 0, for what comes from `interface`, if it is one.
    pub(super) fn new(out: &'a Outputs, interface: Option<&str>) -> Self {
        let interface = interface.map(|name| Interface::Named(name.into()));
        let origin = ObservationPoint::of(out.meter().id(), interface);
        Self { out, origin, epoch: 0, first: 0, place: Place::default() }
    }

    /// A new capturer, or a new file.
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.first = 0;
        self.place = Place::default();
    }

    /// The present capture is finished: the next one's packets count on from here, or, where it is
    /// known how many `packets` the present one has, from its last.
    pub(super) fn end_capture(&mut self, packets: Option<u64>) {
        self.first += self.packets().max(packets.unwrap_or(0));
        self.place = Place::default();
    }

    /// `packets` of the epoch were left out.
    pub(super) fn skip_packets(&mut self, packets: u64) {
        self.first += packets;
    }

    /// The present capture is read again from its beginning.
    pub(super) fn again(&mut self) {
        self.place = Place { skip: self.packets(), ..Place::default() };
    }

    /// The present capture is read on from the file it was cut out of, where it began after the
    /// packets of the epoch so far.
    pub(super) fn again_from_whole(&mut self) {
        self.place = Place { skip: self.first + self.packets(), ..Place::default() };
        self.first = 0;
    }

    /// Packets of the present capture that were seen.
    pub(super) fn packets(&self) -> u64 {
        self.place.last.max(self.place.skip) + self.place.too_long
    }

    /// Packets of the epoch that were seen.
    pub(super) fn epoch_packets(&self) -> u64 {
        self.first + self.packets()
    }

    /// Hands on a block's lines.
    pub(super) async fn emit(&mut self, block: Block) -> Result<(), Closed> {
        let meter = self.out.meter();
        if block.too_long > 0 {
            meter.count(ERRORS, ErrorType::LineTooLong, 1);
            meter.count(CAPTURE_LOST, LossCause::LineTooLong, block.too_long);
            self.place.too_long += block.too_long;
        }
        let mut records = Vec::with_capacity(block.lines.len().min(BATCH_LINES));
        for line in block.lines {
            let Some(missing) = self.place.advance(frame_number(&line)) else {
                continue;
            };
            if missing > 0 {
                self.out.meter().count(CAPTURE_LOST, LossCause::FrameGap, missing);
            }
            let (epoch, first, origin) = (self.epoch, self.first, self.origin);
            records.push(Raw { line, epoch, first, origin });
            if records.len() == BATCH_LINES {
                self.send(std::mem::take(&mut records)).await?;
            }
        }
        if !records.is_empty() {
            self.send(records).await?;
        }
        Ok(())
    }

    /// All packets captured before `time` were handed on.
    pub(super) async fn reached(&self, time: Timestamp) -> Result<(), Closed> {
        let watermark = Some(Watermark { epoch: self.epoch, time });
        let (records, ack) = (Records::none(Kind::Raw), self.out.receipts().open());
        self.out.pass(Port::MAIN, Batch { records, ack, watermark }).await
    }

    async fn send(&self, records: Vec<Raw>) -> Result<(), Closed> {
        self.out.meter().received(records.len() as u64);
        let batch = Batch {
            records: Records::Raw(Arc::new(records)),
            ack: self.out.receipts().open(),
            watermark: None,
        };
        self.out.pass(Port::MAIN, batch).await
    }
}

// === impl Place ===

impl Place {
    /// Goes on to packet `number`: how many before it are missing; `None` if an earlier try handed
    /// it on. A line without a number is no packet's: whoever parses it says so.
    fn advance(&mut self, number: Option<u64>) -> Option<u64> {
        let Some(number) = number else {
            return Some(0);
        };
        let seen = self.last.max(self.skip);
        let missing = number.saturating_sub(seen).saturating_sub(1);
        if missing > LARGEST_GAP {
            return Some(0);
        }
        let explained = missing.min(self.too_long);
        self.too_long -= explained;
        self.last = self.last.max(number);
        (number > self.skip).then_some(missing - explained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(mut place: Place, numbers: &[u64]) -> Vec<Option<u64>> {
        numbers.iter().map(|number| place.advance(Some(*number))).collect()
    }

    #[test]
    fn numbers_that_rise_by_one_miss_nothing() {
        assert_eq!(walk(Place::default(), &[1, 2, 3]), [Some(0); 3]);
    }

    #[test]
    fn a_gap_is_missing_unless_an_over_long_line_explains_it() {
        assert_eq!(walk(Place::default(), &[1, 4]), [Some(0), Some(2)]);
        let place = Place { too_long: 1, ..Place::default() };
        assert_eq!(walk(place, &[1, 4]), [Some(0), Some(1)]);
    }

    #[test]
    fn what_an_earlier_try_handed_on_is_left_out() {
        let place = Place { skip: 2, ..Place::default() };
        assert_eq!(walk(place, &[1, 2, 3]), [None, None, Some(0)]);
    }

    #[test]
    fn a_line_without_a_number_changes_nothing() {
        let mut place = Place::default();
        assert_eq!(place.advance(None), Some(0));
        assert_eq!(place, Place::default());
    }
}
