//! Rotated files: `flows.ndjson` becomes `flows.000001.ndjson`, the next one `flows.000002.ndjson`.
//!
//! Numbers only grow, so that a rotation is one rename, whole or not at all, and the name of a
//! rotated file never changes again. They have six digits, no more: `flows.20261123.ndjson` is a
//! neighbour named by its date, and not ours to delete.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tracing::info;

use super::{directory::directory_of, replace::replace};

/// Digits of a number.
const DIGITS: usize = 6;
/// The last number there is: one rotation a minute takes almost two years to come so far.
const MAX_NUMBER: u64 = 999_999;
/// Tries to find a free number, should somebody else take them at the same time.
const MAX_TRIES: usize = 1_000;

/// A file that was rotated: a rotated file never changes again, so it is known by its inode and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    number: u64,
    inode: u64,
    bytes: u64,
}

/// Renames the file at `path` to its next number, and says what it is called now; `None` if all
/// numbers are used up.
///
/// # Errors
/// If the system refuses: the file has its name still.
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

/// Notes that `rotated` was `path`, and deletes the oldest of those noted until `keep` are left; gives
/// back how many were deleted. A file of such a name that is not noted, or is another by now, is somebody
/// else's.
///
/// # Errors
/// If the system refuses: the next call deletes what this one could not.
pub fn keep(path: &Path, rotated: &Path, keep: usize) -> io::Result<usize> {
    let notes = notes(path);
    let mut ours = read_notes(&notes)?;
    ours.extend(Note::of(path, rotated)?);
    ours.retain(|note| note.is_still(path));
    ours.sort_unstable_by_key(|note| note.number);
    ours.dedup();
    let surplus = ours.len().saturating_sub(keep);
    let mut deleted = Ok(());
    for note in ours.iter().take(surplus) {
        let old = self::rotated(path, note.number);
        match fs::remove_file(&old) {
            Ok(()) => info!(file = %old.display(), "deleted: newer rotated files are kept"),
            Err(error) => deleted = Err(error),
        }
    }
    ours.retain(|note| note.is_still(path));
    let lines: String = ours.iter().map(ToString::to_string).collect();
    replace(&notes, lines.as_bytes(), 0o640).map_err(io::Error::other)?;
    deleted.map(|()| surplus)
}

/// `/log/.flows.ndjson.rotated` for `/log/flows.ndjson`.
fn notes(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".rotated");
    path.with_file_name(name)
}

fn read_notes(path: &Path) -> io::Result<Vec<Note>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(Note::parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| number(path, name)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number in a rotated file's name.
fn number(path: &Path, name: &str) -> Option<u64> {
    let (stem, extension) = split(path);
    let digits = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
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

// === impl Note ===

impl Note {
    /// A note of the file `rotated`, which was `path`.
    fn of(path: &Path, rotated: &Path) -> io::Result<Option<Self>> {
        let meta = fs::symlink_metadata(rotated)?;
        let name = rotated.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| number(path, name));
        Ok(number.map(|number| Self { number, inode: meta.ino(), bytes: meta.len() }))
    }

    /// Whether the file of that name is the one that was noted.
    fn is_still(&self, path: &Path) -> bool {
        let rotated = rotated(path, self.number);
        Self::of(path, &rotated).is_ok_and(|note| note == Some(*self))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { number: next()?, inode: next()?, bytes: next()? })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, inode, bytes } = self;
        writeln!(f, "{number} {inode} {bytes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotates and says to what, and how many old ones were deleted.
    fn rotate_keeping(path: &Path, count: usize) -> (PathBuf, usize) {
        let rotated = rotate(path).unwrap().unwrap();
        let deleted = keep(path, &rotated, count).unwrap();
        (rotated, deleted)
    }

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
            names.retain(|name| !name.starts_with('.'));
            names.sort();
            names
        };
        let bystanders = ["flows.00002.ndjson", "flows.000002.json", "flows.ndjson.000002"];
        for name in bystanders {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for kept in [1, 2, 2] {
            fs::write(&path, "").unwrap();
            rotate_keeping(&path, 2);
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
        for (number, deleted) in [("000001", 0), ("000002", 1)] {
            fs::write(&path, "").unwrap();
            let expected = directory.path().join(format!("flows.{number}.ndjson"));
            assert_eq!(rotate_keeping(&path, 1), (expected, deleted));
        }
        assert!(neighbours.iter().all(|name| directory.path().join(name).exists()));
    }

    #[test]
    fn only_files_that_were_rotated_here_are_deleted_whatever_others_are_called() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.ndjson");
        let file = |number: u64| directory.path().join(format!("flows.{number:06}.ndjson"));
        for number in 1..=7 {
            fs::write(file(number), "an archive of the year before").unwrap();
        }
        for number in 8..=10 {
            fs::write(&path, format!("{number}\n")).unwrap();
            assert_eq!(rotate_keeping(&path, 2).0, file(number));
        }
        let there: Vec<_> = (1..=10).filter(|number| file(*number).exists()).collect();
        assert_eq!(there, [1, 2, 3, 4, 5, 6, 7, 9, 10]);
        // Somebody has put his own in the place of one.
        fs::remove_file(file(9)).unwrap();
        fs::write(file(9), "his").unwrap();
        for number in 11..=13 {
            fs::write(&path, format!("{number}\n")).unwrap();
            rotate_keeping(&path, 2);
        }
        let there: Vec<_> = (1..=13).filter(|number| file(*number).exists()).collect();
        assert_eq!(there, [1, 2, 3, 4, 5, 6, 7, 9, 12, 13]);
    }

    #[test]
    fn damaged_notes_of_rotated_files_keep_what_they_no_longer_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flows.ndjson");
        for text in ["one\n", "two\n"] {
            fs::write(&path, text).unwrap();
            rotate_keeping(&path, 5);
        }
        let noted = fs::read_to_string(notes(&path)).unwrap();
        let second = noted.lines().nth(1).unwrap();
        fs::write(notes(&path), format!("\n1\nx y z\n1 2 3 4\n-1 0 0\n{second}\n{second}"))
            .unwrap();
        fs::write(&path, "three\n").unwrap();
        let (third, deleted) = rotate_keeping(&path, 1);
        assert!(third.exists() && deleted >= 1);
        assert!(!directory.path().join("flows.000002.ndjson").exists());
        assert!(directory.path().join("flows.000001.ndjson").exists());
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
