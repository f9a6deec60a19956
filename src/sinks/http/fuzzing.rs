//! What `fuzz/` reaches of this module.

use std::time::Duration;

use super::retry_after;
use crate::record::Timestamp;

/// Reads `text` as a `Retry-After`, and holds the wait to its bounds.
pub fn retry_after(text: &str, now: Timestamp) {
    if let Some(wait) = retry_after::parse(text, now) {
        assert!(!wait.is_zero() && wait <= Duration::from_hours(1), "{wait:?}");
    }
}
