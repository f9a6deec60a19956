//! Mistakes, each found at its place, and nothing said twice.

use super::{GOOD, report, surroundings, try_load};
use crate::config::{Components, load, schema};

/// The headlines and places of a report.
fn headlines(text: &str) -> Vec<String> {
    let report = report(text);
    let keep = |line: &&str| line.starts_with("error") || line.starts_with("warning");
    report.lines().filter(keep).map(str::to_owned).collect()
}

#[test]
fn eight_mistakes_are_printed_at_once() {
    insta::assert_snapshot!(report(
        r"
sources:
  wire: { type: capture, interfce: eth0, workers: 100 }
  lost: { type: gate }
transforms:
  packets: { type: decod, inputs: [wire] }
  flows: { type: track, inputs: [packets] }
  a: { type: pass, inputs: [b, flows] }
  b: { type: pass, inputs: [a] }
sinks:
  one: { type: file, inputs: [flows], path: /var/log/a.ndjson }
  two: { type: file, inputs: [wire], path: /var/log/a.ndjson }
  three: { type: blackhole, inputs: [nothing] }
"
    ));
}

#[test]
fn every_kind_of_mistake_has_its_words() {
    let cases = [
        ("workers: two", "expected a whole number from 0 to 4294967295, found the text `two`"),
        ("workers: 5000000000", "expected a whole number from 0 to 4294967295, found `5000000000`"),
        ("workers: -1", "expected a whole number from 0 to 4294967295, found `-1`"),
        ("workers: \"2\"", "expected a whole number from 0 to 4294967295, found the text `2`"),
        ("workers: 010", "expected a whole number from 0 to 4294967295, found `010`"),
        ("workers: [1]", "expected a whole number from 0 to 4294967295, found a list"),
        ("workers: 0", "0 is not from 1 to 64"),
        ("workers:", "expected a whole number from 0 to 4294967295, found nothing"),
        ("promiscuous: yes", "expected true or false, found the text `yes`"),
        ("promiscuous: \"true\"", "expected true or false, found the text `true`"),
        ("mode: pip", "unknown value `pip`"),
        ("mode: { pipe: 3 }", "expected nothing behind this word, found `3`"),
        ("segment: 3", "expected a mapping, found `3`"),
        ("segment: { max_byte: 3 }", "unknown key `max_byte`"),
        ("segment: { share: .inf }", "expected a number, found the text `.inf`"),
        ("fields: 7", "expected a list, found `7`"),
        ("fields: [[a]]", "expected text, found a list"),
        ("fields: [~]", "expected text, found nothing"),
        ("inputs: [wire]", "a source has no `inputs`"),
    ];
    for (line, expected) in cases {
        let text = format!(
            "sources:\n  wire:\n    type: capture\n    interface: eth0\n    {line}\nsinks:\n  out: {{ type: blackhole, inputs: same }}\ntransforms:\n  packets: {{ type: decode, inputs: wire }}\n  same: {{ type: pass, inputs: packets }}\n"
        );
        let found = headlines(&text);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(expected), "{line}: {found:?}");
        assert!(report(&text).contains("tidegate.yaml:5:"), "{}", report(&text));
    }
}

