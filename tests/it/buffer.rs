//! The disk buffer: the program is killed, its disk fills up, its destination is away.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, captures, expected,
    memory_disk::MemoryDisk,
    poll::{self, SOON},
    process::{shim, signal},
    tidegate::{Ended, Tidegate},
};

/// Packets of one run that is killed.
const PACKETS: u32 = 400;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(what_reached_the_disk_survives_kill_9_at_any_moment),
        Case::new(a_full_disk_is_waited_for_and_named).needs_root(),
        Case::new(a_sync_that_fails_is_made_up_for_in_another_file),
        Case::new(a_full_buffer_holds_the_rest_or_drops_it_as_told),
        Case::new(a_damaged_buffer_is_named_and_the_rest_delivered),
        Case::new(what_the_disk_does_not_give_back_is_counted_and_the_rest_delivered),
        Case::new(two_processes_never_share_a_buffer),
    ]
}

/// A file that nobody else can write to: what is to go there waits, until this is dropped.
fn blocked(out: &Path) -> Result<File, Failed> {
    let file = File::options().create(true).append(true).open(out)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// A replay through a disk buffer into a file.
fn config(scene: &Scene, buffer: &Path, out: &Path, keys: &str) -> PathBuf {
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  records:
    type: file
    inputs: [packets]
    path: {out}
    encoding: {{ schema: simple }}
    request: {{ retry_initial_secs: 1, retry_max_secs: 1 }}
    buffer: {{ type: disk, path: {buffer}{keys} }}
",
        state = scene.path("state").display(),
        out = out.display(),
        buffer = buffer.display(),
    );
    scene.write("buffered.yaml", text)
}

fn replay(scene: &Scene, config: &Path, capture: &Path) -> Tidegate {
    Tidegate::new(scene, ["replay", "--summary"])
        .arg(scene.path("summary.json"))
        .arg("-c")
        .arg(config)
        .arg(capture)
}

fn summary(scene: &Scene) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&fs::read(scene.path("summary.json"))?)?)
}

fn inspect(scene: &Scene, buffer: &Path) -> Result<Ended, Failed> {
    Tidegate::new(scene, ["buffer", "inspect"]).arg(buffer).run()
}

fn numbered(scene: &Scene, numbers: std::ops::Range<u32>) -> PathBuf {
    let path = scene.path(&format!("{}.pcap", numbers.start));
    captures::numbered_as(numbers).write(&path);
    path
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The number in `… acknowledged below N`.
fn acknowledged(inspected: &Ended) -> Result<u64, Failed> {
    let last = inspected.stdout.split_whitespace().next_back().unwrap_or_default();
    last.parse().map_err(|error| format!("{last:?}: {error}: {}", inspected.stdout).into())
}

fn what_reached_the_disk_survives_kill_9_at_any_moment(scene: &Scene) -> Outcome {
    // Kills that hit a run before its end: others show nothing.
    let kills = if scene.full { 200 } else { 20 };
    let (buffer, out) = (scene.path("buffer"), scene.path("records.out"));
    let config = config(scene, &buffer, &out, "");
    let (mut round, mut killed) = (0, 0);
    while killed < kills {
        assert!(round < kills * 4, "{killed} of {round} runs were killed before their end");
        let capture = numbered(scene, round * PACKETS..(round + 1) * PACKETS);
        let running = replay(scene, &config, &capture).start()?;
        // Once it has something to lose, after a time that differs from round to round.
        poll::until_true("the buffer to be there", SOON, || buffer.is_dir())?;
        let wait = 15 * u64::from(round % 20) + u64::from(process::id() % 13);
        std::thread::sleep(Duration::from_millis(wait));
        signal(running.pid(), rustix::process::Signal::KILL);
        killed += u32::from(running.wait(SOON)?.code.is_none());
        let inspected = inspect(scene, &buffer)?;
        let damaged = inspected.stdout.contains("damaged");
        assert!(!damaged, "round {round}: {}", inspected.stdout);
        round += 1;
    }
    let capture = numbered(scene, round * PACKETS..(round + 1) * PACKETS);
    let ended = replay(scene, &config, &capture).run()?.expect(0)?;
    ended.says(&["records.buffer"])?;
    let written = lines(&out);
    let all: HashSet<&String> = written.iter().collect();
    // The sequence counts what was ever on the disk, each record once.
    let stored = acknowledged(&inspect(scene, &buffer)?.expect(0)?)?;
    assert_eq!(all.len() as u64, stored, "of {} lines", written.len());
    let whole: HashSet<String> = (0..=round)
        .map(|round| expected::simple_json(&scene.path(&format!("{}.pcap", round * PACKETS))))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    assert!(written.iter().all(|line| whole.contains(line)), "a line is torn");
    eprintln!(
        "killed {killed} times in {round} runs: {stored} records on disk, each delivered, {} doubled",
        written.len() as u64 - stored
    );
    Ok(())
}

fn a_full_disk_is_waited_for_and_named(scene: &Scene) -> Outcome {
    let disk = MemoryDisk::mount(&scene.path("disk"), 1_500_000)?;
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![0; 900_000])?;
    let (buffer, out) = (disk.path().join("buffer"), scene.path("records.out"));
    let blocked = blocked(&out)?;
    let config = config(scene, &buffer, &out, "");
    let capture = numbered(scene, 0..20_000);
    let mut running = replay(scene, &config, &capture).start()?;
    poll::until_true("the full disk to be named", SOON, || {
        running.stderr().to_lowercase().contains("no space")
    })?;
    running.still_runs()?;
    fs::remove_file(&filler)?;
    disk.resize(60_000_000)?;
    drop(blocked);
    let ended = running.wait(SOON * 2)?.expect(0)?;
    ended.says(&["the disk buffer can't go on"])?;
    assert!(lines(&out) == expected::simple_json(&capture)?, "some are torn or lost");
    Ok(())
}

