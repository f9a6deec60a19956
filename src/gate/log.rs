//! The verdict log, `DATA_DIR/verdicts.ndjson`: a line for each change, whoever made it.
//!
//! The daemon and the command line append to it at the same time; a lock on the file makes a line whole and
//! the rotation one's alone. What can't be read in it is skipped: it explains verdicts, the kernel holds
//! them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{
    record::{Id, Timestamp},
    verdict::{Action, By, Ended, Entry, Listed, Mode, Scope, Verdict, Why},
};

/// The file's name in the data directory.
pub const FILE: &str = "verdicts.ndjson";
/// A file that has grown to this is rotated.
const MAX_BYTES: u64 = 16 << 20;
/// Rotated files that are kept.
const KEPT: u32 = 4;
/// Bytes of a line that are read.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// What happened to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It holds from now on.
    Applied,
    /// Its time was over.
    Expired,
    /// Somebody took it back.
    Removed,
    /// An entry of the allow list covers it now.
    Allowed,
}

/// How far a reader of the log has come: in a file, which keeps its number when it is rotated, and a byte there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    file: u64,
    byte: u64,
}

/// A change as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What happened.
    pub change: Change,
    /// When.
    pub at: Timestamp,
    /// The person who did it, if one did.
    pub user: Option<Box<str>>,
    /// The source whose verdict it is.
    pub source: Box<str>,
    /// The verdict as it was then.
    pub entry: Entry,
}

/// The log in a data directory.
#[derive(Debug, Clone)]
pub struct VerdictLog {
    path: PathBuf,
}

/// A line as it is written.
#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: Timestamp,
    change: Change,
    /// The person who did it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    at_ns: i64,
    since_ns: i64,
    ttl_ns: Option<u64>,
    #[serde(flatten)]
    verdict: Listed<'a>,
}

/// A line as it is read.
#[derive(Debug, Deserialize)]
struct Read {
    change: Change,
    #[serde(default)]
    user: Option<Box<str>>,
    at_ns: i64,
    since_ns: i64,
    ttl_ns: Option<u64>,
    address: std::net::IpAddr,
    prefix: u8,
    source: String,
    action: Action,
    scope: Scope,
    port: Option<u16>,
    mode: Mode,
    packets: u64,
    bytes: u64,
    score: u8,
    offence: u32,
    reasons: Vec<Box<str>>,
    by: By,
    id: String,
}

// === impl VerdictLog ===

impl VerdictLog {
    /// The log in `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines, and rotates the file when it is large. Waits for the disk.
    ///
    /// # Errors
    /// If it can't be written; nothing of a line is left then that is no line.
    pub fn append(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = self.locked()?;
        if file.metadata()?.len() >= MAX_BYTES {
            self.rotate()?;
            file = self.locked()?;
        }
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let before = file.metadata()?.len();
        file.write_all(text.as_bytes()).inspect_err(|_| {
            // A torn line would swallow the one that follows.
            file.set_len(before).unwrap_or_default();
        })
    }

