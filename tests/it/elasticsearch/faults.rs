//! Every fault of a bulk endpoint: each ends with every record delivered once or dead-lettered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{metrics::Balance, sinks::elasticsearch::Config};

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    poll,
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(2);
const SENT: u32 = 1_000;
/// The records whose documents the index's mapping refuses, where it refuses any.
const BAD: u32 = 700;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_fault_ends_with_every_record_accounted_for),
        Case::new(no_secret_is_in_what_a_failing_sink_says),
    ]
}

/// What a server keeps.
#[derive(Debug, Default)]
struct Index {
    copies: Mutex<BTreeMap<String, u64>>,
}

/// One document of a request.
struct Document {
    id: String,
    source: Value,
}

/// A fault, and what must come of it.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    answer: fn(&Index, &Request) -> Reply,
    dead_lettered: u64,
    /// What the sink must count as met again.
    duplicated: u64,
    /// What delivery must take at least.
    wait: Duration,
    /// How long the sink waits for an answer, in seconds.
    timeout_secs: u64,
    /// Requests that are reset when their head has been read, before any is answered.
    unread: usize,
}

// === impl Index ===

impl Index {
    /// Takes documents as an index does, all but those `status` says otherwise of.
    fn take(&self, request: &Request, status: impl Fn(usize, &Document) -> u16) -> String {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let items = documents(request).into_iter().enumerate().map(|(at, document)| {
            let mut status = status(at, &document);
            if status == 201 && copies.contains_key(&document.id) {
                status = 409;
            }
            if status == 201 {
                *copies.entry(document.id).or_default() += 1;
                return json!({"create": {"status": 201}});
            }
            let kind = match status {
                409 => "version_conflict_engine_exception",
                400 => "document_parsing_exception",
                403 => "security_exception",
                _ => "es_rejected_execution_exception",
            };
            json!({"create": {"status": status, "error": {"type": kind, "reason": "as asked"}}})
        });
        let items: Vec<_> = items.collect();
        json!({"errors": true, "items": items}).to_string()
    }

    /// Refuses every document of the first two requests with this, and takes all that come later.
    fn refuse_at_first(&self, request: &Request, status: u16, kind: &str, reason: &str) -> Reply {
        if request.number >= 2 {
            return self.good(request);
        }
        let item = json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}});
        let items = vec![item; documents(request).len()];
        Reply::Answer(200, json!({"errors": true, "items": items}).to_string(), None)
    }

    fn take_all(&self, request: &Request) -> String {
        self.take(request, |_, _| 201)
    }

    fn good(&self, request: &Request) -> Reply {
        Reply::Answer(200, self.take_all(request), None)
    }

    fn distinct(&self) -> (u64, u64) {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let distinct = copies.len() as u64;
        (distinct, copies.values().sum::<u64>() - distinct)
    }
}

fn documents(request: &Request) -> Vec<Document> {
    let text = String::from_utf8_lossy(&request.body);
    assert!(text.ends_with('\n'), "a bulk body ends with a newline");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    lines
        .chunks(2)
        .map(|pair| Document {
            id: pair[0]["create"]["_id"].as_str().expect("an id of ours").to_owned(),
            source: pair[1].clone(),
        })
        .collect()
}

fn is_bad(document: &Document) -> bool {
    document.source["reasons"] == json!(["bad"])
}

fn status(code: u16) -> Reply {
    Reply::Answer(code, json!({"error": {"reason": "as asked"}, "status": code}).to_string(), None)
}

// === impl Fault ===

impl Fault {
    fn new(name: &'static str, answer: fn(&Index, &Request) -> Reply) -> Self {
        let wait = Duration::ZERO;
        Self { name, answer, dead_lettered: 0, duplicated: 0, wait, timeout_secs: 60, unread: 0 }
    }

