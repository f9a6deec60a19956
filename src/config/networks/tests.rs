use std::{fs, path::Path};

use super::*;
use crate::config::{Components, Loaded, Report, load};

fn try_load(networks: &str, directory: &Path, lenient: bool) -> Result<Loaded, Box<Report>> {
    let rest = "sources: { s: { type: health } }\nsinks: { k: { type: blackhole, inputs: [s] } }\n";
    let surroundings = Surroundings { variable: &|_| None, directory, lenient };
    load::<Components>("t.yaml", format!("{networks}\n{rest}").as_bytes(), surroundings)
}

fn report(networks: &str) -> String {
    match try_load(networks, Path::new("/nonexistent"), false) {
        Ok(_) => panic!("no problem found in: {networks}"),
        Err(report) => report.to_string(),
    }
}

#[test]
fn the_lists_of_the_interface_are_read() {
    let text = "networks:
  internal: [10.0.0.0/8, fd00::1]
  allow: [{ cidr: 192.0.2.1, owner: ops, reason: the proxy }, { cidr: 2001:db8::/32 }]
  ignore: [{ cidr: 10.9.0.0/16, owner: sec, reason: scanner, expires: 2200-01-31 }]
  admin_ports: [22, 2222]";
    let config = try_load(text, Path::new("/nonexistent"), false).unwrap().config;
    let lists = &config.networks;
    let names = |entries: &[(IpNet, Entry)]| -> Vec<String> {
        entries.iter().map(|(network, entry)| format!("{network} {}", entry.place)).collect()
    };
    assert_eq!(lists.internal.len(), 2);
    assert_eq!(
        names(&lists.allow),
        ["192.0.2.1/32 networks.allow[0]", "2001:db8::/32 networks.allow[1]"]
    );
    assert_eq!((lists.allow[0].1.owner.as_str(), lists.allow[1].1.owner.as_str()), ("ops", ""));
    assert_eq!(names(&lists.ignore), ["10.9.0.0/16 networks.ignore[0]"]);
    assert_eq!(lists.ignore[0].1.expires, end("2200-02-01T00:00:00Z"));
    assert_eq!(lists.admin_ports, [22, 2222]);
    let none = try_load("data_dir: /d", Path::new("/nonexistent"), false).unwrap().config;
    assert_eq!(none.networks.admin_ports, [22]);
}

#[test]
fn each_mistake_is_told_at_its_place() {
    let cases = [
        ("internal: [10.0.0.0/8, ten]", "networks.internal[1]: \"ten\" is no network", "ten"),
        ("internal: [10.0.0.5/8]", "networks.internal[0]: \"10.0.0.5/8\" has bits", "10.0.0.5/8"),
        ("allow: [{ cidr: 10.0.0.0/33 }]", "networks.allow[0].cidr: ", "10.0.0.0/33"),
        ("allow: [{ owner: me }]", "`cidr` is missing", "owner"),
        ("allow: [{ cidr: 10.0.0.1, ownr: me }]", "unknown key `ownr`", "ownr"),
        ("ignore: [{ cidr: 10.0.0.1, owner: me, reason: x }]", "`expires` is missing", "cidr"),
        (
            "ignore: [{ cidr: 10.0.0.1, owner: '', reason: x, expires: 2200-01-01 }]",
            "networks.ignore[0].owner: the text is empty",
            "''",
        ),
        (
            "ignore: [{ cidr: 10.0.0.1, owner: me, reason: x, expires: soon }]",
            "networks.ignore[0].expires: \"soon\" is no date or time",
            "soon",
        ),
        ("admin_ports: [22, 0]", "networks.admin_ports: 0 is no port", "0"),
        ("admin_ports: [70000]", "networks.admin_ports", "70000"),
        ("allow_files: [none.txt]", "allow_files[0]: /nonexistent/none.txt: can't be read", "none"),
        ("alow: []", "unknown key `alow`", "alow"),
    ];
    for (key, said, shown) in cases {
        let report = report(&format!("networks: {{ {key} }}"));
        assert!(report.contains(said) && report.contains(shown), "{key}:\n{report}");
        assert_eq!(report.matches("error: ").count(), 1, "{key}:\n{report}");
    }
}

#[test]
fn bad_lines_of_a_file_are_warnings_with_their_numbers_and_the_good_ones_count() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "10.0.0.1 # gateway\n10.0.0\n10.0.0.2/8\n").unwrap();
    fs::write(directory.path().join("b.txt"), "x\n".repeat(23)).unwrap();
    let text = "networks: { allow_files: [a.txt, b.txt] }";
    let loaded = try_load(text, directory.path(), false).unwrap();
    let warnings = loaded.warnings.to_string();
    assert_eq!(loaded.warnings.errors(), 0);
    for said in ["a.txt:2: \"10.0.0\" is no network", "a.txt:3: ", "b.txt:1: ", "b.txt:20: "] {
        assert!(warnings.contains(said), "{said}: {warnings}");
    }
    assert!(
        warnings.contains("b.txt:23: 3 more lines") && !warnings.contains("b.txt:21"),
        "{warnings}"
    );
    let (networks, _) = loaded.config.networks.read();
    let (network, entry) = networks.allowed("10.0.0.1/32".parse().unwrap()).unwrap();
    assert_eq!((network.to_string().as_str(), entry.reason.as_str()), ("10.0.0.1/32", "gateway"));
    assert_eq!(networks.allow.len(), 1);
}

#[test]
fn without_the_machine_files_are_not_read() {
    let text = "networks: { allow_files: [none.txt] }";
    assert!(try_load(text, Path::new("/nonexistent"), true).is_ok());
}

#[test]
fn an_entry_that_has_expired_is_a_warning() {
    let text =
        "networks: { ignore: [{ cidr: 10.0.0.1, owner: me, reason: x, expires: 2020-01-01 }] }";
    let warnings = try_load(text, Path::new("/nonexistent"), false).unwrap().warnings;
    assert_eq!(warnings.errors(), 0);
    assert!(warnings.to_string().contains("networks.ignore[0]: it has expired"), "{warnings}");
}

#[test]
fn a_date_counts_to_its_end_and_a_time_needs_an_offset() {
    let nanos = |text| end(text).map(Timestamp::nanos);
    assert_eq!(nanos("1970-01-01"), Some(86_400_000_000_000));
    assert_eq!(nanos("1970-01-01T00:00:01Z"), Some(1_000_000_000));
    assert_eq!(nanos("1970-01-01T01:00:01+01:00"), Some(1_000_000_000));
    for text in ["", "1970-01-01T00:00:00", "1970-13-01", "01.02.1970", "never", "9999-12-31"] {
        assert_eq!(nanos(text), None, "{text:?}");
    }
}
