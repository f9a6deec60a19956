//! Indexer acknowledgement: requests that wait until the collector says that the indexers have them.
//!
//! Each waiting request holds a future; one of them asks for all, and passes that task on when its
//! own answer has come. "False" means pending, unknown and wrong channel alike, so a request that
//! gets no other answer in time is sent again, and may be there twice then. While nobody answers at
//! all, requests wait: to send them again would help nobody. Nothing but `true` is a confirmation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use tracing::{info, warn};

pub(super) use super::channel::Channel;
use super::{
    Acknowledgements, MAX_ANSWER_BYTES,
    channel::Guid,
    reply::{self, Meaning},
};
use crate::{
    metrics::{Meter, State},
    sinks::http::{self, Client},
};

pub(super) const CHANNEL_HEADER: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// The longest wait between two questions while the collector answers none.
const MAX_POLL: Duration = Duration::from_mins(1);

/// The requests that wait, by channel and id.
pub(super) struct Acks {
    enabled: AtomicBool,
    poll: Duration,
    timeout: Duration,
    ack: Url,
    client: Arc<Client>,
    meter: Arc<Meter>,
    channel: Mutex<Arc<Channel>>,
    waiting: Mutex<BTreeMap<Guid, Waiting>>,
    /// Whose turn it is to ask.
    turn: tokio::sync::Mutex<()>,
    /// Questions in a row that got no answer.
    failed: AtomicU32,
    told_of_no_id: AtomicBool,
}

/// The requests of one channel.
struct Waiting {
    channel: Arc<Channel>,
    requests: BTreeMap<u64, Request>,
}

struct Request {
    end: oneshot::Sender<bool>,
    deadline: Instant,
}

/// A request that waits; ends `true` when it is confirmed, `false` when it never will be.
#[derive(Debug)]
pub(super) struct Pending(oneshot::Receiver<bool>);

/// The answer to a question.
#[derive(Debug, Deserialize)]
pub(super) struct Statuses {
    acks: BTreeMap<u64, bool>,
}

// === impl Acks ===

