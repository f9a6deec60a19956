//! What a packet tells the judge, at once: attempts, their outcome, and probes that are none.

use super::{
    entry::{Entry, Progress},
    key::Oriented,
    tcp::State,
};
use crate::record::{
    Contact, Header, Icmp, Layer4, Outcome, Packet, Ports, TcpFlags, Timestamp, Transport,
};

/// How long an answer to a SYN may take: by then it was sent a second and a third time (RFC 6298,
/// initial retransmission time-out 1 s, doubled).
pub(super) const ANSWER_NANOS: u64 = 3_000_000_000;

/// Ports where people log in: each try counts, also one of many.
const AUTH_PORTS: [u16; 5] = [21, 22, 23, 3389, 5900];
/// Ports of web servers: who keeps connections to them open is followed.
const WEB_PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// Ports that are searched for by multicast, and answered from by whoever is found: SSDP, WS-Discovery.
const SEARCHED_PORTS: [u16; 2] = [1900, 3702];
/// The first port that no service has for its own (RFC 6335 section 6).
const FIRST_USER_PORT: u16 = 1024;

/// The smallest IP packet that holds a whole TCP header, without and with an IPv6 fragment header.
const WHOLE_TCP_V4: u32 = 40;
const WHOLE_TCP_V6: u32 = 68;

/// What a TCP header's control bits are, when no sane stack sends them.
fn are_odd(flags: TcpFlags) -> bool {
    let (syn, fin) = (flags.has(TcpFlags::SYN), flags.has(TcpFlags::FIN));
    let (reset, ack) = (flags.has(TcpFlags::RST), flags.has(TcpFlags::ACK));
    (syn && (fin || reset)) || (!syn && !reset && !ack)
}

/// The outcome of a packet that is a probe by its header alone, and the port it is for.
pub(super) fn probe(header: &Header) -> Option<(Outcome, u16)> {
    if header.transport != Transport::TCP {
        return None;
    }
    if let Some(fragment) = header.fragment {
        let whole = if header.source.is_ipv4() { WHOLE_TCP_V4 } else { WHOLE_TCP_V6 };
        let first = fragment.offset == 0 && fragment.more && header.ip_bytes < whole;
        if first || fragment.offset == 8 {
            let port = header.layer4.ports().map_or(0, |ports| ports.destination);
            return Some((Outcome::SplitHeader, port));
        }
    }
    match header.layer4 {
        Layer4::Tcp(tcp) if are_odd(tcp.flags) => {
            Some((Outcome::OddFlags(tcp.flags), tcp.ports.destination))
        }
        _ => None,
    }
}

/// What the packet that begins a flow is, as a contact; and whether an outcome is still to come.
pub(super) fn beginning(header: &Header, oriented: &Oriented, flipped: bool) -> Option<Outcome> {
    if flipped {
        return None;
    }
    match header.layer4 {
        Layer4::Tcp(tcp) => {
            let control = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
            match tcp.flags.0 & control {
                TcpFlags::SYN => Some(Outcome::Attempt),
                TcpFlags::ACK if tcp.payload_bytes == 0 => Some(Outcome::AckProbe),
                _ => None,
            }
        }
        Layer4::Udp(ports, ..) if is_one_host(header) && !is_found(ports) => Some(Outcome::Attempt),
        Layer4::Icmp(message) if is_echo(header.transport, message) => Some(Outcome::Echo),
        _ => None,
    }
    .filter(|_| oriented.ports.destination != 0 || header.transport != Transport::TCP)
}

