//! What all sinks have in common: records are encoded once into requests, bounded in number, bytes
//! and age; requests are in flight up to a limit; each is tried until its items have ended; and a
//! batch's share is settled with the last of its items.
//!
//! `input` → [`Taken`] (encode) → [`Filling`] → ready → one task each ([`delivery`]) → the sink. Each
//! step waits for the next, so a sink holds no more than [`memory_bytes`].

mod delivery;
mod refusals;
mod request;
mod tries;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{error, info, warn};

use self::{
    delivery::{Delivery, Done},
    request::{Filling, Request},
    tries::Waits,
};
use super::{
    Requests,
    dead_letter::DeadLetter,
    options::{BatchLimits, Options},
};
use crate::{
    ack::End,
    batch::Batch,
    component::{Clock, Component, Context, Error, Input, Sink, drain, with_causes},
    log_limit::LogLimit,
    metrics::{DISCARDED, ERRORS, ErrorType, Reason},
    record::Kind,
    task,
};

/// Requests that may be under way in all, those that wait for a confirmation included, as a
/// multiple of those in flight.
const UNCONFIRMED_PER_PLACE: usize = 8;
const MAINTENANCE: Duration = Duration::from_secs(1);
/// Room in a request's body for the record that turns out to be too much for it.
const SLACK_BYTES: usize = 16 << 10;
/// What an item takes beside its bytes, about.
const ITEM_BYTES: usize = 32;

/// Runs one sink.
struct Driver<S: Sink> {
    delivery: Arc<Delivery<S>>,
    limits: Limits,
    taken: Option<Taken>,
    filling: Option<Filling<S::Meta>>,
    ready: Option<Request<S::Meta>>,
    under_way: JoinSet<Result<Done, Error>>,
    /// Records dropped because they could not be encoded.
    unencodable: LogLimit,
    /// Failures of the sink's maintenance.
    unmaintained: LogLimit,
}

/// The bounds of a request, and of requests.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: usize,
    items: usize,
    age: Duration,
    in_flight: usize,
    under_way: usize,
}

/// The batch that is being encoded.
struct Taken {
    batch: Batch,
    next: usize,
    /// Whether the request that is being filled has a share of it already.
    joined: bool,
    end: End,
}

/// Wraps a sink into a component with everything it does not do itself.
///
/// # Errors
/// If the dead-letter file can't be opened.
pub fn component<S: Sink>(
    sink: S,
    requests: Requests,
    options: &Options,
    context: &Context,
) -> Result<Component, Error> {
    let limits = Limits::new(requests, options);
    let dead_letter = options.dead_letter.as_ref().map(DeadLetter::open).transpose()?;
    let waits = Waits::new(
        Arc::clone(&context.meter),
        Duration::from_secs(options.request.retry_initial_secs),
        Duration::from_secs(options.request.retry_max_secs),
    );
    let delivery = Delivery {
        sink,
        meter: Arc::clone(&context.meter),
        dead_letter,
        in_flight: Arc::new(Semaphore::new(limits.in_flight)),
        waits,
        refused: LogLimit::series(),
        halved: LogLimit::series(),
        gives_up: context.gives_up,
        delivered: AtomicU64::new(0),
    };
    let driver = Driver {
        delivery: Arc::new(delivery),
        limits,
        taken: None,
        filling: None,
        ready: None,
        under_way: JoinSet::new(),
        unencodable: LogLimit::series(),
        unmaintained: LogLimit::series(),
    };
    Ok(Component::sink(move |input| driver.run(input)))
}

/// Bytes of encoded records that a sink may hold beside its buffer: the requests that are being
/// filled, are ready, and are under way, and for each one in flight what it is sent as. A record that
/// is larger than a whole request counts as one.
pub fn memory_bytes(requests: Requests, options: &Options) -> u64 {
    let limits = Limits::new(requests, options);
    let bodies = limits.under_way + limits.in_flight + 2;
    let items = limits.items.min(limits.bytes / ITEM_BYTES) * ITEM_BYTES;
    (bodies as u64).saturating_mul((limits.bytes + SLACK_BYTES + items) as u64)
}

// === impl Limits ===

impl Limits {
    fn new(requests: Requests, options: &Options) -> Self {
        let BatchLimits { max_bytes, max_events, timeout_secs } = options.batch.or(requests.batch);
        let in_flight = if requests.in_order { 1 } else { options.request.concurrency as usize };
        let per_place = if requests.confirmed_later { UNCONFIRMED_PER_PLACE } else { 1 };
        let least = if requests.items_fail { 2 } else { 1 };
        Self {
            bytes: max_bytes as usize,
            items: max_events as usize,
            age: Duration::from_secs(timeout_secs),
            in_flight,
            under_way: (in_flight * per_place).max(least),
        }
    }
}

// === impl Driver ===

