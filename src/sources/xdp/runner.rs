//! The gate while it runs.

use std::{collections::BTreeMap, fs::File, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tidegate_ebpf::{
    Attached, Denials, Evidence, Flows as Maps, Gate, Mode as Attachment, Packets as Frames,
    pins::Pins,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    ALERTS, CONTACTS, Config, DENIED, FirewallMode, Role, contacts, denied, flows,
    gate::{explained, promiscuous, wanted},
    lists,
    packets::{self, Reader},
    records::{Desk, LogReader},
    reports::{Report, Reports},
};
use crate::{
    component::{Configure, Context, Error, Outputs, Port, Source},
    flow::{Policy, Timeouts, counted::Ledger, denied::Reporter},
    gate::{
        GateStore, MapError, Protected,
        evidence::{Teller, View},
        guard::{Desk as GuardDesk, Terms},
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
/// Beats from look to look at sessions.
const SELDOM: u64 = 10;

/// The source of one config.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) config: Config,
    pub(super) interface: u32,
    pub(super) gate: Gate,
    /// What it tells, if anybody reads it.
    pub(super) evidence: Option<Evidence>,
    /// What it counts of flows, if anybody reads it.
    pub(super) flows: Option<Maps>,
    /// The packets that it reports, if anybody reads them.
    pub(super) packets: Option<Frames>,
    /// What it counts of what it drops, if anybody reads it.
    pub(super) denials: Option<Denials>,
    pub(super) pins: Pins,
    /// Of what is pinned, against another process.
    pub(super) _lock: File,
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
    reader: LogReader,
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
        // Until the end of the run, however it ends.
        let mut promiscuous = promiscuous(&self.config, self.interface)?;
        let wanted = wanted(self.config.attach);
        let attached = self.gate.attach(self.interface, wanted, self.config.persist);
        let attached = attached.map_err(|error| explained(error, &self.config))?;
        let out = Arc::new(out);
        if self.config.sees_egress() && self.has_witness() {
            let attached = self.gate.attach_egress(&self.config.interface);
            attached.map_err(|error| explained(error, &self.config))?;
        }
        let mut keeper = self.keeper();
        let mut reports = self.reports(&keeper.view, &out)?;
        self.announce(attached);
        let mut reload = self.context.reload.clone();
        let port = self.config.signature().port(Some(ALERTS)).expect("the signature has it");
        let mut desk = Desk::new(port, &out);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut detached: Option<Holding> = None;
        loop {
            let mut lists = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = reload.changed() => lists = true,
                () = desk.room(&out) => desk.hand_over(&out).await?,
                ended = reports.closed() => ended?,
                _ = beats.tick() => {}
            }
            let now = self.context.clock.now(None);
            let kept = task::blocking(move || {
                keeper.beat(now, lists);
                keeper.reader.look(&desk, &keeper.meter);
                (keeper, desk)
            });
            (keeper, desk) = kept
                .await
                .map_err(|join| Error::failure("the gate's keeper ended").because(join))?;
            desk.take(&mut keeper.reader);
            detached = self.look(detached);
            if detached.is_some() {
                drop(promiscuous.take());
            }
            self.say(attached, detached.is_some());
        }
        let finish = task::blocking(move || {
            keeper.finish();
            keeper
        });
        let (finished, reported) = tokio::join!(finish, reports.finish());
        reported?;
        finished.map_err(|join| Error::failure("the gate's keeper ended").because(join))?;
        if self.config.persist {
            info!(
                "the gate stays on {}: `tidegate gate detach` takes it off",
                self.config.interface
            );
        } else if let Err(error) = self.pins.detach() {
            // The next start does it.
            warn!("what was pinned in {} stays: {error}", self.pins.folder().display());
        }
        Ok(())
    }
}

impl Runner {
    /// Begins to report all that somebody reads.
    fn reports(
        &mut self,
        view: &watch::Sender<View>,
        out: &Arc<Outputs>,
    ) -> Result<Reports, Error> {
        let flows = self.flows.take();
        let flows = flows.map(|maps| self.report(maps, Arc::clone(out))).transpose()?;
        let packets = self.packets.take().map(|ring| self.pass_on(ring, Arc::clone(out)));
        let denials = self.denials.take();
        let denied = denials.map(|maps| self.report_denied(maps, Arc::clone(out))).transpose()?;
        let evidence = self.evidence.take();
        let tell = |evidence| self.tell(evidence, view.subscribe(), Arc::clone(out));
        let contacts = evidence.map(tell).transpose()?;
        Ok(Reports::new([contacts, flows, packets, denied].into_iter().flatten()))
    }

