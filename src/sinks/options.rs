//! The keys that every sink has beside its own.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    buffer,
    codec::{Codec, EncodingConfig, Schema},
    component::{
        Claim, Problem,
        edge::{Bounds, WhenFull},
    },
    field::check_added,
    record::Added,
};

/// What a disk buffer may take where the config says nothing.
const DISK_BYTES: u64 = 1 << 30;
/// The least a disk buffer works with.
const MIN_DISK_BYTES: u64 = 4 << 20;

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// Where it is: `memory` (default), whose content is lost if the process dies, or `disk`, where records
    /// count as delivered for all before the buffer once they are synced, and survive a crash and a loss of
    /// power.
    pub r#type: BufferType,
    /// The directory of a disk buffer, which it has to itself (default: `buffers/ID` in `data_dir`).
    #[schemars(extend("format" = "path"))]
    pub path: Option<PathBuf>,
    /// Bytes that waiting records may take. In memory by default a share of what `memory_budget_bytes`
    /// leaves, 16777216, 16 MiB, at most; 65536 to 4294967295. On disk by default 1073741824, 1 GiB; at least
    /// 4194304, 4 MiB.
    #[schemars(range(min = 65_536))]
    pub max_bytes: Option<u64>,
    /// Records that may wait in memory (default 16384; at least 1). A disk buffer has no such limit.
    #[schemars(range(min = 1))]
    pub max_events: Option<u32>,
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
    /// On disk.
    Disk,
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
    #[schemars(extend("format" = "path"))]
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
        if self.encoding.codec == Codec::Wire && !self.add.is_empty() {
            let message = "records in the form wire have no labels and tags";
            let hint = "add them where documents are written";
            problems.push(Problem::new("add", message).hint(hint));
        }
        if retry_max_secs < retry_initial_secs {
            let message =
                format!("{retry_max_secs} is less than retry_initial_secs, {retry_initial_secs}");
            let problem = Problem::new("request.retry_max_secs", message);
            problems.push(problem.hint(format!("give {retry_initial_secs} to 86400")));
        }
        problems.extend(self.buffer.check());
        problems.extend(self.dead_letter.iter().flat_map(DeadLetterConfig::check));
        problems
    }

    /// What nobody else may use: the dead-letter file, the directory of the disk buffer.
    pub fn claims(&self) -> Vec<Claim> {
        let claim = |config: &DeadLetterConfig| Claim::file("dead_letter.path", &config.path);
        let buffer = self.buffer.path.iter().map(|path| Claim::file("buffer.path", path));
        self.dead_letter.iter().map(claim).chain(buffer).collect()
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

impl BufferConfig {
    /// The bounds of the edge into the sink; without a limit of its own it may have as many bytes as
    /// any edge.
    pub fn bounds(&self) -> Bounds {
        let edge = Bounds::default();
        Bounds {
            max_events: self.max_events.unwrap_or(edge.max_events),
            max_bytes: self.memory_bytes().unwrap_or(edge.max_bytes),
        }
    }

    /// Bytes of memory that the config gives it; `None` where it says nothing.
    pub fn memory_bytes(&self) -> Option<u32> {
        let in_memory = self.max_bytes.filter(|_| self.r#type == BufferType::Memory);
        in_memory.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// What a disk buffer is made with, for the sink `id` of a run that keeps its state in `data_dir`.
    pub fn on_disk(&self, id: &str, data_dir: &Path) -> Option<buffer::stage::Settings> {
        (self.r#type == BufferType::Disk).then(|| buffer::stage::Settings {
            path: self.path.clone().unwrap_or_else(|| data_dir.join("buffers").join(id)),
            max_bytes: self.max_bytes.unwrap_or(DISK_BYTES),
            when_full: self.when_full,
        })
    }

    /// Whether it is on disk.
    pub fn is_on_disk(&self) -> bool {
        self.r#type == BufferType::Disk
    }

    /// Whether it lies in `data_dir`.
    pub fn keeps_state(&self) -> bool {
        self.is_on_disk() && self.path.is_none()
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, message: String, hint: &str| {
            problems.push(Problem::new(format!("buffer.{key}"), message).hint(hint));
        };
        match (self.r#type, self.max_bytes) {
            (BufferType::Disk, Some(bytes)) if bytes < MIN_DISK_BYTES => {
                let message = format!("{bytes} is too little for a disk buffer");
                problem("max_bytes", message, "give 4194304, 4 MiB, or more");
            }
            (BufferType::Memory, Some(bytes)) if u32::try_from(bytes).is_err() => {
                let message = format!("{bytes} is more than a buffer in memory may have");
                problem("max_bytes", message, "give 65536 to 4294967295, or use `type: disk`");
            }
            _ => {}
        }
        if self.r#type == BufferType::Disk && self.max_events.is_some() {
            let message = "a disk buffer is bounded by bytes only".to_owned();
            problem("max_events", message, "remove the key");
        }
        if self.r#type == BufferType::Memory && self.path.is_some() {
            let message = "a buffer in memory has no directory".to_owned();
            problem("path", message, "remove the key, or add `type: disk`");
        }
        if self.path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problem("path", "the path is empty".to_owned(), "name a directory");
        }
        problems
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
    fn a_buffer_has_only_what_its_type_has() {
        let cases = [
            (json!({"type": "disk", "path": "b", "max_bytes": 4_194_304}), vec![]),
            (json!({"max_bytes": 65_536, "max_events": 1}), vec![]),
            (
                json!({"type": "disk", "max_bytes": 65_536, "max_events": 1}),
                vec!["buffer.max_bytes", "buffer.max_events"],
            ),
            (
                json!({"path": "b", "max_bytes": 1_u64 << 32}),
                vec!["buffer.max_bytes", "buffer.path"],
            ),
            (json!({"type": "disk", "path": ""}), vec!["buffer.path"]),
        ];
        for (buffer, expected) in cases {
            assert_eq!(problems(json!({ "buffer": buffer })), expected, "{buffer}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        for config in [json!({"bufer": {}}), json!({"buffer": {"type": "tape"}})] {
            assert!(serde_json::from_value::<Options>(config).is_err());
        }
    }
}
