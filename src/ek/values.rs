//! The values of a line, found by field.

use simd_json::{Node, Tape};

use super::{
    error::Error,
    fields::{READ, printed},
};

/// The names of the fields we read, as `-T ek` writes them: the fields of headers, then the extra ones.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<Box<str>>,
    /// For each place, and for the end: which place was the last to be found when the search began
    /// there. Frames of one layout have the same fields.
    found: Vec<usize>,
}

/// A line's values: for each field, those of all headers of the frame.
#[derive(Debug)]
pub(super) struct Values<'t, 'l> {
    read: [&'t [Node<'l>]; READ.len()],
    extra: Vec<&'t [Node<'l>]>,
}

/// Walks nodes of a tape; each value is a node, or a head and the nodes it counts.
struct Cursor<'t, 'l>(&'t [Node<'l>]);

// === impl Names ===

impl Names {
    /// The fields of headers and these extra ones, which must be none of them.
    pub(super) fn new<'a>(extra: impl Iterator<Item = &'a str>) -> Self {
        let names = READ.iter().copied().chain(extra);
        let names: Vec<_> = names.map(|name| printed(name).into()).collect();
        Self { found: (0..=names.len()).collect(), names }
    }

    /// Finds the values of a parsed line.
    pub(super) fn find<'t, 'l>(&mut self, tape: &'t Tape<'l>) -> Result<Values<'t, 'l>, Error> {
        let mut values =
            Values { read: [&[]; READ.len()], extra: vec![&[]; self.names.len() - READ.len()] };
        let mut cursor = Cursor(&tape.0);
        let mut layers = None;
        for _ in 0..cursor.enter("the line", "object")? {
            let key = cursor.key();
            let value = cursor.skip();
            if key == "layers" && layers.replace(value).is_some() {
                return Err(Error::Duplicate { field: key.into() });
            }
        }
        let mut cursor = Cursor(layers.ok_or(Error::Missing { field: "layers" })?);
        let mut next = 0;
        for _ in 0..cursor.enter("layers", "object")? {
            let key = cursor.key();
            let value = cursor.skip();
            if let Some(at) = self.position(key, next) {
                values.set(at, key, strings(key, value)?)?;
                next = at + 1;
            }
        }
        Ok(values)
    }

    /// The place of a field. tshark prints them in the order of `-e`, so it is likely to be `next`
    /// or soon after.
    fn position(&mut self, key: &str, next: usize) -> Option<usize> {
        let last = self.found.get(next).copied();
        if let Some(last) = last.filter(|at| self.names.get(*at).is_some_and(|name| **name == *key))
        {
            return Some(last);
        }
        let (before, after) = self.names.split_at(next);
        let among = |names: &[Box<str>]| names.iter().position(|name| **name == *key);
        let at = among(after).map(|at| at + next).or_else(|| among(before))?;
        if let Some(found) = self.found.get_mut(next) {
            *found = at;
        }
        Some(at)
    }
}

/// The nodes of an array of strings.
fn strings<'t, 'l>(key: &str, value: &'t [Node<'l>]) -> Result<&'t [Node<'l>], Error> {
    match value.split_first() {
        Some((Node::Array { .. }, strings))
            if strings.iter().all(|node| matches!(node, Node::String(_))) =>
        {
            Ok(strings)
        }
        _ => Err(Error::WrongType { field: key.into(), expected: "array of strings" }),
    }
}

// === impl Values ===

impl<'t, 'l> Values<'t, 'l> {
    /// The `nth` value of a field of headers, from the outside in.
    pub(super) fn get(&self, field: usize, nth: usize) -> Option<&'l str> {
        self.read[field].get(nth).map(text)
    }

    /// The `nth` value of a field of headers that has to be there.
    pub(super) fn required(&self, field: usize, nth: usize) -> Result<&'l str, Error> {
        self.get(field, nth).ok_or(Error::Missing { field: READ[field] })
    }

    /// How many values a field of headers has.
    pub(super) fn count(&self, field: usize) -> usize {
        self.read[field].len()
    }

    /// All values of the field at `at` in the [`Names`].
    pub(super) fn all(&self, at: usize) -> impl Iterator<Item = &'l str> + use<'t, 'l> {
        let nodes = self.read.get(at).or_else(|| self.extra.get(at - READ.len()));
        nodes.copied().unwrap_or_default().iter().map(text)
    }

    fn set(&mut self, at: usize, key: &str, strings: &'t [Node<'l>]) -> Result<(), Error> {
        let slot = match self.read.get_mut(at) {
            Some(slot) => slot,
            None => &mut self.extra[at - READ.len()],
        };
        if !slot.is_empty() {
            return Err(Error::Duplicate { field: key.into() });
        }
        *slot = strings;
        Ok(())
    }
}

fn text<'l>(node: &Node<'l>) -> &'l str {
    match node {
        Node::String(text) => text,
        _ => "",
    }
}

// === impl Cursor ===

impl<'t, 'l> Cursor<'t, 'l> {
    /// Steps into an object, and tells how many keys it has.
    fn enter(&mut self, what: &str, expected: &'static str) -> Result<usize, Error> {
        match self.0.split_first() {
            Some((Node::Object { len, .. }, rest)) => {
                self.0 = rest;
                Ok(*len)
            }
            _ => Err(Error::WrongType { field: what.into(), expected }),
        }
    }

    fn key(&mut self) -> &'l str {
        match self.skip() {
            [Node::String(key)] => key,
            _ => "",
        }
    }

    /// Steps over a value and gives its nodes.
    fn skip(&mut self) -> &'t [Node<'l>] {
        let inside = match self.0.first() {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => *count,
            _ => 0,
        };
        let end = (inside + 1).min(self.0.len());
        let (value, rest) = self.0.split_at(end);
        self.0 = rest;
        value
    }
}
