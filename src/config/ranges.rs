//! The ranges of numbers, as the schema gives them: one check for the keys of every component.

use std::fmt;

use serde_json::Value as Schema;

use crate::{
    component::Problem,
    document::tree::{Node, Scalar, Value},
};

/// A number's range, both ends included.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Range {
    least: Option<serde_json::Number>,
    most: Option<serde_json::Number>,
}

/// The numbers in `node` that are out of the range that `schema` gives for their key. What is no
/// number where one should be is left to whoever reads the field.
pub(super) fn problems(schema: &Schema, node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(schema, node, "", &mut problems);
    problems
}

/// The range that `schema` gives for a dotted key, if it gives both ends.
pub(super) fn of_key(schema: &Schema, key: &str) -> Option<String> {
    let own = key.split('.').fold(schema, |schema, key| &schema["properties"][key]);
    let range = Range::of(own);
    (range.least.is_some() && range.most.is_some()).then(|| range.to_string())
}

fn visit(schema: &Schema, node: &Node, key: &str, problems: &mut Vec<Problem>) {
    // One of several shapes is enough.
    let mut of_choices = choices(schema).filter(|choice| may_hold(choice, node)).map(|choice| {
        let mut problems = Vec::new();
        visit(choice, node, key, &mut problems);
        problems
    });
    let first = of_choices.next().unwrap_or_default();
    if !first.is_empty() && of_choices.all(|problems| !problems.is_empty()) {
        problems.extend(first);
    }
    match &node.value {
        Value::Scalar(scalar) => problems.extend(Range::of(schema).problem(scalar, key)),
        Value::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                visit(&schema["items"], item, &format!("{key}[{at}]"), problems);
            }
        }
        Value::Mapping(entries) => {
            let dot = if key.is_empty() { "" } else { "." };
            for entry in entries {
                let own = &schema["properties"][&entry.key];
                let own = if own.is_null() { &schema["additionalProperties"] } else { own };
                visit(own, &entry.value, &format!("{key}{dot}{}", entry.key), problems);
            }
        }
    }
}

/// The schemas of which one holds: an optional value, or one of several shapes.
fn choices(schema: &Schema) -> impl Iterator<Item = &Schema> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    lists.flatten()
}

/// Whether a value of this shape may be what `schema` describes.
fn may_hold(schema: &Schema, node: &Node) -> bool {
    let types: &[&str] = match &node.value {
        Value::Scalar(_) => &["integer", "number"],
        Value::Sequence(_) => &["array"],
        Value::Mapping(_) => &["object"],
    };
    let is_one = |name: &Schema| name.as_str().is_some_and(|name| types.contains(&name));
    match &schema["type"] {
        Schema::Null => true,
        Schema::Array(names) => names.iter().any(is_one),
        name => is_one(name),
    }
}

// === impl Range ===

impl Range {
    /// The range of a schema that is a number's.
    pub(super) fn of(schema: &Schema) -> Self {
        let end = |key: &str| schema[key].as_number().cloned();
        Self { least: end("minimum"), most: end("maximum") }
    }

    fn problem(&self, scalar: &Scalar, key: &str) -> Option<Problem> {
        #[expect(clippy::cast_precision_loss, reason = "the ends of ranges are below 2^53")]
        let value = scalar.as_integer().map(|value| value as f64).or_else(|| scalar.as_float())?;
        let beyond = |end: &Option<serde_json::Number>, is_beyond: fn(&f64, &f64) -> bool| {
            let end = end.as_ref().and_then(serde_json::Number::as_f64);
            end.is_some_and(|end| is_beyond(&value, &end))
        };
        let is_out = beyond(&self.least, f64::lt) || beyond(&self.most, f64::gt);
        let shown = if scalar.secret { "a hidden value".to_owned() } else { scalar.shown() };
        is_out.then(|| {
            let problem = Problem::new(key, format!("{shown} is out of range"));
            problem.hint(format!("give {self}"))
        })
    }
}

/// `1 to 64` or `1 or more`; nothing for the range of every number that is not negative.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.least, &self.most) {
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) if least.as_u64() == Some(0) => Ok(()),
            (Some(least), None) => write!(f, "{least} or more"),
            (None, Some(most)) => write!(f, "{most} at most"),
            (None, None) => Ok(()),
        }
    }
}
