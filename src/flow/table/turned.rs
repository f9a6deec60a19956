//! Roles that are exchanged after a flow has begun.

use super::Arrival;
use crate::{
    flow::{
        entry::Entry,
        policy::Policy,
        tcp::{self, State},
    },
    record::{Marks, Tcp, TcpFlags, Transport},
};

/// Exchanges the roles of a handshake whose SYN-ACK was seen first, once it is known to be none of an
/// opening from both sides: by the SYN itself, or by an ACK or payload of either side.
pub(super) fn put_right(entry: &mut Entry, tcp: &Tcp, from_low: bool, as_zeek: bool) {
    let [initiator, responder] = &entry.sides;
    if initiator.state != State::SynAckSent || responder.state != State::Inactive {
        return;
    }
    let control = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
    // Zeek looks at the history, which has to be that one letter.
    let is_first = !as_zeek || entry.history.len() == 1;
    let goes_on = tcp.flags.0 & control == TcpFlags::ACK && is_first;
    let by_other = !entry.is_by_initiator(from_low);
    let is_overtaken = by_other && tcp::is_reversal(tcp, initiator, responder);
    if goes_on {
        entry.flip();
        if !as_zeek {
            tcp::establish(&mut entry.sides[1]);
        }
    } else if is_overtaken {
        if as_zeek {
            let (own, _, history) = entry.sides_of(false);
            own.note_overtaken(history);
            entry.turn();
        } else {
            entry.flip();
        }
        entry.sides.iter_mut().for_each(tcp::establish);
    }
}

/// Exchanges the roles of a flow where Zeek's analyzers do, as a datagram that was just counted says that
/// its sender is the other side: by NTP once, by DNS if it is the first one and nobody's announcement.
pub(super) fn turn_by_content(
    entry: &mut Entry,
    from_low: bool,
    is_first: bool,
    arrival: &Arrival<'_>,
    policy: &Policy,
) {
    let header = arrival.header;
    let (_, Some(port)) = entry.key.end(!entry.low_initiates) else { return };
    if !policy.server_ports.contains(Transport::UDP, port) {
        return;
    }
    let by_initiator = entry.is_by_initiator(from_low);
    let answers = header.marks.has(Marks::ANSWERS);
    let turns = match port {
        123 => by_initiator == answers && !entry.history.has_turned(),
        53 | 137 | 5353 | 5355 => {
            is_first && by_initiator && answers && !header.destination.is_multicast()
        }
        _ => false,
    };
    if turns {
        let bytes = super::ip_bytes(arrival.packet, header, arrival.depth, true);
        entry.turn_by_content(by_initiator, bytes);
    }
}
