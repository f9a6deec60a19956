//! The answer to `POST /_bulk`: what became of each document.
//!
//! One entry an item, in order; a 200 says nothing about the items. Source: "Bulk API" of the
//! Elasticsearch and OpenSearch references.

use serde::Deserialize;
use serde_json::Value;

use crate::component::{ItemEnd, SendError};

/// What is kept of a server's reason, in characters.
const REASON_CHARS: usize = 1000;

/// What we ask for. `items.*.error` alone would leave out items that went well, and the entries
/// would no longer stand in the order of what was sent.
pub(super) const FILTER_PATH: &str = "errors,items.*.error,items.*.status,items.*.failure_store";

/// Bytes an answer for so many items may have: 1 MiB, for a proxy's page of errors, to 16 MiB.
pub(super) fn limit(items: usize) -> usize {
    items.saturating_mul(4 << 10).clamp(1 << 20, 16 << 20)
}

/// The answer's items.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    items: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    create: Item,
}

#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    failure_store: Option<String>,
}

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Of each item, in order.
    pub(super) items: Vec<ItemEnd>,
    /// Documents the server keeps, but among the failed ones of the data stream.
    pub(super) in_failure_store: usize,
}

/// Whether an answer is, byte for byte, the one that says that each of so many documents was created.
/// What it is not is for [`read`] to understand.
pub(super) fn all_created(body: &[u8], items: usize) -> bool {
    const ENTRY: &[u8] = br#"{"create":{"status":201}}"#;
    let entries = body.strip_prefix(br#"{"errors":false,"items":["#);
    entries.and_then(|entries| entries.strip_suffix(b"]}")).is_some_and(|entries| {
        let created = |entry: &[u8]| matches!(entry.strip_prefix(ENTRY), Some([] | [b',']));
        items > 0
            && entries.len() + 1 == items * (ENTRY.len() + 1)
            && entries.chunks(ENTRY.len() + 1).all(created)
    })
}

/// Reads the answer to a request of so many items; `own_ids` if the documents carried ids of ours.
///
/// # Errors
/// When it is no answer to that request: whether the documents were taken is not known then.
pub(super) fn read(body: &[u8], items: usize, own_ids: bool) -> Result<Ends, SendError> {
    let unclear = |reason: String| SendError::Unclear { reason };
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| unclear(format!("the answer is no bulk answer: {error}")))?;
    if answer.items.len() != items {
        let entries = answer.items.len();
        return Err(unclear(format!("the answer has {entries} entries for {items} documents")));
    }
    let kept = |entry: &&Entry| entry.create.failure_store.as_deref() == Some("used");
    Ok(Ends {
        in_failure_store: answer.items.iter().filter(kept).count(),
        items: answer.items.into_iter().map(|entry| entry.create.end(own_ids)).collect(),
    })
}

// === impl Item ===

impl Item {
    fn end(self, own_ids: bool) -> ItemEnd {
        match self.status {
            200..=299 => ItemEnd::Delivered,
            409 if own_ids && self.kind() == Some("version_conflict_engine_exception") => {
                ItemEnd::Duplicate
            }
            // 401 and 403 are about us (a role, a blocked index), not about the document.
            401 | 403 | 429 | 500.. => ItemEnd::Retry(self.reason()),
            300..=499 => ItemEnd::Refused(self.reason()),
            0..=199 => ItemEnd::Retry(format!("an item has the status {}", self.status)),
        }
    }

    fn kind(&self) -> Option<&str> {
        self.error.as_ref()?.get("type")?.as_str()
    }