    /// Plays it, and gives the server's and the sink's account.
    async fn play(&self, scene: &Scene) -> Result<(Row, Balance, Duration), Failed> {
        let index = Arc::new(Index::default());
        let server = FaultServer::start(None, {
            let (index, answer) = (Arc::clone(&index), self.answer);
            move |request| answer(&index, request)
        })
        .await?;
        server.reset_unread(self.unread);
        let started = poll::now();
        let mut options = delivery::hasty(scene, &file_name(self.name));
        options["request"]["timeout_secs"] = json!(self.timeout_secs);
        let none = json!({});
        let (balance, dead_lettered) =
            deliver(scene, self.name, &server.url(), none, options).await?;
        let (delivered, doubled) = index.distinct();
        let row = row(self.name, (delivered, doubled), dead_lettered);
        Ok((row, balance, started.elapsed()))
    }
}

fn row(fault: &str, (delivered, doubled): (u64, u64), dead_lettered: u64) -> Row {
    Row {
        sink: "elasticsearch",
        server: "scripted",
        fault: fault.to_owned(),
        sent: u64::from(SENT),
        delivered,
        doubled,
        dead_lettered,
    }
}

/// What the files of a fault are called.
fn file_name(fault: &str) -> String {
    fault.replace([' ', ','], "-")
}

