//! The program with a disk buffer in front of a broker that goes away.

use std::{fs, path::Path, time::Duration};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, EPOCH_SECONDS},
    frames::{self, Way},
    kafka,
    poll::{self, SOON},
    process,
    tidegate::Tidegate,
};

const LIMIT: Duration = Duration::from_mins(20);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_broker_that_is_away_does_not_hold_up_other_sinks),
        Case::new(a_million_flows_reach_a_broker_that_is_killed_twice).slow().busy(),
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
    assert_eq!(broker.read("together")?.distinct().0, 40_000);
    Ok(())
}

/// One packet each of so many conversations, ten thousand a second.
fn conversations(count: u32) -> Capture {
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
    let (distinct, doubled) = broker.read("million")?.distinct();
    assert_eq!(distinct, u64::from(FLOWS), "{doubled} there twice");
    Ok(())
}
