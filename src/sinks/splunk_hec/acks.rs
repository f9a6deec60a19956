//! Indexer acknowledgement: requests that wait until the collector says that the indexers have them.
//!
//! Each waiting request holds a future; one of them asks for all, then passes that task on. "False"
//! means pending, unknown and wrong channel alike, so a request that gets no other answer in time is
//! sent again, and may be there twice then. While nobody answers at all, requests wait: to send them
//! again would help nobody. Nothing but `true` is a confirmation, and that only while each id of a
//! channel stands for one request.

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
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use tracing::warn;

pub(super) use super::channel::Channel;
use super::{
    Acknowledgements, MAX_ANSWER_BYTES,
    channel::{First, Guid},
    reply::{self, AckId, Meaning, Statuses},
};
use crate::{
    component::Clock,
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Holding, Meter},
    record::Timestamp,
    sinks::http::{self, Client},
};

pub(super) const CHANNEL_HEADER: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// The longest wait between two questions while the collector answers none.
const MAX_POLL: Duration = Duration::from_mins(1);
/// Ids remembered of a channel, at least, and for each request in flight: twice what may wait.
const REMEMBERED: usize = 1024;
const REMEMBERED_PER_PLACE: usize = 16;

/// The requests that wait, by channel and id.
pub(super) struct Acks {
    enabled: AtomicBool,
    poll: Duration,
    timeout: Duration,
    ack: Url,
    client: Arc<Client>,
    meter: Arc<Meter>,
    remembered: usize,
    channel: Mutex<Arc<Channel>>,
    waiting: Mutex<BTreeMap<Guid, Waiting>>,
    /// Whose turn it is to ask.
    turn: tokio::sync::Mutex<()>,
    /// Rounds of questions in a row of which none was answered.
    unanswered: AtomicU32,
    /// From the first such round to the next answer.
    holding: Mutex<Option<Holding>>,
    /// Whether the collector has given an id.
    gives_ids: AtomicBool,
    /// Whether it has given none.
    gives_none: AtomicBool,
    logged: Logged,
}

/// What may be logged again and again, and what is logged once.
struct Logged {
    confused: LogLimit,
    unanswered: LogLimit,
    without_ids: LogLimit,
    unreadable: LogLimit,
    unwanted: LogLimit,
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

/// A question for the requests of a channel.
struct Question {
    channel: Arc<Channel>,
    /// In order.
    ids: Vec<u64>,
}

// === impl Acks ===

impl Acks {
    /// For a sink with so many requests in flight.
    pub(super) fn new(
        config: &Acknowledgements,
        concurrency: u32,
        ack: Url,
        client: Arc<Client>,
        meter: Arc<Meter>,
    ) -> Self {
        let remembered = REMEMBERED.max(REMEMBERED_PER_PLACE * concurrency as usize);
        Self {
            enabled: AtomicBool::new(config.enabled),
            poll: Duration::from_secs(config.poll_secs),
            timeout: Duration::from_secs(config.timeout_secs),
            ack,
            client,
            meter,
            remembered,
            channel: Mutex::new(Arc::new(Channel::new(remembered))),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            unanswered: AtomicU32::new(0),
            holding: Mutex::default(),
            gives_ids: AtomicBool::new(false),
            gives_none: AtomicBool::new(false),
            logged: Logged {
                confused: LogLimit::series(),
                unanswered: LogLimit::series(),
                without_ids: LogLimit::first(1),
                unreadable: LogLimit::first(1),
                unwanted: LogLimit::first(1),
            },
        }
    }

    /// The channel to send on. Where nothing was taken on it yet, one request goes first: it brings
    /// back the cookie by which a load balancer sends the others to the same collector.
    pub(super) async fn channel(&self) -> (Arc<Channel>, Option<First>) {
        loop {
            let channel = self.current();
            let first = channel.first().await;
            // Whoever was first before may have found that it is of no use.
            if Arc::ptr_eq(&channel, &self.current()) {
                return (channel, first);
            }
        }
    }

    fn current(&self) -> Arc<Channel> {
        Arc::clone(&lock(&self.channel))
    }

