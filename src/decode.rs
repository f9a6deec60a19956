//! Captured bytes into packets, without tshark: headers up to the transport and what tunnels carry.
//!
//! [`decode`] takes one frame. [`link`] finds the first IP header, whatever the link layer puts before
//! it; [`network`] reads that header, its extensions and the transport header behind it
//! ([`transport`]), and says what it carries ([`tunnel`]): another link layer, another IP header, or
//! the header that an ICMP error quotes. So it goes on inwards, a bounded number of times. Bounds are
//! checked in one place ([`view`]), which knows for each byte whether it was captured and whether it
//! was on the wire at all.
//!
//! All of it is written by hand. etherparse (0.21) knows a slice's length only, so it can't tell a
//! frame that the capture cut from one that is wrong; it has no tunnels, no routing header's final
//! destination, and walks no Mobility, HIP or Shim6 header.
//!
//! Nothing is kept between frames, and nothing but the packet is allocated.

mod application;
mod checksum;
mod dns;
mod ethernet;
mod extensions;
mod frames;
mod link;
mod network;
mod ppp;
mod role;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;
mod view;
mod wlan;

use std::sync::Arc;

pub use self::frames::Decoded;
use self::{
    application::Message,
    link::{Layer, Link},
    network::Carried,
    view::View,
};
use crate::record::{Extra, Header, Names, ObservationPoint, Packet, Timestamp};

/// The names that [`Options::names`] gives, as tshark's fields: of the first question of a DNS message, of
/// the server in a TLS `ClientHello`, and of the `Host` of an HTTP request.
pub const NAMES: [&str; 3] = ["dns.qry.name", "tls.handshake.extensions_server_name", "http.host"];

/// IP headers read within the outermost; deeper ones are left out.
const MAX_INNER: usize = 8;

/// What precedes the packets of a capture: a `LINKTYPE_` number, as pcap and pcapng files have it.
///
/// Source: tcpdump.org, "Link-layer header types". Read are Ethernet (1), Linux cooked (113, 276), raw
/// IP (12, 14, 101, 228, 229), BSD loopback (0, 108), PPP (9, 50, 51, 166, 204), Cisco HDLC (104),
/// frame relay (107), IEEE 802.11 (105, 119, 127, 163), ATM (100), PPI (192), PKTAP (149, 258), ENC
/// (109), PFLOG (117), IPNET (226), NFLOG (239), IP over IEEE 1394 (138) and netANALYZER (240).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

/// One captured frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// Which start of the capturer, or which file of a replay, it belongs to (from 0).
    pub epoch: u32,
    /// Its number within the epoch, from 1.
    pub number: u64,
    /// What it begins with.
    pub link: LinkType,
    /// Where it was captured.
    pub origin: ObservationPoint,
    /// Its length on the wire, in bytes.
    pub length: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// What is done beside reading headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether checksums are verified, as far as what they cover was captured.
    pub checksums: bool,
    /// Whether DNS messages over UDP port 53 are read: their question and the addresses of their
    /// answer become extra fields under the names tshark gives them.
    pub dns: bool,
    /// Whether the application is told where a payload's first bytes show it: TLS, HTTP, DNS, QUIC. The
    /// names that it asks for ([`NAMES`]) become extra fields.
    pub names: bool,
}

/// Why a frame made no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Skipped {
    /// It carries something else than IP.
    #[error("the frame carries no IP packet")]
    NotIp,
    /// Frames of this link type are not read.
    #[error("frames of this link type are not read")]
    UnknownLink,
    /// The capture was cut before the end of the IP header.
    #[error("the capture was cut before the end of the IP header")]
    CutShort,
    /// The frame ends within its headers, or they contradict themselves.
    #[error("the frame's headers are malformed")]
    Malformed,
    /// What it carries is encrypted below IP.
    #[error("the frame is encrypted")]
    Encrypted,
    /// It aggregates several packets.
    #[error("the frame carries several packets")]
    SeveralPackets,
    /// More link-layer headers precede the IP header than are read.
    #[error("too many headers precede the IP header")]
    TooDeep,
}

// === impl Skipped ===

