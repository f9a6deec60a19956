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
