//! A gate on a mirror port: the interface takes in frames that are for others as long as the gate runs, and no longer.
//!
//! A veth takes in everything anyhow. The interface here is a bridge, which hands its host what is for itself and
//! for all, and only if it is promiscuous the rest: as a card does.

use std::{fs, path::PathBuf};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;
use tidegate_ebpf::pins::Pins;

use super::live::bpf_file_system;
use crate::harness::{
    Case, Outcome, Scene,
    captures::{Capture, EPOCH_SECONDS},
    config,
    frames::{Way, on_ethernet, udp},
    netns::{INTERFACE, Namespace, Wire},
    poll::{self, SOON},
    tidegate::{Running, Tidegate},
};

/// The interface that the mirrored frames come in by.
const SPAN: &str = "span";
const FOR_OTHERS: u32 = 10;
const FOR_ALL: u32 = 5;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(frames_for_other_hosts_are_seen_while_a_mirror_runs).needs_root()]
}

/// How many hold an interface promiscuous.
pub(super) fn promiscuity(side: &Namespace, interface: &str) -> Result<u64, Failed> {
    let shown = side.run("ip", &["-json", "-details", "link", "show", "dev", interface])?;
    let shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0]["promiscuity"].as_u64().ok_or(format!("no promiscuity: {shown}"))?)
}

/// Datagrams to a host that is not here, and to all.
fn frames(scene: &Scene) -> PathBuf {
    let mut capture = Capture::micros();
    let foreign = on_ethernet(&udp(Way::There, [4000, 53], b"for another"));
    assert_eq!(foreign[0] & 1, 0, "its address is one host's");
    let mut broadcast = on_ethernet(&udp(Way::There, [4001, 53], b"for all"));
    broadcast[..6].fill(0xff);
    for (frame, count) in [(&foreign, FOR_OTHERS), (&broadcast, FOR_ALL)] {
        for at in 0..count {
            capture.frame(EPOCH_SECONDS, at, frame);
        }
    }
    let path = scene.path("mirrored.pcap");
    capture.write(&path);
    path
}

fn start(scene: &Scene, wire: &Wire, role: &str) -> Result<Running, Failed> {
    let text = format!(
        "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  span-{id}: {{ type: xdp, \
         interface: {SPAN}, persist: false, attach: skb, {role} }}\nsinks:\n  out: {{ type: file, \
         inputs: [span-{id}], path: {out} }}\n",
        id = std::process::id(),
        data = scene.path("data").display(),
        api = config::API_PORT,
        out = scene.path("flows.ndjson").display(),
    );
    let config = scene.write("mirror.yaml", text).display().to_string();
    let mut running = Tidegate::entered(scene, &wire.near, ["run", "-c", &config]).start()?;
    poll::until_true("the gate to be attached", SOON, || {
        running.stderr().contains("the gate never blocks") || running.still_runs().is_err()
    })?;
    running.still_runs()?;
    Ok(running)
}

/// Sends the frames, ends it, and answers how many packets it counted.
fn counted(running: Running, wire: &Wire, frames: &std::path::Path) -> Result<u32, Failed> {
    wire.send(frames, 1_000, 1)?;
    running.signal(Signal::TERM);
    let said = running.wait(SOON)?.expect(0)?.stderr;
    let line = said.lines().find(|line| line.contains("flows were counted")).ok_or("no count")?;
    let number = line.split("packets=").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(number.ok_or("no number")?.parse()?)
}

fn frames_for_other_hosts_are_seen_while_a_mirror_runs(scene: &Scene) -> Outcome {
    bpf_file_system()?;
    let wire = Wire::lay()?;
    let near = &wire.near;
    near.run("ip", &["link", "add", SPAN, "type", "bridge"])?;
    near.run("ip", &["link", "set", INTERFACE, "master", SPAN])?;
    near.run("ip", &["link", "set", SPAN, "up"])?;
    poll::until_true("the bridge to forward", SOON, || {
        let state = format!("/sys/class/net/{SPAN}/brif/{INTERFACE}/state");
        near.run("cat", &[&state]).is_ok_and(|state| state.trim() == "3")
    })?;
    let frames = frames(scene);

    // A gate of this host's traffic has no business with them, and shows that the bridge keeps them back.
    let host = start(scene, &wire, "role: host, egress: false")?;
    assert_eq!(promiscuity(near, SPAN)?, 0);
    assert_eq!(counted(host, &wire, &frames)?, FOR_ALL);

    let mirror = start(scene, &wire, "role: mirror")?;
    assert_eq!(promiscuity(near, SPAN)?, 1);
    assert_eq!(counted(mirror, &wire, &frames)?, FOR_ALL + FOR_OTHERS);
    assert_eq!(promiscuity(near, SPAN)?, 0, "it ended with the gate");
    let pins = format!("/sys/fs/bpf/tidegate/span-{}", std::process::id());
    assert!(!fs::exists(pins)?, "without `persist` nothing stays pinned");
    let flows = fs::read_to_string(scene.path("flows.ndjson"))?;
    let to_others = flows.lines().filter(|line| line.contains(r#""port":4000"#)).count();
    assert_eq!(to_others, 1, "one flow, of the mirror alone:\n{flows}");

    let mirror = start(scene, &wire, "role: mirror")?;
    assert_eq!(promiscuity(near, SPAN)?, 1);
    mirror.signal(Signal::KILL);
    mirror.wait(SOON)?;
    poll::until_true("the kernel to end it", SOON, || {
        promiscuity(near, SPAN).is_ok_and(|count| count == 0)
    })?;
    // What a killed one leaves pinned is for the next start, or for this.
    Pins::of(&format!("span-{}", std::process::id())).detach()?;
    Ok(())
}
