//! What a cluster has to have for our documents: an index template, a lifecycle policy and an ingest
//! pipeline. The files below `config/elasticsearch` and `config/opensearch` are these, for those who
//! install them by hand.

use serde_json::{Value, json};

use super::mappings::{self, Server, Types};
use crate::field::ECS_VERSION;

/// Raised with every change of the template or the pipeline: an older one is replaced.
pub(super) const VERSION: u64 = 3;
/// The key below `_meta` of an index's mapping that tells of which version of the template it was made.
pub(super) const MADE_OF: &str = "tidegate_template";
/// What OpenSearch's `ip2geo` looks addresses up in, where there is a source of that name.
const DATA_SOURCE: &str = "tidegate-city";

/// Above the templates of Elastic's own packages, which have 200. That of a data set by name is above
/// that of all of ours, with which it may overlap.
fn priority(pattern: &str) -> u64 {
    if pattern == PATTERN { 250 } else { 251 }
}

/// The name of all of them, and the data streams they are for where each kind has its own data set.
pub(super) const NAME: &str = "tidegate";
pub(super) const PATTERN: &str = "logs-tidegate.*-*";

/// What a server has that a template may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facilities {
    pub(super) policy: bool,
    pub(super) pipeline: bool,
    pub(super) types: Types,
}

/// The index template for data streams that match `pattern`.
pub(super) fn index_template(server: Server, pattern: &str, facilities: Facilities) -> Value {
    let mut settings = json!({"index": {"codec": "best_compression"}});
    if facilities.pipeline {
        settings["index"]["final_pipeline"] = json!(NAME);
    }
    // OpenSearch's policy names its data streams itself.
    if facilities.policy && server == Server::Elasticsearch {
        settings["index"]["lifecycle"] = json!({"name": NAME});
    }
    json!({
        "index_patterns": [pattern],
        "data_stream": {},
        "priority": priority(pattern),
        "version": VERSION,
        "_meta": {
            "description": "network flows, packets, alerts and health records of Tidegate",
            "ecs_version": ECS_VERSION,
        },
        "template": {
            "settings": settings,
            "mappings": {
                "_meta": {MADE_OF: VERSION},
                "date_detection": false,
                "dynamic_templates": [{
                    "texts": {
                        "match_mapping_type": "string",
                        "mapping": {"type": "keyword", "ignore_above": 1024},
                    }
                }],
                "properties": mappings::properties(server, facilities.types),
            },
        },
    })
}

/// Whether a template that was found need not be replaced by ours: it is somebody else's
/// (without a version), newer, or the same and refers to the policy and the pipeline as ours does.
pub(super) fn is_current(found: &Value, ours: &Value) -> bool {
    let setting = |of: &Value, key: &str| {
        of.pointer("/template/settings/index").is_some_and(|settings| settings.get(key).is_some())
    };
    let lacks = |key: &&str| setting(ours, key) && !setting(found, key);
    let complete = !["lifecycle", "final_pipeline"].iter().any(lacks);
    let version = found.get("version").and_then(Value::as_u64);
    version.is_none_or(|version| version > VERSION || version == VERSION && complete)
}

/// Elasticsearch's lifecycle policy: a new index a day, or sooner when it is large; deleted 30 days
/// after that.
pub(super) fn ilm_policy() -> Value {
    json!({
        "policy": {
            "_meta": {"description": "Tidegate: kept for 30 days"},
            "phases": {
                "hot": {
                    "actions": {
                        "rollover": {"max_age": "1d", "max_primary_shard_size": "50gb"},
                    },
                },
                "delete": {"min_age": "30d", "actions": {"delete": {}}},
            },
        },
    })
}

/// OpenSearch's lifecycle policy: the same.
pub(super) fn ism_policy(pattern: &str) -> Value {
    json!({
        "policy": {
            "description": "Tidegate: kept for 30 days",
            "default_state": "hot",
            "states": [
                {
                    "name": "hot",
                    "actions": [
                        {"rollover": {"min_index_age": "1d", "min_primary_shard_size": "50gb"}},
                    ],
                    "transitions": [
                        {"state_name": "delete", "conditions": {"min_rollover_age": "30d"}},
                    ],
                },
                {"name": "delete", "actions": [{"delete": {}}], "transitions": []},
            ],
            "ism_template": [{"index_patterns": [pattern], "priority": priority(pattern)}],
        },
    })
}

