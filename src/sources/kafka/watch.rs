//! What librdkafka tells beside messages: partitions that come and go, commits, errors, statistics.
//!
//! Most of it is called by the thread that polls. A partition is given back once what was handed on of it is
//! acknowledged, or after some seconds: then whoever gets it reads a part of it again.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use serde_json::json;
use tracing::{debug, error, info, warn};

use super::ledger::{Ledger, Part, Ticket};
use crate::{
    ack::End,
    component::Clock,
    log_limit::LogLimit,
    metrics::{ERRORS, ErrorType, Holding, KAFKA_LAG, KAFKA_ROUND_TRIP, Meter},
    record::Timestamp,
};

/// How long what was handed on of a partition may take before it is given back all the same.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// How long a broker may take to say what the group has committed.
const ASK: Duration = Duration::from_secs(10);

/// What the thread that polls and the task that hands on have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) meter: Arc<Meter>,
    ledger: Mutex<Ledger>,
    /// A batch has ended, or the phase has changed.
    settled: Condvar,
    phase: AtomicU8,
    /// Partitions that are paused, as there is no room for what was read.
    paused: AtomicUsize,
    trouble: Mutex<Option<Trouble>>,
    pub(super) refused: LogLimit,
    errors: LogLimit,
    lines: LogLimit,
}

/// Why nothing comes.
#[derive(Debug)]
struct Trouble {
    /// Since when, if it is the brokers who refuse us: a login or a certificate, which may be mended.
    refused_since: Option<Timestamp>,
    /// Whether it is over once a broker is reached.
    is_distance: bool,
    _holding: Holding,
}

/// What is done at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Messages are read.
    Reading = 0,
    /// Nothing more is read; what was handed on is waited for.
    Draining = 1,
    /// What is acknowledged is committed, and that is all.
    Over = 2,
}

/// The context of a consumer.
pub(super) struct Watch(pub(super) Arc<Shared>);

/// The partitions of a list.
fn parts(list: &TopicPartitionList) -> Vec<Part> {
    let part = |(topic, number): (String, i32)| Part { topic: topic.into(), number };
    list.elements()
        .iter()
        .map(|element| part((element.topic().to_owned(), element.partition())))
        .collect()
}

/// The same as librdkafka takes it.
pub(super) fn list(parts: &[Part]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(parts.len());
    for part in parts {
        list.add_partition(&part.topic, part.number);
    }
    list
}

fn names(parts: &[Part]) -> String {
    parts.iter().map(Part::to_string).collect::<Vec<_>>().join(", ")
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            ledger: Mutex::default(),
            settled: Condvar::new(),
            phase: AtomicU8::new(Phase::Reading as u8),
            paused: AtomicUsize::new(0),
            trouble: Mutex::default(),
            refused: LogLimit::series(),
            errors: LogLimit::series(),
            lines: LogLimit::series(),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch has ended.
    pub(super) fn settle(&self, ticket: &Ticket, end: End) {
        self.ledger().settle(ticket, end);
        self.settled.notify_all();
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Reading,
            1 => Phase::Draining,
            _ => Phase::Over,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        // Whoever waits has looked at the phase under this lock.
        drop(self.ledger());
        self.settled.notify_all();
    }

    /// So many partitions are paused.
    pub(super) fn paused(&self, partitions: usize) {
        self.paused.store(partitions, Ordering::Relaxed);
    }

    /// Something is wrong at the other end; the source holds until it is well again.
    pub(super) fn trouble(&self, kind: ErrorType, reason: &str) {
        self.meter.count(ERRORS, kind, 1);
        let now = Clock::Wall.now(None);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().and_then(|trouble| trouble.refused_since);
        let is_refusal = kind == ErrorType::BrokerRefusesUs;
        // Brokers that refuse us are also told as down, again and again: that says less.
        if since.is_some() && !is_refusal {
            return;
        }
        self.meter.failed(reason);
        if let Some(suppressed) = self.errors.admit(1, now) {
            error!(suppressed, "nothing is read: {reason}");
        }
        *trouble = Some(Trouble {
            refused_since: since.or(is_refusal.then_some(now)),
            is_distance: kind == ErrorType::BrokerUnreachable,
            _holding: self.meter.holding(),
        });
    }

    /// Another consumer tries anew.
    pub(super) fn forget_refusal(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_mut() {
            trouble.refused_since = None;
        }
    }

    /// All is well.
    pub(super) fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A broker answers.
    fn reached(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_some_and(|trouble| trouble.is_distance) {
            *trouble = None;
        }
    }

    /// Nanoseconds for which the brokers have refused us.
    pub(super) fn refused_nanos(&self, now: Timestamp) -> u64 {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().and_then(|trouble| trouble.refused_since);
        since.map_or(0, |since| now.since(since))
    }

    /// Whether anything is acknowledged that is not known to be committed.
    pub(super) fn has_to_commit(&self) -> bool {
        let ledger = self.ledger();
        !ledger.to_commit(&ledger.parts()).is_empty()
    }

    /// Commits what of these is acknowledged. False if that is not taken while partitions move: it is, once
    /// they have.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<Watch>,
        parts: &[Part],
        mode: CommitMode,
    ) -> bool {
        let positions = self.ledger().to_commit(parts);
        if positions.is_empty() {
            return true;
        }
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (part, offset) in &positions {
            let added =
                list.add_partition_offset(&part.topic, part.number, Offset::Offset(*offset));
            if let Err(error) = added {
                self.commit_failed(&error);
            }
        }
        match (consumer.commit(&list, mode), mode) {
            (Ok(()), CommitMode::Sync) => {
                let mut ledger = self.ledger();
                for (part, offset) in &positions {
                    ledger.committed(part, *offset);
                }
            }
            // Its result comes later.
            (Ok(()), CommitMode::Async) => {}
            (Err(error), _) => return !self.commit_failed(&error),
        }
        true
    }

    /// What was not committed is tried again, or read again by whoever has the partition then. Gives whether
    /// it is because partitions move.
    fn commit_failed(&self, error: &KafkaError) -> bool {
        let moved = [
            Code::IllegalGeneration,
            Code::RebalanceInProgress,
            Code::UnknownMemberId,
            Code::AssignmentLost,
            Code::NoOffset,
        ];
        if error.rdkafka_error_code().is_some_and(|code| moved.contains(&code)) {
            debug!("not committed, as the partitions are about to move: {error}");
            return true;
        }
        self.meter.count(ERRORS, ErrorType::CommitFailed, 1);
        if let Some(suppressed) = self.errors.admit(1, Clock::Wall.now(None)) {
            warn!(suppressed, "what was acknowledged is not committed yet: {error}");
        }
        false
    }

    /// Partitions become ours.
    fn assigned(&self, consumer: &BaseConsumer<Watch>, new: &TopicPartitionList) {
        let new = parts(new);
        let committed = consumer.committed_offsets(list(&new), ASK);
        let now = Clock::Wall.now(None);
        let mut ledger = self.ledger();
        for part in &new {
            let found = committed.as_ref().ok();
            let found = found.and_then(|list| list.find_partition(&part.topic, part.number));
            let offset = found.and_then(|element| element.offset().to_raw());
            ledger.assign(part.clone(), offset.filter(|offset| *offset >= 0), now);
        }
        drop(ledger);
        if let Err(error) = &committed {
            warn!("not asked up to where the group has read, so gaps would not show: {error}");
        }
        if !new.is_empty() {
            info!("reads {}", names(&new));
        }
        self.well();
    }

    /// Partitions go to somebody else. Waits until what was handed on of them is acknowledged, as long as
    /// that may take, and commits it.
    fn revoked(&self, consumer: &BaseConsumer<Watch>, old: &TopicPartitionList) {
        let old = parts(old);
        if old.is_empty() {
            return;
        }
        let mut ledger = self.ledger();
        ledger.close(&old);
        // Who is late has lost them already: others read them, and would not see this commit.
        let is_lost = consumer.assignment_lost();
        if !is_lost {
            let wait =
                |ledger: &mut Ledger| self.phase() != Phase::Over && ledger.pending(&old) > 0;
            let waited = self.settled.wait_timeout_while(ledger, GIVE_BACK, wait);
            ledger = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let pending = ledger.pending(&old);
        drop(ledger);
        if !is_lost {
            self.commit(consumer, &old, CommitMode::Sync);
        }
        self.ledger().release(&old);
        if pending > 0 && self.phase() != Phase::Over {
            self.meter.count(ERRORS, ErrorType::GivenBackUnacknowledged, 1);
            warn!(
                "gives back {} before all of it was acknowledged: {pending} pieces are read again",
                names(&old)
            );
        } else {
            info!("gives back {}", names(&old));
        }
    }
}

