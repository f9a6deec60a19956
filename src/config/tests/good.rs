//! Configs that load.

use std::path::Path;

use super::{
    GOOD,
    families::{Mode, Sink, Source, Test},
    loaded, surroundings,
};
use crate::config::{load, load_file, mermaid, schema};

#[test]
fn a_good_config_is_typed_and_connected() {
    let loaded = loaded(GOOD);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let scored = config.transforms.iter().find(|declared| declared.id == "scored").unwrap();
    let inputs: Vec<_> = scored
        .inputs
        .iter()
        .map(|edge| format!("{}/{} {}", edge.from, edge.port.0, edge.carries))
        .collect();
    assert_eq!(inputs, ["flows/0 flow", "flows/1 contact", "gate/1 contact"]);
    let archive = &config.sinks[0];
    assert_eq!((archive.id.as_str(), archive.kind), ("archive", "file"));
    assert_eq!(archive.common.batch.max_events, Some(100));
    assert!(
        matches!(&archive.config, Sink::File(file) if file.path == Path::new("/var/log/a.ndjson"))
    );
    assert_eq!(config.globals.api.address.to_string(), "127.0.0.1:9598");
}

#[test]
fn json_is_read_as_yaml_is() {
    let text = "{\n\t\"sources\": {\"s\": {\"type\": \"capture\", \"interface\": \"et\\u0068\\/0\", \"workers\": 2,\n\t\t\"mode\": \"pipe\", \"segment\": {\"share\": 2.5e-1}, \"promiscuous\": true, \"token\": null}},\n\t\"transforms\": {\"d\": {\"type\": \"decode\", \"inputs\": [\"s\"]}},\n\t\"sinks\": {\"k\": {\"type\": \"blackhole\", \"inputs\": \"d\"}}\n}\n";
    let Source::Capture(capture) = &loaded(text).config.sources[0].config else {
        panic!("not a capture");
    };
    assert_eq!(capture.interface.as_deref(), Some("eth/0"));
    assert_eq!((capture.workers, capture.mode), (2, Mode::Pipe));
    assert!(capture.promiscuous && capture.token.is_none());
    assert!((capture.segment.share - 0.25).abs() < f64::EPSILON);
}

#[test]
fn text_fields_take_digits_without_quotes() {
    let text = GOOD.replace("interface: eth0", "interface: 0640");
    assert!(matches!(
        &loaded(&text).config.sources[0].config,
        Source::Capture(capture) if capture.interface.as_deref() == Some("0640")
    ));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_taken() {
    let text = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    loaded(&text);
}

#[test]
fn the_graph_shows_kinds_and_no_values() {
    insta::assert_snapshot!(mermaid(&loaded(GOOD).config));
}

#[test]
fn the_schema_has_every_key_of_every_component() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema::<Test>()).unwrap());
}

#[test]
fn what_the_machine_lacks_is_found_at_its_key() {
    insta::assert_snapshot!(loaded(GOOD).check_environment());
}

#[test]
fn an_endpoint_others_can_reach_gives_a_warning() {
    let text = format!("api: {{ address: \"0.0.0.0:9598\" }}\n{GOOD}");
    let warnings = loaded(&text).warnings;
    assert_eq!((warnings.errors(), warnings.diagnostics().len()), (0, 1));
}

#[test]
fn a_file_that_is_missing_says_so() {
    let report = load_file::<Test>(Path::new("/nonexistent/tidegate.yaml"), false).unwrap_err();
    assert!(
        report.to_string().starts_with("error: can't read the config `/nonexistent/tidegate.yaml`")
    );
}

#[test]
fn without_its_variables_a_config_is_checked_as_far_as_possible() {
    let text = GOOD
        .replace("interface: eth0", "interface: ${IFACE}, workers: \"${N}\"")
        .replace("interface: ${IFACE}", "interface: \"${IFACE}\"");
    let loaded = load::<Test>("t", text.as_bytes(), surroundings(true)).unwrap();
    assert_eq!(loaded.warnings.diagnostics().len(), 2, "{}", loaded.warnings);
    assert!(load::<Test>("t", text.as_bytes(), surroundings(false)).is_err());
}

#[test]
fn the_hash_is_that_of_keys_and_values_but_tells_no_secret() {
    let hash = |text: &str| loaded(text).config.hash;
    let good = hash(GOOD);
    let token = |token: &str| hash(&GOOD.replace("eth0,", &format!("eth0, token: {token},")));
    assert_eq!(hash(&format!("# a remark\n{}", GOOD.replace("eth0", "\"eth0\""))), good);
    assert_ne!(hash(&GOOD.replace("eth0", "eth1")), good);
    assert_ne!(token("hunter2"), good);
    assert_eq!(token("hunter2"), token("'${SECRET}'"));
}