/// What a server may look up the places and networks of addresses with, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// OpenSearch's plugin for cities, from a source of data that somebody made, and `geoip` for networks.
    Ip2Geo,
    /// The processor of that name, in every distribution of both servers.
    GeoIp,
    /// Nothing.
    None,
}

/// The ingest pipeline: notes when the cluster took a document in, and where its addresses are. Nothing
/// that a processor finds wrong keeps a document out.
pub(super) fn ingest_pipeline(places: Places) -> Value {
    let mut processors = Vec::new();
    for side in ["source", "destination"] {
        match places {
            Places::Ip2Geo => processors.extend(by_ip2geo(side)),
            Places::GeoIp => processors.push(by_geoip(side)),
            Places::None => continue,
        }
        processors.extend(network_of(side));
    }
    let ingested = json!({"field": "event.ingested", "value": "{{{_ingest.timestamp}}}"});
    processors.push(json!({"set": ingested}));
    json!({
        "description": places.description(),
        "version": VERSION,
        "processors": processors,
    })
}

fn by_geoip(side: &str) -> Value {
    json!({"geoip": {
        "field": format!("{side}.ip"),
        "target_field": format!("{side}.geo"),
        "properties": [
            "continent_name", "country_iso_code", "country_name", "region_iso_code",
            "region_name", "city_name", "location",
        ],
        "ignore_missing": true,
        "ignore_failure": true,
    }})
}

/// All that the source of data has: versions of the plugin differ in how less is asked for.
fn by_ip2geo(side: &str) -> [Value; 2] {
    let place = json!({"ip2geo": {
        "field": format!("{side}.ip"),
        "target_field": format!("{side}.geo"),
        "datasource": DATA_SOURCE,
        "ignore_missing": true,
        "ignore_failure": true,
    }});
    [place, renamed(&format!("{side}.geo.time_zone"), &format!("{side}.geo.timezone"))]
}

/// The autonomous system, under the names that ECS gives it.
fn network_of(side: &str) -> [Value; 3] {
    let found = json!({"geoip": {
        "field": format!("{side}.ip"),
        "target_field": format!("{side}.as"),
        "database_file": "GeoLite2-ASN.mmdb",
        "properties": ["asn", "organization_name"],
        "ignore_missing": true,
        "ignore_failure": true,
    }});
    let name = |key: &str| format!("{side}.as.{key}");
    [
        found,
        renamed(&name("asn"), &name("number")),
        renamed(&name("organization_name"), &name("organization.name")),
    ]
}

fn renamed(from: &str, to: &str) -> Value {
    json!({"rename": {
        "field": from,
        "target_field": to,
        "ignore_missing": true,
        "ignore_failure": true,
    }})
}

/// Whether a pipeline that was found need not be replaced by ours: it is somebody else's (without a
/// version), newer, or the same and looks addresses up as well as ours. A change of ours that somebody made
/// without touching its description stays.
pub(super) fn is_current_pipeline(found: &Value, ours: Places) -> bool {
    let said = found.get("description").and_then(Value::as_str);
    let poorer = Places::ALL.into_iter().skip_while(|places| *places != ours).skip(1);
    let lacks = poorer.map(Places::description).any(|description| said == Some(description));
    let version = found.get("version").and_then(Value::as_u64);
    version.is_none_or(|version| version > VERSION || version == VERSION && !lacks)
}

// === impl Places ===

impl Places {
    /// All of them, the best first.
    pub(super) const ALL: [Self; 3] = [Self::Ip2Geo, Self::GeoIp, Self::None];

