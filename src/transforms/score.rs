//! `score`: contacts become verdicts and alerts, and flows get the risk of who began them.
//!
//! Contacts are read first and wait for nobody: the judge's verdicts go straight to the store. Flows wait
//! for room in the main output, alerts in a queue for room in theirs. In a replay all comes in the order of
//! event time, and nothing is left out.

mod assets;
mod keep;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use futures_util::future::OptionFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use self::keep::Keeper;
pub use self::keep::Kept;
use crate::{
    ack::{Ack, End},
    batch::{Batch, Watermark},
    component::{
        Carries, Clock, Component, Configure, Context, Error, Input, Outputs, Port, PortSpec,
        Problem, Reference, Renewed, Signature, Stage,
    },
    dns::{self, PassiveNames},
    metrics::{ERRORS, ErrorType, Meter, VERDICT_LATENCY, VERDICTS},
    networks::Networks,
    record::{Alert, Contact, Kind, Kinds, Packet, Records},
    score::{Block, CircuitBreaker, External, Judge, Levels, Seat, Settings, Signals},
};

/// The port of alerts.
const ALERTS: Port = Port(1);
/// Alerts of one batch at most, and those that may wait for room.
const MAX_BATCH: usize = 1_024;
const MAX_WAITING: usize = 16_384;
/// Addresses whose names are remembered, to know what was resolved.
pub(crate) const MAX_NAMES: usize = 65_536;
const MAX_SOURCES: usize = 100_000_000;

/// Judges sources by their contacts: from `flow`'s port `contacts`, from a source that blocks, or both.
/// Flows among the inputs get the risk score of who began them; packets are read for DNS answers, for what a
/// source has resolved is no probe, and go no further. Alerts come out on the port `alerts`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// From which risk score on what happens.
    pub levels: Levels,
    /// The evidence: how much each signal counts.
    pub signals: Signals,
    /// How verdicts are made, and by whom they are put in force.
    pub block: Block,
    /// When an outage looks like an attack.
    pub circuit_breaker: CircuitBreaker,
    /// Seconds after the first contact in which nothing is put in force (600): open connections that are
    /// joined under way look odd. None in a replay.
    #[schemars(range(max = 86_400))]
    pub warmup_secs: u64,
    /// Sources that are remembered (1,000,000, each some 250 bytes); those that matter least go first.
    #[schemars(range(min = 1, max = MAX_SOURCES))]
    pub max_sources: usize,
    /// How what is known is kept over a restart; not in a replay.
    pub snapshot: Kept,
    /// What the records are like.
    pub alerts: Alerts,
}

/// What the judge's records are like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// What those about sources outside are: `event` by default, unless they tried to log in or met several
    /// hosts over a proven path; or `alert`, from the level `alert` on.
    pub external: External,
    /// Whether they name the host at risk: `none` by default, or `asset`, as `host.name` and `host.ip`.
    pub host: Host,
    /// A file of the names of hosts, `ADDRESS,NAME` a line, for `host: asset`.
    #[schemars(extend("format" = "path"))]
    pub assets: Option<PathBuf>,
}

/// Whether alerts name the host at risk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// No.
    #[default]
    None,
    /// By the name in the file of assets.
    Asset,
}

struct Score {
    judge: Judge,
    clock: Clock,
    /// Whether time is what the records say, also live: they come from other sensors, perhaps late.
    by_event_time: bool,
    networks: watch::Receiver<Arc<Networks>>,
    names: PassiveNames,
    /// Alerts that are to be handed on next, and those behind them.
    offered: Option<Batch>,
    waiting: VecDeque<Alert>,
    told: Vec<Alert>,
    meter: Arc<Meter>,
    keeper: Option<Keeper>,
    renewed: watch::Receiver<Option<Renewed>>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            levels: Levels::default(),
            signals: Signals::default(),
            block: Block::default(),
            circuit_breaker: CircuitBreaker::default(),
            warmup_secs: 600,
            max_sources: 1_000_000,
            snapshot: Kept::default(),
            alerts: Alerts::default(),
        }
    }
}

