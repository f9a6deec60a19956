//! The guard on a wire: who scans faster than any verdict comes, and whom that leaves alone.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::live::{BAD, GOOD, NEAR, PORT, Site, connect, exchange, watch};
use crate::harness::{
    Case, Outcome, Scene, captures, config,
    netns::INTERFACE,
    poll::{self, SOON},
};

/// What may come in of a scan at full speed.
const MOST_PACKETS: usize = 100;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(nmap_at_full_speed_is_held_off_and_who_works_loses_nothing).needs_root(),
        Case::new(a_client_in_whose_name_somebody_scans_is_not_held_off).needs_root(),
        Case::new(a_guard_that_can_t_see_replies_is_refused).needs_root(),
    ]
}

/// A gate whose guard is on, and nobody judges.
fn site<'a>(scene: &'a Scene, firewall: &str) -> Result<Site<'a>, Failed> {
    Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}: {{ type: xdp, \
             interface: {INTERFACE}, report: none, firewall: {{ {firewall}, guard: {{ enabled: true }} }} }}\n\
             sinks:\n  out: {{ type: file, inputs: [{id}.alerts], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("alerts.ndjson").display(),
        )
    })
}

const ENFORCE: &str = "mode: enforce, allow_empty_allowlist: true";

/// Connections of the good client, one after the other, until it is over; how many.
fn work(site: &Site<'_>, listener: &TcpListener, over: &AtomicBool) -> Result<u32, Failed> {
    let local: SocketAddr = format!("{GOOD}:0").parse()?;
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        let mut client = site.wire.far.inside(|| connect(local))??;
        let mut server = listener.accept()?.0;
        exchange(&mut client, &mut server)?;
        done += 1;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(done)
}

/// How many SYNs the far side sent again.
fn sent_again(site: &Site<'_>) -> Result<u64, Failed> {
    let text = site.wire.far.run("cat", &["/proc/self/net/netstat"])?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().ok_or("no names")?, lines.next().ok_or("no values")?);
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    let found = both.find(|(name, _)| *name == "TCPSynRetrans").ok_or("no such counter")?;
    Ok(found.1.parse()?)
}

