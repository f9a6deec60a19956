//! The `kafka` sink: records in topics of Apache Kafka, through librdkafka.
//!
//! A request's items are handed to the [`producer`], a message each, and have ended when the broker's
//! delivery reports have come; [`report`] says what each of them means. Nothing is given up for its age:
//! librdkafka has no time-out, and what it gives back is sent again by the driver. After errors that it does
//! not get over by itself the producer is made anew.

mod client;
mod message;
mod producer;
mod properties;
mod report;
mod topic;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{ClientConfig, error::RDKafkaErrorCode};
use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    client::State,
    message::{Message, Messages},
    producer::{Generation, Lane, Producers, Sending},
    report::Verdict,
    topic::Topics,
};
use super::{
    ConfigureSink, Host, Requests, driver,
    options::{BatchLimits, Options},
};
pub use crate::remote::kafka::{Mechanism, Sasl};
use crate::{
    codec::{Codec, Encoder, Origin},
    component::{
        Clock, Component, Context, Error, ItemEnd, Items, Problem, SendError, SendOutcome, Sink,
    },
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Meter},
    record::Records,
    remote::{self, TlsConfig, kafka::Role, secret::Secret},
};

/// After so long without a delivery report the sink says that it waits.
const PATIENCE: Duration = Duration::from_secs(5);
const ROLE: Role = Role::RD_KAFKA_PRODUCER;

/// Writes records to topics, a message each, in the codec json, msgpack or `wire`. A message counts as
/// delivered when the broker has confirmed it, with all in-sync replicas. See docs/kafka.md.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The brokers to ask first, `HOST:PORT` each. They name all others.
    pub bootstrap_servers: Vec<String>,
    /// The topic. It may hold `{kind}` (`packet`, `flow`, `alert`, `health`, `contact`), `{namespace}` and
    /// `{observer}` (the sensor's name; what a topic can't hold of it becomes `_`), and nothing else: no
    /// field that whoever sends packets could choose.
    pub topic: String,
    /// What stands for `{namespace}` in `topic` (default `default`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// What decides on the partition, and so what stays in order: `community_id` (default; both directions
    /// of a conversation, in other tools' records too), `flow_id`, `source` (the address of whoever began it;
    /// for contacts that are to be judged) or `none`. What a record has not is made up for: by its flow's id,
    /// its source, the sensor's name.
    #[serde(default)]
    pub key: Key,
    /// How batches are compressed: `none`, `gzip`, `snappy`, `lz4` (default) or `zstd`.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// TLS; without this key connections are in the clear.
    pub tls: Option<TlsConfig>,
    /// A login; without this key there is none.
    pub sasl: Option<Sasl>,
    /// Further properties of librdkafka, by their names
    /// (<https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>). Those that other keys of
    /// the sink set can't be given here.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, Secret>,
}

/// What decides on the partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The Community ID.
    #[default]
    CommunityId,
    /// The flow's id.
    FlowId,
    /// The address of the source.
    Source,
    /// Nothing: partitions take turns.
    None,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
}

/// The sink of one config.
struct Kafka {
    encoder: Encoder,
    messages: Messages,
    topics: Topics,
    producers: Producers,
    state: Arc<State>,
    meter: Arc<Meter>,
    recreated: LogLimit,
    /// Whether brokers that can't be found before anything was delivered end the run.
    gives_up: bool,
}

fn default_namespace() -> String {
    "default".to_owned()
}

// === impl KafkaCompression ===

impl KafkaCompression {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

// === impl Config ===

impl Config {
    fn client_config(&self, options: &Options) -> ClientConfig {
        let bytes = options.batch.or(self.requests().batch).max_bytes;
        properties::client_config(self, bytes, options.request.concurrency)
    }
}

impl ConfigureSink for Config {
    fn requests(&self) -> Requests {
        let batch = BatchLimits { max_bytes: 1 << 20, max_events: 10_000, timeout_secs: 1 };
        Requests { batch, ..Requests::default() }
    }

