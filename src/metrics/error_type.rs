//! The errors that components count: each is also logged. Listed in docs/reference.md.

use schemars::JsonSchema;

use super::Label;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[schemars(rename_all = "snake_case")]
#[cfg_attr(test, serde(rename_all = "snake_case"))]
pub enum ErrorType {
    /// Records of the judge found no room; its verdicts were put in force all the same.
    AlertsLost,
    /// A child process was stopped by a signal; it was continued.
    ChildStopped,
    /// A tshark printed nothing for minutes and was killed.
    TsharkStalled,
    /// A tshark was ended by a signal; its capture is read again.
    TsharkKilled,
    /// A tshark could not start, or could not read on in a capture.
    TsharkFailed,
    /// What was captured could not be read before the deadline at the end.
    TsharkSlow,
    /// tshark's last line has no end.
    LineCut,
    /// A line of tshark was longer than `max_line_bytes`.
    LineTooLong,
    /// A line of tshark held invalid UTF-8; U+FFFD stands in its place.
    InvalidUtf8,
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
    /// A frame's link type is not read by `dissect: headers`.
    UnknownLinkType,
    /// A frame aggregates several packets, and none of them can be read by `dissect: headers`.
    SeveralPackets,
    /// More headers precede a frame's IP header than `dissect: headers` reads.
    TooManyHeaders,
    /// The interface of a capture, or of the gate, went away; it is waited for.
    InterfaceGone,
    /// dumpcap could not start or ended with an error.
    DumpcapFailed,
    /// dumpcap was ended by a signal.
    DumpcapKilled,
    /// The disk of the segments is full.
    SegmentDiskFull,
    /// The folder of the segments can't be listed.
    SegmentUnreadable,
    /// A segment was deleted unread, for want of disk space.
    SegmentShed,
    /// Segments were left unread by this run or an earlier one.
    SegmentUnread,
    /// A segment can't be read to its end; it is kept in the folder `damaged`.
    DamagedSegment,
    /// A capture file is damaged or cut.
    DamagedCapture,
    /// A capture file can't be read.
    UnreadableCapture,
    /// A replay was stopped before its input had ended.
    Interrupted,
    /// A dead-letter file can't be read on.
    Unreadable,
    /// A sink's maintenance (rotate, sync, reopen) failed; tried again a second later.
    Maintenance,
    /// A file could not be rotated; it grows on, and is tried again.
    RotationFailed,
    /// A disk buffer could not write to its disk, or read from it; it is tried again.
    BufferDisk,
    /// A disk buffer ended in bytes that a crash had left there; they were cut off.
    BufferTorn,
    /// A request was not taken; its records are kept and sent again.
    NotDeliveredYet,
    /// The destination gave no good answer before the first record.
    DestinationNotReady,
    /// The destination refuses the sink, not its data: a wrong credential.
    DestinationRefusesUs,
    /// A broker of Kafka can't be reached, or does not answer.
    BrokerUnreachable,
    /// A producer of Kafka was made anew, after an error that it does not get over.
    ProducerRecreated,
    /// Brokers of Kafka refuse us, by our login or a certificate.
    BrokerRefusesUs,
    /// We may not read a topic of Kafka, or not as one of the group.
    ReadingForbidden,
    /// A topic of Kafka that is to be read is missing.
    TopicMissing,
    /// A consumer of Kafka was made anew.
    ConsumerRecreated,
    /// What was acknowledged could not be committed to Kafka; it is tried again.
    CommitFailed,
    /// Partitions of Kafka went to another consumer before all that was read of them was acknowledged: a part
    /// is read again.
    GivenBackUnacknowledged,
    /// Messages were gone from their topic before they were read.
    OffsetGap,
    /// A topic of Kafka was deleted and made anew while it was read.
    OffsetsBeginAnew,
    /// A request was refused as a whole and is sent in halves.
    RefusedAsAWhole,
    /// There was no room for a request again and again; it is sent in halves.
    NoRoomAsAWhole,
    /// A request got no clear answer again and again; it is sent in halves.
    UnclearAsAWhole,
    /// Elasticsearch put documents into the data stream's failure store.
    FailureStore,
    /// A Splunk acknowledgement id came twice on one channel.
    AcknowledgementIdsRepeat,
    /// A Splunk acknowledgement id is no number.
    AcknowledgementUnreadable,
    /// A request to Splunk was taken without an acknowledgement id, after others had one.
    AcknowledgementMissing,
    /// Splunk did not answer a question about acknowledgements.
    AcknowledgementUnanswered,
    /// A request to Splunk was not confirmed in time; it is sent again.
    AcknowledgementLate,
    /// The token has indexer acknowledgement off.
    AcknowledgementsOff,
    /// The gate's program was taken off its interface, or can't be put back on it.
    GateDetached,
    /// The gate stood open: no sign of life had come for `fail_open_secs`, as this process was stopped or could not give
    /// it.
    GateStoodOpen,
    /// The gate's maps could not be read or written.
    GateMap,
    /// A line of the verdict log, or what the gate keeps beside it, could not be written.
    VerdictLog,
    /// The judge's snapshot could not be read, or not be written.
    Snapshot,
}

