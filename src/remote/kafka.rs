//! How brokers of Kafka are reached: what the sink and the source of that name have in common of their
//! configs, as properties of librdkafka.

use std::collections::BTreeMap;

pub(crate) use rdkafka::types::RDKafkaType as Role;
use rdkafka::{
    ClientConfig, ClientContext, client::Client, config::RDKafkaLogLevel, error::KafkaError,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Host, TlsConfig, secret::Secret};
use crate::component::Problem;

/// A property that is not the user's to set, and why; one that ends in `.` or `_` stands for all that begin so.
pub(crate) type Ours = (&'static str, &'static str);

/// Properties that the keys of each of both set.
const OURS: &[Ours] = &[
    ("bootstrap.servers", "use bootstrap_servers"),
    ("metadata.broker.list", "use bootstrap_servers"),
    ("sasl.mechanism", "use sasl.mechanism"),
    ("sasl.mechanisms", "use sasl.mechanism"),
    ("sasl.password", "use sasl.password"),
    ("sasl.username", "use sasl.user"),
    ("security.protocol", "it follows from tls and sasl"),
    ("ssl.ca.", "use tls.ca"),
    ("ssl.certificate.", "use tls.cert"),
    ("ssl.endpoint.identification.algorithm", "use tls.verify"),
    ("ssl.engine.", "keys are in files: use tls.cert and tls.key"),
    ("ssl.key.", "use tls.key"),
    ("ssl.keystore.", "use tls.cert and tls.key"),
    ("enable.ssl.certificate.verification", "use tls.verify"),
    ("internal.", "signals are handled elsewhere"),
    ("plugin.", "a plugin could change what is sent and what is confirmed"),
    ("test.", "it is for tests of librdkafka: nothing would come to your brokers"),
    ("statistics.interval.ms", "metrics are made of them"),
];

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

/// What a config says of its brokers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brokers<'a> {
    pub(crate) bootstrap_servers: &'a [String],
    pub(crate) tls: Option<&'a TlsConfig>,
    pub(crate) sasl: Option<&'a Sasl>,
    /// Further properties, by the user.
    pub(crate) librdkafka: &'a BTreeMap<String, Secret>,
}

/// The hosts of the first brokers.
pub(crate) fn hosts(servers: &[String]) -> Vec<Host> {
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

/// A client that says nothing.
struct Silent;

/// A property that is not the user's to set.
fn conflict(property: &str, further: &[Ours]) -> Option<Problem> {
    let is_ours = |(ours, _): &&Ours| {
        property == *ours || (ours.ends_with(['.', '_']) && property.starts_with(ours))
    };
    let (_, why) = OURS.iter().chain(further).find(is_ours)?;
    let message = "this property is not free";
    Some(Problem::new(format!("librdkafka.{property}"), message).hint(*why))
}

/// Makes a client of these properties, as a run does, and leaves it again.
fn try_out(client: &ClientConfig, role: Role) -> Result<(), KafkaError> {
    let native = client.create_native_config()?;
    Client::new(client, native, role, Silent).map(drop)
}

/// Why librdkafka does not take all of these properties together, if it does not. No broker is asked, and no file
/// of `tls` is read.
pub(crate) fn check_together(mut client: ClientConfig, role: Role) -> Option<Problem> {
    let is_plain = client.get("sasl.username").is_none();
    client
        .set("security.protocol", if is_plain { "plaintext" } else { "sasl_plaintext" })
        .remove("bootstrap.servers");
    let error = try_out(&client, role).err()?;
    let message = format!("librdkafka does not take these properties together: {}", told(&error));
    Some(Problem::new("librdkafka", message).hint("change one of those it names, or leave it out"))
}

/// What it says, without the words around it.
fn told(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientCreation(told) => told.clone(),
        _ => error.to_string(),
    }
}

// === impl Brokers ===

impl Brokers<'_> {
    /// What is wrong with the values, where `further` properties are not the user's to set either.
    pub(crate) fn check(&self, further: &[Ours]) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.bootstrap_servers.is_empty() {
            let problem = Problem::new("bootstrap_servers", "there is no broker");
            problems.push(problem.hint("give HOST:PORT of at least one"));
        }
        for (at, server) in self.bootstrap_servers.iter().enumerate() {
            if host(server).is_none() {
                let key = format!("bootstrap_servers[{at}]");
                let problem = Problem::new(key, format!("{server:?} is no broker's address"));
                problems.push(problem.hint(if server.contains(',') {
                    "write several as a list, each in quotes of its own: [\"HOST:PORT\", \"HOST:PORT\"]"
                } else {
                    "give HOST:PORT, an IPv6 address in brackets"
                }));
            }
        }
        problems.extend(self.tls.and_then(TlsConfig::check));
        if let Some(sasl) = self.sasl {
            problems.extend(sasl.password.check("sasl.password"));
            if sasl.user.is_empty() {
                problems.push(Problem::new("sasl.user", "the name is empty"));
            }
            if sasl.mechanism == Mechanism::Plain && self.tls.is_none() {
                let message = "the password would be sent in the clear";
                let hint = "add `tls: {}`, or use a scram mechanism";
                problems.push(Problem::new("sasl.mechanism", message).hint(hint));
            }
        }
        problems.extend(self.librdkafka.keys().filter_map(|property| conflict(property, further)));
        if problems.is_empty() {
            problems.extend(self.unknown_properties());
        }
        problems
    }

    fn unknown_properties(&self) -> impl Iterator<Item = Problem> {
        self.librdkafka.iter().filter_map(|(property, value)| {
            let mut one = ClientConfig::new();
            one.set(property, value.expose());
            // What it says of a value may quote it.
            one.create_native_config().is_err().then(|| {
                let key = format!("librdkafka.{property}");
                Problem::new(key, "librdkafka does not know this property, or not this value")
                    .hint("its names and values are listed in librdkafka's CONFIGURATION.md")
            })
        })
    }

    /// Files that are missing or damaged. The `client` has all properties of a run.
    pub(crate) fn check_environment(&self, mut client: ClientConfig, role: Role) -> Vec<Problem> {
        let Some(tls) = self.tls else { return Vec::new() };
        let files = [("tls.ca", &tls.ca), ("tls.cert", &tls.cert), ("tls.key", &tls.key)];
        let unreadable = files.into_iter().filter_map(|(key, path)| {
            let path = path.as_ref()?;
            let error = std::fs::File::open(path).err()?;
            Some(Problem::new(key, format!("can't read {}: {error}", path.display())))
        });
        let mut problems: Vec<_> = unreadable.collect();
        if problems.is_empty()
            && let Err(error) = try_out(client.remove("bootstrap.servers"), role)
        {
            problems.push(Problem::new("tls", told(&error)));
        }
        problems
    }

    /// The user's properties, which win where ours are only better defaults, and those of the connection.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("client.id", "tidegate").set("log.connection.close", "false");
        for (property, value) in self.librdkafka {
            client.set(property, value.expose());
        }
        let protocol = match (self.tls, self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("security.protocol", protocol)
            .set("statistics.interval.ms", STATISTICS_MILLIS.to_string());
        if let Some(tls) = self.tls {
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
        if let Some(sasl) = self.sasl {
            client
                .set("sasl.mechanism", sasl.mechanism.name())
                .set("sasl.username", &sasl.user)
                .set("sasl.password", sasl.password.expose());
        }
        client
    }
}

// === impl Silent ===

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
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
