//! A daemon that is stopped for longer than its gate waits: everything passes, and once it goes on it says so.

use rustix::process::Signal;
use serde_json::Value;

use super::live::{BAD, GOOD, Site, gets_through, running_says};
use crate::harness::{
    Case, Outcome, Scene, config,
    poll::{self, SOON},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_daemon_that_was_stopped_says_that_its_gate_stood_open).needs_root()]
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
