//! What is in a disk buffer, for a person: by the same reader that the buffer itself uses.

use std::{fmt, fs::File, io, path::Path, sync::Arc};

use super::{
    Error, acks,
    disk::{Disk, DiskFile, Folder},
    log::DAMAGED,
    segment::{self, Cursor, HEADER_BYTES, Place, Step},
};
use crate::storage::medium;

/// What a buffer holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// Its segments, in order.
    pub segments: Vec<Segment>,
    /// All entries below are delivered.
    pub acknowledged: u64,
    /// Segments that were set aside because something in them could not be read.
    pub set_aside: Vec<String>,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub name: String,
    /// The sequence of its first entry, by its name.
    pub first: u64,
    /// The sequence behind its last whole entry.
    pub next: u64,
    /// Whole entries.
    pub entries: u64,
    /// Of these, entries that are not acknowledged.
    pub waiting: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether its header is whole.
    pub header: bool,
    /// Bytes between entries that are none.
    pub damaged_bytes: u64,
    /// Bytes behind the last entry that are none, as a crash leaves them.
    pub torn_bytes: u64,
    /// Places that the disk does not give back.
    pub unreadable: Vec<Place>,
}

/// Whether a file of this name is one that a buffer makes, damaged segments included.
pub fn is_of_a_buffer(name: &str) -> bool {
    let segment = name.strip_suffix(DAMAGED).unwrap_or(name);
    acks::number(name).is_some() || segment::first(segment).is_some()
}

/// Looks at the buffer in a directory, without changing anything. What a buffer at work removes meanwhile is
/// passed over.
///
/// # Errors
/// If the system refuses, or a later version wrote it.
pub fn inspect(path: &Path) -> Result<Inspection, Error> {
    let disk = Folder(path.to_owned());
    let names = disk.names().map_err(Error::io("list", "the directory"))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::first(name)).collect();
    firsts.sort_unstable();
    let mut opened = Vec::new();
    for first in firsts {
        let name = segment::name(first);
        match disk.open(&name) {
            Err(error) if medium::is_damaged(&error) => opened.push((first, Err(error))),
            file => {
                let file = there(file).map_err(Error::io("open", &name))?;
                opened.extend(file.map(|file| (first, Ok(file))));
            }
        }
    }
    // Only now: what went before was acknowledged before, and what is open stays.
    let mut inspection = Inspection { acknowledged: acknowledged(&disk)?, ..Inspection::default() };
    let mut opened = opened.into_iter().peekable();
    while let Some((first, file)) = opened.next() {
        let below = opened.peek().map_or(u64::MAX, |(following, _)| *following);
        let segment = match file {
            Ok(file) => look(file, first, below, inspection.acknowledged, |_, _| {})?,
            Err(error) => Segment::unopened(first, &error),
        };
        inspection.segments.push(segment);
    }
    let set_aside = names.into_iter().filter(|name| name.ends_with(DAMAGED));
    inspection.set_aside = set_aside.collect();
    inspection.set_aside.sort_unstable();
    Ok(inspection)
}

/// What was opened, unless it is gone.
fn there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// What all below of is acknowledged.
fn acknowledged(disk: &Folder) -> Result<u64, Error> {
    let names = disk.names().map_err(Error::io("list", "the directory"))?;
    let mut acknowledged = 0;
    for name in names.iter().filter(|name| acks::number(name).is_some()) {
        let opened = match disk.open(name) {
            Err(error) if medium::is_damaged(&error) => continue,
            opened => there(opened).map_err(Error::io("open", name))?,
        };
        if let Some(file) = opened {
            let position = acks::read(&file, name)?.highest.map_or(0, |(position, _)| position);
            acknowledged = acknowledged.max(position);
        }
    }
    Ok(acknowledged)
}

/// Writes each damaged segment anew with its whole entries, and sets the damaged one aside. Gives what the
/// buffer held before.
///
/// # Errors
/// If the system refuses: a segment is either as it was or repaired.
pub fn repair(path: &Path) -> Result<Inspection, Error> {
    let found = inspect(path)?;
    let disk = Folder(path.to_owned());
    for (at, segment) in found.segments.iter().enumerate() {
        if segment.is_whole() {
            continue;
        }
        let aside = format!("{}{DAMAGED}", segment.name);
        let below = found.segments.get(at + 1).map_or(u64::MAX, |following| following.first);
        let mut whole = segment::header(segment.first);
        let file = match disk.open(&segment.name) {
            // It is all lost; no file is to stand in its way.
            Err(error) if medium::is_damaged(&error) => {
                disk.rename(&segment.name, &aside).map_err(Error::io("rename", &segment.name))?;
                continue;
            }
            file => file.map_err(Error::io("open", &segment.name))?,
        };
        look(file, segment.first, below, 0, |sequence, payload| {
            segment::write_entry(sequence, payload, &mut whole);
        })?;
        let linked = there(disk.remove(&aside))
            .and_then(|_| std::fs::hard_link(path.join(&segment.name), path.join(&aside)));
        if linked.is_err() {
            // A file system without links.
            let damaged = std::fs::read(path.join(&segment.name));
            replace(&disk, &aside, &damaged.map_err(Error::io("read", &segment.name))?)?;
        }
        replace(&disk, &segment.name, &whole)?;
    }
    Ok(found)
}

