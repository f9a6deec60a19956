//! Who may run beside whom. Most cases wait more than they compute: many of them run at once. Those
//! that keep a processor busy run two at a time beside them, those that watch a live capture only
//! beside their like, and those that measure alone.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, PoisonError},
};

use super::Case;

/// Cases that run at once, where the command line does not say otherwise.
pub(crate) const AT_ONCE: usize = 8;
/// Cases that keep a processor busy, at once.
const BUSY_AT_ONCE: usize = 2;
/// Live captures at once.
const LIVE_AT_ONCE: usize = 3;

/// What a case asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// It waits, for servers and for time.
    Waits,
    /// It keeps a processor busy, for seconds at least.
    Busy,
    /// It captures live, and has an eye on when things happen.
    Live,
    /// It measures, or fills the machine.
    Alone,
}

/// The cases that run, by their loads.
#[derive(Debug, Default)]
struct Running {
    waits: usize,
    busy: usize,
    live: usize,
    alone: usize,
    /// Those that wait to be alone: nobody goes before them.
    to_be_alone: usize,
}

/// A place on the machine, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Load);

static RUNNING: Mutex<Running> =
    Mutex::new(Running { waits: 0, busy: 0, live: 0, alone: 0, to_be_alone: 0 });
static FREED: Condvar = Condvar::new();

/// Waits for a place.
pub(crate) fn enter(load: Load) -> Place {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let to_be_alone = usize::from(load == Load::Alone);
    running.to_be_alone += to_be_alone;
    let mut running = FREED
        .wait_while(running, |running| !running.has_room_for(load))
        .unwrap_or_else(PoisonError::into_inner);
    running.to_be_alone -= to_be_alone;
    *running.of(load) += 1;
    Place(load)
}

/// The order to play cases in: those that measure while this process has no memory of others to use
/// again; then those that wait and those that compute, mixed evenly, so that neither is left for the
/// end, and of those that wait one of each module after the other, so that servers start at once and few
/// cases wait for the same one; then live captures.
pub(crate) fn order(cases: Vec<Case>) -> Vec<Case> {
    let [mut waiting, mut busy, mut live, mut alone] = [const { Vec::new() }; 4];
    for case in cases {
        match case.load() {
            Load::Waits => waiting.push(case),
            Load::Busy => busy.push(case),
            Load::Live => live.push(case),
            Load::Alone => alone.push(case),
        }
    }
    let (all_waiting, all_busy) = (waiting.len(), busy.len());
    let (mut waiting, mut busy) = (by_turns(waiting).into_iter(), busy.into_iter());
    let mut ordered = Vec::new();
    while ordered.len() < all_waiting + all_busy {
        let is_behind = busy.len() * all_waiting >= waiting.len() * all_busy;
        let next = if is_behind { busy.next() } else { None };
        ordered.extend(next.or_else(|| waiting.next()));
    }
    alone.into_iter().chain(ordered).chain(live).collect()
}

/// The first case of each module, then the second of each, and so on.
fn by_turns(cases: Vec<Case>) -> Vec<Case> {
    let mut turns = BTreeMap::<String, usize>::new();
    let turn = |case: Case| {
        let turn = turns.entry(case.module().to_owned()).or_default();
        *turn += 1;
        (*turn, case)
    };
    let mut cases: Vec<_> = cases.into_iter().map(turn).collect();
    cases.sort_by_key(|(turn, _)| *turn);
    cases.into_iter().map(|(_, case)| case).collect()
}

// === impl Running ===

impl Running {
    fn has_room_for(&self, load: Load) -> bool {
        let (measured, live) = (self.alone + self.to_be_alone > 0, self.live > 0);
        match load {
            Load::Waits => !measured && !live,
            Load::Busy => !measured && !live && self.busy < BUSY_AT_ONCE,
            Load::Live => !measured && self.waits + self.busy == 0 && self.live < LIVE_AT_ONCE,
            Load::Alone => self.waits + self.busy + self.live + self.alone == 0,
        }
    }

    fn of(&mut self, load: Load) -> &mut usize {
        match load {
            Load::Waits => &mut self.waits,
            Load::Busy => &mut self.busy,
            Load::Live => &mut self.live,
            Load::Alone => &mut self.alone,
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner).of(self.0) -= 1;
        FREED.notify_all();
    }
}
