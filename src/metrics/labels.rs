//! The words that can stand in labels: why records went no further, and why packets were lost.
//!
//! Each is listed here and nowhere else; their names and docs are printed in docs/reference.md.

mod gate;

use schemars::JsonSchema;

pub use self::gate::{XdpDenied, XdpEvent, XdpFlowPackets, XdpFlowRefusal, XdpOutcome, XdpSampled};
use crate::record::{Action, EndReason};

/// What can stand in the label of a metric: one of few words.
pub trait Label: Copy {
    /// The word; empty for a metric without a label.
    fn name(self) -> &'static str;

    /// Further labels, which follow from the word.
    fn further(self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// Why a component did not hand records on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum Reason {
    /// Of no interest to what the component is for, such as packets that are not IP.
    Filtered,
    /// The condition of a `filter` does not hold.
    Condition,
    /// No route's condition holds, and nobody reads `_unmatched`.
    Unmatched,
    /// Nobody reads the routes whose conditions hold, or the port of a kind.
    Unread,
    /// The buffer was full, and `when_full` is `drop_newest`.
    BufferFull,
    /// The IP header has a wrong checksum, and `ignore_checksums` is false.
    BadChecksum,
    /// The profile is `zeek`, and the packet is none of a connection: a tunnel of an IP protocol of its own
    /// with nothing in it that is read, encryption or signalling of IPv6, a header that was cut or lies,
    /// a fragment that is not the last to come of its packet.
    NoConnection,
    /// A kind of record that the component does not take; the config's check keeps these away.
    WrongKind,
    /// The record can't be written in the sink's encoding.
    Unencodable,
    /// The destination refused the record for good, and the sink has no `dead_letter`.
    Refused,
    /// A line of a dead-letter file is none, or too long.
    NotADeadLetter,
    /// A dead letter names a sink that the config does not have.
    UnknownSink,
    /// A message of Kafka is no record in the form `wire`.
    NotWire,
    /// A message of Kafka is in a version of the form `wire` that this one does not know.
    NewerWire,
    /// A message of Kafka is a record in the form `wire` that is damaged or cut.
    DamagedWire,
    /// A line of tshark is not JSON.
    NotJson,
    /// A line of tshark lacks a field that each packet has.
    MissingField,
    /// A value in a line of tshark has another type than its field.
    WrongType,
    /// A line of tshark has a key twice.
    DuplicateKey,
    /// A value in a line of tshark can't be read as what its field holds.
    UnreadableValue,
    /// A number in a line of tshark is larger than its field can be.
    OutOfRange,
    /// A frame carries something else than IP.
    NotIp,
    /// The capture was cut before the end of a frame's IP header.
    CutShort,
    /// A frame ends within its headers, or they contradict themselves.
    Malformed,
    /// A frame is encrypted below IP.
    Encrypted,
    /// Frames of this link type are not read by `dissect: headers`.
    UnknownLinkType,
    /// A frame aggregates several packets, and none of them can be read by `dissect: headers`.
    SeveralPackets,
    /// More link-layer headers precede a frame's IP header than `dissect: headers` reads.
    TooManyHeaders,
}

/// Why packets were lost before there was a record of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum LossCause {
    /// The kernel's capture buffer was full (`pcap` in dumpcap's statistics).
    KernelBuffer,
    /// dumpcap's own buffer was full (`dumpcap` in its statistics).
    DumpcapBuffer,
    /// dumpcap had not yet written them when it ended (`flushed` in its statistics).
    DumpcapFlushed,
    /// The interface or its driver dropped them (`ps_ifdrop` in dumpcap's statistics).
    Interface,
    /// tshark left out frame numbers.
    FrameGap,
    /// tshark's line for the packet was longer than `max_line_bytes`.
    LineTooLong,
    /// No tshark could read the rest of a capture.
    TsharkFailed,
    /// Segments took more than their disk budget, or the disk was full: the newest was shed.
    DiskBudget,
    /// Packets that dumpcap wrote and no tshark printed.
    Unaccounted,
    /// Records and open flows that were in memory when an earlier run was killed, up to so many.
    PreviousRun,
    /// Messages that their topic of Kafka no longer had when they were to be read.
    OffsetGap,
    /// The gate's ring of packets (`report: packets`) was full.
    GateRing,
}

/// Why records that were in a disk buffer can't be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum BufferLoss {
    /// In their place there are bytes that are no record.
    Damaged,
    /// Their segment is not there.
    Missing,
    /// The disk does not give them back.
    Unreadable,
    /// This version does not know what they are.
    Unknown,
}

/// How the look-up of a name went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum Lookup {
    /// A name was seen in the capture: nothing to ask.
    Passive,
    /// The cache knew the names, or that there are none.
    Hit,
    /// The cache knew nothing.
    Miss,
    /// The cache knew, but too long ago.
    Stale,
    /// The answer: a name that leads back to the address.
    Named,
    /// The answer: only names that do not lead back to it.
    Unverified,
    /// The answer: no name.
    NoName,
    /// The answer: names that are no host names.
    Invalid,
    /// No answer.
    Timeout,
    /// An answer that reports an error, or can't be read.
    Failed,
    /// Asked later, for the records to come: too many were asked for at once.
    RateLimited,
    /// Not asked: the resolver has stopped answering.
    Suspended,
    /// Not asked: too many addresses wait to be asked for.
    QueueFull,
}

// === impl () ===

impl Label for () {
    fn name(self) -> &'static str {
        ""
    }
}

// === impl Reason ===

impl Reason {
    /// Those that the config asked for by what it selects, and frames that hold no packet to be read.
    pub(super) const FILTERED: [Self; 9] = [
        Self::Filtered,
        Self::Condition,
        Self::Unmatched,
        Self::Unread,
        Self::NotIp,
        Self::CutShort,
        Self::Malformed,
        Self::Encrypted,
        Self::NoConnection,
    ];

