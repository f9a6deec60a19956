//! Up to where each partition is acknowledged, and how far its event time has come: pure, `now` is passed in.
//!
//! A chunk of a partition is an entry, in their order; it is done when each of its batches is. A partition's
//! position is behind the last entry before which all are done, and that is what is committed: the lowest
//! offset that nobody downstream has acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use crate::{ack::End, record::Timestamp};

/// A partition that brings nothing for so long, in nanoseconds, does not hold event time up.
const IDLE_NANOS: u64 = 10_000_000_000;
/// Records from the future move event time no further than so much, in nanoseconds, beyond the clock.
const AHEAD_NANOS: i64 = 60_000_000_000;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
}

/// Says which entry a batch belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    part: Part,
    term: u64,
    sequence: u64,
}

/// How the offset of a message follows that of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// As it should.
    Next,
    /// So many before it are gone.
    Gap(u64),
    /// It is below what was read: the topic was made anew.
    Anew,
}

/// The partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: BTreeMap<Part, Held>,
    terms: u64,
    watermark: Option<Timestamp>,
}

/// A partition that is ours.
#[derive(Debug)]
struct Held {
    /// Which time it is that we have it: what was read in another counts no more.
    term: u64,
    /// It is about to be somebody else's: nothing more of it is handed on.
    is_closing: bool,
    entries: VecDeque<Entry>,
    /// The sequence of the first entry.
    first: u64,
    /// The offset to be read next, if it is known.
    expected: Option<i64>,
    /// All below is acknowledged.
    position: Option<i64>,
    /// What Kafka has confirmed of that.
    committed: Option<i64>,
    time: Option<Timestamp>,
    /// When it brought something last, or became ours.
    active: Timestamp,
}

/// A chunk that was handed on.
#[derive(Debug)]
struct Entry {
    /// The offset behind it.
    next: i64,
    /// Batches that are not done.
    open: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

// === impl Ledger ===

impl Ledger {
    /// A partition is ours from now on; the group has committed this offset of it.
    pub(super) fn assign(&mut self, part: Part, committed: Option<i64>, now: Timestamp) {
        self.terms += 1;
        let held = Held {
            term: self.terms,
            is_closing: false,
            entries: VecDeque::new(),
            first: 0,
            expected: committed,
            position: None,
            committed,
            time: None,
            active: now,
        };
        self.held.insert(part, held);
    }

    /// Which time it is that the partition is ours, if it is.
    pub(super) fn term(&self, part: &Part) -> Option<u64> {
        self.held.get(part).map(|held| held.term)
    }

    /// The partitions that are ours.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.held.keys().cloned().collect()
    }

    /// A message of this offset was read, of a partition that is ours.
    pub(super) fn read(&mut self, part: &Part, offset: i64, now: Timestamp) -> Option<Step> {
        let held = self.held.get_mut(part)?;
        let step = match held.expected.replace(offset + 1) {
            Some(expected) if offset < expected => Step::Anew,
            Some(expected) if offset > expected => Step::Gap(offset.abs_diff(expected)),
            _ => Step::Next,
        };
        held.active = now;
        Some(step)
    }

    /// The latest time of what was read of a partition.
    pub(super) fn reached(&mut self, part: &Part, time: Timestamp, now: Timestamp) {
        let most = Timestamp::from_nanos(now.nanos().saturating_add(AHEAD_NANOS));
        if let Some(held) = self.held.get_mut(part) {
            held.time = held.time.max(Some(time.min(most)));
        }
    }

    /// How far event time has come: in the partition furthest behind, of those that bring something. It
    /// never goes back.
    pub(super) fn watermark(&mut self, now: Timestamp) -> Option<Timestamp> {
        let active = self.held.values().filter(|held| now.since(held.active) < IDLE_NANOS);
        // One that has brought nothing yet holds the others up.
        let lowest = active.map(|held| held.time).min().flatten();
        self.watermark = self.watermark.max(lowest);
        self.watermark
    }

