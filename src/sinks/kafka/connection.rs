//! How brokers are reached: the keys of the config as properties of librdkafka.

use rdkafka::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Config, TlsConfig};
use crate::{
    component::Problem,
    sinks::{Host, secret::Secret},
};

/// Properties that keys of the sink set, or that its promises rest on; those that end in `.` stand for all
/// that begin so.
const OURS: &[(&str, &str)] = &[
    ("acks", "the sink confirms what all in-sync replicas have"),
    ("request.required.acks", "the sink confirms what all in-sync replicas have"),
    ("bootstrap.servers", "use bootstrap_servers"),
    ("metadata.broker.list", "use bootstrap_servers"),
    ("compression.", "use compression"),
    ("delivery.", "delivery reports are how the sink learns of each message"),
    ("dr_", "delivery reports are how the sink learns of each message"),
    ("enable.gapless.guarantee", "the sink has retries of its own"),
    ("enable.idempotence", "it is what keeps order and avoids duplicates"),
    ("message.timeout.ms", "nothing is given up for its age"),
    ("partitioner", "it is murmur2_random, so that Java's producers agree"),
    ("queue.buffering.max.", "the queue follows batch.max_bytes and request.concurrency"),
    ("queue.buffering.backpressure.", "the queue follows batch.max_bytes and request.concurrency"),
    ("sasl.mechanism", "use sasl.mechanism"),
    ("sasl.mechanisms", "use sasl.mechanism"),
    ("sasl.password", "use sasl.password"),
    ("sasl.username", "use sasl.user"),
    ("security.protocol", "it follows from tls and sasl"),
    ("ssl.ca.", "use tls.ca"),
    ("ssl.certificate.", "use tls.cert"),
    ("ssl.key.", "use tls.key"),
    ("enable.ssl.certificate.verification", "use tls.verify"),
    ("statistics.interval.ms", "the sink's metrics are made of them"),
    ("transactional.id", "the sink has no transactions"),
];

/// The least that the queue of messages may have, in kibibytes.
const MIN_QUEUE_KIB: u64 = 1 << 10;
/// Messages that may be in the queue.
const QUEUE_MESSAGES: u32 = 1_000_000;
const STATISTICS_MILLIS: u32 = 5_000;

/// A login by name and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How the password is shown to the broker: `plain` (only with `tls`), `scram-sha-256` or
    /// `scram-sha-512` (default).
    #[serde(default)]
    pub mechanism: Mechanism,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a password is shown to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// As it is.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM with SHA-256 (RFC 7677).
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[default]
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// What is wrong with the values.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.bootstrap_servers.is_empty() {
        let problem = Problem::new("bootstrap_servers", "there is no broker");
        problems.push(problem.hint("give HOST:PORT of at least one"));
    }
    for (at, server) in config.bootstrap_servers.iter().enumerate() {
        if host(server).is_none() {
            let key = format!("bootstrap_servers[{at}]");
            let problem = Problem::new(key, format!("{server:?} is no broker's address"));
            problems.push(problem.hint("give HOST:PORT, an IPv6 address in brackets"));
        }
    }
    problems.extend(config.tls.as_ref().and_then(TlsConfig::check));
    if let Some(sasl) = &config.sasl {
        problems.extend(sasl.password.check("sasl.password"));
        if sasl.user.is_empty() {
            problems.push(Problem::new("sasl.user", "the name is empty"));
        }
        if sasl.mechanism == Mechanism::Plain && config.tls.is_none() {
            let message = "the password would be sent in the clear";
            let hint = "add `tls: {}`, or use a scram mechanism";
            problems.push(Problem::new("sasl.mechanism", message).hint(hint));
        }
    }
    problems.extend(config.librdkafka.keys().filter_map(|property| conflict(property)));
    if problems.is_empty() {
        problems.extend(config.librdkafka.iter().filter_map(|(property, value)| {
            let mut one = ClientConfig::new();
            one.set(property, value.expose());
            // What it says of a value may quote it.
            one.create_native_config().is_err().then(|| {
                let key = format!("librdkafka.{property}");
                Problem::new(key, "librdkafka does not know this property, or not this value")
                    .hint("its names and values are listed in librdkafka's CONFIGURATION.md")
            })
        }));
    }
    problems
}

/// A property that other keys of the sink set.
fn conflict(property: &str) -> Option<Problem> {
    let is_ours = |(ours, _): &&(&str, &str)| {
        property == *ours || (ours.ends_with(['.', '_']) && property.starts_with(ours))
    };
    let (_, why) = OURS.iter().find(is_ours)?;
    let message = "the sink sets this property itself";
    Some(Problem::new(format!("librdkafka.{property}"), message).hint(*why))
}

/// Files that are missing or damaged.
pub(super) fn check_environment(config: &Config) -> Vec<Problem> {
    let Some(tls) = &config.tls else { return Vec::new() };
    let files = [("tls.ca", &tls.ca), ("tls.cert", &tls.cert), ("tls.key", &tls.key)];
    let unreadable = files.into_iter().filter_map(|(key, path)| {
        let path = path.as_ref()?;
        let error = std::fs::File::open(path).err()?;
        Some(Problem::new(key, format!("can't read {}: {error}", path.display())))
    });
    let mut problems: Vec<_> = unreadable.collect();
    if problems.is_empty()
        && let Err(error) = client_config(config, 1 << 20, 1).create_native_config()
    {
        problems.push(Problem::new("tls", error.to_string()));
    }
    problems
}

/// The hosts of the first brokers.
pub(super) fn hosts(servers: &[String]) -> Vec<Host> {
    servers.iter().filter_map(|server| host(server)).collect()
}

fn host(server: &str) -> Option<Host> {
    let (name, port) = server.rsplit_once(':')?;
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let legal = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':')
    };
    let is_name = !name.is_empty() && name.chars().all(legal);
    is_name.then(|| Host { name: name.to_owned(), port })
}

/// The producer's properties, for requests of `batch_bytes`, `concurrency` of them at once.
pub(super) fn client_config(config: &Config, batch_bytes: u32, concurrency: u32) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (property, value) in &config.librdkafka {
        client.set(property, value.expose());
    }
    let queue = u64::from(batch_bytes) * u64::from(concurrency) / 1024 * 5 / 4;
    client
        .set("client.id", "tidegate")
        .set("bootstrap.servers", config.bootstrap_servers.join(","))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.codec", config.compression.name())
        .set("queue.buffering.max.kbytes", queue.max(MIN_QUEUE_KIB).to_string())
        .set("queue.buffering.max.messages", QUEUE_MESSAGES.to_string())
        .set("statistics.interval.ms", STATISTICS_MILLIS.to_string())
        .set("log.connection.close", "false");
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.cert),
            ("ssl.key.location", &tls.key),
        ];
        for (property, path) in files {
            if let Some(path) = path {
                client.set(property, path.to_string_lossy());
            }
        }
        client.set("enable.ssl.certificate.verification", tls.verify.to_string());
    }
    if let Some(sasl) = &config.sasl {
        client
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", sasl.password.expose());
    }
    client
}

// === impl Mechanism ===

impl Mechanism {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}
