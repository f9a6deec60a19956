//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks, each with interfaces of its own.

use std::{collections::HashMap, sync::Arc};

use super::{
    error::Fault,
    number::Order,
    parser::{MAX_FRAME_BYTES, Scan, Want, most_captured},
    timing::Timing,
};
use crate::record::{CaptureInterface, FramePlace, Timestamp};

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Blocks without a packet that have a frame's number in Wireshark all the same: the journal's, custom
/// ones, and Sysdig's events.
const NUMBERED: [u32; 6] = [0x9, 0xbad, 0x4000_0bad, 0x204, 0x216, 0x221];

/// Type and length before a block's body; type, length, and length again.
const HEAD_BYTES: usize = 8;
const FRAME_BYTES: usize = 12;
/// What a section's header, an interface's description and the headers of packets take at least, with
/// the block's frame.
const MIN_SECTION_BYTES: usize = 28;
const MIN_INTERFACE_BYTES: usize = 20;
const MIN_PACKET_BYTES: usize = 32;
const MIN_SIMPLE_BYTES: u32 = 16;
/// Of a longer block only the beginning is looked at.
const MAX_BLOCK_BYTES: usize = MAX_FRAME_BYTES as usize + (64 << 10);

/// A section's byte-order magic, read in its own byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Options of an interface.
const END_OF_OPTIONS: u16 = 0;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;
/// What a resolution is that nobody gives: microseconds.
const MICROSECONDS: u8 = 6;

/// Interfaces that can be told apart, in a section and in the file.
const MAX_INTERFACES: usize = u16::MAX as usize;
/// Bytes kept of an interface's name.
const MAX_NAME_BYTES: usize = 128;

/// A pcapng, with what its present section has said.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    /// None before the first section's header.
    order: Option<Order>,
    described: Vec<Described>,
    known: Interfaces,
    /// The block whose body is being skipped, by type and length: the length comes once more.
    within: Option<(u32, u32)>,
}

/// An interface of the present section.
#[derive(Debug, Clone, Copy)]
struct Described {
    /// Its place among all there are in the file.
    interface: u16,
    link: u16,
    snaplen: u32,
    timing: Timing,
}

/// The interfaces of all sections, each once.
#[derive(Debug, Default)]
struct Interfaces {
    list: Vec<CaptureInterface>,
    places: HashMap<CaptureInterface, u16>,
    /// The list as it was when it was last asked for.
    shared: Arc<[CaptureInterface]>,
}

/// The head of a block.
#[derive(Debug, Clone, Copy)]
struct Block {
    kind: u32,
    length: u32,
    order: Order,
}

// === impl Pcapng ===

impl Pcapng {
    /// Whether a file with this beginning is a pcapng: it is the same in both byte orders.
    pub(super) fn begins(magic: [u8; 4]) -> bool {
        magic == SECTION_HEADER.to_be_bytes()
    }

    /// The interfaces of all sections so far.
    pub(super) fn interfaces(&mut self) -> Arc<[CaptureInterface]> {
        if self.known.shared.len() != self.known.list.len() {
            self.known.shared = self.known.list.as_slice().into();
        }
        Arc::clone(&self.known.shared)
    }

    /// Whether a block has begun and not ended.
    pub(super) fn is_within_block(&self) -> bool {
        self.within.is_some()
    }

    /// Finds the frames of the blocks that are there.
    pub(super) fn parse(&mut self, scan: &mut Scan<'_>) -> Result<Want, Fault> {
        loop {
            if let (Some((kind, before)), Some(order)) = (self.within, self.order) {
                let Some(after) = order.u32(scan.rest(), 0) else {
                    return Ok(Want::Bytes(4));
                };
                if after != before {
                    scan.behind = u64::from(before).saturating_sub(4);
                    return Err(Fault::BlockEnds { kind, before, after });
                }
                scan.pass(4);
                self.within = None;
            }
            if scan.is_full() {
                return Ok(Want::Room);
            }
            let rest = scan.rest();
            if rest.len() < FRAME_BYTES {
                return Ok(Want::Bytes(FRAME_BYTES));
            }
            let block = Block::read(rest, self.order)?;
            let length = block.length as usize;
            let looked_at = if block.is_read() { length.min(MAX_BLOCK_BYTES) } else { FRAME_BYTES };
            let Some(bytes) = rest.get(..length) else {
                if rest.len() < looked_at {
                    return Ok(Want::Bytes(looked_at));
                }
                if !block.is_read() || length > MAX_BLOCK_BYTES {
                    self.begin_long(block, rest, looked_at, scan)?;
                    return Ok(Want::Bytes(1));
                }
                return Ok(Want::Bytes(length));
            };
            block.check_end(bytes)?;
            self.take(block, bytes, scan)?;
            scan.pass(length);
        }
    }

