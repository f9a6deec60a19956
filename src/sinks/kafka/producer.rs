//! Producers, one at a time, and messages on their way through them.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
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

/// The producer that is in use.
pub(super) struct Producers {
    config: ClientConfig,
    state: Arc<State>,
    current: Mutex<Arc<Generation>>,
}

/// One producer, and which one it is.
pub(super) struct Generation {
    number: u64,
    /// Taken out to be dropped where waiting is allowed.
    producer: Option<ThreadedProducer<Reports>>,
    state: Arc<State>,
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
        let first = Generation::new(0, &config, &state)?;
        Ok(Self { config, state, current: Mutex::new(Arc::new(first)) })
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.lock())
    }

    /// Makes another producer unless `old` is no longer the current one. What waits in the old one comes
    /// back as purged. False if there is another one already.
    pub(super) fn replace(&self, old: &Generation) -> Result<bool, KafkaError> {
        let mut current = self.lock();
        if current.number != old.number {
            return Ok(false);
        }
        self.state.forget();
        let next = Generation::new(old.number + 1, &self.config, &self.state)?;
        let old = std::mem::replace(&mut *current, Arc::new(next));
        drop(current);
        old.purge();
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Generation>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Generation ===

impl Generation {
    fn new(number: u64, config: &ClientConfig, state: &Arc<State>) -> Result<Self, KafkaError> {
        let producer = config.create_with_context(Reports(Arc::clone(state)))?;
        Ok(Self { number, producer: Some(producer), state: Arc::clone(state) })
    }

    /// Hands a message over, waiting for room in the queue; or notes what is wrong with it.
    pub(super) async fn enqueue(&self, mut record: Record<'_>, sending: &Sending) {
        let Some(producer) = &self.producer else { return };
        loop {
            let room = self.state.room();
            let Err((error, back)) = producer.send(record) else { return };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                let verdict = Verdict::of(&error, back.topic);
                return sending.note(back.delivery_opaque.index, verdict);
            }
            record = back;
            room.await;
        }
    }

    fn purge(&self) {
        if let Some(producer) = &self.producer {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl Drop for Generation {
    /// It waits for the end of a thread and of what was sent, for half a second at most.
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(task::blocking(move || drop(producer)));
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
