//! Flows that the gate counts on a wire: of this host's traffic, as tcpdump sees it at the other end; of captures that
//! are replayed, as our own reading of packets and tshark have them; and of a flood.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::live::{BAD, GOOD, NEAR, PORT, Site, bpf_file_system, connect};
use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, EPOCH_SECONDS},
    config,
    frames::{Segment, Way, flags, on_ethernet, tcp, udp},
    live,
    netns::{INTERFACE, Wire},
    poll::{self, SOON},
    process::{self, output},
    tidegate::{Running, Tidegate},
};

/// Captures of the data folder whose packets go over a wire as they are, and which have no fragments.
pub(super) const REPLAYED: [&str; 7] = [
    "flows/zeek/traces/wikipedia.pcap",
    "flows/zeek/traces/smtp.pcap",
    "flows/zeek/traces/ftp/ipv6.pcap",
    "flows/zeek/traces/tls/imap-starttls.pcap",
    "flows/zeek/traces/communityid/sctp.pcap",
    "flows/zeek/traces/q-in-q.pcap",
    "community-id/pcaps/icmp6.pcap",
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(flows_of_this_host_are_what_tcpdump_saw_at_the_other_end, "native", "native")
            .needs_root(),
        Case::with(flows_of_this_host_are_what_tcpdump_saw_at_the_other_end, "skb", "skb")
            .needs_root(),
        Case::new(a_frame_that_the_card_cuts_up_counts_as_its_packets).needs_root(),
        Case::new(frames_that_were_joined_or_cut_on_the_way_in_are_counted_apart).needs_root(),
        Case::new(a_flood_leaves_every_packet_in_a_flow_or_unattributed).needs_root(),
        Case::new(flows_of_replayed_captures_are_those_of_headers_and_of_tshark)
            .live()
            .needs_data(),
        Case::new(packets_and_bytes_of_every_capture_that_fits_a_wire_agree)
            .live()
            .needs_data()
            .slow(),
    ]
}

/// A gate of this id that reports flows, to `flows.ndjson`.
fn configuration(scene: &Scene, id: &str, keys: &str, schema: &str) -> String {
    format!(
        "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}: {{ type: xdp, \
         interface: {INTERFACE}, persist: false, {keys} }}\nsinks:\n  out: {{ type: file, inputs: [{id}], \
         path: {out}, encoding: {{ schema: {schema} }} }}\n",
        data = scene.path("data").display(),
        api = config::API_PORT,
        out = scene.path("flows.ndjson").display(),
    )
}

/// A flow's ends, and its packets and bytes.
pub(super) fn counted(line: &str) -> Result<String, Failed> {
    let flow: Value = serde_json::from_str(line)?;
    let names = ["source_ip", "destination_ip", "protocol", "port", "packets", "packet_size"];
    let values = names.map(|name| flow.get(name).map(ToString::to_string).unwrap_or_default());
    Ok(values.join(" "))
}

fn sorted(path: &Path) -> Result<Vec<String>, Failed> {
    let text = fs::read_to_string(path)?;
    let mut flows = text.lines().map(counted).collect::<Result<Vec<_>, Failed>>()?;
    flows.sort_unstable();
    Ok(flows)
}

/// tcpdump on the far side, on all IP.
pub(super) fn watch(site: &Site<'_>, scene: &Scene, file: &Path) -> Result<Child, Failed> {
    let log = fs::File::create(scene.path("tcpdump.stderr"))?;
    let mut command = site.wire.far.entered("tcpdump");
    command.args(["-i", INTERFACE, "-U", "--immediate-mode", "-n", "-Z", "root", "-w"]);
    let child = command.arg(file).args(["ip", "or", "ip6"]).stderr(Stdio::from(log)).spawn()?;
    poll::until_true("tcpdump to listen", SOON, || {
        let said = fs::read_to_string(scene.path("tcpdump.stderr"));
        said.is_ok_and(|said| said.contains("listening on"))
    })?;
    Ok(child)
}

