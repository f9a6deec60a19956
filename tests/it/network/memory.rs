//! What the whole program takes while its destination takes nothing, or as fast as it can.

use std::time::Duration;

use rustix::process::Signal;

use super::{Sink, Taker};
use crate::harness::{
    Case, Outcome, Scene, captures,
    faults::{FaultServer, Reply},
    poll, process,
    tidegate::Tidegate,
};

/// The bound.
const MAX_KIB: u64 = 128 << 10;
const PACKETS: u32 = 400_000;
/// With a server that answers nothing, all buffers are full long before.
const WATCHED: Duration = Duration::from_secs(20);

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(memory_stays_under_128_mib_whatever_the_server_does).alone()]
}

fn memory_stays_under_128_mib_whatever_the_server_does(scene: &Scene) -> Outcome {
    let capture = scene.path("many.pcap");
    captures::numbered(PACKETS).write(&capture);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut over = Vec::new();
    for sink in Sink::ALL {
        for takes in [true, false] {
            let taker = Taker::default();
            let server = runtime.block_on(FaultServer::start(None, move |request| {
                if takes {
                    taker.take(request)
                } else {
                    Reply::Slow(Duration::MAX, 200, String::new())
                }
            }))?;
            let folder = scene.folder.display();
            let mut keys = sink.config(&server.url());
            keys["type"] = sink.name().into();
            keys["inputs"] = serde_json::json!(["packets"]);
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
            let arguments = [config.as_path(), &capture].map(|path| path.display().to_string());
            let running = Tidegate::new(
                scene,
                ["replay", "-c"].into_iter().chain(arguments.iter().map(String::as_str)),
            )
            .start()?;
            let pid = running.pid();
            let mut most = 0;
            let mut look = || most = most.max(peak_kib(pid).unwrap_or_default());
            if takes {
                running.wait_watching(Duration::from_mins(5), look)?.expect(0)?;
            } else {
                let until = poll::now() + WATCHED;
                while poll::now() < until {
                    look();
                    std::thread::sleep(Duration::from_millis(100));
                }
                running.signal(Signal::KILL);
                running.wait(Duration::from_secs(10))?;
            }
            let name = sink.name();
            let state = if takes { "takes all at once" } else { "answers nothing" };
            eprintln!("{name}, server {state}: at most {} MiB", most / 1024);
            if most == 0 || most > MAX_KIB {
                over.push(format!("{name}, server {state}: {most} KiB"));
            }
        }
    }
    if over.is_empty() { Ok(()) } else { Err(over.join("; ").into()) }
}

/// The most a process has had in memory at once.
fn peak_kib(pid: u32) -> Option<u64> {
    process::status(pid, "VmHWM")?.strip_suffix(" kB")?.trim().parse().ok()
}