impl Config {
    /// The numbers by which it judges.
    pub fn settings(&self) -> Settings {
        Settings {
            levels: self.levels,
            signals: self.signals.clone(),
            block: self.block.clone(),
            circuit_breaker: self.circuit_breaker,
            warmup_secs: self.warmup_secs,
            max_sources: self.max_sources,
            external: self.alerts.external,
        }
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        let accepts =
            Kinds::from(Kind::Contact).union(Kind::Flow.into()).union(Kind::Packet.into());
        Signature::transform(accepts, Carries::Only(Kind::Flow))
            .and(PortSpec::named("alerts", Carries::Only(Kind::Alert)))
    }

    fn passes_on(&self) -> Option<Kind> {
        Some(Kind::Flow)
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Levels { log, alert, rate_limit, block, clear } = self.levels;
        if !(log <= alert && alert <= rate_limit && rate_limit <= block) {
            let message = "the levels are out of order";
            problems.push(Problem::new("levels", message).hint("log ≤ alert ≤ rate_limit ≤ block"));
        }
        if clear > alert {
            let message = format!("{clear} is above the level alert, {alert}");
            let hint = "a source that is alerted on would be cleared at once: set it below";
            problems.push(Problem::new("levels.clear", message).hint(hint));
        }
        let scan = &self.signals.scan;
        if scan.theta1 >= scan.theta0 {
            let message = format!("{} is not below theta0, {}", scan.theta1, scan.theta0);
            let hint = "who scans succeeds more seldom than who means well";
            problems.push(Problem::new("signals.scan.theta1", message).hint(hint));
        }
        if self.alerts.host == Host::Asset && self.alerts.assets.is_none() {
            let hint = "name a file: one ADDRESS,NAME a line";
            problems.push(Problem::new("alerts.assets", "there are no names").hint(hint));
        }
        problems
    }

    fn check_environment(&self) -> Vec<Problem> {
        let problem = |error: Error| Problem::new("alerts.assets", error.to_string());
        assets::read(&self.alerts).err().map(problem).into_iter().collect()
    }

    fn uses(&self) -> Vec<String> {
        dns::ALL_FIELDS.into_iter().map(str::to_owned).collect()
    }

    fn references(&self) -> Vec<Reference> {
        let reference = |id: &String| Reference { key: "block.via".into(), id: id.clone() };
        self.block.via.iter().map(reference).collect()
    }

    fn keeps_state(&self) -> bool {
        self.snapshot.enabled
    }

    fn renewal(&self) -> Option<Renewed> {
        Some(Renewed::new(self.settings()))
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        Ok(Component::stage(self.stage(context)?))
    }
}

impl Config {
    fn stage(&self, context: &Context) -> Result<Score, Error> {
        if context.from_others && self.block.via.is_some() {
            let message = "block.via acts on this host, and other sensors saw what is judged";
            return Err(
                Error::configuration(message).hint("leave it out: verdicts are alerts here")
            );
        }
        let mut networks = context.networks.clone();
        let seat = Seat {
            observer: Arc::clone(&context.observer),
            config_hash: Arc::clone(&context.config_hash),
            store: self.block.via.as_ref().and_then(|via| context.stores.get(via)).cloned(),
            assets: assets::read(&self.alerts)?,
        };
        let mut settings = match context.clock {
            Clock::Wall => self.settings(),
            Clock::Event => self.settings().at_once(),
        };
        // A flood is that of one point of the network; partitions have parts of several.
        settings.signals.destination_flood.enabled &= !context.from_others;
        let present = Arc::clone(&networks.borrow_and_update());
        let mut judge = Judge::new(settings, present, seat);
        if context.from_others {
            // Partitions are not read in step: one may be hours behind another.
            judge.go_by_each_source();
        }
        let keeps = context.clock == Clock::Wall && self.snapshot.enabled;
        let keeper = keeps.then(|| Keeper::new(&self.snapshot, context));
        if let Some(keeper) = &keeper {
            keeper.resume(&mut judge, context.clock.now(None));
        }
        Ok(Score {
            judge,
            keeper,
            renewed: context.renewed.clone(),
            clock: context.clock,
            by_event_time: context.clock == Clock::Event || context.from_others,
            networks,
            names: PassiveNames::new(MAX_NAMES),
            offered: None,
            waiting: VecDeque::new(),
            told: Vec::new(),
            meter: Arc::clone(&context.meter),
        })
    }
}

