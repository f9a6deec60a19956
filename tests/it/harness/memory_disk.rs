//! A small file system in memory, to be filled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use libtest_mimic::Failed;

use super::process::output;

/// A tmpfs, unmounted when dropped.
#[derive(Debug)]
pub(crate) struct MemoryDisk {
    folder: PathBuf,
}

impl MemoryDisk {
    /// Mounts one of this many bytes.
    ///
    /// # Errors
    /// When mount(8) refuses: with its words.
    pub(crate) fn mount(folder: &Path, bytes: u64) -> Result<Self, Failed> {
        fs::create_dir_all(folder)?;
        let size = format!("size={bytes}");
        output(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// When mount(8) refuses: with its words.
    pub(crate) fn resize(&self, bytes: u64) -> Result<(), Failed> {
        let size = format!("remount,size={bytes}");
        output(Command::new("mount").args(["-o", &size]).arg(&self.folder)).map(|_| ())
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        // Lazy: a process of a failed case may still sit in it.
        if let Err(failed) = output(Command::new("umount").arg("--lazy").arg(&self.folder)) {
            eprintln!("{} stays mounted: {:?}", self.folder.display(), failed.message());
        }
    }
}
