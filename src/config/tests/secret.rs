//! Substitution, and that nothing secret is printed.

use super::{
    GOOD,
    families::{Source, Test},
    loaded, report, surroundings,
};
use crate::config::load;

/// The good config with other keys for its capture.
fn capture(keys: &str) -> String {
    GOOD.replace("interface: eth0", keys)
}

fn interface(keys: &str) -> String {
    match &loaded(&capture(keys)).config.sources[0].config {
        Source::Capture(capture) => capture.interface.clone().unwrap(),
        Source::Gate(_) => panic!("not a capture"),
    }
}

#[test]
fn references_are_substituted_inside_their_scalar() {
    for (written, value) in [
        ("\"${SECRET}\"", "hunter2-hunter2"),
        ("\"a-${WORKERS}-${WORKERS}\"", "a-3-3"),
        ("\"${MISSING:-eth1}\"", "eth1"),
        ("\"${EMPTY:-eth1}\"", "eth1"),
        ("\"${WORKERS:-eth1}\"", "3"),
        ("\"${MISSING:-}x\"", "x"),
        ("\"$${WORKERS} $$\"", "${WORKERS} $"),
        ("\"100$ and $x\"", "100$ and $x"),
        ("\"${STRUCTURE}\"", "a: [b, {c: d}]\n- x"),
        ("'${MISSING:-$SECRET}'", "$SECRET"),
    ] {
        assert_eq!(interface(&format!("interface: {written}")), value, "{written}");
    }
}

#[test]
fn a_substituted_value_is_a_number_only_without_quotes() {
    let text = |workers: &str| {
        format!(
            "sources:\n  wire:\n    type: capture\n    interface: eth0\n    workers: {workers}\n{}",
            "transforms: { d: { type: decode, inputs: wire } }\nsinks: { k: { type: blackhole, inputs: d } }"
        )
    };
    let config = loaded(&text("${WORKERS}")).config;
    assert!(matches!(&config.sources[0].config, Source::Capture(capture) if capture.workers == 3));
    let quoted = report(&text("\"${WORKERS}\""));
    assert!(quoted.contains("expected a whole number"), "{quoted}");
}

#[test]
fn a_reference_that_has_no_value_is_an_error_at_its_place() {
    for (written, expected) in [
        ("\"${MISSING}\"", "the variable `MISSING` is not set"),
        ("\"${}\"", "takes the name of a variable"),
        ("\"${a b}\"", "takes the name of a variable"),
        ("\"${1A}\"", "takes the name of a variable"),
        ("\"${MISSING:-${WORKERS}}\"", "can't stand inside another"),
        ("\"${WORKERS:-a${EMPTY:-b}c}\"", "can't stand inside another"),
        ("\"${file:${WORKERS}}\"", "can't stand inside another"),
        ("\"x ${WORKERS\"", "`${` without its `}`"),
        ("\"${file:none}\"", "can't read `/nonexistent/none` for a value"),
        ("\"${file:/proc}\"", "can't read `/proc` for a value"),
        ("\"${file:/dev/zero}\"", "not a regular file"),
    ] {
        let report = report(&capture(&format!("interface: {written}")));
        assert!(report.contains(expected), "{written}: {report}");
        assert!(report.contains("tidegate.yaml:3:"), "{written}: {report}");
        assert_eq!(report.matches("error: ").count(), 1, "{written}: {report}");
    }
}

#[test]
fn a_file_gives_its_text_without_what_an_editor_puts_around_it() {
    let directory = tempfile::tempdir().unwrap();
    for (written, value) in [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n\r\n", "s3cret"),
        ("\n\u{feff}s3cret", "\u{feff}s3cret"),
        ("\u{feff}s3cret", "s3cret"),
        ("\u{feff}\ns3cret\n", "s3cret"),
        (" s3 cret ", " s3 cret "),
        ("two\nlines\n", "two\nlines"),
        ("\n", ""),
    ] {
        std::fs::write(directory.path().join("key"), written).unwrap();
        let text = capture("interface: eth0, token: \"${file:key}\"");
        let mut surroundings = surroundings(false);
        surroundings.directory = directory.path();
        let loaded = load::<Test>("t", text.as_bytes(), surroundings).unwrap();
        let Source::Capture(capture) = &loaded.config.sources[0].config else {
            panic!("not a capture")
        };
        assert_eq!(capture.token.as_deref(), Some(value), "{written:?}");
    }
}

#[test]
fn a_dollar_without_braces_gives_a_warning() {
    let warnings = loaded(&capture("interface: $SECRET")).warnings;
    assert!(warnings.to_string().contains("a `$` without braces"), "{warnings}");
}

#[test]
fn no_secret_is_printed_wherever_the_mistake_is() {
    let long = "hunter2-hunter2";
    for keys in [
        "interface: eth0, token: hunter2-hunter2, wrong: 1",
        "interface: eth0, token: [hunter2-hunter2]",
        "interface: eth0, token: {a: hunter2-hunter2}, x: 1",
        "interface: eth0, workers: hunter2-hunter2, password: hunter2-hunter2",
        "interface: eth0, workers: \"${SECRET}\"",
        "interface: eth0, mode: \"${SECRET}\"",
        "interface: eth0, promiscuous: \"x${SECRET}y\"",
        "interface: eth0, fields: [\"${SECRET}\", [x]]",
        "interface: eth0, fields: [\"https://user:hunter2-hunter2@host/\", [x]]",
        "interface: eth0, api_key: \"hunter2-hunter2",
        "interface: eth0, api_key: hunter2-hunter2, &",
        "interface: eth0, api_key: hunter2-hunter2 } }",
    ] {
        let report = report(&capture(keys));
        assert!(!report.contains(long) && !report.contains("hunter2"), "{keys}:\n{report}");
        assert!(report.contains("tidegate.yaml:"), "{report}");
    }
}

/// A config whose colon is missing, and one of another language, were quoted with their credentials.
#[test]
fn no_secret_is_printed_of_what_is_no_config() {
    for text in [
        "sinks:\n  a:\n    token hunter2\n    mode: pipe\n",
        "sinks:\n  a:\n    - password:hunter2\n      mode: pipe\n",
        "sinks:\n  a:\n    api_key = hunter2\n    mode: pipe\n",
        "token = \"hunter2\"\n[sinks.a]\n",
        "TOKEN=hunter2\n",
        "password hunter2",
    ] {
        let report = report(text);
        assert!(!report.contains("hunter2"), "{text}:\n{report}");
        assert!(report.contains("tidegate.yaml:"), "{report}");
    }
}

#[test]
fn a_hidden_value_keeps_the_caret_in_its_place() {
    insta::assert_snapshot!(report(&capture("token: abc, interfce: eth0")));
}

#[test]
fn a_secret_over_several_lines_is_hidden_in_a_broken_file() {
    let report =
        report("sinks:\n  a:\n    token: |\n      hunter2\n      hunter2\n\t- hunter2\n  b: 1\n");
    assert!(!report.contains("hunter2"), "{report}");
}
