//! Live captures on a veth pair: nothing lost, nothing left, nothing privileged.

use std::{
    fs,
    process::{Command, Stdio},
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::harness::{
    Case, Outcome, Scene, captures, config,
    live::Live,
    netns::{INTERFACE, Wire},
    poll::{self, SOON},
    process,
    tidegate::{self, Ended, Tidegate},
};

/// What issue and test call fast: packets a second.
const RATE: u32 = 25_000;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_hundred_thousand_packets_are_captured_or_counted_as_lost).needs_root().alone(),
        Case::new(a_stop_beside_a_full_queue_of_dumpcap_counts_each_packet).live(),
        Case::new(sigterm_drains_what_was_captured_and_ends_with_0).live(),
        Case::new(a_pipe_shows_a_packet_within_seconds).live(),
        Case::new(a_capture_filter_keeps_the_rest_out).live(),
        Case::new(children_have_no_privileges_and_no_environment).live(),
        Case::new(a_child_cannot_read_what_we_were_given),
        Case::new(the_api_tells_metrics_health_and_readiness_on_loopback).live(),
        Case::new(an_interface_that_comes_later_or_is_down_is_waited_for).live(),
        Case::new(a_run_says_what_it_does_and_what_is_wrong).live(),
    ]
}

fn a_hundred_thousand_packets_are_captured_or_counted_as_lost(scene: &Scene) -> Outcome {
    let capture = scene.path("ten-thousand.pcap");
    captures::numbered(10_000).write(&capture);
    let usual = ["workers: 2", "dissect: headers", "mode: pipe, dissect: headers"];
    let rounds = if scene.full { 3 } else { 1 };
    for (round, source) in (0..rounds).flat_map(|round| usual.map(|source| (round, source))) {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let live = Live::start(scene, source)?;
        let began = poll::now();
        let sent = live.wire.send(&capture, RATE, 10)?;
        let seconds = began.elapsed().as_secs_f64();
        // A slow machine sends more slowly, and its wire may lose some.
        eprintln!("{source}: {sent} packets of 100000 arrived, in {seconds:.1} s");
        assert!(sent > 0);
        assert_eq!(live.wire.arrived()?, sent);
        let (ended, records) = live.stop()?;
        let lost = lost(&ended)?;
        assert_eq!(
            records + lost,
            sent,
            "{source}, round {round}: {records} captured\n{}",
            ended.stderr
        );
        ended.expect(if lost == 0 { 0 } else { 3 })?;
    }
    Ok(())
}

/// dumpcap drops what is in its queue when it is stopped, and may then lose the packet it has in hand, which its own
/// count of losses does not have.
fn a_stop_beside_a_full_queue_of_dumpcap_counts_each_packet(scene: &Scene) -> Outcome {
    let capture = scene.path("ten-thousand.pcap");
    captures::numbered(10_000).write(&capture);
    let mut flushed = 0;
    for round in 0..2 {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let live = Live::start(scene, "mode: pipe, dissect: headers")?;
        live.running.signal(Signal::STOP);
        let sent = live.wire.send(&capture, 6 * RATE, 60)?;
        live.running.signal(Signal::CONT);
        let (ended, records) = live.stop()?;
        let lost = lost(&ended)?;
        assert_eq!(records + lost, sent, "round {round}: {records} captured\n{}", ended.stderr);
        ended.expect(if lost == 0 { 0 } else { 3 })?;
        flushed += lost;
    }
    assert!(flushed > 0, "nothing was in the queue");
    Ok(())
}

fn sigterm_drains_what_was_captured_and_ends_with_0(scene: &Scene) -> Outcome {
    let capture = scene.path("thousand.pcap");
    captures::numbered(1_000).write(&capture);
    for mode in ["segments", "pipe", "segments, dissect: headers", "pipe, dissect: headers"] {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let live = Live::start(scene, &format!("mode: {mode}"))?;
        let sent = live.wire.send(&capture, RATE, 1)?;
        let (ended, records) = live.stop()?;
        assert_eq!(records, sent, "{mode}\n{}", ended.stderr);
        ended.expect(0)?;
    }
    Ok(())
}

