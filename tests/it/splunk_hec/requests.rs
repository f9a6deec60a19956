//! Acknowledgements of several requests: on one channel, on several, of several collectors.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use serde_json::json;
use tidegate::metrics::Balance;

use super::collector::{
    Answer, BAD, Collector, Fault, LIMIT, SENT, judge_all, plain, play_all, start, statuses,
    success, with_code,
};
use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    faults::{FaultServer, Reply, Request},
    poll,
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(acknowledgements_of_several_requests_are_told_apart),
        Case::new(a_collector_that_counts_anew_confirms_nothing_of_before),
        Case::new(all_but_the_first_request_carry_the_cookie_of_the_load_balancer),
        Case::new(a_collector_near_its_capacity_gets_no_more_than_one_a_second),
    ]
}

/// Ten requests, two in flight.
fn several(name: &'static str, event: Answer) -> Fault {
    Fault { options: json!({"batch": {"max_events": 50}}), ..Fault::new(name, event) }
}

/// Ten requests, one after the other.
fn one_by_one(name: &'static str, event: Answer) -> Fault {
    let options = json!({"batch": {"max_events": 50}, "request": {"concurrency": 1}});
    Fault { options, ..Fault::new(name, event) }
}

fn good(collector: &Collector, request: &Request, _at: usize) -> Reply {
    collector.good(request)
}

