//! Every metric's name, labels and help text, once; and the [`Meter`] each component counts with.
//!
//! A `Meter` keeps its own numbers, which must balance at the end of a run, and mirrors them to the
//! process's metrics recorder, if one is installed.

mod books;
mod meter;

pub use self::{
    books::{Books, Figures},
    meter::{Balance, Holding, Level, Meter, State},
};

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

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: "counter", labels, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: "gauge", labels: &[], help }
}

/// Records taken in.
pub const RECEIVED: Metric = counter(
    "tidegate_component_received_events_total",
    &[],
    "Records taken in; for a source, packets or lines read.",
);
/// Records handed on.
pub const SENT: Metric = counter(
    "tidegate_component_sent_events_total",
    &[],
    "Records handed on, new ones included; for a sink, records that ended delivered or dead-lettered.",
);
/// Records not handed on.
pub const DISCARDED: Metric = counter(
    "tidegate_component_discarded_events_total",
    &["intentional", "reason"],
    "Records not handed on: on purpose (filtered, a buffer told to drop) or not (damaged, refused).",
);
/// Errors.
pub const ERRORS: Metric = counter(
    "tidegate_component_errors_total",
    &["error_type"],
    "Errors, by type; each is also logged.",
);
/// Packets lost before a record was made of them.
pub const CAPTURE_LOST: Metric = counter(
    "tidegate_capture_lost_packets_total",
    &["cause"],
    "Packets that were on the wire and never became a record, by cause.",
);
/// Intervals whose losses nobody counted.
pub const CAPTURE_UNKNOWN_LOSS: Metric = counter(
    "tidegate_capture_unknown_loss_total",
    &[],
    "Intervals in which packets may have been lost uncounted (a capturer was killed).",
);
/// Records waiting before a component.
pub const BUFFER_EVENTS: Metric =
    gauge("tidegate_buffer_events", "Records that wait in the buffer before the component.");
/// Bytes waiting before a component.
pub const BUFFER_BYTES: Metric =
    gauge("tidegate_buffer_bytes", "Bytes of memory that those records take.");
/// Records a destination confirmed.
pub const ACKNOWLEDGED: Metric = counter(
    "tidegate_sink_acknowledged_events_total",
    &[],
    "Records whose destination confirmed them.",
);
/// Records in a dead-letter file.
pub const DEAD_LETTERED: Metric = counter(
    "tidegate_sink_dead_lettered_events_total",
    &[],
    "Records written to the dead-letter file, each with the reason.",
);
/// Records that were there already.
pub const DUPLICATED: Metric = counter(
    "tidegate_sink_duplicated_events_total",
    &[],
    "Records the destination had already, or may now have twice, after a retry.",
);
/// Names looked up for addresses.
pub const DNS_LOOKUPS: Metric = counter(
    "tidegate_dns_lookups_total",
    &["result"],
    "Names looked up: for each address of a record what was known (passive, hit, miss, stale), and \
     for each one asked for how that ended (named, unverified, no_name, invalid, timeout, failed, \
     rate_limited, suspended, queue_full).",
);
/// Flows in the table.
pub const FLOW_ACTIVE: Metric = gauge("tidegate_flow_active", "Flows in the table.");
/// Flows that left the table.
pub const FLOW_ENDED: Metric = counter(
    "tidegate_flow_ended_total",
    &["reason"],
    "Flows that ended, by reason; `lack_of_resources`: the table was full.",
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
    RECEIVED,
    SENT,
    DISCARDED,
    ERRORS,
    CAPTURE_LOST,
    CAPTURE_UNKNOWN_LOSS,
    BUFFER_EVENTS,
    BUFFER_BYTES,
    ACKNOWLEDGED,
    DEAD_LETTERED,
    DUPLICATED,
    DNS_LOOKUPS,
    FLOW_ACTIVE,
    FLOW_ENDED,
    BUILD_INFO,
];

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
