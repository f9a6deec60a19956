//! One request's way to its end: send, wait, send again what is left, until each item was
//! delivered, dead-lettered or dropped with its reason.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::{
    refusals::Refused,
    request::Request,
    tries::{TRIES_OF_AN_ITEM, Tries, Waits},
};
use crate::{
    ack::End,
    component::{Clock, Error, Item, ItemEnd, SendError, SendOutcome, Sink},
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Meter},
    sinks::dead_letter::DeadLetter,
};

/// Below this many bytes it is not for its size that a request is not taken.
const SMALL_BYTES: usize = 128 << 10;

/// What every request of a sink needs on its way.
pub(super) struct Delivery<S> {
    pub(super) sink: S,
    pub(super) meter: Arc<Meter>,
    pub(super) dead_letter: Option<DeadLetter>,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) waits: Waits,
    /// Records dropped because there is no dead letter.
    pub(super) refused: LogLimit,
    /// Requests that were not taken as a whole.
    pub(super) halved: LogLimit,
    /// Whether a destination that refuses us before anything was delivered ends the run.
    pub(super) gives_up: bool,
    /// Items of all requests that were delivered.
    pub(super) delivered: AtomicU64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Each of its items has its end.
    Ended,
    /// The run was stopped, and the next one has what is left of it.
    Left,
}

/// What is left of a request: parts of it, to be sent in this order.
type Parts<M> = VecDeque<Vec<Item<M>>>;

// === impl Delivery ===

impl<S: Sink> Delivery<S> {
    /// Delivers a request. Holds a place among the requests in flight, except while it waits for a
    /// confirmation, or with nothing but items that the destination failed at.
    ///
    /// # Errors
    /// When the destination is gone for good: what is left of the request is lost.
    pub(super) async fn deliver(
        self: Arc<Self>,
        mut request: Request<S::Meta>,
        place: OwnedSemaphorePermit,
    ) -> Result<Done, Error> {
        let mut place = Some(place);
        let mut tries = self.waits.tries();
        let mut parts = Parts::from([std::mem::take(&mut request.items)]);
        while let Some(part) = parts.pop_front() {
            if tries.are_spared() {
                return Ok(Done::Left);
            }
            if place.is_none() {
                place = Arc::clone(&self.in_flight).acquire_owned().await.ok();
            }
            let items = request.items(&part);
            let answer = tokio::select! {
                biased;
                answer = self.sink.send(&items) => answer,
                () = self.waits.sent_in_vain() => return Ok(Done::Left),
            };
            tries.tried(&answer);
            match answer {
                Ok(SendOutcome::Delivered) => self.delivered(&mut request, &part, &mut tries),
                Ok(SendOutcome::Pending(pending)) => {
                    place = None;
                    let confirmed = tokio::select! {
                        biased;
                        confirmed = self.sink.confirm(pending) => confirmed,
                        () = self.waits.sent_in_vain() => return Ok(Done::Left),
                    };
                    match confirmed {
                        Ok(true) => self.delivered(&mut request, &part, &mut tries),
                        unconfirmed => {
                            let reason = unconfirmed.err().map_or_else(
                                || "the destination did not confirm it in time".to_owned(),
                                |error| error.to_string(),
                            );
                            self.meter.duplicated(part.len() as u64);
                            parts.push_front(part);
                            tries.wait(None, &reason).await;
                        }
                    }
                }
                Ok(SendOutcome::Items(ends)) => {
                    let (again, wait) =
                        self.items_ended(&mut request, part, ends, &mut tries).await;
                    if again.is_empty() {
                        tries.recovered();
                    }
                    for part in again.into_iter().rev() {
                        parts.push_front(part);
                    }
                    if tries.has_failed_items() {
                        place = None;
                    }
                    if let Some(reason) = wait {
                        tries.wait(None, &reason).await;
                    }
                }
                Err(SendError::Retry { after, reason }) => {
                    parts.push_front(part);
                    tries.wait(after, &reason).await;
                }
                Err(SendError::Busy { after, reason }) => {
                    tries.wait(after, &reason).await;
                    self.again(&request, part, &mut parts, &mut tries, ErrorType::NoRoomAsAWhole);
                }
                Err(SendError::Unclear { may_double, reason }) => {
                    self.meter.duplicated(if may_double { part.len() as u64 } else { 0 });
                    tries.wait(None, &reason).await;
                    self.again(&request, part, &mut parts, &mut tries, ErrorType::UnclearAsAWhole);
                }
                Err(SendError::Astray { reason }) => {
                    self.give_up(&reason)?;
                    parts.push_front(part);
                    tries.wait(None, &reason).await;
                }
                Err(SendError::Hold { reason }) => {
                    self.give_up(&reason)?;
                    parts.push_front(part);
                    self.meter.count(ERRORS, ErrorType::DestinationRefusesUs, 1);
                    tries.wait(Some(self.waits.longest()), &reason).await;
                }
                Err(SendError::Split { reason }) => {
                    self.split(&mut request, part, &reason, &mut parts, &mut tries).await;
                }
                Err(SendError::Gone { reason }) => return Err(Error::failure(reason)),
            }
        }
        Ok(if tries.are_spared() { Done::Left } else { Done::Ended })
    }

