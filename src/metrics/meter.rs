//! What one component counts, and the balance it must come to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    ACKNOWLEDGED, BUFFER_LOST, Balance, CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, Counter, DEAD_LETTERED,
    DISCARDED, DUPLICATED, ERRORS, Gauge, Histogram, Label, Level, RECEIVED, Reason, SENT, State,
};
use crate::task;

/// Characters of a failure's words that are kept.
const MAX_ERROR_CHARS: usize = 500;

/// Counts what one component takes in, hands on and doesn't.
///
/// What its [`Balance`] is made of has a method each; all else is counted by metric and label.
#[derive(Debug)]
pub struct Meter {
    id: String,
    kind: &'static str,
    state: AtomicU8,
    holders: AtomicUsize,
    received: Count,
    passed: AtomicU64,
    made: AtomicU64,
    sent: metrics::Counter,
    absorbed: AtomicU64,
    delivered: Count,
    duplicated: Count,
    dead_lettered: Count,
    unmade: AtomicU64,
    stored: AtomicU64,
    handed_on: AtomicU64,
    /// All other counters, by name and label.
    counts: Mutex<Counts>,
    level: Level,
    last_error: Mutex<Option<String>>,
    gauged: Mutex<BTreeMap<&'static str, u64>>,
    /// What it says of itself in `/health`.
    says: Mutex<Option<serde_json::Value>>,
}

type Counts = BTreeMap<(&'static str, &'static str), Count>;

/// While it lives, its component is [`State::Holding`], unless it is over.
#[derive(Debug)]
#[must_use = "the component holds only as long as this lives"]
pub struct Holding(Arc<Meter>);

#[derive(Debug)]
struct Count {
    value: AtomicU64,
    exported: metrics::Counter,
}

// === impl Meter ===

impl Meter {
    /// The meter of component `id` of type `kind` (`file`, `tshark`…).
    pub fn new(id: impl Into<String>, kind: &'static str) -> Arc<Self> {
        let id = id.into();
        let count = |counter: Counter<()>| Count::new(counter.of(&id, kind, ()));
        let meter = Arc::new(Self {
            state: AtomicU8::new(State::Starting as u8),
            holders: AtomicUsize::new(0),
            received: count(RECEIVED),
            passed: AtomicU64::new(0),
            made: AtomicU64::new(0),
            sent: SENT.of(&id, kind, ()),
            absorbed: AtomicU64::new(0),
            delivered: count(ACKNOWLEDGED),
            duplicated: count(DUPLICATED),
            dead_lettered: count(DEAD_LETTERED),
            unmade: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            handed_on: AtomicU64::new(0),
            counts: Mutex::default(),
            level: Level::new(&id, kind),
            last_error: Mutex::default(),
            gauged: Mutex::default(),
            says: Mutex::default(),
            id,
            kind,
        });
        // Exported from the beginning, so that a rate of them has a zero to begin with.
        meter.add(DISCARDED, Reason::Filtered, 0);
        meter.add(CAPTURE_UNKNOWN_LOSS, (), 0);
        meter
    }

    /// The component's id in the config.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The component's type.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The span in which what it does is logged.
    pub fn span(&self) -> tracing::Span {
        task::span(&self.id, self.kind)
    }

    /// Its state: what it was moved to, or `Holding` while somebody holds.
    pub fn state(&self) -> State {
        let state = State::from_bits(self.state.load(Ordering::Acquire));
        let held = self.holders.load(Ordering::Acquire) > 0;
        if held && !state.is_over() { State::Holding } else { state }
    }

    /// Moves it to another state. Those who hold go on holding.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// One of several things that a component does at once has to wait for the other end.
    pub fn holding(self: &Arc<Self>) -> Holding {
        self.holders.fetch_add(1, Ordering::AcqRel);
        Holding(Arc::clone(self))
    }

    /// The gauges of the buffer before it.
    pub fn level(&self) -> Level {
        self.level.clone()
    }

