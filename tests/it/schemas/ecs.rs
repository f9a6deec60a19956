//! Documents against the Elastic Common Schema's own list of fields.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::IpAddr,
    path::Path,
};

use libtest_mimic::Failed;
use serde::Deserialize;
use serde_json::Value;

/// Fields of ours that the schema has no name for.
const OWN: &str = "tidegate.";
const MAX_KEYWORD_CHARS: usize = 1024;

/// The schema: each field by its dotted name.
#[derive(Debug)]
pub(crate) struct Ecs(HashMap<String, Field>);

#[derive(Debug, Deserialize)]
pub(crate) struct Field {
    pub(crate) r#type: String,
    #[serde(default)]
    normalize: Vec<String>,
    #[serde(default)]
    allowed_values: Vec<Allowed>,
    #[serde(default)]
    expected_values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Allowed {
    name: String,
    expected_event_types: Option<Vec<String>>,
}

// === impl Ecs ===

impl Ecs {
    /// Reads the list.
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        Ok(Self(serde_saphyr::from_str(&fs::read_to_string(path)?)?))
    }

    /// A field by its dotted name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.0.get(name)
    }

    /// What is wrong with a document, each `FIELD: WHAT`.
    pub(crate) fn check(&self, document: &Value) -> BTreeSet<String> {
        let mut wrong = BTreeSet::new();
        self.check_object("", document, &mut wrong);
        for required in ["@timestamp", "ecs.version"] {
            if document.pointer(&format!("/{}", required.replace('.', "/"))).is_none() {
                wrong.insert(format!("{required}: missing"));
            }
        }
        wrong.extend(self.check_types(document));
        wrong
    }

    fn check_object(&self, path: &str, value: &Value, wrong: &mut BTreeSet<String>) {
        let Value::Object(members) = value else {
            wrong.insert(format!("{path}: no object"));
            return;
        };
        for (key, value) in members {
            let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match self.0.get(&name) {
                Some(field) if field.r#type != "object" => {
                    if let Err(why) = field.check(value) {
                        wrong.insert(format!("{name}: {why}"));
                    }
                }
                _ if name.starts_with(OWN) => {}
                _ if value.is_object() => self.check_object(&name, value, wrong),
                _ => {
                    wrong.insert(format!("{name}: not in the schema"));
                }
            }
        }
    }

    /// Each category says which types it expects.
    fn check_types(&self, document: &Value) -> Option<String> {
        let texts = |pointer: &str| {
            let list = document.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let (categories, types) = (texts("/event/category"), texts("/event/type"));
        let allowed = &self.0.get("event.category")?.allowed_values;
        let expects = |category: &String, kind: &String| {
            let of = allowed.iter().find(|allowed| allowed.name == *category);
            let expected = of.and_then(|of| of.expected_event_types.as_ref());
            expected.is_some_and(|expected| expected.contains(kind))
        };
        let odd = types.iter().find(|kind| !categories.iter().any(|c| expects(c, kind)));
        odd.filter(|_| !categories.is_empty())
            .map(|kind| format!("event.type: {kind} is not expected in {categories:?}"))
    }
}

// === impl Field ===

impl Field {
    /// Whether its values are lists.
    pub(crate) fn is_list(&self) -> bool {
        self.normalize.iter().any(|normal| normal == "array")
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self.is_list(), value) {
            (true, Value::Array(values)) => values.iter().try_for_each(|v| self.check_one(v)),
            (true, _) => Err("no list".to_owned()),
            (false, value) => self.check_one(value),
        }
    }

    fn check_one(&self, value: &Value) -> Result<(), String> {
        let fits = match (self.r#type.as_str(), value) {
            ("keyword" | "constant_keyword", Value::String(text)) => {
                text.chars().count() <= MAX_KEYWORD_CHARS
            }
            ("match_only_text", Value::String(text)) => !text.is_empty(),
            ("ip", Value::String(text)) => text.parse::<IpAddr>().is_ok(),
            ("date", Value::String(text)) => {
                text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z')
            }
            ("long", value) => value.is_i64() || value.is_u64(),
            ("float", value) => value.is_number(),
            ("boolean", value) => value.is_boolean(),
            _ => false,
        };
        if !fits {
            return Err(format!("{value} is no {}", self.r#type));
        }
        let text = value.as_str().unwrap_or_default();
        let allowed = self.allowed_values.iter().any(|allowed| allowed.name == text);
        let expected = self.expected_values.iter().any(|expected| expected == text);
        if !(self.allowed_values.is_empty() || allowed) {
            return Err(format!("{text:?} is not allowed"));
        }
        if !(self.expected_values.is_empty() || expected) {
            return Err(format!("{text:?} is not expected"));
        }
        Ok(())
    }
}