fn a_pipe_shows_a_packet_within_seconds(scene: &Scene) -> Outcome {
    let capture = scene.path("one.pcap");
    captures::numbered(1).write(&capture);
    let live = Live::start(scene, "mode: pipe")?;
    let sent = poll::now();
    live.wire.send(&capture, RATE, 1)?;
    eprintln!("it took {:?}", live.wait_for_records(1)? - sent);
    live.stop()?.0.expect(0)?;
    Ok(())
}

fn a_capture_filter_keeps_the_rest_out(scene: &Scene) -> Outcome {
    let (udp, tcp) = (scene.path("udp.pcap"), scene.path("tcp.pcap"));
    captures::numbered(10).write(&udp);
    captures::one_to_443().write(&tcp);
    let live = Live::start(scene, "capture_filter: \"tcp port 443\"")?;
    live.wire.send(&udp, RATE, 1)?;
    live.wire.send(&tcp, RATE, 1)?;
    let (ended, records) = live.stop()?;
    assert_eq!(records, 1, "{}", ended.stderr);
    ended.expect(0)?;
    Ok(())
}

fn children_have_no_privileges_and_no_environment(scene: &Scene) -> Outcome {
    let secret = "hunter2-in-the-environment";
    let config = config::live(scene, "mode: pipe", "");
    let live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"])
            .arg(config)
            .env("TIDEGATE_SECRET", secret)
    })?;
    let tshark = poll::until("a tshark child", SOON, || live.children("tshark").pop())?;
    let dumpcap = poll::until("a dumpcap child", SOON, || live.children("dumpcap").pop())?;
    let net_raw = 1_u64 << 13;
    for (child, allowed) in [(&tshark, 0), (&dumpcap, net_raw)] {
        let name = &child.name;
        assert_eq!(process::status(child.pid, "NoNewPrivs").as_deref(), Some("1"), "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let mask = process::status(child.pid, set).ok_or("no status")?;
            let mask = u64::from_str_radix(&mask, 16)?;
            assert_eq!(mask & !allowed, 0, "{name} has {set} {mask:#x}");
        }
        let environment = process::environment(child.pid).ok_or("no environment")?;
        for entry in &environment {
            let variable = entry.split('=').next().unwrap_or_default();
            assert!(
                ["PATH", "LANG", "LC_ALL", "HOME", "TMPDIR"].contains(&variable),
                "{name}: {entry}"
            );
        }
        assert_ne!(
            child.group,
            process::get(live.running.pid()).ok_or("it ended")?.group,
            "{name}"
        );
    }
    assert!(!live.running.stderr().contains(secret));
    live.stop()?.0.expect(0)?;
    Ok(())
}

fn a_child_cannot_read_what_we_were_given(scene: &Scene) -> Outcome {
    let (read, refused) = (scene.path("read"), scene.path("refused"));
    let capture = scene.path("ten.pcap");
    captures::numbered(10).write(&capture);
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exit
        cat /proc/$PPID/environ /proc/$PPID/mem > {} 2> {}\nexit 0\n",
        read.display(),
        refused.display()
    );
    fs::create_dir(scene.path("bin"))?;
    scene.write_program("bin/tshark", &script)?;
    // Without capabilities we are to our children what any user's process is to another of his.
    let status = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", tidegate::program(), "replay", "-c"])
        .arg(config::replay(scene, "", ""))
        .arg(&capture)
        .env("PATH", format!("{}:{}", scene.path("bin").display(), std::env::var("PATH")?))
        .env("TMPDIR", &scene.folder)
        .stdin(Stdio::null())
        .stderr(fs::File::create(scene.path("stderr"))?)
        .status()?;
    let said = fs::read_to_string(scene.path("stderr"))?;
    assert_eq!(status.code(), Some(0), "{said}");
    let refused = fs::read_to_string(refused)?;
    assert_eq!(refused.matches("Permission denied").count(), 2, "{refused}\n{said}");
    assert!(fs::read(read)?.is_empty());
    Ok(())
}

