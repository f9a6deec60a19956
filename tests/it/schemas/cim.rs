//! Events against a data model of Splunk's Common Information Model, as its public checker does it.

use std::{collections::BTreeSet, fs, path::Path};

use libtest_mimic::Failed;
use serde::Deserialize;
use serde_json::Value;

use super::spl::Expression;

/// One object of a data model.
#[derive(Debug)]
pub(crate) struct Model {
    fields: Vec<Field>,
    clusters: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Field {
    name: String,
    requirement: String,
    condition: Option<Expression>,
    validity: Option<Expression>,
    expected: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct File {
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    fields: Vec<Described>,
    fields_cluster: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    r#type: String,
    #[serde(default)]
    condition: String,
    #[serde(default)]
    validity: String,
    #[serde(default)]
    expected_values: Vec<Value>,
}

// === impl Model ===

impl Model {
    /// Reads the first object of a data model.
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        let file: File = serde_json::from_slice(&fs::read(path)?)?;
        let object = file.objects.into_iter().next().ok_or("the data model has an object")?;
        let parsed = |text: &str, parse: fn(&str) -> Result<Expression, String>| {
            (!text.is_empty()).then(|| parse(text)).transpose()
        };
        let fields = object.fields.into_iter().map(|field| {
            Ok::<_, String>(Field {
                condition: parsed(&field.condition, Expression::condition)?,
                validity: parsed(&field.validity, Expression::eval)?,
                name: field.name,
                requirement: field.r#type,
                expected: field.expected_values,
            })
        });
        Ok(Self { fields: fields.collect::<Result<_, _>>()?, clusters: object.fields_cluster })
    }

    /// What is wrong with an event, each `FIELD: WHAT`.
    pub(crate) fn check(&self, event: &Value) -> BTreeSet<String> {
        let has = |name: &str| event.get(name).is_some_and(|value| !value.is_null());
        let mut wrong = BTreeSet::new();
        for field in &self.fields {
            let Field { name, requirement, condition, validity, expected } = field;
            let wanted = match requirement.as_str() {
                "required" => true,
                "conditional" => condition.as_ref().is_some_and(|c| c.holds(event)),
                _ => false,
            };
            if requirement.starts_with("not_allowed") && has(name) {
                wrong.insert(format!("{name}: not allowed"));
            }
            match event.get(name) {
                None if wanted => {
                    wrong.insert(format!("{name}: missing"));
                }
                None => {}
                Some(value) => {
                    let values =
                        value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    if !expected.is_empty() && !values.iter().all(|value| expected.contains(value))
                    {
                        wrong.insert(format!("{name}: not an expected value"));
                    }
                    let applies = wanted || condition.is_none();
                    let is_valid = |v: &Expression| v.worth(event).is_some();
                    if applies && !validity.as_ref().is_none_or(is_valid) {
                        wrong.insert(format!("{name}: not valid"));
                    }
                }
            }
        }
        for cluster in &self.clusters {
            let there = cluster.iter().filter(|name| has(name)).count();
            if there > 0 && there < cluster.len() {
                wrong.insert(format!("{}: not all there", cluster.join(", ")));
            }
        }
        wrong
    }
}
