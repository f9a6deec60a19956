//! `tidegate schema`: the JSON Schema of the config, for editors.

use super::{exit::Exit, output};
use crate::config::{Components, schema};

pub(super) fn run() -> Exit {
    match serde_json::to_string_pretty(&schema::<Components>()) {
        Ok(text) => output::data(&format!("{text}\n")),
        Err(error) => {
            output::report(format_args!("error: the schema can't be written: {error}"));
            Exit::Failure
        }
    }
}
