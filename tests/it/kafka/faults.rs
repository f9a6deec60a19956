//! Faults of a real broker: each ends with every record delivered or dead-lettered.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::metrics::Balance;
use tokio::runtime::Runtime;

use crate::harness::{
    Case, Outcome, Scene,
    delivery::{self, Delivery},
    kafka::{self, Content, NAME, PASSWORD, USER, send},
    poll::{self, SOON},
    table::Row,
};

const LIMIT: Duration = Duration::from_mins(3);
const SENT: u32 = 20_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_broker_that_is_killed_and_comes_back_loses_nothing),
        Case::new(a_broker_that_is_away_is_waited_for),
        Case::new(a_topic_that_is_deleted_and_made_anew_gets_the_rest),
        Case::new(what_is_too_large_for_the_topic_is_dead_lettered),
        Case::new(messages_that_are_too_large_only_together_are_all_delivered),
        Case::new(a_login_that_is_refused_is_held_until_it_is_taken),
        Case::new(a_broker_that_nobody_vouches_for_gets_nothing),
        Case::new(a_right_that_is_withdrawn_is_waited_for),
        Case::new(a_topic_that_is_missing_is_waited_for),
        Case::new(no_secret_is_in_what_a_failing_sink_says),
    ]
}

fn enter(fault: &str, balance: &Balance, content: &Content, dead_lettered: u64) -> Outcome {
    let (delivered, doubled) = content.distinct();
    let row = Row {
        sink: "kafka",
        server: NAME,
        fault: fault.to_owned(),
        sent: SENT.into(),
        delivered,
        doubled,
        dead_lettered,
    };
    row.enter()?;
    // Whatever is there twice was counted as possibly so.
    assert!(doubled <= balance.duplicated, "{row:?} {balance:?}");
    assert_eq!(balance.delivered + balance.dead_lettered, u64::from(SENT), "{balance:?}");
    Ok(())
}

fn start(scene: &Scene, server: &str, topic: &str, more: Value) -> Result<Delivery, Failed> {
    kafka::sink(scene, server, topic, more, json!({}))
}

/// Waits until the sink holds no more than so many.
fn until_held(sink: &Delivery, most: u64) -> Outcome {
    poll::until_true(&format!("{most} held"), LIMIT, || sink.held() <= most)
}

fn a_broker_that_is_killed_and_comes_back_loses_nothing(scene: &Scene) -> Outcome {
    let mut broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("killed", 3, &[]))?;
    let server = broker.plain();
    let sink = runtime.block_on(async { start(scene, &server, "killed", json!({})) })?;
    runtime.block_on(send(&sink, 0..SENT / 2))?;
    // Under way, and neither at the beginning nor done.
    until_held(&sink, u64::from(SENT) / 4)?;
    broker.kill()?;
    runtime.block_on(send(&sink, SENT / 2..SENT))?;
    broker.start()?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter("killed with -9 under load, restarted", &balance, &broker.read_of("killed", SENT)?, 0)
}

