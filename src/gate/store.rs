//! The store: what holds, what has ended, and what is refused.

mod adopt;

use std::{
    fmt::Debug,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::sync::watch;
use tracing::warn;

pub use self::adopt::Occasion;
use super::{
    Held, Kernel, MapError, Protected, Spared,
    log::{self, Change, VerdictLog},
};
use crate::{
    metrics::XdpOutcome,
    networks::Networks,
    record::Timestamp,
    verdict::{
        Action, Answer, By, Entries, Entry, Mode, Refusal, Scope, Store, Verdict, Why, networks_of,
    },
};

/// Lines of the log that may wait to be written; further ones are counted as missing.
const MAX_LINES: usize = 65_536;

/// What a gate does with verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether they have effect.
    pub mode: Mode,
    /// Of how many sources in a hundred, with [`Mode::Enforce`].
    pub percent: u8,
    /// How many there may be.
    pub max: usize,
}

/// Verdicts in the kernel.
#[derive(Debug)]
pub struct GateStore {
    source: Box<str>,
    policy: Policy,
    /// Who acts, if it is a person.
    user: Option<Box<str>>,
    state: Mutex<State>,
    last: OnceLock<Last>,
}

/// What is still to be done when the source has ended and those that give verdicts have not.
#[derive(Debug)]
pub struct Last {
    /// Gets the lines of their verdicts, when the last of them has gone.
    pub log: VerdictLog,
    /// Goes on until then.
    pub alive: Box<dyn Debug + Send + Sync>,
}

#[derive(Debug)]
struct State {
    kernel: Box<dyn Kernel>,
    networks: watch::Receiver<Arc<Networks>>,
    protected: Protected,
    entries: Entries,
    /// What the verdict that was put in force last is about.
    newest: Option<IpNet>,
    lines: Vec<String>,
    lines_missing: u64,
}

// === impl GateStore ===

impl GateStore {
    /// The store of the gate of `source`, over its maps. With a `user` it acts for a person beside the
    /// daemon.
    pub fn new(
        source: &str,
        kernel: Box<dyn Kernel>,
        policy: Policy,
        networks: watch::Receiver<Arc<Networks>>,
        user: Option<&str>,
    ) -> Self {
        let state = State {
            kernel,
            networks,
            protected: Protected::default(),
            entries: Entries::default(),
            newest: None,
            lines: Vec::new(),
            lines_missing: 0,
        };
        let (user, state) = (user.map(Into::into), Mutex::new(state));
        Self { source: source.into(), policy, user, state, last: OnceLock::new() }
    }

    /// The source ends here.
    pub fn leave(&self, last: Last) {
        self.last.set(last).unwrap_or_default();
    }

    /// Sets whom no verdict may cut off, and lifts what holds against them; the kernel's allow list then
    /// has them and the networks of the config.
    ///
    /// # Errors
    /// If the allow list can't be written.
    pub fn protect(&self, protected: Protected, now: Timestamp) -> Result<(), MapError> {
        let mut state = self.locked();
        state.protected = protected;
        let written = state.write_allowed();
        self.lift(&mut state, now);
        written
    }

    /// Sets whom no verdict may cut off, for one command: the kernel's allow list is the daemon's to write.
    pub fn respect(&self, protected: Protected) {
        self.locked().protected = protected;
    }

    /// Whom no verdict cuts off, with the reasons.
    pub fn spared(&self) -> Spared {
        let state = self.locked();
        let networks = Arc::clone(&state.networks.borrow());
        Spared::of(&state.protected, &networks)
    }

    /// Ends what is due, and lifts what the allow list covers since it was read again. Whether it was.
    ///
    /// # Errors
    /// If the allow list can't be written: it is tried again the next time.
    pub fn tend(&self, now: Timestamp) -> Result<bool, MapError> {
        let mut state = self.locked();
        self.expire(&mut state, now);
        if !state.networks.has_changed().unwrap_or(false) {
            return Ok(false);
        }
        let written = state.write_allowed();
        self.lift(&mut state, now);
        written.map(|()| true)
    }

    /// The daemon is to look through its maps again: said when what a person changed is in the log, so that it
    /// finds the reasons there.
    ///
    /// # Errors
    /// If that can't be written.
    pub fn announce(&self) -> Result<(), MapError> {
        self.locked().kernel.changed()
    }

    /// The verdict that was put in force last, also if it has ended since; `None` if it is not remembered.
    pub fn newest(&self) -> Option<Entry> {
        let mut state = self.locked();
        let network = state.newest?;
        state.recount(network);
        state.entries.about(network).cloned()
    }

