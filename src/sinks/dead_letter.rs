//! The dead-letter file: records that a destination will never take, each with the reason.
//!
//! A record in it counts as acknowledged, so each is on disk before [`DeadLetter::write`] returns. A
//! disk takes as long for one record as for a thousand, so they are written many at once.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::task::JoinError;

use super::options::DeadLetterConfig;
use crate::{
    codec::returned::write_line,
    component::{self, Clock},
    record::{Returned, Timestamp},
    storage::{
        self,
        append::{AppendFile, Content, Opening},
    },
    task,
};

/// Lines of so many bytes are written before there are more.
const LINES_BYTES: usize = 1 << 20;
const OPENING: Opening = Opening { content: Content::Lines, mode: 0o640, durable: true };

/// Writes dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    file: Arc<Mutex<LetterFile>>,
}

/// Dead letters to be written at once.
#[derive(Debug)]
pub struct Letters {
    time: Timestamp,
    lines: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

/// Why a dead letter was not written; the record has to be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file has grown to its limit.
    #[error("dead-letter file {} is full ({max_bytes} bytes): move it away, or raise \
        dead_letter.max_bytes", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Its limit.
        max_bytes: u64,
    },
    /// The file can't be written.
    #[error("dead letter not written")]
    File(#[from] storage::Error),
    /// Writing it panicked, or was cut off by the end of the program.
    #[error("dead letter not written")]
    Ended(#[from] JoinError),
}

#[derive(Debug)]
struct LetterFile {
    path: PathBuf,
    max_bytes: u64,
    /// `None` until it could be opened again after it was moved away.
    file: Option<AppendFile>,
}

// === impl DeadLetter ===

impl DeadLetter {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn open(config: &DeadLetterConfig) -> Result<Self, component::Error> {
        let DeadLetterConfig { path, max_bytes } = config.clone();
        let file = AppendFile::open(&path, OPENING, &[]).map_err(|error| {
            component::Error::failure("the dead-letter file can't be opened").because(error)
        })?;
        let file = LetterFile { path, max_bytes, file: Some(file) };
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// Appends letters, and waits for the disk once. Gives how many of them are in the file, from the
    /// first on, and what keeps the rest out: their records must be kept.
    pub async fn write(&self, letters: Letters) -> (usize, Result<(), Error>) {
        let file = Arc::clone(&self.file);
        let write = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.append(&letters)
        };
        let written = task::blocking(write).await;
        written.unwrap_or_else(|join| (0, Err(join.into())))
    }
}

// === impl Letters ===

impl Letters {
    /// None yet.
    pub fn new() -> Self {
        Self { time: Clock::Wall.now(None), lines: Vec::new(), ends: Vec::new() }
    }

    /// Adds the record that `sink` could not deliver for `reason`.
    pub fn push(&mut self, sink: &str, reason: &str, record: &Returned) {
        self.lines.extend(write_line(self.time, sink, reason, record));
        self.ends.push(self.lines.len());
    }

    /// Whether they are so many that they are to be written before there are more.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= LINES_BYTES
    }

    /// How many of them, from the first on, are of `room` bytes at most, and their lines.
    fn within(&self, room: u64) -> (usize, &[u8]) {
        let count = self.ends.partition_point(|&end| end as u64 <= room);
        let end = count.checked_sub(1).and_then(|last| self.ends.get(last));
        (count, self.lines.get(..end.copied().unwrap_or(0)).unwrap_or_default())
    }
}

impl Default for Letters {
    fn default() -> Self {
        Self::new()
    }
}

// === impl LetterFile ===

impl LetterFile {
    fn append(&mut self, letters: &Letters) -> (usize, Result<(), Error>) {
        let (path, max_bytes) = (self.path.clone(), self.max_bytes);
        let appended = self.open().and_then(|file| {
            let (count, lines) = letters.within(max_bytes.saturating_sub(file.whole_bytes()));
            if count > 0 {
                file.append(lines, true)?;
            }
            Ok(count)
        });
        match appended {
            Ok(count) if count < letters.ends.len() => {
                (count, Err(Error::Full { path, max_bytes }))
            }
            Ok(count) => (count, Ok(())),
            Err(error) => (0, Err(error)),
        }
    }

    fn open(&mut self) -> Result<&mut AppendFile, Error> {
        // One that is not current is closed first: its lock would keep us out.
        let current = self.file.take().and_then(|mut file| file.is_current().then_some(file));
        let file = match current {
            Some(file) => file,
            None => AppendFile::open(&self.path, OPENING, &[])?,
        };
        Ok(self.file.insert(file))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Value, json};

    use super::*;
    use crate::record::Kind;

    fn read(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn open(path: PathBuf, max_bytes: u64) -> DeadLetter {
        DeadLetter::open(&DeadLetterConfig { path, max_bytes }).unwrap()
    }

    fn letters(documents: &[&str]) -> Letters {
        let mut letters = Letters::new();
        for document in documents {
            let record = Returned::new(Kind::Flow, document.as_bytes());
            letters.push("siem", "too large", &record);
        }
        letters
    }

    async fn write(dead_letter: &DeadLetter, document: &str) -> Result<(), Error> {
        dead_letter.write(letters(&[document])).await.1
    }

    #[tokio::test]
    async fn a_full_file_refuses_until_it_is_moved_away_or_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        let dead_letter = open(path.clone(), 150);
        write(&dead_letter, "{}").await.unwrap();
        let full = write(&dead_letter, "{}").await;
        assert!(matches!(full, Err(Error::Full { max_bytes: 150, .. })), "{full:?}");
        assert_eq!(read(&path).len(), 1);

        fs::rename(&path, directory.path().join("dead.old")).unwrap();
        write(&dead_letter, "{\"second\":true}").await.unwrap();
        assert_eq!(read(&path)[0]["document"], json!({"second": true}));
        fs::write(&path, "").unwrap();
        write(&dead_letter, "{\"third\":true}").await.unwrap();
        assert_eq!(read(&path)[0]["document"], json!({"third": true}));
    }

    #[tokio::test]
    async fn a_file_found_full_at_the_start_is_still_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        write(&open(path.clone(), 150), "{}").await.unwrap();
        let full = write(&open(path, 150), "{}").await;
        assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    }

    #[tokio::test]
    async fn as_many_letters_are_written_as_there_is_room_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        let dead_letter = open(path.clone(), 340);
        let five = letters(&["{\"at\":0}", "{\"at\":1}", "{\"at\":2}", "{\"at\":3}", "4"]);
        let (written, full) = dead_letter.write(five).await;
        assert!(matches!(full, Err(Error::Full { max_bytes: 340, .. })), "{full:?}");
        let documents: Vec<_> =
            read(&path).iter().map(|letter| letter["document"].clone()).collect();
        assert_eq!(documents, [json!({"at": 0}), json!({"at": 1})]);
        assert_eq!(written, documents.len());
    }
}
