//! A flow: both directions of one conversation between its start and its end, or one report of it.

use std::net::IpAddr;

use super::{Id, Names, Timestamp, Transport};

/// One report of a bidirectional flow. Counters are those since the last report, so sums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The flow's id: the same in all its reports.
    pub id: Id,
    /// Number of the report within the flow, from 0.
    pub sequence: u32,
    /// Start of the interval this report covers.
    pub start: Timestamp,
    /// End of the interval.
    pub end: Timestamp,
    /// The transport.
    pub transport: Transport,
    /// Who began it.
    pub initiator: Endpoint,
    /// Who was addressed.
    pub responder: Endpoint,
    /// Why it ended; `None` for an interim report.
    pub end_reason: Option<EndReason>,
    /// The names of the initiator's and the responder's address.
    pub names: Names,
}

/// One side of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the transport has ports.
    pub port: Option<u16>,
    /// Packets it sent in the interval.
    pub packets: u64,
    /// IP bytes it sent in the interval.
    pub bytes: u64,
}

/// Why a flow ended (IPFIX information element 136, flowEndReason).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Nothing came for the idle time-out.
    Idle,
    /// The active time-out.
    Active,
    /// FIN or RST.
    EndDetected,
    /// Shutdown, end of file or port reuse.
    Forced,
    /// The table was full.
    LackOfResources,
}

impl Flow {
    /// About how many bytes of memory it holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }
}
