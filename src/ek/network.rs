//! IP headers, and what lies between an IPv6 header and its transport.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    error::Error,
    fields::{READ, place},
    layout::Layer,
    number::{address, flag, unsigned},
    transport::checksum,
    values::Values,
};
use crate::record::{Checksums, Fragment, Header, Layer4, Transport};

/// Length of an IPv4 header without options, and of an IPv6 header, in bytes.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Fragment offsets count units of this many bytes.
const FRAGMENT_UNIT: u32 = 8;
/// "No next header" (RFC 8200).
pub(super) const NO_NEXT_HEADER: Transport = Transport(59);

const IP_SRC: usize = place("ip.src");
const IP_DST: usize = place("ip.dst");
const IP_PROTO: usize = place("ip.proto");
const IP_LEN: usize = place("ip.len");
const IP_HEADER_LEN: usize = place("ip.hdr_len");
const IP_ID: usize = place("ip.id");
const IP_MORE: usize = place("ip.flags.mf");
const IP_OFFSET: usize = place("ip.frag_offset");
const IP_CHECKSUM: usize = place("ip.checksum.status");
const IPV6_SRC: usize = place("ipv6.src");
const IPV6_DST: usize = place("ipv6.dst");
const IPV6_NXT: usize = place("ipv6.nxt");
const IPV6_PLEN: usize = place("ipv6.plen");
const JUMBO: usize = place("ipv6.opt.jumbo");
const HOP_BY_HOP_NXT: usize = place("ipv6.hopopts.nxt");
const HOP_BY_HOP_LEN: usize = place("ipv6.hopopts.len");
const DESTINATION_NXT: usize = place("ipv6.dstopts.nxt");
const DESTINATION_LEN: usize = place("ipv6.dstopts.len");
const ROUTING_NXT: usize = place("ipv6.routing.nxt");
const ROUTING_LEN: usize = place("ipv6.routing.len");
const ROUTING_TYPE: usize = place("ipv6.routing.type");
const ROUTING_LEFT: usize = place("ipv6.routing.segleft");
const ROUTING_SOURCE: usize = place("ipv6.routing.src.addr");
const ROUTING_HOME: usize = place("ipv6.routing.mipv6.home_address");
const ROUTING_SEGMENTS: usize = place("ipv6.routing.srh.addr");
const FRAGMENT_NXT: usize = place("ipv6.fraghdr.nxt");
const FRAGMENT_OFFSET: usize = place("ipv6.fraghdr.offset");
const FRAGMENT_MORE: usize = place("ipv6.fraghdr.more");
const FRAGMENT_ID: usize = place("ipv6.fraghdr.ident");
const AUTHENTICATION_NXT: usize = place("ah.next_header");
const AUTHENTICATION_LEN: usize = place("ah.length");
const MOBILITY_NXT: usize = place("mip6.proto");
const HOST_IDENTITY_NXT: usize = place("hip.proto");
const SHIM6_NXT: usize = place("shim6.nxt");

/// An IP header, its lengths as it claims them, in bytes.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) header: Header,
    /// Header and payload; `None`: offloading left no length.
    pub(super) claimed: Option<u32>,
    pub(super) header_bytes: u32,
}

/// How many IPv4 headers have addresses.
pub(super) fn ipv4_count(values: &Values<'_, '_>) -> usize {
    values.count(IP_SRC)
}

/// An IPv4 header; `None` if it was not captured.
pub(super) fn ipv4(values: &Values<'_, '_>, nth: usize) -> Result<Option<Network>, Error> {
    let (Some(source), Some(destination)) = (values.get(IP_SRC, nth), values.get(IP_DST, nth))
    else {
        return Ok(None);
    };
    let more = flag(READ[IP_MORE], values.get(IP_MORE, nth).unwrap_or("0"))?;
    let offset = number(values, IP_OFFSET, nth)?.unwrap_or_default();
    let fragment = if more || offset > 0 {
        Some(fragment(number(values, IP_ID, nth)?.unwrap_or_default(), offset, more))
    } else {
        None
    };
    let header = Header {
        marks: crate::record::Marks::default(),
        source: address::<Ipv4Addr>(READ[IP_SRC], source)?,
        destination: address::<Ipv4Addr>(READ[IP_DST], destination)?,
        transport: Transport(required(values, IP_PROTO, nth)?),
        ip_bytes: 0,
        tunnel: None,
        checksums: Checksums { ip: checksum(values.get(IP_CHECKSUM, nth)), ..Checksums::default() },
        fragment,
        layer4: Layer4::Opaque,
    };
    Ok(Some(Network {
        header,
        claimed: Some(required(values, IP_LEN, nth)?),
        header_bytes: number(values, IP_HEADER_LEN, nth)?.unwrap_or(IPV4_HEADER),
    }))
}

