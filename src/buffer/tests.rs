//! The log on a disk that loses power, fails, and is damaged.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod model;
mod unreadable;

use std::{collections::HashSet, sync::Mutex};

use proptest::prelude::*;

use self::model::{Model, Random};
use super::{
    Error,
    disk::{Disk, DiskFile, Folder},
    inspect::{self, inspect, repair},
    log::{Log, bytes_of},
    reader::{Reader, lock},
    segment,
};
use crate::codec::wire;

const MAX_BYTES: u64 = 16 << 10;

/// A log, its reader, and what is known of it from outside.
struct Scene {
    log: Mutex<Log<Model>>,
    reader: Reader<<Model as Disk>::File>,
    /// What was committed and not acknowledged, in its order.
    waiting: Vec<u64>,
    /// Whatever was ever appended.
    appended: HashSet<u64>,
    next: u64,
    random: Random,
    damaged: u64,
    missing: u64,
}

/// A payload that shows which one it is, and whether it is whole.
fn payload(id: u64) -> Vec<u8> {
    let bytes = 8 + (id.wrapping_mul(2_654_435_761) % 400) as usize;
    id.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn id(payload: &[u8]) -> u64 {
    let id = u64::from_le_bytes(payload[..8].try_into().unwrap());
    assert!(payload == self::payload(id), "a payload is not what was written");
    id
}

impl Scene {
    fn open(disk: &Model, seed: u64) -> Result<Self, Error> {
        let (log, _) = Log::open(disk.clone(), MAX_BYTES)?;
        let reader = Reader::new(log.acknowledged());
        Ok(Self {
            log: Mutex::new(log),
            reader,
            waiting: Vec::new(),
            appended: HashSet::new(),
            next: seed << 32,
            random: Random(seed),
            damaged: 0,
            missing: 0,
        })
    }

    /// Appends some entries and syncs them; false if that failed.
    fn write(&mut self) -> bool {
        let count = 1 + self.random.below(6);
        let ids: Vec<u64> = (self.next..self.next + count).collect();
        let payloads: Vec<_> = ids.iter().map(|id| payload(*id)).collect();
        let bytes = payloads.iter().map(Vec::len).sum();
        if lock(&self.log).room() < bytes_of(payloads.len(), bytes) {
            return true;
        }
        self.next += count;
        self.appended.extend(&ids);
        let each = payloads.iter().map(|payload| &payload[..]);
        let Ok(appended) = lock(&self.log).append(each) else { return false };
        let synced = appended.sync();
        let mut log = lock(&self.log);
        if synced.is_ok() {
            log.commit(appended);
            drop(log);
            self.waiting.extend(ids);
            true
        } else {
            log.abort(appended);
            false
        }
    }

    /// Reads what is there.
    fn read(&mut self) -> Vec<(u64, u64)> {
        let mut read = Vec::new();
        loop {
            let chunk = self.reader.read(&self.log, 1_000, 5).unwrap();
            self.damaged += chunk.damaged;
            self.missing += chunk.missing;
            if chunk.is_empty() {
                return read;
            }
            read.extend(chunk.entries().map(|(sequence, payload)| (sequence, id(payload))));
        }
    }

    /// Acknowledges some of what was read; false if that failed.
    fn acknowledge(&mut self, read: &mut Vec<(u64, u64)>) -> bool {
        let some = self.random.below(read.len() as u64 + 1) as usize;
        let done: Vec<_> = read.drain(..some).collect();
        let Some((last, _)) = done.last() else { return true };
        let done_ids: HashSet<u64> = done.iter().map(|(_, id)| *id).collect();
        self.waiting.retain(|id| !done_ids.contains(id));
        lock(&self.log).acknowledge(last + 1).is_ok()
    }

    /// Works until something fails, or for so many steps.
    fn work(&mut self, steps: u32, go_on_after_failures: bool) {
        let mut unacknowledged = Vec::new();
        for _ in 0..steps {
            let done = match self.random.below(3) {
                0 | 1 => self.write(),
                _ => {
                    unacknowledged.extend(self.read());
                    self.acknowledge(&mut unacknowledged)
                }
            };
            if !done && !go_on_after_failures {
                return;
            }
        }
    }

    /// What a new process finds on the disk has to hold all that waits, in its order, and nothing that
    /// nobody wrote. Goes on with it.
    fn reopened(self, disk: &Model) -> Self {
        let mut again = Self::open(disk, self.random.0 | 1).unwrap();
        let read = again.read();
        assert_eq!((again.damaged, again.missing), (0, 0), "nothing was damaged");
        let ids: Vec<u64> = read.iter().map(|(_, id)| *id).collect();
        let waits: HashSet<u64> = self.waiting.iter().copied().collect();
        let kept: Vec<u64> = ids.iter().copied().filter(|id| waits.contains(id)).collect();
        let mut once = kept.clone();
        once.dedup();
        assert_eq!(once, self.waiting, "what waits, in its order");
        assert!(ids.iter().all(|id| self.appended.contains(id)));
        again.waiting = ids;
        again.waiting.dedup();
        again.appended = self.appended;
        again.reader = Reader::new(lock(&again.log).acknowledged());
        again.next = self.next;
        again
    }
}

#[test]
fn after_a_power_loss_at_any_operation_what_was_synced_is_there() {
    let total = {
        let disk = Model::default();
        Scene::open(&disk, 7).unwrap().work(40, false);
        disk.operations()
    };
    assert!(total > 100, "{total}");
    for operations in 0..total {
        for seed in 1..6 {
            let disk = Model::default();
            disk.lose_power_after(operations);
            let Ok(mut scene) = Scene::open(&disk, 7) else { continue };
            scene.work(40, false);
            let disk = disk.after_power_loss(seed * 1_000 + operations as u64);
            let mut scene = scene.reopened(&disk);
            // And the one after it.
            disk.lose_power_after(operations % 17);
            scene.work(10, false);
            scene.reopened(&disk.after_power_loss(seed));
        }
    }
}

/// Works on a disk that fails and loses power, once for each seed.
fn survives(seeds: &[u64], fault_every: u64, operations: usize) {
    let mut disk = Model::default();
    let mut scene = Scene::open(&disk, seeds[0]).unwrap();
    for seed in seeds {
        disk.fail_every(fault_every, *seed);
        disk.lose_power_after(operations);
        scene.work(60, true);
        disk = disk.after_power_loss(*seed);
        scene = scene.reopened(&disk);
    }
}

/// What a failed sync had left was read, and new entries under the same sequences were not, where the
/// segment behind it had its name and nothing else.
#[test]
fn sequences_are_not_given_again_behind_what_a_failed_sync_left() {
    survives(&[99_608, 80_618, 542_070], 2, 159);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn disks_that_fail_and_lose_power_lose_nothing_that_was_synced(
        seeds in prop::collection::vec(1_u64..1_000_000, 1..5),
        fault_every in 2_u64..40,
        operations in 0_usize..300,
    ) {
        survives(&seeds, fault_every, operations);
    }

    #[test]
    fn damage_costs_only_what_it_hits(
        seed in 1_u64..1_000_000,
        at: prop::sample::Index,
        which: prop::sample::Index,
        bytes in 1_usize..700,
        zero: bool,
    ) {
        let disk = Model::default();
        let mut scene = Scene::open(&disk, seed).unwrap();
        for _ in 0..25 {
            scene.write();
        }
        let segments: Vec<_> =
            disk.files().into_iter().filter(|name| segment::first(name).is_some()).collect();
        let name = which.get(&segments).clone();
        let is_last = segments.last() == Some(&name);
        disk.damage(&name, |content| {
            let from = at.index(content.len());
            let to = (from + bytes).min(content.len());
            content[from..to].iter_mut().for_each(|byte| *byte = if zero { 0 } else { !*byte });
        });
        let mut again = Scene::open(&disk, seed).unwrap();
        let read: Vec<u64> = again.read().into_iter().map(|(_, id)| id).collect();
        let expected: Vec<u64> =
            scene.waiting.iter().copied().filter(|id| read.contains(id)).collect();
        prop_assert_eq!(&read, &expected, "in order, and nothing else");
        let lost = scene.waiting.len() - read.len();
        // Entries are 28 bytes at least, and some are hit in part.
        prop_assert!(lost <= bytes / 28 + 2, "{} lost by {} bytes", lost, bytes);
        // What is behind the last entry of all can't be told from what was never written.
        prop_assert!(again.missing + again.damaged == lost as u64 || is_last);
    }
}

#[test]
fn a_segment_that_is_gone_is_a_counted_gap() {
    let disk = Model::default();
    let mut scene = Scene::open(&disk, 3).unwrap();
    for _ in 0..25 {
        scene.write();
    }
    let segments: Vec<_> =
        disk.files().into_iter().filter(|name| segment::first(name).is_some()).collect();
    assert!(segments.len() > 3, "{segments:?}");
    for gone in [&segments[0], &segments[2]] {
        disk.remove(gone).unwrap();
    }
    let mut again = Scene::open(&disk, 3).unwrap();
    let read = again.read();
    let first = |at: usize| segment::first(&segments[at]).unwrap();
    let gap = first(1) - first(0) + first(3) - first(2);
    assert_eq!((again.missing, again.damaged), (gap, 0));
    assert_eq!(read.len() as u64 + gap, scene.waiting.len() as u64);
    // It is counted once: what was read and acknowledged is done with.
    let last = read.last().unwrap().0;
    lock(&again.log).acknowledge(last + 1).unwrap();
    drop(again);
    let mut third = Scene::open(&disk, 3).unwrap();
    assert_eq!((third.read().len(), third.missing, third.damaged), (0, 0, 0));
}

#[test]
fn a_damaged_segment_is_kept_aside_when_the_rest_of_it_is_delivered() {
    let disk = Model::default();
    let mut scene = Scene::open(&disk, 5).unwrap();
    for _ in 0..25 {
        scene.write();
    }
    let name = disk.files().into_iter().find(|name| segment::first(name).is_some()).unwrap();
    disk.damage(&name, |content| content[60] ^= 1);
    let mut again = Scene::open(&disk, 5).unwrap();
    let last = again.read().last().unwrap().0;
    assert!(again.damaged > 0);
    lock(&again.log).acknowledge(last + 1).unwrap();
    let files = disk.files();
    assert!(files.contains(&format!("{name}.damaged")), "{files:?}");
    assert!(!files.contains(&name));
}

/// A log on a disk, whose segment at `place` has a byte of its first entry broken: the segment's name, and what
/// is read of it.
fn damaged_at(disk: &Model, place: impl FnOnce(usize) -> usize) -> (String, Scene) {
    let mut scene = Scene::open(disk, 5).unwrap();
    for _ in 0..60 {
        scene.write();
    }
    let segments: Vec<_> =
        disk.files().into_iter().filter(|name| segment::first(name).is_some()).collect();
    assert!(segments.len() > 5, "{segments:?}");
    let name = segments[place(segments.len())].clone();
    disk.damage(&name, |content| content[60] ^= 1);
    (name, Scene::open(disk, 5).unwrap())
}

/// All that were read behind it in one go were kept as well, and as only so many are, it was not.
#[test]
fn of_several_segments_only_the_damaged_one_is_kept_aside() {
    for place in [|_| 0, |segments| segments - 1] {
        let disk = Model::default();
        let (name, mut again) = damaged_at(&disk, place);
        let chunk = again.reader.read(&again.log, 1 << 20, 1_000).unwrap();
        assert!(chunk.damaged > 0);
        let behind = lock(&again.log).synced();
        lock(&again.log).acknowledge(behind).unwrap();
        let mut files = disk.files();
        files.retain(|name| !name.starts_with("acks"));
        assert_eq!(files, [format!("{name}.damaged")]);
    }
}

/// A log with one segment, whose header says that it has this version; and what comes of opening it.
fn of_version(version: u32) -> Result<Scene, Error> {
    let disk = Model::default();
    let mut scene = Scene::open(&disk, 5).unwrap();
    scene.write();
    let name = disk.files().into_iter().find(|name| segment::first(name).is_some()).unwrap();
    disk.damage(&name, |content| {
        content[8..12].copy_from_slice(&version.to_le_bytes());
        let crc = crc32fast::hash(&content[..20]).to_le_bytes();
        content[20..24].copy_from_slice(&crc);
    });
    let mut again = Scene::open(&disk, 5)?;
    let read = again.read();
    assert_eq!(read.len(), scene.waiting.len());
    lock(&again.log).acknowledge(read.len() as u64).unwrap();
    assert_eq!(disk.files().iter().any(|name| name.ends_with(".damaged")), version == 0);
    Ok(again)
}

#[test]
fn a_later_version_is_named_and_left_alone() {
    let later = u32::from(wire::VERSION) + 1;
    let Err(error) = of_version(later) else { panic!("it was opened") };
    assert!(matches!(error, Error::Newer { version, .. } if version == later), "{error}");
}

/// Entries are in the wire form: where that had a new version and segments had not, an earlier program began to
/// read what it did not know, and removed it.
#[test]
fn segments_have_the_version_of_the_wire_form_and_earlier_ones_are_read() {
    assert_eq!(segment::header(0)[8..12], u32::from(wire::VERSION).to_le_bytes());
    for version in 0..=u32::from(wire::VERSION) {
        of_version(version).unwrap();
    }
}

#[test]
fn a_full_log_has_no_room_until_something_is_acknowledged() {
    let mut scene = Scene::open(&Model::default(), 5).unwrap();
    while {
        let before = scene.waiting.len();
        scene.write();
        scene.waiting.len() > before
    } {}
    assert!(lock(&scene.log).bytes() <= MAX_BYTES + 65_536);
    let read = scene.read();
    assert_eq!(read.len(), scene.waiting.len());
    lock(&scene.log).acknowledge(read[read.len() / 2].0).unwrap();
    assert!(lock(&scene.log).room() >= bytes_of(2, 500));
}

/// A log with no room left, and the sequence behind all that it has.
fn full(disk: &Model) -> (Scene, u64) {
    let mut scene = Scene::open(disk, 5).unwrap();
    while {
        let before = scene.waiting.len();
        scene.write();
        scene.waiting.len() > before
    } {}
    let behind = scene.read().last().unwrap().0 + 1;
    assert!(!is_empty(&scene));
    (scene, behind)
}

/// Whether there is room again but for the segment that is written to.
fn is_empty(scene: &Scene) -> bool {
    lock(&scene.log).room() >= MAX_BYTES / 2
}

/// No acknowledgement followed that would have made up for the one that failed: the log stayed full.
#[test]
fn an_acknowledgement_that_fails_gives_room_once_the_disk_does_what_it_is_told() {
    // Of the acknowledgement: its write; that, and the one of the next file; and so on.
    for faults in 1..6 {
        let disk = Model::default();
        let (scene, behind) = full(&disk);
        disk.fail_next(faults);
        lock(&scene.log).acknowledge(behind).unwrap_err();
        if faults == 1 {
            assert!(is_empty(&scene), "another file has the position");
        }
        for _ in 1..faults {
            lock(&scene.log).acknowledge(0).unwrap_or_default();
        }
        lock(&scene.log).acknowledge(0).unwrap();
        assert!(is_empty(&scene), "{faults} failed");
    }
}

#[test]
fn segments_that_went_though_an_acknowledgement_failed_are_no_loss_after_the_power_is_lost() {
    for (faults, seed) in (1..4).flat_map(|faults| (1..20).map(move |seed| (faults, seed))) {
        let disk = Model::default();
        let (scene, behind) = full(&disk);
        disk.fail_next(faults);
        lock(&scene.log).acknowledge(behind).unwrap_err();
        let mut again = Scene::open(&disk.after_power_loss(seed), 5).unwrap();
        let read = again.read().len();
        assert_eq!((again.missing, again.damaged), (0, 0), "{faults} failed, {read} were read");
    }
}

#[test]
fn a_segment_that_somebody_removed_takes_no_room() {
    let disk = Model::default();
    let (scene, behind) = full(&disk);
    let files = disk.files();
    let first = files.iter().find(|name| segment::first(name).is_some()).unwrap();
    disk.remove(first).unwrap();
    lock(&scene.log).acknowledge(behind).unwrap();
    assert!(is_empty(&scene));
}

#[test]
fn a_folder_is_inspected_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(Folder(folder.path().to_owned()), MAX_BYTES).unwrap();
    let payloads: Vec<_> = (0..40).map(payload).collect();
    for part in payloads.chunks(4) {
        let appended = log.append(part.iter().map(|payload| &payload[..])).unwrap();
        appended.sync().unwrap();
        log.commit(appended);
    }
    log.acknowledge(1).unwrap();
    drop(log);
    let whole = inspect(folder.path()).unwrap();
    assert_eq!((whole.waiting(), whole.missing(), whole.is_whole()), (39, 0, true), "{whole}");
    // The third entry of the first segment, and what a crash leaves behind the last.
    let first = folder.path().join(&whole.segments[0].name);
    let mut content = std::fs::read(&first).unwrap();
    let third = 24 + (0..2).map(|id| 20 + payload(id).len()).sum::<usize>();
    content[third + 21] ^= 255;
    std::fs::write(&first, &content).unwrap();
    let last = folder.path().join(&whole.segments.last().unwrap().name);
    let mut torn = std::fs::read(&last).unwrap();
    torn.extend([0; 100]);
    std::fs::write(&last, torn).unwrap();
    let damaged = inspect(folder.path()).unwrap();
    assert_eq!((damaged.waiting(), damaged.missing(), damaged.is_whole()), (38, 1, false));
    assert_eq!(damaged.segments[0].damaged_bytes, 20 + payload(2).len() as u64);
    assert_eq!(damaged.segments.last().unwrap().torn_bytes, 100);
    assert_eq!(repair(folder.path()).unwrap(), damaged);
    let mended = inspect(folder.path()).unwrap();
    assert_eq!(
        (mended.waiting(), mended.missing(), mended.set_aside.len()),
        (38, 1, 2),
        "{mended}"
    );
    assert!(mended.segments.iter().all(inspect::Segment::is_whole));
    let aside = folder.path().join(format!("{}.damaged", mended.segments[0].name));
    assert_eq!(std::fs::read(aside).unwrap(), content);
}

