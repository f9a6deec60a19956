//! From scores to verdicts: levels with hysteresis, whom nothing may happen to, how long a block lasts,
//! and what keeps an outage from looking like an attack.

mod force;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    breaker::Breaker,
    evidence::{Evidence, Heard, Raised},
    flood::Floods,
    ledger::History,
    policy::{Level, Policy},
    preference::Preference,
    report::{Decision, Reporter},
    settings::Settings,
    snapshot::{Snapshot, Unreadable},
    source::Source,
};
use crate::{
    networks::Networks,
    record::{Action, Alert, Contact, ObservationPoint, Outcome, Timestamp, Transport},
    verdict::{Mode, Store},
};

const NANOS: u64 = 1_000_000_000;

/// Where a judge sits: what does not change while it runs.
#[derive(Debug, Clone, Default)]
pub struct Seat {
    /// The sensor's name: part of every record's id.
    pub observer: Arc<str>,
    /// The hash of the config.
    pub config_hash: Arc<str>,
    /// Puts verdicts in force; without it they are records.
    pub store: Option<Arc<dyn Store>>,
    /// The names of hosts inside, where alerts are to have them.
    pub assets: Option<HashMap<IpAddr, Box<str>>>,
}

/// Judges sources by their contacts.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    networks: Arc<Networks>,
    seat: Seat,
    evidence: Evidence,
    floods: Floods,
    breaker: Breaker,
    /// Since when there is an outage, and nothing is put in force.
    outage: Option<Timestamp>,
    preference: Preference,
    reporter: Reporter,
    /// The ledger's time: that of the latest contact.
    now: Option<Timestamp>,
    /// Whether each source is judged as of its own contacts, however far others have come.
    each_by_its_own: bool,
    /// From when on verdicts are put in force.
    warm: Option<Timestamp>,
    /// The minute whose new blocks are counted, and how many there were.
    minute: i64,
    blocks: u32,
    /// Decisions since they were last taken, by action.
    decided: Vec<(Action, u64)>,
}

// === impl Judge ===

impl Judge {
    /// How many contacts to look ahead at once: as many as a processor can wait for, and few enough for them to
    /// be in its cache when their turn comes.
    pub const AHEAD: usize = 32;

    /// A judge who knows nobody yet.
    pub fn new(settings: Settings, networks: Arc<Networks>, seat: Seat) -> Self {
        let preferred = settings.block.via.as_deref().map(Arc::from);
        Self {
            evidence: Evidence::new(settings.max_sources),
            policy: Policy::new(settings),
            networks,
            reporter: Reporter::new(Arc::clone(&seat.config_hash), seat.assets.clone()),
            seat,
            floods: Floods::new(),
            breaker: Breaker::new(),
            outage: None,
            preference: Preference::new(preferred),
            now: None,
            each_by_its_own: false,
            warm: None,
            minute: 0,
            blocks: 0,
            decided: Vec::new(),
        }
    }

    /// From now on each source is judged as of the time of its own contacts, which come in their order while
    /// those of different sources do not.
    pub fn go_by_each_source(&mut self) {
        self.each_by_its_own = true;
    }

    /// From now on judges by these settings, of the config with this hash; who is known stays known. How
    /// many sources are remembered, how long it warms up and by whom it acts stay as they were.
    pub fn judge_by(&mut self, settings: Settings, config_hash: Arc<str>) {
        self.policy = Policy::new(settings);
        self.reporter.config_hash = config_hash;
    }

    /// From now on these networks hold.
    pub fn use_networks(&mut self, networks: Arc<Networks>) {
        self.networks = networks;
    }

    /// Takes a contact, whose source had resolved the destination's name or not, at `now`: by that clock
    /// verdicts begin. What is decided for it goes to `out`.
    pub fn take(
        &mut self,
        contact: &Contact,
        is_resolved: bool,
        now: Timestamp,
        out: &mut Vec<Alert>,
    ) {
        let latest = self.now.map_or(contact.time, |latest| latest.max(contact.time));
        self.now = Some(latest);
        let time = if self.each_by_its_own { contact.time } else { latest };
        let warmup = self.policy.settings.warmup_secs.saturating_mul(NANOS);
        self.warm.get_or_insert(time.saturating_add(warmup));
        let (admitted, looked_up) = self.preference.admits(contact);
        if !admitted {
            return;
        }
        if contact.source.is_unspecified() {
            self.take_target(contact, time, out);
            return;
        }
        if self.networks.ignored(contact.source, time).is_some() || is_nobody(contact.source) {
            return;
        }
        let source = Source::of(contact.source, &self.networks.internal);
        let Some(is_suspected) = self.look(source, (time, now)) else { return };
        let is_admin = contact.transport == Transport::TCP
            && self.networks.admin_ports.contains(&contact.port);
        let is_resolved = is_resolved && self.networks.internal.contains(contact.source);
        let heard = Heard { contact, source, now: time, is_resolved, looked_up, is_admin };
        let raised = self.evidence.take(heard, &self.policy);
        if self.evidence.had_worked && !is_suspected {
            self.watch_outage(contact, source, time, out);
        }
        if let Some(raised) = raised {
            self.weigh(raised, contact, (time, now), out);
        }
    }

