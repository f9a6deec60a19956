//! What the program does when its standard streams are closed, full, or nobody's, and when a file may grow
//! no further.

use std::{
    fs::{self, File},
    io::{Read, Write, pipe},
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;

use super::harness::{
    Case, Outcome, Scene, config,
    poll::{self, SOON},
    tidegate::{self, Tidegate},
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_log_that_nobody_can_read_changes_nothing),
        Case::new(a_closed_stdout_is_an_error),
        Case::new(help_that_is_read_in_part_is_no_error_and_on_a_full_disk_is_one),
        Case::new(each_line_of_a_json_log_is_an_object),
        Case::new(a_file_at_its_limit_holds_the_records_and_goes_on_when_it_is_raised),
    ]
}

/// The first example's capture.
fn capture() -> String {
    Scene::project("examples/first/first.pcap").display().to_string()
}

/// Records that a replay wrote.
fn written(scene: &Scene) -> Result<usize, Failed> {
    Ok(fs::read_to_string(scene.path("records.out"))?.lines().count())
}

fn replay(scene: &Scene) -> Command {
    let config = config::replay(scene, "", "");
    let mut command = Command::new(tidegate::program());
    command
        .args(["replay", "-c", &config.display().to_string(), &capture()])
        .current_dir(&scene.folder)
        .env("TMPDIR", &scene.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn a_log_that_nobody_can_read_changes_nothing(scene: &Scene) -> Outcome {
    // Closed from the start.
    let mut command = Command::new("sh");
    let replaying = replay(scene);
    command.args(["-c", r#"exec "$0" "$@" 2>&-"#]).arg(replaying.get_program());
    command.args(replaying.get_args()).current_dir(&scene.folder).env("TMPDIR", &scene.folder);
    assert_eq!(command.stdout(Stdio::null()).status()?.code(), Some(0));
    assert_eq!(written(scene)?, 15);
    fs::remove_file(scene.path("records.out"))?;

    // Its reader has gone away.
    let (reader, writer) = pipe()?;
    drop(reader);
    assert_eq!(replay(scene).stderr(writer).status()?.code(), Some(0));
    assert_eq!(written(scene)?, 15);
    fs::remove_file(scene.path("records.out"))?;

    // Its reader reads nothing, and the pipe is full.
    let (reader, mut writer) = pipe()?;
    fcntl_setfl(writer.as_fd(), OFlags::NONBLOCK)?;
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl_setfl(writer.as_fd(), OFlags::empty())?;
    let mut child = replay(scene).stderr(writer).spawn()?;
    let ended = poll::until("the replay to end", SOON, || child.try_wait().ok().flatten());
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    assert_eq!(ended?.code(), Some(0));
    assert_eq!(written(scene)?, 15);
    drop(reader);

    // A full device is no better.
    fs::remove_file(scene.path("records.out"))?;
    let full = File::options().write(true).open("/dev/full")?;
    assert_eq!(replay(scene).stderr(full).status()?.code(), Some(0));
    assert_eq!(written(scene)?, 15);
    Ok(())
}

fn a_closed_stdout_is_an_error(scene: &Scene) -> Outcome {
    let config = config::replay(scene, "", "").display().to_string();
    let file =
        format!("type: file, inputs: [packets], path: {}", scene.path("records.out").display());
    let console = fs::read_to_string(&config)?.replace(&file, "type: console, inputs: [packets]");
    let path = scene.write("console.yaml", console).display().to_string();
    for (shell, code) in [(r#"exec "$0" "$@" >&-"#, 1), (r#"exec "$0" "$@" >/dev/null"#, 0)] {
        let mut command = Command::new("sh");
        command.args(["-c", shell, tidegate::program(), "replay", "-c", &path, &capture()]);
        command.current_dir(&scene.folder).env("TMPDIR", &scene.folder);
        let output = command.stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{shell}: {said}");
        assert_eq!(said.contains("standard output is closed"), code == 1, "{said}");
    }
    Ok(())
}

/// `tidegate --help | head -1` ended with 2, and help on a full disk without a word.
fn help_that_is_read_in_part_is_no_error_and_on_a_full_disk_is_one(_: &Scene) -> Outcome {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let help = || {
            let mut command = Command::new(tidegate::program());
            command.args(arguments).stderr(Stdio::piped());
            command
        };
        let (reader, writer) = pipe()?;
        drop(reader);
        let output = help().stdout(writer).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{arguments:?}");
        let full = File::options().write(true).open("/dev/full")?;
        let output = help().stdout(full).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("stdout can't be written"), "{arguments:?}: {said}");
    }
    Ok(())
}

fn each_line_of_a_json_log_is_an_object(scene: &Scene) -> Outcome {
    let good = config::replay(scene, "", "");
    scene.write("replaced.pcap", "there");
    let mistaken = scene.write("mistaken.yaml", "sources: { a: { type: tsharkk } }\n");
    let broken = scene.write("broken.pcap", "no capture at all");
    let good = good.display().to_string();
    let (mistaken, broken) = (mistaken.display().to_string(), broken.display().to_string());
    let capture = capture();
    for (arguments, code, words) in [
        (&["validate", &good][..], 0, "ok"),
        (&["validate", &mistaken], 78, "tsharkk"),
        (&["run", "nowhere.yaml"], 78, "nowhere.yaml"),
        (&["replay", "-c", &good, &capture], 0, "delivered"),
        (&["replay", "-c", &good, "nowhere.pcap"], 78, "nowhere.pcap"),
        (&["replay", "-c", &good, &broken], 3, "damaged"),
    ] {
        let json = ["--log-format", "json"].iter().chain(arguments);
        let ended = Tidegate::new(scene, json).run()?;
        let mut said = String::new();
        for line in ended.stderr.lines() {
            let event: Value = serde_json::from_str(line)
                .map_err(|error| format!("{arguments:?}: {error}: {line}\n{}", ended.stderr))?;
            assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
            let message = event["fields"]["message"].as_str();
            said.push_str(message.ok_or(format!("no message: {line}"))?);
            said.push_str(event["fields"]["causes"].as_str().unwrap_or_default());
        }
        assert!(said.contains(words), "{arguments:?}: {said}");
        ended.expect(code)?;
    }
    Ok(())
}

fn a_file_at_its_limit_holds_the_records_and_goes_on_when_it_is_raised(scene: &Scene) -> Outcome {
    let replaying = replay(scene);
    let mut command = Command::new("prlimit");
    command.arg("--fsize=600:unlimited").arg(replaying.get_program()).args(replaying.get_args());
    command.current_dir(&scene.folder).env("TMPDIR", &scene.folder).stdout(Stdio::null());
    // The limit is for whatever file it writes, and its log would be one.
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut stderr = child.stderr.take().ok_or("no log")?;
    let log = Arc::new(Mutex::new(Vec::new()));
    let reading = thread::spawn({
        let log = Arc::clone(&log);
        move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                log.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..count]);
            }
        }
    });
    let said = || {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    };
    let held =
        poll::until_true("the file to reach its limit", SOON, || said().contains("File too large"));
    // Long enough for several more tries.
    let early =
        poll::until("it to end", Duration::from_secs(2), || child.try_wait().ok().flatten());
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid", &child.id().to_string()])
        .status();
    let ended = poll::until("the replay to end", SOON, || child.try_wait().ok().flatten());
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    reading.join().map_err(|_| "the log can't be read")?;
    let said = said();
    assert!(held.is_ok() && early.is_err(), "{held:?} {early:?}\n{said}");
    assert!(raised?.success());
    assert_eq!(ended?.code(), Some(0), "{said}");
    assert_eq!(written(scene)?, 15);
    Ok(())
}
