//! The commands that start nothing: what they say of a config, and how they end.

use std::{fs, net::TcpListener};

use rustix::fs::{FlockOperation, flock};

use serde_json::Value;

use crate::harness::{Case, Outcome, Scene, config, netns::INTERFACE, tidegate::Tidegate};

/// Eight mistakes, two of them in `wire`; each with what its message must hold.
const EIGHT_MISTAKES: &str = "\
data_dir: /tmp
sources:
  wire:
    type: tshark
    interfase: eth0
    snaplen: many
transforms:
  packets: { type: extrackt, inputs: [wire] }
  parsed: { type: extract, inputs: [wier] }
  alpha: { type: extract, inputs: [beta] }
  beta: { type: extract, inputs: [alpha] }
sinks:
  one: { type: file, inputs: [parsed, packets], path: /tmp/same.ndjson }
  two: { type: file, inputs: [parsed], path: /tmp/same.ndjson }
  three: { type: console, inputs: [] }
  four: { type: blackhole, inputs: [wire] }
api: { address: '127.0.0.1:0' }
";

/// The line of each mistake, and a word of its message or hint.
const REPORTS: [(u32, &str); 8] = [
    (5, "interface"),
    (6, "snaplen"),
    (8, "extract"),
    (9, "wire"),
    (10, "beta"),
    (14, "same.ndjson"),
    (15, "inputs"),
    (16, "raw"),
];

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(eight_mistakes_give_eight_located_errors_and_exit_code_78),
        Case::new(a_config_that_is_not_there_is_named),
        Case::new(a_wrong_command_line_ends_with_2),
        Case::new(a_secret_never_shows),
        Case::new(the_schema_is_json_and_knows_every_component),
        Case::new(the_graph_is_mermaid),
        Case::new(completions_and_manual_pages_know_every_command),
        Case::new(a_config_is_named_with_and_without_its_flag),
        Case::new(validate_finds_in_one_go_what_a_run_would_stop_at),
        Case::new(what_two_components_can_not_share_and_a_proxy_that_none_speaks_to_are_said),
        Case::new(what_validate_can_not_check_it_names).needs_root(),
        Case::new(paths_begin_at_the_folder_of_the_config_and_errors_have_them_whole),
        Case::new(a_folder_that_is_no_buffer_is_not_an_empty_one),
        Case::new(as_json_a_warning_is_none_of_the_errors_and_a_wrong_usage_is_an_object),
        Case::new(mistakes_come_with_their_place_and_what_to_write),
        Case::new(beside_mistakes_validate_says_what_this_machine_lacks),
        Case::new(a_port_in_use_is_an_error_unless_the_run_of_this_config_may_have_it),
        #[cfg(feature = "xdp")]
        Case::new(without_a_gate_verdicts_are_explained_by_their_log).needs_root(),
        #[cfg(feature = "kafka")]
        Case::new(what_topics_do_not_hold_is_not_missed),
        Case::new(a_replay_says_where_it_writes_and_first_whether_its_summary_has_a_place),
    ]
}

fn eight_mistakes_give_eight_located_errors_and_exit_code_78(scene: &Scene) -> Outcome {
    let path = scene.write("mistaken.yaml", EIGHT_MISTAKES);
    for command in [&["validate"][..], &["run", "-c"]] {
        let ended = Tidegate::new(scene, command).arg(&path).run()?.expect(78)?;
        let errors = ended.stderr.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, 8, "{}", ended.stderr);
        for (line, word) in REPORTS {
            let place = format!("mistaken.yaml:{line}:");
            let report = ended.stderr.split("error").find(|report| report.contains(&place));
            let report = report.ok_or(format!("nothing about line {line}:\n{}", ended.stderr))?;
            assert!(report.contains(word), "line {line} without `{word}`: {report}");
        }
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    }
    Ok(())
}

fn a_config_that_is_not_there_is_named(scene: &Scene) -> Outcome {
    let ended = Tidegate::new(scene, ["validate", "nowhere.yaml"]).run()?.expect(78)?;
    ended.says(&["nowhere.yaml"])
}

fn a_wrong_command_line_ends_with_2(scene: &Scene) -> Outcome {
    for wrong in [&["flood"][..], &["run"], &["replay", "-c", "a.yaml"], &["validate", "--hard"]] {
        Tidegate::new(scene, wrong).run()?.expect(2)?;
    }
    Ok(())
}

