//! A pipeline that is killed, or stopped while its destination is away: the next one reads the segments it
//! left, and says what was in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use libtest_mimic::Failed;
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use serde_json::Value;
use tidegate::capture::{Part, Reader};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, EPOCH_SECONDS},
    config,
    frames::{self, Way},
    live::Live,
    poll::{self, SOON},
    tidegate::Tidegate,
};

/// Packets that are sent in a round, each from a port of its own.
const PACKETS: u16 = 20_000;
/// The first of these ports.
const FIRST_PORT: u16 = 20_000;
/// Where the source port stands in the frames.
const PORT_AT: usize = 34;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_packet_of_a_segment_that_a_killed_run_left_is_in_the_records).live(),
        Case::new(what_a_stop_leaves_unread_the_next_run_reads).live(),
    ]
}

fn capture() -> Capture {
    let mut capture = Capture::micros();
    for number in 0..PACKETS {
        let datagram = frames::udp(Way::There, [FIRST_PORT + number, 9_999], b"number");
        capture.frame(EPOCH_SECONDS, u32::from(number), &frames::on_ethernet(&datagram));
    }
    capture
}

/// Packets in segments of a second, as documents with their ids, in little memory.
fn config(scene: &Scene, dissect: &str) -> Result<PathBuf, Failed> {
    let source = format!("mode: segments, dissect: {dissect}, segment: {{ max_secs: 1 }}");
    let path =
        config::live(scene, &source, "buffer: { max_events: 1000 }, batch: { max_events: 100 }");
    let text = fs::read_to_string(&path)?
        .replace("encoding: { schema: simple }", "encoding: { schema: ecs }")
        .replace("sources:", "memory_budget_bytes: 16777216\nsources:");
    Ok(scene.write("left.yaml", text))
}

fn every_packet_of_a_segment_that_a_killed_run_left_is_in_the_records(scene: &Scene) -> Outcome {
    let sent = scene.path("sent.pcap");
    capture().write(&sent);
    let (mut left_packets, mut said) = (0, 0);
    for round in 0..if scene.full { 10 } else { 3 } {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let dissect = if round % 2 == 0 { "headers" } else { "application" };
        let config = config(scene, dissect)?;
        let live = Live::start_with(scene, |wire| {
            Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&config)
        })?;
        // The destination is away for every second round's first half.
        let held = (round % 2 == 1).then(|| hold(&out)).transpose()?;
        let rate = 10_000 + 3_000 * round;
        live.wire.send(&sent, rate, 1)?;
        if held.is_none() {
            live.wait_for_records(1)?;
        }
        let Live { running, wire, .. } = live;
        running.signal(Signal::KILL);
        poll::until_true("the children to end", SOON, || {
            wire.near.processes().unwrap_or_default().iter().all(|process| process.state == 'Z')
        })?;
        drop(running);
        let left = ports_left(&scene.path("state"))?;
        left_packets += left.len();
        let in_memory = fs::read_to_string(scene.path("state/in-memory"))?;
        drop(held);

        let command = Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&config);
        let mut live = Live::of(scene, command.start()?, wire);
        live.capturer_other_than(0)?;
        poll::until_true("the records of what was left", SOON, || {
            ids(&out).is_ok_and(|ids| left.iter().all(|port| ids.contains_key(port)))
        })?;
        let (ended, _) = live.stop()?;
        if in_memory.trim() != "0" {
            said += 1;
            ended.expect(3)?.says(&["an earlier run was killed", "previous_run"])?;
        }
        // What was read in part and again has the ids it had.
        for (port, ids) in ids(&out)? {
            assert_eq!(ids.len(), 1, "round {round}: packet from port {port}: {ids:?}");
        }
    }
    assert!(left_packets > 0, "no round left a segment");
    assert!(said > 0, "no round was killed with records in memory");
    Ok(())
}

fn what_a_stop_leaves_unread_the_next_run_reads(scene: &Scene) -> Outcome {
    let sent = scene.path("sent.pcap");
    capture().write(&sent);
    let config = config(scene, "headers")?;
    let out = scene.path("records.out");
    let live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&config)
    })?;
    let held = hold(&out)?;
    // More than memory takes.
    live.wire.send(&sent, 20_000, 4)?;
    poll::until_true("segments that wait", SOON, || {
        ports_left(&scene.path("state")).is_ok_and(|ports| ports.len() > 1_000)
    })?;
    let Live { running, wire, .. } = live;
    running.signal(Signal::TERM);
    // It drains in vain; a second signal ends that.
    poll::until_true("the drain to begin", SOON, || running.stderr().contains("stopping"))?;
    running.stop_again()?;
    let ended = running.wait(SOON)?;
    assert!(matches!(ended.code, Some(1 | 3)), "exit {:?}\n{}", ended.code, ended.stderr);
    let left = ports_left(&scene.path("state"))?;
    assert!(!left.is_empty(), "nothing was left:\n{}", ended.stderr);
    drop(held);
    let command = Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&config);
    let mut live = Live::of(scene, command.start()?, wire);
    live.capturer_other_than(0)?;
    poll::until_true("the records of what was left", SOON, || {
        ids(&out).is_ok_and(|ids| left.iter().all(|port| ids.contains_key(port)))
    })?;
    live.stop()?.0.says(&["an earlier run left segments"])
}

/// Keeps a sink from writing to its file.
fn hold(out: &Path) -> Result<fs::File, Failed> {
    let held = fs::File::create(out)?;
    flock(&held, FlockOperation::LockExclusive)?;
    Ok(held)
}

/// The source ports of the packets in segments that lie there.
fn ports_left(state: &Path) -> Result<BTreeSet<u16>, Failed> {
    let mut ports = BTreeSet::new();
    for path in captures::below(state)? {
        let Ok(mut reader) = Reader::open(&path) else { continue };
        while let Ok(Part::Frames(frames)) = reader.read() {
            for place in frames.places.iter() {
                let port = frames.of(place).get(PORT_AT..PORT_AT + 2);
                let port = port.and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
                ports.insert(port.ok_or("a frame without a port")?);
            }
        }
    }
    Ok(ports)
}

/// The ids of the records of each source port. The last line may not be whole yet.
fn ids(out: &Path) -> Result<BTreeMap<u16, BTreeSet<String>>, Failed> {
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    let text = fs::read_to_string(out)?;
    for line in text.lines() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let port = record["source"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let id = record["event"]["id"].as_str();
        let (port, id) = port.zip(id).ok_or_else(|| format!("no packet of ours: {line}"))?;
        ids.entry(port).or_default().insert(id.to_owned());
    }
    Ok(ids)
}
