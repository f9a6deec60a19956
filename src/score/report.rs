//! Records of what was decided: how many, and what they say.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    flood::Flood,
    ledger::{Entry, Target, Told},
    policy::{Level, Policy},
    reasons,
    settings::External,
};
use crate::{
    networks::Networks,
    record::{
        Action, Alert, CommunityId, Destination, Details, Names, ObservationPoint, Signal,
        Timestamp, Transport, VerdictDetails, Weight,
    },
};

/// A source's record of a level is made again after so long.
const DAY_SECS: u32 = 86_400;
const MINUTE_NANOS: u64 = 60_000_000_000;
/// Records a minute; more are one: rules of Elastic's take 1,000 at once.
const MAX_A_MINUTE: u32 = 1_000;
/// Destinations that an outsider must have met for its record to be an alert.
const SEVERAL: u32 = 3;

/// Makes records.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) config_hash: Arc<str>,
    /// Names of hosts inside.
    pub(super) assets: Option<HashMap<IpAddr, Box<str>>>,
    minute: Option<Timestamp>,
    made: u32,
    unmade: u64,
    gravest: u8,
}

/// What was decided.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) level: Level,
    pub(super) score: u8,
    pub(super) is_in_force: bool,
    pub(super) verdict: Option<VerdictDetails>,
    /// What stands against it, or what else is to be said.
    pub(super) remark: Option<Box<str>>,
    /// The flows that were held against the source last.
    pub(super) flows: Vec<CommunityId>,
}

// === impl Decision ===

impl Default for Decision {
    fn default() -> Self {
        Self {
            action: Action::Log,
            level: Level::None,
            score: 0,
            is_in_force: false,
            verdict: None,
            remark: None,
            flows: Vec::new(),
        }
    }
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new(config_hash: Arc<str>, assets: Option<HashMap<IpAddr, Box<str>>>) -> Self {
        Self { config_hash, assets, minute: None, made: 0, unmade: 0, gravest: 0 }
    }

    /// Whether a decision is to be told: once a day for each action, and again when the evidence has
    /// grown fourfold. It counts as told then.
    pub(super) fn is_due(entry: &mut Entry, action: Action, now: Timestamp) -> bool {
        let evidence = entry.evidence();
        let told = &mut entry.history().told[action as usize];
        let secs = u32::try_from(now.parts().0).unwrap_or(0).max(1);
        let is_due = told.secs == 0
            || secs.saturating_sub(told.secs) >= DAY_SECS
            || evidence >= 4.0 * told.evidence.max(1.0);
        if is_due {
            *told = Told { secs, evidence };
        }
        is_due
    }

    /// Tells a decision about a source.
    pub(super) fn tell(
        &mut self,
        entry: &Entry,
        address: IpAddr,
        decision: &Decision,
        at: (Timestamp, &Policy, &Networks),
        out: &mut Vec<Alert>,
    ) {
        let (now, policy, networks) = at;
        let weights = reasons::weights(entry, policy);
        let mut sentences: Vec<_> =
            weights.iter().map(|weight| reasons::sentence(weight, entry)).collect();
        sentences.extend(decision.remark.clone());
        let details = self.details(entry, address, decision, weights, at);
        let alert = Alert {
            time: now,
            origin: entry.origin,
            source: address,
            action: decision.action,
            risk_score: decision.score,
            reasons: sentences,
            ordinal: 0,
            names: Names::default(),
            details: Box::new(Details {
                is_alert: decision.level >= Level::Alert
                    && is_for_people(entry, decision, at, networks.internal.contains(address)),
                ..details
            }),
        };
        self.push(alert, out);
    }

    fn details(
        &self,
        entry: &Entry,
        address: IpAddr,
        decision: &Decision,
        weights: Vec<Weight>,
        (now, _, networks): (Timestamp, &Policy, &Networks),
    ) -> Details {
        let rule = heaviest(&weights, decision);
        let is_from_inside = networks.internal.contains(address);
        let is_proven = entry.is_proven(now);
        let target = entry.favourite;
        let destination = (!target.address.is_unspecified()).then(|| destination(target));
        let asset =
            if is_from_inside { Some(address) } else { destination.map(|target| target.address) };
        Details {
            rule,
            is_alert: false,
            is_in_force: decision.is_in_force,
            is_from_inside,
            is_spoofable: !is_proven && weights.iter().all(|weight| weight.signal.is_spoofable()),
            // Two independent signals, and a path that nobody can have made up, are as sure as it gets.
            confidence: match (is_proven, weights.len()) {
                (true, 2..) => 95,
                (true, _) => 80,
                (false, 2..) => 60,
                (false, _) => 40,
            },
            destination,
            signals: weights,
            verdict: decision.verdict,
            asset,
            host: asset.and_then(|asset| self.host(asset)),
            config_hash: Arc::clone(&self.config_hash),
            community_ids: decision.flows.clone(),
        }
    }

    fn host(&self, asset: IpAddr) -> Option<Box<str>> {
        self.assets.as_ref()?.get(&asset).cloned()
    }

