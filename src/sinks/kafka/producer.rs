//! Producers, one at a time, and messages on their way through them.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer},
};
use tokio::sync::Notify;

use super::{
    client::{Reports, State},
    report::Verdict,
};
use crate::task;

/// What a batch of librdkafka's holds at most, where the user does not say otherwise.
const BATCH_BYTES: u32 = 1_000_000;
/// Batches are made no smaller than this, whatever a topic refuses.
const MIN_BATCH_BYTES: u32 = 16 << 10;

type Producer = ThreadedProducer<Reports>;

/// The producer that is in use.
pub(super) struct Producers {
    config: ClientConfig,
    state: Arc<State>,
    current: Mutex<Arc<Generation>>,
}

/// One producer, and which one it is.
pub(super) struct Generation {
    number: u64,
    /// What its batches hold at most.
    batch_bytes: u32,
    /// Taken out to be dropped where waiting is allowed.
    producer: Option<Producer>,
    /// Another one, whose batches are one message each; made when it is needed.
    single: OnceLock<Result<Producer, KafkaError>>,
    single_config: ClientConfig,
    state: Arc<State>,
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Many in a batch.
    Shared,
    /// Each in a batch of its own, so that what is said of the batch is said of the message.
    Alone,
}

/// A request's messages on their way: what became of each.
#[derive(Debug, Clone)]
pub(super) struct Sending(Arc<Messages>);

#[derive(Debug)]
struct Messages {
    verdicts: Mutex<Vec<Option<Verdict>>>,
    left: AtomicUsize,
    all: Notify,
}

/// Goes with a message, and comes back with its delivery report.
#[derive(Debug)]
pub(super) struct Ticket {
    sending: Sending,
    index: usize,
}

pub(super) type Record<'a> = BaseRecord<'a, [u8], [u8], Box<Ticket>>;

// === impl Producers ===

impl Producers {
    /// Makes the first producer. Nothing is connected yet.
    pub(super) fn start(config: ClientConfig, state: Arc<State>) -> Result<Self, KafkaError> {
        let batch_bytes = config.get("batch.size").and_then(|bytes| bytes.parse().ok());
        let first = Generation::new(0, batch_bytes.unwrap_or(BATCH_BYTES), &config, &state)?;
        Ok(Self { config, state, current: Mutex::new(Arc::new(first)) })
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.lock())
    }

    /// Makes another producer unless `old` is no longer the current one. What waits in the old one comes
    /// back as purged. False if there is another one already.
    pub(super) fn replace(&self, old: &Generation) -> Result<bool, KafkaError> {
        let replaced = self.replace_by(old, old.batch_bytes)?;
        if replaced {
            old.purge();
        }
        Ok(replaced)
    }

    /// The same with batches of half the size; what waits in the old one still goes its way. Gives the size,
    /// `None` if they can't be smaller or there is another one already.
    pub(super) fn halve_batches(&self, old: &Generation) -> Result<Option<u32>, KafkaError> {
        let bytes = old.batch_bytes / 2;
        let halved = bytes >= MIN_BATCH_BYTES && self.replace_by(old, bytes)?;
        Ok(halved.then_some(bytes))
    }

    fn replace_by(&self, old: &Generation, batch_bytes: u32) -> Result<bool, KafkaError> {
        let mut current = self.lock();
        if current.number != old.number {
            return Ok(false);
        }
        self.state.forget();
        let next = Generation::new(old.number + 1, batch_bytes, &self.config, &self.state)?;
        *current = Arc::new(next);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Generation>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Generation ===

impl Generation {
    fn new(
        number: u64,
        batch_bytes: u32,
        config: &ClientConfig,
        state: &Arc<State>,
    ) -> Result<Self, KafkaError> {
        let (mut shared, mut single_config) = (config.clone(), config.clone());
        shared.set("batch.size", batch_bytes.to_string());
        single_config.set("batch.num.messages", "1").set("statistics.interval.ms", "0");
        Ok(Self {
            number,
            batch_bytes,
            producer: Some(shared.create_with_context(Reports(Arc::clone(state)))?),
            single: OnceLock::new(),
            single_config,
            state: Arc::clone(state),
        })
    }

    /// Hands a message over, waiting for room in the queue; or notes what is wrong with it.
    pub(super) async fn enqueue(&self, lane: Lane, mut record: Record<'_>, sending: &Sending) {
        let producer = match (lane, &self.producer) {
            (Lane::Shared, Some(producer)) => producer,
            (Lane::Alone, _) => match self.single() {
                Ok(single) => single,
                Err(error) => {
                    let verdict = Verdict::of(error, record.topic);
                    return sending.note(record.delivery_opaque.index, verdict);
                }
            },
            (Lane::Shared, None) => return,
        };
        loop {
            let room = self.state.room();
            let Err((error, back)) = producer.send(record) else { return };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                let verdict = Verdict::of(&error, back.topic).alone();
                return sending.note(back.delivery_opaque.index, verdict);
            }
            record = back;
            room.await;
        }
    }

    fn single(&self) -> Result<&Producer, &KafkaError> {
        let make = || self.single_config.create_with_context(Reports(Arc::clone(&self.state)));
        self.single.get_or_init(make).as_ref()
    }

    /// What waits comes back, unsent or of unknown fate.
    pub(super) fn purge(&self) {
        let single = self.single.get().and_then(|single| single.as_ref().ok());
        for producer in self.producer.iter().chain(single) {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl Drop for Generation {
    /// It waits for the end of a thread and of what was sent, for half a second at most.
    fn drop(&mut self) {
        let producers = (self.producer.take(), self.single.take());
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(task::blocking(move || drop(producers)));
        }
    }
}

// === impl Sending ===

impl Sending {
    /// So many messages, of which nothing is known.
    pub(super) fn new(messages: usize) -> Self {
        Self(Arc::new(Messages {
            verdicts: Mutex::new(vec![None; messages]),
            left: AtomicUsize::new(messages),
            all: Notify::new(),
        }))
    }

    /// What goes with the message at an index.
    pub(super) fn ticket(&self, index: usize) -> Ticket {
        Ticket { sending: self.clone(), index }
    }

    /// How many have no verdict yet.
    pub(super) fn left(&self) -> usize {
        self.0.left.load(Ordering::Acquire)
    }

    /// Waits until each has a verdict.
    pub(super) async fn done(&self) {
        loop {
            let all = self.0.all.notified();
            if self.left() == 0 {
                return;
            }
            all.await;
        }
    }

    /// The verdicts; of a message without one nobody knows what became of it.
    pub(super) fn take(&self) -> Vec<Verdict> {
        let verdicts = std::mem::take(&mut *self.verdicts());
        let unknown =
            || Verdict::Unclear(RDKafkaErrorCode::Unknown, "no delivery report came".to_owned());
        verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(unknown)).collect()
    }

    fn note(&self, index: usize, verdict: Verdict) {
        let is_new = match self.verdicts().get_mut(index) {
            Some(place) => place.replace(verdict).is_none(),
            None => false,
        };
        if is_new && self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.all.notify_waiters();
        }
    }

    fn verdicts(&self) -> MutexGuard<'_, Vec<Option<Verdict>>> {
        self.0.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ticket ===

impl Ticket {
    /// Its message's delivery report has come.
    pub(super) fn report(&self, verdict: Verdict) {
        self.sending.note(self.index, verdict);
    }
}
