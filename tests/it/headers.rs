//! Captures read by ourselves (`dissect: headers`): the same records as tshark gives, without it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture, Damage, EPOCH_SECONDS},
    config, expected,
    live::{self, Live},
    netns::Wire,
    poll::{self, SOON},
    process,
    tidegate::{Ended, Tidegate},
};

/// What a replay of a million packets may hold in memory beside a flow table.
const PEAK_KILOBYTES: u64 = 64 << 10;

/// Captures of the data folder whose packets go over a wire as they are: web pages with their look-ups, mail, FTP
/// over IPv6, a login over TLS, tunnels, SCTP, and two VLAN tags.
const REPLAYED: [&str; 8] = [
    "flows/zeek/traces/wikipedia.pcap",
    "flows/zeek/traces/smtp.pcap",
    "flows/zeek/traces/ftp/ipv6.pcap",
    "flows/zeek/traces/tls/imap-starttls.pcap",
    "flows/zeek/traces/tunnels/gre-sample.pcap",
    "flows/zeek/traces/communityid/sctp.pcap",
    "flows/zeek/traces/q-in-q.pcap",
    "community-id/pcaps/icmp6.pcap",
];

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(every_capture_gives_the_records_that_tshark_gives).needs_data(),
        Case::new(every_kind_of_frame_gives_the_record_that_tshark_gives),
        Case::new(no_tshark_is_needed),
        Case::new(the_command_line_says_how_deep_whatever_the_config_says),
        Case::new(transport_means_headers_for_files_and_says_so),
        Case::new(what_only_tshark_knows_is_a_mistake_in_the_config),
        Case::new(capturing_by_headers_runs_no_tshark).live(),
        Case::new(flows_by_headers_and_by_application_agree_on_one_wire).live().needs_data(),
        Case::new(one_worker_and_two_write_the_same_bytes).needs_data(),
        Case::new(a_damaged_capture_gives_its_whole_packets_and_exit_code_3),
        Case::new(what_is_no_capture_is_named_and_does_not_stop_the_next_one),
        Case::new(compressed_captures_give_the_same_records),
        Case::new(a_capture_that_comes_through_a_pipe_is_read_as_it_grows),
        Case::new(frames_of_an_unknown_link_are_counted_as_lost),
        Case::new(frames_without_a_packet_are_counted_by_their_reason),
        Case::new(wrong_checksums_are_found_where_the_config_asks),
        Case::new(a_million_packets_fit_into_bounded_memory).alone(),
    ]
}

fn every_capture_gives_the_records_that_tshark_gives(scene: &Scene) -> Outcome {
    let config = config::replay(scene, "", "");
    let (mut differences, mut packets) = (Vec::new(), 0);
    for capture in captures::below(&scene.data)? {
        let theirs = expected::simple_json(&capture)?;
        packets += theirs.len();
        let ours = replayed(scene, &config, &["--dissect", "headers"], &[&capture])?;
        if let Some(difference) = difference(&theirs, &ours) {
            differences.push(format!("{}: {difference}", capture.display()));
        }
    }
    assert!(packets > 100_000, "only {packets} packets were compared");
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

fn every_kind_of_frame_gives_the_record_that_tshark_gives(scene: &Scene) -> Outcome {
    let capture = scene.path("every-kind.pcap");
    captures::every_kind().write(&capture);
    let theirs = expected::simple_json(&capture)?;
    let config = config::replay(scene, "dissect: headers", "");
    same(&theirs, &replayed(scene, &config, &[], &[&capture])?)
}

fn no_tshark_is_needed(scene: &Scene) -> Outcome {
    let capture = scene.path("some.pcap");
    captures::numbered(10).write(&capture);
    let config = config::replay(scene, "dissect: headers", "");
    for command in [&["validate"][..], &["replay", "-c"]] {
        let mut run =
            Tidegate::new(scene, command).arg(&config).env("PATH", without_tshark(scene)?);
        if command.len() > 1 {
            run = run.arg(&capture);
        } else {
            fs::copy(&capture, scene.path("replaced.pcap"))?;
        }
        run.run()?.expect(0)?;
    }
    assert_eq!(records(scene)?.len(), 10);
    Ok(())
}

fn the_command_line_says_how_deep_whatever_the_config_says(scene: &Scene) -> Outcome {
    let capture = scene.path("some.pcap");
    captures::numbered(10).write(&capture);
    let run = |config: &Path, arguments: &[&str]| -> Result<Ended, Failed> {
        let mut run = Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(&capture);
        for argument in arguments {
            run = run.arg(argument);
        }
        run.env("PATH", without_tshark(scene)?).run()
    };
    let application = config::replay(scene, "dissect: application", "");
    run(&application, &["--dissect", "headers"])?.expect(0)?;
    run(&application, &[])?.says(&["no tshark here"])?;
    let headers = config::replay(scene, "dissect: headers", "");
    run(&headers, &["--dissect", "application"])?.says(&["no tshark here"])?;
    run(&headers, &["--dissect", "deep"])?.expect(2)?;
    // Even of a source that captures, for which headers are not to be had yet.
    let live = config::live(scene, "dissect: headers", "");
    run(&live, &[])?.expect(0)?;
    Ok(())
}

fn transport_means_headers_for_files_and_says_so(scene: &Scene) -> Outcome {
    let capture = scene.path("some.pcap");
    captures::numbered(10).write(&capture);
    let config = config::replay(scene, "dissect: transport", "");
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg(&capture)
        .env("PATH", without_tshark(scene)?)
        .run()?
        .expect(0)?;
    ended.says(&["warning", "`transport` means `headers`", "replay.yaml:4:"])?;
    assert_eq!(records(scene)?.len(), 10);
    // Where a field asks for tshark, it is tshark that stops at the ports.
    let config = config::replay(scene, "dissect: transport, fields: [tcp.options]", "");
    let ended = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).run()?;
    let ended = ended.expect(0)?;
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    Ok(())
}

