//! What `fuzz/` reaches of this module.

use reqwest::StatusCode;

use super::reply::{Meaning, Statuses, meaning};
use crate::sinks::http::Answer;

/// Reads `body` as the answer to a request, under a status, and as that to a question for
/// acknowledgements.
pub fn answer(status: u16, body: &[u8]) {
    if let Ok(status) = StatusCode::from_u16(status) {
        let meaning = meaning(&Answer { status, after: None, body: body.to_vec() });
        let is_taken = matches!(meaning, Meaning::Taken { .. });
        assert!(!is_taken || status == StatusCode::OK, "{status} means {meaning:?}");
    }
    if let Ok(statuses) = serde_json::from_slice::<Statuses>(body) {
        statuses.confirm(0);
    }
}
