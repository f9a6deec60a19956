//! Looks for every secret of a config wherever the program writes, while servers say them back to it.

use std::{collections::BTreeMap, fs, net::UdpSocket, path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use libtest_mimic::Failed;
use rustix::process::Signal;

use super::Taker;
use crate::harness::{
    Case, Outcome, Scene,
    faults::{FaultServer, Reply, Request},
    poll::{self, SOON},
    process, server,
    tidegate::Tidegate,
};

/// Secrets by the way they come into the config; `hunter2` is in each, so that a part is found too.
const LITERAL: &str = "hunter2-in-the-config";
const VARIABLE: &str = "hunter2-in-a-variable";
const FILE: &str = "hunter2-in-a-file";
const KEY: &str = "key-id:hunter2-api-key";
const PROXY: &str = "hunter2-of-a-proxy";
const TRACE: &str = "hunter2";

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(no_secret_is_in_anything_the_program_writes).needs_root()]
}

/// A pipeline with a sink for each kind of credential; every server is at `url`.
fn config(scene: &Scene, url: &str, dead_proxy: u16, [traffic, api]: [u16; 2]) -> String {
    let folder = scene.folder.display();
    let secret_file = scene.write("token", FILE).display().to_string();
    let common = |id: &str| {
        format!(
            "inputs: [packets], batch: {{ timeout_secs: 1 }},
      request: {{ retry_initial_secs: 1, retry_max_secs: 1, timeout_secs: 2 }},
      dead_letter: {{ path: {folder}/{id}.dead.ndjson }}"
        )
    };
    let [basic, key, bearer, hec, proxied] =
        ["basic", "key", "bearer", "hec", "proxied"].map(common);
    format!(
        "data_dir: {folder}/state
api: {{ address: \"127.0.0.1:{api}\" }}
sources:
  wire: {{ type: tshark, interface: lo, mode: pipe, capture_filter: \"udp port {traffic}\" }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
sinks:
  basic: {{ type: elasticsearch, endpoints: [\"{url}\"],
      auth: {{ user: flow, password: \"{LITERAL}\" }}, {basic} }}
  key: {{ type: elasticsearch, endpoints: [\"{url}\"], auth: {{ api_key: \"{KEY}\" }}, {key} }}
  bearer: {{ type: elasticsearch, endpoints: [\"{url}\"],
      auth: {{ token: \"${{TIDEGATE_TEST_TOKEN}}\" }}, {bearer} }}
  hec: {{ type: splunk_hec, endpoint: \"{url}\", token: \"${{file:{secret_file}}}\", {hec} }}
  proxied: {{ type: splunk_hec, endpoint: \"{url}\", token: \"${{file:{secret_file}}}\",
      proxy: \"http://someone:{PROXY}@127.0.0.1:{dead_proxy}\", {proxied} }}
"
    )
}

/// What must not be found: each secret as it is, and as it is sent.
fn needles() -> Vec<String> {
    let basic = STANDARD.encode(format!("flow:{LITERAL}"));
    let proxy = STANDARD.encode(format!("someone:{PROXY}"));
    vec![TRACE.to_owned(), STANDARD.encode(KEY), basic, proxy]
}

/// Says back what it was told: first as a refusal of us, then as one of the data, then takes it.
fn echo(taker: &Taker, request: &Request, told: usize) -> Reply {
    let words = format!("you said {:?}", request.headers);
    match told {
        0 => Reply::Answer(401, words, None),
        1 => Reply::Answer(500, words, None),
        2 => Reply::Answer(200, words, None),
        // Down to one record, which is dead-lettered with these words.
        3..20 => Reply::Answer(413, words, None),
        _ => taker.take(request),
    }
}

fn no_secret_is_in_anything_the_program_writes(scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let taker = Taker::default();
    let told = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    let server = runtime.block_on(FaultServer::start(None, move |request| {
        // Sinks are told apart by what they are not to show.
        let who = request.headers.get("authorization").cloned().unwrap_or_default();
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let told = told.entry(who).or_default();
        *told += 1;
        echo(&taker, request, *told - 1)
    }))?;
    let traffic = UdpSocket::bind("127.0.0.1:0")?;
    let [api, dead_proxy] = [server::free_port()?, server::free_port()?];
    let ports = [traffic.local_addr()?.port(), api];
    let config = scene.write("tidegate.yaml", config(scene, &server.url(), dead_proxy, ports));

    let command =
        |arguments: &[&str]| Tidegate::new(scene, arguments).env("TIDEGATE_TEST_TOKEN", VARIABLE);
    let mut seen = Seen::default();
    let path = config.display().to_string();
    for arguments in [&["graph", &path][..], &["validate", &path], &["schema"]] {
        let ended = command(arguments).run()?.expect(0)?;
        seen.text(&format!("{arguments:?}"), &(ended.stdout + &ended.stderr));
    }
    // A mistake beside each secret, so that reports quote the lines.
    let mistaken = fs::read_to_string(&config)?.replace("user: flow", "user: [flow]");
    let mistaken = mistaken.replace("dead_letter:", "dead_leter:");
    let mistaken = scene.write("mistaken.yaml", mistaken).display().to_string();
    let ended = command(&["validate", &mistaken]).run()?.expect(78)?;
    seen.text("validate of a mistaken config", &(ended.stdout + &ended.stderr));

    let running = command(&["--log-level", "trace", "run", "-c", &path]).start()?;
    poll::until_true("dead letters of every sink", SOON, || {
        // Errors are of no matter: what is sent to oneself is refused at times.
        traffic.send_to(b"to be captured", ("127.0.0.1", ports[0])).unwrap_or_default();
        let written = |id: &str| fs::metadata(scene.path(id)).is_ok_and(|file| file.len() > 0);
        ["basic", "key", "bearer", "hec"].iter().all(|id| written(&format!("{id}.dead.ndjson")))
            && running.stderr().contains("proxied")
    })?;
    for page in ["metrics", "health", "ready"] {
        let url = format!("http://127.0.0.1:{api}/{page}");
        seen.text(page, &runtime.block_on(async { reqwest::get(url).await?.text().await })?);
    }
    seen.file(&format!("/proc/{}/cmdline", running.pid()))?;
    let children = process::descendants(running.pid());
    assert!(children.iter().any(|child| child.name == "tshark"), "{children:?}");
    for child in children {
        for what in ["cmdline", "environ"] {
            seen.file(&format!("/proc/{}/{what}", child.pid))?;
        }
    }
    // The proxied sink holds its records for ever: a second signal ends that.
    running.signal(Signal::TERM);
    poll::until_true("the drain to begin", SOON, || running.stderr().contains("stopping"))?;
    running.signal(Signal::TERM);
    let ended = running.wait(Duration::from_mins(2))?;
    seen.text("stdout and stderr", &(ended.stdout + &ended.stderr));
    assert!(ended.stderr.contains("(secret)"), "no server's words were quoted:\n{}", ended.stderr);
    for id in ["basic", "key", "bearer", "hec"] {
        let letters = fs::read_to_string(scene.path(&format!("{id}.dead.ndjson")))?;
        assert!(letters.contains("(secret)"), "{letters}");
        seen.text(id, &letters);
    }
    seen.folder(&scene.path("state"))?;
    seen.verdict()
}

/// What was looked at, and where a secret was in it.
#[derive(Debug, Default)]
struct Seen {
    places: usize,
    found: Vec<String>,
}

// === impl Seen ===

impl Seen {
    fn text(&mut self, place: &str, text: &str) {
        self.places += 1;
        let line = |needle: &String| text.lines().find(|line| line.contains(needle.as_str()));
        let found = needles().iter().find_map(line).map(|line| format!("{place}: {line}"));
        self.found.extend(found);
    }

    fn file(&mut self, path: &str) -> Outcome {
        let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        self.text(path, &String::from_utf8_lossy(&bytes));
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> Outcome {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.folder(&path)?;
            } else {
                self.file(&path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn verdict(self) -> Result<(), Failed> {
        assert!(self.places >= 14, "only {} places were looked at", self.places);
        if self.found.is_empty() { Ok(()) } else { Err(self.found.join("\n").into()) }
    }
}
