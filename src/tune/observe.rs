//! What became of each source of one input.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use serde::Serialize;

use crate::{
    networks::Networks,
    record::{Action, Alert, Contact, Outcome, Timestamp, Transport},
    score::{Judge, Seat, Settings, Source},
};

/// The gravest that a source got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravest {
    /// Nothing, or a mere record.
    #[default]
    None,
    /// An alert.
    Alert,
    /// A rate limit.
    RateLimit,
    /// A block, or one that would have been.
    Block,
}

/// A source as the judge met it.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// When it was seen first.
    pub first: Option<Timestamp>,
    /// Packets that it sent.
    pub packets: u64,
    /// First contacts that came to something.
    pub contacts: u32,
    /// The highest score it had.
    pub max_score: u8,
    /// The gravest that it got.
    pub verdict: Gravest,
    /// When it was first alerted on, and first blocked.
    pub alerted: Option<Timestamp>,
    /// The same of a block.
    pub blocked: Option<Timestamp>,
    /// Packets before that.
    pub packets_before_block: u64,
    /// Why, from the gravest record.
    pub reasons: Vec<Box<str>>,
    /// Which rule.
    pub rule: Option<&'static str>,
}

/// What one input gave.
#[derive(Debug, Default)]
pub struct Judged {
    /// Its sources.
    pub sources: HashMap<IpAddr, Met>,
    /// The records that were made.
    pub alerts: Vec<Alert>,
    /// The contacts, to be judged again otherwise, each with whether its source had resolved its destination.
    pub contacts: Vec<(Contact, bool)>,
    /// First contacts of sources that mean well, and how many of them succeeded, by source.
    pub firsts: HashMap<IpAddr, [u32; 2]>,
    /// The networks that it was judged by.
    pub networks: Arc<Networks>,
}

/// Judges an input while it is read.
#[derive(Debug)]
pub(super) struct Observer {
    judge: Judge,
    judged: Judged,
    told: Vec<Alert>,
    /// Of the addresses that are judged as one network, those whose own contacts spoke against it.
    raisers: HashSet<IpAddr>,
}

// === impl Observer ===

impl Observer {
    pub(super) fn new(settings: Settings, networks: Arc<Networks>) -> Self {
        // A verdict of a tuning run is one that would have been.
        let judge = Judge::new(settings.at_once(), Arc::clone(&networks), Seat::default());
        let judged = Judged { networks, ..Judged::default() };
        let told = Vec::new();
        Self { judge, judged, told, raisers: HashSet::new() }
    }

    /// `packets` of a source at `time`. To be told after the contacts that come of them.
    pub(super) fn packets(&mut self, source: IpAddr, time: Timestamp, packets: u64) {
        let met = self.judged.sources.entry(source).or_default();
        met.first = Some(met.first.map_or(time, |first| first.min(time)));
        met.packets += packets;
    }

    /// A contact, whose source had resolved the destination's name or not.
    pub(super) fn contact(&mut self, contact: Contact, is_resolved: bool) {
        let reached = match contact.outcome {
            Outcome::Success => Some(true),
            Outcome::Refused => Some(false),
            Outcome::TimedOut => (contact.transport != Transport::UDP).then_some(false),
            _ => None,
        };
        if let Some(reached) = reached {
            let [all, succeeded] = self.judged.firsts.entry(contact.source).or_default();
            *all += 1;
            *succeeded += u32::from(reached);
            self.judged.sources.entry(contact.source).or_default().contacts += 1;
        }
        let is_shared = self.network(contact.source).is_some();
        // What these outcomes bring shows in the score alone.
        let may_weigh = is_shared
            && matches!(
                contact.outcome,
                Outcome::Ended { .. } | Outcome::Open { .. } | Outcome::Counts { .. }
            );
        let risk = |judge: &Judge| judge.risk(contact.source, contact.time).unwrap_or(0);
        let before = may_weigh.then(|| risk(&self.judge));
        self.judge.take(&contact, is_resolved, contact.time, &mut self.told);
        let has_risen = before.is_some_and(|before| risk(&self.judge) > before);
        if has_risen || (is_shared && is_evidence(&contact)) {
            self.raisers.insert(contact.source);
        }
        for alert in std::mem::take(&mut self.told) {
            self.told_of(alert);
        }
        self.judged.contacts.push((contact, is_resolved));
    }

    /// The network that an address is judged with; `None` if it is judged alone.
    fn network(&self, address: IpAddr) -> Option<Source> {
        if address.is_ipv4() {
            return None;
        }
        let source = Source::of(address, &self.judged.networks.internal);
        let network = source.network();
        (network.prefix_len() < network.max_prefix_len()).then_some(source)
    }

    fn told_of(&mut self, alert: Alert) {
        let met = self.judged.sources.entry(alert.source).or_default();
        let verdict = match alert.action {
            Action::RateLimit => Gravest::RateLimit,
            Action::Block | Action::WouldBlock => Gravest::Block,
            // What was refused is alerted on all the same.
            Action::Alert | Action::Refused => Gravest::Alert,
            Action::Log | Action::Unblock | Action::Expire => Gravest::None,
        };
        met.first.get_or_insert(alert.time);
        if verdict >= Gravest::Alert {
            met.alerted.get_or_insert(alert.time);
        }
        if verdict == Gravest::Block && met.blocked.is_none() {
            met.blocked = Some(alert.time);
            met.packets_before_block = met.packets;
        }
        if verdict > met.verdict || met.reasons.is_empty() {
            met.reasons.clone_from(&alert.reasons);
            met.rule = Some(alert.details.rule.name());
        }
        met.verdict = met.verdict.max(verdict);
        self.judged.alerts.push(alert);
    }

