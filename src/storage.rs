//! What is kept on disk, whoever keeps it: layer 2, below the sinks and sources that write.
//!
//! [`append`] has files that grow by whole records, [`rotation`] their numbered predecessors,
//! [`replace`] files that change as a whole, [`directory`] what all lie in, and the directory that only
//! one process uses. [`private`] has folders of our own for packets, [`lock`] says who has what is
//! taken, [`space`] how much room there is, [`medium`] which errors are those of a damaged disk.

pub mod append;
pub mod directory;
pub mod lock;
pub mod medium;
pub mod private;
pub mod replace;
pub mod rotation;
pub mod space;

use std::{
    io,
    path::{Path, PathBuf},
};

use self::{append::Content, lock::Holder};

/// Why a file can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has it.
    #[error("{holder} uses {}: stop it, or give each its own path", path.display())]
    Busy {
        /// The file or directory.
        path: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is not a regular file: use another path, or the console sink", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// What stands in it is not ours to append to.
    #[error(
        "{} holds something other than {content} from byte {offset} on: move it away, or use \
         another path", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was expected.
        content: Content,
        /// Where the other begins, in bytes.
        offset: u64,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}
