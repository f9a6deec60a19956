//! What an earlier run left: segments that it had not read to their end when it died, or was stopped while
//! what follows was away.
//!
//! A folder of segments has a folder for each epoch, and in that lies how far the epoch was read
//! ([`note`]). The next run takes these folders over before it captures, so their segments are read first,
//! under the epochs and the numbers they had. One that was read in part is read again from its beginning:
//! its packets have the ids they had.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::super::process::pcap;
use super::{
    backlog::{Backlog, Item, Segment},
    capture::{SEGMENT_NUMBERS, number},
};
use crate::task;

/// The file in an epoch's folder that says how far the epoch was read.
const READ: &str = "read";

/// An epoch of an earlier run.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sources::tshark) struct Epoch {
    number: u32,
    /// Its packets before the first of these segments.
    first: u64,
    segments: Vec<Segment>,
}

/// How far an epoch was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Read {
    /// The last segment that was read to its end; 0 before there is one.
    segment: u64,
    /// Packets of the epoch up to there.
    packets: u64,
}

/// Notes that a segment was read to its end, or given up, after so many `packets` of its epoch. Where that
/// fails, or is lost with the power, its epoch is read again with other ids.
pub(in crate::sources::tshark) async fn note(segment: &Segment, packets: u64) {
    let path = segment.path.clone();
    let noted = task::blocking(move || {
        let (Some(folder), Some(number)) = (path.parent(), number(&path)) else { return Ok(()) };
        let new = folder.join(".read.new");
        fs::write(&new, format!("{number} {packets}\n"))?;
        fs::rename(&new, folder.join(READ))
    });
    if let Err(error) = noted.await.map_err(io::Error::other).flatten() {
        tracing::debug!(%error, "how far the segments were read is not noted");
    }
}

/// Moves the epochs in the folder of a run that died to that of this run. Where an epoch of this number is
/// there already, it gets the next one that is free.
pub(in crate::sources::tshark) fn take_over(dead: &Path, ours: &Path) -> io::Result<()> {
    let mut epochs = epochs(dead)?;
    epochs.sort_unstable();
    for epoch in epochs {
        let free = (epoch..=u32::MAX).find(|epoch| !ours.join(epoch.to_string()).exists());
        if let Some(free) = free {
            fs::rename(dead.join(epoch.to_string()), ours.join(free.to_string()))?;
        }
    }
    Ok(())
}

/// The epochs that were taken over, in their order, without what was read already.
pub(in crate::sources::tshark) fn found(ours: &Path) -> io::Result<Vec<Epoch>> {
    let mut numbers = epochs(ours)?;
    numbers.sort_unstable();
    let mut found = Vec::new();
    for number in numbers {
        let folder = ours.join(number.to_string());
        let read = Read::of(&folder);
        let segments = segments(&folder, read)?;
        if segments.is_empty() {
            fs::remove_dir_all(&folder)?;
        } else {
            found.push(Epoch { number, first: read.packets, segments });
        }
    }
    Ok(found)
}

/// Puts what was found into the backlog. Answers the first epoch that is free.
pub(in crate::sources::tshark) fn queue(found: Vec<Epoch>, backlog: &Backlog) -> u32 {
    let mut next = 0;
    for Epoch { number, first, segments } in found {
        next = number.saturating_add(1);
        backlog.push(Item::Begin(number));
        // Not lost: they were handed on.
        backlog.push(Item::Shed(first));
        for segment in segments {
            backlog.push(Item::Segment(segment));
        }
        backlog.push(Item::End(None));
    }
    next
}

fn epochs(folder: &Path) -> io::Result<Vec<u32>> {
    let mut epochs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            epochs.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    Ok(epochs)
}

/// The segments in an epoch's folder that were not read to their end, in their order. The last one may be
/// cut, as its capturer was.
fn segments(folder: &Path, read: Read) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<(u64, PathBuf, u64)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, bytes) = (entry.path(), entry.metadata()?.len());
        let Some(number) = number(&path) else { continue };
        let behind = (number + SEGMENT_NUMBERS - read.segment) % SEGMENT_NUMBERS;
        if behind == 0 && read.packets > 0 || bytes <= pcap::HEADER_BYTES as u64 {
            fs::remove_file(path)?;
        } else {
            segments.push((behind, path, bytes));
        }
    }
    segments.sort();
    let last = segments.len();
    let segment = |(at, (_, path, bytes)): (usize, (u64, PathBuf, u64))| Segment {
        path,
        bytes,
        may_be_cut: at + 1 == last,
    };
    Ok(segments.into_iter().enumerate().map(segment).collect())
}

