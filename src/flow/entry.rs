//! One flow while it is in the table.

mod class;

use std::sync::Arc;

use super::{
    clock::Moment,
    key::{self, Key, Oriented},
    policy::Policy,
    tcp::{self, Side, State},
};
use crate::record::{
    CommunityId, ConnState, EndReason, Endpoint, Flow, FlowTags, History, Icmp, Id, Letter, Names,
    Packet, Tcp, Timestamp, Transport, Vlans,
};
pub(super) use class::Class;

/// Flows an ICMP error flow names at most.
const MAX_RELATED: usize = 8;
/// The longest name that is kept, in bytes: those of DNS have no more.
const MAX_NAME: usize = 255;

/// A flow in the table: at most 300 bytes, for there may be millions.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// The initiator's side and the responder's.
    pub(super) sides: [Side; 2],
    /// Time of the first packet, when it came: part of the id.
    first: Timestamp,
    /// Start and end of the interval since the last report.
    start: Timestamp,
    end: Timestamp,
    /// When the flow leaves the list it is in.
    pub(super) due: Timestamp,
    /// The time of the last report, or of the beginning.
    pub(super) reported: Timestamp,
    pub(super) history: History,
    /// What few flows have.
    pub(super) rare: Option<Box<Rare>>,
    sequence: u32,
    vlans: [u16; 2],
    /// Number of the application protocol among those of the table; 0: none known.
    pub(super) protocol: u16,
    icmp: Icmp,
    pub(super) tags: FlowTags,
    pub(super) class: Class,
    pub(super) low_initiates: bool,
    /// How far its contact has come.
    pub(super) contact: Progress,
}

/// What few flows have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) ordinal: u64,
    pub(super) parent: Option<Id>,
    /// The flows whose packets ICMP errors quote, in the order in which they came.
    pub(super) related: Vec<CommunityId>,
    pub(super) challenge: Option<Challenge>,
    /// The names that its packets ask for, each the first of its kind.
    asked: Asked,
    /// The TEIDs of GTP-U in which the low and the high end send, as far as known.
    pub(super) teids: [Option<u32>; 2],
    /// The TEID of the first packet: part of the id.
    pub(super) teid: u32,
    /// Bytes of the initiator and the responder in former reports, if the flow is followed.
    reported: [u64; 2],
}

/// Names that packets ask for.
#[derive(Debug, Default)]
struct Asked {
    /// By DNS.
    question: Option<Arc<str>>,
    /// In a TLS `ClientHello`.
    server_name: Option<Arc<str>>,
    /// In an HTTP request.
    host: Option<Arc<str>>,
}

/// A SYN that may begin another connection, and what is to be taken back once it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Challenge {
    pub(super) tcp: Tcp,
    pub(super) from_low: bool,
    pub(super) time: Timestamp,
    pub(super) bytes: u64,
    /// The report that counts it.
    sequence: u32,
    /// The flow's end without it.
    end: Timestamp,
}

/// How far the contact that a flow stands for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// No contact: joined under way, or nobody's attempt.
    None,
    /// Begun, as another one was before, which was told; no answer yet.
    Untold,
    /// Begun, no answer yet.
    Attempted,
    /// Nothing came in time.
    TimedOut,
    /// Begun by an ACK, of a connection that was there before or of none.
    Probed,
    /// An answer was seen in another VLAN; what the initiator makes of it is still to be told.
    Heard,
    /// It succeeded, and how it ends is still to be told.
    Followed,
    /// It succeeded or was refused.
    Answered,
}

// === impl Progress ===

impl Progress {
    /// Whether no answer came yet, told or not.
    pub(super) fn is_unanswered(self) -> bool {
        !matches!(self, Self::None | Self::Followed | Self::Answered)
    }

    /// Whether its outcome is still to be told.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Attempted | Self::TimedOut | Self::Heard)
    }
}

// === impl Entry ===

