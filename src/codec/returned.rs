//! A line of a dead-letter file: a NDJSON object `{time, sink, reason, record, document}`, where
//! `record` is `{kind, time, id}` as far as they are known. A document that is neither JSON nor text
//! is there as `document_base64`.
//!
//! A JSON document is embedded and taken out byte for byte: a tree would reorder its keys and round
//! its numbers. So it comes last in the line.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, json};

use crate::record::{Kinds, Returned, Timestamp};

const MAX_ID_BYTES: usize = 128;

/// Why a line is no dead letter that can be sent again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is torn, or something else.
    #[error("it is no dead letter: {0}")]
    NotALetter(serde_json::Error),
    /// It has no document behind all else.
    #[error("it has no `document` or `document_base64` as its last key")]
    NoDocument,
    /// What stands there as a document is torn.
    #[error("its document can't be read: {0}")]
    Document(String),
    /// No sink writes records of this kind.
    #[error("its record is of the kind {0:?}, which no sink takes")]
    Kind(String),
    /// The time is none.
    #[error("its record's time {0:?} is no time in RFC 3339")]
    Time(String),
    /// An id that we never gave.
    #[error("its record's id {0:?} is none of ours")]
    Id(String),
}

/// All before the document; more is not needed to send it again.
#[derive(Debug, Deserialize)]
struct Head {
    sink: String,
    record: Record,
}

#[derive(Debug, Deserialize)]
struct Record {
    kind: String,
    time: Option<String>,
    id: Option<String>,
}

/// The line that says that `sink` could not deliver `record`, and why.
pub fn write_line(time: Timestamp, sink: &str, reason: &str, record: &Returned) -> Vec<u8> {
    let (key, document) = match std::str::from_utf8(&record.document) {
        Ok(text) => ("document", as_json(text)),
        Err(_) => ("document_base64", json!(BASE64_STANDARD.encode(&record.document)).to_string()),
    };
    let time_of = record.time.map(|time| ("time", time.to_string()));
    let id = record.id.as_deref().map(|id| ("id", id.to_owned()));
    let known = [Some(("kind", record.kind.name().to_owned())), time_of, id];
    let pairs = known.into_iter().flatten().map(|(key, value)| (key.to_owned(), json!(value)));
    let record: Map<_, _> = pairs.collect();
    let (sink, reason, record) = (json!(sink), json!(reason), json!(record));
    format!(
        r#"{{"time":"{time}","sink":{sink},"reason":{reason},"record":{record},"{key}":{document}}}"#
    )
    .into_bytes()
    .into_iter()
    .chain([b'\n'])
    .collect()
}

fn as_json(text: &str) -> String {
    // JSON's own blanks: a form feed is none.
    let document = text.trim_matches([' ', '\t', '\n', '\r']);
    // A string that stands there is text: a document that is a JSON string has to be one within it.
    let is_text = document.starts_with('"') || document.contains(['\n', '\r']);
    if !is_text && serde_json::from_str::<IgnoredAny>(document).is_ok() {
        return document.to_owned();
    }
    json!(text).to_string()
}

/// The sink a line names, and the record it holds.
///
/// # Errors
/// What is wrong with the line.
pub fn read_line(line: &[u8]) -> Result<(String, Returned), Error> {
    let line = line.trim_ascii();
    let Some((head, key, value)) = split(line) else {
        // Whatever else is wrong with it is better said first.
        serde_json::from_slice::<Head>(line).map_err(Error::NotALetter)?;
        return Err(Error::NoDocument);
    };
    let head = [head, b"}"].concat();
    let Head { sink, record } = serde_json::from_slice(&head).map_err(Error::NotALetter)?;
    let document = match key {
        Key::Document => json_or_text(value)?,
        Key::Base64 => {
            let text: String = serde_json::from_slice(value).map_err(unreadable)?;
            BASE64_STANDARD.decode(text).map_err(unreadable)?.into()
        }
    };
    let kind = Kinds::REPORTS.iter().find(|kind| kind.name() == record.kind);
    let kind = kind.ok_or(Error::Kind(record.kind))?;
    let time = record.time.map(parse_time).transpose()?;
    let id = record.id.map(parse_id).transpose()?;
    Ok((sink, Returned { kind, time, id, document }))
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Document,
    Base64,
}

/// A line up to the comma before its document, and the document's bytes. Within a string the quote
/// before the key would be escaped, so what is found first is the key.
fn split(line: &[u8]) -> Option<(&[u8], Key, &[u8])> {
    let keys = [(Key::Document, &b"\"document\""[..]), (Key::Base64, b"\"document_base64\"")];
    let found = keys.into_iter().filter_map(|(key, name)| {
        memchr::memmem::find_iter(line, name).find_map(|at| {
            let head = line.get(..at)?.trim_ascii_end().strip_suffix(b",")?;
            let rest = line.get(at + name.len()..)?.trim_ascii_start().strip_prefix(b":")?;
            Some((head, key, rest.trim_ascii_start().strip_suffix(b"}")?))
        })
    });
    found.min_by_key(|(head, ..)| head.len())
}

/// A JSON document as it stands there, or the text that a string holds.
fn json_or_text(value: &[u8]) -> Result<Bytes, Error> {
    if value.starts_with(b"\"") {
        return Ok(serde_json::from_slice::<String>(value).map_err(unreadable)?.into());
    }
    serde_json::from_slice::<IgnoredAny>(value).map_err(unreadable)?;
    Ok(Bytes::copy_from_slice(value))
}

