//! A contact: the evidence the judge feeds on, known long before its flow is reported.

use std::{net::IpAddr, sync::Arc};

use super::{
    CommunityId, Icmp, Kind, ObservationPoint, Record, Records, TcpFlags, Timestamp, Transport,
};

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
    /// The source's port; 0 where the transport has none, where it is about more than one flow, and where
    /// whoever told it did not say.
    pub source_port: u16,
    /// The transport; 0 of counts over all.
    pub transport: Transport,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether the source is proven to be at its address: a handshake it completed, or its RST met
    /// our half-open connection.
    pub path_proven: bool,
}

/// Between whom a contact was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// Who made it.
    pub source: IpAddr,
    /// Whom it met.
    pub destination: IpAddr,
    /// The source's port, or 0.
    pub source_port: u16,
    /// The destination's port, or 0.
    pub port: u16,
    /// The transport.
    pub transport: Transport,
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

impl Contact {
    /// Between whom it was.
    pub const fn conversation(&self) -> Conversation {
        let Self { source, destination, source_port, port, transport, .. } = *self;
        Conversation { source, destination, source_port, port, transport }
    }
}

// === impl Conversation ===

impl Conversation {
    /// Whether it says of which flow it is a part: of ICMP contacts are made of echo requests alone.
    pub fn is_one_flow(&self) -> bool {
        match self.transport {
            Transport::ICMP | Transport::ICMPV6 => {
                !self.destination.is_unspecified() && !self.source.is_unspecified()
            }
            _ => self.source_port != 0 && self.port != 0,
        }
    }

    /// The Community ID of its flow, if it is that of one.
    pub fn community_id(&self) -> Option<CommunityId> {
        let Self { source, destination, source_port, port, transport } = *self;
        let echo = match transport {
            _ if !self.is_one_flow() => return None,
            Transport::ICMP => Icmp { kind: 8, code: 0 },
            Transport::ICMPV6 => Icmp { kind: 128, code: 0 },
            _ => {
                let (from, to) = ((source, Some(source_port)), (destination, Some(port)));
                return Some(CommunityId::of_ports(transport, from, to));
            }
        };
        Some(CommunityId::of_icmp(transport, source, destination, echo))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of the specification's README.
    #[test]
    fn a_contact_has_the_id_of_its_flow_and_counts_have_none() {
        let contact = Contact {
            time: Timestamp::default(),
            origin: ObservationPoint::default(),
            source: [128, 232, 110, 120].into(),
            destination: [66, 35, 250, 204].into(),
            port: 80,
            source_port: 34_855,
            transport: Transport::TCP,
            outcome: Outcome::Refused,
            path_proven: false,
        };
        let id = |contact: &Contact| contact.conversation().community_id().map(|id| id.to_string());
        assert_eq!(id(&contact).as_deref(), Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
        assert_eq!(id(&Contact { source_port: 0, ..contact.clone() }), None);
        let echo = Contact {
            transport: Transport::ICMP,
            outcome: Outcome::Echo,
            port: 0,
            source_port: 0,
            ..contact
        };
        let flow = CommunityId::of_icmp(
            Transport::ICMP,
            echo.destination,
            echo.source,
            Icmp { kind: 0, code: 0 },
        );
        assert_eq!(id(&echo), Some(flow.to_string()));
    }
}
