//! The pcap format (draft-ietf-opsawg-pcap), and what was written under its name beside it: nanoseconds,
//! Ixia's, AIX's, and the patched libpcaps of 1999. As Wireshark reads them (`wiretap/libpcap.c`).

use super::{
    error::Fault,
    number::Order,
    parser::{Scan, Want, most_captured},
    variant::{Expected, Guess, Layout},
};
use crate::record::{FramePlace, Timestamp};

const HEADER_BYTES: usize = 24;
/// Ixia's header ends with the size of the rest.
const IXIA_HEADER_BYTES: usize = 28;

/// `LINKTYPE_ETHERNET`, and what AIX calls it (`ifType`, RFC 1573).
const ETHERNET: u16 = 1;
const AIX_ETHERNET: u32 = 6;
/// AIX's loopback, which is `LINKTYPE_NULL`.
const AIX_LOOPBACK: u32 = 24;

/// Bits of the link type that must be 0; those above them say how long frame check sequences are.
const RESERVED: u32 = 0x03ff_0000;

/// A pcap, from its header on.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    nanos_per_unit: i64,
    lengths: Lengths,
    link: u16,
    records: Records,
}

/// How the records' headers are laid out.
#[derive(Debug)]
enum Records {
    Of(Layout),
    /// To be told by the first records.
    OneOf(&'static [Layout], Expected),
}

/// Which of a record's two lengths is which: until version 2.3 they stood the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    AsNow,
    Swapped,
    /// Some wrote the one order and some the other.
    SwappedIfOdd,
}

/// What a magic number stands for.
struct Magic {
    order: Order,
    nanos: bool,
    header_bytes: usize,
    layouts: &'static [Layout],
}

// === impl Pcap ===

impl Pcap {
    /// Reads the file's header; `None` if the magic number is not one of a pcap's.
    pub(super) fn begin(scan: &mut Scan<'_>) -> Option<Result<Result<Self, Want>, Fault>> {
        let magic = Magic::read(scan.rest())?;
        let Some(header) = scan.rest().get(..magic.header_bytes) else {
            return Some(Ok(Err(Want::Bytes(magic.header_bytes))));
        };
        let opened = Self::open(&magic, header);
        if opened.is_ok() {
            scan.pass(magic.header_bytes);
        }
        Some(opened.map(Ok))
    }

    fn open(magic: &Magic, header: &[u8]) -> Result<Self, Fault> {
        let order = magic.order;
        let major = order.u16(header, 4).unwrap_or_default();
        let minor = order.u16(header, 6).unwrap_or_default();
        let snaplen = order.u32(header, 16).unwrap_or_default();
        let network = order.u32(header, 20).unwrap_or_default();
        if major < 2 {
            return Err(Fault::UnknownVersion { format: "pcap", major, minor });
        }
        let aix = match (major, minor, network) {
            (2, 2, AIX_ETHERNET) => Some(ETHERNET),
            (2, 2, AIX_LOOPBACK) => Some(0),
            _ => None,
        }
        .filter(|_| magic.layouts.contains(&Layout::Nokia));
        if network & RESERVED != 0 {
            return Err(Fault::ReservedLinkType(network));
        }
        let lengths = match (major, minor) {
            (2, ..3) | (543, _) => Lengths::Swapped,
            (2, 3) => Lengths::SwappedIfOdd,
            _ => Lengths::AsNow,
        };
        let records = match magic.layouts {
            [layout] => Records::Of(*layout),
            // Whoever wrote other layouts wrote version 2.4.
            _ if lengths != Lengths::AsNow => Records::Of(Layout::Standard),
            layouts => Records::OneOf(layouts, Expected { order, snaplen }),
        };
        Ok(Self {
            order,
            nanos_per_unit: if magic.nanos || aix.is_some() { 1 } else { 1_000 },
            lengths,
            // The lower 16 bits.
            link: aix.unwrap_or((network & 0xffff) as u16),
            records,
        })
    }

    /// Finds the frames of the records that are there.
    pub(super) fn parse(&mut self, scan: &mut Scan<'_>) -> Result<Want, Fault> {
        let layout = match self.records {
            Records::Of(layout) => layout,
            Records::OneOf(layouts, expected) => {
                match expected.likeliest(layouts, scan.rest(), scan.ended) {
                    Guess::Needs(bytes) => return Ok(Want::Bytes(bytes)),
                    Guess::Of(layout) => {
                        // Of nothing at all nothing can be told.
                        if !scan.rest().is_empty() {
                            self.records = Records::Of(layout);
                        }
                        layout
                    }
                }
            }
        };
        let header_bytes = layout.header_bytes();
        let most = most_captured(self.link);
        loop {
            if scan.is_full() {
                return Ok(Want::Room);
            }
            let Some(header) = scan.rest().get(..header_bytes) else {
                return Ok(Want::Bytes(header_bytes));
            };
            let field = |at| self.order.u32(header, at).unwrap_or_default();
            let (captured, length) = self.lengths.sort(field(8), field(12));
            if captured > most {
                return Err(Fault::FrameTooLong { claimed: captured, most });
            }
            let (seconds, fraction) = (i64::from(field(0)), i64::from(field(4)));
            // Both are below 2^32, so this stays below 2^63.
            let time =
                Timestamp::from_nanos(seconds * 1_000_000_000 + fraction * self.nanos_per_unit);
            // What was captured was on the wire, whatever the length says.
            let length = length.max(captured);
            let place =
                FramePlace { time, captured, length, link: self.link, ..FramePlace::default() };
            if let Some(want) = scan.frame(place, header_bytes, captured as usize) {
                return Ok(want);
            }
        }
    }
}

// === impl Lengths ===

impl Lengths {
    /// The bytes captured, and those on the wire.
    fn sort(self, first: u32, second: u32) -> (u32, u32) {
        let swapped = match self {
            Self::AsNow => false,
            Self::Swapped => true,
            Self::SwappedIfOdd => first > second,
        };
        if swapped { (second, first) } else { (first, second) }
    }
}

// === impl Magic ===

impl Magic {
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = Order::Big.u32(bytes, 0)?;
        [(Order::Big, number), (Order::Little, number.swap_bytes())]
            .into_iter()
            .find_map(|(order, number)| Self::of(order, number))
    }

    fn of(order: Order, number: u32) -> Option<Self> {
        const MANY: &[Layout] = &[Layout::Standard, Layout::Patched, Layout::Nokia];
        const PATCHED: &[Layout] = &[Layout::Patched, Layout::PatchedForDebugging];
        const STANDARD: &[Layout] = &[Layout::Standard];
        let (nanos, header_bytes, layouts) = match number {
            0xa1b2_c3d4 => (false, HEADER_BYTES, MANY),
            0xa1b2_3c4d => (true, HEADER_BYTES, STANDARD),
            0xa1b2_cd34 => (false, HEADER_BYTES, PATCHED),
            0x1c00_01ac => (true, IXIA_HEADER_BYTES, STANDARD),
            0x1c00_01ab => (false, IXIA_HEADER_BYTES, STANDARD),
            _ => return None,
        };
        Some(Self { order, nanos, header_bytes, layouts })
    }
}