    /// These contacts come next, [`AHEAD`](Self::AHEAD) at most: reads the memory that they need. It changes nothing
    /// but how soon they are judged.
    pub fn look_ahead(&self, contacts: &[Contact]) {
        let mut next = [None; Self::AHEAD];
        for (contact, next) in contacts.iter().zip(&mut next) {
            let source = Source::of(contact.source, &self.networks.internal);
            *next = Some((source, self.evidence.key(contact, source)));
        }
        self.evidence.look_ahead(next.iter().copied().flatten());
    }

    /// The risk score of a source's latest evidence as of `now`, if it is known.
    pub fn risk(&self, address: IpAddr, now: Timestamp) -> Option<u8> {
        let source = Source::of(address, &self.networks.internal);
        let mut entry = self.evidence.ledger.get(source)?.clone();
        if self.outage.is_none() {
            entry.relieve();
        }
        entry.fade(now, &self.policy);
        Some(entry.score(&self.policy).0)
    }

    /// Every source that is known, with the highest score it had.
    pub fn sources(&self) -> impl Iterator<Item = (Source, u8)> {
        self.evidence.ledger.iter().map(|entry| (entry.source, entry.max_score))
    }

    /// How many sources are known.
    pub fn len(&self) -> usize {
        self.evidence.ledger.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Event time has come to `now`, whether there are contacts or not.
    pub fn reach(&mut self, now: Timestamp, out: &mut Vec<Alert>) {
        if self.outage.is_some() {
            self.follow_outage(now, ObservationPoint::default(), out);
        }
        self.reporter.reach(now, out);
    }

    /// What is known, to go on from after a restart: taken at `taken` by a judge who hears of what is
    /// seen on `interface`, if it is one.
    pub fn snapshot(&self, interface: Option<&str>, taken: Timestamp) -> Snapshot {
        Snapshot::of(&self.evidence, self.warm, interface, taken)
    }

    /// Goes on from what was known before a restart. A judge who knew the same interface less than ten
    /// minutes ago warms up no longer than it would have; gives whether that is so.
    ///
    /// # Errors
    /// What is wrong with it: then nothing has changed.
    pub fn resume(
        &mut self,
        snapshot: Snapshot,
        interface: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, Unreadable> {
        let warm = snapshot.restore(&mut self.evidence, interface, now)?;
        if let Some(warm) = warm {
            self.warm = Some(warm);
        }
        Ok(warm.is_some())
    }

    #[cfg(test)]
    pub(super) fn act_through(&mut self, store: Arc<dyn Store>) {
        self.seat.store = Some(store);
    }

    /// There will be no more contacts.
    pub fn finish(&mut self, out: &mut Vec<Alert>) {
        self.reporter.finish(out);
    }

    /// What was decided since this was last asked, told or not, by action.
    pub fn take_decided(&mut self) -> Vec<(Action, u64)> {
        std::mem::take(&mut self.decided)
    }

    /// Counts about a destination alone.
    fn take_target(&mut self, contact: &Contact, time: Timestamp, out: &mut Vec<Alert>) {
        let settings = &self.policy.settings.signals.destination_flood;
        if !settings.enabled || contact.destination.is_unspecified() {
            return;
        }
        if let Some(flood) = self.floods.take(contact, time, settings) {
            self.decide(Action::Alert);
            let at = (time, &self.policy, &*self.networks);
            self.reporter.tell_flood(flood, contact.origin, at, out);
        }
    }

    /// Whether a source is suspected, but for what an outage did to it; `None` while all that it sends is dropped:
    /// what is seen of it all the same is held against nobody. A source whose evidence has faded is as if it had
    /// done nothing.
    fn look(&mut self, source: Source, (time, now): (Timestamp, Timestamp)) -> Option<bool> {
        let policy = &self.policy;
        let Some(entry) = self.evidence.ledger.get_mut(source) else { return Some(false) };
        if self.outage.is_none() {
            entry.relieve();
        }
        if let Some(history) = &mut entry.history {
            if history.is_restored {
                confirm(history, source, self.seat.store.as_deref(), now);
            }
            if history.is_silenced && history.until.is_some_and(|until| time < until) {
                return None;
            }
        }
        if entry.level == Level::None && !entry.is_excused {
            return Some(false);
        }
        entry.fade(time, policy);
        if entry.score(policy).0 < policy.settings.levels.clear {
            entry.level = Level::None;
            entry.is_excused = false;
            if let Some(history) = &mut entry.history {
                history.verdict = None;
            }
        }
        Some(entry.level >= Level::Alert && !entry.before.is_struck)
    }

    /// Counts a handshake with what had worked before, of a source that is not suspected.
    fn watch_outage(
        &mut self,
        contact: &Contact,
        source: Source,
        time: Timestamp,
        out: &mut Vec<Alert>,
    ) {
        let succeeded = match contact.outcome {
            Outcome::Success => true,
            Outcome::Refused | Outcome::TimedOut if !contact.path_proven => false,
            _ => return,
        };
        if contact.transport == Transport::TCP {
            let of = (source, self.evidence.key(contact, source));
            self.breaker.count(of, succeeded, time, &self.policy.settings.circuit_breaker);
            self.follow_outage(time, contact.origin, out);
        }
    }

    /// Tells when the circuit breaker has opened or closed.
    fn follow_outage(&mut self, time: Timestamp, origin: ObservationPoint, out: &mut Vec<Alert>) {
        let settings = &self.policy.settings.circuit_breaker;
        let reason = match (self.outage, self.breaker.is_open(time, settings)) {
            (None, Some(succeeded)) => {
                self.outage = Some(time);
                let window = i64::try_from(settings.window_secs.saturating_mul(NANOS));
                let since = time.nanos().saturating_sub(window.unwrap_or(i64::MAX));
                self.evidence.outage = Some(Timestamp::from_nanos(since));
                outage(succeeded) + ", so no verdict is put in force until they do"
            }
            (Some(began), None) => {
                (self.outage, self.evidence.outage) = (None, None);
                let secs = time.since(began) / NANOS;
                format!("the outage is over after {secs} s: verdicts are put in force again")
            }
            _ => return,
        };
        self.reporter.tell_outage(reason, self.outage.is_some(), (time, origin), out);
    }

    /// Evidence was raised: has a level been reached?
    fn weigh(
        &mut self,
        raised: Raised,
        contact: &Contact,
        (time, now): (Timestamp, Timestamp),
        out: &mut Vec<Alert>,
    ) {
        let policy = &self.policy;
        let Some(entry) = self.evidence.ledger.get_mut(raised.source) else { return };
        let (score, may_block) = entry.score(policy);
        entry.max_score = entry.max_score.max(score);
        self.evidence.trail.add(&mut entry.chain, contact.conversation());
        let level = policy.level(score, may_block);
        if level == Level::None {
            return;
        }
        let is_graver = level > entry.level;
        entry.level = entry.level.max(level);
        let stands = entry.history.as_ref().is_some_and(|history| {
            history.standing >= level && history.until.is_some_and(|until| time < until)
        });
        let acts = level >= Level::RateLimit && !stands;
        let mut decision = if acts {
            self.act(raised, contact.source, (level, score), (time, now))
        } else {
            let action = if level >= Level::Alert { Action::Alert } else { Action::Log };
            let level = if level >= Level::Alert { Level::Alert } else { Level::Log };
            if is_graver {
                self.decide(action);
            }
            Decision { action, level, score, ..Decision::default() }
        };
        let Some(entry) = self.evidence.ledger.get_mut(raised.source) else { return };
        // While a verdict stands, that is what there is to say.
        if !acts && entry.level >= Level::RateLimit {
            return;
        }
        if Reporter::is_due(entry, decision.action, time) {
            decision.flows = self.evidence.trail.told(entry.chain);
            let at = (time, &self.policy, &*self.networks);
            self.reporter.tell(entry, contact.source, &decision, at, out);
        }
    }

    fn decide(&mut self, action: Action) {
        match self.decided.iter_mut().find(|(known, _)| *known == action) {
            Some((_, count)) => *count += 1,
            None => self.decided.push((action, 1)),
        }
    }
}

/// What stands against verdicts while the share of handshakes that succeed is so small.
fn outage(succeeded: f64) -> String {
    let percent = whole(100.0 * succeeded);
    format!("an outage: only {percent} % of the handshakes that worked before succeed")
}

/// What was decided before a restart stands if the store still has it, and silences if it enforces it.
fn confirm(history: &mut History, source: Source, store: Option<&dyn Store>, now: Timestamp) {
    history.is_restored = false;
    let Some(store) = store else {
        history.is_silenced = false;
        return;
    };
    let known = store.explain(source.address(), now);
    let id = history.verdict;
    let held = known.iter().find(|held| Some(held.verdict.id) == id && held.ended.is_none());
    history.is_silenced &= held.is_some_and(|held| held.mode == Mode::Enforce);
    if held.is_none() {
        (history.standing, history.until) = (Level::None, None);
    }
}

/// Whether an address is no one host's.
fn is_nobody(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

/// The whole number below.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that exceeds the range becomes its end"
)]
pub(super) fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
