//! The field a condition asks for, and what the tables say of it.

use super::sort::Sort;
use crate::{
    component::Problem,
    field::{self, Query, Schema, Texts},
};

/// The field a condition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) query: Query,
    /// What its values are compared as.
    pub(super) sort: Sort,
    /// Which texts it may have.
    pub(super) texts: Texts,
}

// === impl Asked ===

impl Asked {
    /// The field of that name, in a schema or in any. A name that no table has is taken for one of
    /// tshark's, unless it was to be that of a schema: whether it is one shows where the extra fields
    /// of the pipeline are known.
    ///
    /// # Errors
    /// A name that means several things, or that the schema does not have, at `key`.
    pub(super) fn new(name: &str, schema: Option<Schema>, key: &str) -> Result<Self, Problem> {
        let query = Query::new(name, schema);
        let Some(facts) = query.facts() else {
            let Some(schema) = schema else {
                return Ok(Self { query, sort: Sort::Printed, texts: Texts::Any });
            };
            let message = format!("the schema {} has no field `{name}`", schema.name());
            return Err(Problem::new(key, message).hint(
                match field::nearest(name, Some(schema)) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "leave `schema` out, or see docs/fields.md".to_owned(),
                },
            ));
        };
        if let Some([one, other]) = facts.ambiguous {
            let (one, other) = (one.name(), other.name());
            let message = format!("`{name}` is one thing in the schema {one}, another in {other}");
            let hint = format!("say which: `schema: {one}` or `schema: {other}`");
            return Err(Problem::new(key, message).hint(hint));
        }
        Ok(Self { query, sort: Sort::of(&facts), texts: facts.texts })
    }
}
