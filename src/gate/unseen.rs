//! Changes of verdicts as records: so that each is explained where records go, whoever made it, and those too
//! that were made while the daemon was dead.
//!
//! Data passes: the verdict log, behind the place that the last record stands for → [`Logged`] → an alert, which
//! the source hands on; then the place is written (`DATA_DIR/verdicts-SOURCE.told`). A crash between the two
//! makes a record twice, with the same id.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::log::{Change, Logged, Place, VerdictLog};
use crate::{
    record::{Action, Alert, Details, Names, ObservationPoint, VerdictDetails},
    verdict::{self, By, Mode},
};

/// Lines that are read at once.
const MOST: usize = 1_024;

/// A reader of the log that remembers what it has told.
#[derive(Debug)]
pub struct Unseen {
    log: VerdictLog,
    source: Box<str>,
    file: PathBuf,
    /// `None` until the log could be read.
    told: Option<Place>,
    read: Option<Place>,
}

// === impl Unseen ===

impl Unseen {
    /// That of `source`. What the log held before anybody told of it stays untold.
    pub fn open(log: &VerdictLog, data_dir: &Path, source: &str) -> Self {
        let file = data_dir.join(format!("verdicts-{source}.told"));
        let remembered = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let told = remembered.or_else(|| log.end().ok());
        Self { log: log.clone(), source: source.into(), file, told, read: told }
    }

    /// The changes that were not told yet, some of them if there are many. Waits for the disk.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn read(&mut self) -> io::Result<Vec<Logged>> {
        let Some(told) = self.told else {
            self.told = Some(self.log.end()?);
            return Ok(Vec::new());
        };
        let (found, end) = self.log.behind(told, &self.source, MOST)?;
        self.read = Some(end);
        Ok(found)
    }

    /// What was read last is told. Waits for the disk.
    ///
    /// # Errors
    /// If that can't be written down: after a restart it is told again.
    pub fn told(&mut self) -> io::Result<()> {
        let Some(read) = self.read else { return Ok(()) };
        if self.told == self.read && self.file.exists() {
            return Ok(());
        }
        self.told = self.read;
        let fresh = self.file.with_extension("told.new");
        fs::write(&fresh, serde_json::to_vec(&read)?)?;
        fs::rename(&fresh, &self.file)
    }

    /// Leaves out what is there: nobody wants to know.
    ///
    /// # Errors
    /// As for [`told`](Self::told).
    pub fn skip(&mut self) -> io::Result<()> {
        self.read = Some(self.log.end()?);
        self.told()
    }
}

/// The record of a change; `None` for what the judge tells itself: verdicts that it applied.
pub fn alert(logged: &Logged, origin: ObservationPoint, config_hash: &Arc<str>) -> Option<Alert> {
    let Logged { change, at, user, entry, source: _ } = logged;
    let verdict = &entry.verdict;
    if *change == Change::Applied && verdict.by == By::Score {
        return None;
    }
    let is_in_force = *change == Change::Applied && entry.mode == Mode::Enforce;
    let mut reasons = vec![sentence(logged).into_boxed_str()];
    reasons.extend(verdict.reasons.iter().cloned());
    reasons.extend(user.as_ref().map(|user| format!("it was changed by {user}").into_boxed_str()));
    Some(Alert {
        time: *at,
        origin,
        source: verdict.network.addr(),
        action: match (change, entry.mode, verdict.action) {
            (Change::Expired, ..) => Action::Expire,
            (Change::Removed | Change::Allowed, ..) => Action::Unblock,
            (Change::Applied, Mode::Observe, _) => Action::WouldBlock,
            (Change::Applied, Mode::Enforce, verdict::Action::Drop) => Action::Block,
            (Change::Applied, Mode::Enforce, verdict::Action::RateLimit) => Action::RateLimit,
        },
        risk_score: verdict.score,
        reasons,
        // So that two networks that begin with the same address have two ids.
        ordinal: u32::from(verdict.network.prefix_len()),
        names: Names::default(),
        details: Box::new(Details {
            is_in_force,
            verdict: Some(VerdictDetails {
                id: verdict.id,
                ttl_secs: verdict.ttl.map_or(0, |ttl| ttl.as_secs()),
                offence: verdict.offence,
                path_proven: false,
                port: verdict.port,
            }),
            config_hash: Arc::clone(config_hash),
            ..Details::default()
        }),
    })
}

/// What happened, with the numbers that one needs to judge it.
fn sentence(logged: &Logged) -> String {
    let entry = &logged.entry;
    let (network, by) = (entry.verdict.network, entry.verdict.by);
    let who = match by {
        By::Score => "the judge",
        By::Guard => "the guard",
        By::Cli => "a person",
        By::List => "a list",
    };
    let what = match entry.verdict.action {
        verdict::Action::Drop => "dropped",
        verdict::Action::RateLimit => "limited",
    };
    let counted = match entry.mode {
        Mode::Enforce => format!("dropped {} packets, {} bytes", entry.packets, entry.bytes),
        Mode::Observe => {
            format!("would have dropped {} packets, {} bytes", entry.packets, entry.bytes)
        }
    };
    let ended = match logged.change {
        Change::Applied => {
            let time = entry.verdict.ttl.map_or("until it is taken back".to_owned(), |ttl| {
                format!("for {} s", ttl.as_secs())
            });
            let is = if entry.mode == Mode::Enforce { "are" } else { "would be" };
            return format!("packets of {network} {is} {what} {time}, decided by {who}");
        }
        Change::Expired => "has reached its time",
        Change::Removed => "was taken back",
        Change::Allowed => "was lifted, for the allow list covers it now",
    };
    format!("the verdict of {who} on {network} {ended}; it {counted}")
}
