//! Which list a flow waits in.

use super::Entry;
use crate::{
    flow::{
        policy::Policy,
        tcp::{self, Side, State},
    },
    record::Transport,
};

/// Ports where Zeek lets connections be idle for an hour (`base/protocols/conn/inactivity.zeek`).
const LOGIN_PORTS: [u16; 4] = [21, 22, 23, 513];
/// Ports of Zeek's analyzer of DNS that ends flows by itself (`DNS_Analyzer::ExpireTimer`).
const QUERY_PORTS: [u16; 4] = [53, 137, 5353, 5355];

/// Which list a flow waits in; each has its own time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::flow) enum Class {
    /// A TCP attempt that an answer may still be on its way to.
    Fresh,
    /// An older TCP attempt.
    Attempt,
    /// Any other TCP connection that is not over.
    Established,
    /// One to a port where people log in, in Zeek's eyes.
    Login,
    /// A TCP connection that is over.
    Closed,
    /// One that was reset; in Zeek's eyes by who had closed before: it goes on for
    /// as long as anything comes.
    Reset,
    Udp,
    /// A question to a name server, in Zeek's eyes.
    Query,
    Icmp,
    Other,
}

// === impl Class ===

impl Class {
    pub(in crate::flow) const COUNT: usize = 10;
    pub(in crate::flow) const ALL: [Self; Self::COUNT] = [
        Self::Fresh,
        Self::Attempt,
        Self::Established,
        Self::Login,
        Self::Closed,
        Self::Reset,
        Self::Udp,
        Self::Query,
        Self::Icmp,
        Self::Other,
    ];

    /// Whether each packet of the flow puts off the deadline.
    pub(in crate::flow) fn is_renewed(self) -> bool {
        !matches!(self, Self::Fresh | Self::Attempt | Self::Closed | Self::Reset | Self::Query)
    }
}

// === impl Entry ===

impl Entry {
    /// The list the flow belongs in now.
    pub(in crate::flow) fn class(&self, policy: &Policy) -> Class {
        let as_zeek = policy.as_zeek;
        match self.key.transport() {
            Transport::TCP => {
                if self.states() == [State::Established; 2] {
                    self.open(as_zeek)
                } else if let Some(over) = self.over(as_zeek) {
                    over
                } else if self.is_attempt(as_zeek) {
                    if self.class == Class::Attempt { Class::Attempt } else { Class::Fresh }
                } else {
                    self.open(as_zeek)
                }
            }
            Transport::UDP if as_zeek && self.is_query(policy) => Class::Query,
            Transport::UDP => Class::Udp,
            Transport::ICMP | Transport::ICMPV6 => Class::Icmp,
            _ => Class::Other,
        }
    }

    /// The list of a TCP connection that is neither an attempt nor over.
    fn open(&self, as_zeek: bool) -> Class {
        let [initiator, responder] = &self.sides;
        let is_login = self.class == Class::Login
            || as_zeek
                && responder.state == State::Established
                && initiator.state != State::Partial
                && self.responds_on(&LOGIN_PORTS);
        if is_login { Class::Login } else { Class::Established }
    }

    /// The list that a TCP connection belongs in if it is over, or may be.
    fn over(&self, as_zeek: bool) -> Option<Class> {
        let [initiator, responder] = &self.sides;
        if as_zeek {
            return if tcp::is_over_for_zeek(initiator, responder) {
                Some(Class::Closed)
            } else {
                self.sides.iter().any(Side::is_reset_after_its_close).then_some(Class::Reset)
            };
        }
        let was_reset = self.sides.iter().any(|side| side.state == State::Reset);
        let class = if was_reset { Class::Reset } else { Class::Closed };
        tcp::is_over(initiator, responder).then_some(class)
    }

    /// Whether nothing shows that a TCP connection became more than an attempt.
    fn is_attempt(&self, as_zeek: bool) -> bool {
        let [initiator, responder] = &self.sides;
        responder.state == State::Inactive
            && match initiator.state {
                // Whoever acknowledges has had an answer, which went another way.
                State::SynSent | State::SynAckSent => as_zeek || !initiator.has_gone_on(),
                // No header was captured whole.
                State::Inactive => as_zeek || !initiator.is_active() && !responder.is_active(),
                _ => false,
            }
    }

    /// Whether Zeek's analyzer of DNS is at work: it is from the first packet on, or never.
    fn is_query(&self, policy: &Policy) -> bool {
        let (_, port) = self.key.end(!self.low_initiates);
        let is_listed = port.is_some_and(|it| policy.server_ports.contains(Transport::UDP, it));
        self.class == Class::Query || is_listed && self.responds_on(&QUERY_PORTS)
    }

    fn responds_on(&self, ports: &[u16]) -> bool {
        let (_, port) = self.key.end(!self.low_initiates);
        port.is_some_and(|port| ports.contains(&port))
    }
}
