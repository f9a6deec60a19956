//! What became of each source of one input.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

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
}

/// Judges an input while it is read.
#[derive(Debug)]
pub(super) struct Observer {
    judge: Judge,
    judged: Judged,
    told: Vec<Alert>,
    networks: Arc<Networks>,
}

// === impl Observer ===

impl Observer {
    pub(super) fn new(settings: Settings, networks: Arc<Networks>) -> Self {
        // A verdict of a tuning run is one that would have been.
        let judge = Judge::new(settings.at_once(), Arc::clone(&networks), Seat::default());
        Self { judge, judged: Judged::default(), told: Vec::new(), networks }
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
        self.judge.take(&contact, is_resolved, contact.time, &mut self.told);
        for alert in std::mem::take(&mut self.told) {
            self.told_of(alert);
        }
        self.judged.contacts.push((contact, is_resolved));
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
        for (address, met) in &mut self.judged.sources {
            let source = Source::of(*address, &self.networks.internal);
            met.max_score = scores.get(&source).copied().unwrap_or(0);
        }
        self.judged.sources.retain(|address, _| !address.is_unspecified());
        self.judged
    }
}
