//! The gate while it runs.

use std::{fs::File, sync::Arc, time::Duration};

use tidegate_ebpf::{Denials, Evidence, Flows as Maps, Packets as Frames, pins::Pins};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    ALERTS, CONTACTS, Config, DENIED, Role, contacts, denied, flows,
    heart::{Heart, Pulse},
    keeper::Keeper,
    lists::BlockLists,
    notice::Notice,
    packets::{self, Reader},
    records::Desk,
    reports::{Report, Reports},
    stand::Stand,
};
use crate::{
    component::{Configure, Context, Error, Outputs, Port, Source},
    flow::{Policy, Timeouts, counted::Ledger, denied::Reporter},
    gate::{
        GateStore, Last,
        evidence::{Teller, View},
        guard::{Desk as GuardDesk, Terms},
        log::VerdictLog,
    },
    host::{Facts, Sessions},
    record::{Interface, ObservationPoint},
    task,
};

/// How often everything is looked after.
const BEAT: Duration = Duration::from_secs(1);

/// The source of one config.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) config: Config,
    pub(super) stand: Stand,
    /// What it tells, if anybody reads it.
    pub(super) evidence: Option<Evidence>,
    /// What it counts of flows, if anybody reads it.
    pub(super) flows: Option<Maps>,
    /// The packets that it reports, if anybody reads them.
    pub(super) packets: Option<Frames>,
    /// What it counts of what it drops, if anybody reads it.
    pub(super) denials: Option<Denials>,
    pub(super) pulse: Pulse,
    pub(super) pins: Pins,
    /// Of what is pinned, against another process.
    pub(super) _lock: File,
    pub(super) store: Arc<GateStore>,
    pub(super) log: VerdictLog,
    pub(super) facts: Facts,
    pub(super) sessions: Sessions,
    pub(super) lists: BlockLists,
    pub(super) context: Context,
}

// === impl Runner ===

impl Source for Runner {
    async fn run(mut self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let mut keeper = self.keeper();
        let sees_egress = self.config.sees_egress() && self.has_witness();
        let attached = self.stand.begin(sees_egress)?;
        let out = Arc::new(out);
        let mut reports = self.reports(&keeper.view, &out)?;
        let Self { config, mut stand, pulse, pins, _lock, store, context, .. } = self;
        let mut heart = Heart::start(pulse);
        let mut notice = Notice::new(&config, &store, &context);
        if let Some(attached) = attached {
            notice.attached(attached, &keeper.facts);
        }
        let mut reload = context.reload.clone();
        let port = config.signature().port(Some(ALERTS)).expect("the signature has it");
        let mut desk = Desk::new(port, &out);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut lists = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = reload.changed() => lists = true,
                () = desk.room(&out) => desk.hand_over(&out).await?,
                ended = reports.closed() => ended?,
                () = stand.comes() => {}
                Ok(()) = heart.signs.changed() => {}
                _ = beats.tick() => {}
            }
            let now = context.clock.now(None);
            let kept = task::blocking(move || {
                let attached = stand.look();
                keeper.beat(now, lists);
                keeper.reader.look(&desk, &keeper.meter);
                (stand, attached, keeper, desk)
            });
            let attached;
            (stand, attached, keeper, desk) = kept
                .await
                .map_err(|join| Error::failure("the gate's keeper ended").because(join))?;
            desk.take(&mut keeper.reader);
            if let Some(attached) = attached? {
                notice.attached(attached, &keeper.facts);
            }
            notice.signs(&heart, &stand);
            notice.health(&stand, heart.is_open(), now);
        }
        // Verdicts go on being given, and hold, while what is left is handed on.
        let ending = reports.finish();
        tokio::pin!(ending);
        let reported = loop {
            tokio::select! {
                biased;
                reported = &mut ending => break reported,
                _ = beats.tick() => {}
            }
            let now = context.clock.now(None);
            keeper = keep(keeper, move |keeper| keeper.beat(now, false)).await?;
        };
        let keeper = keep(keeper, Keeper::finish).await?;
        store.leave(Last { log: keeper.into_log(), alive: Box::new(heart) });
        reported?;
        if !config.persist {
            if let Err(error) = pins.detach() {
                // The next start does it.
                warn!("what was pinned in {} stays: {error}", pins.folder().display());
            }
        } else if stand.is_attached() {
            info!("the gate stays on {}: `tidegate gate detach` takes it off", config.interface);
        }
        Ok(())
    }
}

/// Has the keeper do this in a thread that may wait.
async fn keep(
    mut keeper: Keeper,
    work: impl FnOnce(&mut Keeper) + Send + 'static,
) -> Result<Keeper, Error> {
    let kept = task::blocking(move || {
        work(&mut keeper);
        keeper
    });
    kept.await.map_err(|join| Error::failure("the gate's keeper ended").because(join))
}

impl Runner {
    fn keeper(&mut self) -> Keeper {
        let lists = std::mem::replace(&mut self.lists, BlockLists::new(&[]));
        let known = (self.facts.clone(), std::mem::take(&mut self.sessions));
        Keeper::new(&self.config, &self.context, &self.store, &self.log, known, lists)
    }

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
}