    /// Sends on a new channel from now on, if `old` is still the current one: the collector may have
    /// forgotten it, and an id it gives again must not stand for a request of before.
    pub(super) fn renew(&self, old: &Arc<Channel>) {
        let mut channel = lock(&self.channel);
        if Arc::ptr_eq(&channel, old) {
            *channel = Arc::new(Channel::new(self.remembered));
        }
    }

    /// Whether what the collector takes counts as delivered only when it is confirmed.
    pub(super) fn are_awaited(&self) -> bool {
        let without = self.gives_none.load(Ordering::Relaxed);
        self.enabled.load(Ordering::Relaxed) && !without
    }

    /// A request was taken under this id; `None` if nothing is to be waited for.
    pub(super) fn expect(&self, channel: &Arc<Channel>, ack_id: AckId) -> Option<Pending> {
        channel.open();
        if !self.enabled.load(Ordering::Relaxed) {
            if ack_id != AckId::Absent && self.logged.unwanted.admit(1, now()).is_some() {
                warn!(
                    "the token has indexer acknowledgement, and nobody asks for it: the \
                     collector's answer alone counts",
                );
            }
            return None;
        }
        let AckId::Given(id) = ack_id else {
            self.without_id(ack_id);
            return None;
        };
        self.gives_ids.store(true, Ordering::Relaxed);
        self.gives_none.store(false, Ordering::Relaxed);
        let (end, pending) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if channel.give(id) {
            let of_channel = waiting.entry(channel.guid()).or_insert_with(|| Waiting::on(channel));
            let deadline = Instant::now() + self.timeout;
            of_channel.requests.insert(id, Request { end, deadline });
        } else {
            let confused = waiting.remove(&channel.guid());
            drop(waiting);
            self.meter.count(ERRORS, ErrorType::AcknowledgementIdsRepeat, 1);
            if let Some(suppressed) = self.logged.confused.admit(1, now()) {
                warn!(
                    suppressed,
                    "an acknowledgement id came again: the collector started anew, or sessions don't \
                     stick to one behind the load balancer; what waits is sent again",
                );
            }
            self.renew(channel);
            confused.into_iter().for_each(Waiting::end);
        }
        Some(Pending(pending))
    }

    /// A request was taken without an id that can be asked for.
    fn without_id(&self, ack_id: AckId) {
        if ack_id == AckId::Unreadable {
            self.meter.count(ERRORS, ErrorType::AcknowledgementUnreadable, 1);
            if self.logged.unreadable.admit(1, now()).is_some() {
                warn!(
                    "the collector's acknowledgement ids are no numbers: its answer alone counts"
                );
            }
            return;
        }
        self.gives_none.store(true, Ordering::Relaxed);
        if self.gives_ids.load(Ordering::Relaxed) {
            self.meter.count(ERRORS, ErrorType::AcknowledgementMissing, 1);
        }
        if self.logged.without_ids.admit(1, now()).is_some() {
            warn!("the token has no indexer acknowledgement: the collector's answer alone counts");
        }
    }

    /// Waits until a request is confirmed; `false` if it has to be sent again.
    pub(super) async fn confirm(&self, mut pending: Pending) -> bool {
        loop {
            let turn = tokio::select! {
                biased;
                end = &mut pending.0 => return end.unwrap_or(false),
                turn = self.turn_to_ask() => turn,
            };
            // To the end: Splunk forgets an answer it has given, so none may go unread.
            self.ask_for_all().await;
            drop(turn);
        }
    }

    /// Goes on without: the token has acknowledgements off. Who waits is sent again.
    pub(super) fn give_up(&self) {
        if self.enabled.swap(false, Ordering::Relaxed) {
            self.meter.count(ERRORS, ErrorType::AcknowledgementsOff, 1);
            // Whatever question had no answer, none is asked any more.
            *lock(&self.holding) = None;
            warn!(
                "the token has indexer acknowledgement off: going on without; what waited is sent again",
            );
        }
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_values().for_each(Waiting::end);
    }

    /// When it is time to ask, and the caller's turn.
    async fn turn_to_ask(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        let failed = self.unanswered.load(Ordering::Relaxed).min(10);
        tokio::time::sleep((self.poll * (1 << failed)).min(MAX_POLL.max(self.poll))).await;
        turn
    }

