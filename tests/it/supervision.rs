//! Children that are killed, stopped or starved: the capture goes on, and says what it lost.

use std::fs;

use rustix::process::Signal;
use tidegate::component::drain;

use crate::harness::{
    Case, Outcome, Scene, captures, config,
    live::Live,
    memory_disk::MemoryDisk,
    netns::INTERFACE,
    poll::{self, SOON},
    process,
    tidegate::Tidegate,
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(capture_goes_on_after_dumpcap_was_killed).live(),
        Case::new(capture_goes_on_after_tshark_was_killed).live(),
        Case::new(a_killed_worker_does_not_lose_its_segment_unnamed).live(),
        Case::new(a_stopped_dumpcap_is_continued).live(),
        Case::new(a_stopped_tshark_does_not_keep_the_program_from_ending).live(),
        Case::new(capture_goes_on_when_the_interface_comes_back).live(),
        Case::new(a_full_segment_disk_is_named_and_survived).live(),
        Case::new(a_second_sigterm_ends_a_drain_that_hangs).live(),
        Case::new(nothing_outlives_a_killed_program).live(),
    ]
}

fn capture_goes_on_after_dumpcap_was_killed(scene: &Scene) -> Outcome {
    for mode in ["segments", "pipe"] {
        for dissect in ["application", "headers"] {
            capture_goes_on_after_a_kill(scene, &format!("{mode}, dissect: {dissect}"), "dumpcap")?;
        }
    }
    Ok(())
}

fn capture_goes_on_after_tshark_was_killed(scene: &Scene) -> Outcome {
    capture_goes_on_after_a_kill(scene, "pipe", "tshark")
}

fn capture_goes_on_after_a_kill(scene: &Scene, mode: &str, victim: &str) -> Outcome {
    let out = scene.path("records.out");
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    let source = format!("mode: {mode}, segment: {{ max_secs: 1 }}");
    let mut live = Live::start(scene, &source)?;
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(100)?;

    let capturer = live.capturer_other_than(0)?;
    let killed = live.children(victim).pop().ok_or_else(|| format!("no {victim} runs"))?;
    process::signal(killed.pid, Signal::KILL);
    let at = poll::now();
    live.capturer_other_than(capturer)?;
    eprintln!("{mode}: capture went on after {:?}", at.elapsed());
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(200)?;

    let (ended, records) = live.stop()?;
    assert_eq!(records, 200, "{mode}: {}", ended.stderr);
    ended.expect(3)?.says(&["unknown loss"])
}

fn a_killed_worker_does_not_lose_its_segment_unnamed(scene: &Scene) -> Outcome {
    let capture = scene.path("ten-thousand.pcap");
    captures::numbered(10_000).write(&capture);
    let live = Live::start(scene, "segment: { max_secs: 1 }")?;
    let sent = live.wire.send(&capture, 20_000, 2)?;
    // One that has begun to print packets: before that, its end is taken for a refusal to start.
    let is_at_work = |child: &process::Process| process::written(child.pid) > 4_096;
    let worker = poll::until("a tshark at work", SOON, || {
        live.children("tshark").into_iter().find(is_at_work)
    })?;
    process::signal(worker.pid, Signal::KILL);
    let (ended, records) = live.stop()?;
    if records == sent {
        // It was read again, or had nothing left to say.
        return Ok(());
    }
    let account =
        ended.stderr.lines().find(|line| line.contains("tshark: in ")).unwrap_or_default();
    assert!(
        account.contains("lost") || account.contains("unknown loss"),
        "{} of {sent} records are missing unnamed:\n{}",
        sent - records,
        ended.stderr
    );
    ended.expect(3)?;
    Ok(())
}

fn a_stopped_dumpcap_is_continued(scene: &Scene) -> Outcome {
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    for mode in ["segments", "pipe"] {
        fresh(scene)?;
        let source = format!("mode: {mode}, dissect: headers, segment: {{ max_secs: 1 }}");
        let mut live = Live::start(scene, &source)?;
        let capturer = live.capturer_other_than(0)?;
        process::signal(capturer, Signal::STOP);
        live.wire.send(&capture, 1_000, 1)?;
        live.wait_for_records(100)?;
        let (ended, records) = live.stop()?;
        assert_eq!(records, 100, "{mode}: {}", ended.stderr);
        ended.expect(3)?.says(&["stopped by a signal"])?;
    }
    Ok(())
}

/// Without the records of an earlier round.
fn fresh(scene: &Scene) -> Outcome {
    let out = scene.path("records.out");
    if out.exists() {
        fs::remove_file(out)?;
    }
    Ok(())
}

fn a_stopped_tshark_does_not_keep_the_program_from_ending(scene: &Scene) -> Outcome {
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    let live = Live::start(scene, "mode: pipe")?;
    let tshark = live.children("tshark").pop().ok_or("no tshark runs")?;
    process::signal(tshark.pid, Signal::STOP);
    live.wire.send(&capture, 1_000, 1)?;
    let (ended, records) = live.stop()?;
    if records < 100 {
        ended.expect(3)?;
    }
    Ok(())
}

