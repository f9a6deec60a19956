//! The program with a disk buffer in front of a broker that goes away.

use std::{fs, path::Path, time::Duration};

use libtest_mimic::Failed;

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, EPOCH_SECONDS},
    frames::{self, Way},
    kafka,
    poll::{self, SOON},
    process,
    search::{self, Flavor},
    table::Row,
    tidegate::Tidegate,
};

const LIMIT: Duration = Duration::from_mins(20);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_broker_that_is_away_does_not_hold_up_other_sinks),
        Case::new(elasticsearch_does_not_wait_for_kafka_until_its_buffer_is_full),
        Case::new(a_million_flows_reach_a_broker_that_is_killed_twice).slow().busy(),
        Case::new(a_million_flows_reach_an_elasticsearch_that_is_down_for_half_of_them)
            .slow()
            .busy(),
    ]
}

fn a_broker_that_is_away_does_not_hold_up_other_sinks(scene: &Scene) -> Outcome {
    let mut broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(broker.create("together", 1, &[]))?;
    broker.kill()?;
    let out = scene.path("records.out");
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  records: {{ type: file, inputs: [packets], path: {out}, encoding: {{ schema: simple }} }}
  bus:
    type: kafka
    inputs: [packets]
    bootstrap_servers: [\"{server}\"]
    topic: together
    buffer: {{ type: disk }}
",
        state = scene.path("state").display(),
        out = out.display(),
        server = broker.plain(),
    );
    let config = scene.write("together.yaml", text);
    let capture = scene.path("many.pcap");
    captures::numbered(40_000).write(&capture);
    let mut running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    // More than memory holds of it: all of it is in the file while none of it is at the broker.
    poll::until_true("all records in the file", SOON * 2, || lines(&out) == 40_000)?;
    running.still_runs()?;
    let peak = process::status(running.pid(), "VmHWM").unwrap_or_default();
    let kibibytes: u64 = peak.trim_end_matches(" kB").parse()?;
    assert!(kibibytes <= 128 << 10, "{peak} with the broker gone");
    broker.start()?;
    running.wait(SOON * 2)?.expect(0)?.says(&["bus.buffer"])?;
    assert_eq!(broker.read_of("together", 40_000_u64)?.distinct().0, 40_000);
    Ok(())
}

/// Records that wait in a disk buffer, beside the process that has it open.
fn waiting(scene: &Scene, buffer: &Path) -> Result<u64, Failed> {
    let seen = Tidegate::new(scene, ["buffer", "inspect"]).arg(buffer).run()?.stdout;
    let last = seen.lines().next_back().unwrap_or_default();
    let count = last.split_once(" records waiting").map(|(count, _)| count.parse());
    count.ok_or_else(|| format!("no count: {seen}"))?.map_err(Failed::from)
}

