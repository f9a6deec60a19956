//! A scripted collector, and what a fault of it must come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::splunk_hec::Config};

use crate::harness::{
    Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    table::Row,
};

pub(super) const LIMIT: Duration = Duration::from_mins(4);
pub(super) const SENT: u32 = 500;
/// The record whose event the collector can't read, where there is one.
pub(super) const BAD: u32 = 200;

/// What a collector keeps, and what it has been asked.
#[derive(Debug, Default)]
pub(super) struct Collector {
    copies: Mutex<BTreeMap<String, u64>>,
    /// The next id of each channel.
    ids: Mutex<BTreeMap<String, u64>>,
    /// Channels with events, in the order they came.
    channels: Mutex<Vec<String>>,
    /// Confirmations that were read.
    read: Mutex<BTreeSet<(String, u64)>>,
    pub(super) requests: AtomicUsize,
    questions: AtomicUsize,
}

/// An answer to events, or to a question, by its number among those.
pub(super) type Answer = fn(&Collector, &Request, usize) -> Reply;

/// A fault, and what must come of it.
#[derive(Clone)]
pub(super) struct Fault {
    pub(super) name: String,
    pub(super) event: Answer,
    pub(super) ack: Answer,
    /// The sink's keys beside those that all cases have.
    pub(super) config: Value,
    pub(super) options: Value,
    pub(super) dead_lettered: u64,
    /// What the collector has twice, where that is known beforehand; the sink must count as many or
    /// more.
    pub(super) doubled: Option<u64>,
    /// Channels the sink must have used, where that is known beforehand.
    pub(super) channels: Option<usize>,
    /// Errors it must have counted.
    pub(super) errors: &'static [&'static str],
    /// Requests that are reset when their head has been read, before any is answered.
    pub(super) unread: usize,
}

/// What became of it.
pub(super) struct Played {
    row: Row,
    balance: Balance,
    channels: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Collector ===

impl Collector {
    pub(super) fn take(&self, events: &[Value]) {
        let mut copies = lock(&self.copies);
        for event in events {
            *copies.entry(event["time"].to_string()).or_default() += 1;
        }
    }

    pub(super) fn good(&self, request: &Request) -> Reply {
        self.take(&events(request));
        success(Some(self.next_id(request)))
    }

    /// The next id of the request's channel.
    pub(super) fn next_id(&self, request: &Request) -> u64 {
        let mut ids = lock(&self.ids);
        let next = ids.entry(channel(request)).or_default();
        *next += 1;
        *next - 1
    }

    /// Forgets its channels.
    pub(super) fn restart(&self) {
        lock(&self.ids).clear();
    }

    /// Distinct events, and copies beyond the first.
    pub(super) fn distinct(&self) -> (u64, u64) {
        let copies = lock(&self.copies);
        let distinct = copies.len() as u64;
        (distinct, copies.values().sum::<u64>() - distinct)
    }

    /// Whether the question is about the channel that was used first.
    pub(super) fn is_first_channel(&self, request: &Request) -> bool {
        lock(&self.channels).first() == Some(&channel(request))
    }

    /// All that was given an id on this channel is indexed.
    pub(super) fn confirm(&self, request: &Request, _question: usize) -> Reply {
        let given = lock(&self.ids).get(&channel(request)).copied().unwrap_or_default();
        statuses(request, |id| id < given)
    }

    /// The same, and each answer is given once.
    pub(super) fn confirm_once(&self, request: &Request) -> Reply {
        let given = lock(&self.ids).get(&channel(request)).copied().unwrap_or_default();
        statuses(request, |id| id < given && lock(&self.read).insert((channel(request), id)))
    }