impl<S: Sink> Driver<S> {
    async fn run(mut self, mut input: Input) -> Result<(), Error> {
        let mut maintenance = tokio::time::interval(MAINTENANCE);
        maintenance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        self.delivery.waits.spared_by(input.spared());
        loop {
            self.encode();
            // What is taken is encoded, and what is encoded is due, unless a ready request is in the
            // way.
            let idle = self.ready.is_none();
            let due = self.filling.as_ref().map(|filling| filling.due);
            if idle && !open && self.under_way.is_empty() {
                break;
            }
            let may_send = !idle && self.under_way.len() < self.limits.under_way;
            tokio::select! {
                biased;
                Some(done) = self.under_way.join_next() => match finished(done)? {
                    Done::Ended => {}
                    Done::Left => return self.leave(input).await,
                },
                // Not behind those that may be ready for ever.
                _ = maintenance.tick() => {
                    if input.is_closed() {
                        self.delivery.waits.input_ended();
                    }
                    self.maintain().await;
                }
                Ok(place) = Arc::clone(&self.delivery.in_flight).acquire_owned(), if may_send => {
                    self.dispatch(place);
                }
                batch = input.recv(), if open && idle => {
                    if let Some(batch) = batch {
                        self.taken = Some(Taken::new(batch));
                    } else {
                        open = false;
                        self.close_request();
                    }
                }
                () = sleep_until(due), if due.is_some() && idle => self.close_request(),
            }
        }
        self.delivery.sink.close().await
    }

    /// A request was left to the next run, which has all that was not delivered: what is under way may still have
    /// its answer, nothing more is sent.
    async fn leave(mut self, mut input: Input) -> Result<(), Error> {
        info!("stopped: what the destination did not take is on disk, for the next start");
        let answered = async {
            while let Some(done) = self.under_way.join_next().await {
                finished(done)?;
            }
            Ok::<(), Error>(())
        };
        tokio::time::timeout(drain::BETWEEN_TRIES, answered).await.unwrap_or(Ok(()))?;
        self.under_way.shutdown().await;
        (self.taken, self.filling, self.ready) = (None, None, None);
        while input.recv().await.is_some() {}
        self.delivery.sink.close().await
    }

    async fn maintain(&mut self) {
        let Err(error) = self.delivery.sink.maintain().await else { return };
        self.delivery.meter.count(ERRORS, ErrorType::Maintenance, 1);
        if let Some(suppressed) = self.unmaintained.admit(1, Clock::Wall.now(None)) {
            warn!(suppressed, "tried again in a second: {}", with_causes(&error));
        }
    }

    /// Encodes the batch that was taken into the request that is being filled, until it is at its end
    /// or a request is ready.
    fn encode(&mut self) {
        while self.ready.is_none() {
            if self.filling.as_ref().is_some_and(|filling| filling.is_full(self.limits)) {
                self.close_request();
            } else if let Some(mut taken) = self.taken.take() {
                if taken.next < taken.batch.records.len() {
                    self.encode_next(&mut taken);
                    self.taken = Some(taken);
                } else {
                    taken.batch.ack.settle(taken.end);
                }
            } else {
                break;
            }
        }
    }

    fn encode_next(&mut self, taken: &mut Taken) {
        let sink = &self.delivery.sink;
        let index = taken.next;
        taken.next += 1;
        let filling = self.filling.get_or_insert_with(|| Filling::new(self.limits));
        let start = filling.body.len();
        let meta = match sink.encode(&taken.batch.records, index, &mut filling.body) {
            Ok(meta) => meta,
            Err(error) => {
                filling.body.truncate(start);
                taken.end = End::Dropped;
                self.delivery.meter.count(DISCARDED, Reason::Unencodable, 1);
                if let Some(suppressed) = self.unencodable.admit(1, Clock::Wall.now(None)) {
                    error!(suppressed, "a record was dropped that can't be encoded: {error}");
                }
                return;
            }
        };
        let kind = taken.batch.records.kind_of(index);
        let fits = filling.body.len() <= self.limits.bytes;
        if filling.first().is_some_and(|first| !fits || !sink.may_share(first, &meta)) {
            let mut next = Filling::new(self.limits);
            next.body.extend(filling.body.drain(start..));
            self.close_request();
            taken.joined = false;
            taken.push(kind, meta, self.filling.insert(next));
        } else {
            taken.joined &= filling.first().is_some();
            taken.push(kind, meta, filling);
        }
    }

    /// The request that is being filled is ready; nothing else is.
    fn close_request(&mut self) {
        if let Some(filling) = self.filling.take()
            && filling.first().is_some()
        {
            self.ready = Some(filling.close());
        }
    }

    /// Sends the request that is ready from its place in flight.
    fn dispatch(&mut self, place: OwnedSemaphorePermit) {
        if let Some(request) = self.ready.take() {
            let delivered = Arc::clone(&self.delivery).deliver(request, place);
            task::spawn_on(&mut self.under_way, delivered);
        }
    }
}

// === impl Taken ===

impl Taken {
    fn new(batch: Batch) -> Self {
        Self { batch, next: 0, joined: false, end: End::Delivered }
    }

    /// What was encoded last is an item of this batch.
    fn push<M>(&mut self, kind: Kind, meta: M, filling: &mut Filling<M>) {
        if !self.joined {
            filling.shares.add(self.batch.ack.share());
            self.joined = true;
        }
        filling.push(kind, meta);
    }
}

fn finished(done: Result<Result<Done, Error>, tokio::task::JoinError>) -> Result<Done, Error> {
    done.map_err(|join| Error::failure("a request panicked: this is a bug").because(join))?
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
