//! From values to headers: walks the layout, counting each protocol, so that each value goes to the
//! header it was read from.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    error::Error,
    fields::{BASE, base},
    layout::{Layer, Layout},
    number::{address, flag, unsigned},
    values::Values,
};
use crate::record::{
    Checksum, Checksums, Fragment, Header, Icmp, Layer4, Ports, Tcp, TcpFlags, Transport, Vlans,
};

/// IP headers read within the outermost; deeper ones are left out.
const MAX_INNER: usize = 8;
/// Length of an IPv6 header in bytes, which its payload length does not count.
const IPV6_HEADER: u32 = 40;
/// Length of a UDP header in bytes.
const UDP_HEADER: u32 = 8;
/// Fragment offsets count units of this many bytes.
const FRAGMENT_UNIT: u32 = 8;
/// "No next header" (RFC 8200).
const NO_NEXT_HEADER: Transport = Transport(59);

const VLAN_ID: usize = base("vlan.id");
const SERVICE_VLAN_ID: usize = base("ieee8021ad.id");
const IP_SRC: usize = base("ip.src");
const IP_DST: usize = base("ip.dst");
const IP_PROTO: usize = base("ip.proto");
const IP_LEN: usize = base("ip.len");
const IP_ID: usize = base("ip.id");
const IP_MORE: usize = base("ip.flags.mf");
const IP_OFFSET: usize = base("ip.frag_offset");
const IPV6_SRC: usize = base("ipv6.src");
const IPV6_DST: usize = base("ipv6.dst");
const IPV6_NXT: usize = base("ipv6.nxt");
const IPV6_PLEN: usize = base("ipv6.plen");
const HOP_BY_HOP_NXT: usize = base("ipv6.hopopts.nxt");
const DESTINATION_NXT: usize = base("ipv6.dstopts.nxt");
const ROUTING_NXT: usize = base("ipv6.routing.nxt");
const FRAGMENT_NXT: usize = base("ipv6.fraghdr.nxt");
const FRAGMENT_OFFSET: usize = base("ipv6.fraghdr.offset");
const FRAGMENT_MORE: usize = base("ipv6.fraghdr.more");
const FRAGMENT_ID: usize = base("ipv6.fraghdr.ident");
const TCP_SRC: usize = base("tcp.srcport");
const TCP_DST: usize = base("tcp.dstport");
const TCP_FLAGS: usize = base("tcp.flags");
const TCP_SEQ: usize = base("tcp.seq_raw");
const TCP_ACK: usize = base("tcp.ack_raw");
const TCP_LEN: usize = base("tcp.len");
const TCP_WINDOW: usize = base("tcp.window_size_value");
const TCP_CHECKSUM: usize = base("tcp.checksum.status");
const UDP_SRC: usize = base("udp.srcport");
const UDP_DST: usize = base("udp.dstport");
const UDP_LEN: usize = base("udp.length");
const SCTP_SRC: usize = base("sctp.srcport");
const SCTP_DST: usize = base("sctp.dstport");
const ICMP_TYPE: usize = base("icmp.type");
const ICMP_CODE: usize = base("icmp.code");
const ICMPV6_TYPE: usize = base("icmpv6.type");
const ICMPV6_CODE: usize = base("icmpv6.code");

/// What the headers of a frame say.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// VLAN tags before the first IP header.
    pub(super) vlans: Vlans,
    /// The outermost IP header, if the frame has one and it was captured.
    pub(super) outer: Option<Header>,
    /// Those within it.
    pub(super) inner: Vec<Header>,
}

/// Reads the headers of a frame.
pub(super) fn read(layout: &Layout, values: &Values<'_, '_>) -> Result<Headers, Error> {
    let mut headers = Headers::default();
    let mut current: Option<Header> = None;
    let mut met = [0; Layer::COUNT];
    for layer in &layout.layers {
        let nth = met[*layer as usize];
        met[*layer as usize] += 1;
        match layer {
            Layer::Vlan => headers.tag(current.as_ref(), values, VLAN_ID, nth)?,
            Layer::ServiceVlan => headers.tag(current.as_ref(), values, SERVICE_VLAN_ID, nth)?,
            Layer::Ipv4 => headers.add(std::mem::replace(&mut current, ipv4(values, nth)?)),
            Layer::Ipv6 => headers.add(std::mem::replace(&mut current, ipv6(values, nth)?)),
            layer => {
                if let Some(header) = &mut current {
                    follow(header, *layer, values, nth)?;
                }
            }
        }
    }
    headers.add(current);
    Ok(headers)
}

