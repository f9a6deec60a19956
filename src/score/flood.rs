//! Floods of a destination: handshakes that are begun there and not completed, summed up over what is
//! usual.

use std::{hash::RandomState, net::IpAddr};

use super::{recent::Recent, settings::DestinationFlood};
use crate::record::{Contact, Outcome, Timestamp};

/// Destinations' ports that are followed.
const MAX_TARGETS: usize = 1 << 16;
const HOUR_NANOS: u64 = 3_600_000_000_000;
/// Weight of the newest second in the mean.
const NEWEST: f64 = 0.1;
/// The sum goes no higher: a flood is over within so many quiet seconds divided by the drift.
const CEILING: f64 = 10.0;

/// The sums of all targets.
#[derive(Debug)]
pub(super) struct Floods {
    targets: Recent<(IpAddr, u16), Sum, RandomState>,
}

#[derive(Debug, Default)]
struct Sum {
    over: f64,
    mean: f64,
    last: Option<Timestamp>,
    told: Option<Timestamp>,
}

/// A flood that has just begun.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Flood {
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    /// Handshakes that were not completed within the second.
    pub(super) open: u64,
    pub(super) sum: f64,
}

// === impl Floods ===

impl Floods {
    pub(super) fn new() -> Self {
        Self { targets: Recent::new(MAX_TARGETS, HOUR_NANOS, RandomState::new()) }
    }

    /// Takes the counts of a (destination, port) in; a flood is told once an hour.
    pub(super) fn take(
        &mut self,
        contact: &Contact,
        now: Timestamp,
        settings: &DestinationFlood,
    ) -> Option<Flood> {
        let Outcome::Counts { syns, completed, .. } = contact.outcome else { return None };
        let key = (contact.destination, contact.port);
        let (syns, completed) = (number(syns), number(completed));
        let is_usual = syns - completed <= settings.drift * settings.min_mean;
        if is_usual && self.targets.known(&key).is_none() {
            return None;
        }
        let target = self.targets.entry(key, now);
        if let Some(last) = target.last {
            let quiet = f64::from(super::ledger::seconds(now.since(last))) - 1.0;
            target.over = (target.over - quiet.max(0.0) * settings.drift).max(0.0);
        }
        target.last = Some(now);
        let excess = (syns - completed) / target.mean.max(settings.min_mean);
        target.over = (target.over + excess - settings.drift).clamp(0.0, CEILING);
        target.mean += NEWEST * (completed - target.mean);
        let is_flood = target.over > settings.threshold;
        let is_told = target.told.is_some_and(|told| now.since(told) < HOUR_NANOS);
        if !is_flood || is_told {
            return None;
        }
        target.told = Some(now);
        let Outcome::Counts { syns, completed, .. } = contact.outcome else { return None };
        Some(Flood {
            destination: contact.destination,
            port: contact.port,
            open: syns.saturating_sub(completed),
            sum: target.over,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 15 digits")]
fn number(count: u64) -> f64 {
    count as f64
}
