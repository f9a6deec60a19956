//! A small file of the gate's state, beside the verdict log: replaced as a whole when what it says has changed.

use std::path::PathBuf;

use tracing::{error, warn};

use crate::{
    component::with_causes,
    metrics::{ERRORS, ErrorType, Meter},
    storage::replace::replace,
};

/// Its owner's alone.
const MODE: u32 = 0o600;

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// What is missing while it can't be written.
    without: &'static str,
    written: Option<blake3::Hash>,
    failing: bool,
}

// === impl Kept ===

impl Kept {
    /// One that this process has not written yet.
    pub(super) fn new(path: PathBuf, without: &'static str) -> Self {
        Self { path, without, written: None, failing: false }
    }

    /// Whether what it should say is not on the disk.
    pub(super) fn is_late(&self) -> bool {
        self.failing
    }

    /// Makes it say `bytes`. A disk that takes none is told and counted, and asked again the next time. Waits for the
    /// disk.
    pub(super) fn keep(&mut self, bytes: &[u8], meter: &Meter) {
        let hash = blake3::hash(bytes);
        if self.written == Some(hash) {
            return;
        }
        match replace(&self.path, bytes, MODE) {
            Ok(()) => {
                self.written = Some(hash);
                if std::mem::take(&mut self.failing) {
                    warn!("{} can be written again", self.path.display());
                }
            }
            Err(error) => {
                meter.count(ERRORS, ErrorType::VerdictLog, 1);
                if !std::mem::replace(&mut self.failing, true) {
                    error!("{}; meanwhile {}", with_causes(&error), self.without);
                }
            }
        }
    }
}
