//! PPP and its kin on serial lines (RFC 1661, 1662, 2427).

use super::{
    Skipped, ethernet,
    link::{self, Layer, Step},
    view::View,
};

/// PPP, with or without address and control, the protocol in one byte or two; or Cisco HDLC, which
/// shows by its address.
pub(super) fn ppp(view: View<'_>) -> Step<'_> {
    const ADDRESS: u8 = 0xff;
    const CISCO_UNICAST: u8 = 0x0f;
    const CISCO_MULTICAST: u8 = 0x8f;
    let rest = match view.need()? {
        [ADDRESS, 3] => view.behind(2)?,
        [CISCO_UNICAST | CISCO_MULTICAST, _] => return cisco_hdlc(view),
        _ => view,
    };
    let &[first] = rest.need()?;
    // The last bit of the last byte of a protocol is set.
    let (protocol, payload) = if first & 1 == 1 {
        (u16::from(first), rest.behind(1)?)
    } else {
        (u16::from_be_bytes(*rest.need()?), rest.behind(2)?)
    };
    match protocol {
        0x0021 => link::ip(4, payload),
        0x0057 => link::ip(6, payload),
        0x0281 | 0x0283 => Ok((Layer::Mpls, payload)),
        _ => Err(Skipped::NotIp),
    }
}

/// Address, control, `EtherType`.
pub(super) fn cisco_hdlc(view: View<'_>) -> Step<'_> {
    let &[_, _, high, low] = view.need()?;
    Ok((Layer::EtherType(u16::from_be_bytes([high, low])), view.behind(4)?))
}

/// An address of two to four bytes, then either control and a network layer protocol identifier, or an
/// `EtherType` as Cisco does.
pub(super) fn frame_relay(view: View<'_>) -> Step<'_> {
    const LAST: u8 = 1;
    const UNNUMBERED: u8 = 3;
    let bytes = view.bytes().iter().take(4);
    let address = bytes.take_while(|byte| **byte & LAST == 0).count() + 1;
    let rest = view.behind(address)?;
    let behind = match rest.need()? {
        [UNNUMBERED, 0] => rest.behind(2)?,
        [UNNUMBERED, _] => rest.behind(1)?,
        kind => return Ok((Layer::EtherType(u16::from_be_bytes(*kind)), rest.behind(2)?)),
    };
    let &[identifier] = behind.need()?;
    let payload = behind.behind(1)?;
    match identifier {
        0xcc => link::ip(4, payload),
        0x8e => link::ip(6, payload),
        0x80 => ethernet::snap(payload),
        _ => Err(Skipped::NotIp),
    }
}