// === impl Score ===

impl Score {
    /// Takes what changed in the config: networks, and by what is judged. Without a sender they never
    /// change again.
    fn renew(&mut self) {
        if self.networks.has_changed().unwrap_or(false) {
            self.judge.use_networks(Arc::clone(&self.networks.borrow_and_update()));
        }
        if self.renewed.has_changed().unwrap_or(false)
            && let Some(renewed) = &*self.renewed.borrow_and_update()
            && let Some(settings) = renewed.get::<Settings>()
        {
            self.judge.judge_by(settings.clone(), Arc::clone(renewed.config_hash()));
        }
    }

    /// Takes a batch in. What is to be handed on is given back: flows, with their risk.
    fn take(&mut self, mut batch: Batch, input: &Input) -> Option<Batch> {
        self.renew();
        match &mut batch.records {
            Records::Flows(flows) => {
                for flow in Arc::make_mut(flows) {
                    flow.risk = self.judge.risk(flow.initiator.address, flow.end);
                }
                return Some(batch);
            }
            Records::Contacts(contacts) => {
                let contacts = Arc::clone(contacts);
                for some in contacts.chunks(Judge::AHEAD) {
                    if some.len() > 1 {
                        self.judge.look_ahead(some);
                    }
                    for contact in some {
                        self.judge(contact, input);
                    }
                }
            }
            Records::Packets(packets) => {
                packets.iter().for_each(|packet: &Packet| self.names.learn(packet));
            }
            _ => {}
        }
        input.meter().absorbed(batch.records.len() as u64);
        batch.ack.settle(End::Delivered);
        None
    }

    fn judge(&mut self, contact: &Contact, input: &Input) {
        let is_resolved =
            self.names.names(contact.destination, contact.source, contact.time).is_some();
        let now = if self.by_event_time { contact.time } else { self.clock.now(None) };
        self.judge.take(contact, is_resolved, now, &mut self.told);
        let decided = self.judge.take_decided();
        for (action, count) in &decided {
            input.meter().count(VERDICTS, *action, *count);
        }
        if !self.by_event_time && !decided.is_empty() {
            let nanos = self.clock.now(None).since(contact.time);
            let seconds = std::time::Duration::from_nanos(nanos).as_secs_f64();
            input.meter().observe(VERDICT_LATENCY, seconds);
        }
        self.queue(input);
    }

    /// Lets the new records wait for room. Live, what finds none is lost, and said; the verdicts stand.
    fn queue(&mut self, input: &Input) {
        let mut lost = 0;
        for alert in self.told.drain(..) {
            if self.clock == Clock::Wall && self.waiting.len() >= MAX_WAITING {
                lost += 1;
            } else {
                self.waiting.push_back(alert);
            }
        }
        if lost > 0 {
            input.meter().count(ERRORS, ErrorType::AlertsLost, lost);
            tracing::error!(lost, "alerts found no room: what reads them is too slow");
        }
    }

    /// The next alerts, to be offered.
    fn next_alerts(&mut self, watermark: Option<Watermark>) -> Batch {
        let count = self.waiting.len().min(MAX_BATCH);
        let alerts: Vec<_> = self.waiting.drain(..count).collect();
        Batch { records: Records::Alerts(Arc::new(alerts)), ack: Ack::none(), watermark }
    }

    /// Hands on what came of one batch, in a replay: on each port something, so that event time arrives.
    async fn hand_on(
        &mut self,
        flows: Option<Batch>,
        watermark: Option<Watermark>,
        out: &Outputs,
    ) -> Result<(), Error> {
        loop {
            let alerts = self.next_alerts(watermark);
            out.emit(ALERTS, alerts.records, watermark).await?;
            if self.waiting.is_empty() {
                break;
            }
        }
        match flows {
            Some(flows) => out.pass(Port::MAIN, Batch { watermark, ..flows }).await?,
            None => out.emit(Port::MAIN, Records::none(Kind::Flow), watermark).await?,
        }
        Ok(())
    }