fn capture_goes_on_when_the_interface_comes_back(scene: &Scene) -> Outcome {
    for how in
        ["mode: segments", "mode: segments, dissect: headers", "mode: pipe, dissect: headers"]
    {
        fresh(scene)?;
        interface_goes_and_comes_back(scene, how)?;
    }
    Ok(())
}

fn interface_goes_and_comes_back(scene: &Scene, how: &str) -> Outcome {
    let capture = scene.path("hundred.pcap");
    captures::numbered(100).write(&capture);
    let source = format!("{how}, segment: {{ max_secs: 1 }}, restart: {{ max_secs: 1 }}");
    let mut live = Live::start(scene, &source)?;
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(100)?;
    let capturer = live.capturer_other_than(0)?;
    live.wire.cut()?;
    poll::until_true("the dead capturer to be noticed", SOON, || {
        process::get(capturer).is_none() && live.running.stderr().contains(INTERFACE)
    })?;
    live.running.still_runs()?;
    live.wire.join()?;
    live.capturer_other_than(capturer)?;
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(200)?;
    let (ended, records) = live.stop()?;
    assert_eq!(records, 200, "{}", ended.stderr);
    ended.expect(3)?;
    Ok(())
}

fn a_full_segment_disk_is_named_and_survived(scene: &Scene) -> Outcome {
    for dissect in ["application", "headers"] {
        fresh(scene)?;
        full_segment_disk(scene, dissect)?;
    }
    Ok(())
}

fn full_segment_disk(scene: &Scene, dissect: &str) -> Outcome {
    let capture = scene.path("ten-thousand.pcap");
    captures::numbered(10_000).write(&capture);
    let disk = MemoryDisk::mount(&scene.path("disk"), 2_000_000)?;
    // A first segment would hold 30 MB and ten minutes: the disk is full before it closes.
    let source = format!(
        "dissect: {dissect}, segment: {{ dir: {}, max_secs: 600, max_bytes: 30000000 }}, restart: {{ max_secs: 1 }}",
        disk.path().display()
    );
    let mut live = Live::start(scene, &source)?;
    let mut sent = live.wire.send(&capture, 20_000, 10)?;
    poll::until_true("the full disk to be named", SOON, || {
        let said = live.running.stderr();
        said.contains("disk") || said.contains("space") || said.contains("budget")
    })?;
    live.running.still_runs()?;
    let before = live.records();
    live.capturer_other_than(0)?;
    sent += live.wire.send(&capture, 20_000, 1)?;
    let (ended, records) = live.stop()?;
    assert!(records > before, "nothing was captured once the disk had room:\n{}", ended.stderr);
    assert!(records <= sent, "{records} records of {sent} packets");
    let account =
        ended.stderr.lines().find(|line| line.contains("tshark: in ")).unwrap_or_default();
    assert!(
        records == sent || account.contains("lost") || account.contains("unknown loss"),
        "{} packets are missing unnamed:\n{}",
        sent - records,
        ended.stderr
    );
    Ok(())
}

fn a_second_sigterm_ends_a_drain_that_hangs(scene: &Scene) -> Outcome {
    let capture = scene.path("ten-thousand.pcap");
    captures::numbered(10_000).write(&capture);
    let disk = MemoryDisk::mount(&scene.path("disk"), 100_000)?;
    let config = config::live(scene, "mode: pipe", "");
    let out = disk.path().join("records.out").display().to_string();
    let text = fs::read_to_string(&config)?
        .replace(&scene.path("records.out").display().to_string(), &out);
    fs::write(&config, text)?;
    let mut live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config)
    })?;
    live.wire.send(&capture, 10_000, 1)?;
    poll::until_true("the full disk to be named", SOON, || {
        live.running.stderr().to_lowercase().contains("no space")
    })?;
    let first = poll::now();
    live.running.signal(Signal::TERM);
    poll::until_true("the drain to begin", SOON, || live.running.stderr().contains("stopping"))?;
    // The drain can't end: its deadline is a minute, and the disk stays full.
    live.running.still_runs()?;
    live.running.stop_again()?;
    let second = poll::now();
    let ended = live.cut_off()?;
    eprintln!("the second signal took {:?}", second.elapsed());
    // What ended it is not the deadline, which was not reached.
    let waited = first.elapsed();
    assert!(waited < drain::RUN, "the drain took {waited:?}");
    assert!(matches!(ended.code, Some(1 | 3)), "exit {:?}\n{}", ended.code, ended.stderr);
    ended.says(&["records"])
}

fn nothing_outlives_a_killed_program(scene: &Scene) -> Outcome {
    for how in ["segments", "pipe", "pipe, dissect: headers"] {
        let live = Live::start(scene, &format!("mode: {how}"))?;
        live.running.signal(Signal::KILL);
        let left = || live.wire.near.processes().unwrap_or_default();
        poll::until_true("the children to end", SOON, || {
            left().iter().all(|process| process.state == 'Z')
        })?;
    }
    Ok(())
}
