//! Rotated files: `flows.ndjson` becomes `flows.000001.ndjson`, the next one `flows.000002.ndjson`.
//!
//! Numbers only grow, so that a rotation is one rename, whole or not at all, and the name of a
//! rotated file never changes again. They have six digits, no more: `flows.20261123.ndjson` is a
//! neighbour named by its date, and not ours to delete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::directory::directory_of;

/// Digits of a number.
const DIGITS: usize = 6;
/// The last number there is: one rotation a minute takes almost two years to come so far.
const MAX_NUMBER: u64 = 999_999;
/// Tries to find a free number, should somebody else take them at the same time.
const MAX_TRIES: usize = 1_000;

/// Renames the file at `path` to its next number, and says what it is called now; `None` if all
/// numbers are used up.
pub fn rotate(path: &Path) -> io::Result<Option<PathBuf>> {
    let last = numbers(path)?.last().copied().unwrap_or(0);
    for number in (last + 1..=MAX_NUMBER).take(MAX_TRIES) {
        let rotated = rotated(path, number);
        match rename_to_new(path, &rotated) {
            Ok(()) => return Ok(Some(rotated)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if last >= MAX_NUMBER {
        return Ok(None);
    }
    Err(io::Error::other(format!("no free number after {last}")))
}

/// Deletes the oldest rotated files of `path` until `keep` are left, and gives back how many.
pub fn prune(path: &Path, keep: usize) -> io::Result<usize> {
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
    directory_of(path).join(format!("{stem}.{number:0DIGITS$}{extension}"))
}

/// The numbers of the rotated files of `path`, oldest first.
fn numbers(path: &Path) -> io::Result<Vec<u64>> {
    let (stem, extension) = split(path);
    let number = |name: &str| {
        let digits = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
        let is_ours = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
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
        let fourth = directory.path().join("flows.000004.ndjson");
        assert_eq!(rotate(&path).unwrap(), Some(fourth));
    }

    #[test]
    fn neighbours_named_by_their_date_are_neither_deleted_nor_counted_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.ndjson");
        let neighbours = ["flows.20261123.ndjson", "flows.1000000.ndjson", "flows.0000001.ndjson"];
        for name in neighbours {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for number in ["000001", "000002"] {
            fs::write(&path, "").unwrap();
            let expected = directory.path().join(format!("flows.{number}.ndjson"));
            assert_eq!(rotate(&path).unwrap(), Some(expected));
        }
        assert_eq!(prune(&path, 1).unwrap(), 1);
        assert!(neighbours.iter().all(|name| directory.path().join(name).exists()));
    }

    #[test]
    fn the_last_number_is_not_followed_by_one_that_prune_would_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.ndjson");
        fs::write(directory.path().join("flows.999998.ndjson"), "").unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(rotate(&path).unwrap(), Some(directory.path().join("flows.999999.ndjson")));
        fs::write(&path, "").unwrap();
        assert_eq!(rotate(&path).unwrap(), None);
        assert!(path.exists());
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
