//! The gate as the systemd unit runs it: a user without privileges but those of the unit's files, and a BPF file
//! system that the unit's first command prepared. systemd itself does not run here.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::chown,
    process::{Child, Command, Stdio},
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::{
    live::{BAD, Site, gets_through, running_says},
    mirror::promiscuity,
};
use crate::harness::{
    Case, Outcome, Scene,
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
    tidegate::{Running, Tidegate},
};

/// The user in place of the unit's, which is made when the package is installed.
const USER: &str = "nobody";
const GROUP: &str = "nogroup";
const NOBODY: u32 = 65_534;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(the_unit_s_user_runs_the_gate_and_takes_it_off).needs_root(),
        Case::new(the_unit_s_user_runs_a_mirror_or_is_told_what_that_takes).needs_root(),
        Case::new(the_unit_may_do_what_the_gate_needs),
        Case::new(the_folder_of_the_gate_is_made_before_anything_looks_for_it),
    ]
}

/// A mount namespace with a BPF file system of its own, prepared as the unit does it. It lives as long as
/// its process.
struct Mounted {
    holder: Child,
}

// === impl Mounted ===

impl Mounted {
    fn prepare(site: &Site<'_>) -> Result<Self, Failed> {
        let prepare = preparation()?.replace("tidegate -g tidegate", &format!("{USER} -g {GROUP}"));
        // As systemd mounts it: nobody but root gets in.
        let script = format!(
            "mount -t bpf -o mode=0700 bpf /sys/fs/bpf && {prepare} && echo ready && exec sleep 600"
        );
        let mut holder = site
            .wire
            .near
            .entered("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let stdout = holder.stdout.take().ok_or("it has no output")?;
        BufReader::new(stdout).read_line(&mut said)?;
        assert_eq!(said.trim(), "ready", "the unit's first command failed");
        Ok(Self { holder })
    }

    /// A command in there, as the unit's user with these capabilities and no others.
    fn command(&self, site: &Site<'_>, capabilities: &[String]) -> Command {
        let mut command = site.wire.near.entered("nsenter");
        let plus = [&["-all".to_owned()], capabilities].concat().join(",+");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .args([
                "setpriv",
                &format!("--reuid={USER}"),
                &format!("--regid={GROUP}"),
                "--clear-groups",
            ])
            .args(["inh-caps", "ambient-caps", "bounding-set"].map(|set| format!("--{set}={plus}")))
            .arg("--no-new-privs");
        command
    }

    /// What a command prints that only looks, as root.
    fn look(&self, site: &Site<'_>, command: &[&str]) -> Result<String, Failed> {
        let mount = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        output(site.wire.near.entered("nsenter").arg(mount).args(command))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let ended = self.holder.kill().and_then(|()| self.holder.wait());
        if let Err(error) = ended {
            eprintln!("process {} is left over: {error}", self.holder.id());
        }
    }
}

/// The values of a key in the unit and in what the gate adds to it.
fn unit(key: &str) -> Result<Vec<String>, Failed> {
    let mut values = Vec::new();
    for file in ["tidegate.service", "tidegate.service.d/gate.conf"] {
        let text = fs::read_to_string(Scene::project("config/systemd").join(file))?;
        let of_key = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.extend(of_key.map(str::to_owned));
    }
    Ok(values)
}

/// As setpriv names them.
fn capabilities() -> Result<Vec<String>, Failed> {
    let words = unit("AmbientCapabilities")?.join(" ");
    Ok(words.split(' ').map(|one| one.trim_start_matches("CAP_").to_lowercase()).collect())
}

/// The unit's first command, without the shell that runs it.
fn preparation() -> Result<String, Failed> {
    let commands = unit("ExecStartPre")?;
    let prepares = commands.iter().find_map(|command| command.strip_prefix("+/bin/sh -c '"));
    Ok(prepares.and_then(|command| command.strip_suffix('\'')).ok_or("no such command")?.to_owned())
}

fn the_unit_may_do_what_the_gate_needs(_scene: &Scene) -> Outcome {
    let both = [unit("AmbientCapabilities")?.join(" "), unit("CapabilityBoundingSet")?.join(" ")];
    assert_eq!(both[0], both[1]);
    for needed in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(both[0].split(' ').any(|one| one == needed), "{needed} is not in {}", both[0]);
    }
    // `@system-service` has no bpf(2), and not everywhere membarrier(2), by which flows are taken out at once.
    let calls = unit("SystemCallFilter")?.join(" ");
    for needed in ["bpf", "membarrier"] {
        assert!(calls.split(' ').any(|one| one == needed), "no {needed} in {calls}");
    }
    // The prefix: on a fresh boot no command would begin, that which makes the folder neither.
    assert!(unit("ReadWritePaths")?.contains(&"-/sys/fs/bpf/tidegate".to_owned()));
    Ok(())
}

/// As systemd itself puts the unit and the drop-in together; the program is another one, that is there.
fn the_folder_of_the_gate_is_made_before_anything_looks_for_it(scene: &Scene) -> Outcome {
    let program = "/usr/local/bin/tidegate";
    let dropins = scene.path("tidegate.service.d");
    fs::create_dir(&dropins)?;
    for file in ["tidegate.service", "tidegate.service.d/gate.conf"] {
        let text = fs::read_to_string(Scene::project("config/systemd").join(file))?;
        assert!(text.contains(program), "{file} runs no {program}");
        scene.write(file, text.replace(program, "/bin/true"));
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(scene.path("tidegate.service"));
    let verified = verify.env("SYSTEMD_LOG_LEVEL", "debug").output()?;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let after = said.split_once("-> ExecStartPre:").ok_or_else(|| format!("in\n{said}"))?.1;
    let commands: Vec<_> = after
        .lines()
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("Command Line: "))
        .collect();
    let [makes, validates] = commands[..] else {
        return Err(format!("other commands come before: {commands:?}").into());
    };
    assert!(makes.contains("install -d") && makes.contains("/sys/fs/bpf/tidegate"), "{makes}");
    assert_eq!(validates, "/bin/true validate /etc/tidegate/tidegate.yaml");
    assert!(said.contains("ReadWritePaths: -/sys/fs/bpf/tidegate"), "{said}");
    Ok(())
}