    /// Takes of a block that is not all there what is looked at, and lets the rest be skipped.
    fn begin_long(
        &mut self,
        block: Block,
        rest: &[u8],
        looked_at: usize,
        scan: &mut Scan<'_>,
    ) -> Result<(), Fault> {
        self.take(block, rest.get(..looked_at).unwrap_or_default(), scan)?;
        let passed = if block.is_read() { looked_at } else { HEAD_BYTES };
        scan.pass(passed);
        // The length behind the body is read for itself.
        scan.skip(u64::from(block.length).saturating_sub(passed as u64 + 4));
        self.order = self.order.or(Some(block.order));
        self.within = Some((block.kind, block.length));
        Ok(())
    }

    fn take(&mut self, block: Block, bytes: &[u8], scan: &mut Scan<'_>) -> Result<(), Fault> {
        match block.kind {
            SECTION_HEADER => self.section(block, bytes),
            INTERFACE => self.interface(block, bytes),
            ENHANCED_PACKET | PACKET => self.packet(block, bytes, scan),
            SIMPLE_PACKET => self.simple_packet(block, bytes, scan),
            kind => {
                if NUMBERED.contains(&kind) {
                    scan.count();
                }
                Ok(())
            }
        }
    }

    fn section(&mut self, block: Block, bytes: &[u8]) -> Result<(), Fault> {
        block.at_least(MIN_SECTION_BYTES)?;
        let number = |at| block.order.u16(bytes, at).unwrap_or_default();
        let (major, minor) = (number(12), number(14));
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(Fault::UnknownVersion { format: "pcapng", major, minor });
        }
        self.order = Some(block.order);
        self.described.clear();
        Ok(())
    }

    fn interface(&mut self, block: Block, bytes: &[u8]) -> Result<(), Fault> {
        block.at_least(MIN_INTERFACE_BYTES)?;
        if self.described.len() >= MAX_INTERFACES {
            return Err(Fault::TooManyInterfaces(MAX_INTERFACES));
        }
        let (mut name, mut resolution, mut offset) = (None, MICROSECONDS, 0);
        block.options(bytes, 16, |code, value| match code {
            NAME => name = interface_name(value),
            RESOLUTION => resolution = value.first().copied().unwrap_or(MICROSECONDS),
            TIME_OFFSET => offset = block.order.i64(value, 0).unwrap_or_default(),
            _ => {}
        })?;
        // So many are described already: below 2^16.
        let index = u32::try_from(self.described.len()).unwrap_or(u32::MAX);
        self.described.push(Described {
            interface: self.known.place(CaptureInterface { index, name })?,
            link: block.order.u16(bytes, 8).unwrap_or_default(),
            snaplen: block.order.u32(bytes, 12).unwrap_or_default(),
            timing: Timing::new(resolution, offset),
        });
        Ok(())
    }

    /// An Enhanced Packet Block, or the Packet Block that it replaced: the latter's interface has 16 bits,
    /// and before its time stamp stands how many packets were dropped.
    fn packet(&self, block: Block, bytes: &[u8], scan: &mut Scan<'_>) -> Result<(), Fault> {
        block.at_least(MIN_PACKET_BYTES)?;
        let number = |at| block.order.u32(bytes, at).unwrap_or_default();
        let index = match block.kind {
            PACKET => block.order.u16(bytes, 8).unwrap_or_default().into(),
            _ => number(8),
        };
        let of = self.described(index)?;
        let captured = number(20);
        block.fits(captured, MIN_PACKET_BYTES)?;
        let units = u64::from(number(12)) << 32 | u64::from(number(16));
        of.push(of.timing.at(units), [captured, number(24)], 28, scan)
    }

    /// A Simple Packet Block is of the first interface, and has no time stamp.
    fn simple_packet(&self, block: Block, bytes: &[u8], scan: &mut Scan<'_>) -> Result<(), Fault> {
        block.at_least(MIN_SIMPLE_BYTES as usize)?;
        let of = self.described(0)?;
        let length = block.order.u32(bytes, 8).unwrap_or_default();
        let snaplen = if of.snaplen == 0 { u32::MAX } else { of.snaplen };
        let room = block.length.saturating_sub(MIN_SIMPLE_BYTES);
        let captured = length.min(snaplen).min(room);
        of.push(Timestamp::default(), [captured, length], 12, scan)
    }

    fn described(&self, index: u32) -> Result<Described, Fault> {
        let described = self.described.get(index as usize).copied();
        described.ok_or(Fault::UnknownInterface { index, described: self.described.len() })
    }
}

