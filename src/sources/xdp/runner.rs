//! The gate while it runs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tidegate_ebpf::{Attached, Evidence, Gate, Mode as Attachment, pins::Pins};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    CONTACTS, Config, FirewallMode, Role,
    contacts::Contacts,
    gate::{explained, wanted},
    lists,
};
use crate::{
    component::{Configure, Context, Error, Outputs, Source},
    gate::{
        GateStore, MapError, Protected,
        evidence::{Teller, View},
        log::VerdictLog,
    },
    host::{Changes, Facts, Sessions, has_nat},
    metrics::{ERRORS, ErrorType, Holding, Label, Meter, XDP_PACKETS, XDP_VERDICTS},
    record::{Interface, ObservationPoint, Timestamp},
    task,
    verdict::Mode,
};

/// How often the daemon says that it lives, and looks after everything else.
const BEAT: Duration = Duration::from_secs(1);
/// Beats from look to look at sessions, and at whether the program is still attached.
const SELDOM: u64 = 10;

/// The source of one config.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) config: Config,
    pub(super) interface: u32,
    pub(super) gate: Gate,
    /// What it tells, if anybody reads it.
    pub(super) evidence: Option<Evidence>,
    pub(super) pins: Pins,
    pub(super) store: Arc<GateStore>,
    pub(super) log: VerdictLog,
    pub(super) facts: Facts,
    pub(super) context: Context,
}

/// What is looked after at each beat; it goes to a thread that may wait, and comes back.
#[derive(Debug)]
struct Keeper {
    store: Arc<GateStore>,
    log: VerdictLog,
    meter: Arc<Meter>,
    source: String,
    facts: Facts,
    changes: Option<Changes>,
    sessions: Sessions,
    admin_ports: Vec<u16>,
    counted: BTreeMap<&'static str, u64>,
    changed: u64,
    block_files: Vec<PathBuf>,
    /// Lines that the disk did not take.
    lines: Vec<String>,
    beats: u64,
    /// What is known of this host to whoever reads the program's events.
    view: watch::Sender<View>,
    is_mirror: bool,
    /// While the maps can't be used.
    failing: bool,
}

// === impl Runner ===

impl Source for Runner {
    async fn run(mut self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let wanted = wanted(self.config.attach);
        let attached = self.gate.attach(self.interface, wanted, self.config.persist);
        let attached = attached.map_err(|error| explained(error, &self.config))?;
        let mut contacts = None;
        let mut keeper = self.keeper();
        if let Some(evidence) = self.evidence.take() {
            contacts = Some(self.tell(evidence, keeper.view.subscribe(), out)?);
        }
        self.announce(attached);
        let mut reload = self.context.reload.clone();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut detached: Option<Holding> = None;
        loop {
            let mut lists = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = reload.changed() => lists = true,
                ended = closed(&mut contacts) => ended?,
                _ = beats.tick() => {}
            }
            let now = self.context.clock.now(None);
            let kept = task::blocking(move || {
                keeper.beat(now, lists);
                keeper
            });
            keeper = kept
                .await
                .map_err(|join| Error::failure("the gate's keeper ended").because(join))?;
            if keeper.beats.is_multiple_of(SELDOM) {
                detached = self.look(detached);
            }
            self.say(attached, detached.is_some());
        }
        keeper.finish();
        if let Some(contacts) = contacts {
            contacts.finish().await?;
        }
        if self.config.persist {
            info!(
                "the gate stays on {}: `tidegate gate detach` takes it off",
                self.config.interface
            );
        }
        Ok(())
    }
}

impl Runner {
    /// Begins to tell of contacts.
    fn tell(
        &mut self,
        evidence: Evidence,
        view: watch::Receiver<View>,
        out: Outputs,
    ) -> Result<Contacts, Error> {
        if self.config.sees_egress() {
            let attached = self.gate.attach_egress(&self.config.interface);
            attached.map_err(|error| explained(error, &self.config))?;
        }
        let interface = Interface::Named(self.config.interface.as_str().into());
        let origin = ObservationPoint::of(self.context.meter.id(), Some(interface));
        let sees_replies = self.config.sees_egress() || self.config.role == Role::Mirror;
        let port = self.config.signature().port(Some(CONTACTS));
        let port = port.ok_or_else(|| Error::failure("there is no port for contacts"))?;
        let teller = Teller::new(origin, sees_replies);
        Ok(Contacts::begin(Box::new(evidence), teller, view, self.context.clone(), (out, port)))
    }

    fn keeper(&self) -> Keeper {
        let changes = Changes::listen();
        let changes = changes.inspect_err(|error| {
            warn!(%error, "changes of addresses and routes are not followed");
        });
        Keeper {
            store: Arc::clone(&self.store),
            log: self.log.clone(),
            meter: Arc::clone(&self.context.meter),
            source: self.context.meter.id().to_owned(),
            facts: self.facts.clone(),
            changes: changes.ok(),
            sessions: Sessions::default(),
            admin_ports: self.context.networks.borrow().admin_ports.clone(),
            counted: BTreeMap::new(),
            changed: self.store.changes().unwrap_or(0),
            block_files: self.config.firewall.block_files.clone(),
            lines: Vec::new(),
            beats: 0,
            view: watch::channel(View::default()).0,
            is_mirror: self.config.role == Role::Mirror,
            failing: false,
        }
    }

