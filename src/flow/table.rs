//! One shard of the flow table: packets find their flows or begin them.

mod deadlines;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use foldhash::{SharedSeed, fast::SeedableRandomState};
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

use super::{
    clock::Moment,
    contacts,
    entry::{Class, Entry, Progress},
    fragments::Fragments,
    key::Oriented,
    lists::Lists,
    output::Output,
    policy::{Policy, Timeouts},
    protocols::Protocols,
    slab::Slab,
    tcp::{self, Segment, State},
};
use crate::record::{
    Checksum, CommunityId, EndReason, FlowTags, Header, Icmp, IcmpPorts, Id, Layer4, Outcome,
    Packet, Tcp, TcpFlags, Timestamp, Transport, Vlans,
};

const NEVER: Timestamp = Timestamp::from_nanos(i64::MAX);

/// The table's state: a seeded hash finds the slot, the slab holds the flow, the lists know which is
/// due next.
#[derive(Debug)]
pub(super) struct Table {
    policy: Arc<Policy>,
    /// Flows in all shards together.
    population: Arc<AtomicUsize>,
    hasher: SeedableRandomState,
    index: HashTable<u32>,
    flows: Slab<Entry>,
    waiting: Lists<{ Class::COUNT }>,
    reporting: Lists<1>,
    fragments: Fragments,
    protocols: Protocols,
    evicted_at: Option<Timestamp>,
    /// Nothing is due before this.
    earliest: Timestamp,
    /// How long a flow waits in the list of each class.
    timeouts: [u64; Class::COUNT],
    /// The table is full of other shards' flows: the one that just began has to go again.
    is_crowded: bool,
    era: u32,
}

/// One header of a packet, on its way into the table.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) packet: &'a Packet,
    pub(super) header: &'a Header,
    /// The packet an ICMP error quotes.
    pub(super) quoted: Option<&'a Header>,
    pub(super) moment: Moment,
    /// How many tunnels it lies in.
    pub(super) depth: usize,
    pub(super) parent: Option<Id>,
}

// === impl Table ===

