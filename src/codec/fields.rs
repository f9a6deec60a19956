//! How a schema hands out a record's fields, and who takes them: a counter (msgpack writes a map's
//! length first) and a writer.

use std::{
    convert::Infallible,
    fmt,
    io::Write,
    net::{IpAddr, Ipv4Addr},
};

use serde::{Serialize, ser::SerializeMap};

use crate::record::Timestamp;

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

    /// Takes a field whose value is a plain text.
    fn plain(&mut self, key: &'static str, value: &impl Plain) -> Result<(), Self::Error> {
        self.field(key, value)
    }

    /// Takes a field that the record may lack; then it is left out.
    fn optional<T: Serialize>(
        &mut self,
        key: &'static str,
        value: Option<T>,
    ) -> Result<(), Self::Error> {
        value.map_or(Ok(()), |value| self.field(key, &value))
    }
}

/// A value whose text needs no escapes in any format: no quote, no backslash, no control character.
pub(super) trait Plain: Serialize {
    /// Appends the text that it serializes as.
    fn append(&self, out: &mut Vec<u8>);
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

    pub(super) fn keeps(&self, key: &str) -> bool {
        let names = |list: &[Box<str>]| list.iter().any(|name| **name == *key);
        (self.only.is_empty() || names(&self.only)) && !names(&self.except)
    }
}

// === impl Plain ===

impl Plain for Timestamp {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.rfc3339().as_str().as_bytes());
    }
}

impl Plain for IpAddr {
    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => append_ipv4(*address, out),
            Self::V6(address) => append_text(address, out),
        }
    }
}

/// Appends what `Display` writes, without the formatter: it is there twice in each packet.
fn append_ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// Appends what a value displays.
pub(super) fn append_text(value: impl fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("a vector takes all that is written");
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