    /// Puts a verdict of the guard in force, that has met `packets` and `bytes` already. One of anybody else about
    /// the same network stays, and so does one of the guard that is no milder: then there is no answer.
    pub fn hold(
        &self,
        verdict: Verdict,
        (packets, bytes): (u64, u64),
        now: Timestamp,
    ) -> Option<Answer> {
        let mut state = self.locked();
        self.expire(&mut state, now);
        // The command line's are not among the entries before the next beat.
        if let Ok(Some(other)) = state.kernel.get(verdict.network.trunc()) {
            let is_over = other.deadline().is_some_and(|end| end <= now);
            let is_milder = other.by == By::Guard
                && (other.action, verdict.action) == (Action::RateLimit, Action::Drop);
            if !is_over && !is_milder {
                return None;
            }
        }
        Some(self.put(&mut state, verdict, (packets, bytes), now))
    }

    /// How often verdicts were changed beside the daemon.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn changes(&self) -> Result<u64, MapError> {
        self.locked().kernel.changes()
    }

    /// Packets by what became of them, since the maps were made.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn counts(&self) -> Result<Vec<(XdpOutcome, u64)>, MapError> {
        self.locked().kernel.counts()
    }

    /// How many verdicts hold.
    pub fn len(&self) -> usize {
        self.locked().entries.len()
    }

    /// Whether none holds.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines that the log has yet to get, and how many of them there was no room for.
    pub fn take_lines(&self) -> (Vec<String>, u64) {
        let mut state = self.locked();
        let missing = std::mem::take(&mut state.lines_missing);
        (std::mem::take(&mut state.lines), missing)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether verdicts on this network have effect. What a person or a list says does so as a whole;
    /// of the scorer's, those on a stable share of sources.
    fn mode(&self, verdict: &Verdict) -> Mode {
        let told = matches!(verdict.by, By::Cli | By::List);
        if self.policy.mode == Mode::Observe || told || self.policy.percent >= 100 {
            return self.policy.mode;
        }
        // The program can't tell who has a share in it.
        if verdict.by == By::Guard {
            return Mode::Observe;
        }
        let hash = blake3::hash(verdict.network.addr().to_string().as_bytes());
        let place = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]) % 100;
        if place < self.policy.percent.into() { Mode::Enforce } else { Mode::Observe }
    }

    /// Ends what is due. A person's command leaves that to the daemon, and to the kernel, which looks at
    /// the time itself.
    fn expire(&self, state: &mut State, now: Timestamp) {
        if self.user.is_some() {
            return;
        }
        while let Some((at, network)) = state.entries.due(now) {
            self.end(state, network, at, Why::Expired);
        }
    }

    /// How many verdicts hold. A person's command finds some that are over, too.
    fn in_use(&self, state: &State, now: Timestamp) -> usize {
        let is_over = |entry: &&Entry| entry.deadline().is_some_and(|end| end <= now);
        let over =
            if self.user.is_some() { state.entries.live().filter(is_over).count() } else { 0 };
        state.entries.len() - over
    }

    fn lift(&self, state: &mut State, now: Timestamp) {
        let live = state.entries.live().map(|entry| entry.verdict.network);
        let lifted: Vec<_> = live.filter(|network| state.refusal(*network).is_some()).collect();
        for network in lifted {
            self.end(state, network, now, Why::Allowed);
        }
    }

    /// Ends a verdict, in the kernel too, with the counts it has there.
    fn end(&self, state: &mut State, network: IpNet, at: Timestamp, why: Why) -> Option<Entry> {
        state.recount(network);
        let entry = state.entries.take(network)?.ended(at, why);
        if let Err(error) = state.kernel.remove(network) {
            // It ends by its deadline, if it has one.
            tracing::error!(%network, %error, "a verdict that has ended could not be removed");
        }
        let change = match why {
            Why::Expired => Change::Expired,
            Why::Removed => Change::Removed,
            Why::Allowed => Change::Allowed,
        };
        self.write(state, change, &entry, at);
        state.entries.remember(entry.clone());
        Some(entry)
    }

    /// Puts a verdict in force that has `met` packets and bytes already, beside those of the one in whose place it
    /// comes.
    fn put(&self, state: &mut State, verdict: Verdict, met: (u64, u64), now: Timestamp) -> Answer {
        let network = verdict.network.trunc();
        if let Some(refusal) = state.refusal(network) {
            return Answer::Refused(refusal);
        }
        state.recount(network);
        if let Some(refusal) = state.stands_against(&verdict, now) {
            return Answer::Refused(refusal);
        }
        let before = state.entries.get(network);
        // A person's command may find one that is over, and that the daemon has yet to end.
        let before = before.filter(|entry| entry.deadline().is_none_or(|end| end > now));
        let before = before.map(|entry| (entry.packets, entry.bytes));
        if before.is_none() && self.in_use(state, now) >= self.policy.max {
            return Answer::Refused(Refusal::Full { max: self.policy.max });
        }
        let mode = self.mode(&verdict);
        let ends_in = verdict.ttl;
        let mut entry = Entry::new(Verdict { network, ..verdict }, mode, now);
        let (packets, bytes) = before.unwrap_or_default();
        (entry.packets, entry.bytes) = (met.0 + packets, met.1 + bytes);
        if let Err(error) = state.put_in_kernel(network, &Held::of(&entry), ends_in) {
            return Answer::Refused(match error {
                MapError::Full => Refusal::Full { max: state.entries.len() },
                error => Refusal::Failed(error.to_string()),
            });
        }
        self.write(state, Change::Applied, &entry, now);
        state.newest = Some(network);
        state.entries.put(entry);
        Answer::Applied(mode)
    }

    fn write(&self, state: &mut State, change: Change, entry: &Entry, now: Timestamp) {
        if state.lines.len() >= MAX_LINES {
            state.lines_missing += 1;
            return;
        }
        state.lines.push(log::line(change, &self.source, entry, self.user.as_deref(), now));
    }
}