pub(super) fn interrupt(child: &mut Child) -> Outcome {
    let pid = Pid::from_raw(i32::try_from(child.id())?).ok_or("it has a number")?;
    kill_process(pid, Signal::INT)?;
    child.wait()?;
    Ok(())
}

/// A metric of the gate.
pub(super) fn metric(site: &Site<'_>, name: &str) -> Result<u64, Failed> {
    let (_, text) = site.wire.near.get(config::API_PORT, "/metrics")?;
    let line = text.lines().find(|line| {
        let (metric, label) = name.split_once(' ').unwrap_or((name, ""));
        line.starts_with(metric) && line.contains(label)
    });
    let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
    Ok(value.parse()?)
}

fn flows_of_this_host_are_what_tcpdump_saw_at_the_other_end(
    scene: &Scene,
    attach: &str,
) -> Outcome {
    let site = Site::configured(scene, |id| {
        configuration(scene, id, &format!("attach: {attach}"), "simple")
    })?;
    // Neither end asks for routers and groups of its own accord, before one of them listens.
    for side in [&site.wire.near, &site.wire.far] {
        let off = format!("echo 1 > /proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6");
        side.run("sh", &["-c", &off])?;
    }
    // tcpdump is to see what came over the wire, not what was joined of it.
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
    assert!(ended.stderr.contains("missing=0"), "{}", ended.stderr);

    let ours = sorted(&scene.path("flows.ndjson"))?;
    let replay = config::replay(scene, "dissect: headers", "");
    let text = fs::read_to_string(&replay)?
        .replace("transforms:", "transforms:\n  flows: { type: flow, inputs: [packets] }")
        .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
    fs::write(&replay, text)?;
    Tidegate::new(scene, ["replay", "-c"]).arg(&replay).arg(&capture).run()?.expect(0)?;
    let theirs = sorted(&scene.path("records.out"))?;
    assert!(ours.iter().any(|flow| flow.contains("TCP")) && ours.len() >= 5, "{ours:#?}");
    assert_eq!(ours, theirs);
    Ok(())
}

/// Pages, pings, datagrams both ways, and a port that is closed.
pub(super) fn talk(site: &Site<'_>) -> Outcome {
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, 8080)))??;
    let page = format!("http://{NEAR}:8080/");
    for address in [BAD, GOOD] {
        let said = thread::scope(|scope| {
            scope.spawn(|| serve(&listener));
            let mut command = site.wire.far.command("curl");
            output(command.args(["--silent", "--max-time", "20", "--interface", address, &page]))
        })?;
        assert_eq!(said.len(), 100_000);
    }
    site.wire.far.run("hping3", &["--quiet", "--icmp", "-c", "3", "-i", "u200000", NEAR])?;
    let closed =
        site.wire.far.entered("curl").args(["--silent", &format!("http://{NEAR}:81/")]).status()?;
    assert!(!closed.success());
    let (server, client) = (site.server()?, site.client(GOOD)?);
    server.set_nonblocking(false)?;
    let mut buffer = [0; 64];
    for word in [&b"the first"[..], b"the last"] {
        client.send(word)?;
        let (read, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..read], from)?;
        client.recv(&mut buffer)?;
    }
    Ok(())
}

/// Answers one connection with a page of 100,000 bytes.
pub(super) fn serve(listener: &TcpListener) {
    let Ok((mut stream, _)) = listener.accept() else { return };
    let mut request = [0; 1024];
    if stream.read(&mut request).is_ok_and(|read| read > 0) {
        let head = "HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let page = [head.as_bytes(), &vec![b'x'; 100_000]].concat();
        stream.write_all(&page).unwrap_or_default();
    }
}

