//! Ethernet, and what an `EtherType` announces: tags, shims, labels, until IP.
//!
//! Sources: IEEE 802.3, 802.1Q, 802.1AE; IANA, "IEEE 802 Numbers"; RFC 2516, 3032, 4448, 6325, 8300.

use super::{
    Skipped,
    link::{self, Layer, Link, Step},
    view::View,
};
use crate::record::MacAddress;

/// The lowest `EtherType`; lower numbers are none.
pub(super) const FIRST_TYPE: u16 = 0x0600;
/// `PPPoE` in its session stage.
pub(super) const PPPOE_SESSION: u16 = 0x8864;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const MPLS: u16 = 0x8847;
const MPLS_UPSTREAM: u16 = 0x8848;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
/// Length of the header that Cisco's inter-switch link puts before a frame: it begins with an address
/// of a group of its own, ends with the VLAN, and has the frame's length where others have a type.
const INTER_SWITCH_LINK: usize = 26;
/// The highest number that is a length (IEEE 802.3, 3.2.6).
const MAX_LENGTH: u16 = 1500;
/// More than a length of 16 bits can say: an offloaded frame, whose own lengths say nothing.
const OFFLOADED: u32 = 0xffff;

/// Addresses, and the type or length of what follows.
#[expect(clippy::many_single_char_names, reason = "bytes of numbers and addresses")]
#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
pub(super) fn frame<'a>(view: View<'a>, link: &mut Link) -> Step<'a> {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, high, low] = view.need()?;
    if matches!([a, b, c, d, e], [1 | 3, 0, 0x0c, 0, 0]) && f >> 4 == 0 && high < 6 {
        return Ok((Layer::Ethernet, view.behind(INTER_SWITCH_LINK)?));
    }
    if link.addresses.is_none() {
        link.addresses = Some([MacAddress([g, h, i, j, k, l]), MacAddress([a, b, c, d, e, f])]);
    }
    Ok((Layer::EtherType(u16::from_be_bytes([high, low])), view.behind(14)?))
}

/// What an `EtherType`, or a length in its place, announces.
#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
pub(super) fn announced<'a>(kind: u16, view: View<'a>, frame: &mut Link) -> Step<'a> {
    match kind {
        IPV4 => link::ip(4, view),
        IPV6 => link::ip(6, view),
        // 802.1Q, 802.1ad, and what preceded it.
        CUSTOMER_TAG | SERVICE_TAG | 0x9100 | 0x9200 | 0x9300 => {
            let &[high, low, _, _] = view.need()?;
            frame.tag(u16::from_be_bytes([high, low]));
            behind(view, 2)
        }
        MPLS | MPLS_UPSTREAM => Ok((Layer::Mpls, view)),
        PPPOE_SESSION => pppoe(view),
        // PPP, bridged Ethernet, jumbo frames of IEEE 802.2, network service header.
        0x880b => Ok((Layer::Ppp, view)),
        0x6558 => Ok((Layer::Ethernet, view)),
        0x8870 => Ok((Layer::Llc, view)),
        0x894f => Ok((Layer::Service, view)),
        // Cisco FabricPath: a tag of two bytes between the addresses of switches and a whole frame.
        0x8903 => {
            frame.addresses = None;
            Ok((Layer::Ethernet, view.behind(2)?))
        }
        // Cisco metadata: version, length, a security group tag of four bytes.
        0x8909 => behind(view, 6),
        // VN-Tag (IEEE 802.1Qbh), HSR (IEC 62439-3), R-Tag (IEEE 802.1CB).
        0x8926 | 0x892f | 0xf1c1 => behind(view, 4),
        // Provider backbone (IEEE 802.1ah): tag, and the customer's addresses.
        0x88e7 => behind(view, 16),
        0x88e5 => macsec(view),
        // TRILL: version and flags with the options' length in words, and two nicknames.
        0x22f3 => {
            let flags = u16::from_be_bytes(*view.need()?);
            Ok((Layer::Ethernet, view.behind(6 + usize::from(flags >> 6 & 0x1f) * 4)?))
        }
        length if length <= MAX_LENGTH => {
            let held = if view.wire() > OFFLOADED { view } else { view.limit(length.into()) };
            Ok((Layer::Llc, held))
        }
        _ => Err(Skipped::NotIp),
    }
}