    fn delivered(
        &self,
        request: &mut Request<S::Meta>,
        items: &[Item<S::Meta>],
        tries: &mut Tries<'_>,
    ) {
        self.count_delivered(items.len() as u64);
        for item in items {
            request.shares.end(item.batch, End::Delivered);
        }
        tries.recovered();
    }

    /// Fails if the destination refuses us and has never taken anything, where nobody waits for that.
    fn give_up(&self, reason: &str) -> Result<(), Error> {
        if !self.gives_up || self.delivered.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        self.meter.count(ERRORS, ErrorType::DestinationRefusesUs, 1);
        Err(Error::configuration(format!("nothing can be delivered: {reason}"))
            .hint("mend that; `--wait` sends again until it is mended, as `run` does"))
    }

    fn count_delivered(&self, items: u64) {
        self.meter.delivered(items);
        self.delivered.fetch_add(items, Ordering::Relaxed);
    }

    /// Ends each item as the destination said, and gives back those to send again, and why to wait
    /// before that. Those that were refused are last: they may have to wait for the dead letter.
    ///
    /// Untried items before and behind a refused one go apart: if they went together, those before would
    /// be sent once more for each refused one behind them.
    async fn items_ended(
        &self,
        request: &mut Request<S::Meta>,
        items: Vec<Item<S::Meta>>,
        ends: Vec<ItemEnd>,
        tries: &mut Tries<'_>,
    ) -> (Vec<Vec<Item<S::Meta>>>, Option<String>) {
        let (mut again, mut wait): (Vec<Vec<_>>, _) = (Vec::new(), None);
        let give_up = tries.fail_for_good(&ends, self.delivered.load(Ordering::Relaxed));
        let (mut refused, mut apart) = (Vec::<Refused<_>>::new(), true);
        let mut ends = ends.into_iter();
        for item in items {
            let missing = || ItemEnd::Retry("the answer has no entry for it".to_owned());
            match ends.next().unwrap_or_else(missing) {
                end @ (ItemEnd::Delivered | ItemEnd::Duplicate) => {
                    self.meter.duplicated(u64::from(end == ItemEnd::Duplicate));
                    self.count_delivered(1);
                    request.shares.end(item.batch, End::Delivered);
                }
                ItemEnd::Refused(reason) => {
                    refused.push((item, reason));
                    apart = true;
                }
                ItemEnd::Failed(reason) if give_up => {
                    refused.push((item, format!("failed {TRIES_OF_AN_ITEM} times: {reason}")));
                    apart = true;
                }
                end @ (ItemEnd::Retry(_) | ItemEnd::Failed(_) | ItemEnd::Untried) => {
                    apart &= end == ItemEnd::Untried || again.is_empty();
                    if std::mem::take(&mut apart) {
                        again.push(Vec::new());
                    }
                    if let ItemEnd::Retry(reason) | ItemEnd::Failed(reason) = end {
                        wait.get_or_insert(reason);
                    }
                    if let Some(part) = again.last_mut() {
                        part.push(item);
                    }
                }
            }
        }
        self.refused(request, &refused, tries).await;
        (again, wait)
    }

    /// Sends a part again; in halves, if it may be more than is ever taken at once.
    fn again(
        &self,
        request: &Request<S::Meta>,
        part: Vec<Item<S::Meta>>,
        parts: &mut Parts<S::Meta>,
        tries: &mut Tries<'_>,
        as_a_whole: ErrorType,
    ) {
        let small = part.len() == 1 || request.items(&part).bytes() <= SMALL_BYTES;
        if !small && tries.may_be_too_much() {
            self.meter.count(ERRORS, as_a_whole, 1);
            halve(part, parts);
        } else {
            parts.push_front(part);
        }
    }

    /// Sends the halves of a part that was refused as a whole. One item of its own is refused.
    async fn split(
        &self,
        request: &mut Request<S::Meta>,
        part: Vec<Item<S::Meta>>,
        reason: &str,
        parts: &mut Parts<S::Meta>,
        tries: &mut Tries<'_>,
    ) {
        if part.len() > 1 {
            self.meter.count(ERRORS, ErrorType::RefusedAsAWhole, 1);
            if let Some(suppressed) = self.halved.admit(1, Clock::Wall.now(None)) {
                let (items, bytes) = (part.len(), request.items(&part).bytes());
                warn!(
                    suppressed,
                    items,
                    bytes,
                    "a request was refused as a whole and is sent in halves; if it is too large, lower \
                        batch.max_bytes: {reason}",
                );
            }
            halve(part, parts);
        } else {
            let refused: Vec<_> = part.into_iter().map(|item| (item, reason.to_owned())).collect();
            self.refused(request, &refused, tries).await;
        }
    }
}

/// The halves of a part are next.
fn halve<M>(mut part: Vec<Item<M>>, parts: &mut Parts<M>) {
    let second = part.split_off(part.len() / 2);
    parts.push_front(second);
    parts.push_front(part);
}
