//! What a message has beside its payload: key, time, headers.

use std::sync::Arc;

use rdkafka::message::{Header, OwnedHeaders};

use super::{
    Key,
    producer::{Record, Ticket},
};
use crate::{
    codec::{Codec, Schema},
    record::{self, CommunityId, Id, Kind, Records, Timestamp, Visit},
};

/// The version of the Elastic Common Schema that documents are of.
const ECS_VERSION: &str = "9.4.0";

/// What a record's message has beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The sensor that saw it, if it is another one than this.
    observer: Option<Arc<str>>,
    key: Option<Box<str>>,
    millis: Option<i64>,
    id: Option<(Id, Option<u32>)>,
}

/// Makes messages as one config asks.
#[derive(Debug)]
pub(super) struct Messages {
    key: Key,
    content_type: &'static str,
    schema: &'static str,
    ecs: bool,
    observer: Box<str>,
}

/// Looks at the record at an index.
struct Look<'a>(usize, Key, &'a str);

// === impl Messages ===

impl Messages {
    pub(super) fn new(key: Key, codec: Codec, schema: Schema, observer: &str) -> Self {
        let is_wire = codec == Codec::Wire;
        Self {
            key,
            content_type: match codec {
                Codec::Json | Codec::Yaml => "application/json",
                Codec::Msgpack => "application/msgpack",
                Codec::Wire => "application/vnd.tidegate.wire",
            },
            schema: if is_wire { "wire" } else { schema.name() },
            ecs: schema == Schema::Ecs && !is_wire,
            observer: observer.into(),
        }
    }

    /// The message of a record.
    pub(super) fn of(&self, records: &Records, index: usize) -> Message {
        let (key, time) = records.visit(Look(index, self.key, &self.observer));
        Message {
            kind: records.kind_of(index),
            observer: records.observer(index),
            key,
            millis: time
                .map(|time| time.nanos().div_euclid(1_000_000))
                .filter(|millis| *millis >= 0),
            id: records.id(index, &self.observer),
        }
    }

    /// The message with its payload, for librdkafka.
    pub(super) fn record<'a>(
        &self,
        topic: &'a str,
        payload: &'a [u8],
        message: &'a Message,
        ticket: Ticket,
    ) -> Record<'a> {
        Record {
            partition: None,
            payload: Some(without_newline(payload)),
            key: message.key.as_deref().map(str::as_bytes),
            timestamp: message.millis,
            headers: Some(self.headers(message)),
            ..Record::with_opaque_to(topic, Box::new(ticket))
        }
    }

    fn headers(&self, message: &Message) -> OwnedHeaders {
        fn add(headers: OwnedHeaders, key: &str, value: &[u8]) -> OwnedHeaders {
            headers.insert(Header { key, value: Some(value) })
        }
        let mut headers = OwnedHeaders::new_with_capacity(7);
        headers = add(headers, "content-type", self.content_type.as_bytes());
        headers = add(headers, "schema", self.schema.as_bytes());
        if self.ecs {
            headers = add(headers, "ecs.version", ECS_VERSION.as_bytes());
        }
        headers = add(headers, "kind", message.kind.name().as_bytes());
        let observer = message.observer.as_deref().unwrap_or(&self.observer);
        headers = add(headers, "observer", observer.as_bytes());
        if let Some((id, sequence)) = &message.id {
            headers = add(headers, "id", &id.hex());
            if let Some(sequence) = sequence {
                headers = add(headers, "sequence", sequence.to_string().as_bytes());
            }
        }
        headers
    }
}

/// A JSON document without what separates it from the next: a message is one.
fn without_newline(payload: &[u8]) -> &[u8] {
    match payload.split_last() {
        Some((b'\n', document)) if document.ends_with(b"}") => document,
        _ => payload,
    }
}

// === impl Look ===

impl<R: record::Record> Visit<R, (Option<Box<str>>, Option<Timestamp>)> for Look<'_> {
    fn visit(self, records: &[R]) -> (Option<Box<str>>, Option<Timestamp>) {
        let Self(index, key, observer) = self;
        let Some(record) = records.get(index) else { return (None, None) };
        let community_id =
            || record.community_id().map(|id: CommunityId| id.to_string().into_boxed_str());
        let flow_id = || {
            let id = record.identity(observer).filter(|_| R::KIND == Kind::Flow);
            id.map(|(id, _)| id.to_string().into_boxed_str())
        };
        let source = || record.source().map(|source| source.to_string().into_boxed_str());
        let key = match key {
            Key::CommunityId => community_id().or_else(source),
            Key::FlowId => flow_id().or_else(community_id).or_else(source),
            Key::Source => source(),
            Key::None => return (None, record.time()),
        };
        (Some(key.unwrap_or_else(|| observer.into())), record.time())
    }
}
