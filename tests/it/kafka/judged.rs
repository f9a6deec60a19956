//! A judge behind Kafka: it goes by the time of what it reads, alerts, and acts on no host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;
use tidegate::codec::wire;

use super::consumers::{LIMIT, consumer, create, start, to_file};
use crate::harness::{
    Case, Outcome, Scene, delivery, http,
    kafka::{self, Broker},
    poll::{self, SOON},
    server,
    tidegate::Tidegate,
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_is_judged_behind_kafka_is_what_is_judged_beside_the_capture)
            .needs_data()
            .busy(),
        Case::new(event_time_is_that_of_the_partition_behind_unless_it_is_idle),
    ]
}

/// A page of a Tidegate whose API listens at this port.
fn page(port: u16, path: &str) -> String {
    let url = format!("http://127.0.0.1:{port}{path}");
    let got = tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(http::get(&url)));
    got.ok().and_then(Result::ok).map(|(_, text)| text).unwrap_or_default()
}

/// How many events a component of it has received.
fn received(port: u16, component: &str) -> Option<u64> {
    let metrics = page(port, "/metrics");
    let mut lines = metrics.lines().filter(|line| {
        line.starts_with("tidegate_component_received_events_total")
            && line.contains(&format!("component_id=\"{component}\""))
    });
    lines.next()?.rsplit(' ').next()?.parse().ok()
}

/// A Tidegate that judges the contacts of a topic; its API is at `port`.
fn judge(scene: &Scene, broker: &Broker, topic: &str, port: u16) -> Result<String, Failed> {
    let alerts = scene.path("alerts.out");
    let config = consumer(scene, "judge", &broker.plain(), topic, &to_file(&alerts));
    let text = fs::read_to_string(config)?
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
        .replace("encoding: { schema: simple }", "encoding: { schema: ecs }")
        .replace("inputs: [bus.flows]", "inputs: [judged.alerts]")
        .replace(
            "\nsinks:\n",
            "\ntransforms:\n  judged: { type: score, inputs: [bus.contacts] }\nsinks:\n  \
             rest: { type: blackhole, inputs: [judged] }\n",
        );
    Ok(text)
}

/// The gravest action told of each source, the rules of all alerts, and the alerts.
type Told = (BTreeMap<String, u8>, BTreeSet<String>, Vec<Value>);

fn told(alerts: &Path) -> Result<Told, Failed> {
    let text = fs::read_to_string(alerts)?;
    let alerts: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (mut gravest, mut rules) = (BTreeMap::new(), BTreeSet::new());
    for alert in &alerts {
        rules.insert(alert["rule"]["name"].as_str().unwrap_or_default().to_owned());
        let grade = match alert["event"]["action"].as_str().unwrap_or_default() {
            "alert" => 1,
            "rate_limit" => 2,
            "block" | "would_block" => 3,
            _ => 0,
        };
        if let Some(source) = alert["source"]["ip"].as_str() {
            let known: &mut u8 = gravest.entry(source.to_owned()).or_default();
            *known = grade.max(*known);
        }
    }
    Ok((gravest, rules, alerts))
}