// === impl ErrorType ===

impl Label for ErrorType {
    fn name(self) -> &'static str {
        match self {
            Self::AlertsLost => "alerts_lost",
            Self::ChildStopped => "child_stopped",
            Self::TsharkStalled => "tshark_stalled",
            Self::TsharkKilled => "tshark_killed",
            Self::TsharkFailed => "tshark_failed",
            Self::TsharkSlow => "tshark_slow",
            Self::LineCut => "line_cut",
            Self::LineTooLong => "line_too_long",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotJson => "not_json",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::DuplicateKey => "duplicate_key",
            Self::UnreadableValue => "unreadable_value",
            Self::OutOfRange => "out_of_range",
            Self::UnknownLinkType => "unknown_link_type",
            Self::SeveralPackets => "several_packets",
            Self::TooManyHeaders => "too_many_headers",
            Self::InterfaceGone => "interface_gone",
            Self::DumpcapFailed => "dumpcap_failed",
            Self::DumpcapKilled => "dumpcap_killed",
            Self::SegmentDiskFull => "segment_disk_full",
            Self::SegmentUnreadable => "segment_unreadable",
            Self::SegmentShed => "segment_shed",
            Self::SegmentUnread => "segment_unread",
            Self::DamagedSegment => "damaged_segment",
            Self::DamagedCapture => "damaged_capture",
            Self::UnreadableCapture => "unreadable_capture",
            Self::Interrupted => "interrupted",
            Self::Unreadable => "unreadable",
            Self::Maintenance => "maintenance",
            Self::RotationFailed => "rotation_failed",
            Self::BufferDisk => "buffer_disk",
            Self::BufferTorn => "buffer_torn",
            Self::NotDeliveredYet => "not_delivered_yet",
            Self::DestinationNotReady => "destination_not_ready",
            Self::DestinationRefusesUs => "destination_refuses_us",
            Self::BrokerUnreachable => "broker_unreachable",
            Self::ProducerRecreated => "producer_recreated",
            Self::BrokerRefusesUs => "broker_refuses_us",
            Self::ReadingForbidden => "reading_forbidden",
            Self::TopicMissing => "topic_missing",
            Self::ConsumerRecreated => "consumer_recreated",
            Self::CommitFailed => "commit_failed",
            Self::GivenBackUnacknowledged => "given_back_unacknowledged",
            Self::OffsetGap => "offset_gap",
            Self::OffsetsBeginAnew => "offsets_begin_anew",
            Self::RefusedAsAWhole => "refused_as_a_whole",
            Self::NoRoomAsAWhole => "no_room_as_a_whole",
            Self::UnclearAsAWhole => "unclear_as_a_whole",
            Self::FailureStore => "failure_store",
            Self::AcknowledgementIdsRepeat => "acknowledgement_ids_repeat",
            Self::AcknowledgementUnreadable => "acknowledgement_unreadable",
            Self::AcknowledgementMissing => "acknowledgement_missing",
            Self::AcknowledgementUnanswered => "acknowledgement_unanswered",
            Self::AcknowledgementLate => "acknowledgement_late",
            Self::AcknowledgementsOff => "acknowledgements_off",
            Self::GateDetached => "gate_detached",
            Self::GateStoodOpen => "gate_stood_open",
            Self::GateMap => "gate_map",
            Self::VerdictLog => "verdict_log",
            Self::Snapshot => "snapshot",
        }
    }
}
