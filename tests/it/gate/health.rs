//! What health records tell of gates and of the clock.

use std::fs;

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::live::{BAD, GOOD, Site};
use crate::harness::{
    Case, Outcome, Scene,
    netns::INTERFACE,
    poll::{self, SOON},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_gate_that_fills_and_one_that_is_taken_off_are_in_the_health_records)
            .needs_root(),
    ]
}

fn a_gate_that_fills_and_one_that_is_taken_off_are_in_the_health_records(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "attach: skb")?;
    let text = fs::read_to_string(&site.config)?
        .replace("self: { type: health }", "self: { type: health, interval_secs: 1 }");
    fs::write(&site.config, text)?;
    let running = site.start()?;
    let gate =
        |attached| json!({"interface": [INTERFACE], "mode": ["enforce"], "attached": [attached]});
    let reported = |what: &str, condition: &dyn Fn(&Value) -> bool| -> Result<Value, Failed> {
        poll::until(what, SOON, || {
            reports(scene).ok()?.into_iter().rfind(|report| condition(report))
        })
    };
    let entries = |report: &Value| report["verdict_map"]["entries"].as_u64();
    let report = reported("a report of the gate", &|report| report["gate"] == gate("skb"))?;
    assert_eq!(report["verdict_map"], json!({"entries": 0, "capacity": 65_536}), "{report}");
    // The kernel answers here; whether the machine's clock is kept in step is its own affair.
    assert!(report["clock"]["offset"].is_i64(), "{report}");
    assert!(report["clock"]["synchronised"].is_boolean(), "{report}");
    for (address, count) in [(BAD, 1), (GOOD, 2)] {
        site.add(address, &[])?;
        reported("the verdict to be reported", &|report| entries(report) == Some(count))?;
    }
    site.command(&["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
    reported("that the gate is off", &|report| report["gate"] == gate("no"))?;
    running.signal(Signal::TERM);
    running.wait(SOON)?;
    Ok(())
}

/// What each record says of the sensor, and its tags.
fn reports(scene: &Scene) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(scene.path("health.ndjson"))?;
    // The last line may be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let documents = whole.lines().map(serde_json::from_str::<Value>);
    let mut reports = Vec::new();
    for document in documents {
        let document = document?;
        let report = document["tidegate"]["health"].clone();
        let tags = document["tags"].as_array().cloned().unwrap_or_default();
        // The tag and the field say the same.
        let is_tagged = tags.contains(&"clock_unsynced".into());
        assert_eq!(is_tagged, report["clock"]["synchronised"] == false, "{document}");
        reports.push(report);
    }
    Ok(reports)
}
