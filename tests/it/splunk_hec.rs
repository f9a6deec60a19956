//! The Splunk HEC sink: against a scripted collector that has every fault, and an independent one.

mod collector;
mod faults;
mod real;
mod requests;

use crate::harness::Case;

/// The sink's cases.
pub(crate) fn cases() -> Vec<Case> {
    [faults::cases(), requests::cases(), real::cases()].into_iter().flatten().collect()
}
