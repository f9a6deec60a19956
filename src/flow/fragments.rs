//! Later fragments have no ports: they go to the flow of the first one.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use crate::record::{Fragment, Header, Ports, Timestamp, Transport, Vlans};

/// How many fragmented packets are followed at once.
const CAPACITY: usize = 4096;
/// How long after its first fragment a packet is followed: the reassembly time-out of hosts
/// (Linux `net.ipv4.ipfrag_time`).
const HOLD_NANOS: u64 = 30_000_000_000;

/// The ports of packets whose first fragment was seen, bounded in number and time.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    ports: HashMap<Datagram, (Ports, Timestamp)>,
    order: VecDeque<(Datagram, Timestamp)>,
}

/// What all fragments of one packet have in common (RFC 791, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
    id: u32,
    /// Empty when VLANs don't tell flows apart.
    vlans: Vlans,
}

// === impl Fragments ===

impl Fragments {
    /// The ports of the packet that this header's fragment belongs to, if its first one was seen.
    pub(super) fn ports(
        &mut self,
        header: &Header,
        fragment: Fragment,
        vlans: Vlans,
        now: Timestamp,
    ) -> Option<Ports> {
        self.expire(now);
        let datagram = Datagram::of(header, fragment, vlans);
        if fragment.offset > 0 {
            return self.ports.get(&datagram).map(|(ports, _)| *ports);
        }
        let ports = header.layer4.ports()?;
        if fragment.more {
            if self.order.len() == CAPACITY {
                self.forget_first();
            }
            let due = now.saturating_add(HOLD_NANOS);
            self.ports.insert(datagram, (ports, due));
            self.order.push_back((datagram, due));
        }
        Some(ports)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.ports.clear();
        self.order.clear();
    }

    fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(_, due)| *due <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((datagram, due)) = self.order.pop_front()
            && self.ports.get(&datagram).is_some_and(|(_, latest)| *latest == due)
        {
            self.ports.remove(&datagram);
        }
    }
}

// === impl Datagram ===

impl Datagram {
    /// What this fragment is a part of.
    pub(super) fn of(header: &Header, fragment: Fragment, vlans: Vlans) -> Self {
        Self {
            source: header.source,
            destination: header.destination,
            transport: header.transport,
            id: fragment.id,
            vlans,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Checksums, Layer4};

    fn part(id: u32, offset: u32, layer4: Layer4) -> (Header, Fragment) {
        let fragment = Fragment { id, offset, more: true };
        let header = Header {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            transport: Transport::UDP,
            ip_bytes: 1500,
            checksums: Checksums::default(),
            fragment: Some(fragment),
            layer4,
        };
        (header, fragment)
    }

    fn see(fragments: &mut Fragments, id: u32, offset: u32, seconds: i64) -> Option<Ports> {
        let ports = Ports { source: 1, destination: 2 };
        let layer4 = if offset == 0 { Layer4::Udp(ports, 1472) } else { Layer4::Opaque };
        let (header, fragment) = part(id, offset, layer4);
        fragments.ports(
            &header,
            fragment,
            Vlans::default(),
            Timestamp::from_parts(seconds, 0).unwrap(),
        )
    }

    #[test]
    fn a_later_fragment_has_the_ports_of_the_first_for_a_while() {
        let mut fragments = Fragments::default();
        assert_eq!(see(&mut fragments, 7, 1480, 0), None);
        assert!(see(&mut fragments, 7, 0, 0).is_some());
        assert!(see(&mut fragments, 7, 1480, 29).is_some());
        assert_eq!(see(&mut fragments, 8, 1480, 29), None);
        assert_eq!(see(&mut fragments, 7, 1480, 31), None);
    }

    #[test]
    fn a_flood_of_first_fragments_is_held_to_the_capacity() {
        let mut fragments = Fragments::default();
        for id in 0..10_000 {
            see(&mut fragments, id, 0, 0);
        }
        assert_eq!(fragments.ports.len(), CAPACITY);
        assert_eq!(fragments.order.len(), CAPACITY);
        assert!(see(&mut fragments, 9_999, 8, 0).is_some());
    }
}
