//! One shard of the flow table: packets find their flows or begin them.

mod begin;
mod deadlines;
mod elsewhere;
mod followed;
mod turned;

use std::{
    hash::BuildHasher as _,
    sync::{Arc, atomic::AtomicUsize},
};

use foldhash::{SharedSeed, fast::SeedableRandomState};
use hashbrown::HashTable;

use super::{
    clock::Moment,
    contacts,
    entry::{Class, Entry, Progress},
    fragments::{First, Fragments, HeldFirst},
    key::{Oriented, Place},
    lists::Lists,
    output::Output,
    policy::{Policy, Timeouts},
    protocols::Protocols,
    recent::Recent,
    slab::Slab,
    tally::Senders,
    tcp::{self, Segment, Side, State},
};
use crate::record::{
    Checksum, CommunityId, EndReason, FlowTags, Header, Id, Layer4, Marks, Outcome, Packet,
    TcpFlags, Timestamp, Transport,
};
use begin::Opened;
use elsewhere::Elsewhere;
use followed::Followed;
use turned::{put_right, turn_by_content};

const NEVER: Timestamp = Timestamp::from_nanos(i64::MAX);
/// First contacts remembered, over all shards; each takes about 20 bytes.
const MAX_MET: usize = 262_144;

/// How long Zeek lets connections be idle where people log in.
const LOGIN_NANOS: u64 = 3_600_000_000_000;
/// How often Zeek looks at questions to name servers.
const QUERY_NANOS: u64 = 10_000_000_000;

/// The table's state: a seeded hash finds the slot, the slab holds the flow, the lists know which is
/// due next.
#[derive(Debug)]
pub(super) struct Table {
    policy: Arc<Policy>,
    /// Flows in all shards together, if there are several: counting so waits for all writes before.
    population: Option<Arc<AtomicUsize>>,
    hasher: SeedableRandomState,
    index: HashTable<u32>,
    flows: Slab<Entry>,
    waiting: Lists<{ Class::COUNT }>,
    reporting: Lists<1>,
    fragments: Fragments,
    protocols: Protocols,
    /// Whether the low end began the flow of a key that is over.
    roles: Recent,
    /// The sources, destinations and ports whose first contact was told.
    met: Recent,
    /// What sources sent since it was last told.
    pub(super) senders: Senders,
    elsewhere: Elsewhere,
    followed: Vec<Followed>,
    /// When the followed flows are looked at next.
    survey_at: Timestamp,
    evicted_at: Option<Timestamp>,
    /// Nothing is due before this.
    earliest: Timestamp,
    /// How long a flow waits in the list of each class.
    timeouts: [u64; Class::COUNT],
    /// The table is full of other shards' flows: the one that just began has to go again.
    is_crowded: bool,
}

/// One header of a packet, on its way into the table.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    pub(super) packet: &'a Packet,
    pub(super) header: &'a Header,
    /// The packet an ICMP error quotes.
    pub(super) quoted: Option<&'a Header>,
    pub(super) moment: &'a Moment,
    /// How many tunnels it lies in.
    pub(super) depth: usize,
    pub(super) parent: Option<Id>,
    /// What tells it from packets with its addresses and ports elsewhere.
    pub(super) place: Place,
}

// === impl Table ===

impl Table {
    /// One of `shards` tables.
    pub(super) fn new(
        policy: Arc<Policy>,
        population: Option<Arc<AtomicUsize>>,
        shards: usize,
        seed: u64,
    ) -> Self {
        Self {
            timeouts: Class::ALL.map(|class| timeout(&policy.timeouts, class)),
            roles: Recent::new(policy.remembered.div_ceil(shards)),
            met: Recent::new(MAX_MET.div_ceil(shards)),
            senders: Senders::default(),
            elsewhere: Elsewhere::default(),
            followed: Vec::new(),
            survey_at: NEVER,
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
        }
    }

