//! What follows an IP header: a transport header, or nothing that has ports or types.
//!
//! Sources: RFC 9293 (TCP), RFC 768 (UDP), RFC 9260 (SCTP), RFC 792 and 4443 (ICMP).

use super::{
    application::Message,
    checksum,
    link::Layer,
    network::{Carried, Found, Network},
    role, tunnel,
    view::View,
};
use crate::record::{Header, Icmp, Layer4, Ports, Tcp, TcpFlags, Transport};

/// Lengths of headers, in bytes.
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;
const ICMP_HEADER: usize = 8;

/// Reads what follows an IP header.
#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
pub(super) fn read(network: Network<'_>, checks: bool) -> Found<'_> {
    let Network { header, payload, is_readable, partial, damaged } = network;
    let partial = partial || header.fragment.is_some_and(|fragment| fragment.more);
    let mut found = Found { header, carried: None, message: None, damaged };
    if !is_readable {
        return found;
    }
    let header = &mut found.header;
    let carry = |(layer, view), key| Carried { layer, view, partial, key };
    match header.transport {
        Transport::TCP => {
            let wrong;
            (header.layer4, wrong) = tcp(payload, partial);
            found.damaged |= wrong;
            if let Layer4::Tcp(tcp) = header.layer4
                && tcp.payload_bytes > 0
            {
                let payload = payload.skip((payload.wire() - tcp.payload_bytes) as usize);
                found.message = payload.and_then(|it| Message::of_segment(tcp.ports, it));
            }
        }
        Transport::UDP => {
            let (layer4, datagram, wrong) = udp(payload, partial);
            header.layer4 = layer4;
            found.damaged |= wrong;
            if let (Layer4::Udp(ports, _), Some(datagram)) = (layer4, datagram) {
                found.carried = tunnel::over_udp(ports, datagram)
                    .map(|payload| carry(payload, tunnel::key_over_udp(ports, datagram)));
                found.message = Message::of_datagram(ports, datagram);
                if !partial {
                    header.marks = header.marks.and(role::marks(ports, datagram));
                }
            }
        }
        Transport::SCTP => header.layer4 = ports(payload).map_or(Layer4::Opaque, Layer4::Sctp),
        Transport::ICMP | Transport::ICMPV6 => {
            header.layer4 = icmp(payload).map_or(Layer4::Opaque, Layer4::Icmp);
            found.carried = quoted(header.transport, payload).map(|view| Carried {
                layer: Layer::Ip,
                view,
                partial: true,
                key: None,
            });
        }
        other => {
            found.carried = tunnel::over_ip(other, payload)
                .map(|carried| carry(carried, tunnel::key_over_ip(other, payload)));
        }
    }
    found.damaged |= !partial && is_cut(&found.header);
    if checks && !partial && !found.damaged {
        let is_tunnel = found.carried.is_some();
        found.header.checksums.transport = checksum::transport(&found.header, payload, is_tunnel);
    }
    found
}

#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
fn ports(view: View<'_>) -> Option<Ports> {
    let &[a, b, c, d] = view.first()?;
    Some(Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) })
}

/// The header, and whether it is wrong.
#[expect(clippy::many_single_char_names, reason = "bytes of numbers and addresses")]
#[inline(always)]
fn tcp(view: View<'_>, partial: bool) -> (Layer4, bool) {
    const FLAGS: u16 = 0x0fff;
    let Some(ports) = ports(view) else {
        return (Layer4::Opaque, !partial && view.wire() < TCP_HEADER);
    };
    let is_short = !partial && view.wire() < TCP_HEADER;
    let Some(&[_, _, _, _, a, b, c, d, e, f, g, h, high, low]) = view.first() else {
        return (Layer4::TcpPorts(ports), is_short);
    };
    let header_bytes = u32::from(high >> 4) * 4;
    if header_bytes < TCP_HEADER {
        return (Layer4::TcpPorts(ports), true);
    }
    let tcp = Tcp {
        ports,
        flags: TcpFlags(u16::from_be_bytes([high, low]) & FLAGS),
        sequence: u32::from_be_bytes([a, b, c, d]),
        acknowledgement: u32::from_be_bytes([e, f, g, h]),
        window: view.number(14),
        payload_bytes: view.wire().saturating_sub(header_bytes),
    };
    (Layer4::Tcp(tcp), !partial && header_bytes > view.wire())
}

/// The header, what it carries, and whether it is wrong.
fn udp(view: View<'_>, partial: bool) -> (Layer4, Option<View<'_>>, bool) {
    let Some(ports) = ports(view) else {
        return (Layer4::Opaque, None, !partial && view.wire() < UDP_HEADER);
    };
    let length = match view.number(4).map(u32::from) {
        // Cut off, a jumbogram (RFC 2675), or offloading left none.
        None | Some(0) => view.wire(),
        Some(length) => length,
    };
    let is_cut = view.number(4).is_none();
    let wrong = length < UDP_HEADER || !partial && (is_cut || length > view.wire());
    let held = if partial { length } else { length.min(view.wire()) };
    let datagram =
        view.skip(UDP_HEADER as usize).map(|rest| rest.limit(held.saturating_sub(UDP_HEADER)));
    (Layer4::Udp(ports, held.saturating_sub(UDP_HEADER)), datagram, wrong)
}

fn icmp(view: View<'_>) -> Option<Icmp> {
    let &[kind, code] = view.first()?;
    Some(Icmp { kind, code })
}

/// Whether the transport header should be there and was not captured as far as flows need it.
fn is_cut(header: &Header) -> bool {
    let is_known = header.transport.has_ports()
        || matches!(header.transport, Transport::ICMP | Transport::ICMPV6);
    match header.layer4 {
        Layer4::Tcp(tcp) => tcp.window.is_none(),
        Layer4::TcpPorts(_) => true,
        Layer4::Opaque => is_known,
        _ => false,
    }
}

/// The packet that a message is about, if it quotes one.
fn quoted(transport: Transport, message: View<'_>) -> Option<View<'_>> {
    match (transport, message.byte(0)?) {
        (Transport::ICMP, 3 | 4 | 5 | 11 | 12) | (Transport::ICMPV6, 1..=4) => {
            message.skip(ICMP_HEADER)
        }
        (Transport::ICMPV6, 137) => redirected(message),
        _ => None,
    }
}

/// The packet that a redirect of neighbour discovery is about: one of the options behind the two
/// addresses (RFC 4861, 4.5 and 4.6.3).
fn redirected(message: View<'_>) -> Option<View<'_>> {
    const OPTIONS: usize = 40;
    const REDIRECTED_HEADER: u8 = 4;
    const MAX_OPTIONS: usize = 16;
    let mut rest = message.skip(OPTIONS)?;
    for _ in 0..MAX_OPTIONS {
        let &[kind, units] = rest.first()?;
        let bytes = usize::from(units) * 8;
        if kind == REDIRECTED_HEADER {
            return rest.limit(u32::from(units) * 8).skip(8);
        }
        rest = rest.skip(bytes).filter(|_| bytes > 0)?;
    }
    None
}
