//! The open files of one sink: which file a request goes to, when it is rotated and synced.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use tokio::{sync::watch, task::JoinError};
use tracing::{error, info, warn};

use super::{
    RotateConfig, Sync,
    template::{Bucket, Template},
};
use crate::{
    metrics::{ERRORS, ErrorType, Meter},
    record::Timestamp,
    sinks::Compression,
    storage::{
        self,
        append::{AppendFile, Closed, Opening},
        directory::sync_directory,
        rotation,
    },
};

/// Files open at once; the one written longest ago is closed for another.
const MAX_OPEN: usize = 16;
/// Closed files whose length is remembered, so that they need not be read again to be appended to.
const MAX_CLOSED: usize = 64;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How soon it is tried again to put a file aside that could not be.
const ROTATE_AGAIN_NANOS: u64 = 60 * NANOS_PER_SECOND;

/// Writes requests to the files of one sink.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) template: Template,
    pub(super) opening: Opening,
    pub(super) compression: Compression,
    pub(super) rotate: RotateConfig,
    pub(super) sync: Sync,
    pub(super) sync_interval_nanos: u64,
    pub(super) reload: watch::Receiver<u64>,
    pub(super) meter: Arc<Meter>,
    /// Most recently written last.
    pub(super) open: Vec<Open>,
    pub(super) closed: Vec<Closed>,
}

#[derive(Debug)]
pub(super) struct Open {
    file: AppendFile,
    /// When it was created; never later than now, or a clock that was set back would keep it from
    /// growing old.
    since: Timestamp,
    pub(super) synced: Timestamp,
    /// When it could not be put aside: it grows on until it is tried again.
    unrotated: Option<Timestamp>,
}

