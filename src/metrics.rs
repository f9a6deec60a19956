//! Every metric's name, labels and help text, once; and the [`Meter`] each component counts with.
//!
//! A `Meter` keeps its own numbers, which must balance at the end of a run, and mirrors them to the
//! process's metrics recorder, if one is installed.

mod balance;
mod books;
mod error_type;
mod labels;
mod level;
mod meter;
mod state;

use std::marker::PhantomData;

pub use self::{
    balance::Balance,
    books::{Books, Figures, GateFigures},
    error_type::ErrorType,
    labels::{
        BufferLoss, Label, Lookup, LossCause, Reason, XdpDenied, XdpEvent, XdpFlowPackets,
        XdpFlowRefusal, XdpOutcome, XdpSampled,
    },
    level::Level,
    meter::{Holding, Meter},
    state::State,
};
use crate::record::{Action, EndReason};

/// A metric as the reference lists it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Labels beside `component_id` and `component_type`.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// A counter whose label is one of the words of `L`; `()` for none.
#[derive(Debug)]
pub struct Counter<L> {
    metric: Metric,
    label: PhantomData<fn(L)>,
}

/// A gauge.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    metric: Metric,
}

/// A distribution of seconds.
#[derive(Debug, Clone, Copy)]
pub struct Histogram {
    metric: Metric,
}

/// Records taken in.
pub const RECEIVED: Counter<()> = Counter::new(
    "tidegate_component_received_events_total",
    &[],
    "Records taken in; for a source, packets or lines read.",
);
/// Records handed on.
pub const SENT: Counter<()> = Counter::new(
    "tidegate_component_sent_events_total",
    &[],
    "Records handed on, new ones included; for a sink, records that ended delivered or dead-lettered.",
);
/// Records not handed on.
pub const DISCARDED: Counter<Reason> = Counter::new(
    "tidegate_component_discarded_events_total",
    &["intentional", "reason"],
    "Records not handed on: on purpose (filtered, a buffer told to drop) or not (damaged, refused).",
);
/// Errors.
pub const ERRORS: Counter<ErrorType> = Counter::new(
    "tidegate_component_errors_total",
    &["error_type"],
    "Errors, by type; each is also logged.",
);
/// Packets lost before a record was made of them.
pub const CAPTURE_LOST: Counter<LossCause> = Counter::new(
    "tidegate_capture_lost_packets_total",
    &["cause"],
    "Packets that were on the wire and never became a record, by cause.",
);
/// Intervals whose losses nobody counted.
pub const CAPTURE_UNKNOWN_LOSS: Counter<()> = Counter::new(
    "tidegate_capture_unknown_loss_total",
    &[],
    "Intervals in which packets may have been lost uncounted (a capturer was killed).",
);
/// Records that a disk buffer could not read back.
pub const BUFFER_LOST: Counter<BufferLoss> = Counter::new(
    "tidegate_buffer_lost_events_total",
    &["cause"],
    "Records that were in a disk buffer and can't be read back, by cause.",
);
/// Records waiting before a component.
pub const BUFFER_EVENTS: Gauge = Gauge::new(
    "tidegate_buffer_events",
    "Records that wait in the buffer before the component; of a disk buffer, those on disk too.",
);
/// Bytes waiting before a component.
pub const BUFFER_BYTES: Gauge =
    Gauge::new("tidegate_buffer_bytes", "Bytes that those records take, in memory and on disk.");
/// Records a destination confirmed.
pub const ACKNOWLEDGED: Counter<()> = Counter::new(
    "tidegate_sink_acknowledged_events_total",
    &[],
    "Records whose destination confirmed them.",
);
/// Records in a dead-letter file.
pub const DEAD_LETTERED: Counter<()> = Counter::new(
    "tidegate_sink_dead_lettered_events_total",
    &[],
    "Records written to the dead-letter file, each with the reason.",
);
/// Records that were there already.
pub const DUPLICATED: Counter<()> = Counter::new(
    "tidegate_sink_duplicated_events_total",
    &[],
    "Records the destination had already, or may now have twice, after a retry.",
);
/// Messages in librdkafka's queue.
pub const KAFKA_QUEUE_EVENTS: Gauge = Gauge::new(
    "tidegate_kafka_queue_events",
    "Messages that librdkafka has and no broker has confirmed; each 5 s.",
);
/// Their bytes.
pub const KAFKA_QUEUE_BYTES: Gauge =
    Gauge::new("tidegate_kafka_queue_bytes", "Bytes of memory that those messages take.");
