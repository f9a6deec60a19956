//! Transport headers.

use super::{error::Error, fields::place, layout::Layer, network::number, values::Values};
use crate::record::{Checksum, Icmp, Layer4, Ports, Tcp, TcpFlags};

/// Lengths of headers, in bytes.
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;

const TCP_SRC: usize = place("tcp.srcport");
const TCP_DST: usize = place("tcp.dstport");
const TCP_FLAGS: usize = place("tcp.flags");
const TCP_SEQ: usize = place("tcp.seq_raw");
const TCP_ACK: usize = place("tcp.ack_raw");
const TCP_LEN: usize = place("tcp.len");
const TCP_HEADER_LEN: usize = place("tcp.hdr_len");
const TCP_WINDOW: usize = place("tcp.window_size_value");
const TCP_CHECKSUM: usize = place("tcp.checksum.status");
const UDP_SRC: usize = place("udp.srcport");
const UDP_DST: usize = place("udp.dstport");
const UDP_LEN: usize = place("udp.length");
const UDP_CHECKSUM: usize = place("udp.checksum.status");
const SCTP_SRC: usize = place("sctp.srcport");
const SCTP_DST: usize = place("sctp.dstport");
const SCTP_CHECKSUM: usize = place("sctp.checksum.status");
const ICMP_TYPE: usize = place("icmp.type");
const ICMP_CODE: usize = place("icmp.code");
const ICMP_CHECKSUM: usize = place("icmp.checksum.status");
const ICMPV6_TYPE: usize = place("icmpv6.type");
const ICMPV6_CODE: usize = place("icmpv6.code");
const ICMPV6_CHECKSUM: usize = place("icmpv6.checksum.status");

/// A transport header, as far as it was captured.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) layer4: Layer4,
    pub(super) checksum: Checksum,
    /// UDP over IPv6 without a checksum, which only tunnels may do (RFC 6935).
    pub(super) lacks_checksum: bool,
    /// Whether it was cut, or contradicts itself or what carries it.
    pub(super) damaged: bool,
    /// Bytes that what it carries has at most.
    pub(super) room: u32,
}

/// Reads a header in an IP payload of at most `room` bytes; with `partial` only the beginning of that
/// payload is there, so lengths may go beyond it.
pub(super) fn read(
    layer: Layer,
    values: &Values<'_, '_>,
    nth: usize,
    room: u32,
    partial: bool,
) -> Result<Read, Error> {
    let (layer4, damaged, behind) = match layer {
        Layer::Tcp => tcp(values, nth, room, partial)?,
        Layer::Udp => udp(values, nth, room, partial)?,
        Layer::Sctp => whole(ports(values, SCTP_SRC, SCTP_DST, nth)?.map(Layer4::Sctp)),
        Layer::Icmp => whole(icmp(values, ICMP_TYPE, ICMP_CODE, nth)?.map(Layer4::Icmp)),
        _ => whole(icmp(values, ICMPV6_TYPE, ICMPV6_CODE, nth)?.map(Layer4::Icmp)),
    };
    let field = match layer {
        Layer::Tcp => TCP_CHECKSUM,
        Layer::Udp => UDP_CHECKSUM,
        Layer::Sctp => SCTP_CHECKSUM,
        Layer::Icmp => ICMP_CHECKSUM,
        _ => ICMPV6_CHECKSUM,
    };
    let status = values.get(field, nth).filter(|_| !partial);
    Ok(Read {
        layer4,
        checksum: checksum(status),
        lacks_checksum: matches!(status, Some("4" | "Illegal")),
        damaged: damaged && !partial,
        room: behind,
    })
}

/// What tshark says of a checksum: `PROTO_CHECKSUM_E_*` in epan/proto.h of Wireshark.
pub(super) fn checksum(status: Option<&str>) -> Checksum {
    match status {
        Some("0" | "Bad" | "4" | "Illegal") => Checksum::Bad,
        Some("1" | "Good") => Checksum::Good,
        _ => Checksum::Unverified,
    }
}

/// Whether an ICMP message quotes the packet it is about: errors, and redirects.
pub(super) fn quotes(layer: Layer, message: Icmp) -> bool {
    match layer {
        Layer::Icmp => matches!(message.kind, 3 | 4 | 5 | 11 | 12),
        _ => matches!(message.kind, 1..=4 | 137),
    }
}

fn whole(layer4: Option<Layer4>) -> (Layer4, bool, u32) {
    (layer4.unwrap_or(Layer4::Opaque), layer4.is_none(), 0)
}

fn tcp(
    values: &Values<'_, '_>,
    nth: usize,
    room: u32,
    partial: bool,
) -> Result<(Layer4, bool, u32), Error> {
    let Some(ports) = ports(values, TCP_SRC, TCP_DST, nth)? else {
        return Ok((Layer4::Opaque, true, 0));
    };
    let header: Option<u32> = number(values, TCP_HEADER_LEN, nth)?;
    let (Some(header), Some(flags)) = (header, number(values, TCP_FLAGS, nth)?) else {
        return Ok((Layer4::TcpPorts(ports), true, 0));
    };
    let behind = room.saturating_sub(header);
    let window = number(values, TCP_WINDOW, nth)?;
    // A fragment's is not printed.
    let length: Option<u32> = number(values, TCP_LEN, nth)?;
    let tcp = Tcp {
        ports,
        flags: TcpFlags(flags),
        sequence: number(values, TCP_SEQ, nth)?.unwrap_or_default(),
        acknowledgement: number(values, TCP_ACK, nth)?.unwrap_or_default(),
        window,
        payload_bytes: length.map_or(behind, |length| length.min(behind)),
    };
    let is_short = !partial && (header > room || room < TCP_HEADER);
    Ok((Layer4::Tcp(tcp), is_short || window.is_none(), 0))
}

fn udp(
    values: &Values<'_, '_>,
    nth: usize,
    room: u32,
    partial: bool,
) -> Result<(Layer4, bool, u32), Error> {
    let Some(ports) = ports(values, UDP_SRC, UDP_DST, nth)? else {
        return Ok((Layer4::Opaque, true, 0));
    };
    let claimed: Option<u32> = number(values, UDP_LEN, nth)?;
    // Cut off, a jumbogram (RFC 2675), or offloading left none.
    let length = claimed.filter(|length| *length > 0).unwrap_or(room);
    let held = if partial { length } else { length.min(room) };
    let payload = held.saturating_sub(UDP_HEADER);
    let damaged = claimed.is_none() || length < UDP_HEADER || length > room;
    Ok((Layer4::Udp(ports, payload), damaged, payload))
}

fn icmp(
    values: &Values<'_, '_>,
    kind: usize,
    code: usize,
    nth: usize,
) -> Result<Option<Icmp>, Error> {
    let (kind, code) = (number(values, kind, nth)?, number(values, code, nth)?);
    Ok(kind.zip(code).map(|(kind, code)| Icmp { kind, code }))
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
