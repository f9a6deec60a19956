//! What the gate drops on a wire, in records by port: of nmap, curl, datagrams and pings of a blocked source; under a
//! scan of many ports; once a minute and at the end; and nothing of it where the gate observes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::live::{BAD, GOOD, NEAR, PORT, Site, gets_through};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
    tidegate::Ended,
};

/// The gate reports once in a minute.
const MINUTES: Duration = Duration::from_mins(3);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(what_is_dropped_is_reported_by_its_port, "native", "native").needs_root(),
        Case::with(what_is_dropped_is_reported_by_its_port, "skb", "skb").needs_root(),
        Case::new(of_many_ports_the_first_are_reported_and_the_rest_together).needs_root(),
        Case::new(what_is_dropped_is_reported_each_minute).needs_root().slow(),
        Case::new(the_page_s_command_shows_what_a_blocked_source_wanted).needs_root(),
        Case::new(a_gate_that_observes_reports_nothing_as_dropped).needs_root(),
    ]
}

/// A gate that reports what it drops, to `denied.ndjson`.
fn site<'a>(scene: &'a Scene, keys: &str, mode: &str) -> Result<Site<'a>, Failed> {
    Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nnetworks: {{ internal: [10.77.0.1/32] \
             }}\nsources:\n  {id}: {{ type: xdp, interface: {INTERFACE}, report: none{keys}, firewall: {{ mode: \
             {mode}, allow_empty_allowlist: true }} }}\nsinks:\n  out: {{ type: file, inputs: [{id}.denied], \
             path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("denied.ndjson").display(),
        )
    })
}

