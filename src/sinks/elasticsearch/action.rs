//! What goes into a bulk body: for each record an action line and the document.

use std::io::Write;

use serde::Deserialize;

use super::{Config, IdMode, Mode};
use crate::{
    codec::Encoder,
    component::Error,
    record::{Id, Kind, Records, Returned, Timestamp},
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
    in_data_stream: bool,
    /// Of each kind, by [`Kind`]: the action up to the id.
    openings: [Box<str>; Kind::ALL.len()],
}

/// A document, as far as it says where it belongs.
#[derive(Debug, Deserialize)]
struct Named {
    data_stream: Parts,
}

#[derive(Debug, Deserialize)]
struct Parts {
    dataset: Box<str>,
    namespace: Box<str>,
}

/// An action line, read back.
#[derive(Debug, Deserialize)]
struct Action {
    create: Create,
}

#[derive(Debug, Deserialize)]
struct Create {
    #[serde(rename = "_id")]
    id: Option<Box<str>>,
}

// === impl Actions ===

impl Actions {
    pub(super) fn new(config: &Config, encoder: Encoder, observer: &str) -> Self {
        Self {
            stamped: config.mode == Mode::DataStream && !encoder.is_stamped(),
            in_data_stream: config.mode == Mode::DataStream,
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
        if let Records::Returned(returned) = records
            && let Some(record) = returned.get(index)
        {
            return self.write_again(record, records, index, out);
        }
        let time = self.encoder.time(records, index);
        let time = time.ok_or_else(|| {
            Error::failure(format!("no {} record {index} to encode", records.kind()))
        })?;
        self.open(records.kind(), out);
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

    /// Appends the action line and the document of a record that was refused. It goes to the data
    /// stream that the document itself names: in another one it would be refused, or, as the first of
    /// its index, have all that come after it refused.
    fn write_again(
        &self,
        record: &Returned,
        records: &Records,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let named: Option<Named> = serde_json::from_slice(&record.document).ok();
        match named.filter(|_| self.in_data_stream) {
            Some(Named { data_stream: Parts { dataset, namespace } })
                if super::unfit("", &dataset, "-").is_none()
                    && super::unfit("", &namespace, "-").is_none() =>
            {
                write!(out, r#"{{"create":{{"_index":"logs-{dataset}-{namespace}""#)
                    .map_err(|error| Error::failure("no index").because(error))?;
            }
            _ => self.open(record.kind, out),
        }
        if self.id == IdMode::Record {
            // Sent twice it must meet itself, also if the server chose its id the first time.
            let id = record.id.as_ref().map_or_else(
                || Id::of("returned", &self.observer).bytes(&record.document).finish().to_string(),
                ToString::to_string,
            );
            write!(out, ",\"_id\":\"{id}\"")
                .map_err(|error| Error::failure("no id").because(error))?;
        }
        out.extend_from_slice(b"}}\n");
        Ok(self.encoder.encode(records, index, out)?)
    }

    fn open(&self, kind: Kind, out: &mut Vec<u8>) {
        if let Some(opening) = self.openings.get(kind as usize) {
            out.extend_from_slice(opening.as_bytes());
        }
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

/// The document behind an action line, and the id in that.
pub(super) fn returned(kind: Kind, item: &[u8]) -> Returned {
    let end = memchr::memchr(b'\n', item).map_or(0, |newline| newline + 1);
    let (action, document) = item.split_at(end);
    let action: Option<Action> = serde_json::from_slice(action).ok();
    let id = action.and_then(|action| action.create.id);
    Returned { id, ..Returned::new(kind, document.trim_ascii_end()) }
}
