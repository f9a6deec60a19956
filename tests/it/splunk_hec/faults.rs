//! Every fault of a collector, each of its codes, and every way an acknowledgement fails to come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::splunk_hec::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(2);
const SENT: u32 = 500;
/// The record whose event the collector can't read, where there is one.
const BAD: u32 = 200;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_code_ends_with_every_record_accounted_for),
        Case::new(every_fault_ends_with_every_record_accounted_for),
        Case::new(an_event_over_the_limit_is_dead_lettered_unsent),
    ]
}

/// What a collector keeps, and what it has been asked.
#[derive(Debug, Default)]
struct Collector {
    copies: Mutex<BTreeMap<String, u64>>,
    next_id: AtomicU64,
    questions: AtomicUsize,
    channels: Mutex<BTreeSet<String>>,
}

/// A fault, and what must come of it.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    /// To events, by the number of the request among those with events.
    event: fn(&Collector, &Request, usize) -> Reply,
    /// To questions for acknowledgements, by their number.
    ack: fn(&Request, usize) -> Reply,
    dead_lettered: u64,
    /// What the collector has twice; the sink must count as many or more.
    doubled: u64,
    /// Channels the sink must have used.
    channels: usize,
    /// How long the sink waits for an answer, in seconds.
    timeout_secs: u64,
    /// Requests that are reset when their head has been read, before any is answered.
    unread: usize,
}

// === impl Collector ===

impl Collector {
    fn take(&self, events: &[Value]) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            *copies.entry(event["time"].to_string()).or_default() += 1;
        }
    }

    fn good(&self, request: &Request) -> Reply {
        self.take(&events(request));
        success(Some(self.next_id.fetch_add(1, Ordering::SeqCst)))
    }

    fn distinct(&self) -> (u64, u64) {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let distinct = copies.len() as u64;
        (distinct, copies.values().sum::<u64>() - distinct)
    }
}

fn events(request: &Request) -> Vec<Value> {
    let events = serde_json::Deserializer::from_slice(&request.body).into_iter();
    events.map(|event| event.expect("an event is JSON")).collect()
}

fn bad_at(events: &[Value]) -> Option<usize> {
    events.iter().position(|event| event["event"]["reasons"] == json!(["bad"]))
}

fn success(ack_id: Option<u64>) -> Reply {
    let body = match ack_id {
        Some(id) => json!({"text": "Success", "code": 0, "ackId": id}),
        None => json!({"text": "Success", "code": 0}),
    };
    Reply::Answer(200, body.to_string(), None)
}

fn code(code: u32) -> Reply {
    let status = match code {
        17 | 24 | 25 => 200,
        1 | 4 => 403,
        2 | 3 => 401,
        8 => 500,
        9 | 18..=20 | 23 => 503,
        26 | 27 => 429,
        _ => 400,
    };
    Reply::Answer(status, json!({"text": "as asked", "code": code}).to_string(), None)
}

/// All that is asked for has been indexed.
fn confirm(request: &Request, _question: usize) -> Reply {
    statuses(request, true)
}

fn statuses(request: &Request, indexed: bool) -> Reply {
    let asked: Value = serde_json::from_slice(&request.body).expect("a question is JSON");
    let ids = asked["acks"].as_array().into_iter().flatten();
    let acks: serde_json::Map<_, _> = ids.map(|id| (id.to_string(), json!(indexed))).collect();
    Reply::Answer(200, json!({"acks": acks}).to_string(), None)
}

// === impl Fault ===

impl Fault {
    fn new(name: &'static str, event: fn(&Collector, &Request, usize) -> Reply) -> Self {
        let (ack, channels) = (confirm, 1);
        let (dead_lettered, doubled, timeout_secs, unread) = (0, 0, 60, 0);
        Self { name, event, ack, dead_lettered, doubled, channels, timeout_secs, unread }
    }

    async fn play(&self, scene: &Scene) -> Result<(Row, Balance, usize), Failed> {
        let (event, ack) = (self.event, self.ack);
        let limits = (self.timeout_secs, self.unread);
        play(scene, self.name, event, ack, limits).await
    }

    /// What is wrong with what became of it, if anything.
    fn judge(&self, row: &Row, balance: &Balance, channels: usize) -> Option<String> {
        let expected = Row {
            delivered: u64::from(SENT) - self.dead_lettered,
            doubled: self.doubled,
            dead_lettered: self.dead_lettered,
            ..row.clone()
        };
        let right = *row == expected
            && (balance.delivered, balance.dead_lettered) == (row.delivered, row.dead_lettered)
            && balance.duplicated >= row.doubled
            && channels == self.channels;
        (!right).then(|| format!("{row:?} on {channels} channels, and the sink counts {balance:?}"))
    }
}

