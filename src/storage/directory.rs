//! Directories of the files we write: made where they are missing, synced, kept for one process, asked
//! whether we may.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Once,
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};
use tracing::warn;

use super::{
    Error, failed,
    lock::{Holder, NotLocked, lock, unlock},
};

/// What open(2) and fsync(2) say of a directory that can't be synced at all, on some network and FUSE
/// file systems, or because we may not read it.
const NEVER: [Errno; 5] = [Errno::INVAL, Errno::PERM, Errno::ACCESS, Errno::NOTSUP, Errno::NOSYS];

/// A directory that only one process uses, until this is dropped.
#[derive(Debug)]
pub struct OwnDirectory {
    path: PathBuf,
    directory: File,
}

/// Syncs the directory of `path`, so that a new or moved name survives a power loss. Where that can't be
/// had it says so once.
///
/// # Errors
/// If it may help to try again.
pub fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = directory_of(path);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.or_else(|error| excuse(directory, error))
}

/// Takes an error that trying again does not mend for a property of the file system.
fn excuse(directory: &Path, error: io::Error) -> Result<(), Error> {
    static SAID: Once = Once::new();
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    if errno.is_none_or(|errno| !NEVER.contains(&errno)) {
        return Err(failed("sync the directory", directory)(error));
    }
    SAID.call_once(|| {
        warn!(
            directory = %directory.display(),
            %error,
            "directories can't be synced here: a power loss may cost files that are new or were rotated"
        );
    });
    Ok(())
}

/// The directory `path` lies in.
pub fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Creates the directory of `path`, and those above it that are missing; they survive a power loss if
/// they are `durable`.
///
/// # Errors
/// If the system refuses: none of them is there then, unless somebody else has put something in it.
pub fn create_directory_of(path: &Path, durable: bool) -> Result<(), Error> {
    create_directory_syncing(path, |made| if durable { sync_directory(made) } else { Ok(()) })
}

fn create_directory_syncing(
    path: &Path,
    mut sync: impl FnMut(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let missing = missing_directories(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory_of(path))
        .map_err(failed("create the directory of", path))?;
    // Each is an entry of the one above it.
    missing.iter().try_for_each(|directory| sync(directory)).inspect_err(|_| {
        // What is there already would not be synced by the next try.
        for directory in &missing {
            fs::remove_dir(directory).unwrap_or_default();
        }
    })
}

/// The directories that a file at `path` needs and that are not there, the deepest first.
pub(super) fn missing_directories(path: &Path) -> Vec<&Path> {
    let above = path.ancestors().skip(1);
    above.take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect()
}

// === impl OwnDirectory ===

impl OwnDirectory {
    /// Opens or creates a directory, readable by its owner only, and takes its lock. Where the file
    /// system has no locks, it is anybody's.
    ///
    /// # Errors
    /// If the system refuses, or another process has it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        create_directory_of(path, false)?;
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(failed("create the directory", path))?;
        let directory = File::open(path).map_err(failed("open the directory", path))?;
        if let Err(NotLocked::Held(holder)) = lock(&directory) {
            return Err(Error::Busy { path: path.to_owned(), holder });
        }
        Ok(Self { path: path.to_owned(), directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        unlock(&self.directory);
    }
}

/// The other process that has a directory to itself, if one has: seen without taking it.
pub fn holder(path: &Path) -> Option<Holder> {
    let holder = Holder::of(&File::open(path).ok()?);
    matches!(holder, Holder::Process(_)).then_some(holder)
}

/// What keeps `path` from being written by this process, if anything: seen without creating it.
pub fn unwritable(path: &Path) -> Option<String> {
    let existing = path.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::metadata(path).ok().map(|meta| (path, meta))
    });
    let (existing, meta) = existing?;
    let needed = if existing == path {
        if !meta.is_file() {
            return Some(format!("{} is not a regular file", path.display()));
        }
        Access::READ_OK | Access::WRITE_OK
    } else {
        if !meta.is_dir() {
            return Some(format!("{} is not a directory", existing.display()));
        }
        Access::WRITE_OK | Access::EXEC_OK
    };
    let refused = access(existing, needed).err()?;
    Some(format!("{} can't be written: {}", existing.display(), io::Error::from(refused)))
}

/// What keeps files from being made in `folder` by this process, which makes it if it is not there.
pub fn unmakable(folder: &Path) -> Option<String> {
    unwritable(&folder.join("file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn error(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code.raw_os_error())
    }

    #[test]
    fn only_what_may_pass_is_an_error_of_a_sync() {
        let directory = Path::new("/log");
        for passes in [Errno::IO, Errno::NOENT, Errno::NOSPC, Errno::MFILE, Errno::STALE] {
            let refused = excuse(directory, error(passes)).unwrap_err();
            assert!(refused.to_string().ends_with("sync the directory /log"), "{refused}");
        }
        for stays in [Errno::INVAL, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP] {
            excuse(directory, error(stays)).unwrap();
        }
        let other = io::Error::other("not the system's");
        assert!(excuse(directory, other).is_err());
    }

    #[test]
    fn directories_that_were_not_synced_are_made_and_synced_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b/flows.ndjson");
        for fails_at in [0, 1] {
            let mut syncs = 0;
            let refused = create_directory_syncing(&path, |directory| {
                syncs += 1;
                let fails = syncs > fails_at;
                if fails { Err(failed("sync", directory)(error(Errno::IO))) } else { Ok(()) }
            });
            assert!(refused.is_err());
            assert!(!base.path().join("a").exists());
        }
        let mut synced = Vec::new();
        create_directory_syncing(&path, |directory| {
            synced.push(directory.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(synced, [base.path().join("a/b"), base.path().join("a")]);
        assert!(base.path().join("a/b").is_dir());
    }

    #[test]
    fn a_directory_of_ones_own_is_ours_alone_until_it_is_dropped() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("var/lib/tidegate");
        let own = OwnDirectory::open(&path).unwrap();
        let mode = own.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = OwnDirectory::open(&path).unwrap_err();
        assert!(matches!(refused, Error::Busy { holder: Holder::Ourselves, .. }), "{refused}");
        drop(own);
        OwnDirectory::open(&path).unwrap();
    }

    #[test]
    fn every_directory_that_has_to_be_made_is_known_for_the_one_above_it_to_be_synced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir(at("a")).unwrap();
        assert_eq!(missing_directories(&at("a/b/c/flows.ndjson")), [at("a/b/c"), at("a/b")]);
        assert_eq!(missing_directories(&at("a/flows.ndjson")), [] as [&Path; 0]);
        let relative = Path::new("surely-not-here/b/flows.ndjson");
        let missing = ["surely-not-here/b", "surely-not-here"].map(Path::new);
        assert_eq!(missing_directories(relative), missing);
        assert_eq!(missing.map(directory_of), [Path::new("surely-not-here"), Path::new(".")]);
        assert_eq!(missing_directories(Path::new("flows.ndjson")), [] as [&Path; 0]);
    }
}