fn ipv4(values: &Values<'_, '_>, nth: usize) -> Result<Option<Header>, Error> {
    let (Some(source), Some(destination)) = (values.get(IP_SRC, nth), values.get(IP_DST, nth))
    else {
        return Ok(None);
    };
    let more = values.get(IP_MORE, nth).unwrap_or("0");
    let more = flag(BASE[IP_MORE], more)?;
    let offset = number(values, IP_OFFSET, nth)?.unwrap_or_default();
    let fragment = if more || offset > 0 {
        Some(fragment(number(values, IP_ID, nth)?, offset, more))
    } else {
        None
    };
    Ok(Some(Header {
        source: address::<Ipv4Addr>(BASE[IP_SRC], source)?,
        destination: address::<Ipv4Addr>(BASE[IP_DST], destination)?,
        transport: Transport(required(values, IP_PROTO, nth)?),
        ip_bytes: required::<u16>(values, IP_LEN, nth)?.into(),
        checksums: Checksums::default(),
        fragment,
        layer4: Layer4::Opaque,
    }))
}

fn ipv6(values: &Values<'_, '_>, nth: usize) -> Result<Option<Header>, Error> {
    let (Some(source), Some(destination)) = (values.get(IPV6_SRC, nth), values.get(IPV6_DST, nth))
    else {
        return Ok(None);
    };
    let next = Transport(required(values, IPV6_NXT, nth)?);
    let payload: u16 = required(values, IPV6_PLEN, nth)?;
    Ok(Some(Header {
        source: address::<Ipv6Addr>(BASE[IPV6_SRC], source)?,
        destination: address::<Ipv6Addr>(BASE[IPV6_DST], destination)?,
        transport: next,
        // Something follows and has no length: a jumbogram, or offloading left none.
        ip_bytes: if payload == 0 && next != NO_NEXT_HEADER {
            0
        } else {
            u32::from(payload) + IPV6_HEADER
        },
        checksums: Checksums::default(),
        fragment: None,
        layer4: Layer4::Opaque,
    }))
}

/// Reads what follows an IP header, if it is what the header says.
fn follow(
    header: &mut Header,
    layer: Layer,
    values: &Values<'_, '_>,
    nth: usize,
) -> Result<(), Error> {
    if layer.transport() != Some(header.transport) || header.layer4 != Layer4::Opaque {
        return Ok(());
    }
    let next = match layer {
        Layer::HopByHop => HOP_BY_HOP_NXT,
        Layer::Destination => DESTINATION_NXT,
        Layer::Routing => ROUTING_NXT,
        Layer::Fragment => {
            let offset = number(values, FRAGMENT_OFFSET, nth)?.unwrap_or_default();
            let more = values.get(FRAGMENT_MORE, nth).unwrap_or("0");
            header.fragment = Some(fragment(
                number(values, FRAGMENT_ID, nth)?,
                offset,
                flag(BASE[FRAGMENT_MORE], more)?,
            ));
            FRAGMENT_NXT
        }
        layer => {
            if header.fragment.is_none_or(|fragment| fragment.offset == 0) {
                header.layer4 = layer4(layer, values, nth)?.unwrap_or(Layer4::Opaque);
                header.checksums.transport = checksum(layer, values, nth);
            }
            return Ok(());
        }
    };
    if let Some(next) = number(values, next, nth)? {
        header.transport = Transport(next);
    }
    Ok(())
}

