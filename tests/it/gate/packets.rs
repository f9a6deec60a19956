//! Packets that the gate reports on a wire: of captures that are replayed, as `dissect: headers` reads them; of this
//! host's traffic, as tcpdump sees it at the other end; one of so many; and what finds the ring full.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    flows::{
        PATIENT, REPLAYED, challenged, differences, interrupt, metric, reused, serve, talk, watch,
    },
    live::{GOOD, NEAR, Site},
    sampled::tolerance,
};
use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, EPOCH_SECONDS},
    config,
    frames::{Segment, Way, flags, on_ethernet, tcp},
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
    tidegate::{Ended, Tidegate},
};

/// What the gate looks behind as `dissect: headers` does, though its program does not.
const BEHIND: [&str; 2] = ["flows/zeek/traces/pppoe.pcap", "flows/zeek/traces/mpls-in-vlan.pcap"];
/// Bytes that the gate takes of a frame.
const TAKEN: &str = "128";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(packets_of_replayed_captures_are_those_of_headers).needs_root().needs_data(),
        Case::with(packets_of_this_host_are_what_tcpdump_saw_at_the_other_end, "native", "native")
            .needs_root(),
        Case::with(packets_of_this_host_are_what_tcpdump_saw_at_the_other_end, "skb", "skb")
            .needs_root(),
        Case::new(a_frame_that_the_card_cuts_up_is_one_with_its_length).needs_root(),
        Case::new(a_frame_in_several_pieces_has_its_whole_length).needs_root(),
        Case::new(one_packet_of_ten_is_reported_and_the_rest_is_counted).needs_root(),
        Case::new(what_finds_the_ring_full_is_lost_and_everybody_says_so).needs_root(),
        Case::new(a_sink_that_takes_nothing_holds_up_neither_contacts_nor_the_gate).needs_root(),
    ]
}

/// A gate of this id that reports packets, to `packets.ndjson`, with further keys; and more of the config, by section.
fn configuration(scene: &Scene, id: &str, keys: &str, [transforms, sinks]: [&str; 2]) -> String {
    format!(
        "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}: {{ type: xdp, \
         interface: {INTERFACE}, persist: false, report: packets, {keys} }}\n  self: {{ type: health, \
         interval_secs: 1 }}\n{transforms}sinks:\n  out: {{ type: file, inputs: [{id}], path: {out} }}\n  \
         health: {{ type: file, inputs: [self], path: {health} }}\n{sinks}",
        data = scene.path("data").display(),
        api = config::API_PORT,
        out = scene.path("packets.ndjson").display(),
        health = scene.path("health.ndjson").display(),
    )
}

/// What a packet's record says of the packet itself, wherever and whenever it was seen.
fn said(line: &str) -> Result<String, Failed> {
    let record: Value = serde_json::from_str(line)?;
    let mut packet = record["tidegate"]["packet"].clone();
    if let Some(packet) = packet.as_object_mut() {
        packet.remove("number");
    }
    let parts = ["source", "destination", "network"].map(|part| record[part].clone());
    Ok(json!([parts, packet]).to_string())
}

fn records(path: &Path) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn sorted(path: &Path) -> Result<Vec<String>, Failed> {
    let mut packets = fs::read_to_string(path)?.lines().map(said).collect::<Result<Vec<_>, _>>()?;
    packets.sort_unstable();
    Ok(packets)
}

/// Packets of these captures by `dissect: headers`, of so much of each frame as the gate takes; and flows of them, to
/// `flows.out`.
fn by_headers(scene: &Scene, list: &[PathBuf]) -> Result<Vec<String>, Failed> {
    let mut cut = Vec::new();
    for (at, capture) in list.iter().enumerate() {
        let path = scene.path(&format!("cut-{at}.pcap"));
        output(Command::new("editcap").args(["-s", TAKEN]).arg(capture).arg(&path))?;
        cut.push(path);
    }
    let text = format!(
        "data_dir: {state}\nsources:\n  capture: {{ type: tshark, mode: file, files: [replaced.pcap], dissect: \
         headers }}\ntransforms:\n  packets: {{ type: extract, inputs: [capture] }}\n  flows: {{ type: flow, \
         inputs: [packets], {PATIENT} }}\nsinks:\n  packets_out: {{ type: file, inputs: [packets], path: {packets} \
         }}\n  flows_out: {{ type: file, inputs: [flows], path: {flows}, encoding: {{ schema: simple }} }}\n",
        state = scene.path("state").display(),
        packets = scene.path("packets.out").display(),
        flows = scene.path("flows.out").display(),
    );
    let config = scene.write("replay.yaml", text);
    let replay = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    cut.into_iter().fold(replay, Tidegate::arg).run()?.expect(0)?;
    sorted(&scene.path("packets.out"))
}