/// A replay of 5,000 records, killed once all of them are on disk.
fn killed_once_stored(
    scene: &Scene,
    config: &Path,
    buffer: &Path,
    capture: &Path,
) -> Result<(), Failed> {
    let running = replay(scene, config, capture).start()?;
    poll::until_true("all of them on disk", SOON, || {
        inspect(scene, buffer).is_ok_and(|seen| seen.stdout.contains("5000 records waiting"))
    })?;
    signal(running.pid(), rustix::process::Signal::KILL);
    running.wait(SOON)?;
    Ok(())
}

fn a_sync_that_fails_is_made_up_for_in_another_file(scene: &Scene) -> Outcome {
    let shim = shim(scene, "failing_sync")?;
    let (buffer, out) = (scene.path("buffer"), scene.path("records.out"));
    let config = config(scene, &buffer, &out, "");
    let stuck = blocked(&out)?;
    // What an earlier run has synced.
    let (first, second) = (numbered(scene, 0..5_000), numbered(scene, 5_000..25_000));
    killed_once_stored(scene, &config, &buffer, &first)?;
    let failing = scene.path("failing");
    fs::write(&failing, "")?;
    let mut running = replay(scene, &config, &second)
        .env("LD_PRELOAD", &shim)
        .env("FAILING_SYNC_WHILE", &failing)
        .start()?;
    // Several tries, each in a file of its own.
    poll::until_true("the error to be named again and again", SOON, || {
        running.stderr().matches("Input/output error").count() > 1
    })?;
    running.still_runs()?;
    let seen = inspect(scene, &buffer)?;
    assert!(seen.stdout.contains("5000 records waiting"), "{}", seen.stdout);
    fs::remove_file(&failing)?;
    drop(stuck);
    let ended = running.wait(SOON * 2)?.expect(0)?;
    ended.says(&["the disk buffer can't go on", "can't sync a segment"])?;
    let mut expected = expected::simple_json(&first)?;
    expected.extend(expected::simple_json(&second)?);
    assert!(lines(&out) == expected, "some are torn, lost or doubled");
    inspect(scene, &buffer)?.expect(0)?;
    Ok(())
}

fn a_full_buffer_holds_the_rest_or_drops_it_as_told(scene: &Scene) -> Outcome {
    let capture = numbered(scene, 0..40_000);
    for (when_full, code) in [("block", 0), ("drop_newest", 3)] {
        let (buffer, out) = (scene.path(when_full), scene.path(&format!("{when_full}.out")));
        let blocked = blocked(&out)?;
        let keys = format!(", max_bytes: 4194304, when_full: {when_full}");
        let config = config(scene, &buffer, &out, &keys);
        let running = replay(scene, &config, &capture).start()?;
        poll::until_true("the buffer to be full", SOON, || {
            running.stderr().contains("the disk buffer is full")
        })?;
        drop(blocked);
        running.wait(SOON * 2)?.expect(code)?;
        let summary = summary(scene)?;
        let dropped = summary.pointer("/dropped/buffer_full").and_then(Value::as_u64).unwrap_or(0);
        let written = lines(&out);
        assert_eq!(written.len() as u64 + dropped, 40_000, "{summary}");
        assert_eq!(dropped > 0, code == 3, "{summary}");
        let unique: HashSet<_> = written.iter().collect();
        assert_eq!(unique.len(), written.len());
        assert_eq!(summary.pointer("/stored"), Some(&Value::from(0)), "{summary}");
    }
    Ok(())
}

