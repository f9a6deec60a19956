//! From a capture's bytes to places of frames, in pieces of any size.

use std::sync::Arc;

use super::{
    error::{Damage, Fault},
    pcap::Pcap,
    pcapng::Pcapng,
};
use crate::record::{CaptureInterface, FramePlace};

/// The most bytes kept of one frame; also the longest frame there can be on most links (libpcap's
/// `MAXIMUM_SNAPLEN`).
pub const MAX_FRAME_BYTES: u32 = 262_144;

/// The longest frames of the links that have longer ones, as Wireshark has them: D-Bus, Windows' USB, and the
/// high-speed serial links of Elektrobit.
const LONG_FRAMES: [(u16, u32); 3] = [(231, 128 << 20), (249, 128 << 20), (279, 32 << 20)];

/// Bytes that tell a format.
const MAGIC_BYTES: usize = 4;

/// Reads a capture that comes in pieces.
#[derive(Debug, Default)]
pub struct Parser {
    format: Format,
    /// Bytes before the next input.
    offset: u64,
    /// Bytes that are yet to come and of no interest.
    skip: u64,
    /// Frames so far.
    number: u64,
    damage: Option<Damage>,
}

/// How far the parser came with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the input that are done with: the next input begins behind them.
    pub consumed: usize,
    /// Why it stopped there.
    pub want: Want,
}

/// What the parser needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// So many bytes at the place where it stopped; at most a megabyte.
    Bytes(usize),
    /// Room for more frames.
    Room,
}

#[derive(Debug, Default)]
enum Format {
    /// Not known yet.
    #[default]
    Unknown,
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// An input on its way through a format's parser.
pub(super) struct Scan<'a> {
    input: &'a [u8],
    at: usize,
    /// Nothing follows the input for now.
    pub(super) ended: bool,
    /// How far back the record began in which it stopped.
    pub(super) behind: u64,
    skip: u64,
    number: u64,
    frames: &'a mut Vec<FramePlace>,
    most: usize,
}

// === impl Parser ===

impl Parser {
    /// Finds up to `most` frames in `input`, which begins where the last one was consumed, and adds them
    /// to `frames`; their offsets are places in `input`. With `ended` there is nothing behind it for
    /// now: more may come later.
    ///
    /// # Errors
    /// The capture is wrong where it stopped; it stays so. Frames before are in `frames`.
    pub fn parse(
        &mut self,
        input: &[u8],
        ended: bool,
        frames: &mut Vec<FramePlace>,
        most: usize,
    ) -> Result<Parsed, Damage> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let Self { skip, number, .. } = *self;
        let mut scan = Scan { input, at: 0, ended, behind: 0, skip, number, frames, most };
        let parsed = self.format.parse(&mut scan);
        let (consumed, behind) = (scan.at, scan.behind);
        (self.skip, self.number) = (scan.skip, scan.number);
        self.offset += consumed as u64;
        parsed.map(|want| Parsed { consumed, want }).map_err(|fault| {
            let offset = self.offset.saturating_sub(behind);
            self.damage.insert(Damage { offset, unpacked: false, fault }).clone()
        })
    }

    /// The capture has ended with `rest` unconsumed: whether that is where it should.
    ///
    /// # Errors
    /// It is empty, of no known format, or cut.
    pub fn end(&mut self, rest: &[u8]) -> Result<(), Damage> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let fault = match &self.format {
            Format::Unknown if rest.is_empty() => Fault::Empty,
            Format::Unknown => Fault::Cut("its header"),
            Format::Pcap(_) if !rest.is_empty() || self.skip > 0 => Fault::Cut("a packet"),
            Format::Pcapng(it) if !rest.is_empty() || self.skip > 0 || it.is_within_block() => {
                Fault::Cut("a block")
            }
            Format::Pcap(_) | Format::Pcapng(_) => return Ok(()),
        };
        Err(self.damaged(fault))
    }

    /// Frames are numbered on from `first`.
    pub(super) fn count_from(&mut self, first: u64) {
        self.number = first;
    }

    /// The interfaces that frames so far were on.
    pub fn interfaces(&mut self) -> Arc<[CaptureInterface]> {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.interfaces(),
            Format::Unknown | Format::Pcap(_) => Arc::new([CaptureInterface::default()]),
        }
    }

    /// Where it stands, in bytes from the beginning.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Something is wrong here, if it is not known already that something is.
    pub(super) fn damaged(&mut self, fault: Fault) -> Damage {
        let offset = self.offset;
        self.damage.get_or_insert(Damage { offset, unpacked: false, fault }).clone()
    }
}

