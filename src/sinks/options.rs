//! The keys that every sink has beside its own.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{EncodingConfig, Schema},
    component::{
        Claim, Problem,
        edge::{Bounds, WhenFull},
    },
    field::check_added,
    record::Added,
};

/// The keys that every sink has beside its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How records are written.
    pub encoding: EncodingConfig,
    /// How many records share a request.
    pub batch: BatchConfig,
    /// What waits before the sink.
    pub buffer: BufferConfig,
    /// How requests are sent and tried again.
    pub request: RequestConfig,
    /// Labels and tags that this sink's records have, beside those of the top level.
    pub add: Added,
    /// Where records go that the destination will never take (default: nowhere; they are counted as
    /// dropped and logged).
    pub dead_letter: Option<DeadLetterConfig>,
}

/// How many records share a request: it is sent when the first of the three limits is reached. What
/// is left out is as suits the sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Encoded bytes, before compression (at least 1). A record that is larger alone makes a request
    /// of its own.
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u32>,
    /// Records (at least 1).
    #[schemars(range(min = 1))]
    pub max_events: Option<u32>,
    /// Seconds after the first record at which a request is sent though it is not full (0 to 3600).
    /// Lower it for records that show up sooner, raise it for fewer requests; with 0 a request waits
    /// for nothing and takes what is there.
    #[schemars(range(max = 3600))]
    pub timeout_secs: Option<u64>,
}

/// What fills a request; what [`BatchConfig`] comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchLimits {
    /// Encoded bytes, before compression.
    pub max_bytes: u32,
    /// Records.
    pub max_events: u32,
    /// Seconds after the first record.
    pub timeout_secs: u64,
}

/// What waits before the sink, so that the rest of the pipeline need not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// Where it is: `memory` (default). What it holds is lost if the process dies.
    pub r#type: BufferType,
    /// Bytes of memory that waiting records may take (default: a share of what `memory_budget_bytes`
    /// leaves, 16777216, 16 MiB, at most; at least 65536).
    #[schemars(range(min = 65_536))]
    pub max_bytes: Option<u32>,
    /// Records that may wait (default 16384; at least 1).
    #[schemars(range(min = 1))]
    pub max_events: u32,
    /// What happens when it is full: `block` (default; the pipeline before it waits) or
    /// `drop_newest` (what comes is dropped and counted as `buffer_full`).
    pub when_full: WhenFull,
}

/// Where a buffer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BufferType {
    /// In memory.
    #[default]
    Memory,
}

/// How requests are sent and tried again. A request is tried until the destination has answered
/// for each record: there is no last try.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// Requests in flight at once (default 4; 1 to 256). A sink whose order matters (`file`,
    /// `console`) keeps to one.
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: u32,
    /// Seconds to wait for an answer over a network (default 60; 1 to 3600).
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_secs: u64,
    /// Seconds before the first new try, of which a random part is waited (default 1; 1 to 3600).
    #[schemars(range(min = 1, max = 3600))]
    pub retry_initial_secs: u64,
    /// Seconds that the wait, doubled with each try, grows to (default 30; not less than
    /// `retry_initial_secs`).
    #[schemars(range(min = 1, max = 86_400))]
    pub retry_max_secs: u64,
}

/// A file of the records that the destination will never take, each with the reason: NDJSON objects
/// `{time, sink, reason, record: {kind, time, id}, document}`, with `document_base64` in place of
/// `document` for a record that is neither JSON nor text. `tidegate replay --dead-letters` sends them
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// The file; its directory is made if it is not there. It belongs to one sink alone.
    pub path: PathBuf,
    /// Bytes it may grow to (default 104857600, 100 MiB; at least 4096). When it is full the sink
    /// holds what it has, and says so, until the file is moved away: nothing is dropped.
    #[serde(default = "default_dead_letter_bytes")]
    #[schemars(range(min = 4096))]
    pub max_bytes: u64,
}

