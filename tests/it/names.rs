//! Names of applications without tshark: those that tshark gives the same flows.

use std::{collections::BTreeMap, fs};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, all_captures,
    captures::{self, Capture, EPOCH_SECONDS},
    config,
    frames::{self, Segment, Way, flags},
    tidegate::Tidegate,
};

/// The fields of flows that are compared: the protocol, and what is asked for.
const PROTOCOL: &str = "/network/protocol";
const ASKED: [&str; 3] = ["/dns/question/name", "/tls/client/server_name", "/url/domain"];
/// The protocols that are told without tshark.
const TOLD: [&str; 5] = ["dns", "http", "llmnr", "mdns", "tls"];

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(flows_have_the_names_that_tshark_gives_them).needs_data(),
        Case::new(names_are_found_in_what_a_snaplen_of_512_leaves),
    ]
}

/// What flows with a name, or of a protocol that is told, agree in.
#[derive(Debug, Default)]
struct Tally {
    flows: usize,
    agree: usize,
    differences: Vec<String>,
}

fn flows_have_the_names_that_tshark_gives_them(scene: &Scene) -> Outcome {
    let mut theirs = BTreeMap::new();
    all_captures::each(scene, "named", "ecs", |line| note(&mut theirs, &line))?;
    let config = scene.write("headers.yaml", flows(scene));
    let command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    captures::below(&scene.data)?.iter().fold(command, Tidegate::arg).run()?.expect(0)?;
    let mut ours = BTreeMap::new();
    for line in fs::read_to_string(scene.path("flows.out"))?.lines() {
        note(&mut ours, line)?;
    }
    let (mut names, mut protocols) = (Tally::default(), Tally::default());
    // Some are of Teredo, which tshark finds by a heuristic that the source does not turn on.
    let alone = ours.keys().filter(|id| !theirs.contains_key(*id)).count()
        + theirs.keys().filter(|id| !ours.contains_key(*id)).count();
    assert!(alone < 10 && theirs.len() > 80_000, "{alone} of {} flows alone", theirs.len());
    for (id, their) in &theirs {
        let Some(our) = ours.get(id) else { continue };
        for field in ASKED {
            names.compare(id, field, text(their, field), text(our, field));
        }
        let told = |flow| text(flow, PROTOCOL).filter(|name| TOLD.contains(name));
        protocols.compare(id, PROTOCOL, told(their), told(our));
    }
    names.at_least(4_000)?;
    protocols.at_least(4_000)
}

fn names_are_found_in_what_a_snaplen_of_512_leaves(scene: &Scene) -> Outcome {
    let request = b"GET /a HTTP/1.1\r\nUser-Agent: test\r\nHost: shop.example:8080\r\n\r\n";
    let hello = client_hello("www.example.org", 1_000);
    let mut capture = Capture::micros();
    for (at, port, payload) in [(0, 443, &hello[..]), (1, 5_555, &hello), (2, 80, request)] {
        let segment = Segment {
            ports: [50_000 + at, port],
            numbers: [1, 1],
            flags: flags::PSH | flags::ACK,
            payload,
        };
        let frame = frames::on_ethernet(&frames::tcp(Way::There, segment));
        capture.cut_frame(EPOCH_SECONDS, at.into(), &frame, frame.len().min(512));
    }
    let path = scene.path("cut.pcap");
    capture.write(&path);
    let config = scene.write("headers.yaml", flows(scene));
    Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(path).run()?.expect(0)?;
    let mut found = Vec::new();
    for line in fs::read_to_string(scene.path("flows.out"))?.lines() {
        let flow: Value = serde_json::from_str(line)?;
        let names = [PROTOCOL, ASKED[1], ASKED[2]].map(|field| text(&flow, field).unwrap_or("-"));
        found.push(names.join(" "));
    }
    found.sort();
    assert_eq!(found, ["http - shop.example", "tls www.example.org -", "tls www.example.org -"]);
    Ok(())
}

/// Flows by headers, with those in tunnels, as documents of ECS.
fn flows(scene: &Scene) -> String {
    let config = config::replay(scene, "dissect: headers", "");
    let text = fs::read_to_string(&config).expect("it was just written");
    text.replace(
        "transforms:",
        "transforms:\n  flows: { type: flow, inputs: [packets], tunnels: inner }",
    )
    .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]")
    .replace("records.out", "flows.out")
    .replace("schema: simple", "schema: ecs")
}

/// Remembers a flow by its ends, its counters and its time.
fn note(flows: &mut BTreeMap<String, Value>, line: &str) -> Result<(), Failed> {
    let flow: Value = serde_json::from_str(line)?;
    let names = ["/message", "/event/start", "/event/end", "/network/community_id"];
    let key = names.map(|name| text(&flow, name).unwrap_or_default()).join(" ");
    let number = flow.pointer("/event/sequence").ok_or("a report has a number")?;
    flows.insert(format!("{key} {number}"), flow);
    Ok(())
}

fn text<'f>(flow: &'f Value, field: &str) -> Option<&'f str> {
    flow.pointer(field).and_then(Value::as_str)
}

/// A `ClientHello` for a server, with a long extension behind the name.
fn client_hello(server: &str, more: usize) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("it is short").to_be_bytes();
        [&length, bytes].concat()
    };
    let name = sized(&[&[0], sized(server.as_bytes()).as_slice()].concat());
    let extensions = [&[0, 0], sized(&name).as_slice(), &[0, 21], &sized(&vec![0; more])].concat();
    let fixed = [&[3, 3], [7; 32].as_slice(), &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let body = [fixed, sized(&extensions)].concat();
    let message = [&[1, 0], sized(&body).as_slice()].concat();
    [&[22, 3, 1], sized(&message).as_slice()].concat()
}

// === impl Tally ===

impl Tally {
    fn compare(&mut self, id: &str, field: &str, theirs: Option<&str>, ours: Option<&str>) {
        if theirs.is_none() && ours.is_none() {
            return;
        }
        self.flows += 1;
        if theirs == ours {
            self.agree += 1;
        } else {
            self.differences.push(format!("{id} {field}: tshark {theirs:?}, headers {ours:?}"));
        }
    }

    /// At least so many were compared, and 99 of a hundred agree.
    fn at_least(&self, flows: usize) -> Outcome {
        let shown: Vec<_> = self.differences.iter().take(40).map(String::as_str).collect();
        let told = format!("{} of {} agree\n{}", self.agree, self.flows, shown.join("\n"));
        eprintln!("{told}");
        let is_enough = self.flows >= flows && self.agree * 100 >= self.flows * 99;
        if is_enough { Ok(()) } else { Err(told.into()) }
    }
}