// === impl Epoch ===

impl Epoch {
    /// Bytes of its segments.
    pub(in crate::sources::tshark) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

// === impl Read ===

impl Read {
    /// What is noted in the folder; nothing, if that can't be read.
    fn of(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(READ)).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(segment)), Some(Ok(packets))) if segment < SEGMENT_NUMBERS => {
                Self { segment, packets }
            }
            _ => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::tshark::tests::capture;

    fn put(folder: &Path, number: &str, packets: u32) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("segment_{number}_20260101120000.pcap"));
        fs::write(&path, capture(packets)).unwrap();
        path
    }

    fn names(epoch: &Epoch) -> Vec<u64> {
        epoch.segments.iter().map(|segment| number(&segment.path).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_was_not_read_to_its_end_is_found_under_the_numbers_it_had() {
        let base = tempfile::tempdir().unwrap();
        let (dead, ours) = (base.path().join("dead"), base.path().join("ours"));
        fs::create_dir(&ours).unwrap();
        for number in ["00003", "00001", "00002"] {
            put(&dead.join("4"), number, 10);
        }
        // Only a header: dumpcap had just begun it.
        put(&dead.join("4"), "00004", 0);
        put(&dead.join("7"), "00001", 5);
        fs::create_dir(dead.join("5")).unwrap();
        fs::write(dead.join("7/garbage"), "x").unwrap();
        let read = Segment {
            path: dead.join("4/segment_00001_20260101120000.pcap"),
            bytes: 0,
            may_be_cut: false,
        };
        note(&read, 10).await;
        take_over(&dead, &ours).unwrap();
        let found = found(&ours).unwrap();
        let told: Vec<_> =
            found.iter().map(|epoch| (epoch.number, epoch.first, names(epoch))).collect();
        assert_eq!(told, [(4, 10, vec![2, 3]), (7, 0, vec![1])]);
        let cut: Vec<_> = found[0].segments.iter().map(|segment| segment.may_be_cut).collect();
        assert_eq!(cut, [false, true]);
        assert!(!ours.join("4/segment_00001_20260101120000.pcap").exists());
        let backlog = Backlog::default();
        assert_eq!(queue(found, &backlog), 8);
        assert_eq!(backlog.try_next(), Some(Item::Begin(4)));
        assert_eq!(backlog.try_next(), Some(Item::Shed(10)));
    }

    #[test]
    fn epochs_of_several_runs_do_not_fall_into_one() {
        let base = tempfile::tempdir().unwrap();
        let [one, other, ours] = ["one", "other", "ours"].map(|name| base.path().join(name));
        fs::create_dir(&ours).unwrap();
        put(&one.join("0"), "00001", 1);
        put(&other.join("0"), "00001", 2);
        take_over(&one, &ours).unwrap();
        take_over(&other, &ours).unwrap();
        let numbers: Vec<_> = found(&ours).unwrap().iter().map(|epoch| epoch.number).collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn segments_go_on_where_their_numbers_begin_anew_and_a_note_may_be_garbage() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("0");
        for number in ["99999", "00000", "00001"] {
            put(&folder, number, 1);
        }
        for (note, expected, first) in [
            ("99998 700\n", vec![99_999, 0, 1], 700),
            ("99998", vec![0, 1, 99_999], 0),
            ("-1 7", vec![0, 1, 99_999], 0),
            ("100000 7", vec![0, 1, 99_999], 0),
            ("\u{0}\u{0}", vec![0, 1, 99_999], 0),
        ] {
            fs::write(folder.join(READ), note).unwrap();
            let found = found(base.path()).unwrap();
            assert_eq!((names(&found[0]), found[0].first), (expected, first), "{note:?}");
        }
    }
}
