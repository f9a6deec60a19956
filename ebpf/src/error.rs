//! Why the kernel, or what is pinned in it, could not be used as wanted.

use std::{io, path::PathBuf};

use aya::{maps::MapError, programs::ProgramError};

/// What failed, and with which value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All entries of a map are in use (E2BIG).
    #[error("the map {0} is full")]
    Full(&'static str),
    /// The program writes to the same place at this moment (EBUSY).
    #[error("the map {0} is busy")]
    Busy(&'static str),
    /// The kernel has no memory for an entry (ENOMEM).
    #[error("the kernel has no memory for the map {0}")]
    NoMemory(&'static str),
    /// A map can't be read or written.
    #[error("the map {map} can't be used")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A pinned map is not what its name says.
    #[error("the pinned map {path} has {what} {found}, not {expected}")]
    Layout {
        /// Where it is pinned.
        path: PathBuf,
        /// What is different.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// Something in the BPF file system can't be made, read or removed.
    #[error("{path} can't be used")]
    Pin {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no BPF file system.
    #[error("{0} is no BPF file system")]
    NoFileSystem(PathBuf),
    /// Another process has what is pinned here.
    #[error("another Tidegate runs with what is pinned in {0}")]
    InUse(PathBuf),
    /// The kernel refuses the program.
    #[error("the kernel does not load the program: {0}")]
    Load(String),
    /// Another program has the interface (EBUSY).
    #[error("another XDP program is attached to the interface")]
    Occupied,
    /// The driver can't run XDP programs (EOPNOTSUPP).
    #[error("the interface's driver runs no XDP programs")]
    NotNative,
    /// The interface's MTU is too large for the driver (ERANGE, EINVAL of some drivers).
    #[error("the interface's MTU is too large for its driver's XDP")]
    MtuTooLarge,
    /// There is no such interface.
    #[error("there is no interface {0}")]
    NoInterface(u32),
    /// The program can't be attached.
    #[error("the program can't be attached: {0}")]
    Attach(String),
    /// The program at tc egress can't be attached.
    #[error("what the interface sends can't be seen: {0}")]
    Egress(String),
    /// A pinned link belongs to another interface, or to one that is gone.
    #[error("the pinned link {path} is attached to interface {found}, not {expected}")]
    Elsewhere {
        /// Where it is pinned.
        path: PathBuf,
        /// The interface's index; 0 if it is gone.
        found: u32,
        /// The index of the one it should be.
        expected: u32,
    },
}

// === impl Error ===

impl Error {
    /// Of an operation on `map`.
    pub(crate) fn of_map(map: &'static str, error: MapError) -> Self {
        let source = match error {
            MapError::SyscallError(call) => call.io_error,
            MapError::IoError(error) => error,
            other => io::Error::other(other),
        };
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => Self::Full(map),
            Some(libc::EBUSY) => Self::Busy(map),
            Some(libc::ENOMEM) => Self::NoMemory(map),
            _ => Self::Map { map, source },
        }
    }

    /// Of an attachment.
    pub(crate) fn of_attachment(error: &ProgramError) -> Self {
        let code = match error {
            ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
            _ => None,
        };
        match code {
            Some(libc::EBUSY | libc::EEXIST) => Self::Occupied,
            Some(libc::EOPNOTSUPP) => Self::NotNative,
            Some(libc::ERANGE) => Self::MtuTooLarge,
            _ => Self::Attach(causes(error)),
        }
    }
}

/// What an error says and why, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
