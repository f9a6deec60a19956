//! Frames as they were captured, before anybody looked into them: places in one shared buffer.

use std::sync::Arc;

use bytes::Bytes;

use super::{Interface, Kind, ObservationPoint, Record, Records, Timestamp};

/// Frames of one capture, in its order. They share a buffer: nothing is copied per frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frames {
    /// What was read of the capture, with the capture format's own headers between the frames.
    pub bytes: Bytes,
    /// Where each frame lies in it.
    pub places: Arc<Vec<FramePlace>>,
    /// Whose frames they are: the source, on no interface of its own.
    pub source: ObservationPoint,
    /// The interfaces that the places name, by number.
    pub interfaces: Arc<[CaptureInterface]>,
    /// Which start of the capturer, or which file of a replay, they belong to (from 0).
    pub epoch: u32,
    /// Whether checksums are to be verified.
    pub verify_checksums: bool,
}

/// One frame: where it lies in [`Frames::bytes`], and what the capture says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FramePlace {
    /// When it was captured; the Unix epoch where the capture doesn't say.
    pub time: Timestamp,
    /// Its number within the epoch, from 1.
    pub number: u64,
    /// Where it begins.
    pub offset: u32,
    /// Bytes of it that were captured.
    pub captured: u32,
    /// Its length on the wire, in bytes.
    pub length: u32,
    /// Its link type (`LINKTYPE_`, <https://www.tcpdump.org/linktypes.html>).
    pub link: u16,
    /// On which of [`Frames::interfaces`] it came.
    pub interface: u16,
}

/// An interface that a capture names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CaptureInterface {
    /// Its number in its section of the capture; 0 where the format knows but one.
    pub index: u32,
    /// Its name, if the capture gives one.
    pub name: Option<Arc<str>>,
}

// === impl Frames ===

impl Frames {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes of a frame; none if the place is not one of this buffer.
    pub fn of(&self, place: &FramePlace) -> &[u8] {
        let begin = place.offset as usize;
        let end = begin.saturating_add(place.captured as usize);
        self.bytes.get(begin..end).unwrap_or_default()
    }

    /// Where the frames of each of the interfaces were seen. The first interface of a capture that doesn't
    /// name it is the capture itself, as classic captures have it.
    pub fn points(&self) -> Vec<ObservationPoint> {
        let point = |interface: &CaptureInterface| match &interface.name {
            Some(name) => self.source.on(Interface::Named(Arc::clone(name))),
            None if interface.index == 0 => self.source,
            None => self.source.on(Interface::Numbered(interface.index)),
        };
        self.interfaces.iter().map(point).collect()
    }

    /// About how many bytes of memory they hold, the buffer included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.places.len() * size_of::<FramePlace>()
    }
}

// === impl FramePlace ===

impl Record for FramePlace {
    const KIND: Kind = Kind::Frame;

    fn wrap(places: Arc<Vec<Self>>) -> Records {
        Records::Frames(Arc::new(Frames { places, ..Frames::default() }))
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_in_one_buffer_which_counts_once() {
        let place = |offset, captured| FramePlace { offset, captured, ..FramePlace::default() };
        let frames = Frames {
            bytes: Bytes::from(vec![7; 1_000]),
            places: Arc::new(vec![place(0, 400), place(400, 600)]),
            ..Frames::default()
        };
        assert_eq!((frames.len(), frames.of(&frames.places[1]).len()), (2, 600));
        assert!((1_000..1_300).contains(&frames.memory_bytes()), "{}", frames.memory_bytes());
    }

    #[test]
    fn a_place_outside_of_the_buffer_has_no_bytes() {
        let frames = Frames { bytes: Bytes::from_static(b"abc"), ..Frames::default() };
        for (offset, captured) in [(0, 4), (4, 0), (u32::MAX, u32::MAX)] {
            let place = FramePlace { offset, captured, ..FramePlace::default() };
            assert_eq!(frames.of(&place), b"");
        }
    }
}