// === impl Described ===

impl Described {
    /// Takes a frame of this interface whose bytes begin at `begin` in its block.
    fn push(
        self,
        time: Timestamp,
        [captured, length]: [u32; 2],
        begin: usize,
        scan: &mut Scan<'_>,
    ) -> Result<(), Fault> {
        let Self { link, interface, .. } = self;
        let most = most_captured(link);
        if captured > most {
            return Err(Fault::FrameTooLong { claimed: captured, most });
        }
        // What was captured was on the wire, whatever the length says.
        let length = length.max(captured);
        let place = FramePlace { time, captured, length, link, interface, ..FramePlace::default() };
        scan.push(place, begin);
        Ok(())
    }
}

// === impl Block ===

impl Block {
    /// Reads type and length, the latter in the section's byte order; a section's header brings its own.
    fn read(bytes: &[u8], order: Option<Order>) -> Result<Self, Fault> {
        // A section's type is the same in both.
        let any = order.unwrap_or(Order::Little);
        let kind = any.u32(bytes, 0).unwrap_or_default();
        let order = if kind == SECTION_HEADER { own_order(bytes)? } else { any };
        let length = order.u32(bytes, 4).unwrap_or_default();
        let block = Self { kind, length, order };
        if !length.is_multiple_of(4) {
            return Err(Fault::BlockLength { kind, length });
        }
        block.at_least(FRAME_BYTES)?;
        Ok(block)
    }

    /// Whether its body is of interest.
    fn is_read(self) -> bool {
        matches!(self.kind, SECTION_HEADER | INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET)
    }

    fn at_least(self, bytes: usize) -> Result<(), Fault> {
        let Self { kind, length, .. } = self;
        if (length as usize) < bytes {
            return Err(Fault::BlockLength { kind, length });
        }
        Ok(())
    }

    /// Whether there is room for so many captured bytes behind what the block takes at least.
    fn fits(self, captured: u32, others: usize) -> Result<(), Fault> {
        let most = (self.length as usize).saturating_sub(others);
        if captured as usize > most {
            // No more than the block's length.
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            return Err(Fault::FrameTooLong { claimed: captured, most });
        }
        Ok(())
    }

    /// Whether the length at the end of `bytes`, the whole block, is the same as at its beginning.
    fn check_end(self, bytes: &[u8]) -> Result<(), Fault> {
        let Self { kind, length, order } = self;
        let after = order.u32(bytes, bytes.len().saturating_sub(4)).unwrap_or_default();
        if after != length {
            return Err(Fault::BlockEnds { kind, before: length, after });
        }
        Ok(())
    }

    /// Gives each option from `at` on, as far as `bytes` go.
    fn options(
        self,
        bytes: &[u8],
        at: usize,
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), Fault> {
        let is_whole = bytes.len() == self.length as usize;
        let end = if is_whole { bytes.len().saturating_sub(4) } else { bytes.len() };
        let mut rest = bytes.get(at..end).unwrap_or_default();
        while let (Some(code), Some(length)) = (self.order.u16(rest, 0), self.order.u16(rest, 2)) {
            if code == END_OF_OPTIONS {
                break;
            }
            let length = usize::from(length);
            let Some(value) = rest.get(4..4 + length) else {
                if is_whole {
                    return Err(Fault::OptionLength { code, length });
                }
                break;
            };
            take(code, value);
            rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

// === impl Interfaces ===

impl Interfaces {
    /// The place of an interface among all; of several that are alike, that of the first.
    fn place(&mut self, interface: CaptureInterface) -> Result<u16, Fault> {
        if let Some(place) = self.places.get(&interface) {
            return Ok(*place);
        }
        let place = u16::try_from(self.list.len()).ok().filter(|place| *place < u16::MAX);
        let place = place.ok_or(Fault::TooManyInterfaces(MAX_INTERFACES))?;
        self.list.push(interface.clone());
        self.places.insert(interface, place);
        Ok(place)
    }
}

/// The byte order of a section, by its header.
fn own_order(bytes: &[u8]) -> Result<Order, Fault> {
    let magic = Order::Little.u32(bytes, 8).unwrap_or_default();
    match magic {
        BYTE_ORDER => Ok(Order::Little),
        _ if magic.swap_bytes() == BYTE_ORDER => Ok(Order::Big),
        _ => Err(Fault::ByteOrder(magic)),
    }
}

/// A name's text, without what some put behind its end.
fn interface_name(value: &[u8]) -> Option<Arc<str>> {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value.get(..MAX_NAME_BYTES).unwrap_or(value));
    (!text.is_empty()).then(|| text.into())
}
