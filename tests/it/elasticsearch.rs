//! The Elasticsearch sink: against a scripted server that has every fault, and against real ones.

mod accepted;
mod cost;
mod faults;
mod guarded;
mod real;

use crate::harness::Case;

/// The sink's cases.
pub(crate) fn cases() -> Vec<Case> {
    [accepted::cases(), cost::cases(), faults::cases(), guarded::cases(), real::cases()]
        .into_iter()
        .flatten()
        .collect()
}
