//! What was counted of a flow.

use std::net::IpAddr;

use crate::record::{Checksums, Header, Layer4, TcpFlags, Timestamp, Transport, Vlans};

/// What was counted of a flow since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The sender and the receiver of its first packet.
    pub ends: [IpAddr; 2],
    /// The transport.
    pub transport: Transport,
    /// Ports, or type and code, of its first packet; of TCP nothing but the ports counts.
    pub layer4: Layer4,
    /// Its VLANs.
    pub vlans: Vlans,
    /// Time of the first packet, by a clock that is never set, ns.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
    /// What the first packet's sender and its receiver have sent.
    pub sent: [Sent; 2],
    /// Whether it is marked, to be taken out.
    pub is_ending: bool,
}

/// What one end of a flow has sent since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
    /// All TCP control bits.
    pub flags: TcpFlags,
    /// What they came together as.
    pub marks: Marks,
}

/// What was among the packets of one end, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub u16);

/// A moment by the clock of the counts, and by the wall's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By the clock of [`Totals::first_ns`].
    pub counted_ns: u64,
    /// By the wall's.
    pub wall: Timestamp,
}

// === impl Marks ===

impl Marks {
    /// A SYN without ACK.
    pub const SYN: Self = Self(1);
    /// A SYN with ACK.
    pub const SYN_ACK: Self = Self(1 << 1);
    /// A segment with neither SYN nor RST.
    pub const MORE: Self = Self(1 << 2);
    /// TCP payload.
    pub const PAYLOAD: Self = Self(1 << 3);
    /// A RST before both ends had sent a FIN.
    pub const RESET: Self = Self(1 << 4);
    /// A packet whose headers contradict themselves or the frame.
    pub const DAMAGED: Self = Self(1 << 5);
    /// A later fragment.
    pub const LATER: Self = Self(1 << 6);
    /// The flow's first packet, a datagram whose content answers.
    pub const ANSWERS: Self = Self(1 << 8);

    /// Whether one of `others` is there.
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

// === impl Now ===

impl Now {
    /// When by the wall clock something was.
    pub(in crate::flow) fn at(self, counted_ns: u64) -> Timestamp {
        let ago = self.counted_ns.saturating_sub(counted_ns);
        let ago = i64::try_from(ago).unwrap_or(i64::MAX);
        Timestamp::from_nanos(self.wall.nanos().saturating_sub(ago))
    }
}

// === impl Totals ===

impl Totals {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.iter().all(|sent| sent.packets == 0)
    }

    /// Whether `later` has all that was counted here.
    pub(super) fn is_within(&self, later: &Self) -> bool {
        let mut sides = self.sent.iter().zip(&later.sent);
        sides.all(|(sent, later)| sent.packets <= later.packets && sent.bytes <= later.bytes)
    }

    /// A header as the first packet had it, as far as it matters to the key.
    pub(super) fn header(&self) -> Header {
        let [source, destination] = self.ends;
        Header {
            marks: crate::record::Marks::default(),
            source,
            destination,
            tunnel: None,
            transport: self.transport,
            ip_bytes: 0,
            checksums: Checksums::default(),
            fragment: None,
            layer4: self.layer4,
        }
    }
}
