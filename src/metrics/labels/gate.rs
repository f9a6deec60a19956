//! The words about what the gate's program did.

use schemars::JsonSchema;

use super::Label;

/// What the gate's program did with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpOutcome {
    /// Nothing is said about their source: passed.
    Pass,
    /// Dropped, by a verdict on their address.
    DropAddress,
    /// Dropped, by a verdict on a network their address is in.
    DropNetwork,
    /// Dropped, above the rate that a verdict leaves their source.
    DropRate,
    /// Dropped: SYNs of a source that the guard holds off, by itself or by its verdict.
    DropGuard,
    /// They would have been dropped, but the gate or the verdict only observes.
    WouldDrop,
    /// A verdict limits their source, and they are below that: passed.
    WithinRate,
    /// A verdict on their source is about other packets: passed.
    OutOfScope,
    /// The allow list covers their source, which has a verdict: passed.
    Allowed,
    /// Of a kind that always passes (neighbour discovery, path MTU, DHCP, VRRP), from a source with a verdict.
    Exempt,
    /// Of a session that this host began, with a source that has a verdict: passed.
    OwnSession,
    /// From a source with a verdict, passed because the daemon was silent.
    FailOpen,
    /// Neither IPv4 nor IPv6: passed.
    NotIp,
    /// Their headers contradict themselves or the frame: passed.
    Malformed,
    /// Parts of packets; counted beside what became of them.
    Fragment,
}

/// What became of what the gate's program saw of contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpEvent {
    /// An event came through the ring.
    Received,
    /// Not told: its source had told more than its share.
    SourceLimit,
    /// Not told: the processor had told as much as it may.
    CpuLimit,
    /// What came of an attempt is not known: another connection took its place.
    Displaced,
    /// A source that the guard watched, or was to watch, when there was no place for it.
    Evicted,
    /// The guard held nobody off, or did not tell of it: it had done so too often in this minute.
    HoldLimit,
}

/// What became of packets that were counted by flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpFlowPackets {
    /// All that were to be counted.
    Seen,
    /// Of these, packets that no flow has, as there was no place for it.
    Unattributed,
    /// Of these, packets of a flow that was just being taken out.
    Ending,
    /// Of all, frames longer than the MTU: several packets that were joined on the way in, and count as one.
    Oversized,
    /// Of all, frames that the card cuts up: they count as the packets they become.
    Segmented,
    /// Of all, packets whose IP header claims more bytes than the frame has: they count with what is there.
    Cut,
    /// Of all, packets that were counted and are in no record: a fault. It is known once the source has stopped.
    Missing,
}

/// What became of frames that the gate's program was to report singly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpSampled {
    /// All that passed, and that this host sent.
    Seen,
    /// Of these, frames that were not chosen, with a `sample` above 1.
    PassedOver,
    /// Of these, frames that were chosen.
    Chosen,
    /// Of the chosen, those that came through the ring.
    Received,
    /// Of the chosen, those that neither came through the ring nor found it full: a fault. It is known once the source
    /// has stopped.
    Missing,
}

/// Why a flow was not begun at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpFlowRefusal {
    /// There were as many as there may be (`max_flows`).
    Full,
    /// User space was at the same place; tried once more.
    Busy,
    /// The kernel had no memory.
    Memory,
    /// Another processor was first; its packet was counted there.
    Exists,
    /// Another error.
    Other,
    /// It used the ends of one that was over, faster than such are taken out: both are one flow.
    Reuse,
}

/// What became of packets that the gate's program dropped, in records of the port `denied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum XdpDenied {
    /// All that were dropped.
    Seen,
    /// Of these, packets that are told without their port: their source had its share of ports.
    OtherPorts,
    /// Of these, packets in no record: their source had its share of records without a port, too.
    SourceLimit,
    /// Of these, packets in no record: the processor had begun as many records as it may.
    CpuLimit,
    /// Of these, packets in no record: there were as many as there may be.
    Full,
    /// Of these, packets in no record, for another error of the kernel.
    Failed,
    /// Of these, packets that were counted and are in no record: a fault. It is known once the source has stopped.
    Missing,
}

// === impl XdpOutcome ===

impl Label for XdpOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::DropAddress => "drop_address",
            Self::DropNetwork => "drop_network",
            Self::DropRate => "drop_rate",
            Self::DropGuard => "drop_guard",
            Self::WouldDrop => "would_drop",
            Self::WithinRate => "within_rate",
            Self::OutOfScope => "out_of_scope",
            Self::Allowed => "allowed",
            Self::Exempt => "exempt",
            Self::OwnSession => "own_session",
            Self::FailOpen => "fail_open",
            Self::NotIp => "not_ip",
            Self::Malformed => "malformed",
            Self::Fragment => "fragment",
        }
    }
}

// === impl XdpEvent ===

impl Label for XdpEvent {
    fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::SourceLimit => "source_limit",
            Self::CpuLimit => "cpu_limit",
            Self::Displaced => "displaced",
            Self::Evicted => "evicted",
            Self::HoldLimit => "hold_limit",
        }
    }
}

// === impl XdpFlowPackets ===

impl Label for XdpFlowPackets {
    fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Unattributed => "unattributed",
            Self::Ending => "ending",
            Self::Oversized => "oversized",
            Self::Segmented => "segmented",
            Self::Cut => "cut",
            Self::Missing => "missing",
        }
    }
}

// === impl XdpSampled ===

impl Label for XdpSampled {
    fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::PassedOver => "passed_over",
            Self::Chosen => "chosen",
            Self::Received => "received",
            Self::Missing => "missing",
        }
    }
}

// === impl XdpFlowRefusal ===

impl Label for XdpFlowRefusal {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Memory => "memory",
            Self::Exists => "exists",
            Self::Other => "other",
            Self::Reuse => "reuse",
        }
    }
}

// === impl XdpDenied ===

impl Label for XdpDenied {
    fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::OtherPorts => "other_ports",
            Self::SourceLimit => "source_limit",
            Self::CpuLimit => "cpu_limit",
            Self::Full => "full",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}