fn what_only_tshark_knows_is_a_mistake_in_the_config(scene: &Scene) -> Outcome {
    let capture = scene.path("some.pcap");
    captures::numbered(1).write(&capture);
    let config = config::replay(scene, "dissect: headers, fields: [dns.a, tls.handshake.type]", "");
    Tidegate::new(scene, ["validate", "--no-environment"]).arg(&config).run()?.expect(78)?.says(
        &["sources.capture.fields[1]", "only tshark knows `tls.handshake.type`", "application"],
    )?;
    // What `extract` asks for, too, and what the command line asks for.
    let config = config::replay(scene, "fields: [http.date]", "");
    let text = fs::read_to_string(&config)?
        .replace("inputs: [capture] }", "inputs: [capture], fields: [http.date] }");
    fs::write(&config, &text)?;
    let by = |depth: &str| -> Result<Ended, Failed> {
        Tidegate::new(scene, ["replay", "--dissect", depth, "-c"]).arg(&config).arg(&capture).run()
    };
    by("application")?.expect(0)?;
    by("headers")?.expect(78)?.says(&["only tshark knows `http.date`"])?;
    // Asked for by `extract` alone.
    fs::write(&config, text.replacen(", fields: [http.date]", "", 1))?;
    by("headers")?.expect(78)?.says(&[
        "transforms.packets.fields[0]",
        "the field `http.date` does not come from `capture`",
        "dissect: application",
    ])
}

fn capturing_by_headers_runs_no_tshark(scene: &Scene) -> Outcome {
    let capture = scene.path("thousand.pcap");
    captures::numbered(1_000).write(&capture);
    for how in ["segments, dissect: headers", "pipe, dissect: headers", "pipe, dissect: transport"]
    {
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let source = format!("mode: {how}, segment: {{ max_secs: 1 }}");
        let config = config::live(scene, &source, "");
        let path = without_tshark(scene)?;
        let live = Live::start_with(scene, |wire| {
            Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config).env("PATH", path)
        })?;
        let sent = live.wire.send(&capture, 5_000, 2)?;
        // While it goes on, and not only because it ends.
        live.wait_for_records(sent)?;
        assert!(live.children("tshark").is_empty());
        live.wire.send(&capture, 5_000, 1)?;
        let (ended, records) = live.stop()?;
        assert_eq!(records, sent + 1_000, "{how}\n{}", ended.stderr);
        ended.expect(0)?;
    }
    Ok(())
}