    /// What the component says of itself in `/health` from now on.
    pub fn say(&self, says: serde_json::Value) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = Some(says);
    }

    /// What it says of itself, if it does.
    pub fn says(&self) -> Option<serde_json::Value> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `n` records were taken in.
    pub fn received(&self, n: u64) {
        self.received.add(n);
    }

    /// `n` of them were handed on.
    pub fn passed(&self, n: u64) {
        self.passed.fetch_add(n, Ordering::Relaxed);
        self.sent.increment(n);
    }

    /// `n` new records were made and handed on.
    pub fn made(&self, n: u64) {
        self.made.fetch_add(n, Ordering::Relaxed);
        self.sent.increment(n);
    }

    /// `n` entered an aggregate.
    pub fn absorbed(&self, n: u64) {
        self.absorbed.fetch_add(n, Ordering::Relaxed);
    }

    /// The destination confirmed `n`.
    pub fn delivered(&self, n: u64) {
        self.delivered.add(n);
        self.sent.increment(n);
    }

    /// `n` of the delivered were there already, or may be there twice.
    pub fn duplicated(&self, n: u64) {
        self.duplicated.add(n);
    }

    /// `n` are in the dead-letter file.
    pub fn dead_lettered(&self, n: u64) {
        self.dead_lettered.add(n);
        self.sent.increment(n);
    }

    /// `n` records that an aggregate had yet to make went with it: the run was cut off.
    pub fn cut_off(&self, n: u64) {
        self.unmade.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` records are on disk now, for this run or the next.
    pub fn stored(&self, n: u64) {
        self.stored.store(n, Ordering::Relaxed);
    }

    /// `n` of those on disk are handed on as well, and kept until that is confirmed.
    pub fn handed_on(&self, n: u64) {
        self.handed_on.store(n, Ordering::Relaxed);
    }

    /// Records on disk, and how many of them are handed on as well.
    pub fn on_disk(&self) -> (u64, u64) {
        (self.stored.load(Ordering::Relaxed), self.handed_on.load(Ordering::Relaxed))
    }

    /// Counts `n` of what the metric is for, under one of the words of its label.
    pub fn count<L: Label>(&self, counter: Counter<L>, label: L, n: u64) {
        if n > 0 {
            self.add(counter, label, n);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: usize) {
        let mut gauged = self.gauged.lock().unwrap_or_else(PoisonError::into_inner);
        gauged.insert(gauge.metric.name, value as u64);
        drop(gauged);
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        gauge.of(&self.id, self.kind).set(f64::from(value));
    }

    /// Adds a length of time to a distribution.
    pub fn observe(&self, histogram: Histogram, seconds: f64) {
        histogram.of(&self.id, self.kind).record(seconds);
    }

    /// What a gauge was set to; 0 before.
    pub fn gauged(&self, gauge: Gauge) -> u64 {
        let gauged = self.gauged.lock().unwrap_or_else(PoisonError::into_inner);
        gauged.get(gauge.metric.name).copied().unwrap_or(0)
    }

    /// It failed, or its other end did, in words without secrets: kept until the next one.
    pub fn failed(&self, error: &str) {
        let line: String = error.split_whitespace().collect::<Vec<_>>().join(" ");
        let kept = line.chars().take(MAX_ERROR_CHARS).collect();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// The last failure.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted for a metric so far, by label; without labels that were never counted.
    pub fn counted<L: Label>(&self, counter: Counter<L>) -> BTreeMap<&'static str, u64> {
        let counts = self.counts();
        let of_metric = counts.iter().filter(|((name, _), _)| *name == counter.metric.name);
        let values = of_metric.map(|((_, label), count)| (*label, count.get()));
        values.filter(|(_, n)| *n > 0).collect()
    }

    fn add<L: Label>(&self, counter: Counter<L>, label: L, n: u64) {
        let mut counts = self.counts();
        let count = counts
            .entry((counter.metric.name, label.name()))
            .or_insert_with(|| Count::new(counter.of(&self.id, self.kind, label)));
        count.add(n);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account so far.
    pub fn balance(&self) -> Balance {
        let mut dropped = self.counted(DISCARDED);
        let filtered = Reason::FILTERED.map(|reason| dropped.remove(reason.name()).unwrap_or(0));
        let mut lost = self.counted(CAPTURE_LOST);
        lost.extend(self.counted(BUFFER_LOST));
        let mut balance = Balance {
            received: self.received.get(),
            passed: self.passed.load(Ordering::Relaxed),
            made: self.made.load(Ordering::Relaxed),
            absorbed: self.absorbed.load(Ordering::Relaxed),
            filtered: filtered.iter().sum(),
            delivered: self.delivered.get(),
            duplicated: self.duplicated.get(),
            dead_lettered: self.dead_lettered.get(),
            dropped,
            lost,
            unknown_losses: self.counted(CAPTURE_UNKNOWN_LOSS).values().sum(),
            errors: self.counted(ERRORS),
            unmade: self.unmade.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
            held: 0,
        };
        balance.held = balance.received.saturating_sub(balance.accounted());
        balance
    }
}

// === impl Holding ===

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Count ===

impl Count {
    fn new(exported: metrics::Counter) -> Self {
        Self { value: AtomicU64::new(0), exported }
    }

    fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        self.exported.increment(n);
    }

    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accounted_for_is_held() {
        let meter = Meter::new("packets", "extract");
        meter.received(10);
        meter.passed(6);
        meter.count(DISCARDED, Reason::Filtered, 1);
        meter.count(DISCARDED, Reason::NotJson, 2);
        let balance = meter.balance();
        assert_eq!((balance.out(), balance.held), (6, 1));
        assert!(balance.holds());
    }

    #[test]
    fn a_component_holds_until_the_last_who_holds_is_gone() {
        let meter = Meter::new("siem", "elasticsearch");
        meter.set_state(State::Running);
        let (one, other) = (meter.holding(), meter.holding());
        drop(one);
        meter.set_state(State::Running);
        assert_eq!(meter.state(), State::Holding);
        drop(other);
        assert_eq!(meter.state(), State::Running);
        let _late = meter.holding();
        meter.set_state(State::Ended);
        assert_eq!(meter.state(), State::Ended);
    }

    #[test]
    fn the_last_error_is_one_line_of_bounded_length() {
        let meter = Meter::new("siem", "elasticsearch");
        assert_eq!(meter.last_error(), None);
        meter.failed("first");
        meter.failed("no\n  route\tto host");
        assert_eq!(meter.last_error().as_deref(), Some("no route to host"));
        meter.failed(&"ü".repeat(10_000));
        assert_eq!(meter.last_error().map(|error| error.chars().count()), Some(MAX_ERROR_CHARS));
    }

    #[test]
    fn an_account_of_more_than_was_taken_in_does_not_balance() {
        let meter = Meter::new("packets", "extract");
        meter.received(1);
        meter.passed(2);
        assert!(!meter.balance().holds());
    }
}
