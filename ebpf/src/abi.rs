//! What the program and user space share: the same as `bpf/tidegate.h`, which says what each means.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What became of a packet: an index of the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// Nothing is said about its source.
    Pass,
    /// Dropped, by a verdict on its address.
    DropAddress,
    /// Dropped, by a verdict on a network its address is in.
    DropNetwork,
    /// Dropped, above the rate that a verdict leaves its source.
    DropRate,
    /// Dropped: a SYN of a source that the guard holds off, by itself or by its verdict.
    DropGuard,
    /// It would have been dropped, but is only observed.
    WouldDrop,
    /// A verdict limits its source, and it is below that.
    WithinRate,
    /// A verdict on its source is about other packets.
    OutOfScope,
    /// A verdict would drop it, the allow list does not.
    Allowed,
    /// A verdict would drop it, but its kind always passes.
    Exempt,
    /// A verdict would drop it, but this host began the session.
    OwnSession,
    /// A verdict would drop it, but the daemon is silent.
    FailOpen,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// Its headers contradict themselves or the frame; it passed.
    Malformed,
    /// A part of a packet; counted beside what became of it.
    Fragment,
}

/// A word of the state that user space and the program share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The map of verdicts on IPv4 networks is looked at.
    HasNet4,
    /// The same for IPv6.
    HasNet6,
    /// The IPv4 allow list is looked at.
    HasAllow4,
    /// The same for IPv6.
    HasAllow6,
    /// How the program is attached.
    Attached,
    /// What the daemon was told: 1 observe, 2 enforce.
    Mode,
    /// Counted up by whoever changes verdicts beside the daemon.
    Changes,
    /// Names the layout of [`Block`], so that an upgrade knows what it reads.
    Layout,
}

/// How many words there are.
pub const WORDS: u32 = 8;

/// Packets and their IP bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// IP bytes; of what is no IP, bytes of the frame.
    pub bytes: u64,
}

/// What the daemon alone writes, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Daemon {
    /// When it last said that it lives (`CLOCK_MONOTONIC`, ns).
    pub heartbeat_ns: u64,
    /// `CLOCK_MONOTONIC` at the kernel's tick 0, modulo 2⁶⁴.
    pub clock_ns: u64,
    /// Counted up when the allow list has changed; 0 before it was written first.
    pub allow_generation: u32,
    /// After how many milliseconds of silence everything passes; 0: verdicts hold until their deadline. For whoever asks:
    /// the program has it as a constant.
    pub fail_open_ms: u32,
}

/// A verdict in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Block {
    /// When it ends (`CLOCK_MONOTONIC`, ns); 0: never by itself.
    pub deadline_ns: u64,
    /// What `packets` and `bytes` lack yet, in one word; zero in what [`Maps`](crate::Maps) gives.
    pub hits: u64,
    /// The generation of the allow list that did not have its address; 0: it was not looked at.
    pub unlisted: u32,
    /// The destination port it is confined to, in host order; 0: all.
    pub port: u16,
    /// [`DROP`] or [`RATE_LIMIT`].
    pub action: u8,
    /// [`ALL`] or [`NEW`].
    pub scope: u8,
    /// Not 0: packets are dropped; else they would have been.
    pub enforce: u8,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Who decided; the program looks only whether it is [`GUARD`].
    pub by: u8,
    /// The risk score.
    pub score: u8,
    /// How often its source has been blocked before.
    pub offence: u32,
    /// When the bucket of a rate limit is empty; 0: it has not been used.
    pub bucket_ns: u64,
    /// Packets dropped, or that would have been.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// When user space put it there, nanoseconds since the epoch.
    pub since_ns: u64,
    /// How long it holds, ns; 0: until it is removed.
    pub ttl_ns: u64,
    /// Names the verdict in records and in the log.
    pub id: [u8; 16],
}

/// [`Block::action`]: all packets are dropped.
pub const DROP: u8 = 0;
/// [`Block::action`]: those above the rate are dropped.
pub const RATE_LIMIT: u8 = 1;
/// [`Block::scope`]: all packets, but those of sessions that this host began.
pub const ALL: u8 = 0;
/// [`Block::scope`]: those that begin something.
pub const NEW: u8 = 1;

/// [`Block::by`]: the guard, whose verdicts are about SYNs alone.
pub const GUARD: u8 = 1;

/// How far parsing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsing {
    /// The IP header was read.
    Ok,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// The frame ends within the IP header, or that contradicts itself.
    Malformed,
    /// More VLAN tags than are read.
    TooDeep,
}

