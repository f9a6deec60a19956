//! What makes two packets belong to one flow.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use crate::record::{
    Header, IcmpPorts, Id, IdBuilder, Layer4, ObservationPoint, Ports, Timestamp, Transport,
    TunnelKey, Vlans,
};

/// Protocol, the unordered pair of (address, port), VLANs, tunnel and observation point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    low: u128,
    high: u128,
    /// The low and the high port, the outer and the inner VLAN: whole words compare and hash best.
    ports_and_vlans: u64,
    /// What tells the contents of tunnels apart (32 bits), the number of the observation point (16), the
    /// transport (8), and what kind of key it is (8).
    place_and_kind: u64,
}

/// Where packets with the same addresses and ports are other flows all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Place {
    /// Empty when VLANs don't tell flows apart.
    pub(super) vlans: Vlans,
    pub(super) origin: ObservationPoint,
    pub(super) tunnel: Option<TunnelKey>,
}

/// A key, and which of its ends sent the packet it was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oriented {
    pub(super) key: Key,
    pub(super) from_low: bool,
    /// The sender's port (or what stands for it) and the receiver's.
    pub(super) ports: Ports,
    /// The packet's own TEID: that of the other direction is another one.
    pub(super) teid: Option<u32>,
}

const V6: u64 = 1;
/// The two directions are two flows (ICMP messages without a counterpart).
const DIRECTED: u64 = 2;
/// The ports are real ones.
const PORTS: u64 = 4;
/// The ports stand for the type of an ICMP message.
const TYPED: u64 = 8;
/// In a tunnel that is told apart by a VNI, a key of GRE, a TEID.
const VNI: u64 = 16;
const GRE_KEY: u64 = 32;
const TEID: u64 = 64;

// === impl Place ===

impl Place {
    /// The place within a further tunnel.
    #[must_use]
    pub(super) fn within(self, tunnel: Option<TunnelKey>) -> Self {
        let number = |key| match key {
            TunnelKey::Vni(number) | TunnelKey::Teid(number) | TunnelKey::Gre(number) => number,
        };
        // In a tunnel within a tunnel both count: the outer one's number is spread over the word.
        let outer = self.tunnel.map_or(0, number).wrapping_mul(0x9E37_79B1);
        let tunnel = match (tunnel, self.tunnel) {
            (None, outer) => outer,
            (Some(TunnelKey::Vni(inner)), _) => Some(TunnelKey::Vni(inner ^ outer)),
            (Some(TunnelKey::Teid(inner)), _) => Some(TunnelKey::Teid(inner ^ outer)),
            (Some(TunnelKey::Gre(inner)), _) => Some(TunnelKey::Gre(inner ^ outer)),
        };
        Self { tunnel, ..self }
    }
}

// === impl Oriented ===

impl Oriented {
    /// The flow of a packet between these ends. `transport` and `layer4` are the header's, or for a
    /// later fragment those of the first.
    #[expect(clippy::inline_always, reason = "measured: the key stays in registers")]
    #[inline(always)]
    pub(super) fn of(header: &Header, transport: Transport, layer4: &Layer4, place: Place) -> Self {
        let (ports, kind) = match layer4 {
            Layer4::Icmp(message) => {
                let ports = IcmpPorts::of(transport, *message);
                let kind = if ports.one_way { DIRECTED | TYPED } else { TYPED };
                (Ports { source: ports.source, destination: ports.destination }, kind)
            }
            layer4 => match layer4.ports() {
                Some(ports) => (ports, PORTS),
                None => (Ports { source: 0, destination: 0 }, 0),
            },
        };
        let (tunnel, tunnelled, teid) = match place.tunnel {
            None => (0, 0, None),
            Some(TunnelKey::Vni(number)) => (number, VNI, None),
            Some(TunnelKey::Gre(number)) => (number, GRE_KEY, None),
            // Which TEIDs belong together, only the flow knows.
            Some(TunnelKey::Teid(number)) => (0, TEID, Some(number)),
        };
        let (source, destination) = (number(header.source), number(header.destination));
        let from_low = kind & DIRECTED != 0
            || source < destination
            || (source == destination && ports.source <= ports.destination);
        let ends = [(source, ports.source), (destination, ports.destination)];
        let [low, high] = if from_low { ends } else { [ends[1], ends[0]] };
        let [outer, inner] = place.vlans.words();
        let words = [low.1, high.1, outer, inner];
        let v6 = if header.source.is_ipv6() { V6 } else { 0 };
        let key = Key {
            low: low.0,
            high: high.0,
            ports_and_vlans: words.into_iter().fold(0, |all, word| all << 16 | u64::from(word)),
            place_and_kind: u64::from(tunnel) << 32
                | u64::from(place.origin.number()) << 16
                | u64::from(transport.0) << 8
                | kind
                | v6
                | tunnelled,
        };
        Self { key, from_low, ports, teid }
    }
}

