//! Frames that the program reports as they passed, by a ring of their own, and the account of all that passed: the
//! same layout as `bpf/frame.h`, which says what each means.

use std::fmt;

use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, PerCpuArray, RingBuf},
};

use crate::{Error, evidence::ring_of, maps::typed, sys};

/// Of a frame, so much is reported at most, `TG_FRAME_BYTES`.
pub const FRAME_BYTES: usize = 128;
/// What precedes it.
const HEADER_BYTES: usize = 16;
/// The least of a ring, where nothing is reported: a page.
const NO_RING: u32 = 4096;

/// What is to be reported of single frames. It holds until the program is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Whether frames are reported at all.
    pub packets: bool,
    /// One of so many, on average, up to 2³¹; 1: each one.
    pub sample: u32,
    /// Bytes of the ring; rounded up to a power of two.
    pub ring_bytes: u32,
}

/// One frame that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed<'a> {
    /// When (`CLOCK_MONOTONIC`, ns).
    pub time_ns: u64,
    /// Length of all of it.
    pub length: u32,
    /// Whether this host sent it.
    pub outward: bool,
    /// What was taken of it, from its beginning.
    pub bytes: &'a [u8],
}

/// What became of frames that passed: `seen = passed_over + chosen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Sampled {
    /// All of them.
    pub seen: u64,
    /// Those that were not chosen.
    pub passed_over: u64,
    /// Those that were, and were to go into the ring.
    pub chosen: u64,
    /// Of the chosen, those that found it full.
    pub lost: u64,
    /// So many until the next one is chosen; of one processor.
    pub left: u32,
    /// Zero.
    pub reserved: u32,
}

/// The ring and what belongs to it.
pub struct Packets {
    frames: RingBuf<MapData>,
    tallies: PerCpuArray<MapData, Sampled>,
    stop: Array<MapData, u32>,
}

// SAFETY: all fields are integers, in the order of `struct tg_sampled`; `reserved` fills what would be padding, as
// the assertion below shows.
unsafe impl aya::Pod for Sampled {}

const _: () = assert!(size_of::<Sampled>() == 40);

// === impl Sampling ===

impl Default for Sampling {
    /// Nothing is reported.
    fn default() -> Self {
        Self { packets: false, sample: 1, ring_bytes: 1 }
    }
}

impl Sampling {
    /// Tells a loader.
    pub(crate) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader.override_global("tg_packets", if self.packets { &1_u32 } else { &0_u32 }, true);
        loader.override_global("tg_sample", &self.sample, true);
        loader.map_max_entries("tg_frames", self.ring());
    }

    /// Bytes of the ring as it is made.
    pub fn ring(&self) -> u32 {
        if self.packets { ring_of(self.ring_bytes) } else { NO_RING }
    }
}

// === impl Passed ===

impl<'a> Passed<'a> {
    /// Of the bytes of `struct tg_frame`; `None` of what is none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, frame) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let captured = u16::from_ne_bytes([header[12], header[13]]);
        Some(Self {
            time_ns: u64::from_ne_bytes(std::array::from_fn(|byte| header[byte])),
            length: u32::from_ne_bytes(std::array::from_fn(|byte| header[8 + byte])),
            outward: header[14] != 0,
            bytes: frame.get(..usize::from(captured))?,
        })
    }
}

// === impl Packets ===

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets").finish_non_exhaustive()
    }
}

impl Packets {
    /// Of whatever finds a map by its name.
    pub(crate) fn new(
        mut find: impl FnMut(&'static str) -> Result<Map, Error>,
    ) -> Result<Self, Error> {
        Ok(Self {
            frames: typed(&mut find, "tg_frames")?,
            tallies: typed(&mut find, "tg_sampled")?,
            stop: typed(&mut find, "tg_sample_stop")?,
        })
    }

    /// Takes what is in the ring, `most` frames at most, and gives how many there were. What can't be read is
    /// counted, and goes no further.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(Passed<'_>)) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(bytes) = self.frames.next()
        {
            taken += 1;
            if let Some(frame) = Passed::read(&bytes) {
                take(frame);
            }
        }
        taken
    }

    /// Nothing more is reported, and what was begun is in the ring when this returns.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn stop(&mut self) -> Result<(), Error> {
        let stopped = self.stop.set(0, 1, 0);
        stopped.map_err(|error| Error::of_map("tg_sample_stop", error))?;
        sys::wait_for_programs();
        Ok(())
    }

    /// The account, over all processors.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn tally(&self) -> Result<Sampled, Error> {
        let values = self.tallies.get(&0, 0);
        let values = values.map_err(|error| Error::of_map("tg_sampled", error))?;
        Ok(values.iter().fold(Sampled::default(), |sum, one| Sampled {
            seen: sum.seen + one.seen,
            passed_over: sum.passed_over + one.passed_over,
            chosen: sum.chosen + one.chosen,
            lost: sum.lost + one.lost,
            ..sum
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::btf::Types;

    #[test]
    fn every_field_is_where_the_program_has_it() {
        let types = Types::of(crate::object());
        let frame = [
            ("time_ns", 0),
            ("length", 8),
            ("captured", 12),
            ("outward", 14),
            ("reserved", 15),
            ("bytes", HEADER_BYTES),
        ];
        types.assert("tg_frame", HEADER_BYTES + FRAME_BYTES, &frame);
        let sampled = [
            ("seen", offset_of!(Sampled, seen)),
            ("passed_over", offset_of!(Sampled, passed_over)),
            ("chosen", offset_of!(Sampled, chosen)),
            ("lost", offset_of!(Sampled, lost)),
            ("left", offset_of!(Sampled, left)),
            ("reserved", offset_of!(Sampled, reserved)),
        ];
        types.assert("tg_sampled", size_of::<Sampled>(), &sampled);
    }

    #[test]
    fn a_frame_has_the_bytes_that_were_taken_and_what_is_no_frame_is_none() {
        let mut bytes = [7; HEADER_BYTES + FRAME_BYTES];
        bytes[..8].copy_from_slice(&9_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_500_u32.to_ne_bytes());
        bytes[12..14].copy_from_slice(&3_u16.to_ne_bytes());
        bytes[14] = 0;
        let frame = Passed { time_ns: 9, length: 1_500, outward: false, bytes: &[7; 3] };
        assert_eq!(Passed::read(&bytes), Some(frame));
        bytes[14] = 1;
        assert_eq!(Passed::read(&bytes).map(|frame| frame.outward), Some(true));
        bytes[12..14].copy_from_slice(&u16::MAX.to_ne_bytes());
        assert_eq!(Passed::read(&bytes), None);
        for length in 0..HEADER_BYTES {
            assert_eq!(Passed::read(&bytes[..length]), None);
        }
    }

    #[test]
    fn where_nothing_is_reported_the_ring_is_a_page() {
        let sampling = Sampling { packets: false, sample: 1, ring_bytes: 1 << 20 };
        assert_eq!(sampling.ring(), NO_RING);
        let sampling = Sampling { packets: true, ring_bytes: 100_000, ..sampling };
        assert_eq!(sampling.ring(), 131_072);
    }
}
