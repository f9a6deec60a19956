//! What several cases need of a capture, made once, by the first of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use libtest_mimic::Failed;

/// Something about each capture.
#[derive(Debug)]
pub(crate) struct Shared<T>(Mutex<BTreeMap<PathBuf, Arc<Made<T>>>>);

/// Or why it could not be made.
type Made<T> = OnceLock<Result<Arc<T>, Failed>>;

// === impl Shared ===

impl<T> Shared<T> {
    /// Of no capture yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// That of a capture; whoever asks while it is made waits for it.
    ///
    /// # Errors
    /// When it can't be made: to all who ask.
    pub(crate) fn get(
        &self,
        capture: &Path,
        make: impl FnOnce() -> Result<T, Failed>,
    ) -> Result<Arc<T>, Failed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = Arc::clone(all.entry(capture.to_owned()).or_default());
        drop(all);
        one.get_or_init(|| make().map(Arc::new)).clone()
    }
}
