//! A disk that does not give back what is on it.

use std::{ops::Range, sync::Mutex};

use rustix::io::Errno;

use super::{
    super::{
        Error,
        disk::{Disk, Folder},
        inspect::{inspect, repair},
        log::{Found, Log},
        reader::{Reader, lock},
        segment,
    },
    id,
    model::{Model, Random},
    payload,
};

const MAX_BYTES: u64 = 512 << 10;
const COUNT: u64 = 1_990;
const PAGE: u64 = 4 << 10;
/// All of a file: it can't even be opened.
const WHOLE: Range<u64> = 0..u64::MAX;

/// What was read of a log, and what could not be.
#[derive(Debug, Default)]
struct Got {
    ids: Vec<u64>,
    missing: u64,
    damaged: u64,
    unreadable: u64,
    places: u64,
    /// The sequence behind all of it.
    behind: u64,
}

/// Appends so many entries, several segments of them.
fn fill<D: Disk>(disk: D, ids: Range<u64>) {
    let (mut log, _) = Log::open(disk, MAX_BYTES).unwrap();
    for part in ids.map(payload).collect::<Vec<_>>().chunks(20) {
        let appended = log.append(part.iter().map(|payload| &payload[..])).unwrap();
        appended.sync().unwrap();
        log.commit(appended);
    }
}

fn segments(disk: &Model) -> Vec<String> {
    let mut names = disk.files();
    names.retain(|name| segment::first(name).is_some());
    names
}

/// Reads all of it, and goes on behind what can't be read, as the stage does.
fn read<D: Disk>(log: Log<D>) -> (Got, Log<D>) {
    let (mut got, mut reader) = (Got::default(), Reader::new(log.acknowledged()));
    let log = Mutex::new(log);
    loop {
        match reader.read(&log, 5_000, 50) {
            Ok(chunk) if chunk.is_empty() => break,
            Ok(chunk) => {
                got.ids.extend(chunk.entries().map(|(_, payload)| id(payload)));
                got.missing += chunk.missing;
                got.damaged += chunk.damaged;
                got.unreadable += chunk.unreadable;
                got.places += chunk.places.len() as u64;
            }
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                reader.leap(&log);
            }
        }
    }
    got.behind = reader.expected();
    (got, log.into_inner().unwrap())
}

fn open(disk: &Model) -> Result<(Log<Model>, Found), Error> {
    Log::open(disk.clone(), MAX_BYTES)
}

/// Where in which segment something is broken: what is lost, and what is said of it.
fn after_breaking(at: usize, place: Range<u64>, errno: Errno) -> (Got, Found, u64) {
    let disk = Model::default();
    fill(disk.clone(), 0..COUNT);
    let names = segments(&disk);
    assert!(names.len() > 4, "{names:?}");
    let at = at.min(names.len() - 1);
    disk.break_at(&names[at], place, errno.raw_os_error());
    let (log, found) = open(&disk).unwrap();
    let (got, mut log) = read(log);
    // What is told is done with, and what is broken is kept.
    assert_eq!((got.behind, got.missing, got.damaged), (log.synced(), 0, 0), "{got:?}");
    log.acknowledge(log.synced()).unwrap();
    assert_eq!(log.waiting(), 0);
    let is_kept = disk.files().contains(&format!("{}.damaged", names[at]));
    assert!(is_kept || got.unreadable == 0, "{:?}", disk.files());
    drop(log);
    let (log, _) = open(&disk).unwrap();
    let (again, _) = read(log);
    assert!(again.ids.is_empty() && again.unreadable == 0, "{again:?}");
    let lost = COUNT - got.ids.len() as u64;
    let expected: Vec<u64> = (0..COUNT).filter(|id| got.ids.contains(id)).collect();
    assert_eq!(got.ids, expected, "in their order, each once");
    (got, found, lost)
}

/// A start failed with the error, each time.
#[test]
fn a_place_that_can_not_be_read_costs_what_is_there_in_whichever_segment_it_is() {
    let errors = [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::NODATA, Errno::ILSEQ];
    for (errno, at) in errors.into_iter().flat_map(|errno| [0, 2, 99].map(|at| (errno, at))) {
        let (got, found, lost) = after_breaking(at, 3 * PAGE..4 * PAGE, errno);
        assert!((1..50).contains(&lost), "{errno} in segment {at}: {lost} lost");
        assert_eq!((got.unreadable, got.places), (lost, 1), "{errno} in segment {at}");
        let said: Vec<_> = found.unreadable.iter().map(ToString::to_string).collect();
        if at == 99 {
            let words = "4096 bytes at 12288: ";
            assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
        }
    }
}

/// A header is not needed, and what comes behind an area is found.
#[test]
fn headers_and_areas_that_can_not_be_read_are_passed_over() {
    for (at, place) in [(0, 0..1), (2, 0..1), (99, 0..1)] {
        let (_, _, lost) = after_breaking(at, place, Errno::IO);
        assert!(lost < 50, "segment {at}: {lost}");
    }
    let (_, _, lost) = after_breaking(1, 2 * PAGE..9 * PAGE, Errno::IO);
    let (_, _, of_segment) = after_breaking(1, WHOLE, Errno::IO);
    assert!(lost < of_segment && of_segment < 400, "{lost} of {of_segment}");
}

