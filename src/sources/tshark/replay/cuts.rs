//! The chunks of one file, in order, as editcap begins them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What editcap has written of one file.
///
/// Its folder is listed only when all that was seen is taken, and what is taken is soon deleted: so all
/// listings together are about as long as there are chunks.
#[derive(Debug)]
pub(super) struct Cuts {
    prefix: PathBuf,
    /// Those that were begun and not taken yet, by their numbers.
    begun: BTreeMap<u64, PathBuf>,
    next: u64,
}

/// The files in `folder`; may wait for the disk.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

// === impl Cuts ===

impl Cuts {
    /// Those whose paths begin with `prefix`.
    pub(super) fn new(prefix: PathBuf) -> Self {
        Self { prefix, begun: BTreeMap::new(), next: 0 }
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        self.prefix.parent().unwrap_or(Path::new("."))
    }

    /// What they begin with.
    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The next chunk that is complete, as far as was seen: one is once its successor is begun.
    pub(super) fn next_complete(&mut self) -> Option<PathBuf> {
        if self.begun.contains_key(&(self.next + 1)) { self.take() } else { None }
    }

    /// The next chunk, and whether it is the last one that was seen.
    pub(super) fn next_of_all(&mut self) -> Option<(PathBuf, bool)> {
        let path = self.take()?;
        Some((path, !self.begun.contains_key(&self.next)))
    }

    /// Notes what of these files are further chunks of this one.
    pub(super) fn add(&mut self, files: Vec<PathBuf>) {
        for path in files {
            if let Some(number) = self.number(&path).filter(|number| *number >= self.next) {
                self.begun.insert(number, path);
            }
        }
    }

    fn take(&mut self) -> Option<PathBuf> {
        let path = self.begun.remove(&self.next)?;
        self.next += 1;
        Some(path)
    }

    /// The number in `PREFIX_00001_20260101120000`: editcap puts a date behind it.
    fn number(&self, path: &Path) -> Option<u64> {
        let prefix = self.prefix.file_name()?.to_str()?;
        let name = path.file_name()?.to_str()?.strip_prefix(prefix)?.strip_prefix('_')?;
        name.split_once('_')?.0.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(folder: &Path, number: u64) {
        fs::write(folder.join(format!("7_{number:05}_20260101120000")), "").unwrap();
    }

    /// The number in a chunk's name.
    fn number(path: &Path) -> u64 {
        Cuts::new(path.with_file_name("7")).number(path).unwrap()
    }

    fn look(cuts: &mut Cuts) -> usize {
        let files = list(cuts.folder()).unwrap();
        let seen = files.len();
        cuts.add(files);
        seen
    }

    #[test]
    fn a_chunk_is_complete_once_the_next_is_begun_and_others_files_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut cuts = Cuts::new(folder.path().join("7"));
        for name in ["77_00000_2026", "7_x_2026", "7_00000", "6_00000_2026"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        look(&mut cuts);
        assert_eq!(cuts.next_complete(), None);
        begin(folder.path(), 0);
        look(&mut cuts);
        assert_eq!(cuts.next_complete(), None);
        begin(folder.path(), 1);
        assert_eq!(cuts.next_complete(), None, "nobody has looked since");
        look(&mut cuts);
        assert_eq!(cuts.next_complete().as_deref().map(number), Some(0));
        assert_eq!(cuts.next_complete(), None);
        assert_eq!(cuts.next_of_all().map(|(path, last)| (number(&path), last)), Some((1, true)));
        assert_eq!(cuts.next_of_all(), None);
    }

    #[test]
    fn numbers_beyond_five_digits_go_on_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut cuts = Cuts::new(folder.path().join("7"));
        cuts.next = 99_998;
        for number in 99_998..100_002 {
            begin(folder.path(), number);
        }
        look(&mut cuts);
        let mut numbers = Vec::new();
        while let Some((path, last)) = cuts.next_of_all() {
            numbers.push(number(&path));
            assert_eq!(last, numbers.len() == 4);
        }
        assert_eq!(numbers, [99_998, 99_999, 100_000, 100_001]);
    }

    /// Takes all of `chunks`, of which editcap begins `ahead` before each look, and counts the files
    /// that were seen.
    fn files_seen(chunks: u64, ahead: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let mut cuts = Cuts::new(folder.path().join("7"));
        let (mut begun, mut taken, mut seen) = (0, 0, 0);
        while taken + 1 < chunks {
            if let Some(path) = cuts.next_complete() {
                assert_eq!(number(&path), taken);
                taken += 1;
                // It is read and deleted.
                fs::remove_file(path).unwrap();
                continue;
            }
            for _ in 0..ahead.min(chunks - begun) {
                begin(folder.path(), begun);
                begun += 1;
            }
            seen += look(&mut cuts);
        }
        seen
    }

    #[test]
    fn ten_times_the_chunks_cost_ten_times_the_work_however_far_editcap_is_ahead() {
        for ahead in [1, 7, 1_000_000] {
            let (few, many) = (files_seen(60, ahead), files_seen(600, ahead));
            assert!(many <= 11 * few, "{ahead} ahead: {few} files seen, then {many}");
            assert!(many <= 3 * 600, "{ahead} ahead: {many} files seen");
        }
    }
}
