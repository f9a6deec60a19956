//! Runs that are stopped while their destination is away: what they take along is in their figures.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture},
    faults::{FaultServer, Reply, Request},
    frames::{self, Way},
    poll, server,
    tidegate::Tidegate,
};

/// More than buffers and requests hold, and more than a table gives out at once.
const FLOWS: u16 = 20_000;
const LIMIT: Duration = Duration::from_mins(5);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_replay_that_is_cut_off_counts_every_flow_it_takes_along),
        Case::new(one_stop_that_comes_as_two_signals_cuts_nothing_off),
        Case::new(a_stop_leaves_what_a_disk_buffer_has_and_the_next_run_sends_it),
    ]
}

/// UDP packets, each of a flow of its own.
fn capture() -> Capture {
    let mut capture = Capture::micros();
    for number in 0..FLOWS {
        let datagram = frames::udp(Way::There, [10_000 + number, 9_999], b"nothing");
        capture.frame(1_700_000_000, u32::from(number), &frames::on_ethernet(&datagram));
    }
    capture
}

fn a_replay_that_is_cut_off_counts_every_flow_it_takes_along(scene: &Scene) -> Outcome {
    let (path, summary) = (scene.path("flows.pcap"), scene.path("summary.json"));
    capture().write(&path);
    // Nobody listens there.
    let port = server::free_port()?;
    let config = scene.write(
        "away.yaml",
        format!(
            "sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap] }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
  flows: {{ type: flow, inputs: [packets] }}
sinks:
  siem:
    type: elasticsearch
    inputs: [flows]
    endpoints: [\"http://127.0.0.1:{port}\"]
    buffer: {{ max_events: 1000 }}
    batch: {{ max_events: 100 }}
    request: {{ retry_max_secs: 1 }}
"
        ),
    );
    let running = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg("--summary")
        .arg(&summary)
        .arg(&path)
        .start()?;
    poll::until_true("the sink to have tried", LIMIT, || {
        running.stderr().contains("not delivered, kept and sent again")
    })?;
    running.signal(Signal::INT);
    poll::until_true("the first signal to be heard", LIMIT, || {
        running.stderr().contains("the rest drains")
    })?;
    running.stop_again()?;
    let ended = running.wait(LIMIT)?.expect(3)?;
    let totals: Value = serde_json::from_slice(&fs::read(&summary)?)?;
    assert_eq!(totals["packets"], json!(FLOWS), "{totals}");
    assert_eq!(totals["delivered"], json!(0), "{totals}");
    assert_eq!(totals["lost"], json!({"unfinished": FLOWS}), "{totals}");
    ended.says(&["cut off before they were made", "were on their way"])
}

/// `timeout` signals its child, and then the group that it is in.
fn one_stop_that_comes_as_two_signals_cuts_nothing_off(scene: &Scene) -> Outcome {
    const PACKETS: u32 = 10;
    let capture = scene.path("some.pcap");
    captures::numbered(PACKETS).write(&capture);
    let takes = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&takes);
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(FaultServer::start(None, move |_: &Request| {
        let (status, text) =
            if answers.load(Ordering::SeqCst) { (200, "Success") } else { (503, "busy") };
        Reply::Answer(status, json!({"text": text, "code": 0}).to_string(), None)
    }))?;
    let config = busy(scene, &server.url(), "request: { retry_max_secs: 1 }");
    let running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
    poll::until_true("the sink to have tried", LIMIT, || {
        running.stderr().contains("not delivered, kept and sent again")
    })?;
    // Two of one kind would be one.
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    poll::until_true("the stop to be heard", LIMIT, || {
        running.stderr().contains("the rest drains")
    })?;
    takes.store(true, Ordering::SeqCst);
    running.wait(LIMIT)?.expect(0)?.says(&[&format!("delivered {PACKETS}")])
}

/// A replay config with a collector at `url`.
fn busy(scene: &Scene, url: &str, keys: &str) -> PathBuf {
    let text = format!(
        "data_dir: {}
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem:
    type: splunk_hec
    inputs: [packets]
    endpoint: \"{url}\"
    token: some-token
    acknowledgements: {{ enabled: false }}
    {keys}
",
        scene.path("state").display()
    );
    scene.write("busy.yaml", text)
}

/// It waited as long as the server asked, until it was cut off a minute later, though all of it was on disk.
fn a_stop_leaves_what_a_disk_buffer_has_and_the_next_run_sends_it(scene: &Scene) -> Outcome {
    const PACKETS: u32 = 1_000;
    let capture = scene.path("some.pcap");
    captures::numbered(PACKETS).write(&capture);
    let takes = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&takes);
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(FaultServer::start(None, move |_: &Request| {
        if answers.load(Ordering::SeqCst) {
            return Reply::Answer(200, json!({"text": "Success", "code": 0}).to_string(), None);
        }
        let busy = json!({"text": "Server is busy", "code": 9}).to_string();
        Reply::Answer(503, busy, Some(("retry-after", "86400".to_owned())))
    }))?;
    let keys = "batch: { max_events: 100 }\n    buffer: { type: disk }";
    let config = busy(scene, &server.url(), keys);
    let replay = |capture: &std::path::Path| {
        let summary = scene.path("summary.json");
        Tidegate::new(scene, ["replay", "-c"])
            .arg(&config)
            .arg("--summary")
            .arg(summary)
            .arg(capture)
    };
    let running = replay(&capture).start()?;
    poll::until_true("the sink to have tried", LIMIT, || {
        running.stderr().contains("not delivered, kept and sent again")
    })?;
    let state = scene.path("state/buffers/siem");
    poll::until_true("all of it on disk", LIMIT, || {
        let seen = Tidegate::new(scene, ["buffer", "inspect"]).arg(&state).run();
        seen.is_ok_and(|seen| seen.stdout.contains(&format!("{PACKETS} records waiting")))
    })?;
    running.signal(Signal::TERM);
    let ended = running.wait(LIMIT)?.expect(3)?;
    assert!(!ended.stderr.contains("cut off before it had finished"), "{}", ended.stderr);
    ended.says(&["is on disk, for the next start"])?;
    let totals: Value = serde_json::from_slice(&fs::read(scene.path("summary.json"))?)?;
    assert_eq!(
        (&totals["stored"], &totals["lost"], &totals["delivered"]),
        (&json!(PACKETS), &json!({}), &json!(0)),
        "{totals}"
    );
    takes.store(true, Ordering::SeqCst);
    let another = scene.path("another.pcap");
    captures::numbered_as(PACKETS..PACKETS + 1).write(&another);
    replay(&another).run()?.expect(0)?.says(&[&format!("delivered {}", PACKETS + 1)])
}
