//! Rotated files: `flows.ndjson` becomes `flows.000001.ndjson`, the next one `flows.000002.ndjson`.
//!
//! Numbers only grow, so that a rotation is one rename, whole or not at all, and the name of a
//! rotated file never changes again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::sinks::append::directory_of;

/// Tries to find a free number, should somebody else take them at the same time.
const MAX_TRIES: u64 = 1_000;

/// Renames the file at `path` to its next number, and says what it is called now.
pub(super) fn rotate(path: &Path) -> io::Result<PathBuf> {
    let last = numbers(path)?.last().copied().unwrap_or(0);
    for number in (1..=MAX_TRIES).map(|tries| last.saturating_add(tries)) {
        let rotated = rotated(path, number);
        match rename_to_new(path, &rotated) {
            Ok(()) => return Ok(rotated),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("no free number after {last}")))
}

/// Deletes the oldest rotated files of `path` until `keep` are left, and gives back how many.
pub(super) fn prune(path: &Path, keep: usize) -> io::Result<usize> {
    let numbers = numbers(path)?;
    let surplus = numbers.len().saturating_sub(keep);
    for number in numbers.iter().take(surplus) {
        fs::remove_file(rotated(path, *number))?;
    }
    Ok(surplus)
}

/// Renames without ever replacing a file.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: a link fails where the name is taken.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => renamed.map_err(io::Error::from),
    }
}

fn rotated(path: &Path, number: u64) -> PathBuf {
    let (stem, extension) = split(path);
    directory_of(path).join(format!("{stem}.{number:06}{extension}"))
}

/// The numbers of the rotated files of `path`, oldest first.
fn numbers(path: &Path) -> io::Result<Vec<u64>> {
    let (stem, extension) = split(path);
    let number = |name: &str| {
        let digits = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
        let is_ours = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_ours { digits.parse::<u64>().ok() } else { None }
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        numbers.extend(entry?.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A file's name before and from its extensions, which have letters: `.ndjson`, `.ndjson.gz`.
fn split(path: &Path) -> (&str, &str) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut stem = name;
    for _ in 0..2 {
        match stem.rsplit_once('.') {
            Some((before, extension))
                if !before.is_empty() && extension.contains(|c: char| c.is_ascii_alphabetic()) =>
            {
                stem = before;
            }
            _ => break,
        }
    }
    (stem, name.strip_prefix(stem).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_before_the_extensions() {
        for (path, expected) in [
            ("/log/flows.ndjson", "/log/flows.000007.ndjson"),
            ("/log/flows-2023.10.17.ndjson.gz", "/log/flows-2023.10.17.000007.ndjson.gz"),
            ("/log/flows-2023.10.17", "/log/flows-2023.10.17.000007"),
            ("/log/.flows", "/log/.flows.000007"),
            ("flows", "./flows.000007"),
        ] {
            assert_eq!(rotated(Path::new(path), 7), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn numbers_only_grow_and_the_oldest_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.ndjson");
        let names = || {
            let entries = fs::read_dir(directory.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let bystanders = ["flows.00002.ndjson", "flows.000002.json", "flows.ndjson.000002"];
        for name in bystanders {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for kept in [1, 2, 2] {
            fs::write(&path, "").unwrap();
            rotate(&path).unwrap();
            prune(&path, 2).unwrap();
            assert_eq!(names().len(), bystanders.len() + kept);
        }
        fs::remove_file(directory.path().join("flows.000002.ndjson")).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(rotate(&path).unwrap(), directory.path().join("flows.000004.ndjson"));
    }

    #[test]
    fn a_rotation_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let error = rename_to_new(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
    }
}
