//! Reads a log in its order, up to what is synced; what can't be read is skipped and counted.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Error,
    disk::{Disk, DiskFile},
    log::Log,
    segment::{self, Cursor, HEADER_BYTES, Place, Step},
};

/// Reads a log.
#[derive(Debug)]
pub(super) struct Reader<F> {
    /// The segment that is being read, by its first sequence.
    at: Option<(u64, Cursor<F>)>,
    /// The sequence that comes next.
    expected: u64,
    /// The segment of which what can't be read is passed over.
    leaping: Option<u64>,
    /// Whether something was passed over since the last entry.
    passed: bool,
}

/// What was read at once.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<(u64, Range<usize>)>,
    /// Entries in place of which damaged bytes were found.
    pub(super) damaged: u64,
    /// Entries whose segments are not there.
    pub(super) missing: u64,
    /// Entries that are where nothing can be read.
    pub(super) unreadable: u64,
    /// Where that is.
    pub(super) places: Vec<Place>,
}

/// Where reading may go on.
struct Ahead<F> {
    first: u64,
    /// `None` if it can't be opened.
    file: Option<Arc<F>>,
    /// Bytes of the segment that may be read.
    end: u64,
    /// The first sequence behind it, once nothing is written to it any more.
    following: Option<u64>,
}

// === impl Reader ===

impl<F: DiskFile> Reader<F> {
    /// A reader that begins with the sequence `expected`.
    pub(super) fn new(expected: u64) -> Self {
        Self { at: None, expected, leaping: None, passed: false }
    }

    /// All entries below were read, or can't be.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// Reads what is there, about `max_bytes` and at most `max_entries`.
    ///
    /// # Errors
    /// If a segment can't be read; what was read before is not lost, it comes with the next call.
    pub(super) fn read<D: Disk<File = F>>(
        &mut self,
        log: &Mutex<Log<D>>,
        max_bytes: usize,
        max_entries: usize,
    ) -> Result<Chunk, Error> {
        let mut chunk = Chunk::default();
        while chunk.bytes.len() < max_bytes && chunk.entries.len() < max_entries {
            let Some(ahead) = self.ahead(log) else {
                chunk.missing += self.leave_nothing(log);
                break;
            };
            if self.at.as_ref().is_none_or(|(first, _)| *first != ahead.first) {
                chunk.missing += ahead.first.saturating_sub(self.expected);
                self.expected = self.expected.max(ahead.first);
                let Some(file) = &ahead.file else {
                    chunk.unreadable += self.leave(&ahead);
                    continue;
                };
                let (file, begin) = (Arc::clone(file), HEADER_BYTES as u64);
                let mut cursor = Cursor::new(file, begin, ahead.first, u64::MAX);
                if self.leaping == Some(ahead.first) {
                    cursor = cursor.leaping();
                }
                self.at = Some((ahead.first, cursor));
            }
            let before = (chunk.damaged, chunk.unreadable);
            let read = self.read_segment(&ahead, &mut chunk, max_bytes, max_entries);
            let is_last = ahead.following.is_none();
            match read {
                // A segment that ends as it should is followed by one that is gone.
                Ok(Some(0)) if !is_last => chunk.missing += self.leave(&ahead),
                Ok(Some(_)) if !is_last && self.passed => chunk.unreadable += self.leave(&ahead),
                Ok(Some(_)) if !is_last => chunk.damaged += self.leave(&ahead),
                _ => {}
            }
            if before != (chunk.damaged, chunk.unreadable) {
                lock(log).mark_damaged(ahead.first);
            }
            match read {
                Ok(Some(_)) if is_last => break,
                Ok(_) => {}
                Err(error) => {
                    self.at = None;
                    if chunk.is_empty() {
                        return Err(error);
                    }
                    // It comes again, at the beginning of the next call.
                    break;
                }
            }
        }
        Ok(chunk)
    }

    /// From now on what can't be read of the segment is passed over, as its place on the disk is damaged.
    pub(super) fn leap<D: Disk<File = F>>(&mut self, log: &Mutex<Log<D>>) {
        self.leaping = self.ahead(log).map(|ahead| ahead.first);
        self.at = None;
    }

