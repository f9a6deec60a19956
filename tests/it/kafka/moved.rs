//! Both sides at once, for longer: leaders that move in a cluster, a broker that is gone for a minute.

use std::{path::Path, thread, time::Duration};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::json;

use super::{
    consumers::{self, LIMIT, consumer, copies, create, start, to_file, until_there},
    together::conversations,
};
use crate::harness::{
    Case, Outcome, Scene,
    kafka::{self, Cluster, NAME, send},
    poll::{self, SOON},
    process,
    table::Row,
    tidegate::{Running, Tidegate},
};

const SENT: u32 = 200_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(leaders_that_move_under_load_lose_nothing_on_either_side).slow().busy(),
        Case::new(a_broker_that_is_gone_for_a_minute_loses_nothing_on_either_side).slow().busy(),
    ]
}

fn leaders_that_move_under_load_lose_nothing_on_either_side(scene: &Scene) -> Outcome {
    let mut cluster = Cluster::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(cluster.create("moved", 3, &[]))?;
    let first = cluster.leaders("moved")?;
    let out = scene.path("moved.out");
    let file = to_file(&out) + "\n    batch: { max_events: 1000 }";
    let config = consumer(scene, "moved", &cluster.servers(), "moved", &file);
    let mut reading = start(scene, &config)?;
    let (keys, options) = (json!({"compression": "zstd"}), json!({"encoding": {"codec": "wire"}}));
    let servers = cluster.servers();
    let sink = runtime.block_on(async { kafka::sink(scene, &servers, "moved", keys, options) })?;
    let sending = runtime.spawn(async move {
        send(&sink, 0..SENT).await?;
        sink.finish(LIMIT).await
    });
    let until = |cluster: &Cluster, part: u32| {
        poll::until_true("a part of them to be there", LIMIT, || {
            cluster.ends("moved").is_ok_and(|there| there >= u64::from(SENT / part))
        })
    };
    until(&cluster, 10)?;
    cluster.kill(first[0], "moved")?;
    until(&cluster, 4)?;
    cluster.start_again(first[0])?;
    cluster.lead_as_first("moved", &first)?;
    // And once more, another one, while the rest is under way.
    let leader = cluster.leaders("moved")?[1];
    cluster.kill(leader, "moved")?;
    cluster.start_again(leader)?;
    let balance = runtime.block_on(sending)??;
    let (delivered, doubled) = cluster.read_of("moved", SENT)?.distinct();
    let fault =
        "leaders moved: two brokers of three killed with -9 in turn, one elected".to_owned();
    let row = Row {
        sink: "kafka",
        server: NAME,
        fault: fault.clone(),
        sent: SENT.into(),
        delivered,
        doubled,
        dead_lettered: 0,
    };
    row.enter()?;
    assert!(doubled <= balance.duplicated, "{doubled} {balance:?}");
    until_there(&out, SENT, &mut reading)?;
    reading.signal(Signal::TERM);
    reading.wait(SOON)?;
    consumers::enter(&fault, SENT, &copies(&out))
}

fn a_broker_that_is_gone_for_a_minute_loses_nothing_on_either_side(scene: &Scene) -> Outcome {
    let mut broker = kafka::broker()?;
    create(&broker, "minute", 3, &[])?;
    let out = scene.path("minute.out");
    let mut reading =
        start(scene, &consumer(scene, "minute", &broker.plain(), "minute", &to_file(&out)))?;
    let capture = scene.path("minute.pcap");
    conversations(SENT).write(&capture);
    let mut writing = Tidegate::new(scene, ["replay", "-c"])
        .arg(agent(scene, &broker.plain()))
        .arg(&capture)
        .start()?;
    poll::until_true("a part of them to be read", LIMIT, || {
        copies(&out).len() as u64 >= u64::from(SENT / 20)
    })?;
    broker.kill()?;
    thread::sleep(Duration::from_mins(1));
    for running in [&mut reading, &mut writing] {
        running.still_runs()?;
        within(running, 128)?;
    }
    broker.start()?;
    writing.wait(LIMIT)?.expect(0)?;
    let content = broker.read_of("minute", SENT)?;
    let (delivered, doubled) = content.distinct();
    let fault = "gone for a minute under load".to_owned();
    let (sink, server, sent) = ("kafka", NAME, SENT.into());
    Row { sink, server, fault: fault.clone(), sent, delivered, doubled, dead_lettered: 0 }
        .enter()?;
    until_there(&out, SENT, &mut reading)?;
    reading.signal(Signal::TERM);
    reading.wait(SOON)?;
    consumers::enter(&fault, SENT, &copies(&out))
}

/// What reads a capture, and writes its flows to the topic `minute`, without a disk buffer.
fn agent(scene: &Scene, server: &str) -> std::path::PathBuf {
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
  # Flows end soon, and so the table is no larger than the rest.
  flows: {{ type: flow, inputs: [packets], timeouts: {{ udp_secs: 1 }} }}
sinks:
  bus:
    type: kafka
    inputs: [flows]
    bootstrap_servers: [{server}]
    topic: minute
    encoding: {{ codec: wire }}
    librdkafka: {{ reconnect.backoff.max.ms: \"500\" }}
",
        state = Path::new("agent.state").display(),
    );
    scene.write("agent.yaml", text)
}

/// Fails if a process has had more memory than so many mebibytes.
fn within(running: &Running, mebibytes: u64) -> Result<(), Failed> {
    let peak = process::status(running.pid(), "VmHWM").unwrap_or_default();
    let kibibytes: u64 = peak.trim_end_matches(" kB").parse()?;
    assert!(kibibytes <= mebibytes << 10, "{peak} with the broker gone");
    Ok(())
}
