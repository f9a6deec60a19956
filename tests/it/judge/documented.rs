//! What docs/scoring.md asks for before a gate enforces: its commands, as they stand there, on a gate that observes.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::{
    gate::live::{BAD, GOOD, NEAR, Site},
    harness::{
        Case, Outcome, Scene, config,
        netns::INTERFACE,
        poll::{self, SOON},
        tidegate::Running,
    },
};

/// Commands of the page, so that none is lost unseen.
const COMMANDS: usize = 20;
/// The address that the page has its reader allow.
const ADDED: &str = "203.0.113.7";
/// What works whatever is wrong: the way out; and what a daemon that is dead has not lost.
const ALWAYS: [&str; 3] =
    ["tidegate verdicts list", "grep -c 198.51.100.1", "awk '/^tidegate_xdp_ring"];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(each_line_of_the_checklist_prints_what_the_page_says).needs_root(),
        Case::new(each_line_of_the_checklist_fails_where_it_should).needs_root(),
    ]
}

/// A command of the page, and what it is to print.
#[derive(Debug)]
struct Step {
    command: String,
    expected: String,
}

fn each_line_of_the_checklist_prints_what_the_page_says(scene: &Scene) -> Outcome {
    let allowed = format!("{{ cidr: {GOOD}, owner: operations, reason: the proxy in front }}");
    let site = site(scene, &allowed)?;
    let running = site.start()?;
    scan(&site, scene)?;
    data(scene, 60, &format!("{BAD},scan,nmap\n"), true)?;
    let mut is_reloading = false;
    for Step { command, expected } in steps()? {
        if command.starts_with("systemctl") {
            let more = format!("{allowed}, {{ cidr: {ADDED} }}");
            fs::write(&site.config, text(&site.id, &more))?;
        }
        if is_reloading {
            // The gate takes the lists into its maps with its next beat.
            poll::until_true("the gate to take the lists", SOON, || {
                printed(&site, scene, &command).is_ok_and(|printed| printed == expected)
            })?;
        }
        let printed = printed(&site, scene, &command)?;
        assert_eq!(printed, expected, "{command}");
        is_reloading = reload(scene)?;
        if is_reloading {
            hang_up(&running)?;
        }
    }
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

/// Nobody is allowed, the scanner is held to be benign, half of what is tried fails, and the daemon is dead: no line
/// of the checklist prints what the page has, but for the way out.
fn each_line_of_the_checklist_fails_where_it_should(scene: &Scene) -> Outcome {
    let site = site(scene, "")?;
    let running = site.start()?;
    scan(&site, scene)?;
    data(scene, 5, &format!("{BAD},benign,\n"), false)?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    poll::until_true("the gate to be silent", SOON, || {
        printed(&site, scene, "tidegate gate status").is_ok_and(|said| said.contains("is silent"))
    })?;
    let good = fs::read_to_string(&site.config)?;
    for Step { command, expected } in steps()? {
        if expected.is_empty() {
            printed(&site, scene, &command)?;
            continue;
        }
        let is_about_the_config = command.starts_with("tidegate validate --quiet tidegate.yaml");
        if is_about_the_config {
            fs::write(&site.config, good.replace("type: score", "type: scoer"))?;
        }
        let printed = printed(&site, scene, &command)?;
        fs::write(&site.config, &good)?;
        let must_differ = !ALWAYS.iter().any(|always| command.starts_with(always));
        assert_eq!(printed != expected, must_differ, "{command} prints\n{printed}");
    }
    Ok(())
}

/// The commands of the page's list, in their order.
fn steps() -> Result<Vec<Step>, Failed> {
    let page = fs::read_to_string(Scene::project("docs/scoring.md"))?;
    let (_, list) = page.split_once("\n## Before enforcing\n").ok_or("the page has no list")?;
    let list = list.split("\n## ").next().unwrap_or_default();
    let mut steps: Vec<Step> = Vec::new();
    for line in list.lines().filter_map(|line| line.strip_prefix("    ")) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), expected: String::new() });
            }
            (None, Some(step)) => writeln!(step.expected, "{line}")?,
            (None, None) => return Err(format!("no command before `{line}`").into()),
        }
    }
    assert_eq!(steps.len(), COMMANDS, "{steps:#?}");
    Ok(steps)
}

