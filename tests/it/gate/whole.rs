//! The whole: tshark and the gate on one wire, flows and contacts judged, names from a resolver, and records in
//! a real Elasticsearch and an independent HEC receiver at once.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write, copy},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use libtest_mimic::Failed;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::live::{BAD, GOOD, NEAR, PORT, Site, connect, exchange};
use crate::harness::{
    Case, Outcome, Scene, config,
    hec::{self, HecReceiver},
    live::has_begun,
    netns::{INTERFACE, Namespace},
    poll::{self, SOON},
    process,
    search::{self, Flavor, Server},
    unbound::Unbound,
};

/// Connections of the benign client; each is a flow.
const SERVED: usize = 5;
const ZONES: &str = r#"
  local-zone: "10.in-addr.arpa." transparent
  local-data: "1.0.77.10.in-addr.arpa. 300 PTR server.example."
  local-data: "server.example. 300 A 10.77.0.1"
  local-data: "2.0.77.10.in-addr.arpa. 300 PTR scanner.example."
  local-data: "scanner.example. 300 A 10.77.0.2"
  local-data: "3.0.77.10.in-addr.arpa. 300 PTR client.example."
  local-data: "client.example. 300 A 10.77.0.3"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_scan_and_ordinary_work_arrive_judged_and_named_at_both_siems).live()]
}

fn a_scan_and_ordinary_work_arrive_judged_and_named_at_both_siems(scene: &Scene) -> Outcome {
    let server = search::shared(Flavor::Elasticsearch8)?;
    let site = Site::configured(scene, |_| String::new())?;
    let near = &site.wire.near;
    let unbound = near.inside(|| Unbound::start(scene, ZONES, "nowhere.example."))??;
    let receiver = near.inside(|| HecReceiver::start(scene))??;
    let passage = Passage::open(near, &server)?;
    let places = (passage.port, unbound.address.port(), receiver.url());
    fs::write(&site.config, config(scene, &site.id, places))?;
    let mut running = site.start()?;
    poll::until_true("dumpcap to capture", SOON, || {
        let found = process::descendants_named(running.pid(), "dumpcap");
        found.iter().any(|child| has_begun(child.pid)) || running.still_runs().is_err()
    })?;

    work(&site)?;
    let scan = ["-n", "-Pn", "-sS", "-p", "1-60", "--max-retries", "0", "-e", INTERFACE, "-S", BAD];
    site.wire.far.run("nmap", &[&scan[..], &[NEAR]].concat())?;
    work(&site)?;
    let archive = scene.path("archive.ndjson");
    poll::until_true("the scanner to be judged, and its flows", SOON, || {
        running.still_runs().is_ok()
            && records(&archive).is_ok_and(|records| {
                records.iter().any(is_verdict)
                    && records.iter().filter(|record| is_flow_of(record, BAD)).count() >= 50
                    && records.iter().filter(|record| is_flow_of(record, GOOD)).count()
                        >= 2 * SERVED
            })
    })?;
    running.signal(Signal::TERM);
    // 0: nothing was lost, refused or dropped.
    running.wait(SOON)?.expect(0)?;
    drop(passage);

    let all = records(&archive)?;
    let verdict = all.iter().find(|record| is_verdict(record)).ok_or("no verdict")?;
    is_well_told(verdict)?;
    for flow in all.iter().filter(|record| is_flow_of(record, GOOD)) {
        assert_eq!(flow["source"]["domain"], "client.example", "{flow}");
        assert_eq!(flow["destination"]["domain"], "server.example", "{flow}");
    }
    let wronged = all.iter().find(|record| is_alert(record) && record["source"]["ip"] == GOOD);
    assert!(wronged.is_none(), "{wronged:?}");
    tokio::runtime::Runtime::new()?.block_on(are_in_elasticsearch(&server, &all))?;
    are_at_the_receiver(receiver, &all)
}