/// How long brokers take to answer.
pub const KAFKA_ROUND_TRIP: Gauge = Gauge::new(
    "tidegate_kafka_round_trip_microseconds",
    "What 99 of 100 answers of the slowest broker took at most, in the last 5 s.",
);
/// Messages that are not read and acknowledged yet.
pub const KAFKA_LAG: Gauge = Gauge::new(
    "tidegate_kafka_lag_messages",
    "Messages of the partitions that the source reads which are not acknowledged yet; each 5 s.",
);
/// Names looked up for addresses.
pub const DNS_LOOKUPS: Counter<Lookup> = Counter::new(
    "tidegate_dns_lookups_total",
    &["result"],
    "Names looked up: for each address of a record what was known, and for each one asked for how \
     that ended.",
);
/// Flows in the table.
pub const FLOW_ACTIVE: Gauge = Gauge::new("tidegate_flow_active", "Flows in the table.");
/// Flows that left the table.
pub const FLOW_ENDED: Counter<EndReason> = Counter::new(
    "tidegate_flow_ended_total",
    &["reason"],
    "Flows that ended, by reason; `lack_of_resources`: the table was full.",
);
/// What the gate's program did with packets.
pub const XDP_PACKETS: Counter<XdpOutcome> = Counter::new(
    "tidegate_xdp_packets_total",
    &["outcome"],
    "Packets that the gate's program saw, by what became of them; a fragment counts as one, too.",
);
/// What the gate's program had no room to tell.
pub const XDP_RING_LOST: Counter<()> = Counter::new(
    "tidegate_xdp_ring_lost_total",
    &[],
    "Events of the gate's program that found its ring full.",
);
/// What became of what the gate's program saw of contacts.
pub const XDP_EVENTS: Counter<XdpEvent> = Counter::new(
    "tidegate_xdp_events_total",
    &["result"],
    "What the gate's program saw of contacts: events that came through its ring, and what was not told.",
);
/// What became of packets that the gate's program counted by flow.
pub const XDP_FLOW_PACKETS: Counter<XdpFlowPackets> = Counter::new(
    "tidegate_xdp_flow_packets_total",
    &["result"],
    "Packets that the gate's program was to count by flow, and what became of some of them: those of \
     flows and the unattributed are all.",
);
/// Bytes of packets that no flow has.
pub const XDP_FLOW_UNATTRIBUTED_BYTES: Counter<()> = Counter::new(
    "tidegate_xdp_flow_unattributed_bytes_total",
    &[],
    "IP bytes of packets that no flow has.",
);
/// Flows that the gate's program could not begin at once.
pub const XDP_FLOW_REFUSALS: Counter<XdpFlowRefusal> = Counter::new(
    "tidegate_xdp_flow_refusals_total",
    &["reason"],
    "Tries of the gate's program to begin a flow that failed.",
);
/// What became of frames that the gate's program was to report singly.
pub const XDP_SAMPLED: Counter<XdpSampled> = Counter::new(
    "tidegate_xdp_sampled_packets_total",
    &["result"],
    "Frames that the gate's program was to report singly (`report: packets`), and what became of them: \
     those passed over and the chosen are all; the received, and the losses by `gate_ring`, are the chosen.",
);
/// What became of packets that the gate's program dropped, in records.
pub const XDP_DENIED: Counter<XdpDenied> = Counter::new(
    "tidegate_xdp_denied_packets_total",
    &["result"],
    "Packets that the gate's program dropped while somebody read the port `denied`, and what became of some of them: \
     those of its records and those in no record are all.",
);
/// Bytes of packets that were dropped and are in no record.
pub const XDP_DENIED_UNTOLD_BYTES: Counter<()> = Counter::new(
    "tidegate_xdp_denied_untold_bytes_total",
    &[],
    "IP bytes of packets that the gate's program dropped and that are in no record of the port `denied`.",
);
/// Verdicts in the kernel.
pub const XDP_VERDICTS: Gauge =
    Gauge::new("tidegate_xdp_verdicts", "Verdicts that hold in the gate's maps.");
