//! What all sinks have in common: records are encoded once into requests, bounded in number, bytes
//! and age; requests are in flight up to a limit; each is tried until its items have ended; and a
//! batch's share is settled with the last of its items.
//!
//! `input` → [`Filling`] (encode) → ready requests → one task each ([`delivery`]) → the sink.

mod delivery;
mod request;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tracing::warn;

use self::{delivery::Delivery, request::Request};
use super::{dead_letter::DeadLetter, options::Options};
use crate::{
    ack::End,
    batch::Batch,
    component::{Component, Context, Error, Input, Sink},
};

/// Requests that may be under way in all, those that wait for a confirmation included, as a
/// multiple of those in flight.
const UNCONFIRMED_PER_PLACE: usize = 16;
const MAINTENANCE: Duration = Duration::from_secs(1);

/// Runs one sink.
struct Driver<S: Sink> {
    delivery: Arc<Delivery<S>>,
    limits: Limits,
    filling: Option<Filling<S::Meta>>,
    ready: VecDeque<Request<S::Meta>>,
    under_way: JoinSet<Result<(), Error>>,
}

/// The bounds of a request.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: usize,
    items: usize,
    age: Duration,
    under_way: usize,
}

/// The request that is being filled, and when it has to go.
struct Filling<M> {
    request: Request<M>,
    due: Instant,
}

/// Wraps a sink into a component with everything it does not do itself.
///
/// # Errors
/// If the dead-letter file can't be opened.
pub fn component<S: Sink>(
    sink: S,
    options: &Options,
    context: &Context,
) -> Result<Component, Error> {
    let places = if S::IN_ORDER { 1 } else { options.request.concurrency as usize };
    let dead_letter = options.dead_letter.as_ref().map(DeadLetter::open).transpose()?;
    let delivery = Delivery {
        sink,
        meter: Arc::clone(&context.meter),
        dead_letter,
        in_flight: Arc::new(Semaphore::new(places)),
        retry_initial: Duration::from_secs(options.request.retry_initial_secs),
        retry_max: Duration::from_secs(options.request.retry_max_secs),
    };
    let limits = Limits {
        bytes: options.batch.max_bytes as usize,
        items: options.batch.max_events as usize,
        age: Duration::from_secs(options.batch.timeout_secs),
        under_way: if S::IN_ORDER { 1 } else { places * UNCONFIRMED_PER_PLACE },
    };
    let driver = Driver {
        delivery: Arc::new(delivery),
        limits,
        filling: None,
        ready: VecDeque::new(),
        under_way: JoinSet::new(),
    };
    Ok(Component::sink(move |input| driver.run(input)))
}

// === impl Driver ===

impl<S: Sink> Driver<S> {
    async fn run(mut self, mut input: Input) -> Result<(), Error> {
        let mut maintenance = tokio::time::interval(MAINTENANCE);
        let mut open = true;
        while open || !self.ready.is_empty() || !self.under_way.is_empty() {
            let due = self.filling.as_ref().map(|filling| filling.due);
            let may_send = !self.ready.is_empty() && self.under_way.len() < self.limits.under_way;
            tokio::select! {
                biased;
                Some(done) = self.under_way.join_next() => finished(done)?,
                Ok(place) = Arc::clone(&self.delivery.in_flight).acquire_owned(), if may_send => {
                    self.dispatch(place);
                }
                batch = input.recv(), if open && self.ready.is_empty() => {
                    if let Some(batch) = batch {
                        self.fill(batch);
                    } else {
                        open = false;
                        self.close_request();
                    }
                }
                () = sleep_until(due), if due.is_some() => self.close_request(),
                _ = maintenance.tick() => self.maintain().await,
            }
        }
        self.delivery.sink.close().await
    }

    async fn maintain(&self) {
        if let Err(error) = self.delivery.sink.maintain().await {
            self.delivery.meter.error("maintenance");
            warn!(sink = self.delivery.meter.id(), "tried again in a second: {error}");
        }
    }

    /// Encodes a batch into the request that is being filled, and starts another where it is full.
    fn fill(&mut self, batch: Batch) {
        let mut end = End::Delivered;
        // Where the batch's items go now; a new request gets a share of its own.
        let mut joined = false;
        for index in 0..batch.records.len() {
            let filling = self.filling.get_or_insert_with(|| Filling::new(self.limits.age));
            let start = filling.request.body.len();
            let encoded =
                self.delivery.sink.encode(&batch.records, index, &mut filling.request.body);
            let meta = match encoded {
                Ok(meta) => meta,
                Err(error) => {
                    filling.request.body.truncate(start);
                    end = End::Dropped;
                    self.delivery.meter.dropped("unencodable", 1);
                    warn!(sink = self.delivery.meter.id(), "record dropped: {error}");
                    continue;
                }
            };
            let first = filling.request.items.first().map(|item| &item.meta);
            let fits = filling.request.body.len() <= self.limits.bytes;
            if first.is_some_and(|first| !fits || !self.delivery.sink.may_share(first, &meta)) {
                let tail = filling.request.body.split_off(start);
                self.close_request();
                let filling = self.filling.insert(Filling::new(self.limits.age));
                filling.request.body = tail;
                joined = false;
            }
            let Some(filling) = &mut self.filling else { continue };
            if !joined {
                filling.request.shares.add(batch.ack.share());
                joined = true;
            }
            let start = filling.request.items.last().map_or(0, |item| item.range.end);
            filling.request.push(start, meta);
            if filling.request.items.len() >= self.limits.items
                || filling.request.body.len() >= self.limits.bytes
            {
                self.close_request();
                joined = false;
            }
        }
        batch.ack.settle(end);
    }

    fn close_request(&mut self) {
        if let Some(filling) = self.filling.take()
            && !filling.request.items.is_empty()
        {
            self.ready.push_back(filling.request);
        }
    }

    /// Sends the next ready request from its place in flight.
    fn dispatch(&mut self, place: OwnedSemaphorePermit) {
        if let Some(request) = self.ready.pop_front() {
            self.under_way.spawn(Arc::clone(&self.delivery).deliver(request, place));
        }
    }
}

// === impl Filling ===

impl<M> Filling<M> {
    fn new(age: Duration) -> Self {
        Self { request: Request::new(), due: Instant::now() + age }
    }
}

fn finished(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
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
