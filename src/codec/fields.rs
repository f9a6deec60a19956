//! How a schema hands out a record's fields, and who takes them: a counter (msgpack writes a map's
//! length first) and a writer.

use std::convert::Infallible;

use serde::{Serialize, ser::SerializeMap};

/// A record as a schema shows it.
pub(super) trait Fields {
    /// Hands each field to `visitor`, in the schema's order.
    fn visit<V: Visitor>(&self, visitor: &mut V) -> Result<(), V::Error>;
}

/// Takes fields.
pub(super) trait Visitor {
    /// What the taker may fail with.
    type Error;

    /// Takes one field.
    fn field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Self::Error>;

    /// Takes a field that the record may lack; then it is left out.
    fn optional<T: Serialize>(
        &mut self,
        key: &'static str,
        value: Option<T>,
    ) -> Result<(), Self::Error> {
        value.map_or(Ok(()), |value| self.field(key, &value))
    }
}

/// Which fields are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    only: Vec<Box<str>>,
    except: Vec<Box<str>>,
}

/// Writes what the filter leaves into a map.
pub(super) struct Writer<'a, M> {
    pub(super) map: M,
    pub(super) filter: &'a Filter,
}

struct Counter<'a> {
    count: usize,
    filter: &'a Filter,
}

/// How many fields the filter leaves.
pub(super) fn count(fields: &impl Fields, filter: &Filter) -> usize {
    let mut counter = Counter { count: 0, filter };
    match fields.visit(&mut counter) {
        Ok(()) => counter.count,
    }
}

// === impl Filter ===

impl Filter {
    pub(super) fn new(only: &[String], except: &[String]) -> Self {
        let boxed = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        Self { only: boxed(only), except: boxed(except) }
    }

    fn keeps(&self, key: &str) -> bool {
        let names = |list: &[Box<str>]| list.iter().any(|name| **name == *key);
        (self.only.is_empty() || names(&self.only)) && !names(&self.except)
    }
}

// === impl Counter ===

impl Visitor for Counter<'_> {
    type Error = Infallible;

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, _: &T) -> Result<(), Infallible> {
        self.count += usize::from(self.filter.keeps(key));
        Ok(())
    }
}

// === impl Writer ===

impl<M: SerializeMap> Visitor for Writer<'_, M> {
    type Error = M::Error;

    fn field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        if self.filter.keeps(key) { self.map.serialize_entry(key, value) } else { Ok(()) }
    }
}
