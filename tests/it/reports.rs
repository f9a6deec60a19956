//! The captures made after public bug reports of other tools: each is replayed through `extract` and
//! `flow` into a file, and what comes out has to be what is right, not what some tool says.
//!
//! A row states the flows as `SOURCE:PORT > DESTINATION:PORT transport packets/packets STATE`, a
//! part of it where the rest is left open, and remarks about single fields.

use std::{collections::BTreeMap, fs, path::Path};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{Case, Outcome, Scene, tidegate::Tidegate};

/// What is right for one capture.
struct Row {
    capture: &'static str,
    /// Options of the source and of `flow`.
    source: &'static str,
    flow: &'static str,
    /// How the replay ends: 3 if it leaves out a packet on purpose.
    exit: i32,
    right: fn(&[Flow]) -> Result<(), String>,
}

/// A flow as its document says it.
#[derive(Debug)]
struct Flow {
    /// `192.0.2.10:40000 > 198.51.100.20:443 tcp`.
    ends: String,
    /// Packets of the initiator and of the responder.
    packets: (u64, u64),
    bytes: (u64, u64),
    state: String,
    history: String,
    reason: String,
    tags: Vec<String>,
    document: Value,
}

const INSIDE: &str = "internal_networks: [192.0.2.0/24, \"2001:db8::/48\", \"fe80::/10\"]";