/// A gate that observes, judged by its own contacts, with this allow list; and the programs that the page calls.
fn site<'a>(scene: &'a Scene, allow: &str) -> Result<Site<'a>, Failed> {
    let mut site = Site::configured(scene, |id| text(id, allow))?;
    let config = scene.path("tidegate.yaml");
    fs::rename(&site.config, &config)?;
    site.config = config;
    fs::create_dir(scene.path("bin"))?;
    // There may be other gates on this machine, and this one's data is elsewhere.
    let tidegate = format!(
        "#!/bin/sh\ncase \"$1\" in\n  gate) exec {program} \"$@\" --source {id} ;;\n  verdicts) exec {program} \
         \"$@\" --source {id} --data-dir state ;;\n  *) exec {program} \"$@\" ;;\nesac\n",
        program = env!("CARGO_BIN_EXE_tidegate"),
        id = site.id,
    );
    // As the unit's ExecReload, but that the case itself sends the signal.
    for (name, text) in [("tidegate", tidegate), ("systemctl", "#!/bin/sh\ntouch reload\n".into())]
    {
        scene.write_program(&format!("bin/{name}"), &text)?;
    }
    Ok(site)
}

fn text(id: &str, allow: &str) -> String {
    format!(
        "data_dir: state\napi: {{ address: \"127.0.0.1:{api}\" }}\nnetworks: {{ internal: [10.77.0.0/24], allow: \
         [{allow}] }}\nsources:\n  {id}: {{ type: xdp, interface: {INTERFACE}, report: none, firewall: {{ mode: \
         observe }} }}\ntransforms:\n  scored: {{ type: score, inputs: [{id}.contacts], warmup_secs: 0, block: {{ \
         via: {id} }} }}\nsinks:\n  alerts: {{ type: file, inputs: [scored.alerts, {id}.alerts], path: \
         \"alerts-%Y-%m-%d.ndjson\" }}\n",
        api = config::API_PORT,
    )
}

/// The bad source is seen to scan.
fn scan(site: &Site<'_>, scene: &Scene) -> Outcome {
    let mut hping3 = site.wire.far.command("hping3");
    hping3
        .args(["--quiet", "--syn", "-p", "++1", "-i", "u10000", "-c", "30", "--spoof", BAD, NEAR]);
    hping3.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    poll::until_true("the record of the scanner", SOON, || {
        let would = format!("cat alerts-*.ndjson | grep would_block | grep -c {BAD}");
        printed(site, scene, &would).is_ok_and(|count| count.trim() == "1")
    })
}

/// A log of the scanner and of so many clients who are served, and what is known of them.
fn data(scene: &Scene, clients: u32, labels: &str, are_labelled: bool) -> Outcome {
    let row = |time: u32, source: &str, port: u32, state: &str| {
        format!(
            "{{\"ts\":{time}.5,\"id.orig_h\":\"{source}\",\"id.resp_h\":\"{NEAR}\",\"id.resp_p\":{port},\
             \"proto\":\"tcp\",\"conn_state\":\"{state}\"}}\n"
        )
    };
    let mut log: String = (1..40).map(|port| row(port, BAD, port, "REJ")).collect();
    let mut labels = format!("src,label,scenario\n{labels}");
    for client in 1..=clients {
        let source = format!("10.77.1.{client}");
        log += &row(client, &source, 80, "SF");
        log += &row(client, &source, 443, "SF");
        if are_labelled {
            writeln!(labels, "{source},benign,")?;
        }
    }
    scene.write("conn.log", log);
    scene.write("labels.csv", labels);
    Ok(())
}

/// What a command prints, in the shell of whoever reads the page: on the host itself.
fn printed(site: &Site<'_>, scene: &Scene, command: &str) -> Result<String, Failed> {
    let mut shell: Command = site.wire.near.entered("bash");
    let path = env::join_paths(
        [scene.path("bin")]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    shell.args(["-c", command]).env("PATH", path).current_dir(&scene.folder);
    Ok(String::from_utf8(shell.stdin(Stdio::null()).output()?.stdout)?)
}

/// Whether the last command has asked for the config to be read again.
fn reload(scene: &Scene) -> Result<bool, Failed> {
    let asked: &Path = &scene.path("reload");
    let is_asked = asked.exists();
    if is_asked {
        fs::remove_file(asked)?;
    }
    Ok(is_asked)
}

fn hang_up(running: &Running) -> Outcome {
    let holds = || running.stderr().matches("the networks of the config hold").count();
    let before = holds();
    running.signal(Signal::HUP);
    poll::until_true("the networks to hold", SOON, || holds() > before)
}