    /// The file, locked against others; the one that has the name by then.
    fn locked(&self) -> io::Result<File> {
        loop {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let named = fs::metadata(&self.path);
            if named.is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino()))
            {
                return Ok(file);
            }
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(self.rotated(number), self.rotated(number + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        fs::rename(&self.path, self.rotated(1))
    }

    fn rotated(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// The files that there are, with their numbers, the oldest first.
    fn files(&self) -> Vec<(u64, File)> {
        let paths = (1..=KEPT).rev().map(|number| self.rotated(number)).chain([self.path.clone()]);
        let opened = paths.filter_map(|path| {
            let file = File::open(path).ok()?;
            Some((file.metadata().ok()?.ino(), file))
        });
        let mut files: Vec<_> = opened.collect();
        // One that was rotated meanwhile is met twice.
        files.dedup_by_key(|(number, _)| *number);
        files
    }

    /// Where its last line ends.
    pub fn end(&self) -> Place {
        let last = self.files().pop();
        last.map_or(Place::default(), |(file, opened)| Place {
            file,
            byte: opened.metadata().map_or(0, |metadata| metadata.len()),
        })
    }

    /// The changes of `source` that stand behind `place`, of `most` lines at most, and where they end. If the
    /// place is no longer kept, all that is. Lines that can't be read are skipped; waits for the disk.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn behind(
        &self,
        place: Place,
        source: &str,
        most: usize,
    ) -> io::Result<(Vec<Logged>, Place)> {
        let files = self.files();
        let is_kept = |(number, file): &(u64, File)| {
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            *number == place.file && bytes >= place.byte
        };
        let first = files.iter().position(is_kept);
        let mut end = place;
        let (mut found, mut lines) = (Vec::new(), 0);
        for (number, mut file) in files.into_iter().skip(first.unwrap_or(0)) {
            if first.is_none() || number != place.file {
                end = Place { file: number, byte: 0 };
            }
            file.seek(SeekFrom::Start(end.byte))?;
            let mut reader = BufReader::new(file);
            while lines < most
                && let Some((line, bytes)) = whole_line(&mut reader)?
            {
                lines += 1;
                end.byte += bytes;
                found.extend(parse(&line).filter(|logged| &*logged.source == source));
            }
            if lines == most {
                break;
            }
        }
        Ok((found, end))
    }

    /// What the log knows of verdicts of `source`: of each network the last one, as it was when it changed
    /// last. From the newest two files; waits for the disk.
    pub fn read(&self, source: &str) -> Vec<Entry> {
        self.last(|of| of == source).into_iter().map(|(_, entry)| entry).collect()
    }

    /// The same of every source, with whose verdict each is.
    pub fn read_all(&self) -> Vec<(String, Entry)> {
        self.last(|_| true)
    }

    fn last(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, Entry)> {
        let mut last = std::collections::BTreeMap::new();
        for path in [self.rotated(1), self.path.clone()] {
            let Ok(file) = File::open(path) else { continue };
            let mut reader = BufReader::new(file);
            while let Ok(Some(line)) = next_line(&mut reader) {
                let Ok(mut read) = serde_json::from_slice::<Read>(&line) else { continue };
                let source = std::mem::take(&mut read.source);
                if is_wanted(&source)
                    && let Some(entry) = read.entry()
                {
                    last.insert((source, entry.verdict.network), entry);
                }
            }
        }
        last.into_iter().map(|((source, _), entry)| (source, entry)).collect()
    }
}

/// The next line without its end, empty if it is too long; `None` at the end.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = io::Read::take(&mut *reader, MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        return Ok(Some(line));
    }
    reader.skip_until(b'\n')?;
    Ok(Some(if read as u64 == MAX_LINE_BYTES { Vec::new() } else { line }))
}

/// The next line that is whole, without its end and empty if it is too long, and how many bytes it takes.
/// `None` at the end, also where a line is being written.
pub(super) fn whole_line(reader: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, u64)>> {
    let mut line = Vec::new();
    let read = io::Read::take(&mut *reader, MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        return Ok(Some((line, read)));
    }
    if read < MAX_LINE_BYTES {
        return Ok(None);
    }
    let rest = reader.skip_until(b'\n')? as u64;
    Ok(Some((Vec::new(), read + rest)))
}

/// What a line says, if it can be read.
pub(super) fn parse(line: &[u8]) -> Option<Logged> {
    serde_json::from_slice::<Read>(line).ok()?.logged()
}

/// The line of a change of `entry`, by `user` if a person made it.
pub fn line(
    change: Change,
    source: &str,
    entry: &Entry,
    user: Option<&str>,
    now: Timestamp,
) -> String {
    let ttl = entry.verdict.ttl;
    let line = Line {
        timestamp: now,
        change,
        user,
        at_ns: now.nanos(),
        since_ns: entry.since.nanos(),
        ttl_ns: ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)),
        verdict: Listed::new(source, entry, now),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

// === impl Read ===

impl Read {
    fn logged(mut self) -> Option<Logged> {
        let (change, user) = (self.change, self.user.take());
        let at = Timestamp::from_nanos(self.at_ns);
        let source = std::mem::take(&mut self.source).into();
        Some(Logged { change, at, user, source, entry: self.entry()? })
    }

    fn entry(self) -> Option<Entry> {
        let verdict = Verdict {
            id: Id::parse(&self.id)?,
            network: IpNet::new(self.address, self.prefix).ok()?,
            action: self.action,
            scope: self.scope,
            port: self.port,
            ttl: self.ttl_ns.map(Duration::from_nanos),
            score: self.score,
            offence: self.offence,
            reasons: self.reasons,
            by: self.by,
        };
        let why = match self.change {
            Change::Applied => None,
            Change::Expired => Some(Why::Expired),
            Change::Removed => Some(Why::Removed),
            Change::Allowed => Some(Why::Allowed),
        };
        let entry = Entry::new(verdict, self.mode, Timestamp::from_nanos(self.since_ns));
        let at = Timestamp::from_nanos(self.at_ns);
        Some(Entry {
            packets: self.packets,
            bytes: self.bytes,
            ended: why.map(|why| Ended { at, why }),
            ..entry
        })
    }
}
