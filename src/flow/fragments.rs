//! Later fragments have no transport header: they go to the flow of the first one.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use super::key::Place;
use crate::record::{Fragment, Header, Layer4, Timestamp, Transport};

/// How many fragmented packets of IPv4, and of IPv6, are followed at once.
const CAPACITY: usize = 4096;
/// How long after its first fragment an IPv4 packet is followed: the reassembly time-out of hosts
/// (Linux `net.ipv4.ipfrag_time`).
const HOLD_V4_NANOS: u64 = 30_000_000_000;
/// And an IPv6 packet (RFC 8200 section 4.5).
const HOLD_V6_NANOS: u64 = 60_000_000_000;
/// Length of an IPv4 header without options, and of an IPv6 header with its fragment header.
const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 48;

/// What the first fragments of packets had, bounded in number and time.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    v4: Family,
    v6: Family,
}

/// Those of one version of IP: held equally long, so the oldest is the next one due.
#[derive(Debug, Default)]
struct Family {
    firsts: HashMap<Datagram, (HeldFirst, Timestamp)>,
    order: VecDeque<(Datagram, Timestamp)>,
}

/// What all fragments of one packet have in common (RFC 791, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    /// Of an IPv6 packet none: there the identification alone tells packets apart, and later
    /// fragments name the first header of the fragmentable part, which may be an extension header.
    transport: Option<Transport>,
    id: u32,
    place: Place,
}

/// What the first fragment of a packet said of all of them; of a packet in one piece, what its header
/// says. Most are the latter, and are not copied for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct First<'a> {
    pub(super) transport: Transport,
    pub(super) layer4: &'a Layer4,
    /// Bytes of the packet's payload in it.
    bytes: u32,
}

/// The same, kept for later fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldFirst {
    transport: Transport,
    layer4: Layer4,
    bytes: u32,
}

// === impl Fragments ===

impl Fragments {
    /// The first fragment of the packet that this header's fragment belongs to, if it was seen.
    pub(super) fn first(
        &mut self,
        header: &Header,
        fragment: Fragment,
        place: Place,
        now: Timestamp,
    ) -> Option<HeldFirst> {
        let is_v4 = header.source.is_ipv4();
        let (family, hold) =
            if is_v4 { (&mut self.v4, HOLD_V4_NANOS) } else { (&mut self.v6, HOLD_V6_NANOS) };
        family.expire(now);
        let datagram = Datagram::of(header, fragment, place);
        if fragment.offset > 0 {
            return family.firsts.get(&datagram).map(|(first, _)| *first);
        }
        let first = HeldFirst {
            transport: header.transport,
            layer4: header.layer4,
            bytes: payload(header),
        };
        if fragment.more {
            family.insert(datagram, first, now.saturating_add(hold));
        }
        Some(first)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

// === impl Family ===

impl Family {
    fn insert(&mut self, datagram: Datagram, first: HeldFirst, due: Timestamp) {
        if self.order.len() == CAPACITY {
            self.forget_first();
        }
        self.firsts.insert(datagram, (first, due));
        self.order.push_back((datagram, due));
    }

    fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(_, due)| *due <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((datagram, due)) = self.order.pop_front()
            && self.firsts.get(&datagram).is_some_and(|(_, latest)| *latest == due)
        {
            self.firsts.remove(&datagram);
        }
    }
}

// === impl Datagram ===

impl Datagram {
    /// What this fragment is a part of.
    pub(super) fn of(header: &Header, fragment: Fragment, place: Place) -> Self {
        Self {
            source: header.source,
            destination: header.destination,
            transport: header.source.is_ipv4().then_some(header.transport),
            id: fragment.id,
            place,
        }
    }
}

// === impl HeldFirst ===

impl HeldFirst {
    /// What a header that is no fragment says of itself.
    pub(super) fn alone(header: &Header) -> Self {
        Self { transport: header.transport, layer4: header.layer4, bytes: 0 }
    }