    /// A chunk is handed on as so many batches, `next` being the offset behind it. `None` if the partition
    /// is no longer ours, or is about to be somebody else's: then it is not handed on.
    pub(super) fn begin(
        &mut self,
        part: &Part,
        term: u64,
        next: i64,
        batches: usize,
    ) -> Option<Ticket> {
        let held = self.held.get_mut(part).filter(|held| held.term == term && !held.is_closing)?;
        let sequence = held.first + held.entries.len() as u64;
        held.entries.push_back(Entry { next, open: batches });
        held.advance();
        Some(Ticket { part: part.clone(), term, sequence })
    }

    /// A batch of a chunk has ended. What is lost is never acknowledged.
    pub(super) fn settle(&mut self, ticket: &Ticket, end: End) {
        let held = self.held.get_mut(&ticket.part).filter(|held| held.term == ticket.term);
        let Some(held) = held.filter(|_| end != End::Lost) else { return };
        let at = ticket.sequence.checked_sub(held.first).and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| held.entries.get_mut(at)) {
            entry.open = entry.open.saturating_sub(1);
            held.advance();
        }
    }

    /// Nothing more is handed on of these.
    pub(super) fn close(&mut self, parts: &[Part]) {
        for part in parts {
            if let Some(held) = self.held.get_mut(part) {
                held.is_closing = true;
            }
        }
    }

    /// Chunks of these that were handed on and are not acknowledged.
    pub(super) fn pending(&self, parts: &[Part]) -> usize {
        let held = parts.iter().filter_map(|part| self.held.get(part));
        held.map(|held| held.entries.len()).sum()
    }

    /// What of these is acknowledged and not known to be committed.
    pub(super) fn to_commit(&self, parts: &[Part]) -> Vec<(Part, i64)> {
        let position = |part: &Part| {
            let held = self.held.get(part)?;
            let position = held.position.filter(|_| held.position != held.committed)?;
            Some((part.clone(), position))
        };
        parts.iter().filter_map(position).collect()
    }

    /// Kafka has this offset.
    pub(super) fn committed(&mut self, part: &Part, offset: i64) {
        if let Some(held) = self.held.get_mut(part) {
            held.committed = Some(offset);
        }
    }

    /// The offset of a partition below which all is acknowledged, as far as it is known.
    pub(super) fn position(&self, part: &Part) -> Option<i64> {
        let held = self.held.get(part)?;
        held.position.or(held.committed)
    }

    /// These are no longer ours.
    pub(super) fn release(&mut self, parts: &[Part]) {
        for part in parts {
            self.held.remove(part);
        }
    }
}

// === impl Held ===

impl Held {
    /// Takes away the entries that are done, from the first on.
    fn advance(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.open == 0) {
            self.position = self.entries.pop_front().map(|entry| entry.next);
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn part(number: i32) -> Part {
        Part { topic: "flows".into(), number }
    }

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assign(part(0), Some(100), at(0));
        ledger
    }

    fn begin(ledger: &mut Ledger, next: i64, batches: usize) -> Ticket {
        let term = ledger.term(&part(0)).unwrap();
        ledger.begin(&part(0), term, next, batches).unwrap()
    }

    #[test]
    fn only_what_is_done_from_the_first_on_is_committed() {
        let mut ledger = ledger();
        let [first, second, third] = [110, 120, 130].map(|next| begin(&mut ledger, next, 2));
        for ticket in [&second, &second, &first] {
            ledger.settle(ticket, End::Delivered);
        }
        assert_eq!(ledger.to_commit(&[part(0)]), []);
        ledger.settle(&first, End::Dropped);
        assert_eq!(ledger.to_commit(&[part(0)]), [(part(0), 120)]);
        ledger.committed(&part(0), 120);
        assert_eq!(ledger.to_commit(&[part(0)]), []);
        ledger.settle(&third, End::DeadLettered);
        assert_eq!((ledger.to_commit(&[part(0)]), ledger.pending(&[part(0)])), (vec![], 1));
        ledger.settle(&third, End::Delivered);
        assert_eq!(ledger.to_commit(&[part(0)]), [(part(0), 130)]);
        assert_eq!(ledger.pending(&[part(0)]), 0);
    }

    #[test]
    fn a_chunk_of_which_nothing_was_handed_on_is_done_at_once() {
        let mut ledger = ledger();
        begin(&mut ledger, 101, 0);
        assert_eq!(ledger.to_commit(&[part(0)]), [(part(0), 101)]);
    }

