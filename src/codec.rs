//! Records as bytes: what an [`EncodingConfig`] asks for, and the [`Encoder`] that writes it.
//!
//! A schema (`simple`) visits a record's fields in order, once for all codecs; the filter leaves out
//! fields by key; the codec (json, yaml, msgpack) writes what is left as one map.

mod fields;
mod json;
mod simple;
mod yaml;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use self::fields::Filter;
use crate::{
    component::{self, Problem},
    record::{Kind, Records, Timestamp},
};

/// How a sink writes records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncodingConfig {
    /// The format of the bytes: `json` (default; one object a line), `yaml` (a document each, begun
    /// by `---`) or `msgpack` (maps with field names, one after the other).
    pub codec: Codec,
    /// The names and the selection of the fields: `simple` (default).
    pub schema: Schema,
    /// Only these fields are written, in the schema's order (default: all of them).
    pub only_fields: Vec<String>,
    /// These fields are left out, also where `only_fields` names them (default: none).
    pub except_fields: Vec<String>,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Few flat fields: time, addresses, protocol, destination port and size; what the kind adds.
    #[default]
    Simple,
}

/// Writes records as one [`EncodingConfig`] asks.
#[derive(Debug, Clone)]
pub struct Encoder {
    codec: Codec,
    filter: Filter,
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
    /// The JSON or YAML writer failed.
    #[error("record not encoded as text")]
    Text(#[from] serde_json::Error),
    /// The `MessagePack` writer failed.
    #[error("record not encoded as msgpack")]
    Msgpack(#[from] rmp_serde::encode::Error),
}

/// A record with the fields the filter leaves, as a map.
struct Filtered<'a, F> {
    fields: F,
    filter: &'a Filter,
}

// === impl EncodingConfig ===

impl EncodingConfig {
    /// What is wrong with the values, keys below `encoding`.
    pub fn check(&self) -> Vec<Problem> {
        let lists = [("only_fields", &self.only_fields), ("except_fields", &self.except_fields)];
        lists.into_iter().flat_map(|(key, names)| unknown_fields(key, names)).collect()
    }
}

fn unknown_fields(key: &str, names: &[String]) -> Vec<Problem> {
    let known: Vec<_> = simple::keys().collect();
    let unknown = names.iter().enumerate().filter(|(_, name)| !known.contains(&name.as_str()));
    unknown
        .map(|(at, name)| {
            let problem = format!("the simple schema has no field {name:?}");
            Problem::new(format!("encoding.{key}[{at}]"), problem)
                .hint(format!("its fields are {}", known.join(", ")))
        })
        .collect()
}

// === impl Encoder ===

impl Encoder {
    /// An encoder for `config`.
    pub fn new(config: &EncodingConfig) -> Self {
        let Schema::Simple = config.schema;
        Self {
            codec: config.codec,
            filter: Filter::new(&config.only_fields, &config.except_fields),
        }
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
            Records::Raw(_) | Records::Contacts(_) => None,
            Records::Packets(packets) => packets.get(index).map(|packet| packet.time),
            Records::Flows(flows) => flows.get(index).map(|flow| flow.start),
            Records::Alerts(alerts) => alerts.get(index).map(|alert| alert.time),
            Records::Health(health) => health.get(index).map(|health| health.time),
        }
    }

    fn encode_kind(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let missing = || Error::Index { index, len: records.len() };
        match records {
            Records::Raw(_) | Records::Contacts(_) => Err(Error::Kind(records.kind())),
            Records::Packets(packets) => {
                self.write(simple::PacketFields(packets.get(index).ok_or_else(missing)?), out)
            }
            Records::Flows(flows) => {
                self.write(simple::FlowFields(flows.get(index).ok_or_else(missing)?), out)
            }
            Records::Alerts(alerts) => {
                self.write(simple::AlertFields(alerts.get(index).ok_or_else(missing)?), out)
            }
            Records::Health(health) => {
                self.write(simple::HealthFields(health.get(index).ok_or_else(missing)?), out)
            }
        }
    }

    fn write(&self, fields: impl fields::Fields, out: &mut Vec<u8>) -> Result<(), Error> {
        let record = Filtered { fields, filter: &self.filter };
        match self.codec {
            Codec::Json => json::write_line(&record.fields, record.filter, out)?,
            Codec::Yaml => yaml::write_document(&record, out)?,
            Codec::Msgpack => {
                let mut serializer = rmp_serde::Serializer::new(out).with_human_readable();
                record.serialize(&mut serializer)?;
            }
        }
        Ok(())
    }
}

// === impl Error ===

impl From<Error> for component::Error {
    fn from(error: Error) -> Self {
        Self::failure(error.to_string())
    }
}

// === impl Filtered ===

impl<F: fields::Fields> Serialize for Filtered<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = fields::count(&self.fields, self.filter);
        let map = serializer.serialize_map(Some(count))?;
        let mut writer = fields::Writer { map, filter: self.filter };
        self.fields.visit(&mut writer)?;
        writer.map.end()
    }
}

#[cfg(test)]
mod tests;
