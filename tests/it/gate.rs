//! The gate: its program by single packets (`BPF_PROG_TEST_RUN`), against the reference decoder.

mod contacts;
mod evidence;
mod live;
mod made;
mod reference;
mod verdicts;

use crate::harness::Case;

/// The gate's cases.
pub(crate) fn cases() -> Vec<Case> {
    [contacts::cases(), evidence::cases(), live::cases(), reference::cases(), verdicts::cases()]
        .into_iter()
        .flatten()
        .collect()
}