    /// There is no more.
    pub(super) fn finish(mut self) -> Judged {
        self.judge.finish(&mut self.told);
        let scores: HashMap<Source, u8> = self.judge.sources().collect();
        let gravest = self.gravest();
        let mut sources = std::mem::take(&mut self.judged.sources);
        sources.retain(|address, _| !address.is_unspecified());
        for (address, met) in &mut sources {
            let network = self.network(*address);
            if network.is_some() && !self.raisers.contains(address) {
                // Its neighbours spoke against the network, and it did not.
                continue;
            }
            let source = Source::of(*address, &self.judged.networks.internal);
            met.max_score = scores.get(&source).copied().unwrap_or(0);
            if let Some(gravest) = network.and_then(|network| gravest.get(&network)) {
                met.share(gravest);
            }
        }
        self.judged.sources = sources;
        self.judged
    }

    /// What the networks got of which several addresses were met, from the address that it was told of.
    fn gravest(&self) -> HashMap<Source, Met> {
        let mut gravest: HashMap<Source, Met> = HashMap::new();
        for address in &self.raisers {
            if let Some(met) = self.judged.sources.get(address)
                && let Some(network) = self.network(*address)
            {
                let known = gravest.entry(network).or_default();
                if met.verdict > known.verdict {
                    *known = met.clone();
                }
            }
        }
        gravest
    }
}

/// Whether a contact speaks against its source by itself, be it too little to show in a score.
fn is_evidence(contact: &Contact) -> bool {
    match contact.outcome {
        Outcome::Refused
        | Outcome::OddFlags(_)
        | Outcome::SplitHeader
        | Outcome::AckProbe
        | Outcome::Echo => true,
        Outcome::TimedOut => contact.transport != Transport::UDP,
        _ => false,
    }
}

// === impl Met ===

impl Met {
    /// What its whole network got, it got too. How many of its packets came before that nobody knows.
    fn share(&mut self, gravest: &Self) {
        if gravest.verdict <= self.verdict {
            return;
        }
        self.verdict = gravest.verdict;
        self.alerted = self.alerted.or(gravest.alerted);
        self.blocked = self.blocked.or(gravest.blocked);
        self.packets_before_block = self.packets;
        self.reasons.clone_from(&gravest.reasons);
        self.rule = gravest.rule;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::ObservationPoint,
        score::{Block, CircuitBreaker, External, Levels, Signals},
    };

    fn observer(inside: &str) -> Observer {
        let settings = Settings {
            levels: Levels::default(),
            signals: Signals::default(),
            block: Block::default(),
            circuit_breaker: CircuitBreaker::default(),
            warmup_secs: 0,
            max_sources: 1_000,
            external: External::default(),
        };
        let internal = [inside.parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
        Observer::new(settings, Arc::new(Networks { internal, ..Networks::default() }))
    }

    fn tell(observer: &mut Observer, source: &str, number: u16, outcome: Outcome) {
        let time = Timestamp::from_nanos(1_700_000_000_000_000_000 + i64::from(number));
        let source = source.parse().unwrap();
        let contact = Contact {
            time,
            origin: ObservationPoint::default(),
            source,
            destination: [192, 0, 2, 1].into(),
            port: number,
            source_port: 0,
            transport: Transport::TCP,
            outcome,
            path_proven: outcome == Outcome::Success,
        };
        observer.contact(contact, false);
        observer.packets(source, time, 1);
    }

    #[test]
    fn of_a_64_each_address_has_what_its_own_contacts_brought_it() {
        const SCANNER: &str = "2001:db8::1";
        const HELPER: &str = "2001:db8::2";
        const NEIGHBOUR: &str = "2001:db8::3";
        for (inside, helper, neighbour) in
            [("10.0.0.0/8", Gravest::Block, 0), ("2001:db8::/64", Gravest::None, 0)]
        {
            let mut observer = observer(inside);
            for number in 1..30 {
                tell(&mut observer, NEIGHBOUR, 443, Outcome::Success);
                let source = if number % 10 == 0 { HELPER } else { SCANNER };
                tell(&mut observer, source, number, Outcome::Refused);
            }
            let judged = observer.finish();
            let met = |address: &str| &judged.sources[&address.parse::<IpAddr>().unwrap()];
            assert_eq!(met(SCANNER).verdict, Gravest::Block, "{inside}");
            assert!(met(SCANNER).max_score >= 80);
            assert_eq!(met(HELPER).verdict, helper, "{inside}");
            assert_eq!(met(HELPER).max_score >= 80, helper == Gravest::Block, "{inside}");
            assert_eq!(met(HELPER).blocked.is_some(), helper == Gravest::Block, "{inside}");
            assert_eq!(met(NEIGHBOUR).verdict, Gravest::None, "{inside}");
            assert_eq!(met(NEIGHBOUR).max_score, neighbour, "{inside}");
        }
    }
}
