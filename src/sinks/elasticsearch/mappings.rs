//! How Elasticsearch and OpenSearch index the fields of the schema `ecs`.

use serde_json::{Map, Value, json};

use crate::field::{Schema, named};

/// A server, by what it calls its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

/// Longest keyword that is indexed, in characters: what ECS says of every keyword.
const IGNORE_ABOVE: u32 = 1024;

/// The fields that somebody else than the encoder adds, the ingest pipeline: names and types.
const ADDED: [(&str, &str); 21] = [
    ("event.ingested", "date"),
    ("source.as.number", "long"),
    ("source.as.organization.name", "keyword"),
    ("source.geo.city_name", "keyword"),
    ("source.geo.continent_name", "keyword"),
    ("source.geo.country_iso_code", "keyword"),
    ("source.geo.country_name", "keyword"),
    ("source.geo.location", "geo_point"),
    ("source.geo.region_iso_code", "keyword"),
    ("source.geo.region_name", "keyword"),
    ("source.geo.timezone", "keyword"),
    ("destination.as.number", "long"),
    ("destination.as.organization.name", "keyword"),
    ("destination.geo.city_name", "keyword"),
    ("destination.geo.continent_name", "keyword"),
    ("destination.geo.country_iso_code", "keyword"),
    ("destination.geo.country_name", "keyword"),
    ("destination.geo.location", "geo_point"),
    ("destination.geo.region_iso_code", "keyword"),
    ("destination.geo.region_name", "keyword"),
    ("destination.geo.timezone", "keyword"),
];

/// The types that some servers lack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Types {
    /// A server without it gets a plain `keyword`.
    pub(super) constant_keyword: bool,
    /// A server without it gets a `text`.
    pub(super) match_only_text: bool,
}

/// The `properties` of a mapping: every field of the schema `ecs`, of all kinds of record.
pub(super) fn properties(server: Server, types: Types) -> Value {
    let mut properties = Map::new();
    let own = named(Schema::Ecs).map(|field| (field.name, field.r#type));
    for (name, r#type) in own.chain(ADDED) {
        insert(&mut properties, name, mapping(r#type, server, types));
    }
    Value::Object(properties)
}

fn mapping(r#type: &str, server: Server, types: Types) -> Value {
    match (r#type, server) {
        ("keyword", _) => json!({"type": "keyword", "ignore_above": IGNORE_ABOVE}),
        ("constant_keyword", _) if !types.constant_keyword => json!({"type": "keyword"}),
        ("match_only_text", _) if !types.match_only_text => json!({"type": "text"}),
        // OpenSearch has it since 2.12.
        ("match_only_text", Server::OpenSearch) => json!({"type": "text"}),
        ("flattened", Server::OpenSearch) => json!({"type": "flat_object"}),
        (r#type, _) => json!({"type": r#type}),
    }
}

fn insert(properties: &mut Map<String, Value>, name: &str, mapping: Value) {
    let Some((object, rest)) = name.split_once('.') else {
        properties.insert(name.to_owned(), mapping);
        return;
    };
    let inner = properties.entry(object).or_insert_with(|| json!({"properties": {}}));
    if let Some(Value::Object(inner)) = inner.get_mut("properties") {
        insert(inner, rest, mapping);
    }
}