impl Skipped {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::NotIp,
        Self::UnknownLink,
        Self::CutShort,
        Self::Malformed,
        Self::Encrypted,
        Self::SeveralPackets,
        Self::TooDeep,
    ];

    /// The reason as counters label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::UnknownLink => "unknown_link_type",
            Self::CutShort => "cut_short",
            Self::Malformed => "malformed",
            Self::Encrypted => "encrypted",
            Self::SeveralPackets => "several_packets",
            Self::TooDeep => "too_many_headers",
        }
    }
}

/// Reads the headers of a frame.
///
/// # Errors
/// [`Skipped`] when the frame has no IP header, or none that can be read;
/// [`Skipped::SeveralPackets`] if [`each`] has to be asked for its packets.
pub fn decode(frame: &Frame<'_>, options: &Options) -> Result<Packet, Skipped> {
    read(frame, *options, None)
}

/// Reads the packets of a frame that aggregates several (A-MSDU of IEEE 802.11): those that can be read,
/// in their order. An aggregate within a tunnel is not taken apart.
///
/// # Errors
/// [`Skipped`], why the first was not read, if none was.
pub fn each(frame: &Frame<'_>, options: &Options) -> Result<Vec<Packet>, Skipped> {
    /// 11,426 bytes are the most that an aggregate has, 26 the least that a packet with an IP header.
    const MAX_PARTS: u16 = 440;
    let mut packets = Vec::new();
    let mut why = None;
    for part in 0..MAX_PARTS {
        match read(frame, *options, Some(part)) {
            Ok(packet) => {
                let part = u16::try_from(packets.len()).unwrap_or(u16::MAX);
                packets.push(Packet { part, ..packet });
            }
            Err(Skipped::SeveralPackets) => break,
            Err(skipped) => why = why.or(Some(skipped)),
        }
    }
    if packets.is_empty() { Err(why.unwrap_or(Skipped::SeveralPackets)) } else { Ok(packets) }
}

/// Reads the headers of a frame, or of one packet of an aggregate.
fn read(frame: &Frame<'_>, options: Options, part: Option<u16>) -> Result<Packet, Skipped> {
    let mut link = Link { part, ..Link::default() };
    let layer = Layer::of(frame.link).ok_or(Skipped::UnknownLink)?;
    let view = link::descend(layer, View::new(frame.bytes, frame.length), &mut link)?;
    let outermost = network::read(view, false, options.checksums)?;
    let mut inner = Vec::new();
    let mut message = outermost.message;
    let mut next = outermost.carried;
    while let Some(carried) = next
        && inner.len() < MAX_INNER
        && let Some(found) = within(carried, options)
    {
        inner.push(Header { tunnel: carried.key, ..found.header });
        message = found.message.filter(|_| !carried.partial);
        next = found.carried;
    }
    let (protocol, extra) = match message {
        Some(message) if options.dns || options.names => {
            applied(&message, options, inner.is_empty())
        }
        _ => (None, Vec::new()),
    };
    let (source_mac, destination_mac) = link.addresses();
    Ok(Packet {
        time: frame.time,
        origin: frame.origin,
        epoch: frame.epoch,
        number: frame.number,
        part: 0,
        frame_bytes: frame.length,
        captured_bytes: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
        source_mac,
        destination_mac,
        vlans: link.vlans,
        outer: outermost.header,
        inner,
        protocol,
        damaged: outermost.damaged,
        extra,
        names: Names::default(),
    })
}

/// What a message says, as far as it is asked for; its protocol only of the outermost header's.
#[inline(never)]
fn applied(
    message: &Message<'_>,
    options: Options,
    is_outermost: bool,
) -> (Option<Arc<str>>, Vec<Extra>) {
    let dns = message.dns().filter(|_| options.dns);
    let mut extra = dns.map_or_else(Vec::new, dns::fields);
    if !options.names {
        return (None, extra);
    }
    let said = message.said(!extra.is_empty());
    extra.extend(said.name);
    (said.protocol.filter(|_| is_outermost), extra)
}

/// The IP header in what another one carries, if there is one.
#[inline(never)]
fn within(carried: Carried<'_>, options: Options) -> Option<network::Found<'_>> {
    let view = link::descend(carried.layer, carried.view, &mut Link::default()).ok()?;
    network::read(view, carried.partial, options.checksums).ok()
}