    /// Says what the gate does, and whom it will never block.
    fn announce(&self, attached: Attached) {
        let list = |addresses: &[std::net::IpAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let networks = self.context.networks.borrow();
        let says = match self.config.firewall.mode {
            FirewallMode::Observe => "OBSERVES: nothing is dropped, what would be is counted",
            FirewallMode::Enforce => "ENFORCES: packets of blocked sources are dropped",
        };
        info!(
            interface = self.config.interface,
            attached = attachment(attached.mode),
            adopted = attached.adopted,
            verdicts = self.store.len(),
            "the gate {says}"
        );
        info!(
            addresses = list(&self.facts.addresses),
            gateways = list(&self.facts.gateways),
            resolvers = list(&self.facts.resolvers),
            allow_list = networks.allow.len(),
            destinations = networks.destinations.len(),
            "the gate never blocks"
        );
        if self.config.role == Role::Mirror {
            info!("the gate is on a mirror: it counts, and drops nothing");
        }
    }

    /// Whether the program is still where it was put.
    fn look(&self, before: Option<Holding>) -> Option<Holding> {
        match self.gate.is_attached(self.interface) {
            Ok(true) => None,
            other => {
                if before.is_none() {
                    self.context.meter.count(ERRORS, ErrorType::GateDetached, 1);
                    let pinned = self.pins.folder().display();
                    error!(
                        "the gate is no longer on {} ({other:?}; {pinned}): somebody took it off, or \
                         the interface is gone; start tidegate again to put it back",
                        self.config.interface
                    );
                }
                before.or_else(|| Some(self.context.meter.holding()))
            }
        }
    }

    /// Tells `/health` of the gate.
    fn say(&self, attached: Attached, detached: bool) {
        let mode = match self.config.firewall.mode.mode() {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        self.context.meter.say(json!({"gate": {
            "interface": self.config.interface,
            "mode": mode,
            "attached": if detached { "no" } else { attachment(attached.mode) },
            "program": if attached.frags { "tidegate_frags" } else { "tidegate" },
            "verdicts": self.store.len(),
            "capacity": self.config.firewall.max_blocks,
        }}));
    }
}

/// Waits until nobody takes contacts any more; for ever if none are told.
async fn closed(contacts: &mut Option<Contacts>) -> Result<(), Error> {
    match contacts {
        Some(contacts) => contacts.closed().await,
        None => std::future::pending().await,
    }
}

fn attachment(mode: Attachment) -> &'static str {
    match mode {
        Attachment::Native => "native",
        Attachment::Skb => "skb",
    }
}

// === impl Keeper ===

impl Keeper {
    /// One beat. Waits for the disk.
    fn beat(&mut self, now: Timestamp, lists: bool) {
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
        self.store.beat()?;
        self.count()?;
        let changed = self.store.changes()?;
        if changed != self.changed {
            self.changed = changed;
            let (verdicts, _) = self.store.adopt(self.log.read(&self.source), false, now)?;
            info!(verdicts, "verdicts were changed by the command line");
        }
        if lists {
            lists::follow(&self.store, &self.block_files, now);
        }
        let moved = self.changes.as_ref().is_some_and(Changes::any);
        let mut facts = if moved {
            Facts { administrators: self.facts.administrators.clone(), ..Facts::read() }
        } else {
            self.facts.clone()
        };
        if self.beats.is_multiple_of(SELDOM) {
            facts.administrators = self.sessions.look(&self.admin_ports, now);
        }
        if self.beats.is_multiple_of(SELDOM) || facts.addresses != self.facts.addresses {
            self.look_at_host(&facts);
        }
        if facts != self.facts {
            self.store.protect(Protected::of(&facts), now)?;
            self.facts = facts;
        }
        self.store.tend(now)
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
        let failed = match self.log.append(&self.lines) {
            Ok(()) => {
                self.lines.clear();
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            self.meter.count(ERRORS, ErrorType::VerdictLog, 1);
            warn!(%error, path = %self.log.path().display(), "the verdict log can't be written");
            // They are tried again, as many as there is room for.
            let excess = self.lines.len().saturating_sub(MAX_WAITING);
            self.lines.drain(..excess);
            self.meter.count(ERRORS, ErrorType::VerdictLog, excess as u64);
        }
        self.meter.count(ERRORS, ErrorType::VerdictLog, missing);
    }

    /// The last lines, and the last counts.
    fn finish(&mut self) {
        if let Err(error) = self.count() {
            warn!(%error, "the last packets were not counted");
        }
        self.write();
    }
}

/// Lines that wait for a disk that takes none.
const MAX_WAITING: usize = 65_536;