impl Store for GateStore {
    fn apply(&self, verdict: Verdict, now: Timestamp) -> Answer {
        let mut state = self.locked();
        self.expire(&mut state, now);
        self.put(&mut state, verdict, (0, 0), now)
    }

    fn remove(&self, network: IpNet, now: Timestamp) -> Option<Entry> {
        let mut state = self.locked();
        self.expire(&mut state, now);
        self.end(&mut state, network.trunc(), now, Why::Removed)
    }

    fn list(&self, now: Timestamp) -> Vec<Entry> {
        let mut state = self.locked();
        self.expire(&mut state, now);
        state.recount_all();
        let holds = |entry: &&Entry| entry.deadline().is_none_or(|end| end > now);
        state.entries.live().filter(holds).cloned().collect()
    }

    fn explain(&self, address: IpAddr, now: Timestamp) -> Vec<Entry> {
        let mut state = self.locked();
        self.expire(&mut state, now);
        networks_of(address)
            .filter_map(|network| {
                state.recount(network);
                state.entries.about(network).cloned()
            })
            .collect()
    }
}

// === impl State ===

impl State {
    /// The kernel's allow list becomes what is never blocked. What was written in part is tried again.
    fn write_allowed(&mut self) -> Result<(), MapError> {
        let networks = Arc::clone(&self.networks.borrow_and_update());
        let written = self.kernel.allow(&self.protected.and(&networks));
        written.inspect_err(|_| self.networks.mark_changed())
    }

    /// A verdict of a person or a list, in whose place none of the judge's comes that would let something of it
    /// through, at once or when it ends. Of the command line's the kernel knows before the entries do.
    fn stands_against(&mut self, verdict: &Verdict, now: Timestamp) -> Option<Refusal> {
        if verdict.by != By::Score {
            return None;
        }
        let standing = self.kernel.get(verdict.network.trunc()).ok().flatten()?;
        let ends = standing.deadline();
        let is_over = ends.is_some_and(|end| end <= now);
        let by = match standing.by {
            By::Cli => "a person",
            By::List => "a list",
            By::Score | By::Guard => return None,
        };
        let lasts = verdict
            .ttl
            .map(|ttl| now.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)));
        let is_as_long = lasts.is_none_or(|lasts| ends.is_some_and(|end| lasts >= end));
        let is_as_strict = (verdict.action == Action::Drop || standing.action == Action::RateLimit)
            && (verdict.scope == Scope::All || standing.scope == Scope::New)
            && (verdict.port.is_none() || verdict.port == standing.port);
        let gives_way = is_over || is_as_long && is_as_strict;
        (!gives_way).then_some(Refusal::Stands { network: verdict.network, by })
    }

    fn refusal(&self, network: IpNet) -> Option<Refusal> {
        self.protected.refusal(network, &self.networks.borrow())
    }

    /// Once more if the program was at the same place at this moment.
    fn put_in_kernel(
        &mut self,
        network: IpNet,
        held: &Held,
        ends_in: Option<Duration>,
    ) -> Result<(), MapError> {
        match self.kernel.put(network, held, ends_in) {
            Err(MapError::Busy) => self.kernel.put(network, held, ends_in),
            put => put,
        }
    }

    /// The counts that the kernel has of a verdict.
    fn recount(&mut self, network: IpNet) {
        let Some(entry) = self.entries.get_mut(network) else { return };
        if let Ok(Some(held)) = self.kernel.get(network) {
            (entry.packets, entry.bytes) = (held.packets, held.bytes);
        }
    }

    fn recount_all(&mut self) {
        let Ok(all) = self.kernel.all() else { return };
        for (network, held) in all {
            if let Some(entry) = self.entries.get_mut(network) {
                (entry.packets, entry.bytes) = (held.packets, held.bytes);
            }
        }
    }
}

impl Drop for GateStore {
    fn drop(&mut self) {
        let Some(Last { log, .. }) = self.last.take() else { return };
        let (lines, _) = self.take_lines();
        if let Err(error) = log.append(&lines) {
            warn!(%error, path = %log.path().display(), lines = lines.len(), "the last verdicts are not in their log");
        }
    }
}
