//! How flows begin: who began them, and which SYN begins one.

use std::{hash::BuildHasher as _, net::IpAddr, sync::atomic::Ordering};

use super::{Arrival, NEVER, Table};
use crate::{
    flow::{
        contacts,
        entry::{Challenge, Class, Entry, Progress},
        fragments::First,
        key::Oriented,
        output::Output,
        policy::is_certain_group,
        tcp::{self, Opening},
    },
    record::{
        EndReason, FlowTags, Header, Icmp, Layer4, Outcome, Packet, Ports, Tcp, TcpFlags, Transport,
    },
};

/// The flow a segment with SYN or RST goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) slot: u32,
    /// It may begin another connection, and changes nothing in this one.
    pub(super) is_challenge: bool,
}

impl Table {
    /// Finds out whether a segment with SYN or RST is of the flow in `slot`, or begins another one.
    pub(super) fn open(
        &mut self,
        slot: u32,
        hash: u64,
        oriented: &Oriented,
        tcp: &Tcp,
        arrival: &Arrival<'_>,
        out: &mut Output,
    ) -> Opened {
        let as_zeek = self.policy.as_zeek;
        let (syn, ack) = (tcp.flags.has(TcpFlags::SYN), tcp.flags.has(TcpFlags::ACK));
        let entry = self.flows.get_mut(slot);
        if ack && let Some(challenge) = entry.answers(tcp, oriented.from_low) {
            entry.withdraw(&challenge);
            let packet = mirrored(arrival, &challenge);
            let Ports { source, destination } = oriented.ports;
            let syn = Oriented {
                from_low: !oriented.from_low,
                ports: Ports { source: destination, destination: source },
                teid: None,
                ..*oriented
            };
            let header = &packet.outer;
            let again = Arrival { packet: &packet, header, quoted: None, ..*arrival };
            let slot = self.replace(slot, hash, &syn, &again, out);
            let first = First::alone(header, &header.layer4);
            self.update(slot, &syn, &again, &first, false, out);
            return Opened { slot, is_challenge: false };
        }
        if !syn {
            return Opened { slot, is_challenge: false };
        }
        let by_initiator = entry.is_by_initiator(oriented.from_low);
        let [initiator, responder] = &entry.sides;
        let opening = if as_zeek {
            tcp::opening_as_zeek(tcp, initiator, responder)
        } else if by_initiator {
            tcp::opening(tcp, initiator, responder)
        } else {
            tcp::opening(tcp, responder, initiator)
        };
        match opening {
            Opening::Own => Opened { slot, is_challenge: false },
            Opening::Another => {
                let slot = self.replace(slot, hash, oriented, arrival, out);
                Opened { slot, is_challenge: false }
            }
            Opening::Challenge => {
                let bytes = super::ip_bytes(arrival.packet, arrival.header, arrival.depth, false);
                entry.challenge(*tcp, oriented.from_low, arrival.packet.time, bytes);
                Opened { slot, is_challenge: true }
            }
        }
    }

    /// Ends a flow because a packet begins another one of its key.
    fn replace(
        &mut self,
        slot: u32,
        hash: u64,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        out: &mut Output,
    ) -> u32 {
        let old = self.flows.get(slot);
        let ordinal = if old.first() == arrival.packet.time { old.ordinal() + 1 } else { 0 };
        let reason = if matches!(old.class, Class::Closed | Class::Reset) {
            EndReason::EndDetected
        } else {
            EndReason::Forced
        };
        self.end(slot, reason, *arrival.moment, out);
        let first = First::alone(arrival.header, &arrival.header.layer4);
        self.begin(hash, oriented, arrival, &first, ordinal, out)
    }

