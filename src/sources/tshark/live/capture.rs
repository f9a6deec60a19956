//! Keeps dumpcap writing segments, hands on those it closed, and keeps within the disk's bounds.
//!
//! Looking into the folder rather than trusting `printname` serves for both: every segment but the
//! newest is closed, and after dumpcap's end all are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::super::Config;
use super::super::process::{
    arguments,
    child::{Child, Launch},
    pcap,
    programs::Privilege,
};
use super::{
    backlog::{Backlog, Item, Segment},
    silence::{LOOK_EVERY, Silence},
    supervise::{Supervisor, was_stopped},
};
use crate::{
    component::{Clock, Error, drain},
    metrics::{CAPTURE_LOST, ERRORS, ErrorType, LossCause, Meter},
    record::Timestamp,
    storage::space::space,
    task,
};

/// How often it is looked whether a full disk has space again.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// dumpcap numbers segments modulo this (`RINGBUFFER_MAX_NUM_FILES`): 0 follows 99,999.
pub(super) const SEGMENT_NUMBERS: u64 = 100_000;
/// More than it begins from one look to the next. What lies further behind are segments that wait, with
/// numbers of the last time round.
const NEW_SEGMENTS: u64 = 10_000;

/// dumpcap and the folder it writes into.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Capturer {
    /// What it captures.
    pub(in crate::sources::tshark) config: Config,
    /// Where it is.
    pub(in crate::sources::tshark) dumpcap: PathBuf,
    /// A folder of ours alone.
    pub(in crate::sources::tshark) folder: PathBuf,
    /// The number of its first start.
    pub(in crate::sources::tshark) first_epoch: u32,
    /// Where closed segments go.
    pub(in crate::sources::tshark) backlog: Arc<Backlog>,
    /// Counts what is lost.
    pub(in crate::sources::tshark) meter: Arc<Meter>,
}

/// The segment that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    number: u64,
    bytes: u64,
}

/// How far time has come with what lies in the folder.
#[derive(Debug)]
struct Times {
    silence: Silence<Open>,
    /// The segment that was open, and the time that is reached once it was read.
    noted: Option<(u64, Timestamp)>,
}

/// Why a capture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// By itself, or by somebody else.
    Ended,
    /// We were told to stop.
    Stopped,
    /// There is no space left for another segment.
    DiskFull,
}

// === impl Capturer ===

impl Capturer {
    /// Captures until `stop`, and ends the backlog.
    ///
    /// # Errors
    /// If dumpcap refuses its command line at the first start.
    pub(in crate::sources::tshark) async fn run(
        self,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let captured = self.capture(&stop).await;
        self.backlog.end();
        captured
    }