fn what_is_judged_behind_kafka_is_what_is_judged_beside_the_capture(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "contacts", 3, &[])?;
    let beside = scene.path("beside.out");
    let text = format!(
        "data_dir: {state}
sources:
  wire: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
  flows: {{ type: flow, inputs: [packets] }}
  judged: {{ type: score, inputs: [flows.contacts] }}
sinks:
  bus:
    type: kafka
    inputs: [flows.contacts]
    bootstrap_servers: [{server}]
    topic: contacts
    key: source
    encoding: {{ codec: wire }}
    request: {{ concurrency: 1 }}
  beside: {{ type: file, inputs: [judged.alerts], path: {beside}, encoding: {{ schema: ecs }} }}
  rest: {{ type: blackhole, inputs: [flows, judged] }}
",
        state = scene.path("agent.state").display(),
        server = broker.plain(),
        beside = beside.display(),
    );
    let agent = scene.write("agent.yaml", text);
    let capture = scene.data.join("scans/lab/lab.pcap.gz");
    Tidegate::new(scene, ["replay", "-c"]).arg(&agent).arg(&capture).run()?.expect(0)?;
    let port = server::free_port()?;
    let config = scene.write("judge.yaml", judge(scene, &broker, "contacts", port)?);
    let mut running = start(scene, &config)?;
    let sent = broker.ends("contacts")?;
    poll::until_true("all contacts to be judged", LIMIT, || {
        received(port, "judged").is_some_and(|count| count >= sent)
    })
    .or_else(|late| running.still_runs().and(Err(late)))?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let (gravest, rules, alerts) = told(&scene.path("alerts.out"))?;
    let (expected, beside_rules, beside_alerts) = told(&beside)?;
    // A flood is that of one point of the network: here nobody has all of it.
    assert!(beside_rules.contains("Flooded destination"), "{beside_rules:?}");
    assert!(!rules.contains("Flooded destination"), "{rules:?}");
    let about_floods: BTreeSet<_> = beside_alerts
        .iter()
        .filter(|alert| alert["rule"]["name"] == "Flooded destination")
        .filter_map(|alert| alert["source"]["ip"].as_str())
        .collect();
    let differs: Vec<_> = expected
        .iter()
        .filter(|(source, grade)| {
            !about_floods.contains(source.as_str()) && gravest.get(*source) != Some(*grade)
        })
        .map(|(source, grade)| (source, grade, gravest.get(source)))
        .chain(
            gravest.iter().filter(|one| !expected.contains_key(one.0)).map(|(a, b)| (a, b, None)),
        )
        .collect();
    assert!(gravest.len() > 10 && differs.is_empty(), "{differs:?} of {}", gravest.len());
    // It is told as of when it happened, years ago; nothing is in force anywhere.
    let last = beside_alerts.iter().filter_map(|alert| alert["@timestamp"].as_str()).max();
    for alert in &alerts {
        assert!(alert["@timestamp"].as_str() <= last, "{alert}");
        assert_ne!(alert["event"]["action"], "block", "{alert}");
    }
    Ok(())
}

fn event_time_is_that_of_the_partition_behind_unless_it_is_idle(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "clocks", 2, &[])?;
    let out = scene.path("clocks.out");
    let port = server::free_port()?;
    let config = consumer(scene, "clocks", &broker.plain(), "clocks", &to_file(&out));
    let text = fs::read_to_string(&config)?.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    fs::write(&config, text)?;
    // A flow's number is its milliseconds.
    let write = |partition: i32, number: u32| {
        let mut payload = Vec::new();
        wire::write(&delivery::flows(number..number + 1), 0, "agent", &mut payload)
            .map_err(|error| error.to_string())?;
        broker.produce_to("clocks", Some(partition), &payload)
    };
    let running = start(scene, &config)?;
    let until = |second: &str| {
        let time = format!("\"event_time\":\"2023-11-14T22:{second}");
        poll::until_true(&time, SOON, || page(port, "/health").contains(&time))
    };
    write(0, 500_000)?;
    write(1, 100_000)?;
    until("15:01.123")?;
    write(1, 200_000)?;
    until("16:41.123")?;
    // The other one brings nothing any more.
    poll::until_true("the idle one to be left aside", SOON, || {
        let fed = write(0, 600_000);
        fed.is_ok() && until("23:21.123").is_ok()
    })?;
    let before = received(port, "out").unwrap_or_default();
    write(1, 700_000)?;
    // Read together, the later one might be the first.
    poll::until_true("the earlier one to be read", SOON, || {
        received(port, "out").is_some_and(|now| now > before)
    })?;
    write(0, 800_000)?;
    until("25:01.123")?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}
