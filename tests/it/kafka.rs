//! The `kafka` sink and the `kafka` source against a real broker.

mod consumers;
mod faults;
mod real;
mod together;

use crate::harness::Case;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    [real::cases(), faults::cases(), together::cases(), consumers::cases()]
        .into_iter()
        .flatten()
        .collect()
}
