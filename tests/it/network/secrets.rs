//! Looks for every secret of a config wherever the program writes, while servers say them back to it.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::json;

use super::Taker;
use crate::harness::{
    Case, Outcome, Scene,
    certificates::Certificates,
    faults::{FaultServer, Reply, Request},
    http,
    poll::{self, SOON},
    process, server,
    tidegate::Tidegate,
};

/// Secrets by the way they come into the config; `hunter2` is in each, so that a part is found too.
const LITERAL: &str = "hunter2-in-the-config";
const VARIABLE: &str = "hunter2-in-a-variable";
const FILE: &str = "hunter2-in-a-file";
const KEY: &str = "key-id:hunter2-api-key";
/// Stands in the config in base64.
const ENCODED_KEY: &str = "other-id:hunter2-encoded-key";
const PROXY: &str = "hunter2-of-a-proxy";
const ENDPOINT: &str = "hunter2-in-an-address";
const KEY_FILE: &str = "hunter2-in-a-key-file";
const TRACE: &str = "hunter2";

/// The sinks of Elasticsearch, and all of them.
const BULK: [&str; 4] = ["basic", "key", "encoded", "bearer"];
const ALL: [&str; 6] = ["basic", "key", "encoded", "bearer", "hec", "proxied"];

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new(no_secret_is_in_anything_the_program_writes).needs_root()]
}

