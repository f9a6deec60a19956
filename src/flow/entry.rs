//! One flow while it is in the table.

use super::{
    clock::Moment,
    key::{self, Key, Oriented},
    policy::Policy,
    tcp::{self, Side, State},
};
use crate::record::{
    CommunityId, ConnState, EndReason, Endpoint, Flow, FlowTags, History, Icmp, Id, Names,
    Timestamp, Transport, Vlans,
};

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
    pub(super) related: Option<CommunityId>,
}

/// Which list a flow waits in; each has its own time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// A TCP attempt that an answer may still be on its way to.
    Fresh,
    /// An older TCP attempt.
    Attempt,
    /// Any other TCP connection that is not over.
    Established,
    /// A TCP connection that is over.
    Closed,
    Udp,
    Icmp,
    Other,
}

/// How far the contact that a flow stands for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// No contact: joined under way, or nobody's attempt.
    None,
    /// Begun, no answer yet.
    Attempted,
    /// Nothing came in time.
    TimedOut,
    /// It succeeded or was refused.
    Answered,
}

// === impl Class ===

impl Class {
    pub(super) const COUNT: usize = 7;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Fresh,
        Self::Attempt,
        Self::Established,
        Self::Closed,
        Self::Udp,
        Self::Icmp,
        Self::Other,
    ];

    /// Whether each packet of the flow puts off the deadline.
    pub(super) fn is_renewed(self) -> bool {
        !matches!(self, Self::Fresh | Self::Attempt | Self::Closed)
    }
}

// === impl Progress ===

impl Progress {
    /// Whether its outcome is still to come.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Attempted | Self::TimedOut)
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

    /// A packet of this time carries the conversation on; after both sides have closed none does.
    pub(super) fn extend(&mut self, time: Timestamp) {
        if self.sides.iter().all(Side::is_closed) {
            return;
        }
        if self.sequence > 0 && self.is_quiet() {
            self.start = time;
            self.end = time;
        } else {
            self.start = self.start.min(time);
            self.end = self.end.max(time);
        }
    }

    /// The ordinal among the flows of this key that began at the same time.
    pub(super) fn ordinal(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.ordinal)
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

    /// The time of its last packet.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }

    pub(super) fn id(&self, policy: &Policy) -> Id {
        key::id(&policy.observer, &self.key, self.first, self.ordinal())
    }

    /// The list the flow belongs in now.
    pub(super) fn class(&self) -> Class {
        match self.key.transport() {
            Transport::TCP => {
                let [initiator, responder] = &self.sides;
                if (initiator.state, responder.state) == (State::Established, State::Established) {
                    Class::Established
                } else if tcp::is_over(initiator, responder) {
                    Class::Closed
                } else if responder.state == State::Inactive
                    && matches!(
                        initiator.state,
                        State::SynSent | State::SynAckSent | State::Inactive
                    )
                {
                    if self.class == Class::Attempt { Class::Attempt } else { Class::Fresh }
                } else {
                    Class::Established
                }
            }
            Transport::UDP => Class::Udp,
            Transport::ICMP | Transport::ICMPV6 => Class::Icmp,
            _ => Class::Other,
        }
    }

    /// The report of all since the last one; the counters begin anew.
    pub(super) fn report(
        &mut self,
        end_reason: EndReason,
        policy: &Policy,
        protocol: Option<std::sync::Arc<str>>,
    ) -> Flow {
        let (initiator, responder) =
            (self.key.end(self.low_initiates), self.key.end(!self.low_initiates));
        let transport = self.key.transport();
        let is_icmp = matches!(transport, Transport::ICMP | Transport::ICMPV6);
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
            vlans: Vlans::from_words(self.vlans),
            icmp: is_icmp.then_some(self.icmp),
            history: self.history,
            end_reason,
            protocol,
            direction: policy.direction(initiator.0, responder.0),
            related_community_id: rare.and_then(|rare| rare.related),
            parent: rare.and_then(|rare| rare.parent),
            tags,
            risk: None,
            names: Names::default(),
        };
        self.sequence += 1;
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
