//! How fast a source sends, by token buckets: all it sends, what it sends for nothing, what it leaves half
//! open.

use std::net::IpAddr;

use super::{Evidence, FAILED, Heard, Raised, SUCCEEDED};
use crate::{
    record::{Contact, Signal, Timestamp, Transport},
    score::{
        ledger,
        policy::{Policy, single},
    },
};

/// Seconds of refill that a bucket can be overdrawn by.
const MAX_AHEAD_SECS: f64 = 30.0;
/// Refused answers within a minute or two from which on what a source sends is for nothing: a late answer
/// finds nobody, too, once in a while.
const REFUSED_ANSWERS: f64 = 3.0;

/// A token bucket; below zero it is overdrawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    last: Timestamp,
}

/// What buckets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Metered {
    Syns,
    Packets,
    HalfOpen(IpAddr, u16),
    Repeats(IpAddr, u16),
    Echoes(IpAddr),
    /// Answers that the source refused: counted, not spent.
    Refused,
}

// === impl Evidence ===

impl Evidence {
    /// What a source sent in a second, against its buckets.
    pub(super) fn rate(
        &mut self,
        heard: Heard<'_>,
        packets: u64,
        syns: u64,
        policy: &Policy,
    ) -> Option<Raised> {
        let rate = &policy.settings.signals.rate;
        let Contact { destination, port, .. } = *heard.contact;
        if destination.is_unspecified() {
            let limits = (rate.syns_per_sec, rate.syn_burst);
            let by_syns = self.spend(heard, Metered::Syns, syns, limits);
            let limits = (rate.packets_per_sec, rate.packet_burst);
            let by_packets = self.spend(heard, Metered::Packets, packets, limits);
            return self.overdrawn(heard, by_syns.max(by_packets), policy);
        }
        let is_udp = heard.contact.transport == Transport::UDP;
        if is_udp && !self.is_unwanted(heard) {
            return None;
        }
        let (metered, limits) = if is_udp {
            (Metered::Repeats(destination, port), (rate.repeats_per_sec, rate.repeat_burst))
        } else {
            (Metered::Echoes(destination), (rate.echoes_per_sec, rate.echo_burst))
        };
        let ahead = self.spend(heard, metered, packets, limits);
        self.overdrawn(heard, ahead, policy)
    }

    /// The source refused an answer to what it had sent.
    pub(super) fn refuse_answer(&mut self, heard: Heard<'_>) {
        let Heard { source, now, .. } = heard;
        let new = Bucket { tokens: 0.0, last: now };
        let bucket = self.buckets.entry((source, Metered::Refused), now).get_or_insert(new);
        bucket.tokens += 1.0;
    }

    /// Whether datagrams are for nothing: the destination refused them, or the source its answers. Of
    /// others nobody can say that they are a flood: a busy resolver's look the same.
    fn is_unwanted(&mut self, heard: Heard<'_>) -> bool {
        let Heard { contact, source, .. } = heard;
        let refused = self.buckets.known(&(source, Metered::Refused)).and_then(|bucket| *bucket);
        if refused.is_some_and(|refused| refused.tokens >= REFUSED_ANSWERS) {
            return true;
        }
        let key = self.key(contact, source);
        self.seen.get(key).is_some_and(|seen| seen & (FAILED | SUCCEEDED) == FAILED)
    }

    /// A handshake was left half open. Each port has a bucket of its own: a balancer checks hundreds.
    pub(super) fn leave_open(&mut self, heard: Heard<'_>, policy: &Policy) -> Option<Raised> {
        let rate = &policy.settings.signals.rate;
        let limits = (rate.half_open_per_sec, rate.half_open_burst);
        let metered = Metered::HalfOpen(heard.contact.destination, heard.contact.port);
        let ahead = self.spend(heard, metered, 1, limits);
        self.overdrawn(heard, ahead, policy)
    }

    /// Takes from a bucket, and gives the seconds of refill that it is overdrawn by.
    fn spend(
        &mut self,
        heard: Heard<'_>,
        metered: Metered,
        count: u64,
        (per_sec, burst): (u32, u32),
    ) -> f64 {
        let Heard { source, now, .. } = heard;
        let (count, per_sec, burst) = (float(count), f64::from(per_sec), f64::from(burst));
        // Of a bucket that is full again at once nothing need be known.
        let key = (source, metered);
        let comes_singly = matches!(metered, Metered::HalfOpen(..));
        if count <= per_sec && !comes_singly && self.buckets.known(&key).is_none() {
            return 0.0;
        }
        let new = Bucket { tokens: burst, last: now };
        let bucket = self.buckets.entry(key, now).get_or_insert(new);
        let passed = f64::from(ledger::seconds(now.since(bucket.last)));
        let tokens = (bucket.tokens + passed * per_sec).min(burst) - count;
        // A long flood is not held against its source for ever.
        *bucket = Bucket { tokens: tokens.max(-MAX_AHEAD_SECS * per_sec), last: now };
        -bucket.tokens / per_sec
    }

    fn overdrawn(&mut self, heard: Heard<'_>, ahead: f64, policy: &Policy) -> Option<Raised> {
        if ahead <= 0.0 {
            return None;
        }
        let entry = self.entry(heard, policy);
        let value = &mut entry.counts[Signal::Rate.index()];
        *value = value.max(single(ahead));
        Some(Raised { source: heard.source, signal: Signal::Rate })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 15 digits")]
fn float(count: u64) -> f64 {
    count as f64
}