/// The outcome of an open attempt, if this packet shows it, and whether the path is proven.
pub(super) fn answer(
    entry: &Entry,
    header: &Header,
    by_initiator: bool,
    before: [State; 2],
) -> Option<(Outcome, bool)> {
    match header.layer4 {
        Layer4::Tcp(tcp) if entry.contact == Progress::Probed => {
            // Of no connection it would be reset.
            let goes_on = !by_initiator && !tcp.flags.has(TcpFlags::RST);
            goes_on.then_some((Outcome::Success, false))
        }
        Layer4::Tcp(tcp) => {
            let reset = tcp.flags.has(TcpFlags::RST);
            let ack = tcp.flags.has(TcpFlags::ACK) && !tcp.flags.has(TcpFlags::SYN);
            match (by_initiator, before) {
                (false, [State::SynSent, _]) if reset => Some((Outcome::Refused, false)),
                // Half open, and dropped by who began it: it asked, and wanted nothing.
                (true, [State::Established, State::Established]) if reset => {
                    Some((Outcome::Refused, true))
                }
                (true, [State::SynSent, State::Inactive])
                    if reset && entry.contact == Progress::Heard =>
                {
                    Some((Outcome::Refused, true))
                }
                // Only who has seen our SYN-ACK knows what to acknowledge.
                (true, [State::Established, State::Established]) if ack => {
                    let proven = entry.sides[1].start.wrapping_add(1) == tcp.acknowledgement;
                    proven.then_some((Outcome::Success, true))
                }
                // The answers go another way: the initiator goes on as though there had been one.
                (true, [State::SynSent, State::Inactive | State::Partial]) if ack && !reset => {
                    Some((Outcome::Success, false))
                }
                _ => None,
            }
        }
        Layer4::Udp(..) if !by_initiator => Some((Outcome::Success, false)),
        _ => None,
    }
}

/// Whether each connection to a port is told, rather than the first one.
pub(super) fn is_followed_port(port: u16) -> bool {
    AUTH_PORTS.contains(&port) || is_web_port(port)
}

/// Whether web servers use a port.
pub(super) fn is_web_port(port: u16) -> bool {
    WEB_PORTS.contains(&port)
}

/// Whether an ICMP message says that what it quotes did not get through to the port or host.
pub(super) fn is_refusal(transport: Transport, message: Icmp) -> bool {
    match transport {
        // Code 4 asks for smaller packets.
        Transport::ICMP => message.kind == 3 && message.code != 4,
        Transport::ICMPV6 => message.kind == 1,
        _ => false,
    }
}

/// Whether an ICMP message quotes the packet it is about.
pub(super) fn is_error(transport: Transport, message: Icmp) -> bool {
    match transport {
        Transport::ICMP => matches!(message.kind, 3 | 4 | 5 | 11 | 12),
        Transport::ICMPV6 => message.kind < 128,
        _ => false,
    }
}

/// The contact of a packet's sender with its receiver.
pub(super) fn of_packet(packet: &Packet, header: &Header, port: u16, outcome: Outcome) -> Contact {
    Contact {
        time: packet.time,
        origin: packet.origin,
        source: header.source,
        destination: header.destination,
        port,
        source_port: header.layer4.ports().map_or(0, |ports| ports.source),
        transport: header.transport,
        outcome,
        path_proven: false,
    }
}

/// The contact that a flow stands for.
pub(super) fn of_flow(
    entry: &Entry,
    outcome: Outcome,
    path_proven: bool,
    time: Timestamp,
) -> Contact {
    let (source, source_port) = entry.key.end(entry.low_initiates);
    let (destination, port) = entry.key.end(!entry.low_initiates);
    Contact {
        time,
        origin: entry.key.origin(),
        source,
        destination,
        port: port.unwrap_or(0),
        source_port: source_port.unwrap_or(0),
        transport: entry.key.transport(),
        outcome,
        path_proven,
    }
}

pub(super) fn is_echo(transport: Transport, message: Icmp) -> bool {
    matches!((transport, message.kind), (Transport::ICMP, 8) | (Transport::ICMPV6, 128))
}

/// Whether a datagram is the answer of somebody who was searched for.
fn is_found(ports: Ports) -> bool {
    SEARCHED_PORTS.contains(&ports.source) && ports.destination >= FIRST_USER_PORT
}

/// Whether a packet is for one host: who writes to a group expects no answer.
fn is_one_host(header: &Header) -> bool {
    let broadcast = match header.destination {
        std::net::IpAddr::V4(address) => address.is_broadcast() || address.octets()[3] == 255,
        std::net::IpAddr::V6(_) => false,
    };
    !header.destination.is_multicast() && !broadcast
}
