//! `docs/reference.md`: every key of the config and every metric, from the schema and the code.

use std::{env, fs, path::Path};

use serde_json::{Map, Value};

use super::{
    Components,
    family::{Families, Family},
    globals::Globals,
    ranges::Range,
    schema::{defaults_of, schema_of},
};
use crate::{
    component::Role,
    metrics::{
        self, BufferLoss, ErrorType, Lookup, LossCause, Reason, XdpDenied, XdpEvent,
        XdpFlowPackets, XdpFlowRefusal, XdpOutcome, XdpSampled,
    },
    record::EndReason,
};

/// The text of the reference.
fn reference<F: Families>() -> String {
    let mut page = Page::default();
    page.text("# Reference\n\nGenerated from the code: `TIDEGATE_UPDATE=1 cargo test --lib reference` writes it anew.\n\nA value may hold `${VAR}`, `${VAR:-default}` and `${file:PATH}`; `$$` is a dollar sign. An error of the config never shows what is substituted, and nothing ever prints what a key for a credential holds; the start of a run does say on which interface it captures and to which addresses it sends. What is substituted is a number or a bool only where the field wants one and the value stands without quotes.\n\nA relative path begins at the folder of the config file, wherever the command is given: of each key of the type path, and of `${file:PATH}`. Paths on the command line begin where the command is given.\n");
    page.text("## Top level\n");
    page.table(&schema_of::<Globals>());
    page.section::<F::Source>(Role::Source);
    page.section::<F::Transform>(Role::Transform);
    page.section::<F::Sink>(Role::Sink);
    page.metrics();
    page.labels();
    page.0
}

#[derive(Default)]
struct Page(String);

/// A component's keys, and the common ones whose defaults are its own.
fn with_own_defaults<F: Family>(variant: &Value, common: &Value) -> Value {
    let mut table = variant.clone();
    let defaults = variant.as_object().map_or(Value::Null, defaults_of::<F>);
    for (key, value) in defaults.as_object().into_iter().flatten() {
        table["properties"][key] = only(&common["properties"][key], value);
    }
    table
}

/// The keys of a schema that a tree of defaults has, with these defaults.
fn only(schema: &Value, defaults: &Value) -> Value {
    let mut kept = schema.clone();
    match defaults {
        Value::Object(defaults) => {
            let keys = defaults
                .iter()
                .map(|(key, value)| (key.clone(), only(&schema["properties"][key], value)));
            kept["properties"] = Value::Object(keys.collect());
        }
        value => kept["default"] = value.clone(),
    }
    kept
}

// === impl Page ===

impl Page {
    fn text(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn section<F: Family>(&mut self, role: Role) {
        let section = role.section();
        let title = section.get(1..).unwrap_or_default();
        let first = section.chars().next().map(|c| c.to_ascii_uppercase());
        self.text(&format!("## {}{title}\n", first.unwrap_or_default()));
        match role {
            Role::Source => self.text("Each has `type`.\n"),
            _ => self.text("Each has `type` and `inputs`: one name or a list of names, `ID` for the main output of a source or transform, `ID.PORT` for a named one. `*` stands for any part of a name, but not for the dot.\n"),
        }
        let common = schema_of::<F::Common>();
        if common["properties"].as_object().is_some_and(|keys| !keys.is_empty()) {
            self.text(&format!("### Every {}\n", role.name()));
            self.table(&common);
        }
        let family = schema_of::<F>();
        for variant in family["oneOf"].as_array().into_iter().flatten() {
            let name = variant["properties"]["type"]["const"].as_str().unwrap_or_default();
            self.text(&format!("### `{name}`\n"));
            self.text(&format!("{}\n", one_line(variant)));
            self.table(&with_own_defaults::<F>(variant, &common));
        }
    }

    fn table(&mut self, schema: &Value) {
        let mut rows = Vec::new();
        collect(schema, "", &mut rows);
        if rows.is_empty() {
            return;
        }
        self.text("| key | type | default | meaning |\n|---|---|---|---|");
        for row in rows {
            self.text(&row);
        }
        self.text("");
    }

    fn metrics(&mut self) {
        self.text("## Metrics\n\nAll have the labels `component_id` and `component_type`, unless they say otherwise.\n");
        self.text("| name | kind | labels | meaning |\n|---|---|---|---|");
        for metric in metrics::ALL {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind, help) = (metric.name, metric.kind, metric.help);
            self.text(&format!("| `{name}` | {kind} | {} | {help} |", labels.join(", ")));
        }
    }