    /// Puts a new flow into the table, and what it takes the place of out of it.
    pub(super) fn begin(
        &mut self,
        hash: u64,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        first: &First<'_>,
        ordinal: u64,
        out: &mut Output,
    ) -> u32 {
        let &Arrival { packet, header, moment, .. } = arrival;
        // A SYN says itself who began.
        let is_syn = matches!(*first.layer4, Layer4::Tcp(tcp) if tcp.flags.has(TcpFlags::SYN));
        let asks = !self.policy.as_zeek && !is_syn;
        let role = if asks { self.roles.take(hash) } else { None };
        let flipped = self.is_by_responder(oriented, arrival, first, role);
        let icmp = match *first.layer4 {
            Layer4::Icmp(message) if flipped => Icmp {
                kind: u8::try_from(oriented.ports.destination).unwrap_or(0),
                code: message.code,
            },
            Layer4::Icmp(message) => message,
            _ => Icmp { kind: 0, code: 0 },
        };
        let low_initiates = oriented.from_low != flipped;
        let mut entry =
            Entry::new(oriented, low_initiates, packet.time, *moment, packet.vlans, icmp);
        // Where flows of this key and start may have come and gone, the packet's own number tells
        // this one apart, above all that are counted.
        let ordinal = if moment.late || self.evicted_at == Some(moment.now) {
            let packet = (u64::from(packet.epoch) << 40) ^ packet.number;
            (1 << 63) | ((arrival.depth as u64) << 60) ^ packet
        } else {
            ordinal
        };
        if ordinal != 0 || arrival.parent.is_some() || oriented.teid.is_some() {
            let rare = entry.rare();
            (rare.ordinal, rare.parent) = (ordinal, arrival.parent);
            rare.teid = oriented.teid.unwrap_or(0);
        }
        if header.fragment.is_some_and(|fragment| fragment.offset > 0)
            && *first.layer4 == Layer4::Opaque
        {
            entry.tags.insert(FlowTags::PORTLESS_FRAGMENTS);
        }
        let mut is_attempt = false;
        if out.wants_contacts
            && arrival.depth == 0
            && !self.answer_elsewhere(oriented, arrival, out)
            && let Some(outcome) = contacts::beginning(header, oriented, flipped)
            && (role.is_none() || outcome != Outcome::AckProbe)
        {
            let is_news = self.is_news(arrival, oriented.ports.destination);
            entry.contact = match outcome {
                Outcome::Attempt if is_news => Progress::Attempted,
                Outcome::Attempt => Progress::Untold,
                Outcome::AckProbe if is_news => Progress::Probed,
                _ => Progress::None,
            };
            is_attempt = entry.contact == Progress::Attempted;
            if is_news {
                let port = if outcome == Outcome::Echo { 0 } else { oriented.ports.destination };
                out.contact(*moment, contacts::of_packet(packet, header, port, outcome));
            }
        }
        let slot = self.place(hash, entry, arrival, out);
        if is_attempt {
            self.remember_attempt(oriented, slot);
        }
        slot
    }

    /// Whether a contact is to be told: each one on ports where people log in and of web servers, of
    /// others the first of this source with this destination and port.
    fn is_news(&mut self, arrival: &Arrival<'_>, port: u16) -> bool {
        let header = arrival.header;
        if header.transport == Transport::TCP && contacts::is_followed_port(port) {
            return true;
        }
        let ends = (header.source, header.destination, port, header.transport);
        let key = self.hasher.hash_one((arrival.place, ends));
        let is_news = !self.met.contains(key);
        if is_news {
            self.met.remember(key, false);
        }
        is_news
    }

    /// Puts an entry into the table.
    fn place(
        &mut self,
        hash: u64,
        mut entry: Entry,
        arrival: &Arrival<'_>,
        out: &mut Output,
    ) -> u32 {
        let moment = *arrival.moment;
        let population = match &self.population {
            Some(shared) => shared.fetch_add(1, Ordering::Relaxed),
            None => self.flows.len(),
        };
        if population >= self.policy.max_flows {
            self.evict(moment, out);
        }
        entry.class = Class::Other;
        entry.due = NEVER;
        let (slot, is_new) = self.flows.insert(entry);
        if is_new {
            self.waiting.grow();
            self.reporting.grow();
        }
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| hasher.hash_one(flows.get(*slot).key));
        self.waiting.join(Class::Other as usize, slot);
        self.reporting.join(0, slot);
        if let Some(active) = self.policy.timeouts.active {
            self.earliest = self.earliest.min(moment.now.saturating_add(active));
        }
        slot
    }

    /// Whether the sender of a flow's first packet is its responder. `role` is whether the low end
    /// began the last flow of this key, if that is known and the packet doesn't say it.
    fn is_by_responder(
        &self,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        first: &First<'_>,
        role: Option<bool>,
    ) -> bool {
        let &Arrival { packet, header, .. } = arrival;
        let flipped = if let Some(low_initiates) = role {
            low_initiates != oriented.from_low
        } else {
            let (transport, layer4) = (first.transport, first.layer4);
            self.policy.sender_is_responder(transport, layer4, oriented.ports, header.marks)
        };
        if oriented.key.is_directed() {
            return false;
        }
        if self.policy.as_zeek {
            let is_broadcast = |to| matches!(to, IpAddr::V4(address) if address.is_broadcast());
            return flipped && !is_broadcast(header.destination);
        }
        let mac = packet.destination_mac.filter(|_| arrival.depth == 0);
        if flipped {
            !self.policy.is_group(header.destination, mac)
        } else {
            is_certain_group(header.source) && !is_certain_group(header.destination)
        }
    }
}

/// The SYN that a segment answers, as a packet of its own.
fn mirrored(arrival: &Arrival<'_>, challenge: &Challenge) -> Packet {
    let &Arrival { packet, header, .. } = arrival;
    let ip_bytes = u32::try_from(challenge.bytes).unwrap_or(u32::MAX);
    let frame_bytes = ip_bytes.saturating_add(packet.link_bytes());
    Packet {
        time: challenge.time,
        frame_bytes,
        captured_bytes: frame_bytes,
        source_mac: packet.destination_mac,
        destination_mac: packet.source_mac,
        outer: Header {
            source: header.destination,
            destination: header.source,
            ip_bytes,
            layer4: Layer4::Tcp(challenge.tcp),
            ..header.clone()
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        ..packet.clone()
    }
}
