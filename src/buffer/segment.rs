//! One file of the log: a header, then entries one after the other. All numbers are little-endian.
//!
//! Header: `TGBUFFER`, version (u32), first sequence (u64), CRC of these (u32). Entry: mark (u32), length of
//! the payload (u32), sequence (u64), CRC of length, sequence and payload (u32), payload. The name has the
//! first sequence too, so that a file whose header is damaged is still read.

use std::{fmt, io, sync::Arc};

use crc32fast::Hasher;
use memchr::memmem;

use super::{Error, disk::DiskFile};
use crate::{codec::wire, storage::medium};

/// The version that is written: that of the wire form, which entries have. So an earlier program, which could
/// not read them, does not begin with them. A reader reads all earlier ones; version 1 was written with the wire
/// form up to version 4 too.
pub const VERSION: u32 = u32::from_le_bytes([wire::VERSION, 0, 0, 0]);
/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 24;
/// Bytes before an entry's payload.
pub(super) const ENTRY_BYTES: usize = 20;
/// No payload is longer.
pub(super) const MAX_PAYLOAD_BYTES: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"TGBUFFER";
const MARK: [u8; 4] = 0x6e74_7279_u32.to_le_bytes();
const CHUNK_BYTES: usize = 256 << 10;
/// What a disk fails to give back is a page, and then twice as much each time.
const PAGE_BYTES: usize = 4 << 10;
const MAX_LEAP_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".segment";

/// Reads entries of a segment, from some place on up to its end.
#[derive(Debug)]
pub(super) struct Cursor<F> {
    file: Arc<F>,
    /// Its segment.
    first: u64,
    /// Where the buffer begins in the file.
    base: u64,
    buffer: Vec<u8>,
    at: usize,
    /// Sequences that its entries may have.
    next: u64,
    below: u64,
    /// Bytes that are passed over where nothing can be read; `None` where that is an error.
    leap: Option<usize>,
    unreadable: Vec<Place>,
}

/// A place of a file that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub name: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is; 0 if the file as a whole can't be opened.
    pub bytes: u64,
    /// What the system said.
    pub error: String,
}

/// What a cursor comes to next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An entry; its payload is at [`Cursor::payload`].
    Entry(Entry),
    /// Bytes that are no entry, up to the next one.
    Damaged {
        /// How many.
        bytes: u64,
    },
    /// Nothing but bytes that are no entry, up to the end; none if it is the end.
    End {
        /// How many.
        rest: u64,
        /// Whether all of them are zero: an area that was never written.
        zero: bool,
    },
}

/// An entry's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    start: usize,
    bytes: usize,
}

/// The name of the segment that begins with the sequence `first`.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The first sequence of the segment of this name; `None` for other files.
pub(super) fn first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten()
}

/// The header of the segment that begins with `first`.
pub(super) fn header(first: u64) -> Vec<u8> {
    header_in(VERSION, first)
}