fn the_api_tells_metrics_health_and_readiness_on_loopback(scene: &Scene) -> Outcome {
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    let live = Live::start(scene, "mode: pipe")?;
    let get = |path: &str| live.wire.near.get(config::API_PORT, path);
    poll::until_true("/ready to answer 200", SOON, || matches!(get("/ready"), Ok((200, _))))?;
    assert_eq!(get("/health")?.0, 200);
    assert_eq!(get("/nonsense")?.0, 404);
    live.wire.send(&capture, RATE, 1)?;
    live.wait_for_records(100)?;
    let acknowledged = "tidegate_sink_acknowledged_events_total";
    let sample = poll::until("100 acknowledged records", SOON, || {
        let (_, metrics) = get("/metrics").ok()?;
        let sample = metrics.lines().find(|sample| sample.starts_with(acknowledged))?;
        sample.ends_with(" 100").then(|| sample.to_owned())
    })?;
    assert!(sample.contains("component_id=\"records\""), "{sample}");
    assert!(sample.contains("component_type=\"file\""), "{sample}");
    let (status, metrics) = get("/metrics")?;
    assert_eq!(status, 200);
    for name in ["tidegate_component_received_events_total", "tidegate_build_info"] {
        assert!(metrics.contains(name), "no {name} in:\n{metrics}");
    }
    let listening = live.wire.near.run("cat", &["/proc/net/tcp"])?;
    let loopback = format!("0100007F:{:04X}", config::API_PORT);
    assert!(listening.contains(&loopback), "{listening}");
    live.stop()?.0.expect(0)?;
    Ok(())
}

fn an_interface_that_comes_later_or_is_down_is_waited_for(scene: &Scene) -> Outcome {
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    for how in ["mode: segments, dissect: headers", "mode: pipe", "mode: pipe, dissect: headers"] {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let wire = Wire::lay()?;
        wire.cut()?;
        let config = config::live(scene, &format!("{how}, segment: {{ max_secs: 1 }}"), "");
        let command = Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config);
        let mut running = command.start()?;
        poll::until_true("the missing interface to be named", SOON, || {
            let said = running.stderr();
            said.contains("until the interface is there and up") && said.contains("lo")
        })?;
        let health = poll::until("/health to tell what is wrong", SOON, || {
            wire.near
                .get(config::API_PORT, "/health")
                .ok()
                .filter(|(_, page)| page.contains("last_error"))
        })?;
        assert_eq!(health.0, 503, "{how}: {}", health.1);
        assert!(health.1.contains(INTERFACE), "{how}: {}", health.1);
        running.still_runs()?;
        // It comes, down at first.
        wire.join_down()?;
        wire.near.run("ip", &["link", "set", INTERFACE, "up"])?;
        wire.far.run("ip", &["link", "set", INTERFACE, "up"])?;
        let mut live = Live::of(scene, running, wire);
        live.capturer_other_than(0)?;
        live.wire.send(&capture, 1_000, 1)?;
        live.wait_for_records(100)?;
        let (ended, records) = live.stop()?;
        assert_eq!(records, 100, "{how}: {}", ended.stderr);
        ended.expect(3)?;
    }
    Ok(())
}

fn a_run_says_what_it_does_and_what_is_wrong(scene: &Scene) -> Outcome {
    let live = Live::start(scene, "mode: pipe, dissect: headers, capture_filter: udp")?;
    let (ended, _) = live.stop()?;
    let ended = ended.expect(0)?;
    ended.says(&[
        concat!("tidegate ", env!("CARGO_PKG_VERSION")),
        "live.yaml",
        "wire (tshark): captures on wire as they come, up to the ports, without tshark, \"udp\"",
        "records (file): to ",
        "60 s at most",
    ])?;
    // A file is no terminal: no line that changes.
    assert!(!ended.stderr.contains('\r'), "{}", ended.stderr);
    Ok(())
}

/// Packets that the account on stderr names as lost by the source; none may be lost uncounted.
fn lost(ended: &Ended) -> Result<u64, Failed> {
    let account = ended.stderr.lines().find(|line| line.contains("tshark: in "));
    let account = account.ok_or_else(|| format!("no account of `wire`:\n{}", ended.stderr))?;
    if account.contains("unknown loss") {
        return Err(format!("losses went uncounted: {account}").into());
    }
    let parts = account.split(';').filter_map(|part| part.trim().strip_prefix("lost "));
    parts
        .map(|part| {
            let number = part.split(' ').next().unwrap_or_default();
            number.parse::<u64>().map_err(|error| format!("{part}: {error}").into())
        })
        .sum()
}