fn a_secret_never_shows(scene: &Scene) -> Outcome {
    let config = config::replay(scene, "capture_filter: \"${TIDEGATE_SECRET}\", snaplen: 0", "");
    let secret = "hunter2-in-the-environment";
    for command in ["validate", "graph"] {
        let ended =
            Tidegate::new(scene, [command]).arg(&config).env("TIDEGATE_SECRET", secret).run()?;
        for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
            assert!(!text.contains(secret), "{command}, {name}: {text}");
        }
    }
    Ok(())
}

fn the_schema_is_json_and_knows_every_component(scene: &Scene) -> Outcome {
    let ended = Tidegate::new(scene, ["schema"]).run()?.expect(0)?;
    let schema: Value = serde_json::from_str(&ended.stdout)?;
    assert!(schema.is_object());
    for component in ["tshark", "extract", "file", "console", "blackhole"] {
        assert!(ended.stdout.contains(&format!("\"{component}\"")), "no {component}");
    }
    Ok(())
}

fn the_graph_is_mermaid(scene: &Scene) -> Outcome {
    let config = config::replay(scene, "", "");
    let ended = Tidegate::new(scene, ["graph"]).arg(&config).run()?.expect(0)?;
    assert!(ended.stdout.starts_with("flowchart"), "{}", ended.stdout);
    for id in ["capture", "packets", "records"] {
        assert!(ended.stdout.contains(id), "no {id} in {}", ended.stdout);
    }
    Ok(())
}

fn completions_and_manual_pages_know_every_command(scene: &Scene) -> Outcome {
    const COMMANDS: [&str; 6] = ["run", "replay", "validate", "verdicts", "gate", "buffer"];
    for shell in ["bash", "zsh", "fish"] {
        let ended = Tidegate::new(scene, ["completion", shell]).run()?.expect(0)?;
        for command in COMMANDS {
            assert!(ended.stdout.contains(command), "{shell}: no {command}");
        }
    }
    let page = Tidegate::new(scene, ["man"]).run()?.expect(0)?.stdout;
    assert!(page.contains(".TH tidegate 1"), "{page}");
    let pages = scene.path("pages");
    Tidegate::new(scene, ["man", "--dir"]).arg(&pages).run()?.expect(0)?;
    for command in COMMANDS {
        let page = fs::read_to_string(pages.join(format!("tidegate-{command}.1")))?;
        assert!(page.contains("SYNOPSIS"), "{command}: {page}");
    }
    let file = scene.write("file", "");
    let ended = Tidegate::new(scene, ["man", "--dir"]).arg(file.join("pages")).run()?.expect(1)?;
    ended.says(&["the pages can't be written to"])
}

fn a_config_is_named_with_and_without_its_flag(scene: &Scene) -> Outcome {
    scene.write("replaced.pcap", "there");
    let config = config::replay(scene, "", "").display().to_string();
    for arguments in [&["validate", &config][..], &["validate", "-c", &config]] {
        let ended = Tidegate::new(scene, arguments).run()?.expect(0)?;
        ended.says(&[
            "ok: keys, values and the edges of 1 source, 1 transform, 1 sink",
            "programs",
        ])?;
    }
    for arguments in [&["graph", &config][..], &["graph", "-c", &config]] {
        let ended = Tidegate::new(scene, arguments).run()?.expect(0)?;
        assert!(ended.stdout.starts_with("flowchart"), "{}", ended.stdout);
    }
    let mistaken = scene.write("mistaken.yaml", "sources: {}\n").display().to_string();
    for arguments in [&["run", &mistaken][..], &["run", "-c", &mistaken]] {
        Tidegate::new(scene, arguments).run()?.expect(78)?;
    }
    for arguments in [&["run"][..], &["run", "-c", &config, &config], &["graph"], &["validate"]] {
        Tidegate::new(scene, arguments).run()?.expect(2)?;
    }
    Ok(())
}

fn validate_finds_in_one_go_what_a_run_would_stop_at(scene: &Scene) -> Outcome {
    let text = "
data_dir: /proc/version/state
api: { address: '192.0.2.1:9598' }
sources:
  wire: { type: tshark, interface: lo, dissect: headers, segment: { dir: /proc/version/segments } }
transforms:
  packets: { type: extract, inputs: [wire] }
sinks:
  out: { type: file, inputs: [packets], path: /proc/version/out }
";
    let path = scene.write("lacking.yaml", text);
    let ended = Tidegate::new(scene, ["validate"]).arg(&path).run()?.expect(78)?;
    ended.says(&["data_dir", "api.address", "192.0.2.1", "wire.segment.dir", "sinks.out.path"])
}

