//! Directories of the files we write: made where they are missing, synced, asked whether we may.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use rustix::fs::{Access, access};

use super::{Error, failed};

/// Syncs the directory of `path`, so that a new or moved name survives a power loss.
pub fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory", directory))
}

/// The directory `path` lies in.
pub fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Creates the directory of `path`, and those above it that are missing; they survive a power loss if
/// they are `durable`.
pub fn create_directory_of(path: &Path, durable: bool) -> Result<(), Error> {
    let missing = missing_directories(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory_of(path))
        .map_err(failed("create the directory of", path))?;
    // Each is an entry of the one above it.
    missing.into_iter().filter(|_| durable).try_for_each(sync_directory)
}

/// The directories that a file at `path` needs and that are not there, the deepest first.
pub(super) fn missing_directories(path: &Path) -> Vec<&Path> {
    let above = path.ancestors().skip(1);
    above.take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
