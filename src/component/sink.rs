//! The narrow part of a sink: encode a record, send a request, perhaps confirm it later. Batching,
//! requests in flight, retries, splitting, dead letters and receipts belong to `sinks::driver`.

use std::{future::Future, ops::Range, time::Duration};

use bytes::Bytes;

use super::Error;
use crate::record::{Kind, Records, Returned};

/// Takes records out of the pipeline.
pub trait Sink: Send + Sync + 'static {
    /// What a record needs beside its bytes (an index, a path, a key).
    type Meta: Send + Sync + PartialEq;
    /// What to ask for later where a request is confirmed apart (an ackId).
    type Pending: Send;

    /// Appends the record at `index` to `out`, with whatever separates it from the next.
    ///
    /// # Errors
    /// When the record can't be written in the configured encoding: it is dropped and counted, as there
    /// is no document that a dead letter could hold.
    fn encode(
        &self,
        records: &Records,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<Self::Meta, Error>;

    /// Whether two neighbours may share a request: by default, if their `Meta` is equal.
    fn may_share(&self, one: &Self::Meta, other: &Self::Meta) -> bool {
        one == other
    }

    /// What an item's bytes hold of its record, for the dead letter: the document without what only
    /// the destination's protocol wants around it, and what is needed to make that again.
    fn returned(&self, kind: Kind, item: &[u8]) -> Returned {
        Returned::new(kind, item)
    }

    /// Sends one request, and says what became of each item.
    ///
    /// # Errors
    /// When the request as a whole was not taken: see [`SendError`].
    fn send(
        &self,
        items: &Items<'_, Self::Meta>,
    ) -> impl Future<Output = Result<SendOutcome<Self::Pending>, SendError>> + Send;

    /// Waits until the destination confirmed a request for good; `false` if it never will. Runs
    /// outside the limit of requests in flight.
    ///
    /// # Errors
    /// When the destination can't be asked: the request is sent again.
    fn confirm(
        &self,
        _pending: Self::Pending,
    ) -> impl Future<Output = Result<bool, SendError>> + Send {
        async { Ok(true) }
    }

    /// Called about once a second, also while requests are under way: rotate, flush, reopen.
    ///
    /// # Errors
    /// What went wrong is logged and tried again a second later.
    fn maintain(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }

    /// Called once, after the last request.
    ///
    /// # Errors
    /// What could not be finished.
    fn close(&self) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

/// One encoded record within a request's body.
#[derive(Debug, Clone)]
pub struct Item<M> {
    /// Where its bytes are.
    pub range: Range<usize>,
    /// What it needs beside its bytes.
    pub meta: M,
    /// What it was.
    pub kind: Kind,
    /// Which of the request's batches it came with.
    pub batch: usize,
}

/// The items of one request: slices of a body that was encoded once. A partial retry or a half of a
/// split request has gaps between them.
#[derive(Debug)]
pub struct Items<'a, M> {
    body: &'a Bytes,
    items: &'a [Item<M>],
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome<P> {
    /// The destination confirmed all of it.
    Delivered,
    /// It took all of it, and will confirm it when asked for this.
    Pending(P),
    /// One end for each item, in order.
    Items(Vec<ItemEnd>),
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemEnd {
    /// Confirmed.
    Delivered,
    /// It was there already, under our own id.
    Duplicate,
    /// Not taken now: send it again. The text is the destination's reason.
    Retry(String),
    /// The destination failed at it, which may be the item's fault: it is sent again, and refused when
    /// that happens again and again while others are delivered. The text is the destination's reason.
    Failed(String),
    /// Never to be taken: dead letter. The text is the destination's reason.
    Refused(String),
    /// Not looked at, for the sake of an item before it that was refused: sent again at once.
    Untried,
}

/// Why a request as a whole was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may be taken later: after `after`, or after a growing delay.
    #[error("{reason}")]
    Retry {
        /// The wait the destination asked for.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// There was no room for it: later, as with `Retry`. What is refused so again and again may be
    /// more than there is ever room for: it is sent in halves then.
    #[error("{reason}")]
    Busy {
        /// The wait the destination asked for.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// Whether it was taken is not known: it is sent again. What is so again and again may be more than
    /// is ever taken in time: it is sent in halves then.
    #[error("{reason}")]
    Unclear {
        /// Whether it may be there twice then: not where the destination tells a repeat.
        may_double: bool,
        /// What happened.
        reason: String,
    },
    /// It is too large: send two halves; a single item goes to the dead letter.
    #[error("{reason}")]
    Split {
        /// What happened.
        reason: String,
    },
    /// By its address it can't be reached or trusted (a name nobody knows, a certificate): later, as with
    /// `Retry`, for that may be mended.
    #[error("{reason}")]
    Astray {
        /// What happened.
        reason: String,
    },
    /// The destination refuses us, not the data (a wrong token): keep everything and alarm.
    #[error("{reason}")]
    Hold {
        /// What happened.
        reason: String,
    },
    /// The destination is gone for good (the reader of a pipe): the run ends.
    #[error("{reason}")]
    Gone {
        /// What happened.
        reason: String,
    },
}

// === impl Items ===

impl<'a, M> Items<'a, M> {
    /// The items of `body`.
    pub fn new(body: &'a Bytes, items: &'a [Item<M>]) -> Self {
        Self { body, items }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Their encoded bytes, together.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.range.len()).sum()
    }

    /// Each item's bytes and `Meta`, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a M)> {
        let body = self.body;
        self.items.iter().map(move |item| (&body[item.range.clone()], &item.meta))
    }

    /// All the bytes in one buffer: that of the whole body, if there is no gap.
    pub fn concat(&self) -> Bytes {
        let gapless = self.items.windows(2).all(|pair| pair[0].range.end == pair[1].range.start);
        if let (true, Some(first), Some(last)) = (gapless, self.items.first(), self.items.last()) {
            return self.body.slice(first.range.start..last.range.end);
        }
        let mut bytes = Vec::with_capacity(self.bytes());
        for (item, _) in self.iter() {
            bytes.extend_from_slice(item);
        }
        bytes.into()
    }

    /// What the first item needs; the same for all where [`Sink::may_share`] is not overridden.
    pub fn meta(&self) -> Option<&'a M> {
        self.items.first().map(|item| &item.meta)
    }
}
