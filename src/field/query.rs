//! Fields by their names: how a condition finds in the table what a config asks for.

use std::sync::Arc;

use super::{Field, Fields, Given, Origin, Schema, Texts, Type, Value};
use crate::record::{Kind, Kinds, Records, Visit};

/// A field that somebody asks for: by its name in any schema or in one, by the name of an object and
/// of a member of it, or by tshark's name of an extra field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    name: Arc<str>,
    schema: Option<Schema>,
}

/// What is known of the field a [`Query`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The kinds of record that may have it.
    pub(crate) kinds: Kinds,
    /// What its values are: of a member of an object, the object's type.
    pub(crate) r#type: Type,
    /// The member of an object that is asked for.
    pub(crate) member: Option<Arc<str>>,
    /// Which texts it may have.
    pub(crate) texts: Texts,
    /// The schemas that have the name, where it does not mean the same in all of them.
    pub(crate) ambiguous: Option<[Schema; 2]>,
}

/// Reads a field's value out of records of type `R`.
#[derive(Debug, Clone)]
pub(crate) struct Accessor<R: 'static> {
    given: Given<R>,
    member: Option<Arc<str>>,
}

/// A field that has the name, in which schema, and the member of it that the name says.
struct Match<R: 'static> {
    field: &'static Field<R>,
    schema: Schema,
    member: Option<Arc<str>>,
}

/// What is known of a query for records of one kind.
struct OfKind<'a>(&'a Query);

/// What a kind's object of extra fields is, if it has one.
struct ExtraFields;

// === impl Query ===

impl Query {
    pub(crate) fn new(name: &str, schema: Option<Schema>) -> Self {
        Self { name: name.into(), schema }
    }

    /// The name that is asked for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is known of the field; `None` if no table has the name.
    pub(crate) fn facts(&self) -> Option<Facts> {
        let found = Kind::ALL.into_iter().filter_map(|kind| {
            let facts: Option<Facts> = Records::none(kind).visit(OfKind(self));
            facts
        });
        found.reduce(|facts, other| Facts {
            kinds: facts.kinds.union(other.kinds),
            texts: facts.texts.or(other.texts),
            ambiguous: facts.ambiguous.or(other.ambiguous),
            ..facts
        })
    }

    /// The name of tshark's field that is asked for, as it is printed, and the kinds of record that
    /// may have it. Also of a name that no table has: it may be one of tshark's.
    pub(crate) fn extra(&self) -> Option<(Arc<str>, Kinds)> {
        match self.facts() {
            Some(Facts { r#type: Type::Flattened, member: Some(member), kinds, .. }) => {
                Some((member, kinds))
            }
            Some(_) => None,
            None => {
                let kinds = Kind::ALL.into_iter().filter(|kind| {
                    let has: bool = Records::none(*kind).visit(ExtraFields);
                    has
                });
                let kinds = kinds.fold(Kinds::NONE, |kinds, kind| kinds.union(kind.into()));
                Some((printed(&self.name), kinds))
            }
        }
    }

    /// How records of type `R` are asked, if they may have the field. The name has to mean one thing.
    pub(crate) fn accessor<R: Fields>(&self) -> Option<Accessor<R>> {
        let found = self.matches::<R>().next();
        if let Some(Match { field, member, .. }) = found {
            return Some(Accessor { given: field.given, member });
        }
        let object = R::fields().find(|field| field.r#type == Type::Flattened)?;
        let is_known = self.facts().is_some();
        (!is_known).then(|| Accessor { given: object.given, member: Some(printed(&self.name)) })
    }

    /// The fields of `R` that have the name.
    fn matches<R: Fields>(&self) -> impl Iterator<Item = Match<R>> {
        R::fields().filter_map(|field| {
            let schemas = Schema::ALL.into_iter();
            schemas.filter(|schema| self.schema.is_none_or(|one| one == *schema)).find_map(
                |schema| {
                    let member = field.names(schema).iter().find_map(|name| self.under(name))?;
                    let found = member.is_empty() || field.r#type.is_object();
                    let member = (!member.is_empty()).then(|| member.into());
                    found.then_some(Match { field, schema, member })
                },
            )
        })
    }

    /// What of the name lies under `stem`: nothing, if it is the name itself.
    fn under(&self, stem: &str) -> Option<&str> {
        match self.name.strip_prefix(stem)? {
            "" => Some(""),
            rest => rest.strip_prefix('.').filter(|member| !member.is_empty()),
        }
    }
}

impl<R: Fields> Visit<R, Option<Facts>> for OfKind<'_> {
    fn visit(self, _records: &[R]) -> Option<Facts> {
        let mut found = self.0.matches::<R>();
        let Match { field, schema, member } = found.next()?;
        Some(Facts {
            kinds: R::KIND.into(),
            r#type: field.r#type,
            texts: if member.is_some() { Texts::Any } else { field.texts(R::KIND) },
            member,
            ambiguous: found.next().map(|other| [schema, other.schema]),
        })
    }
}

impl<R: Fields> Visit<R, bool> for ExtraFields {
    fn visit(self, _records: &[R]) -> bool {
        R::fields().any(|field| field.r#type == Type::Flattened)
    }
}

/// tshark's name of a field, as `-T ek` writes it: with `_` for `.`.
fn printed(name: &str) -> Arc<str> {
    name.replace('.', "_").into()
}

// === impl Accessor ===

impl<R: Fields> Accessor<R> {
    /// The record's value.
    pub(crate) fn value<'a>(&self, record: &'a R, origin: &'a Origin) -> Value<'a> {
        let value = self.given.value(record, origin, R::KIND);
        match &self.member {
            None => value,
            Some(name) => value.member(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::all_named;

    #[test]
    fn a_name_is_compared_as_the_same_in_every_kind() {
        for schema in Schema::ALL {
            for field in all_named(schema) {
                for query in [Query::new(field.name, Some(schema)), Query::new(field.name, None)] {
                    let of_kinds = Kind::ALL.into_iter().filter_map(|kind| {
                        let facts: Option<Facts> = Records::none(kind).visit(OfKind(&query));
                        facts.filter(|facts| facts.ambiguous.is_none())
                    });
                    let types: Vec<_> = of_kinds.map(|facts| facts.r#type).collect();
                    assert!(
                        types.windows(2).all(|two| two[0] == two[1]),
                        "{}: {types:?}",
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn a_member_of_an_object_is_told_from_a_name_that_begins_alike() {
        let facts = |name: &str| Query::new(name, None).facts();
        let lost = facts("tidegate.health.lost.kernel").unwrap();
        assert_eq!((lost.r#type, lost.member.as_deref()), (Type::Counts, Some("kernel")));
        assert_eq!(facts("tidegate.health.lost_packets").unwrap().member, None);
        for name in ["tidegate.health.lost.", "source.ip.x", "tidegate.health", "fieldsx"] {
            assert_eq!(facts(name), None, "{name}");
        }
    }
}
