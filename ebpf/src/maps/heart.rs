//! What one thread does with a map while another has the rest: the daemon's sign of life, and what passed because there
//! was none.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::maps::{Array, MapData, PerCpuArray};

use super::now_ns;
use crate::{
    Error,
    abi::{Count, Daemon, Outcome},
};

/// What the daemon alone writes. It takes no more than its own lock, which is held for two calls of the kernel.
#[derive(Clone)]
pub struct Heart(Arc<Mutex<Array<MapData, Daemon>>>);

/// How many packets passed because the daemon was silent.
#[derive(Clone)]
pub struct LetThrough(pub(super) Arc<PerCpuArray<MapData, Count>>);

// === impl Heart ===

impl Heart {
    pub(super) fn new(map: Array<MapData, Daemon>) -> Self {
        Self(Arc::new(Mutex::new(map)))
    }

    /// Says that the daemon lives. What it had written before.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn beat(&self) -> Result<Daemon, Error> {
        self.change(|daemon| Daemon { heartbeat_ns: now_ns(), ..daemon })
    }

    /// What the daemon wrote last.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn daemon(&self) -> Result<Daemon, Error> {
        read(&self.locked())
    }

    /// Writes what becomes of it, and gives what it was. Nobody comes in between.
    pub(super) fn change(&self, to: impl FnOnce(Daemon) -> Daemon) -> Result<Daemon, Error> {
        let mut map = self.locked();
        let before = read(&map)?;
        let done = map.set(0, to(before), 0);
        done.map_err(|error| Error::of_map("tg_daemon", error))?;
        Ok(before)
    }

    fn locked(&self) -> MutexGuard<'_, Array<MapData, Daemon>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Heart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heart").finish_non_exhaustive()
    }
}

// === impl LetThrough ===

impl LetThrough {
    /// How many there were since the maps were made.
    ///
    /// # Errors
    /// If the statistics can't be read.
    pub fn packets(&self) -> Result<u64, Error> {
        Ok(counted(&self.0, Outcome::FailOpen)?.packets)
    }
}

impl fmt::Debug for LetThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetThrough").finish_non_exhaustive()
    }
}

fn read(map: &Array<MapData, Daemon>) -> Result<Daemon, Error> {
    map.get(&0, 0).map_err(|error| Error::of_map("tg_daemon", error))
}

/// Packets of an outcome, over all processors.
pub(super) fn counted(
    stats: &PerCpuArray<MapData, Count>,
    outcome: Outcome,
) -> Result<Count, Error> {
    let mut sum = Count::default();
    let values = stats.get(&(outcome as u32), 0);
    for count in values.map_err(|error| Error::of_map("tg_stats", error))?.iter() {
        sum.packets += count.packets;
        sum.bytes += count.bytes;
    }
    Ok(sum)
}