    async fn capture(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut supervisor = Supervisor::new(&self.config, Arc::clone(&self.meter));
        supervisor.epoch = self.first_epoch;
        loop {
            let reason = self.once(&mut supervisor, stop).await?;
            if reason == Reason::Stopped || !supervisor.pause(stop).await {
                return Ok(());
            }
            while self.is_full().await {
                tokio::select! {
                    () = sleep(SPACE_EVERY) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }

    /// One dumpcap, from its start to its end.
    async fn once(
        &self,
        supervisor: &mut Supervisor,
        stop: &CancellationToken,
    ) -> Result<Reason, Error> {
        let folder = self.folder.join(supervisor.epoch.to_string());
        tokio::fs::create_dir(&folder).await.map_err(|error| {
            Error::failure(format!("{} can't be made", folder.display())).because(error)
        })?;
        let prefix = folder.join("segment.pcap");
        let started = Child::start(
            Launch {
                program: self.dumpcap.clone(),
                arguments: arguments::dumpcap_segments(&self.config, &prefix.to_string_lossy()),
                stdin: Stdio::null(),
                stdout: Stdio::null(),
                privilege: Privilege::Capture,
                death_signal: "TERM",
            },
            Some(&self.meter),
        );
        let mut dumpcap = match started.await {
            Ok(dumpcap) => dumpcap,
            Err(error) if error.is_configuration() => return Err(error),
            Err(error) => {
                supervisor.failed(ErrorType::DumpcapFailed, &error.to_string());
                return Ok(Reason::Ended);
            }
        };
        supervisor.started();
        self.backlog.push(Item::Begin(supervisor.epoch));
        let mut taken = 0;
        let reason = self.follow(&mut dumpcap, &folder, &mut taken, supervisor, stop).await;
        let ended = match reason {
            Reason::Ended => dumpcap.ended().await,
            Reason::Stopped => dumpcap.finish_capture(drain::WRITER).await,
            Reason::DiskFull => dumpcap.finish(drain::WRITER).await,
        };
        let clean = was_stopped(ended.exit);
        self.take_closed(&folder, &mut taken, Some(!clean)).await;
        let statistics = supervisor.ended(&ended, reason != Reason::Ended)?;
        if reason == Reason::DiskFull {
            supervisor.failed(ErrorType::SegmentDiskFull, "the segments' disk is full");
        }
        self.backlog.push(Item::End(statistics.captured));
        Ok(reason)
    }

    async fn follow(
        &self,
        dumpcap: &mut Child,
        folder: &Path,
        taken: &mut u64,
        supervisor: &mut Supervisor,
        stop: &CancellationToken,
    ) -> Reason {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut times = Times::new();
        loop {
            tokio::select! {
                _ = dumpcap.ended() => return Reason::Ended,
                () = stop.cancelled() => return Reason::Stopped,
                _ = look.tick() => {}
            }
            if let Some(open) = self.take_closed(folder, taken, None).await {
                supervisor.captures();
                if let Some(time) = times.look(open, Clock::Wall.now(None)) {
                    self.backlog.push(Item::Reached(time));
                }
                while self.backlog.bytes() + open.bytes > self.config.segment.disk_budget_bytes
                    || self.is_full().await
                {
                    if !self.shed_newest().await {
                        break;
                    }
                }
                if self.is_full().await {
                    return Reason::DiskFull;
                }
            }
        }
    }

    /// Whether what is written until the next look might not fit on the disk.
    async fn is_full(&self) -> bool {
        let folder = self.folder.clone();
        let space = task::blocking(move || space(&folder)).await;
        space.map_err(io::Error::other).flatten().is_ok_and(|space| {
            // A small disk is used up to three quarters rather than not at all.
            space.free < self.config.segment.max_bytes.min(space.total / 4)
        })
    }

    /// Appends the segments that were closed since. While dumpcap runs (`ended` is `None`) the last one
    /// is open, and is returned.
    async fn take_closed(
        &self,
        folder: &Path,
        taken: &mut u64,
        ended: Option<bool>,
    ) -> Option<Open> {
        let (path, after) = (folder.to_owned(), *taken);
        let listed = task::blocking(move || list(&path, after)).await;
        let mut segments = match listed.map_err(io::Error::other).flatten() {
            Ok(segments) => segments,
            Err(error) => {
                self.meter.count(ERRORS, ErrorType::SegmentUnreadable, 1);
                tracing::error!(folder = %folder.display(), %error, "segments can't be listed");
                return None;
            }
        };
        let open = match ended {
            None => Some(segments.pop()?),
            Some(_) => None,
        };
        let count = segments.len();
        for (place, (number, mut segment)) in segments.into_iter().enumerate() {
            *taken = number;
            segment.may_be_cut = ended == Some(true) && place + 1 == count;
            if segment.bytes <= pcap::HEADER_BYTES as u64 {
                remove(&segment.path).await;
            } else {
                self.backlog.push(Item::Segment(segment));
            }
        }
        open.map(|(number, segment)| Open { number, bytes: segment.bytes })
    }

    /// Gives up the newest segment that waits, and counts its packets; `false` if none waits.
    async fn shed_newest(&self) -> bool {
        let Some(segment) = self.backlog.newest() else {
            return false;
        };
        let path = segment.path.clone();
        let packets = task::blocking(move || pcap::count_packets(&path));
        let packets = packets.await.map_err(io::Error::other).flatten();
        let packets = packets.unwrap_or_default();
        if self.backlog.shed(&segment, packets) {
            self.meter.count(ERRORS, ErrorType::SegmentShed, 1);
            self.meter.count(CAPTURE_LOST, LossCause::DiskBudget, packets);
            tracing::error!(
                packets,
                bytes = segment.bytes,
                "segments wait in vain and take too much disk: the newest was shed"
            );
            remove(&segment.path).await;
        }
        true
    }
}

// === impl Times ===

impl Times {
    fn new() -> Self {
        Self { silence: Silence::new(), noted: None }
    }

    /// This segment is open `now`. The time that is reached once what was closed before is read: a silence
    /// while another was open is told when that is closed; one that came before the first packet of a
    /// segment, at once.
    fn look(&mut self, open: Open, now: Timestamp) -> Option<Timestamp> {
        let reached = self.silence.look(Some(open), now);
        if open.bytes <= pcap::HEADER_BYTES as u64 && reached.is_some() {
            self.noted = None;
            return reached;
        }
        let closed = self.noted.take_if(|(number, _)| *number != open.number);
        if let Some(time) = reached {
            self.noted = Some((open.number, time));
        }
        closed.map(|(_, time)| time)
    }
}

/// Deletes a segment.
pub(in crate::sources::tshark) async fn remove(path: &Path) {
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(segment = %path.display(), %error, "a segment could not be deleted");
    }
}

/// The segments that dumpcap began after number `after`, in their order:
/// `segment_00001_20260101120000.pcap`. Those with the lower numbers before it may lie there too.
fn list(folder: &Path, after: u64) -> io::Result<Vec<(u64, Segment)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let number = number(&entry.path());
        let Some(number) = number.filter(|number| is_after(*number, after)) else {
            continue;
        };
        // It may be read and deleted meanwhile.
        let Ok(meta) = entry.metadata() else {
            continue;
        };
        let segment = Segment { path: entry.path(), bytes: meta.len(), may_be_cut: false };
        segments.push((number, segment));
    }
    segments.sort_by_key(|(number, _)| distance(*number, after));
    Ok(segments)
}

