//! A file that grows by whole records only.
//!
//! What a failed write left is cut off before the next one; what a crash left is set aside when the
//! file is opened. So a reader never meets a torn record with others behind it.

mod tail;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use tracing::{error, warn};

pub use self::tail::Content;
use super::{
    Error,
    directory::{create_directory_of, directory_of, sync_directory},
    failed,
    lock::{NotLocked, lock, unlock},
    medium,
};
use crate::component::with_causes;

/// More than this behind the last whole record is no torn write of ours.
const MAX_TORN_BYTES: u64 = 64 << 20;

/// What was done when a file could not be read.
const READ: &str = "read";

/// So many files that can't be read are kept beside the first one.
const MAX_DAMAGED: usize = 9;

/// So many links may lead from one to the next, as for the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// An open file and where its last whole record ends.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    identity: Identity,
    whole_bytes: u64,
    torn: bool,
    unsynced: bool,
}

/// Which file it is, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// A file that was closed, and how much of it was whole then.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    /// Which file it is.
    pub identity: Identity,
    whole_bytes: u64,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// What it holds.
    pub content: Content,
    /// Permissions of a new one.
    pub mode: u32,
    /// Whether a new one must survive a power loss: the directory it is new in is synced too.
    pub durable: bool,
}

// === impl AppendFile ===

impl AppendFile {
    /// Opens or creates a file, with its directories. A torn record at its end is moved to
    /// `PATH.torn`; a file whose end the disk does not give back is moved to `PATH.damaged` as a whole.
    /// `closed` are files known to have been whole up to some length.
    ///
    /// # Errors
    /// If the system refuses, somebody else has it, or it is not ours to append to.
    pub fn open(path: &Path, opening: Opening, closed: &[Closed]) -> Result<Self, Error> {
        match Self::open_syncing(path, opening, closed, sync_directory) {
            Err(Error::Io { action: READ, source, .. })
                if medium::is_damaged(&source) && set_damaged_aside(path, &source) =>
            {
                Self::open_syncing(path, opening, closed, sync_directory)
            }
            opened => opened,
        }
    }

    fn open_syncing(
        path: &Path,
        opening: Opening,
        closed: &[Closed],
        sync: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let place = place(path);
        create_directory_of(&place, opening.durable)?;
        let (file, created) = open_or_create(&place, opening.mode).map_err(failed("open", path))?;
        let meta = file.metadata().map_err(failed("inspect", path))?;
        if !meta.is_file() {
            return Err(Error::NotRegular { path: path.to_owned() });
        }
        // Where there are no locks, writers can't be told apart.
        if let Err(NotLocked::Held(holder)) = lock(&file) {
            return Err(Error::Busy { path: path.to_owned(), holder });
        }
        let identity = Identity { device: meta.dev(), inode: meta.ino() };
        let mut opened = Self {
            path: path.to_owned(),
            file,
            identity,
            whole_bytes: 0,
            torn: false,
            unsynced: false,
        };
        if created {
            let mode = Permissions::from_mode(opening.mode);
            opened.file.set_permissions(mode).map_err(failed("set the mode of", path))?;
            if opening.durable {
                sync(&place).inspect_err(|_| {
                    // What is there already would not be synced by the next try.
                    fs::remove_file(&place).unwrap_or_default();
                })?;
            }
        } else {
            let known = closed.iter().rev().find(|closed| closed.identity == identity);
            let from = known.map_or(0, |closed| closed.whole_bytes);
            opened.heal(from, opening)?;
        }
        Ok(opened)
    }

    /// Appends whole records; after an error the file is as it was, or will be before the next
    /// write.
    pub fn append(&mut self, records: &[u8], sync: bool) -> Result<(), Error> {
        self.cut_torn()?;
        self.whole_bytes = self.bytes()?;
        // Until the write is done, whatever stands behind the last whole record is torn.
        self.torn = true;
        self.unsynced = true;
        let written = self
            .file
            .write_all(records)
            .map_err(failed("write", &self.path))
            .and_then(|()| if sync { self.sync() } else { Ok(()) });
        match written {
            Ok(()) => {
                self.whole_bytes += records.len() as u64;
                self.torn = false;
                Ok(())
            }
            Err(error) => {
                if let Err(cut) = self.cut_torn() {
                    warn!("cut off before the next write: {}", with_causes(&cut));
                }
                Err(error)
            }
        }
    }

    /// Makes what was appended survive a power loss.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.unsynced {
            self.file.sync_data().map_err(failed("sync", &self.path))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Whether its path still leads to it: it was neither moved nor deleted. Notes if somebody has
    /// emptied it.
    pub fn is_current(&mut self) -> bool {
        let Ok(meta) = fs::metadata(&self.path) else { return false };
        let is_current = self.identity == Identity { device: meta.dev(), inode: meta.ino() };
        if is_current {
            self.whole_bytes = self.whole_bytes.min(meta.len());
        }
        is_current
    }