impl Table {
    pub(super) fn new(policy: Arc<Policy>, population: Arc<AtomicUsize>, seed: u64) -> Self {
        Self {
            timeouts: Class::ALL.map(|class| timeout(&policy.timeouts, class)),
            policy,
            population,
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_random()),
            index: HashTable::new(),
            flows: Slab::default(),
            waiting: Lists::default(),
            reporting: Lists::default(),
            fragments: Fragments::default(),
            protocols: Protocols::default(),
            evicted_at: None,
            earliest: NEVER,
            is_crowded: false,
            era: 0,
        }
    }

    /// Takes one header; the id of its flow is for the headers it carries.
    pub(super) fn absorb(&mut self, arrival: &Arrival<'_>, out: &mut Output) -> u32 {
        let &Arrival { packet, header, moment, .. } = arrival;
        if moment.now >= self.earliest {
            self.advance(moment.now, out);
        }
        self.era = moment.era;
        let oriented = self.orient(packet, header, moment);
        if out.wants_contacts
            && arrival.depth == 0
            && let Some((outcome, port)) = contacts::probe(header)
        {
            let contact = contacts::of_packet(header, port, outcome, packet.time);
            out.contact(moment, contact);
        }
        let hash = self.hasher.hash_one(oriented.key);
        let found = self.find(hash, &oriented);
        let slot = match (found, &header.layer4) {
            (Some(slot), Layer4::Tcp(tcp))
                if tcp.flags.has(TcpFlags::SYN) && self.is_reuse(slot, tcp) =>
            {
                let old = self.flows.get(slot);
                let ordinal = if old.first() == packet.time { old.ordinal() + 1 } else { 0 };
                self.end(slot, EndReason::Forced, moment, out);
                self.begin(hash, &oriented, arrival, ordinal, out)
            }
            (Some(slot), _) => slot,
            (None, _) => self.begin(hash, &oriented, arrival, 0, out),
        };
        self.update(slot, &oriented, arrival, out);
        if self.is_crowded {
            self.is_crowded = false;
            self.end(slot, EndReason::LackOfResources, moment, out);
        }
        slot
    }

    /// An ICMP error quotes this header: an attempt it belongs to has failed.
    pub(super) fn refuse(
        &mut self,
        quoted: &Header,
        packet: &Packet,
        moment: Moment,
        out: &mut Output,
    ) {
        self.advance(moment.now, out);
        self.era = moment.era;
        let oriented = Oriented::of(quoted, quoted.layer4.ports(), self.vlans(packet));
        let hash = self.hasher.hash_one(oriented.key);
        if let Some(slot) = self.find(hash, &oriented) {
            let entry = self.flows.get_mut(slot);
            if entry.contact.is_open() && entry.is_by_initiator(oriented.from_low) {
                entry.contact = Progress::Answered;
                let contact = contacts::of_flow(entry, Outcome::Refused, false, packet.time);
                out.contact(moment, contact);
            }
        }
    }

    /// How many flows there are.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// The id of the flow in a slot.
    pub(super) fn id(&self, slot: u32) -> Id {
        self.flows.get(slot).id(&self.policy)
    }

    /// The flow that a header belongs to.
    fn orient(&mut self, packet: &Packet, header: &Header, moment: Moment) -> Oriented {
        let vlans = self.vlans(packet);
        let ports = match (header.fragment, &header.layer4) {
            (_, Layer4::Sctp(_)) if self.policy.as_zeek => None,
            (Some(fragment), _) => self.fragments.ports(header, fragment, vlans, moment.now),
            (None, layer4) => layer4.ports(),
        };
        Oriented::of(header, ports, vlans)
    }

    /// The VLANs that tell a packet's flow from others.
    fn vlans(&self, packet: &Packet) -> Vlans {
        if self.policy.vlan_in_key { packet.vlans } else { Vlans::default() }
    }

    #[inline]
    fn find(&self, hash: u64, oriented: &Oriented) -> Option<u32> {
        self.index.find(hash, |slot| self.flows.get(*slot).key == oriented.key).copied()
    }

    fn is_reuse(&self, slot: u32, tcp: &Tcp) -> bool {
        let [initiator, responder] = &self.flows.get(slot).sides;
        tcp::is_reuse(tcp, initiator, responder)
    }

    /// Puts a new flow into the table, and what it takes the place of out of it.
    fn begin(
        &mut self,
        hash: u64,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        ordinal: u64,
        out: &mut Output,
    ) -> u32 {
        let &Arrival { packet, header, quoted, moment, .. } = arrival;
        let flipped = self.sender_is_responder(oriented, header);
        let icmp = match header.layer4 {
            Layer4::Icmp(message) if flipped => Icmp {
                kind: u8::try_from(oriented.ports.destination).unwrap_or(0),
                code: message.code,
            },
            Layer4::Icmp(message) => message,
            _ => Icmp { kind: 0, code: 0 },
        };
        let low_initiates = oriented.from_low != flipped;
        let mut entry =
            Entry::new(oriented, low_initiates, packet.time, moment, packet.vlans, icmp);
        // Where flows of this key and start may have come and gone, the packet's own number tells
        // this one apart, above all that are counted.
        let ordinal = if moment.late || self.evicted_at == Some(packet.time) {
            let packet = (u64::from(packet.epoch) << 40) ^ packet.number;
            (1 << 63) | ((arrival.depth as u64) << 60) ^ packet
        } else {
            ordinal
        };
        let related = quoted.map(CommunityId::of);
        if ordinal != 0 || related.is_some() || arrival.parent.is_some() {
            let rare = entry.rare();
            (rare.ordinal, rare.related, rare.parent) = (ordinal, related, arrival.parent);
        }
        if header.fragment.is_some_and(|fragment| fragment.offset > 0)
            && header.layer4.ports().is_none()
            && entry.key.end(true).1.is_none()
        {
            entry.tags.insert(FlowTags::PORTLESS_FRAGMENTS);
        }
        if out.wants_contacts
            && arrival.depth == 0
            && let Some(outcome) = contacts::beginning(header, oriented, flipped)
        {
            if outcome == Outcome::Attempt {
                entry.contact = Progress::Attempted;
            }
            let port = if outcome == Outcome::Echo { 0 } else { oriented.ports.destination };
            out.contact(moment, contacts::of_packet(header, port, outcome, packet.time));
        }
        if self.population.fetch_add(1, Ordering::Relaxed) >= self.policy.max_flows {
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

    /// Whether the sender of a flow's first packet is its responder.
    fn sender_is_responder(&self, oriented: &Oriented, header: &Header) -> bool {
        let ports = oriented.ports;
        let serves = |port| self.policy.server_ports.contains(header.transport, port);
        match header.layer4 {
            Layer4::Tcp(tcp) => {
                let syn = tcp.flags.has(TcpFlags::SYN);
                if syn && !tcp.flags.has(TcpFlags::ACK) {
                    false
                } else if serves(ports.destination) {
                    // Both may be servers: the lower port is the likelier one.
                    !syn && serves(ports.source) && ports.source < ports.destination
                } else {
                    serves(ports.source)
                }
            }
            Layer4::Icmp(message) => {
                // Router and neighbour advertisements come unasked, too.
                let asked = !matches!(
                    (header.transport, message.kind),
                    (Transport::ICMP, 9) | (Transport::ICMPV6, 131 | 134 | 136)
                );
                asked && !self.policy.as_zeek && IcmpPorts::of(header.transport, message).reply
            }
            _ => serves(ports.source) && !serves(ports.destination) && !is_broadcast(header),
        }
    }

    fn update(&mut self, slot: u32, oriented: &Oriented, arrival: &Arrival<'_>, out: &mut Output) {
        let &Arrival { packet, header, moment, .. } = arrival;
        let entry = self.flows.get_mut(slot);
        // The dissector names what the outermost header carries.
        if let Some(name) = &packet.protocol
            && entry.protocol == 0
            && arrival.depth == 0
        {
            entry.protocol = self.protocols.number(name);
        }
        if packet.damaged {
            entry.tags.insert(FlowTags::DAMAGED);
        }
        let checksum = header.checksums.transport;
        if checksum == Checksum::Bad {
            entry.tags.insert(FlowTags::BAD_CHECKSUM);
        }
        let discounted = checksum == Checksum::Bad && !self.policy.ignore_checksums;
        if let Layer4::Tcp(tcp) = &header.layer4
            && !discounted
        {
            put_right(entry, tcp, oriented.from_low);
        }
        let by_initiator = entry.is_by_initiator(oriented.from_low);
        if discounted {
            let (own, _, history) = entry.sides_of(by_initiator);
            own.bad_checksum(by_initiator, history);
        } else {
            let before = [entry.sides[0].state, entry.sides[1].state];
            entry.extend(packet.time);
            let bytes = ip_bytes(packet, header, self.policy.as_zeek);
            let (own, peer, history) = entry.sides_of(by_initiator);
            own.count(1, bytes);
            if arrival.depth == 0 && !own.is_placed() {
                own.set_mac(packet.source_mac);
                peer.set_mac(packet.destination_mac);
            }
            match &header.layer4 {
                Layer4::Tcp(tcp) => {
                    let whole = packet.captured_bytes >= packet.frame_bytes;
                    let payload_seen = whole || !self.policy.as_zeek;
                    let segment = Segment { tcp, by_initiator, payload_seen };
                    tcp::take(segment, own, peer, history);
                }
                Layer4::Udp(..) => own.datagram(by_initiator, history),
                _ => {}
            }
            if entry.contact.is_open()
                && let Some((outcome, proven)) =
                    contacts::answer(entry, header, by_initiator, before)
            {
                entry.contact = Progress::Answered;
                let contact = contacts::of_flow(entry, outcome, proven, packet.time);
                out.contact(moment, contact);
            }
        }
        let class = entry.class();
        if class != entry.class || entry.due == NEVER {
            self.wait(slot, class, moment.now);
        } else if class.is_renewed() {
            entry.due = moment.now.saturating_add(self.timeouts[class as usize]);
            self.waiting.renew(class as usize, slot);
        }
    }
}

/// How long a flow waits in the list of a class.
fn timeout(timeouts: &Timeouts, class: Class) -> u64 {
    let answer = contacts::ANSWER_NANOS.min(timeouts.tcp_attempt);
    match class {
        Class::Fresh => answer,
        Class::Attempt => timeouts.tcp_attempt - answer,
        Class::Established => timeouts.tcp_established,
        Class::Closed => timeouts.tcp_closed,
        Class::Udp => timeouts.udp,
        Class::Icmp => timeouts.icmp,
        Class::Other => timeouts.other,
    }
}

/// Exchanges the roles of a handshake whose SYN-ACK was seen first, once the other side shows that it
/// is the one who began: by the SYN itself, an ACK or payload.
fn put_right(entry: &mut Entry, tcp: &Tcp, from_low: bool) {
    let [initiator, responder] = &entry.sides;
    if entry.is_by_initiator(from_low)
        || initiator.state != State::SynAckSent
        || responder.state != State::Inactive
    {
        return;
    }
    let control = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
    let goes_on = tcp.flags.0 & control == TcpFlags::ACK;
    if goes_on || tcp::is_reversal(tcp, initiator, responder) {
        entry.flip();
        tcp::establish(&mut entry.sides[1]);
        if !goes_on {
            tcp::establish(&mut entry.sides[0]);
        }
    }
}

/// The IP packet's length; of one that offloading left without, what the frame holds.
fn ip_bytes(packet: &Packet, header: &Header, as_zeek: bool) -> u64 {
    if header.ip_bytes > 0 || as_zeek {
        return header.ip_bytes.into();
    }
    packet.frame_bytes.saturating_sub(packet.link_bytes()).into()
}

fn is_broadcast(header: &Header) -> bool {
    matches!(header.destination, std::net::IpAddr::V4(address) if address.is_broadcast())
}