/// The pipeline, as the design has it.
fn config(scene: &Scene, id: &str, (search, resolver, hec): (u16, u16, String)) -> String {
    format!(
        "data_dir: {data}
api: {{ address: \"127.0.0.1:{api}\" }}
networks: {{ internal: [10.77.0.0/24] }}
sources:
  wire: {{ type: tshark, interface: {INTERFACE}, mode: pipe, capture_filter: \"not port 9200\" }}
  {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: observe }} }}
  self: {{ type: health, interval_secs: 5 }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
  flows: {{ type: flow, inputs: [packets], timeouts: {{ tcp_closed_secs: 1, tcp_attempt_secs: 5 }} }}
  scored: {{ type: score, inputs: [flows, flows.contacts, {id}.contacts], warmup_secs: 0, block: {{ via: {id} }} }}
  named:
    type: reverse_dns
    inputs: [scored, scored.alerts, {id}.alerts]
    resolvers: ['127.0.0.1:{resolver}']
    private: '127.0.0.1:{resolver}'
    allow: [10.77.0.0/24]
    max_wait_ms: 60000
sinks:
  siem:
    type: elasticsearch
    inputs: [named, self]
    endpoints: ['http://127.0.0.1:{search}']
    data_stream: {{ namespace: whole }}
    setup: install
    batch: {{ timeout_secs: 1 }}
  splunk:
    type: splunk_hec
    inputs: [named, self]
    endpoint: '{hec}'
    token: {token}
    batch: {{ timeout_secs: 1 }}
  archive: {{ type: file, inputs: [named, self], path: {archive}, batch: {{ timeout_secs: 1 }} }}
",
        data = scene.path("data").display(),
        api = config::API_PORT,
        token = hec::TOKEN,
        archive = scene.path("archive.ndjson").display(),
    )
}

/// A client that is served, connection after connection.
fn work(site: &Site<'_>) -> Outcome {
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let local: SocketAddr = format!("{GOOD}:0").parse()?;
    for _ in 0..SERVED {
        let mut client = site.wire.far.inside(|| connect(local))??;
        let mut server = listener.accept()?.0;
        exchange(&mut client, &mut server)?;
        // The client closes first, so that the port is free for the next listener.
        drop(client);
        server.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn records(path: &std::path::Path) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(path)?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    Ok(whole.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn is_alert(record: &Value) -> bool {
    record["event"]["dataset"] == "tidegate.alert"
}

fn is_verdict(record: &Value) -> bool {
    is_alert(record)
        && record["event"]["action"] == "would_block"
        && record["source"]["ip"] == BAD
        && record["rule"]["name"].is_string()
}

fn is_flow_of(record: &Value, source: &str) -> bool {
    record["event"]["dataset"] == "tidegate.flow" && record["source"]["ip"] == source
}

fn is_well_told(verdict: &Value) -> Outcome {
    let reason = verdict["event"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("first contacts failed"), "{verdict}");
    assert_eq!(verdict["source"]["domain"], "scanner.example", "{verdict}");
    assert_eq!(verdict["event"]["kind"], "alert", "{verdict}");
    let hash = verdict["tidegate"]["config"]["hash"].as_str().ok_or("no hash")?;
    assert!(!hash.is_empty());
    Ok(())
}

/// Elasticsearch has every record of the archive, under its own id, and can be asked for the verdict.
async fn are_in_elasticsearch(server: &Server, all: &[Value]) -> Outcome {
    for dataset in ["flow", "alert", "health"] {
        let of_kind = all
            .iter()
            .filter(|record| record["event"]["dataset"] == format!("tidegate.{dataset}").as_str());
        let (stream, expected) = (format!("logs-tidegate.{dataset}-whole"), of_kind.count() as u64);
        assert_eq!(server.count(&stream).await?, expected, "{stream}");
    }
    let query = json!({"query": {"bool": {"filter": [
        {"term": {"source.ip": BAD}},
        {"term": {"event.action": "would_block"}},
        {"exists": {"field": "rule.name"}},
    ]}}});
    let found = server.ask(Method::POST, "logs-tidegate.alert-whole/_search", Some(query)).await?;
    is_well_told(&found["hits"]["hits"][0]["_source"])?;
    let query = json!({"query": {"term": {"source.domain": "client.example"}}});
    let named = server.ask(Method::POST, "logs-tidegate.flow-whole/_count", Some(query)).await?;
    let expected = all.iter().filter(|record| is_flow_of(record, GOOD)).count();
    assert_eq!(named["count"], expected, "{named}");
    Ok(())
}

/// The receiver has as many events, the verdict among them with its reason and the source's name.
fn are_at_the_receiver(receiver: HecReceiver, all: &[Value]) -> Outcome {
    let events = receiver.records()?;
    let texts: BTreeSet<String> = events.iter().map(Value::to_string).collect();
    assert_eq!(events.len(), all.len());
    assert_eq!(texts.len(), all.len(), "none is there twice");
    let verdict = texts.iter().find(|text| text.contains("would_block"));
    let verdict = verdict.ok_or("the receiver has no verdict")?;
    for word in ["first contacts failed", "scanner.example", BAD] {
        assert!(verdict.contains(word), "no {word} in {verdict}");
    }
    let named = texts.iter().filter(|text| text.contains("client.example")).count();
    assert!(named >= 2 * SERVED, "{named}");
    Ok(())
}

/// A way from a port inside a namespace to a server outside of it; closed when dropped.
struct Passage {
    port: u16,
    is_over: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

// === impl Passage ===

impl Passage {
    fn open(near: &Namespace, server: &Server) -> Result<Self, Failed> {
        let to: SocketAddr = server.url().trim_start_matches("http://").parse()?;
        let listener = near.inside(|| TcpListener::bind("127.0.0.1:0"))??;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let is_over = Arc::new(AtomicBool::new(false));
        let accepting = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                while !is_over.load(Relaxed) {
                    match listener.accept() {
                        // It ends with either side.
                        Ok((inside, _)) => drop(thread::spawn(move || pass(inside, to))),
                        Err(_) => thread::sleep(std::time::Duration::from_millis(5)),
                    }
                }
            }
        });
        Ok(Self { port, is_over, accepting: Some(accepting) })
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap_or_default();
        }
    }
}

fn pass(inside: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    inside.set_nonblocking(false)?;
    let outside = TcpStream::connect(to)?;
    let (mut asks, mut hears) = (inside.try_clone()?, outside.try_clone()?);
    let (mut inside, mut outside) = (inside, outside);
    thread::scope(|scope| {
        scope.spawn(move || one_way(&mut asks, &mut outside));
        one_way(&mut hears, &mut inside);
    });
    Ok(())
}

/// An error ends the way as an end does.
fn one_way(from: &mut TcpStream, to: &mut TcpStream) {
    copy(from, to).unwrap_or_default();
    to.flush().unwrap_or_default();
    to.shutdown(Shutdown::Write).unwrap_or_default();
}
