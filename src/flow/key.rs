//! What makes two packets belong to one flow.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use crate::record::{Header, IcmpPorts, Id, IdBuilder, Layer4, Ports, Transport, Vlans};

/// Protocol, the unordered pair of (address, port), VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    low: u128,
    high: u128,
    /// The low and the high port, the outer and the inner VLAN: whole words compare and hash best.
    ports_and_vlans: u64,
    /// The transport, and what kind of key it is.
    transport_and_kind: u16,
}

/// A key, and which of its ends sent the packet it was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oriented {
    pub(super) key: Key,
    pub(super) from_low: bool,
    /// The sender's port (or what stands for it) and the receiver's.
    pub(super) ports: Ports,
}

const V6: u16 = 1;
/// The two directions are two flows (ICMP messages without a counterpart).
const DIRECTED: u16 = 2;
/// The ports are real ones.
const PORTS: u16 = 4;

// === impl Oriented ===

impl Oriented {
    /// The flow of a packet with this header. `ports` are the header's, or those of the first
    /// fragment for a later one; `vlans` is empty when VLANs don't tell flows apart.
    #[inline]
    pub(super) fn of(header: &Header, ports: Option<Ports>, vlans: Vlans) -> Self {
        let (ports, kind) = match (&header.layer4, ports) {
            (Layer4::Icmp(message), _) => {
                let ports = IcmpPorts::of(header.transport, *message);
                let kind = if ports.one_way { DIRECTED } else { 0 };
                (Ports { source: ports.source, destination: ports.destination }, kind)
            }
            (_, Some(ports)) => (ports, PORTS),
            (_, None) => (Ports { source: 0, destination: 0 }, 0),
        };
        let (source, destination) = (number(header.source), number(header.destination));
        let from_low = kind == DIRECTED
            || source < destination
            || (source == destination && ports.source <= ports.destination);
        let ends = [(source, ports.source), (destination, ports.destination)];
        let [low, high] = if from_low { ends } else { [ends[1], ends[0]] };
        let [outer, inner] = vlans.words();
        let words = [low.1, high.1, outer, inner];
        let v6 = if header.source.is_ipv6() { V6 } else { 0 };
        let key = Key {
            low: low.0,
            high: high.0,
            ports_and_vlans: words.into_iter().fold(0, |all, word| all << 16 | u64::from(word)),
            transport_and_kind: u16::from(header.transport.0) << 8 | kind | v6,
        };
        Self { key, from_low, ports }
    }
}

// === impl Key ===

impl Key {
    /// The transport.
    pub(super) fn transport(&self) -> Transport {
        let [transport, _] = self.transport_and_kind.to_be_bytes();
        Transport(transport)
    }

    /// One end: its address, and its port if the transport has ports.
    pub(super) fn end(&self, low: bool) -> (IpAddr, Option<u16>) {
        let [a, b, c, d, ..] = self.ports_and_vlans.to_be_bytes();
        let (number, port) = if low { (self.low, [a, b]) } else { (self.high, [c, d]) };
        let address = if self.transport_and_kind & V6 != 0 {
            IpAddr::from(number.to_be_bytes())
        } else {
            let [a, b, c, d, ..] = number.to_be_bytes();
            IpAddr::from([a, b, c, d])
        };
        (address, (self.transport_and_kind & PORTS != 0).then(|| u16::from_be_bytes(port)))
    }

    /// Adds the key to a record id.
    pub(super) fn identify(&self, id: IdBuilder) -> IdBuilder {
        id.bytes(&self.low.to_be_bytes())
            .bytes(&self.high.to_be_bytes())
            .number(self.ports_and_vlans)
            .bytes(&self.transport_and_kind.to_be_bytes())
    }
}

/// In as few words as there are: the hasher is keyed, so their order needs no care.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.transport_and_kind & V6 == 0 {
            // All there is of two IPv4 addresses.
            state.write_u64(((self.low | self.high >> 32) >> 64) as u64);
        } else {
            state.write_u128(self.low);
            state.write_u128(self.high);
        }
        state.write_u64(self.ports_and_vlans);
        state.write_u16(self.transport_and_kind);
    }
}

/// The address as a number; an IPv4 one fills the highest 32 bits.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A number that is the same for both directions between two addresses: which shard they go to.
pub(super) fn pair(header: &Header, vlans: Vlans) -> u32 {
    let half = |number: u128| {
        u64::try_from(number & u128::from(u64::MAX)).expect("the mask leaves 64 bits")
    };
    let word = |address| {
        let number = number(address);
        half(number >> 64) ^ half(number).rotate_left(32)
    };
    let vlans = [vlans.outer(), vlans.inner()].map(|id| id.map_or(0, |id| u64::from(id) + 1));
    // Addition is commutative; the multiplier spreads neighbouring addresses over the high bits.
    let spread = |word: u64| (word ^ (word >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let sum = spread(word(header.source)).wrapping_add(spread(word(header.destination)));
    let mixed = spread(sum.wrapping_add((vlans[0] << 16) | vlans[1]));
    u32::try_from(mixed >> 32).expect("32 bits are left")
}

/// The id of a flow: hash of the observer, the key, the start, and the ordinal among the flows of
/// that key and start.
pub(super) fn id(observer: &str, key: &Key, first: crate::record::Timestamp, ordinal: u64) -> Id {
    key.identify(Id::of("flow", observer)).time(first).number(ordinal).finish()
}