/// Decisions of the judge.
pub const VERDICTS: Counter<Action> = Counter::new(
    "tidegate_verdicts_total",
    &["action"],
    "Decisions about sources, by what was decided; each is counted, told in a record or not.",
);
/// How long a decision took.
pub const VERDICT_LATENCY: Histogram = Histogram::new(
    "tidegate_verdict_latency_seconds",
    "From the time of the contact that decided to the return of the store that puts the verdict in \
     force; not in a replay.",
);
/// The build.
pub const BUILD_INFO: Metric = Metric {
    name: "tidegate_build_info",
    kind: "gauge",
    labels: &["version"],
    help: "1; the version is in the label. Has no component labels.",
};

/// All of them, as the reference lists them.
pub const ALL: &[Metric] = &[
    RECEIVED.metric,
    SENT.metric,
    DISCARDED.metric,
    ERRORS.metric,
    CAPTURE_LOST.metric,
    CAPTURE_UNKNOWN_LOSS.metric,
    BUFFER_LOST.metric,
    BUFFER_EVENTS.metric,
    BUFFER_BYTES.metric,
    ACKNOWLEDGED.metric,
    DEAD_LETTERED.metric,
    DUPLICATED.metric,
    KAFKA_QUEUE_EVENTS.metric,
    KAFKA_QUEUE_BYTES.metric,
    KAFKA_ROUND_TRIP.metric,
    KAFKA_LAG.metric,
    DNS_LOOKUPS.metric,
    FLOW_ACTIVE.metric,
    FLOW_ENDED.metric,
    XDP_PACKETS.metric,
    XDP_RING_LOST.metric,
    XDP_EVENTS.metric,
    XDP_FLOW_PACKETS.metric,
    XDP_FLOW_UNATTRIBUTED_BYTES.metric,
    XDP_FLOW_REFUSALS.metric,
    XDP_SAMPLED.metric,
    XDP_DENIED.metric,
    XDP_DENIED_UNTOLD_BYTES.metric,
    XDP_VERDICTS.metric,
    VERDICTS.metric,
    VERDICT_LATENCY.metric,
    BUILD_INFO,
];

// === impl Counter ===

impl<L> Clone for Counter<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Counter<L> {}

impl<L> Counter<L> {
    /// A counter; the last of its `labels` is the one that `L` has words for.
    const fn new(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { metric: Metric { name, kind: "counter", labels, help }, label: PhantomData }
    }
}

impl<L: Label> Counter<L> {
    /// The counter of one component and one word, in the installed recorder.
    #[expect(clippy::disallowed_macros, reason = "this is the module that names metrics")]
    fn of(self, id: &str, kind: &'static str, label: L) -> metrics::Counter {
        let mut labels = component(id, kind);
        let own = self.metric.labels.last().map(|name| (*name, label.name()));
        let further = own.into_iter().chain(label.further().iter().copied());
        labels.extend(further.map(|(name, word)| metrics::Label::from_static_parts(name, word)));
        metrics::counter!(self.metric.name, labels)
    }
}

// === impl Gauge ===

impl Gauge {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { metric: Metric { name, kind: "gauge", labels: &[], help } }
    }

    /// The gauge of one component, in the installed recorder.
    #[expect(clippy::disallowed_macros, reason = "this is the module that names metrics")]
    fn of(self, id: &str, kind: &'static str) -> metrics::Gauge {
        metrics::gauge!(self.metric.name, component(id, kind))
    }
}

// === impl Histogram ===

impl Histogram {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { metric: Metric { name, kind: "histogram", labels: &[], help } }
    }

    /// The distribution of one component, in the installed recorder.
    #[expect(clippy::disallowed_macros, reason = "this is the module that names metrics")]
    fn of(self, id: &str, kind: &'static str) -> metrics::Histogram {
        metrics::histogram!(self.metric.name, component(id, kind))
    }
}

fn component(id: &str, kind: &'static str) -> Vec<metrics::Label> {
    vec![
        metrics::Label::new("component_id", id.to_owned()),
        metrics::Label::from_static_parts("component_type", kind),
    ]
}

/// Tells the installed recorder what each metric is, and of which build they come.
#[expect(clippy::disallowed_macros, reason = "this is the module that names metrics")]
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            "counter" => metrics::describe_counter!(metric.name, metric.help),
            "gauge" => metrics::describe_gauge!(metric.name, metric.help),
            _ => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    metrics::gauge!(BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
