//! Segments that dumpcap closed and no tshark has read: what lies between them, in order, and which
//! of them go where there are too many.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::record::Timestamp;

/// A thing to do, in the order of the capture.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sources::tshark) enum Item {
    /// A capturer was started.
    Begin(u32),
    /// It closed this segment.
    Segment(Segment),
    /// It had closed a segment of so many packets, which was shed.
    Shed(u64),
    /// All packets captured before this time are in segments before.
    Reached(Timestamp),
    /// It ended; it captured so many packets, if it came to say so.
    End(Option<u64>),
}

/// A closed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources::tshark) struct Segment {
    /// Where it is.
    pub(in crate::sources::tshark) path: PathBuf,
    /// Its size.
    pub(in crate::sources::tshark) bytes: u64,
    /// The capturer was killed while it wrote this, so the last packet may be cut.
    pub(in crate::sources::tshark) may_be_cut: bool,
}

/// The queue between the capturer and the readers: bounded by the disk budget, for the capturer sheds
/// what goes beyond.
#[derive(Debug, Default)]
pub(in crate::sources::tshark) struct Backlog {
    state: Mutex<State>,
    change: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    queued_bytes: u64,
    reading_bytes: u64,
    ended: bool,
}

// === impl Backlog ===

impl Backlog {
    /// Appends `item`.
    pub(in crate::sources::tshark) fn push(&self, item: Item) {
        let mut state = self.state();
        if let Item::Segment(segment) = &item {
            state.queued_bytes += segment.bytes;
        }
        if let (Item::Reached(_), Some(Item::Reached(_))) = (&item, state.items.back()) {
            state.items.pop_back();
        }
        state.items.push_back(item);
        drop(state);
        self.change.notify_one();
    }

    /// Nothing will be appended any more.
    pub(in crate::sources::tshark) fn end(&self) {
        self.state().ended = true;
        self.change.notify_one();
    }

    /// The next item, once there is one; `None` after the last.
    pub(in crate::sources::tshark) async fn next(&self) -> Option<Item> {
        loop {
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            if self.state().ended {
                return None;
            }
            self.change.notified().await;
        }
    }

    /// The next item, if there is one.
    pub(in crate::sources::tshark) fn try_next(&self) -> Option<Item> {
        let mut state = self.state();
        let item = state.items.pop_front()?;
        if let Item::Segment(segment) = &item {
            state.queued_bytes -= segment.bytes;
            state.reading_bytes += segment.bytes;
        }
        Some(item)
    }

    /// A segment was read, and is no longer on the disk.
    pub(in crate::sources::tshark) fn read(&self, segment: &Segment) {
        self.state().reading_bytes -= segment.bytes;
    }

    /// Bytes on the disk: of segments that wait, and of those being read.
    pub(in crate::sources::tshark) fn bytes(&self) -> u64 {
        let state = self.state();
        state.queued_bytes + state.reading_bytes
    }

    /// The newest segment that waits.
    pub(in crate::sources::tshark) fn newest(&self) -> Option<Segment> {
        let state = self.state();
        state.items.iter().rev().find_map(|item| match item {
            Item::Segment(segment) => Some(segment.clone()),
            Item::Begin(_) | Item::Shed(_) | Item::Reached(_) | Item::End(_) => None,
        })
    }

    /// Leaves the count of a segment's packets in its place, unless it is being read by now.
    pub(in crate::sources::tshark) fn shed(&self, segment: &Segment, packets: u64) -> bool {
        let mut state = self.state();
        let is_it = |item: &Item| matches!(item, Item::Segment(one) if one.path == segment.path);
        let Some(place) = state.items.iter().rposition(is_it) else {
            return false;
        };
        let mut place = state.without_times_around(place);
        // Neighbours become one, so that a long shortage takes no memory.
        let mut packets = packets;
        if let Some(Item::Shed(after)) = state.items.get(place + 1) {
            packets += after;
            state.items.remove(place + 1);
        }
        if let Some(before) = place.checked_sub(1)
            && let Some(Item::Shed(shed)) = state.items.get(before)
        {
            packets += shed;
            state.items.remove(place);
            place = before;
        }
        if let Some(item) = state.items.get_mut(place) {
            *item = Item::Shed(packets);
        }
        state.queued_bytes -= segment.bytes;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Takes away what lies between the item at `place` and what was shed beside it: what follows says
    /// more. Answers where the item is then.
    fn without_times_around(&mut self, place: usize) -> usize {
        let is_time = |item: Option<&Item>| matches!(item, Some(Item::Reached(_)));
        let is_shed = |item: Option<&Item>| matches!(item, Some(Item::Shed(_)));
        if is_time(self.items.get(place + 1)) && is_shed(self.items.get(place + 2)) {
            self.items.remove(place + 1);
        }
        if let (Some(time), Some(shed)) = (place.checked_sub(1), place.checked_sub(2))
            && is_time(self.items.get(time))
            && is_shed(self.items.get(shed))
        {
            self.items.remove(time);
            return time;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str, bytes: u64) -> Segment {
        Segment { path: name.into(), bytes, may_be_cut: false }
    }

    #[tokio::test]
    async fn the_newest_waiting_segment_is_shed_and_leaves_its_count_in_its_place() {
        let backlog = Backlog::default();
        backlog.push(Item::Begin(0));
        for (name, bytes) in [("a", 10), ("b", 20), ("c", 30)] {
            backlog.push(Item::Segment(segment(name, bytes)));
        }
        backlog.push(Item::End(Some(6)));
        assert_eq!(backlog.next().await, Some(Item::Begin(0)));
        assert_eq!(backlog.next().await, Some(Item::Segment(segment("a", 10))));
        assert_eq!(backlog.bytes(), 60);
        for (name, bytes, packets) in [("c", 30, 3), ("b", 20, 2)] {
            let newest = backlog.newest().unwrap();
            assert_eq!(newest, segment(name, bytes));
            assert!(backlog.shed(&newest, packets));
        }
        assert_eq!(backlog.newest(), None);
        assert!(!backlog.shed(&segment("a", 10), 1));
        assert_eq!(backlog.bytes(), 10);
        backlog.read(&segment("a", 10));
        backlog.end();
        assert_eq!(backlog.next().await, Some(Item::Shed(5)));
        assert_eq!(backlog.next().await, Some(Item::End(Some(6))));
        assert_eq!(backlog.next().await, None);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn a_long_shortage_leaves_one_count() {
        let backlog = Backlog::default();
        backlog.push(Item::Segment(segment("waits", 10)));
        for round in 0..100 {
            let newest = segment(&round.to_string(), 10);
            backlog.push(Item::Segment(newest.clone()));
            backlog.push(Item::Reached(Timestamp::from_nanos(round)));
            assert!(backlog.shed(&newest, 2));
        }
        assert_eq!(backlog.state().items.len(), 3);
        assert_eq!(backlog.try_next(), Some(Item::Segment(segment("waits", 10))));
        assert_eq!(backlog.try_next(), Some(Item::Shed(200)));
        assert_eq!(backlog.try_next(), Some(Item::Reached(Timestamp::from_nanos(99))));
    }
}
