//! The Elasticsearch sink: against a scripted server that has every fault, and against real ones.

mod accepted;
mod alerts;
mod faults;
mod guarded;
mod modes;
mod real;
mod setup;
mod upgrade;

use crate::harness::Case;

/// The sink's cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        accepted::cases(),
        alerts::cases(),
        faults::cases(),
        guarded::cases(),
        modes::cases(),
        real::cases(),
        setup::cases(),
        upgrade::cases(),
    ];
    cases.into_iter().flatten().collect()
}
