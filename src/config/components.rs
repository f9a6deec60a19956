//! The registry: every component there is, by its `type`. Adding one is a variant and a line in the
//! match below it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::family::{Facts, Families, Family, NoKeys};
use crate::{
    codec::Codec,
    component::{Configure, Evidence, Problem},
    record::Kind,
    sinks::{self, ConfigureSink, options::Options},
    sources, transforms,
};

/// The components of the product.
#[derive(Debug, Clone, Copy)]
pub struct Components;

/// The sources.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum SourceConfig {
    /// The sensor's reports on itself: packets received and lost, records delivered and not, what
    /// waits; once more when it is stopped, or when the other sources have ended. A report that meets a
    /// full buffer is dropped and counted. A replay has no reports.
    Health(sources::health::Config),
    /// Records that other Tidegates wrote to topics of Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<sources::kafka::Config>),
    /// Packets from an interface or from capture files, dissected by tshark.
    Tshark(Box<sources::tshark::Config>),
    /// The gate: an XDP program on an interface, which drops or limits the packets of sources that a
    /// verdict names, and counts what passes by flow; `tidegate verdicts` lists what it holds.
    Xdp(Box<sources::xdp::Config>),
}

/// The transforms.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum TransformConfig {
    /// Lines of tshark to typed packets.
    Extract(transforms::extract::Config),
    /// Only the records for which a condition holds; the others are counted as filtered. A field that a
    /// record does not have fails every comparison; of one with several values (`tags`) one has to
    /// pass. Text is compared as it stands, upper and lower case being different.
    Filter(transforms::filter::Config),
    /// Each record to every route whose condition holds for it: a route's port is `ID.NAME`, and that
    /// of records for which none holds `ID._unmatched`. What nobody reads is counted as filtered.
    Route(transforms::route::Config),
    /// The names of addresses, from DNS answers in the same capture or by reverse look-up.
    ReverseDns(transforms::reverse_dns::Config),
    /// Packets to flows and contacts.
    Flow(transforms::flow::Config),
    /// Contacts to risk scores, verdicts and alerts; flows are annotated.
    Score(Box<transforms::score::Config>),
}

/// The sinks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum SinkConfig {
    /// Encodes records, counts them, and forgets them: for benchmarks, and for pipelines that run for
    /// their verdicts alone.
    Blackhole(sinks::blackhole::Config),
    /// Records on standard output.
    Console(sinks::console::Config),
    /// Records in an Elasticsearch or OpenSearch cluster.
    Elasticsearch(sinks::elasticsearch::Config),
    /// Records in files.
    File(sinks::file::Config),
    /// Records in topics of Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<sinks::kafka::Config>),
    /// Records in Splunk, through an HTTP event collector.
    SplunkHec(sinks::splunk_hec::Config),
}

// === impl Components ===

impl Families for Components {
    type Source = SourceConfig;
    type Transform = TransformConfig;
    type Sink = SinkConfig;
}

fn without_kafka(kind: &str) -> Option<&'static str> {
    let is_left_out = kind == "kafka" && cfg!(not(feature = "kafka"));
    is_left_out
        .then_some("this Tidegate was built without Kafka: build it with the feature `kafka`")
}

// === impl SourceConfig ===

impl SourceConfig {
    /// What it answers for itself.
    pub fn configure(&self) -> &dyn Configure {
        match self {
            Self::Health(config) => config,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => &**config,
            Self::Tshark(config) => &**config,
            Self::Xdp(config) => &**config,
        }
    }
}

impl Family for SourceConfig {
    type Common = NoKeys;

    fn left_out(kind: &str) -> Option<&'static str> {
        without_kafka(kind)
    }

    fn facts(&self, _common: &NoKeys) -> Facts {
        Facts::of(self.configure())
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.configure().check_environment()
    }
}

// === impl TransformConfig ===

impl TransformConfig {
    /// What it answers for itself.
    pub fn configure(&self) -> &dyn Configure {
        match self {
            Self::Extract(config) => config,
            Self::Filter(config) => config,
            Self::Route(config) => config,
            Self::ReverseDns(config) => config,
            Self::Flow(config) => config,
            Self::Score(config) => &**config,
        }
    }
}

impl Family for TransformConfig {
    type Common = NoKeys;

    fn facts(&self, _common: &NoKeys) -> Facts {
        Facts::of(self.configure())
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.configure().check_environment()
    }
}

// === impl SinkConfig ===

impl SinkConfig {
    /// What it answers for itself.
    pub fn configure(&self) -> &dyn ConfigureSink {
        match self {
            Self::Blackhole(config) => config,
            Self::Console(config) => config,
            Self::Elasticsearch(config) => config,
            Self::File(config) => config,
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => &**config,
            Self::SplunkHec(config) => config,
        }
    }
}

impl Family for SinkConfig {
    type Common = Options;

    fn left_out(kind: &str) -> Option<&'static str> {
        without_kafka(kind)
    }

    fn common_defaults(&self) -> serde_json::Value {
        let config = self.configure();
        serde_json::json!({
            "batch": config.requests().batch,
            "encoding": {"schema": config.schema().name()},
        })
    }

    fn facts(&self, options: &Options) -> Facts {
        let config = self.configure();
        let mut problems = config.check(options);
        problems.extend(options.check(config.schema()));
        let mut claims = config.claims();
        claims.extend(options.claims());
        let mut signature = config.signature();
        if options.encoding.codec == Codec::Wire {
            if config.takes_wire() {
                signature.accepts = signature.accepts.union(Kind::Contact.into());
            } else if !problems.iter().any(|problem| problem.key == "encoding.codec") {
                let message = "records in the form wire are read by Tidegate alone, behind Kafka";
                let problem = Problem::new("encoding.codec", message);
                problems.push(problem.hint("use json, yaml or msgpack"));
            }
        }
        Facts {
            signature,
            problems,
            claims,
            needs: Vec::new(),
            provides: Vec::new(),
            remarks: Vec::new(),
            asks: Vec::new(),
            takes_verdicts: false,
            enforces: false,
            has_outputs_to_choose: false,
            passes_on: None,
            evidence: Evidence::default(),
            references: Vec::new(),
        }
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.configure().check_environment()
    }
}