#[test]
fn mistakes_between_components_are_found_at_the_reader() {
    let cases = [
        ("wire: {", "archive: {", vec!["sinks.archive: the id is taken by a source"]),
        ("inputs: wire", "inputs: wir", vec!["there is no `wir`"]),
        ("inputs: wire", "inputs: []", vec!["there is no input", "sources.wire: nobody reads"]),
        ("inputs: wire", "inputs: [wire, wire]", vec!["`wire` is listed twice"]),
        ("inputs: wire", "inputs: [wire, archive]", vec!["`archive` is a sink"]),
        ("inputs: wire", "inputs: [wire, 'x*']", vec!["`x*` matches no source"]),
        ("inputs: [packets]", "inputs: [packets.x]", vec!["`packets` has no port `x`"]),
        ("inputs: [packets]", "inputs: [packets.]", vec!["`packets` has no port ``"]),
        (
            "inputs: [packets]",
            "inputs: [wire, packets]",
            vec!["`wire` carries raw records, and `track` takes packet"],
        ),
        (
            "inputs: [same]",
            "inputs: [same, packets.dropped]",
            vec!["`packets.dropped` carries raw records"],
        ),
        ("inputs: [scored]", "inputs: [scored, wire]", vec!["`same` carries raw records"]),
        (
            "fields: [dns.a] }",
            "fields: [dns.b] }",
            vec!["transforms.packets.fields[0]: the field `dns.a` does not come from `wire`"],
        ),
        ("via: gate", "via: gat", vec!["there is no source `gat`"]),
        (
            "via: gate",
            "via: wire",
            vec![
                "transforms.scored.block.via: `wire` is a capture, which blocks nothing",
                "sources.gate: nobody reads its main output",
            ],
        ),
        ("  rest:", "  re.st:", vec!["`re.st` can't be the id of a sink"]),
        ("type: blackhole", "type: blackhol", vec!["unknown sink type `blackhol`"]),
        ("type: blackhole, ", "", vec!["the key `type` is missing"]),
        (
            "max_events: 100",
            "max_events: 70000",
            vec!["sinks.archive.batch.max_events: expected a whole number from 0 to 65535"],
        ),
        (
            "max_events: 100",
            "max_events: 0",
            vec!["sinks.archive.batch.max_events: 0 records are too few"],
        ),
        ("batch:", "bacth:", vec!["sinks.archive: unknown key `bacth`"]),
        ("data_dir: /var/lib/tidegate", "data_dir: ''", vec!["data_dir: the path is empty"]),
        ("data_dir:", "datadir:", vec!["unknown key `datadir`"]),
        ("sources:", "source:", vec!["unknown key `source`", "the config has no source"]),
    ];
    for (from, to, expected) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let found = headlines(&text);
        for expected in &expected {
            assert!(found.iter().any(|line| line.contains(expected)), "{to}: {found:#?}");
        }
        if !matches!(to, "archive: {" | "source:") {
            assert_eq!(found.len(), expected.len(), "{to}: {found:#?}");
        }
    }
}

#[test]
fn every_circle_is_named_once() {
    let found = headlines(
        "sources: { s: { type: gate } }
transforms:
  a: { type: pass, inputs: [s, c] }
  b: { type: pass, inputs: [a] }
  c: { type: pass, inputs: [b] }
  d: { type: pass, inputs: [d, c] }
sinks: { k: { type: blackhole, inputs: [c, d] } }",
    );
    assert_eq!(
        found,
        [
            "error: transforms.a.inputs: the data would run in a circle: `a` → `b` → `c` → `a`",
            "error: transforms.d.inputs: the data would run in a circle: `d` → `d`",
        ]
    );
}

#[test]
fn a_side_port_alone_gives_only_a_warning() {
    let text = GOOD.replace("inputs: [flows, 'flows.*'", "inputs: ['flows.*'");
    let warnings = try_load(&text).unwrap().warnings;
    assert_eq!(warnings.errors(), 0);
    assert!(
        warnings.to_string().contains("transforms.flows: nobody reads its main output"),
        "{warnings}"
    );
}

