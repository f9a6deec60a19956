//! The lab, live: attacks and ordinary work at once, each from an address of its own, against a gate that enforces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

use super::live;
use crate::harness::{Case, Outcome, Scene, process::output};

pub(super) fn cases() -> Vec<Case> {
    // Its load, and that of others, would be what it shows.
    vec![Case::new(attacks_are_held_off_and_ordinary_work_goes_on).live()]
}

fn attacks_are_held_off_and_ordinary_work_goes_on(scene: &Scene) -> Outcome {
    live::bpf_file_system()?;
    let mut lab = Command::new("python3");
    lab.arg(Scene::project("tests/lab/lab.py")).arg(&scene.folder).arg("--short");
    // It fails where somebody's work did.
    output(lab.arg("--gate").arg(env!("CARGO_BIN_EXE_tidegate")))?;
    let mut actions = BTreeMap::<String, BTreeSet<String>>::new();
    for line in fs::read_to_string(scene.path("alerts.ndjson"))?.lines() {
        let alert: Value = serde_json::from_str(line)?;
        let text = |field| alert.pointer(field).and_then(Value::as_str).unwrap_or_default();
        actions
            .entry(text("/source/ip").to_owned())
            .or_default()
            .insert(text("/event/action").to_owned());
    }
    let (mut attacks, mut wrong) = (0, Vec::new());
    for row in fs::read_to_string(scene.path("labels.csv"))?.lines().skip(1) {
        let [source, label, scenario] = row.splitn(3, ',').collect::<Vec<_>>()[..] else {
            return Err(format!("{row} is no row of labels").into());
        };
        let taken = actions.remove(source).unwrap_or_default();
        let is_held_off = taken.contains("block") || taken.contains("rate_limit");
        // Scans by whole handshakes, half-open ones and sweeps are blocked, odd packets limited.
        let is_scan = ["-sS", "-sT"].iter().any(|way| scenario.contains(way));
        let is_whole = !scenario.contains("-f ");
        let is_right = match label {
            "attack" if is_scan && is_whole => taken.contains("block"),
            "attack" => is_held_off,
            _ => !is_held_off,
        };
        attacks += usize::from(label == "attack");
        if !is_right {
            wrong.push(format!("{row}: {taken:?}"));
        }
    }
    wrong.extend(actions.iter().map(|(source, taken)| format!("{source}, of nobody: {taken:?}")));
    assert!(attacks >= 10, "only {attacks} attacks");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
