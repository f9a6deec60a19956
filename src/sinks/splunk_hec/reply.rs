//! The collector's answers. Source: "HTTP Event Collector: troubleshoot, possible error codes" of
//! Splunk's documentation.

use reqwest::StatusCode;
use serde::Deserialize;

use crate::sinks::http::Answer;

/// The body of an answer.
#[derive(Debug, Deserialize)]
struct Reply {
    code: u32,
    #[serde(rename = "ackId", default)]
    ack_id: Option<u64>,
    #[serde(rename = "invalid-event-number", default)]
    invalid_event: Option<usize>,
}

/// What an answer means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It was taken; the indexers have it once the id says so. `full`: slow down.
    Taken { ack_id: Option<u64>, full: bool },
    /// The event at this place can't be read: those before it were taken, those behind it not.
    Refused { at: usize },
    /// Some event can't be read, or all are too much: halving finds out.
    Halve,
    /// The token or the index is wrong, the events are not.
    RefusesUs,
    /// The channel header is missing or not to its taste.
    WrongChannel,
    /// The token has acknowledgements off.
    NoAcks,
    /// It was not taken: later.
    Later,
    /// It may have been taken.
    Unclear,
}

/// What an answer means.
pub(super) fn meaning(answer: &Answer) -> Meaning {
    let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) else {
        return of_status(answer.status);
    };
    let ok = answer.status == StatusCode::OK;
    match reply.code {
        0 if ok => Meaning::Taken { ack_id: reply.ack_id, full: false },
        24 | 25 if ok => Meaning::Taken { ack_id: reply.ack_id, full: true },
        1..=4 | 7 | 16 | 21 | 22 => Meaning::RefusesUs,
        5 | 6 | 12 | 13 | 15 => {
            reply.invalid_event.map_or(Meaning::Halve, |at| Meaning::Refused { at })
        }
        8 | 9 | 18..=20 | 23 | 26 | 27 => Meaning::Later,
        10 | 11 | 28 => Meaning::WrongChannel,
        14 => Meaning::NoAcks,
        _ => of_status(answer.status),
    }
}

/// An answer without a code we know: of a proxy, or of another kind of collector.
fn of_status(status: StatusCode) -> Meaning {
    match status.as_u16() {
        // A gateway's 502 and 504 don't say how far the request came.
        200..=299 | 502 | 504 => Meaning::Unclear,
        401 | 403 => Meaning::RefusesUs,
        400 | 413 => Meaning::Halve,
        _ => Meaning::Later,
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
        let taken = |full| Meaning::Taken { ack_id: None, full };
        let table: &[(u32, u16, Meaning)] = &[
            (0, 200, taken(false)),
            (1, 403, Meaning::RefusesUs),
            (2, 401, Meaning::RefusesUs),
            (3, 401, Meaning::RefusesUs),
            (4, 403, Meaning::RefusesUs),
            (5, 400, Meaning::Halve),
            (6, 400, Meaning::Halve),
            (7, 400, Meaning::RefusesUs),
            (8, 500, Meaning::Later),
            (9, 503, Meaning::Later),
            (10, 400, Meaning::WrongChannel),
            (11, 400, Meaning::WrongChannel),
            (12, 400, Meaning::Halve),
            (13, 400, Meaning::Halve),
            (14, 400, Meaning::NoAcks),
            (15, 400, Meaning::Halve),
            (16, 400, Meaning::RefusesUs),
            (17, 200, Meaning::Unclear),
            (18, 503, Meaning::Later),
            (19, 503, Meaning::Later),
            (20, 503, Meaning::Later),
            (21, 400, Meaning::RefusesUs),
            (22, 400, Meaning::RefusesUs),
            (23, 503, Meaning::Later),
            (24, 200, taken(true)),
            (25, 200, taken(true)),
            (26, 429, Meaning::Later),
            (27, 429, Meaning::Later),
            (28, 400, Meaning::WrongChannel),
        ];
        for (code, status, meaning) in table {
            assert_eq!(coded(*status, *code), *meaning, "code {code}");
        }
    }

    #[test]
    fn the_place_of_a_bad_event_is_read() {
        let body = r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#;
        assert_eq!(of(400, body), Meaning::Refused { at: 3 });
    }

    #[test]
    fn the_id_of_an_acknowledgement_is_read() {
        let body = r#"{"text":"Success","code":0,"ackId":7}"#;
        assert_eq!(of(200, body), Meaning::Taken { ack_id: Some(7), full: false });
    }

    #[test]
    fn an_answer_without_a_code_means_what_its_status_says() {
        let table = [
            (200, Meaning::Unclear),
            (302, Meaning::Later),
            (400, Meaning::Halve),
            (401, Meaning::RefusesUs),
            (403, Meaning::RefusesUs),
            (404, Meaning::Later),
            (413, Meaning::Halve),
            (429, Meaning::Later),
            (500, Meaning::Later),
            (502, Meaning::Unclear),
            (503, Meaning::Later),
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
        assert_eq!(coded(503, 0), Meaning::Later);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100_u16..600, body in ".{0,100}") {
            of(status, &body);
        }
    }
}
