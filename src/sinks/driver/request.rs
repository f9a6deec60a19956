//! A request: items encoded once into one body, and the shares of the batches they came with.

use crate::{
    ack::{Ack, End},
    component::{Item, Items},
};

/// Items on their way to the destination, and who waits for them.
#[derive(Debug)]
pub(super) struct Request<M> {
    pub(super) body: Vec<u8>,
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

// === impl Request ===

impl<M> Request<M> {
    pub(super) fn new() -> Self {
        Self { body: Vec::new(), items: Vec::new(), shares: Shares::default() }
    }

    /// Adds the bytes from `start` to the body's end as an item of the batch added last.
    pub(super) fn push(&mut self, start: usize, meta: M) {
        let batch = self.shares.0.len().saturating_sub(1);
        self.items.push(Item { range: start..self.body.len(), meta, batch });
        if let Some(share) = self.shares.0.last_mut() {
            share.open += 1;
        }
    }

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
    use super::*;
    use crate::ack::Receipts;

    #[tokio::test]
    async fn a_batch_is_settled_when_the_last_of_its_items_ends() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let mut request = Request::new();
        request.shares.add(ack);
        request.push(0, ());
        request.push(0, ());

        request.shares.end(0, End::DeadLettered);
        assert_eq!(receipts.outstanding(), 1);
        request.shares.end(0, End::Delivered);
        assert_eq!(receipt.ended().await, End::DeadLettered);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_loses_its_batches() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let mut request = Request::new();
        request.shares.add(ack);
        request.push(0, ());
        drop(request);
        assert_eq!(receipt.ended().await, End::Lost);
    }
}
