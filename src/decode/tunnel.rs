//! What carries further IP packets: protocols of IP's own, and those over UDP, known by their port and
//! by what their headers must say.
//!
//! Sources: RFC 2003, 4213, 2784, 2890, 2637 (GRE and PPTP), 3378 (`EtherIP`), 4023 (MPLS), 4380
//! (Teredo), 7348 (VXLAN), 8926 (GENEVE), 8086 (GRE in UDP), 7510 (MPLS in UDP), 2661 (L2TP), 9300
//! (LISP); 3GPP TS 29.281 and 29.060 (GTP-U); draft-foschiano-erspan, draft-massar-v6ops-ayiya,
//! draft-ietf-nvo3-vxlan-gpe.

use super::{
    ethernet,
    extensions::{AUTHENTICATION, authentication_bytes},
    link::Layer,
    view::View,
};
use crate::record::{Ports, Transport};

/// What is carried, and where it begins.
type Payload<'a> = Option<(Layer, View<'a>)>;

/// What an IP protocol carries.
pub(super) fn over_ip(transport: Transport, view: View<'_>) -> Payload<'_> {
    match transport.0 {
        4 | 41 => Some((Layer::Ip, view)),
        47 => gre(view),
        // In tunnel mode, behind IPv4; behind IPv6 it is one of the extension headers.
        AUTHENTICATION => {
            let &[next, length] = view.first()?;
            let behind = view.skip(authentication_bytes(length))?;
            matches!(next, 4 | 41 | 47).then(|| over_ip(Transport(next), behind))?
        }
        97 => Some((Layer::Ethernet, view.skip(2)?)),
        137 => Some((Layer::Mpls, view)),
        143 => Some((Layer::Ethernet, view)),
        _ => None,
    }
}

/// What a datagram between these ports carries. The receiver's port tells more than the sender's.
pub(super) fn over_udp(ports: Ports, view: View<'_>) -> Payload<'_> {
    by_port(ports.destination, view)
        .or_else(|| by_port(ports.source, view))
        .or_else(|| teredo(view, false))
}

fn by_port(port: u16, view: View<'_>) -> Payload<'_> {
    match port {
        1701 => l2tp(view),
        2123 | 2152 | 3386 => gtp(view),
        3544 => teredo(view, true),
        4341 => lisp(view),
        4754 => gre(view),
        4789 | 8472 => vxlan(view),
        4790 => vxlan_gpe(view),
        5072 => ayiya(view),
        6081 => geneve(view),
        6635 => Some((Layer::Mpls, view)),
        _ => None,
    }
}

fn gre(view: View<'_>) -> Payload<'_> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    const VERSION: u16 = 7;
    let &[a, b, high, low] = view.first()?;
    let flags = u16::from_be_bytes([a, b]);
    let words = |bits: u16| usize::from(flags & bits != 0);
    let mut length = match flags & VERSION {
        0 => 4 * (1 + words(CHECKSUM | ROUTING) + words(KEY) + words(SEQUENCE)),
        1 => 4 * (1 + words(KEY) + words(SEQUENCE) + words(ACKNOWLEDGEMENT)),
        _ => return None,
    };
    if flags & VERSION == 0 && flags & ROUTING != 0 {
        length += route_bytes(view.skip(length)?)?;
    }
    let payload = view.skip(length)?;
    Some(match u16::from_be_bytes([high, low]) {
        // ERSPAN type I has no header of its own, type II one of 8 bytes, and a sequence number.
        0x88be if flags & SEQUENCE == 0 => (Layer::Ethernet, payload),
        0x88be => (Layer::Ethernet, payload.skip(8)?),
        0x22eb => erspan3(payload)?,
        // WCCP: with a redirect header in its second version, which can't begin like IPv4.
        0x883e if payload.byte(0)? >> 4 == 4 => (Layer::Ip, payload),
        0x883e => (Layer::Ip, payload.skip(4)?),
        // Access points by Aruba.
        0x8200..=0x8230 | 0x9000 => (Layer::Wlan, payload),
        kind if kind >= ethernet::FIRST_TYPE => (Layer::EtherType(kind), payload),
        _ => return None,
    })
}

/// Length of GRE's source routes: entries of family, offset and length; the last one is empty.
fn route_bytes(view: View<'_>) -> Option<usize> {
    const MAX_ENTRIES: usize = 16;
    let mut at = 0;
    for _ in 0..MAX_ENTRIES {
        let &[high, low, _, length] = view.chunk(at)?;
        at += 4 + usize::from(length);
        if [high, low, length] == [0, 0, 0] {
            return Some(at);
        }
    }
    None
}

/// ERSPAN type III: 12 bytes, or 20 with a platform's own; the frame may be an IP packet.
fn erspan3(view: View<'_>) -> Payload<'_> {
    const SUBHEADER: u8 = 1;
    const FRAME_TYPE: u8 = 0x1f;
    let &[.., kind, last] = view.first::<12>()?;
    let payload = view.skip(if last & SUBHEADER == 0 { 12 } else { 20 })?;
    match kind >> 2 & FRAME_TYPE {
        0 => Some((Layer::Ethernet, payload)),
        2 => Some((Layer::Ip, payload)),
        _ => None,
    }
}

fn vxlan(view: View<'_>) -> Payload<'_> {
    const NETWORK: u8 = 0x08;
    let &[flags, .., reserved] = view.first::<8>()?;
    (flags & NETWORK != 0 && reserved == 0).then_some((Layer::Ethernet, view.skip(8)?))
}

fn vxlan_gpe(view: View<'_>) -> Payload<'_> {
    const NEXT_PROTOCOL: u8 = 0x04;
    let &[flags, _, _, next, ..] = view.first::<8>()?;
    let payload = view.skip(8)?;
    if flags & NEXT_PROTOCOL == 0 {
        return Some((Layer::Ethernet, payload));
    }
    ethernet::generic(next, payload).ok()
}

fn geneve(view: View<'_>) -> Payload<'_> {
    const CONTROL: u8 = 0x80;
    let &[options, flags, high, low, ..] = view.first::<8>()?;
    if options >> 6 != 0 || flags & CONTROL != 0 {
        return None;
    }
    let payload = view.skip(8 + usize::from(options & 0x3f) * 4)?;
    Some((Layer::EtherType(u16::from_be_bytes([high, low])), payload))
}

/// GTP-U in version 1, and its forerunner, which has a header of fixed length.
fn gtp(view: View<'_>) -> Payload<'_> {
    const USER_DATA: u8 = 255;
    const NOT_PRIME: u8 = 0x10;
    const EXTENDED: u8 = 0x04;
    const OPTIONAL: u8 = 0x07;
    const MAX_EXTENSIONS: usize = 16;
    let &[flags, kind] = view.first()?;
    if kind != USER_DATA || flags & NOT_PRIME == 0 {
        return None;
    }
    let mut length = match flags >> 5 {
        0 => 20,
        1 if flags & OPTIONAL == 0 => 8,
        1 => 12,
        _ => return None,
    };
    if flags >> 5 == 1 && flags & EXTENDED != 0 {
        let mut next = view.byte(11)?;
        for _ in 0..MAX_EXTENSIONS {
            if next == 0 {
                break;
            }
            let words = usize::from(view.byte(length)?);
            if words == 0 {
                return None;
            }
            length += words * 4;
            next = view.byte(length - 1)?;
        }
    }
    let payload = view.skip(length)?;
    match payload.byte(0)? {
        0x45..=0x4f | 0x60..=0x6f => Some((Layer::Ip, payload)),
        _ => Some((Layer::Ppp, payload)),
    }
}

/// Teredo, behind an authentication and an origin indication. Peers use ports of their own, so
/// elsewhere one of the addresses within has to be a Teredo one, and the length exact.
fn teredo(view: View<'_>, on_port: bool) -> Payload<'_> {
    const AUTHENTICATED: u16 = 1;
    const ORIGIN: u16 = 0;
    const PREFIX: [u8; 4] = [0x20, 1, 0, 0];
    let mut rest = view;
    if rest.number(0)? == AUTHENTICATED {
        let lengths = usize::from(rest.byte(2)?) + usize::from(rest.byte(3)?);
        rest = rest.skip(13 + lengths)?;
    }
    if rest.number(0)? == ORIGIN {
        rest = rest.skip(8)?;
    }
    if rest.byte(0)? >> 4 != 6 {
        return None;
    }
    let length = 40 + u32::from(rest.number(4)?);
    let is_teredo = |at: usize| rest.chunk::<4>(at) == Some(&PREFIX);
    let is_likely = length == rest.wire() && (is_teredo(8) || is_teredo(24));
    (on_port || is_likely).then_some((Layer::Ip, rest))
}

/// AYIYA: lengths of identity and signature, operation, next header, time, identity, signature.
fn ayiya(view: View<'_>) -> Payload<'_> {
    const FORWARD: u8 = 1;
    let &[identity, signature, operation, next, ..] = view.first::<8>()?;
    if operation & 0x0f != FORWARD {
        return None;
    }
    let length = 8 + (1_usize << (identity >> 4)) + usize::from(signature >> 4) * 4;
    let payload = view.skip(length)?;
    matches!(next, 4 | 41).then_some((Layer::Ip, payload))
}

/// L2TP data messages: PPP behind a header whose parts are optional.
fn l2tp(view: View<'_>) -> Payload<'_> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let flags = view.number(0)?;
    if flags & CONTROL != 0 || flags & 0x0f != 2 {
        return None;
    }
    let part = |bit: u16, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    let mut length = 6 + part(LENGTH, 2) + part(SEQUENCE, 4);
    if flags & OFFSET != 0 {
        length += 2 + usize::from(view.number(length)?);
    }
    Some((Layer::Ppp, view.skip(length)?))
}

fn lisp(view: View<'_>) -> Payload<'_> {
    let payload = view.skip(8)?;
    matches!(payload.byte(0)? >> 4, 4 | 6).then_some((Layer::Ip, payload))
}