/// Which part of a packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First,
    /// A later one: without a transport header.
    Later,
}

/// What of the transport header could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer4 {
    /// Nothing.
    Opaque,
    /// Ports, and no more of TCP.
    Ports,
    /// Ports and TCP's flags, or ICMP's type and code.
    Read,
}

/// What the program reads of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// How far it came; the rest means something only with [`Parsing::Ok`].
    pub parsing: Parsing,
    /// Sender.
    pub source: IpAddr,
    /// Receiver, as the IP header has it.
    pub destination: IpAddr,
    /// The packet's length, no more than the frame has.
    pub ip_bytes: u32,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// TCP's 12 control bits.
    pub tcp_flags: u16,
    /// What the packet carries, behind IPv6 extension headers.
    pub transport: u8,
    /// Which part of a packet it is.
    pub part: Part,
    /// What of the transport header could be read.
    pub layer4: Layer4,
    /// ICMP's type and code.
    pub icmp: [u8; 2],
    /// Time to live.
    pub hop_limit: u8,
    /// Whether headers behind the IP header contradict themselves or the frame.
    pub damaged: bool,
    /// VLAN tags.
    pub tags: u8,
    /// The outer tag and the inner: the id with the highest bit set, or 0 if there is none.
    pub vlans: [u16; 2],
}

/// Bytes of `struct tg_packet`.
pub const PACKET_BYTES: usize = 56;

// SAFETY: all fields are integers, in the order of `struct tg_count`, without padding.
unsafe impl aya::Pod for Count {}
// SAFETY: all fields are integers, in the order of `struct tg_daemon`; the two last ones fill what would be padding.
unsafe impl aya::Pod for Daemon {}
// SAFETY: all fields are integers or arrays of bytes, in the order of `struct tg_block`, without padding, as the
// assertion below shows.
unsafe impl aya::Pod for Block {}

const _: () = assert!(size_of::<Block>() == 88 && size_of::<Count>() == 16);
const _: () = assert!(size_of::<Daemon>() == 24);

/// [`Block::hits`]: packets from this bit on, bytes below.
const HIT_SHIFT: u32 = 40;

// === impl Outcome ===

impl Outcome {
    /// All, in the order of the statistics.
    pub const ALL: [Self; 15] = [
        Self::Pass,
        Self::DropAddress,
        Self::DropNetwork,
        Self::DropRate,
        Self::DropGuard,
        Self::WouldDrop,
        Self::WithinRate,
        Self::OutOfScope,
        Self::Allowed,
        Self::Exempt,
        Self::OwnSession,
        Self::FailOpen,
        Self::NotIp,
        Self::Malformed,
        Self::Fragment,
    ];
}

// === impl Daemon ===

impl Daemon {
    /// For how long everything passes already, ns, as the daemon is silent; `None` if it is not, or verdicts hold all the
    /// same.
    pub fn open_ns(&self, now_ns: u64) -> Option<u64> {
        let after = u64::from(self.fail_open_ms) * 1_000_000;
        let open = now_ns.checked_sub(self.heartbeat_ns.saturating_add(after));
        open.filter(|open| after > 0 && *open > 0)
    }
}

// === impl Block ===

impl Block {
    /// Its fields and where each is.
    pub const FIELDS: [(&str, usize); 17] = [
        ("deadline_ns", offset_of!(Self, deadline_ns)),
        ("hits", offset_of!(Self, hits)),
        ("unlisted", offset_of!(Self, unlisted)),
        ("port", offset_of!(Self, port)),
        ("action", offset_of!(Self, action)),
        ("scope", offset_of!(Self, scope)),
        ("enforce", offset_of!(Self, enforce)),
        ("prefix", offset_of!(Self, prefix)),
        ("by", offset_of!(Self, by)),
        ("score", offset_of!(Self, score)),
        ("offence", offset_of!(Self, offence)),
        ("bucket_ns", offset_of!(Self, bucket_ns)),
        ("packets", offset_of!(Self, packets)),
        ("bytes", offset_of!(Self, bytes)),
        ("since_ns", offset_of!(Self, since_ns)),
        ("ttl_ns", offset_of!(Self, ttl_ns)),
        ("id", offset_of!(Self, id)),
    ];