fn a_frame_that_the_card_cuts_up_counts_as_its_packets(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| configuration(scene, id, "", "ecs"))?;
    site.wire.near.run("ethtool", &["-K", INTERFACE, "gso", "on", "tso", "on"])?;
    let running = site.start()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, 8080)))??;
    let page = format!("http://{NEAR}:8080/");
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener));
        let mut command = site.wire.far.command("curl");
        output(command.args(["--silent", "--max-time", "20", "--interface", GOOD, &page]))
    })?;
    poll::until_true("frames that are cut up", SOON, || {
        metric(&site, "tidegate_xdp_flow_packets_total result=\"segmented\"").is_ok_and(|n| n > 0)
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    let text = fs::read_to_string(scene.path("flows.ndjson"))?;
    let flows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let flow = flows.iter().find(|flow| flow["destination"]["port"] == 8080).ok_or("no flow")?;
    let number = |key: &str| flow["destination"][key].as_u64().unwrap_or(0);
    let (packets, bytes) = (number("packets"), number("bytes"));
    // A page and its head, in segments of 1448 bytes at most; each with 52 bytes of headers, the SYN-ACK with 60.
    let payload = 100_000 + 43;
    assert!(packets >= payload / 1448 + 3, "{packets} packets: {flow}");
    assert_eq!(bytes, payload + 52 * packets + 8, "{flow}");
    assert_eq!(flow["tidegate"]["flow"]["conn_state"], "SF", "{flow}");
    Ok(())
}

/// The other end sends frames for its card to cut up, and there is no card: an skb gate gets them whole.
fn frames_that_were_joined_or_cut_on_the_way_in_are_counted_apart(scene: &Scene) -> Outcome {
    const UPLOAD: usize = 200_000;
    let site = Site::configured(scene, |id| configuration(scene, id, "attach: skb", "ecs"))?;
    site.wire.far.run("ethtool", &["-K", INTERFACE, "gso", "on", "tso", "on"])?;
    let running = site.start()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let local = format!("{GOOD}:0").parse()?;
    let mut client = site.wire.far.inside(|| connect(local))??;
    let (mut server, _) = listener.accept()?;
    thread::scope(|scope| -> Outcome {
        let heard = scope.spawn(move || server.read_to_end(&mut Vec::new()));
        client.write_all(&vec![7; UPLOAD])?;
        drop(client);
        assert_eq!(heard.join().expect("it does not panic")?, UPLOAD);
        Ok(())
    })?;
    poll::until_true("frames that were joined", SOON, || {
        metric(&site, "tidegate_xdp_flow_packets_total result=\"oversized\"").is_ok_and(|n| n > 0)
    })?;
    let mut cut = Capture::micros();
    let frame = on_ethernet(&udp(Way::There, [4000, 53], &[7; 60]));
    cut.frame(EPOCH_SECONDS, 0, &frame[..frame.len() - 10]);
    let path = scene.path("cut.pcap");
    cut.write(&path);
    site.wire.send(&path, 1_000, 1)?;
    poll::until_true("the frame that was cut", SOON, || {
        metric(&site, "tidegate_xdp_flow_packets_total result=\"cut\"").is_ok_and(|n| n == 1)
    })?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    assert!(ended.stderr.contains("missing=0"), "{}", ended.stderr);
    let text = fs::read_to_string(scene.path("flows.ndjson"))?;
    let flows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let flow = flows.iter().find(|flow| flow["destination"]["port"] == PORT).ok_or("no flow")?;
    let number = |key: &str| flow["source"][key].as_u64().unwrap_or(0);
    let (packets, bytes) = (number("packets"), number("bytes"));
    // Each counts as one packet: fewer than segments of 1448 bytes would be; their bytes are all there.
    assert!(packets < UPLOAD as u64 / 1448, "{packets} packets: {flow}");
    assert_eq!(bytes, UPLOAD as u64 + 52 * packets + 8, "{flow}");
    Ok(())
}

fn a_flood_leaves_every_packet_in_a_flow_or_unattributed(scene: &Scene) -> Outcome {
    const SYNS: u64 = 20_000;
    let site = Site::configured(scene, |id| {
        configuration(scene, id, "max_flows: 1000, timeouts: { tcp_attempt_secs: 1 }", "simple")
    })?;
    let running = site.start()?;
    let count = SYNS.to_string();
    let mut command = site.wire.far.command("hping3");
    command.args([
        "--quiet",
        "--syn",
        "-p",
        "81",
        "--rand-source",
        "-i",
        "u50",
        "-c",
        &count,
        NEAR,
    ]);
    let ran = command.output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains(&format!("{SYNS} packets transmitted")), "{said}");
    let seen = "tidegate_xdp_flow_packets_total result=\"seen\"";
    // A busy machine's wire loses some of it.
    poll::until_true("most of it to be counted", SOON, || {
        metric(&site, seen).is_ok_and(|seen| seen > SYNS / 2)
    })?;
    let unattributed = metric(&site, "tidegate_xdp_flow_packets_total result=\"unattributed\"")?;
    let full = metric(&site, "tidegate_xdp_flow_refusals_total reason=\"full\"")?;
    assert!(unattributed > 0 && full > 0, "{unattributed} {full}");
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    let line = ended.stderr.lines().find(|line| line.contains("flows were counted"));
    let line = line.ok_or("it says what it counted")?;
    let number = |key: &str| -> Result<u64, Failed> {
        let rest = line.split(&format!("{key}=")).nth(1).ok_or(format!("no {key}: {line}"))?;
        Ok(rest.split(' ').next().unwrap_or(rest).parse()?)
    };
    assert_eq!(number("missing")?, 0, "{line}");
    assert_eq!(number("reported")? + number("unattributed")?, number("packets")?, "{line}");
    let text = fs::read_to_string(scene.path("flows.ndjson"))?;
    let packets = text.lines().map(|line| {
        let flow: Value = serde_json::from_str(line)?;
        Ok(flow["packets"].as_u64().unwrap_or(0))
    });
    let packets: Vec<u64> = packets.collect::<Result<_, Failed>>()?;
    assert_eq!(packets.iter().sum::<u64>(), number("reported")?);
    Ok(())
}

