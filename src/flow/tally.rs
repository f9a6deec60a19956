//! Packets and SYNs of each source, and SYNs for each port with the handshakes that came of them, a
//! second at a time: the rates a judge needs, which no single flow shows.
//!
//! What a source sends is counted by the tables, which know whether anybody answers it: packets of a flow
//! that goes on both ways are left out, for a download or a speed test sends as many as a flood.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{clock::Moment, contacts, output::Output};
use crate::record::{
    Contact, Header, Layer4, ObservationPoint, Outcome, Packet, TcpFlags, Timestamp, Transport,
};

/// Sources, and ports, that are told apart within a second; further ones go uncounted until the
/// next.
const CAPACITY: usize = 65_536;

/// Repetitions within a second from which on they are told.
const MANY: u64 = 10;

/// The counts of the present second, but for those of each source.
#[derive(Debug, Default)]
pub(super) struct Tally {
    second: Option<i64>,
    targets: HashMap<(ObservationPoint, IpAddr, u16), Aimed>,
    repeated: HashMap<(ObservationPoint, [IpAddr; 2], Transport, u16), Repeated>,
}

/// What each source sent in the present second, as far as one table saw it.
#[derive(Debug, Default)]
pub(super) struct Senders(HashMap<(ObservationPoint, IpAddr), Sent>);

#[derive(Debug, Default)]
struct Sent {
    packets: u64,
    syns: u64,
}

/// Datagrams to one port that are as long as the one before and from another port, as no program sends
/// many; or echo requests to one host.
#[derive(Debug, Default)]
struct Repeated {
    packets: u64,
    bytes: u32,
    from: u16,
}

#[derive(Debug, Default)]
struct Aimed {
    syns: u64,
    completed: u64,
}

// === impl Tally ===

impl Tally {
    /// Whether the counts are those of a second before `now`.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.second.is_some_and(|second| second < now.parts().0)
    }

    /// Counts a packet that comes at `now`.
    pub(super) fn count(&mut self, packet: &Packet, now: Timestamp) {
        self.second.get_or_insert(now.parts().0);
        let header = &packet.outer;
        self.count_repeated(packet.origin, header);
        if let Layer4::Tcp(tcp) = header.layer4
            && is_syn(tcp.flags)
            && let Some(aimed) =
                slot(&mut self.targets, (packet.origin, header.destination, tcp.ports.destination))
        {
            aimed.syns += 1;
        }
    }

    fn count_repeated(&mut self, origin: ObservationPoint, header: &Header) {
        let (port, from) = match header.layer4 {
            Layer4::Udp(ports, ..) => (ports.destination, Some(ports.source)),
            Layer4::Icmp(message) if contacts::is_echo(header.transport, message) => (0, None),
            _ => return,
        };
        let key = (origin, [header.source, header.destination], header.transport, port);
        let Some(repeated) = slot(&mut self.repeated, key) else { return };
        let is_alike = match from {
            Some(from) => repeated.bytes == header.ip_bytes && repeated.from != from,
            None => true,
        };
        repeated.packets += u64::from(is_alike);
        (repeated.bytes, repeated.from) = (header.ip_bytes, from.unwrap_or(0));
    }

    /// Counts the handshakes among what became known since this was last asked.
    pub(super) fn complete<'a>(&mut self, contacts: impl Iterator<Item = &'a Contact>) {
        let done = |contact: &&Contact| {
            contact.outcome == Outcome::Success && contact.transport == Transport::TCP
        };
        for contact in contacts.filter(done) {
            self.completed((contact.origin, contact.destination, contact.port));
        }
    }

    /// Counts a handshake with a (destination, port).
    pub(super) fn completed(&mut self, target: (ObservationPoint, IpAddr, u16)) {
        if let Some(aimed) = slot(&mut self.targets, target) {
            aimed.completed += 1;
        }
    }

    /// The second is over: tells its counts, with what the tables saw each source send.
    pub(super) fn tell<'a>(
        &mut self,
        senders: impl Iterator<Item = &'a mut Senders>,
        out: &mut Output,
    ) {
        let Some(second) = self.second.take() else { return };
        let Some(time) = Timestamp::from_parts(second.saturating_add(1), 0) else { return };
        let moment = Moment { now: time, number: 0, late: false };
        let mut contact = |(origin, hosts, transport, port), outcome| {
            let [source, destination]: [IpAddr; 2] = hosts;
            let contact = Contact {
                time,
                origin,
                source,
                destination,
                port,
                source_port: 0,
                transport,
                outcome,
                path_proven: false,
            };
            out.contact(moment, contact);
        };
        for ((origin, source), Sent { packets, syns }) in joined(senders) {
            let outcome = Outcome::Counts { packets, syns, completed: 0 };
            contact((origin, [source, nobody(source)], Transport(0), 0), outcome);
        }
        for (key, Repeated { packets, .. }) in self.repeated.drain() {
            if packets >= MANY {
                contact(key, Outcome::Counts { packets, syns: 0, completed: 0 });
            }
        }
        for ((origin, destination, port), Aimed { syns, completed }) in self.targets.drain() {
            let outcome = Outcome::Counts { packets: 0, syns, completed };
            contact((origin, [nobody(destination), destination], Transport::TCP, port), outcome);
        }
    }
}

