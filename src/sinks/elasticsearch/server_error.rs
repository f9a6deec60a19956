//! What a server says went wrong, with a request or with one of its documents.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// What is kept of each text, in characters: more than is ever shown, so that a credential in it is
/// whole, and found, before it is cut.
const KEPT_CHARS: usize = 4000;

/// How the reasons begin that a server has against the index or data stream. Sources:
/// `ShardLimitValidator`, `IngestService` and `IndexAbstraction` of both servers. They are looked for at
/// the beginning only: what comes later may be quoted from a document.
const ABOUT_THE_TARGET: [&str; 4] = [
    "Validation Failed: 1: this action would add [",
    "this action would add [",
    "pipeline with id [",
    "no write index is defined for alias [",
];

/// An error as servers tell it: an object, or a text only.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    kind: Option<Box<str>>,
    reason: Option<Box<str>>,
    caused_by: Option<Box<ServerError>>,
    text: Option<Box<str>>,
}

/// The answer to a request that was refused as a whole.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: ServerError,
    status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Type,
    Reason,
    CausedBy,
    #[serde(other)]
    Other,
}

struct Reader;

// === impl ServerError ===

impl ServerError {
    /// What the server itself says of a request; `None` if the body is somebody else's: a page of a
    /// proxy or load balancer.
    pub(super) fn of_request(body: &[u8]) -> Option<Self> {
        let Refusal { error, status } = serde_json::from_slice(body).ok()?;
        let own = error.kind.is_some() || status.is_some() && error.reason.is_some();
        own.then_some(error)
    }

    /// The name of the error.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Whether it is about where documents go, and so about all of them, rather than about what this
    /// one holds: the index is not there or closed, the cluster has no room for a new one, the pipeline
    /// is not there.
    pub(super) fn is_about_the_target(&self) -> bool {
        match self.kind() {
            Some(
                "index_not_found_exception"
                | "index_closed_exception"
                | "invalid_index_name_exception"
                | "validation_exception",
            ) => true,
            Some("illegal_argument_exception") => {
                let reason = self.reason.as_deref().unwrap_or_default();
                ABOUT_THE_TARGET.iter().any(|start| reason.starts_with(start))
            }
            _ => false,
        }
    }

    /// The reasons, from the outside in: the last cause is the one that helps.
    pub(super) fn reasons(&self) -> Vec<&str> {
        self.levels().filter_map(|level| level.reason.as_deref()).collect()
    }

    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |level| level.caused_by.as_deref())
    }
}

impl fmt::Display for ServerError {
    /// `type: reason, caused by type: reason`, as far as they are there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, level) in self.levels().enumerate() {
            f.write_str(if depth == 0 { "" } else { ", caused by " })?;
            let words = [&level.kind, &level.reason, &level.text];
            for (at, word) in words.into_iter().flatten().enumerate() {
                f.write_str(if at == 0 { "" } else { ": " })?;
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ServerError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

// === impl Reader ===

impl<'de> Visitor<'de> for Reader {
    type Value = ServerError;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error")
    }

    fn visit_str<E>(self, text: &str) -> Result<ServerError, E> {
        let text: String = text.chars().take(KEPT_CHARS).collect();
        Ok(ServerError { text: Some(text.into()), ..ServerError::default() })
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ServerError, M::Error> {
        let mut told = ServerError::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Type => told.kind = map.next_value::<ServerError>()?.text,
                Key::Reason => told.reason = map.next_value::<ServerError>()?.text,
                Key::CausedBy => told.caused_by = Some(Box::new(map.next_value()?)),
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(told)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<ServerError, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(ServerError::default())
    }

    fn visit_unit<E>(self) -> Result<ServerError, E> {
        Ok(ServerError::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<ServerError, E> {
        Ok(ServerError::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<ServerError, E> {
        Ok(ServerError::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<ServerError, E> {
        Ok(ServerError::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<ServerError, E> {
        Ok(ServerError::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_servers_own_json_is_its_word() {
        let own = [
            json!({"error": {"root_cause": [], "type": "parse_exception"}, "status": 400}),
            json!({"error": {"type": "x_content_parse_exception"}}),
            json!({"error": {"reason": "as asked"}, "status": 413}),
        ];
        for body in own {
            assert!(ServerError::of_request(body.to_string().as_bytes()).is_some(), "{body}");
        }
        let of_others = [
            "",
            "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
            "[]",
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"timestamp":1,"status":400,"error":"Bad Request","path":"/_bulk"}"#,
            r#"{"error":{"code":400}}"#,
            r#"{"error":null,"status":400}"#,
        ];
        for body in of_others {
            assert_eq!(ServerError::of_request(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn what_is_about_the_target_is_told_from_what_is_about_the_document() {
        let limit = "this action would add [2] shards, but this cluster currently has [1000]/[1000] \
                     maximum normal shards open;";
        let validation = format!("Validation Failed: 1: {limit}");
        let (argument, pipeline) =
            ("illegal_argument_exception", "pipeline with id [x] does not exist");
        let cases = [
            ("index_not_found_exception", "no such index [x]", true),
            ("index_closed_exception", "closed", true),
            ("validation_exception", &validation, true),
            (argument, &validation, true),
            (argument, limit, true),
            (argument, pipeline, true),
            (argument, "no write index is defined for alias [x]. The write index may", true),
            (argument, "Document contains at least one immense term in field", false),
            (argument, "'pipeline with id [x] does not exist' is not an IP", false),
            ("document_parsing_exception", pipeline, false),
            ("mapper_parsing_exception", limit, false),
        ];
        for (kind, reason, expected) in cases {
            let told: ServerError =
                serde_json::from_value(json!({"type": kind, "reason": reason})).unwrap();
            assert_eq!(told.is_about_the_target(), expected, "{told}");
        }
    }

    #[test]
    fn a_long_reason_is_not_kept_as_a_whole() {
        let told: ServerError =
            serde_json::from_value(json!({"reason": "ü".repeat(1 << 20)})).unwrap();
        assert_eq!(told.to_string().chars().count(), KEPT_CHARS);
    }

    #[test]
    fn an_error_may_be_anything() {
        for (value, shown) in [
            (json!("old style"), "old style"),
            (json!({"type": 7, "reason": {"a": 1}, "caused_by": null}), ", caused by "),
            (json!([1, {"type": "x"}]), ""),
            (json!(-1.5), ""),
            (Value::Null, ""),
        ] {
            let told: ServerError = serde_json::from_value(value).unwrap();
            assert_eq!(told.to_string(), shown);
        }
    }
}
