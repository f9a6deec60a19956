//! Bad input and bad outputs: each ends in a clear message, a counter, and no loss beyond what it names.

use std::{fs, path::Path};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, Damage},
    config, expected,
    memory_disk::MemoryDisk,
    poll::{self, SOON},
    tidegate::{Ended, Tidegate},
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_damaged_capture_gives_its_whole_packets_and_exit_code_3),
        Case::new(a_capture_without_packets_is_delivered_in_full),
        Case::new(what_is_no_capture_is_named_and_fails_the_run),
        Case::new(a_damaged_capture_does_not_stop_the_next_one),
        Case::new(an_output_that_cannot_be_written_is_named_before_anything_starts),
        Case::new(a_full_output_disk_holds_the_replay_until_there_is_room).needs_root(),
        Case::new(garbage_in_place_of_tshark_is_counted_and_named),
        Case::new(a_tshark_that_ends_at_once_is_not_taken_for_an_empty_capture),
        Case::new(a_tshark_of_a_version_that_was_not_tested_is_named),
    ]
}

fn a_damaged_capture_gives_its_whole_packets_and_exit_code_3(scene: &Scene) -> Outcome {
    let whole = scene.path("whole.pcap");
    captures::numbered(100).write(&whole);
    let all = expected::simple_json(&whole)?;
    let cases = [("truncated.pcap", Damage::Truncated, 99), ("corrupt.pcap", Damage::Corrupt, 100)];
    for (name, damage, complete) in cases {
        let capture = scene.path(name);
        captures::numbered(100).damaged(damage).write(&capture);
        let (ended, summary) = replay(scene, &[&capture])?;
        let ended = ended.expect(3)?;
        ended.says(&[name])?;
        assert_eq!(records(scene)?, all[..complete], "{name}");
        assert_eq!(summary.pointer("/packets"), Some(&Value::from(complete)), "{name}: {summary}");
    }
    Ok(())
}

fn a_capture_without_packets_is_delivered_in_full(scene: &Scene) -> Outcome {
    let capture = scene.path("empty.pcap");
    Capture::micros().write(&capture);
    let (ended, summary) = replay(scene, &[&capture])?;
    ended.expect(0)?;
    assert_eq!(summary.pointer("/packets"), Some(&Value::from(0)), "{summary}");
    assert!(records(scene)?.is_empty());
    Ok(())
}

fn what_is_no_capture_is_named_and_fails_the_run(scene: &Scene) -> Outcome {
    // A file that is not there is the command line's fault, and nothing starts.
    let cases: [(&str, Option<&[u8]>, i32); 5] = [
        ("zero-byte.pcap", Some(b""), 3),
        ("text.pcap", Some(b"this is a text, and a long enough one, and no capture at all\n"), 3),
        ("random.pcap", Some(&[0x5a; 4_096]), 3),
        ("half-a-header.pcap", Some(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]), 3),
        ("missing.pcap", None, 78),
    ];
    for (name, content, code) in cases {
        let capture = scene.path(name);
        if let Some(content) = content {
            fs::write(&capture, content)?;
        }
        let (ended, _) = replay(scene, &[&capture])?;
        let ended = ended.expect(code)?;
        ended.says(&[name])?;
        assert!(records(scene)?.is_empty(), "{name}");
    }
    Ok(())
}

fn a_damaged_capture_does_not_stop_the_next_one(scene: &Scene) -> Outcome {
    let (damaged, whole) = (scene.path("damaged.pcap"), scene.path("whole.pcap"));
    captures::numbered(50).damaged(Damage::Truncated).write(&damaged);
    captures::numbered(50).write(&whole);
    let (ended, summary) = replay(scene, &[&damaged, &whole])?;
    ended.expect(3)?.says(&["damaged.pcap"])?;
    assert_eq!(summary.pointer("/packets"), Some(&Value::from(99)), "{summary}");
    assert_eq!(records(scene)?.len(), 99);
    Ok(())
}

fn an_output_that_cannot_be_written_is_named_before_anything_starts(scene: &Scene) -> Outcome {
    let capture = scene.path("some.pcap");
    captures::numbered(10).write(&capture);
    // A file where a folder should be: not even root can write below it.
    let blocked = scene.write("blocked", "a file");
    let config = config::replay(scene, "", "");
    let text = fs::read_to_string(&config)?;
    let unwritable = blocked.join("records.out");
    let text = text.replace(
        &scene.path("records.out").display().to_string(),
        &unwritable.display().to_string(),
    );
    fs::write(&config, text)?;
    let ended = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).run()?;
    let ended = ended.expect(78)?;
    ended.says(&["sinks.records.path", "blocked is not a directory", "choose another path"])?;
    assert!(blocked.is_file());
    Ok(())
}

