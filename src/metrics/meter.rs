//! What one component counts, and the balance it must come to.
#![expect(clippy::disallowed_macros, reason = "this is the module that names metrics")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::task;

use super::{
    ACKNOWLEDGED, BUFFER_BYTES, BUFFER_EVENTS, CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, DEAD_LETTERED,
    DISCARDED, DNS_LOOKUPS, DUPLICATED, ERRORS, FLOW_ACTIVE, FLOW_ENDED, Metric, RECEIVED, SENT,
};

/// Counts what one component takes in, hands on and doesn't.
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
    filtered: Count,
    filtered_for: Reasons,
    delivered: Count,
    duplicated: Count,
    dead_lettered: Count,
    unknown_losses: Count,
    unmade: AtomicU64,
    dropped: Reasons,
    lost: Reasons,
    errors: Reasons,
    lookups: Reasons,
    level: Level,
}

/// A component's state, for `/health` and `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Built, not running yet.
    Starting = 0,
    /// At work.
    Running = 1,
    /// At work, but its other end is not: it holds what it has and tries again.
    Holding = 2,
    /// Done.
    Ended = 3,
    /// Ended by an error.
    Failed = 4,
}

/// While it lives, its component is [`State::Holding`], unless it is over.
#[derive(Debug)]
#[must_use = "the component holds only as long as this lives"]
pub struct Holding(Arc<Meter>);

/// A component's account of the records it saw:
/// `received = passed + delivered + dead_lettered + absorbed + filtered + dropped + held`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// Taken in.
    pub received: u64,
    /// Of these, handed on.
    pub passed: u64,
    /// New records, made of others; not part of the equation.
    pub made: u64,
    /// Entered an aggregate.
    pub absorbed: u64,
    /// Of no interest to what the config asks for.
    pub filtered: u64,
    /// Confirmed by the destination.
    pub delivered: u64,
    /// Of these, there already (or possibly twice).
    pub duplicated: u64,
    /// In the dead-letter file.
    pub dead_lettered: u64,
    /// Could not be used or were refused, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Packets lost before there was a record of them, by cause; not part of the equation.
    pub lost: BTreeMap<&'static str, u64>,
    /// Intervals with losses nobody counted.
    pub unknown_losses: u64,
    /// Errors, by type.
    pub errors: BTreeMap<&'static str, u64>,
    /// Records it would have made of what it absorbed (open flows), when it was cut off; not part of the
    /// equation.
    pub unmade: u64,
    /// Taken in and not accounted for yet: what the component still holds.
    pub held: u64,
}

