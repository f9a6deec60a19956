//! A disk buffer beside a plain file that is written and synced in the same groups, and how long a large one
//! takes to open. `cargo bench --bench buffer`; the folder is a temporary one, or `TIDEGATE_BENCH_FOLDER`.
#![expect(clippy::print_stderr, reason = "a bench says what it measured")]

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use tidegate::buffer::{disk::Folder, log::Log};

/// Bytes of a record in the wire form, about.
const RECORD_BYTES: usize = 300;
/// Records that are synced at once: about a megabyte.
const GROUP: usize = 3_500;
const GROUPS: usize = 100;
/// The best of so many rounds counts; the two take turns.
const ROUNDS: usize = 3;
/// What is opened.
const LARGE_BYTES: u64 = 10 << 30;
const SEGMENT_BYTES: u64 = 16 << 20;

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn megabytes_per_second(run: impl FnOnce()) -> f64 {
    let began = now();
    run();
    let bytes = u32::try_from(RECORD_BYTES * GROUP * GROUPS).expect("it is little");
    f64::from(bytes) / 1e6 / began.elapsed().as_secs_f64()
}

/// The same bytes, without anything around them.
fn plain(folder: &Path, group: &[u8]) {
    let mut file = File::create(folder.join("plain")).expect("the folder is writable");
    for _ in 0..GROUPS {
        file.write_all(group).expect("there is room");
        file.sync_data().expect("the disk works");
    }
}

fn buffered(folder: &Path, group: &[u8], max_bytes: u64) {
    let (mut log, _) = Log::open(Folder(folder.to_owned()), max_bytes).expect("it is new");
    for _ in 0..GROUPS {
        let appended = log.append(group.chunks(RECORD_BYTES)).expect("there is room");
        appended.sync().expect("the disk works");
        log.commit(appended);
    }
}

/// A large log, sparse but for the last segment: opening reads no more than the others' headers.
fn open_large(folder: &Path, group: &[u8]) {
    for _ in 0..LARGE_BYTES / SEGMENT_BYTES {
        // Each opening begins a new segment.
        let (mut log, _) = Log::open(Folder(folder.to_owned()), u64::MAX).expect("it opens");
        let appended = log.append(group.chunks(RECORD_BYTES)).expect("there is room");
        appended.sync().expect("the disk works");
        log.commit(appended);
    }
    let entries = fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    let is_segment =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    let mut segments: Vec<_> = entries.filter(is_segment).collect();
    segments.sort();
    for segment in segments.iter().rev().skip(1) {
        let file = File::options().write(true).open(segment).expect("it opens");
        file.set_len(SEGMENT_BYTES).expect("a hole takes no room");
    }
    let began = now();
    let (log, found) = Log::open(Folder(folder.to_owned()), u64::MAX).expect("it opens");
    let took = began.elapsed();
    let (count, bytes) = (segments.len(), log.bytes());
    eprintln!("{count} segments, {bytes} bytes, {} records: opened in {took:?}", found.entries);
    drop(log);
    let peak = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    eprintln!("largest resident size so far: {peak}");
}

fn main() {
    let folder = env::var_os("TIDEGATE_BENCH_FOLDER").map_or_else(env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("the folder is writable");
    let group: Vec<u8> = (0_u8..=250).cycle().take(RECORD_BYTES * GROUP).collect();
    let (mut alone, mut ours) = (0_f64, 0_f64);
    for round in 0..ROUNDS {
        alone = alone.max(megabytes_per_second(|| plain(folder.path(), &group)));
        let log = folder.path().join(round.to_string());
        fs::create_dir(&log).expect("it is new");
        ours = ours.max(megabytes_per_second(|| buffered(&log, &group, u64::MAX)));
        fs::remove_dir_all(&log).expect("it is ours");
    }
    eprintln!("plain write and fdatasync: {alone:.0} MB/s, the buffer: {ours:.0} MB/s");
    eprintln!("the buffer reaches {:.2} of it", ours / alone);
    let large = folder.path().join("large");
    fs::create_dir(&large).expect("it is new");
    open_large(&large, &group[..RECORD_BYTES * 10]);
}
