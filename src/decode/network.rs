//! An IP header, its extensions, and what follows.
//!
//! Sources: RFC 791, RFC 8200, RFC 2675 (jumbograms); RFC 1812 section 5.2.2 for lengths that lie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Skipped,
    application::Message,
    checksum,
    extensions::{self, NO_NEXT_HEADER},
    link::Layer,
    transport,
    view::View,
};
use crate::record::{Checksums, Fragment, Header, Layer4, Marks, Transport, TunnelKey};

/// Length of an IPv4 header without options, and of an IPv6 header, in bytes.
const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 40;

/// An IP header, and where reading goes on.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) header: Header,
    /// What a tunnel carries or an ICMP error quotes.
    pub(super) carried: Option<Carried<'a>>,
    /// What may tell the application.
    pub(super) message: Option<Message<'a>>,
    /// Whether the headers contradict themselves or the frame, or were cut.
    pub(super) damaged: bool,
}

/// What an IP packet carries that may lead to a further IP header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried<'a> {
    pub(super) layer: Layer,
    pub(super) view: View<'a>,
    /// Only its beginning is here: it is quoted, or the rest is in further fragments. So its lengths
    /// are right though they go beyond what there is.
    pub(super) partial: bool,
    /// What tells the contents of the tunnel apart that it comes out of.
    pub(super) key: Option<TunnelKey>,
}

/// An IP header before what follows it is read.
#[derive(Debug)]
pub(super) struct Network<'a> {
    pub(super) header: Header,
    pub(super) payload: View<'a>,
    /// Whether a transport header may begin the payload.
    pub(super) is_readable: bool,
    pub(super) partial: bool,
    pub(super) damaged: bool,
}

/// Reads the IP header at the beginning of `view`, and what follows it.
#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
pub(super) fn read(view: View<'_>, partial: bool, checks: bool) -> Result<Found<'_>, Skipped> {
    let &[version] = view.need()?;
    let network = match version >> 4 {
        4 => ipv4(view, partial, checks)?,
        6 => ipv6(view, partial)?,
        _ => return Err(Skipped::Malformed),
    };
    Ok(transport::read(network, checks))
}

#[expect(clippy::many_single_char_names, reason = "bytes of numbers and addresses")]
#[inline(always)]
fn ipv4(view: View<'_>, partial: bool, checks: bool) -> Result<Network<'_>, Skipped> {
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let fixed: &[u8; 20] = view.need()?;
    let &[version, _, l, m, i, j, o, p, _, protocol, _, _, rest @ ..] = fixed;
    let [a, b, c, d, e, f, g, h] = rest;
    let header_bytes = u32::from(version & 0x0f) * 4;
    // Offloading leaves no length: the frame tells.
    let length = u32::from(u16::from_be_bytes([l, m]));
    let claimed = if length == 0 { view.wire() } else { length };
    let is_too_long = !partial && claimed > view.wire();
    if header_bytes < V4_HEADER || claimed < header_bytes {
        return Err(Skipped::Malformed);
    }
    let packet = view.limit(claimed);
    let place = u16::from_be_bytes([o, p]);
    let (offset, more) = (u32::from(place & OFFSET) * 8, place & MORE != 0);
    let fragment = (offset > 0 || more).then(|| Fragment {
        id: u16::from_be_bytes([i, j]).into(),
        offset,
        more,
    });
    let payload = packet.skip(header_bytes as usize);
    let marks =
        Marks::default().and_if(length == 0, Marks::NO_LENGTH).and_if(is_too_long, Marks::TOO_LONG);
    let header = Header {
        marks,
        source: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        destination: IpAddr::V4(
            last_stop(packet, header_bytes as usize).unwrap_or(Ipv4Addr::new(e, f, g, h)),
        ),
        tunnel: None,
        transport: Transport(protocol),
        ip_bytes: if partial { claimed } else { packet.wire() },
        checksums: Checksums {
            ip: checksum::ipv4(checks, packet, header_bytes as usize),
            ..Checksums::default()
        },
        fragment,
        layer4: Layer4::Opaque,
    };
    Ok(Network {
        header,
        payload: payload.unwrap_or(packet.limit(0)),
        is_readable: payload.is_some() && offset == 0,
        partial,
        damaged: is_too_long || !partial && payload.is_none(),
    })
}

/// The last address of a source route that is not done, from the options (RFC 791, RFC 1812 section
/// 4.2.2.1).
fn last_stop(packet: View<'_>, header_bytes: usize) -> Option<Ipv4Addr> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    let options = packet.bytes().get(V4_HEADER as usize..header_bytes)?;
    let mut at = 0;
    loop {
        match *options.get(at..)? {
            [END, ..] => return None,
            [NO_OPERATION, ..] => at += 1,
            [LOOSE_ROUTE | STRICT_ROUTE, length, next, ..] => {
                let end = at + usize::from(length);
                let last = options.get(end.checked_sub(4)?..end)?.first_chunk::<4>()?;
                return (length >= 7 && next <= length).then(|| Ipv4Addr::from(*last));
            }
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
}

fn ipv6(view: View<'_>, partial: bool) -> Result<Network<'_>, Skipped> {
    let fixed: &[u8; 40] = view.need()?;
    let &[_, _, _, _, l, m, next, _, ..] = fixed;
    let behind = view.behind(V6_HEADER as usize)?;
    let told = match u32::from(u16::from_be_bytes([l, m])) {
        0 if next == NO_NEXT_HEADER => Some(V6_HEADER),
        // A jumbogram, or offloading left no length: the frame tells.
        0 => extensions::jumbo(next, behind).map(|length| length.saturating_add(V6_HEADER)),
        length => Some(length + V6_HEADER),
    };
    let claimed = told.unwrap_or(view.wire());
    let is_too_long = !partial && claimed > view.wire();
    let marks = Marks::default()
        .and_if(told.is_none(), Marks::NO_LENGTH)
        .and_if(is_too_long, Marks::TOO_LONG);
    let packet = behind.limit(claimed - V6_HEADER);
    let chain = extensions::walk(next, packet);
    let address = |at: usize| view.chunk::<16>(at).map(|bytes| Ipv6Addr::from(*bytes));
    let (Some(source), Some(destination)) = (address(8), address(24)) else {
        return Err(Skipped::CutShort);
    };
    let header = Header {
        marks,
        source: IpAddr::V6(source),
        destination: IpAddr::V6(chain.destination.unwrap_or(destination)),
        tunnel: None,
        transport: Transport(chain.transport),
        ip_bytes: if partial { claimed } else { packet.wire() + V6_HEADER },
        checksums: Checksums::default(),
        fragment: chain.fragment,
        layer4: Layer4::Opaque,
    };
    Ok(Network {
        header,
        payload: chain.payload.unwrap_or(packet.limit(0)),
        is_readable: chain.payload.is_some(),
        partial,
        damaged: is_too_long || !partial && chain.damaged,
    })
}
