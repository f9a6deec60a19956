//! The log: segments of entries that are numbered through, and how far they are acknowledged.
//!
//! Each opening begins a new segment; no file is written to again that an earlier process has written, nor
//! one whose sync failed. There is no ledger beside the names of segments and the [acks].

use std::{collections::VecDeque, io, sync::Arc};

use super::{
    Error,
    acks::{self, Acks},
    disk::{Disk, DiskFile},
    segment::{self, Cursor, HEADER_BYTES, Place, Step},
};
use crate::storage::medium;

/// A segment is one eighth of the log, but no larger.
const MAX_SEGMENT_BYTES: u64 = 16 << 20;
/// What damaged segments are renamed to when they are read.
pub const DAMAGED: &str = ".damaged";
/// So many damaged segments are kept.
const DAMAGED_KEPT: usize = 4;

/// A log on a disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: Arc<D>,
    max_bytes: u64,
    pub(super) segments: VecDeque<Segment<D::File>>,
    acks: Acks<D::File>,
    /// The sequence of the next entry.
    next: u64,
    /// All entries below are synced.
    synced: u64,
}

/// One of its files.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) first: u64,
    /// `None` if the disk does not give it back.
    pub(super) file: Option<Arc<F>>,
    /// Bytes that were written.
    bytes: u64,
    /// Bytes that may be read: they survive whatever happens.
    pub(super) synced: u64,
    /// Whether more is written to it.
    open: bool,
    /// Whether something in it could not be read.
    damaged: bool,
}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Entries that are not acknowledged, as far as sequences tell.
    pub entries: u64,
    /// Bytes that a crash had left behind the last whole entry, and that were cut off.
    pub torn_bytes: u64,
    /// Whether these were all zero.
    pub torn_zero: bool,
    /// Places that the disk does not give back.
    pub unreadable: Vec<Place>,
}

/// How a segment ends.
#[derive(Debug)]
struct End {
    /// The sequence behind its last whole entry.
    next: u64,
    /// Bytes that stand behind that.
    rest: u64,
    /// Whether these are all zero.
    zero: bool,
    /// Whether some of them can't be read.
    unreadable: bool,
}

/// Entries that were written and are not synced yet.
#[derive(Debug)]
#[must_use = "what is written has to be synced, and committed or aborted"]
pub struct Appended<D: Disk> {
    disk: Arc<D>,
    file: Arc<D::File>,
    is_new: bool,
}

/// Bytes that entries take at most whose payloads have so many together.
pub fn bytes_of(entries: usize, payload_bytes: usize) -> u64 {
    (payload_bytes + entries * segment::ENTRY_BYTES + HEADER_BYTES) as u64
}

// === impl Appended ===

impl<D: Disk> Appended<D> {
    /// Makes them survive a power loss.
    ///
    /// # Errors
    /// What the system says: the entries are to be aborted.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", "a segment"))?;
        if self.is_new {
            self.disk.sync().map_err(Error::io("sync", "the directory"))?;
        }
        Ok(())
    }
}

/// How a segment ends, and what of it can't be read.
fn end_of<F: DiskFile>(segment: &Segment<F>, name: &str) -> Result<(End, Vec<Place>), Error> {
    let mut end = End { next: segment.first, rest: 0, zero: true, unreadable: true };
    let Some(file) = &segment.file else { return Ok((end, Vec::new())) };
    let begin = HEADER_BYTES as u64;
    let mut cursor = Cursor::new(Arc::clone(file), begin, segment.first, u64::MAX).leaping();
    let mut unreadable = Vec::new();
    end.unreadable = false;
    loop {
        let step = cursor.step(segment.bytes).map_err(Error::io("read", name))?;
        let places = cursor.take_unreadable();
        end.unreadable |= !places.is_empty();
        unreadable.extend(places);
        match step {
            Step::Entry(entry) => (end.next, end.unreadable) = (entry.sequence + 1, false),
            Step::Damaged { .. } => {}
            Step::End { rest, zero } => {
                (end.rest, end.zero) = (rest, zero);
                return Ok((end, unreadable));
            }
        }
        cursor.forget_read();
    }
}

/// What the disk gives; nothing if it is damaged there, which is noted.
pub(super) fn given<T>(
    given: io::Result<T>,
    action: &'static str,
    name: &str,
    unreadable: &mut Vec<Place>,
) -> Result<Option<T>, Error> {
    match given {
        Err(error) if medium::is_damaged(&error) => {
            let (name, error) = (name.to_owned(), error.to_string());
            unreadable.push(Place { name, offset: 0, bytes: 0, error });
            Ok(None)
        }
        given => given.map(Some).map_err(Error::io(action, name)),
    }
}

// === impl Log ===

