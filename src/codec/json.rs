//! One JSON object a line. Keys and texts that need no escapes are written as they are; `serde_json`
//! writes all else.

use serde::Serialize;

use super::fields::{Fields, Filter, Plain, Visitor};

/// Writes what the filter leaves as the members of an object.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    filter: &'a Filter,
    begun: bool,
}

/// Appends the record as a line.
pub(super) fn write_line(
    fields: &impl Fields,
    filter: &Filter,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    out.push(b'{');
    fields.visit(&mut Writer { out, filter, begun: false })?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

// === impl Writer ===

impl Writer<'_> {
    /// Whether the field is wanted: then its key is written. A key of ours needs no escapes.
    fn key(&mut self, key: &'static str) -> bool {
        let wanted = self.filter.keeps(key);
        if wanted {
            self.out.extend_from_slice(if self.begun { b",\"" } else { b"\"" });
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(b"\":");
            self.begun = true;
        }
        wanted
    }
}

impl Visitor for Writer<'_> {
    type Error = serde_json::Error;

    fn field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        if self.key(key) { serde_json::to_writer(&mut *self.out, value) } else { Ok(()) }
    }

    fn plain(&mut self, key: &'static str, value: &impl Plain) -> Result<(), serde_json::Error> {
        if self.key(key) {
            self.out.push(b'"');
            value.append(self.out);
            self.out.push(b'"');
        }
        Ok(())
    }
}