/// The number in a segment's name.
pub(super) fn number(segment: &Path) -> Option<u64> {
    let number = segment.file_name()?.to_str()?.split('_').nth(1)?.parse().ok()?;
    (number < SEGMENT_NUMBERS).then_some(number)
}

fn is_after(number: u64, after: u64) -> bool {
    number < SEGMENT_NUMBERS && (1..=NEW_SEGMENTS).contains(&distance(number, after))
}

/// How many segments after `after` the one with this number was begun.
fn distance(number: u64, after: u64) -> u64 {
    (number + SEGMENT_NUMBERS - after) % SEGMENT_NUMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_on_in_their_order_when_the_numbers_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        for number in ["00000", "99998", "00001", "99999"] {
            fs::write(folder.path().join(format!("segment_{number}_20260101.pcap")), "").unwrap();
        }
        for (after, expected) in
            [(99_997, vec![99_998, 99_999, 0, 1]), (99_999, vec![0, 1]), (0, vec![1]), (1, vec![])]
        {
            let segments = list(folder.path(), after).unwrap();
            let numbers: Vec<_> = segments.into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, expected, "after {after}");
        }
    }

    #[test]
    fn time_is_told_when_what_was_captured_before_can_be_read() {
        let mut times = Times::new();
        let second = |second: i64| Timestamp::from_nanos(second * 1_000_000_000);
        let mut look = |number, bytes, at| {
            let time = times.look(Open { number, bytes }, second(at));
            time.map(|time| time.nanos() / 500_000_000)
        };
        // Nothing captured: at once, half a second back.
        assert_eq!(look(1, 24, 10), None);
        assert_eq!(look(1, 24, 11), Some(21));
        // With packets in the segment that is open only once it is closed.
        for at in 12..15 {
            assert_eq!(look(1, 100, at), None);
        }
        assert_eq!(look(2, 100, 15), Some(27));
        // Written to at each look: there is no silence, and packets say what time it is.
        for at in 16..20 {
            assert_eq!(look(2, u64::try_from(at).unwrap() * 100, at), None);
        }
        assert_eq!(look(3, 0, 20), None);
        assert_eq!(look(3, 0, 21), Some(41));
    }

    #[test]
    fn segments_that_wait_are_not_taken_for_new_ones() {
        let waiting = [0, 1, 49_999, 99_999];
        assert!(waiting.iter().all(|number| !is_after(*number, 89_998) && !is_after(*number, 1)));
        assert!(!is_after(u64::MAX, 1));
    }
}