// === impl Watch ===

impl ClientContext for Watch {
    /// Lines of librdkafka's own log; what matters in them comes as an error too.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            return;
        }
        if let Some(suppressed) = self.0.lines.admit(1, Clock::Wall.now(None)) {
            debug!(suppressed, "librdkafka: {facility}: {line}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SSL) => {
                self.0.trouble(ErrorType::BrokerRefusesUs, reason);
            }
            Some(Code::AllBrokersDown) => self.0.trouble(ErrorType::BrokerUnreachable, reason),
            // One of several, or one that is tried again at once.
            _ => {
                self.0.meter.count(ERRORS, ErrorType::BrokerUnreachable, 1);
                if let Some(suppressed) = self.0.errors.admit(1, Clock::Wall.now(None)) {
                    warn!(suppressed, "librdkafka: {reason}");
                }
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        let shared = &self.0;
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            shared.reached();
        }
        let slowest =
            statistics.brokers.values().filter_map(|broker| Some(broker.rtt.as_ref()?.p99));
        let number = |n: i64| usize::try_from(n).unwrap_or(0);
        shared.meter.set(KAFKA_ROUND_TRIP, number(slowest.max().unwrap_or(0)));
        let mut ledger = shared.ledger();
        let event_time = ledger.watermark(Clock::Wall.now(None)).map(|time| time.to_string());
        let held = ledger.parts();
        let behind = |part: &Part| {
            let topic = statistics.topics.get(&*part.topic)?;
            let end = topic.partitions.get(&part.number)?.hi_offset;
            Some(end.saturating_sub(ledger.position(part)?).max(0))
        };
        let lag = held.iter().filter_map(behind).fold(0, i64::saturating_add);
        drop(ledger);
        shared.meter.set(KAFKA_LAG, number(lag));
        let paused = shared.paused.load(Ordering::Relaxed);
        shared.meter.say(json!({
            "partitions": held.len(), "paused": paused, "lag": lag, "event_time": event_time,
        }));
    }
}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(new) => self.0.assigned(consumer, new),
            Rebalance::Revoke(old) => self.0.revoked(consumer, old),
            Rebalance::Error(error) => {
                self.0.trouble(ErrorType::BrokerUnreachable, &error.to_string());
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = &result {
            self.0.commit_failed(error);
            return;
        }
        for element in offsets.elements() {
            let part = Part { topic: element.topic().into(), number: element.partition() };
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => self.0.ledger().committed(&part, offset),
                (Ok(()), _) => {}
                (Err(error), _) => {
                    self.0.commit_failed(&error);
                }
            }
        }
    }
}
