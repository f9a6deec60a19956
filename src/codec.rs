//! Records as bytes: what an [`EncodingConfig`] asks for, and the [`Encoder`] that writes it.
//!
//! One table ([`field`]) says of each kind of record what fields it has, with their values and their
//! names in the schemas. An encoder lays out what its schema and its filter leave of it
//! ([`mod@layout`]), once; its codec (json, yaml, msgpack) writes each record by that layout. The codec
//! [`wire`] is apart: it writes whole records, for Tidegate itself to read.

mod layout;
pub mod returned;
pub mod wire;
mod yaml;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use self::layout::{Document, Layout};
pub use crate::field::{Origin, Schema};
use crate::{
    component::{self, Problem},
    field::{self, Fields, PerKind},
    record::{Kind, Kinds, Records, Returned, Timestamp, Visit},
};

/// How a sink writes records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncodingConfig {
    /// The format of the bytes: `json` (default; one object a line), `yaml` (a document each, begun
    /// by `---`), `msgpack` (maps with field names, one after the other) or `wire` (whole records, for a
    /// Tidegate that reads them behind Kafka; without a schema, and contacts too).
    pub codec: Codec,
    /// The names and the selection of the fields: `simple`, `ecs` or `cim` (default: `cim` for
    /// `splunk_hec`, `simple` for `console`, else `ecs`).
    pub schema: Option<Schema>,
    /// Only these fields are written, in the schema's order (default: all of them). A name stands for
    /// all that lies under it: `source` for `source.ip` and the others.
    pub only_fields: Vec<String>,
    /// These fields are left out, also where `only_fields` names them (default: none).
    pub except_fields: Vec<String>,
    /// Whose bytes and packets are `bytes_in` and `packets_in` in the schema `cim`: those the
    /// `responder` sent (default, as the public mappings of Zeek do) or those the `initiator` sent
    /// (as Splunk Stream does).
    pub cim_in: Side,
}

/// The format of the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// One JSON object a line (NDJSON).
    #[default]
    Json,
    /// A stream of YAML 1.2 documents, each begun by `---`.
    Yaml,
    /// `MessagePack` maps with field names, one after the other.
    Msgpack,
    /// Tidegate's own versioned form of whole records.
    Wire,
}

/// A side of a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Who began it.
    Initiator,
    /// Who was addressed.
    #[default]
    Responder,
}

/// Writes records as one [`EncodingConfig`] asks.
#[derive(Debug, Clone)]
pub struct Encoder {
    codec: Codec,
    stamped: bool,
    origin: Origin,
    /// What is written of each kind of record.
    layouts: Arc<PerKind>,
    others: Arc<Others>,
}

/// Encoders for the records of other sensors, which came over Kafka: what all records of a sensor share is
/// laid out once.
#[derive(Debug)]
struct Others {
    config: EncodingConfig,
    default: Schema,
    made: RwLock<HashMap<Arc<str>, Arc<Encoder>>>,
}

/// Sensors whose encoders are kept.
const MAX_OTHERS: usize = 1_024;

/// Lays a kind of record out.
struct LayOut<'a>(&'a EncodingConfig, Schema, &'a Origin);

/// Appends the record at `index` to `out`.
struct Write<'a> {
    encoder: &'a Encoder,
    index: usize,
    out: &'a mut Vec<u8>,
}

/// The time that is written of the record at an index.
struct TimeAt<'a>(&'a Encoder, usize);