    /// The words that can stand in labels, and what each means.
    fn labels(&mut self) {
        self.text("\n## Reasons and error types\n\nAll that can stand in the labels of metrics; the summary of a run names them as well.");
        let labels = [
            ("reason", "tidegate_component_discarded_events_total", schema_of::<Reason>()),
            ("error_type", "tidegate_component_errors_total", schema_of::<ErrorType>()),
            ("cause", "tidegate_capture_lost_packets_total", schema_of::<LossCause>()),
            ("cause", "tidegate_buffer_lost_events_total", schema_of::<BufferLoss>()),
            ("reason", "tidegate_flow_ended_total", schema_of::<EndReason>()),
            ("result", "tidegate_dns_lookups_total", schema_of::<Lookup>()),
            ("outcome", "tidegate_xdp_packets_total", schema_of::<XdpOutcome>()),
            ("result", "tidegate_xdp_events_total", schema_of::<XdpEvent>()),
            ("result", "tidegate_xdp_flow_packets_total", schema_of::<XdpFlowPackets>()),
            ("reason", "tidegate_xdp_flow_refusals_total", schema_of::<XdpFlowRefusal>()),
            ("result", "tidegate_xdp_sampled_packets_total", schema_of::<XdpSampled>()),
            ("result", "tidegate_xdp_denied_packets_total", schema_of::<XdpDenied>()),
        ];
        for (label, metric, schema) in labels {
            self.text(&format!("\n### `{label}` of `{metric}`\n\n| word | meaning |\n|---|---|"));
            for word in schema["oneOf"].as_array().into_iter().flatten() {
                let name = word["const"].as_str().unwrap_or_default();
                self.text(&format!("| `{name}` | {} |", one_line(word)));
            }
        }
    }
}

/// One row for each key of `schema`, and for the keys below it.
fn collect(schema: &Value, prefix: &str, rows: &mut Vec<String>) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    for (key, property) in properties {
        if prefix.is_empty() && key == "type" {
            continue;
        }
        let key = format!("{prefix}{key}");
        let shown = shape(property).replace('|', "\\|");
        let default = default(property).replace('|', "\\|");
        let meaning = one_line(property).replace('|', "\\|");
        rows.push(format!("| `{key}` | {shown} | {default} | {meaning} |"));
        collect(inner(property), &format!("{key}."), rows);
    }
}

/// What stands in an optional value.
fn inner(property: &Value) -> &Value {
    let choices = property["anyOf"].as_array().into_iter().flatten();
    choices
        .filter(|choice| choice["type"] != "null")
        .find(|choice| choice["properties"].is_object())
        .unwrap_or(property)
}

/// Its type, in words.
fn shape(property: &Value) -> String {
    if let Some(choices) = property["oneOf"].as_array().or(property["anyOf"].as_array()) {
        let mut words: Vec<String> =
            choices.iter().filter(|choice| choice["type"] != "null").map(shape).collect();
        words.dedup();
        return words.join(" | ");
    }
    if matches!(property["format"].as_str(), Some("path" | "path-pattern")) {
        let is_list = !property["items"].is_null();
        return if is_list { "list of paths" } else { "path" }.to_owned();
    }
    if let Some(path) = property["$ref"].as_str() {
        return path.rsplit('/').next().unwrap_or_default().to_lowercase();
    }
    if let Some(word) = property["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(words) = property["enum"].as_array() {
        let words = words.iter().filter_map(Value::as_str);
        return words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" | ");
    }
    let name = match &property["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or_default()
        }
        _ => "any",
    };
    match name {
        "array" => format!("list of {}", shape(&property["items"])),
        "object" => "mapping".to_owned(),
        "string" => "text".to_owned(),
        "boolean" => "bool".to_owned(),
        other => match Range::of(property).to_string() {
            range if range.is_empty() => other.to_owned(),
            range => format!("{other}, {range}"),
        },
    }
}

/// Its default, if it is a value of its own.
fn default(property: &Value) -> String {
    match &property["default"] {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        value => format!("`{}`", value.to_string().trim_matches('"')),
    }
}

/// Its doc, with those of its words behind it.
fn one_line(property: &Value) -> String {
    let doc = |value: &Value| {
        let text = value["description"].as_str().unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut line = doc(property);
    for word in property["oneOf"].as_array().into_iter().flatten() {
        if let (Some(name), said) = (word["const"].as_str(), doc(word))
            && !said.is_empty()
        {
            line = format!("{line} `{name}`: {said}");
        }
    }
    line
}

#[test]
fn the_committed_reference_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let expected = reference::<Components>();
    if env::var_os("TIDEGATE_UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "docs/reference.md is old: set TIDEGATE_UPDATE=1 and run this test again"
    );
}
