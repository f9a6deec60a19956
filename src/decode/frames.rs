//! A batch of captured frames becomes packets, and the reasons why some did not.

use super::{Frame, LinkType, Options, Skipped, decode, each};
use crate::{
    metrics::{ErrorType, Reason},
    record::{FramePlace, Frames, ObservationPoint, Packet},
};

/// What became of a batch of frames.
#[derive(Debug)]
pub struct Decoded {
    /// What could be read.
    pub packets: Vec<Packet>,
    /// How many of them are further ones of a frame that gave one already.
    pub further: u64,
    /// Where its frames were seen, by the number of their interface.
    pub points: Vec<ObservationPoint>,
    /// Those that are no packets, by their place in the batch.
    pub skipped: Vec<(usize, Skipped)>,
}

// === impl Decoded ===

impl Decoded {
    /// What these frames say.
    pub fn of(frames: &Frames, options: &Options) -> Self {
        let mut decoded = Self {
            packets: Vec::with_capacity(frames.len()),
            further: 0,
            points: frames.points(),
            skipped: Vec::new(),
        };
        for (at, place) in frames.places.iter().enumerate() {
            let frame = frame(frames, place, &decoded.points);
            match decode(&frame, options) {
                Ok(packet) => decoded.packets.push(packet),
                Err(Skipped::SeveralPackets) => match each(&frame, options) {
                    Ok(packets) => {
                        decoded.further += (packets.len() as u64).saturating_sub(1);
                        decoded.packets.extend(packets);
                    }
                    Err(reason) => decoded.skipped.push((at, reason)),
                },
                Err(reason) => decoded.skipped.push((at, reason)),
            }
        }
        decoded
    }
}

fn frame<'a>(frames: &'a Frames, place: &FramePlace, points: &[ObservationPoint]) -> Frame<'a> {
    Frame {
        time: place.time,
        origin: points.get(usize::from(place.interface)).copied().unwrap_or(frames.source),
        epoch: frames.epoch,
        number: place.number,
        link: LinkType(place.link),
        length: place.length,
        bytes: frames.of(place),
    }
}

// === impl Skipped ===

impl Skipped {
    /// Why the frame goes no further, and the error that it counts as if it is a loss: if it could have been
    /// read otherwise. Others have no packet to be read.
    pub fn reason(self) -> (Reason, Option<ErrorType>) {
        match self {
            Self::UnknownLink => (Reason::UnknownLinkType, Some(ErrorType::UnknownLinkType)),
            Self::SeveralPackets => (Reason::SeveralPackets, Some(ErrorType::SeveralPackets)),
            Self::TooDeep => (Reason::TooManyHeaders, Some(ErrorType::TooManyHeaders)),
            Self::NotIp => (Reason::NotIp, None),
            Self::CutShort => (Reason::CutShort, None),
            Self::Malformed => (Reason::Malformed, None),
            Self::Encrypted => (Reason::Encrypted, None),
        }
    }
}
