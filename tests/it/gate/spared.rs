//! Whom the gate never blocks, on the command line and over a restart: what only the daemon knows is refused there too.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::live::{GOOD, NEAR, PORT, Site, connect};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    poll::{self, SOON},
};

/// Where nobody answers.
const SERVER: &str = "198.51.100.80";
/// An old session is one of three minutes.
const OLD_NS: i64 = 180_000_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_network_with_a_sink_s_server_is_refused_at_once_also_with_the_daemon_dead)
            .needs_root(),
        Case::with(an_administrator_s_session_keeps_its_age_over_a_restart, "persist", "true")
            .needs_root(),
        Case::with(an_administrator_s_session_keeps_its_age_over_a_restart, "no persist", "false")
            .needs_root(),
    ]
}

fn a_network_with_a_sink_s_server_is_refused_at_once_also_with_the_daemon_dead(
    scene: &Scene,
) -> Outcome {
    let site = Site::configured(scene, |id| {
        format!(
            "data_dir: {data}\napi: {{ address: \"127.0.0.1:{api}\" }}\n\
             networks: {{ allow: [{{ cidr: 203.0.113.5, owner: ops, reason: console }}] }}\n\
             sources:\n  {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: enforce }} }}\n  \
             self: {{ type: health }}\n\
             sinks:\n  out: {{ type: elasticsearch, inputs: [self], endpoints: [\"http://{SERVER}:9200\"] }}\n",
            data = scene.path("data").display(),
            api = config::API_PORT,
        )
    })?;
    let running = site.start()?;
    let file = scene.path("data").join(format!("verdicts-{}.protected", site.id));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    let why = format!("a sink writes to {SERVER}");
    let refused = || -> Outcome {
        for network in [SERVER, "198.51.100.0/24"] {
            site.verdicts(&["add", network])?.expect(1)?.says(&[&why])?;
        }
        site.verdicts(&["add", "203.0.113.5"])?.expect(1)?.says(&["networks.allow[0]"])?;
        assert!(site.list()?.is_empty());
        Ok(())
    };
    refused()?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    refused()?;
    // Around an entry of the allow list there may be a verdict; that entry passes.
    let known = site.verdicts(&["add", "203.0.113.0/24"])?.expect(0)?;
    assert!(!known.stderr.contains("is not known"), "{}", known.stderr);
    // Where nobody told it the command says so.
    fs::remove_file(&file)?;
    let file = file.display().to_string();
    let words = [SERVER, "is not known", &file, "--data-dir"];
    site.verdicts(&["add", "198.51.100.0/24"])?.expect(0)?.says(&words)?;
    site.verdicts(&["add", "192.0.2.0/24"])?.expect(0)?;
    Ok(())
}

/// Its three minutes are made of the file: what the daemon wrote there is set back.
fn an_administrator_s_session_keeps_its_age_over_a_restart(
    scene: &Scene,
    persist: &str,
) -> Outcome {
    let keys = format!("persist: {persist}");
    let site = Site::new(
        scene,
        &keys,
        "mode: enforce, allow_empty_allowlist: true",
        &format!("networks: {{ admin_ports: [{PORT}] }}"),
    )?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, PORT)))??;
    let local: SocketAddr = format!("{GOOD}:0").parse()?;
    let session = (site.wire.far.inside(|| connect(local))??, listener.accept()?.0);
    let running = site.start()?;
    site.add(GOOD, &[])?;
    site.verdicts(&["remove", GOOD])?.expect(0)?;
    let file = scene.path("data").join(format!("verdicts-{}.sessions", site.id));
    poll::until_true("the session to be written down", SOON, || {
        read(&file).is_ok_and(|kept| kept["sessions"].as_array().is_some_and(|all| all.len() == 1))
    })?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    let mut kept = read(&file)?;
    let since = &mut kept["sessions"][0][1];
    *since = (since.as_i64().ok_or("no time")? - OLD_NS).into();
    fs::write(&file, kept.to_string())?;
    let again = site.start()?;
    for network in [GOOD, "10.77.0.2/31"] {
        let refused = site.verdicts(&["add", network])?.expect(1)?;
        refused.says(&["an administrator's session", GOOD])?;
    }
    again.signal(Signal::KILL);
    again.wait(SOON)?;
    drop(session);
    // Another one of the same address is anybody's again.
    let another = (site.wire.far.inside(|| connect(local))??, listener.accept()?.0);
    let _running = site.start()?;
    site.add(GOOD, &[])?;
    drop(another);
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}
