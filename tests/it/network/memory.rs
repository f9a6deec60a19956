//! What the whole program takes while its destination takes nothing, or as fast as it can.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::json;

use super::{Sink, Taker};
use crate::harness::{
    Case, Outcome, Scene, captures,
    faults::{FaultServer, Reply, Request},
    poll::{self, SOON},
    process,
    tidegate::{Running, Tidegate},
};

/// The bound.
const MAX_KIB: u64 = 128 << 10;
/// The same where Elasticsearch refuses each document at length. A release build takes 95 to 103 MiB then;
/// unoptimised code holds half as much again on its way.
const MAX_REFUSED_KIB: u64 = if cfg!(debug_assertions) { 192 << 10 } else { MAX_KIB };
/// More than all buffers hold.
const PACKETS: u32 = 400_000;
/// Enough for every buffer to have been as full as it gets, where a server takes all.
const PACKETS_TAKEN: u32 = 150_000;
/// Growth that is less is of no buffer.
const GROWTH_KIB: u64 = 1 << 10;
/// Memory that has not grown for so long won't: every buffer is full.
const STEADY: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);

/// What is done to a sink; answers the most that the run had in memory, in KiB.
type Play = fn(&Scene, Sink) -> Result<u64, Failed>;

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let case = |sink: Sink, state: &str, play: Play| {
        let name = format!("{}-{state}", sink.name());
        let bound = match (sink, state) {
            (Sink::Elasticsearch, "refuses-each") => MAX_REFUSED_KIB,
            _ => MAX_KIB,
        };
        Case::with(memory_stays_bounded_whatever_the_server_does, &name, (sink, play, bound))
    };
    let of_sink = |sink| {
        [
            case(sink, "takes-all", with_a_server_that_takes_all).busy(),
            case(sink, "answers-nothing", with_a_server_that_answers_nothing),
            case(sink, "refuses-each", with_a_server_that_refuses_each),
        ]
    };
    Sink::ALL.into_iter().flat_map(of_sink).collect()
}

fn memory_stays_bounded_whatever_the_server_does(
    scene: &Scene,
    (sink, play, bound): (Sink, Play, u64),
) -> Outcome {
    let most = play(scene, sink)?;
    eprintln!("{}: at most {} MiB", sink.name(), most / 1024);
    if (1..=bound).contains(&most) { Ok(()) } else { Err(format!("{most} KiB").into()) }
}

fn with_a_server_that_takes_all(scene: &Scene, sink: Sink) -> Result<u64, Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(Taker::default().serve(None))?;
    let packets = if scene.full { PACKETS } else { PACKETS_TAKEN };
    let running = start(scene, sink, &server.url(), packets)?;
    let (pid, mut most) = (running.pid(), 0);
    let look = || most = most.max(peak_kib(pid).unwrap_or_default());
    running.wait_watching(Duration::from_mins(5), look)?.expect(0)?;
    Ok(most)
}

fn with_a_server_that_answers_nothing(scene: &Scene, sink: Sink) -> Result<u64, Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let asked = Arc::new(AtomicBool::new(false));
    let server = runtime.block_on(FaultServer::start(None, {
        let asked = Arc::clone(&asked);
        move |_| {
            asked.store(true, Relaxed);
            Reply::Slow(Duration::MAX, 200, String::new())
        }
    }))?;
    let running = start(scene, sink, &server.url(), PACKETS)?;
    poll::until_true("the first request", SOON, || asked.load(Relaxed))?;
    until_steady(running)
}

/// Until its dead letters have the room they may have.
fn with_a_server_that_refuses_each(scene: &Scene, sink: Sink) -> Result<u64, Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server =
        runtime.block_on(FaultServer::start(None, move |request| refuse(sink, request)))?;
    let running = start(scene, sink, &server.url(), PACKETS)?;
    poll::until_true("the first dead letter", SOON, || {
        fs::metadata(dead_letter(scene, sink)).is_ok_and(|file| file.len() > 0)
    })?;
    until_steady(running)
}

/// Says what is wrong with each document in as many words as a server ever does.
fn refuse(sink: Sink, request: &Request) -> Reply {
    let words = "failed to parse it ".repeat(50);
    match sink {
        Sink::Elasticsearch => {
            let error = json!({"type": "document_parsing_exception", "reason": words});
            let item = json!({"create": {"status": 400, "error": error}}).to_string();
            let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
            let items = vec![item; documents].join(",");
            Reply::Answer(200, format!("{{\"errors\":true,\"items\":[{items}]}}"), None)
        }
        Sink::SplunkHec => {
            let answer = json!({"text": words, "code": 6, "invalid-event-number": 0});
            Reply::Answer(400, answer.to_string(), None)
        }
    }
}

/// The most that a run has had in memory once it grows no more; ends it.
fn until_steady(running: Running) -> Result<u64, Failed> {
    let (mut most, mut grown_to, mut grew) = (0, 0, poll::now());
    poll::until_true("memory to grow no more", LONGEST, || {
        let now = peak_kib(running.pid()).unwrap_or_default();
        most = most.max(now);
        if now > grown_to + GROWTH_KIB {
            (grown_to, grew) = (now, poll::now());
        }
        grew.elapsed() > STEADY
    })?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    Ok(most)
}

/// A replay of so many packets into a sink.
fn start(scene: &Scene, sink: Sink, url: &str, packets: u32) -> Result<Running, Failed> {
    let capture = scene.path("many.pcap");
    captures::numbered(packets).write(&capture);
    let folder = scene.folder.display();
    let mut keys = sink.config(url);
    keys["type"] = json!(sink.name());
    keys["inputs"] = json!(["packets"]);
    keys["dead_letter"] = json!({"path": dead_letter(scene, sink)});
    let config = format!(
        "data_dir: {folder}/state
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap] }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  siem: {keys}
"
    );
    let config = scene.write("tidegate.yaml", config);
    Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(&capture).start()
}

fn dead_letter(scene: &Scene, sink: Sink) -> PathBuf {
    scene.path(&format!("{}.dead.ndjson", sink.name()))
}

/// The most a process has had in memory at once.
fn peak_kib(pid: u32) -> Option<u64> {
    process::status(pid, "VmHWM")?.strip_suffix(" kB")?.trim().parse().ok()
}