/// A pipeline with a sink for each kind of credential; every server and the proxy are at `address`.
fn config(
    scene: &Scene,
    address: SocketAddr,
    [cert, key_file]: &[PathBuf; 2],
    [traffic, api]: [u16; 2],
) -> String {
    let folder = scene.folder.display();
    let secret_file = scene.write("token", FILE).display().to_string();
    let encoded_key = STANDARD.encode(ENCODED_KEY);
    let (cert, key_file) = (cert.display(), key_file.display());
    let common = |id: &str| {
        format!(
            "inputs: [packets], batch: {{ timeout_secs: 1 }},
      request: {{ concurrency: 1, retry_initial_secs: 1, retry_max_secs: 1 }},
      dead_letter: {{ path: {folder}/{id}.dead.ndjson }}"
        )
    };
    let [basic, key, encoded, bearer, hec, proxied] = ALL.map(common);
    format!(
        "data_dir: {folder}/state
api: {{ address: \"127.0.0.1:{api}\" }}
sources:
  wire: {{ type: tshark, interface: lo, mode: pipe, capture_filter: \"udp port {traffic}\" }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
sinks:
  basic: {{ type: elasticsearch, endpoints: [\"http://{address}\"],
      auth: {{ user: flow, password: \"{LITERAL}\" }}, {basic} }}
  key: {{ type: elasticsearch, endpoints: [\"http://{address}\"], auth: {{ api_key: \"{KEY}\" }}, {key} }}
  encoded: {{ type: elasticsearch, endpoints: [\"http://{address}\"],
      auth: {{ api_key: \"{encoded_key}\" }}, {encoded} }}
  bearer: {{ type: elasticsearch, endpoints: [\"http://{address}\"],
      tls: {{ cert: {cert}, key: {key_file} }},
      auth: {{ token: \"${{TIDEGATE_TEST_TOKEN}}\" }}, {bearer} }}
  hec: {{ type: splunk_hec, endpoint: \"http://{address}\", token: \"${{file:{secret_file}}}\", {hec} }}
  proxied: {{ type: splunk_hec, endpoint: \"http://collector.test\", token: \"${{file:{secret_file}}}\",
      proxy: \"http://someone:{PROXY}@{address}\", {proxied} }}
"
    )
}

/// What must not be found: each secret as it is, and as it is sent.
fn needles(key_file: &Path) -> Result<Vec<String>, Failed> {
    let pem = fs::read_to_string(key_file)?;
    let lines = pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
    let sent = [KEY, ENCODED_KEY, &format!("flow:{LITERAL}"), &format!("someone:{PROXY}")];
    Ok(sent
        .map(|sent| STANDARD.encode(sent))
        .into_iter()
        .chain(lines)
        .chain([TRACE.to_owned()])
        .collect())
}

/// Says back what it was told: first as a refusal of us, then as one of the data, then takes it.
fn echo(taker: &Taker, request: &Request, told: usize) -> Reply {
    let words = format!("you said {:?}", request.headers);
    let bulk = request.target.contains("_bulk");
    match told {
        0 if request.headers.contains_key("proxy-authorization") => Reply::Answer(407, words, None),
        0 => Reply::Answer(401, words, None),
        1 => Reply::Answer(500, words, None),
        2 => Reply::Answer(200, words, None),
        3 if bulk => items(request, 429, &words),
        4 if bulk => items(request, 400, &words),
        // Down to one record, which is dead-lettered with these words.
        3..20 => Reply::Answer(413, words, None),
        _ => taker.take(request),
    }
}

/// Refuses each document in these words.
fn items(request: &Request, status: u16, words: &str) -> Reply {
    let item = json!({"create": {"status": status, "error": {"type": "echo", "reason": words}}});
    let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
    let body = json!({"errors": true, "items": vec![item; documents]});
    Reply::Answer(200, body.to_string(), None)
}

fn no_secret_is_in_anything_the_program_writes(scene: &Scene) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let taker = Taker::default();
    let told = Mutex::new(BTreeMap::<String, usize>::new());
    let server = runtime.block_on(FaultServer::start(None, move |request| {
        // Sinks are told apart by what they are not to show.
        let header = |name| request.headers.get(name).cloned().unwrap_or_default();
        let who = header("authorization") + &header("proxy-authorization");
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.entry(who).or_default();
        *told += 1;
        echo(&taker, request, *told - 1)
    }))?;
    let traffic = UdpSocket::bind("127.0.0.1:0")?;
    let api = server::free_port()?;
    let ports = [traffic.local_addr()?.port(), api];
    let ours = Certificates::mutual(scene, "ours").client;
    let config = scene.write("tidegate.yaml", config(scene, server.address, &ours, ports));

    let command =
        |arguments: &[&str]| Tidegate::new(scene, arguments).env("TIDEGATE_TEST_TOKEN", VARIABLE);
    let mut seen = Seen { needles: needles(&ours[1])?, places: 0, found: Vec::new() };
    let path = config.display().to_string();
    for arguments in [&["graph", &path][..], &["validate", &path], &["schema"]] {
        let ended = command(arguments).run()?.expect(0)?;
        seen.text(&format!("{arguments:?}"), &(ended.stdout + &ended.stderr));
    }
    for (what, mistaken) in mistaken(scene, &config, server.address, &ours[1])? {
        let mistaken = scene.write("mistaken.yaml", mistaken).display().to_string();
        let ended = command(&["validate", &mistaken]).run()?.expect(78)?;
        seen.text(&format!("validate of {what}"), &(ended.stdout + &ended.stderr));
    }

    let running = command(&["--log-level", "trace", "run", "-c", &path]).start()?;
    let letters =
        |id: &str| fs::read_to_string(scene.path(&format!("{id}.dead.ndjson"))).unwrap_or_default();
    poll::until_true("dead letters of every sink", 2 * SOON, || {
        // Errors are of no matter: what is sent to oneself is refused at times.
        traffic.send_to(b"to be captured", ("127.0.0.1", ports[0])).unwrap_or_default();
        ALL.iter().all(|id| letters(id).contains("HTTP 413"))
            && BULK.iter().all(|id| letters(id).contains("400 echo"))
    })?;
    for page in ["metrics", "health", "ready"] {
        let url = format!("http://127.0.0.1:{api}/{page}");
        seen.text(page, &runtime.block_on(http::get(&url))?.1);
    }
    seen.file(&format!("/proc/{}/cmdline", running.pid()))?;
    let children = process::descendants(running.pid());
    assert!(children.iter().any(|child| child.name == "tshark"), "{children:?}");
    for child in children {
        for what in ["cmdline", "environ"] {
            seen.file(&format!("/proc/{}/{what}", child.pid))?;
        }
    }
    running.signal(Signal::TERM);
    let ended = running.wait(Duration::from_mins(2))?;
    seen.text("stdout and stderr", &(ended.stdout + &ended.stderr));
    assert!(ended.stderr.contains("(secret)"), "no server's words were quoted:\n{}", ended.stderr);
    for id in ALL {
        let letters = letters(id);
        assert!(letters.contains("(secret)"), "{letters}");
        seen.text(id, &letters);
    }
    seen.folder(&scene.path("state"))?;
    seen.verdict()
}

/// The config with mistakes, so that reports quote the lines that have the secrets.
fn mistaken(
    scene: &Scene,
    config: &Path,
    address: SocketAddr,
    key_file: &Path,
) -> Result<[(&'static str, String); 3], Failed> {
    let right = fs::read_to_string(config)?;
    let types = right.replace("user: flow", "user: [flow]").replace("dead_letter:", "dead_leter:");
    let inside = format!("http://flow:{ENDPOINT}@{address}");
    let endpoints = right.replace(&format!("http://{address}"), &inside);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY_FILE}\n-----END PRIVATE KEY-----\n");
    let broken = scene.write("broken.key", pem).display().to_string();
    let key = right.replace(&key_file.display().to_string(), &broken);
    Ok([
        ("mistakes beside secrets", types),
        ("a password in an address", endpoints),
        ("a broken key", key),
    ])
}

/// What was looked at, and where a secret was in it.
#[derive(Debug)]
struct Seen {
    needles: Vec<String>,
    places: usize,
    found: Vec<String>,
}

// === impl Seen ===

impl Seen {
    fn text(&mut self, place: &str, text: &str) {
        self.places += 1;
        let line = |needle: &String| text.lines().find(|line| line.contains(needle.as_str()));
        let found = self.needles.iter().filter_map(line).map(|line| format!("{place}: {line}"));
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
        assert!(self.places >= 20, "only {} places were looked at", self.places);
        if self.found.is_empty() { Ok(()) } else { Err(self.found.join("\n").into()) }
    }
}