    /// Answers what comes.
    pub(super) fn respond(
        &self,
        request: &Request,
        event: impl Fn(&Self, &Request, usize) -> Reply,
        ack: impl Fn(&Self, &Request, usize) -> Reply,
    ) -> Reply {
        assert_eq!(request.headers["authorization"], "Splunk a-token");
        if request.target.ends_with("/ack") {
            return ack(self, request, self.questions.fetch_add(1, Ordering::SeqCst));
        }
        if let Some(channel) = request.headers.get(CHANNEL) {
            let mut channels = lock(&self.channels);
            if !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        event(self, request, self.requests.fetch_add(1, Ordering::SeqCst))
    }
}

const CHANNEL: &str = "x-splunk-request-channel";

fn channel(request: &Request) -> String {
    request.headers[CHANNEL].clone()
}

pub(super) fn events(request: &Request) -> Vec<Value> {
    let events = serde_json::Deserializer::from_slice(&request.body).into_iter();
    events.map(|event| event.expect("an event is JSON")).collect()
}

pub(super) fn bad_at(events: &[Value]) -> Option<usize> {
    events.iter().position(|event| event["event"]["reasons"] == json!(["bad"]))
}

pub(super) fn success(ack_id: Option<u64>) -> Reply {
    with_code(0, ack_id)
}

/// The answer with this code and, where there is one, this id.
pub(super) fn with_code(code: u32, ack_id: Option<u64>) -> Reply {
    let status = match code {
        0 | 17 | 24 | 25 => 200,
        1 | 4 => 403,
        2 | 3 => 401,
        8 => 500,
        9 | 18..=20 | 23 => 503,
        26 | 27 => 429,
        _ => 400,
    };
    let mut body = json!({"text": "as asked", "code": code});
    if let Some(id) = ack_id {
        body["ackId"] = json!(id);
    }
    Reply::Answer(status, body.to_string(), None)
}

pub(super) fn code(code: u32) -> Reply {
    with_code(code, None)
}

/// The event at this place is refused.
pub(super) fn refusal(status: u16, code: u32, at: usize) -> Reply {
    let body = json!({"text": "as asked", "code": code, "invalid-event-number": at});
    Reply::Answer(status, body.to_string(), None)
}

pub(super) fn plain(status: u16, body: &str) -> Reply {
    Reply::Answer(status, body.to_owned(), None)
}

pub(super) fn statuses(request: &Request, indexed: impl Fn(u64) -> bool) -> Reply {
    let asked: Value = serde_json::from_slice(&request.body).expect("a question is JSON");
    let ids = asked["acks"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let acks: serde_json::Map<_, _> = ids.map(|id| (id.to_string(), json!(indexed(id)))).collect();
    Reply::Answer(200, json!({"acks": acks}).to_string(), None)
}

/// Puts these keys over those.
fn merge(into: &mut Value, more: &Value) {
    match more {
        Value::Object(more) => more.iter().for_each(|(key, value)| merge(&mut into[key], value)),
        _ => *into = more.clone(),
    }
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(name: impl Into<String>, event: Answer) -> Self {
        Self {
            name: name.into(),
            event,
            ack: Collector::confirm,
            config: json!({}),
            options: json!({}),
            dead_lettered: 0,
            doubled: Some(0),
            channels: Some(1),
            errors: &[],
            unread: 0,
        }
    }

    pub(super) async fn play(&self, scene: &Scene) -> Result<Played, Failed> {
        self.play_with(scene, self.event).await
    }

    /// The same, with answers to events that are no plain function.
    pub(super) async fn play_with(
        &self,
        scene: &Scene,
        event: impl Fn(&Collector, &Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Result<Played, Failed> {
        let (collector, ack) = (Arc::new(Collector::default()), self.ack);
        let server = FaultServer::start(None, {
            let collector = Arc::clone(&collector);
            move |request| collector.respond(request, &event, ack)
        })
        .await?;
        server.reset_unread(self.unread);
        let delivery = start(scene, &self.name, &server, &self.config, &self.options)?;
        delivery.send(delivery::alerts(SENT, &[BAD])).await?;
        self.finish(scene, delivery, &collector).await
    }

    /// What has become of so many records sent.
    pub(super) async fn finish(
        &self,
        scene: &Scene,
        delivery: Delivery,
        collector: &Collector,
    ) -> Result<Played, Failed> {
        let name = file_name(&self.name);
        let balance = delivery.finish(LIMIT).await.map_err(|failed| {
            Failed::from(format!("{name}: {}", failed.message().unwrap_or_default()))
        })?;
        let letters = delivery::letters(&delivery::dead_letter(scene, &name));
        for letter in &letters {
            assert_eq!(letter["document"]["reasons"], json!(["bad"]), "{name}: {letter}");
        }
        let (delivered, doubled) = collector.distinct();
        let row = Row {
            sink: "splunk_hec",
            server: "scripted",
            fault: self.name.clone(),
            sent: u64::from(SENT),
            delivered,
            doubled,
            dead_lettered: letters.len() as u64,
        };
        let channels = lock(&collector.channels).len();
        Ok(Played { row, balance, channels })
    }

    /// What is wrong with what became of it, if anything.
    fn judge(&self, played: &Played) -> Option<String> {
        let Played { row, balance, channels } = played;
        let expected = Row {
            delivered: u64::from(SENT) - self.dead_lettered,
            doubled: self.doubled.unwrap_or(row.doubled),
            dead_lettered: self.dead_lettered,
            ..row.clone()
        };
        let right = *row == expected
            && (balance.delivered, balance.dead_lettered) == (row.delivered, row.dead_lettered)
            && balance.duplicated >= row.doubled
            && self.channels.is_none_or(|expected| expected == *channels)
            && self.errors.iter().all(|error| balance.errors.contains_key(error));
        (!right).then(|| format!("{row:?} on {channels} channels, and the sink counts {balance:?}"))
    }
}

fn file_name(fault: &str) -> String {
    fault.replace([' ', ',', '/'], "-")
}

/// Starts the sink against such a server.
pub(super) fn start(
    scene: &Scene,
    name: &str,
    server: &FaultServer,
    more: &Value,
    more_options: &Value,
) -> Result<Delivery, Failed> {
    // Time enough on a slow machine: a case that needs less says so.
    let mut config = json!({
        "endpoint": server.url(), "token": "a-token",
        "acknowledgements": {"poll_secs": 1, "timeout_secs": 120},
    });
    merge(&mut config, more);
    let mut options = delivery::hasty(scene, &file_name(name));
    merge(&mut options, &json!({"request": {"timeout_secs": 60}}));
    merge(&mut options, more_options);
    let config: Config = serde_json::from_value(config)?;
    Delivery::start(&config, options)
}

/// Plays each fault, all at once, and holds it to what must come of it.
pub(super) fn play_all(scene: &Scene, faults: &[Fault]) -> Outcome {
    let played = tokio::runtime::Runtime::new()?
        .block_on(futures_util::future::join_all(faults.iter().map(|fault| fault.play(scene))));
    judge_all(faults.iter().zip(played))
}

/// Enters what was played into the table, and fails with all that is wrong.
pub(super) fn judge_all<'a>(
    played: impl IntoIterator<Item = (&'a Fault, Result<Played, Failed>)>,
) -> Outcome {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (fault, played) in played {
        match played {
            Ok(played) => {
                wrong.extend(fault.judge(&played));
                rows.push(played.row);
            }
            Err(failed) => wrong.push(failed.message().unwrap_or_default().to_owned()),
        }
    }
    for row in &rows {
        wrong.extend(
            row.enter().err().map(|failed| failed.message().unwrap_or_default().to_owned()),
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
