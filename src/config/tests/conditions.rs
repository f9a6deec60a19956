//! Mistakes in conditions, each found at its place.

use super::surroundings;
use crate::config::{Components, load};

/// A pipeline with this `filter`, and everything that is read of a `route`.
fn report(condition: &str, split: &str) -> String {
    let text = format!(
        "sources:
  wire: {{ type: tshark, mode: file, files: [a.pcap] }}
transforms:
  packets: {{ type: extract, inputs: [wire] }}
  only:
    type: filter
    inputs: [packets]
    condition: {condition}
  split:
    type: route
    inputs: [only]
    routes:
      web: {{ field: destination.port, equals: 443 }}
      dns: {{ field: destination.port, equals: 53 }}
sinks:
  out: {{ type: blackhole, inputs: [{split}] }}
"
    );
    match load::<Components>("t", text.as_bytes(), surroundings(false)) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(report) => report.to_string(),
    }
}

#[test]
fn a_mistake_in_a_condition_is_found_once_and_at_its_place() {
    let cases = [
        ("{ field: source.prt, equals: 1 }", "there is no field `source.prt`", "`source.port`?"),
        ("{ any: [{ field: tag, exists: true }] }", "there is no field `tag`", "`tags`?"),
        ("{ fild: tags, exists: true }", "unknown key `fild`", "`field`?"),
        ("{ field: source.port, equal: 1 }", "unknown key `equal`", "`equals`?"),
        (
            "{ all: [{ not: { field: source.port, cidr: [10.0.0.0/8] } }] }",
            "condition.all[0].not.cidr: `source.port` is a whole number",
            "`range`",
        ),
        (
            "{ field: source.ip, in: [10.0.0.1, 10.0.0] }",
            "condition.in[1]: `source.ip` is an address, and \"10.0.0\" is not",
            "write an address",
        ),
        (
            "{ any: [{ field: event.risk_score, range: { gte: 60 } }] }",
            "condition.any[0].field: packet records have no `event.risk_score`",
            "only alert records",
        ),
        (
            "{ field: source.port, range: { gte: -1 } }",
            "condition.range.gte: `source.port` is a whole number, and -1 is not",
            "0 or more",
        ),
        ("{ field: source.port, equals: 1.5 }", "is a whole number, and 1.5 is not", "equals"),
        ("{ all: { field: tags, exists: true } }", "expected a list", "condition.all"),
        ("{ field: tags, exists: yes }", "expected true or false", "condition.exists"),
        ("{ field: source.ip, cidr: 10 }", "expected a network such as", "condition.cidr"),
        ("{}", "condition: the condition is empty", "give `field`"),
        ("443", "expected a mapping", "condition"),
    ];
    for (condition, message, hint) in cases {
        let report = report(condition, "split.web, split.dns");
        let errors: Vec<_> = report.lines().filter(|line| line.starts_with("error")).collect();
        assert_eq!(errors.len(), 1, "{condition}: {report}");
        assert!(errors[0].contains(message), "{condition}: {report}");
        assert!(report.contains(hint) && report.contains("t:8:"), "{condition}: {report}");
    }
}

#[test]
fn a_condition_that_can_be_meant_is_taken() {
    for condition in [
        "{ field: destination.port, in: [80, 443] }",
        "{ field: destination.port, in: [80, \"${WORKERS}\"] }",
        "{ field: source.ip, cidr: 10.0.0.0/8 }",
        "{ not: { any: [{ field: tags, equals: damaged }, { field: source.ip, equals: '::1' }] } }",
    ] {
        assert_eq!(report(condition, "split.web, split.dns"), "", "{condition}");
    }
}

#[test]
fn a_route_has_no_main_output_and_each_of_its_routes_wants_a_reader() {
    let fine = "{ field: tags, exists: true }";
    let report = |split| report(fine, split);
    assert!(report("split").contains("`split` has no main output"), "{}", report("split"));
    assert!(report("split").contains("split.dns, split.web, split._unmatched"));
    let warned = report("split.web, split._unmatched");
    assert!(
        warned.contains("warning: transforms.split: nobody reads its output `dns`"),
        "{warned}"
    );
    assert_eq!(report("'split.*'"), "");
}

#[test]
fn an_extra_field_of_tshark_has_to_be_kept_by_an_extract() {
    let report = |kept: &str, condition: &str| {
        let text = format!(
            "sources:
  wire: {{ type: tshark, mode: file, files: [a.pcap], fields: [dns.qry.name, ip.ttl] }}
transforms:
  packets: {{ type: extract, inputs: [wire], fields: [{kept}] }}
  only: {{ type: filter, inputs: [packets], condition: {condition} }}
sinks:
  out: {{ type: blackhole, inputs: [only] }}
"
        );
        match load::<Components>("t", text.as_bytes(), surroundings(false)) {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(report) => report.to_string(),
        }
    };
    let name = "{ field: dns.qry.name, equals: a.example }";
    let member = "{ field: tidegate.packet.fields.dns_qry_name, equals: a.example }";
    for condition in [name, member] {
        assert_eq!(report("dns.qry.name", condition), "", "{condition}");
        let refused = report("ip.ttl", condition);
        assert!(refused.contains("there is no field `"), "{refused}");
    }
    let refused = report("dns.qry.name", "{ field: dns.qry.nam, exists: true }");
    assert!(refused.contains("did you mean `dns.qry.name`?"), "{refused}");
    let refused = report("dns.qry.name", "{ field: colour, exists: true }");
    assert!(refused.contains("among the `fields` of an `extract` before it"), "{refused}");
}