fn on_one_channel() -> Vec<Fault> {
    let all = u64::from(SENT);
    vec![
        Fault {
            ack: |collector, request, question| match question {
                0..3 => statuses(request, |_| false),
                _ => collector.confirm(request, question),
            },
            ..several("acknowledgements of ten requests", good)
        },
        Fault {
            options: json!({"batch": {"max_events": 10}}),
            ..several("answers that overtake each other", |collector, request, at| {
                match (collector.good(request), at) {
                    (Reply::Answer(status, body, _), 1) => {
                        Reply::Slow(Duration::from_secs(3), status, body)
                    }
                    (answer, _) => answer,
                }
            })
        },
        Fault {
            ack: |collector, request, question| match question {
                0..3 => plain([401, 403, 404][question], "no"),
                _ => collector.confirm(request, question),
            },
            errors: &["acknowledgement_unanswered"],
            ..several("questions answered 401, 403 and 404", good)
        },
        Fault {
            ack: |collector, request, question| match question {
                0 => plain(200, "<html>"),
                1 => plain(200, r#"{"acks": [true]}"#),
                2 => plain(200, r#"{"acks": {"0": "yes", "1": null, "2": 1, "all": true}}"#),
                3 => plain(200, &" ".repeat(300 << 10)),
                _ => collector.confirm(request, question),
            },
            channels: None,
            ..several("questions answered with nonsense", good)
        },
        Fault {
            // Whoever is sent again has another id.
            ack: |_, request, _| {
                let Reply::Answer(status, body, more) = statuses(request, |id| id >= 10) else {
                    return Reply::Hangup;
                };
                let known = body.replace("false", "null");
                Reply::Answer(status, known, more)
            },
            config: json!({"acknowledgements": {"timeout_secs": 3}}),
            doubled: Some(all),
            errors: &["acknowledgement_late"],
            ..several("acknowledgements without our ids", good)
        },
    ]
}

fn on_several_channels() -> Vec<Fault> {
    vec![
        Fault {
            // The other one never indexes what it took. The third request comes when the answer to the
            // second was read.
            ack: |collector, request, question| {
                if collector.requests.load(Ordering::SeqCst) < 3 {
                    return statuses(request, |_| false);
                }
                collector.confirm(request, question)
            },
            doubled: Some(50),
            channels: Some(2),
            errors: &["acknowledgement_ids_repeat"],
            ..one_by_one("two collectors give one id", |collector, request, at| match at {
                1 => success(Some(0)),
                _ => collector.good(request),
            })
        },
        Fault {
            ack: |collector, request, question| {
                if collector.is_first_channel(request) {
                    return plain(500, "no");
                }
                match collector.distinct() {
                    (_, 0) => statuses(request, |_| false),
                    _ => collector.confirm(request, question),
                }
            },
            config: json!({"acknowledgements": {"timeout_secs": 3}}),
            doubled: None,
            channels: None,
            errors: &["acknowledgement_late", "acknowledgement_unanswered"],
            ..one_by_one("one of two channels is never answered", |collector, request, at| {
                if at == 1 { Reply::Hangup } else { collector.good(request) }
            })
        },
        Fault {
            // Five requests, each on a channel of its own; all are indexed at once.
            options: json!({"batch": {"max_events": 100}, "request": {"concurrency": 1}}),
            ack: |collector, request, _| match collector.distinct() {
                (500, _) => collector.confirm_once(request),
                _ => statuses(request, |_| false),
            },
            channels: Some(5),
            ..several("each confirmation is given once", |collector, request, at| {
                if at % 2 == 1 { Reply::Hangup } else { collector.good(request) }
            })
        },
    ]
}

fn acknowledgements_of_several_requests_are_told_apart(scene: &Scene) -> Outcome {
    play_all(scene, &[on_one_channel(), on_several_channels()].concat())
}

fn a_collector_that_counts_anew_confirms_nothing_of_before(scene: &Scene) -> Outcome {
    // One request is confirmed; four are taken and forgotten in a restart, whose ids come again.
    let restarted = |collector: &Collector, request: &Request, at| match at {
        0 => collector.good(request),
        1..=4 => success(Some(collector.next_id(request))),
        _ => {
            if at == 5 {
                collector.restart();
            }
            match (collector.good(request), at) {
                // Time for a question while its answer is on the way.
                (Reply::Answer(status, body, _), 6) => {
                    Reply::Slow(Duration::from_secs(3), status, body)
                }
                (answer, _) => answer,
            }
        }
    };
    let fault = Fault {
        doubled: Some(50),
        channels: Some(2),
        errors: &["acknowledgement_ids_repeat"],
        ..one_by_one("a restart, ids counted anew", restarted)
    };
    let played = tokio::runtime::Runtime::new()?.block_on(async {
        let collector = Arc::new(Collector::default());
        let server = FaultServer::start(None, {
            let collector = Arc::clone(&collector);
            let ack = |collector: &Collector, request: &Request, question| match collector
                .requests
                .load(Ordering::SeqCst)
            {
                0..6 => statuses(request, |id| id == 0),
                _ => collector.confirm(request, question),
            };
            move |request| collector.respond(request, restarted, ack)
        })
        .await?;
        let delivery = start(scene, &fault.name, &server, &fault.config, &fault.options)?;
        let mut alerts = delivery::alerts(SENT, &[BAD]);
        let later = alerts.split_off(50);
        delivery.send(alerts).await?;
        confirmed(&delivery).await?;
        delivery.send(later).await?;
        fault.finish(scene, delivery, &collector).await
    });
    judge_all([(&fault, played)])
}

/// Waits until nothing that was sent is held any more.
async fn confirmed(delivery: &Delivery) -> Result<(), Failed> {
    let deadline = poll::now() + LIMIT;
    while delivery.held() > 0 {
        if poll::now() >= deadline {
            return Err("the first request is never confirmed".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The sink's account of so many events, with these options and a server that answers as told.
fn deliver(
    scene: &Scene,
    name: &str,
    options: &serde_json::Value,
    sent: u32,
    respond: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Result<Balance, Failed> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = FaultServer::start(None, respond).await?;
        let delivery = start(scene, name, &server, &json!({}), options)?;
        delivery.send(delivery::alerts(sent, &[])).await?;
        delivery.finish(LIMIT).await
    })
}

fn all_but_the_first_request_carry_the_cookie_of_the_load_balancer(scene: &Scene) -> Outcome {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (collector, late) = (Collector::default(), AtomicBool::new(false));
    let options = json!({"batch": {"max_events": 50}, "request": {"concurrency": 4}});
    let balance = deliver(scene, "cookie", &options, SENT, {
        let asked = Arc::clone(&asked);
        move |request| {
            let cookie = request.headers.get("cookie").cloned();
            let target = request.target.clone();
            asked.lock().unwrap_or_else(PoisonError::into_inner).push((target, cookie));
            if !late.swap(true, Ordering::SeqCst) {
                // Time for the others to be sent.
                thread::sleep(Duration::from_millis(300));
            }
            let answer = collector.respond(request, good, Collector::confirm);
            let Reply::Answer(status, body, _) = answer else { return answer };
            Reply::Answer(status, body, Some(("set-cookie", "node=seven; Path=/".to_owned())))
        }
    })?;
    assert_eq!(balance.delivered, u64::from(SENT));
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(asked[0].1, None);
    for (target, cookie) in &asked[1..] {
        assert_eq!(cookie.as_deref(), Some("node=seven"), "{target}: {asked:?}");
    }
    assert!(asked.iter().any(|(target, _)| target.ends_with("/ack")));
    Ok(())
}

fn a_collector_near_its_capacity_gets_no_more_than_one_a_second(scene: &Scene) -> Outcome {
    for code in [24, 25] {
        let answered = Arc::new(Mutex::new(Vec::<(Instant, Instant)>::new()));
        let collector = Collector::default();
        let options = json!({"batch": {"max_events": 50}, "request": {"concurrency": 1}});
        let balance = deliver(scene, &format!("full-{code}"), &options, 150, {
            let answered = Arc::clone(&answered);
            move |request| {
                let came = poll::now();
                let full = |collector: &Collector, request: &Request, _| {
                    let id = collector.next_id(request);
                    answered
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((came, poll::now()));
                    with_code(code, Some(id))
                };
                collector.respond(request, full, Collector::confirm)
            }
        })?;
        assert_eq!((balance.delivered, balance.duplicated), (150, 0));
        let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(answered.len(), 3);
        for pair in answered.windows(2) {
            assert!(pair[1].0 - pair[0].1 >= Duration::from_secs(1), "code {code}: {answered:?}");
        }
    }
    Ok(())
}