    /// `status type: reason: cause`, as far as they are there.
    fn reason(&self) -> String {
        let mut text = self.status.to_string();
        let mut error = self.error.as_ref();
        while let Some(level) = error {
            let words = ["type", "reason"].into_iter().filter_map(|key| level.get(key)?.as_str());
            let plain = level.as_str();
            for (at, word) in words.chain(plain).enumerate() {
                text.push_str(if at == 0 { " " } else { ": " });
                text.push_str(word);
            }
            error = level.get("caused_by");
            if error.is_some() {
                text.push_str(", caused by");
            }
        }
        text.chars()
            .take(REASON_CHARS)
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ends(items: &Value, own_ids: bool) -> Vec<ItemEnd> {
        let count = items.as_array().unwrap().len();
        let body = json!({"errors": true, "items": items}).to_string();
        read(body.as_bytes(), count, own_ids).unwrap().items
    }

    fn end(status: u16, error: &Value) -> ItemEnd {
        let item = json!({"create": {"status": status, "error": error}});
        ends(&json!([item]), true).remove(0)
    }

    #[test]
    fn each_status_has_its_end() {
        let error = json!({"type": "t", "reason": "r"});
        for status in [200, 201] {
            assert_eq!(end(status, &Value::Null), ItemEnd::Delivered, "{status}");
        }
        for status in [401, 403, 429, 500, 502, 503, 504] {
            let retry = ItemEnd::Retry(format!("{status} t: r"));
            assert_eq!(end(status, &error), retry);
        }
        for status in [400, 404, 409, 413] {
            let refused = ItemEnd::Refused(format!("{status} t: r"));
            assert_eq!(end(status, &error), refused);
        }
    }

    #[test]
    fn a_conflict_is_a_duplicate_only_under_our_own_id() {
        let conflict = json!([{"create": {"status": 409, "error": {
            "type": "version_conflict_engine_exception", "reason": "document already exists"}}}]);
        assert_eq!(ends(&conflict, true), [ItemEnd::Duplicate]);
        assert!(matches!(&ends(&conflict, false)[..], [ItemEnd::Refused(_)]));
    }

    #[test]
    fn a_reason_names_the_type_and_the_causes() {
        let error = json!({"type": "document_parsing_exception", "reason": "failed to parse",
            "caused_by": {"type": "illegal_argument_exception", "reason": "'x' is not an IP"}});
        let reason = "400 document_parsing_exception: failed to parse, \
                      caused by illegal_argument_exception: 'x' is not an IP";
        assert_eq!(end(400, &error), ItemEnd::Refused(reason.to_owned()));
        assert_eq!(end(400, &json!("old\nstyle")), ItemEnd::Refused("400 old style".to_owned()));
        assert_eq!(end(400, &Value::Null), ItemEnd::Refused("400".to_owned()));
    }

    #[test]
    fn a_document_in_the_failure_store_is_delivered_and_counted() {
        let body = br#"{"errors":false,"items":[
            {"create":{"status":201,"failure_store":"used"}},
            {"create":{"status":201,"failure_store":"not_applicable_or_unknown"}}]}"#;
        let ends = read(body, 2, true).unwrap();
        assert_eq!(ends.items, [ItemEnd::Delivered, ItemEnd::Delivered]);
        assert_eq!(ends.in_failure_store, 1);
    }

    #[test]
    fn an_answer_to_something_else_leaves_the_fate_unclear() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"items":[]}"#,
            r#"{"items":[{"create":{"status":"201"}}]}"#,
        ] {
            let read = read(body.as_bytes(), 1, true);
            assert!(matches!(read, Err(SendError::Unclear { .. })), "{body}");
        }
    }

    #[test]
    fn only_the_plain_answer_means_that_all_were_created() {
        let created = |statuses: &[u16]| {
            let items: Vec<_> =
                statuses.iter().map(|status| json!({"create": {"status": status}})).collect();
            let body = json!({"errors": false, "items": items}).to_string();
            all_created(body.as_bytes(), 3)
        };
        assert!(created(&[201, 201, 201]));
        for statuses in [&[201, 201][..], &[201; 4], &[201, 429, 201], &[201, 201, 200], &[]] {
            assert!(!created(statuses), "{statuses:?}");
        }
        assert!(!all_created(br#"{"errors":false,"items":[]}"#, 0));
        assert!(!all_created(br#"{"errors":true,"items":[{"create":{"status":201}}]}"#, 1));
        assert!(!all_created(br#"{"errors":false,"items":[{"create":{"status":201}},]}"#, 1));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in ".{0,200}", items in 0_usize..5) {
            if let Ok(ends) = read(body.as_bytes(), items, true) {
                prop_assert_eq!(ends.items.len(), items);
            }
        }
    }
}
