//! Files that are no config, by accident or on purpose.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{GOOD, families::Test, report, surroundings};
use crate::config::load;

/// Far above what any input takes, far below what would be felt as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn survives(bytes: &[u8]) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test's stopwatch")]
    let start = Instant::now();
    let report = match load::<Test>("t", bytes, surroundings(false)) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(report) => {
            assert!(report.errors() > 0);
            report.to_string()
        }
    };
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    report
}

/// `part` for each number below `count`.
fn numbered(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().concat()
}

#[test]
fn what_is_no_config_says_what_it_is() {
    let deep = "[".repeat(100);
    for (text, expected) in [
        ("", "the file has no content"),
        ("# nothing\n", "the file has no content"),
        ("---\n", "expected a mapping, found nothing"),
        ("hello", "expected a mapping, found text"),
        ("[1, 2]", "expected a mapping, found a list"),
        ("a: 1\n---\nb: 2\n", "a second document begins here"),
        ("a: &x 1\nb: *x\n", "aliases (`*name`) are not taken"),
        ("a: &a [x]\nb: &b [*a, *a]\n", "aliases (`*name`) are not taken"),
        ("a: !!binary aGk=\n", "the tag `"),
        ("a: 1\na: 2\n", "the key `a` is given twice"),
        ("? [a]\n: 1\n", "a key has to be text"),
        ("{a: {b: 1}: 2}", "not YAML"),
        (": 1\n", "a key is missing"),
        ("a:\n\tb: 1\n", "indent with spaces"),
        ("a: \"x\n", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("a: \u{7}\n", "control character U+0007"),
        ("a: \u{0}b\n", "control character U+0000"),
        ("sources: 3\nsinks: []\n", "sources: expected a mapping, found `3`"),
        ("sources: { a: 3 }\nsinks: { b: }\n", "sources.a: expected a mapping, found `3`"),
        ("sources:\nsinks:\n", "the config has no source"),
        (deep.as_str(), "nested deeper than 64 levels"),
    ] {
        let report = report(text);
        assert!(report.contains(expected), "{text:?}: {report}");
        assert!(report.contains("--> tidegate.yaml:"), "{text:?}: {report}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_located() {
    let report = survives(b"sources:\n  a: \xff\xfe\n");
    assert!(report.contains("byte 14 of the file is not UTF-8"), "{report}");
    assert!(report.contains("--> t:2:6"), "{report}");
}

#[test]
fn large_files_end_soon() {
    let million = 1 << 20;
    for part in [
        "[", "{", "\"", "- ", "? ", "a: ", "&a ", "{a: ", "[a, ", "\n", "x", "'", "|\n", "- - ",
        "!", "a: {}\n", "\t", "${", "${A", "# ", "é", "%", "a,", "[]", "*a ",
    ] {
        survives(part.repeat(million / part.len()).as_bytes());
    }
    let keys = numbered(90_000, |at| format!("k{at}: {at}\n"));
    survives(keys.as_bytes());
    let fields = numbered(90_000, |at| format!("[{at}],"));
    survives(format!("sources: {{a: {{type: capture, fields: [{fields}]}}}}").as_bytes());
    let inputs = numbered(90_000, |at| format!("'*{at}*x*',"));
    survives(format!("sinks: {{a: {{type: file, inputs: [{inputs}]}}}}").as_bytes());
    let chain: String = numbered(240, |at| format!("t{at}: {{type: pass, inputs: ['*']}}\n  "));
    survives(format!("sources:\n  s: {{type: gate}}\ntransforms:\n  {chain}\n").as_bytes());
    let report = survives(&vec![b'a'; 3 << 20]);
    assert!(report.contains("3145728 bytes, a config at most"), "{report}");
}

/// A piece of YAML or of a config.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "sources:",
        "transforms:",
        "sinks:",
        "type: ",
        "inputs: ",
        "capture",
        "wire",
        "flows.contacts",
        "*",
        "token: ",
        "${SECRET}",
        "${",
        "$$",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "\"",
        "'",
        "|",
        ">",
        "&a",
        "*a",
        "!!str",
        "---",
        "...",
        "#",
        "\t",
        "~",
        "é",
        "\u{1f600}",
        "0x1f",
        "-1",
        "1e9",
        "null",
        "<<",
        "? ",
    ];
    prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), ".{0,3}"]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn random_yaml_never_panics_and_keeps_the_secret(pieces in proptest::collection::vec(piece(), 0..60)) {
        let report = survives(pieces.concat().as_bytes());
        prop_assert!(!report.contains("hunter2"), "{report}");
    }

    #[test]
    fn a_damaged_config_never_panics(at in 0..GOOD.len(), length in 0_usize..20, piece in piece()) {
        let end = (at + length).min(GOOD.len());
        let (before, after) = (GOOD.get(..at).unwrap_or_default(), GOOD.get(end..).unwrap_or_default());
        survives(format!("{before}{piece}{after}").as_bytes());
    }
}
