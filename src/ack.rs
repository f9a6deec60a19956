//! Receipts: whoever reads or makes records learns what became of them.
//!
//! [`Receipts`] is the run's ledger. A source, or a transform that makes new records, opens a
//! receipt for each batch; the [`Ack`] travels with the batch and is shared where the batch is
//! shared; the end of a receipt is the worst end of its shares. A share that is dropped unsettled
//! (a panic, a cancelled task) ends as *lost*, so nothing is ever acknowledged by accident.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use tokio::sync::{Notify, oneshot};

/// What became of records, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum End {
    /// The destination confirmed them, or they entered an aggregate that answers for them from now.
    Delivered = 0,
    /// They are in a dead-letter file, with the reason.
    DeadLettered = 1,
    /// They were dropped by a rule of the config, and counted.
    Dropped = 2,
    /// They are gone without anybody having decided so.
    Lost = 3,
}

/// The ledger of a run: how many receipts were opened, and how they ended.
#[derive(Debug, Clone, Default)]
pub struct Receipts(Arc<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    opened: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
    change: Notify,
}

/// A share in one receipt, or none.
#[derive(Debug)]
#[must_use = "a share that is dropped unsettled counts as lost"]
pub struct Ack(Option<Arc<Share>>);

/// All shares of one receipt point here; the last to go settles it.
#[derive(Debug)]
struct Share {
    worst: AtomicU8,
    ledger: Receipts,
    waiter: Option<oneshot::Sender<End>>,
}

/// Tells the opener how its receipt ended.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<End>);

// === impl End ===

impl End {
    /// All ends, from good to bad.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::DeadLettered, Self::Dropped, Self::Lost];

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Delivered,
            1 => Self::DeadLettered,
            2 => Self::Dropped,
            _ => Self::Lost,
        }
    }
}

// === impl Receipts ===

impl Receipts {
    /// Opens a receipt nobody waits for on its own; the ledger counts it.
    pub fn open(&self) -> Ack {
        self.open_with(None)
    }

    /// Opens a receipt and a handle to wait for its end.
    pub fn open_awaited(&self) -> (Ack, Receipt) {
        let (sender, receiver) = oneshot::channel();
        (self.open_with(Some(sender)), Receipt(receiver))
    }

    fn open_with(&self, waiter: Option<oneshot::Sender<End>>) -> Ack {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        Ack(Some(Arc::new(Share {
            worst: AtomicU8::new(End::Delivered as u8),
            ledger: self.clone(),
            waiter,
        })))
    }

    /// Receipts that ended so.
    pub fn ended(&self, end: End) -> u64 {
        self.0.ended[end as usize].load(Ordering::Acquire)
    }

    /// Receipts that were opened and have not ended.
    pub fn outstanding(&self) -> u64 {
        let ended: u64 = End::ALL.iter().map(|end| self.ended(*end)).sum();
        self.0.opened.load(Ordering::Acquire).saturating_sub(ended)
    }

    /// Waits until every receipt opened so far has ended.
    pub async fn settled(&self) {
        loop {
            let change = self.0.change.notified();
            if self.outstanding() == 0 {
                return;
            }
            change.await;
        }
    }

    fn end(&self, end: End) {
        self.0.ended[end as usize].fetch_add(1, Ordering::AcqRel);
        self.0.change.notify_waiters();
    }
}

// === impl Ack ===

impl Ack {
    /// No receipt: nobody waits.
    pub const fn none() -> Self {
        Self(None)
    }

    /// A further share of the same receipt.
    pub fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Ends this share.
    pub fn settle(mut self, end: End) {
        if let Some(share) = self.0.take() {
            share.worst.fetch_max(end as u8, Ordering::AcqRel);
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(share) = self.0.take() {
            share.worst.fetch_max(End::Lost as u8, Ordering::AcqRel);
        }
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        let end = End::from_bits(*self.worst.get_mut());
        if let Some(waiter) = self.waiter.take() {
            // An opener that stopped waiting is no error: the ledger has the end all the same.
            waiter.send(end).unwrap_or_default();
        }
        self.ledger.end(end);
    }
}

// === impl Receipt ===

impl Receipt {
    /// Waits for the receipt's end.
    pub async fn ended(self) -> End {
        self.0.await.unwrap_or(End::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_ends_as_the_worst_of_its_shares() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let second = ack.share();
        ack.settle(End::Delivered);
        assert_eq!(receipts.outstanding(), 1);
        second.settle(End::DeadLettered);
        assert_eq!(receipt.ended().await, End::DeadLettered);
        assert_eq!(receipts.ended(End::DeadLettered), 1);
    }

    #[tokio::test]
    async fn a_share_dropped_unsettled_is_lost() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let second = ack.share();
        ack.settle(End::Delivered);
        drop(second);
        assert_eq!(receipt.ended().await, End::Lost);
    }

    #[tokio::test]
    async fn a_panic_acknowledges_nothing() {
        let receipts = Receipts::default();
        let (ack, receipt) = receipts.open_awaited();
        let task = tokio::spawn(async move {
            let _held = ack;
            panic!("as a bug would");
        });
        assert!(task.await.is_err());
        assert_eq!(receipt.ended().await, End::Lost);
    }

    #[tokio::test]
    async fn the_ledger_is_settled_once_every_receipt_has_ended() {
        let receipts = Receipts::default();
        let acks: Vec<_> = (0..3).map(|_| receipts.open()).collect();
        let waiting = tokio::spawn({
            let receipts = receipts.clone();
            async move { receipts.settled().await }
        });
        for ack in acks {
            assert!(!waiting.is_finished());
            ack.settle(End::Delivered);
            tokio::task::yield_now().await;
        }
        waiting.await.unwrap();
    }
}
