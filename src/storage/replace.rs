//! A small file that is replaced as a whole: a snapshot of a state.
//!
//! A new file is written beside it, synced and renamed to it, then the directory is synced. So whoever
//! reads it, after a crash or a power loss at any moment, finds all of the old or all of the new.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Error, directory::sync_directory, failed};

/// Makes `bytes` what the file at `path` holds, with the permissions `mode`. Its directory has to be
/// there, and nobody else may replace it at the same time.
///
/// # Errors
/// If the system refuses: the file is as it was. Only where the directory can't be synced it is the new
/// one already, but a power loss may bring the old one back.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let new = beside(path);
    write(&new, bytes, mode)
        .map_err(failed("write", &new))
        .and_then(|()| fs::rename(&new, path).map_err(failed("replace", path)))
        .inspect_err(|_| {
            // If it stays, the next one is written over it.
            fs::remove_file(&new).unwrap_or_default();
        })?;
    sync_directory(path)
}

/// `/state/.scores.new` for `/state/scores`.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // One that a crash left; nothing is written through a link that somebody put there.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_and_replaced_with_exactly_its_mode_and_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scores");
        for (bytes, mode) in [("one", 0o600), ("", 0o666), ("three", 0o640)] {
            replace(&path, bytes.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(names(directory.path()), ["scores"]);
        }
    }

    #[test]
    fn what_a_crash_left_beside_it_is_not_in_the_way_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("scores"), directory.path().join("other"));
        fs::write(&other, "somebody's").unwrap();
        symlink(&other, beside(&path)).unwrap();
        replace(&path, b"one", 0o600).unwrap();
        fs::write(beside(&path), "half a sna").unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
        assert_eq!(names(directory.path()), ["other", "scores"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scores");
        // A directory is in the way of the rename, or of the new file.
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"new", 0o600).unwrap_err();
        assert!(matches!(error, Error::Io { action: "replace", .. }), "{error:?}");
        assert_eq!(names(directory.path()), ["scores"]);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "old").unwrap();
        fs::create_dir(beside(&path)).unwrap();
        let error = replace(&path, b"new", 0o600).unwrap_err();
        assert!(matches!(error, Error::Io { action: "write", .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let missing = directory.path().join("missing/scores");
        assert!(matches!(replace(&missing, b"new", 0o600), Err(Error::Io { .. })));
    }

    /// Set in the process that is to be killed: the path.
    const VICTIM: &str = "TIDEGATE_TEST_REPLACING_VICTIM";
    const VICTIM_TEST: &str =
        "storage::replace::tests::a_writer_killed_at_any_moment_leaves_a_whole_file";

    /// A snapshot of 300 kB that shows of which round it is, and whether it is whole.
    fn snapshot(round: u32) -> Vec<u8> {
        round.to_be_bytes().repeat(75_000)
    }

    #[test]
    fn a_writer_killed_at_any_moment_leaves_a_whole_file() {
        if let Ok(path) = std::env::var(VICTIM) {
            for round in 0.. {
                replace(Path::new(&path), &snapshot(round), 0o600).unwrap();
                assert!(round < 100_000, "nobody killed this process");
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scores");
        let mut last = Vec::new();
        for wait in 0..8_u64 {
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", VICTIM_TEST])
                .env(VICTIM, &path)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            while fs::read(&path).unwrap_or_default() == last {
                assert!(victim.try_wait().unwrap().is_none(), "the victim ended by itself");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::thread::sleep(std::time::Duration::from_micros(300 * wait));
            victim.kill().unwrap();
            victim.wait().unwrap();
            last = fs::read(&path).unwrap();
            let round = u32::from_be_bytes(last[..4].try_into().unwrap());
            assert!(last == snapshot(round), "after {wait} waits");
        }
    }
}