/// Flows on one wire, as three see them.
struct Compared {
    gate: Vec<String>,
    headers: Vec<String>,
    tshark: Vec<String>,
    /// What the gate said at its end.
    said: String,
}

/// Sends captures over a wire to a mirror, beside two that capture there.
fn compare(scene: &Scene, captures: &[PathBuf]) -> Result<Compared, Failed> {
    // Two cases may be at it at once.
    static MIRRORS: AtomicU32 = AtomicU32::new(0);
    bpf_file_system()?;
    let wire = Wire::lay()?;
    let number = MIRRORS.fetch_add(1, Ordering::Relaxed);
    let id = format!("mirror-{}-{number}", std::process::id());
    let keys = format!("role: mirror, attach: native, {PATIENT}");
    let text = configuration(scene, &id, &keys, "simple");
    let gate = scene.write("gate.yaml", text);
    let mut programs: Vec<(&str, Running)> = Vec::new();
    for (at, depth) in ["headers", "application"].iter().enumerate() {
        let config = config::live_flows(scene, &format!("dissect: {depth}, mode: pipe"), PATIENT);
        let api = format!("/state{at}\napi: {{ address: \"127.0.0.1:{}\" }}\n", 9_600 + at);
        let text = fs::read_to_string(&config)?
            .replace("records.out", &format!("{depth}.out"))
            .replace("/state\n", &api);
        let config = scene.write(&format!("{depth}.yaml"), text);
        let running = Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config).start()?;
        poll::until_true("a dumpcap that captures", SOON, || {
            let children = process::descendants_named(running.pid(), "dumpcap");
            children.iter().any(|child| child.pid != running.pid() && live::has_begun(child.pid))
        })?;
        programs.push((depth, running));
    }
    let path = gate.display().to_string();
    let running = Tidegate::entered(scene, &wire.near, ["run", "-c", &path]).start()?;
    poll::until_true("the gate to be attached", SOON, || {
        running.stderr().contains("the gate never blocks")
    })?;
    for capture in captures {
        wire.send(capture, 1_000, 1)?;
    }
    running.signal(Signal::TERM);
    let said = running.wait(SOON)?.expect(0)?.stderr;
    for (_, running) in programs {
        running.signal(Signal::TERM);
        running.wait(SOON)?.expect(0)?;
    }
    Ok(Compared {
        gate: sorted(&scene.path("flows.ndjson"))?,
        headers: sorted(&scene.path("headers.out"))?,
        tshark: sorted(&scene.path("application.out"))?,
        said,
    })
}

