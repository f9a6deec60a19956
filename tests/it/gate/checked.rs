//! What `tidegate validate` says of a gate that could not be attached here, without touching the interface.

use std::fs;

use libtest_mimic::Failed;

use super::live::Site;
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    tidegate::{Ended, Tidegate},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(validate_names_all_that_a_gate_lacks_at_once).needs_root(),
        Case::new(validate_tells_another_s_program_from_ours).needs_root(),
        Case::new(validate_names_what_it_can_not_look_at).needs_root(),
        Case::new(an_interface_without_ethernet_frames_is_refused).needs_root(),
    ]
}

/// Its config, beside a daemon that runs by the same one.
fn beside(site: &Site<'_>, scene: &Scene) -> Result<String, Failed> {
    let data = scene.path("data").display().to_string();
    let text = fs::read_to_string(&site.config)?
        .replace(&data, &scene.path("other").display().to_string())
        .replace(&config::API_PORT.to_string(), "0");
    Ok(scene.write("beside.yaml", text).display().to_string())
}

/// Where `/sys/fs/bpf` is what this command makes of it.
fn elsewhere(scene: &Scene, site: &Site<'_>, mount: &str, config: &str) -> Result<Ended, Failed> {
    let mut command = site.wire.near.entered("unshare");
    let script = format!("{mount} && exec \"$@\"");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    Tidegate::behind(scene, command, ["validate", config]).run()
}

fn validate_names_all_that_a_gate_lacks_at_once(scene: &Scene) -> Outcome {
    let site = Site::new(scene, "role: mirror", "mode: observe", "")?;
    let config = beside(&site, scene)?;
    let mut nobody = site.wire.near.entered("setpriv");
    nobody.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all"]);
    let ended = Tidegate::behind(scene, nobody, ["validate", &config]).run()?.expect(78)?;
    ended.says(&[
        "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW",
        "AmbientCapabilities",
        "/sys/fs/bpf",
        "Permission denied",
    ])?;
    let ended = elsewhere(scene, &site, "mount -t tmpfs none /sys/fs/bpf", &config)?.expect(78)?;
    ended.says(&["/sys/fs/bpf is no BPF file system", "mount -t bpf bpf"])?;
    assert!(!ended.stderr.contains("CAP_"), "{}", ended.stderr);
    Ok(())
}

fn validate_tells_another_s_program_from_ours(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let config = beside(&site, scene)?;
    let _running = site.start()?;
    let ours = site.command(&["validate", &config]).run()?.expect(0)?;
    assert!(!ours.stderr.contains("XDP program"), "{}", ours.stderr);
    assert!(!ours.stderr.contains("not checked"), "{}", ours.stderr);
    // Where nothing is known of the one that runs it is as any other.
    let ended = elsewhere(scene, &site, "mount -t bpf bpf /sys/fs/bpf", &config)?.expect(78)?;
    ended.says(&[
        "another XDP program is attached",
        "bpftool",
        &format!("{}.interface", site.id),
    ])?;
    assert!(site.has_program()?, "nothing was touched");
    Ok(())
}

fn validate_names_what_it_can_not_look_at(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "attach: native")?;
    let config = beside(&site, scene)?;
    for side in [&site.wire.far, &site.wire.near] {
        side.run("ip", &["link", "set", INTERFACE, "mtu", "9000"])?;
    }
    let ended = site.command(&["validate", &config]).run()?.expect(0)?;
    ended.says(&["warning", "the MTU of `wire` is 9000", "not checked", ".attach (whether"])?;
    assert!(!site.has_program()?, "nothing was touched");
    site.wire.cut()?;
    let ended = site.command(&["validate", &config]).run()?.expect(0)?;
    ended.says(&[
        "warning",
        "there is no interface `wire`: `run` waits for it",
        &format!("not checked: sources.{}.interface (there is no interface wire)", site.id),
    ])
}

/// There every verdict would be without effect, and nothing would say so.
fn an_interface_without_ethernet_frames_is_refused(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let config = beside(&site, scene)?;
    site.wire.cut()?;
    site.wire.near.run("ip", &["tuntap", "add", "dev", INTERFACE, "mode", "tun"])?;
    for command in [&["validate", &config][..], &["run", "-c", &config]] {
        let ended = site.command(command).run()?.expect(78)?;
        ended.says(&["wire has no Ethernet frames", "outer packets"])?;
    }
    assert!(!site.has_program()?, "it was attached");
    site.wire.near.run("ip", &["link", "delete", INTERFACE])?;
    site.wire.near.run("ip", &["tuntap", "add", "dev", INTERFACE, "mode", "tap"])?;
    site.command(&["validate", &config]).run()?.expect(0)?;
    Ok(())
}