    fn takes_wire(&self) -> bool {
        true
    }

    fn outline(&self) -> Option<String> {
        Some(format!("to topic {} at {}", self.topic, self.bootstrap_servers.join(", ")))
    }

    fn check(&self, options: &Options) -> Vec<Problem> {
        let mut problems = Vec::new();
        if options.encoding.codec == Codec::Yaml {
            let message = "messages are json, msgpack or wire";
            problems.push(Problem::new("encoding.codec", message).hint("use codec: json"));
        }
        problems.extend(properties::brokers(self).check(properties::OURS));
        problems.extend(topic::check(&self.topic, &self.namespace));
        if problems.is_empty() {
            let client = self.client_config(options);
            problems.extend(remote::kafka::check_together(client, ROLE));
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        let client = self.client_config(&Options::default());
        properties::brokers(self).check_environment(client, ROLE)
    }

    fn hosts(&self) -> Vec<Host> {
        remote::kafka::hosts(&self.bootstrap_servers)
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        let requests = self.requests();
        let state = Arc::new(State::new(Arc::clone(&context.meter)));
        let producers =
            Producers::start(self.client_config(options), Arc::clone(&state)).map_err(|error| {
                Error::configuration("librdkafka does not take this config").because(error)
            })?;
        let topics = Topics::new(&self.topic, &self.namespace, &context.observer)
            .map_err(|error| Error::configuration(error).hint("set `topic`, or `observer.name`"))?;
        let codec = options.encoding.codec;
        let schema = options.encoding.schema.unwrap_or(self.schema());
        let sink = Kafka {
            encoder: Encoder::new(
                &options.encoding,
                self.schema(),
                Origin::of(context).adding(&options.add),
            ),
            messages: Messages::new(self.key, codec, schema, &context.observer),
            topics,
            producers,
            state,
            meter: Arc::clone(&context.meter),
            recreated: LogLimit::series(),
            gives_up: context.gives_up,
        };
        driver::component(sink, requests, options, context)
    }
}

// === impl Kafka ===

impl Sink for Kafka {
    type Meta = Message;
    type Pending = ();

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<Message, Error> {
        self.encoder.encode(records, index, out)?;
        Ok(self.messages.of(records, index))
    }

    fn may_share(&self, _one: &Message, _other: &Message) -> bool {
        true
    }

    async fn send(&self, items: &Items<'_, Message>) -> Result<SendOutcome<()>, SendError> {
        let producer = self.producers.current();
        let (mut reports, mut refusal) = self.pass(&producer, Lane::Shared, items, |_| true).await;
        let suspects: Vec<_> = reports.iter().map(Verdict::is_suspect).collect();
        if refusal.is_none() && suspects.contains(&true) {
            let is_suspect = |at: usize| suspects.get(at).copied().unwrap_or(false);
            let (alone, refused) = self.pass(&producer, Lane::Alone, items, is_suspect).await;
            let places = reports.iter_mut().filter(|report| report.is_suspect());
            let (mut mixed, mut large) = (false, false);
            for (place, verdict) in places.zip(alone) {
                mixed |= verdict == Verdict::Delivered;
                large |= place.is_too_large();
                *place = verdict.alone();
            }
            if mixed && large {
                self.halve_batches(&producer);
            }
            refusal = refused;
        }
        self.ended(&producer, reports, refusal)
    }
}

impl Kafka {
    /// Hands the items over that `which` chooses, and waits for their reports.
    async fn pass(
        &self,
        producer: &Generation,
        lane: Lane,
        items: &Items<'_, Message>,
        which: impl Fn(usize) -> bool + Send + Sync,
    ) -> (Vec<Verdict>, Option<String>) {
        let chosen = || items.iter().enumerate().filter(|(at, _)| which(*at));
        let sending = Sending::new(chosen().count());
        for (at, (_, (payload, message))) in chosen().enumerate() {
            let topic = self.topics.of(message.kind);
            let record = self.messages.record(topic, payload, message, sending.ticket(at));
            producer.enqueue(lane, record, &sending).await;
        }
        let refusal = self.reported(producer, &sending).await;
        (sending.take(), refusal)
    }

