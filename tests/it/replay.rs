//! Captures replayed through tshark, extract and file, compared with what tshark itself says.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, all_captures,
    captures::{self, Capture, EPOCH_SECONDS},
    config, expected,
    memory_disk::MemoryDisk,
    process,
    tidegate::{Ended, Tidegate},
};

/// How many differences a message shows.
const SHOWN: usize = 10;

/// Two million packets take tshark two to three minutes of CPU.
const A_LONG_REPLAY: Duration = Duration::from_mins(15);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_capture_gives_one_record_per_packet_as_tshark_has_it).needs_data().busy(),
        Case::new(every_kind_of_frame_gives_one_record_as_tshark_has_it),
        Case::new(a_gzipped_capture_gives_the_same_records),
        Case::new(a_packet_to_port_443_has_six_keys_in_order_in_json),
        Case::new(a_packet_to_port_443_has_six_keys_in_order_in_yaml),
        Case::new(captures_come_out_in_the_order_they_were_named),
        Case::new(two_workers_write_the_same_bytes_as_one).busy(),
        Case::new(flows_of_every_capture_are_the_same_bytes_each_time_and_with_two_workers)
            .needs_data()
            .busy(),
        Case::new(a_relative_temporary_folder_serves_for_chunks),
        Case::new(a_capture_that_grows_beyond_its_disk_is_read_without_chunks).needs_root(),
        Case::new(the_summary_accounts_for_every_packet),
        Case::new(a_replay_writes_only_data_to_stdout),
        Case::new(two_million_packets_fit_into_bounded_memory).slow().alone(),
    ]
}

fn every_capture_gives_one_record_per_packet_as_tshark_has_it(scene: &Scene) -> Outcome {
    let captures = captures::below(&scene.data)?;
    assert!(captures.len() > 40, "only {} captures below {}", captures.len(), scene.data.display());
    let mut records = Vec::new();
    all_captures::each(scene, "packets", "simple", |record| {
        records.push(record);
        Ok(())
    })?;
    let (mut rest, mut packets) = (records.as_slice(), 0);
    for capture in captures {
        let expected = expected::simple_json_of_data(&capture)?;
        let (records, behind) = rest.split_at(expected.len().min(rest.len()));
        (rest, packets) = (behind, packets + expected.len());
        // What follows a record too many or too few differs as well.
        if let Some(difference) = difference(&expected, records) {
            return Err(format!("{}: {difference}", capture.display()).into());
        }
    }
    assert!(packets > 100_000, "only {packets} packets were compared");
    assert!(rest.is_empty(), "{} records too many: {}", rest.len(), rest[0]);
    Ok(())
}

fn every_kind_of_frame_gives_one_record_as_tshark_has_it(scene: &Scene) -> Outcome {
    let capture = scene.path("every-kind.pcap");
    captures::every_kind().write(&capture);
    let expected = expected::simple_json(&capture)?;
    assert_eq!(expected.len(), 22, "of 24 frames one is ARP, and one is cut in its IP header");
    let config = config::replay(scene, "", "");
    same(&expected, &replayed(scene, &config, &[&capture])?)
}

fn a_gzipped_capture_gives_the_same_records(scene: &Scene) -> Outcome {
    let plain = scene.path("plain.pcap");
    captures::numbered(1_000).write(&plain);
    let gzipped = scene.path("gzipped.pcap.gz");
    let mut encoder = GzEncoder::new(File::create(&gzipped)?, Compression::fast());
    encoder.write_all(captures::numbered(1_000).bytes())?;
    encoder.finish()?;
    let config = config::replay(scene, "", "");
    let expected = replayed(scene, &config, &[&plain])?;
    assert_eq!(expected.len(), 1_000);
    same(&expected, &replayed(scene, &config, &[&gzipped])?)
}

fn a_packet_to_port_443_has_six_keys_in_order_in_json(scene: &Scene) -> Outcome {
    let text = one_to_443(scene, "json")?;
    let expected = "{\"timestamp\":\"2023-10-17T14:55:23Z\",\"source_ip\":\"192.0.2.10\",\
                    \"destination_ip\":\"198.51.100.20\",\"protocol\":\"TCP\",\"port\":443,\
                    \"packet_size\":1280}\n";
    assert_eq!(text, expected);
    Ok(())
}