#[test]
fn every_number_out_of_its_range_is_named_at_its_key() {
    let text = r"
memory_budget_bytes: 16777215
sources:
  wire:
    type: tshark
    interface: eth0
    workers: 65
    snaplen: 262145
    max_line_bytes: 0xffff
    segment: { max_bytes: 999999, max_secs: 0 }
    restart: { initial_secs: 0, max_secs: 3601 }
  self: { type: health, interval_secs: 86401 }
transforms:
  packets: { type: extract, inputs: [wire] }
  flows:
    type: flow
    inputs: [packets]
    max_flows: 0
    workers: 257
    timeouts: { udp_secs: 0, active_secs: 0, tcp_closed_secs: 99999999999 }
  named: { type: reverse_dns, inputs: [flows], max_wait_ms: 60001, max_entries: 0 }
sinks:
  files:
    type: file
    inputs: [named, self]
    path: /var/log/a.ndjson
    sync_interval_secs: 3601
    rotate: { max_bytes: 1023, max_age_secs: 0, keep: 0 }
    batch: { max_bytes: 0, max_events: 99999999999, timeout_secs: 3601 }
    buffer: { max_bytes: 65535, max_events: 0 }
    request: { concurrency: 257, timeout_secs: 0, retry_initial_secs: 0, retry_max_secs: 86401 }
    dead_letter: { path: /var/log/dead.ndjson, max_bytes: 4095 }
  splunk:
    type: splunk_hec
    inputs: [packets]
    endpoint: https://splunk:8088
    token: ${SECRET}
    max_event_bytes: 999
    acknowledgements: { poll_secs: 301, timeout_secs: 86401 }
";
    let report = load::<Components>("t", text.as_bytes(), surroundings(false)).unwrap_err();
    let brief = |line: &&str| line.starts_with("error:") || line.contains("= hint:");
    let report = report.to_string();
    insta::assert_snapshot!(report.lines().filter(brief).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_substituted_number_has_to_be_in_its_range_as_well() {
    let text = r"
sources:
  wire:
    type: tshark
    interface: eth0
    snaplen: 512
    workers: ${WORKERS}5
    max_line_bytes: ${WORKERS}
transforms: { packets: { type: extract, inputs: [wire] } }
sinks: { out: { type: blackhole, inputs: [packets] } }
";
    let report = load::<Components>("t", text.as_bytes(), surroundings(false)).unwrap_err();
    let report = report.to_string();
    let errors: Vec<_> = report.lines().filter(|line| line.starts_with("error:")).collect();
    let expected = ["error: sources.wire.max_line_bytes: a hidden value is out of range"];
    assert_eq!(errors, expected, "{report}");
}

#[test]
fn every_default_is_in_its_range() {
    fn visit(schema: &serde_json::Value, key: &str, wrong: &mut Vec<String>) {
        let end = |key: &str| schema[key].as_f64();
        if let Some(default) = schema["default"].as_f64()
            && (end("minimum").is_some_and(|least| default < least)
                || end("maximum").is_some_and(|most| default > most))
        {
            wrong.push(key.to_owned());
        }
        match schema {
            serde_json::Value::Object(keys) => {
                for (name, inner) in keys {
                    visit(inner, &format!("{key}.{name}"), wrong);
                }
            }
            serde_json::Value::Array(items) => {
                for item in items {
                    visit(item, key, wrong);
                }
            }
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    visit(&schema::<Components>().to_value(), "", &mut wrong);
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_components_of_the_product_are_checked_as_well() {
    let text = r"
sources:
  wire: { type: tshark, interfce: eth0, snaplen: -1 }
  spare: { type: tshark, interface: eth1 }
transforms:
  packets: { type: extract, inputs: [wire], fields: [dns.a], on_error: cuont }
sinks:
  one: { type: file, inputs: [packets], path: /var/log/a.ndjson, mode: 0640, batch: { max_event: 1 } }
  two: { type: file, inputs: [packets], path: /var/log/a.ndjson, compression: zip }
  three: { type: consol, inputs: [packet] }
";
    let report = load::<Components>("t", text.as_bytes(), surroundings(false)).unwrap_err();
    insta::assert_snapshot!(report);
}

#[test]
fn a_gate_does_not_enforce_by_evidence_that_comes_late() {
    let config = |mode: &str, capture: &str, more: &str| {
        format!(
            "sources:\n  gate: {{ type: xdp, interface: eth0, report: none, firewall: {{ mode: {mode} }} }}\n  \
             wire: {{ type: tshark, interface: eth0, dissect: headers{capture} }}\n{more}transforms:\n  \
             packets: {{ type: extract, inputs: ['w*'] }}\n  flows: {{ type: flow, inputs: [packets] }}\n  \
             scored: {{ type: score, inputs: [flows.contacts], block: {{ via: gate }} }}\nsinks:\n  \
             out: {{ type: blackhole, inputs: [flows, scored, scored.alerts] }}\n"
        )
    };
    let pipe = ", mode: pipe";
    let second = "  wire2: { type: tshark, interface: eth1, dissect: headers, mode: pipe }\n";
    for (mode, capture, more, refused) in [
        ("enforce", "", "", true),
        ("observe", "", "", false),
        ("enforce", pipe, "", false),
        ("enforce", "", second, false),
    ] {
        let text = config(mode, capture, more);
        let loaded = load::<Components>("t", text.as_bytes(), surroundings(false));
        let said = loaded.err().map(|report| report.to_string()).unwrap_or_default();
        let expected =
            "`gate` enforces, and all that this judges by comes late: `wire` reads in segments";
        assert_eq!(said.contains(expected), refused, "{mode} {capture} {more}: {said}");
        assert_eq!(said.is_empty(), !refused, "{said}");
    }
}

#[test]
fn nobody_is_judged_by_contacts_made_of_sampled_packets() {
    let expected = "makes contacts of what `gate` samples";
    for (sample, inputs, refused) in [
        ("", "flows, flows.contacts", false),
        (", sample: 10", "flows, flows.contacts", true),
        (", sample: 10", "flows, gate.contacts", false),
        (", sample: 10", "kept", true),
    ] {
        let filter = "  kept: { type: filter, inputs: [flows.contacts], condition: { field: source.ip, exists: true } }\n";
        let text = format!(
            "sources:\n  gate: {{ type: xdp, interface: eth0, report: packets{sample} }}\ntransforms:\n  \
             flows: {{ type: flow, inputs: [gate] }}\n{}  scored: {{ type: score, inputs: [{inputs}] }}\nsinks:\n  \
             out: {{ type: blackhole, inputs: [flows, scored, scored.alerts] }}\n",
            if inputs == "kept" { filter } else { "" },
        );
        let loaded = load::<Components>("t", text.as_bytes(), surroundings(false));
        let said = loaded.err().map(|report| report.to_string()).unwrap_or_default();
        assert_eq!(said.contains(expected), refused, "{sample} {inputs}: {said}");
        assert_eq!(said.is_empty(), !refused, "{said}");
    }
}

#[test]
fn only_packets_of_a_gate_are_sampled() {
    for (keys, says) in [
        ("report: packets, sample: 1000000", ""),
        ("report: packets", ""),
        ("sample: 1", ""),
        ("sample: 2", "`sample` is about packets, and none are reported"),
        ("report: none, sample: 2", "`sample` is about packets, and none are reported"),
        ("report: packets, sample: 0", "sample"),
        ("report: packets, sample: 1000001", "sample"),
    ] {
        let text = format!(
            "sources:\n  gate: {{ type: xdp, interface: eth0, {keys} }}\nsinks:\n  out: {{ type: blackhole, \
             inputs: [gate.alerts] }}\n"
        );
        let loaded = load::<Components>("t", text.as_bytes(), surroundings(false));
        let said = loaded.err().map(|report| report.to_string()).unwrap_or_default();
        assert_eq!(said.is_empty(), says.is_empty(), "{keys}: {said}");
        assert!(said.contains(says), "{keys}: {said}");
    }
}

#[test]
fn two_sources_that_report_on_one_interface_are_a_mistake() {
    for (report, is_refused) in [
        ("", true),
        ("report: flows, ", true),
        ("report: packets, ", true),
        ("report: none, ", false),
    ] {
        let text = format!(
            "sources:\n  wire: {{ type: tshark, interface: eth0, mode: pipe }}\n  gate: {{ type: xdp, {report}\
             interface: eth0 }}\nsinks:\n  out: {{ type: blackhole, inputs: [wire, gate{port}] }}\n",
            port = if is_refused { "" } else { ".contacts" },
        );
        let loaded = load::<Components>("t", text.as_bytes(), surroundings(false));
        let said = loaded.err().map(|report| report.to_string()).unwrap_or_default();
        let claimed = said.contains("has the reports on interface eth0 already");
        assert_eq!(claimed, is_refused, "{report}: {said}");
    }
}

#[test]
fn what_is_written_as_in_another_language_gets_its_hint() {
    for (text, says, hint) in [
        ("[sources]\nwire = 1\n", "not YAML", "this looks like TOML"),
        (
            "sources:\n  wire: { type capture, interface: a }\n",
            "`type` is missing",
            "write `type: capture`",
        ),
        (
            "sources: { wire: { typ: capture, interface: a } }",
            "`type` is missing",
            "did you mean `type` by `typ`?",
        ),
        (
            "sources: { wire: { type: capture, interface: ${IF}, x: 1 } }",
            "not YAML",
            "quotes around",
        ),
        ("data_dir = \"/x\"\n[sources.wire]\n", "found text", "this looks like TOML"),
        ("sources:\n  wire:\n    type: a\n\tinterface: a\n", "tab", "spaces, not with tabs"),
    ] {
        let report = report(text);
        assert!(report.contains(says) && report.contains(hint), "{report}");
    }
}

/// The parser stops behind the mistake, and said nothing of the line with it.
#[test]
fn what_is_no_yaml_is_said_of_the_line_with_the_mistake() {
    let line = |line: &str| {
        format!(
            "sources:\n  wire:\n    type: capture\n{line}\n    workers: 2\nsinks:\n  out: {{}}\n"
        )
    };
    for (text, place, says) in [
        ("sources:\n  wire:\n    type capture\n    workers: 2\n".into(), "3:5", "write `type: …`"),
        ("sources:\n  wire:\n    type:capture\n    workers: 2\n".into(), "3:5", "behind the colon"),
        (
            "sources:\n  wire:\n    type = capture\n    workers: 2\n".into(),
            "3:5",
            "write `type: …`",
        ),
        ("sources:\n  wire\n    # it\n\n    type: capture\n".into(), "2:3", "write `wire:`"),
        ("sources\n  wire:\n    type: capture\n".into(), "1:1", "write `sources:`"),
        (line("    interface eth0"), "4:5", "write `interface: …`"),
        (line("    interface:eth0"), "4:5", "behind the colon"),
        ("sinks:\n  out:\n    type: file\n    path /a # here\n".into(), "4:5", "write `path: …`"),
        (line("      interface: eth0"), "4:16", "indent it as far as `type` above"),
        (line("   interface: eth0"), "4:4", "indent all keys of one mapping alike"),
        (line("    interface: @eth0"), "4:16", "put quotes around"),
        (line("    interface: *eth0"), "4:16", "put quotes around"),
        (line("    fields: [*]"), "4:14", "put quotes around"),
        (line("    interface: a: b"), "4:17", "put quotes around a value that has `: `"),
        (line("    fields: [a, b"), "5:12", "close the `[`"),
        (line("    interface: \"eth0"), "4:16", "close the quotes"),
        ("{\"sources\": {\"a\": \"b\" \"c\": 1}}".into(), "1:23", "put a comma"),
    ] {
        let report = report(&text);
        assert!(report.contains("error: not YAML: "), "{text}: {report}");
        assert!(report.contains(&format!("tidegate.yaml:{place}")), "{text}: {report}");
        assert!(report.contains("= hint: ") && report.contains(says), "{text}: {report}");
        assert_eq!(report.matches("error: ").count(), 1, "{text}: {report}");
    }
}

#[test]
fn a_number_with_a_fraction_or_an_exponent_gets_its_hint() {
    for number in ["1.5", "1e6", "1_000", "5 s"] {
        let text = GOOD.replace("max_events: 100", &format!("max_events: {number}"));
        assert!(report(&text).contains("write digits only"), "{number}: {}", report(&text));
    }
}

#[test]
fn a_value_in_the_place_of_another_kind_gets_its_hint() {
    let capture = |keys: &str| {
        let text = GOOD.replace("interface: eth0", &format!("interface: eth0, {keys}"));
        assert_ne!(text, GOOD);
        report(&text)
    };
    for (keys, hint) in [
        ("segment: 3", "it has the keys: max_bytes, share"),
        ("segment: [max_bytes]", "it has the keys: max_bytes, share"),
        ("mode: 3", "possible values: segments, pipe"),
        ("token: [a]", "give one value"),
    ] {
        let said = capture(keys);
        assert!(said.contains(hint), "{keys}: {said}");
    }
    let said = report(&GOOD.replacen("fields: [dns.a]", "fields: 7", 1));
    assert!(said.contains("write a list: [A, B]"), "{said}");
}

/// The source was asked for each field by itself, and a transform that did not keep them gave no names.
#[test]
fn fields_have_to_come_and_to_be_kept() {
    let dns = "fields: [dns.qry.name, dns.a, dns.aaaa, dns.count.answers, dns.resp.type], ";
    let config = |dissect: &str, printed: &str, kept: &str| {
        format!(
            "sources:\n  wire: {{ type: tshark, {printed}mode: file, files: [a.pcap], dissect: {dissect} }}\n\
             transforms:\n  packets: {{ type: extract, {kept}inputs: [wire] }}\n  \
             named: {{ type: reverse_dns, inputs: [packets], packets: learn, ptr: false }}\n\
             sinks:\n  out: {{ type: blackhole, inputs: [named, packets] }}\n"
        )
    };
    let (come, past) = ("do not come from `wire`", "do not get past `packets`");
    for (dissect, printed, kept, expected) in [
        ("headers", "", "", vec![]),
        ("application", dns, dns, vec![]),
        ("application", dns, "", vec![past]),
        ("application", "", "", vec![come, past]),
    ] {
        let text = config(dissect, printed, kept);
        let said = load::<Components>("t", text.as_bytes(), surroundings(false));
        let said = said.err().map(|report| report.to_string()).unwrap_or_default();
        assert_eq!(said.matches("error: ").count(), expected.len(), "{text}: {said}");
        for expected in expected {
            assert!(said.contains(expected) && said.contains("add [dns."), "{text}: {said}");
        }
    }
}

/// Each of these had others that followed from it, and told to change what was right.
#[test]
fn what_follows_from_a_mistake_is_not_told() {
    let components = "  packets: { type: decode, inputs: wire, fields: [dns.a] }\n";
    let wire = "  wire: { type: capture, interface: eth0, fields: [dns.a] }\n";
    let sinks = "sinks:\n  out: { type: blackhole, inputs: packets }\n";
    let transforms = format!("transforms:\n{components}");
    for (text, expected, hint) in [
        (
            format!("sources:\n{wire}{transforms}").replace("packets", "wire")
                + &sinks.replace("packets", "wire"),
            "transforms.wire: the id is taken by a source",
            "ids are unique",
        ),
        (
            format!("sources:\n{wire}{components}{sinks}"),
            "sources.packets.type: `decode` is a transform, and no source",
            "move `packets` under `transforms`",
        ),
        (
            format!("sources:\n{wire}{transforms}{}", sinks.replace("sinks:\n", "")),
            "transforms.out.type: `blackhole` is a sink, and no transform",
            "move `out` under `sinks`",
        ),
        (
            format!("sources:\n{}{transforms}{sinks}", wire.replace("  wire", "  - wire")),
            "sources: expected a mapping, found a list",
            "write each component as",
        ),
        (
            format!("sources:\n{wire}{transforms}{sinks}").replace("inputs: wire", "input: wire"),
            "transforms.packets: unknown key `input`",
            "did you mean `inputs`?",
        ),
        (
            format!("sources:\n{wire}{transforms}{sinks}")
                .replace("inputs: packets", "inputs: 'packets, packets.dropped'"),
            "sinks.out.inputs: there is no `packets, packets`",
            "write several as a list: [packets, packets.dropped]",
        ),
    ] {
        let found = headlines(&text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].contains(expected), "{text}: {found:#?}");
        assert!(report(&text).contains(hint), "{}", report(&text));
    }
    let text = format!("sources:\n{}{transforms}{sinks}", wire.trim_start());
    assert!(report(&text).contains("indent `wire` under `sources`"), "{}", report(&text));
    assert!(!report(&text).contains("there is no `wire`"), "{}", report(&text));
}

#[test]
fn one_text_is_a_list_of_one_and_nothing_is_none() {
    let text = "
sources: { capture: { type: tshark, mode: file, files: a.pcap } }
transforms: { packets: { type: extract, inputs: capture, fields: dns.a } }
sinks: { out: { type: console, inputs: packets } }
";
    let said = load::<Components>("one.yaml", text.as_bytes(), surroundings(false));
    let said = said.unwrap_err().render(false);
    // The field is read as one of a list: it is the source that does not have it.
    assert!(said.contains("transforms.packets.fields[0]") && !said.contains("expected"), "{said}");
    let text = text.replace("fields: dns.a", "fields: ~");
    let said = load::<Components>("one.yaml", text.as_bytes(), surroundings(false));
    assert!(said.unwrap_err().render(false).contains("expected a list"));
}
