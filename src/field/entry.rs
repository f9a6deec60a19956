//! A field of a kind of record: its value, its type, and its name in each schema.

use super::{
    Origin, Schema, Texts, Value,
    texts::{Form, Possible},
};
use crate::{component::Clock, record::Kind};

/// A field of records of type `T`.
#[derive(Debug)]
pub struct Field<T: 'static> {
    /// What its values are.
    pub(crate) r#type: Type,
    /// What it is, for the reference.
    pub(crate) about: &'static str,
    /// Where its value comes from.
    pub(crate) given: Given<T>,
    possible: Possible,
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

/// What a field's values are: how they are indexed, and what they can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Boolean,
    /// An object of whole numbers.
    Counts,
    /// A keyword that is the same in all documents of an index.
    ConstantKeyword,
    /// A point in time.
    Date,
    /// An object of the extra fields the config asks for, each with several texts, indexed as
    /// keywords.
    Flattened,
    /// A number with a fraction.
    Float,
    /// An address.
    Ip,
    /// A text.
    Keyword,
    /// Several texts.
    Keywords,
    /// Several addresses.
    Ips,
    /// A number that is no quantity (a VLAN id, a protocol number): indexed as a keyword.
    Label,
    /// A whole number, 0 or more.
    Long,
    /// A whole number that may be below zero.
    Signed,
    /// A text for people, indexed by its words.
    Text,
}

// === impl Field ===

impl<T> Field<T> {
    /// A field whose value is in the record.
    pub(crate) const fn new(
        r#type: Type,
        about: &'static str,
        value: for<'a> fn(&'a T, &'a Origin) -> Value<'a>,
    ) -> Self {
        Self::given(r#type, about, Given::Record(value))
    }

    /// A field whose value all records of an encoder share.
    pub(crate) const fn of_run(
        r#type: Type,
        about: &'static str,
        value: for<'a> fn(&'a Origin, Kind) -> Value<'a>,
    ) -> Self {
        Self::given(r#type, about, Given::Run(value))
    }

    const fn given(r#type: Type, about: &'static str, given: Given<T>) -> Self {
        let possible = Possible::Any;
        Self { r#type, about, given, possible, simple: &[], ecs: &[], cim: &[] }
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

    /// The texts it may have, if these are few: a condition that asks for another is a mistake.
    pub(super) const fn one_of(self, words: fn() -> Vec<&'static str>) -> Self {
        Self { possible: Possible::OneOf(words), ..self }
    }

    /// The form of the texts it may have.
    pub(super) const fn of_form(self, form: Form) -> Self {
        Self { possible: Possible::Form(form), ..self }
    }

    /// Its names in a schema; none where the schema has no such field.
    pub(crate) const fn names(&self, schema: Schema) -> &'static [&'static str] {
        match schema {
            Schema::Simple => self.simple,
            Schema::Ecs => self.ecs,
            Schema::Cim => self.cim,
        }
    }

    /// The texts it may have in records of `kind`.
    pub(super) fn texts(&self, kind: Kind) -> Texts {
        match (self.possible, self.given) {
            (Possible::OneOf(words), _) => Texts::OneOf(words()),
            (Possible::Form(form), _) => Texts::Form(form),
            (Possible::Any, Given::Record(_)) => Texts::Any,
            (Possible::Any, Given::Run(value)) => match value(&Origin::new("", Clock::Event), kind)
            {
                Value::Plain(word) => Texts::OneOf(vec![word]),
                Value::Words(words) => Texts::OneOf(words.to_vec()),
                _ => Texts::Any,
            },
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
            Self::Keyword | Self::Keywords | Self::Label => "keyword",
            Self::Long | Self::Signed => "long",
            Self::Text => "match_only_text",
        }
    }

    /// Whether a value is a list.
    pub(crate) const fn is_list(self) -> bool {
        matches!(self, Self::Ips | Self::Keywords)
    }

    /// Whether a value is an object, whose members are asked for one by one.
    pub(crate) const fn is_object(self) -> bool {
        matches!(self, Self::Counts | Self::Flattened)
    }
}
