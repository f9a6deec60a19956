//! The log: each line names the component that speaks, in what is for people and what is for machines.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, captures,
    live::Live,
    netns::INTERFACE,
    poll::{self, SOON},
    tidegate::Tidegate,
};

/// What the process itself may say in such a run, the lines of its summary among it.
const OF_THE_PROCESS: &[&str] = &[
    "metrics and health are served",
    "stopping: ",
    " = out ",
    "tidegate 0.",
    "captures on",
    "to /",
];

/// One line of a log: who speaks, of which type, and all of it.
struct Line {
    id: String,
    kind: String,
    text: String,
}

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(each_line_names_its_component, "human", "human").needs_root(),
        Case::with(each_line_names_its_component, "json", "json").needs_root(),
    ]
}

/// Two sources, one of which loses its interface during the run and gets it back.
fn each_line_names_its_component(scene: &Scene, format: &str) -> Outcome {
    let config = config(scene);
    let mut live = Live::start_with(scene, |wire| {
        let arguments = ["--log-level", "debug", "--log-format", format, "run", "-c"];
        Tidegate::inside(scene, &wire.near, arguments).arg(config)
    })?;
    let first = live.capturer_other_than(0)?;
    live.capturer_other_than(first)?;
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(100)?;
    let lines = |text: &str| lines(text, format);
    let broken = "the capture broke off";
    live.wire.cut()?;
    poll::until_true("the end of the interface to be logged", SOON, || {
        live.running.stderr().contains(broken)
    })?;
    live.wire.join()?;
    live.wire.send(&capture, 1_000, 1)?;
    let (ended, _) = live.stop()?;

    let lines = lines(&ended.stderr)?;
    for Line { id, kind, text } in &lines {
        let expected = match id.as_str() {
            "wire" | "loopback" => "tshark",
            "packets" => "extract",
            "records" => "file",
            "tidegate" if OF_THE_PROCESS.iter().any(|own| text.contains(own)) => "process",
            _ => return Err(format!("who is {id:?}?\n{text}").into()),
        };
        assert_eq!(kind, expected, "{text}");
        assert!(id == "wire" || !text.contains(broken), "{text}");
    }
    let speakers: BTreeSet<_> = lines.iter().map(|line| line.id.as_str()).collect();
    for expected in ["wire", "loopback", "tidegate"] {
        assert!(speakers.contains(expected), "{expected} says nothing:\n{}", ended.stderr);
    }
    Ok(())
}

fn config(scene: &Scene) -> std::path::PathBuf {
    let text = format!(
        "data_dir: {state}
sources:
  wire: {{ type: tshark, interface: {INTERFACE}, segment: {{ max_secs: 1 }}, restart: {{ max_secs: 1 }} }}
  loopback: {{ type: tshark, interface: lo, segment: {{ max_secs: 1 }} }}
transforms:
  packets: {{ type: extract, inputs: [wire, loopback] }}
sinks:
  records: {{ type: file, inputs: [packets], path: {out}, encoding: {{ schema: simple }} }}
",
        state = scene.path("state").display(),
        out = scene.path("records.out").display(),
    );
    scene.write("two.yaml", text)
}

/// The lines of the log in `stderr`, without the summary.
fn lines(stderr: &str, format: &str) -> Result<Vec<Line>, Failed> {
    let log = stderr.lines().filter(|line| match format {
        "json" => line.starts_with('{'),
        // 2026-01-01T00:00:00.000000Z
        _ => line.get(..1).is_some_and(|first| first == "2") && line.get(10..11) == Some("T"),
    });
    log.map(|text| {
        let parsed = if format == "json" { json(text) } else { human(text) };
        let (id, kind) = parsed.ok_or_else(|| format!("nobody speaks:\n{text}"))?;
        Ok(Line { id, kind, text: text.to_owned() })
    })
    .collect()
}

fn json(text: &str) -> Option<(String, String)> {
    let line: Value = serde_json::from_str(text).ok()?;
    let word = |key: &str| line[key].as_str().map(str::to_owned);
    Some((word("component_id")?, word("component_type")?))
}

/// `TIME LEVEL ID (TYPE): …`
fn human(text: &str) -> Option<(String, String)> {
    let mut words = text.split_whitespace().skip(2);
    let id = words.next()?;
    let kind = words.next()?.strip_prefix('(')?.strip_suffix("):")?;
    Some((id.to_owned(), kind.to_owned()))
}
