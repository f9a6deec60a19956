//! Records as bytes: what an [`EncodingConfig`] asks for, and the [`Encoder`] that writes it.
//!
//! One table ([`fields`]) says of each kind of record what fields it has, with their values and their
//! names in the schemas. An encoder lays out what its schema and its filter leave of it
//! ([`mod@layout`]), once; its codec (json, yaml, msgpack) writes each record by that layout.

mod field;
pub mod fields;
mod layout;
mod origin;
pub mod returned;
mod value;
mod yaml;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};

pub use self::origin::Origin;
use self::{
    fields::Reported,
    layout::{Document, Layout},
};
use crate::{
    component::{self, Problem},
    record::{Alert, Flow, Health, Kind, Packet, Records, Returned, Timestamp},
};

/// How a sink writes records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncodingConfig {
    /// The format of the bytes: `json` (default; one object a line), `yaml` (a document each, begun
    /// by `---`) or `msgpack` (maps with field names, one after the other).
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
}

/// The names and the selection of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Few flat fields: time, addresses, protocol, destination port and size; what the kind adds.
    Simple,
    /// The Elastic Common Schema, as nested objects; what it has no name for is under `tidegate`.
    Ecs,
    /// Splunk's Common Information Model, flat: Network Traffic, alerts as Intrusion Detection.
    Cim,
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
    schema: Schema,
    stamped: bool,
    origin: Origin,
    layouts: Arc<Layouts>,
}

/// What is written of each kind of record.
#[derive(Debug)]
struct Layouts {
    packet: Layout<Packet>,
    flow: Layout<Flow>,
    alert: Layout<Alert>,
    health: Layout<Health>,
}

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
        let schema = self.schema.unwrap_or(default);
        let lists = [("only_fields", &self.only_fields), ("except_fields", &self.except_fields)];
        lists.into_iter().flat_map(|(key, names)| unknown_fields(schema, key, names)).collect()
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
    let is_known = |name: &str| fields::named(schema).any(|f| is_or_lies_under(f.name, name));
    let unknown = names.iter().enumerate().filter(|(_, name)| !is_known(name));
    unknown
        .map(|(at, name)| {
            let problem = format!("the schema {} has no field {name:?}", schema.name());
            Problem::new(format!("encoding.{key}[{at}]"), problem).hint(nearest(schema, name))
        })
        .collect()
}

fn nearest(schema: Schema, name: &str) -> String {
    let nearest = fields::named(schema)
        .map(|field| (strsim::jaro_winkler(field.name, name), field.name))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((likeness, nearest)) if likeness > 0.8 => format!("did you mean {nearest}?"),
        _ => "docs/fields.md lists its fields".to_owned(),
    }
}

// === impl Schema ===

impl Schema {
    /// All schemas.
    pub const ALL: [Self; 3] = [Self::Simple, Self::Ecs, Self::Cim];

    /// The name in a config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Ecs => "ecs",
            Self::Cim => "cim",
        }
    }
}

// === impl Encoder ===

impl Encoder {
    /// An encoder for `config`, in the schema `default` unless it names another, for records of
    /// `origin`.
    pub fn new(config: &EncodingConfig, default: Schema, origin: Origin) -> Self {
        let schema = config.schema.unwrap_or(default);
        Self {
            codec: config.codec,
            schema,
            stamped: schema == Schema::Ecs && config.keeps("@timestamp"),
            layouts: Arc::new(Layouts {
                packet: layout(config, schema, &origin),
                flow: layout(config, schema, &origin),
                alert: layout(config, schema, &origin),
                health: layout(config, schema, &origin),
            }),
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
    /// [`Error::Kind`] for raw lines and contacts, [`Error::Index`] past the end.
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
            Records::Raw(_) | Records::Frames(_) | Records::Contacts(_) => None,
            Records::Packets(packets) => packets.get(index).map(|packet| packet.time),
            Records::Flows(flows) => flows.get(index).map(|flow| match self.schema {
                Schema::Simple => flow.start,
                Schema::Ecs | Schema::Cim => flow.end,
            }),
            Records::Alerts(alerts) => alerts.get(index).map(|alert| alert.time),
            Records::Health(health) => health.get(index).map(|health| health.time),
            Records::Returned(records) => records.get(index)?.time,
        }
    }

    fn encode_kind(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let Layouts { packet, flow, alert, health } = &*self.layouts;
        match records {
            Records::Raw(_) | Records::Frames(_) | Records::Contacts(_) => {
                Err(Error::Kind(records.kind()))
            }
            Records::Packets(packets) => self.write(packet, packets, index, out),
            Records::Flows(flows) => self.write(flow, flows, index, out),
            Records::Alerts(alerts) => self.write(alert, alerts, index, out),
            Records::Health(records) => self.write(health, records, index, out),
            Records::Returned(records) => self.write_again(records, index, out),
        }
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

    fn write<T>(
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
            Codec::Msgpack => {
                let mut serializer = rmp_serde::Serializer::new(out).with_human_readable();
                document.serialize(&mut serializer)?;
            }
        }
        Ok(())
    }
}

fn layout<T: Reported>(config: &EncodingConfig, schema: Schema, origin: &Origin) -> Layout<T> {
    Layout::new(T::KIND, T::fields(), schema, config, origin)
}

// === impl Error ===

impl From<Error> for component::Error {
    fn from(error: Error) -> Self {
        Self::failure(error.to_string())
    }
}

#[cfg(test)]
mod tests;
