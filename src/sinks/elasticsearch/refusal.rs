//! A request that was refused as a whole: what becomes of it. `docs/adr/0005` says why.

use std::time::Duration;

use reqwest::StatusCode;

use super::server_error::ServerError;
use crate::component::SendError;

/// What an answer says that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The wait it asks for.
    pub(super) after: Option<Duration>,
    /// What the server itself says; `None` for an answer of something between us and it.
    pub(super) told: Option<ServerError>,
    /// The same in a line.
    pub(super) reason: String,
}

// === impl Refusal ===

impl Refusal {
    /// What it means for the request; `own_ids` if its documents carried ids of ours.
    pub(super) fn means(self, own_ids: bool) -> SendError {
        let Self { status, after, told, reason } = self;
        match status {
            StatusCode::UNAUTHORIZED => {
                SendError::Hold { reason: format!("{reason}; the user or the key is in `auth`") }
            }
            StatusCode::FORBIDDEN => SendError::Hold { reason },
            // It is too much: halves are less, down to the one document that is too large.
            StatusCode::PAYLOAD_TOO_LARGE => SendError::Split { reason },
            StatusCode::BAD_REQUEST => match told {
                // The document that makes it unreadable is found by halving.
                Some(told) if !told.is_about_the_target() => SendError::Split { reason },
                // A proxy refuses how we talk to it, whatever the documents hold.
                _ => SendError::Hold { reason },
            },
            StatusCode::TOO_MANY_REQUESTS => SendError::Busy { after, reason },
            // They don't say how far the request came.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if !own_ids => {
                SendError::Unclear { may_double: true, reason }
            }
            // Nor do these, if they are a proxy's.
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE
                if !own_ids && told.is_none() =>
            {
                SendError::Unclear { may_double: true, reason }
            }
            _ => SendError::Retry { after, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_meaning() {
        let own = r#"{"error":{"type":"parse_exception","reason":"r"},"status":400}"#;
        let target =
            r#"{"error":{"type":"index_closed_exception","reason":"closed"},"status":400}"#;
        let page = "<html>400 No required SSL certificate was sent</html>";
        // By the first letter: Hold, Split, Busy, Retry, Unclear.
        let cases = [
            (401, page, 'H', 'H'),
            (403, own, 'H', 'H'),
            (413, page, 'S', 'S'),
            (400, own, 'S', 'S'),
            (400, target, 'H', 'H'),
            (400, page, 'H', 'H'),
            (400, "", 'H', 'H'),
            (429, page, 'B', 'B'),
            (404, page, 'R', 'R'),
            (302, page, 'R', 'R'),
            (500, own, 'R', 'R'),
            (503, own, 'R', 'R'),
            (500, page, 'R', 'U'),
            (503, page, 'R', 'U'),
            (502, own, 'R', 'U'),
            (504, page, 'R', 'U'),
        ];
        for (status, body, with_own_ids, without) in cases {
            for (own_ids, expected) in [(true, with_own_ids), (false, without)] {
                let refusal = Refusal {
                    status: StatusCode::from_u16(status).unwrap(),
                    after: None,
                    told: ServerError::of_request(body.as_bytes()),
                    reason: String::new(),
                };
                let means = format!("{:?}", refusal.means(own_ids));
                assert!(means.starts_with(expected), "{status} {body}: {means}");
            }
        }
    }
}