fn the_unit_s_user_runs_the_gate_and_takes_it_off(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let mounted = Mounted::prepare(&site)?;
    let data = scene.path("data");
    fs::create_dir_all(&data)?;
    chown(&data, Some(NOBODY), Some(NOBODY))?;
    // The case's folder is root's.
    let text = fs::read_to_string(&site.config)?.replace("/health.ndjson", "/data/health.ndjson");
    fs::write(&site.config, text)?;
    let config = site.config.display().to_string();
    let all = capabilities()?;
    let tidegate = |capabilities: &[String], arguments: &[&str]| {
        Tidegate::behind(scene, mounted.command(&site, capabilities), arguments)
    };
    // Each of them is needed.
    for needed in ["bpf", "net_admin", "perfmon"] {
        let fewer: Vec<_> = all.iter().filter(|one| *one != needed).cloned().collect();
        let refused = tidegate(&fewer, &["run", "-c", &config]).run()?.expect(78)?;
        refused.says(&["CAP_BPF, CAP_NET_ADMIN"])?;
    }
    let mut running = tidegate(&all, &["run", "-c", &config]).start()?;
    attached(&mut running)?;
    running_says(&running, &["ENFORCES"]);
    let place = ["--source", &site.id, "--data-dir", &data.display().to_string()];
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(super::live::GOOD)?);
    assert!(gets_through(&server, &bad, &good)?, "nothing is blocked yet");
    tidegate(&all, &[&["verdicts", "add", BAD][..], &place].concat()).run()?.expect(0)?;
    assert!(!gets_through(&server, &bad, &good)?);
    let listed = tidegate(&all, &[&["verdicts", "list"][..], &place].concat()).run()?.expect(0)?;
    assert!(listed.stdout.contains(BAD), "{}", listed.stdout);

    let made = in_kernel(&mounted, &site)?;
    running.signal(Signal::KILL);
    running.wait(SOON)?;
    assert!(!gets_through(&server, &bad, &good)?, "it drops on without its daemon");
    tidegate(&all, &["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
    assert!(gets_through(&server, &bad, &good)?);
    assert!(!site.has_program()?);
    assert_eq!(mounted.look(&site, &["ls", "-A", "/sys/fs/bpf/tidegate"])?.trim(), "");
    // The kernel frees them when the last look at them is over.
    for (kind, id) in made {
        poll::until_true(&format!("{kind} {id} to go"), SOON, || {
            mounted.look(&site, &["bpftool", kind, "show", "id", &id]).is_err()
        })?;
    }
    Ok(())
}

fn the_unit_s_user_runs_a_mirror_or_is_told_what_that_takes(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "role: mirror", "mode: observe", "")?;
    let mounted = Mounted::prepare(&site)?;
    let near = &site.wire.near;
    let data = scene.path("data");
    fs::create_dir_all(&data)?;
    chown(&data, Some(NOBODY), Some(NOBODY))?;
    let text = fs::read_to_string(&site.config)?.replace("/health.ndjson", "/data/health.ndjson");
    fs::write(&site.config, text)?;
    let config = site.config.display().to_string();
    let all = capabilities()?;
    let fewer: Vec<_> = all.iter().filter(|one| *one != "net_raw").cloned().collect();
    let tidegate = |capabilities: &[String]| {
        Tidegate::behind(scene, mounted.command(&site, capabilities), ["run", "-c", &config])
    };
    let refused = tidegate(&fewer).run()?.expect(78)?;
    refused.says(&["role: mirror", "frames for other hosts", "CAP_NET_RAW", "promisc on"])?;
    let runs = |capabilities: &[String]| -> Outcome {
        let mut running = tidegate(capabilities).start()?;
        attached(&mut running)?;
        assert_eq!(promiscuity(near, INTERFACE)?, 1);
        running.signal(Signal::TERM);
        running.wait(SOON)?.expect(0)?;
        Ok(())
    };
    runs(&all)?;
    assert_eq!(promiscuity(near, INTERFACE)?, 0);
    // Where the system has done it, the capability is not needed.
    near.run("ip", &["link", "set", INTERFACE, "promisc", "on"])?;
    runs(&fewer)
}

fn attached(running: &mut Running) -> Outcome {
    poll::until_true("the gate to be attached", SOON, || {
        running.stderr().contains("the gate never blocks") || running.still_runs().is_err()
    })?;
    running.still_runs()
}

/// The program on the interface and its maps, by their ids.
fn in_kernel(mounted: &Mounted, site: &Site<'_>) -> Result<Vec<(&'static str, String)>, Failed> {
    let shown =
        mounted.look(site, &["ip", "-json", "-details", "link", "show", "dev", INTERFACE])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let program = shown[0]["xdp"]["prog"]["id"].as_u64().ok_or(format!("no program: {shown}"))?;
    let program = program.to_string();
    let told = mounted.look(site, &["bpftool", "--json", "prog", "show", "id", &program])?;
    let told: Value = serde_json::from_str(&told)?;
    let maps = told["map_ids"].as_array().ok_or(format!("no maps: {told}"))?;
    let maps: Vec<_> =
        maps.iter().filter_map(|id| Some(("map", id.as_u64()?.to_string()))).collect();
    assert!(maps.len() >= 9, "{told}");
    Ok([vec![("prog", program)], maps].concat())
}