fn header_in(version: u32, first: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(version.to_le_bytes());
    header.extend(first.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend(crc.to_le_bytes());
    header
}

/// Whether the file has a whole header of the segment that begins with `first`. One that the disk does not give
/// back is damaged.
///
/// # Errors
/// If it can't be read, or was written by a later version.
pub(super) fn check_header(file: &impl DiskFile, name: &str, first: u64) -> Result<bool, Error> {
    let mut there = [0; HEADER_BYTES];
    let read = match file.read_at(0, &mut there) {
        Err(error) if medium::is_damaged(&error) => return Ok(false),
        read => read.map_err(Error::io("read", name))?,
    };
    let number = there.get(8..12).and_then(|bytes| bytes.try_into().ok());
    let version = number.map_or(0, u32::from_le_bytes);
    if read < HEADER_BYTES || there != *header_in(version, first) {
        return Ok(false);
    }
    if version > VERSION {
        return Err(Error::Newer { name: name.to_owned(), version });
    }
    Ok(version > 0)
}

/// Appends an entry.
pub(super) fn write_entry(sequence: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend(MARK);
    out.extend(length.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(crc(length, sequence, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn crc(length: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, offset, bytes, error } = self;
        match bytes {
            0 => write!(f, "{name}: {error}"),
            _ => write!(f, "{name}: {bytes} bytes at {offset}: {error}"),
        }
    }
}

// === impl Cursor ===

impl<F: DiskFile> Cursor<F> {
    /// A cursor over the entries of the segment that begins with `next`, from `offset` on, with sequences below
    /// `below`. What has another sequence is damage.
    pub(super) fn new(file: Arc<F>, offset: u64, next: u64, below: u64) -> Self {
        Self {
            file,
            first: next,
            base: offset,
            buffer: Vec::new(),
            at: 0,
            next,
            below,
            leap: None,
            unreadable: Vec::new(),
        }
    }

    /// From now on it goes on behind places that the disk does not give back: they read as zeros.
    pub(super) fn leaping(mut self) -> Self {
        self.leap = Some(PAGE_BYTES);
        self
    }

    /// The places up to where it stands that could not be read, each but once.
    pub(super) fn take_unreadable(&mut self) -> Vec<Place> {
        let here = self.offset();
        self.unreadable.extract_if(.., |place| place.offset < here).collect()
    }

    /// Where it stands in the file.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// From now on no entry counts whose sequence is `below` or higher: another segment has those.
    pub(super) fn stop_below(&mut self, below: Option<u64>) {
        self.below = below.unwrap_or(u64::MAX);
    }

    /// The payload of the entry that the last step came to.
    pub(super) fn payload(&self, entry: Entry) -> &[u8] {
        self.buffer.get(entry.start..entry.start + entry.bytes).unwrap_or_default()
    }

    /// The next step, in a file that is whole up to `end`.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(super) fn step(&mut self, end: u64) -> io::Result<Step> {
        if let Some(entry) = self.entry_at(self.at, end)? {
            self.take(entry);
            return Ok(Step::Entry(entry));
        }
        let from = self.offset();
        let mut zero = true;
        let mut at = self.at;
        loop {
            // Candidates, one after the other; what lies before the last one looked at goes.
            self.forget(at);
            at = 0;
            if !self.fill(0, MARK.len() + 1, end)? {
                zero &= self.buffer.iter().all(|byte| *byte == 0);
                zero &= self.unreadable.is_empty();
                let rest = end.saturating_sub(from);
                self.at = self.buffer.len();
                return Ok(Step::End { rest, zero });
            }
            let ahead = self.buffer.get(1..).unwrap_or_default();
            let found = memmem::find(ahead, &MARK).map(|found| found + 1);
            // A mark may begin in the last bytes, and go on behind them.
            let looked = found.unwrap_or(self.buffer.len().saturating_sub(MARK.len())).max(1);
            zero &= self.buffer.get(..looked).unwrap_or_default().iter().all(|byte| *byte == 0);
            if let Some(found) = found
                && self.entry_at(found, end)?.is_some()
            {
                self.at = found;
                return Ok(Step::Damaged { bytes: self.offset() - from });
            }
            at += looked;
        }
    }

    fn take(&mut self, entry: Entry) {
        self.at = entry.start + entry.bytes;
        self.next = entry.sequence + 1;
    }

    /// The whole entry at a place of the buffer.
    fn entry_at(&mut self, at: usize, end: u64) -> io::Result<Option<Entry>> {
        if !self.fill(at, ENTRY_BYTES, end)? {
            return Ok(None);
        }
        let Some(head) = self.buffer.get(at..at + ENTRY_BYTES) else { return Ok(None) };
        let number = |from: usize| {
            let bytes = head.get(from..from + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let (length, expected) = (number(4), number(16));
        let sequence = (u64::from(number(12)) << 32) | u64::from(number(8));
        let bytes = length as usize;
        let is_plausible = head.starts_with(&MARK)
            && bytes <= MAX_PAYLOAD_BYTES
            && (self.next..self.below).contains(&sequence);
        if !is_plausible || !self.fill(at, ENTRY_BYTES + bytes, end)? {
            return Ok(None);
        }
        let start = at + ENTRY_BYTES;
        let payload = self.buffer.get(start..start + bytes).unwrap_or_default();
        let is_whole = crc(length, sequence, payload) == expected;
        Ok(is_whole.then_some(Entry { sequence, start, bytes }))
    }

    /// Has `bytes` from a place of the buffer on in it, unless the file ends before.
    fn fill(&mut self, at: usize, bytes: usize, end: u64) -> io::Result<bool> {
        let needed = at + bytes;
        let there = usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX);
        if there < needed {
            if there <= at + ENTRY_BYTES {
                // The last bytes, to be looked at.
                self.read_to(there, there)?;
            }
            return Ok(false);
        }
        self.read_to(needed, there)?;
        Ok(self.buffer.len() >= needed)
    }

    /// Reads until the buffer has `needed` bytes, in whole chunks, but never beyond what is `there`.
    fn read_to(&mut self, needed: usize, there: usize) -> io::Result<()> {
        while self.buffer.len() < needed {
            let have = self.buffer.len();
            self.buffer.resize(needed.max(have + CHUNK_BYTES).min(there), 0);
            let offset = self.base + have as u64;
            let into = self.buffer.get_mut(have..).unwrap_or_default();
            let mut read = self.file.read_at(offset, into);
            // Without what else was asked for the place may be read.
            let to_page = PAGE_BYTES - usize::try_from(offset).unwrap_or_default() % PAGE_BYTES;
            if let (Err(_), Some(_), Some(page)) = (&read, self.leap, into.get_mut(..to_page)) {
                read = self.file.read_at(offset, page);
            }
            match (read, &mut self.leap) {
                (Ok(0), _) => {
                    self.buffer.truncate(have);
                    break;
                }
                (Ok(read), leap) => {
                    self.buffer.truncate(have + read);
                    *leap = leap.map(|_| PAGE_BYTES);
                }
                (Err(error), Some(leap)) if medium::is_damaged(&error) => {
                    let bytes = (to_page + *leap - PAGE_BYTES).min(there - have);
                    *leap = (*leap * 2).min(MAX_LEAP_BYTES);
                    self.buffer.truncate(have);
                    self.buffer.resize(have + bytes, 0);
                    self.pass_over(offset, bytes as u64, &error);
                }
                (Err(error), _) => {
                    self.buffer.truncate(have);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Notes a place that can't be read. Neighbours are one.
    fn pass_over(&mut self, offset: u64, bytes: u64, error: &io::Error) {
        match self.unreadable.last_mut() {
            Some(last) if last.offset + last.bytes == offset => last.bytes += bytes,
            _ => {
                let (name, error) = (name(self.first), error.to_string());
                self.unreadable.push(Place { name, offset, bytes, error });
            }
        }
    }

    /// What was read is no longer needed: it must not pile up.
    pub(super) fn forget_read(&mut self) {
        if self.at >= CHUNK_BYTES {
            self.forget(self.at);
        }
    }

    fn forget(&mut self, upto: usize) {
        let upto = upto.min(self.buffer.len());
        self.buffer.drain(..upto);
        self.base += upto as u64;
        self.at = self.at.saturating_sub(upto);
        self.buffer.shrink_to(CHUNK_BYTES * 2);
    }
}