    /// As the table asks it.
    pub(super) fn said(&self) -> First<'_> {
        First { transport: self.transport, layer4: &self.layer4, bytes: self.bytes }
    }
}

// === impl First ===

impl<'a> First<'a> {
    /// What a header that is no fragment says of itself.
    #[inline]
    pub(super) fn alone(header: &Header, layer4: &'a Layer4) -> Self {
        Self { transport: header.transport, layer4, bytes: 0 }
    }

    /// Where in the stream of its TCP connection the payload of a later fragment lies: the numbers of
    /// its first byte, and one past its last.
    pub(super) fn stream(&self, header: &Header) -> Option<(u32, u32)> {
        let Layer4::Tcp(tcp) = *self.layer4 else { return None };
        let fragment = header.fragment.filter(|fragment| fragment.offset > 0)?;
        let header_bytes = self.bytes.checked_sub(tcp.payload_bytes)?;
        let syn = u32::from(tcp.flags.has(crate::record::TcpFlags::SYN));
        let past_header = fragment.offset.checked_sub(header_bytes)?;
        let from = tcp.sequence.wrapping_add(syn).wrapping_add(past_header);
        Some((from, from.wrapping_add(payload(header))))
    }
}

/// Bytes of a packet's payload in one of its fragments.
fn payload(header: &Header) -> u32 {
    let own = if header.source.is_ipv4() { V4_HEADER } else { V6_HEADER };
    header.ip_bytes.saturating_sub(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Checksums, Ports};

    fn part(v6: bool, id: u32, offset: u32, layer4: Layer4) -> (Header, Fragment) {
        let fragment = Fragment { id, offset, more: true };
        let address = |last: u8| -> IpAddr {
            if v6 { [0, 0, 0, 0, 0, 0, 0, last.into()].into() } else { [10, 0, 0, last].into() }
        };
        let header = Header {
            marks: crate::record::Marks::default(),
            source: address(1),
            destination: address(2),
            tunnel: None,
            transport: Transport(if v6 && offset > 0 { 60 } else { 17 }),
            ip_bytes: 1500,
            checksums: Checksums::default(),
            fragment: Some(fragment),
            layer4,
        };
        (header, fragment)
    }

    fn see(
        fragments: &mut Fragments,
        v6: bool,
        id: u32,
        offset: u32,
        seconds: i64,
    ) -> Option<Ports> {
        let ports = Ports { source: 1, destination: 2 };
        let layer4 = if offset == 0 { Layer4::Udp(ports, 1472) } else { Layer4::Opaque };
        let (header, fragment) = part(v6, id, offset, layer4);
        let now = Timestamp::from_parts(seconds, 0).unwrap();
        let first = fragments.first(&header, fragment, Place::default(), now)?;
        assert_eq!(first.transport, Transport::UDP);
        first.layer4.ports()
    }

    #[test]
    fn a_later_fragment_has_the_ports_of_the_first_for_a_while() {
        for (v6, held) in [(false, 30), (true, 60)] {
            let mut fragments = Fragments::default();
            assert_eq!(see(&mut fragments, v6, 7, 1480, 0), None);
            assert!(see(&mut fragments, v6, 7, 0, 0).is_some());
            assert!(see(&mut fragments, v6, 7, 1480, held - 1).is_some());
            assert_eq!(see(&mut fragments, v6, 8, 1480, held - 1), None);
            assert_eq!(see(&mut fragments, v6, 7, 1480, held), None);
        }
    }

    #[test]
    fn a_flood_of_first_fragments_is_held_to_the_capacity() {
        let mut fragments = Fragments::default();
        for id in 0..10_000 {
            see(&mut fragments, false, id, 0, 0);
        }
        assert_eq!((fragments.v4.firsts.len(), fragments.v4.order.len()), (CAPACITY, CAPACITY));
        assert!(see(&mut fragments, false, 9_999, 8, 0).is_some());
    }
}
