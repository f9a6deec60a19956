//! The disk buffer: a log of records in front of a sink, which survives a killed process and a loss of
//! power at any moment.
//!
//! [`stage`] takes batches, appends their records in the wire form to the [`log`](mod@log), and
//! acknowledges them once they are synced, many at once. What is synced is read back, goes to the sink under
//! receipts of its own, and is acknowledged in the log when the sink has; then its segments go. [`segment`]
//! says how bytes lie in a file, [`acks`] how far they are acknowledged, [`reader`] how they are read,
//! damaged ones too; [`inspect`] does that for a person. All of it is on a [`disk`], which tests replace by one
//! that loses power.

mod acks;
pub mod disk;
pub mod inspect;
pub mod log;
mod reader;
pub mod segment;
pub mod stage;

use std::io;

use crate::storage::medium;

/// What failed in a buffer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("can't {action} {name} of the disk buffer")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A later version of this program wrote it.
    #[error(
        "{name} is written in version {version} of the disk buffer, and this program reads up to {}: start the \
         later Tidegate that wrote it, at least until it has delivered what is there",
        segment::VERSION
    )]
    Newer {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
    },
}

// === impl Error ===

impl Error {
    /// Whether a place of the disk is damaged: reading it again does not help.
    fn is_damage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if medium::is_damaged(source))
    }

    fn io(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, name: name.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
