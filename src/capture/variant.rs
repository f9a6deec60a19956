//! Which layout the records of a pcap have, where its magic number leaves that open.
//!
//! Patched libpcaps of 1999 and some devices wrote longer record headers under magic numbers that others
//! use. As Wireshark does (`wiretap/libpcap.c`), the first records are tried in each layout, and the one
//! with the fewest oddities is taken.

use super::{number::Order, parser::MAX_FRAME_BYTES};

/// Records that are tried.
const TRIED: usize = 3;

/// No packet on any wire is longer.
const LONGEST_ON_WIRE: u32 = 128 << 20;

/// Interfaces had numbers below this when such headers were written.
const MAX_INTERFACE: u32 = 10_000;

/// The last kind of packet (`PACKET_*` of `linux/if_packet.h`) there was then.
const MAX_PACKET_TYPE: u8 = 4;

/// How the header of a record is laid out: time stamp and lengths, and what else there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Nothing else.
    Standard,
    /// Interface, protocol and packet type (patches of 1999-04-17 and 1999-10-29).
    Patched,
    /// The same and five bytes more (patch of 1999-09-15).
    PatchedForDebugging,
    /// Four bytes of Nokia's.
    Nokia,
}

/// What the file's header says, for judging its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Its byte order.
    pub(super) order: Order,
    /// Its snapshot length.
    pub(super) snaplen: u32,
}

/// What the first records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// They are of this layout.
    Of(Layout),
    /// So many bytes of them are needed to tell.
    Needs(usize),
}

/// What is odd about records in one layout.
enum Oddities {
    Count(u32),
    Needs(usize),
}

/// What came of one record.
enum Record {
    /// It looks like one, and the next begins there.
    Next(usize),
    /// Nothing follows that could be looked at.
    Last,
    /// So many bytes are needed.
    Needs(usize),
}

// === impl Layout ===

impl Layout {
    /// Bytes of a record's header.
    pub(super) const fn header_bytes(self) -> usize {
        match self {
            Self::Standard => 16,
            Self::Patched => 24,
            Self::PatchedForDebugging => 28,
            Self::Nokia => 20,
        }
    }
}

// === impl Expected ===

impl Expected {
    /// The likeliest of `layouts` for the records in `input`; with `ended` nothing follows it.
    pub(super) fn likeliest(self, layouts: &[Layout], input: &[u8], ended: bool) -> Guess {
        let mut best = (u32::MAX, Layout::Standard);
        for layout in layouts {
            match self.oddities(*layout, input, ended) {
                Oddities::Needs(bytes) => return Guess::Needs(bytes),
                Oddities::Count(0) => return Guess::Of(*layout),
                Oddities::Count(count) if count < best.0 => best = (count, *layout),
                Oddities::Count(_) => {}
            }
        }
        Guess::Of(best.1)
    }

    fn oddities(self, layout: Layout, input: &[u8], ended: bool) -> Oddities {
        let (mut at, mut count) = (0, 0);
        for _ in 0..TRIED {
            match self.look(layout, input, at, &mut count) {
                Record::Next(next) => at = next,
                Record::Last => break,
                Record::Needs(bytes) if !ended => return Oddities::Needs(bytes),
                Record::Needs(_) => {
                    // The file ends here: between two records that is as it should be.
                    count += u32::from(at < input.len());
                    break;
                }
            }
        }
        Oddities::Count(count)
    }

    fn look(self, layout: Layout, input: &[u8], at: usize, count: &mut u32) -> Record {
        let order = self.order;
        let behind_header = at + layout.header_bytes();
        let Some(header) = input.get(at..behind_header) else {
            return Record::Needs(behind_header);
        };
        let field = |at| order.u32(header, at).unwrap_or_default();
        let (fraction, captured, length) = (field(4), field(8), field(12));
        let mut odd = |is_odd: bool| *count += u32::from(is_odd);
        odd(fraction >= 1_000_000);
        odd(captured > MAX_FRAME_BYTES);
        odd(captured > self.snaplen);
        odd(length > LONGEST_ON_WIRE);
        odd(captured > length);
        match layout {
            Layout::Standard => {}
            Layout::Patched | Layout::PatchedForDebugging => {
                odd(field(16) > MAX_INTERFACE);
                odd(!is_protocol(order.u16(header, 20).unwrap_or_default()));
                odd(header.get(22).is_some_and(|kind| *kind > MAX_PACKET_TYPE));
            }
            Layout::Nokia => odd(!is_nokia(field(16))),
        }
        if captured > MAX_FRAME_BYTES {
            return Record::Last;
        }
        let next = behind_header + captured as usize;
        if input.len() < next { Record::Needs(next) } else { Record::Next(next) }
    }
}

/// An `EtherType`, or one of Linux's own numbers in its place (`linux/if_ether.h`).
fn is_protocol(number: u16) -> bool {
    matches!(number, 0x0000..=0x0017 | 0x0060 | 0x0200 | 0x0400 | 0x0600..)
}

/// The values seen in Nokia's four bytes: `0xXfbfYZ0W`.
fn is_nokia(number: u32) -> bool {
    number & 0x0fff_00f0 == 0x0fbf_0000
        && matches!(number >> 28, 0x9 | 0xb)
        && matches!(number >> 12 & 0xf, 0xb | 0xd)
        && matches!(number >> 8 & 0xf, 0x6 | 0x9)
        && matches!(number & 0xf, 1 | 2)
}
