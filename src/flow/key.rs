//! What makes two packets belong to one flow.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use crate::record::{Header, IcmpPorts, Id, IdBuilder, Layer4, Ports, Transport, Vlans};

/// Protocol, the unordered pair of (address, port), VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    low: [u8; 16],
    high: [u8; 16],
    low_port: u16,
    high_port: u16,
    vlans: [u16; 2],
    transport: u8,
    kind: u8,
}

/// A key, and which of its ends sent the packet it was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oriented {
    pub(super) key: Key,
    pub(super) from_low: bool,
    /// The sender's port (or what stands for it) and the receiver's.
    pub(super) ports: Ports,
}

const V6: u8 = 1;
/// The two directions are two flows (ICMP messages without a counterpart).
const DIRECTED: u8 = 2;
/// The ports are real ones.
const PORTS: u8 = 4;

// === impl Oriented ===

impl Oriented {
    /// The flow of a packet with this header. `ports` are the header's, or those of the first
    /// fragment for a later one; `vlans` is empty when VLANs don't tell flows apart.
    pub(super) fn of(header: &Header, ports: Option<Ports>, vlans: Vlans) -> Self {
        let (ports, kind) = match (header.layer4, ports) {
            (Layer4::Icmp(message), _) => {
                let ports = IcmpPorts::of(header.transport, message);
                let kind = if ports.one_way { DIRECTED } else { 0 };
                (Ports { source: ports.source, destination: ports.destination }, kind)
            }
            (_, Some(ports)) => (ports, PORTS),
            (_, None) => (Ports { source: 0, destination: 0 }, 0),
        };
        let (source, v6) = octets(header.source);
        let (destination, _) = octets(header.destination);
        let from_low =
            kind == DIRECTED || (source, ports.source) <= (destination, ports.destination);
        let ends = [(source, ports.source), (destination, ports.destination)];
        let [low, high] = if from_low { ends } else { [ends[1], ends[0]] };
        let key = Key {
            low: low.0,
            high: high.0,
            low_port: low.1,
            high_port: high.1,
            vlans: [vlans.outer(), vlans.inner()].map(|id| id.map_or(0, |id| id | 0x8000)),
            transport: header.transport.0,
            kind: kind | if v6 { V6 } else { 0 },
        };
        Self { key, from_low, ports }
    }
}

// === impl Key ===

impl Key {
    /// The transport.
    pub(super) fn transport(&self) -> Transport {
        Transport(self.transport)
    }

    /// One end: its address, and its port if the transport has ports.
    pub(super) fn end(&self, low: bool) -> (IpAddr, Option<u16>) {
        let (octets, port) =
            if low { (self.low, self.low_port) } else { (self.high, self.high_port) };
        let address = if self.kind & V6 != 0 {
            IpAddr::from(octets)
        } else {
            IpAddr::from([octets[0], octets[1], octets[2], octets[3]])
        };
        (address, (self.kind & PORTS != 0).then_some(port))
    }

    /// Adds the key to a record id.
    pub(super) fn identify(&self, id: IdBuilder) -> IdBuilder {
        let words = [self.low_port, self.high_port, self.vlans[0], self.vlans[1]];
        id.bytes(&self.low)
            .bytes(&self.high)
            .number(words.into_iter().fold(0, |all, word| all << 16 | u64::from(word)))
            .bytes(&[self.transport, self.kind])
    }
}

/// In as few words as there are: the hasher is keyed, so their order needs no care.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.low));
        state.write_u128(u128::from_ne_bytes(self.high));
        let ports = u64::from(self.low_port) << 16 | u64::from(self.high_port);
        let vlans = u64::from(self.vlans[0]) << 16 | u64::from(self.vlans[1]);
        state.write_u64(ports << 32 | vlans);
        state.write_u16(u16::from(self.transport) << 8 | u16::from(self.kind));
    }
}

/// The address in 16 bytes, and whether it is an IPv6 one.
fn octets(address: IpAddr) -> ([u8; 16], bool) {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            (octets, false)
        }
        IpAddr::V6(address) => (address.octets(), true),
    }
}

/// A number that is the same for both directions between two addresses: which shard they go to.
pub(super) fn pair(header: &Header, vlans: Vlans) -> u32 {
    let word = |address| {
        let octets = octets(address).0;
        let (high, low) = octets.split_at(8);
        let fold = |half: &[u8]| half.iter().fold(0, |all, octet| all << 8 | u64::from(*octet));
        fold(high) ^ fold(low).rotate_left(32)
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
