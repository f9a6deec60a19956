//! Whole configs, over components that exist for these tests only.

mod bad_input;
mod conditions;
mod families;
mod good;
mod mistakes;
mod secret;

use std::path::Path;

use self::families::Test;
use super::{Loaded, Report, Surroundings, load};

/// A pipeline without mistakes.
const GOOD: &str = "\
data_dir: /var/lib/tidegate
sources:
  wire: { type: capture, interface: eth0, fields: [dns.a] }
  gate: { type: gate }
transforms:
  packets:
    type: decode
    inputs: wire
    fields: [dns.a]
  flows: { type: track, inputs: [packets] }
  scored: { type: judge, inputs: [flows, 'flows.*', gate.contacts], block: { via: gate } }
  same: { type: pass, inputs: [scored] }
sinks:
  archive: { type: file, inputs: [same], path: /var/log/a.ndjson, batch: { max_events: 100 } }
  rest: { type: blackhole, inputs: [\"scored*.alerts\"] }
";

fn variable(name: &str) -> Option<String> {
    match name {
        "WORKERS" => Some("3".to_owned()),
        "SECRET" => Some("hunter2-hunter2".to_owned()),
        "STRUCTURE" => Some("a: [b, {c: d}]\n- x".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn surroundings(lenient: bool) -> Surroundings<'static> {
    Surroundings { variable: &variable, directory: Path::new("/nonexistent"), lenient }
}

fn try_load(text: &str) -> Result<Loaded<Test>, Box<Report>> {
    load::<Test>("tidegate.yaml", text.as_bytes(), surroundings(false))
}

/// The report of a config that has to fail.
fn report(text: &str) -> String {
    match try_load(text) {
        Ok(_) => panic!("no problem found in:\n{text}"),
        Err(report) => report.to_string(),
    }
}

/// The config of a text that has to load, with its warnings.
fn loaded(text: &str) -> Loaded<Test> {
    try_load(text).unwrap_or_else(|report| panic!("{report}"))
}