async fn deliver(
    scene: &Scene,
    name: &str,
    url: &str,
    more: Value,
    options: Value,
) -> Result<(Balance, u64), Failed> {
    let name = file_name(name);
    let mut config = json!({"endpoints": [url]});
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    let config: Config = serde_json::from_value(config)?;
    let delivery = Delivery::start(&config, options)?;
    delivery.send(delivery::alerts(SENT, &[BAD])).await?;
    let balance = delivery.finish(LIMIT).await.map_err(|failed| {
        Failed::from(format!("{name}: {}", failed.message().unwrap_or_default()))
    })?;
    let letters = delivery::letters(&delivery::dead_letter(scene, &name));
    for letter in &letters {
        assert_eq!(letter["document"]["reasons"], json!(["bad"]), "{name}: {letter}");
        assert!(letter["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{letter}");
    }
    Ok((balance, letters.len() as u64))
}

/// Answers that say no, to some documents or to all.
fn refusals() -> Vec<Fault> {
    vec![
        Fault::new("none", Index::good),
        Fault::new("an item in three 429, inside a 200", |index, request| {
            let busy = |at, _: &Document| if request.number < 2 && at % 3 == 0 { 429 } else { 201 };
            Reply::Answer(200, index.take(request, busy), None)
        }),
        Fault::new("an item in three 503, inside a 200", |index, request| {
            let down = |at, _: &Document| if request.number < 2 && at % 3 == 0 { 503 } else { 201 };
            Reply::Answer(200, index.take(request, down), None)
        }),
        Fault::new("items 403, then mended", |index, request| {
            let denied = |_, _: &Document| if request.number < 2 { 403 } else { 201 };
            Reply::Answer(200, index.take(request, denied), None)
        }),
        Fault {
            dead_lettered: 1,
            ..Fault::new("a mapping error in one of 1,000", |index, request| {
                let bad = |_, document: &Document| if is_bad(document) { 400 } else { 201 };
                Reply::Answer(200, index.take(request, bad), None)
            })
        },
        Fault::new("429 without Retry-After", |index, request| match request.number {
            0..3 => status(429),
            _ => index.good(request),
        }),
        Fault {
            wait: Duration::from_secs(3),
            ..Fault::new("429 with Retry-After", |index, request| match request.number {
                0 => Reply::Answer(429, String::new(), Some(("retry-after", "3".to_owned()))),
                _ => index.good(request),
            })
        },
        Fault {
            dead_lettered: 1,
            ..Fault::new("413 down to one document", |index, request| {
                let refused = documents(request).iter().any(is_bad);
                if refused { status(413) } else { index.good(request) }
            })
        },
        Fault {
            dead_lettered: 1,
            ..Fault::new("400 down to one document", |index, request| {
                let refused = documents(request).iter().any(is_bad);
                if refused { status(400) } else { index.good(request) }
            })
        },
        Fault::new("401, then mended", |index, request| match request.number {
            0..3 => status(401),
            _ => index.good(request),
        }),
        Fault::new("403, then mended", |index, request| match request.number {
            0..3 => status(403),
            _ => index.good(request),
        }),
    ]
}

/// Refusals that are about where documents go: each would be met by every document.
fn refusals_of_the_target() -> Vec<Fault> {
    vec![
        Fault::new("items 404, no such index, then mended", |index, request| {
            let reason = "no such index [x] and [action.auto_create_index] ([false]) doesn't match";
            index.refuse_at_first(request, 404, "index_not_found_exception", reason)
        }),
        Fault::new("items 400, the index is closed, then mended", |index, request| {
            index.refuse_at_first(request, 400, "index_closed_exception", "closed")
        }),
        Fault::new("items 400, no room for shards, then mended", |index, request| {
            let reason = "Validation Failed: 1: this action would add [2] shards, but this cluster \
                          currently has [1000]/[1000] maximum normal shards open;";
            let kinds = ["validation_exception", "illegal_argument_exception"];
            index.refuse_at_first(request, 400, kinds[request.number % 2], reason)
        }),
        Fault::new("items 400, the pipeline is not there, then mended", |index, request| {
            let reason = "pipeline with id [x] does not exist";
            index.refuse_at_first(request, 400, "illegal_argument_exception", reason)
        }),
    ]
}

/// Answers of something between us and the server, and answers that never come.
fn disturbances() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault::new("502, 503, 504", |index, request| match request.number {
            at @ 0..3 => status([502, 503, 504][at]),
            _ => index.good(request),
        }),
        Fault::new("404 and a redirect, of a proxy", |index, request| match request.number {
            0 => status(404),
            1 => Reply::Answer(302, String::new(), Some(("location", "/login".to_owned()))),
            _ => index.good(request),
        }),
        Fault::new("400, a page of a proxy, then mended", |index, request| match request.number {
            at @ 0..3 => {
                let told =
                    ["No required SSL certificate was sent", "The plain HTTP request was sent"];
                let page = format!("<html><center>400 {}</center>nginx</html>", told[at % 2]);
                Reply::Answer(400, page, None)
            }
            _ => index.good(request),
        }),
        Fault::new("a page of a proxy, with 200", |index, request| match request.number {
            0 => Reply::Answer(200, "<html>sign in</html>".to_owned(), None),
            _ => index.good(request),
        }),
        Fault {
            duplicated: all,
            ..Fault::new("an answer lost after it was applied", |index, request| {
                let answer = index.take_all(request);
                if request.number == 0 { Reply::Hangup } else { Reply::Answer(200, answer, None) }
            })
        },
        Fault {
            duplicated: all,
            ..Fault::new("half an answer", |index, request| {
                let answer = index.take_all(request);
                if request.number == 0 {
                    Reply::Half(200, answer)
                } else {
                    Reply::Answer(200, answer, None)
                }
            })
        },
        Fault {
            duplicated: all,
            timeout_secs: 30,
            ..Fault::new("a slow answer", |index, request| {
                let answer = index.take_all(request);
                let late = Duration::from_mins(10);
                if request.number == 0 {
                    Reply::Slow(late, 200, answer)
                } else {
                    Reply::Answer(200, answer, None)
                }
            })
        },
        Fault {
            duplicated: all,
            ..Fault::new("an answer with entries missing", |index, request| {
                let answer = index.take_all(request);
                let short = json!({"errors": false, "items": [{"create": {"status": 201}}]});
                Reply::Answer(
                    200,
                    if request.number == 0 { short.to_string() } else { answer },
                    None,
                )
            })
        },
        Fault {
            duplicated: all,
            ..Fault::new("an answer without end", |index, request| {
                let answer = index.take_all(request);
                let endless = || " ".repeat(20 << 20);
                Reply::Answer(200, if request.number == 0 { endless() } else { answer }, None)
            })
        },
        Fault {
            duplicated: all,
            ..Fault::new("an answer without end, to one document", |index, request| {
                let answer = index.take_all(request);
                // Halved down to that document, which is sent again then, and not dead-lettered.
                let endless = request.number < 22 && documents(request).iter().any(is_bad);
                Reply::Answer(200, if endless { " ".repeat(5 << 20) } else { answer }, None)
            })
        },
    ]
}

