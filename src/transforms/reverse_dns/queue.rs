//! Batches that wait for names, in the order they came, bounded.

use std::{collections::VecDeque, net::IpAddr};

use tokio::time::Instant;

use crate::batch::Batch;

/// Batches held at most.
const MAX_BATCHES: usize = 4096;
/// Bytes of records held at most: half a second of some fifty thousand records a second.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// A batch that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The batch.
    pub(super) batch: Batch,
    /// Addresses whose names are being asked for.
    pub(super) missing: Vec<IpAddr>,
    /// When it goes on all the same; never in a replay.
    pub(super) deadline: Option<Instant>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<(Waiting, usize)>,
    bytes: usize,
}

// === impl Queue ===

impl Queue {
    pub(super) fn push(&mut self, waiting: Waiting) {
        let bytes = waiting.batch.records.memory_bytes();
        self.bytes += bytes;
        self.waiting.push_back((waiting, bytes));
    }

    /// The first batch, if it lacks nothing that `awaits` an answer, its deadline has passed, or
    /// (`live`) the queue is full. Else when its deadline is.
    pub(super) fn pop(
        &mut self,
        now: Instant,
        live: bool,
        awaits: impl Fn(IpAddr) -> bool,
    ) -> Result<Waiting, Option<Instant>> {
        let must_go = live && self.is_full();
        let (first, _) = self.waiting.front_mut().ok_or(None)?;
        while first.missing.pop_if(|address| !awaits(*address)).is_some() {}
        let late = first.deadline.is_some_and(|deadline| deadline <= now);
        if !first.missing.is_empty() && !late && !must_go {
            return Err(first.deadline);
        }
        let (first, bytes) = self.waiting.pop_front().ok_or(None)?;
        self.bytes -= bytes;
        Ok(first)
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_BATCHES || self.bytes >= MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;
    use crate::record::{Kind, Records};

    fn waiting(missing: &[u32], deadline: Option<Instant>) -> Waiting {
        Waiting {
            batch: Batch::unacknowledged(Records::none(Kind::Flow)),
            missing: missing.iter().map(|n| Ipv4Addr::from(*n).into()).collect(),
            deadline,
        }
    }

    fn missing(waiting: &Waiting) -> usize {
        waiting.missing.len()
    }

    #[tokio::test]
    async fn a_batch_goes_when_it_lacks_nothing_and_its_turn_has_come() {
        let mut queue = Queue::default();
        queue.push(waiting(&[1, 2], None));
        queue.push(waiting(&[], None));
        let now = Instant::now();
        let one = IpAddr::from(Ipv4Addr::from(1));
        assert_eq!(queue.pop(now, true, |_| true).map(|w| missing(&w)), Err(None));
        assert!(queue.pop(now, true, |address| address == one).is_err());
        assert!(queue.pop(now, true, |_| false).is_ok());
        assert!(queue.pop(now, true, |_| true).is_ok());
        assert!(queue.is_empty() && queue.bytes == 0);
    }

    #[tokio::test]
    async fn a_batch_goes_without_names_at_its_deadline_or_when_the_queue_is_full() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let later = now + Duration::from_millis(500);
        queue.push(waiting(&[1], Some(later)));
        assert_eq!(queue.pop(now, true, |_| true).map(|w| missing(&w)), Err(Some(later)));
        assert!(queue.pop(later, true, |_| true).is_ok());
        for _ in 0..MAX_BATCHES {
            queue.push(waiting(&[1], Some(later)));
        }
        assert!(queue.is_full());
        assert!(queue.pop(now, false, |_| true).is_err(), "a replay stops reading instead");
        assert!(queue.pop(now, true, |_| true).is_ok());
        assert!(queue.pop(now, true, |_| true).is_err());
    }
}
