//! The answer to `POST /_bulk`: what became of each document.
//!
//! One entry an item, in order; a 200 says nothing about the items. Source: "Bulk API" of the
//! Elasticsearch and OpenSearch references.

use serde::Deserialize;

use super::server_error::ServerError;
use crate::component::{ItemEnd, SendError};

/// What is kept of a server's reason, in characters.
const REASON_CHARS: usize = 1000;
/// The same before credentials are taken out of it, in bytes.
const RAW_REASON_BYTES: usize = 16 << 10;

/// What we ask for. `items.*.error` alone would leave out items that went well, and the entries
/// would no longer stand in the order of what was sent.
pub(super) const FILTER_PATH: &str = "errors,items.*.error,items.*.status,items.*.failure_store";

/// Bytes an answer for so many items may have: 1 MiB, for a proxy's page of errors, to 8 MiB.
pub(super) fn limit(items: usize) -> usize {
    items.saturating_mul(4 << 10).clamp(1 << 20, 8 << 20)
}

/// The answer's items.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    items: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    create: ItemResult,
}

/// An item as it is written; one at a time, for reasons may be long.
#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: ServerError,
    #[serde(default)]
    failure_store: Option<Box<str>>,
}

/// What an item comes to.
#[derive(Debug, Deserialize)]
#[serde(from = "Item")]
struct ItemResult {
    end: ItemEnd,
    /// Whether the server has a document of that id.
    conflict: bool,
    in_failure_store: bool,
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
/// `redact` takes credentials out of what the server says.
///
/// # Errors
/// When it is no answer to that request: whether the documents were taken is not known then.
pub(super) fn read(
    body: &[u8],
    items: usize,
    own_ids: bool,
    redact: impl Fn(String) -> String,
) -> Result<Ends, SendError> {
    let unclear = |reason: String| SendError::Unclear { may_double: true, reason };
    let shown = |reason| redact(reason).chars().take(REASON_CHARS).collect();
    // Such an error may quote the answer.
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| unclear(shown(format!("the answer is no bulk answer: {error}"))))?;
    if answer.items.len() != items {
        let entries = answer.items.len();
        return Err(unclear(format!("the answer has {entries} entries for {items} documents")));
    }
    let end = |ItemResult { end, conflict, .. }| match end {
        _ if conflict && own_ids => ItemEnd::Duplicate,
        ItemEnd::Retry(reason) => ItemEnd::Retry(shown(reason)),
        ItemEnd::Failed(reason) => ItemEnd::Failed(shown(reason)),
        ItemEnd::Refused(reason) => ItemEnd::Refused(shown(reason)),
        end => end,
    };
    Ok(Ends {
        in_failure_store: answer.items.iter().filter(|entry| entry.create.in_failure_store).count(),
        items: answer.items.into_iter().map(|entry| end(entry.create)).collect(),
    })
}

// === impl ItemResult ===

impl From<Item> for ItemResult {
    fn from(Item { status, error, failure_store }: Item) -> Self {
        let reason = || reason(status, &error);
        let end = match status {
            200..=299 => ItemEnd::Delivered,
            // 401 and 403 are about us (a role, a blocked index), and some others about where documents
            // go: none of them about this document.
            401 | 403 | 404 | 429 | 501.. => ItemEnd::Retry(reason()),
            // It may be this document that a pipeline, a script or a shard stumbles over.
            500 => ItemEnd::Failed(reason()),
            300..=499 if error.is_about_the_target() => ItemEnd::Retry(reason()),
            300..=499 => ItemEnd::Refused(reason()),
            0..=199 => ItemEnd::Retry(format!("an item has the status {status}")),
        };
        Self {
            end,
            conflict: status == 409 && error.kind() == Some("version_conflict_engine_exception"),
            in_failure_store: failure_store.as_deref() == Some("used"),
        }
    }
}

/// `status type: reason, caused by type: reason`, as far as they are there.
fn reason(status: u16, error: &ServerError) -> String {
    let text = format!("{status} {error}");
    let mut bytes = 0;
    let kept = text.trim_end().chars().take_while(|char| {
        bytes += char.len_utf8();
        bytes <= RAW_REASON_BYTES
    });
    kept.map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn ends(items: &Value, own_ids: bool) -> Vec<ItemEnd> {
        let count = items.as_array().unwrap().len();
        let body = json!({"errors": true, "items": items}).to_string();
        read(body.as_bytes(), count, own_ids, |text| text).unwrap().items
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
        for status in [401, 403, 404, 429, 502, 503, 504] {
            let retry = ItemEnd::Retry(format!("{status} t: r"));
            assert_eq!(end(status, &error), retry);
        }
        assert_eq!(end(500, &error), ItemEnd::Failed("500 t: r".to_owned()));
        for status in [400, 409, 413] {
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
    fn what_is_wrong_with_the_target_waits_until_it_is_mended() {
        for (status, kind, reason) in [
            (404, "index_not_found_exception", "no such index [x]"),
            (400, "index_closed_exception", "closed"),
            (400, "validation_exception", "Validation Failed: 1: this action would add [2] shards"),
            (400, "illegal_argument_exception", "pipeline with id [x] does not exist"),
        ] {
            let end = end(status, &json!({"type": kind, "reason": reason}));
            assert_eq!(end, ItemEnd::Retry(format!("{status} {kind}: {reason}")));
        }
    }

    #[test]
    fn a_reason_is_redacted_before_it_is_cut() {
        let reason = "x".repeat(REASON_CHARS - 8) + "hunter2-hunter2";
        let item = json!({"create": {"status": 400, "error": {"reason": reason}}});
        let body = json!({"items": [item]}).to_string();
        let redact = |text: String| text.replace("hunter2-hunter2", "(secret)");
        let ends = read(body.as_bytes(), 1, true, redact).unwrap();
        let ItemEnd::Refused(reason) = &ends.items[0] else { panic!("{ends:?}") };
        assert!(!reason.contains("hunter") && reason.chars().count() == REASON_CHARS, "{reason}");

        let odd = r#"{"items":[{"create":{"status":"hunter2-hunter2"}}]}"#;
        let unclear = read(odd.as_bytes(), 1, true, redact).unwrap_err().to_string();
        assert!(unclear.contains("(secret)") && !unclear.contains("hunter"), "{unclear}");
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
        let ends = read(body, 2, true, |text| text).unwrap();
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
            let read = read(body.as_bytes(), 1, true, |text| text);
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
            if let Ok(ends) = read(body.as_bytes(), items, true, |text| text) {
                prop_assert_eq!(ends.items.len(), items);
            }
        }
    }
}