/// An IPv6 header; `None` if it was not captured. `jumbograms` of those before it had the length that
/// hop-by-hop options give.
pub(super) fn ipv6(
    values: &Values<'_, '_>,
    nth: usize,
    jumbograms: &mut usize,
) -> Result<Option<Network>, Error> {
    let (Some(source), Some(destination)) = (values.get(IPV6_SRC, nth), values.get(IPV6_DST, nth))
    else {
        return Ok(None);
    };
    let next = Transport(required(values, IPV6_NXT, nth)?);
    let payload: u32 = required(values, IPV6_PLEN, nth)?;
    let jumbo: Option<u32> = match payload {
        0 if Layer::HopByHop.transport() == Some(next) => number(values, JUMBO, *jumbograms)?,
        _ => None,
    };
    *jumbograms += usize::from(jumbo.is_some());
    let claimed = match payload {
        0 if next != NO_NEXT_HEADER => jumbo.map(|length| length.saturating_add(IPV6_HEADER)),
        length => Some(length.saturating_add(IPV6_HEADER)),
    };
    let header = Header {
        marks: crate::record::Marks::default(),
        source: address::<Ipv6Addr>(READ[IPV6_SRC], source)?,
        destination: address::<Ipv6Addr>(READ[IPV6_DST], destination)?,
        transport: next,
        ip_bytes: 0,
        tunnel: None,
        checksums: Checksums::default(),
        fragment: None,
        layer4: Layer4::Opaque,
    };
    Ok(Some(Network { header, claimed, header_bytes: IPV6_HEADER }))
}

/// Whether it is one of the headers that an IPv6 header chain is made of (IANA, "IPv6 Extension Header
/// Types").
pub(super) const fn is_extension(transport: Transport) -> bool {
    matches!(transport.0, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// What an extension header says comes next, and its length in bytes; `None` if it was cut before.
pub(super) fn extension(
    layer: Layer,
    values: &Values<'_, '_>,
    nth: usize,
) -> Result<Option<(Transport, u32)>, Error> {
    let units = |field: usize| number::<u32>(values, field, nth).map(Option::unwrap_or_default);
    let (next, bytes) = match layer {
        Layer::HopByHop => (HOP_BY_HOP_NXT, 8 + units(HOP_BY_HOP_LEN)?.saturating_mul(8)),
        Layer::Destination => (DESTINATION_NXT, 8 + units(DESTINATION_LEN)?.saturating_mul(8)),
        Layer::Routing => (ROUTING_NXT, 8 + units(ROUTING_LEN)?.saturating_mul(8)),
        Layer::Authentication => (AUTHENTICATION_NXT, authentication_bytes(values, nth)?),
        Layer::Mobility => (MOBILITY_NXT, 8),
        Layer::HostIdentity => (HOST_IDENTITY_NXT, 8),
        Layer::Shim6 => (SHIM6_NXT, 8),
        _ => (FRAGMENT_NXT, 8),
    };
    Ok(number(values, next, nth)?.map(|next| (Transport(next), bytes)))
}

/// Length of an authentication header; tshark gives its length field or what that stands for.
pub(super) fn authentication_bytes(values: &Values<'_, '_>, nth: usize) -> Result<u32, Error> {
    let words: Option<u32> = number(values, AUTHENTICATION_LEN, nth)?;
    Ok(words.unwrap_or_default().saturating_add(2).saturating_mul(4))
}

/// Which part of a packet an IPv6 fragment header announces; `None` if it was cut.
pub(super) fn ipv6_fragment(
    values: &Values<'_, '_>,
    nth: usize,
) -> Result<Option<Fragment>, Error> {
    let Some(id) = number(values, FRAGMENT_ID, nth)? else { return Ok(None) };
    let offset = number(values, FRAGMENT_OFFSET, nth)?.unwrap_or_default();
    let more = flag(READ[FRAGMENT_MORE], values.get(FRAGMENT_MORE, nth).unwrap_or("0"))?;
    Ok(Some(fragment(id, offset, more)))
}

/// The last address of a routing header that is not done (RFC 5095, 6275, 8754).
pub(super) fn last_stop(values: &Values<'_, '_>, nth: usize) -> Result<Option<IpAddr>, Error> {
    const SOURCE_ROUTE: u8 = 0;
    const MOBILE: u8 = 2;
    const SEGMENTS: u8 = 4;
    let addresses = |nth: usize| {
        let units: Option<usize> = number(values, ROUTING_LEN, nth)?;
        Ok(units.unwrap_or_default() / 2)
    };
    let kind = |nth: usize| number::<u8>(values, ROUTING_TYPE, nth);
    let left: usize = number(values, ROUTING_LEFT, nth)?.unwrap_or_default();
    let own = addresses(nth)?;
    if left == 0 || left > own {
        return Ok(None);
    }
    let Some(this) = kind(nth)? else { return Ok(None) };
    let (field, within) = match this {
        SOURCE_ROUTE => (ROUTING_SOURCE, own - 1),
        // One address; or the segments in reverse, the last one first.
        MOBILE => (ROUTING_HOME, 0),
        SEGMENTS => (ROUTING_SEGMENTS, 0),
        _ => return Ok(None),
    };
    let mut before = 0;
    for earlier in 0..nth {
        if kind(earlier)? == Some(this) {
            before += addresses(earlier)?;
        }
    }
    let text = values.get(field, before + within);
    text.map(|text| address::<Ipv6Addr>(READ[field], text)).transpose()
}

fn fragment(id: u32, offset: u16, more: bool) -> Fragment {
    Fragment { id, offset: u32::from(offset) * FRAGMENT_UNIT, more }
}

pub(super) fn number<T: TryFrom<u64>>(
    values: &Values<'_, '_>,
    field: usize,
    nth: usize,
) -> Result<Option<T>, Error> {
    let text = values.get(field, nth);
    text.map(|text| unsigned(READ[field], text)).transpose()
}

fn required<T: TryFrom<u64>>(
    values: &Values<'_, '_>,
    field: usize,
    nth: usize,
) -> Result<T, Error> {
    unsigned(READ[field], values.required(field, nth)?)
}
