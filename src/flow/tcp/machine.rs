//! The states of both endpoints together: what a segment does to them, and what they come to.

use super::{
    CLOSING, DATA, FIN, OVER, PAYLOAD, PLACED, Segment, Side, State, delta, is_power_of_ten,
};
use crate::record::{ConnState, History, Letter, Tcp, TcpFlags};

/// What a SYN is to the flow of its addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flow) enum Opening {
    /// A part of it.
    Own,
    /// The beginning of another one.
    Another,
    /// Perhaps the beginning of another one: if it is answered. Until then it is a stray, or an
    /// attack, in one that goes on (RFC 9293 section 3.10.7.4, RFC 5961 section 4).
    Challenge,
}

/// Takes one segment: moves the states of both sides and writes the history. False for a RST that
/// its receiver does not believe.
#[inline]
pub(in crate::flow) fn take(
    segment: Segment<'_>,
    own: &mut Side,
    peer: &mut Side,
    history: &mut History,
) -> bool {
    let Segment { tcp, by_initiator, payload_seen, as_zeek } = segment;
    let flags = tcp.flags;
    let (syn, fin, reset, ack) = (
        flags.has(TcpFlags::SYN),
        flags.has(TcpFlags::FIN),
        flags.has(TcpFlags::RST),
        flags.has(TcpFlags::ACK),
    );
    own.flags.0 |= flags.0;
    if reset && !as_zeek && own.is_outside(tcp) {
        own.note(segment, history);
        return false;
    }
    // A RST's payload is no part of the stream.
    let payload = if reset { 0 } else { tcp.payload_bytes };
    let past = tcp
        .sequence
        .wrapping_add(payload)
        .wrapping_add(u32::from(syn))
        .wrapping_add(u32::from(fin));
    let is_first = (syn || own.state == State::Inactive) && own.begin(tcp, past, as_zeek);
    let too_early = own.precedes(tcp.sequence);
    own.note(segment, history);
    if tcp.window == Some(0) && !reset && peer.state != State::Closed && own.state != State::Reset {
        own.zero_windows = own.zero_windows.saturating_add(1);
        if is_power_of_ten(own.zero_windows) {
            history.push(Letter::ZeroWindow, by_initiator);
        }
    }
    if fin {
        own.fin = past;
        own.marks |= FIN;
    }
    let mut acknowledged = None;
    if ack {
        if peer.state == State::Inactive {
            let start = tcp.acknowledgement.wrapping_sub(1);
            peer.place(start, start);
        } else if !peer.precedes(tcp.acknowledgement) {
            acknowledged = Some(tcp.acknowledgement);
        }
    }
    own.advance(segment, past, is_first, history);
    if syn || fin || reset || own.state == State::Inactive {
        transition(tcp, by_initiator, own, peer);
    }
    if let Some(ack) = acknowledged {
        let in_order = own.is_in_order() && peer.is_in_order();
        peer.acknowledged(ack, in_order, !by_initiator, history);
    }
    if payload > 0 {
        own.marks |= PAYLOAD;
        if !too_early && payload_seen {
            let from = tcp.sequence.wrapping_add(u32::from(syn));
            own.receive(from, from.wrapping_add(payload));
        }
    }
    own.settle(peer);
    peer.settle(own);
    true
}

/// Takes a SYN that may begin another connection: it changes nothing in this one.
pub(in crate::flow) fn pass_by(
    tcp: &Tcp,
    own: &mut Side,
    by_initiator: bool,
    history: &mut History,
) {
    own.flags.0 |= tcp.flags.0;
    history.push(Letter::Syn, by_initiator);
}

/// Takes payload of the stream that came in a later fragment of a segment.
pub(in crate::flow) fn resume(
    (from, past): (u32, u32),
    own: &mut Side,
    peer: &Side,
    by_initiator: bool,
    history: &mut History,
) {
    if past == from {
        return;
    }
    own.once(DATA, Letter::Data, by_initiator, history);
    own.marks |= PAYLOAD;
    if delta(past, own.last) > 0 {
        own.reach(past);
    }
    if !own.precedes(from) {
        own.receive(from, past);
    }
    own.settle(peer);
}