/// Why a request was not written; nothing of it is in the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Append(#[from] storage::Error),
    #[error(
        "can't rotate {}: it would be number 1000000, and numbers end before that: move those with \
         high numbers elsewhere", path.display()
    )]
    NumbersUsedUp { path: PathBuf },
    #[error("can't compress")]
    Compress(#[source] io::Error),
    #[error("writing panicked, or was cut off by the end of the program")]
    Ended(#[from] JoinError),
}

// === impl Writer ===

impl Writer {
    /// Writes one request, all of it or nothing.
    pub(super) fn write(
        &mut self,
        bucket: Bucket,
        request: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        self.reload()?;
        let bytes = self.compression.compress(request).map_err(Error::Compress)?;
        let path = self.template.path(bucket);
        let mut open = self.take_or_open(&path, now)?;
        let is_due = self.is_too_old(&open, now) || self.would_be_too_large(&open, bytes.len());
        if is_due && open.may_be_rotated(now) {
            open = match self.rotate(open, now)? {
                Some(open) => open,
                None => self.take_or_open(&path, now)?,
            };
        }
        let written = open.file.append(&bytes, self.sync == Sync::Batch);
        self.open.push(open);
        Ok(written?)
    }

    /// Does what is due without a request: reopen, rotate by age, sync by interval. One file's
    /// error does not keep the others waiting; the last one is given back.
    pub(super) fn maintain(&mut self, now: Timestamp) -> Result<(), Error> {
        self.reload()?;
        let mut maintained = Ok(());
        for open in std::mem::take(&mut self.open) {
            maintained = self.maintain_file(open, now).and(maintained);
        }
        maintained
    }

    fn maintain_file(&mut self, mut open: Open, now: Timestamp) -> Result<(), Error> {
        if !open.file.is_current() {
            return self.close(open);
        }
        open.since = open.since.min(now);
        if self.is_too_old(&open, now) && open.may_be_rotated(now) {
            match self.rotate(open, now)? {
                Some(kept) => open = kept,
                None => return Ok(()),
            }
        }
        let mut synced = Ok(());
        // A clock set back says nothing of how long ago that was: too long, perhaps.
        let is_due = open.synced > now || now.since(open.synced) >= self.sync_interval_nanos;
        if self.sync == Sync::Interval && is_due {
            synced = open.file.sync();
            open.synced = now;
        }
        self.open.push(open);
        Ok(synced?)
    }

    /// Closes all files.
    pub(super) fn close_all(&mut self) -> Result<(), Error> {
        while let Some(open) = self.open.pop() {
            self.close(open)?;
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Error> {
        if self.reload.has_changed().unwrap_or(false) {
            self.close_all()?;
            self.reload.mark_unchanged();
        }
        Ok(())
    }

    /// The file at `path`: the open one, unless it was moved or deleted behind our back.
    fn take_or_open(&mut self, path: &Path, now: Timestamp) -> Result<Open, Error> {
        if let Some(at) = self.open.iter().position(|open| open.file.path() == path) {
            let mut open = self.open.remove(at);
            if open.file.is_current() {
                open.since = open.since.min(now);
                return Ok(open);
            }
            info!(path = %path.display(), "moved or deleted: opened anew");
            self.close(open)?;
        }
        if self.open.len() >= MAX_OPEN {
            let longest_ago = self.open.remove(0);
            self.close(longest_ago)?;
        }
        let file = AppendFile::open(path, self.opening, &self.closed)?;
        let since = file.created().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let since = since
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .map_or(now, Timestamp::from_nanos)
            .min(now);
        Ok(Open { file, since, synced: now, unrotated: None })
    }

    fn is_too_old(&self, open: &Open, now: Timestamp) -> bool {
        let age = self.rotate.max_age_secs.map(|secs| secs.saturating_mul(NANOS_PER_SECOND));
        open.file.whole_bytes() > 0 && age.is_some_and(|age| now.since(open.since) >= age)
    }

    fn would_be_too_large(&self, open: &Open, more: usize) -> bool {
        let bytes = open.file.whole_bytes();
        let limit = self.rotate.max_bytes;
        bytes > 0 && limit.is_some_and(|limit| bytes.saturating_add(more as u64) > limit)
    }

    /// Puts a file aside, where it is: a link to it stays, and leads to the next one. Gives it back if the
    /// system refuses, for it is better than none.
    fn rotate(&mut self, open: Open, now: Timestamp) -> Result<Option<Open>, Error> {
        let mut open = self.synced(open)?;
        let path = open.file.path().to_owned();
        let moved = open.file.place().and_then(|place| Ok((rotation::rotate(&place)?, place)));
        let (rotated, place) = match moved {
            Ok((Some(rotated), place)) => (rotated, place),
            Ok((None, _)) => {
                self.open.push(open);
                return Err(Error::NumbersUsedUp { path });
            }
            Err(error) => {
                self.meter.count(ERRORS, ErrorType::RotationFailed, 1);
                error!(path = %path.display(), %error, "not rotated: the file grows on");
                open.unrotated = Some(now);
                return Ok(Some(open));
            }
        };
        self.close(open)?;
        info!(path = %path.display(), rotated = %rotated.display(), "rotated");
        if let Some(keep) = self.rotate.keep
            && let Err(error) = rotation::keep(&place, &rotated, keep)
        {
            // The records are safe; only the disk fills up, and the next rotation tries again.
            warn!(path = %path.display(), %error, "old rotated files not deleted");
        }
        if self.sync != Sync::None {
            sync_directory(&place)?;
        }
        Ok(None)
    }

    /// The file, synced if it has to be before it is closed or put aside.
    fn synced(&mut self, mut open: Open) -> Result<Open, Error> {
        if self.sync != Sync::None
            && let Err(error) = open.file.sync()
        {
            self.open.push(open);
            return Err(error.into());
        }
        Ok(open)
    }

    fn close(&mut self, open: Open) -> Result<(), Error> {
        let closed = self.synced(open)?.file.close();
        self.closed.retain(|other| other.identity != closed.identity);
        if self.closed.len() >= MAX_CLOSED {
            self.closed.remove(0);
        }
        self.closed.push(closed);
        Ok(())
    }
}

// === impl Open ===

impl Open {
    fn may_be_rotated(&self, now: Timestamp) -> bool {
        // A clock set back says nothing of how long ago that was.
        self.unrotated.is_none_or(|at| at > now || now.since(at) >= ROTATE_AGAIN_NANOS)
    }
}

// === impl Error ===

impl Error {
    /// Whether only a person can mend it: what lies at the path is not ours to write, or to rename
    /// out of the way.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Append(storage::Error::NotRegular { .. } | storage::Error::Foreign { .. })
                | Self::NumbersUsedUp { .. }
        )
    }
}
