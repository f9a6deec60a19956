//! A gate whose interface is not there yet, is down, or goes and comes back: it is attached as soon as it can be, with
//! its verdicts, and says meanwhile that it is not.

use std::fs;

use libtest_mimic::Failed;
use rustix::process::Signal;
use tidegate_ebpf::{Gate, Wanted};

use super::{
    live::{BAD, GOOD, Site, gets_through, running_says},
    made::ENFORCE,
};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    poll::{self, SOON},
    tidegate::Running,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(an_interface_that_comes_later_is_waited_for).needs_root(),
        Case::with(an_interface_that_is_down_gets_its_gate, "native", "native").needs_root(),
        Case::with(an_interface_that_is_down_gets_its_gate, "skb", "skb").needs_root(),
        Case::with(an_interface_that_comes_back_gets_its_gate_back, "persist", "persist: true")
            .needs_root(),
        Case::with(an_interface_that_comes_back_gets_its_gate_back, "no persist", "persist: false")
            .needs_root(),
        Case::with(an_interface_that_another_s_program_took_is_refused, "at the start", false)
            .needs_root(),
        Case::with(an_interface_that_another_s_program_took_is_refused, "later", true).needs_root(),
        Case::new(a_gate_that_waits_keeps_no_other_from_its_interface).needs_root(),
        Case::new(a_gate_that_is_taken_off_while_it_waits_stays_off).needs_root(),
        Case::new(a_gate_goes_along_with_an_interface_that_is_renamed_and_says_so).needs_root(),
    ]
}

/// Starts it where there is no interface, and waits until it says so.
fn start_waiting(site: &Site<'_>) -> Result<Running, Failed> {
    let config = site.config.display().to_string();
    let mut running = site.command(&["run", "-c", &config]).start()?;
    poll::until_true("the missing interface to be named", SOON, || {
        running.stderr().contains("until the interface is there") || running.still_runs().is_err()
    })?;
    running.still_runs()?;
    Ok(running)
}

fn ask(site: &Site<'_>, path: &str) -> Result<(u16, String), Failed> {
    site.wire.near.get(config::API_PORT, path)
}

/// Waits until the page has this status, and gives it.
fn answers(site: &Site<'_>, path: &str, status: u16) -> Result<String, Failed> {
    poll::until(&format!("{path} to answer {status}"), SOON, || {
        ask(site, path).ok().filter(|(code, _)| *code == status).map(|(_, page)| page)
    })
}

fn is_cut_off(site: &Site<'_>) -> Result<bool, Failed> {
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    Ok(!gets_through(&server, &bad, &good)?)
}

/// Has the good client get through; gives its port, by which its flow is known.
fn sends_from(site: &Site<'_>) -> Result<u16, Failed> {
    let (server, good) = (site.server()?, site.client(GOOD)?);
    gets_through(&server, &good, &good)?;
    Ok(good.local_addr()?.port())
}

fn an_interface_that_comes_later_is_waited_for(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    site.wire.cut()?;
    let running = start_waiting(&site)?;
    running_says(&running, &["there_are", "lo"]);
    let health = answers(&site, "/health", 503)?;
    assert!(health.contains("there is no interface wire"), "{health}");
    assert_eq!(ask(&site, "/ready")?.0, 503);
    // The maps are there, and in use.
    site.add(BAD, &["--reason", "while it waited"])?;
    assert_eq!(site.list()?.len(), 1);
    let status = site.command(&["gate", "status", "--source", &site.id]).run()?.expect(0)?;
    assert!(status.stdout.contains("attached to nothing; enforces"), "{}", status.stdout);

    site.wire.join()?;
    site.settle()?;
    poll::until_true("the gate to be attached", SOON, || {
        running.stderr().contains("the gate never blocks")
    })?;
    assert!(is_cut_off(&site)?);
    answers(&site, "/ready", 200)?;
    answers(&site, "/health", 200)?;
    let said = running.stderr();
    assert_eq!(said.matches("until the interface is there").count(), 1, "{said}");
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;

    // And where it does not come.
    site.wire.cut()?;
    let running = start_waiting(&site)?;
    assert_eq!(site.list()?.len(), 1, "the verdict is still there");
    running.signal(Signal::TERM);
    let ended = running.wait(SOON)?.expect(0)?;
    assert!(!ended.stderr.contains("the gate stays on"), "{}", ended.stderr);
    Ok(())
}