fn what_two_components_can_not_share_and_a_proxy_that_none_speaks_to_are_said(
    scene: &Scene,
) -> Outcome {
    let text = "
sources:
  wire: { type: tshark, interface: lo, dissect: headers }
  again: { type: tshark, interface: lo, dissect: headers }
transforms:
  packets: { type: extract, inputs: [wire, again] }
sinks:
  siem: { type: elasticsearch, inputs: [packets], endpoints: ['http://127.0.0.1:9'], proxy: 'ftp://127.0.0.1:3128' }
";
    let path = scene.write("shared.yaml", text);
    let ended =
        Tidegate::new(scene, ["validate", "--no-environment"]).arg(&path).run()?.expect(78)?;
    ended.says(&[
        "again.interface",
        "`wire` has the reports on interface lo already",
        "siem.proxy",
        "a proxy of the scheme ftp can't be used",
        "http://HOST:PORT",
    ])
}

fn paths_begin_at_the_folder_of_the_config_and_errors_have_them_whole(scene: &Scene) -> Outcome {
    for folder in ["100%Y", "elsewhere"] {
        fs::create_dir(scene.path(folder))?;
    }
    // What the config names lies where it does; what the command names, where that is given.
    let text = "
data_dir: state
api: { address: '127.0.0.1:0' }
sources:
  capture: { type: tshark, mode: file, files: [beside.pcap], dissect: headers }
transforms:
  packets: { type: extract, inputs: [capture] }
sinks:
  out: { type: file, inputs: [packets], path: ./out/of-%F.ndjson, buffer: { type: disk } }
";
    scene.write("100%Y/tidegate.yaml", text);
    let given = |command: &str| {
        Tidegate::new(scene, [command, "-c", "../100%Y/tidegate.yaml"])
            .in_folder(&scene.path("elsewhere"))
    };
    let beside = scene.path("100%Y/beside.pcap").display().to_string();
    given("validate").run()?.expect(78)?.says(&[&beside])?;
    let missing = scene.path("elsewhere/a.pcap").display().to_string();
    given("replay").arg("a.pcap").run()?.expect(78)?.says(&[&missing])?;

    fs::copy(Scene::project("examples/first/first.pcap"), &missing)?;
    fs::copy(&missing, &beside)?;
    given("replay").arg("a.pcap").run()?.expect(0)?;
    given("run").run()?.expect(0)?;
    let records = fs::read_to_string(scene.path("100%Y/out/of-2023-10-17.ndjson"))?;
    assert_eq!(records.lines().count(), 2 * 15, "{records}");
    assert!(scene.path("100%Y/state/buffers/out").is_dir());
    let left: Vec<_> = fs::read_dir(scene.path("elsewhere"))?.collect();
    assert_eq!(left.len(), 1, "{left:?}");
    Ok(())
}

fn what_validate_can_not_check_it_names(scene: &Scene) -> Outcome {
    let of = |interface: &str, filter: &str| {
        let source = format!("dissect: headers, capture_filter: \"{filter}\"");
        let path = config::live(scene, &source, "");
        let text = fs::read_to_string(&path)?
            .replace(&format!("interface: {INTERFACE}"), &format!("interface: {interface}"));
        Ok::<_, libtest_mimic::Failed>(scene.write("filter.yaml", text))
    };
    // dumpcap compiles it, where the interface is there.
    let ended = Tidegate::new(scene, ["validate"]).arg(of("lo", "port and")?).run()?.expect(78)?;
    ended.says(&["wire.capture_filter", "pcap-filter(7)"])?;
    let ended = Tidegate::new(scene, ["validate"]).arg(of("lo", "udp")?).run()?.expect(0)?;
    assert!(!ended.stderr.contains("not checked"), "{}", ended.stderr);
    // Where it is not there yet, `run` waits for it.
    let ended =
        Tidegate::new(scene, ["validate"]).arg(of("wier0", "port and")?).run()?.expect(0)?;
    ended.says(&[
        "warning",
        "there is no interface `wier0`",
        "not checked: sources.wire.capture_filter (there is no interface wier0)",
    ])
}

