//! From scores to verdicts: levels with hysteresis, whom nothing may happen to, how long a block lasts,
//! and what keeps an outage from looking like an attack.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use super::{
    breaker::Breaker,
    evidence::{Evidence, Heard, Raised},
    flood::Floods,
    ledger::Entry,
    policy::{Level, Policy},
    preference::Preference,
    report::{Decision, Reporter},
    settings::Settings,
    source::Source,
};
use crate::{
    networks::Networks,
    record::{Action, Alert, Contact, Id, Outcome, Signal, Timestamp, Transport, VerdictDetails},
    verdict::{self, Answer, By, Mode, Scope, Store, Verdict, Why},
};

const NANOS: u64 = 1_000_000_000;
const MINUTE_NANOS: u64 = 60 * NANOS;

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
    preference: Preference,
    reporter: Reporter,
    /// The ledger's time: that of the latest contact.
    now: Option<Timestamp>,
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
            breaker: Breaker::default(),
            preference: Preference::new(preferred),
            now: None,
            warm: None,
            minute: 0,
            blocks: 0,
            decided: Vec::new(),
        }
    }

    /// From now on judges by these settings; who is known stays known. How many sources are remembered
    /// stays as it was.
    pub fn judge_by(&mut self, settings: Settings) {
        self.policy = Policy::new(settings);
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
        let time = self.now.map_or(contact.time, |latest| latest.max(contact.time));
        self.now = Some(time);
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
        if self.is_silenced(source, time) {
            return;
        }
        self.calm(source, time);
        self.watch_outage(contact, source, time);
        let is_admin = contact.transport == Transport::TCP
            && self.networks.admin_ports.contains(&contact.port);
        let is_resolved = is_resolved && self.networks.internal.contains(contact.source);
        let heard = Heard { contact, source, now: time, is_resolved, looked_up, is_admin };
        if let Some(raised) = self.evidence.take(heard, &self.policy) {
            self.weigh(raised, contact, (time, now), out);
        }
    }

    /// The risk score of a source's latest evidence as of `now`, if it is known.
    pub fn risk(&self, address: IpAddr, now: Timestamp) -> Option<u8> {
        let source = Source::of(address, &self.networks.internal);
        let mut entry = self.evidence.ledger.get(source)?.clone();
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
        self.reporter.reach(now, out);
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

    /// Whether all that the source sends is dropped: what is seen of it all the same is held against
    /// nobody.
    fn is_silenced(&self, source: Source, time: Timestamp) -> bool {
        self.evidence.ledger.get(source).is_some_and(|entry| {
            entry.history.as_ref().is_some_and(|history| {
                history.is_silenced && history.until.is_some_and(|until| time < until)
            })
        })
    }

    /// A source whose evidence has faded is as if it had done nothing.
    fn calm(&mut self, source: Source, time: Timestamp) {
        let policy = &self.policy;
        let Some(entry) = self.evidence.ledger.get_mut(source) else { return };
        if entry.level == Level::None && !entry.is_excused {
            return;
        }
        entry.fade(time, policy);
        if entry.score(policy).0 < policy.settings.levels.clear {
            entry.level = Level::None;
            entry.is_excused = false;
            if let Some(history) = &mut entry.history {
                history.verdict = None;
            }
        }
    }

    /// Counts handshakes with what had worked before, of sources that are not suspected.
    fn watch_outage(&mut self, contact: &Contact, source: Source, time: Timestamp) {
        let succeeded = match contact.outcome {
            Outcome::Success => true,
            Outcome::Refused | Outcome::TimedOut if !contact.path_proven => false,
            _ => return,
        };
        let is_suspected =
            self.evidence.ledger.get(source).is_some_and(|entry| entry.level >= Level::Alert);
        if contact.transport == Transport::TCP
            && !is_suspected
            && self.evidence.has_worked(contact, source)
        {
            self.breaker.count(succeeded, time, &self.policy.settings.circuit_breaker);
        }
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
        let decision = if acts {
            self.act(raised, contact.source, (level, score), (time, now))
        } else {
            let action = if level >= Level::Alert { Action::Alert } else { Action::Log };
            let level = if level >= Level::Alert { Level::Alert } else { Level::Log };
            if is_graver {
                self.decide(action);
            }
            let (verdict, remark) = (None, None);
            Decision { action, level, score, is_in_force: false, verdict, remark }
        };
        let Some(entry) = self.evidence.ledger.get_mut(raised.source) else { return };
        // While a verdict stands, that is what there is to say.
        if !acts && entry.level >= Level::RateLimit {
            return;
        }
        if Reporter::is_due(entry, decision.action, time) {
            let at = (time, &self.policy, &*self.networks);
            self.reporter.tell(entry, contact.source, &decision, at, out);
        }
    }

    /// Makes a verdict, and has it put in force if nothing stands against it.
    fn act(
        &mut self,
        raised: Raised,
        address: IpAddr,
        (level, score): (Level, u8),
        (time, now): (Timestamp, Timestamp),
    ) -> Decision {
        let (verdict, offence) = self.verdict(raised, (level, score), time);
        let ttl_nanos = verdict.ttl.map_or(0, |ttl| u64::try_from(ttl.as_nanos()).unwrap_or(0));
        let details = VerdictDetails {
            id: verdict.id,
            ttl_secs: ttl_nanos / NANOS,
            offence,
            path_proven: verdict.scope == Scope::All,
            port: verdict.port,
        };
        let advised = if level == Level::Block { Action::WouldBlock } else { Action::RateLimit };
        let mut decision = Decision {
            action: advised,
            level,
            score,
            is_in_force: false,
            verdict: Some(details),
            remark: None,
        };
        let is_all = verdict.scope == Scope::All && verdict.action == verdict::Action::Drop;
        match self.put_in_force(verdict, address, raised.source, (time, now)) {
            Ok(Some(mode)) => {
                decision.is_in_force = mode == Mode::Enforce;
                if decision.is_in_force && level == Level::Block {
                    decision.action = Action::Block;
                }
            }
            Ok(None) => {}
            Err(remark) => {
                decision.action = Action::Refused;
                decision.remark = Some(remark);
            }
        }
        if let Some(entry) = self.evidence.ledger.get_mut(raised.source) {
            let is_proven = entry.is_proven(time);
            let half_life = self.policy.settings.block.offence_half_life_secs;
            let history = entry.history();
            history.standing = level;
            history.until = Some(time.saturating_add(ttl_nanos));
            history.is_silenced = decision.is_in_force && is_all;
            if decision.action != Action::Refused {
                history.verdict = Some(details.id);
            }
            if level == Level::Block && is_proven && decision.action != Action::Refused {
                history.offences = history.offences_at(time, half_life) + 1.0;
                history.offended = Some(time);
            }
        }
        self.decide(decision.action);
        decision
    }

    fn verdict(
        &self,
        raised: Raised,
        (level, score): (Level, u8),
        time: Timestamp,
    ) -> (Verdict, u32) {
        let block = &self.policy.settings.block;
        let source = raised.source;
        let entry = self.evidence.ledger.get(source);
        let is_proven = entry.is_some_and(|entry| entry.is_proven(time));
        let history = entry.and_then(|entry| entry.history.as_deref());
        let offences = history
            .map_or(0.0, |history| history.offences_at(time, block.offence_half_life_secs).round());
        let id = Id::of("verdict", &self.seat.observer)
            .bytes(source.network().to_string().as_bytes())
            .time(time)
            .finish();
        // Sources that offended together are not to come back together.
        let jitter = 0.9 + 0.2 * f64::from(id.bytes()[0]) / 255.0;
        let secs = float(block.ttl_secs) * block.ttl_factor.powf(offences) * jitter;
        let mut secs = secs.min(float(block.ttl_max_secs));
        if !is_proven {
            secs = secs.min(float(block.unproven_ttl_secs));
        }
        let weights = entry.map(|entry| super::reasons::weights(entry, &self.policy));
        let weights = weights.unwrap_or_default();
        let reasons = entry.map_or_else(Vec::new, |entry| {
            weights.iter().map(|weight| super::reasons::sentence(weight, entry)).collect()
        });
        // One service is attacked: others of the same address are not held off.
        let only_logins = weights.iter().all(|weight| weight.signal == Signal::AuthAttempts);
        let port = entry
            .filter(|_| level == Level::RateLimit && only_logins && !weights.is_empty())
            .map(|entry| entry.latest.port);
        let offence = u32::try_from(whole(offences)).unwrap_or(u32::MAX);
        let verdict = Verdict {
            id,
            network: source.network(),
            action: match level {
                Level::Block => verdict::Action::Drop,
                _ => verdict::Action::RateLimit,
            },
            scope: if is_proven { Scope::All } else { Scope::New },
            port,
            ttl: Some(Duration::from_secs(whole(secs).max(1))),
            score,
            offence,
            reasons,
            by: By::Score,
        };
        (verdict, offence)
    }

    /// Puts a verdict in force: in which mode, `None` without a store or before the judge is warm.
    fn put_in_force(
        &mut self,
        verdict: Verdict,
        address: IpAddr,
        source: Source,
        (time, now): (Timestamp, Timestamp),
    ) -> Result<Option<Mode>, Box<str>> {
        if let Some((network, entry)) = self.networks.allowed(verdict.network) {
            return Err(format!("{network} is allowed ({})", entry.place).into());
        }
        if self.networks.destinations.contains(address) {
            return Err("a sink writes to it".into());
        }
        let is_drop = verdict.action == verdict::Action::Drop;
        let block = &self.policy.settings.block;
        let oldest = self.evidence.ledger.get(source).and_then(oldest_session);
        if oldest.is_some_and(|began| {
            time.since(began) >= block.admin_session_secs.saturating_mul(NANOS)
        }) {
            return Err("an administrator's session from it is open".into());
        }
        if self.is_excused(&verdict, source, now) {
            return Err("a verdict about it was lifted, and its evidence has not faded yet".into());
        }
        let breaker = self.policy.settings.circuit_breaker;
        if let Some(succeeded) = self.breaker.is_open(time, &breaker) {
            let percent = whole(100.0 * succeeded);
            return Err(format!(
                "an outage: only {percent} % of the handshakes that worked before succeed"
            )
            .into());
        }
        if is_drop && !self.may_add_block(time) {
            let most = self.policy.settings.block.max_new_per_minute;
            return Err(
                format!("{most} new blocks within a minute are the most there may be").into()
            );
        }
        if self.warm.is_some_and(|warm| time < warm) {
            return Ok(None);
        }
        let Some(store) = &self.seat.store else { return Ok(None) };
        match store.apply(verdict, now) {
            Answer::Applied(mode) => Ok(Some(mode)),
            Answer::Refused(refusal) => Err(refusal.to_string().into()),
        }
    }

    /// Whether somebody lifted the last verdict about the source before its time.
    fn is_excused(&mut self, verdict: &Verdict, source: Source, now: Timestamp) -> bool {
        let Some(entry) = self.evidence.ledger.get_mut(source) else { return false };
        if entry.is_excused {
            return true;
        }
        let last = entry.history.as_ref().and_then(|history| history.verdict);
        let (Some(store), Some(last)) = (&self.seat.store, last) else { return false };
        let known = store.explain(source.address(), now);
        entry.is_excused = known.iter().any(|known| {
            known.verdict.network == verdict.network
                && known.verdict.id == last
                && known.ended.is_some_and(|ended| ended.why == Why::Removed)
        });
        entry.is_excused
    }

    fn may_add_block(&mut self, time: Timestamp) -> bool {
        let minute = time.nanos().div_euclid(i64::try_from(MINUTE_NANOS).unwrap_or(1));
        if minute != self.minute {
            (self.minute, self.blocks) = (minute, 0);
        }
        if self.blocks >= self.policy.settings.block.max_new_per_minute {
            return false;
        }
        self.blocks += 1;
        true
    }

    fn decide(&mut self, action: Action) {
        match self.decided.iter_mut().find(|(known, _)| *known == action) {
            Some((_, count)) => *count += 1,
            None => self.decided.push((action, 1)),
        }
    }
}

fn oldest_session(entry: &Entry) -> Option<Timestamp> {
    entry.history.as_ref()?.sessions.iter().min().copied()
}

/// Whether an address is no one host's.
fn is_nobody(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

#[expect(clippy::cast_precision_loss, reason = "times need no more than 15 digits")]
fn float(value: u64) -> f64 {
    value as f64
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