const ROWS: &[Row] = &[
    row("amsdu.pcap", |flows| {
        has(flows, "192.0.2.10:40000 > 198.51.100.20:9000 udp 3/0")?;
        has(flows, "192.0.2.10:40001 > 198.51.100.30:443 tcp 1/0")
    }),
    Row {
        source: "checksums: true",
        flow: "ignore_checksums: false",
        exit: 3,
        ..row("bad-checksums.pcap", bad_checksums_count_only_as_letters)
    },
    row("bigtcp-sll.pcap", |flows| {
        one(flows)?;
        equal("bytes", flows[0].bytes.0 + flows[0].bytes.1, 70_068)
    }),
    row("challenge-ack-syn-from-server.pcap", |flows| {
        only(flows, &["192.0.2.10:40000 > 198.51.100.20:9000 tcp 7/5 SF"])
    }),
    row("cut-38.pcap", |flows| {
        for flow in flows {
            equal("history", flow.history.as_str(), "")?;
            tagged(flow, "damaged", true)?;
        }
        has(flows, "192.0.2.10:40000 > 198.51.100.20:80 tcp")
    }),
    row("fin-retransmitted.pcap", |flows| {
        has(flows, "192.0.2.10:40000 > 198.51.100.20:9000 tcp 4/6 SF")?;
        begun_by(flows, "192.0.2.10")?;
        equal("packets", sum(flows), (4, 12))?;
        none(flows, "an attempt", |flow| flow.history.contains(['S', 'F']) && flow.state != "SF")
    }),
    row("half-duplex-client.pcap", |flows| {
        only(flows, &["192.0.2.10:40000 > 198.51.100.20:443 tcp 184/0"])?;
        equal("reason", ["end_detected", "forced"].contains(&flows[0].reason.as_str()), true)?;
        let duration = flows[0].document["event"]["duration"].as_u64().unwrap_or(0);
        equal("tenths of a second", duration / 100_000_000, 1_821)
    }),
    row("icmp-big-ping.pcap", |flows| {
        only(flows, &["192.0.2.10 > 198.51.100.20 icmp 3/3"])?;
        equal("bytes", flows[0].bytes, (3_068, 3_068))?;
        equal("type", flows[0].document["tidegate"]["flow"]["icmp"]["type"].as_u64(), Some(8))?;
        tagged(&flows[0], "portless_fragments", false)
    }),
    row("icmp-unreach-many.pcap", |flows| {
        let related = |flow: &Flow| {
            let ids = &flow.document["tidegate"]["flow"]["related_community_id"];
            ids.as_array().map_or(usize::from(ids.is_string()), Vec::len)
        };
        equal("quoted flows", flows.iter().map(related).sum::<usize>(), 5)
    }),
    row("ip-length-lies.pcap", |flows| {
        equal("packets", sum(flows), (20, 0))?;
        equal("bytes", flows.iter().map(|flow| flow.bytes.0).sum::<u64>(), 920)
    }),
    row("keepalive-2h.pcap", |flows| {
        begun_by(flows, "192.0.2.10")?;
        equal("packets", sum(flows), (5, 4))?;
        none(flows, "a single record without packets", |flow| {
            flow.packets == (0, 0) && flow.document["event"]["sequence"] == 0
        })
    }),
    row("late-syn-after-close.pcap", |flows| {
        only(flows, &["192.0.2.10:40000 > 198.51.100.20:9000 tcp 6/4 SF"])
    }),
    Row {
        flow: INSIDE,
        ..row("link-local-multicast.pcap", |flows| {
            equal("any flows", flows.is_empty(), false)?;
            none(flows, "one that leaves the link", |flow| direction(flow) != "internal")
        })
    },
    row("midstream-wellknown.pcap", |flows| {
        for port in [23, 110, 179, 111] {
            let serves = |flow: &&Flow| flow.ends.contains(&format!(":{port} tcp"));
            equal("a server's flow", flows.iter().filter(serves).count(), 1)?;
        }
        Ok(())
    }),
    Row {
        flow: INSIDE,
        ..row("multicast-initiator.pcap", |flows| {
            equal("any flows", flows.is_empty(), false)?;
            none(flows, "a group that began", |flow| {
                !["192.0.2.10", "192.0.2.1", "2001:db8::10"]
                    .iter()
                    .any(|sender| flow.document["source"]["ip"] == **sender)
            })?;
            none(flows, "one from outside", |flow| {
                !["outbound", "internal"].contains(&direction(flow))
            })
        })
    },
    row("router-two-interfaces.pcapng", |flows| {
        let flow = "192.0.2.10:40000 > 198.51.100.20:443 tcp 6/4 SF";
        only(flows, &[flow, flow])?;
        none(flows, "a retransmission", |flow| flow.history.contains(['T', 't']))
    }),
    row("rst-injected.pcap", |flows| {
        one(flows)?;
        begun_by(flows, "192.0.2.10")?;
        equal("state", ["SF", "S1"].contains(&flows[0].state.as_str()), true)
    }),
    Row {
        flow: "tunnels: inner",
        ..row("sflow-samples.pcap", |flows| only(flows, &["192.0.2.1:50000 > 192.0.2.2:6343 udp"]))
    },
    row("snaplen-128-http.pcap", whole_http),
    row("snaplen-none-http.pcap", whole_http),
    row("spb-no-timestamp.pcapng", |flows| equal("packets", sum(flows), (6, 4))),
    Row {
        flow: INSIDE,
        ..row("split-handshake.pcap", |flows| {
            only(flows, &["192.0.2.10:40000 > 198.51.100.20:8080 tcp 5/4 SF"])?;
            equal("direction", direction(&flows[0]), "outbound")
        })
    },
    row("srh.pcap", |flows| only(flows, &["2001:db8::10:40000 > 2001:db8:1::20:9000 udp 1/1"])),
    row("syn-again-after-rst.pcap", |flows| {
        let flow = "192.0.2.10:40000 > 198.51.100.20:8110 tcp 1/1 REJ";
        only(flows, &[flow, flow, flow])?;
        none(flows, "another history", |flow| flow.history != "Sr")
    }),
    row("synack-then-server-data.pcap", |flows| {
        only(flows, &["192.0.2.10:40000 > 198.51.100.20:9000 tcp 0/3"])?;
        equal("history", flows[0].history.as_str(), "^hda")
    }),
    row("tcp-fragmented.pcap", |flows| {
        one(flows)?;
        equal("history", flows[0].history.as_str(), "ShADaFf")
    }),
    row("tfo.pcap", |flows| {
        one(flows)?;
        equal("history", flows[0].history.starts_with("Shd"), true)?;
        equal("a retransmission", flows[0].history.contains('T'), false)
    }),
    row("trailer-vss8.pcap", |flows| {
        one(flows)?;
        equal("protocol", protocol(&flows[0]), Some("http"))
    }),
    Row {
        source: "dissect: transport",
        ..row("trustsec-cmd.pcap", |flows| {
            one(flows)?;
            equal("protocol", protocol(&flows[0]), None)
        })
    },
    row("two-interfaces-skewed.pcapng", |flows| {
        equal("flows", flows.len(), 2)?;
        none(flows, "another state", |flow| (flow.state.as_str(), flow.packets) != ("SF", (6, 4)))
    }),
    row("v4-proto60-fake-tcp.pcap", |flows| {
        equal("flows", flows.len(), 1)?;
        let total = sum(flows);
        equal("packets", total.0 + total.1, 10)?;
        let number = &flows[0].document["network"]["iana_number"];
        equal("protocol", number.as_str(), Some("60"))
    }),
    row("v6-ah-tcp.pcap", |flows| {
        only(flows, &["2001:db8::10:40000 > 2001:db8:1::20:443 tcp 6/4 SF"])
    }),
    // Without the eight bytes of destination options.
    row("v6-fragment-control.pcap", |flows| v6_fragments(flows, 3_152)),
    row("v6-fragment-dstopts.pcap", |flows| v6_fragments(flows, 3_160)),
    row("vlan0-priority.pcap", |flows| {
        one(flows)?;
        equal("packets", flows[0].packets, (6, 4))?;
        equal("history", flows[0].history.as_str(), "ShADadFf")
    }),
    Row {
        flow: "tunnels: inner",
        ..row("vxlan-two-vnis.pcap", |flows| {
            let parent = |flow: &&Flow| !flow.document["tidegate"]["flow"]["parent_id"].is_null();
            let mut bytes: Vec<_> =
                flows.iter().filter(parent).map(|flow| (flow.bytes, flow.packets)).collect();
            bytes.sort_unstable();
            equal("inner flows", bytes, vec![((340, 360), (6, 4)), ((1_240, 2_160), (6, 4))])
        })
    },
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> =
        ROWS.iter().map(|row| Case::with(comes_out_right, row.capture, row).needs_data()).collect();
    cases.push(Case::new(every_capture_has_its_row).needs_data());
    cases
}

