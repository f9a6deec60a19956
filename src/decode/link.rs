//! What precedes an IP header: from layer to layer, until one says that IP follows.

use super::{LinkType, Skipped, ethernet, ppp, view::View, wlan};
use crate::record::{MacAddress, Vlans};

/// Link-layer headers read before an IP header.
const MAX_LAYERS: usize = 32;

/// Link types whose header holds another link type, in bytes: where the header's length is, where the
/// type is.
const PPI: (usize, usize) = (2, 4);
const PKTAP: (usize, usize) = (0, 8);

/// A header, or a family of headers, told apart by what the one before it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// IPv4 or IPv6: its first four bits tell.
    Ip,
    /// IEEE 802.3 or Ethernet II.
    Ethernet,
    /// What an `EtherType` announces, or IEEE 802.2 if it is a length.
    EtherType(u16),
    /// IEEE 802.2.
    Llc,
    /// MPLS labels (RFC 3032).
    Mpls,
    /// PPP, perhaps with address and control bytes, or Cisco HDLC in their place.
    Ppp,
    CiscoHdlc,
    FrameRelay,
    /// Linux cooked capture, version 1 and 2.
    Cooked,
    Cooked2,
    /// An address family in four bytes, in whatever byte order.
    Loopback,
    /// IEEE 802.11.
    Wlan,
    /// The same, its header filled up to four bytes.
    PaddedWlan,
    Radiotap,
    /// IEEE 802.11 behind a header of fixed length.
    WlanBehind(u8),
    /// Ethernet, PPP or IP behind a header of fixed length.
    EthernetBehind(u8),
    PppBehind(u8),
    IpBehind(u8),
    /// An `EtherType` at this offset, and what it announces behind it.
    TypeAt(u8),
    PacketFilterLog,
    NetfilterLog,
    /// A header that holds the type of what follows.
    Nested((usize, usize)),
    /// Network service header (RFC 8300).
    Service,
}

/// What the link layer says of a frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) addresses: Option<[MacAddress; 2]>,
    pub(super) vlans: Vlans,
    /// Which packet of an aggregate is wanted, from 0.
    pub(super) part: Option<u16>,
}

/// The next layer, and where it begins.
pub(super) type Step<'a> = Result<(Layer, View<'a>), Skipped>;

// === impl Link ===

impl Link {
    /// The sender's and the receiver's address.
    pub(super) fn addresses(self) -> (Option<MacAddress>, Option<MacAddress>) {
        let [source, destination] = self.addresses.map_or([None; 2], |both| both.map(Some));
        (source, destination)
    }

    /// Takes note of a tag; the id 0 stands for a priority without a VLAN (IEEE 802.1Q-2022, 9.6).
    pub(super) fn tag(&mut self, control: u16) {
        match control & 0x0fff {
            0 => {}
            id => self.vlans.push(id),
        }
    }
}

// === impl Layer ===

impl Layer {
    /// What frames of a link type begin with, if they can be read.
    pub(super) fn of(link: LinkType) -> Option<Self> {
        Some(match link.0 {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            9 | 50 => Self::Ppp,
            12 | 14 | 101 | 228 | 229 => Self::Ip,
            51 => Self::EtherType(ethernet::PPPOE_SESSION),
            100 => Self::Llc,
            104 => Self::CiscoHdlc,
            105 => Self::Wlan,
            107 => Self::FrameRelay,
            109 => Self::IpBehind(12),
            113 => Self::Cooked,
            117 => Self::PacketFilterLog,
            119 => Self::WlanBehind(144),
            127 => Self::Radiotap,
            138 => Self::TypeAt(16),
            149 | 258 => Self::Nested(PKTAP),
            163 => Self::WlanBehind(64),
            166 | 204 => Self::PppBehind(1),
            192 => Self::Nested(PPI),
            226 => Self::IpBehind(24),
            239 => Self::NetfilterLog,
            240 => Self::EthernetBehind(4),
            276 => Self::Cooked2,
            _ => return None,
        })
    }
}

/// The first IP header at or behind a layer.
#[expect(clippy::inline_always, reason = "what it returns is large: 20 ns a packet for its copies")]
#[inline(always)]
pub(super) fn descend<'a>(
    layer: Layer,
    view: View<'a>,
    link: &mut Link,
) -> Result<View<'a>, Skipped> {
    let (mut layer, mut view) = (layer, view);
    for _ in 0..MAX_LAYERS {
        (layer, view) = match layer {
            Layer::Ip => return Ok(view),
            Layer::Ethernet => ethernet::frame(view, link)?,
            Layer::EtherType(kind) => ethernet::announced(kind, view, link)?,
            Layer::Llc => ethernet::llc(view)?,
            Layer::Mpls => ethernet::mpls(view)?,
            Layer::Service => ethernet::service(view)?,
            Layer::Ppp => ppp::ppp(view)?,
            Layer::CiscoHdlc => ppp::cisco_hdlc(view)?,
            Layer::FrameRelay => ppp::frame_relay(view)?,
            Layer::Wlan => wlan::frame(view, 1, link.part)?,
            Layer::PaddedWlan => wlan::frame(view, 4, link.part)?,
            Layer::Radiotap => wlan::radiotap(view)?,
            Layer::WlanBehind(bytes) => (Layer::Wlan, view.behind(bytes.into())?),
            Layer::EthernetBehind(bytes) => (Layer::Ethernet, view.behind(bytes.into())?),
            Layer::PppBehind(bytes) => (Layer::Ppp, view.behind(bytes.into())?),
            Layer::IpBehind(bytes) => (Layer::Ip, view.behind(bytes.into())?),
            Layer::TypeAt(bytes) => type_at(view, bytes)?,
            Layer::Cooked => cooked(view)?,
            Layer::Cooked2 => cooked2(view)?,
            Layer::Loopback => loopback(view)?,
            Layer::PacketFilterLog => packet_filter_log(view)?,
            Layer::NetfilterLog => netfilter_log(view)?,
            Layer::Nested(places) => nested(view, places)?,
        };
    }
    Err(Skipped::TooDeep)
}