impl Acks {
    pub(super) fn new(
        config: &Acknowledgements,
        ack: Url,
        client: Arc<Client>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            enabled: AtomicBool::new(config.enabled),
            poll: Duration::from_secs(config.poll_secs),
            timeout: Duration::from_secs(config.timeout_secs),
            ack,
            client,
            meter,
            channel: Mutex::new(Arc::new(Channel::new())),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            failed: AtomicU32::new(0),
            told_of_no_id: AtomicBool::new(false),
        }
    }

    /// The channel to send on.
    pub(super) fn channel(&self) -> Arc<Channel> {
        Arc::clone(&lock(&self.channel))
    }

    /// Sends on a new channel from now on, if `old` is still the current one: the collector may have
    /// forgotten it, and an id it gives again must not stand for a request of before.
    pub(super) fn renew(&self, old: &Arc<Channel>) {
        let mut channel = lock(&self.channel);
        if Arc::ptr_eq(&channel, old) {
            *channel = Arc::new(Channel::new());
        }
    }

    /// A request was taken under this id; `None` if nothing is to be waited for.
    pub(super) fn expect(&self, channel: &Arc<Channel>, ack_id: Option<u64>) -> Option<Pending> {
        if !self.enabled.load(Ordering::Relaxed) {
            return None;
        }
        let Some(id) = ack_id else {
            if !self.told_of_no_id.swap(true, Ordering::Relaxed) {
                warn!(
                    sink = self.meter.id(),
                    "the token has no indexer acknowledgement: the collector's answer alone counts",
                );
            }
            return None;
        };
        let (end, pending) = oneshot::channel();
        let request = Request { end, deadline: Instant::now() + self.timeout };
        let before = lock(&self.waiting)
            .entry(channel.guid())
            .or_insert_with(|| Waiting::on(channel))
            .requests
            .insert(id, request);
        if before.is_some() || !channel.counts_on(id) {
            info!(sink = self.meter.id(), "the collector counts its acknowledgements anew");
            self.renew(channel);
        }
        if let Some(before) = before {
            before.end(false);
        }
        Some(Pending(pending))
    }

    /// Waits until a request is confirmed; `false` if it has to be sent again.
    pub(super) async fn confirm(&self, mut pending: Pending) -> bool {
        tokio::select! {
            biased;
            end = &mut pending.0 => end.unwrap_or(false),
            () = self.ask_for_ever() => false,
        }
    }

    /// Goes on without: the token has acknowledgements off. Who waits is sent again.
    pub(super) fn give_up(&self) {
        if self.enabled.swap(false, Ordering::Relaxed) {
            self.meter.error("acknowledgements_off");
            // Whatever question had no answer, none is asked any more.
            self.meter.set_state(State::Running);
            warn!(
                sink = self.meter.id(),
                "the token has indexer acknowledgement off: going on without; what waited is sent again",
            );
        }
        for waiting in std::mem::take(&mut *lock(&self.waiting)).into_values() {
            waiting.requests.into_values().for_each(|request| request.end(false));
        }
    }

    /// Asks for all that wait, again and again, when it is this caller's turn; dropped when the
    /// caller's own answer has come. At worst that cuts off a question about another channel, which
    /// the next in turn asks again.
    async fn ask_for_ever(&self) {
        let _turn = self.turn.lock().await;
        loop {
            let failed = self.failed.load(Ordering::Relaxed).min(10);
            tokio::time::sleep((self.poll * (1 << failed)).min(MAX_POLL.max(self.poll))).await;
            for (channel, ids) in self.questions() {
                self.ask(&channel, &ids).await;
            }
        }
    }

    fn questions(&self) -> Vec<(Arc<Channel>, Vec<u64>)> {
        let waiting = lock(&self.waiting);
        let question = |waiting: &Waiting| {
            (Arc::clone(&waiting.channel), waiting.requests.keys().copied().collect())
        };
        waiting.values().map(question).collect()
    }

    async fn ask(&self, channel: &Arc<Channel>, ids: &[u64]) {
        let mut headers = HeaderMap::from_iter([http::header("content-type", "application/json")]);
        headers.insert(CHANNEL_HEADER, channel.header());
        let body = json!({ "acks": ids }).to_string().into_bytes();
        let asked =
            self.client.request(Method::POST, self.ack.clone(), headers, body, MAX_ANSWER_BYTES);
        let reason = match asked.await {
            Ok(answer) if answer.status.is_success() => {
                match serde_json::from_slice::<Statuses>(&answer.body) {
                    Ok(statuses) => {
                        if self.failed.swap(0, Ordering::Relaxed) > 0 {
                            self.meter.set_state(State::Running);
                        }
                        return self.answered(channel, &statuses, Instant::now());
                    }
                    Err(_) => self.client.quote(&answer),
                }
            }
            Ok(answer) => match reply::meaning(&answer) {
                Meaning::NoAcks => return self.give_up(),
                Meaning::WrongChannel => return self.forget(channel),
                _ => self.client.quote(&answer),
            },
            Err(failure) => {
                self.renew(channel);
                failure.to_string()
            }
        };
        self.meter.error("acknowledgement_unanswered");
        self.meter.set_state(State::Holding);
        let failed = self.failed.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failed.is_power_of_two() {
            warn!(
                sink = self.meter.id(),
                failed, "the collector doesn't say what was indexed; asked again: {reason}",
            );
        }
    }

    fn answered(&self, channel: &Channel, statuses: &Statuses, now: Instant) {
        let mut waiting = lock(&self.waiting);
        let Some(of_channel) = waiting.get_mut(&channel.guid()) else { return };
        let confirmed = |id: &u64| statuses.acks.get(id).is_some_and(|confirmed| *confirmed);
        for (_, request) in of_channel.requests.extract_if(.., |id, _| confirmed(id)) {
            request.end(true);
        }
        for (_, late) in of_channel.requests.extract_if(.., |_, request| request.deadline <= now) {
            self.meter.error("acknowledgement_late");
            late.end(false);
        }
        waiting.retain(|_, of_channel| !of_channel.requests.is_empty());
    }

    /// The collector no longer knows the channel: who waits on it is sent again, on another.
    fn forget(&self, channel: &Arc<Channel>) {
        self.renew(channel);
        let forgotten = lock(&self.waiting).remove(&channel.guid());
        let requests = forgotten.map(|of_channel| of_channel.requests).unwrap_or_default();
        for request in requests.into_values() {
            request.end(false);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Waiting ===

impl Waiting {
    fn on(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), requests: BTreeMap::new() }
    }
}

// === impl Request ===

impl Request {
    fn end(self, confirmed: bool) {
        // A run that was cut off waits no longer.
        self.end.send(confirmed).unwrap_or_default();
    }
}
