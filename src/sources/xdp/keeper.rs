//! What the gate looks after each second beside its program: verdicts that end, the host's addresses, lists, counts and
//! the verdict log.

use std::{collections::BTreeMap, io, sync::Arc};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Config, Role, kept::Kept, lists::BlockLists, records::LogReader};
use crate::{
    component::Context,
    gate::{GateStore, MapError, Occasion, Protected, Spared, evidence::View, log::VerdictLog},
    host::{Changes, Facts, Sessions, has_nat},
    metrics::{ERRORS, ErrorType, Holding, Label, Meter, XDP_PACKETS, XDP_VERDICTS},
    record::Timestamp,
};

/// Beats from look to look at sessions.
const SELDOM: u64 = 10;
/// Lines that wait for a disk that takes none.
const MAX_WAITING: usize = 65_536;

/// What is looked after at each beat; it goes to a thread that may wait, and comes back.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<GateStore>,
    log: VerdictLog,
    pub(super) meter: Arc<Meter>,
    source: String,
    pub(super) facts: Facts,
    changes: Option<Changes>,
    sessions: Sessions,
    /// Who manages this host, for the next start.
    remembered: Kept,
    /// Whom no verdict cuts off, for the command line.
    spared: Kept,
    admin_ports: Vec<u16>,
    /// Packets that were counted so far, by their outcome.
    counted: BTreeMap<&'static str, u64>,
    changed: u64,
    lists: BlockLists,
    /// They were read, and are to be followed.
    follows: bool,
    /// Lines that the disk did not take.
    lines: Vec<String>,
    /// While it takes none.
    unlogged: Option<Holding>,
    pub(super) reader: LogReader,
    beats: u64,
    /// What is known of this host to whoever reads the program's events.
    pub(super) view: watch::Sender<View>,
    is_mirror: bool,
    /// While the maps can't be used.
    failing: bool,
}

// === impl Keeper ===

impl Keeper {
    /// Before the program is attached: what it counts from then on is this run's. What of this host is known already is
    /// `facts`.
    pub(super) fn new(
        config: &Config,
        context: &Context,
        store: &Arc<GateStore>,
        log: &VerdictLog,
        (facts, sessions): (Facts, Sessions),
        lists: BlockLists,
    ) -> Self {
        let changes = Changes::listen();
        let changes = changes.inspect_err(|error| {
            warn!(%error, "changes of addresses and routes are not followed");
        });
        let before = store.counts().unwrap_or_default().into_iter();
        let source = context.meter.id();
        let spared = Spared::path(&context.data_dir, source);
        let remembered = Sessions::path(&context.data_dir, source);
        let mut keeper = Self {
            store: Arc::clone(store),
            log: log.clone(),
            meter: Arc::clone(&context.meter),
            source: source.to_owned(),
            facts,
            changes: changes.ok(),
            sessions,
            remembered: Kept::new(remembered, "a restart forgets the sessions of administrators"),
            spared: Kept::new(spared, "`tidegate verdicts` may take verdicts that the gate lifts"),
            admin_ports: context.networks.borrow().admin_ports.clone(),
            counted: before.map(|(outcome, packets)| (outcome.name(), packets)).collect(),
            changed: store.changes().unwrap_or(0),
            lists,
            follows: false,
            lines: Vec::new(),
            unlogged: None,
            reader: LogReader::new(context, log, &config.interface),
            beats: 0,
            view: watch::channel(View::default()).0,
            is_mirror: config.role == Role::Mirror,
            failing: false,
        };
        keeper.tell_whom_it_spares();
        keeper
    }

    /// Writes down whom no verdict cuts off.
    fn tell_whom_it_spares(&mut self) {
        self.spared.keep(&self.store.spared().bytes(), &self.meter);
    }

    /// One beat. Waits for the disk.
    pub(super) fn beat(&mut self, now: Timestamp, lists: bool) {
        if let Err(error) = self.tend(now, lists) {
            self.meter.count(ERRORS, ErrorType::GateMap, 1);
            if !std::mem::replace(&mut self.failing, true) {
                error!(%error, "the gate's maps can't be used; tried again each second");
            }
        } else if std::mem::take(&mut self.failing) {
            warn!("the gate's maps can be used again");
        }
        self.write();
        self.beats += 1;
    }

