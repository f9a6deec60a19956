//! The collector's answers. Source: "HTTP Event Collector: troubleshoot, possible error codes" of
//! Splunk's documentation.
//!
//! Only the code is insisted on: a collector of another make that writes a number in its own way has
//! taken the events all the same.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sinks::http::Answer;

/// The codes that are documented.
const CODES: std::ops::RangeInclusive<u32> = 0..=28;

/// The body of an answer to events.
#[derive(Debug, Deserialize)]
struct Reply {
    code: u32,
    #[serde(rename = "ackId", default)]
    ack_id: Option<Value>,
    #[serde(rename = "invalid-event-number", default)]
    invalid_event: Option<Value>,
}

/// The body of an answer to a question for acknowledgements.
#[derive(Debug, Deserialize)]
pub(super) struct Statuses {
    acks: Map<String, Value>,
}

/// The id to ask for a request by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckId {
    /// There is none.
    Absent,
    /// This one.
    Given(u64),
    /// There is one, and it is no number.
    Unreadable,
}

/// What an answer means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was taken; the indexers have it once the id says so. `full`: slow down.
    Taken { ack_id: AckId, full: bool },
    /// The event at this place can't be read: those before it were taken, those behind it not.
    /// Without a place nobody knows which.
    Refused { at: Option<usize> },
    /// It is too large; nothing of it was taken.
    TooLarge,
    /// The token or the index is wrong, the events are not.
    RefusesUs,
    /// The channel header is missing or not to its taste.
    WrongChannel,
    /// The token has acknowledgements off.
    NoAcks,
    /// Later: no more than so many events at the beginning were taken.
    Later { taken: usize },
    /// It may have been taken.
    Unclear,
    /// All is well, says something that is no collector; it may have been taken.
    Foreign,
}

/// What an answer means.
pub(super) fn meaning(answer: &Answer) -> Meaning {
    let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) else {
        return of_status(answer.status);
    };
    let ok = answer.status == StatusCode::OK;
    match reply.code {
        0 if ok => Meaning::Taken { ack_id: reply.ack_id(), full: false },
        24 | 25 if ok => Meaning::Taken { ack_id: reply.ack_id(), full: true },
        1..=4 | 7 | 16 | 21 | 22 => Meaning::RefusesUs,
        5 | 6 | 12 | 13 | 15 => Meaning::Refused { at: reply.invalid_event() },
        8 | 9 | 18..=20 | 23 | 26 | 27 => {
            Meaning::Later { taken: reply.invalid_event().unwrap_or(0) }
        }
        10 | 11 | 28 => Meaning::WrongChannel,
        14 => Meaning::NoAcks,
        _ => of_status(answer.status),
    }
}

/// An answer without a code we know: of a proxy, or of another kind of collector.
fn of_status(status: StatusCode) -> Meaning {
    match status.as_u16() {
        200..=299 => Meaning::Foreign,
        // They don't say how far the request came.
        502 | 504 => Meaning::Unclear,
        // A 400 without a code is not about an event: halving would refuse one after the other.
        400 | 401 | 403 => Meaning::RefusesUs,
        413 => Meaning::TooLarge,
        _ => Meaning::Later { taken: 0 },
    }
}

/// Whether it is a collector that answers.
pub(super) fn is_of_a_collector(answer: &Answer) -> bool {
    let reply = serde_json::from_slice::<Reply>(&answer.body);
    reply.is_ok_and(|reply| CODES.contains(&reply.code))
}

/// A whole number, also as `7.0` or `"7"`.
fn number(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    text.strip_suffix(".0").unwrap_or(&text).parse().ok()
}

// === impl Reply ===

impl Reply {
    fn ack_id(&self) -> AckId {
        match &self.ack_id {
            None => AckId::Absent,
            Some(value) => number(value).map_or(AckId::Unreadable, AckId::Given),
        }
    }

    fn invalid_event(&self) -> Option<usize> {
        number(self.invalid_event.as_ref()?)?.try_into().ok()
    }
}

// === impl Statuses ===

impl Statuses {
    /// Whether the request under this id is confirmed. Nothing but `true` confirms it.
    pub(super) fn confirm(&self, id: u64) -> bool {
        self.acks.get(&id.to_string()) == Some(&Value::Bool(true))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: &str) -> Meaning {
        let status = StatusCode::from_u16(status).unwrap();
        meaning(&Answer { status, after: None, body: body.as_bytes().to_vec() })
    }

    fn coded(status: u16, code: u32) -> Meaning {
        of(status, &json!({"text": "as documented", "code": code}).to_string())
    }