    /// Waits for all delivery reports. Says so when none comes, and gives up only if the brokers refuse us, or
    /// none has ever been found where nobody waits for that: gives why.
    async fn reported(&self, producer: &Generation, sending: &Sending) -> Option<String> {
        let mut holding = None;
        loop {
            let before = sending.left();
            tokio::select! {
                biased;
                () = sending.done() => return None,
                () = tokio::time::sleep(PATIENCE) => {}
            }
            let astray = || self.state.astray().filter(|_| self.gives_up);
            if let Some(reason) = self.state.refusal().or_else(astray) {
                // What waits in the producer comes back as purged, and is sent again.
                self.recreate(&reason);
                producer.purge();
                sending.done().await;
                return Some(reason);
            }
            if sending.left() == before {
                holding.get_or_insert_with(|| self.meter.holding());
                self.state.waits();
            }
        }
    }

    /// What all of a request's reports come to; `refusal` is why the brokers refuse us.
    fn ended(
        &self,
        producer: &Generation,
        reports: Vec<Verdict>,
        refusal: Option<String>,
    ) -> Result<SendOutcome<()>, SendError> {
        if reports.iter().all(|report| matches!(report, Verdict::Delivered)) {
            self.state.delivered();
            return Ok(SendOutcome::Delivered);
        }
        let unclear = reports.iter().filter(|report| report.may_be_there()).count();
        self.meter.duplicated(unclear as u64);
        if refusal.is_none()
            && let Some(reason) = reports.iter().find_map(Verdict::wants_new_producer)
        {
            self.recreate_from(producer, &reason);
        }
        let delivered = reports.iter().any(|report| matches!(report, Verdict::Delivered));
        match refusal.or_else(|| reports.iter().find_map(Verdict::refusal)) {
            Some(reason) if !delivered => Err(SendError::Hold { reason }),
            _ => Ok(SendOutcome::Items(reports.into_iter().map(Verdict::end).collect())),
        }
    }

    /// Batches are larger than a topic takes, while their messages are not.
    fn halve_batches(&self, producer: &Generation) {
        match self.producers.halve_batches(producer) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                tracing::warn!("a topic takes no batches of this size: {bytes} bytes from now on");
            }
            Err(error) => tracing::error!("the producer can't be made anew: {error}"),
        }
    }

    fn recreate(&self, reason: &str) {
        let current = self.producers.current();
        self.recreate_from(&current, reason);
    }

    /// Has another producer than this one from now on.
    fn recreate_from(&self, producer: &Generation, reason: &str) {
        let done = self.producers.replace(producer);
        if matches!(done, Ok(false)) {
            return;
        }
        self.meter.count(ERRORS, ErrorType::ProducerRecreated, 1);
        if let Some(suppressed) = self.recreated.admit(1, Clock::Wall.now(None)) {
            match done {
                Ok(_) => tracing::warn!(suppressed, "the producer is made anew: {reason}"),
                Err(error) => {
                    tracing::error!(
                        suppressed,
                        "the producer can't be made anew: {error}: {reason}"
                    );
                }
            }
        }
    }
}

/// Whether librdkafka does not get over the error by itself, or only after minutes.
const fn needs_new_producer(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::PurgeQueue
            | RDKafkaErrorCode::PurgeInflight
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::OutOfOrderSequenceNumber
            | RDKafkaErrorCode::DuplicateSequenceNumber
            | RDKafkaErrorCode::UnknownProducerId
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::InvalidProducerIdMapping
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::FencedLeaderEpoch
            | RDKafkaErrorCode::UnknownLeaderEpoch
            | RDKafkaErrorCode::State
    )
}

/// An item's end.
fn again(reason: String) -> ItemEnd {
    ItemEnd::Retry(reason)
}

#[cfg(test)]
mod tests;
