//! The verdict log, `DATA_DIR/verdicts.ndjson`: a line for each change, whoever made it.
//!
//! The daemon and the command line append to it at the same time; a lock on the file makes a line whole and
//! the rotation one's alone. What can't be read in it is skipped: it explains verdicts, the kernel holds
//! them.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    iter,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown},
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
/// Begins a line that stands for one in an earlier file.
const KEPT_MARK: &str = "{\"kept\":true,";
/// Rotated files that are kept.
const KEPT: u32 = 4;
/// Bytes of lines that a new file begins with: verdicts of people and lists that hold on.
const MAX_HEAD_BYTES: usize = 4 << 20;
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
    /// It is no change: it stands for one in an earlier file, and counts where there is no other line.
    #[serde(default)]
    kept: bool,
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
        let mut head = Vec::new();
        if file.metadata()?.len() >= MAX_BYTES {
            head = self.head()?;
            self.rotate()?;
            file = self.locked()?;
        }
        let before = file.metadata()?.len();
        // What a crash left of a line is a line of its own, that can't be read.
        let end = if is_torn(&file, before)? { "\n" } else { "" };
        let lines = head.iter().chain(lines).flat_map(|line| [line.as_str(), "\n"]);
        let text: String = iter::once(end).chain(lines).collect();
        file.write_all(text.as_bytes()).inspect_err(|_| {
            // A torn line would swallow the one that follows.
            file.set_len(before).unwrap_or_default();
        })
    }

    /// The file, locked against others; the one that has the name by then.
    fn locked(&self) -> io::Result<File> {
        loop {
            let mut options = OpenOptions::new();
            options.append(true).read(true).mode(0o600);
            let file = match options.open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match options.create_new(true).open(&self.path) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        made => self.handed_over(made?)?,
                    }
                }
                opened => opened?,
            };
            flock(&file, FlockOperation::LockExclusive)?;
            let named = fs::metadata(&self.path);
            if named.is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino()))
            {
                return Ok(file);
            }
        }
    }

    /// A file that was just made, as its folder's owner has it: a command of root must not keep the daemon from it.
    fn handed_over(&self, file: File) -> io::Result<File> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let (folder, made) = (fs::metadata(folder)?, file.metadata()?);
        if made.uid() == 0 && folder.uid() != 0 {
            fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(file)
    }

    /// What the next file begins with: of each network the line of a verdict of a person or a list that holds on, as
    /// far as there is room; people's come first, for lists are read again.
    fn head(&self) -> io::Result<Vec<String>> {
        let mut last = BTreeMap::new();
        let mut now = i64::MIN;
        self.each(|line, read| {
            now = now.max(read.at_ns);
            let key = (read.source.clone(), read.address, read.prefix);
            if read.kept && last.contains_key(&key) {
                return;
            }
            let is_kept = read.change == Change::Applied && matches!(read.by, By::Cli | By::List);
            last.insert(key, is_kept.then(|| (read.by == By::List, read.ends_ns(), line.to_vec())));
        })?;
        let mut kept: Vec<_> = last.into_values().flatten().collect();
        kept.retain(|(_, ends, _)| ends.is_none_or(|end| end > now));
        kept.sort_by_key(|(is_listed, ..)| *is_listed);
        let mut bytes = 0;
        let lines = kept.into_iter().filter_map(|(_, _, line)| as_kept(line));
        Ok(lines
            .take_while(|line| {
                bytes += line.len();
                bytes <= MAX_HEAD_BYTES
            })
            .collect())
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
    fn files(&self) -> io::Result<Vec<(u64, File)>> {
        let mut files = Vec::new();
        let paths = (1..=KEPT).rev().map(|number| self.rotated(number)).chain([self.path.clone()]);
        for path in paths {
            if let Some(file) = opened(&path)? {
                files.push((file.metadata()?.ino(), file));
            }
        }
        // One that was rotated meanwhile is met twice.
        files.dedup_by_key(|(number, _)| *number);
        Ok(files)
    }

    /// Where its last line ends.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn end(&self) -> io::Result<Place> {
        let last = self.files()?.pop();
        Ok(last.map_or(Place::default(), |(file, opened)| Place {
            file,
            byte: opened.metadata().map_or(0, |metadata| metadata.len()),
        }))
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
        let files = self.files()?;
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
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn read(&self, source: &str) -> io::Result<Vec<Entry>> {
        let last = self.last(|of| of == source)?;
        Ok(last.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The same of every source, with whose verdict each is.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_all(&self) -> io::Result<Vec<(String, Entry)>> {
        self.last(|_| true)
    }

    fn last(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<(String, Entry)>> {
        let mut last = BTreeMap::new();
        self.each(|_, mut read| {
            let source = std::mem::take(&mut read.source);
            if !is_wanted(&source) {
                return;
            }
            let is_kept = read.kept;
            if let Some(entry) = read.entry() {
                let of = (source, entry.verdict.network);
                if !is_kept || !last.contains_key(&of) {
                    last.insert(of, entry);
                }
            }
        })?;
        Ok(last.into_iter().map(|((source, _), entry)| (source, entry)).collect())
    }

    /// Each line of the newest two files that can be read, the oldest first.
    fn each(&self, mut take: impl FnMut(&[u8], Read)) -> io::Result<()> {
        for path in [self.rotated(1), self.path.clone()] {
            let Some(file) = opened(&path)? else { continue };
            let mut reader = BufReader::new(file);
            while let Some(line) = next_line(&mut reader)? {
                if let Ok(read) = serde_json::from_slice::<Read>(&line) {
                    take(&line, read);
                }
            }
        }
        Ok(())
    }
}

/// Whether the last of so many bytes ends no line.
fn is_torn(file: &File, bytes: u64) -> io::Result<bool> {
    let Some(at) = bytes.checked_sub(1) else { return Ok(false) };
    let mut last = [0];
    file.read_exact_at(&mut last, at)?;
    Ok(last != [b'\n'])
}

/// A file; `None` if there is none.
fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// A line with the mark that it stands for one in an earlier file.
fn as_kept(line: Vec<u8>) -> Option<String> {
    let line = String::from_utf8(line).ok()?;
    if line.starts_with(KEPT_MARK) {
        return Some(line);
    }
    Some(format!("{KEPT_MARK}{}", line.strip_prefix('{')?))
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

/// What a line says, if it can be read and tells of a change.
pub(super) fn parse(line: &[u8]) -> Option<Logged> {
    serde_json::from_slice::<Read>(line).ok().filter(|read| !read.kept)?.logged()
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
    /// When its verdict ends by itself.
    fn ends_ns(&self) -> Option<i64> {
        let ttl = |ttl| i64::try_from(ttl).unwrap_or(i64::MAX);
        self.ttl_ns.map(|nanos| self.since_ns.saturating_add(ttl(nanos)))
    }

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
