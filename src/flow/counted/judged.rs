//! What sums and control bits say of a flow: who began it, how far it came, when it ends.

use super::{Marks, Sent, Totals};
use crate::{
    flow::{
        policy::{Policy, Timeouts, is_certain_group},
        tcp::{self, State},
    },
    record::{ConnState, IcmpPorts, Layer4, Ports, Tcp, TcpFlags, Transport},
};

/// What a flow comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether the receiver of the first packet began it.
    is_flipped: bool,
    /// The states of the initiator and the responder, of TCP.
    states: [State; 2],
    transport: Transport,
    /// Whether it is no more than an attempt.
    is_attempt: bool,
}

// === impl Judged ===

impl Judged {
    /// Of what was counted. `sees_replies`: whether packets of both directions pass by.
    pub(super) fn of(totals: &Totals, policy: &Policy, sees_replies: bool) -> Self {
        let is_flipped = is_flipped(totals, policy, sees_replies);
        let [first, other] = &totals.sent;
        let [initiator, responder] = if is_flipped { [other, first] } else { [first, other] };
        let states = states(initiator, responder);
        Self {
            is_flipped,
            states,
            transport: totals.transport,
            is_attempt: states == [State::SynSent, State::Inactive]
                && !initiator.marks.has(Marks::MORE),
        }
    }

    pub(super) fn is_flipped(self) -> bool {
        self.is_flipped
    }

    /// Whether it is a TCP connection of which there are SYNs and nothing else.
    pub(super) fn is_attempt(self) -> bool {
        self.is_attempt
    }

    /// Whether a TCP connection is over.
    pub(super) fn is_over(self) -> bool {
        self.transport == Transport::TCP && tcp::are_over(self.states)
    }

    /// Whether its packets are no flood, however many they are: the other end takes part, or, where replies are not
    /// seen, its handshake was gone on from. ICMP's count all the same, for every host answers its echo requests.
    pub(super) fn is_answered(self, totals: &Totals, sees_replies: bool) -> bool {
        match self.transport {
            Transport::TCP if sees_replies => self
                .states
                .iter()
                .all(|state| matches!(state, State::Established | State::Partial | State::Closed)),
            Transport::TCP => totals.sent.iter().any(|sent| {
                let opened = Marks(Marks::SYN.0 | Marks::SYN_ACK.0);
                sent.marks.has(opened) && sent.marks.has(Marks::MORE)
            }),
            Transport::ICMP | Transport::ICMPV6 => false,
            _ => totals.sent.iter().all(|sent| sent.packets > 0),
        }
    }

    /// From when on how long it may last without a packet; an attempt from its beginning on.
    pub(super) fn deadline(self, totals: &Totals, timeouts: &Timeouts) -> (u64, u64) {
        let last_ns = totals.last_ns.max(totals.first_ns);
        match self.transport {
            Transport::TCP if self.is_over() => (last_ns, timeouts.tcp_closed),
            Transport::TCP if self.is_attempt => (totals.first_ns, timeouts.tcp_attempt),
            Transport::TCP => (last_ns, timeouts.tcp_established),
            Transport::UDP => (last_ns, timeouts.udp),
            Transport::ICMP | Transport::ICMPV6 => (last_ns, timeouts.icmp),
            _ => (last_ns, timeouts.other),
        }
    }

    /// The state of the connection, in Zeek's terms.
    pub(super) fn conn_state(self, totals: &Totals) -> ConnState {
        let [first, other] = &totals.sent;
        let [initiator, responder] = if self.is_flipped { [other, first] } else { [first, other] };
        match self.transport {
            Transport::TCP => {
                let no_payload = !Marks(initiator.marks.0 | responder.marks.0).has(Marks::PAYLOAD);
                tcp::of_states(self.states, no_payload, || {
                    let others = Marks(Marks::SYN_ACK.0 | Marks::MORE.0);
                    initiator.marks.has(Marks::SYN) && !initiator.marks.has(others)
                })
            }
            Transport::UDP => match (initiator.packets > 0, responder.packets > 0) {
                (true, true) => ConnState::Sf,
                (true, false) => ConnState::S0,
                (false, true) => ConnState::Shr,
                (false, false) => ConnState::Oth,
            },
            _ => ConnState::Oth,
        }
    }
}

