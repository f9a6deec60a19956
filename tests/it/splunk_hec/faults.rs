//! Every fault of a collector, each of its codes, and every way an acknowledgement fails to come, with
//! all events in one request.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tidegate::sinks::splunk_hec::Config;

use super::collector::{
    BAD, Collector, Fault, LIMIT, SENT, bad_at, code, events, judge_all, plain, play_all, refusal,
    statuses, success,
};
use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_code_ends_with_every_record_accounted_for),
        Case::new(every_fault_ends_with_every_record_accounted_for),
        Case::new(an_event_over_the_limit_is_dead_lettered_unsent),
    ]
}

fn every_code_ends_with_every_record_accounted_for(scene: &Scene) -> Outcome {
    // The first request is answered with the code; where it means "taken", it was.
    let faults: Vec<_> = (0..=28)
        .map(|number| {
            let channels = if matches!(number, 10 | 11 | 28) { 2 } else { 1 };
            let name = format!("code {number:2}");
            let fault = Fault::new(name, |collector, request, _| collector.good(request));
            (number, Fault { channels: Some(channels), ..fault })
        })
        .collect();
    let play = |number: u32, fault: Fault| async move {
        let event = move |collector: &Collector, request: &Request, at| match (at, number) {
            (0, 24 | 25) => {
                collector.take(&events(request));
                code(number)
            }
            (0, 1..) => code(number),
            _ => collector.good(request),
        };
        fault.play_with(scene, event).await
    };
    let all = faults.iter().map(|(number, fault)| play(*number, fault.clone()));
    let played = tokio::runtime::Runtime::new()?.block_on(futures_util::future::join_all(all));
    judge_all(faults.iter().map(|(_, fault)| fault).zip(played))
}

fn bad_event(collector: &Collector, request: &Request, _at: usize) -> Reply {
    let events = events(request);
    match bad_at(&events) {
        None => collector.good(request),
        Some(at) => {
            collector.take(&events[..at]);
            refusal(400, 6, at)
        }
    }
}

fn busy_in_the_middle(collector: &Collector, request: &Request, at: usize) -> Reply {
    if at > 0 {
        return collector.good(request);
    }
    collector.take(&events(request)[..100]);
    refusal(503, 9, 100)
}