    /// Gives up the rest of the segment that can't be read, if there is one behind it. Gives how many
    /// entries that are.
    pub(super) fn skip<D: Disk<File = F>>(&mut self, log: &Mutex<Log<D>>) -> u64 {
        let Some(ahead) = self.ahead(log) else { return 0 };
        lock(log).mark_damaged(ahead.first);
        self.leave(&ahead)
    }

    /// The segment of the entry that is expected, if anything in it may be read; or the one after a gap.
    fn ahead<D: Disk<File = F>>(&self, log: &Mutex<Log<D>>) -> Option<Ahead<F>> {
        let log = lock(log);
        let following = |at: usize| log.behind(at);
        let holds = |at: &usize| following(*at).is_none_or(|first| first > self.expected);
        let at = (0..log.segments.len()).find(holds)?;
        let segment = log.segments.get(at)?;
        let following = following(at);
        (segment.synced > 0 || following.is_some()).then(|| Ahead {
            first: segment.first,
            file: segment.file.clone(),
            end: segment.synced,
            following,
        })
    }

    /// Goes on behind entries of which there is no segment at all. Gives how many that are.
    fn leave_nothing<D: Disk<File = F>>(&mut self, log: &Mutex<Log<D>>) -> u64 {
        let log = lock(log);
        if !log.segments.is_empty() {
            return 0;
        }
        let missing = log.synced().saturating_sub(self.expected);
        self.expected += missing;
        missing
    }

    /// Reads on in a segment. At its end gives how many bytes stand there that are no entry.
    fn read_segment(
        &mut self,
        ahead: &Ahead<F>,
        chunk: &mut Chunk,
        max_bytes: usize,
        max_entries: usize,
    ) -> Result<Option<u64>, Error> {
        let Some((_, cursor)) = &mut self.at else { return Ok(Some(0)) };
        cursor.stop_below(ahead.following);
        loop {
            if chunk.bytes.len() >= max_bytes || chunk.entries.len() >= max_entries {
                cursor.forget_read();
                return Ok(None);
            }
            let name = || segment::name(ahead.first);
            let step = cursor.step(ahead.end).map_err(|error| Error::io("read", &name())(error))?;
            let places = cursor.take_unreadable();
            self.passed |= !places.is_empty();
            chunk.places.extend(places);
            match step {
                Step::Entry(entry) if entry.sequence < self.expected => {
                    self.passed = false;
                    cursor.forget_read();
                }
                Step::Entry(entry) => {
                    let passed = std::mem::take(&mut self.passed);
                    let lost = if passed { &mut chunk.unreadable } else { &mut chunk.damaged };
                    *lost += entry.sequence - self.expected;
                    self.expected = entry.sequence + 1;
                    let start = chunk.bytes.len();
                    chunk.bytes.extend_from_slice(cursor.payload(entry));
                    chunk.entries.push((entry.sequence, start..chunk.bytes.len()));
                }
                Step::Damaged { .. } => {}
                Step::End { rest, .. } => {
                    cursor.forget_read();
                    return Ok(Some(rest));
                }
            }
        }
    }

    /// Goes on with the next segment. Gives how many entries were expected in this one and not found.
    fn leave(&mut self, ahead: &Ahead<F>) -> u64 {
        let Some(following) = ahead.following else { return 0 };
        let missed = following.saturating_sub(self.expected);
        (self.at, self.expected, self.passed) = (None, self.expected.max(following), false);
        missed
    }
}

// === impl Chunk ===

impl Chunk {
    /// The entries: sequence and payload.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let payload = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.entries.iter().map(move |(sequence, range)| (*sequence, payload(range)))
    }

    /// Whether nothing was read, nor found to be unreadable.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.damaged + self.missing + self.unreadable == 0
    }
}

pub(super) fn lock<D: Disk>(log: &Mutex<Log<D>>) -> std::sync::MutexGuard<'_, Log<D>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