/// An `EtherType` behind a tag of this length.
fn behind(view: View<'_>, bytes: usize) -> Step<'_> {
    let rest = view.behind(bytes)?;
    let kind = u16::from_be_bytes(*rest.need()?);
    Ok((Layer::EtherType(kind), rest.behind(2)?))
}

/// `PPPoE`: version and type, code, session, length. What the length leaves out is padding.
fn pppoe(view: View<'_>) -> Step<'_> {
    let &[_, code, _, _, high, low] = view.need()?;
    if code != 0 {
        return Err(Skipped::NotIp);
    }
    let payload = view.behind(6)?;
    let length = u32::from(u16::from_be_bytes([high, low]));
    let is_offloaded = length == 0 || payload.wire() > OFFLOADED;
    Ok((Layer::Ppp, if is_offloaded { payload } else { payload.limit(length) }))
}

/// MAC security that only protects from change; an `EtherType` follows.
fn macsec(view: View<'_>) -> Step<'_> {
    const CHANNEL: u8 = 0x20;
    const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
    let &[control] = view.need()?;
    if control & ENCRYPTED_OR_CHANGED != 0 {
        return Err(Skipped::Encrypted);
    }
    behind(view, if control & CHANNEL != 0 { 14 } else { 6 })
}

/// IEEE 802.2: service access points and control, perhaps with SNAP behind them.
pub(super) fn llc(view: View<'_>) -> Step<'_> {
    const UNNUMBERED: u8 = 3;
    let &[destination, source, control] = view.need()?;
    let payload = view.behind(3)?;
    match (destination, source, control) {
        (0xaa, 0xaa, UNNUMBERED) => snap(payload),
        (0x06, _, UNNUMBERED) => link::ip(4, payload),
        _ => Err(Skipped::NotIp),
    }
}

/// The organisation, and the protocol as it numbers it.
pub(super) fn snap(view: View<'_>) -> Step<'_> {
    let &[a, b, c, high, low] = view.need()?;
    let payload = view.behind(5)?;
    match ([a, b, c], u16::from_be_bytes([high, low])) {
        // RFC 1042, and IEEE 802.1H.
        ([0, 0, 0 | 0xf8], kind) if kind >= FIRST_TYPE => Ok((Layer::EtherType(kind), payload)),
        // Bridged Ethernet with and without its frame check sequence, behind padding (RFC 2684).
        ([0, 0x80, 0xc2], 1 | 7) => Ok((Layer::Ethernet, payload.behind(2)?)),
        _ => Err(Skipped::NotIp),
    }
}

/// Labels to the bottom of the stack. What follows is not announced: IP shows its version, a pseudowire
/// has a control word that begins with 0 (RFC 4385), or an Ethernet header at once.
pub(super) fn mpls(view: View<'_>) -> Step<'_> {
    const MAX_LABELS: usize = 32;
    let mut rest = view;
    for _ in 0..MAX_LABELS {
        let &[_, _, bottom, _] = rest.need()?;
        rest = rest.behind(4)?;
        if bottom & 1 == 0 {
            continue;
        }
        let &[first] = rest.need()?;
        return match first >> 4 {
            4 if first & 0x0f >= 5 => Ok((Layer::Ip, rest)),
            6 => Ok((Layer::Ip, rest)),
            0 => {
                let behind = rest.behind(4)?;
                behind.need::<14>()?;
                let begins = if is_ethernet(behind) { behind } else { rest };
                Ok((Layer::Ethernet, begins))
            }
            _ if is_ethernet(rest) => Ok((Layer::Ethernet, rest)),
            _ => Err(Skipped::NotIp),
        };
    }
    Err(Skipped::TooDeep)
}

/// Whether it looks like an Ethernet frame that may lead to IP.
fn is_ethernet(view: View<'_>) -> bool {
    let known = [IPV4, IPV6, ARP, MPLS, MPLS_UPSTREAM, CUSTOMER_TAG, SERVICE_TAG, PPPOE_SESSION];
    view.number(12).is_some_and(|kind| known.contains(&kind))
}

/// Network service header: its length in words, and the next protocol.
pub(super) fn service(view: View<'_>) -> Step<'_> {
    let &[_, length, _, next] = view.need()?;
    let payload = view.behind(usize::from(length & 0x3f) * 4)?;
    generic(next, payload)
}

/// What the next-protocol numbers of NSH and VXLAN-GPE stand for.
pub(super) fn generic(next: u8, payload: View<'_>) -> Step<'_> {
    match next {
        1 => link::ip(4, payload),
        2 => link::ip(6, payload),
        3 => Ok((Layer::Ethernet, payload)),
        4 => Ok((Layer::Service, payload)),
        5 => Ok((Layer::Mpls, payload)),
        _ => Err(Skipped::NotIp),
    }
}
