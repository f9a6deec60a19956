//! The judge as a process: what it takes of a config that changes, what it leaves for its next run.

mod at_speed;
#[cfg(feature = "xdp")]
mod documented;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    ops::Range,
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, config,
    live::Live,
    netns::INTERFACE,
    poll::{self, SOON},
    tidegate::Tidegate,
};

const NEAR: &str = "10.78.0.1";
const FAR: &str = "10.78.0.2";

pub(crate) fn cases() -> Vec<Case> {
    let again =
        Case::new(what_it_judges_by_is_read_again_on_sighup_and_a_bad_config_changes_nothing);
    [
        vec![again.live()],
        at_speed::cases(),
        #[cfg(feature = "xdp")]
        documented::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn what_it_judges_by_is_read_again_on_sighup_and_a_bad_config_changes_nothing(
    scene: &Scene,
) -> Outcome {
    let lenient = written(scene, "signals: { scan: { min_failures: 1000 } }", "");
    let mut live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(lenient)
    })?;
    for (side, address) in [(&live.wire.near, NEAR), (&live.wire.far, FAR)] {
        side.run("ip", &["address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
    }
    refused(&live, 1..13)?;
    heard(&live, 12)?;
    written(scene, "signals: { scan: { min_failures: 9, wieght: 1 } }", "");
    again(&mut live, "what held before goes on to hold")?;
    refused(&live, 13..15)?;
    heard(&live, 14)?;
    assert!(told(scene, "would_block")?.is_empty(), "the config that can't be used holds");
    let strict = "signals: { scan: { min_failures: 9 } }, block: { unproven_ttl_secs: 1 }";
    written(scene, strict, "");
    again(&mut live, "taken=\"scored\"")?;
    refused(&live, 15..16)?;
    poll::until_true("the scan to be judged", SOON, || {
        told(scene, "would_block").is_ok_and(|told| !told.is_empty())
    })?;
    let judged = told(scene, "would_block")?.remove(0);
    assert!(judged["tidegate"]["config"]["hash"].is_string(), "{judged}");
    written(scene, strict, &format!("allow: [{{ cidr: {FAR} }}],"));
    again(&mut live, "taken=\"scored\"")?;
    let mut port = 16;
    poll::until_true("the next verdict to be refused", SOON, || {
        port += 1;
        let tried = refused(&live, port..port + 1);
        tried.is_ok() && told(scene, "refused").is_ok_and(|told| !told.is_empty())
    })?;
    live.running.signal(Signal::TERM);
    live.ended()?.0.expect(0)?;
    let snapshot = fs::metadata(scene.path("state/snapshots/scored"))?;
    assert!(snapshot.len() > 100 && snapshot.permissions().mode() & 0o777 == 0o600);
    Ok(())
}

/// Writes the config, with further keys of the judge and of the networks.
fn written(scene: &Scene, judge: &str, networks: &str) -> std::path::PathBuf {
    let text = format!(
        "data_dir: {state}\napi: {{ address: \"127.0.0.1:{api}\" }}\nnetworks: {{ {networks} internal: \
         [10.78.0.0/24] }}\nsources:\n  \
         wire: {{ type: tshark, interface: {INTERFACE}, mode: pipe, dissect: headers }}\ntransforms:\n  \
         packets: {{ type: extract, inputs: [wire] }}\n  \
         flows: {{ type: flow, inputs: [packets] }}\n  \
         scored: {{ type: score, inputs: [flows.contacts], {judge} }}\nsinks:\n  \
         alerts: {{ type: file, inputs: [scored.alerts], path: {alerts}, batch: {{ timeout_secs: 1 }} }}\n  \
         rest: {{ type: blackhole, inputs: [flows, scored] }}\n",
        state = scene.path("state").display(),
        alerts = scene.path("alerts.ndjson").display(),
        api = config::API_PORT,
    );
    scene.write("judge.yaml", text)
}

/// Sends SIGHUP, and waits for what is said of it anew.
fn again(live: &mut Live<'_>, words: &str) -> Outcome {
    let before = live.running.stderr().matches(words).count();
    live.running.signal(Signal::HUP);
    poll::until_true(words, SOON, || live.running.stderr().matches(words).count() > before)?;
    live.running.still_runs()
}

/// Tries ports of the near side where nobody listens.
fn refused(live: &Live<'_>, ports: Range<u16>) -> Outcome {
    let tried = live.wire.far.inside(|| {
        ports
            .map(|port| {
                let address = SocketAddr::new(NEAR.parse().expect("an address"), port);
                TcpStream::connect_timeout(&address, Duration::from_secs(10))
                    .map_err(|e| e.kind())
                    .err()
            })
            .collect::<Vec<_>>()
    })?;
    let all = tried.iter().all(|tried| *tried == Some(std::io::ErrorKind::ConnectionRefused));
    if all { Ok(()) } else { Err(format!("{tried:?}").into()) }
}

/// Waits until the judge has heard of so many contacts.
fn heard(live: &Live<'_>, contacts: u64) -> Outcome {
    poll::until_true("contacts to be heard", SOON, || {
        let page = live.wire.near.get(config::API_PORT, "/metrics").unwrap_or_default().1;
        let mut lines = page.lines().filter(|line| {
            line.starts_with("tidegate_component_received_events_total")
                && line.contains("component_id=\"scored\"")
        });
        let count = lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        count.is_some_and(|count| count >= contacts)
    })
}

/// The records of this action.
fn told(scene: &Scene, action: &str) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(scene.path("alerts.ndjson")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let records: Vec<Value> = whole.map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(records.into_iter().filter(|record| record["event"]["action"] == action).collect())
}