fn flows_by_headers_and_by_application_agree_on_one_wire(scene: &Scene) -> Outcome {
    let wire = Wire::lay()?;
    let ways = [
        "application, mode: pipe",
        "application, mode: segments",
        "headers, mode: pipe",
        "headers, mode: segments",
    ];
    let mut programs = Vec::new();
    for (at, way) in ways.iter().enumerate() {
        let config = config::live_flows(scene, &format!("dissect: {way}"), "");
        let api = format!("/state{at}\napi: {{ address: \"127.0.0.1:{}\" }}\n", 9_600 + at);
        let text = fs::read_to_string(&config)?
            .replace("records.out", &format!("{at}.out"))
            .replace("/state\n", &api);
        let config = scene.write(&format!("{at}.yaml"), text);
        let running = Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(config).start()?;
        poll::until_true("a dumpcap that captures", SOON, || {
            let children = process::descendants_named(running.pid(), "dumpcap");
            children.iter().any(|child| child.pid != running.pid() && live::has_begun(child.pid))
        })?;
        programs.push(running);
    }
    let list = [captures::connection(), captures::every_kind(), captures::numbered(500)];
    let mut sent = 0;
    for (at, capture) in list.iter().enumerate() {
        let path = scene.path(&format!("{at}.pcap"));
        capture.write(&path);
        sent += wire.send(&path, 1_000, 1)?;
    }
    for capture in REPLAYED {
        sent += wire.send(&scene.data.join(capture), 1_000, 1)?;
    }
    let mut flows = Vec::new();
    for (at, running) in programs.into_iter().enumerate() {
        running.signal(rustix::process::Signal::TERM);
        running.wait(SOON)?.expect(0)?;
        let text = fs::read_to_string(scene.path(&format!("{at}.out")))?;
        let mut counted = text.lines().map(counted).collect::<Result<Vec<_>, Failed>>()?;
        counted.sort();
        flows.push(counted);
    }
    assert!(sent > 1_000 && flows[0].len() >= 60, "{} flows of {sent} packets", flows[0].len());
    for (way, theirs) in ways.iter().zip(&flows).skip(1) {
        assert_eq!(theirs, &flows[0], "{way}");
    }
    Ok(())
}

/// A flow's ends, and its packets and bytes.
fn counted(line: &str) -> Result<String, Failed> {
    let flow: Value = serde_json::from_str(line)?;
    let names = ["source_ip", "destination_ip", "protocol", "port", "packets", "packet_size"];
    let values = names.map(|name| flow.get(name).map(ToString::to_string).unwrap_or_default());
    Ok(values.join(" "))
}

fn one_worker_and_two_write_the_same_bytes(scene: &Scene) -> Outcome {
    let captures = captures::below(&scene.data)?;
    let captures: Vec<_> = captures.iter().map(std::path::PathBuf::as_path).collect();
    for (kind, transform) in
        [("packets", ""), ("flows", "  flows: { type: flow, inputs: [packets]")]
    {
        let mut outputs = Vec::new();
        for workers in [1, 2, 5, 5] {
            let keys = format!("dissect: headers, checksums: true, workers: {workers}");
            let config = config::replay(scene, &keys, "");
            let mut text = fs::read_to_string(&config)?.replace("schema: simple", "schema: ecs");
            if kind == "flows" {
                let transforms = format!("transforms:\n{transform}, workers: {workers} }}");
                text = text
                    .replace("transforms:", &transforms)
                    .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
            }
            fs::write(&config, text)?;
            replayed(scene, &config, &[], &captures)?;
            outputs.push(fs::read(scene.path("records.out"))?);
        }
        let (first, others) = outputs.split_first().ok_or("four runs")?;
        assert!(first.len() > 1_000_000, "only {} bytes of {kind}", first.len());
        assert!(others.iter().all(|other| other == first), "{kind} differ with the workers");
    }
    Ok(())
}

fn a_damaged_capture_gives_its_whole_packets_and_exit_code_3(scene: &Scene) -> Outcome {
    let whole = scene.path("whole.pcap");
    captures::numbered(100).write(&whole);
    let config = config::replay(scene, "dissect: headers", "");
    let all = replayed(scene, &config, &[], &[&whole])?;
    assert_eq!(all.len(), 100);
    let cases = [
        (
            "truncated.pcap",
            Damage::Truncated,
            99,
            "cut short in the middle of a packet, at byte 11508",
        ),
        ("corrupt.pcap", Damage::Corrupt, 100, "a frame claims 4294967295 captured bytes"),
    ];
    for (name, damage, complete, says) in cases {
        let capture = scene.path(name);
        captures::numbered(100).damaged(damage).write(&capture);
        let ended = run(scene, &config, &["--dissect", "headers"], &[&capture])?.expect(3)?;
        ended.says(&[name, says])?;
        assert_eq!(records(scene)?, all[..complete], "{name}");
        assert_eq!(summary(scene)?["packets"], complete, "{name}");
    }
    Ok(())
}