fn a_full_output_disk_holds_the_replay_until_there_is_room(scene: &Scene) -> Outcome {
    let capture = scene.path("many.pcap");
    captures::numbered(20_000).write(&capture);
    let disk = MemoryDisk::mount(&scene.path("disk"), 1_000_000)?;
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![0; 600_000])?;
    let out = disk.path().join("records.out");
    let config = config::replay(scene, "", "compression: gzip");
    let text = fs::read_to_string(&config)?
        .replace(&scene.path("records.out").display().to_string(), &out.display().to_string())
        .replace(", compression: gzip", "");
    fs::write(&config, text)?;
    let mut running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
    poll::until_true("the full disk to be named", SOON, || {
        running.stderr().to_lowercase().contains("no space")
    })?;
    running.still_runs()?;
    fs::remove_file(&filler)?;
    disk.resize(20_000_000)?;
    let ended = running.wait(SOON)?;
    assert!(matches!(ended.code, Some(0 | 3)), "exit {:?}\n{}", ended.code, ended.stderr);
    let got: Vec<_> = fs::read_to_string(&out)?.lines().map(str::to_owned).collect();
    assert!(got == expected::simple_json(&capture)?, "{} lines, some torn or lost", got.len());
    Ok(())
}

fn garbage_in_place_of_tshark_is_counted_and_named(scene: &Scene) -> Outcome {
    let ended =
        with_tshark(scene, "cat > /dev/null; for i in 1 2 3; do echo \"garbage $i\"; done")?;
    let ended = ended.expect(3)?;
    ended.says(&["dropped 3", "garbage", "a wrapper has to leave its output as it is"])?;
    // Bytes that a wrapper changed on their way.
    let mangled = "tshark_of_the_machine \"$@\" | tr '[:' '(;'";
    with_tshark(scene, mangled)?.expect(3)?.says(&["is no packet", "a wrapper has to leave"])
}

fn a_tshark_that_ends_at_once_is_not_taken_for_an_empty_capture(scene: &Scene) -> Outcome {
    let ended = with_tshark(scene, "echo 'tshark: something broke' >&2; exit 1")?;
    assert!(matches!(ended.code, Some(1 | 3 | 78)), "exit {:?}\n{}", ended.code, ended.stderr);
    ended.says(&["something broke"])
}

fn a_tshark_of_a_version_that_was_not_tested_is_named(scene: &Scene) -> Outcome {
    let ended = with_version(scene, "99.1.0", "tshark_of_the_machine \"$@\"")?.expect(0)?;
    ended.says(&["99.1.0", "this version of tshark was not tested"])
}

/// Replays ten packets with a shell script in tshark's place; it still tells its version.
fn with_tshark(scene: &Scene, script: &str) -> Result<Ended, Failed> {
    with_version(scene, "4.0.17", script)
}

/// The same with one that tells this version; the script may call the `tshark_of_the_machine`.
fn with_version(scene: &Scene, version: &str, script: &str) -> Result<Ended, Failed> {
    let capture = scene.path("ten.pcap");
    captures::numbered(10).write(&capture);
    let folder = scene.path("bin");
    fs::create_dir_all(&folder)?;
    let version =
        format!("case \"$*\" in *-v*) echo 'TShark (Wireshark) {version}.'; exit 0;; esac");
    let mut folders = std::env::var("PATH")?;
    let real = folders.split(':').map(|folder| Path::new(folder).join("tshark"));
    let real = real.into_iter().find(|path| path.exists()).ok_or("no tshark")?;
    let real = format!("tshark_of_the_machine() {{ {} \"$@\"; }}", real.display());
    let script = format!("#!/bin/sh\n{version}\n{real}\n{script}\n");
    scene.write_program("bin/tshark", &script)?;
    folders.insert_str(0, &format!("{}:", folder.display()));
    let config = config::replay(scene, "", "");
    Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).env("PATH", folders).run()
}

/// Replays captures into a fresh file; answers how it ended, and its summary (null without one).
fn replay(scene: &Scene, captures: &[&Path]) -> Result<(Ended, Value), Failed> {
    let (out, summary) = (scene.path("records.out"), scene.path("summary.json"));
    for old in [&out, &summary] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let config = config::replay(scene, "", "");
    let mut command =
        Tidegate::new(scene, ["replay", "-c"]).arg(config).arg("--summary").arg(&summary);
    for capture in captures {
        command = command.arg(capture);
    }
    let ended = command.run()?;
    let summary =
        fs::read(&summary).map_or(Ok(Value::Null), |bytes| serde_json::from_slice(&bytes))?;
    Ok((ended, summary))
}

fn records(scene: &Scene) -> Result<Vec<String>, Failed> {
    let out = scene.path("records.out");
    if !out.exists() {
        return Ok(Vec::new());
    }
    Ok(fs::read_to_string(out)?.lines().map(str::to_owned).collect())
}