fn unreadable(error: impl std::error::Error) -> Error {
    Error::Document(error.to_string())
}

fn parse_time(text: String) -> Result<Timestamp, Error> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let nanos = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
    nanos.map(Timestamp::from_nanos).ok_or(Error::Time(text))
}

fn parse_id(id: String) -> Result<Box<str>, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > MAX_ID_BYTES || !id.bytes().all(plain) {
        return Err(Error::Id(id.chars().take(MAX_ID_BYTES).collect()));
    }
    Ok(id.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::record::Kind;

    const TIME: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_001);

    fn letter(document: &[u8]) -> Returned {
        let id = Some("0123abcd-7".into());
        Returned { time: Some(TIME), id, ..Returned::new(Kind::Flow, document) }
    }

    #[test]
    fn a_line_says_what_was_refused_where_and_why() {
        let line = write_line(TIME, "siem", "too \"odd\"", &letter(b"{\"b\":1.50,\"a\":[]}\n"));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.000000001Z","sink":"siem","#,
                r#""reason":"too \"odd\"","record":{"id":"0123abcd-7","kind":"flow","#,
                r#""time":"2023-11-14T22:13:20.000000001Z"},"#,
                r#""document":{"b":1.50,"a":[]}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn json_is_embedded_as_it_was_and_anything_else_as_text_or_base64() {
        let cases: [(&[u8], &str, &str); 6] = [
            (b"{\"b\":1.10,\"a\":1}\n", "document", r#"{"b":1.10,"a":1}"#),
            (b"---\na: 1\n", "document", r#""---\na: 1\n""#),
            (b"[1,\n2]", "document", r#""[1,\n2]""#),
            (b"\"a\"", "document", r#""\"a\"""#),
            (b"\x0c1", "document", r#""\f1""#),
            (b"\"\xff", "document_base64", r#""Iv8=""#),
        ];
        for (document, key, expected) in cases {
            let line = write_line(TIME, "siem", "r", &Returned::new(Kind::Alert, document));
            let expected = format!("\"record\":{{\"kind\":\"alert\"}},\"{key}\":{expected}}}\n");
            let line = String::from_utf8(line).unwrap();
            assert!(line.ends_with(&expected), "{line}");
        }
    }

    #[test]
    fn spaces_that_an_editor_put_there_do_no_harm() {
        let line =
            br#" { "sink" : "siem", "record": {"kind": "packet"} , "document" : {"a": 1} } "#;
        let (sink, letter) = read_line(line).unwrap();
        assert_eq!((sink.as_str(), letter.kind), ("siem", Kind::Packet));
        assert_eq!(serde_json::from_slice::<Value>(&letter.document).unwrap(), json!({"a": 1}));
    }

    #[test]
    fn what_is_no_letter_is_refused_with_the_reason() {
        let cases = [
            ("", "no dead letter"),
            ("{}", "no dead letter"),
            ("null", "no dead letter"),
            (r#"{"sink":"s","document":{}}"#, "missing field `record`"),
            (r#"{"sink":"s","record":{"kind":"flow"}}"#, "no `document`"),
            (r#"{"sink":"s","record":{"kind":"flow"},"document":{"a":"#, "no dead letter"),
            (r#"{"sink":"s","record":{"kind":"flow"},"document":{"a"}}"#, "can't be read"),
            (r#"{"sink":"s","record":{"kind":"flow"},"document":{}},{}}"#, "can't be read"),
            (r#"{"sink":"s","record":{"kind":"raw"},"document":{}}"#, "of the kind \"raw\""),
            (r#"{"sink":"s","record":{"kind":"flow","time":"now"},"document":{}}"#, "no time"),
            (r#"{"sink":"s","record":{"kind":"flow","id":"\""},"document":{}}"#, "none of ours"),
            (r#"{"sink":"s","record":{"kind":"flow"},"document_base64":"!"}"#, "can't be read"),
        ];
        for (line, expected) in cases {
            let error = read_line(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_one_line_and_is_read_again(
            document in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                any::<String>().prop_map(String::into_bytes),
                "[\\[\\]{}\":0-9,\n\r\\\\]{0,12}".prop_map(String::into_bytes),
                r#"\{"document":(1|"x"|\{"a":\[\]\})\}"#.prop_map(String::into_bytes),
            ],
            reason in prop_oneof![any::<String>(), Just(r#"","document":{}"#.to_owned())],
            sink: String,
        ) {
            let sent = letter(&document);
            let line = write_line(TIME, &sink, &reason, &sent);
            let (end, rest) = line.split_last().unwrap();
            prop_assert!(*end == b'\n' && !rest.contains(&b'\n'));
            let value: Value = serde_json::from_slice(rest).unwrap();
            prop_assert_eq!(&value["reason"], &json!(reason));
            let (to, read) = read_line(&line).unwrap();
            prop_assert_eq!(to, sink);
            prop_assert_eq!((read.kind, read.time, &read.id), (sent.kind, sent.time, &sent.id));
            let is_json = serde_json::from_slice::<IgnoredAny>(&document).is_ok();
            let same = read.document == document
                || is_json && read.document == document.trim_ascii();
            prop_assert!(same, "{:?} became {:?}", document, read.document);
        }

        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
            read_line(&line).unwrap_err();
        }
    }
}