fn what_is_no_capture_is_named_and_does_not_stop_the_next_one(scene: &Scene) -> Outcome {
    let good = scene.path("good.pcap");
    captures::numbered(7).write(&good);
    let config = config::replay(scene, "dissect: headers", "");
    let lz4 = *b"\x04\x22\x4d\x18and what follows";
    let cases: [(&str, &[u8], &str); 5] = [
        ("zero-byte.pcap", b"", "it is empty (zero bytes)"),
        ("text.pcap", b"this is a text and no capture at all", "neither a pcap nor a pcapng"),
        ("random.pcap", &[0x5a; 4_096], "neither a pcap nor a pcapng"),
        ("half-a-header.pcap", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "in the middle of its header"),
        ("packed.pcap.lz4", &lz4, "compressed with lz4"),
    ];
    for (name, content, says) in cases {
        let capture = scene.path(name);
        fs::write(&capture, content)?;
        let ended = run(scene, &config, &[], &[&capture, &good])?.expect(3)?;
        ended.says(&[name, says])?;
        assert_eq!(records(scene)?.len(), 7, "{name}");
    }
    run(scene, &config, &[], &[&scene.path("missing.pcap")])?.expect(78)?.says(&["missing.pcap"])
}

fn compressed_captures_give_the_same_records(scene: &Scene) -> Outcome {
    let plain = scene.path("plain.pcap");
    let bytes = captures::numbered(3_000).bytes().to_vec();
    fs::write(&plain, &bytes)?;
    let config = config::replay(scene, "dissect: headers", "");
    let expected = replayed(scene, &config, &[], &[&plain])?;
    assert_eq!(expected.len(), 3_000);
    // By content: a name says nothing.
    let (gzipped, packed) = (scene.path("gzipped"), scene.path("packed.pcap"));
    let mut encoder = GzEncoder::new(File::create(&gzipped)?, Compression::fast());
    encoder.write_all(&bytes)?;
    encoder.finish()?;
    fs::write(&packed, zstd::encode_all(&*bytes, 3)?)?;
    for capture in [&gzipped, &packed] {
        same(&expected, &replayed(scene, &config, &[], &[capture])?)?;
    }
    let cut = fs::read(&gzipped)?;
    fs::write(&gzipped, &cut[..cut.len() - 100])?;
    let ended = run(scene, &config, &[], &[&gzipped])?.expect(3)?;
    ended.says(&["gzipped", "it can't be unpacked", "of the unpacked file"])?;
    let got = records(scene)?;
    assert!(!got.is_empty() && got == expected[..got.len()], "{} records", got.len());
    Ok(())
}