    #[test]
    fn what_is_lost_is_never_committed_nor_what_is_behind_it() {
        let mut ledger = ledger();
        let [first, second] = [110, 120].map(|next| begin(&mut ledger, next, 1));
        ledger.settle(&first, End::Lost);
        ledger.settle(&second, End::Delivered);
        assert_eq!((ledger.to_commit(&[part(0)]), ledger.pending(&[part(0)])), (vec![], 2));
    }

    #[test]
    fn what_was_read_before_a_partition_came_back_counts_no_more() {
        let mut ledger = ledger();
        let old = begin(&mut ledger, 110, 1);
        let term = ledger.term(&part(0)).unwrap();
        ledger.close(&[part(0)]);
        assert_eq!(ledger.begin(&part(0), term, 120, 1), None);
        ledger.release(&[part(0)]);
        assert_eq!(ledger.begin(&part(0), term, 120, 1), None);
        assert_eq!(ledger.read(&part(0), 110, at(1)), None);
        ledger.assign(part(0), Some(100), at(1));
        assert_eq!(ledger.begin(&part(0), term, 120, 1), None);
        let new = begin(&mut ledger, 105, 1);
        ledger.settle(&old, End::Delivered);
        assert_eq!(ledger.to_commit(&[part(0)]), []);
        ledger.settle(&new, End::Delivered);
        assert_eq!(ledger.to_commit(&[part(0)]), [(part(0), 105)]);
    }

    #[test]
    fn a_gap_is_told_with_its_size_and_a_topic_that_begins_anew_too() {
        let mut ledger = ledger();
        let read = |ledger: &mut Ledger, offset| ledger.read(&part(0), offset, at(0)).unwrap();
        assert_eq!(read(&mut ledger, 105), Step::Gap(5));
        assert_eq!(read(&mut ledger, 106), Step::Next);
        assert_eq!(read(&mut ledger, 0), Step::Anew);
        assert_eq!(read(&mut ledger, 1), Step::Next);
        // Of a partition that the group has never read nobody knows.
        ledger.assign(part(1), None, at(0));
        assert_eq!(ledger.read(&part(1), 70, at(0)), Some(Step::Next));
    }

    #[test]
    fn event_time_is_that_of_the_partition_furthest_behind_that_brings_something() {
        let mut ledger = ledger();
        ledger.assign(part(1), None, at(0));
        ledger.reached(&part(0), at(500), at(1_000));
        // The other one may bring something earlier still.
        assert_eq!(ledger.watermark(at(1)), None);
        ledger.reached(&part(1), at(300), at(1_000));
        assert_eq!(ledger.watermark(at(1)), Some(at(300)));
        ledger.read(&part(0), 100, at(9));
        assert_eq!(ledger.watermark(at(9)), Some(at(300)));
        assert_eq!(ledger.watermark(at(10)), Some(at(500)), "the other one is idle");
        ledger.read(&part(1), 0, at(11));
        assert_eq!(ledger.watermark(at(11)), Some(at(500)), "it never goes back");
        assert_eq!(ledger.watermark(at(90)), Some(at(500)), "all are idle");
    }

    #[test]
    fn records_from_the_future_move_time_by_a_minute_at_most() {
        let mut ledger = ledger();
        ledger.reached(&part(0), Timestamp::from_nanos(i64::MAX), at(1_000));
        assert_eq!(ledger.watermark(at(1)), Some(at(1_060)));
    }

    proptest! {
        #[test]
        fn whatever_the_order_what_is_committed_is_the_lowest_that_is_not_done(
            ends in prop::collection::vec((0_usize..20, 0_u8..4), 0..60),
        ) {
            let mut ledger = ledger();
            let tickets: Vec<_> = (1..=20).map(|n| begin(&mut ledger, 100 + n, 1)).collect();
            let mut done = BTreeSet::new();
            for (at, end) in ends {
                let end = End::ALL[usize::from(end)];
                ledger.settle(&tickets[at], end);
                if end != End::Lost {
                    done.insert(at);
                }
                let lowest = (0..20).find(|at| !done.contains(at)).unwrap_or(20);
                let expected = (lowest > 0).then(|| 100 + i64::try_from(lowest).unwrap());
                let position = ledger.to_commit(&[part(0)]).first().map(|(_, offset)| *offset);
                prop_assert_eq!(position, expected);
            }
        }
    }
}
