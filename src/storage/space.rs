//! How much room a file system has.

use std::{io, path::Path};

use rustix::fs::statvfs;

/// A file system's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// What files of ours may still take.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// The space of the file system that `folder` is in.
pub fn space(folder: &Path) -> io::Result<Space> {
    let space = statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(Space { free: bytes(space.f_bavail), total: bytes(space.f_blocks) })
}