/// A buffer at work removed a segment between the look at the folder and that at the file. A link to nothing is
/// in the folder and can't be opened either.
#[test]
fn what_goes_while_a_folder_is_inspected_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(Folder(folder.path().to_owned()), MAX_BYTES).unwrap();
    for part in (0..40).map(payload).collect::<Vec<_>>().chunks(4) {
        let appended = log.append(part.iter().map(|payload| &payload[..])).unwrap();
        appended.sync().unwrap();
        log.commit(appended);
    }
    let second = inspect(folder.path()).unwrap().segments[1].first;
    log.acknowledge(second).unwrap();
    let without = inspect(folder.path()).unwrap();
    assert_eq!((without.waiting(), without.missing()), (40 - second, 0), "{without}");
    for name in [segment::name(0), "acks-0007".to_owned()] {
        std::os::unix::fs::symlink("gone", folder.path().join(name)).unwrap();
    }
    assert_eq!(inspect(folder.path()).unwrap(), without);
}

#[test]
fn bytes_of_any_kind_are_read_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(9);
    for round in 0..40 {
        let bytes: Vec<u8> = (0..random.below(2_000)).map(|_| random.below(256) as u8).collect();
        let mut content = segment::header(0);
        for (at, part) in (0..).zip(bytes.chunks(97)) {
            segment::write_entry(at, part, &mut content);
            content.extend(&part[..part.len() / 3]);
        }
        if round % 2 == 0 {
            content = bytes;
        }
        std::fs::write(folder.path().join(segment::name(0)), &content).unwrap();
        let found = inspect(folder.path()).unwrap();
        assert_eq!(found.segments.len(), 1);
        let all = found.segments[0].bytes;
        assert!(found.segments[0].damaged_bytes + found.segments[0].torn_bytes <= all);
    }
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = Model::default();
    for name in ["1.segment", "notes", "0000000000000000000x.segment"] {
        disk.create(name).unwrap().write_at(0, b"x").unwrap();
    }
    let mut scene = Scene::open(&disk, 5).unwrap();
    scene.write();
    assert_eq!(scene.read().len(), scene.waiting.len());
    assert!(disk.files().contains(&"notes".to_owned()));
}
