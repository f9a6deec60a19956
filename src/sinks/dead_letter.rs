//! The dead-letter file: records that a destination will never take, each with the reason.
//!
//! A record in it counts as acknowledged, so each is on disk before [`DeadLetter::write`] returns.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    append::{self, AppendFile, Content, Opening, with_causes},
    options::DeadLetterConfig,
};
use crate::{
    codec::returned::write_line,
    component::{self, Clock},
    record::Returned,
};

const OPENING: Opening = Opening { content: Content::Lines, mode: 0o640, durable: true };

/// Writes dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    letters: Arc<Mutex<Letters>>,
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
    #[error("dead letter not written: {0}")]
    File(String),
}

#[derive(Debug)]
struct Letters {
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
        let file = AppendFile::open(&path, OPENING, &[])
            .map_err(|error| component::Error::failure(with_causes(&error)))?;
        let letters = Letters { path, max_bytes, file: Some(file) };
        Ok(Self { letters: Arc::new(Mutex::new(letters)) })
    }

    /// Appends the record that `sink` could not deliver for `reason`, and waits for the disk.
    ///
    /// # Errors
    /// When it is not in the file: the record must be kept.
    pub async fn write(&self, sink: &str, reason: &str, record: &Returned) -> Result<(), Error> {
        let line = write_line(Clock::Wall.now(None), sink, reason, record);
        let letters = Arc::clone(&self.letters);
        let write = move || {
            let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
            letters.append(&line)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|join| Err(Error::File(join.to_string())))
    }
}

// === impl Letters ===

impl Letters {
    fn append(&mut self, line: &[u8]) -> Result<(), Error> {
        if !self.file.as_mut().is_some_and(AppendFile::is_current) {
            // Closed first: its lock would keep us out.
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(AppendFile::open(&self.path, OPENING, &[])?),
        };
        if file.whole_bytes().saturating_add(line.len() as u64) > self.max_bytes {
            return Err(Error::Full { path: self.path.clone(), max_bytes: self.max_bytes });
        }
        Ok(file.append(line, true)?)
    }
}

// === impl Error ===

impl From<append::Error> for Error {
    fn from(error: append::Error) -> Self {
        Self::File(with_causes(&error))
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

    fn flow(document: &[u8]) -> Returned {
        Returned::new(Kind::Flow, document)
    }

    #[tokio::test]
    async fn a_full_file_refuses_until_it_is_moved_away_or_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        let dead_letter = open(path.clone(), 150);
        dead_letter.write("siem", "too large", &flow(b"{}")).await.unwrap();
        let full = dead_letter.write("siem", "too large", &flow(b"{}")).await;
        assert!(matches!(full, Err(Error::Full { max_bytes: 150, .. })), "{full:?}");
        assert_eq!(read(&path).len(), 1);

        fs::rename(&path, directory.path().join("dead.old")).unwrap();
        dead_letter.write("siem", "too large", &flow(b"{\"second\":true}")).await.unwrap();
        assert_eq!(read(&path)[0]["document"], json!({"second": true}));
        fs::write(&path, "").unwrap();
        dead_letter.write("siem", "too large", &flow(b"{\"third\":true}")).await.unwrap();
        assert_eq!(read(&path)[0]["document"], json!({"third": true}));
    }

    #[tokio::test]
    async fn a_file_found_full_at_the_start_is_still_full() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        open(path.clone(), 150).write("siem", "too large", &flow(b"{}")).await.unwrap();
        let full = open(path, 150).write("siem", "too large", &flow(b"{}")).await;
        assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    }
}