    fn is_intentional(self) -> bool {
        self == Self::BufferFull || Self::FILTERED.contains(&self)
    }
}

impl Label for Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Condition => "condition",
            Self::Unmatched => "unmatched",
            Self::Unread => "unread",
            Self::BufferFull => "buffer_full",
            Self::BadChecksum => "bad_checksum",
            Self::NoConnection => "no_connection",
            Self::WrongKind => "wrong_kind",
            Self::Unencodable => "unencodable",
            Self::Refused => "refused",
            Self::NotADeadLetter => "not_a_dead_letter",
            Self::UnknownSink => "unknown_sink",
            Self::NotWire => "not_wire",
            Self::NewerWire => "newer_wire",
            Self::DamagedWire => "damaged_wire",
            Self::NotJson => "not_json",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::DuplicateKey => "duplicate_key",
            Self::UnreadableValue => "unreadable_value",
            Self::OutOfRange => "out_of_range",
            Self::NotIp => "not_ip",
            Self::CutShort => "cut_short",
            Self::Malformed => "malformed",
            Self::Encrypted => "encrypted",
            Self::UnknownLinkType => "unknown_link_type",
            Self::SeveralPackets => "several_packets",
            Self::TooManyHeaders => "too_many_headers",
        }
    }

    fn further(self) -> &'static [(&'static str, &'static str)] {
        if self.is_intentional() { &[("intentional", "true")] } else { &[("intentional", "false")] }
    }
}

// === impl LossCause ===

impl LossCause {
    /// All, in their order.
    pub const ALL: [Self; 12] = [
        Self::KernelBuffer,
        Self::DumpcapBuffer,
        Self::DumpcapFlushed,
        Self::Interface,
        Self::FrameGap,
        Self::LineTooLong,
        Self::TsharkFailed,
        Self::DiskBudget,
        Self::Unaccounted,
        Self::PreviousRun,
        Self::OffsetGap,
        Self::GateRing,
    ];
}

impl Label for LossCause {
    fn name(self) -> &'static str {
        match self {
            Self::KernelBuffer => "kernel_buffer",
            Self::DumpcapBuffer => "dumpcap_buffer",
            Self::DumpcapFlushed => "dumpcap_flushed",
            Self::Interface => "interface",
            Self::FrameGap => "frame_gap",
            Self::LineTooLong => "line_too_long",
            Self::TsharkFailed => "tshark_failed",
            Self::DiskBudget => "disk_budget",
            Self::Unaccounted => "unaccounted",
            Self::PreviousRun => "previous_run",
            Self::OffsetGap => "offset_gap",
            Self::GateRing => "gate_ring",
        }
    }
}

// === impl BufferLoss ===

impl BufferLoss {
    /// What happened, in a log line.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Damaged => {
                "there are other bytes in their place; the segment is kept as `.damaged`"
            }
            Self::Missing => "their segment is not there",
            Self::Unreadable => {
                "the disk does not give them back; the segment is kept as `.damaged`"
            }
            Self::Unknown => "this version does not know what they are",
        }
    }
}

impl Label for BufferLoss {
    fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Lookup ===

impl Lookup {
    /// All, in their order.
    pub const ALL: [Self; 13] = [
        Self::Passive,
        Self::Hit,
        Self::Miss,
        Self::Stale,
        Self::Named,
        Self::Unverified,
        Self::NoName,
        Self::Invalid,
        Self::Timeout,
        Self::Failed,
        Self::RateLimited,
        Self::Suspended,
        Self::QueueFull,
    ];
}

impl Label for Lookup {
    fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Named => "named",
            Self::Unverified => "unverified",
            Self::NoName => "no_name",
            Self::Invalid => "invalid",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::RateLimited => "rate_limited",
            Self::Suspended => "suspended",
            Self::QueueFull => "queue_full",
        }
    }
}

// === impl Action ===

impl Label for Action {
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

// === impl EndReason ===

impl Label for EndReason {
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::{super::ErrorType, *};

    /// The names by which the reference lists a label's words, and those they are counted under.
    fn names<L: Label + JsonSchema + DeserializeOwned>() -> Vec<(String, &'static str)> {
        let schema = schemars::schema_for!(L).to_value();
        let words = schema["oneOf"].as_array().unwrap().iter();
        let name = |word: &Value| {
            let name = word["const"].as_str().unwrap().to_owned();
            let label: L = serde_json::from_value(name.clone().into()).unwrap();
            (name, label.name())
        };
        words.map(name).collect()
    }

    #[test]
    fn each_word_is_listed_under_the_name_it_is_counted_under() {
        let all = [
            names::<Reason>(),
            names::<LossCause>(),
            names::<Lookup>(),
            names::<XdpOutcome>(),
            names::<XdpEvent>(),
            names::<XdpFlowPackets>(),
            names::<XdpSampled>(),
            names::<XdpFlowRefusal>(),
            names::<XdpDenied>(),
            names::<ErrorType>(),
            names::<BufferLoss>(),
        ];
        for (listed, counted) in all.iter().flatten() {
            assert_eq!(listed, counted);
        }
        assert!(all.iter().all(|words| words.len() > 3), "{all:?}");
        assert_eq!(all[1].len(), LossCause::ALL.len());
    }

    #[test]
    fn only_what_the_config_asked_for_is_intentional() {
        assert_eq!(Reason::BufferFull.further(), [("intentional", "true")]);
        assert_eq!(Reason::Unread.further(), [("intentional", "true")]);
        assert_eq!(Reason::Refused.further(), [("intentional", "false")]);
    }
}
