//! The end of the input, or of a time: all flows end in one order, and attempts that nothing answered have failed.

use std::{collections::HashMap, net::IpAddr};

use super::Shards;
use crate::{
    flow::{clock::Moment, output::Output, table::Table},
    record::{Id, ObservationPoint, Timestamp},
};

/// Attempts of one source that wait for an answer which are no page that loads: as many as a scan takes to be one.
const MANY_ATTEMPTS: u32 = 9;
/// When an unanswered SYN is repeated (RFC 6298 section 2).
const REPEATED_NANOS: u64 = 1_000_000_000;

/// A flow that has yet to be ended, by what its report is ordered by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ending {
    end: Timestamp,
    id: Id,
    shard: usize,
    slot: u32,
}

/// What a source waits for.
#[derive(Debug, Default)]
struct Waiting {
    attempts: u32,
    /// When the first of these attempts was made.
    since: Option<Timestamp>,
    /// One that was made since has been answered.
    is_answered: bool,
}

// === impl Shards ===

impl Shards {
    /// Ends all flows, as the input has ended.
    pub fn drain(&mut self, out: &mut Output) {
        while self.drain_part(usize::MAX, out) {}
    }

    /// Ends the next `most` flows, in the order in which [`drain`](Self::drain) reports all of them;
    /// true if there are more. Until then no packet may come.
    pub fn drain_part(&mut self, most: usize, out: &mut Output) -> bool {
        self.end_part(most, true, out)
    }

    /// The same where packets go on and are only no longer seen: what is open has not failed.
    pub fn stop_part(&mut self, most: usize, out: &mut Output) -> bool {
        self.end_part(most, false, out)
    }

    fn end_part(&mut self, most: usize, is_all: bool, out: &mut Output) -> bool {
        if self.clock.is_holding() {
            self.release(out);
        }
        if self.ending.is_none() {
            self.completed = out.contacts.len();
            self.tell(out);
            if is_all && let Some(now) = self.clock.now() {
                self.give_up(None, Moment { now, number: 0, late: false }, out);
            }
            self.finish(out);
        }
        let moment = self.clock.advance(self.clock.now().unwrap_or_default());
        let tables = &mut self.tables;
        let ending = self.ending.get_or_insert_with(|| {
            let of_shard = |(shard, table): (usize, &Table)| {
                let ending = move |(end, id, slot)| Ending { end, id, shard, slot };
                table.all().map(ending).collect::<Vec<_>>()
            };
            let mut all: Vec<_> = tables.iter().enumerate().flat_map(of_shard).collect();
            all.sort_unstable_by(|one, other| other.cmp(one));
            all
        });
        for Ending { shard, slot, .. } in ending.drain(ending.len().saturating_sub(most)..).rev() {
            tables[shard].force(slot, is_all, moment, out);
        }
        let more = !ending.is_empty();
        if !more {
            self.ending = None;
        }
        more
    }

    /// No answers come any more, to this observation point or, if it is `None`, at all: tells which attempts have failed.
    /// That may be said of one that was repeated in vain (RFC 6298: after a second), and of many that one source made
    /// at once, if none of those since was answered: a page that is cut off while it loads has some that were.
    pub(super) fn give_up(
        &mut self,
        point: Option<ObservationPoint>,
        moment: Moment,
        out: &mut Output,
    ) {
        if !out.wants_contacts {
            return;
        }
        let mut waiting: HashMap<(ObservationPoint, IpAddr), Waiting> = HashMap::new();
        for tried in self.tables.iter().flat_map(|table| table.tried(point)) {
            if tried.is_open {
                let of_source = waiting.entry(tried.source).or_default();
                of_source.attempts += 1;
                of_source.since =
                    of_source.since.map_or(Some(tried.first), |since| Some(since.min(tried.first)));
            }
        }
        for tried in self.tables.iter().flat_map(|table| table.tried(point)) {
            if !tried.is_open
                && let Some(of_source) = waiting.get_mut(&tried.source)
            {
                let is_later = of_source.since.is_some_and(|since| since <= tried.first);
                of_source.is_answered |= is_later;
            }
        }
        for table in &mut self.tables {
            let failed: Vec<_> = table
                .tried(point)
                .filter(|tried| {
                    let is_many = waiting.get(&tried.source).is_some_and(|of_source| {
                        of_source.attempts >= MANY_ATTEMPTS && !of_source.is_answered
                    });
                    let is_old = moment.now.since(tried.came) >= REPEATED_NANOS;
                    tried.is_open && (is_old || is_many)
                })
                .collect();
            for tried in &failed {
                table.fail(tried, moment, out);
            }
        }
    }
}