fn a_capture_that_comes_through_a_pipe_is_read_as_it_grows(scene: &Scene) -> Outcome {
    let pipe = scene.path("pipe.pcap");
    let made = Command::new("mkfifo").arg(&pipe).status()?;
    assert!(made.success(), "mkfifo ended with {made}");
    let bytes = captures::numbered(500).bytes().to_vec();
    let writer = {
        let pipe = pipe.clone();
        thread::spawn(move || -> std::io::Result<()> {
            let mut pipe = OpenOptions::new().write(true).open(pipe)?;
            // Pieces that end anywhere, also within the file's header and a packet's.
            for piece in bytes.chunks(977) {
                pipe.write_all(piece)?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    };
    let config = config::replay(scene, "dissect: headers", "");
    let got = replayed(scene, &config, &[], &[&pipe])?;
    writer.join().map_err(|_| "the writer panicked")??;
    let plain = scene.path("plain.pcap");
    captures::numbered(500).write(&plain);
    same(&replayed(scene, &config, &[], &[&plain])?, &got)
}

fn frames_of_an_unknown_link_are_counted_as_lost(scene: &Scene) -> Outcome {
    let capture = scene.path("bluetooth.pcap");
    let mut bytes = captures::numbered(5).bytes().to_vec();
    // LINKTYPE_BLUETOOTH_HCI_H4.
    bytes[20] = 187;
    fs::write(&capture, &bytes)?;
    let config = config::replay(scene, "dissect: headers", "");
    let ended = run(scene, &config, &[], &[&capture])?.expect(3)?;
    ended.says(&["dropped 5 (unknown_link_type)", "link_type=187", "dissect: application"])?;
    assert_eq!(summary(scene)?["dropped"]["unknown_link_type"], 5);
    assert!(!ended.stderr.contains("BALANCE"), "{}", ended.stderr);
    Ok(())
}

fn frames_without_a_packet_are_counted_by_their_reason(scene: &Scene) -> Outcome {
    let capture = scene.path("every-kind.pcap");
    captures::every_kind().write(&capture);
    let config = config::replay(scene, "dissect: headers", "");
    let ended = run(scene, &config, &[], &[&capture])?.expect(0)?;
    ended.says(&[
        "packets  extract: in 24 = out 22 + absorbed 0 + filtered 2 + dropped 0 + held 0",
    ])?;
    let told = summary(scene)?;
    assert_eq!((&told["packets"], &told["filtered"]), (&Value::from(24), &Value::from(2)));
    Ok(())
}

fn wrong_checksums_are_found_where_the_config_asks(scene: &Scene) -> Outcome {
    let mut wrong = captures::one_to_443().bytes().to_vec();
    // The last byte of the payload.
    *wrong.last_mut().ok_or("a capture has bytes")? ^= 1;
    let capture = scene.path("wrong.pcap");
    fs::write(&capture, wrong)?;
    let mut tags = BTreeMap::new();
    for checksums in [false, true] {
        let config =
            config::replay(scene, &format!("dissect: headers, checksums: {checksums}"), "");
        let text = fs::read_to_string(&config)?
            .replace("schema: simple", "schema: ecs")
            .replace("transforms:", "transforms:\n  flows: { type: flow, inputs: [packets] }")
            .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
        fs::write(&config, text)?;
        let flows = replayed(scene, &config, &[], &[&capture])?;
        tags.insert(checksums, flows.iter().any(|flow| flow.contains("bad_checksum")));
    }
    assert_eq!(tags, BTreeMap::from([(false, false), (true, true)]));
    Ok(())
}

fn a_million_packets_fit_into_bounded_memory(scene: &Scene) -> Outcome {
    let capture = scene.path("a-million.pcap");
    let mut made = Capture::micros();
    let one = captures::numbered(1).bytes()[24 + 16..].to_vec();
    for number in 0..1_000_000 {
        made.frame(EPOCH_SECONDS + number / 1_000, number % 1_000 * 1_000, &one);
    }
    made.write(&capture);
    for workers in [1, 2] {
        let config = config::replay(scene, &format!("dissect: headers, workers: {workers}"), "");
        let text = fs::read_to_string(&config)?
            .replace("transforms:", "transforms:\n  flows: { type: flow, inputs: [packets] }")
            .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
        fs::write(&config, text)?;
        let running = Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&capture).start()?;
        let pid = running.pid();
        let mut peak_kilobytes = 0;
        let ended = running.wait_watching(Duration::from_mins(5), || {
            let mark = process::status(pid, "VmHWM").unwrap_or_default();
            let kilobytes = mark.trim_end_matches(" kB").parse().unwrap_or(0);
            peak_kilobytes = peak_kilobytes.max(kilobytes);
        })?;
        ended.expect(0)?.says(&["in 1000000 = out 1000000"])?;
        eprintln!("headers, {workers} workers: peak of {peak_kilobytes} KiB");
        assert!((1..=PEAK_KILOBYTES).contains(&peak_kilobytes), "{peak_kilobytes} KiB");
    }
    Ok(())
}

/// A `PATH` on which tshark and editcap fail.
fn without_tshark(scene: &Scene) -> Result<String, Failed> {
    let folder = scene.path("bin");
    fs::create_dir_all(&folder)?;
    for name in ["tshark", "editcap"] {
        let script = "#!/bin/sh\necho \"no $0 here: no tshark here\" >&2\nexit 1\n";
        scene.write_program(&format!("bin/{name}"), script)?;
    }
    Ok(format!("{}:{}", folder.display(), std::env::var("PATH")?))
}

/// Replays captures into a fresh file.
fn run(
    scene: &Scene,
    config: &Path,
    arguments: &[&str],
    captures: &[&Path],
) -> Result<Ended, Failed> {
    let out = scene.path("records.out");
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let mut command = Tidegate::new(scene, ["replay", "-c"]).arg(config);
    command = command.arg("--summary").arg(scene.path("summary.json"));
    for argument in arguments {
        command = command.arg(argument);
    }
    for capture in captures {
        command = command.arg(capture);
    }
    command.run()
}

/// Replays captures, which must all be delivered; answers the lines they made.
fn replayed(
    scene: &Scene,
    config: &Path,
    arguments: &[&str],
    captures: &[&Path],
) -> Result<Vec<String>, Failed> {
    run(scene, config, arguments, captures)?.expect(0)?;
    records(scene)
}

/// A capture without an IP packet makes no file.
fn records(scene: &Scene) -> Result<Vec<String>, Failed> {
    let out = scene.path("records.out");
    let text = if out.exists() { fs::read_to_string(out)? } else { String::new() };
    Ok(text.lines().map(str::to_owned).collect())
}

fn summary(scene: &Scene) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&fs::read(scene.path("summary.json"))?)?)
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
    let differing = pairs.filter(|(_, (expected, got))| expected != got).take(5);
    let shown = differing.map(|(number, (expected, got))| {
        format!("  {number}: expected {expected}\n  {number}:      got {got}")
    });
    Some([counts].into_iter().chain(shown).collect::<Vec<_>>().join("\n"))
}