    fn tend(&mut self, now: Timestamp, lists: bool) -> Result<(), MapError> {
        if lists {
            self.lists.read();
            self.follows = true;
        }
        self.count()?;
        let changed = self.store.changes()?;
        if changed != self.changed {
            self.changed = changed;
            let logged = self.log.read(&self.source).unwrap_or_else(|error| {
                warn!(%error, "the verdict log can't be read: verdicts of the command line have no reasons");
                Vec::new()
            });
            let (verdicts, _) = self.store.adopt(logged, Occasion::Change, now)?;
            info!(verdicts, "verdicts were changed by the command line");
        }
        let moved = self.changes.as_ref().is_some_and(Changes::any);
        let mut facts = if moved {
            Facts { administrators: self.facts.administrators.clone(), ..Facts::read() }
        } else {
            self.facts.clone()
        };
        if self.beats.is_multiple_of(SELDOM) {
            facts.administrators = self.sessions.look(&self.admin_ports, now);
            self.remembered.keep(&self.sessions.remembered(), &self.meter);
            facts.resolvers = Facts::resolvers();
        }
        if self.beats.is_multiple_of(SELDOM) || facts.addresses != self.facts.addresses {
            self.look_at_host(&facts);
        }
        let is_other = facts != self.facts;
        if is_other {
            self.store.protect(Protected::of(&facts), now)?;
            self.facts = facts;
        }
        let are_other = self.store.tend(now)?;
        if is_other || are_other || self.spared.is_late() {
            self.tell_whom_it_spares();
        }
        // What was refused for what was allowed then may be blocked now.
        if std::mem::take(&mut self.follows) || is_other || are_other {
            self.lists.follow(&self.store, now);
        }
        Ok(())
    }

    /// Tells whoever reads the program's events what is known of this host. Where it can't be known whether
    /// addresses are rewritten, they may be.
    fn look_at_host(&self, facts: &Facts) {
        let sockets_decide = !self.is_mirror && has_nat().is_ok_and(|has| !has);
        let view = View { addresses: facts.addresses.clone(), sockets_decide };
        self.view.send_if_modified(|before| {
            let is_new = *before != view;
            *before = view;
            is_new
        });
    }

    /// What became of packets since the last beat.
    fn count(&mut self) -> Result<(), MapError> {
        for (outcome, packets) in self.store.counts()? {
            let before = self.counted.insert(outcome.name(), packets).unwrap_or(packets);
            self.meter.count(XDP_PACKETS, outcome, packets.saturating_sub(before));
        }
        self.meter.set(XDP_VERDICTS, self.store.len());
        Ok(())
    }

    /// Writes what the log has yet to get.
    fn write(&mut self) {
        let (lines, missing) = self.store.take_lines();
        self.lines.extend(lines);
        match self.log.append(&self.lines) {
            Ok(()) if self.lines.is_empty() => {}
            Ok(()) => {
                self.lines.clear();
                if self.unlogged.take().is_some() {
                    warn!("the verdict log can be written again");
                }
            }
            Err(error) => self.is_unlogged(&error),
        }
        self.meter.count(ERRORS, ErrorType::VerdictLog, missing);
    }

    /// The source is not well while lines wait, which are tried again: as many as there is room for.
    fn is_unlogged(&mut self, error: &io::Error) {
        self.meter.count(ERRORS, ErrorType::VerdictLog, 1);
        if self.unlogged.is_none() {
            let why =
                format!("the verdict log {} can't be written: {error}", self.log.path().display());
            self.meter.failed(&why);
            error!("{why}; tried again each second");
            self.unlogged = Some(self.meter.holding());
        }
        let excess = self.lines.len().saturating_sub(MAX_WAITING);
        self.lines.drain(..excess);
        self.meter.count(ERRORS, ErrorType::VerdictLog, excess as u64);
    }

    /// The last lines, and the last counts.
    pub(super) fn finish(&mut self) {
        if let Err(error) = self.count() {
            warn!(%error, "the last packets were not counted");
        }
        self.write();
    }

    /// Its log, for those that give verdicts after it.
    pub(super) fn into_log(self) -> VerdictLog {
        self.log
    }
}
