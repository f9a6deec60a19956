//! A contact: the evidence the judge feeds on, known long before its flow is reported.

use std::{net::IpAddr, sync::Arc};

use super::{Kind, Record, Records, TcpFlags, Timestamp, Transport};

/// A source's first contact with a (destination, port), or news of how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// When it happened.
    pub time: Timestamp,
    /// Who made the contact.
    pub source: IpAddr,
    /// Whom it met.
    pub destination: IpAddr,
    /// The destination's port; 0 where the transport has none.
    pub port: u16,
    /// The transport.
    pub transport: Transport,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the source is proven to be at its address: a handshake it completed, or its RST met
    /// our half-open connection.
    pub path_proven: bool,
}

/// What came of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Begun; no answer yet.
    Attempt,
    /// The destination took part.
    Success,
    /// The destination refused: RST, or ICMP unreachable.
    Refused,
    /// No answer came in time.
    TimedOut,
    /// Control bits no sane stack sends.
    OddFlags(TcpFlags),
    /// A TCP header split over fragments.
    SplitHeader,
    /// An ACK that belongs to no connection.
    AckProbe,
    /// An ICMP echo request.
    Echo,
    /// Packets and SYNs of the source since its last report.
    Counts {
        /// Packets.
        packets: u64,
        /// SYNs without ACK.
        syns: u64,
    },
}

// === impl Contact ===

impl Record for Contact {
    const KIND: Kind = Kind::Contact;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Contacts(records)
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}