fn a_broker_that_is_away_is_waited_for(scene: &Scene) -> Outcome {
    let mut broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("away", 1, &[]))?;
    broker.kill()?;
    let server = broker.plain();
    let sink = runtime.block_on(async { start(scene, &server, "away", json!({})) })?;
    runtime.block_on(send(&sink, 0..SENT / 4))?;
    sink.keeps(SENT / 4, "not_delivered_yet")?;
    sink.keeps(SENT / 4, "broker_unreachable")?;
    broker.start()?;
    runtime.block_on(send(&sink, SENT / 4..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter("away from the beginning, then there", &balance, &broker.read_of("away", SENT)?, 0)
}

fn a_topic_that_is_deleted_and_made_anew_gets_the_rest(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("deleted", 2, &[]))?;
    let server = broker.plain();
    let sink = runtime.block_on(async { start(scene, &server, "deleted", json!({})) })?;
    runtime.block_on(send(&sink, 0..SENT / 2))?;
    until_held(&sink, 0)?;
    let mut content = broker.read_of("deleted", SENT / 2)?;
    runtime.block_on(broker.delete("deleted"))?;
    runtime.block_on(send(&sink, SENT / 2..SENT / 2 + 1_000))?;
    sink.keeps(1_000, "producer_recreated")?;
    runtime.block_on(broker.create("deleted", 1, &[]))?;
    runtime.block_on(send(&sink, SENT / 2 + 1_000..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    content.and(broker.read_of("deleted", SENT / 2)?);
    enter("topic deleted, and made anew", &balance, &content, 0)
}

fn what_is_too_large_for_the_topic_is_dead_lettered(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    // All batches are too large, whether one of their messages is or not.
    runtime.block_on(broker.create("small", 1, &[("max.message.bytes", "1000")]))?;
    let more = json!({"compression": "none"});
    let mut alerts = delivery::alerts(SENT / 10, &[]);
    for alert in alerts.iter_mut().step_by(100) {
        alert.reasons.push("x".repeat(2_000).into());
    }
    let large = alerts.len().div_ceil(100) as u64;
    let (sent, balance) = runtime.block_on(async {
        let sink = start(scene, &broker.plain(), "small", more)?;
        sink.send(alerts).await?;
        Ok::<_, Failed>((u64::from(SENT / 10), sink.finish(LIMIT).await?))
    })?;
    let content = broker.read_of("small", balance.delivered)?;
    let letters = delivery::letters(&delivery::dead_letter(scene, "small"));
    let (delivered, doubled) = content.distinct();
    let dead_lettered = letters.len() as u64;
    let fault = "message too large for the topic".to_owned();
    Row { sink: "kafka", server: NAME, fault, sent, delivered, doubled, dead_lettered }.enter()?;
    assert_eq!((dead_lettered, balance.dead_lettered, doubled), (large, large, 0));
    assert!(letters.iter().all(|letter| {
        letter["reason"].as_str().is_some_and(|reason| reason.to_lowercase().contains("large"))
    }));
    Ok(())
}

fn messages_that_are_too_large_only_together_are_all_delivered(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("narrow", 2, &[("max.message.bytes", "60000")]))?;
    let (balance, errors) = runtime.block_on(async {
        let sink = start(scene, &broker.plain(), "narrow", json!({"compression": "none"}))?;
        send(&sink, 0..SENT).await?;
        let errors = sink.errors();
        Ok::<_, Failed>((sink.finish(LIMIT).await?, errors))
    })?;
    assert_eq!((balance.dead_lettered, balance.duplicated), (0, 0), "{balance:?} {errors:?}");
    enter("batches larger than the topic takes", &balance, &broker.read_of("narrow", SENT)?, 0)
}

fn a_login_that_is_refused_is_held_until_it_is_taken(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("login", 1, &[]))?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let more = json!({
        "tls": {"ca": ca},
        "sasl": {"mechanism": "scram-sha-512", "user": "late", "password": "late-secret"},
    });
    let server = broker.login();
    let sink = runtime.block_on(async { start(scene, &server, "login", more) })?;
    runtime.block_on(send(&sink, 0..1_000))?;
    sink.keeps(1_000, "destination_refuses_us")?;
    broker.add_user("late", "late-secret")?;
    runtime.block_on(send(&sink, 1_000..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter("login refused, then taken", &balance, &broker.read_of("login", SENT)?, 0)
}

fn a_broker_that_nobody_vouches_for_gets_nothing(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("vouched", 1, &[]))?;
    let other = crate::harness::certificates::Authority::new();
    let ca = scene.write("ca.pem", &other.pem);
    let (server, more) = (broker.tls(), json!({"tls": {"ca": ca}}));
    let sink = runtime.block_on(async { start(scene, &server, "vouched", more) })?;
    runtime.block_on(send(&sink, 0..1_000))?;
    sink.keeps(1_000, "destination_refuses_us")?;
    assert_eq!(broker.read("vouched")?.distinct(), (0, 0));
    // The file is read again with each producer that is made anew.
    scene.write("ca.pem", &broker.authority.pem);
    runtime.block_on(send(&sink, 1_000..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter(
        "certificate of another authority, then mended",
        &balance,
        &broker.read_of("vouched", SENT)?,
        0,
    )
}

fn a_right_that_is_withdrawn_is_waited_for(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    runtime.block_on(broker.create("rights", 1, &[]))?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let login = json!({"mechanism": "scram-sha-512", "user": USER, "password": PASSWORD});
    let (server, more) = (broker.login(), json!({"tls": {"ca": ca}, "sasl": login}));
    let sink = runtime.block_on(async { start(scene, &server, "rights", more) })?;
    runtime.block_on(send(&sink, 0..SENT / 2))?;
    until_held(&sink, 0)?;
    broker.deny(USER, "Write", "rights", true)?;
    runtime.block_on(send(&sink, SENT / 2..SENT / 2 + 1_000))?;
    sink.keeps(1_000, "destination_refuses_us")?;
    broker.deny(USER, "Write", "rights", false)?;
    runtime.block_on(send(&sink, SENT / 2 + 1_000..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter(
        "the right to write withdrawn, then restored",
        &balance,
        &broker.read_of("rights", SENT)?,
        0,
    )
}

fn a_topic_that_is_missing_is_waited_for(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = Runtime::new()?;
    let server = broker.plain();
    let sink = runtime.block_on(async { start(scene, &server, "late", json!({})) })?;
    runtime.block_on(send(&sink, 0..1_000))?;
    sink.keeps(1_000, "producer_recreated")?;
    runtime.block_on(broker.create("late", 1, &[]))?;
    runtime.block_on(send(&sink, 1_000..SENT))?;
    let balance = runtime.block_on(sink.finish(LIMIT))?;
    enter("topic missing at the start", &balance, &broker.read_of("late", SENT)?, 0)
}

fn no_secret_is_in_what_a_failing_sink_says(scene: &Scene) -> Outcome {
    use crate::harness::{captures, tidegate::Tidegate};
    let broker = kafka::broker()?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  bus:
    type: kafka
    inputs: [packets]
    bootstrap_servers: [\"{server}\"]
    topic: nowhere
    tls: {{ ca: {ca} }}
    sasl: {{ user: nobody, password: hunter2-hunter2 }}
    librdkafka: {{ debug: \"security,broker\" }}
",
        state = scene.path("state").display(),
        server = broker.login(),
        ca = ca.display(),
    );
    let config = scene.write("secret.yaml", text);
    let capture = scene.path("ten.pcap");
    captures::numbered(10).write(&capture);
    let running = Tidegate::new(scene, ["--log-level", "trace", "replay", "-c"])
        .arg(&config)
        .arg(&capture)
        .start()?;
    poll::until_true("the refusal to be named", SOON, || {
        running.stderr().to_lowercase().contains("authentication")
    })?;
    let said = running.stderr();
    assert!(!said.contains("hunter2"), "{said}");
    Ok(())
}