/// The state machine of one endpoint.
fn transition(tcp: &Tcp, by_initiator: bool, own: &mut Side, peer: &mut Side) {
    let flags = tcp.flags;
    let (syn, fin, reset, ack) = (
        flags.has(TcpFlags::SYN),
        flags.has(TcpFlags::FIN),
        flags.has(TcpFlags::RST),
        flags.has(TcpFlags::ACK),
    );
    match own.state {
        State::Inactive => {
            if syn && by_initiator {
                own.enter(if ack { State::SynAckSent } else { State::SynSent });
            } else if syn {
                if peer.state == State::SynSent {
                    peer.enter(State::Established);
                }
                own.enter(State::Established);
            }
            if fin {
                own.enter(State::Closed);
            }
            if reset {
                own.enter(State::Reset);
            }
            // Some systems acknowledge a SYN before they answer it: that proves nothing yet.
            let early_ack = !by_initiator && tcp.payload_bytes == 0 && peer.state == State::SynSent;
            if own.state == State::Inactive && !early_ack {
                own.enter(if ack && peer.state == State::Established {
                    State::Established
                } else {
                    State::Partial
                });
            }
        }
        State::SynSent | State::SynAckSent => {
            if fin {
                own.enter(State::Closed);
            }
            if reset {
                own.enter(State::Reset);
            }
        }
        State::Established | State::Partial => {
            if syn && !ack && own.state == State::Partial && peer.state == State::Inactive {
                own.enter(State::SynSent);
            }
            if fin && !reset {
                own.enter(State::Closed);
                if peer.state == State::Reset && peer.before == State::Closed {
                    peer.enter(State::Closed);
                }
            }
            if reset {
                own.enter(State::Reset);
            }
        }
        State::Closed => {
            if reset && peer.state != State::Closed {
                own.enter(State::Reset);
            }
        }
        State::Reset => {}
    }
    if (fin || reset) && matches!(own.state, State::Closed | State::Reset) {
        own.marks |= CLOSING;
    }
}

/// Whether the connection is over: one side reset it, or closed and the other has closed too or
/// never spoke.
pub(in crate::flow) fn is_over(one: &Side, other: &Side) -> bool {
    are_over([one.state, other.state])
}

/// The same by the states alone.
pub(in crate::flow) fn are_over([one, other]: [State; 2]) -> bool {
    let closed = |state, peer| {
        state == State::Reset
            || (state == State::Closed && matches!(peer, State::Closed | State::Inactive))
    };
    closed(one, other) || closed(other, one)
}

/// Whether a side closed for good when nothing more was to come of the other.
pub(in crate::flow) fn is_over_for_zeek(one: &Side, other: &Side) -> bool {
    one.has(OVER) || other.has(OVER)
}

/// What a SYN is, with or without ACK, to a flow whose sides are its sender's and the other.
pub(in crate::flow) fn opening(tcp: &Tcp, own: &Side, peer: &Side) -> Opening {
    let is_own = !own.has(PLACED) || tcp.sequence == own.start || has_only_acknowledged(own, peer);
    let was_reset = own.state == State::Reset || peer.state == State::Reset;
    let is_over = was_reset || is_over(own, peer) || (own.is_closed() && peer.is_closed());
    let is_one_way = peer.state == State::Inactive;
    if tcp.flags.has(TcpFlags::ACK) {
        // Its SYN was not seen, so this is the first of another connection.
        return if !is_own && (is_over || is_one_way) { Opening::Another } else { Opening::Own };
    }
    match is_own {
        // The other side has forgotten the connection; even the same number begins anew.
        _ if was_reset => Opening::Another,
        true => Opening::Own,
        // An answer to this SYN can't be seen where there was none to the one before.
        false if is_over || is_one_way => Opening::Another,
        false => Opening::Challenge,
    }
}

