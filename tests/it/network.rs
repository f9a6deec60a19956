//! What the network sinks have in common, shown for each of them: TLS, proxies, secrets, memory.

mod memory;
mod proxy;
mod secrets;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::sinks::{elasticsearch, splunk_hec};

use crate::harness::{
    Case, Outcome, Scene,
    certificates::Certificates,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    table::Row,
};

const SENT: u32 = 500;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    [memory::cases(), proxy::cases(), secrets::cases(), tls::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// A network sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Elasticsearch,
    SplunkHec,
}

/// A server that takes whatever either sink sends, and counts it.
#[derive(Debug, Clone, Default)]
struct Taker {
    copies: Arc<Mutex<BTreeMap<String, u64>>>,
}

// === impl Sink ===

impl Sink {
    const ALL: [Self; 2] = [Self::Elasticsearch, Self::SplunkHec];

    /// Its name in a config.
    const fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::SplunkHec => "splunk_hec",
        }
    }

    /// What the files of one that a case calls so are called.
    fn file_name(self, name: &str) -> String {
        format!("{}-{}", self.name(), name.replace([' ', ','], "-"))
    }

    /// Its keys for a server at this address.
    fn config(self, url: &str) -> Value {
        match self {
            Self::Elasticsearch => json!({"endpoints": [url]}),
            Self::SplunkHec => json!({"endpoint": url, "token": "a-token"}),
        }
    }

    /// Starts it with these keys more.
    fn start(self, scene: &Scene, name: &str, url: &str, more: &Value) -> Result<Delivery, Failed> {
        let mut config = self.config(url);
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let options = delivery::hasty(scene, &self.file_name(name));
        match self {
            Self::Elasticsearch => {
                let config: elasticsearch::Config = serde_json::from_value(config)?;
                Delivery::start(&config, options)
            }
            Self::SplunkHec => {
                let config: splunk_hec::Config = serde_json::from_value(config)?;
                Delivery::start(&config, options)
            }
        }
    }
}

// === impl Taker ===

impl Taker {
    /// Starts it.
    async fn serve(&self, certificates: Option<&Certificates>) -> std::io::Result<FaultServer> {
        let taker = self.clone();
        FaultServer::start(certificates, move |request| taker.take(request)).await
    }

    fn take(&self, request: &Request) -> Reply {
        let values = serde_json::Deserializer::from_slice(&request.body).into_iter();
        let values: Vec<Value> = values.map(|value| value.expect("JSON")).collect();
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut take = |key: &Value| *copies.entry(key.to_string()).or_default() += 1;
        let answer = if request.target.contains("_bulk") {
            let actions = values.iter().step_by(2);
            let items = actions.map(|action| {
                take(&action["create"]["_id"]);
                json!({"create": {"status": 201}})
            });
            json!({"errors": false, "items": items.collect::<Vec<_>>()})
        } else {
            for event in &values {
                take(&event["time"]);
            }
            json!({"text": "Success", "code": 0})
        };
        Reply::Answer(200, answer.to_string(), None)
    }

    /// Distinct records it has.
    fn delivered(&self) -> usize {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What became of the records that a sink of this name was sent, each of which must be there once.
    fn enter(&self, scene: &Scene, sink: Sink, name: &str, fault: &str) -> Outcome {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let delivered = copies.len() as u64;
        let letters = delivery::letters(&delivery::dead_letter(scene, &sink.file_name(name)));
        let row = Row {
            sink: sink.name(),
            server: "scripted",
            fault: fault.to_owned(),
            sent: u64::from(SENT),
            delivered,
            doubled: copies.values().sum::<u64>() - delivered,
            dead_lettered: letters.len() as u64,
        };
        row.enter()?;
        assert_eq!((row.delivered, row.doubled), (row.sent, 0), "{row:?}");
        Ok(())
    }
}
