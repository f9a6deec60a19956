//! Fragments as Zeek counts them: a packet counts once, when its last part has come, with the length
//! it had before it was cut up. A packet that never becomes whole counts for nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{fragments::Datagram, key::Place};
use crate::record::{Fragment, Layer4, Packet};

/// How many packets are put together at once.
const CAPACITY: usize = 4096;
/// Into how many parts one may be cut.
const MAX_PARTS: usize = 128;
/// Length of an IPv4 header without options, and of an IPv6 header, with and without the fragment
/// header that the parts have and the whole has not.
const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 40;
const V6_FRAGMENT_HEADER: u32 = 8;

/// Packets whose parts are still coming.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    packets: HashMap<Datagram, Parts>,
    order: VecDeque<Datagram>,
}

#[derive(Debug, Default)]
struct Parts {
    /// The first part: it has the headers.
    first: Option<Packet>,
    /// Offset and end of each part, in bytes of payload.
    pieces: BTreeMap<u32, u32>,
    /// Where the last part ends.
    end: Option<u32>,
}

// === impl Reassembly ===

impl Reassembly {
    /// Takes a packet; gives a whole one as it is, and one that this part makes whole.
    pub(super) fn take(&mut self, packet: &Packet) -> Option<Packet> {
        let Some(fragment) = packet.outer.fragment else {
            return Some(packet.clone());
        };
        if packet.captured_bytes < packet.frame_bytes {
            // What was cut off can't be put together; the headers of a first part are all there.
            return (fragment.offset == 0).then(|| packet.clone());
        }
        let datagram = Datagram::of(&packet.outer, fragment, Place::default());
        if !self.packets.contains_key(&datagram) {
            if self.order.len() == CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.packets.remove(&oldest);
            }
            self.order.push_back(datagram);
        }
        let parts = self.packets.entry(datagram).or_default();
        parts.add(packet, fragment);
        let whole = parts.whole(packet)?;
        self.packets.remove(&datagram);
        self.order.retain(|other| *other != datagram);
        Some(whole)
    }
}

// === impl Parts ===

impl Parts {
    fn add(&mut self, packet: &Packet, fragment: Fragment) {
        let header =
            if packet.outer.source.is_ipv4() { V4_HEADER } else { V6_HEADER + V6_FRAGMENT_HEADER };
        let end = fragment.offset.saturating_add(packet.outer.ip_bytes.saturating_sub(header));
        if self.pieces.len() < MAX_PARTS {
            let piece = self.pieces.entry(fragment.offset).or_default();
            *piece = end.max(*piece);
        }
        if !fragment.more {
            self.end = Some(end);
        }
        if fragment.offset == 0 {
            self.first = Some(packet.clone());
        }
    }

    /// The whole packet, at the time of its last part.
    fn whole(&self, last: &Packet) -> Option<Packet> {
        let (first, end) = (self.first.as_ref()?, self.end?);
        let mut reached = 0;
        for (from, to) in &self.pieces {
            if *from > reached {
                return None;
            }
            reached = reached.max(*to);
        }
        if reached < end {
            return None;
        }
        let mut whole = Packet { time: last.time, ..first.clone() };
        let header = if whole.outer.source.is_ipv4() { V4_HEADER } else { V6_HEADER };
        whole.outer.fragment = None;
        whole.outer.ip_bytes = end.saturating_add(header);
        // The innermost segment reaches over all parts; its length was that of the first.
        let begun = self.pieces.get(&0).copied().unwrap_or(end);
        let rest = end.saturating_sub(begun);
        for bytes in [&mut whole.frame_bytes, &mut whole.captured_bytes] {
            *bytes = bytes.saturating_add(rest);
        }
        let innermost = whole.inner.last_mut().unwrap_or(&mut whole.outer);
        if let Layer4::Tcp(tcp) = &mut innermost.layer4 {
            tcp.payload_bytes = tcp.payload_bytes.saturating_add(rest);
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::packets::{CLIENT, SERVER, tcp, udp};

    fn part(id: u32, offset: u32, more: bool, ip_bytes: u32) -> Packet {
        udp(CLIENT, 1, SERVER, 2, ip_bytes).fragment(id, offset, more).at(offset.into())
    }

    #[test]
    fn a_packet_is_whole_with_its_last_part_whatever_the_order() {
        let parts = [part(7, 0, true, 1500), part(7, 1480, true, 1500), part(7, 2960, false, 120)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut reassembly = Reassembly::default();
            let [first, second, last] = order.map(|at| reassembly.take(&parts[at]));
            assert_eq!((first, second), (None, None));
            let whole = last.unwrap();
            assert_eq!((whole.outer.ip_bytes, whole.outer.fragment), (20 + 3060, None));
            assert_eq!(whole.time, parts[order[2]].time);
            assert!(reassembly.packets.is_empty() && reassembly.order.is_empty());
        }
    }

    #[test]
    fn the_innermost_segment_reaches_over_all_parts() {
        let carried = tcp(true, "A", 1, 1, 1424).outer;
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.take(&part(7, 0, true, 1500).carrying(carried)), None);
        let whole = reassembly.take(&part(7, 1480, false, 36)).unwrap();
        let Layer4::Tcp(tcp) = whole.inner[0].layer4 else { panic!("{whole:?}") };
        assert_eq!(tcp.payload_bytes, 1440);
    }

    #[test]
    fn packets_that_never_become_whole_are_held_to_the_capacity() {
        let mut reassembly = Reassembly::default();
        for id in 0..10_000 {
            assert_eq!(reassembly.take(&part(id, 0, true, 1500)), None);
            assert_eq!(reassembly.take(&part(id, 3000, false, 1500)), None);
        }
        assert_eq!((reassembly.packets.len(), reassembly.order.len()), (CAPACITY, CAPACITY));
    }
}