    async fn replay(&mut self, input: &mut Input, out: &Outputs) -> Result<(), Error> {
        while let Some(batch) = input.recv().await {
            let flows = self.take(batch, input);
            let watermark = input.watermark();
            if let Some(mark) = watermark {
                self.judge.reach(mark.time, &mut self.told);
                self.queue(input);
            }
            self.hand_on(flows, watermark, out).await?;
        }
        Ok(())
    }

    async fn live(&mut self, input: &mut Input, out: &Outputs) -> Result<(), Error> {
        input.prefer(Kind::Contact);
        let mut flows: Option<Batch> = None;
        loop {
            if self.offered.is_none() && !self.waiting.is_empty() {
                self.offered = Some(self.next_alerts(input.watermark()));
            }
            let room = async |port, batch: Option<&Batch>| match batch {
                Some(batch) => out.room(port, batch).await,
                None => std::future::pending().await,
            };
            tokio::select! {
                // What has room is handed on at once, and never waited for.
                biased;
                () = room(Port::MAIN, flows.as_ref()) => {
                    if let Some(flows) = flows.take() {
                        out.pass(Port::MAIN, flows).await?;
                    }
                }
                () = room(ALERTS, self.offered.as_ref()) => {
                    if let Some(alerts) = self.offered.take() {
                        out.emit(ALERTS, alerts.records, alerts.watermark).await?;
                    }
                }
                () = due(&mut self.keeper) => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.write(&self.judge, self.clock.now(None));
                    }
                }
                batch = next(input, flows.is_some()) => match batch {
                    Some(batch) => flows = flows.or(self.take(batch, input)),
                    None => break,
                },
            }
            let now = match input.watermark() {
                mark if self.by_event_time => mark.map(|mark| mark.time),
                _ => Some(self.clock.now(None)),
            };
            if let Some(now) = now {
                self.judge.reach(now, &mut self.told);
            }
            self.queue(input);
        }
        Ok(())
    }

    /// Hands on all alerts that wait.
    async fn hand_on_alerts(
        &mut self,
        watermark: Option<Watermark>,
        out: &Outputs,
    ) -> Result<(), Error> {
        loop {
            let next = self.offered.take();
            let Some(alerts) =
                next.or_else(|| (!self.waiting.is_empty()).then(|| self.next_alerts(watermark)))
            else {
                return Ok(());
            };
            out.emit(ALERTS, alerts.records, alerts.watermark).await?;
        }
    }
}

/// Comes when a snapshot is due, if any are taken.
async fn due(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.due().await,
        None => std::future::pending().await,
    }
}

/// The next batch; of contacts alone while flows wait for room.
async fn next(input: &mut Input, only_contacts: bool) -> Option<Batch> {
    if only_contacts { Some(input.recv_preferred().await) } else { input.recv().await }
}

impl Stage for Score {
    async fn run(mut self, mut input: Input, out: Outputs) -> Result<(), Error> {
        match self.clock {
            Clock::Event => self.replay(&mut input, &out).await?,
            Clock::Wall => self.live(&mut input, &out).await?,
        }
        self.judge.finish(&mut self.told);
        self.queue(&input);
        let now = self.clock.now(None);
        let keeper = self.keeper.take().map(|keeper| keeper.finish(&self.judge, now));
        // Neither waits for the other: a disk may hang, and a destination be away.
        let handing_on = async {
            let handed_on = self.hand_on_alerts(input.watermark(), &out).await;
            drop(out);
            handed_on
        };
        let (handed_on, _) = tokio::join!(handing_on, OptionFuture::from(keeper));
        handed_on
    }
}

/// A judge that is cut off says what it takes with it: nothing, if it has come to its end.
impl Drop for Score {
    fn drop(&mut self) {
        let offered = self.offered.as_ref().map_or(0, |alerts| alerts.records.len());
        self.meter.cut_off((offered + self.waiting.len() + self.told.len()) as u64);
    }
}
