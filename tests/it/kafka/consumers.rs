//! The `kafka` source against a real broker: what one Tidegate wrote others read, whatever happens to them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::together::conversations;
use crate::harness::{
    Case, Outcome, Scene,
    kafka::{self, Broker, NAME, PASSWORD, USER, write},
    poll::{self, SOON},
    search::{self, Flavor},
    table::Row,
    tidegate::{Running, Tidegate},
};

pub(super) const LIMIT: Duration = Duration::from_mins(3);
const SENT: u32 = 20_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_was_acknowledged_is_read_once_and_what_is_no_record_is_left_out),
        Case::new(a_broker_that_is_killed_while_it_is_read_loses_nothing),
        Case::new(a_topic_that_is_missing_is_waited_for),
        Case::new(messages_that_are_gone_before_they_are_read_are_counted),
        Case::new(of_two_consumers_one_is_killed_and_every_flow_is_indexed_once),
        Case::new(a_broker_that_nobody_vouches_for_is_not_read_until_that_is_mended),
        Case::new(a_right_to_read_that_is_withdrawn_is_waited_for),
    ]
}

/// A consumer of `topic`, one of those that share it, into a sink.
pub(super) fn consumer(
    scene: &Scene,
    name: &str,
    servers: &str,
    topic: &str,
    sink: &str,
) -> PathBuf {
    let text = format!(
        "data_dir: {state}
api: {{ address: \"127.0.0.1:0\" }}
sources:
  bus:
    type: kafka
    bootstrap_servers: [{servers}]
    group: {topic}-readers
    topics: [{topic}]
    librdkafka:
      session.timeout.ms: \"30000\"
      heartbeat.interval.ms: \"500\"
      reconnect.backoff.max.ms: \"500\"
      topic.metadata.refresh.interval.ms: \"1000\"
sinks:
  out:
    inputs: [bus.flows]
    request: {{ retry_initial_secs: 1, retry_max_secs: 1 }}
{sink}
",
        state = scene.path(&format!("{name}.state")).display(),
    );
    scene.write(&format!("{name}.yaml"), text)
}

pub(super) fn to_file(out: &Path) -> String {
    let out = out.display();
    format!("    type: file\n    path: {out}\n    encoding: {{ schema: simple }}")
}

pub(super) fn start(scene: &Scene, config: &Path) -> Result<Running, Failed> {
    Tidegate::new(scene, ["run", "-c"]).arg(config).start()
}

/// How often each flow is in a file, by its id.
pub(super) fn copies(out: &Path) -> BTreeMap<String, u64> {
    let mut copies = BTreeMap::new();
    for line in fs::read_to_string(out).unwrap_or_default().lines() {
        let flow = serde_json::from_str(line).unwrap_or(Value::Null);
        if let Some(id) = flow["flow_id"].as_str() {
            *copies.entry(id.to_owned()).or_default() += 1;
        }
    }
    copies
}

pub(super) fn until_there(out: &Path, count: u32, running: &mut Running) -> Outcome {
    poll::until_true(&format!("{count} flows"), LIMIT, || {
        copies(out).len() as u64 >= u64::from(count)
    })
    .or_else(|late| running.still_runs().and(Err(late)))
}

pub(super) fn enter(fault: &str, sent: u32, copies: &BTreeMap<String, u64>) -> Outcome {
    let delivered = copies.len() as u64;
    let row = Row {
        sink: "kafka source",
        server: NAME,
        fault: fault.to_owned(),
        sent: sent.into(),
        delivered,
        doubled: copies.values().sum::<u64>() - delivered,
        dead_lettered: 0,
    };
    row.enter()
}

pub(super) fn create(
    broker: &Broker,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> Outcome {
    tokio::runtime::Runtime::new()?.block_on(broker.create(topic, partitions, settings))
}

fn what_was_acknowledged_is_read_once_and_what_is_no_record_is_left_out(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read", 3, &[])?;
    write(scene, &broker, "read", 0..1_000)?;
    let newer = [&[0x94, 9][..], b"rest"].concat();
    for poison in [&b""[..], b"{\"source\":{}}", &[0x94, 1, 3, 0xa1], &newer] {
        broker.produce("read", poison)?;
    }
    write(scene, &broker, "read", 1_000..2_000)?;
    let out = scene.path("read.out");
    let config = consumer(scene, "read", &broker.plain(), "read", &to_file(&out));
    let mut running = start(scene, &config)?;
    until_there(&out, 2_000, &mut running)?;
    running.signal(Signal::TERM);
    // What is no record was not handed on, and that shows.
    let ended = running.wait(SOON)?.expect(3)?;
    ended.says(&["not_wire", "newer_wire", "damaged_wire", "of read[", "is left out"])?;
    write(scene, &broker, "read", 2_000..2_100)?;
    let mut running = start(scene, &config)?;
    until_there(&out, 2_100, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let copies = copies(&out);
    assert!(copies.values().all(|count| *count == 1), "some were read twice");
    enter("messages that are no records; stopped and started", 2_100, &copies)
}

fn a_broker_that_is_killed_while_it_is_read_loses_nothing(scene: &Scene) -> Outcome {
    let mut broker = kafka::broker()?;
    create(&broker, "read-killed", 2, &[])?;
    write(scene, &broker, "read-killed", 0..SENT)?;
    let out = scene.path("killed.out");
    let sink = to_file(&out) + "\n    batch: { max_events: 200 }";
    let mut running =
        start(scene, &consumer(scene, "killed", &broker.plain(), "read-killed", &sink))?;
    until_there(&out, SENT / 10, &mut running)?;
    broker.kill()?;
    broker.start()?;
    write(scene, &broker, "read-killed", SENT..SENT + 100)?;
    until_there(&out, SENT + 100, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    enter("broker killed with -9 while it is read", SENT + 100, &copies(&out))
}

fn a_topic_that_is_missing_is_waited_for(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let out = scene.path("missing.out");
    let mut running =
        start(scene, &consumer(scene, "missing", &broker.plain(), "read-late", &to_file(&out)))?;
    poll::until_true("the missing topic to be named", SOON, || {
        running.stderr().to_lowercase().contains("unknown topic")
    })?;
    running.still_runs()?;
    create(&broker, "read-late", 1, &[])?;
    write(scene, &broker, "read-late", 0..1_000)?;
    until_there(&out, 1_000, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    enter("topic missing at the start", 1_000, &copies(&out))
}

fn messages_that_are_gone_before_they_are_read_are_counted(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read-gone", 1, &[])?;
    write(scene, &broker, "read-gone", 0..500)?;
    let out = scene.path("gone.out");
    let config = consumer(scene, "gone", &broker.plain(), "read-gone", &to_file(&out));
    let mut running = start(scene, &config)?;
    until_there(&out, 500, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    write(scene, &broker, "read-gone", 500..1_000)?;
    broker.delete_before("read-gone", 0, 800)?;
    let mut running = start(scene, &config)?;
    until_there(&out, 700, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(3)?.says(&["300 messages of read-gone[0] before 800 are gone"])?;
    let copies = copies(&out);
    assert_eq!((copies.len(), copies.values().sum::<u64>()), (700, 700));
    Ok(())
}

fn of_two_consumers_one_is_killed_and_every_flow_is_indexed_once(scene: &Scene) -> Outcome {
    let server = search::shared(Flavor::Elasticsearch8)?;
    let broker = kafka::broker()?;
    create(&broker, "fleet", 4, &[])?;
    let agent = format!(
        "data_dir: {state}
observer: {{ name: agent-1 }}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
  flows: {{ type: flow, inputs: [packets] }}
sinks:
  bus:
    type: kafka
    inputs: [flows]
    bootstrap_servers: [\"{server}\"]
    topic: fleet
    encoding: {{ codec: wire }}
",
        state = scene.path("agent").display(),
        server = broker.plain(),
    );
    let agent = scene.write("agent.yaml", agent);
    let capture = scene.path("fleet.pcap");
    conversations(SENT).write(&capture);
    Tidegate::new(scene, ["replay", "-c"]).arg(&agent).arg(&capture).run()?.expect(0)?;
    let sink = format!(
        "    type: elasticsearch\n    endpoints: [\"{}\"]\n    data_stream: {{ namespace: fleet }}\n    \
         setup: install\n    batch: {{ max_events: 500 }}",
        server.url()
    );
    let runtime = tokio::runtime::Runtime::new()?;
    let count = || runtime.block_on(server.count("logs-tidegate.flow-fleet")).unwrap_or(0);
    let start = |name| {
        let config = consumer(scene, name, &broker.plain(), "fleet", &sink);
        // The group does without the one that is killed soon; whoever is taken for dead meanwhile doubles nothing.
        let text = fs::read_to_string(&config)?.replace("\"30000\"", "\"6000\"");
        fs::write(&config, text)?;
        start(scene, &config)
    };
    let (first, mut second) = (start("first")?, start("second")?);
    poll::until_true("a part of them to be indexed", LIMIT, || count() > u64::from(SENT) / 10)?;
    first.signal(Signal::KILL);
    first.wait(SOON)?;
    // One more comes while the group still sorts itself out.
    let mut third = start("third")?;
    poll::until_true("all of them to be indexed", LIMIT, || count() >= u64::from(SENT))?;
    second.still_runs()?;
    third.still_runs()?;
    for running in [second, third] {
        running.signal(Signal::TERM);
        running.wait(SOON)?;
    }
    let row = Row {
        sink: "kafka source",
        server: NAME,
        fault: "one of two consumers killed with -9, another joins; into Elasticsearch".to_owned(),
        sent: SENT.into(),
        delivered: count(),
        doubled: 0,
        dead_lettered: 0,
    };
    row.enter()
}

fn a_broker_that_nobody_vouches_for_is_not_read_until_that_is_mended(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read-vouched", 1, &[])?;
    write(scene, &broker, "read-vouched", 0..100)?;
    let other = crate::harness::certificates::Authority::new();
    let ca = scene.write("ca.pem", &other.pem);
    let out = scene.path("vouched.out");
    let config = consumer(scene, "vouched", &broker.plain(), "read-vouched", &to_file(&out));
    let text = fs::read_to_string(&config)?.replace(&broker.plain(), &broker.tls());
    let tls = format!("    tls: {{ ca: {} }}\n    librdkafka:", ca.display());
    fs::write(&config, text.replace("    librdkafka:", &tls))?;
    let mut running = start(scene, &config)?;
    poll::until_true("the certificate to be named", SOON, || {
        running.stderr().contains("certificate verify failed")
    })?;
    running.still_runs()?;
    assert!(copies(&out).is_empty());
    // The file is read again with each consumer that is made anew.
    scene.write("ca.pem", &broker.authority.pem);
    until_there(&out, 100, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    enter("certificate of another authority, then mended", 100, &copies(&out))
}

fn a_right_to_read_that_is_withdrawn_is_waited_for(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    create(&broker, "read-rights", 1, &[])?;
    write(scene, &broker, "read-rights", 0..100)?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let out = scene.path("rights.out");
    let config = consumer(scene, "rights", &broker.plain(), "read-rights", &to_file(&out));
    let text = fs::read_to_string(&config)?.replace(&broker.plain(), &broker.login());
    let login = format!(
        "    tls: {{ ca: {} }}\n    sasl: {{ user: {USER}, password: {PASSWORD} }}\n    librdkafka:",
        ca.display()
    );
    fs::write(&config, text.replace("    librdkafka:", &login))?;
    let mut running = start(scene, &config)?;
    until_there(&out, 100, &mut running)?;
    broker.deny(USER, "Read", "read-rights", true)?;
    write(scene, &broker, "read-rights", 100..200)?;
    poll::until_true("the missing right to be named", SOON, || {
        running.stderr().to_lowercase().contains("authorization failed")
    })?;
    broker.deny(USER, "Read", "read-rights", false)?;
    until_there(&out, 200, &mut running)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    enter("the right to read withdrawn, then restored", 200, &copies(&out))
}
