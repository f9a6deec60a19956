//! The JSON Schema of the config, for editors and for the reference.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use super::{
    family::{Families, Family, plain},
    globals::Globals,
};
use crate::component::Role;

/// The schema of a whole config.
pub fn schema<F: Families>() -> Schema {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut root = Globals::json_schema(&mut generator);
    let sections = [
        (Role::Source, section::<F::Source>(&mut generator, Role::Source)),
        (Role::Transform, section::<F::Transform>(&mut generator, Role::Transform)),
        (Role::Sink, section::<F::Sink>(&mut generator, Role::Sink)),
    ];
    // What refers to itself can't be inlined.
    let shared = generator.take_definitions(true);
    let object = root.ensure_object();
    if !shared.is_empty() {
        object.insert("$defs".to_owned(), Value::Object(shared));
    }
    object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    object.insert("title".to_owned(), json!("Tidegate config"));
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (role, schema) in sections {
            properties.insert(role.section().to_owned(), schema.to_value());
        }
    }
    object.insert("required".to_owned(), json!(["sources", "sinks"]));
    root
}

/// The schema of `T` with everything in its place.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema of a family's component of type `kind`; null if there is none.
pub(super) fn component_schema<F: Family>(kind: &str) -> Value {
    let mut family = schema_of::<F>();
    let mut variants = family["oneOf"].as_array_mut().into_iter().flatten();
    let variant = variants.find(|variant| variant["properties"]["type"]["const"] == kind);
    variant.map(Value::take).unwrap_or_default()
}

/// The keys a struct takes.
pub(super) fn keys_of<T: JsonSchema>() -> Vec<String> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

fn section<F: Family>(generator: &mut SchemaGenerator, role: Role) -> Schema {
    let mut components = F::json_schema(generator);
    let common = F::Common::json_schema(generator);
    let common = common.get("properties").and_then(Value::as_object).cloned();
    if let Some(variants) = components.get_mut("oneOf").and_then(Value::as_array_mut) {
        for variant in variants.iter_mut().filter_map(Value::as_object_mut) {
            complete(variant, role, own_common::<F>(variant, common.as_ref()));
        }
    }
    json_schema!({
        "type": "object",
        "description": format!("The {}s, each under an id of its own.", role.name()),
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "additionalProperties": components,
    })
}

/// The common keys as a component has them, with its own defaults.
fn own_common<F: Family>(
    variant: &Map<String, Value>,
    common: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut common = json!({"properties": common});
    set_defaults(&mut common, &defaults_of::<F>(variant));
    match common["properties"].take() {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

/// What the component of a variant sets where common keys are not set.
pub(super) fn defaults_of<F: Family>(variant: &Map<String, Value>) -> Value {
    let kind = variant.get("properties").and_then(|keys| keys["type"]["const"].as_str());
    kind.and_then(plain::<F>).map_or(Value::Null, |component| component.common_defaults())
}

/// Writes the values of a tree as the defaults of the keys of a schema.
fn set_defaults(schema: &mut Value, defaults: &Value) {
    match defaults {
        Value::Object(defaults) => {
            for (key, value) in defaults {
                set_defaults(&mut schema["properties"][key], value);
            }
            // The object's own default would be the empty one.
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("default");
            }
        }
        Value::Null => {}
        value => schema["default"] = value.clone(),
    }
}

/// Adds the keys that are not the component's own.
fn complete(variant: &mut Map<String, Value>, role: Role, common: Map<String, Value>) {
    if let Some(Value::Object(properties)) = variant.get_mut("properties") {
        if role != Role::Source {
            properties.insert("inputs".to_owned(), json!({
                "description": "What it reads: `ID` for a main output, `ID.PORT` for a named one; `*` stands for any part of a name, not for the dot.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
            }));
        }
        properties.extend(common);
    }
    if role != Role::Source {
        variant.insert("required".to_owned(), json!(["type", "inputs"]));
    }
}