    /// Its counts carried over from the program's own form.
    #[must_use]
    pub(crate) fn counted(self) -> Self {
        let bytes = self.hits & ((1 << HIT_SHIFT) - 1);
        Self {
            hits: 0,
            packets: self.packets.wrapping_add(self.hits >> HIT_SHIFT),
            bytes: self.bytes.wrapping_add(bytes),
            ..self
        }
    }
}

/// The two halves of `vlans` as the program has it.
pub(crate) fn tags_of(vlans: u32) -> [u16; 2] {
    [vlans & 0xffff, vlans >> 16].map(|tag| u16::try_from(tag).unwrap_or(0))
}

// === impl Parsed ===

impl Parsed {
    /// Of the bytes of `struct tg_packet`.
    pub fn read(bytes: &[u8; PACKET_BYTES]) -> Self {
        const V6: u8 = 6;
        let is_v6 = bytes[43] == V6;
        let address = |at: usize| {
            let octets: [u8; 16] = std::array::from_fn(|byte| bytes[at + byte]);
            let [a, b, c, d, ..] = octets;
            if is_v6 { Ipv6Addr::from(octets).into() } else { Ipv4Addr::new(a, b, c, d).into() }
        };
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            parsing: match bytes[42] {
                0 => Parsing::Ok,
                1 => Parsing::NotIp,
                2 => Parsing::Malformed,
                _ => Parsing::TooDeep,
            },
            source: address(0),
            destination: address(16),
            ip_bytes: u32::from_ne_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]),
            source_port: number(36),
            destination_port: number(38),
            tcp_flags: number(40),
            transport: bytes[44],
            part: match bytes[45] {
                0 => Part::Whole,
                1 => Part::First,
                _ => Part::Later,
            },
            layer4: match bytes[46] {
                0 => Layer4::Opaque,
                1 => Layer4::Ports,
                _ => Layer4::Read,
            },
            icmp: [bytes[47], bytes[48]],
            hop_limit: bytes[49],
            damaged: bytes[50] != 0,
            tags: bytes[51],
            vlans: tags_of(u32::from_ne_bytes([bytes[52], bytes[53], bytes[54], bytes[55]])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Types;

    #[test]
    fn every_field_is_where_the_program_has_it() {
        let types = Types::of(crate::object());
        types.assert("tg_block", size_of::<Block>(), &Block::FIELDS);
        let daemon = [
            ("heartbeat_ns", offset_of!(Daemon, heartbeat_ns)),
            ("clock_ns", offset_of!(Daemon, clock_ns)),
            ("allow_generation", offset_of!(Daemon, allow_generation)),
            ("fail_open_ms", offset_of!(Daemon, fail_open_ms)),
        ];
        types.assert("tg_daemon", size_of::<Daemon>(), &daemon);
        let count = [("packets", offset_of!(Count, packets)), ("bytes", offset_of!(Count, bytes))];
        types.assert("tg_count", size_of::<Count>(), &count);
        let packet = [
            ("source", 0),
            ("destination", 16),
            ("ip_bytes", 32),
            ("source_port", 36),
            ("destination_port", 38),
            ("tcp_flags", 40),
            ("result", 42),
            ("family", 43),
            ("transport", 44),
            ("fragment", 45),
            ("layer4", 46),
            ("icmp_type", 47),
            ("icmp_code", 48),
            ("hop_limit", 49),
            ("damaged", 50),
            ("tags", 51),
            ("vlans", 52),
        ];
        types.assert("tg_packet", PACKET_BYTES, &packet);
        types.assert("tg_net4_key", 8, &[("prefix", 0), ("address", 4)]);
        types.assert("tg_net6_key", 20, &[("prefix", 0), ("address", 4)]);
    }

    #[test]
    fn a_silent_daemon_s_gate_stands_open() {
        let second = 1_000_000_000;
        let daemon =
            Daemon { heartbeat_ns: 100 * second, fail_open_ms: 5_000, ..Daemon::default() };
        for (now, open) in [(99, None), (105, None), (106, Some(second)), (200, Some(95 * second))]
        {
            assert_eq!(daemon.open_ns(now * second), open, "at {now}");
        }
        let keeps = Daemon { fail_open_ms: 0, ..daemon };
        assert_eq!(keeps.open_ns(200 * second), None);
    }

    #[test]
    fn both_forms_of_counts_make_one() {
        let block =
            Block { hits: (3 << HIT_SHIFT) + 180, packets: 5, bytes: 300, ..Block::default() };
        let counted = Block { packets: 8, bytes: 480, ..Block::default() };
        assert_eq!(block.counted(), counted);
        assert_eq!(counted.counted(), counted);
    }
}
