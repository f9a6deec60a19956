//! The field reference, `docs/fields.md`: made of the table.

use std::{env, fmt::Write as _, fs, path::Path};

use super::{Named, Schema, all_named, kinds};
use crate::record::Kind;

const HEAD: &str = "# Fields

Made from the code: change the table in `src/field`, then run the test named
at the end of this page. One table for each schema (`encoding.schema`) and kind of record. A field that a
record has no value for is left out. Conditions of `filter` and `route` may ask for all of them, by their
names in any schema; contacts are never written, but can be asked for theirs.

The schema `ecs` is the Elastic Common Schema 9.4.0, written as nested objects; what it has no name for
lies under `tidegate`. `event.ingested` is added by the ingest pipeline. In a replay there is no
`event.created`, so that the same capture gives the same bytes.

The schema `cim` is Splunk's Common Information Model: flows and packets as Network Traffic, alerts as
Intrusion Detection. `bytes_out` is what the initiator sent and `bytes_in` what the responder sent
(`encoding.cim_in: initiator` exchanges them, as Splunk Stream counts). The model's data sets are chosen
by tags, which no event can carry: install `config/splunk/TA-tidegate`.
";

const TAIL: &str = "
---
To write this page anew: `TIDEGATE_UPDATE=1 cargo test --lib the_field_reference`.
";

fn reference() -> String {
    let mut page = HEAD.to_owned();
    for schema in Schema::ALL {
        for kind in kinds().iter() {
            write!(page, "\n## {}: {kind}\n\n| field | type | |\n|---|---|---|\n", schema.name())
                .expect("a string takes all that is written");
            let mut fields: Vec<_> = all_named(schema).filter(|field| field.kind == kind).collect();
            if schema != Schema::Simple {
                fields.sort_by_key(|field| field.name);
            }
            for Named { name, r#type, is_list, about, .. } in fields {
                let list = if is_list { " (list)" } else { "" };
                writeln!(page, "| `{name}` | {type}{list} | {about} |")
                    .expect("a string takes all that is written");
            }
        }
    }
    page + TAIL
}

#[test]
fn the_field_reference_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md");
    let page = reference();
    if env::var_os("TIDEGATE_UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/fields.md is old: set TIDEGATE_UPDATE=1 and run this test again");
}

#[test]
fn no_kind_has_a_name_twice() {
    for schema in Schema::ALL {
        for kind in Kind::ALL {
            let mut names: Vec<_> = all_named(schema)
                .filter(|field| field.kind == kind)
                .map(|field| field.name)
                .collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{schema:?} {kind}");
        }
    }
}

#[test]
fn a_name_means_the_same_type_in_every_kind() {
    let types: std::collections::HashMap<_, _> =
        all_named(Schema::Ecs).map(|field| (field.name, field.r#type)).collect();
    for field in all_named(Schema::Ecs) {
        assert_eq!(types[field.name], field.r#type, "{}", field.name);
    }
}