// === impl Format ===

impl Format {
    fn parse(&mut self, scan: &mut Scan<'_>) -> Result<Want, Fault> {
        loop {
            if !scan.skip_on() {
                return Ok(Want::Bytes(1));
            }
            let before = scan.skip;
            let want = match self {
                Self::Pcap(pcap) => pcap.parse(scan)?,
                Self::Pcapng(pcapng) => pcapng.parse(scan)?,
                Self::Unknown => match Self::begin(scan)? {
                    Ok(format) => {
                        *self = format;
                        continue;
                    }
                    Err(want) => return Ok(want),
                },
            };
            if scan.skip == before {
                return Ok(want);
            }
        }
    }

    fn begin(scan: &mut Scan<'_>) -> Result<Result<Self, Want>, Fault> {
        let Some(magic) = scan.rest().first_chunk::<MAGIC_BYTES>().copied() else {
            return Ok(Err(Want::Bytes(MAGIC_BYTES)));
        };
        if Pcapng::begins(magic) {
            return Ok(Ok(Self::Pcapng(Pcapng::default())));
        }
        match Pcap::begin(scan) {
            Some(begun) => begun.map(|begun| begun.map(Self::Pcap)),
            None => Err(Fault::UnknownFormat(format!("{magic:02x?}"))),
        }
    }
}

// === impl Scan ===

impl<'a> Scan<'a> {
    /// What was not consumed.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// These bytes are done with; there must be as many.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.input.len());
    }

    /// So many bytes are done with, whether they are there or come later.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.skip += bytes;
    }

    /// Whether there is no room for frames.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= self.most
    }

    /// A record without a frame has a number like any other.
    pub(super) fn count(&mut self) {
        self.number += 1;
    }

    /// Takes the frame whose `record_bytes` begin at `begin` behind this place, and consumes them. `Some` if
    /// they have to be waited for, or the rest of them is to be skipped.
    pub(super) fn frame(
        &mut self,
        place: FramePlace,
        begin: usize,
        record_bytes: usize,
    ) -> Option<Want> {
        let kept = record_bytes.min(MAX_FRAME_BYTES as usize);
        let needed = begin + kept;
        if self.input.len() - self.at < needed {
            return Some(Want::Bytes(needed));
        }
        self.push(place, begin);
        self.at += needed;
        let rest = record_bytes - kept;
        self.skip += rest as u64;
        (rest > 0).then_some(Want::Bytes(1))
    }

    /// Takes the frame whose bytes begin at `begin` behind this place: as much of it as is kept has to be
    /// there. Its number and place are found here.
    pub(super) fn push(&mut self, place: FramePlace, begin: usize) {
        self.number += 1;
        let captured = place.captured.min(MAX_FRAME_BYTES);
        // An input is no longer than a buffer, some hundred thousand bytes.
        let offset = u32::try_from(self.at + begin).unwrap_or(u32::MAX);
        self.frames.push(FramePlace { offset, captured, number: self.number, ..place });
    }

    /// Passes over what is to be skipped; false if it goes on behind the input.
    fn skip_on(&mut self) -> bool {
        let here = (self.input.len() - self.at) as u64;
        let skipped = self.skip.min(here);
        self.skip -= skipped;
        self.at += usize::try_from(skipped).unwrap_or(usize::MAX);
        self.skip == 0
    }
}

/// The most bytes that can be captured of a frame.
pub(super) fn most_captured(link: u16) -> u32 {
    let long = LONG_FRAMES.iter().find(|(long, _)| *long == link);
    long.map_or(MAX_FRAME_BYTES, |(_, bytes)| *bytes)
}