async fn play(
    scene: &Scene,
    fault: &str,
    event: impl Fn(&Collector, &Request, usize) -> Reply + Send + Sync + 'static,
    ack: fn(&Request, usize) -> Reply,
    (timeout_secs, unread): (u64, usize),
) -> Result<(Row, Balance, usize), Failed> {
    let collector = Arc::new(Collector::default());
    let server = FaultServer::start(None, {
        let collector = Arc::clone(&collector);
        let requests = AtomicUsize::new(0);
        move |request| {
            assert_eq!(request.headers["authorization"], "Splunk a-token");
            let channel = request.headers["x-splunk-request-channel"].clone();
            if request.target.ends_with("/ack") {
                return ack(request, collector.questions.fetch_add(1, Ordering::SeqCst));
            }
            collector.channels.lock().unwrap_or_else(PoisonError::into_inner).insert(channel);
            event(&collector, request, requests.fetch_add(1, Ordering::SeqCst))
        }
    })
    .await?;
    server.reset_unread(unread);
    let name = fault.replace([' ', ',', '/'], "-");
    let config: Config = serde_json::from_value(json!({
        "endpoint": server.url(), "token": "a-token",
        "acknowledgements": {"poll_secs": 1, "timeout_secs": 3},
    }))?;
    let mut options = delivery::hasty(scene, &name);
    options["request"]["timeout_secs"] = json!(timeout_secs);
    let delivery = Delivery::start(&config, options)?;
    delivery.send(delivery::alerts(SENT, &[BAD])).await?;
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
        fault: fault.to_owned(),
        sent: u64::from(SENT),
        delivered,
        doubled,
        dead_lettered: letters.len() as u64,
    };
    let channels = collector.channels.lock().unwrap_or_else(PoisonError::into_inner).len();
    Ok((row, balance, channels))
}

fn finish(rows: &[Row], wrong: &[String]) -> Outcome {
    for row in rows {
        row.enter()?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn every_code_ends_with_every_record_accounted_for(scene: &Scene) -> Outcome {
    // The first request is answered with the code; where it means "taken", it was.
    let codes = 0..=28;
    let runtime = tokio::runtime::Runtime::new()?;
    let played = runtime.block_on(futures_util::future::join_all(codes.map(|number| async move {
        let name = format!("code {number:2}");
        let event = move |collector: &Collector, request: &Request, at| match (at, number) {
            (0, 24 | 25) => {
                collector.take(&events(request));
                code(number)
            }
            (0, 1..) => code(number),
            _ => collector.good(request),
        };
        (number, play(scene, &name, event, confirm, (60, 0)).await)
    })));
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (number, played) in played {
        let (row, balance, channels) = played?;
        let expected = if matches!(number, 10 | 11 | 28) { 2 } else { 1 };
        let fault = Fault { channels: expected, ..Fault::new("", |_, _, _| Reply::Hangup) };
        wrong.extend(fault.judge(&row, &balance, channels));
        rows.push(row);
    }
    finish(&rows, &wrong)
}

/// What a collector answers to events.
fn of_events() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault::new("none", |collector, request, _| collector.good(request)),
        Fault {
            dead_lettered: 1,
            ..Fault::new("code 6 with the place of the event", |collector, request, _| {
                let events = events(request);
                match bad_at(&events) {
                    None => collector.good(request),
                    Some(at) => {
                        collector.take(&events[..at]);
                        let body = json!({"code": 6, "text": "", "invalid-event-number": at});
                        Reply::Answer(400, body.to_string(), None)
                    }
                }
            })
        },
        Fault {
            dead_lettered: 1,
            ..Fault::new("code 6 without a place", |collector, request, _| {
                match bad_at(&events(request)) {
                    None => collector.good(request),
                    Some(_) => code(6),
                }
            })
        },
        Fault {
            dead_lettered: 1,
            ..Fault::new("413 down to one event", |collector, request, _| {
                match bad_at(&events(request)) {
                    None => collector.good(request),
                    Some(_) => Reply::Answer(413, String::new(), None),
                }
            })
        },
        Fault::new("401 in plain words, then mended", |collector, request, at| match at {
            0..3 => Reply::Answer(401, "Unauthorized".to_owned(), None),
            _ => collector.good(request),
        }),
        Fault::new("404, 502 and 429 of a proxy", |collector, request, at| match at {
            0..3 => Reply::Answer([404, 502, 429][at], "<html>".to_owned(), None),
            _ => collector.good(request),
        }),
        Fault::new("429 without and with Retry-After", |collector, request, at| match at {
            0 => Reply::Answer(429, String::new(), None),
            1 => Reply::Answer(429, String::new(), Some(("retry-after", "2".to_owned()))),
            _ => collector.good(request),
        }),
        Fault {
            doubled: all,
            channels: 2,
            timeout_secs: 10,
            ..Fault::new("a slow answer", |collector, request, at| {
                match (collector.good(request), at) {
                    (Reply::Answer(status, body, _), 0) => {
                        Reply::Slow(Duration::from_mins(10), status, body)
                    }
                    (answer, _) => answer,
                }
            })
        },
        Fault {
            doubled: all,
            channels: 2,
            ..Fault::new("an answer lost after it was applied", |collector, request, at| {
                let answer = collector.good(request);
                if at == 0 { Reply::Hangup } else { answer }
            })
        },
        Fault {
            doubled: all,
            channels: 2,
            ..Fault::new("half an answer", |collector, request, at| {
                match (collector.good(request), at) {
                    (Reply::Answer(status, body, _), 0) => Reply::Half(status, body),
                    (answer, _) => answer,
                }
            })
        },
    ]
}