impl Entry {
    /// A flow that a packet begins; `low_initiates` says who began it.
    pub(super) fn new(
        oriented: &Oriented,
        low_initiates: bool,
        time: Timestamp,
        moment: Moment,
        vlans: Vlans,
        icmp: Icmp,
    ) -> Self {
        let mut entry = Self {
            key: oriented.key,
            sides: [Side::default(), Side::default()],
            first: time,
            start: time,
            end: time,
            due: moment.now,
            reported: moment.now,
            history: History::default(),
            rare: None,
            sequence: 0,
            vlans: vlans.words(),
            protocol: 0,
            icmp,
            tags: FlowTags::default(),
            class: Class::Other,
            low_initiates: oriented.from_low,
            contact: Progress::None,
        };
        if low_initiates != oriented.from_low {
            entry.flip();
        }
        entry
    }

    /// Exchanges initiator and responder, with all that belongs to them.
    pub(super) fn flip(&mut self) {
        self.sides.swap(0, 1);
        self.low_initiates = !self.low_initiates;
        self.history.flip();
    }

    /// The same from this packet on: what was noted so far stays as it was.
    pub(super) fn turn(&mut self) {
        self.sides.swap(0, 1);
        self.low_initiates = !self.low_initiates;
        self.history.turn();
    }

    /// Exchanges initiator and responder, as a datagram of the one or the other says, which was counted
    /// already: what each has done stays, and the datagram is the new one's.
    pub(super) fn turn_by_content(&mut self, by_initiator: bool, bytes: u64) {
        let [initiator, responder] = &mut self.sides;
        initiator.exchange(responder);
        let (own, other) =
            if by_initiator { (initiator, responder) } else { (responder, initiator) };
        other.packets = other.packets.saturating_sub(1);
        other.bytes = other.bytes.saturating_sub(bytes);
        own.count(1, bytes);
        self.low_initiates = !self.low_initiates;
        self.history.turn();
        self.contact = Progress::None;
    }

    /// Whether the sender of a packet is the initiator.
    pub(super) fn is_by_initiator(&self, from_low: bool) -> bool {
        self.low_initiates == from_low
    }

    /// The sender's side, the other, and the history both write.
    pub(super) fn sides_of(&mut self, by_initiator: bool) -> (&mut Side, &mut Side, &mut History) {
        let [initiator, responder] = &mut self.sides;
        if by_initiator {
            (initiator, responder, &mut self.history)
        } else {
            (responder, initiator, &mut self.history)
        }
    }

    /// The states of the initiator and the responder.
    #[inline]
    pub(super) fn states(&self) -> [State; 2] {
        [self.sides[0].state, self.sides[1].state]
    }

    /// Whether the initiator and the responder have closed for good.
    #[inline]
    pub(super) fn closed(&self) -> [bool; 2] {
        [self.sides[0].is_closed(), self.sides[1].is_closed()]
    }

    /// Whether its packets are no flood, however many they are: the other end takes part. ICMP's count all the same,
    /// for every host answers its echo requests.
    #[inline]
    pub(super) fn is_answered(&self) -> bool {
        let [initiator, responder] = &self.sides;
        match self.key.transport() {
            Transport::TCP => {
                let goes_on =
                    |state| matches!(state, State::Established | State::Partial | State::Closed);
                match (initiator.state, responder.state) {
                    (one, other) if goes_on(one) && goes_on(other) => true,
                    // Only one direction passes by: that of who acknowledged an answer to its SYN, or that of
                    // who gave the answer.
                    (State::SynSent | State::SynAckSent, State::Inactive | State::Partial) => {
                        initiator.has_gone_on()
                    }
                    (State::Inactive, State::Established) => true,
                    _ => false,
                }
            }
            Transport::ICMP | Transport::ICMPV6 => false,
            _ => initiator.is_active() && responder.is_active(),
        }
    }

