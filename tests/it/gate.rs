//! The gate: its program by single packets (`BPF_PROG_TEST_RUN`), against the reference decoder; on a wire; over
//! restarts; and as the unit's user.

mod contacts;
mod evidence;
mod forwarded;
mod judged;
mod live;
mod made;
mod records;
mod reference;
mod steady;
mod traffic;
mod unit;
mod verdicts;

use crate::harness::Case;

/// The gate's cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        contacts::cases(),
        evidence::cases(),
        forwarded::cases(),
        judged::cases(),
        live::cases(),
        records::cases(),
        reference::cases(),
        steady::cases(),
        traffic::cases(),
        unit::cases(),
        verdicts::cases(),
    ];
    cases.into_iter().flatten().collect()
}
