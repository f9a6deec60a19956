//! The `kafka` sink against a real broker.

mod faults;
mod real;
mod together;

use crate::harness::Case;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    [real::cases(), faults::cases(), together::cases()].into_iter().flatten().collect()
}
