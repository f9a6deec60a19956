//! The `kafka` sink and the `kafka` source against a real broker.

mod consumers;
mod faults;
mod group;
mod judged;
mod moved;
mod real;
mod together;

use crate::harness::Case;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    let sides = [real::cases(), faults::cases(), together::cases(), consumers::cases()];
    sides.into_iter().chain([group::cases(), judged::cases(), moved::cases()]).flatten().collect()
}