/// A row with the defaults.
const fn row(capture: &'static str, right: fn(&[Flow]) -> Result<(), String>) -> Row {
    Row { capture, source: "", flow: "", exit: 0, right }
}

fn comes_out_right(scene: &Scene, row: &'static Row) -> Outcome {
    let flows = replayed(scene, row)?;
    (row.right)(&flows).map_err(|why| shown(&why, &flows).into())
}

fn every_capture_has_its_row(scene: &Scene) -> Outcome {
    for entry in fs::read_dir(folder(scene))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.contains(".pcap") && !ROWS.iter().any(|row| row.capture == name) {
            return Err(format!("{name} has no row").into());
        }
    }
    Ok(())
}

fn folder(scene: &Scene) -> std::path::PathBuf {
    scene.data.parent().unwrap_or(Path::new("..")).join("reports")
}

/// The flows that a replay writes.
fn replayed(scene: &Scene, row: &Row) -> Result<Vec<Flow>, Failed> {
    let config = scene.path("config.yaml");
    let text = format!(
        "data_dir: {data}\n\
         sources:\n  wire: {{type: tshark, mode: file, files: [replaced.pcap]{source}}}\n\
         transforms:\n  packets: {{type: extract, inputs: [wire]}}\n  \
         flows: {{type: flow, inputs: [packets]{flow}}}\n\
         sinks:\n  out: {{type: file, inputs: [flows], path: {out}, encoding: {{schema: ecs}}}}\n",
        data = scene.path("data").display(),
        out = scene.path("flows.ndjson").display(),
        source = option(row.source),
        flow = option(row.flow),
    );
    fs::write(&config, text)?;
    let capture = folder(scene).join(row.capture);
    let arguments = ["replay".as_ref(), "-c".as_ref(), config.as_os_str(), capture.as_os_str()];
    let ended = Tidegate::new(scene, arguments).run()?;
    if ended.code != Some(row.exit) {
        return Err(format!("exit code {:?}: {}", ended.code, ended.stderr).into());
    }
    let text = fs::read_to_string(scene.path("flows.ndjson")).unwrap_or_default();
    let documents: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(documents?.into_iter().map(flow).collect())
}

fn option(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", {text}") }
}

fn flow(document: Value) -> Flow {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let end = |side: &Value| match side["port"].as_u64() {
        Some(port) => format!("{}:{port}", text(&side["ip"])),
        None => text(&side["ip"]),
    };
    let counts = |name: &str| {
        let count = |side: &str| document[side][name].as_u64().unwrap_or(0);
        (count("source"), count("destination"))
    };
    let (own, network) = (&document["tidegate"]["flow"], &document["network"]);
    let tags = document["tags"].as_array().into_iter().flatten();
    Flow {
        ends: format!(
            "{} > {} {}",
            end(&document["source"]),
            end(&document["destination"]),
            text(&network["transport"])
        ),
        packets: counts("packets"),
        bytes: counts("bytes"),
        state: text(&own["conn_state"]),
        history: text(&own["history"]),
        reason: text(&own["end_reason"]),
        tags: tags.map(text).collect(),
        document,
    }
}

