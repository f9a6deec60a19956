//! One request's way to its end: send, wait, send again what is left, until each item was
//! delivered, dead-lettered or dropped with its reason.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{error, info, warn};

use super::request::Request;
use crate::{
    ack::End,
    component::{Error, Item, ItemEnd, Outcome, SendError, Sink},
    metrics::{Meter, State},
    retry::Delays,
    sinks::dead_letter::DeadLetter,
};

/// A destination that has had no room for a request so often may never have room for all of it.
const TRIES_AS_A_WHOLE: u32 = 4;
/// Below this many bytes it is not for its size that a request finds no room.
const SMALL_BYTES: usize = 128 << 10;

/// What every request of a sink needs on its way.
pub(super) struct Delivery<S> {
    pub(super) sink: S,
    pub(super) meter: Arc<Meter>,
    pub(super) dead_letter: Option<DeadLetter>,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) retry_initial: Duration,
    pub(super) retry_max: Duration,
}

/// How often one request failed in a row, and how long to wait now.
struct Tries {
    delays: Delays,
    failed: u32,
    /// How often there was no room for it since it last changed.
    no_room: u32,
}

// === impl Delivery ===

impl<S: Sink> Delivery<S> {
    /// Delivers a request. Holds a place among the requests in flight, except while it waits for a
    /// confirmation.
    ///
    /// # Errors
    /// When the destination is gone for good: what is left of the request is lost.
    pub(super) async fn deliver(
        self: Arc<Self>,
        mut request: Request<S::Meta>,
        place: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let mut place = Some(place);
        let delays = Delays::new(self.retry_initial, self.retry_max);
        let mut tries = Tries { delays, failed: 0, no_room: 0 };
        let mut parts = VecDeque::from([std::mem::take(&mut request.items)]);
        while let Some(part) = parts.pop_front() {
            if place.is_none() {
                place = Arc::clone(&self.in_flight).acquire_owned().await.ok();
            }
            match self.sink.send(&request.items(&part)).await {
                Ok(Outcome::Delivered) => self.delivered(&mut request, &part, &mut tries),
                Ok(Outcome::Pending(pending)) => {
                    place = None;
                    match self.sink.confirm(pending).await {
                        Ok(true) => self.delivered(&mut request, &part, &mut tries),
                        unconfirmed => {
                            let reason = unconfirmed.err().map_or_else(
                                || "the destination did not confirm it in time".to_owned(),
                                |error| error.to_string(),
                            );
                            self.meter.duplicated(part.len() as u64);
                            parts.push_front(part);
                            self.wait(&mut tries, None, &reason).await;
                        }
                    }
                }
                Ok(Outcome::Items(ends)) => {
                    let (again, wait) =
                        self.items_ended(&mut request, part, ends, &mut tries).await;
                    if again.is_empty() {
                        self.recovered(&mut tries);
                    } else {
                        parts.push_front(again);
                    }
                    if let Some(reason) = wait {
                        self.wait(&mut tries, None, &reason).await;
                    }
                }
                Err(SendError::Retry { after, reason }) => {
                    parts.push_front(part);
                    self.wait(&mut tries, after, &reason).await;
                }
                Err(SendError::Busy { after, reason }) => {
                    self.wait(&mut tries, after, &reason).await;
                    tries.no_room += 1;
                    let small = part.len() == 1 || request.items(&part).bytes() <= SMALL_BYTES;
                    if small || tries.no_room < TRIES_AS_A_WHOLE {
                        parts.push_front(part);
                    } else {
                        tries.no_room = 0;
                        self.meter.error("no_room_as_a_whole");
                        self.split(&mut request, part, &reason, &mut parts, &mut tries).await;
                    }
                }
                Err(SendError::Unclear { reason }) => {
                    self.meter.duplicated(part.len() as u64);
                    parts.push_front(part);
                    self.wait(&mut tries, None, &reason).await;
                }
                Err(SendError::Hold { reason }) => {
                    parts.push_front(part);
                    self.meter.error("destination_refuses_us");
                    self.wait(&mut tries, Some(self.retry_max), &reason).await;
                }
                Err(SendError::Split { reason }) => {
                    self.split(&mut request, part, &reason, &mut parts, &mut tries).await;
                }
                Err(SendError::Gone { reason }) => return Err(Error::failure(reason)),
            }
        }
        Ok(())
    }