/// Whether the receiver of the first packet began the flow.
fn is_flipped(totals: &Totals, policy: &Policy, sees_replies: bool) -> bool {
    let [first, other] = &totals.sent;
    let (ports, layer4) = match totals.layer4 {
        Layer4::Icmp(message) => {
            let ports = IcmpPorts::of(totals.transport, message);
            if ports.one_way {
                return false;
            }
            (Ports { source: ports.source, destination: ports.destination }, totals.layer4)
        }
        Layer4::TcpPorts(ports) => (ports, as_segment(ports, first.marks)),
        layer4 => (layer4.ports().unwrap_or(Ports { source: 0, destination: 0 }), layer4),
    };
    if totals.transport == Transport::TCP {
        if first.marks.has(Marks::SYN) {
            return false;
        }
        if other.marks.has(Marks::SYN) {
            return true;
        }
        // Who answered began nothing; out of the blue, it takes more than an answer to know what it answers.
        if other.marks.has(Marks::SYN_ACK) {
            return false;
        }
        let went_on = Marks(first.marks.0 | other.marks.0).has(Marks::MORE);
        if first.marks.has(Marks::SYN_ACK) && (went_on || !sees_replies) {
            return true;
        }
    }
    let [source, destination] = totals.ends;
    let told = if first.marks.has(Marks::ANSWERS) {
        crate::record::Marks::ANSWERS
    } else {
        crate::record::Marks::default()
    };
    if policy.sender_is_responder(totals.transport, &layer4, ports, told) {
        !policy.is_group(destination, None)
    } else {
        is_certain_group(source) && !is_certain_group(destination)
    }
}

/// A segment as the first one was, as far as it tells who began.
fn as_segment(ports: Ports, marks: Marks) -> Layer4 {
    let flags =
        if marks.has(Marks::SYN_ACK) { TcpFlags::SYN | TcpFlags::ACK } else { TcpFlags::ACK };
    Layer4::Tcp(Tcp {
        ports,
        flags: TcpFlags(flags),
        sequence: 0,
        acknowledgement: 0,
        window: None,
        payload_bytes: 0,
    })
}

/// The states that the ends have come to (RECORDS.md's table; the order of segments is not known, but whether a
/// RST came before both ends had closed).
fn states(initiator: &Sent, responder: &Sent) -> [State; 2] {
    let fin = |sent: &Sent| sent.flags.has(TcpFlags::FIN);
    let answered = responder.marks.has(Marks(Marks::SYN.0 | Marks::SYN_ACK.0));
    let of_initiator = if initiator.marks.has(Marks::RESET) {
        State::Reset
    } else if fin(initiator) {
        State::Closed
    } else if initiator.marks.has(Marks::SYN) {
        if answered { State::Established } else { State::SynSent }
    } else if initiator.marks.has(Marks::SYN_ACK) {
        if answered { State::Established } else { State::SynAckSent }
    } else if initiator.marks.has(Marks::MORE) {
        if answered { State::Established } else { State::Partial }
    } else {
        State::Inactive
    };
    let of_responder = if responder.marks.has(Marks::RESET) {
        State::Reset
    } else if fin(responder) {
        State::Closed
    } else if answered {
        State::Established
    } else if responder.marks.has(Marks::PAYLOAD)
        || responder.marks.has(Marks::MORE) && of_initiator != State::SynSent
    {
        // A bare acknowledgement of an open SYN proves nothing.
        State::Partial
    } else {
        State::Inactive
    };
    [of_initiator, of_responder]
}