/// How full the buffer before a component is.
#[derive(Debug, Clone)]
pub struct Level {
    events: metrics::Gauge,
    bytes: metrics::Gauge,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Count {
    value: AtomicU64,
    exported: metrics::Counter,
}

/// Counts by a label of few values.
#[derive(Debug, Default)]
struct Reasons(Mutex<BTreeMap<&'static str, Count>>);

// === impl Meter ===

impl Meter {
    /// The meter of component `id` of type `kind` (`file`, `tshark`…).
    pub fn new(id: impl Into<String>, kind: &'static str) -> Arc<Self> {
        let id = id.into();
        let count = |metric: Metric| Count::new(labelled(metric, &id, kind));
        Arc::new(Self {
            state: AtomicU8::new(State::Starting as u8),
            holders: AtomicUsize::new(0),
            received: count(RECEIVED),
            passed: AtomicU64::new(0),
            made: AtomicU64::new(0),
            sent: labelled(SENT, &id, kind),
            absorbed: AtomicU64::new(0),
            filtered: Count::new(discarded(&id, kind, true, "filtered")),
            filtered_for: Reasons::default(),
            delivered: count(ACKNOWLEDGED),
            duplicated: count(DUPLICATED),
            dead_lettered: count(DEAD_LETTERED),
            unknown_losses: count(CAPTURE_UNKNOWN_LOSS),
            unmade: AtomicU64::new(0),
            dropped: Reasons::default(),
            lost: Reasons::default(),
            errors: Reasons::default(),
            lookups: Reasons::default(),
            level: Level {
                events: metrics::gauge!(BUFFER_EVENTS.name, "component_id" => id.clone(), "component_type" => kind),
                bytes: metrics::gauge!(BUFFER_BYTES.name, "component_id" => id.clone(), "component_type" => kind),
                waiting: Arc::default(),
            },
            id,
            kind,
        })
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

    /// `n` are of no interest to what the config asks for.
    pub fn filtered(&self, n: u64) {
        self.filtered.add(n);
    }

    /// The same, where there are several reasons for it.
    pub fn filtered_for(&self, reason: &'static str, n: u64) {
        self.filtered_for.add(reason, n, || discarded(&self.id, self.kind, true, reason));
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

    /// `n` could not be used, were refused, or met a full buffer that was told to drop.
    pub fn dropped(&self, reason: &'static str, n: u64) {
        let intentional = reason == "buffer_full";
        self.dropped.add(reason, n, || discarded(&self.id, self.kind, intentional, reason));
    }

    /// `n` packets were lost before there was a record of them.
    pub fn lost(&self, cause: &'static str, n: u64) {
        self.lost.add(cause, n, || {
            metrics::counter!(CAPTURE_LOST.name, "component_id" => self.id.clone(), "component_type" => self.kind, "cause" => cause)
        });
    }

    /// `n` records that an aggregate had yet to make went with it: the run was cut off.
    pub fn cut_off(&self, n: u64) {
        self.unmade.fetch_add(n, Ordering::Relaxed);
    }

    /// An interval began in which packets may have been lost uncounted.
    pub fn unknown_loss(&self) {
        self.unknown_losses.add(1);
    }

    /// An error happened; the caller logs it.
    pub fn error(&self, error_type: &'static str) {
        self.errors.add(error_type, 1, || {
            metrics::counter!(ERRORS.name, "component_id" => self.id.clone(), "component_type" => self.kind, "error_type" => error_type)
        });
    }

    /// `n` look-ups of names ended so.
    pub fn looked_up(&self, result: &'static str, n: u64) {
        self.lookups.add(result, n, || {
            metrics::counter!(DNS_LOOKUPS.name, "component_id" => self.id.clone(), "component_type" => self.kind, "result" => result)
        });
    }

    /// Look-ups of names so far, by result.
    pub fn lookups(&self) -> BTreeMap<&'static str, u64> {
        self.lookups.get()
    }

    /// There are `n` flows in the table.
    pub fn flows_active(&self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        metrics::gauge!(FLOW_ACTIVE.name, "component_id" => self.id.clone(), "component_type" => self.kind)
            .set(f64::from(n));
    }

    /// `n` flows ended for this reason.
    pub fn flows_ended(&self, reason: &'static str, n: u64) {
        if n > 0 {
            metrics::counter!(FLOW_ENDED.name, "component_id" => self.id.clone(), "component_type" => self.kind, "reason" => reason)
                .increment(n);
        }
    }

    /// The account so far.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance {
            received: self.received.get(),
            passed: self.passed.load(Ordering::Relaxed),
            made: self.made.load(Ordering::Relaxed),
            absorbed: self.absorbed.load(Ordering::Relaxed),
            filtered: self.filtered.get() + self.filtered_for.get().values().sum::<u64>(),
            delivered: self.delivered.get(),
            duplicated: self.duplicated.get(),
            dead_lettered: self.dead_lettered.get(),
            dropped: self.dropped.get(),
            lost: self.lost.get(),
            unknown_losses: self.unknown_losses.get(),
            errors: self.errors.get(),
            unmade: self.unmade.load(Ordering::Relaxed),
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

// === impl Balance ===

impl Balance {
    /// Records out of all that were taken in: handed on, delivered or dead-lettered.
    pub fn out(&self) -> u64 {
        self.passed + self.delivered + self.dead_lettered
    }

    /// Records dropped, whatever the reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether the equation holds: it fails if more was accounted for than was taken in.
    pub fn holds(&self) -> bool {
        self.received == self.accounted() + self.held
    }

    fn accounted(&self) -> u64 {
        self.out() + self.absorbed + self.filtered + self.dropped_total()
    }
}

// === impl State ===

impl State {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Holding,
            3 => Self::Ended,
            _ => Self::Failed,
        }
    }

    /// Whether it does no more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed)
    }

    /// The name in `/health`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Holding => "holding",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

// === impl Level ===

impl Level {
    /// A batch entered the buffer.
    pub fn add(&self, events: u32, bytes: u32) {
        self.waiting.events.fetch_add(events.into(), Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes.into(), Ordering::Relaxed);
        self.events.increment(f64::from(events));
        self.bytes.increment(f64::from(bytes));
    }

    /// A batch left it.
    pub fn remove(&self, events: u32, bytes: u32) {
        self.waiting.events.fetch_sub(events.into(), Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(bytes.into(), Ordering::Relaxed);
        self.events.decrement(f64::from(events));
        self.bytes.decrement(f64::from(bytes));
    }

    /// Records that wait in it now, and the bytes of memory they take.
    pub fn waiting(&self) -> (u64, u64) {
        let Waiting { events, bytes } = &*self.waiting;
        (events.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
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

// === impl Reasons ===

impl Reasons {
    fn add(&self, reason: &'static str, n: u64, export: impl FnOnce() -> metrics::Counter) {
        if n > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            counts.entry(reason).or_insert_with(|| Count::new(export())).add(n);
        }
    }

    fn get(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(reason, count)| (*reason, count.get())).collect()
    }
}

fn labelled(metric: Metric, id: &str, kind: &'static str) -> metrics::Counter {
    metrics::counter!(metric.name, "component_id" => id.to_owned(), "component_type" => kind)
}

fn discarded(
    id: &str,
    kind: &'static str,
    intentional: bool,
    reason: &'static str,
) -> metrics::Counter {
    let intentional = if intentional { "true" } else { "false" };
    metrics::counter!(
        DISCARDED.name,
        "component_id" => id.to_owned(), "component_type" => kind, "intentional" => intentional, "reason" => reason
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accounted_for_is_held() {
        let meter = Meter::new("packets", "extract");
        meter.received(10);
        meter.passed(6);
        meter.filtered(1);
        meter.dropped("line_not_json", 2);
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
    fn an_account_of_more_than_was_taken_in_does_not_balance() {
        let meter = Meter::new("packets", "extract");
        meter.received(1);
        meter.passed(2);
        assert!(!meter.balance().holds());
    }
}
