//! Messages of one partition, read as records: what is handed on together, and what is refused.

use std::collections::VecDeque;

use tracing::error;

use super::{PORTS, ledger::Part};
use crate::{
    batch::Watermark,
    codec::wire::{self, ReadError},
    component::{Clock, Port, with_causes},
    log_limit::LogLimit,
    metrics::Reason,
    record::{self, Records, Timestamp, Visit},
};

/// What a chunk holds at most: messages, and bytes of them.
const MAX_MESSAGES: u64 = 1_024;
const MAX_BYTES: usize = 512 << 10;
/// The longest name of a sensor: names are kept for good.
const MAX_OBSERVER_BYTES: usize = 255;
/// Chunks between the thread that reads and the task that hands them on.
pub(super) const WAITING: usize = 4;
/// What all of them take, with the one that is gathered, one there is no room for, and the one that is handed
/// on: a record takes up to twice the memory that its message had.
pub(super) const MEMORY_BYTES: u64 = 2 * (WAITING as u64 + 3) * MAX_BYTES as u64;

/// Messages of a partition, as records.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) part: Part,
    pub(super) term: u64,
    /// The offset behind the last message.
    pub(super) next: i64,
    /// What is handed on, in its order.
    pub(super) batches: VecDeque<(Port, Records)>,
    /// What is not, and why.
    pub(super) refused: Vec<(Reason, u64)>,
    pub(super) watermark: Option<Watermark>,
}

/// Messages of a partition that are gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    part: Part,
    term: u64,
    next: i64,
    messages: u64,
    bytes: usize,
    refused: Vec<(Reason, u64)>,
    records: wire::Reader,
}

/// The latest time of records.
struct Latest;

/// Why a message is no record.
const fn reason(error: &ReadError) -> Reason {
    match error {
        ReadError::NotOurs => Reason::NotWire,
        ReadError::Newer { .. } => Reason::NewerWire,
        ReadError::Kind(_) => Reason::WrongKind,
        ReadError::Damaged { .. } | ReadError::Trailing(_) => Reason::DamagedWire,
    }
}

fn note(refused: &mut Vec<(Reason, u64)>, reason: Reason, n: u64) {
    match refused.iter_mut().find(|(noted, _)| *noted == reason) {
        Some((_, count)) => *count += n,
        None => refused.push((reason, n)),
    }
}

// === impl Gathering ===

impl Gathering {
    pub(super) fn new(part: Part, term: u64) -> Self {
        Self {
            part,
            term,
            next: 0,
            messages: 0,
            bytes: 0,
            refused: Vec::new(),
            records: wire::Reader::default(),
        }
    }

    /// The partition, if it is this one.
    pub(super) fn part_of(&self, topic: &str, number: i32) -> Option<Part> {
        let is_it = self.part.number == number && *self.part.topic == *topic;
        is_it.then(|| self.part.clone())
    }

    /// Whether messages of this partition go on here.
    pub(super) fn is_of(&self, part: &Part, term: u64) -> bool {
        self.term == term && self.part == *part
    }

    /// Whether it is to be handed on before there is more.
    pub(super) fn is_full(&self) -> bool {
        self.messages >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    /// Takes a message. One that is no record is skipped: it stays in its topic, and the log says where.
    pub(super) fn take(&mut self, offset: i64, payload: &[u8], log: &LogLimit) {
        self.next = offset + 1;
        self.messages += 1;
        self.bytes += payload.len();
        let Err(refusal) = self.records.read(payload) else { return };
        note(&mut self.refused, reason(&refusal), 1);
        if let Some(suppressed) = log.admit(1, Clock::Wall.now(None)) {
            let part = &self.part;
            let why = with_causes(&refusal);
            error!(suppressed, "the message {offset} of {part} is left out: {why}");
        }
    }

    /// What came of it, and the latest time of its records. `connected` says which ports anybody reads.
    pub(super) fn finish(self, connected: &[bool]) -> (Chunk, Option<Timestamp>) {
        let Self { part, term, next, mut refused, mut records, .. } = self;
        let (mut batches, mut time) = (VecDeque::new(), None);
        for (observer, mut records) in records.take() {
            if observer.is_empty() || observer.len() > MAX_OBSERVER_BYTES {
                note(&mut refused, Reason::DamagedWire, records.len() as u64);
                continue;
            }
            records.seen_by(&observer);
            let kind = records.kind();
            let port = PORTS.iter().position(|(_, carries)| *carries == kind);
            time = time.max(records.visit(Latest));
            match port {
                None => note(&mut refused, Reason::WrongKind, records.len() as u64),
                Some(port) if connected.get(port).copied().unwrap_or(false) => {
                    batches.push_back((Port(port), records));
                }
                Some(_) => note(&mut refused, Reason::Unread, records.len() as u64),
            }
        }
        (Chunk { part, term, next, batches, refused, watermark: None }, time)
    }
}

// === impl Latest ===

impl<R: record::Record> Visit<R, Option<Timestamp>> for Latest {
    fn visit(self, records: &[R]) -> Option<Timestamp> {
        records.iter().filter_map(R::time).max()
    }
}