fn records(scene: &Scene) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(scene.path("denied.ndjson")).unwrap_or_default();
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn number(record: &Value, pointer: &str) -> u64 {
    record.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// The verdict on the bad source, as `verdicts list --json` has it.
fn verdict(site: &Site<'_>) -> Result<Value, Failed> {
    let listed = site.list()?;
    Ok(listed.into_iter().find(|entry| entry["address"] == BAD).ok_or("no verdict")?)
}

/// Packets and bytes of all records.
fn sums(records: &[Value]) -> [u64; 2] {
    ["/source/packets", "/source/bytes"]
        .map(|of| records.iter().map(|record| number(record, of)).sum())
}

/// Fails unless records have all that the verdict dropped.
fn agree(verdict: &Value, records: &[Value], ended: &Ended) {
    let dropped = ["packets", "bytes"].map(|of| verdict[of].as_u64().unwrap_or(0));
    assert_eq!(sums(records), dropped, "{verdict} has\n{records:#?}");
    assert!(ended.stderr.contains("untold=0 missing=0"), "{}", ended.stderr);
}

/// nmap of these ports, as the bad source, one SYN each.
fn scan(site: &Site<'_>, ports: &str) -> Outcome {
    let ports = ["-p", ports, "--max-retries", "0", "--host-timeout", "60s"];
    let mut command = site.wire.far.command("nmap");
    command.args(["-n", "-Pn", "-sS", "-oG", "-", "-e", INTERFACE, "-S", BAD]).args(ports);
    output(command.arg(NEAR))?;
    Ok(())
}

fn what_is_dropped_is_reported_by_its_port(scene: &Scene, attach: &str) -> Outcome {
    const DATAGRAMS: u64 = 7;
    let site = site(scene, &format!(", attach: {attach}"), "enforce")?;
    let running = site.start()?;
    let (server, good) = (site.server()?, site.client(GOOD)?);
    site.add(BAD, &["--ttl", "3000", "--reason", "a test"])?;
    scan(&site, "1-20")?;
    // It sends its SYN more than once, from one port.
    let page = format!("http://{NEAR}:8080/");
    let mut curl = site.wire.far.command("curl");
    assert!(output(curl.args(["--silent", "--max-time", "4", "--interface", BAD, &page])).is_err());
    for _ in 0..DATAGRAMS {
        // From another port each.
        site.client(BAD)?.send(b"bad")?;
    }
    let ping = ["--quiet", "--icmp", "-c", "3", "-i", "u100000", "--spoof", BAD, NEAR];
    site.wire.far.command("hping3").args(ping).output()?;
    assert!(!gets_through(&server, &site.client(BAD)?, &good)?, "ten more");
    let verdict = verdict(&site)?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;

    let records = records(scene)?;
    agree(&verdict, &records, &ended);
    let mut by_port = BTreeMap::new();
    for record in &records {
        let port = record["destination"]["port"].as_u64();
        let transport = record["network"]["transport"].as_str().unwrap_or_default().to_owned();
        *by_port.entry((transport, port)).or_insert(0) += number(record, "/source/packets");
    }
    for port in 1..=20 {
        assert_eq!(by_port.remove(&("tcp".to_owned(), Some(port))), Some(1), "port {port}");
    }
    let tries = by_port.remove(&("tcp".to_owned(), Some(8080))).unwrap_or(0);
    assert!(tries >= 2, "{tries} SYNs of curl");
    let datagrams = by_port.remove(&("udp".to_owned(), Some(PORT.into())));
    assert_eq!(datagrams, Some(DATAGRAMS + 10));
    assert_eq!(by_port.remove(&("icmp".to_owned(), None)), Some(3));
    assert!(by_port.is_empty(), "{by_port:?}");
    let ids: BTreeSet<_> = records.iter().map(|record| record["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), records.len());
    let of_curl = records.iter().find(|record| record["destination"]["port"] == 8080);
    is_as_ecs_has_it(of_curl.ok_or("no record of curl")?, &verdict);
    let of_datagrams = records.iter().find(|record| record["destination"]["port"] == PORT);
    let of_datagrams = of_datagrams.ok_or("no record of datagrams")?;
    for field in ["/source/port", "/network/community_id"] {
        assert_eq!(of_datagrams.pointer(field), None, "from several ports: {of_datagrams}");
    }
    Ok(())
}

/// A connection that was tried from one port.
fn is_as_ecs_has_it(record: &Value, verdict: &Value) {
    for (field, value) in [
        ("/event/kind", json!("event")),
        ("/event/category", json!(["network"])),
        ("/event/type", json!(["connection", "denied"])),
        ("/event/action", json!("dropped")),
        ("/event/outcome", json!("success")),
        ("/event/dataset", json!("tidegate.flow")),
        ("/tidegate/flow/final", json!(true)),
        ("/tidegate/flow/conn_state", json!("S0")),
        ("/tidegate/flow/tcp_flags", json!(["SYN"])),
        ("/tidegate/verdict/id", verdict["id"].clone()),
        ("/source/ip", json!(BAD)),
        ("/destination/ip", json!(NEAR)),
        ("/destination/packets", json!(0)),
        ("/destination/bytes", json!(0)),
        ("/network/direction", json!("inbound")),
        ("/observer/ingress/interface/name", json!(INTERFACE)),
    ] {
        assert_eq!(record.pointer(field), Some(&value), "{field} of {record}");
    }
    assert!(record["source"]["port"].is_u64(), "{record}");
    let id = record["network"]["community_id"].as_str();
    assert!(id.is_some_and(|id| id.starts_with("1:")), "{record}");
    assert!(record["message"].as_str().is_some_and(|line| line.ends_with(", dropped")), "{record}");
    let times = ["start", "end"].map(|of| record["event"][of].as_str());
    assert!(times[0] < times[1], "{times:?}");
}

fn of_many_ports_the_first_are_reported_and_the_rest_together(scene: &Scene) -> Outcome {
    let site = site(scene, "", "enforce")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    scan(&site, "1-500")?;
    let verdict = verdict(&site)?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    let records = records(scene)?;
    agree(&verdict, &records, &ended);
    let is_rest = |record: &&Value| {
        record["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "other_ports"))
    };
    let (rest, ports): (Vec<_>, Vec<_>) = records.iter().partition(is_rest);
    assert!((64..100).contains(&ports.len()), "{} ports", ports.len());
    assert_eq!(rest.len(), 1, "{rest:#?}");
    for field in ["/source/port", "/destination/port", "/network/community_id"] {
        assert_eq!(rest[0].pointer(field), None, "{}", rest[0]);
    }
    assert_eq!(number(rest[0], "/source/packets"), 500 - ports.len() as u64);
    Ok(())
}

fn what_is_dropped_is_reported_each_minute(scene: &Scene) -> Outcome {
    let site = site(scene, ", persist: false", "enforce")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    let bad = site.client(BAD)?;
    let told = |count: usize| {
        poll::until_true(&format!("{count} records"), MINUTES, || {
            bad.send(b"bad").unwrap_or_default();
            records(scene).is_ok_and(|records| records.len() >= count)
        })
    };
    told(1)?;
    told(2)?;
    let (_, metrics) = site.wire.near.get(config::API_PORT, "/metrics")?;
    let seen = r#"result="seen""#;
    let line =
        metrics.lines().find(|line| line.starts_with("tidegate_xdp_denied") && line.contains(seen));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    assert_eq!(count, Some(sums(&records(scene)?)[0]), "{line:?}");
    let verdict = verdict(&site)?;
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    agree(&verdict, &records(scene)?, &ended);
    Ok(())
}

/// What docs/scoring.md has its reader run, and what it is to print.
fn the_page_s_command_shows_what_a_blocked_source_wanted(scene: &Scene) -> Outcome {
    let page = fs::read_to_string(Scene::project("docs/scoring.md"))?;
    let (_, section) = page.split_once("\n## Was it right?\n").ok_or("the page has no section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let (command, expected) = lines.split_first().ok_or("no command")?;
    let command = command.strip_prefix("$ ").ok_or("no command")?;

    let site = site(scene, "", "enforce")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    let bad = site.client(BAD)?;
    for _ in 0..7 {
        bad.send(b"bad")?;
    }
    scan(&site, "22,80")?;
    poll::until_true("all of it to be dropped", SOON, || {
        site.packets(BAD).is_ok_and(|all| all == 9)
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    fs::rename(scene.path("denied.ndjson"), scene.path("denied-2026-11-29.ndjson"))?;
    let mut shell = std::process::Command::new("bash");
    let printed = output(shell.args(["-c", command]).current_dir(&scene.folder))?;
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

fn a_gate_that_observes_reports_nothing_as_dropped(scene: &Scene) -> Outcome {
    let site = site(scene, "", "observe")?;
    let running = site.start()?;
    let (server, bad, good) = (site.server()?, site.client(BAD)?, site.client(GOOD)?);
    site.add(BAD, &[])?;
    assert!(gets_through(&server, &bad, &good)?);
    poll::until_true("packets that would have been dropped", SOON, || {
        site.packets(BAD).is_ok_and(|packets| packets >= 10)
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    assert!(records(scene)?.is_empty());
    Ok(())
}