fn an_interface_that_is_down_gets_its_gate(scene: &Scene, attach: &str) -> Outcome {
    let site = Site::enforcing(scene, &format!("attach: {attach}"))?;
    site.wire.cut()?;
    site.wire.join_down()?;
    site.settle()?;
    let running = site.start()?;
    running_says(&running, &["ENFORCES", attach]);
    site.add(BAD, &[])?;
    for side in [&site.wire.far, &site.wire.near] {
        side.run("ip", &["link", "set", INTERFACE, "up"])?;
    }
    assert!(is_cut_off(&site)?);
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

/// What it counts and tells goes on, too: the flows of both lives of the interface come out.
fn an_interface_that_comes_back_gets_its_gate_back(scene: &Scene, persist: &str) -> Outcome {
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n  {id}: {{ type: xdp, \
             interface: {INTERFACE}, {persist}, firewall: {{ mode: enforce, allow_empty_allowlist: true }} \
             }}\nsinks:\n  out: {{ type: file, inputs: [{id}, {id}.denied], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            out = scene.path("records.ndjson").display(),
        )
    })?;
    let running = site.start()?;
    site.add(BAD, &["--reason", "remembered"])?;
    assert!(is_cut_off(&site)?);
    let mut ports = Vec::new();
    for life in ["first", "second"] {
        ports.push(sends_from(&site)?);
        if life == "second" {
            break;
        }
        site.wire.cut()?;
        let health = answers(&site, "/health", 503)?;
        assert!(health.contains("there is no interface wire"), "{health}");
        assert_eq!(ask(&site, "/ready")?.0, 503);
        running_says(&running, &["the interface is gone"]);
        assert_eq!(site.list()?.len(), 1, "verdicts are kept");
        site.wire.join()?;
        site.settle()?;
        poll::until_true("the gate to be back", SOON, || {
            running.stderr().contains("the gate is attached again")
        })?;
        assert!(site.has_program()?);
        assert!(is_cut_off(&site)?);
        answers(&site, "/ready", 200)?;
    }
    let entry = &site.list()?[0];
    let why = entry["reasons"][0].as_str().unwrap_or_default();
    assert!(why.starts_with("remembered"), "{entry}");
    assert!(entry["packets"].as_u64() >= Some(20), "both lives are counted: {entry}");
    running.signal(Signal::TERM);
    // Of the time between nothing is known.
    running.wait(SOON)?.expect(3)?;
    let records = fs::read_to_string(scene.path("records.ndjson"))?;
    for port in ports {
        assert!(records.contains(&format!(r#""port":{port}"#)), "no flow of {port}:\n{records}");
    }
    assert!(records.contains(r#""denied""#), "{records}");
    Ok(())
}

/// The daemon is stopped while another's program takes the interface that it waits for.
fn an_interface_that_another_s_program_took_is_refused(scene: &Scene, has_stood: bool) -> Outcome {
    let site = Site::enforcing(scene, "attach: skb")?;
    let running = if has_stood {
        let running = site.start()?;
        site.wire.cut()?;
        answers(&site, "/health", 503)?;
        running
    } else {
        site.wire.cut()?;
        start_waiting(&site)?
    };
    running.signal(Signal::STOP);
    site.wire.join()?;
    site.settle()?;
    let near = &site.wire.near;
    let index = near.run("cat", &[&format!("/sys/class/net/{INTERFACE}/ifindex")])?;
    let index: u32 = index.trim().parse()?;
    let other = near.inside(|| -> Result<Gate, Failed> {
        let mut gate = Gate::load(&ENFORCE, None)?;
        gate.attach(index, Wanted::Skb, false)?;
        Ok(gate)
    })??;
    running.signal(Signal::CONT);
    if !has_stood {
        // As if it had been there at the start: no waiting mends that.
        return running.wait(SOON)?.expect(78)?.says(&["another XDP program", "bpftool"]);
    }
    poll::until_true("the refusal to be said", SOON, || {
        running.stderr().contains("another XDP program is attached")
    })?;
    let health = answers(&site, "/health", 503)?;
    assert!(health.contains("tried again each second"), "{health}");
    drop(other);
    poll::until_true("the gate to be back", SOON, || {
        running.stderr().contains("the gate is attached again")
    })?;
    answers(&site, "/ready", 200)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(3)?;
    Ok(())
}

fn a_gate_that_waits_keeps_no_other_from_its_interface(scene: &Scene) -> Outcome {
    let site = Site::configured(scene, |id| {
        let gate = |id: &str, interface: &str| {
            format!(
                "  {id}: {{ type: xdp, interface: {interface}, report: none, firewall: {{ mode: enforce, \
                 allow_empty_allowlist: true }} }}\n"
            )
        };
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\nsources:\n{late}{there}  self: {{ type: \
             health }}\nsinks:\n  out: {{ type: file, inputs: [self], path: {out} }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
            late = gate(&format!("{id}-late"), "late0"),
            there = gate(id, INTERFACE),
            out = scene.path("health.ndjson").display(),
        )
    })?;
    let late = format!("{}-late", site.id);
    let running = site.start()?;
    site.add(BAD, &[])?;
    assert!(is_cut_off(&site)?);
    let ready = answers(&site, "/ready", 503)?;
    assert!(ready.contains(&late) && !ready.contains(&format!("{},", site.id)), "{ready}");
    site.wire.near.run("ip", &["link", "add", "late0", "type", "bridge"])?;
    answers(&site, "/ready", 200)?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    site.command(&["gate", "detach", "--source", &late]).run()?.expect(0)?;
    Ok(())
}

/// Whoever takes it off is obeyed, with or without an interface.
fn a_gate_that_is_taken_off_while_it_waits_stays_off(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    site.wire.cut()?;
    let running = start_waiting(&site)?;
    site.command(&["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
    poll::until_true("the daemon to see it", SOON, || {
        running.stderr().contains("the gate is no longer on")
    })?;
    site.wire.join()?;
    site.settle()?;
    let health = answers(&site, "/health", 503)?;
    assert!(health.contains("somebody took it off"), "{health}");
    assert!(!site.has_program()? && !site.pins().exists());
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(3)?;
    Ok(())
}

fn a_gate_goes_along_with_an_interface_that_is_renamed_and_says_so(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let running = site.start()?;
    site.add(BAD, &[])?;
    let near = &site.wire.near;
    near.run("ip", &["link", "set", INTERFACE, "down"])?;
    near.run("ip", &["link", "set", INTERFACE, "name", "former"])?;
    near.run("ip", &["link", "set", "former", "up"])?;
    poll::until_true("the new name to be told", SOON, || {
        running.stderr().contains("wire is called former now: the gate stays on it")
    })?;
    assert!(is_cut_off(&site)?);
    assert_eq!(ask(&site, "/health")?.0, 200);
    // What has the name of old then is without a gate.
    near.run("ip", &["link", "add", INTERFACE, "type", "bridge"])?;
    let health = answers(&site, "/health", 503)?;
    assert!(health.contains("another interface is wire now"), "{health}");
    assert!(health.contains("that is on former"), "{health}");
    near.run("ip", &["link", "delete", INTERFACE])?;
    answers(&site, "/health", 200)?;
    running.signal(Signal::TERM);
    // It did not do all that it was told to.
    running.wait(SOON)?.expect(3)?;
    Ok(())
}
