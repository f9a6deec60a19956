//! Folders of our own for packets: mode 0700, locked while we live, so that a later run can tell a
//! dead run's folder from a living one's.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::lock::lock;

const PREFIX: &str = "tidegate-";

/// A folder that is removed with all in it when dropped, unless it is kept.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
    kept: bool,
    _lock: File,
}

/// Removes the folders in `base` of runs that have died; `each` sees them before, and says whether they go.
pub fn sweep(base: &Path, mut each: impl FnMut(&Path) -> bool) {
    let ours = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = is_private(&entry.file_name().to_string_lossy())
            && fs::symlink_metadata(&path).is_ok_and(|meta| {
                meta.is_dir() && std::os::unix::fs::MetadataExt::uid(&meta) == ours
            });
        if !is_ours {
            continue;
        }
        let Ok(folder) = File::open(&path) else {
            continue;
        };
        // Where there are no locks, the living can't be told from the dead. Who had the lock before us may
        // have removed it.
        if lock(&folder).is_ok()
            && path.is_dir()
            && each(&path)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(folder = %path.display(), %error, "a dead run's folder stays");
        }
    }
}

/// Whether a folder has a name that we give: of a process id and a number. Others may begin alike.
fn is_private(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(pid, number)| is_number(pid) && is_number(number))
}

// === impl PrivateFolder ===

impl PrivateFolder {
    /// A new folder in `base`, with an absolute path: children run in `/`.
    pub fn create(base: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let base = std::path::absolute(base)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{PREFIX}{}-{number}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let folder = File::open(&path)?;
                    lock(&folder).map_err(io::Error::other)?;
                    return Ok(Self { path, kept: false, _lock: folder });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it stays, for a later run's [`sweep`], when it is dropped.
    pub fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "a private folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_ours_alone_and_goes_with_us() {
        let base = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::create(base.path()).unwrap();
        let mode = folder.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = folder.path().to_owned();
        fs::write(path.join("packets"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_in_a_relative_one_has_an_absolute_path() {
        let folder = PrivateFolder::create(Path::new(".")).unwrap();
        assert!(folder.path().is_absolute() && folder.path().is_dir());
    }

    #[test]
    fn a_sweep_takes_the_folders_of_the_dead_and_leaves_those_of_the_living() {
        let base = tempfile::tempdir().unwrap();
        let living = PrivateFolder::create(base.path()).unwrap();
        let dead = base.path().join("tidegate-1-0");
        fs::create_dir(&dead).unwrap();
        let other = base.path().join("somebody-else");
        fs::create_dir(&other).unwrap();
        let mut seen = Vec::new();
        sweep(base.path(), |path| {
            seen.push(path.to_owned());
            true
        });
        assert_eq!(seen, [dead.as_path()]);
        assert!(living.path().exists() && other.exists() && !dead.exists());
    }

    #[test]
    fn only_folders_with_a_name_of_ours_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let names =
            ["tidegate-4194304-0", "tidegate-notes", "tidegate-kafka-4.3.1-77", "tidegate-1-"];
        for name in names {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        sweep(base.path(), |_| true);
        let left = names.map(|name| base.path().join(name).exists());
        assert_eq!(left, [false, true, true, true]);
    }
}
