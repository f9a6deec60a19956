//! The keys that every sink has beside its own.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    codec::{EncodingConfig, Schema},
    component::{
        Claim, Problem,
        edge::{self, Bounds},
    },
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
    /// Where records go that the destination will never take (default: nowhere; they are counted as
    /// dropped and logged).
    pub dead_letter: Option<DeadLetterConfig>,
}

/// How many records share a request: it is sent when the first of the three limits is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Encoded bytes, before compression (default 1048576, 1 MiB; at least 1). A record that is
    /// larger alone makes a request of its own.
    pub max_bytes: u32,
    /// Records (default 10000; at least 1).
    pub max_events: u32,
    /// Seconds after the first record at which a request is sent though it is not full (default 1;
    /// 1 to 3600). Lower it for records that show up sooner, raise it for fewer requests.
    pub timeout_secs: u64,
}

/// What waits before the sink, so that the rest of the pipeline need not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// Where it is: `memory` (default). What it holds is lost if the process dies.
    pub r#type: BufferType,
    /// Bytes of memory that waiting records may take (default 16777216, 16 MiB; at least 65536).
    pub max_bytes: u32,
    /// Records that may wait (default 16384; at least 1).
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

/// What happens when a buffer is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The pipeline before it waits.
    #[default]
    Block,
    /// What comes is dropped and counted.
    DropNewest,
}

/// How requests are sent and tried again. A request is tried until the destination has answered
/// for each record: there is no last try.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// Requests in flight at once (default 4; 1 to 256). A sink whose order matters (`file`,
    /// `console`) keeps to one.
    pub concurrency: u32,
    /// Seconds to wait for an answer over a network (default 60; 1 to 3600).
    pub timeout_secs: u64,
    /// Seconds before the first new try, of which a random part is waited (default 1; 1 to 3600).
    pub retry_initial_secs: u64,
    /// Seconds that the wait, doubled with each try, grows to (default 30; `retry_initial_secs` to
    /// 86400).
    pub retry_max_secs: u64,
}

/// A file of the records that the destination will never take, each with the reason: NDJSON objects
/// `{time, sink, reason, document}`, with `document_base64` in place of `document` for a record that
/// is neither JSON nor text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// The file; its directory must exist. It belongs to one sink alone.
    pub path: PathBuf,
    /// Bytes it may grow to (default 104857600, 100 MiB; at least 4096). When it is full the sink
    /// holds what it has, and says so, until the file is moved away: nothing is dropped.
    #[serde(default = "default_dead_letter_bytes")]
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
        let Self { batch, buffer, request, .. } = self;
        let retry_max = request.retry_initial_secs..=86_400;
        let mut problems = self.encoding.check(schema);
        let ranges = [
            ("batch.max_bytes", u64::from(batch.max_bytes), 1..=u64::from(u32::MAX)),
            ("batch.max_events", u64::from(batch.max_events), 1..=u64::from(u32::MAX)),
            ("batch.timeout_secs", batch.timeout_secs, 1..=3600),
            ("buffer.max_bytes", u64::from(buffer.max_bytes), 65_536..=u64::from(u32::MAX)),
            ("buffer.max_events", u64::from(buffer.max_events), 1..=u64::from(u32::MAX)),
            ("request.concurrency", u64::from(request.concurrency), 1..=256),
            ("request.timeout_secs", request.timeout_secs, 1..=3600),
            ("request.retry_initial_secs", request.retry_initial_secs, 1..=3600),
            ("request.retry_max_secs", request.retry_max_secs, retry_max),
        ];
        problems.extend(ranges.into_iter().filter(|(_, value, range)| !range.contains(value)).map(
            |(key, value, range)| {
                Problem::new(key, format!("{value} is out of range")).hint(format!(
                    "use {} to {}",
                    range.start(),
                    range.end()
                ))
            },
        ));
        problems.extend(self.dead_letter.iter().flat_map(DeadLetterConfig::check));
        problems
    }

    /// What nobody else may use: the dead-letter file.
    pub fn claims(&self) -> Vec<Claim> {
        let claim = |config: &DeadLetterConfig| Claim {
            key: "dead_letter.path".to_owned(),
            what: format!("file {}", config.path.display()),
        };
        self.dead_letter.iter().map(claim).collect()
    }
}

// === impl BatchConfig ===

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_events: 10_000, timeout_secs: 1 }
    }
}

// === impl BufferConfig ===

impl Default for BufferConfig {
    fn default() -> Self {
        let Bounds { max_events, max_bytes } = Bounds::default();
        Self { r#type: BufferType::Memory, max_bytes, max_events, when_full: WhenFull::Block }
    }
}

impl BufferConfig {
    /// The bounds of the edge into the sink.
    pub fn bounds(&self) -> Bounds {
        Bounds { max_events: self.max_events, max_bytes: self.max_bytes }
    }
}

// === impl WhenFull ===

impl From<WhenFull> for edge::WhenFull {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Block => Self::Block,
            WhenFull::DropNewest => Self::DropNewest,
        }
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
        if self.max_bytes < 4096 {
            let message = format!("{} is out of range", self.max_bytes);
            problems.push(Problem::new("dead_letter.max_bytes", message).hint("use 4096 or more"));
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
    fn every_value_out_of_range_is_named_at_once() {
        let config = json!({
            "batch": {"max_bytes": 0, "max_events": 0, "timeout_secs": 0},
            "buffer": {"max_bytes": 65535, "max_events": 0},
            "request": {
                "concurrency": 257, "timeout_secs": 0, "retry_initial_secs": 10, "retry_max_secs": 9,
            },
            "dead_letter": {"path": "", "max_bytes": 1},
            "encoding": {"only_fields": ["sorce_ip"]},
        });
        assert_eq!(
            problems(config),
            [
                "encoding.only_fields[0]",
                "batch.max_bytes",
                "batch.max_events",
                "batch.timeout_secs",
                "buffer.max_bytes",
                "buffer.max_events",
                "request.concurrency",
                "request.timeout_secs",
                "request.retry_max_secs",
                "dead_letter.path",
                "dead_letter.max_bytes",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        for config in [json!({"bufer": {}}), json!({"buffer": {"type": "disk"}})] {
            assert!(serde_json::from_value::<Options>(config).is_err());
        }
    }
}
