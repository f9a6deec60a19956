//! A packet: what one captured frame said, header by header.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{
    CommunityId, Id, Kind, Names, ObservationPoint, Parties, Record, Records, Timestamp, Transport,
};

/// One frame with an IP layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When the frame was captured.
    pub time: Timestamp,
    /// Which start of the capturer, or which file of a replay, it belongs to (from 0).
    pub epoch: u32,
    /// Number of the frame within the epoch, from 1.
    pub number: u64,
    /// Which of the frame's packets it is, from 0: IEEE 802.11 aggregates several in one frame.
    pub part: u16,
    /// Where the frame was seen.
    pub origin: ObservationPoint,
    /// Length of the frame on the wire, in bytes.
    pub frame_bytes: u32,
    /// Bytes of it that were captured.
    pub captured_bytes: u32,
    /// Sender of the frame, if the link layer has addresses.
    pub source_mac: Option<MacAddress>,
    /// Receiver of the frame, if the link layer has addresses.
    pub destination_mac: Option<MacAddress>,
    /// VLAN tags, outermost first.
    pub vlans: Vlans,
    /// The outermost IP header and what follows it.
    pub outer: Header,
    /// Further IP headers, from the outside in: of tunnels, or quoted by an ICMP error.
    pub inner: Vec<Header>,
    /// The application protocol as tshark names it (`dns`, `tls`…), if it knew one.
    pub protocol: Option<Arc<str>>,
    /// Whether the dissector found the frame malformed or cut short.
    pub damaged: bool,
    /// The values of the extra fields the config asks for, in the config's order.
    pub extra: Vec<Extra>,
    /// The names of the outermost header's addresses.
    pub names: Names,
}

/// An extra field's name and its values, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// The name as tshark writes it in `-T ek`: with `_` for `.`.
    pub name: Arc<str>,
    /// The values, as text.
    pub values: Vec<Box<str>>,
}

/// One IP header, and the transport header behind it if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What the tunnel that carries it is told apart by, if it lies in one that has such a number.
    pub tunnel: Option<TunnelKey>,
    /// What it says beside this.
    pub marks: Marks,
    /// What the header carries, after any IPv6 extension headers.
    pub transport: Transport,
    /// Length of the IP packet, header and payload, in bytes; 0 where offloading left none.
    pub ip_bytes: u32,
    /// What is known of the checksums.
    pub checksums: Checksums,
    /// Set for every part of a fragmented packet.
    pub fragment: Option<Fragment>,
    /// What follows.
    pub layer4: Layer4,
}

/// What tells the contents of tunnels between the same two ends apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelKey {
    /// The network identifier of VXLAN (RFC 7348) or Geneve (RFC 8926), 24 bits.
    Vni(u32),
    /// The tunnel endpoint identifier of GTP-U (3GPP TS 29.281): each direction has its own.
    Teid(u32),
    /// The key of GRE (RFC 2890).
    Gre(u32),
}

/// What a header says beside its fields, as far as the dissector tells it; not in the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Marks(u8);

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The packet's identification, the same in all its fragments.
    pub id: u32,
    /// Offset of this fragment in the payload, in bytes; 0 for the first.
    pub offset: u32,
    /// Whether more fragments follow.
    pub more: bool,
}

/// What follows an IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer4 {
    /// Nothing that has ports or types, a later fragment, or a header that was cut off.
    Opaque,
    /// TCP.
    Tcp(Tcp),
    /// TCP of which no more than the ports is known: the rest was cut off, or an ICMP error did not
    /// quote it, or it lies in the next fragment.
    TcpPorts(Ports),
    /// UDP, with the bytes of payload its header claims.
    Udp(Ports, u32),
    /// SCTP.
    Sctp(Ports),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
}

/// Source and destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Ports.
    pub ports: Ports,
    /// Control bits.
    pub flags: TcpFlags,
    /// Raw sequence number.
    pub sequence: u32,
    /// Raw acknowledgement number.
    pub acknowledgement: u32,
    /// Window as written in the header, not scaled; `None` where the capture was cut before it.
    pub window: Option<u16>,
    /// Bytes of payload.
    pub payload_bytes: u32,
}

/// The control bits of a TCP header, as in its 13th and 14th byte (RFC 9293).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TcpFlags(pub u16);

/// What is known of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// It was not checked, or the capture is too short to check it.
    #[default]
    Unverified,
    /// It is right.
    Good,
    /// It is wrong: damage, or a capture taken before the network card filled it in.
    Bad,
}

/// The checksums of an IP header and of what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksums {
    /// That of an IPv4 header; IPv6 has none.
    pub ip: Checksum,
    /// That of TCP, UDP, SCTP, ICMP or ICMPv6; a fragment's can't be checked.
    pub transport: Checksum,
}

/// An ICMP or ICMPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Message code.
    pub code: u8,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// Up to two VLAN ids, outermost first; deeper tags are not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vlans([Option<u16>; 2]);

/// Marks a tag as there, above the 12 bits of its id.
const PRESENT: u16 = 0x8000;

// === impl Packet ===

impl Packet {
    /// The id: the same whenever `observer` reads the same frame of the same epoch again.
    pub fn id(&self, observer: &str) -> Id {
        let id = Id::of("packet", observer)
            .number(u64::from(self.epoch))
            .number(self.number)
            .time(self.time);
        // The first one's id is that of a frame with one packet.
        if self.part == 0 { id.finish() } else { id.number(self.part.into()).finish() }
    }

    /// The name that it asks for by DNS, if that is among its extra fields.
    pub fn question(&self) -> Option<&str> {
        self.first_of("dns_qry_name")
    }

    /// The name of the server that its TLS `ClientHello` is for, if that is among its extra fields.
    pub fn server_name(&self) -> Option<&str> {
        self.first_of("tls_handshake_extensions_server_name")
    }

