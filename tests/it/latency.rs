//! Live flows come when they have ended, also where nothing else happens on the wire.

use crate::harness::{Case, Outcome, Scene, captures, config, live::Live, tidegate::Tidegate};

/// What the log says, at level `debug`, where flows had to wait for the wall clock.
const WAITED: &str = "the wall clock ends flows";

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_closed_connection_is_reported_while_the_wire_is_silent).live()]
}

fn a_closed_connection_is_reported_while_the_wire_is_silent(scene: &Scene) -> Outcome {
    let capture = scene.path("connection.pcap");
    captures::connection().write(&capture);
    for mode in ["pipe", "segments", "pipe, dissect: headers", "segments, dissect: headers"] {
        let out = scene.path("records.out");
        if out.exists() {
            std::fs::remove_file(&out)?;
        }
        let source = format!("mode: {mode}, segment: {{ max_secs: 1 }}");
        let config = config::live_flows(scene, &source, "timeouts: { tcp_closed_secs: 1 }");
        let live = Live::start_with(scene, |wire| {
            Tidegate::inside(scene, &wire.near, ["--log-level", "debug", "run", "-c"]).arg(config)
        })?;
        let sent = live.wire.send(&capture, 1_000, 1)?;
        live.wait_for_records(1)?;
        let said = live.running.stderr();
        assert!(!said.contains(WAITED), "{mode}: it took the wall clock:\n{said}");
        let (ended, records) = live.stop()?;
        assert_eq!(records, 1, "{mode}\n{}", ended.stderr);
        let flow = std::fs::read_to_string(&out)?;
        assert!(flow.contains(&format!("\"packets\":{sent},")), "{mode}: {flow}");
        ended.expect(0)?;
    }
    Ok(())
}
