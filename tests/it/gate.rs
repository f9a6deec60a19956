//! The gate: its program by single packets (`BPF_PROG_TEST_RUN`), against the reference decoder; on a wire; over
//! restarts; as the unit's user; and as a part of the whole.

mod awaited;
mod checked;
mod clsact;
mod contacts;
mod counted;
mod denied;
mod dropped;
mod evidence;
mod flows;
mod followed;
mod forwarded;
mod guard;
mod guarded;
mod health;
mod judged;
mod lab;
pub(crate) mod live;
mod made;
mod mirror;
mod packets;
mod records;
mod reference;
mod restarted;
mod sampled;
mod spared;
mod stalled;
mod steady;
mod traffic;
mod unit;
mod verdicts;
mod whole;

use crate::harness::Case;

/// The gate's cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        awaited::cases(),
        checked::cases(),
        clsact::cases(),
        contacts::cases(),
        counted::cases(),
        denied::cases(),
        dropped::cases(),
        evidence::cases(),
        flows::cases(),
        followed::cases(),
        forwarded::cases(),
        guard::cases(),
        guarded::cases(),
        health::cases(),
        judged::cases(),
        lab::cases(),
        live::cases(),
        mirror::cases(),
        packets::cases(),
        records::cases(),
        reference::cases(),
        restarted::cases(),
        sampled::cases(),
        spared::cases(),
        stalled::cases(),
        steady::cases(),
        traffic::cases(),
        unit::cases(),
        verdicts::cases(),
        whole::cases(),
    ];
    cases.into_iter().flatten().collect()
}
