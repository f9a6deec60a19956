//! The Elasticsearch sink: against a scripted server that has every fault, and against real ones.

mod accepted;
mod faults;
mod guarded;
mod real;

use crate::harness::Case;

/// The sink's cases.
pub(crate) fn cases() -> Vec<Case> {
    [accepted::cases(), faults::cases(), guarded::cases(), real::cases()]
        .into_iter()
        .flatten()
        .collect()
}