/// Whether all that a side sent was bare ACKs to its peer's SYN: their numbers need not be those of the SYN
/// that is still to come.
fn has_only_acknowledged(own: &Side, peer: &Side) -> bool {
    own.is_active()
        && own.state == State::Inactive
        && peer.state == State::SynSent
        && !peer.has_gone_on()
}

/// What a SYN is in Zeek's eyes.
pub(in crate::flow) fn opening_as_zeek(tcp: &Tcp, initiator: &Side, responder: &Side) -> Opening {
    if is_reuse(tcp, initiator, responder) { Opening::Another } else { Opening::Own }
}

/// Whether a SYN begins another connection of the same ports in Zeek's eyes.
fn is_reuse(tcp: &Tcp, initiator: &Side, responder: &Side) -> bool {
    if !tcp.flags.has(TcpFlags::SYN) {
        return false;
    }
    let ack = tcp.flags.has(TcpFlags::ACK);
    if ack && initiator.state != State::Inactive {
        return false;
    }
    if initiator.is_closed() && responder.is_closed() {
        return true;
    }
    let beginner = if ack { responder } else { initiator };
    tcp.sequence != beginner.start && !is_reversal(tcp, initiator, responder)
}

/// Whether this is the SYN that a SYN-ACK overtook on the way to us.
pub(in crate::flow) fn is_reversal(tcp: &Tcp, initiator: &Side, responder: &Side) -> bool {
    tcp.flags.has(TcpFlags::SYN)
        && !tcp.flags.has(TcpFlags::ACK)
        && initiator.state == State::SynAckSent
        && responder.state == State::Inactive
        && tcp.sequence == responder.start
}

/// A side of a handshake whose SYN-ACK was seen first, once the roles are put right.
pub(in crate::flow) fn establish(side: &mut Side) {
    side.enter(State::Established);
}

/// What became of the connection; first match.
pub(in crate::flow) fn conn_state(o: &Side, r: &Side, history: History) -> ConnState {
    let no_payload = !o.has(PAYLOAD) && !r.has(PAYLOAD);
    of_states([o.state, r.state], no_payload, || reset_unanswered(history))
}

/// The same by the states alone: of both sides, whether neither sent payload, and whether the initiator sent a
/// SYN and then a RST, with nothing between.
pub(in crate::flow) fn of_states(
    [o, r]: [State; 2],
    no_payload: bool,
    reset_unanswered: impl Fn() -> bool,
) -> ConnState {
    use State::{Closed, Established, Inactive, Partial, Reset, SynAckSent, SynSent};
    let silent = |state| matches!(state, Inactive | Partial);
    match (o, r) {
        (SynSent | SynAckSent, Reset) => ConnState::Rej,
        (Reset, Reset) if no_payload => ConnState::Rej,
        (_, Reset) if silent(o) => ConnState::Rstrh,
        (_, Reset) => ConnState::Rstr,
        (Reset, _) if silent(r) && reset_unanswered() => ConnState::Rstos0,
        (Reset, _) if silent(r) => ConnState::Oth,
        (Reset, _) => ConnState::Rsto,
        (Closed, Closed) => ConnState::Sf,
        (Closed, _) if silent(r) => ConnState::Sh,
        (Closed, _) => ConnState::S2,
        (_, Closed) if silent(o) => ConnState::Shr,
        (_, Closed) => ConnState::S3,
        (SynSent, Inactive) => ConnState::S0,
        (Established, Established) => ConnState::S1,
        _ => ConnState::Oth,
    }
}

/// Whether the history is a SYN and then a RST of the initiator's, with no H, A, F, G, I or Q
/// of its own between.
fn reset_unanswered(history: History) -> bool {
    let mut letters = history.letters().skip_while(|letter| *letter == '^');
    letters.next() == Some('S') && letters.find(|letter| "HAFGIQR".contains(*letter)) == Some('R')
}
