//! What goes into a bulk body: for each record an action line and the document.

use std::io::Write;

use super::{Config, IdMode, Mode};
use crate::{
    codec::Encoder,
    component::Error,
    record::{Kind, Records, Timestamp},
};

/// Writes records as `create` actions: the only ones a data stream takes, and those that meet a 409
/// rather than a second copy when they are repeated.
#[derive(Debug)]
pub(super) struct Actions {
    encoder: Encoder,
    observer: Box<str>,
    id: IdMode,
    /// Whether each document lacks the `@timestamp` that a data stream asks for.
    stamped: bool,
    /// Of each kind, by [`Kind`]: the action up to the id.
    openings: [Box<str>; Kind::ALL.len()],
}

// === impl Actions ===

impl Actions {
    pub(super) fn new(config: &Config, encoder: Encoder, observer: &str) -> Self {
        Self {
            stamped: config.mode == Mode::DataStream && !encoder.is_stamped(),
            encoder,
            observer: observer.into(),
            id: config.id,
            openings: Kind::ALL.map(|kind| {
                let target = serde_json::Value::from(config.target(kind));
                format!(r#"{{"create":{{"_index":{target}"#).into()
            }),
        }
    }

    /// Appends the record's action line and document.
    ///
    /// # Errors
    /// When the record has no output form.
    pub(super) fn write(
        &self,
        records: &Records,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let time = self.encoder.time(records, index);
        let time = time.ok_or_else(|| {
            Error::failure(format!("no {} record {index} to encode", records.kind()))
        })?;
        if let Some(opening) = self.openings.get(records.kind() as usize) {
            out.extend_from_slice(opening.as_bytes());
        }
        if self.id == IdMode::Record
            && let Some((id, sequence)) = records.id(index, &self.observer)
        {
            out.extend_from_slice(br#","_id":""#);
            out.extend_from_slice(&id.hex());
            if let Some(sequence) = sequence {
                write!(out, "-{sequence}")
                    .map_err(|error| Error::failure("no id").because(error))?;
            }
            out.push(b'"');
        }
        out.extend_from_slice(b"}}\n");
        self.write_document(records, index, time, out)
    }

    fn write_document(
        &self,
        records: &Records,
        index: usize,
        time: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if self.stamped {
            out.extend_from_slice(br#"{"@timestamp":""#);
            out.extend_from_slice(time.rfc3339().as_str().as_bytes());
            out.push(b'"');
        }
        let start = out.len();
        self.encoder.encode(records, index, out).map_err(|error| {
            Error::failure(format!("{} record not encoded", records.kind())).because(error)
        })?;
        if self.stamped {
            // The encoder's own brace: a comma takes its place, unless the object has no field.
            let empty = out.get(start + 1) == Some(&b'}');
            if empty {
                out.remove(start);
            } else if let Some(brace) = out.get_mut(start) {
                *brace = b',';
            }
        }
        Ok(())
    }
}

/// The document behind an action line.
pub(super) fn document(item: &[u8]) -> &[u8] {
    let action = memchr::memchr(b'\n', item).map_or(0, |newline| newline + 1);
    item.get(action..).unwrap_or(item)
}
