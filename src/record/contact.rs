//! A contact: the evidence the judge feeds on, known long before its flow is reported.

use std::{net::IpAddr, sync::Arc};

use super::{Kind, ObservationPoint, Record, Records, TcpFlags, Timestamp, Transport};

/// A source's contact with a (destination, port), or news of it: every connection to a port where
/// people log in or that web servers use, of others the first one. What is about a source alone has
/// no destination (the unspecified address), what is about a destination alone no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// When it happened.
    pub time: Timestamp,
    /// Where it was seen.
    pub origin: ObservationPoint,
    /// Who made the contact.
    pub source: IpAddr,
    /// Whom it met.
    pub destination: IpAddr,
    /// The destination's port; 0 where the transport has none.
    pub port: u16,
    /// The transport; 0 of counts over all.
    pub transport: Transport,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the source is proven to be at its address: a handshake it completed, or its RST met
    /// our half-open connection.
    pub path_proven: bool,
}

/// What came of a contact. The order is that in which one packet's are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Begun; no answer yet.
    Attempt,
    /// The destination took part.
    Success,
    /// The destination refused: RST, or ICMP unreachable. With a proven path it was the source that
    /// reset what the destination had accepted, half open, or refused its answer (UDP, ICMP port
    /// unreachable): it asked, and wanted nothing.
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
    /// A connection that had succeeded is over; only on ports where people log in and of web servers.
    Ended {
        /// From its first packet on, in nanoseconds.
        duration_nanos: u64,
        /// IP bytes that the source sent.
        sent_bytes: u64,
        /// IP bytes that it received.
        received_bytes: u64,
    },
    /// The connections of a source to this port of web servers, wherever, that are open; told every
    /// 10 s.
    Open {
        /// How many.
        count: u32,
        /// IP bytes both ways since they were last told.
        bytes: u64,
    },
    /// What a source sent within a second, or how often a (destination, port) was tried in it. With both
    /// a source and a destination: datagrams of the one to a port of the other that are as long as the
    /// one before and from another port, or echo requests; told from 10 on.
    Counts {
        /// Packets of the source; 0 of a destination.
        packets: u64,
        /// SYNs without ACK.
        syns: u64,
        /// Handshakes of the destination that were completed; 0 of a source.
        completed: u64,
    },
}

// === impl Contact ===

impl Record for Contact {
    const KIND: Kind = Kind::Contact;

    fn wrap(records: Arc<Vec<Self>>) -> Records {
        Records::Contacts(records)
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

    fn source(&self) -> Option<IpAddr> {
        Some(self.source)
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}