/// What the gate says at its end of the frames that passed.
#[derive(Debug)]
struct Account {
    seen: u64,
    passed_over: u64,
    chosen: u64,
    received: u64,
    lost: u64,
}

/// The account of a gate that has ended: all that passed is in it, and the records are what came through.
fn account(scene: &Scene, ended: &Ended) -> Result<Account, Failed> {
    let line = ended.stderr.lines().find(|line| line.contains("packets were reported"));
    let line = line.ok_or_else(|| format!("no account:\n{}", ended.stderr))?;
    let number = |key: &str| -> Result<u64, Failed> {
        let rest = line.split(&format!(" {key}=")).nth(1).ok_or(format!("no {key}: {line}"))?;
        Ok(rest.split(' ').next().unwrap_or(rest).parse()?)
    };
    let account = Account {
        seen: number("seen")?,
        passed_over: number("passed_over")?,
        chosen: number("chosen")?,
        received: number("received")?,
        lost: number("lost")?,
    };
    assert_eq!(number("missing")?, 0, "{line}");
    assert_eq!(account.seen, account.passed_over + account.chosen, "{line}");
    assert_eq!(account.chosen, account.received + account.lost, "{line}");
    let records = fs::read_to_string(scene.path("packets.ndjson"))?.lines().count() as u64;
    assert!(records <= account.received, "{records} of {line}");
    Ok(account)
}

