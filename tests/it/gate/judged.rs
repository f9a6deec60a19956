//! Whom the judge has cut off by what the gate tells it, how soon and for how long, and whom not.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::live::{BAD, GOOD, NEAR, PORT, Site, connect, exchange, gets_through, watch};
use crate::harness::{
    Case, Outcome, Scene, captures, config,
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
};

/// What a scanner that sends a probe every 50 ms may have sent before it is cut off.
const MOST_PACKETS: usize = 20;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(nmap_is_cut_off_within_twenty_packets_and_may_come_back).needs_root(),
        Case::new(a_client_in_whose_name_somebody_scans_keeps_its_session).needs_root(),
        Case::new(a_flood_shows_in_what_the_gate_counts_of_flows).needs_root(),
    ]
}

/// A gate that enforces, judged by its own contacts; a first block lasts for `ttl_secs`.
pub(super) fn site(scene: &Scene, ttl_secs: u32) -> Result<Site<'_>, Failed> {
    Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\n\
             networks: {{ internal: [10.77.0.0/24] }}\nsources:\n  \
             {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: enforce, \
             allow_empty_allowlist: true }} }}\ntransforms:\n  \
             scored: {{ type: score, inputs: [{id}.contacts], warmup_secs: 0, block: {{ via: {id}, \
             ttl_secs: {ttl_secs}, unproven_ttl_secs: {ttl_secs} }} }}\n\
             sinks:\n  out: {{ type: file, inputs: [scored.alerts, {id}.alerts], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("alerts.ndjson").display(),
        )
    })
}

fn nmap_is_cut_off_within_twenty_packets_and_may_come_back(scene: &Scene) -> Outcome {
    let site = site(scene, 30)?;
    let running = site.start()?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    let seen = scene.path("seen.pcap");
    let mut tcpdump = watch(&site, &seen)?;
    // A machine that stands still lets more of them in: where other cases run beside this one they come
    // further apart.
    let (delay, ports) = if scene.full { ("50ms", "1-100") } else { ("1s", "1-25") };
    let scan = ["-n", "-Pn", "-sS", "--scan-delay", delay, "--max-retries", "0", "-p", ports];
    let mut nmap = site.wire.far.command("nmap");
    nmap.args(scan).args(["-e", INTERFACE, "-S", BAD, "--host-timeout", "3m", NEAR]);
    let mut nmap = nmap.stdout(std::process::Stdio::null()).spawn()?;
    let listed = poll::until("a verdict about the scanner", SOON, || {
        site.list().ok()?.into_iter().find(|entry| entry["address"] == BAD)
    })?;
    assert_eq!((&listed["by"], &listed["mode"]), (&"score".into(), &"enforce".into()), "{listed}");
    // Whoever does nothing of the kind is served meanwhile, and the scanner is not.
    assert!(!gets_through(&server, &bad, &good)?);
    nmap.wait()?;
    tcpdump.kill()?;
    tcpdump.wait()?;
    let came_in = captures::count(&fs::read(&seen)?);
    assert!((9..=MOST_PACKETS).contains(&came_in), "{came_in} packets of the scanner came in");
    poll::until_true("the block to end", 3 * SOON, || {
        thread::sleep(Duration::from_millis(200));
        gets_through(&server, &bad, &good).is_ok_and(|through| through)
    })?;
    let alerts = fs::read_to_string(scene.path("alerts.ndjson"))?;
    assert!(alerts.contains("first contacts failed"), "{alerts}");
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

fn a_client_in_whose_name_somebody_scans_keeps_its_session(scene: &Scene) -> Outcome {
    let site = site(scene, 300)?;
    let running = site.start()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let local: SocketAddr = format!("{GOOD}:0").parse()?;
    let mut client = site.wire.far.inside(|| connect(local))??;
    let mut session = listener.accept()?.0;
    exchange(&mut client, &mut session)?;
    // Its host gets, and does not ask for, what the closed ports answer.
    let mut scan = site.wire.far.command("hping3");
    scan.args(["--quiet", "--syn", "-p", "++1", "-i", "u20000", "-c", "60", "--spoof", GOOD, NEAR]);
    scan.output()?;
    let listed = poll::until("a verdict about the client", SOON, || {
        site.list().ok()?.into_iter().find(|entry| entry["address"] == GOOD)
    })?;
    assert_eq!((&listed["scope"], &listed["mode"]), (&"new".into(), &"enforce".into()), "{listed}");
    for _ in 0..3 {
        exchange(&mut client, &mut session)?;
    }
    // It can begin nothing for a while: the price of not knowing who it was.
    let page = format!("http://{NEAR}:{PORT}/");
    let mut curl = site.wire.far.command("curl");
    assert!(
        output(curl.args(["--silent", "--max-time", "2", "--interface", GOOD, &page])).is_err()
    );
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

fn a_flood_shows_in_what_the_gate_counts_of_flows(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\n\
             networks: {{ internal: [10.77.0.0/24] }}\nsources:\n  \
             {id}: {{ type: xdp, interface: {INTERFACE} }}\ntransforms:\n  \
             scored: {{ type: score, inputs: [{id}.contacts], warmup_secs: 0, block: {{ via: {id} }}, \
             signals: {{ rate: {{ syn_burst: 500 }} }} }}\n\
             sinks:\n  flows: {{ type: blackhole, inputs: [{id}] }}\n  \
             out: {{ type: file, inputs: [scored.alerts], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("alerts.ndjson").display(),
        )
    })?;
    let running = site.start()?;
    // One port, closed and of no service: of single contacts nothing is told beyond the first.
    let mut flood = site.wire.far.command("hping3");
    flood.args(["--quiet", "--syn", "-p", "7777", "-i", "u100", "-c", "4000", "-a", BAD, NEAR]);
    flood.output()?;
    let alerts = || fs::read_to_string(scene.path("alerts.ndjson")).unwrap_or_default();
    poll::until_true("an alert about the flood", SOON, || {
        let alerts = alerts();
        alerts.contains("destination_flood") && alerts.contains("rate_limit")
    })
    .map_err(|late| format!("{late:?}: {}", alerts()))?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}