fn flows_of_replayed_captures_are_those_of_headers_and_of_tshark(scene: &Scene) -> Outcome {
    let made = [captures::connection(), captures::numbered(500), reused(), challenged()];
    let mut list = Vec::new();
    for (at, capture) in made.iter().enumerate() {
        let path = scene.path(&format!("{at}.pcap"));
        capture.write(&path);
        list.push(path);
    }
    list.extend(REPLAYED.map(|capture| scene.data.join(capture)));
    let compared = compare(scene, &list)?;
    assert!(compared.said.contains("missing=0"), "{}", compared.said);
    let of_port = |port: u16| {
        compared.gate.iter().filter(|flow| flow.contains(&format!(" \"TCP\" {port} "))).count()
    };
    assert_eq!((of_port(REUSED), of_port(CHALLENGED)), (6, 3), "{:#?}", compared.gate);
    assert!(compared.gate.len() >= 50, "{} flows", compared.gate.len());
    for (who, theirs) in [("headers", &compared.headers), ("tshark", &compared.tshark)] {
        let differences = differences(&compared.gate, theirs);
        assert!(differences.is_empty(), "{who}:\n{}", differences.join("\n"));
    }
    Ok(())
}

/// Ports of connections that use the ends of others.
const REUSED: u16 = 8081;
const CHALLENGED: u16 = 8082;

/// Segments between a client and this port, in turn.
fn segments(port: u16, steps: &[(Way, [u32; 2], u8)]) -> Capture {
    let mut capture = Capture::micros();
    for (at, (way, numbers, flags)) in (0..).zip(steps) {
        let ports = [40_000, port];
        let segment = Segment { ports, numbers: *numbers, flags: *flags, payload: b"" };
        capture.frame(EPOCH_SECONDS, at, &on_ethernet(&tcp(*way, segment)));
    }
    capture
}

/// Four connections that close, and two that are refused, all of the same ends and one right after the other.
pub(super) fn reused() -> Capture {
    use Way::{Back, There};
    const FIN: u8 = flags::FIN | flags::ACK;
    let whole = |start: u32| {
        [
            (There, [start, 0], flags::SYN),
            (Back, [500, start + 1], flags::SYN | flags::ACK),
            (There, [start + 1, 501], flags::ACK),
            (There, [start + 1, 501], FIN),
            (Back, [501, start + 2], FIN),
            (There, [start + 2, 502], flags::ACK),
        ]
    };
    let refused = [(There, [7_000, 0], flags::SYN), (Back, [0, 7_001], 0x14)];
    let closed: Vec<_> = (1..=4).flat_map(|number| whole(number * 100_000)).collect();
    segments(REUSED, &[&closed[..], &refused, &refused].concat())
}

/// One that is open, another in its place that is answered, a SYN that is not, and one that is.
pub(super) fn challenged() -> Capture {
    use Way::{Back, There};
    let open = |start: u32| {
        [
            (There, [start, 0], flags::SYN),
            (Back, [500, start + 1], flags::SYN | flags::ACK),
            (There, [start + 1, 501], flags::ACK),
        ]
    };
    let alone = [(There, [900_000, 0], flags::SYN)];
    segments(CHALLENGED, &[&open(100_000)[..], &open(200_000), &alone, &open(300_000)].concat())
}

/// Lines that one side has more often.
pub(super) fn differences(ours: &[String], theirs: &[String]) -> Vec<String> {
    let mut counts = BTreeMap::<&str, i32>::new();
    for (flows, one) in [(ours, 1), (theirs, -1)] {
        for flow in flows {
            *counts.entry(flow).or_default() += one;
        }
    }
    let said = |(flow, count): (&str, i32)| match count {
        0 => None,
        1.. => Some(format!("ours: {flow}")),
        _ => Some(format!("theirs: {flow}")),
    };
    counts.into_iter().filter_map(said).collect()
}

/// Bytes of a capture file without packets.
const HEADER: usize = 24;
/// Time-outs that no flow lives to see: whatever the machine's speed, the three end the same flows.
pub(super) const PATIENT: &str = "timeouts: { tcp_established_secs: 9000, tcp_attempt_secs: 9000, tcp_closed_secs: 9000, \
     udp_secs: 9000, icmp_secs: 9000, other_secs: 9000 }";