    const fn description(self) -> &'static str {
        match self {
            Self::Ip2Geo => "Tidegate: event.ingested; places by ip2geo, networks by geoip",
            Self::GeoIp => "Tidegate: event.ingested; places and networks by geoip",
            Self::None => "Tidegate: event.ingested",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    #[test]
    fn a_template_of_ours_is_replaced_when_it_is_older_or_lacks_what_there_is_now() {
        let types = Types { constant_keyword: true, match_only_text: true };
        let facilities = |policy, pipeline| Facilities { policy, pipeline, types };
        let of = |facilities| index_template(Server::Elasticsearch, PATTERN, facilities);
        let versioned = |version: Value, mut template: Value| {
            template["version"] = version;
            template
        };
        let (all, none) = (of(facilities(true, true)), of(facilities(false, false)));
        let cases = [
            (all.clone(), &all, true),
            (all.clone(), &none, true),
            (none.clone(), &none, true),
            (none.clone(), &all, false),
            (of(facilities(true, false)), &all, false),
            (of(facilities(false, true)), &all, false),
            (versioned(json!(VERSION - 1), all.clone()), &all, false),
            (versioned(json!(VERSION + 1), none.clone()), &all, true),
            (versioned(Value::Null, none.clone()), &all, true),
        ];
        for (at, (found, ours, current)) in cases.into_iter().enumerate() {
            assert_eq!(is_current(&found, ours), current, "{at}");
        }
    }

    #[test]
    fn a_pipeline_of_ours_is_replaced_when_it_is_older_or_looks_up_less() {
        for (at, found) in Places::ALL.into_iter().enumerate() {
            for (wanted_at, wanted) in Places::ALL.into_iter().enumerate() {
                let mut pipeline = ingest_pipeline(found);
                let current = at <= wanted_at;
                assert_eq!(is_current_pipeline(&pipeline, wanted), current, "{found:?} {wanted:?}");
                // Somebody changed it.
                pipeline["processors"] = json!([]);
                assert_eq!(is_current_pipeline(&pipeline, wanted), current, "{found:?} {wanted:?}");
                for (version, expected) in
                    [(json!(VERSION - 1), false), (json!(VERSION + 1), true), (Value::Null, true)]
                {
                    pipeline["version"] = version;
                    assert_eq!(is_current_pipeline(&pipeline, wanted), expected, "{pipeline}");
                }
            }
        }
    }

    #[test]
    fn no_processor_but_the_last_can_refuse_a_document() {
        for places in Places::ALL {
            let pipeline = ingest_pipeline(places);
            let (last, rest) = pipeline["processors"].as_array().unwrap().split_last().unwrap();
            assert_eq!(last["set"]["field"], "event.ingested");
            for processor in rest {
                let options = processor.as_object().unwrap().values().next().unwrap();
                assert_eq!(options["ignore_failure"], true, "{processor}");
                assert_eq!(options["ignore_missing"], true, "{processor}");
            }
        }
    }

    #[test]
    fn the_shipped_files_are_those_of_the_code() {
        let (elastic, open) = (Server::Elasticsearch, Server::OpenSearch);
        let types = Types { constant_keyword: true, match_only_text: true };
        let all = Facilities { policy: true, pipeline: true, types };
        let types = Types { constant_keyword: false, ..types };
        let of_open_search = Facilities { types, ..all };
        let files = [
            ("elasticsearch/index-template.json", index_template(elastic, PATTERN, all)),
            ("elasticsearch/ilm-policy.json", ilm_policy()),
            ("elasticsearch/ingest-pipeline.json", ingest_pipeline(Places::GeoIp)),
            ("opensearch/index-template.json", index_template(open, PATTERN, of_open_search)),
            ("opensearch/ism-policy.json", ism_policy(PATTERN)),
            ("opensearch/ingest-pipeline.json", ingest_pipeline(Places::GeoIp)),
            ("opensearch/ingest-pipeline-ip2geo.json", ingest_pipeline(Places::Ip2Geo)),
        ];
        for (name, document) in files {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
            let text = format!("{document:#}\n");
            if env::var_os("TIDEGATE_UPDATE").is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let shipped = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                shipped == text,
                "config/{name} is old: set TIDEGATE_UPDATE=1 and run this again"
            );
        }
    }
}