impl<D: Disk> Log<D> {
    /// Opens the log of at most `max_bytes` that is on a disk, or makes one. Reads the headers of all
    /// segments, and the last one whole. What the disk does not give back is passed over.
    ///
    /// # Errors
    /// If the system refuses, or a later version wrote it.
    pub fn open(disk: D, max_bytes: u64) -> Result<(Self, Found), Error> {
        let disk = Arc::new(disk);
        let names = disk.names().map_err(Error::io("list", "the directory"))?;
        let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::first(name)).collect();
        firsts.sort_unstable();
        let (mut segments, mut unreadable) = (VecDeque::new(), Vec::new());
        for first in firsts {
            let name = segment::name(first);
            let file = given(disk.open(&name), "open", &name, &mut unreadable)?;
            let bytes = file.as_ref().map_or(Ok(0), DiskFile::bytes);
            let bytes = given(bytes, "inspect", &name, &mut unreadable)?;
            // What has no length is as one that can't be opened.
            let file = file.filter(|_| bytes.is_some());
            let whole = |file| segment::check_header(file, &name, first);
            let damaged = !file.as_ref().map_or(Ok(false), whole)?;
            let (file, bytes) = (file.map(Arc::new), bytes.unwrap_or(0));
            segments.push_back(Segment { first, file, bytes, synced: bytes, open: false, damaged });
        }
        let begin = segments.front().map_or(0, |front| front.first);
        let acks = Acks::open(&*disk, &names, begin, &mut unreadable)?;
        let mut log = Self { disk, max_bytes, segments, acks, next: 0, synced: 0 };
        let mut found = log.recover_last(unreadable)?;
        log.next = log.next.max(log.acks.position());
        log.synced = log.next;
        log.remove_acknowledged()?;
        found.entries = log.waiting();
        Ok((log, found))
    }

    /// Finds the end of the last segment that has entries, and cuts off what a crash left behind it. Those
    /// behind it without entries go: else what a failed sync had left in the one before would come back
    /// under sequences that are given again. What can't be read at the end may be records: it is kept, and counts
    /// as one.
    fn recover_last(&mut self, unreadable: Vec<Place>) -> Result<Found, Error> {
        let mut found = Found { unreadable, ..Found::default() };
        while let Some(last) = self.segments.back_mut() {
            let name = segment::name(last.first);
            let (end, places) = end_of(last, &name)?;
            let End { next, rest, zero, unreadable } = end;
            found.unreadable.extend(places);
            if unreadable {
                last.damaged = true;
                self.next = self.next.max(next + 1);
                break;
            }
            self.next = self.next.max(next);
            if rest > 0 {
                found.torn_bytes += rest;
                found.torn_zero = zero;
            }
            if next > last.first {
                if let Some(file) = last.file.as_ref().filter(|_| rest > 0) {
                    last.bytes = last.bytes.saturating_sub(rest);
                    last.synced = last.bytes;
                    file.cut(last.bytes).map_err(Error::io("cut", &name))?;
                    file.sync().map_err(Error::io("sync", &name))?;
                }
                break;
            }
            self.segments.pop_back();
            if rest > 0 && !zero {
                let aside = format!("{name}{DAMAGED}");
                self.disk.rename(&name, &aside).map_err(Error::io("rename", &name))?;
            } else {
                self.disk.remove(&name).map_err(Error::io("remove", &name))?;
            }
            self.disk.sync().map_err(Error::io("sync", "the directory"))?;
        }
        Ok(found)
    }

    /// All entries below are acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acks.position()
    }

    /// All entries below may be read.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Entries that are synced and not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.synced.saturating_sub(self.acks.position())
    }

    /// Bytes it takes on disk.
    pub fn bytes(&self) -> u64 {
        self.segment_sum() + acks::BYTES
    }

    fn segment_sum(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes that it may still take.
    pub fn room(&self) -> u64 {
        self.max_bytes.saturating_sub(self.segment_sum())
    }

    /// Writes entries. They are to be synced and then committed, before any more are written; or aborted.
    ///
    /// # Errors
    /// If the system refuses. The log is as it was; the next try begins a new segment.
    pub fn append<'a>(
        &mut self,
        payloads: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Appended<D>, Error> {
        let is_new = self.make_current()?;
        let (mut entries, mut next) = (Vec::new(), self.next);
        for payload in payloads {
            segment::write_entry(next, payload, &mut entries);
            next += 1;
        }
        let written = match self.segments.back_mut() {
            Some(Segment { file: Some(file), bytes, .. }) => {
                let written = file.write_at(*bytes, &entries);
                written.map(|()| {
                    *bytes += entries.len() as u64;
                    Arc::clone(file)
                })
            }
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        match written {
            Ok(file) => {
                self.next = next;
                Ok(Appended { disk: Arc::clone(&self.disk), file, is_new })
            }
            Err(error) => {
                self.seal();
                Err(Error::io("write", "a segment")(error))
            }
        }
    }

    /// What was appended is synced: it may be read.
    pub fn commit(&mut self, appended: Appended<D>) {
        drop(appended);
        self.synced = self.next;
        if let Some(last) = self.segments.back_mut() {
            last.synced = last.bytes;
        }
    }

    /// What was appended could not be synced: it does not count, and the file is not written to again.
    pub fn abort(&mut self, appended: Appended<D>) {
        drop(appended);
        self.seal();
    }

    /// Has a segment to write to as the last one; true if it is new.
    fn make_current(&mut self) -> Result<bool, Error> {
        let segment_bytes = self.segment_bytes();
        if self.segments.back().is_some_and(|last| last.open && last.bytes < segment_bytes) {
            return Ok(false);
        }
        let first = self.next;
        let name = segment::name(first);
        let header = segment::header(first);
        // One that could not be removed when it failed; nothing in it was ever synced.
        let again = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                self.disk.remove(&name).and_then(|()| self.disk.create(&name))
            }
            _ => Err(error),
        };
        let file = self.disk.create(&name).or_else(again).map_err(Error::io("make", &name))?;
        if let Err(error) = file.write_at(0, &header) {
            self.disk.remove(&name).unwrap_or_default();
            return Err(Error::io("write", &name)(error));
        }
        if let Some(last) = self.segments.back_mut() {
            last.open = false;
        }
        let (file, bytes) = (Some(Arc::new(file)), header.len() as u64);
        let segment = Segment { first, file, bytes, synced: 0, open: true, damaged: false };
        self.segments.push_back(segment);
        Ok(true)
    }

    /// The first sequence behind a segment, once nothing is written to it any more.
    pub(super) fn behind(&self, at: usize) -> Option<u64> {
        let closed = || self.segments.get(at).filter(|segment| !segment.open).map(|_| self.next);
        self.segments.get(at + 1).map(|segment| segment.first).or_else(closed)
    }

    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 8).min(MAX_SEGMENT_BYTES)
    }

    /// The last segment ends with what is synced.
    fn seal(&mut self) {
        self.next = self.synced;
        let Some(last) = self.segments.back_mut() else { return };
        last.open = false;
        last.bytes = last.synced;
        if last.first < self.synced {
            // Room for others; what stays nonetheless has sequences that the next segment has too.
            if let Some(file) = &last.file {
                file.cut(last.synced).unwrap_or_default();
            }
        } else {
            let name = segment::name(last.first);
            self.segments.pop_back();
            self.disk.remove(&name).unwrap_or_default();
        }
    }

    /// All entries below `to` are delivered. Segments of nothing else go, also those of earlier calls that
    /// failed.
    ///
    /// # Errors
    /// If the system refuses: it is made up for with the next call, of the same `to` too.
    pub fn acknowledge(&mut self, to: u64) -> Result<(), Error> {
        let advanced = self.acks.advance(&*self.disk, to.min(self.synced));
        // Nothing goes before the position is synced, in another file if this one failed.
        let removed = self.remove_acknowledged();
        advanced.and(removed)
    }

    /// Makes the acknowledged position survive a power loss.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync_acknowledged(&mut self) -> Result<(), Error> {
        self.acks.sync(&*self.disk)
    }

    fn remove_acknowledged(&mut self) -> Result<(), Error> {
        let mut removed = false;
        while let Some(front) = self.segments.front() {
            let end = match self.segments.get(1) {
                Some(second) => second.first,
                // The one that is written to stays until it is half full.
                None if front.open && front.bytes < self.segment_bytes() / 2 => break,
                None => self.next,
            };
            if self.acks.position() < end || self.next > self.synced && self.segments.len() == 1 {
                break;
            }
            if !std::mem::replace(&mut removed, true) {
                self.acks.sync(&*self.disk)?;
            }
            let name = segment::name(front.first);
            // One that somebody else has removed is gone as well, and takes no room; one that the disk does not
            // give back stays where it is.
            let gone = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ if front.file.is_none() && medium::is_damaged(&error) => Ok(()),
                _ => Err(error),
            };
            if front.damaged {
                let aside = format!("{name}{DAMAGED}");
                let renamed = self.disk.rename(&name, &aside).or_else(gone);
                renamed.map_err(Error::io("rename", &name))?;
                self.shed_damaged();
            } else {
                self.disk.remove(&name).or_else(gone).map_err(Error::io("remove", &name))?;
            }
            self.segments.pop_front();
        }
        if removed {
            self.disk.sync().map_err(Error::io("sync", "the directory"))?;
        }
        Ok(())
    }

    /// Of damaged segments the newest are kept.
    fn shed_damaged(&self) {
        let mut damaged = self.disk.names().unwrap_or_default();
        damaged.retain(|name| name.ends_with(DAMAGED));
        damaged.sort_unstable();
        for name in damaged.iter().rev().skip(DAMAGED_KEPT) {
            self.disk.remove(name).unwrap_or_default();
        }
    }

    /// Something in the segment that has the entry `sequence` could not be read.
    pub(super) fn mark_damaged(&mut self, sequence: u64) {
        let mut segments = self.segments.iter_mut().rev();
        if let Some(segment) = segments.find(|segment| segment.first <= sequence) {
            segment.damaged = true;
        }
    }
}