// === impl Senders ===

impl Senders {
    /// Counts a packet, unless it is of a flow whose other end answers: of that only SYNs matter.
    #[inline]
    pub(super) fn count(&mut self, origin: ObservationPoint, header: &Header, is_answered: bool) {
        let is_syn = matches!(header.layer4, Layer4::Tcp(tcp) if is_syn(tcp.flags));
        if is_answered && !is_syn {
            return;
        }
        if let Some(sent) = slot(&mut self.0, (origin, header.source)) {
            sent.packets += u64::from(!is_answered);
            sent.syns += u64::from(is_syn);
        }
    }
}

/// What all tables saw of each source; they begin anew.
fn joined<'a>(
    mut senders: impl Iterator<Item = &'a mut Senders>,
) -> HashMap<(ObservationPoint, IpAddr), Sent> {
    let mut all = senders.next().map(|first| std::mem::take(&mut first.0)).unwrap_or_default();
    for Senders(others) in senders {
        for (key, Sent { packets, syns }) in others.drain() {
            if let Some(sent) = slot(&mut all, key) {
                sent.packets += packets;
                sent.syns += syns;
            }
        }
    }
    all
}

fn is_syn(flags: TcpFlags) -> bool {
    flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}

/// The counts of a key, if there is room for it.
pub(super) fn slot<K: Eq + Hash, V: Default>(map: &mut HashMap<K, V>, key: K) -> Option<&mut V> {
    if map.len() >= CAPACITY && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

/// The address that stands for all others of its version.
pub(super) fn nobody(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::packets::{SERVER, at, tcp};

    #[test]
    fn a_flood_of_spoofed_sources_is_held_to_the_capacity() {
        let mut tally = Tally::default();
        let mut senders = [Senders::default(), Senders::default()];
        for number in 0..100_000_u32 {
            let mut packet = tcp(true, "S", 1, 0, 0);
            packet.outer.source = Ipv4Addr::from_bits(number).into();
            tally.count(&packet, at(1));
            let half = usize::from(number % 3 == 0);
            senders[half].count(packet.origin, &packet.outer, false);
        }
        assert_eq!((senders[0].0.len(), tally.targets.len()), (CAPACITY, 1));
        let mut out = Output { wants_contacts: true, ..Output::default() };
        assert!(!tally.is_over(at(1)) && tally.is_over(at(2)));
        tally.tell(senders.iter_mut(), &mut out);
        assert_eq!(out.contacts.len(), CAPACITY + 1);
        let of_server = out.contacts.iter().find(|report| report.record.destination == SERVER);
        let expected = Outcome::Counts { packets: 0, syns: 100_000, completed: 0 };
        assert_eq!(of_server.map(|report| report.record.outcome), Some(expected));
        tally.tell(senders.iter_mut(), &mut out);
        assert_eq!(out.contacts.len(), CAPACITY + 1);
    }
}