    fn delivered(
        &self,
        request: &mut Request<S::Meta>,
        items: &[Item<S::Meta>],
        tries: &mut Tries,
    ) {
        self.meter.delivered(items.len() as u64);
        for item in items {
            request.shares.end(item.batch, End::Delivered);
        }
        self.recovered(tries);
    }

    /// Ends each item as the destination said, and gives back those to send again, and why to wait
    /// before that.
    async fn items_ended(
        &self,
        request: &mut Request<S::Meta>,
        items: Vec<Item<S::Meta>>,
        ends: Vec<ItemEnd>,
        tries: &mut Tries,
    ) -> (Vec<Item<S::Meta>>, Option<String>) {
        let (mut again, mut wait) = (Vec::new(), None);
        let mut ends = ends.into_iter();
        for item in items {
            let missing = || ItemEnd::Retry("the answer has no entry for it".to_owned());
            match ends.next().unwrap_or_else(missing) {
                end @ (ItemEnd::Delivered | ItemEnd::Duplicate) => {
                    self.meter.duplicated(u64::from(end == ItemEnd::Duplicate));
                    self.meter.delivered(1);
                    request.shares.end(item.batch, End::Delivered);
                }
                ItemEnd::Refused(reason) => self.refused(request, &item, &reason, tries).await,
                ItemEnd::Retry(reason) => {
                    wait.get_or_insert(reason);
                    again.push(item);
                }
                ItemEnd::Untried => again.push(item),
            }
        }
        (again, wait)
    }

    async fn split(
        &self,
        request: &mut Request<S::Meta>,
        mut part: Vec<Item<S::Meta>>,
        reason: &str,
        parts: &mut VecDeque<Vec<Item<S::Meta>>>,
        tries: &mut Tries,
    ) {
        let second = part.split_off(part.len() / 2);
        if part.is_empty() {
            for item in &second {
                self.refused(request, item, reason, tries).await;
            }
        } else {
            parts.push_front(second);
            parts.push_front(part);
        }
    }

    /// An item that will never be taken goes to the dead letter. If that can't be written, the item
    /// is held rather than lost; without a dead letter it is dropped and counted.
    async fn refused(
        &self,
        request: &mut Request<S::Meta>,
        item: &Item<S::Meta>,
        reason: &str,
        tries: &mut Tries,
    ) {
        let Some(dead_letter) = &self.dead_letter else {
            warn!(sink = self.meter.id(), reason, "record refused and dropped: no dead_letter");
            self.meter.dropped("refused", 1);
            return request.shares.end(item.batch, End::Dropped);
        };
        let record = self.sink.returned(item.kind, &request.body[item.range.clone()]);
        while let Err(error) = dead_letter.write(self.meter.id(), reason, &record).await {
            self.wait(tries, None, &error.to_string()).await;
        }
        self.meter.dead_lettered(1);
        request.shares.end(item.batch, End::DeadLettered);
    }

    /// Waits before the next try. Says so at the first failure and then ever more rarely.
    async fn wait(&self, tries: &mut Tries, after: Option<Duration>, reason: &str) {
        tries.failed = tries.failed.saturating_add(1);
        self.meter.error("not_delivered_yet");
        self.meter.set_state(State::Holding);
        let delay = after.unwrap_or_else(|| tries.delays.next_delay());
        if tries.failed.is_power_of_two() {
            error!(
                sink = self.meter.id(),
                failed = tries.failed,
                retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "not delivered, kept and sent again: {reason}",
            );
        }
        tokio::time::sleep(delay).await;
    }

    fn recovered(&self, tries: &mut Tries) {
        tries.no_room = 0;
        if tries.failed > 0 {
            info!(sink = self.meter.id(), failed = tries.failed, "delivered again");
            tries.failed = 0;
            tries.delays.reset();
        }
        self.meter.set_state(State::Running);
    }
}
