//! The Splunk HEC sink: against a scripted collector that has every fault, and an independent one.

mod faults;
mod real;

use crate::harness::Case;

/// The sink's cases.
pub(crate) fn cases() -> Vec<Case> {
    [faults::cases(), real::cases()].into_iter().flatten().collect()
}
