//! Verdicts, and what keeps them from being put in force.

use std::{net::IpAddr, time::Duration};

use super::{
    super::{ledger::Entry, policy::Level, reasons, report::Decision, source::Source},
    Judge, NANOS, Raised, outage, whole,
};
use crate::{
    record::{Action, Id, Signal, Timestamp, VerdictDetails},
    verdict::{self, Answer, By, Mode, Scope, Verdict, Why},
};

const MINUTE_NANOS: u64 = 60 * NANOS;

// === impl Judge ===

impl Judge {
    /// Makes a verdict, and has it put in force if nothing stands against it.
    pub(super) fn act(
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
            verdict: Some(details),
            ..Decision::default()
        };
        let is_proven = verdict.scope == Scope::All;
        let is_all = is_proven && verdict.action == verdict::Action::Drop;
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
        let weights = entry.map(|entry| reasons::weights(entry, &self.policy));
        let weights = weights.unwrap_or_default();
        let is_proven = entry.is_some_and(|entry| {
            let signals = weights.iter().map(|weight| weight.signal);
            entry.is_proven(time) && !entry.may_be_framed(signals)
        });
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
        let reasons = entry.map_or_else(Vec::new, |entry| {
            weights.iter().map(|weight| reasons::sentence(weight, entry)).collect()
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
            return Err(outage(succeeded).into());
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
}

fn oldest_session(entry: &Entry) -> Option<Timestamp> {
    entry.history.as_ref()?.sessions.iter().min().copied()
}

#[expect(clippy::cast_precision_loss, reason = "times need no more than 15 digits")]
fn float(value: u64) -> f64 {
    value as f64
}