/// Events that can't be read, or are too much.
fn refusals() -> Vec<Fault> {
    vec![
        Fault {
            dead_lettered: 1,
            // Without an id nobody can say whether the indexers have those before it.
            doubled: Some(u64::from(BAD)),
            ..Fault::new("code 6 with the place of the event", bad_event)
        },
        Fault {
            dead_lettered: 1,
            config: json!({"acknowledgements": {"enabled": false}}),
            ..Fault::new("code 6 with the place of the event, acks off", bad_event)
        },
        Fault {
            dead_lettered: 1,
            doubled: None,
            ..Fault::new(
                "code 6 without a place, those before it taken",
                |collector, request, _| {
                    let events = events(request);
                    match bad_at(&events) {
                        None => collector.good(request),
                        Some(at) => {
                            collector.take(&events[..at]);
                            code(6)
                        }
                    }
                },
            )
        },
        Fault {
            dead_lettered: 1,
            ..Fault::new("code 6 with a place beyond the end", |collector, request, _| {
                let events = events(request);
                match bad_at(&events) {
                    None => collector.good(request),
                    Some(_) => refusal(400, 6, events.len()),
                }
            })
        },
        Fault {
            // Two million bytes.
            config: json!({"host": "h".repeat(4_000)}),
            options: json!({"batch": {"max_bytes": 5_000_000}}),
            ..Fault::new("code 6 for more than it has room for", |collector, request, _| {
                if request.body.len() > 1_500_000 {
                    return refusal(400, 6, 0);
                }
                collector.good(request)
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
    ]
}

/// What is taken, or will be.
fn of_a_busy_collector() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault::new("none", |collector, request, _| collector.good(request)),
        Fault { doubled: Some(100), ..Fault::new("code 9 after 100 events", busy_in_the_middle) },
        Fault {
            config: json!({"acknowledgements": {"enabled": false}}),
            ..Fault::new("code 9 after 100 events, acks off", busy_in_the_middle)
        },
        Fault {
            doubled: Some(all),
            ..Fault::new("code 9 after all events", |collector, request, at| {
                let events = events(request);
                if at > 0 {
                    return collector.good(request);
                }
                collector.take(&events);
                refusal(503, 9, events.len())
            })
        },
        Fault::new("429 without and with Retry-After", |collector, request, at| match at {
            0 => Reply::Answer(429, String::new(), None),
            1 => Reply::Answer(429, String::new(), Some(("retry-after", "2".to_owned()))),
            _ => collector.good(request),
        }),
    ]
}

/// What is no collector's answer, or none by the book.
fn of_something_else() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault {
            errors: &["destination_refuses_us"],
            ..Fault::new("400 of a proxy, then mended", |collector, request, at| match at {
                0..3 => plain(400, "<html>Bad Request"),
                _ => collector.good(request),
            })
        },
        Fault {
            // Eight times, then no events until a collector answers.
            doubled: Some(8 * all),
            errors: &["destination_refuses_us"],
            ..Fault::new("200 of something else, which takes them", |collector, request, at| {
                if request.body.is_empty() {
                    return if at < 11 { plain(200, "") } else { code(5) };
                }
                match at {
                    0..8 => {
                        collector.take(&events(request));
                        plain(200, "")
                    }
                    _ => collector.good(request),
                }
            })
        },
        Fault::new("an ackId as text", |collector, request, _| {
            collector.take(&events(request));
            let id = collector.next_id(request).to_string();
            plain(200, &json!({"text": "Success", "code": 0, "ackId": id}).to_string())
        }),
        Fault {
            errors: &["acknowledgement_unreadable"],
            ..Fault::new("an ackId that is no number", |collector, request, _| {
                collector.take(&events(request));
                plain(200, &json!({"text": "Success", "code": 0, "ackId": -1}).to_string())
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
    ]
}

/// An answer that doesn't come.
fn of_connections() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault {
            channels: Some(4),
            ..Fault::new(
                "a connection closed before anything was taken",
                |collector, request, at| {
                    if at < 3 { Reply::Hangup } else { collector.good(request) }
                },
            )
        },
        Fault {
            channels: Some(4),
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
        Fault {
            options: json!({"request": {"timeout_secs": 30}}),
            doubled: Some(all),
            channels: Some(2),
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
            doubled: Some(all),
            channels: Some(2),
            ..Fault::new("an answer lost after it was applied", |collector, request, at| {
                let answer = collector.good(request);
                if at == 0 { Reply::Hangup } else { answer }
            })
        },
        Fault {
            doubled: Some(all),
            channels: Some(2),
            ..Fault::new("half an answer", |collector, request, at| {
                match (collector.good(request), at) {
                    (Reply::Answer(status, body, _), 0) => Reply::Half(status, body),
                    (answer, _) => answer,
                }
            })
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
            ack: |_, request, question| statuses(request, |_| question >= 2),
            ..Fault::new("an acknowledgement that takes a while", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            // The first request's never comes; whoever is sent again has a new id.
            ack: |_, request, _| statuses(request, |id| id > 0),
            config: json!({"acknowledgements": {"timeout_secs": 3}}),
            doubled: Some(all),
            ..Fault::new("an acknowledgement that never comes", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |collector, request, question| match question {
                0 => plain(400, "bad"),
                1 => plain(503, "busy"),
                _ => collector.confirm(request, question),
            },
            ..Fault::new("questions answered 400 and 503", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |collector, request, question| match question {
                0 => Reply::Hangup,
                _ => collector.confirm(request, question),
            },
            ..Fault::new("a question whose answer is lost", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |collector, request, question| match question {
                0 => code(11),
                _ => collector.confirm(request, question),
            },
            doubled: Some(all),
            channels: Some(2),
            ..Fault::new("a channel the collector has forgotten", |collector, request, _| {
                collector.good(request)
            })
        },
        Fault {
            ack: |_, _, _| code(14),
            doubled: Some(all),
            ..Fault::new("acknowledgements turned off meanwhile", |collector, request, _| {
                collector.good(request)
            })
        },
    ]
}

fn every_fault_ends_with_every_record_accounted_for(scene: &Scene) -> Outcome {
    let all = [
        refusals(),
        of_a_busy_collector(),
        of_something_else(),
        of_connections(),
        of_acknowledgements(),
    ];
    play_all(scene, &all.concat())
}

fn an_event_over_the_limit_is_dead_lettered_unsent(scene: &Scene) -> Outcome {
    let collector = Arc::new(Collector::default());
    let balance = tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, {
            let collector = Arc::clone(&collector);
            move |request| {
                let asked = request.target.ends_with("/ack");
                if asked { collector.confirm(request, 0) } else { collector.good(request) }
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