fn packets_of_replayed_captures_are_those_of_headers(scene: &Scene) -> Outcome {
    let made = [captures::connection(), captures::numbered(500), reused(), challenged()];
    let mut list = Vec::new();
    for (at, capture) in made.iter().enumerate() {
        let path = scene.path(&format!("{at}.pcap"));
        capture.write(&path);
        list.push(path);
    }
    list.extend(REPLAYED.map(|capture| scene.data.join(capture)));
    for (at, capture) in BEHIND.iter().enumerate() {
        let path = scene.path(&format!("behind-{at}.pcap"));
        let mut command = Command::new("tcpdump");
        command.args(["-Z", "root", "-r"]).arg(scene.data.join(capture)).arg("-w").arg(&path);
        output(command.arg("len <= 1514"))?;
        list.push(path);
    }
    let site = Site::configured(scene, |id| {
        let flows = format!("transforms:\n  flows: {{ type: flow, inputs: [{id}] }}\n");
        let sinks = "  nobody: { type: blackhole, inputs: [flows] }\n";
        configuration(scene, id, "role: mirror, attach: native", [&flows, sinks])
    })?;
    let running = site.start()?;
    let mut sent = 0;
    for capture in &list {
        sent += site.wire.send(capture, 1_000, 1)?;
    }
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    let account = account(scene, &ended)?;
    assert_eq!((account.seen, account.passed_over, account.lost), (sent, 0, 0));
    let (ours, theirs) = (sorted(&scene.path("packets.ndjson"))?, by_headers(scene, &list)?);
    assert!(ours.len() > 600, "{} packets", ours.len());
    let differences = differences(&ours, &theirs);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // Packet by packet in the order in which they were sent, with times that never go back.
    let text = fs::read_to_string(scene.path("packets.ndjson"))?;
    let in_order = fs::read_to_string(scene.path("packets.out"))?;
    for (ours, theirs) in text.lines().zip(in_order.lines()) {
        assert_eq!(said(ours)?, said(theirs)?);
    }
    let records = records(&scene.path("packets.ndjson"))?;
    let times: Vec<_> = records.iter().map(|record| record["@timestamp"].as_str()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut ids: Vec<_> = records.iter().map(|record| record["event"]["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), records.len(), "each has an id of its own");
    Ok(())
}

fn packets_of_this_host_are_what_tcpdump_saw_at_the_other_end(
    scene: &Scene,
    attach: &str,
) -> Outcome {
    let site = Site::configured(scene, |id| {
        let transforms =
            format!("transforms:\n  flows: {{ type: flow, inputs: [{id}], {PATIENT} }}\n");
        let flows = scene.path("flows.ndjson");
        let sinks = format!(
            "  flows_out: {{ type: file, inputs: [flows], path: {}, encoding: {{ schema: simple }} }}\n",
            flows.display()
        );
        configuration(scene, id, &format!("attach: {attach}"), [&transforms, &sinks])
    })?;
    for side in [&site.wire.near, &site.wire.far] {
        let off = format!("echo 1 > /proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6");
        side.run("sh", &["-c", &off])?;
    }
    site.wire.far.run("ethtool", &["-K", INTERFACE, "gro", "off"])?;
    let running = site.start()?;
    let capture = scene.path("far.pcap");
    let mut dump = watch(&site, scene, &capture)?;
    talk(&site)?;
    poll::until_true("tcpdump to see the last datagram", SOON, || {
        fs::read(&capture).is_ok_and(|bytes| bytes.windows(8).any(|part| part == b"the last"))
    })?;
    interrupt(&mut dump)?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    assert_eq!(account(scene, &ended)?.lost, 0);
    let (mut ours, mut theirs) =
        (sorted(&scene.path("packets.ndjson"))?, by_headers(scene, &[capture])?);
    // TCP leaves it to the card to cut its segments up: for the gate such a page is few frames, for tcpdump many.
    for packets in [&mut ours, &mut theirs] {
        packets.retain(|packet| !packet.contains("\"port\":8080},{\"address\""));
    }
    let sent = ours.iter().filter(|packet| packet.contains(&format!("\"ip\":\"{NEAR}\""))).count();
    assert!(ours.len() > 20 && sent > 8, "{} packets", ours.len());
    let unlike = differences(&ours, &theirs);
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    let [ours, theirs] = ["flows.ndjson", "flows.out"].map(|name| -> Result<_, Failed> {
        let text = fs::read_to_string(scene.path(name))?;
        let mut flows = text.lines().map(super::flows::counted).collect::<Result<Vec<_>, _>>()?;
        flows.retain(|flow| !flow.contains(" 8080 "));
        flows.sort_unstable();
        Ok(flows)
    });
    let (ours, theirs) = (ours?, theirs?);
    assert!(ours.len() >= 3, "{ours:#?}");
    assert_eq!(ours, theirs);
    Ok(())
}

fn a_frame_that_the_card_cuts_up_is_one_with_its_length(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| configuration(scene, id, "", ["", ""]))?;
    site.wire.near.run("ethtool", &["-K", INTERFACE, "gso", "on", "tso", "on"])?;
    let running = site.start()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, 8080)))??;
    let page = format!("http://{NEAR}:8080/");
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        let mut command = site.wire.far.command("curl");
        output(command.args(["--silent", "--max-time", "20", "--interface", GOOD, &page]))
    })?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    account(scene, &ended)?;
    let records = records(&scene.path("packets.ndjson"))?;
    let frame_bytes =
        |record: &Value| record["tidegate"]["packet"]["frame_bytes"].as_u64().unwrap_or(0);
    let pages = records.iter().filter(|record| record["source"]["port"] == 8080);
    let payload: u64 = pages.clone().map(|page| frame_bytes(page).saturating_sub(66)).sum();
    assert!(pages.clone().any(|page| frame_bytes(page) > 1_514), "one of them is long");
    // A page and its head; the SYN-ACK has 8 bytes of options more than the rest, which is 66 bytes without payload.
    assert_eq!(payload, 100_000 + 43 + 8);
    Ok(())
}