/// Makes a file hold this, or leaves it as it was.
fn replace(disk: &Folder, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let new = format!("{name}.new");
    disk.remove(&new).unwrap_or_default();
    let file = disk.create(&new).map_err(Error::io("make", &new))?;
    file.write_at(0, bytes).map_err(Error::io("write", &new))?;
    DiskFile::sync(&file).map_err(Error::io("sync", &new))?;
    disk.rename(&new, name).map_err(Error::io("replace", name))?;
    disk.sync().map_err(Error::io("sync", "the directory"))
}

fn look(
    file: File,
    first: u64,
    below: u64,
    acknowledged: u64,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<Segment, Error> {
    let name = segment::name(first);
    let bytes = file.bytes().map_err(Error::io("inspect", &name))?;
    let header = segment::check_header(&file, &name, first)?;
    let mut segment = Segment {
        name: name.clone(),
        first,
        next: first,
        entries: 0,
        waiting: 0,
        bytes,
        header,
        damaged_bytes: 0,
        torn_bytes: 0,
        unreadable: Vec::new(),
    };
    let mut cursor = Cursor::new(Arc::new(file), HEADER_BYTES as u64, first, below).leaping();
    loop {
        let step = cursor.step(bytes).map_err(Error::io("read", &name))?;
        segment.unreadable.extend(cursor.take_unreadable());
        match step {
            Step::Entry(entry) => {
                segment.next = entry.sequence + 1;
                segment.entries += 1;
                segment.waiting += u64::from(entry.sequence >= acknowledged);
                each(entry.sequence, cursor.payload(entry));
            }
            Step::Damaged { bytes } => segment.damaged_bytes += bytes,
            Step::End { rest, .. } => {
                segment.torn_bytes = rest;
                return Ok(segment);
            }
        }
        cursor.forget_read();
    }
}

// === impl Inspection ===

impl Inspection {
    /// Entries that are not acknowledged and can be read.
    pub fn waiting(&self) -> u64 {
        self.segments.iter().map(|segment| segment.waiting).sum()
    }

    /// Entries that are not acknowledged and can't be read: gaps in the sequences.
    pub fn missing(&self) -> u64 {
        let last = self.segments.last().map_or(0, |last| last.next);
        last.saturating_sub(self.acknowledged).saturating_sub(self.waiting())
    }

    /// Whether all of it can be read.
    pub fn is_whole(&self) -> bool {
        self.missing() == 0 && self.segments.iter().all(Segment::is_whole)
    }
}

/// A line a segment, and one for all.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(
                f,
                "{}: {} records, {} waiting, {} bytes",
                segment.name, segment.entries, segment.waiting, segment.bytes
            )?;
            if !segment.header {
                f.write_str(", its header is damaged")?;
            }
            if segment.damaged_bytes > 0 {
                write!(f, ", {} bytes between records are damaged", segment.damaged_bytes)?;
            }
            if segment.torn_bytes > 0 {
                write!(f, ", torn: {} bytes at its end are no record", segment.torn_bytes)?;
            }
            for Place { offset, bytes, error, .. } in &segment.unreadable {
                match bytes {
                    0 => write!(f, ", can't be opened: {error}")?,
                    _ => write!(f, ", {bytes} bytes at {offset} can't be read: {error}")?,
                }
            }
            writeln!(f)?;
        }
        for name in &self.set_aside {
            writeln!(f, "{name}: set aside")?;
        }
        writeln!(
            f,
            "{} records waiting, {} missing, acknowledged below {}",
            self.waiting(),
            self.missing(),
            self.acknowledged
        )
    }
}

// === impl Segment ===

impl Segment {
    /// One that the disk does not give back.
    fn unopened(first: u64, error: &io::Error) -> Self {
        let name = segment::name(first);
        let place = Place { name: name.clone(), offset: 0, bytes: 0, error: error.to_string() };
        Self {
            name,
            first,
            next: first,
            entries: 0,
            waiting: 0,
            bytes: 0,
            header: false,
            damaged_bytes: 0,
            torn_bytes: 0,
            unreadable: vec![place],
        }
    }

    /// Whether it is as it was written.
    pub fn is_whole(&self) -> bool {
        let readable = self.unreadable.is_empty();
        readable && self.header && self.damaged_bytes == 0 && self.torn_bytes == 0
    }
}