    /// Tells a flood: it is about its destination.
    pub(super) fn tell_flood(
        &mut self,
        flood: Flood,
        origin: ObservationPoint,
        (now, policy, networks): (Timestamp, &Policy, &Networks),
        out: &mut Vec<Alert>,
    ) {
        let Flood { destination: address, port, open, sum } = flood;
        let score = policy.settings.levels.alert;
        let reason = format!(
            "{open} handshakes within a second were begun at {address} port {port} and not \
             completed, {sum:.1} times what is usual"
        );
        let weight = Weight {
            signal: Signal::DestinationFlood,
            value: open,
            threshold: super::judge::whole(policy.settings.signals.destination_flood.min_mean),
            points: score,
        };
        let alert = Alert {
            time: now,
            origin,
            source: nobody(address),
            action: Action::Alert,
            risk_score: score,
            reasons: vec![reason.into()],
            ordinal: u32::from(port),
            names: Names::default(),
            details: Box::new(Details {
                rule: Signal::DestinationFlood,
                is_alert: networks.internal.contains(address),
                is_spoofable: true,
                confidence: 60,
                destination: Some(Destination {
                    address,
                    port: Some(port),
                    transport: Transport::TCP,
                }),
                signals: vec![weight],
                asset: Some(address),
                host: self.host(address),
                config_hash: Arc::clone(&self.config_hash),
                ..Details::default()
            }),
        };
        self.push(alert, out);
    }

    /// Tells that an outage has begun, or is over: it is about nobody.
    pub(super) fn tell_outage(
        &mut self,
        reason: String,
        is_on: bool,
        (time, origin): (Timestamp, ObservationPoint),
        out: &mut Vec<Alert>,
    ) {
        let alert = Alert {
            time,
            origin,
            source: std::net::Ipv4Addr::UNSPECIFIED.into(),
            action: Action::Refused,
            risk_score: 0,
            reasons: vec![reason.into()],
            ordinal: u32::from(is_on),
            names: Names::default(),
            details: Box::new(Details {
                rule: Signal::DestinationFlood,
                is_alert: is_on,
                is_spoofable: true,
                config_hash: Arc::clone(&self.config_hash),
                ..Details::default()
            }),
        };
        self.push(alert, out);
    }

    /// Hands an alert on, or counts it for the minute's aggregate.
    fn push(&mut self, alert: Alert, out: &mut Vec<Alert>) {
        self.reach(alert.time, out);
        self.minute.get_or_insert(alert.time);
        if self.made < MAX_A_MINUTE {
            self.made += 1;
            out.push(alert);
        } else {
            self.unmade += 1;
            self.gravest = self.gravest.max(alert.risk_score);
        }
    }

    /// Event time has come to `now`: what exceeded the last minute's records is one.
    pub(super) fn reach(&mut self, now: Timestamp, out: &mut Vec<Alert>) {
        if self.minute.is_none_or(|minute| now.since(minute) < MINUTE_NANOS) {
            return;
        }
        if self.unmade > 0 {
            out.push(self.rest(now));
        }
        (self.minute, self.made, self.unmade, self.gravest) = (None, 0, 0, 0);
    }

    /// What exceeds the records of the present minute, as one.
    pub(super) fn finish(&mut self, out: &mut Vec<Alert>) {
        if let Some(minute) = self.minute.take()
            && self.unmade > 0
        {
            out.push(self.rest(minute));
        }
        (self.made, self.unmade, self.gravest) = (0, 0, 0);
    }

    fn rest(&self, time: Timestamp) -> Alert {
        let reason =
            format!("{} further records were due within a minute and are left out", self.unmade);
        Alert {
            time,
            origin: ObservationPoint::default(),
            source: std::net::Ipv4Addr::UNSPECIFIED.into(),
            action: Action::Alert,
            risk_score: self.gravest,
            reasons: vec![reason.into()],
            ordinal: 0,
            names: Names::default(),
            details: Box::new(Details {
                is_alert: true,
                is_spoofable: true,
                config_hash: Arc::clone(&self.config_hash),
                ..Details::default()
            }),
        }
    }
}

/// The rule of a record. What is dropped is never only for a rate.
fn heaviest(weights: &[Weight], decision: &Decision) -> Signal {
    let is_block = decision.level == Level::Block;
    let of = |weight: &&Weight| {
        !is_block || weight.signal.category() != "denial_of_service" || weights.len() == 1
    };
    weights.iter().find(of).or(weights.first()).map_or(Signal::Scan, |weight| weight.signal)
}

/// Whether a record is worth somebody's attention: an internet-facing fleet would else drown its
/// analysts in background scans.
fn is_for_people(
    entry: &Entry,
    decision: &Decision,
    (now, policy, _): (Timestamp, &Policy, &Networks),
    is_inside: bool,
) -> bool {
    let tries = entry.counts[Signal::AuthAttempts.index()] > 0.0;
    let is_met = entry.is_proven(now) && (tries || entry.destinations >= SEVERAL);
    is_inside
        || is_met
        || decision.action == Action::Refused
        || policy.settings.external == External::Alert
}

fn destination(target: Target) -> Destination {
    let has_port = target.transport.has_ports() && target.port > 0;
    let port = has_port.then_some(target.port);
    Destination { address: target.address, port, transport: target.transport }
}

/// The address that stands for all others of its version.
fn nobody(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
