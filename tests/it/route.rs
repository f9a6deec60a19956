//! Packets chosen by `filter` and `route`, through the built program.

use std::fs;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{Capture, EPOCH_SECONDS},
    frames::{self, Way},
    tidegate::Tidegate,
};

/// More than one chunk, so that two workers have something to do.
const PACKETS: u32 = 55_000;
/// Of each of the five ports.
const OF_EACH: u32 = PACKETS / 5;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(packets_leave_through_every_route_that_wants_them)]
}

/// Ports 9000 to 9004 in turn. The filter leaves out 9004, `low` and `even` overlap in 9000, and
/// nobody wants 9003.
fn packets_leave_through_every_route_that_wants_them(scene: &Scene) -> Outcome {
    let mut capture = Capture::micros();
    for number in 0..PACKETS {
        let port = u16::try_from(9_000 + number % 5)?;
        let frame = frames::on_ethernet(&frames::udp(Way::There, [40_000, port], b"payload"));
        capture.frame(EPOCH_SECONDS + number / 1_000, number % 1_000 * 1_000, &frame);
    }
    capture.write(&scene.path("ports.pcap"));

    let one = replayed(scene, 1)?;
    let wanted: [&[u16]; 4] = [&[9_000, 9_001], &[9_000, 9_002], &[9_003], &[9_004]];
    for (lines, ports) in one.iter().zip(wanted) {
        let turns = (0..PACKETS).map(|number| 9_000 + number % 5);
        let expected = turns.filter(|port| ports.iter().any(|p| u32::from(*p) == *port));
        let got: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let got: Vec<_> = got.iter().map(|record| record["port"].clone()).collect();
        assert_eq!(got, expected.map(Value::from).collect::<Vec<_>>(), "ports {ports:?}");
    }
    let two = replayed(scene, 2)?;
    assert!(one == two, "two workers write something else than one");
    Ok(())
}

/// What each sink wrote.
fn replayed(scene: &Scene, workers: u32) -> Result<[String; 4], Failed> {
    let text = format!(
        "\
data_dir: state
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap], workers: {workers} }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
  fewer:
    type: filter
    inputs: [packets]
    condition: {{ not: {{ field: destination.port, equals: 9004 }} }}
  others:
    type: filter
    inputs: [packets]
    condition: {{ all: [{{ field: source.ip, exists: true }}, {{ field: destination.port, range: {{ gt: 9003 }} }}] }}
  split:
    type: route
    inputs: [fewer]
    routes:
      low: {{ field: destination.port, range: {{ lt: 9002 }} }}
      even: {{ field: destination.port, in: [9000, 9002] }}
sinks:
  low: {{ type: file, inputs: [split.low], path: low.{workers}, encoding: {{ schema: simple }} }}
  even: {{ type: file, inputs: [split.even], path: even.{workers}, encoding: {{ schema: simple }} }}
  rest: {{ type: file, inputs: [split._unmatched], path: rest.{workers}, encoding: {{ schema: simple }} }}
  last: {{ type: file, inputs: [others], path: last.{workers}, encoding: {{ schema: simple }} }}
"
    );
    let config = scene.write("route.yaml", text);
    let summary = scene.path("summary.json");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg("--summary")
        .arg(&summary)
        .arg(scene.path("ports.pcap"))
        .run()?
        .expect(0)?;
    assert!(!ended.stderr.contains("DOES NOT BALANCE"), "{}", ended.stderr);
    let (kept, doubled) = (4 * OF_EACH, OF_EACH);
    ended.says(&[
        &format!("split    route: in {kept} = out {kept} + absorbed 0 + filtered 0"),
        &format!("held 0; made {doubled}\n"),
    ])?;
    let summary: Value = serde_json::from_slice(&fs::read(&summary)?)?;
    assert_eq!(
        summary["records_out"],
        json!({
            "low": 2 * OF_EACH,
            "even": 2 * OF_EACH,
            "rest": OF_EACH,
            "last": OF_EACH,
        })
    );
    assert_eq!(summary["filtered"], PACKETS, "{summary}");
    let read = |name: &str| fs::read_to_string(scene.path(&format!("{name}.{workers}")));
    Ok([read("low")?, read("even")?, read("rest")?, read("last")?])
}