    /// Begins to tell of contacts.
    fn tell(
        &self,
        evidence: Evidence,
        view: watch::Receiver<View>,
        out: Arc<Outputs>,
    ) -> Result<Report, Error> {
        let (origin, sees_replies) = (self.origin(), self.sees_replies());
        let port = self.contacts()?;
        let teller = Teller::new(origin, sees_replies).guarded(self.guard());
        Ok(contacts::report(Box::new(evidence), teller, view, self.context.clone(), (out, port)))
    }

    /// Who decides about the guard's holds, if it is on.
    fn guard(&self) -> Option<GuardDesk> {
        let guard = &self.config.firewall.guard;
        let terms = Terms {
            distinct_ports: guard.distinct_ports,
            hold: Duration::from_secs(guard.hold_secs),
            syn_rate: guard.syn_rate,
        };
        guard.enabled.then(|| GuardDesk::new(Arc::clone(&self.store), terms))
    }

    /// Where contacts are told.
    fn contacts(&self) -> Result<Port, Error> {
        let port = self.config.signature().port(Some(CONTACTS));
        port.ok_or_else(|| Error::failure("there is no port for contacts"))
    }

    /// Begins to report flows.
    fn report(&self, maps: Maps, out: Arc<Outputs>) -> Result<Report, Error> {
        let port = self.contacts()?;
        let mut ledger = Ledger::new(self.policy(), self.origin(), self.sees_replies());
        if self.context.read.contains(&port) {
            ledger = ledger.with_rates(self.config.max_flows as usize);
        }
        Ok(flows::report(maps, ledger, self.context.clone(), out, port))
    }

    /// Begins to report what is dropped.
    fn report_denied(&self, maps: Denials, out: Arc<Outputs>) -> Result<Report, Error> {
        let port = self.config.signature().port(Some(DENIED));
        let port = port.ok_or_else(|| Error::failure("there is no port for what is dropped"))?;
        let reporter = Reporter::new(self.policy(), self.origin());
        Ok(denied::report(maps, reporter, self.context.clone(), (out, port)))
    }

    /// The rules of flows.
    fn policy(&self) -> Policy {
        Policy {
            observer: Arc::clone(&self.context.observer),
            timeouts: self.config.timeouts.over(Timeouts::USUAL),
            internal_networks: self.context.networks.borrow().internal.clone(),
            ..Policy::default()
        }
    }

    /// Begins to hand on packets.
    fn pass_on(&self, ring: Frames, out: Arc<Outputs>) -> Report {
        let reader = Reader::new(Box::new(ring), self.origin(), self.context.clone());
        packets::report(reader, out)
    }

    /// Whether anything is made of packets beside verdicts.
    fn has_witness(&self) -> bool {
        self.evidence.is_some() || self.flows.is_some() || self.packets.is_some()
    }

    fn origin(&self) -> ObservationPoint {
        let interface = Interface::Named(self.config.interface.as_str().into());
        ObservationPoint::of(self.context.meter.id(), Some(interface))
    }

    fn sees_replies(&self) -> bool {
        self.config.sees_egress() || self.config.role == Role::Mirror
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
            reader: LogReader::new(&self.context, &self.log, &self.config.interface),
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
        let guard = &self.config.firewall.guard;
        if guard.enabled {
            info!(
                distinct_ports = guard.distinct_ports,
                hold_secs = guard.hold_secs,
                syn_rate = guard.syn_rate,
                "the gate's guard is on"
            );
        }
        if self.config.reports_packets() {
            info!("the gate reports 1 of {} packets", self.config.sample);
        }
        if self.config.role == Role::Mirror {
            info!("the gate is on a mirror: it counts, and drops nothing");
        }
    }

    /// Whether the program is still where it was put. If somebody took it off, nothing of it stays.
    fn look(&mut self, before: Option<Holding>) -> Option<Holding> {
        match self.gate.is_attached(self.interface) {
            Ok(true) => None,
            other => {
                if other.is_ok() {
                    self.gate.let_go();
                }
                if before.is_none() {
                    self.context.meter.count(ERRORS, ErrorType::GateDetached, 1);
                    let why = other.map_or_else(|error| format!(" ({error})"), |_| String::new());
                    error!(
                        "the gate is no longer on {}{why}, with what was pinned in {}: somebody took it off, \
                         or the interface is gone; start tidegate again to put it back",
                        self.config.interface,
                        self.pins.folder().display(),
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
            "guard": self.config.firewall.guard.enabled,
        }}));
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
