//! What others than the judge change is a record: of a person, of a list, with the daemon dead, and each end.

use std::fs;

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::live::{BAD, GOOD, Site, gets_through};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    poll::{self, SOON},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(every_change_and_every_end_of_a_verdict_is_one_record).needs_root()]
}

/// Waits for records of this action about this source.
fn record(scene: &Scene, action: &str, source: &str, count: usize) -> Result<Vec<Value>, Failed> {
    poll::until(&format!("{count} records {action} of {source}"), SOON, || {
        let text = fs::read_to_string(scene.path("records.ndjson")).ok()?;
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |record: &Value| {
            record["event"]["action"] == action && record["source"]["ip"] == source
        };
        let found: Vec<_> = records.filter(is_it).collect();
        (found.len() >= count).then_some(found)
    })
}

fn every_change_and_every_end_of_a_verdict_is_one_record(scene: &Scene) -> Outcome {
    let list = scene.write("blocked.txt", "198.51.100.0/24 # known\n");
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}:\n    type: xdp\n    \
             interface: {INTERFACE}\n    report: none\n    firewall: {{ mode: enforce, \
             allow_empty_allowlist: true, block_files: [{list}] }}\nsinks:\n  out: {{ type: file, inputs: \
             [{id}.alerts], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            list = list.display(),
            out = scene.path("records.ndjson").display(),
        )
    })?;
    let running = site.start()?;
    let listed = record(scene, "block", "198.51.100.0", 1)?;
    let why = listed[0]["tidegate"]["alert"]["reasons"].to_string();
    assert!(why.contains("198.51.100.0/24") && why.contains("known"), "{why}");

    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    site.add(BAD, &["--ttl", "3", "--reason", "a test"])?;
    gets_through(&server, &bad, &good)?;
    let set = record(scene, "block", BAD, 1)?.remove(0);
    for (field, value) in [
        ("/event/kind", "event"),
        ("/event/type/0", "denied"),
        ("/event/dataset", "tidegate.alert"),
        ("/message", "Verdict changed"),
        ("/tidegate/block/ttl_s", "3"),
    ] {
        let found = set.pointer(field).map(|found| found.to_string().replace('"', ""));
        assert_eq!(found.as_deref(), Some(value), "{field} of {set}");
    }
    assert!(
        set.get("rule").is_none_or(|rule| rule.get("name").is_none()),
        "no rule decided: {set}"
    );
    let ended = record(scene, "expire", BAD, 1)?.remove(0);
    assert_eq!(ended["tidegate"]["verdict"]["id"], set["tidegate"]["verdict"]["id"]);
    let log = fs::read_to_string(scene.path("data/verdicts.ndjson"))?;
    let line = log.lines().find(|line| line.contains(r#""change":"expired""#)).ok_or("no line")?;
    let line: Value = serde_json::from_str(line)?;
    let why = ended["event"]["reason"].as_str().unwrap_or_default();
    assert!(
        why.contains(&format!("dropped {} packets, {} bytes", line["packets"], line["bytes"])),
        "{why}"
    );

    // With the daemon dead, and while it stops.
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    site.add("203.0.113.9", &[])?;
    site.verdicts(&["remove", "203.0.113.9"])?.expect(0)?;
    fs::write(&list, "# nobody\n")?;
    let running = site.start()?;
    record(scene, "block", "203.0.113.9", 1)?;
    record(scene, "unblock", "203.0.113.9", 1)?;
    record(scene, "unblock", "198.51.100.0", 1)?;
    running.signal(Signal::TERM);
    // What the killed one had under way counts as lost.
    running.wait(SOON)?.expect(3)?;
    // Each of the eight lines is a record, and none is told twice over the kill.
    let running = site.start()?;
    site.add("203.0.113.10", &[])?;
    record(scene, "block", "203.0.113.10", 1)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let records = fs::read_to_string(scene.path("records.ndjson"))?;
    let mut ids: Vec<_> = records
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["event"]["id"].to_string()))
        .collect::<Result<_, Failed>>()?;
    ids.sort_unstable();
    let told = ids.len();
    ids.dedup();
    let lines = fs::read_to_string(scene.path("data/verdicts.ndjson"))?.lines().count();
    assert_eq!(ids.len(), lines, "{told} records of {lines} lines:\n{records}");
    Ok(())
}