/// Captures of what the gate does not read behind: it has no flows of them.
const UNREAD: [&str; 2] = ["pppoe", "mpls"];

fn packets_and_bytes_of_every_capture_that_fits_a_wire_agree(scene: &Scene) -> Outcome {
    let (mut list, mut others, mut oversized) = (Vec::new(), 0, 0);
    for (at, capture) in captures::below(&scene.data)?.iter().enumerate() {
        let name = capture.display().to_string();
        // What is longer than a wire's frames was joined by the card that captured it.
        let fits = scene.path(&format!("fits-{at}.pcap"));
        let filter = |size: &str, to: &Path| {
            let mut command = std::process::Command::new("tcpdump");
            command.args(["-Z", "root", "-r"]).arg(capture).arg("-w").arg(to).arg(size);
            output(&mut command).and_then(|_| Ok(fs::read(to)?))
        };
        let is_ethernet = |file: &[u8]| file.get(20..24) == Some(&[1, 0, 0, 0]);
        let read = filter("len <= 1514", &fits).ok().filter(|file| is_ethernet(file));
        let Some(file) = read.filter(|_| !UNREAD.iter().any(|unread| name.contains(unread))) else {
            others += 1;
            continue;
        };
        oversized += usize::from(filter("len > 1514", &scene.path("rest.pcap"))?.len() > HEADER);
        if file.len() > HEADER {
            list.push(fits);
        }
    }
    let compared = compare(scene, &list)?;
    assert!(compared.said.contains("missing=0"), "{}", compared.said);
    let (ours, theirs) = (by_pair(&compared.gate)?, by_pair(&compared.headers)?);
    // Later fragments have a flow of their own at the gate, without ports.
    let is_portless =
        |flow: &&String| ["\"UDP\"  ", "\"TCP\"  "].iter().any(|gap| flow.contains(gap));
    let in_parts: BTreeSet<_> =
        compared.gate.iter().filter(is_portless).map(|flow| pair(flow)).collect();
    let differences = differences(&compared.gate, &compared.headers);
    eprintln!(
        "{} captures, {oversized} without their longest frames, {others} of other links; {} flows of the gate, \
         {} of headers, {} lines differ, {} pairs of ends have fragments",
        list.len(),
        compared.gate.len(),
        compared.headers.len(),
        differences.len(),
        in_parts.len(),
    );
    let is_of_parts = |line: &&String| {
        line.split_once(": ").is_some_and(|(_, flow)| in_parts.contains(&pair(flow)))
    };
    let unexplained: Vec<_> = differences.iter().filter(|line| !is_of_parts(line)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let differ: Vec<_> = ours
        .keys()
        .chain(theirs.keys())
        .filter(|pair| ours.get(*pair) != theirs.get(*pair))
        .map(|pair| format!("{pair}: {:?} {:?}", ours.get(pair), theirs.get(pair)))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(list.len() > 50 && ours.len() > 100, "{} captures, {} pairs", list.len(), ours.len());
    Ok(())
}

/// The addresses, in either order, and the protocol.
fn pair(flow: &str) -> String {
    let mut words = flow.split(' ');
    let mut ends = [words.next().unwrap_or(""), words.next().unwrap_or("")];
    ends.sort_unstable();
    format!("{} {}", ends.join(" "), words.next().unwrap_or(""))
}

/// Packets and bytes of each pair of addresses and each protocol.
fn by_pair(flows: &[String]) -> Result<BTreeMap<String, [u64; 2]>, Failed> {
    let mut sums = BTreeMap::<String, [u64; 2]>::new();
    for flow in flows {
        let mut words = flow.rsplit(' ');
        let [bytes, packets] = [(); 2].map(|()| words.next().unwrap_or(""));
        let sum = sums.entry(pair(flow)).or_default();
        sum[0] += packets.parse::<u64>()?;
        sum[1] += bytes.parse::<u64>()?;
    }
    Ok(sums)
}