    /// One round of questions, a channel after the other.
    async fn ask_for_all(&self) {
        let questions = self.questions();
        let mut answered = 0;
        for question in &questions {
            if self.enabled.load(Ordering::Relaxed) {
                answered += usize::from(self.ask(question).await);
            }
        }
        if answered > 0 {
            self.end_late(&questions, Instant::now());
            self.unanswered.store(0, Ordering::Relaxed);
            *lock(&self.holding) = None;
        } else if !questions.is_empty() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            lock(&self.holding).get_or_insert_with(|| self.meter.holding());
        }
    }

    fn questions(&self) -> Vec<Question> {
        let waiting = lock(&self.waiting);
        let question = |waiting: &Waiting| Question {
            channel: Arc::clone(&waiting.channel),
            ids: waiting.requests.keys().copied().collect(),
        };
        waiting.values().map(question).collect()
    }

    /// Whether the question is answered, be it with "no".
    async fn ask(&self, question: &Question) -> bool {
        let Question { channel, ids } = question;
        let mut headers = HeaderMap::from_iter([http::header("content-type", "application/json")]);
        headers.insert(CHANNEL_HEADER, channel.header());
        let body = json!({ "acks": ids }).to_string().into_bytes();
        let asked =
            self.client.request(Method::POST, self.ack.clone(), headers, body, MAX_ANSWER_BYTES);
        let reason = match asked.await {
            Ok(answer) if answer.status.is_success() => {
                match serde_json::from_slice::<Statuses>(&answer.body) {
                    Ok(statuses) => {
                        self.end_confirmed(channel, &statuses);
                        return true;
                    }
                    Err(_) => self.client.quote(&answer),
                }
            }
            Ok(answer) => match reply::meaning(&answer) {
                Meaning::NoAcks => {
                    self.give_up();
                    return true;
                }
                Meaning::WrongChannel => {
                    self.forget(channel);
                    return true;
                }
                _ => self.client.quote(&answer),
            },
            Err(failure) => {
                self.renew(channel);
                failure.to_string()
            }
        };
        self.meter.count(ERRORS, ErrorType::AcknowledgementUnanswered, 1);
        if let Some(suppressed) = self.logged.unanswered.admit(1, now()) {
            warn!(suppressed, "the collector doesn't say what was indexed; asked again: {reason}",);
        }
        false
    }

    fn end_confirmed(&self, channel: &Channel, statuses: &Statuses) {
        let mut waiting = lock(&self.waiting);
        let Some(of_channel) = waiting.get_mut(&channel.guid()) else { return };
        for (_, request) in of_channel.requests.extract_if(.., |id, _| statuses.confirm(*id)) {
            request.end(true);
        }
        waiting.retain(|_, of_channel| !of_channel.requests.is_empty());
    }

    /// Requests that were asked for and have waited too long are sent again, answered or not.
    fn end_late(&self, questions: &[Question], now: Instant) {
        let mut waiting = lock(&self.waiting);
        for Question { channel, ids } in questions {
            let Some(of_channel) = waiting.get_mut(&channel.guid()) else { continue };
            let is_late = |id: &u64, request: &mut Request| {
                request.deadline <= now && ids.binary_search(id).is_ok()
            };
            for (_, late) in of_channel.requests.extract_if(.., is_late) {
                self.meter.count(ERRORS, ErrorType::AcknowledgementLate, 1);
                late.end(false);
            }
        }
        waiting.retain(|_, of_channel| !of_channel.requests.is_empty());
    }

    /// The collector no longer knows the channel: who waits on it is sent again, on another.
    fn forget(&self, channel: &Arc<Channel>) {
        channel.close();
        self.renew(channel);
        let forgotten = lock(&self.waiting).remove(&channel.guid());
        forgotten.into_iter().for_each(Waiting::end);
    }
}

fn now() -> Timestamp {
    Clock::Wall.now(None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Waiting ===

impl Waiting {
    fn on(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), requests: BTreeMap::new() }
    }

    /// Nobody will ever confirm them.
    fn end(self) {
        self.requests.into_values().for_each(|request| request.end(false));
    }
}

// === impl Request ===

impl Request {
    fn end(self, confirmed: bool) {
        // A run that was cut off waits no longer.
        self.end.send(confirmed).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