/// Why a record can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its kind never leaves the pipeline.
    #[error("a {0} record has no output form: put a transform before the sink")]
    Kind(Kind),
    /// There is no such record in the batch.
    #[error("no record {index} in a batch of {len}")]
    Index {
        /// The record asked for.
        index: usize,
        /// Records in the batch.
        len: usize,
    },
    /// A document that was refused once is no single line.
    #[error("the document has several lines")]
    Lines,
    /// The JSON or YAML writer failed, or a document that was refused once is no JSON.
    #[error("record not encoded as text")]
    Text(#[from] serde_json::Error),
    /// The `MessagePack` writer failed.
    #[error("record not encoded as msgpack")]
    Msgpack(#[from] rmp_serde::encode::Error),
}

// === impl EncodingConfig ===

impl EncodingConfig {
    /// What is wrong with the values, keys below `encoding`, for a sink whose own schema is
    /// `default`.
    pub fn check(&self, default: Schema) -> Vec<Problem> {
        if self.codec == Codec::Wire {
            return self.check_wire();
        }
        let schema = self.schema.unwrap_or(default);
        let lists = [("only_fields", &self.only_fields), ("except_fields", &self.except_fields)];
        lists.into_iter().flat_map(|(key, names)| unknown_fields(schema, key, names)).collect()
    }

    /// The wire form has no names of fields, so none can be chosen.
    fn check_wire(&self) -> Vec<Problem> {
        let keys = [
            ("schema", self.schema.is_some()),
            ("only_fields", !self.only_fields.is_empty()),
            ("except_fields", !self.except_fields.is_empty()),
        ];
        let given = keys.into_iter().filter(|(_, is_given)| *is_given);
        given
            .map(|(key, _)| {
                let message = "the codec wire writes whole records, in a form of its own";
                Problem::new(format!("encoding.{key}"), message).hint("remove the key")
            })
            .collect()
    }

    /// Whether the field is written.
    fn keeps(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|stem| is_or_lies_under(name, stem));
        (self.only_fields.is_empty() || named(&self.only_fields)) && !named(&self.except_fields)
    }

    /// A field's name, once the sides are as the config wants them.
    fn renamed(&self, name: &'static str) -> &'static str {
        match (self.cim_in, name) {
            (Side::Initiator, "bytes_in") => "bytes_out",
            (Side::Initiator, "bytes_out") => "bytes_in",
            (Side::Initiator, "packets_in") => "packets_out",
            (Side::Initiator, "packets_out") => "packets_in",
            (_, name) => name,
        }
    }
}

/// Whether `name` is `stem`, or a field of the object `stem`.
fn is_or_lies_under(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn unknown_fields(schema: Schema, key: &str, names: &[String]) -> Vec<Problem> {
    let is_known = |name: &str| field::named(schema).any(|f| is_or_lies_under(f.name, name));
    let unknown = names.iter().enumerate().filter(|(_, name)| !is_known(name));
    unknown
        .map(|(at, name)| {
            let problem = format!("the schema {} has no field {name:?}", schema.name());
            let hint = match field::nearest(name, Some(schema)) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "docs/fields.md lists its fields".to_owned(),
            };
            Problem::new(format!("encoding.{key}[{at}]"), problem).hint(hint)
        })
        .collect()
}

// === impl Encoder ===

impl Encoder {
    /// An encoder for `config`, in the schema `default` unless it names another, for records of
    /// `origin`.
    pub fn new(config: &EncodingConfig, default: Schema, origin: Origin) -> Self {
        let schema = config.schema.unwrap_or(default);
        Self {
            codec: config.codec,
            stamped: config.codec != Codec::Wire
                && schema == Schema::Ecs
                && config.keeps("@timestamp"),
            layouts: Arc::new(PerKind::new(|kind| {
                Records::none(kind).visit(LayOut(config, schema, &origin))
            })),
            others: Arc::new(Others { config: config.clone(), default, made: RwLock::default() }),
            origin,
        }
    }

    /// Whether each record is written with an `@timestamp`.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Appends the record at `index` to `out`, so that the next one may follow at once. After an
    /// error `out` is as it was.
    ///
    /// # Errors
    /// [`Error::Kind`] for raw lines, and for contacts in another codec than `wire`; [`Error::Index`]
    /// past the end.
    pub fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let encoded = self.encode_kind(records, index, out);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    /// The time that is written as the record's own; `None` where [`encode`](Self::encode) fails.
    pub fn time(&self, records: &Records, index: usize) -> Option<Timestamp> {
        match records {
            Records::Returned(records) => records.get(index)?.time,
            _ => records.visit(TimeAt(self, index)),
        }
    }

    /// The encoder for the records of another sensor.
    fn of_other(&self, observer: &Arc<str>) -> Arc<Self> {
        let made = self.others.made.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = made.get(observer) {
            return Arc::clone(encoder);
        }
        drop(made);
        let Others { config, default, made } = &*self.others;
        let encoder = Arc::new(Self::new(config, *default, self.origin.of_other(observer)));
        let mut made = made.write().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MAX_OTHERS {
            made.clear();
        }
        made.insert(Arc::clone(observer), Arc::clone(&encoder));
        encoder
    }

    fn encode_kind(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.codec != Codec::Wire
            && let Some(observer) = records.observer(index)
            && *observer != *self.origin.observer
        {
            let encoder = self.of_other(&observer);
            return records.visit(Write { encoder: &encoder, index, out });
        }
        match records {
            Records::Returned(records) => self.write_again(records, index, out),
            _ if self.codec == Codec::Wire => {
                wire::write(records, index, &self.origin.observer, out)
            }
            _ => records.visit(Write { encoder: self, index, out }),
        }
    }

    /// The layout of a kind that has an output form.
    fn layout<R: Fields>(&self) -> Option<&Layout<R>> {
        self.layouts.get::<R, Layout<R>>().filter(|_| Kinds::REPORTS.contains(R::KIND))
    }

    /// The document is written as it was. A destination of JSON gets one JSON text a line, whatever
    /// somebody made of the dead letter.
    fn write_again(
        &self,
        records: &[Returned],
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let record = records.get(index).ok_or(Error::Index { index, len: records.len() })?;
        if self.codec != Codec::Json {
            out.extend_from_slice(&record.document);
            return Ok(());
        }
        let document = record.document.trim_ascii();
        if document.contains(&b'\n') {
            return Err(Error::Lines);
        }
        serde_json::from_slice::<IgnoredAny>(document)?;
        out.extend_from_slice(document);
        out.push(b'\n');
        Ok(())
    }

    fn write<T: Fields>(
        &self,
        layout: &Layout<T>,
        records: &[T],
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let record = records.get(index).ok_or(Error::Index { index, len: records.len() })?;
        let document = Document { layout, record, origin: &self.origin };
        match self.codec {
            Codec::Json => layout.write_json(record, &self.origin, out),
            Codec::Yaml => yaml::write_document(&document, out)?,
            // Written by `wire` alone, but whoever comes here gets what it holds.
            Codec::Msgpack | Codec::Wire => {
                let mut serializer = rmp_serde::Serializer::new(out).with_human_readable();
                document.serialize(&mut serializer)?;
            }
        }
        Ok(())
    }
}

// === impl LayOut ===

impl<R: Fields> Visit<R, field::Slot> for LayOut<'_> {
    fn visit(self, _records: &[R]) -> field::Slot {
        let Self(config, schema, origin) = self;
        Box::new(Layout::<R>::new(schema, config, origin))
    }
}

// === impl Write ===

impl<R: Fields> Visit<R, Result<(), Error>> for Write<'_> {
    fn visit(self, records: &[R]) -> Result<(), Error> {
        let Self { encoder, index, out } = self;
        let layout = encoder.layout::<R>().ok_or(Error::Kind(R::KIND))?;
        encoder.write(layout, records, index, out)
    }
}

// === impl TimeAt ===

impl<R: Fields> Visit<R, Option<Timestamp>> for TimeAt<'_> {
    fn visit(self, records: &[R]) -> Option<Timestamp> {
        let Self(encoder, index) = self;
        encoder.layout::<R>()?.time(records.get(index)?, &encoder.origin)
    }
}

// === impl Error ===

impl From<Error> for component::Error {
    fn from(error: Error) -> Self {
        Self::failure(error.to_string())
    }
}

#[cfg(test)]
mod tests;
