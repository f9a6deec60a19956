//! The one table of fields: of each kind of record, every field with its type, its value and its
//! names in the schemas.
//!
//! `codec` lays documents out by it, `condition` finds in it what a config asks of records, and index
//! templates and the field reference are made of it. A field is one entry in the file of its kind; a
//! kind that is neither written nor asked has an empty table.

mod added;
mod alert;
mod common;
mod contact;
mod entry;
mod flow;
mod health;
mod origin;
mod packet;
mod per_kind;
mod query;
#[cfg(test)]
mod reference;
mod shared;
mod texts;
mod value;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{
    added::check_added,
    common::ECS_VERSION,
    entry::{Field, Type},
    origin::Origin,
    value::Value,
};
pub(crate) use self::{
    entry::Given,
    per_kind::{PerKind, Slot},
    query::{Accessor, Facts, Query},
    texts::Texts,
};
use crate::record::{FramePlace, Kind, Kinds, Raw, Record, Records, Returned, Visit};

/// Records with a table of fields.
pub trait Fields: Record {
    /// The fields that only this kind has. The order is that of the schema `simple`.
    const FIELDS: &'static [Field<Self>];

    /// All the fields, in the order they are written.
    fn fields() -> impl Iterator<Item = &'static Field<Self>> {
        let is_report = Kinds::REPORTS.contains(Self::KIND);
        let common = if is_report { common::Common::<Self>::FIELDS } else { &[] };
        let has_host = is_report && Self::KIND != Kind::Alert;
        let host = if has_host { common::Common::<Self>::HOST } else { &[] };
        Self::FIELDS.iter().chain(common).chain(host)
    }
}

/// The names and the selection of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Few flat fields: time, addresses, protocol, destination port and size; what the kind adds.
    Simple,
    /// The Elastic Common Schema, as nested objects; what it has no name for is under `tidegate`.
    Ecs,
    /// Splunk's Common Information Model, flat: Network Traffic, alerts as Intrusion Detection.
    Cim,
}

/// A field's name in a schema, with what it is: the table without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The name; dotted in the Elastic Common Schema.
    pub name: &'static str,
    /// The kind of record that has it.
    pub kind: Kind,
    /// What its values are, in the terms of Elasticsearch's mappings.
    pub r#type: &'static str,
    /// Whether a value is a list.
    pub is_list: bool,
    /// What it is.
    pub about: &'static str,
}

/// The fields of one kind in a schema.
struct Names(Schema);

/// Whether a kind has fields of its own.
struct HasFields;

/// Every field that documents of a schema have, kind after kind.
pub fn named(schema: Schema) -> impl Iterator<Item = Named> {
    all_named(schema).filter(|named| Kinds::REPORTS.contains(named.kind))
}

/// Every field of a schema, also of kinds that are never written, kind after kind.
pub fn all_named(schema: Schema) -> impl Iterator<Item = Named> {
    Kind::ALL.into_iter().flat_map(move |kind| Records::none(kind).visit(Names(schema)))
}

/// The kinds of record that have fields, so that they can be asked for them.
pub fn kinds() -> Kinds {
    let kinds = Kind::ALL.into_iter().filter(|kind| Records::none(*kind).visit(HasFields));
    kinds.fold(Kinds::NONE, |kinds, kind| kinds.union(kind.into()))
}

/// Whether records are of a kind that has fields.
pub fn are_known(records: &Records) -> bool {
    records.visit(HasFields)
}

/// The name of a field in a schema, or in any of them, that is nearest to a wrong one.
pub fn nearest(name: &str, schema: Option<Schema>) -> Option<&'static str> {
    let schemas = Schema::ALL.into_iter().filter(|other| schema.is_none_or(|one| one == *other));
    schemas
        .flat_map(all_named)
        .map(|field| (strsim::jaro_winkler(field.name, name), field.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

// === impl Schema ===

impl Schema {
    /// All schemas.
    pub const ALL: [Self; 3] = [Self::Simple, Self::Ecs, Self::Cim];

    /// The name in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Ecs => "ecs",
            Self::Cim => "cim",
        }
    }
}

// === impl Names ===

impl<R: Fields> Visit<R, Vec<Named>> for Names {
    fn visit(self, _records: &[R]) -> Vec<Named> {
        let named = |field: &'static Field<R>| {
            field.names(self.0).iter().map(|name| Named {
                name,
                kind: R::KIND,
                r#type: field.r#type.name(),
                is_list: field.r#type.is_list(),
                about: field.about,
            })
        };
        R::fields().flat_map(named).collect()
    }
}

// === impl HasFields ===

impl<R: Fields> Visit<R, bool> for HasFields {
    fn visit(self, _records: &[R]) -> bool {
        !R::FIELDS.is_empty()
    }
}

// === Kinds without fields ===

impl Fields for FramePlace {
    const FIELDS: &'static [Field<Self>] = &[];
}

impl Fields for Raw {
    const FIELDS: &'static [Field<Self>] = &[];
}

impl Fields for Returned {
    const FIELDS: &'static [Field<Self>] = &[];
}