fn a_damaged_buffer_is_named_and_the_rest_delivered(scene: &Scene) -> Outcome {
    let (buffer, out) = (scene.path("buffer"), scene.path("records.out"));
    let blocked = blocked(&out)?;
    let config = config(scene, &buffer, &out, ", max_bytes: 4194304");
    let running = replay(scene, &config, &numbered(scene, 0..20_000)).start()?;
    poll::until_true("several segments", SOON, || {
        fs::read_dir(&buffer).is_ok_and(|files| files.count() > 4)
    })?;
    signal(running.pid(), rustix::process::Signal::KILL);
    running.wait(SOON)?;
    let mut segments: Vec<_> = fs::read_dir(&buffer)?
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    let mut content = fs::read(&segments[0])?;
    let middle = content.len() / 2;
    content[middle..middle + 1_000].fill(0x55);
    fs::write(&segments[0], content)?;
    fs::remove_file(&segments[1])?;
    let seen = inspect(scene, &buffer)?.expect(3)?;
    assert!(seen.stdout.contains("bytes between records are damaged"), "{}", seen.stdout);
    drop(blocked);
    let ended = replay(scene, &config, &numbered(scene, 50_000..50_010)).run()?.expect(3)?;
    ended.says(&["lost", "(damaged)", "(missing)"])?;
    let summary = summary(scene)?;
    let lost = |cause: &str| summary["lost"][cause].as_u64().unwrap_or(0);
    assert!(lost("damaged") > 0 && lost("missing") > lost("damaged"), "{summary}");
    let stored = acknowledged(&inspect(scene, &buffer)?)?;
    let unique: HashSet<_> = lines(&out).into_iter().collect();
    assert_eq!(unique.len() as u64 + lost("damaged") + lost("missing"), stored, "{summary}");
    // What is damaged was set aside; what is left is whole.
    let seen = inspect(scene, &buffer)?.expect(0)?;
    assert!(seen.stdout.contains(".segment.damaged: set aside"), "{}", seen.stdout);
    Ok(())
}

/// A start failed, whichever segment it was.
fn what_the_disk_does_not_give_back_is_counted_and_the_rest_delivered(scene: &Scene) -> Outcome {
    let shim = shim(scene, "failing_read")?;
    for (round, place) in [Some(20 * 4096), Some(0), None].into_iter().enumerate() {
        let (buffer, out) =
            (scene.path(&format!("buffer{round}")), scene.path(&format!("{round}.out")));
        let stuck = blocked(&out)?;
        let config = config(scene, &buffer, &out, "");
        let first = numbered(scene, 0..5_000);
        killed_once_stored(scene, &config, &buffer, &first)?;
        drop(stuck);
        // Else the last page.
        let segment = fs::metadata(buffer.join("00000000000000000000.segment"))?;
        let at = place.unwrap_or((segment.len() - 1) / 4096 * 4096);
        let broken = |command: Tidegate| {
            command
                .env("LD_PRELOAD", &shim)
                .env("FAILING_READ_OF", "/00000000000000000000.segment")
                .env("FAILING_READ_AT", at.to_string())
        };
        let seen = broken(Tidegate::new(scene, ["buffer", "inspect"]).arg(&buffer)).run()?;
        let told = format!("bytes at {} can't be read", at.max(24));
        assert!(seen.stdout.contains(&told), "{}", seen.stdout);
        assert_eq!(seen.code, Some(3), "{}", seen.stdout);
        let ended = broken(replay(scene, &config, &numbered(scene, 9_000..9_010))).run()?;
        let ended = ended.expect(3)?;
        let told = format!("bytes at {}: Input/output error", at.max(24));
        ended.says(&["a place of the disk buffer can't be read", &told])?;
        let summary = summary(scene)?;
        let lost = summary["lost"]["unreadable"].as_u64().unwrap_or(0);
        assert!((1..100).contains(&lost), "{summary}");
        let delivered = lines(&out).len() as u64;
        match place {
            Some(_) => assert_eq!(delivered + lost, 5_010, "{summary}"),
            None => assert_eq!((lost, delivered < 5_010), (1, true), "{summary}"),
        }
        assert_eq!(summary["stored"], 0, "it is counted once: {summary}");
        let kept = buffer.join("00000000000000000000.segment.damaged");
        assert!(kept.exists(), "it is kept");
    }
    Ok(())
}

fn two_processes_never_share_a_buffer(scene: &Scene) -> Outcome {
    let (buffer, out) = (scene.path("buffer"), scene.path("records.out"));
    let _blocked = blocked(&out)?;
    let config = config(scene, &buffer, &out, "");
    let capture = numbered(scene, 0..10);
    let first = replay(scene, &config, &capture).start()?;
    poll::until_true("the buffer to be there", SOON, || {
        fs::read_dir(&buffer).is_ok_and(|files| files.count() > 0)
    })?;
    let pid = format!("pid {}", first.pid());
    replay(scene, &config, &capture).run()?.expect(1)?.says(&["disk buffer's directory", &pid])?;
    let repair = Tidegate::new(scene, ["buffer", "repair"]).arg(&buffer).run()?;
    repair.expect(1)?.says(&[&pid])
}