/// A transport header; `None` if it was cut before its ports or its type.
fn layer4(layer: Layer, values: &Values<'_, '_>, nth: usize) -> Result<Option<Layer4>, Error> {
    Ok(match layer {
        Layer::Tcp => tcp(values, nth)?,
        Layer::Udp => match ports(values, UDP_SRC, UDP_DST, nth)? {
            Some(ports) => {
                let length: Option<u32> = number(values, UDP_LEN, nth)?;
                let payload = length.unwrap_or_default().saturating_sub(UDP_HEADER);
                Some(Layer4::Udp(ports, payload))
            }
            None => None,
        },
        Layer::Sctp => ports(values, SCTP_SRC, SCTP_DST, nth)?.map(Layer4::Sctp),
        Layer::Icmp => icmp(values, ICMP_TYPE, ICMP_CODE, nth)?.map(Layer4::Icmp),
        Layer::Icmpv6 => icmp(values, ICMPV6_TYPE, ICMPV6_CODE, nth)?.map(Layer4::Icmp),
        _ => None,
    })
}

/// What tshark says of the checksum of a transport header.
fn checksum(layer: Layer, values: &Values<'_, '_>, nth: usize) -> Checksum {
    // `PROTO_CHECKSUM_E_*` in epan/proto.h of Wireshark.
    match values.get(TCP_CHECKSUM, nth).filter(|_| layer == Layer::Tcp) {
        Some("0" | "Bad") => Checksum::Bad,
        Some("1" | "Good") => Checksum::Good,
        _ => Checksum::Unverified,
    }
}

fn tcp(values: &Values<'_, '_>, nth: usize) -> Result<Option<Layer4>, Error> {
    let Some(ports) = ports(values, TCP_SRC, TCP_DST, nth)? else {
        return Ok(None);
    };
    let Some(flags) = number(values, TCP_FLAGS, nth)? else {
        return Ok(Some(Layer4::TcpPorts(ports)));
    };
    Ok(Some(Layer4::Tcp(Tcp {
        ports,
        flags: TcpFlags(flags),
        sequence: number(values, TCP_SEQ, nth)?.unwrap_or_default(),
        acknowledgement: number(values, TCP_ACK, nth)?.unwrap_or_default(),
        window: number(values, TCP_WINDOW, nth)?,
        payload_bytes: number(values, TCP_LEN, nth)?.unwrap_or_default(),
    })))
}

fn icmp(
    values: &Values<'_, '_>,
    kind: usize,
    code: usize,
    nth: usize,
) -> Result<Option<Icmp>, Error> {
    let (kind, code) = (number(values, kind, nth)?, number(values, code, nth)?);
    Ok(kind.map(|kind| Icmp { kind, code: code.unwrap_or_default() }))
}

fn ports(
    values: &Values<'_, '_>,
    source: usize,
    destination: usize,
    nth: usize,
) -> Result<Option<Ports>, Error> {
    let source = number(values, source, nth)?;
    let destination = number(values, destination, nth)?;
    Ok(source.zip(destination).map(|(source, destination)| Ports { source, destination }))
}

fn fragment(id: Option<u32>, offset: u16, more: bool) -> Fragment {
    Fragment { id: id.unwrap_or_default(), offset: u32::from(offset) * FRAGMENT_UNIT, more }
}

fn number<T: TryFrom<u64>>(
    values: &Values<'_, '_>,
    field: usize,
    nth: usize,
) -> Result<Option<T>, Error> {
    let text = values.get(field, nth);
    text.map(|text| unsigned(BASE[field], text)).transpose()
}

fn required<T: TryFrom<u64>>(
    values: &Values<'_, '_>,
    field: usize,
    nth: usize,
) -> Result<T, Error> {
    unsigned(BASE[field], values.required(field, nth)?)
}

// === impl Headers ===

impl Headers {
    fn add(&mut self, header: Option<Header>) {
        match (header, &self.outer) {
            (Some(header), None) => self.outer = Some(header),
            (Some(header), Some(_)) if self.inner.len() < MAX_INNER => self.inner.push(header),
            _ => {}
        }
    }

    /// Adds a VLAN tag of the frame itself: one before any IP header.
    fn tag(
        &mut self,
        ip: Option<&Header>,
        values: &Values<'_, '_>,
        field: usize,
        nth: usize,
    ) -> Result<(), Error> {
        if ip.is_none()
            && self.outer.is_none()
            && let Some(id) = number(values, field, nth)?
        {
            self.vlans.push(id);
        }
        Ok(())
    }
}
