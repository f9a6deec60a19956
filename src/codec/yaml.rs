//! YAML by way of JSON's writer: a block mapping of the record's fields, with JSON's scalars and
//! lists, which YAML 1.2 takes as they are. Keys need no quotes, but for `@timestamp`.
//!
//! Strings are always quoted, so that no reader takes a time or a number in one for anything else,
//! and the characters that YAML does not let stand in quotes, or folds, are escaped.

use std::{fmt::Write as _, io};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Writes one level of mapping as block, everything below as JSON.
#[derive(Default)]
struct Block {
    depth: usize,
    empty: bool,
    in_key: bool,
    /// The key is one that can't stand without quotes.
    quoted_key: bool,
}

/// Appends `record`, which serialises as a map with plain keys, as one document.
pub(super) fn write_document(
    record: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"---");
    record.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Block::default()))?;
    out.push(b'\n');
    Ok(())
}

/// Whether a YAML reader may refuse, fold or drop `c` inside double quotes (YAML 1.2.2 §5.1, and
/// YAML 1.1's further line breaks).
fn needs_escape(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

// === impl Block ===

impl Block {
    fn is_key(&self) -> bool {
        self.depth == 1 && self.in_key
    }
}

impl Formatter for Block {
    fn begin_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.depth == 1 {
            self.empty = true;
            return Ok(());
        }
        CompactFormatter.begin_object(out)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        match (self.depth, self.empty) {
            (0, true) => out.write_all(b" {}"),
            (0, false) => Ok(()),
            _ => CompactFormatter.end_object(out),
        }
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.in_key = true;
        if self.depth == 1 {
            self.empty = false;
            return out.write_all(b"\n");
        }
        CompactFormatter.begin_object_key(out, first)
    }

    fn end_object_key<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_key = false;
        self.quoted_key = false;
        Ok(())
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn begin_string<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        if self.is_key() { Ok(()) } else { CompactFormatter.begin_string(out) }
    }

    fn end_string<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        if self.is_key() && !self.quoted_key {
            return Ok(());
        }
        CompactFormatter.end_string(out)
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // A key of ours is one fragment.
        if self.is_key() && fragment.starts_with('@') {
            self.quoted_key = true;
            CompactFormatter.begin_string(out)?;
        }
        if !fragment.contains(needs_escape) {
            return out.write_all(fragment.as_bytes());
        }
        let mut escaped = String::with_capacity(fragment.len() + 8);
        for c in fragment.chars() {
            if needs_escape(c) {
                write!(escaped, "\\u{:04x}", u32::from(c)).map_err(io::Error::other)?;
            } else {
                escaped.push(c);
            }
        }
        out.write_all(escaped.as_bytes())
    }
}