const fn default_dead_letter_bytes() -> u64 {
    100 << 20
}

// === impl Options ===

impl Options {
    /// What is wrong with the values, for a sink whose own schema is `schema`, seen without looking at
    /// the machine.
    pub fn check(&self, schema: Schema) -> Vec<Problem> {
        let RequestConfig { retry_initial_secs, retry_max_secs, .. } = self.request;
        let mut problems = self.encoding.check(schema);
        let schemas = [self.encoding.schema.unwrap_or(schema)];
        problems.extend(check_added(&self.add, &schemas));
        if retry_max_secs < retry_initial_secs {
            let message =
                format!("{retry_max_secs} is less than retry_initial_secs, {retry_initial_secs}");
            let problem = Problem::new("request.retry_max_secs", message);
            problems.push(problem.hint(format!("give {retry_initial_secs} to 86400")));
        }
        problems.extend(self.dead_letter.iter().flat_map(DeadLetterConfig::check));
        problems
    }

    /// What nobody else may use: the dead-letter file.
    pub fn claims(&self) -> Vec<Claim> {
        let claim = |config: &DeadLetterConfig| Claim::file("dead_letter.path", &config.path);
        self.dead_letter.iter().map(claim).collect()
    }
}

// === impl BatchConfig ===

impl BatchConfig {
    /// These limits, and a sink's own where none is set.
    pub fn or(&self, default: BatchLimits) -> BatchLimits {
        BatchLimits {
            max_bytes: self.max_bytes.unwrap_or(default.max_bytes),
            max_events: self.max_events.unwrap_or(default.max_events),
            timeout_secs: self.timeout_secs.unwrap_or(default.timeout_secs),
        }
    }
}

// === impl BatchLimits ===

impl Default for BatchLimits {
    /// 1 MiB, 10,000 records or a second: for a sink that has no reason for others.
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_events: 10_000, timeout_secs: 1 }
    }
}

// === impl BufferConfig ===

impl Default for BufferConfig {
    fn default() -> Self {
        let Bounds { max_events, .. } = Bounds::default();
        Self { r#type: BufferType::Memory, max_bytes: None, max_events, when_full: WhenFull::Block }
    }
}

impl BufferConfig {
    /// The bounds of the edge into the sink; without a limit of its own it may have as many bytes as
    /// any edge.
    pub fn bounds(&self) -> Bounds {
        let max_bytes = self.max_bytes.unwrap_or(Bounds::default().max_bytes);
        Bounds { max_events: self.max_events, max_bytes }
    }
}

// === impl RequestConfig ===

impl Default for RequestConfig {
    fn default() -> Self {
        Self { concurrency: 4, timeout_secs: 60, retry_initial_secs: 1, retry_max_secs: 30 }
    }
}

// === impl DeadLetterConfig ===

impl DeadLetterConfig {
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.path.as_os_str().is_empty() {
            problems.push(Problem::new("dead_letter.path", "the path is empty"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(config: serde_json::Value) -> Vec<String> {
        let options: Options = serde_json::from_value(config).unwrap();
        options.check(Schema::Ecs).into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_defaults_are_in_range_and_hold_what_an_edge_holds() {
        let options = Options::default();
        assert_eq!(options.check(Schema::Ecs), []);
        assert_eq!(options.buffer.bounds(), Bounds::default());
    }

    #[test]
    fn values_that_do_not_go_together_are_named_at_once() {
        let config = json!({
            "request": {"retry_initial_secs": 10, "retry_max_secs": 9},
            "dead_letter": {"path": ""},
            "encoding": {"only_fields": ["sorce_ip"]},
        });
        assert_eq!(
            problems(config),
            ["encoding.only_fields[0]", "request.retry_max_secs", "dead_letter.path",]
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        for config in [json!({"bufer": {}}), json!({"buffer": {"type": "disk"}})] {
            assert!(serde_json::from_value::<Options>(config).is_err());
        }
    }
}