    /// Closes it.
    pub fn close(self) -> Closed {
        Closed { identity: self.identity, whole_bytes: self.whole_bytes }
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its own name: where the links lead to, if its path is one.
    ///
    /// # Errors
    /// If it is no longer there.
    pub fn place(&self) -> io::Result<PathBuf> {
        let place = behind_links(&self.path);
        let meta = fs::symlink_metadata(&place)?;
        if self.identity == (Identity { device: meta.dev(), inode: meta.ino() }) {
            Ok(place)
        } else {
            Err(io::Error::other(format!("{} is another file by now", place.display())))
        }
    }

    /// Bytes of whole records, as of the last write.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// When the file was created, as far as the file system knows.
    pub fn created(&self) -> Option<std::time::SystemTime> {
        let meta = self.file.metadata().ok()?;
        meta.created().or_else(|_| meta.modified()).ok()
    }

    fn bytes(&self) -> Result<u64, Error> {
        self.file.metadata().map(|meta| meta.len()).map_err(failed("inspect", &self.path))
    }

    fn cut_torn(&mut self) -> Result<(), Error> {
        if self.torn {
            // Somebody else may have emptied it meanwhile; never make it longer.
            if self.bytes()? > self.whole_bytes {
                self.file.set_len(self.whole_bytes).map_err(failed("truncate", &self.path))?;
            }
            self.torn = false;
        }
        Ok(())
    }

    /// Moves what stands behind the last whole record to `PATH.torn`.
    fn heal(&mut self, from: u64, opening: Opening) -> Result<(), Error> {
        let bytes = self.bytes()?;
        let from = if from <= bytes { from } else { 0 };
        let content = opening.content;
        let foreign = |offset| Error::Foreign { path: self.path.clone(), content, offset };
        if bytes > 0 && !content.may_begin_with(&self.read(0, 4)?) {
            return Err(foreign(0));
        }
        let whole = content.whole_bytes(&self.file, from).map_err(failed(READ, &self.path))?;
        let torn_bytes = bytes.saturating_sub(whole);
        if torn_bytes > MAX_TORN_BYTES {
            return Err(foreign(whole));
        }
        if torn_bytes > 0 {
            let aside = self.set_aside(whole, torn_bytes, opening.mode)?;
            self.file.set_len(whole).map_err(failed("truncate", &self.path))?;
            warn!(
                path = %self.path.display(),
                torn_bytes,
                "ended in a torn record; its bytes are now in {}",
                aside.display(),
            );
        }
        self.whole_bytes = whole;
        Ok(())
    }

    fn set_aside(&self, offset: u64, bytes: u64, mode: u32) -> Result<PathBuf, Error> {
        let mut name = self.path.clone().into_os_string();
        name.push(".torn");
        let aside = PathBuf::from(name);
        let torn = self.read(offset, bytes)?;
        let append = || {
            let (mut file, _) = open_or_create(&aside, mode)?;
            let before = file.metadata()?.len();
            file.write_all(&torn).and_then(|()| file.sync_all()).inspect_err(|_| {
                // The whole is tried again; a second copy of the same piece would mislead.
                file.set_len(before).unwrap_or_default();
            })
        };
        append().map_err(failed("set aside a torn record in", &aside))?;
        Ok(aside)
    }

    /// Up to `bytes` (at most [`MAX_TORN_BYTES`]) from `offset`.
    fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let available = self.bytes()?.saturating_sub(offset).min(bytes).min(MAX_TORN_BYTES);
        let mut read = vec![0; usize::try_from(available).unwrap_or_default()];
        self.file.read_exact_at(&mut read, offset).map_err(failed(READ, &self.path))?;
        Ok(read)
    }
}

impl Drop for AppendFile {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Gives a file that can't be read another name; false if that can't be done either.
fn set_damaged_aside(path: &Path, error: &io::Error) -> bool {
    let place = behind_links(path);
    let named = |number: usize| {
        let mut name = place.clone().into_os_string();
        name.push(if number == 0 { ".damaged".to_owned() } else { format!(".damaged.{number}") });
        PathBuf::from(name)
    };
    let mut free = (0..=MAX_DAMAGED).map(named);
    let Some(aside) = free.find(|name| fs::symlink_metadata(name).is_err()) else { return false };
    let is_done = fs::rename(&place, &aside).is_ok();
    if is_done {
        error!(
            path = %path.display(),
            "the disk does not give back how it ends: it is now {}, and another one is begun: {error}",
            aside.display(),
        );
    }
    is_done
}

/// Where the file at `path` is to be made: where the links lead to, if they lead to nothing yet.
fn place(path: &Path) -> PathBuf {
    if fs::metadata(path).is_ok() { path.to_owned() } else { behind_links(path) }
}

/// What a path names that is no link any more.
fn behind_links(path: &Path) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&place) {
            Ok(target) => place = directory_of(&place).join(target),
            Err(_) => break,
        }
    }
    place
}

/// Opens a file to append, and says whether it is new.
fn open_or_create(path: &Path, mode: u32) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    // Opening a FIFO must not wait for its reader; regular files don't care.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.read(true).append(true).mode(mode).custom_flags(flags.bits().cast_signed());
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((options.open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