/// IP of the version that was announced; what begins as the other one is none.
#[inline]
pub(super) fn ip(version: u8, view: View<'_>) -> Step<'_> {
    match view.byte(0) {
        Some(first) if matches!(first >> 4, 4 | 6) && first >> 4 != version => Err(Skipped::NotIp),
        _ => Ok((Layer::Ip, view)),
    }
}

fn type_at(view: View<'_>, at: u8) -> Step<'_> {
    let behind = view.behind(at.into())?;
    let kind = u16::from_be_bytes(*behind.need()?);
    Ok((Layer::EtherType(kind), behind.behind(2)?))
}

/// `LINKTYPE_LINUX_SLL`: packet type, ARPHRD type, address length, address, protocol.
fn cooked(view: View<'_>) -> Step<'_> {
    let &[_, _, hardware, kind, _, _, _, _, _, _, _, _, _, _, high, low] = view.need()?;
    cooked_payload([hardware, kind], [high, low], view.behind(16)?)
}

/// `LINKTYPE_LINUX_SLL2`: protocol, reserved, interface, ARPHRD type, packet type, address length,
/// address.
fn cooked2(view: View<'_>) -> Step<'_> {
    let &[high, low, _, _, _, _, _, _, hardware, kind] = view.need()?;
    cooked_payload([hardware, kind], [high, low], view.behind(20)?)
}

/// What the ARPHRD type and the protocol of a cooked header announce.
fn cooked_payload(hardware: [u8; 2], protocol: [u8; 2], payload: View<'_>) -> Step<'_> {
    // From if_arp.h and if_ether.h of Linux.
    const IEEE80211: u16 = 801;
    const IEEE80211_RADIOTAP: u16 = 803;
    const NETLINK: u16 = 824;
    const P_802_2: u16 = 4;
    let layer = match (u16::from_be_bytes(hardware), u16::from_be_bytes(protocol)) {
        (NETLINK, _) => return Err(Skipped::NotIp),
        (IEEE80211, _) => Layer::Wlan,
        (IEEE80211_RADIOTAP, _) => Layer::Radiotap,
        (_, P_802_2) => Layer::Llc,
        (_, kind) if kind < ethernet::FIRST_TYPE => return Err(Skipped::NotIp),
        (_, kind) => Layer::EtherType(kind),
    };
    Ok((layer, payload))
}

fn loopback(view: View<'_>) -> Step<'_> {
    let family = u32::from_be_bytes(*view.need()?);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    let payload = view.behind(4)?;
    if let Some(version) = version(family) {
        return ip(version, payload);
    }
    match u16::try_from(family) {
        Ok(kind) if kind >= ethernet::FIRST_TYPE => Ok((Layer::EtherType(kind), payload)),
        _ => Err(Skipped::NotIp),
    }
}

/// The version that `AF_INET` stands for, and the `AF_INET6` of Linux, Windows, the BSDs and macOS.
fn version(family: u32) -> Option<u8> {
    match family {
        2 => Some(4),
        10 | 23 | 24 | 28 | 30 => Some(6),
        _ => None,
    }
}

/// `LINKTYPE_PFLOG`: the header's length, without its padding, then the address family.
fn packet_filter_log(view: View<'_>) -> Step<'_> {
    let &[length, family] = view.need()?;
    let version = version(family.into()).ok_or(Skipped::NotIp)?;
    ip(version, view.behind(usize::from(length).next_multiple_of(4))?)
}

/// `LINKTYPE_NFLOG`: family, version, resource id, then values with length and type, in the byte order
/// of the host that captured them; one holds the packet.
fn netfilter_log(view: View<'_>) -> Step<'_> {
    const PAYLOAD: u16 = 9;
    const MAX_VALUES: usize = 64;
    let &[family, _, _, _] = view.need()?;
    let version = version(family.into()).ok_or(Skipped::NotIp)?;
    let mut rest = view.behind(4)?;
    // The first value is short, so its length is the smaller number.
    let first = *rest.need()?;
    let number = if u16::from_le_bytes(first) <= u16::from_be_bytes(first) {
        u16::from_le_bytes
    } else {
        u16::from_be_bytes
    };
    for _ in 0..MAX_VALUES {
        let &[a, b, c, d] = rest.need()?;
        let (length, kind) = (number([a, b]), number([c, d]));
        if length < 4 {
            return Err(Skipped::Malformed);
        }
        if kind & 0x7fff == PAYLOAD {
            return ip(version, rest.limit(length.into()).behind(4)?);
        }
        rest = rest.behind(usize::from(length).next_multiple_of(4))?;
    }
    Err(Skipped::NotIp)
}

/// A header with its own length and the type of what follows, both little-endian.
fn nested(view: View<'_>, (length_at, kind_at): (usize, usize)) -> Step<'_> {
    let number = |at: usize| {
        let bytes = view.chunk::<2>(at).ok_or(Skipped::CutShort)?;
        Ok(u16::from_le_bytes(*bytes))
    };
    let layer = Layer::of(LinkType(number(kind_at)?)).ok_or(Skipped::UnknownLink)?;
    if matches!(layer, Layer::Nested(_)) {
        return Err(Skipped::UnknownLink);
    }
    Ok((layer, view.behind(number(length_at)?.into())?))
}