/// Nobody knows how many there were: one is told, and none of what comes is taken for them.
#[test]
fn the_end_of_the_last_segment_that_can_not_be_read_is_kept_and_counts_as_one() {
    for whole in [false, true] {
        let disk = Model::default();
        fill(disk.clone(), 0..COUNT);
        let name = segments(&disk).pop().unwrap();
        let place = if whole { WHOLE } else { 5 * PAGE..u64::MAX };
        disk.break_at(&name, place, Errno::IO.raw_os_error());
        // What comes then is behind that; it is there again at the next start too.
        fill(disk.clone(), 2_000..2_050);
        for _ in 0..2 {
            let (log, _) = open(&disk).unwrap();
            let (got, log) = read(log);
            assert_eq!((got.unreadable, got.damaged, got.missing), (1, 0, 0), "{got:?}");
            assert_eq!(got.ids[got.ids.len() - 50..], (2_000..2_050).collect::<Vec<_>>());
            assert_eq!(log.synced(), got.ids.len() as u64 + 1);
        }
        assert!(segments(&disk).contains(&name));
    }
}

/// What was acknowledged came again, and what was gone with it counted as missing.
#[test]
fn acknowledgements_that_can_not_be_read_cost_a_repeat_and_no_count() {
    for place in [WHOLE, 0..u64::MAX - 1, PAGE..PAGE + 1] {
        let disk = Model::default();
        fill(disk.clone(), 0..COUNT);
        let (mut log, _) = open(&disk).unwrap();
        // More than one segment, in several places.
        for to in [100, 300, 700] {
            log.acknowledge(to).unwrap();
        }
        drop(log);
        let begin = segment::first(&segments(&disk)[0]).unwrap();
        assert!(begin > 0);
        let acks = disk.files().into_iter().find(|name| name.starts_with("acks")).unwrap();
        disk.break_at(&acks, place, Errno::IO.raw_os_error());
        let (log, found) = open(&disk).unwrap();
        assert!(!found.unreadable.is_empty());
        let (got, mut log) = read(log);
        assert_eq!((got.missing, got.damaged, got.unreadable), (0, 0, 0), "{got:?}");
        assert!(got.ids[0] >= begin && got.ids.ends_with(&[COUNT - 1]));
        log.acknowledge(COUNT).unwrap();
        drop(log);
        let (log, found) = open(&disk).unwrap();
        assert_eq!((log.acknowledged(), found.unreadable.len()), (COUNT, 0), "another file has it");
    }
}

/// It was never read on there: the reader took the segment for one that is being made.
#[test]
fn an_empty_file_in_place_of_a_segment_is_a_counted_gap() {
    let disk = Model::default();
    fill(disk.clone(), 0..COUNT);
    let names = segments(&disk);
    let gap = segment::first(&names[2]).unwrap() - segment::first(&names[1]).unwrap();
    disk.damage(&names[1], Vec::clear);
    let (log, _) = open(&disk).unwrap();
    let (got, _) = read(log);
    assert_eq!((got.ids.len() as u64, got.missing), (COUNT - gap, gap));
}

#[test]
fn wherever_pages_can_not_be_read_all_else_is_delivered_and_the_count_is_right() {
    for seed in 1..200 {
        let (disk, mut random) = (Model::default(), Random(seed));
        fill(disk.clone(), 0..COUNT);
        let names = segments(&disk);
        for _ in 0..=random.below(4) {
            // Not the last one: what is at its end is not known.
            let name = &names[usize::try_from(random.below(names.len() as u64 - 1)).unwrap()];
            let from = random.below(16) * PAGE;
            disk.break_at(name, from..from + PAGE, Errno::IO.raw_os_error());
        }
        let (log, _) = open(&disk).unwrap();
        let (got, log) = read(log);
        assert_eq!(got.ids.len() as u64 + got.unreadable, COUNT, "seed {seed}: {got:?}");
        assert_eq!((got.behind, got.missing + got.damaged), (log.synced(), 0), "seed {seed}");
        drop(lock(&Mutex::new(log)));
    }
}

/// The damaged one was read again as a whole to be set aside; it is given another name instead.
#[test]
fn a_repaired_segment_has_the_damaged_file_itself_beside_it() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    fill(Folder(folder.path().to_owned()), 0..40);
    let path = folder.path().join(segment::name(0));
    let mut content = std::fs::read(&path).unwrap();
    content[60] ^= 1;
    std::fs::write(&path, &content).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    repair(folder.path()).unwrap();
    let aside = folder.path().join(format!("{}.damaged", segment::name(0)));
    assert_eq!(std::fs::metadata(aside).unwrap().ino(), inode);
    assert_eq!(inspect(folder.path()).unwrap().waiting(), 39);
}
