//! A request: items encoded once into one body, and the shares of the batches they came with.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Limits, SLACK_BYTES};
use crate::{
    ack::{Ack, End},
    component::{Item, Items},
    record::Kind,
};

/// Room a body gets at once, at most; one that may be larger grows.
const MAX_ROOM_BYTES: usize = 16 << 20;

/// A request that is being filled, and when it has to go.
#[derive(Debug)]
pub(super) struct Filling<M> {
    pub(super) body: Vec<u8>,
    /// What its capacity was at the beginning.
    room: usize,
    items: Vec<Item<M>>,
    pub(super) shares: Shares,
    pub(super) due: Instant,
}

/// Items on their way to the destination, and who waits for them.
#[derive(Debug)]
pub(super) struct Request<M> {
    pub(super) body: Bytes,
    pub(super) items: Vec<Item<M>>,
    pub(super) shares: Shares,
}

/// For each batch with items in a request: its share, and how many of the items have not ended.
#[derive(Debug, Default)]
pub(super) struct Shares(Vec<Share>);

#[derive(Debug)]
struct Share {
    ack: Ack,
    open: usize,
    worst: End,
}

// === impl Filling ===

impl<M> Filling<M> {
    pub(super) fn new(limits: Limits) -> Self {
        let room = limits.bytes.saturating_add(SLACK_BYTES).min(MAX_ROOM_BYTES);
        let (items, shares) = (Vec::new(), Shares::default());
        let due = Instant::now() + limits.age;
        Self { body: Vec::with_capacity(room), room, items, shares, due }
    }

    /// Adds the bytes behind the last item as an item of the batch added last.
    pub(super) fn push(&mut self, kind: Kind, meta: M) {
        let start = self.items.last().map_or(0, |item| item.range.end);
        let batch = self.shares.0.len().saturating_sub(1);
        self.items.push(Item { range: start..self.body.len(), meta, kind, batch });
        if let Some(share) = self.shares.0.last_mut() {
            share.open += 1;
        }
    }

    /// What the first item needs, if there is one.
    pub(super) fn first(&self) -> Option<&M> {
        self.items.first().map(|item| &item.meta)
    }

    /// Whether no further item may join.
    pub(super) fn is_full(&self, limits: Limits) -> bool {
        let some = !self.items.is_empty();
        some && (self.items.len() >= limits.items || self.body.len() >= limits.bytes)
    }

    pub(super) fn close(mut self) -> Request<M> {
        // A large record at the end may have made it grow beyond what the memory budget reckons with.
        if self.body.capacity() > self.room {
            self.body.shrink_to_fit();
        }
        Request { body: self.body.into(), items: self.items, shares: self.shares }
    }
}

// === impl Request ===

impl<M> Request<M> {
    /// The items to send, as one slice of the body each.
    pub(super) fn items<'a>(&'a self, of: &'a [Item<M>]) -> Items<'a, M> {
        Items::new(&self.body, of)
    }
}

// === impl Shares ===

impl Shares {
    /// The items pushed from now on belong to the batch of this share.
    pub(super) fn add(&mut self, ack: Ack) {
        self.0.push(Share { ack, open: 0, worst: End::Delivered });
    }

    /// An item of a batch has ended; the batch's share is settled with its last item.
    pub(super) fn end(&mut self, batch: usize, end: End) {
        let Some(share) = self.0.get_mut(batch) else { return };
        share.worst = share.worst.max(end);
        share.open = share.open.saturating_sub(1);
        if share.open == 0 {
            std::mem::replace(&mut share.ack, Ack::none()).settle(share.worst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ack::Receipts;

    fn request(ack: Ack, items: usize) -> Request<()> {
        let limits = Limits { bytes: 9, items: 9, age: Duration::ZERO, in_flight: 1, under_way: 1 };
        let mut filling = Filling::new(limits);
        filling.shares.add(ack);
        (0..items).for_each(|_| filling.push(Kind::Flow, ()));
        filling.close()
    }

    #[tokio::test]
    async fn a_batch_is_settled_when_the_last_of_its_items_ends() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let mut request = request(ack, 2);
        request.shares.end(0, End::DeadLettered);
        assert_eq!(receipts.outstanding(), 1);
        request.shares.end(0, End::Delivered);
        assert_eq!(receipt.ended().await, End::DeadLettered);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_loses_its_batches() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        drop(request(ack, 1));
        assert_eq!(receipt.ended().await, End::Lost);
    }
}