fn a_folder_that_is_no_buffer_is_not_an_empty_one(scene: &Scene) -> Outcome {
    let state = scene.path("state");
    fs::create_dir_all(state.join("buffers/siem"))?;
    let of = |command: &str, folder: &std::path::Path| {
        Tidegate::new(scene, ["buffer", command]).arg(folder).run()?.expect(1)
    };
    for command in ["inspect", "repair"] {
        of(command, &state)?.says(&["is no disk buffer", "hint", "state/buffers/siem"])?;
        of(command, &state.join("buffers"))?.says(&["state/buffers/siem"])?;
        of(command, &state.join("buffers/siem"))?.says(&["is no disk buffer", "buffers/ID"])?;
        of(command, &scene.path("nowhere"))?.says(&["can't be read", "hint"])?;
    }
    Ok(())
}

/// The levels of the lines on stderr, each of which is an object.
fn levels(stderr: &str) -> Result<Vec<String>, libtest_mimic::Failed> {
    let level = |line: &str| {
        let line: Value = serde_json::from_str(line)?;
        Ok(line["level"].as_str().unwrap_or_default().to_owned())
    };
    stderr.lines().map(level).collect()
}

fn as_json_a_warning_is_none_of_the_errors_and_a_wrong_usage_is_an_object(
    scene: &Scene,
) -> Outcome {
    let text = "
api: { address: \"0.0.0.0:0\" }
sources:
  capture: { type: tshark, mode: file, files: [a.pcap], dissect: headers }
transforms:
  packets: { type: extract, inputs: [capture] }
sinks:
  out: { type: blackhole, inputs: [packets] }
";
    let path = scene.write("warned.yaml", text);
    let ended = Tidegate::new(scene, ["validate", "--no-environment", "--log-format", "json"])
        .arg(&path)
        .run()?
        .expect(0)?;
    assert_eq!(levels(&ended.stderr)?, ["WARN", "INFO"], "{}", ended.stderr);
    for wrong in [&["run", "--log-format", "json"][..], &["--log-format=json", "flood"]] {
        let ended = Tidegate::new(scene, wrong).run()?.expect(2)?;
        assert_eq!(levels(&ended.stderr)?, ["ERROR"], "{}", ended.stderr);
    }
    Ok(())
}

fn a_replay_says_where_it_writes_and_first_whether_its_summary_has_a_place(
    scene: &Scene,
) -> Outcome {
    let config = config::replay(scene, "dissect: headers", "");
    let replay = |summary: &str| {
        Tidegate::new(scene, ["replay", "-c"])
            .arg(&config)
            .arg("--summary")
            .arg(summary)
            .arg(Scene::project("examples/first/first.pcap"))
            .run()
    };
    let ended = replay("nowhere/summary.json")?.expect(1)?;
    ended.says(&["the summary can't be written", "nowhere"])?;
    assert!(!scene.path("records.out").exists(), "it has begun");
    let out = format!("records (file): to {}", scene.path("records.out").display());
    replay("summary.json")?.expect(0)?.says(&["replaying into", &out])?;
    assert!(scene.path("summary.json").exists());
    Ok(())
}

/// A pipeline to which lines are added: of the top level, of the source and of the sink.
fn pipeline(top: &str, source: &str, sink: &str) -> String {
    format!(
        "{top}
sources:
  wire: {{ type: tshark, interface: lo, dissect: headers{source} }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
sinks:
  out: {{ inputs: [packets], {sink} }}
"
    )
}

fn mistakes_come_with_their_place_and_what_to_write(scene: &Scene) -> Outcome {
    let siem = |endpoint: &str| format!("type: elasticsearch, endpoints: ['{endpoint}']");
    let nowhere = "type: blackhole";
    let table: [(String, &[&str]); 8] = [
        (pipeline("api: { address: 'localhost:9598' }", "", nowhere), &["127.0.0.1:9598"]),
        (pipeline("api: { address: 9598 }", "", nowhere), &["127.0.0.1:9598"]),
        (pipeline("", ", snaplen: 1MB", nowhere), &["0 to 262144"]),
        (pipeline("", "", &siem("localhost:9200")), &["https://HOST:PORT"]),
        (pipeline("", "", &siem("https://u:pw@h:9200")), &["`auth`"]),
        (pipeline("", "", "type: file, path: '~/x'"), &["no home directory", "whole path"]),
        (pipeline("data_dir: ~/x", "", nowhere), &["no home directory"]),
        (
            pipeline("memory_budget_bytes: 16777216", "", &siem("http://h")),
            &["wrong.yaml:1", "lower batch.max_bytes"],
        ),
    ];
    for (text, words) in table {
        let path = scene.write("wrong.yaml", text.trim_start());
        let ended =
            Tidegate::new(scene, ["validate", "--no-environment"]).arg(&path).run()?.expect(78)?;
        ended.says(words)?;
    }
    Ok(())
}

fn beside_mistakes_validate_says_what_this_machine_lacks(scene: &Scene) -> Outcome {
    let text = "
api: { address: '192.0.2.1:9598' }
sources:
  capture: { type: tshark, mode: file, files: [nowhere.pcap], dissect: headers }
transforms:
  packets: { type: extract, inputs: [captur] }
sinks:
  out: { type: file, inputs: [packets], path: /proc/version/out }
  other: { type: file, inputs: [packets], paht: a }
";
    let path = scene.write("both.yaml", text);
    let ended = Tidegate::new(scene, ["validate"]).arg(&path).run()?.expect(78)?;
    ended.says(&[
        "`captur`",
        "`paht`",
        "nowhere.pcap can't be read",
        "/proc/version",
        "192.0.2.1",
    ])?;
    let ended = Tidegate::new(scene, ["run", "-c"]).arg(&path).run()?.expect(78)?;
    assert!(!ended.stderr.contains("nowhere.pcap"), "{}", ended.stderr);
    Ok(())
}

fn a_port_in_use_is_an_error_unless_the_run_of_this_config_may_have_it(scene: &Scene) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    scene.write("a.pcap", "there");
    let text = format!(
        "
data_dir: state
api: {{ address: \"{}\" }}
sources:
  capture: {{ type: tshark, mode: file, files: [a.pcap], dissect: headers }}
transforms:
  packets: {{ type: extract, inputs: [capture] }}
sinks:
  out: {{ type: blackhole, inputs: [packets] }}
",
        listener.local_addr()?
    );
    let path = scene.write("taken.yaml", text);
    let validate = || Tidegate::new(scene, ["validate"]).arg(&path).run();
    validate()?.expect(78)?.says(&["api.address", "can't be listened on"])?;
    let state = scene.path("state");
    fs::create_dir(&state)?;
    let held = fs::File::open(&state)?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    validate()?.expect(0)?.says(&["warning", "has data_dir"])
}

#[cfg(feature = "kafka")]
fn what_topics_do_not_hold_is_not_missed(scene: &Scene) -> Outcome {
    for config in ["config/kafka-to-siem.yaml", "examples/kafka/siem.yaml"] {
        let ended = Tidegate::new(scene, ["validate", "--no-environment", config])
            .in_folder(&Scene::project(""))
            .run()?
            .expect(0)?;
        assert!(!ended.stderr.contains("nobody reads"), "{config}: {}", ended.stderr);
    }
    Ok(())
}

#[cfg(feature = "xdp")]
fn without_a_gate_verdicts_are_explained_by_their_log(scene: &Scene) -> Outcome {
    let explain = |address: &str| {
        Tidegate::new(
            scene,
            ["verdicts", "explain", address, "--source", "gone", "--data-dir", "."],
        )
        .run()
    };
    explain("192.0.2.9")?.expect(1)?.says(&["has no gate", "no verdict log at", "`-c FILE`"])?;
    let line = serde_json::json!({
        "change": "applied", "at_ns": 1, "since_ns": 1, "ttl_ns": 1, "address": "192.0.2.0",
        "prefix": 24, "source": "gone", "action": "drop", "scope": "all", "mode": "enforce",
        "packets": 0, "bytes": 0, "score": 90, "offence": 1, "reasons": ["tried 30 ports"],
        "by": "score", "id": "0123456789abcdef0123456789abcdef",
    });
    scene.write("verdicts.ndjson", format!("{line}\n"));
    let ended = explain("192.0.2.9")?.expect(0)?;
    ended.says(&["has no gate", "verdicts.ndjson"])?;
    assert!(ended.stdout.contains("tried 30 ports"), "{}", ended.stdout);
    explain("198.51.100.1")?.expect(1)?.says(&["no such verdict"])
}
