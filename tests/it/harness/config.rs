//! Configs of the cases, with their files in the case's folder.

use std::path::PathBuf;

use super::{Scene, netns::INTERFACE};

/// Where the API of a live pipeline listens, inside its namespace.
pub(crate) const API_PORT: u16 = 9_598;

/// A pipeline over files, tshark → extract → file, with further keys for the source and the sink;
/// writes `records.out`.
pub(crate) fn replay(scene: &Scene, source: &str, sink: &str) -> PathBuf {
    let state = scene.path("state");
    let out = scene.path("records.out");
    let text = format!(
        "data_dir: {state}
api: {{ address: \"127.0.0.1:0\" }}
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap]{source} }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  records: {{ type: file, inputs: [packets], path: {out}, encoding: {{ schema: simple }}{sink} }}
",
        state = state.display(),
        out = out.display(),
        source = following(source),
        sink = following(sink),
    );
    scene.write("replay.yaml", text)
}

/// A live pipeline on the near end of a wire; writes `records.out`.
pub(crate) fn live(scene: &Scene, source: &str, sink: &str) -> PathBuf {
    let state = scene.path("state");
    let out = scene.path("records.out");
    let text = format!(
        "data_dir: {state}
api: {{ address: \"127.0.0.1:{API_PORT}\" }}
sources:
  wire: {{ type: tshark, interface: {INTERFACE}{source} }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
sinks:
  records: {{ type: file, inputs: [packets], path: {out}, encoding: {{ schema: simple }}{sink} }}
",
        state = state.display(),
        out = out.display(),
        source = following(source),
        sink = following(sink),
    );
    scene.write("live.yaml", text)
}

/// A live pipeline of flows, with further keys for the source and for `flow`; writes `records.out`.
pub(crate) fn live_flows(scene: &Scene, source: &str, flow: &str) -> PathBuf {
    let text = format!(
        "data_dir: {state}
sources:
  wire: {{ type: tshark, interface: {INTERFACE}{source} }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
  flows: {{ type: flow, inputs: [packets]{flow} }}
sinks:
  records: {{ type: file, inputs: [flows], path: {out}, encoding: {{ schema: simple }}, batch: {{ timeout_secs: 1 }} }}
",
        state = scene.path("state").display(),
        out = scene.path("records.out").display(),
        source = following(source),
        flow = following(flow),
    );
    scene.write("flows.yaml", text)
}

fn following(keys: &str) -> String {
    if keys.is_empty() { String::new() } else { format!(", {keys}") }
}