/// Connections that end before there is an answer.
fn breaks() -> Vec<Fault> {
    vec![
        Fault::new("a connection closed before anything was taken", |index, request| {
            if request.number < 3 { Reply::Hangup } else { index.good(request) }
        }),
        Fault::new("a connection reset before anything was taken", |index, request| {
            if request.number < 3 { Reply::Reset } else { index.good(request) }
        }),
        Fault {
            unread: 3,
            ..Fault::new("a connection reset in the middle of a request", Index::good)
        },
        Fault {
            duplicated: SENT.into(),
            ..Fault::new("a connection reset after all was taken", |index, request| {
                let answer = index.take_all(request);
                if request.number == 0 { Reply::Reset } else { Reply::Answer(200, answer, None) }
            })
        },
    ]
}

fn every_fault_ends_with_every_record_accounted_for(scene: &Scene) -> Outcome {
    let all = u64::from(SENT);
    let faults = [refusals(), refusals_of_the_target(), disturbances(), breaks()].concat();
    let runtime = tokio::runtime::Runtime::new()?;
    let played = runtime
        .block_on(futures_util::future::join_all(faults.iter().map(|fault| fault.play(scene))));
    let mut wrong = Vec::new();
    for (fault, played) in faults.iter().zip(played) {
        let (row, balance, took) = played?;
        let expected = Row {
            delivered: all - fault.dead_lettered,
            doubled: 0,
            dead_lettered: fault.dead_lettered,
            ..row.clone()
        };
        let counted = (balance.delivered, balance.dead_lettered, balance.duplicated);
        row.enter()?;
        if row != expected
            || counted != (row.delivered, row.dead_lettered, fault.duplicated)
            || took < fault.wait
        {
            wrong.push(format!(
                "{}: {row:?} after {took:?}, and the sink counts {balance:?}",
                fault.name
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn no_secret_is_in_what_a_failing_sink_says(scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    // A server that says back what it was told, as a proxy's error page may: of a request, and of a
    // document.
    for (name, of_a_document) in [("request", false), ("document", true)] {
        let index = Arc::new(Index::default());
        let seen = runtime.block_on(async {
            let server = FaultServer::start(None, move |request| {
                let told = format!("{:?} hunter2-in-clear", request.headers);
                let documents = documents(request);
                match documents.iter().position(is_bad) {
                    None => index.good(request),
                    Some(_) if !of_a_document => Reply::Answer(413, told, None),
                    Some(bad) => {
                        let mut items = vec![json!({"create": {"status": 201}}); documents.len()];
                        let error = json!({"type": "document_parsing_exception", "reason": told});
                        items[bad] = json!({"create": {"status": 400, "error": error}});
                        Reply::Answer(
                            200,
                            json!({"errors": true, "items": items}).to_string(),
                            None,
                        )
                    }
                }
            })
            .await?;
            let auth = json!({"auth": {"user": "flow", "password": "hunter2-in-clear"}});
            let options = delivery::hasty(scene, name);
            deliver(scene, name, &server.url(), auth, options).await
        })?;
        assert_eq!(seen.1, 1);
        let letters = std::fs::read_to_string(delivery::dead_letter(scene, name))?;
        let encoded = "Zmxvdzpod"; // the beginning of what basic authentication sends
        assert!(letters.contains("(secret)"), "{letters}");
        for secret in ["hunter2", encoded] {
            assert!(!letters.contains(secret), "{letters}");
        }
    }
    Ok(())
}
