//! `kafka`: the records that other Tidegates wrote to topics of Apache Kafka in the form `wire`.
//!
//! topics → [`reader`], a thread that polls librdkafka as one of a consumer group → chunks, each of one
//! partition ([`chunk`]) → [`source`], which hands them on, on the ports of their kinds → receipts → the
//! [`ledger`], which knows up to where each partition is acknowledged → commits, by the thread again. What
//! librdkafka tells meanwhile, a change of partitions above all, comes to [`watch`].

mod chunk;
mod ledger;
mod reader;
mod source;
mod watch;

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use self::{reader::Reader, source::Consumer, watch::Shared};
pub use crate::remote::kafka::{Mechanism, Sasl};
use crate::{
    component::{Carries, Component, Configure, Context, Error, PortSpec, Problem, Signature},
    record::{Kind, Kinds},
    remote::{
        self, TlsConfig,
        kafka::{Brokers, Ours, Role},
        secret::Secret,
    },
};

/// The ports, in their order, and what comes out of each.
const PORTS: [(&str, Kind); 4] = [
    ("flows", Kind::Flow),
    ("alerts", Kind::Alert),
    ("contacts", Kind::Contact),
    ("health", Kind::Health),
];

/// Properties that keys of the source set, or that its promises rest on.
const OURS: &[Ours] = &[
    ("auto.offset.reset", "use start"),
    ("auto.commit.", "what is acknowledged is committed, and nothing else"),
    ("enable.auto.", "what is acknowledged is committed, and nothing else"),
    ("enable.partition.eof", "the source does not ask for it"),
    ("fetch.max.bytes", "it is a part of the memory budget"),
    ("group.id", "use group"),
    ("group.protocol", "it is the classic one"),
    ("offset.store.", "what is acknowledged is committed, and nothing else"),
    ("queued.max.messages.kbytes", "it is a part of the memory budget"),
];

/// What librdkafka may have fetched ahead.
const QUEUE_BYTES: u64 = 16 << 20;
/// What one answer of a broker may hold.
const FETCH_BYTES: u64 = 8 << 20;
/// How soon a topic that was missing is found, and a partition that was added.
const REFRESH_MILLIS: u32 = 30_000;
const ROLE: Role = Role::RD_KAFKA_CONSUMER;
const MAX_GROUP_BYTES: usize = 255;
const MAX_TOPIC_BYTES: usize = 249;

/// Reads records that other Tidegates wrote to topics of Apache Kafka (`encoding: { codec: wire }` of their sink
/// `kafka`), on the ports `flows`, `alerts`, `contacts` and `health`. Several with one `group` share the
/// partitions. What is committed is what all that reads from it has acknowledged. See docs/kafka.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The brokers to ask first, `HOST:PORT` each. They name all others.
    pub bootstrap_servers: Vec<String>,
    /// The consumer group: each record goes to one of those that have the same, and Kafka keeps up to where
    /// they have read.
    pub group: String,
    /// The topics. One that is missing is waited for.
    pub topics: Vec<String>,
    /// Where a partition is begun of which the group has read nothing, or whose next record is gone: with the
    /// oldest record that is there, or with those to come (earliest).
    #[serde(default)]
    pub start: Start,
    /// TLS; without this key connections are in the clear.
    pub tls: Option<TlsConfig>,
    /// A login; without this key there is none.
    pub sasl: Option<Sasl>,
    /// Further properties of librdkafka, by their names
    /// (<https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>). Those that other keys of
    /// the source set can't be given here.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, Secret>,
}

/// Where a partition is begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest record that is there.
    #[default]
    Earliest,
    /// With those to come.
    Latest,
}

/// Letters that the name of a topic may have.
fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

// === impl Start ===

impl Start {
    const fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
        }
    }
}

// === impl Config ===

impl Config {
    fn brokers(&self) -> Brokers<'_> {
        Brokers {
            bootstrap_servers: &self.bootstrap_servers,
            tls: self.tls.as_ref(),
            sasl: self.sasl.as_ref(),
            librdkafka: &self.librdkafka,
        }
    }

    /// The consumer's properties: the user's win where they are only better defaults.
    fn client_config(&self) -> ClientConfig {
        let mut client = self.brokers().client_config();
        let defaults = [
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("topic.metadata.refresh.interval.ms", REFRESH_MILLIS.to_string()),
        ];
        for (property, value) in defaults {
            if !self.librdkafka.contains_key(property) {
                client.set(property, value);
            }
        }
        client
            .set("group.id", &self.group)
            .set("auto.offset.reset", self.start.name())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("queued.max.messages.kbytes", (QUEUE_BYTES >> 10).to_string())
            .set("fetch.max.bytes", FETCH_BYTES.to_string());
        client
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        let port = |(name, kind)| PortSpec::named(name, Carries::Only(kind));
        Signature { accepts: Kinds::NONE, ports: PORTS.into_iter().map(port).collect() }
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.brokers().check(OURS);
        if self.group.is_empty() || self.group.len() > MAX_GROUP_BYTES {
            let message = "this can't be the name of a group";
            let hint = format!("give 1 to {MAX_GROUP_BYTES} bytes");
            problems.push(Problem::new("group", message).hint(hint));
        }
        if self.topics.is_empty() {
            problems.push(Problem::new("topics", "there is no topic").hint("name one at least"));
        }
        for (at, topic) in self.topics.iter().enumerate() {
            let key = format!("topics[{at}]");
            let is_name = !topic.is_empty() && topic.chars().all(is_legal);
            if !is_name || topic.len() > MAX_TOPIC_BYTES || matches!(topic.as_str(), "." | "..") {
                let problem = Problem::new(key, format!("{topic:?} can't be a topic"));
                problems.push(problem.hint("give letters, digits, `.`, `_` and `-`"));
            } else if self.topics[..at].contains(topic) {
                problems.push(Problem::new(key, format!("{topic} is listed twice")));
            }
        }
        if problems.is_empty() {
            problems.extend(remote::kafka::check_together(self.client_config(), ROLE));
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.brokers().check_environment(self.client_config(), ROLE)
    }

    fn memory_bytes(&self) -> u64 {
        QUEUE_BYTES + FETCH_BYTES + chunk::MEMORY_BYTES
    }

    /// Which of the kinds there are is a matter of the topics.
    fn has_outputs_to_choose(&self) -> bool {
        true
    }

    fn outline(&self) -> Option<String> {
        let (topics, servers) = (self.topics.join(", "), self.bootstrap_servers.join(", "));
        Some(format!("from {topics} at {servers}, as one of the group {}", self.group))
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let client = self.client_config();
        client.create_native_config().map_err(|error| {
            Error::configuration("librdkafka does not take this config").because(error)
        })?;
        let shared = Arc::new(Shared::new(Arc::clone(&context.meter)));
        let reader = Reader::new(client, self.topics.clone(), Arc::clone(&shared));
        Ok(Component::source(Consumer { reader, shared, receipts: context.receipts.clone() }))
    }
}

#[cfg(test)]
mod tests;
