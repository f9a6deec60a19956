//! How full the buffer before a component is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{BUFFER_BYTES, BUFFER_EVENTS};

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

// === impl Level ===

impl Level {
    pub(super) fn new(id: &str, kind: &'static str) -> Self {
        Self {
            events: BUFFER_EVENTS.of(id, kind),
            bytes: BUFFER_BYTES.of(id, kind),
            waiting: Arc::default(),
        }
    }

    /// A batch entered the buffer.
    pub fn add(&self, events: u64, bytes: u64) {
        self.waiting.events.fetch_add(events, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.events.increment(float(events));
        self.bytes.increment(float(bytes));
    }

    /// A batch left it.
    pub fn remove(&self, events: u64, bytes: u64) {
        self.waiting.events.fetch_sub(events, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.events.decrement(float(events));
        self.bytes.decrement(float(bytes));
    }

    /// Records that wait in it now, and the bytes of memory they take.
    pub fn waiting(&self) -> (u64, u64) {
        let Waiting { events, bytes } = &*self.waiting;
        (events.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; up to 9 PB it is exact")]
fn float(number: u64) -> f64 {
    number as f64
}