    #[test]
    fn every_documented_code_has_its_meaning() {
        let taken = |full| Meaning::Taken { ack_id: AckId::Absent, full };
        let (refused, later) = (Meaning::Refused { at: None }, Meaning::Later { taken: 0 });
        let table: &[(u32, u16, Meaning)] = &[
            (0, 200, taken(false)),
            (1, 403, Meaning::RefusesUs),
            (2, 401, Meaning::RefusesUs),
            (3, 401, Meaning::RefusesUs),
            (4, 403, Meaning::RefusesUs),
            (5, 400, refused),
            (6, 400, refused),
            (7, 400, Meaning::RefusesUs),
            (8, 500, later),
            (9, 503, later),
            (10, 400, Meaning::WrongChannel),
            (11, 400, Meaning::WrongChannel),
            (12, 400, refused),
            (13, 400, refused),
            (14, 400, Meaning::NoAcks),
            (15, 400, refused),
            (16, 400, Meaning::RefusesUs),
            (17, 200, Meaning::Foreign),
            (18, 503, later),
            (19, 503, later),
            (20, 503, later),
            (21, 400, Meaning::RefusesUs),
            (22, 400, Meaning::RefusesUs),
            (23, 503, later),
            (24, 200, taken(true)),
            (25, 200, taken(true)),
            (26, 429, later),
            (27, 429, later),
            (28, 400, Meaning::WrongChannel),
        ];
        for (code, status, meaning) in table {
            assert_eq!(coded(*status, *code), *meaning, "code {code}");
        }
    }

    #[test]
    fn the_place_of_a_bad_event_is_read() {
        let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#;
        assert_eq!(of(400, body), Meaning::Refused { at: Some(3) });
    }

    #[test]
    fn a_busy_collector_may_have_taken_the_beginning() {
        let body = r#"{"text":"Server is busy","code":9,"invalid-event-number":3}"#;
        assert_eq!(of(503, body), Meaning::Later { taken: 3 });
    }

    #[test]
    fn the_id_of_an_acknowledgement_is_read() {
        let body = r#"{"text":"Success","code":0,"ackId":7}"#;
        assert_eq!(of(200, body), Meaning::Taken { ack_id: AckId::Given(7), full: false });
    }

    #[test]
    fn a_number_is_read_however_it_is_written() {
        let table = [
            (json!("7"), AckId::Given(7)),
            (json!(7.0), AckId::Given(7)),
            (json!(u64::MAX), AckId::Given(u64::MAX)),
            (json!(-1), AckId::Unreadable),
            (json!(7.5), AckId::Unreadable),
            (json!([7]), AckId::Unreadable),
            (json!(""), AckId::Unreadable),
            (json!(null), AckId::Absent),
        ];
        for (value, ack_id) in table {
            let taken = json!({"code": 0, "ackId": value}).to_string();
            assert_eq!(of(200, &taken), Meaning::Taken { ack_id, full: false }, "{value}");
            let refused = json!({"code": 6, "invalid-event-number": value}).to_string();
            let at = match ack_id {
                AckId::Given(number) => usize::try_from(number).ok(),
                AckId::Absent | AckId::Unreadable => None,
            };
            assert_eq!(of(400, &refused), Meaning::Refused { at }, "{value}");
        }
    }

    #[test]
    fn nothing_but_true_confirms() {
        let answer = json!({"acks": {"0": true, "1": false, "2": "true", "3": 1, "four": true}});
        let statuses: Statuses = serde_json::from_value(answer).unwrap();
        let confirmed: Vec<_> = (0..9).filter(|id| statuses.confirm(*id)).collect();
        assert_eq!(confirmed, [0]);
    }

    #[test]
    fn a_collector_is_known_by_its_codes() {
        let table = [
            (r#"{"text":"No data","code":5}"#, true),
            (r#"{"code":99}"#, false),
            ("", false),
            ("<html>", false),
        ];
        for (body, is_collector) in table {
            let answer =
                Answer { status: StatusCode::OK, after: None, body: body.as_bytes().to_vec() };
            assert_eq!(is_of_a_collector(&answer), is_collector, "{body}");
        }
    }

    #[test]
    fn an_answer_without_a_code_means_what_its_status_says() {
        let later = Meaning::Later { taken: 0 };
        let table = [
            (200, Meaning::Foreign),
            (204, Meaning::Foreign),
            (302, later),
            (400, Meaning::RefusesUs),
            (401, Meaning::RefusesUs),
            (403, Meaning::RefusesUs),
            (404, later),
            (413, Meaning::TooLarge),
            (429, later),
            (500, later),
            (502, Meaning::Unclear),
            (503, later),
            (504, Meaning::Unclear),
        ];
        for (status, meaning) in table {
            for body in ["", "<html>", "{}", r#"{"code":"0"}"#, r#"{"code":99}"#] {
                assert_eq!(of(status, body), meaning, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_good_code_under_a_bad_status_is_no_success() {
        assert_eq!(coded(503, 0), Meaning::Later { taken: 0 });
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100_u16..600, body in ".{0,100}") {
            of(status, &body);
        }
    }
}