fn a_frame_in_several_pieces_has_its_whole_length(scene: &Scene) -> Outcome {
    const PAYLOAD: usize = 8_000;
    let site = Site::configured(scene, |id| {
        configuration(scene, id, "attach: native, egress: false", ["", ""])
    })?;
    for side in [&site.wire.near, &site.wire.far] {
        side.run("ip", &["link", "set", "dev", INTERFACE, "mtu", "9000"])?;
    }
    let running = site.start()?;
    let server = site.wire.near.inside(|| UdpSocket::bind((NEAR, 7_001)))??;
    let client = site.wire.far.inside(|| UdpSocket::bind((GOOD, 0)))??;
    client.send_to(&[7; PAYLOAD], (NEAR, 7_001))?;
    let mut buffer = [0; 9_000];
    assert_eq!(server.recv_from(&mut buffer)?.0, PAYLOAD);
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    account(scene, &ended)?;
    let records = records(&scene.path("packets.ndjson"))?;
    let found = records.iter().find(|record| record["destination"]["port"] == 7_001);
    let found = found.ok_or("no packet")?;
    assert_eq!(found["tidegate"]["packet"]["frame_bytes"], PAYLOAD + 42);
    assert_eq!(found["tidegate"]["packet"]["captured_bytes"], 128);
    assert_eq!(found["network"]["bytes"], PAYLOAD + 28);
    Ok(())
}

fn one_packet_of_ten_is_reported_and_the_rest_is_counted(scene: &Scene) -> Outcome {
    const SENT: u32 = 20_000;
    let site = Site::configured(scene, |id| {
        configuration(scene, id, "role: mirror, attach: native, sample: 10", ["", ""])
    })?;
    let capture = scene.path("numbered.pcap");
    captures::numbered(SENT / 4).write(&capture);
    let running = site.start()?;
    assert!(running.stderr().contains("reports 1 of 10 packets"), "{}", running.stderr());
    let sent = site.wire.send(&capture, 10_000, 4)?;
    poll::until_true("all of it to be seen", SOON, || {
        metric(&site, "tidegate_xdp_sampled_packets_total result=\"seen\"")
            .is_ok_and(|seen| seen >= sent)
    })?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    let account = account(scene, &ended)?;
    assert_eq!((account.seen, account.lost), (sent, 0));
    let chosen = f64::from(u32::try_from(account.chosen)?);
    let (expected, tolerance) = (f64::from(u32::try_from(sent)?) / 10.0, tolerance(sent, 10));
    assert!((chosen - expected).abs() <= tolerance, "{chosen} of {expected}, {tolerance} at most");
    let records = records(&scene.path("packets.ndjson"))?;
    assert_eq!(records.len() as u64, account.chosen);
    Ok(())
}

/// Sends packets while the gate's process is stopped, and lets it go on; answers how many arrived.
fn overrun(site: &Site<'_>, pid: u32, capture: &Path) -> Result<u64, Failed> {
    use crate::harness::process::signal;
    signal(pid, Signal::STOP);
    let sent = site.wire.send(capture, 10_000, 1);
    signal(pid, Signal::CONT);
    sent
}

fn what_finds_the_ring_full_is_lost_and_everybody_says_so(scene: &Scene) -> Outcome {
    const SENT: u32 = 2_000;
    let site = Site::configured(scene, |id| {
        configuration(scene, id, "role: mirror, attach: native, ring_bytes: 1", ["", ""])
    })?;
    let capture = scene.path("numbered.pcap");
    captures::numbered(SENT).write(&capture);
    let running = site.start()?;
    let overran = overrun(&site, running.pid(), &capture)?;
    let lost = "tidegate_capture_lost_packets_total cause=\"gate_ring\"";
    poll::until_true("the metric to say so", SOON, || metric(&site, lost).is_ok_and(|n| n > 0))?;
    let exported = metric(&site, lost)?;
    poll::until_true("a health record to say so", SOON, || {
        records(&scene.path("health.ndjson")).is_ok_and(|records| {
            records
                .iter()
                .any(|record| record["tidegate"]["health"]["lost"]["gate_ring"] == exported)
        })
    })?;
    // It goes on with what comes then.
    let sent = overran + site.wire.send(&capture, 1_000, 1)?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(3)?;
    let account = account(scene, &ended)?;
    assert_eq!(account.seen, sent);
    assert!(account.lost + 500 >= overran, "{account:?}");
    let summary = format!("lost {} (gate_ring)", account.lost);
    assert!(ended.stderr.contains(&summary), "{}", ended.stderr);
    let records = fs::read_to_string(scene.path("packets.ndjson"))?.lines().count() as u64;
    assert_eq!(records, account.received);
    Ok(())
}