// === impl Key ===

impl Key {
    /// The transport.
    pub(super) fn transport(&self) -> Transport {
        let [.., transport, _] = self.place_and_kind.to_be_bytes();
        Transport(transport)
    }

    /// The same wherever VLANs put it.
    #[must_use]
    pub(super) fn without_vlans(self) -> Self {
        Self { ports_and_vlans: self.ports_and_vlans & !u64::from(u32::MAX), ..self }
    }

    /// Whether it stands for ICMP messages whose type is known.
    pub(super) fn is_typed(&self) -> bool {
        self.place_and_kind & TYPED != 0
    }

    /// Whether the two directions are two flows.
    pub(super) fn is_directed(&self) -> bool {
        self.place_and_kind & DIRECTED != 0
    }

    /// Where it was seen.
    pub(super) fn origin(&self) -> ObservationPoint {
        let [_, _, _, _, high, low, ..] = self.place_and_kind.to_be_bytes();
        ObservationPoint::from_number(u16::from_be_bytes([high, low]))
    }

    /// One end: its address, and its port if the transport has ports.
    pub(super) fn end(&self, low: bool) -> (IpAddr, Option<u16>) {
        let [a, b, c, d, ..] = self.ports_and_vlans.to_be_bytes();
        let (number, port) = if low { (self.low, [a, b]) } else { (self.high, [c, d]) };
        let address = if self.place_and_kind & V6 != 0 {
            IpAddr::from(number.to_be_bytes())
        } else {
            let [a, b, c, d, ..] = number.to_be_bytes();
            IpAddr::from([a, b, c, d])
        };
        (address, (self.place_and_kind & PORTS != 0).then(|| u16::from_be_bytes(port)))
    }

    /// Adds the key to a record id.
    fn identify(&self, id: IdBuilder) -> IdBuilder {
        let [tunnel @ .., _, _, transport, kind] = self.place_and_kind.to_be_bytes();
        let id = id
            .bytes(&self.low.to_be_bytes())
            .bytes(&self.high.to_be_bytes())
            .number(self.ports_and_vlans)
            .bytes(&[transport, kind]);
        match self.origin().mark() ^ u64::from(u32::from_be_bytes(tunnel)) << 32 {
            0 => id,
            place => id.number(place),
        }
    }
}

/// In as few words as there are: the hasher is keyed, so their order needs no care.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.place_and_kind & V6 == 0 {
            // All there is of two IPv4 addresses.
            state.write_u64(((self.low | self.high >> 32) >> 64) as u64);
        } else {
            state.write_u128(self.low);
            state.write_u128(self.high);
        }
        state.write_u64(self.ports_and_vlans);
        state.write_u64(self.place_and_kind);
    }
}

/// The address as a number; an IPv4 one fills the highest 32 bits.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A number that is the same for both directions between two addresses, in whatever VLANs: which shard they go to.
pub(super) fn pair(header: &Header) -> u32 {
    let half = |number: u128| {
        u64::try_from(number & u128::from(u64::MAX)).expect("the mask leaves 64 bits")
    };
    let word = |address| {
        let number = number(address);
        half(number >> 64) ^ half(number).rotate_left(32)
    };
    // Addition is commutative; the multiplier spreads neighbouring addresses over the high bits.
    let spread = |word: u64| (word ^ (word >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let sum = spread(word(header.source)).wrapping_add(spread(word(header.destination)));
    u32::try_from(spread(sum) >> 32).expect("32 bits are left")
}

/// The id of a flow: hash of the observer, the key, the start, and the ordinal among the flows of
/// that key and start.
pub(super) fn id(observer: &str, key: &Key, first: Timestamp, ordinal: u64) -> Id {
    key.identify(Id::of("flow", observer)).time(first).number(ordinal).finish()
}