    /// The host that its HTTP request is for, without the port, if that is among its extra fields. SSDP,
    /// which is HTTP over UDP, asks no host.
    pub fn host(&self) -> Option<&str> {
        let header = self.inner.last().unwrap_or(&self.outer);
        let host = self.first_of("http_host").filter(|_| header.transport == Transport::TCP)?;
        let end = host.rfind(']').map_or(0, |end| end + 1);
        let port = host.get(end..).and_then(|rest| rest.find(':'));
        host.get(..port.map_or(host.len(), |at| end + at)).filter(|host| !host.is_empty())
    }

    /// The first value of an extra field.
    fn first_of(&self, name: &str) -> Option<&str> {
        let extra = self.extra.iter().find(|extra| &*extra.name == name)?;
        extra.values.first().map(|value| &**value)
    }

    /// Length of the outermost IP packet, in bytes; where offloading left none, that of the frame without
    /// its link-layer header.
    pub fn ip_bytes(&self) -> u32 {
        match self.outer.ip_bytes {
            0 => self.frame_bytes.saturating_sub(self.link_bytes()),
            bytes => bytes,
        }
    }

    /// Length of an Ethernet header with the VLAN tags that are told apart; 0 on other links.
    pub fn link_bytes(&self) -> u32 {
        let tag = |id: Option<u16>| id.map_or(0, |_| 4);
        let tags = tag(self.vlans.outer()) + tag(self.vlans.inner());
        self.source_mac.map_or(0, |_| 14 + tags)
    }
}

impl Record for Packet {
    const KIND: Kind = Kind::Packet;
    const HAS_NAMES: bool = true;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Packets(records)
    }

    fn origin(&self) -> ObservationPoint {
        self.origin
    }

    fn origin_mut(&mut self) -> Option<&mut ObservationPoint> {
        Some(&mut self.origin)
    }

    fn time(&self) -> Option<Timestamp> {
        Some(self.time)
    }

    fn community_id(&self) -> Option<CommunityId> {
        Some(CommunityId::of(&self.outer))
    }

    fn memory_bytes(&self) -> usize {
        let values = self.extra.iter().flat_map(|extra| &extra.values);
        size_of::<Self>()
            + self.inner.len() * size_of::<Header>()
            + self.extra.len() * size_of::<Extra>()
            + values.map(|value| size_of::<Box<str>>() + value.len()).sum::<usize>()
    }

    fn identity(&self, observer: &str) -> Option<(Id, Option<u32>)> {
        Some((self.id(observer), None))
    }

    fn parties(&self) -> Option<Parties<'_>> {
        Some(Parties {
            time: self.time,
            source: self.outer.source,
            destination: Some(self.outer.destination),
            names: &self.names,
        })
    }

    fn names_mut(&mut self) -> Option<&mut Names> {
        Some(&mut self.names)
    }
}

// === impl Marks ===

impl Marks {
    /// Offloading left no length: it is the frame's.
    pub const NO_LENGTH: Self = Self(1);
    /// It claimed more than the frame had on the wire.
    pub const TOO_LONG: Self = Self(2);
    /// The datagram is a question, by a protocol that says so.
    pub const ASKS: Self = Self(4);
    /// The datagram is an answer, by a protocol that says so.
    pub const ANSWERS: Self = Self(8);

    /// Whether any of these is set.
    pub const fn has(self, marks: Self) -> bool {
        self.0 & marks.0 != 0
    }

    /// These as well.
    #[must_use]
    pub const fn and(self, marks: Self) -> Self {
        Self(self.0 | marks.0)
    }

    /// This mark as well, if it holds.
    #[must_use]
    pub fn and_if(self, holds: bool, mark: Self) -> Self {
        if holds { self.and(mark) } else { self }
    }
}

// === impl Layer4 ===

impl Layer4 {
    /// The ports, if there are any.
    pub const fn ports(&self) -> Option<Ports> {
        match self {
            Self::Tcp(tcp) => Some(tcp.ports),
            Self::TcpPorts(ports) | Self::Udp(ports, _) | Self::Sctp(ports) => Some(*ports),
            Self::Opaque | Self::Icmp(_) => None,
        }
    }
}

// === impl TcpFlags ===

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u16 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x02;
    /// Reset the connection.
    pub const RST: u16 = 0x04;
    /// Push.
    pub const PSH: u16 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u16 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u16 = 0x20;
    /// Congestion was met (RFC 3168).
    pub const ECE: u16 = 0x40;
    /// The congestion window was made smaller.
    pub const CWR: u16 = 0x80;

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

// === impl MacAddress ===

/// As ECS writes it (RFC 7042): `00-16-47-9D-F2-C2`.
impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut text = [b'-'; 17];
        for (place, byte) in text.chunks_mut(3).zip(self.0) {
            let [high, low, ..] = place else { continue };
            (*high, *low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

// === impl Vlans ===

impl Vlans {
    /// Adds the next tag inwards; a third and later one is ignored.
    pub fn push(&mut self, id: u16) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(id);
        }
    }

    /// Both tags in 32 bits; back with [`from_words`](Self::from_words).
    pub fn words(self) -> [u16; 2] {
        self.0.map(|id| id.map_or(0, |id| id | PRESENT))
    }

    /// The tags of [`words`](Self::words).
    pub fn from_words(words: [u16; 2]) -> Self {
        Self(words.map(|word| (word & PRESENT != 0).then_some(word & !PRESENT)))
    }

    /// The outermost tag.
    pub const fn outer(&self) -> Option<u16> {
        self.0[0]
    }

    /// The tag inside it.
    pub const fn inner(&self) -> Option<u16> {
        self.0[1]
    }
}