fn a_sink_that_takes_nothing_holds_up_neither_contacts_nor_the_gate(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| {
        // Nobody listens there.
        let sinks = format!(
            "  away: {{ type: elasticsearch, inputs: [{id}], endpoints: [\"http://127.0.0.1:9\"], buffer: {{ \
             max_events: 1000 }}, batch: {{ max_events: 100 }} }}\n  alerts: {{ type: console, inputs: \
             [judged.alerts] }}\n"
        );
        let judge = format!("transforms:\n  judged: {{ type: score, inputs: [{id}.contacts] }}\n");
        let keys = "ring_bytes: 1, attach: native, egress: false";
        configuration(scene, id, keys, [&judge, &sinks])
    })?;
    let mut capture = Capture::micros();
    for number in 0..20_000 {
        let segment = Segment {
            ports: [40_000, 8_000],
            numbers: [number, 0],
            flags: flags::ACK,
            payload: b"",
        };
        capture.frame(EPOCH_SECONDS, number, &on_ethernet(&tcp(Way::There, segment)));
    }
    let path = scene.path("segments.pcap");
    capture.write(&path);
    let running = site.start()?;
    let lost = "tidegate_capture_lost_packets_total cause=\"gate_ring\"";
    poll::until_true("the ring to be full, as nobody takes what is in it", SOON, || {
        site.wire.send(&path, 20_000, 1).is_ok() && metric(&site, lost).is_ok_and(|n| n > 10_000)
    })?;
    let events = "tidegate_xdp_events_total result=\"received\"";
    let told = metric(&site, events)?;
    site.wire
        .far
        .run("hping3", &["--quiet", "--syn", "-p", "81", "-c", "3", "-i", "u1000", NEAR])
        .ok();
    poll::until_true("a contact", SOON, || metric(&site, events).is_ok_and(|now| now > told))?;
    // The gate beats, and counts what passes.
    let passed = "tidegate_xdp_packets_total outcome=\"pass\"";
    let before = metric(&site, passed)?;
    let sent = site.wire.send(&path, 10_000, 1)?;
    poll::until_true("what passes to be counted", SOON, || {
        metric(&site, passed).is_ok_and(|now| now >= before + sent)
    })?;
    let chosen = "tidegate_xdp_sampled_packets_total result=\"chosen\"";
    poll::until_true("what was reported to be counted", SOON, || {
        let (chosen, passed) = (metric(&site, chosen), metric(&site, passed));
        chosen.is_ok_and(|chosen| passed.is_ok_and(|passed| chosen >= passed))
    })?;
    let chosen = metric(&site, chosen)?;
    // The sink takes nothing to the end: the second signal cuts it off.
    running.signal(Signal::TERM);
    let waits = "packets wait in the gate's ring";
    poll::until_true("the gate to wait for room", SOON, || running.stderr().contains(waits))?;
    running.stop_again()?;
    let ended = running.wait(SOON)?.expect(3)?;
    let summary =
        ended.stderr.lines().find(|line| line.contains("lost") && line.contains("xdp: in"));
    let summary = summary.ok_or_else(|| format!("no summary:\n{}", ended.stderr))?;
    let number = |before: &str| -> Result<u64, Failed> {
        let rest = summary.split(before).nth(1).ok_or_else(|| format!("no {before}: {summary}"))?;
        let end = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
        Ok(rest.split_at(end).0.parse()?)
    };
    // What was in the ring is the source's, and was never handed on.
    let (taken, lost) = (number("in ")?, number("lost ")?);
    assert!(taken + lost >= chosen && taken > 400, "{chosen} chosen: {summary}");
    assert!(number("held ")? > 400, "{summary}");
    Ok(())
}
