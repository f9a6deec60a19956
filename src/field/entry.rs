//! A field of a kind of record: its value, and its name in each schema.

use super::{Origin, Schema, Value};
use crate::record::Kind;

/// A field of records of type `T`.
#[derive(Debug)]
pub(crate) struct Field<T: 'static> {
    /// What its values are, where they are indexed.
    pub(crate) r#type: Type,
    /// What it is, for the reference.
    pub(crate) about: &'static str,
    /// Where its value comes from.
    pub(crate) given: Given<T>,
    simple: &'static [&'static str],
    ecs: &'static [&'static str],
    cim: &'static [&'static str],
}

/// Where a field's value comes from.
#[derive(Debug)]
pub(crate) enum Given<T: 'static> {
    /// The record.
    Record(for<'a> fn(&'a T, &'a Origin) -> Value<'a>),
    /// The run and the kind of the record: it is the same for all records of an encoder.
    Run(for<'a> fn(&'a Origin, Kind) -> Value<'a>),
}

/// What a field's values are, in the terms of Elasticsearch's mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Boolean,
    /// An object of whole numbers.
    Counts,
    /// A keyword that is the same in all documents of an index.
    ConstantKeyword,
    Date,
    /// An object with keys of the user's choice, indexed as keywords.
    Flattened,
    Float,
    Ip,
    Keyword,
    /// Several keywords.
    Keywords,
    /// Several addresses.
    Ips,
    Long,
}

// === impl Field ===

impl<T> Field<T> {
    /// A field whose value is in the record.
    pub(crate) const fn new(
        r#type: Type,
        about: &'static str,
        value: for<'a> fn(&'a T, &'a Origin) -> Value<'a>,
    ) -> Self {
        Self { r#type, about, given: Given::Record(value), simple: &[], ecs: &[], cim: &[] }
    }

    /// A field whose value all records of an encoder share.
    pub(crate) const fn of_run(
        r#type: Type,
        about: &'static str,
        value: for<'a> fn(&'a Origin, Kind) -> Value<'a>,
    ) -> Self {
        Self { r#type, about, given: Given::Run(value), simple: &[], ecs: &[], cim: &[] }
    }

    /// Its name in the simple schema.
    pub(crate) const fn simple(self, names: &'static [&'static str]) -> Self {
        Self { simple: names, ..self }
    }

    /// Its names in the Elastic Common Schema, dotted.
    pub(crate) const fn ecs(self, names: &'static [&'static str]) -> Self {
        Self { ecs: names, ..self }
    }

    /// Its names in the Common Information Model.
    pub(crate) const fn cim(self, names: &'static [&'static str]) -> Self {
        Self { cim: names, ..self }
    }

    /// Its names in a schema; none where the schema has no such field.
    pub(crate) const fn names(&self, schema: Schema) -> &'static [&'static str] {
        match schema {
            Schema::Simple => self.simple,
            Schema::Ecs => self.ecs,
            Schema::Cim => self.cim,
        }
    }
}

// === impl Given ===

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Given<T> {}

impl<T> Given<T> {
    pub(crate) fn value<'a>(&self, record: &'a T, origin: &'a Origin, kind: Kind) -> Value<'a> {
        match self {
            Self::Record(value) => value(record, origin),
            Self::Run(value) => value(origin, kind),
        }
    }
}

// === impl Type ===

impl Type {
    /// The type's name in a mapping.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Counts => "object",
            Self::ConstantKeyword => "constant_keyword",
            Self::Date => "date",
            Self::Flattened => "flattened",
            Self::Float => "float",
            Self::Ip | Self::Ips => "ip",
            Self::Keyword | Self::Keywords => "keyword",
            Self::Long => "long",
        }
    }

    /// Whether a value is a list.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::Ips | Self::Keywords)
    }
}