fn a_packet_to_port_443_has_six_keys_in_order_in_yaml(scene: &Scene) -> Outcome {
    let text = one_to_443(scene, "yaml")?;
    let keys: Vec<_> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let expected = [
        ("timestamp", "2023-10-17T14:55:23Z"),
        ("source_ip", "192.0.2.10"),
        ("destination_ip", "198.51.100.20"),
        ("protocol", "TCP"),
        ("port", "443"),
        ("packet_size", "1280"),
    ];
    let bare = |(key, value): &(&str, &str)| {
        (key.to_string(), value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let got: Vec<_> = keys.iter().map(bare).collect();
    let wanted: Vec<_> = expected.iter().map(bare).collect();
    assert_eq!(got, wanted, "{text}");
    assert!(text.starts_with("---\n"), "{text}");
    Ok(())
}

fn one_to_443(scene: &Scene, codec: &str) -> Result<String, Failed> {
    let capture = scene.path("443.pcap");
    captures::one_to_443().write(&capture);
    let config = config::replay(scene, "", "");
    let text = fs::read_to_string(&config)?
        .replace("schema: simple", &format!("codec: {codec}, schema: simple"));
    fs::write(&config, text)?;
    replay(scene, &config, &[&capture])?;
    Ok(fs::read_to_string(scene.path("records.out"))?)
}

fn captures_come_out_in_the_order_they_were_named(scene: &Scene) -> Outcome {
    let (late, early) = (scene.path("late.pcap"), scene.path("early.pcap"));
    captures::every_kind().write(&late);
    captures::one_to_443().write(&early);
    let mut expected = expected::simple_json(&late)?;
    expected.extend(expected::simple_json(&early)?);
    let config = config::replay(scene, "workers: 2", "");
    same(&expected, &replayed(scene, &config, &[&late, &early])?)
}

fn two_workers_write_the_same_bytes_as_one(scene: &Scene) -> Outcome {
    let capture = scene.path("many.pcap");
    captures::numbered(120_000).write(&capture);
    let mut outputs = Vec::new();
    for workers in ["workers: 1", "workers: 2"] {
        let config = config::replay(scene, workers, "");
        let records = replayed(scene, &config, &[&capture])?;
        assert_eq!(records.len(), 120_000, "{workers}");
        outputs.push(records);
    }
    same(&outputs[0], &outputs[1])
}

fn flows_of_every_capture_are_the_same_bytes_each_time_and_with_two_workers(
    scene: &Scene,
) -> Outcome {
    let captures = captures::below(&scene.data)?;
    let mut outputs = Vec::new();
    // Each time: a second run with two workers is one more in a full run.
    for workers in if scene.full { &[1, 2, 2][..] } else { &[1, 2] } {
        let config = config::replay(scene, &format!("workers: {workers}"), "");
        let flows = format!(
            "transforms:\n  flows: {{ type: flow, inputs: [packets], workers: {workers} }}"
        );
        let text = fs::read_to_string(&config)?
            .replace("transforms:", &flows)
            .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
        fs::write(&config, text)?;
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let command = Tidegate::new(scene, ["replay", "-c"]).arg(&config);
        let command = captures.iter().fold(command, Tidegate::arg);
        command.start()?.wait(A_LONG_REPLAY)?.expect(0)?;
        outputs.push(fs::read_to_string(&out)?.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    assert!(outputs[0].len() > 10_000, "only {} flows", outputs[0].len());
    outputs[1..].iter().try_for_each(|output| same(&outputs[0], output))
}

fn the_summary_accounts_for_every_packet(scene: &Scene) -> Outcome {
    let capture = scene.path("every-kind.pcap");
    captures::every_kind().write(&capture);
    let config = config::replay(scene, "", "");
    let summary = scene.path("summary.json");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg("--summary")
        .arg(&summary)
        .arg(&capture)
        .run()?
        .expect(0)?;
    let summary: Value = serde_json::from_slice(&fs::read(&summary)?)?;
    let number = |key: &str| summary.pointer(key).and_then(Value::as_u64);
    assert_eq!(number("/packets"), Some(24), "{summary}");
    assert_eq!(number("/records_in"), Some(24), "{summary}");
    assert_eq!(number("/records_out/records"), Some(22), "{summary}");
    assert_eq!(number("/delivered"), Some(22), "{summary}");
    assert_eq!(number("/filtered"), Some(2), "{summary}");
    for nothing in ["/dropped", "/lost"] {
        assert_eq!(summary.pointer(nothing), Some(&Value::Object(serde_json::Map::new())));
    }
    ended.says(&["capture", "packets", "records", "in 24 ="])?;
    assert!(!ended.stderr.contains("BALANCE"), "{}", ended.stderr);
    Ok(())
}

fn a_replay_writes_only_data_to_stdout(scene: &Scene) -> Outcome {
    let capture = scene.path("every-kind.pcap");
    captures::every_kind().write(&capture);
    let config = config::replay(scene, "", "");
    let text = fs::read_to_string(&config)?;
    let (before, _) = text.split_once("sinks:").ok_or("the config has sinks")?;
    fs::write(&config, format!("{before}sinks:\n  out: {{ type: console, inputs: [packets] }}\n"))?;
    let ended = replay(scene, &config, &[&capture])?;
    let lines: Vec<String> = ended.stdout.lines().map(str::to_owned).collect();
    same(&expected::simple_json(&capture)?, &lines)
}

fn two_million_packets_fit_into_bounded_memory(scene: &Scene) -> Outcome {
    let capture = scene.path("two-million.pcap");
    captures::numbered(2_000_000).write(&capture);
    for (workers, megabytes) in [(1, 48), (2, 128)] {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let config = config::replay(scene, &format!("workers: {workers}"), "");
        let running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
        let pid = running.pid();
        let mut peak_kilobytes = 0;
        let ended = running.wait_watching(A_LONG_REPLAY, || {
            // As `RssAnon: 12345 kB`. Without the program itself, of which a debug build has 30 MB in memory.
            let resident = process::status(pid, "RssAnon").unwrap_or_default();
            let kilobytes = resident.trim_end_matches(" kB").parse().unwrap_or(0);
            peak_kilobytes = peak_kilobytes.max(kilobytes);
        })?;
        ended.expect(0)?;
        let records = BufReader::new(File::open(&out)?).lines().count();
        assert_eq!(records, 2_000_000, "{workers} workers");
        let limit = megabytes * 1_024;
        eprintln!("{workers} workers: peak of {peak_kilobytes} KiB");
        assert!((1..=limit).contains(&peak_kilobytes), "{workers} workers: {peak_kilobytes} KiB");
    }
    Ok(())
}

fn a_relative_temporary_folder_serves_for_chunks(scene: &Scene) -> Outcome {
    let capture = scene.path("sixty-thousand.pcap");
    captures::numbered(60_000).write(&capture);
    fs::create_dir(scene.path("temporary"))?;
    let config = config::replay(scene, "", "");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg(&capture)
        .env("TMPDIR", "temporary")
        .run()?
        .expect(0)?;
    assert!(!ended.stderr.contains("can't be cut"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(scene.path("records.out"))?.lines().count(), 60_000);
    Ok(())
}

fn a_capture_that_grows_beyond_its_disk_is_read_without_chunks(scene: &Scene) -> Outcome {
    const PACKETS: u32 = 3_000;
    // 180 MB that pack so well that they are taken for some 8 MB: the disk seems to have room.
    let capture = scene.path("bomb.pcap.gz");
    let mut frame = captures::numbered(1).bytes()[24 + 16..].to_vec();
    frame.resize(60_000, 0);
    let mut whole = Capture::micros();
    for number in 0..PACKETS {
        whole.frame(EPOCH_SECONDS, number, &frame);
    }
    let mut packed = GzEncoder::new(File::create(&capture)?, Compression::fast());
    packed.write_all(whole.bytes())?;
    packed.finish()?;
    let packed_bytes = capture.metadata()?.len();
    assert!((500_000..2_000_000).contains(&packed_bytes), "{packed_bytes} bytes");
    let disk = MemoryDisk::mount(&scene.path("disk"), 120_000_000)?;
    let config = config::replay(scene, "", "");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg(&capture)
        .env("TMPDIR", disk.path())
        .run()?
        .expect(0)?;
    ended.says(&["too little space left"])?;
    assert!(!ended.stderr.contains("No space left"), "{}", ended.stderr);
    let records = fs::read_to_string(scene.path("records.out"))?;
    assert_eq!(records.lines().count(), PACKETS as usize);
    Ok(())
}

/// Replays captures; they must all be delivered.
fn replay(scene: &Scene, config: &Path, captures: &[&Path]) -> Result<Ended, Failed> {
    let mut command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    for capture in captures {
        command = command.arg(capture);
    }
    command.run()?.expect(0)
}

/// Replays captures into a fresh file; answers its lines.
fn replayed(scene: &Scene, config: &Path, captures: &[&Path]) -> Result<Vec<String>, Failed> {
    let out = scene.path("records.out");
    if out.exists() {
        fs::remove_file(&out)?;
    }
    replay(scene, config, captures)?;
    // A capture without an IP packet makes no file.
    let text = if out.exists() { fs::read_to_string(&out)? } else { String::new() };
    Ok(text.lines().map(str::to_owned).collect())
}

fn same(expected: &[String], got: &[String]) -> Outcome {
    difference(expected, got).map_or(Ok(()), |difference| Err(difference.into()))
}

/// The first lines that differ, and how many there are.
fn difference(expected: &[String], got: &[String]) -> Option<String> {
    if expected == got {
        return None;
    }
    let counts = format!("{} records expected, {} there", expected.len(), got.len());
    let pairs = expected.iter().zip(got).enumerate();
    let differing = pairs.filter(|(_, (expected, got))| expected != got).take(SHOWN);
    let shown = differing.map(|(number, (expected, got))| {
        format!("  {number}: expected {expected}\n  {number}:      got {got}")
    });
    Some([counts].into_iter().chain(shown).collect::<Vec<_>>().join("\n"))
}