    /// Takes one header; the slot of its flow is for the headers it carries. `None`: the header is
    /// damaged, and so counts for nothing.
    pub(super) fn absorb(&mut self, arrival: &Arrival<'_>, out: &mut Output) -> Option<u32> {
        let &Arrival { packet, header, moment, .. } = arrival;
        if moment.now >= self.earliest {
            self.advance(moment.now, out);
        }
        if self.is_damaged(header) {
            out.discarded += u64::from(arrival.depth == 0);
            return None;
        }
        let held;
        let first = if header.fragment.is_none() && !self.policy.as_zeek {
            First::alone(header, &header.layer4)
        } else {
            held = self.held_first(arrival);
            held.as_ref().map_or(First::alone(header, &Layer4::Opaque), HeldFirst::said)
        };
        let oriented = Oriented::of(header, first.transport, first.layer4, arrival.place);
        if out.wants_contacts
            && arrival.depth == 0
            && let Some((outcome, port)) = contacts::probe(header)
        {
            let contact = contacts::of_packet(packet, header, port, outcome);
            out.contact(*moment, contact);
        }
        let hash = self.hasher.hash_one(oriented.key);
        let slot = match (self.find(hash, &oriented), &header.layer4) {
            (Some(slot), Layer4::Tcp(tcp))
                if tcp.flags.0 & (TcpFlags::SYN | TcpFlags::RST) != 0
                    && !self.is_discounted(header) =>
            {
                self.open(slot, hash, &oriented, tcp, arrival, out)
            }
            (Some(slot), _) => Opened { slot, is_challenge: false },
            (None, _) => {
                let slot = self.begin(hash, &oriented, arrival, &first, 0, out);
                Opened { slot, is_challenge: false }
            }
        };
        let Opened { slot, is_challenge } = slot;
        self.update(slot, &oriented, arrival, &first, is_challenge, out);
        if out.wants_contacts && arrival.depth == 0 {
            let is_answered = self.flows.get(slot).is_answered();
            self.senders.count(packet.origin, header, is_answered);
        }
        if self.is_crowded {
            self.is_crowded = false;
            self.end(slot, EndReason::LackOfResources, *moment, out);
        }
        Some(slot)
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
        if self.is_damaged(&packet.outer) || self.is_discounted(&packet.outer) {
            return;
        }
        let place = self.policy.place(packet);
        let transport = quoted.transport;
        let oriented = Oriented::of(quoted, quoted.transport, &quoted.layer4, place);
        let hash = self.hasher.hash_one(oriented.key);
        let found = self.find(hash, &oriented).or_else(|| self.open_elsewhere(&oriented));
        if let Some(slot) = found {
            let entry = self.flows.get_mut(slot);
            // A further try of a port, from another port, is told if it fails: the first one may have
            // gone unanswered only as errors are sent sparingly (RFC 1812 section 4.3.2.8).
            let is_retry = entry.contact == Progress::Untold && transport == Transport::UDP;
            if (entry.contact.is_open() || is_retry) && entry.is_by_initiator(oriented.from_low) {
                entry.contact = Progress::Answered;
                let contact = contacts::of_flow(entry, Outcome::Refused, false, packet.time);
                out.contact(moment, contact);
            } else if transport == Transport::UDP
                && !entry.is_by_initiator(oriented.from_low)
                && packet.outer.source == quoted.destination
                && entry.contact != Progress::None
            {
                // Who asked has nobody who waits for the answer.
                let contact = contacts::of_flow(entry, Outcome::Refused, true, packet.time);
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

    /// What the first fragment of a header's packet said, if it was seen; of a packet in one piece,
    /// what its header says.
    #[inline(never)]
    fn held_first(&mut self, arrival: &Arrival<'_>) -> Option<HeldFirst> {
        let &Arrival { header, moment, place, .. } = arrival;
        match (header.fragment, &header.layer4) {
            // Zeek knows no ports of SCTP.
            (_, Layer4::Sctp(_)) if self.policy.as_zeek => None,
            (Some(fragment), _) => self.fragments.first(header, fragment, place, moment.now),
            (None, _) => Some(HeldFirst::alone(header)),
        }
    }

    #[expect(clippy::inline_always, reason = "measured: the key stays in registers")]
    #[inline(always)]
    fn find(&self, hash: u64, oriented: &Oriented) -> Option<u32> {
        if let Some(teid) = oriented.teid {
            return self.find_in_gtp(hash, oriented, teid);
        }
        self.index.find(hash, |slot| self.flows.get(*slot).key == oriented.key).copied()
    }

    /// Each direction in GTP-U has a TEID of its own: the first packet the other way tells which two
    /// belong together.
    #[cold]
    fn find_in_gtp(&self, hash: u64, oriented: &Oriented, teid: u32) -> Option<u32> {
        let suits = |slot: &u32, certain: bool| {
            let entry = self.flows.get(*slot);
            entry.key == oriented.key && entry.suits(teid, oriented.from_low) == Some(certain)
        };
        let certain = self.index.find(hash, |slot| suits(slot, true));
        certain.or_else(|| self.index.find(hash, |slot| suits(slot, false))).copied()
    }

    /// Whether a header counts for nothing; for Zeek a length that offloading left out is a checksum that
    /// is wrong.
    fn is_damaged(&self, header: &Header) -> bool {
        let is_offloaded = self.policy.as_zeek && header.marks.has(Marks::NO_LENGTH);
        (header.checksums.ip == Checksum::Bad || is_offloaded) && !self.policy.ignore_checksums
    }

    /// Whether a packet counts only as a letter: its checksum is wrong, and that matters.
    fn is_discounted(&self, header: &Header) -> bool {
        header.checksums.transport == Checksum::Bad && !self.policy.ignore_checksums
    }

    /// Takes one packet into the flow in `slot`.
    #[inline]
    fn update(
        &mut self,
        slot: u32,
        oriented: &Oriented,
        arrival: &Arrival<'_>,
        first: &First<'_>,
        is_challenge: bool,
        out: &mut Output,
    ) {
        let &Arrival { packet, header, moment, .. } = arrival;
        let discounted = self.is_discounted(header);
        let is_cut = arrival.depth == 0 && self.policy.as_zeek && is_cut_in_options(packet);
        let as_zeek = self.policy.as_zeek;
        let entry = self.flows.get_mut(slot);
        // The dissector names what the outermost header carries.
        if let Some(name) = &packet.protocol
            && entry.protocol == 0
            && arrival.depth == 0
        {
            entry.protocol = self.protocols.number(name);
        }
        take_note(entry, oriented, arrival);
        let (states, ended) = (entry.states(), entry.closed());
        let mut follows = false;
        if discounted {
            let by_initiator = entry.is_by_initiator(oriented.from_low);
            let (own, _, history) = entry.sides_of(by_initiator);
            own.bad_checksum(by_initiator, history);
        } else if !is_cut {
            if let Layer4::Tcp(tcp) = &header.layer4
                && !is_challenge
            {
                put_right(entry, tcp, oriented.from_low, as_zeek);
            }
            let before = entry.states();
            let is_first = !entry.sides.iter().any(Side::is_active);
            let believed = count(entry, oriented.from_low, arrival, first, is_challenge, as_zeek);
            if as_zeek && header.marks.has(Marks::ASKS.and(Marks::ANSWERS)) {
                turn_by_content(entry, oriented.from_low, is_first, arrival, &self.policy);
            }
            if believed && entry.contact.is_unanswered() {
                follows = answer(entry, oriented.from_low, before, arrival, out);
            }
        }
        // A flow that goes on stays where it waits, unless a state changed.
        let has_ended = entry.closed() != ended;
        let is_same = entry.states() == states && !has_ended;
        let goes_on = entry.class.is_renewed() && entry.due != NEVER && is_same;
        let class = if goes_on { entry.class } else { entry.class(&self.policy) };
        // Zeek waits anew once the other side has closed as well.
        let is_over_anew = as_zeek && has_ended && class == Class::Closed;
        let moves = class != entry.class || entry.due == NEVER || is_over_anew;
        let is_followed = follows || entry.contact == Progress::Followed;
        let ends = is_followed && matches!(class, Class::Closed | Class::Reset);
        if !moves && class.is_renewed() {
            entry.due = moment.now.saturating_add(self.timeouts[class as usize]);
            self.waiting.renew(class as usize, slot);
        }
        if follows {
            self.follow(slot, moment.now);
        }
        if ends {
            self.tell_end(slot, packet.time, *moment, out);
        }
        if moves {
            self.wait(slot, class, moment.now);
        }
    }
}

/// Whether a segment's options were not captured whole: it counts for nothing in Zeek's eyes.
fn is_cut_in_options(packet: &Packet) -> bool {
    let Layer4::Tcp(tcp) = packet.outer.layer4 else { return false };
    let header_bytes = packet.outer.ip_bytes.saturating_sub(tcp.payload_bytes);
    packet.captured_bytes < packet.frame_bytes
        && packet.captured_bytes < packet.link_bytes().saturating_add(header_bytes)
}

/// Takes note of what a packet says beside its counts.
#[inline]
fn take_note(entry: &mut Entry, oriented: &Oriented, arrival: &Arrival<'_>) {
    let &Arrival { packet, header, .. } = arrival;
    // Names are those of the innermost header.
    if !packet.extra.is_empty() && arrival.depth == packet.inner.len() && arrival.quoted.is_none() {
        entry.hear(packet);
    }
    if packet.damaged {
        entry.tags.insert(FlowTags::DAMAGED);
    }
    if header.checksums.transport == Checksum::Bad {
        entry.tags.insert(FlowTags::BAD_CHECKSUM);
    }
    if let Some(quoted) = arrival.quoted {
        entry.relate(CommunityId::of(quoted));
    }
    if let Some(teid) = oriented.teid {
        entry.rare().teids[usize::from(!oriented.from_low)] = Some(teid);
    }
}

/// Counts a packet in its flow, and moves the states of its sides; false if its receiver does not
/// believe it.
#[inline]
fn count(
    entry: &mut Entry,
    from_low: bool,
    arrival: &Arrival<'_>,
    first: &First<'_>,
    is_challenge: bool,
    as_zeek: bool,
) -> bool {
    let &Arrival { packet, header, .. } = arrival;
    let by_initiator = entry.is_by_initiator(from_low);
    entry.extend(packet.time, as_zeek);
    let bytes = ip_bytes(packet, header, arrival.depth, as_zeek);
    let (own, peer, history) = entry.sides_of(by_initiator);
    own.count(1, bytes);
    if arrival.depth == 0 && !own.is_placed() {
        own.set_mac(packet.source_mac);
        peer.set_mac(packet.destination_mac);
    }
    match &header.layer4 {
        Layer4::Tcp(tcp) if is_challenge => {
            tcp::pass_by(tcp, own, by_initiator, history);
            return false;
        }
        Layer4::Tcp(tcp) => {
            let whole = packet.captured_bytes >= packet.frame_bytes;
            let payload_seen = whole || !as_zeek;
            let segment = Segment { tcp, by_initiator, payload_seen, as_zeek };
            return tcp::take(segment, own, peer, history);
        }
        Layer4::Udp(..) => own.datagram(by_initiator, history),
        _ => {
            if let Some(stream) = first.stream(header) {
                tcp::resume(stream, own, peer, by_initiator, history);
            }
        }
    }
    true
}

/// Whether a packet answers what its flow's contact waits for; true if the connection is to be
/// followed to its end.
#[inline(never)]
fn answer(
    entry: &mut Entry,
    from_low: bool,
    before: [State; 2],
    arrival: &Arrival<'_>,
    out: &mut Output,
) -> bool {
    let by_initiator = entry.is_by_initiator(from_low);
    let answer = contacts::answer(entry, arrival.header, by_initiator, before);
    let Some((outcome, proven)) = answer else { return false };
    let is_tcp = entry.key.transport() == Transport::TCP;
    if entry.contact == Progress::Untold {
        entry.contact = Progress::Answered;
        if outcome == Outcome::Success && is_tcp {
            let (address, port) = entry.key.end(!entry.low_initiates);
            out.handshakes.push((entry.key.origin(), address, port.unwrap_or(0)));
        }
        // Who leaves half open what was left so before checks whether it is there.
        if outcome == Outcome::Refused && proven {
            out.contact(
                *arrival.moment,
                contacts::of_flow(entry, outcome, proven, arrival.packet.time),
            );
        }
        return false;
    }
    entry.contact = Progress::Answered;
    let contact = contacts::of_flow(entry, outcome, proven, arrival.packet.time);
    let follows = (outcome, proven) == (Outcome::Success, true)
        && is_tcp
        && contacts::is_followed_port(contact.port);
    out.contact(*arrival.moment, contact);
    follows
}

/// How long a flow waits in the list of a class.
fn timeout(timeouts: &Timeouts, class: Class) -> u64 {
    let answer = contacts::ANSWER_NANOS.min(timeouts.tcp_attempt);
    match class {
        Class::Fresh => answer,
        Class::Attempt => timeouts.tcp_attempt - answer,
        Class::Established => timeouts.tcp_established,
        Class::Login => timeouts.tcp_established.max(LOGIN_NANOS),
        Class::Closed | Class::Reset => timeouts.tcp_closed,
        Class::Udp => timeouts.udp,
        Class::Query => timeouts.udp.min(QUERY_NANOS),
        Class::Icmp => timeouts.icmp,
        Class::Other => timeouts.other,
    }
}

/// The IP packet's length, but no more than the frame holds; of one that offloading left without,
/// what the frame holds.
fn ip_bytes(packet: &Packet, header: &Header, depth: usize, as_zeek: bool) -> u64 {
    if as_zeek && header.marks.has(Marks::NO_LENGTH) {
        // Zeek adds what the header says, and that of IPv6 leaves its own bytes out.
        return if header.source.is_ipv6() { 40 } else { 0 };
    }
    if as_zeek {
        return header.ip_bytes.into();
    }
    let room = packet.frame_bytes.saturating_sub(packet.link_bytes());
    match header.ip_bytes {
        0 if depth == 0 => room.into(),
        bytes => bytes.min(room).into(),
    }
}
