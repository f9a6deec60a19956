//! How long connections are kept: a name that moved to another address is followed, as each connection
//! is given up now and then, and soon after a refusal. Whoever answers an old address need not be the
//! destination any more.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::StatusCode;
use tokio::time::Instant;

/// How long connections are used before new ones take their place, about.
const LIFETIME: Duration = Duration::from_mins(1);
/// Requests that close the connection they come on, each time: about as many as are in flight.
const CLOSED_AT_ONCE: u32 = 16;

/// Which requests are the last ones on their connections.
#[derive(Debug)]
pub(super) struct Lifetime(Mutex<State>);

#[derive(Debug)]
struct State {
    due: Instant,
    /// How many requests are to close theirs now.
    closing: u32,
}

// === impl Lifetime ===

impl Lifetime {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { due: now + LIFETIME, closing: 0 }))
    }

    /// Whether the request that is sent `now` is the last one on its connection.
    pub(super) fn ends(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= state.due {
            *state = State { due: now + LIFETIME, closing: CLOSED_AT_ONCE };
        }
        let ends = state.closing > 0;
        state.closing = state.closing.saturating_sub(1);
        ends
    }

    /// Takes note of an answer: one that refuses us, rather than what we sent, may come from somebody
    /// else by now.
    pub(super) fn answered(&self, status: StatusCode) {
        let is_about_the_request = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::CONFLICT
        );
        if !status.is_success() && !is_about_the_request {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.closing = state.closing.max(CLOSED_AT_ONCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_by_time_and_after_a_refusal_and_not_otherwise() {
        let begin = Instant::now();
        let lifetime = Lifetime::new(begin);
        let ends = |secs: u64| lifetime.ends(begin + Duration::from_secs(secs));
        let count = |secs: u64| (0..1_000).filter(|_| ends(secs)).count();
        assert_eq!([count(0), count(59), count(60), count(119), count(125)], [0, 0, 16, 0, 16]);
        for status in [200, 201, 400, 409, 413, 429] {
            lifetime.answered(StatusCode::from_u16(status).unwrap());
            assert!(!ends(126), "{status}");
        }
        for status in [301, 401, 403, 404, 421, 500, 502, 503] {
            lifetime.answered(StatusCode::from_u16(status).unwrap());
            assert_eq!(count(126), 16, "{status}");
        }
    }
}
