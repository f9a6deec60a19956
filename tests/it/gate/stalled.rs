//! A daemon that is stopped for longer than its gate waits: everything passes, and once it goes on it says so. A disk alone does not stop it.

use std::fs::{self, File};

use rustix::process::Signal;
use serde_json::Value;
use tidegate_ebpf::{Maps, pins::Pins};

use super::live::{BAD, GOOD, Site, gets_through, running_says};
use crate::harness::{
    Case, Outcome, Scene, config,
    poll::{self, SOON},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_daemon_that_was_stopped_says_that_its_gate_stood_open).needs_root(),
        Case::new(a_log_that_can_not_be_written_keeps_no_sign_of_life_back).needs_root(),
    ]
}

fn a_daemon_that_was_stopped_says_that_its_gate_stood_open(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "fail_open_secs: 2")?;
    let running = site.start()?;
    let gate = || -> Option<Value> {
        let (_, page) = site.wire.near.get(config::API_PORT, "/health").ok()?;
        let page: Value = serde_json::from_str(&page).ok()?;
        page["components"]
            .as_array()?
            .iter()
            .find(|one| one["type"] == "xdp")
            .map(|one| one["gate"].clone())
    };
    let before = poll::until("the gate in /health", SOON, || gate().filter(Value::is_object))?;
    assert_eq!(before["newest_verdict"], Value::Null, "{before}");
    site.add(BAD, &["--reason", "a test"])?;
    let (server, bad, good) = (site.server()?, site.client(BAD)?, site.client(GOOD)?);
    let named = poll::until("the newest verdict in /health", SOON, || {
        gate().filter(|gate| gate["newest_verdict"]["address"] == BAD)
    })?;
    assert_eq!(named["newest_verdict"]["by"], "cli", "{named}");
    poll::until_true("the source to be cut off", SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| !through)
    })?;

    running.signal(Signal::STOP);
    poll::until_true("the gate to fail open", SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| through)
    })?;
    let status = site.command(&["gate", "status", "--source", &site.id]).run()?.expect(0)?;
    assert!(status.stdout.contains("everything passes"), "{}", status.stdout);
    running.signal(Signal::CONT);
    poll::until_true("the daemon to say it", SOON, || {
        running.stderr().contains("the gate stood open")
    })?;
    running_says(&running, &["open_secs=", "fail_open_secs (2)"]);
    let after = poll::until("/health to tell of it", SOON, || {
        gate().filter(|gate| gate["stood_open"].is_object())
    })?;
    let stood = &after["stood_open"];
    assert!(stood["packets"].as_u64() >= Some(1), "{after}");
    assert!(stood["seconds"].as_f64() > Some(0.0), "{after}");
    poll::until_true("the source to be cut off again", SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| !through)
    })?;
    poll::until_true("/health to say that it does not fail open", SOON, || {
        gate().is_some_and(|gate| gate["failing_open"] == false)
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(3)?;
    Ok(())
}

/// Whoever writes the verdict log waits here for its lock, as it would for a disk that hangs.
fn a_log_that_can_not_be_written_keeps_no_sign_of_life_back(scene: &Scene) -> Outcome {
    let list = scene.write("blocked.txt", format!("{BAD}\n"));
    let firewall =
        format!("mode: enforce, allow_empty_allowlist: true, block_files: [{}]", list.display());
    let site = Site::new(scene, "", &firewall, "")?;
    let running = site.start()?;
    let log = poll::until("the verdict log", SOON, || {
        File::open(scene.path("data/verdicts.ndjson")).ok()
    })?;
    log.lock()?;
    fs::write(&list, "10.77.0.99\n")?;
    running.signal(Signal::HUP);
    poll::until_true("the list to be followed, and its line to be written", SOON, || {
        running.stderr().matches("verdicts of lists").count() == 2
    })?;
    let maps = Maps::open(&Pins::of(&site.id).current().ok_or("nothing is pinned")?)?;
    let before = maps.daemon()?.heartbeat_ns;
    let beats = 5_000_000_000;
    poll::until_true("five signs of life", SOON, || {
        maps.daemon().is_ok_and(|daemon| daemon.heartbeat_ns >= before + beats)
    })?;
    let written = || fs::read_to_string(scene.path("data/verdicts.ndjson"));
    assert!(!written()?.contains("10.77.0.99"), "the log was to hang");
    log.unlock()?;
    poll::until_true("the line to be written", SOON, || {
        written().is_ok_and(|log| log.contains("10.77.0.99"))
    })?;
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}