    /// A packet of this time carries the conversation on; after both sides have closed none does.
    /// For Zeek a late one ends it where it came.
    pub(super) fn extend(&mut self, time: Timestamp, as_zeek: bool) {
        let is_first_since_report = self.sequence > 0 && self.is_quiet();
        if self.sides.iter().all(Side::is_closed) {
            if is_first_since_report {
                self.start = self.end;
            }
            return;
        }
        if is_first_since_report {
            self.start = time;
            self.end = time;
        } else if as_zeek {
            self.end = time.max(self.start);
        } else {
            self.start = self.start.min(time);
            self.end = self.end.max(time);
        }
    }

    /// The ordinal among the flows of this key that began at the same time.
    pub(super) fn ordinal(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.ordinal)
    }

    /// A SYN that may begin another connection is about to be counted.
    pub(super) fn challenge(&mut self, tcp: Tcp, from_low: bool, time: Timestamp, bytes: u64) {
        let (sequence, end) = (self.sequence, self.end);
        self.rare().challenge = Some(Challenge { tcp, from_low, time, bytes, sequence, end });
    }

    /// Whether a segment of the other side shows that the SYN did begin another connection: it
    /// acknowledges that very SYN.
    pub(super) fn answers(&self, tcp: &Tcp, from_low: bool) -> Option<Challenge> {
        let challenge = self.rare.as_ref()?.challenge?;
        let acknowledged = challenge.tcp.sequence.wrapping_add(1) == tcp.acknowledgement;
        (challenge.from_low != from_low && acknowledged).then_some(challenge)
    }

    /// The SYN was another connection's: it is taken out, as far as it wasn't reported yet.
    pub(super) fn withdraw(&mut self, challenge: &Challenge) {
        let by_initiator = self.is_by_initiator(challenge.from_low);
        self.history.withdraw(Letter::Syn, by_initiator);
        if self.sequence == challenge.sequence {
            let (own, ..) = self.sides_of(by_initiator);
            own.packets = own.packets.saturating_sub(1);
            own.bytes = own.bytes.saturating_sub(challenge.bytes);
        }
        if self.end == challenge.time {
            self.end = challenge.end;
        }
    }

    /// Whether a packet in a tunnel of this TEID may be the flow's, and whether that is certain.
    pub(super) fn suits(&self, teid: u32, from_low: bool) -> Option<bool> {
        let known = self.rare.as_ref().and_then(|rare| rare.teids[usize::from(!from_low)]);
        match known {
            Some(known) => (known == teid).then_some(true),
            None => Some(false),
        }
    }

    /// Takes note of the flow whose packet an ICMP error quotes.
    pub(super) fn relate(&mut self, other: CommunityId) {
        let related = &mut self.rare().related;
        if related.len() < MAX_RELATED && !related.contains(&other) {
            related.push(other);
        }
    }

    /// Takes note of the names that a packet asks for.
    #[cold]
    pub(super) fn hear(&mut self, packet: &Packet) {
        let names = [packet.question(), packet.server_name(), packet.host()];
        if names.iter().all(Option::is_none) {
            return;
        }
        let asked = &mut self.rare().asked;
        let kept = [&mut asked.question, &mut asked.server_name, &mut asked.host];
        for (kept, name) in kept.into_iter().zip(names) {
            if kept.is_none() {
                *kept = name.filter(|name| name.len() <= MAX_NAME).map(Arc::from);
            }
        }
    }

    /// Whether its roles are worth remembering: it was more than an attempt, or both sides spoke.
    pub(super) fn is_conversation(&self) -> bool {
        let [initiator, responder] = &self.sides;
        match self.key.transport() {
            Transport::TCP => {
                let states = (initiator.state, responder.state);
                let attempt = matches!(states, (State::SynSent | State::SynAckSent, _))
                    && !initiator.has_gone_on();
                !attempt && (initiator.is_active() || responder.is_active())
            }
            _ => initiator.is_active() && responder.is_active(),
        }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Time of the first packet.
    pub(super) fn first(&self) -> Timestamp {
        self.first
    }

    /// Whether nothing came since the last report.
    pub(super) fn is_quiet(&self) -> bool {
        self.sides.iter().all(|side| side.packets == 0)
    }

    /// IP bytes of the initiator and the responder since it began; only of a flow that is followed.
    pub(super) fn total_bytes(&self) -> [u64; 2] {
        let [one, other] = self.rare.as_ref().map_or([0, 0], |rare| rare.reported);
        [one + self.sides[0].bytes, other + self.sides[1].bytes]
    }

    /// The time of its last packet.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }

    pub(super) fn id(&self, policy: &Policy) -> Id {
        let teid = self.rare.as_ref().map_or(0, |rare| u64::from(rare.teid) << 8);
        key::id(&policy.observer, &self.key, self.first, self.ordinal() ^ teid)
    }

    /// The report of all since the last one; the counters begin anew.
    pub(super) fn report(
        &mut self,
        end_reason: EndReason,
        policy: &Policy,
        protocol: Option<Arc<str>>,
    ) -> Flow {
        let (initiator, responder) =
            (self.key.end(self.low_initiates), self.key.end(!self.low_initiates));
        let transport = self.key.transport();
        let is_icmp = self.key.is_typed();
        let mut tags = self.tags;
        if !self.sides.iter().all(Side::is_active) {
            tags.insert(FlowTags::ONE_WAY);
        }
        let rare = self.rare.as_deref();
        let flow = Flow {
            id: self.id(policy),
            sequence: self.sequence,
            began: self.first,
            // Without packets the interval is the moment of the last one before.
            start: if self.is_quiet() { self.end } else { self.start },
            end: self.end,
            transport,
            community_id: if is_icmp {
                CommunityId::of_icmp(transport, initiator.0, responder.0, self.icmp)
            } else {
                CommunityId::of_ports(transport, initiator, responder)
            },
            conn_state: self.conn_state(),
            initiator: endpoint(initiator, &self.sides[0]),
            responder: endpoint(responder, &self.sides[1]),
            origin: self.key.origin(),
            vlans: Vlans::from_words(self.vlans),
            icmp: is_icmp.then_some(self.icmp),
            history: self.history,
            end_reason,
            protocol,
            question: rare.and_then(|rare| rare.asked.question.clone()),
            server_name: rare.and_then(|rare| rare.asked.server_name.clone()),
            host: rare.and_then(|rare| rare.asked.host.clone()),
            direction: policy.direction(initiator.0, responder.0),
            related_community_ids: rare.map_or_else(Vec::new, |rare| rare.related.clone()),
            parent: rare.and_then(|rare| rare.parent),
            tags,
            risk: None,
            denied: None,
            names: Names::default(),
        };
        self.sequence += 1;
        if self.contact == Progress::Followed {
            self.rare().reported = self.total_bytes();
        }
        for side in &mut self.sides {
            (side.packets, side.bytes) = (0, 0);
        }
        flow
    }

    fn conn_state(&self) -> ConnState {
        let [initiator, responder] = &self.sides;
        match self.key.transport() {
            Transport::TCP => tcp::conn_state(initiator, responder, self.history),
            Transport::UDP => match (initiator.is_active(), responder.is_active()) {
                (true, true) => ConnState::Sf,
                (true, false) => ConnState::S0,
                (false, true) => ConnState::Shr,
                (false, false) => ConnState::Oth,
            },
            _ => ConnState::Oth,
        }
    }
}

fn endpoint((address, port): (std::net::IpAddr, Option<u16>), side: &Side) -> Endpoint {
    Endpoint {
        address,
        port,
        mac: side.mac(),
        packets: side.packets,
        bytes: side.bytes,
        tcp_flags: side.flags,
    }
}
