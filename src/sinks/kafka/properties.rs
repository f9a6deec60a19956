//! The producer's properties, and those that the sink's promises rest on.

use rdkafka::ClientConfig;

use super::Config;
use crate::remote::kafka::{Brokers, Ours};

/// Properties that keys of the sink set, or that its promises rest on.
pub(super) const OURS: &[Ours] = &[
    ("acks", "the sink confirms what all in-sync replicas have"),
    ("request.required.acks", "the sink confirms what all in-sync replicas have"),
    ("compression.", "use compression"),
    ("delivery.", "delivery reports are how the sink learns of each message"),
    ("dr_", "delivery reports are how the sink learns of each message"),
    ("enable.gapless.guarantee", "the sink has retries of its own"),
    ("enable.idempotence", "it is what keeps order and avoids duplicates"),
    ("message.timeout.ms", "nothing is given up for its age"),
    ("partitioner", "it is murmur2_random, so that Java's producers agree"),
    ("queue.buffering.max.", "the queue follows batch.max_bytes and request.concurrency"),
    ("queue.buffering.backpressure.", "the queue follows batch.max_bytes and request.concurrency"),
    ("transactional.id", "the sink has no transactions"),
];

/// The least that the queue of messages may have, in kibibytes.
const MIN_QUEUE_KIB: u64 = 1 << 10;
/// Messages that may be in the queue.
const QUEUE_MESSAGES: u32 = 1_000_000;

/// The producer's properties, for requests of `batch_bytes`, `concurrency` of them at once.
pub(super) fn client_config(config: &Config, batch_bytes: u32, concurrency: u32) -> ClientConfig {
    let mut client = brokers(config).client_config();
    let queue = u64::from(batch_bytes) * u64::from(concurrency) / 1024 * 5 / 4;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.codec", config.compression.name())
        .set("queue.buffering.max.kbytes", queue.max(MIN_QUEUE_KIB).to_string())
        .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string());
    client
}

/// The brokers of a config.
pub(super) fn brokers(config: &Config) -> Brokers<'_> {
    Brokers {
        bootstrap_servers: &config.bootstrap_servers,
        tls: config.tls.as_ref(),
        sasl: config.sasl.as_ref(),
        librdkafka: &config.librdkafka,
    }
}