fn nmap_at_full_speed_is_held_off_and_who_works_loses_nothing(scene: &Scene) -> Outcome {
    let site = site(scene, ENFORCE)?;
    let running = site.start()?;
    super::live::running_says(&running, &["the gate's guard is on"]);
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let seen = scene.path("seen.pcap");
    let mut tcpdump = watch(&site, &seen)?;
    let over = AtomicBool::new(false);
    let worked = thread::scope(|scope| -> Result<u32, Failed> {
        let worker =
            scope.spawn(|| work(&site, &listener, &over).map_err(|failed| format!("{failed:?}")));
        let scan = ["-n", "-Pn", "-sS", "--min-rate", "2000", "--max-retries", "1", "-p", "1-1000"];
        let mut nmap = site.wire.far.command("nmap");
        nmap.args(scan).args(["-e", INTERFACE, "-S", BAD, "--host-timeout", "5m", NEAR]);
        let scanned = nmap.stdout(Stdio::null()).status();
        over.store(true, Ordering::Relaxed);
        assert!(scanned?.success());
        Ok(worker.join().expect("it does not panic")?)
    })?;
    tcpdump.kill()?;
    tcpdump.wait()?;
    let came_in = captures::count(&fs::read(&seen)?);
    assert!((31..=MOST_PACKETS).contains(&came_in), "{came_in} packets of the scanner came in");
    assert!(worked > 0);
    // But on the wire, where nobody had time to take them off it.
    let (again, dropped) = (sent_again(&site)?, site.wire.dropped()?);
    assert!(
        again <= dropped,
        "{again} SYNs were sent again, of {worked} connections; {dropped} dropped"
    );
    is_told(scene, &site)?;
    // It ends by itself.
    let local: SocketAddr = format!("{BAD}:0").parse()?;
    let (_client, _server): (TcpStream, TcpStream) = poll::until("the hold to end", SOON, || {
        let client = site.wire.far.inside(|| connect(local)).ok()?.ok()?;
        Some((client, listener.accept().ok()?.0))
    })?;
    poll::until_true("the record of its end", SOON, || {
        let records = fs::read_to_string(scene.path("alerts.ndjson")).unwrap_or_default();
        records.lines().any(|line| line.contains("\"expire\"") && line.contains("it dropped"))
    })?;
    assert!(site.list()?.is_empty());
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

/// The hold is a verdict as any other: listed, explained, logged, a record, and counted.
fn is_told(scene: &Scene, site: &Site<'_>) -> Outcome {
    let log = poll::until("the hold in the log", SOON, || {
        let log = fs::read_to_string(scene.path("data/verdicts.ndjson")).ok()?;
        let applied = log.lines().find(|line| line.contains(r#""change":"applied""#))?;
        serde_json::from_str::<Value>(applied).ok()
    })?;
    for (key, value) in [
        ("address", BAD),
        ("by", "guard"),
        ("action", "drop"),
        ("scope", "new"),
        ("mode", "enforce"),
    ] {
        assert_eq!(log[key], value, "{log}");
    }
    assert_eq!(log["ttl_s"], 10, "{log}");
    let explained = site.verdicts(&["explain", BAD])?.expect(0)?.stdout;
    assert!(explained.contains("it tried 32 ports within 10 s"), "{explained}");
    poll::until_true("the record of the hold", SOON, || {
        let records = fs::read_to_string(scene.path("alerts.ndjson")).unwrap_or_default();
        records.lines().any(|line| line.contains("decided by the guard") && line.contains(BAD))
    })?;
    let page = poll::until("the metric of dropped packets", SOON, || {
        let (_, page) = site.wire.near.get(config::API_PORT, "/metrics").ok()?;
        let is_it = |line: &&str| line.contains("outcome=\"drop_guard\"") && !line.ends_with(" 0");
        page.lines().find(is_it).map(str::to_owned)
    })?;
    let dropped: f64 = page.rsplit(' ').next().ok_or("no value")?.parse()?;
    assert!(dropped >= 900.0, "{page}");
    let (_, health) = site.wire.near.get(config::API_PORT, "/health")?;
    assert!(health.contains("\"guard\":true"), "{health}");
    Ok(())
}

fn a_client_in_whose_name_somebody_scans_is_not_held_off(scene: &Scene) -> Outcome {
    let site = site(scene, ENFORCE)?;
    let running = site.start()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let local: SocketAddr = format!("{GOOD}:0").parse()?;
    let open = || -> Result<(TcpStream, TcpStream), Failed> {
        let client = site.wire.far.inside(|| connect(local))??;
        Ok((client, listener.accept()?.0))
    };
    let (mut client, mut server) = open()?;
    exchange(&mut client, &mut server)?;
    for victim in [GOOD, BAD] {
        let mut scan = site.wire.far.command("hping3");
        scan.args(["--quiet", "--syn", "-p", "++1", "-i", "u1000", "-c", "200", "--spoof", victim]);
        scan.arg(NEAR).output()?;
    }
    // Of whom nothing is known is held off: the guard has seen both.
    let listed = poll::until("a verdict about the other", SOON, || {
        site.list().ok().filter(|listed| !listed.is_empty())
    })?;
    assert!(
        listed.iter().all(|entry| entry["address"] == BAD && entry["by"] == "guard"),
        "{listed:?}"
    );
    for _ in 0..3 {
        exchange(&mut client, &mut server)?;
    }
    let (mut client, mut server) = open()?;
    exchange(&mut client, &mut server)?;
    assert!(sent_again(&site)? <= site.wire.dropped()?);
    // A person takes it back, and that is that.
    site.verdicts(&["remove", BAD])?.expect(0)?;
    let bad: SocketAddr = format!("{BAD}:0").parse()?;
    let freed = site.wire.far.inside(|| connect(bad))??;
    listener.accept()?;
    drop(freed);
    assert!(sent_again(&site)? <= site.wire.dropped()?);
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

fn a_guard_that_can_t_see_replies_is_refused(scene: &Scene) -> Outcome {
    let site = site(scene, ENFORCE)?;
    let text =
        fs::read_to_string(&site.config)?.replace("report: none,", "report: none, egress: false,");
    fs::write(&site.config, text)?;
    let config = site.config.display().to_string();
    let ended = site.command(&["validate", &config]).run()?;
    ended.expect(78)?.says(&["guard", "egress: false", "leave `egress` out"])
}