// === what may be asked of flows ===

fn summary(flow: &Flow) -> String {
    let Flow { ends, packets, state, .. } = flow;
    format!("{ends} {}/{} {state}", packets.0, packets.1)
}

fn shown(why: &str, flows: &[Flow]) -> String {
    let flows: Vec<_> = flows
        .iter()
        .map(|flow| {
            let Flow { bytes, history, reason, tags, .. } = flow;
            format!("  {} {history} {bytes:?} {reason} {tags:?}", summary(flow))
        })
        .collect();
    format!("{why}; the flows are\n{}", flows.join("\n"))
}

#[expect(clippy::needless_pass_by_value, reason = "what is right is written where it is asked")]
fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, right: T) -> Result<(), String> {
    if got == right { Ok(()) } else { Err(format!("{what}: {got:?}, not {right:?}")) }
}

/// One flow has this beginning.
fn has(flows: &[Flow], beginning: &str) -> Result<(), String> {
    let found = flows.iter().any(|flow| summary(flow).starts_with(beginning));
    if found { Ok(()) } else { Err(format!("there is no {beginning}")) }
}

/// There are as many flows as here, and they begin so.
fn only(flows: &[Flow], beginnings: &[&str]) -> Result<(), String> {
    equal("flows", flows.len(), beginnings.len())?;
    let mut wanted = BTreeMap::<_, usize>::new();
    for beginning in beginnings {
        *wanted.entry(beginning).or_default() += 1;
    }
    for (beginning, count) in wanted {
        let found = flows.iter().filter(|flow| summary(flow).starts_with(beginning)).count();
        equal(beginning, found, count)?;
    }
    Ok(())
}

fn one(flows: &[Flow]) -> Result<(), String> {
    equal("flows", flows.len(), 1)
}

fn none(flows: &[Flow], what: &str, is: impl Fn(&Flow) -> bool) -> Result<(), String> {
    match flows.iter().find(|flow| is(flow)) {
        Some(flow) => Err(format!("{what}: {}", summary(flow))),
        None => Ok(()),
    }
}

fn begun_by(flows: &[Flow], address: &str) -> Result<(), String> {
    none(flows, "another initiator", |flow| flow.document["source"]["ip"] != address)
}

fn tagged(flow: &Flow, tag: &str, wanted: bool) -> Result<(), String> {
    equal(tag, flow.tags.iter().any(|other| other == tag), wanted)
}

fn sum(flows: &[Flow]) -> (u64, u64) {
    flows.iter().fold((0, 0), |sum, flow| (sum.0 + flow.packets.0, sum.1 + flow.packets.1))
}

fn direction(flow: &Flow) -> &str {
    flow.document["network"]["direction"].as_str().unwrap_or_default()
}

fn protocol(flow: &Flow) -> Option<&str> {
    flow.document["network"]["protocol"].as_str()
}

fn bad_checksums_count_only_as_letters(flows: &[Flow]) -> Result<(), String> {
    // Of UDP, TCP, ICMP and ICMPv6; one datagram's is right.
    let checked = flows.iter().filter(|flow| !flow.ends.ends_with(" sctp"));
    equal("packets that count", checked.map(|flow| flow.packets.0).sum::<u64>(), 1)?;
    none(flows, "a flow behind a damaged IP header", |flow| flow.ends.contains(":40001 "))?;
    for flow in flows.iter().filter(|flow| flow.packets == (0, 0)) {
        equal("history", flow.history.as_str(), "C")?;
        tagged(flow, "bad_checksum", true)?;
    }
    Ok(())
}

fn whole_http(flows: &[Flow]) -> Result<(), String> {
    one(flows)?;
    tagged(&flows[0], "damaged", false)
}

fn v6_fragments(flows: &[Flow], bytes: u64) -> Result<(), String> {
    one(flows)?;
    equal("packets", flows[0].packets, (3, 1))?;
    equal("bytes", flows[0].bytes, (bytes, 50))
}