/// Connections that end before anything is taken.
fn of_connections() -> Vec<Fault> {
    vec![
        Fault {
            channels: 4,
            ..Fault::new(
                "a connection closed before anything was taken",
                |collector, request, at| {
                    if at < 3 { Reply::Hangup } else { collector.good(request) }
                },
            )
        },
        Fault {
            channels: 4,
            ..Fault::new(
                "a connection reset before anything was taken",
                |collector, request, at| {
                    if at < 3 { Reply::Reset } else { collector.good(request) }
                },
            )
        },
        Fault {
            unread: 3,
            ..Fault::new(
                "a connection reset in the middle of a request",
                |collector, request, _| collector.good(request),
            )
        },
    ]
}

/// What it answers to questions.
fn of_acknowledgements() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault::new("a token without acknowledgements", |collector, request, _| {
            collector.take(&events(request));
            success(None)
        }),
        Fault {
            ack: |request, question| statuses(request, question >= 2),
            ..Fault::new("an acknowledgement that takes a while", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |request, _| {
                // The first request's never comes; whoever is sent again has a new id.
                let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
                let old = asked["acks"].as_array().is_some_and(|ids| ids.contains(&json!(0)));
                statuses(request, !old)
            },
            doubled: all,
            ..Fault::new("an acknowledgement that never comes", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |request, question| match question {
                0 => Reply::Answer(400, "bad".to_owned(), None),
                1 => Reply::Answer(503, "busy".to_owned(), None),
                _ => statuses(request, true),
            },
            ..Fault::new("questions answered 400 and 503", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |request, question| match question {
                0 => Reply::Hangup,
                _ => statuses(request, true),
            },
            ..Fault::new("a question whose answer is lost", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |request, question| {
                if question == 0 { code(11) } else { statuses(request, true) }
            },
            doubled: all,
            channels: 2,
            ..Fault::new("a channel the collector has forgotten", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |_, _| code(14),
            doubled: all,
            ..Fault::new("acknowledgements turned off meanwhile", |collector, request, _| {
                collector.good(request)
            })
        },
    ]
}

fn every_fault_ends_with_every_record_accounted_for(scene: &Scene) -> Outcome {
    let faults = [of_events(), of_connections(), of_acknowledgements()].concat();
    let runtime = tokio::runtime::Runtime::new()?;
    let played = runtime
        .block_on(futures_util::future::join_all(faults.iter().map(|fault| fault.play(scene))));
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (fault, played) in faults.iter().zip(played) {
        let (row, balance, channels) = played?;
        wrong.extend(fault.judge(&row, &balance, channels));
        rows.push(row);
    }
    finish(&rows, &wrong)
}

fn an_event_over_the_limit_is_dead_lettered_unsent(scene: &Scene) -> Outcome {
    let collector = Arc::new(Collector::default());
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, {
            let collector = Arc::clone(&collector);
            move |request| {
                let asked = request.target.ends_with("/ack");
                if asked { confirm(request, 0) } else { collector.good(request) }
            }
        })
        .await?;
        let config: Config = serde_json::from_value(json!({
            "endpoint": server.url(), "token": "a-token", "max_event_bytes": 1000,
        }))?;
        let mut alerts = delivery::alerts(100, &[]);
        alerts[40].reasons = vec!["long ".repeat(300).into()];
        let delivery = Delivery::start(&config, delivery::hasty(scene, "large"))?;
        delivery.send(alerts).await?;
        delivery.finish(LIMIT).await
    })?;
    assert_eq!((balance.delivered, balance.dead_lettered), (99, 1), "{balance:?}");
    assert_eq!(collector.distinct(), (99, 0));
    let letters = delivery::letters(&delivery::dead_letter(scene, "large"));
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("max_event_bytes"), "{reason}");
    Ok(())
}