fn elasticsearch_does_not_wait_for_kafka_until_its_buffer_is_full(scene: &Scene) -> Outcome {
    const PACKETS: u32 = 60_000;
    let server = search::shared(Flavor::Elasticsearch8)?;
    let mut broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(broker.create("apart", 1, &[]))?;
    broker.kill()?;
    let buffer = scene.path("buffer");
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem:
    type: elasticsearch
    inputs: [packets]
    endpoints: [\"{siem}\"]
    data_stream: {{ namespace: apart }}
    setup: install
  bus:
    type: kafka
    inputs: [packets]
    bootstrap_servers: [\"{server}\"]
    topic: apart
    buffer: {{ type: disk, path: {buffer}, max_bytes: 4194304 }}
",
        state = scene.path("state").display(),
        siem = server.url(),
        server = broker.plain(),
        buffer = buffer.display(),
    );
    let config = scene.write("apart.yaml", text);
    let capture = scene.path("apart.pcap");
    captures::numbered(PACKETS).write(&capture);
    let mut running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
    let count = || runtime.block_on(server.count("logs-tidegate.packet-apart")).unwrap_or(0);
    poll::until_true("the buffer to be full", SOON * 2, || {
        running.stderr().contains("the disk buffer is full")
    })?;
    // All that went into the buffer of the one is with the other.
    let buffered = waiting(scene, &buffer)?;
    assert!((1..u64::from(PACKETS)).contains(&buffered), "{buffered} are in the buffer");
    poll::until_true("the same in Elasticsearch", SOON * 2, || count() >= buffered)?;
    running.still_runs()?;
    broker.start()?;
    running.wait(SOON * 3)?.expect(0)?.says(&["siem", "delivered 60000", "bus.buffer"])?;
    assert_eq!(
        (count(), broker.read_of("apart", PACKETS)?.distinct().0),
        (PACKETS.into(), PACKETS.into())
    );
    Ok(())
}

fn a_million_flows_reach_an_elasticsearch_that_is_down_for_half_of_them(scene: &Scene) -> Outcome {
    const FLOWS: u32 = 1_000_000;
    let mut server = search::exclusive(Flavor::Elasticsearch8)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let buffer = scene.path("buffer");
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [x.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
  flows: {{ type: flow, inputs: [packets] }}
sinks:
  siem:
    type: elasticsearch
    inputs: [flows]
    endpoints: [\"{server}\"]
    data_stream: {{ namespace: halved }}
    setup: install
    buffer: {{ type: disk, path: {buffer}, max_bytes: 10737418240 }}
",
        state = scene.path("state").display(),
        server = server.url(),
        buffer = buffer.display(),
    );
    let config = scene.write("million.yaml", text);
    let capture = scene.path("million.pcap");
    conversations(FLOWS).write(&capture);
    server.kill()?;
    let replay = ["replay", "--wait", "-c"];
    let mut running = Tidegate::new(scene, replay).arg(&config).arg(&capture).start()?;
    poll::until_true("half of them on disk", LIMIT, || {
        waiting(scene, &buffer).is_ok_and(|waiting| waiting > u64::from(FLOWS) / 2)
    })?;
    running.still_runs()?;
    server.start()?;
    running.wait(LIMIT)?;
    let stream = "logs-tidegate.flow-halved";
    let count = runtime.block_on(server.count(stream))?;
    let fault = "down for the first half of a million flows, through a disk buffer".to_owned();
    let (server, sent) = (Flavor::Elasticsearch8.name(), FLOWS.into());
    let (sink, doubled, dead_lettered) = ("elasticsearch", 0, 0);
    Row { sink, server, fault, sent, delivered: count, doubled, dead_lettered }.enter()
}

/// One packet each of so many conversations, ten thousand a second.
pub(super) fn conversations(count: u32) -> Capture {
    let mut capture = Capture::micros();
    for number in 0..count {
        let [high, low] =
            [number / 50_000, number % 50_000].map(|part| u16::try_from(part).unwrap_or(0));
        let ports = [10_000 + low, 1_000 + high];
        let frame = frames::on_ethernet(&frames::udp(Way::There, ports, &number.to_be_bytes()));
        capture.frame(EPOCH_SECONDS + number / 10_000, number % 10_000 * 100, &frame);
    }
    capture
}

fn a_million_flows_reach_a_broker_that_is_killed_twice(scene: &Scene) -> Outcome {
    const FLOWS: u32 = 1_000_000;
    let mut broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(broker.create("million", 4, &[]))?;
    let text = format!(
        "data_dir: {state}
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
    topic: million
    buffer: {{ type: disk, max_bytes: 10737418240 }}
",
        state = scene.path("state").display(),
        server = broker.plain(),
    );
    let config = scene.write("million.yaml", text);
    let capture = scene.path("million.pcap");
    conversations(FLOWS).write(&capture);
    let mut running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
    for part in [10, 2] {
        poll::until_true("a part of them to be there", LIMIT, || {
            broker.ends("million").is_ok_and(|there| there > u64::from(FLOWS) / part)
        })?;
        running.still_runs()?;
        broker.kill()?;
        broker.start()?;
    }
    running.wait(LIMIT)?.expect(0)?;
    let (delivered, doubled) = broker.read_of("million", FLOWS)?.distinct();
    let fault = "killed twice under a million flows, through a disk buffer".to_owned();
    let (sink, server, dead_lettered) = ("kafka", kafka::NAME, 0);
    Row { sink, server, fault, sent: FLOWS.into(), delivered, doubled, dead_lettered }.enter()
}
