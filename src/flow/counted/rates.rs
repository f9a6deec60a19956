//! What each source sent, and how often each port was tried and reached, from one look at the counts to the next: the
//! rates a judge needs, which no single flow shows. They are told as of a second each, as those of packets are, and
//! as there without the packets of flows that are answered.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use super::{Marks, Now, Totals, judged::Judged};
use crate::{
    flow::tally::{nobody, slot},
    record::{Contact, Layer4, ObservationPoint, Outcome, Timestamp, Transport},
};

const SECOND_NS: u64 = 1_000_000_000;
/// A flow whose last packet came so long before the last whole look has no news.
const SETTLED_NS: u64 = 1_000_000_000;
/// Of a longer time between two looks the last so many seconds are told.
const MAX_SECONDS: u64 = 60;

/// The rates since the last look.
#[derive(Debug)]
pub(super) struct Rates<K> {
    /// Flows that are followed at most.
    max_flows: usize,
    /// What was seen of each flow, by its key and the time of its first packet.
    noted: HashMap<(K, u64), Noted>,
    sources: HashMap<IpAddr, Sent>,
    targets: HashMap<(IpAddr, u16), Aimed>,
    /// When all flows were looked through.
    swept_ns: u64,
    told_ns: Option<u64>,
}

/// What was seen of a flow so far.
#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    packets: [u64; 2],
    syns: u64,
    completed: u64,
}

#[derive(Debug, Default)]
struct Sent {
    packets: u64,
    syns: u64,
}

#[derive(Debug, Default)]
struct Aimed {
    syns: u64,
    completed: u64,
}

/// The seconds between two looks: one at least.
#[derive(Debug, Clone, Copy)]
struct Span {
    seconds: u64,
    /// Those of which something is told, the last ones.
    told: u64,
}

// === impl Rates ===

impl<K: Copy + Eq + Hash> Rates<K> {
    pub(super) fn new(max_flows: usize) -> Self {
        Self {
            max_flows,
            noted: HashMap::new(),
            sources: HashMap::new(),
            targets: HashMap::new(),
            swept_ns: 0,
            told_ns: None,
        }
    }

    /// Counts what came of a flow since it was last looked at. `sees_replies`: whether packets of both directions pass
    /// by.
    pub(super) fn note(&mut self, key: K, totals: &Totals, judged: Judged, sees_replies: bool) {
        if totals.last_ns.saturating_add(SETTLED_NS) < self.swept_ns {
            return;
        }
        let id = (key, totals.first_ns);
        if self.noted.len() >= self.max_flows && !self.noted.contains_key(&id) {
            return;
        }
        let is_flipped = judged.is_flipped();
        let before = self.noted.entry(id).or_default();
        let mut came = [0; 2];
        for (at, came) in came.iter_mut().enumerate() {
            // A flow may be read while another one takes its key: then less is there.
            let packets = totals.sent[at].packets.max(before.packets[at]);
            *came = packets - std::mem::replace(&mut before.packets[at], packets);
        }
        if judged.is_answered(totals, sees_replies) {
            came = [0; 2];
        }
        let (syns, completed) = handshakes(totals, judged, sees_replies);
        let syns = syns.max(before.syns) - before.syns;
        let completed = completed.max(before.completed) - before.completed;
        before.syns += syns;
        before.completed += completed;
        for (at, (source, packets)) in totals.ends.into_iter().zip(came).enumerate() {
            let syns = if (at == 1) == is_flipped { syns } else { 0 };
            if packets + syns > 0
                && let Some(sent) = slot(&mut self.sources, source)
            {
                sent.packets += packets;
                sent.syns += syns;
            }
        }
        if syns + completed > 0
            && let Layer4::TcpPorts(ports) = totals.layer4
        {
            let [source, destination] = totals.ends;
            let target =
                if is_flipped { (source, ports.source) } else { (destination, ports.destination) };
            if let Some(aimed) = slot(&mut self.targets, target) {
                aimed.syns += syns;
                aimed.completed += completed;
            }
        }
    }

    /// All flows were looked through.
    pub(super) fn swept(&mut self, now: Now) {
        self.swept_ns = now.counted_ns;
    }

    /// The flow is over.
    pub(super) fn forget(&mut self, key: K, first_ns: u64) {
        self.noted.remove(&(key, first_ns));
    }

    /// Tells what came since the last look, second by second.
    pub(super) fn tell(
        &mut self,
        origin: ObservationPoint,
        now: Now,
        out: &mut dyn FnMut(Contact),
    ) {
        let span = Span::between(self.told_ns.replace(now.counted_ns), now.counted_ns);
        for second in 1..=span.told {
            let mut tell = |ends: [IpAddr; 2], transport, port, outcome| {
                let [source, destination] = ends;
                out(Contact {
                    time: span.end(second, now.wall),
                    origin,
                    source,
                    destination,
                    port,
                    source_port: 0,
                    transport,
                    outcome,
                    path_proven: false,
                });
            };
            let share = |total| span.share(total, second);
            for (source, Sent { packets, syns }) in &self.sources {
                let (packets, syns) = (share(*packets), share(*syns));
                if packets + syns > 0 {
                    let outcome = Outcome::Counts { packets, syns, completed: 0 };
                    tell([*source, nobody(*source)], Transport(0), 0, outcome);
                }
            }
            for ((destination, port), Aimed { syns, completed }) in &self.targets {
                let (syns, completed) = (share(*syns), share(*completed));
                if syns + completed > 0 {
                    let outcome = Outcome::Counts { packets: 0, syns, completed };
                    tell([nobody(*destination), *destination], Transport::TCP, *port, outcome);
                }
            }
        }
        self.sources.clear();
        self.targets.clear();
    }
}

// === impl Span ===

impl Span {
    /// From the look before, if there was one.
    fn between(before_ns: Option<u64>, now_ns: u64) -> Self {
        let nanos = before_ns.map_or(SECOND_NS, |before| now_ns.saturating_sub(before));
        let seconds = (nanos.saturating_add(SECOND_NS / 2) / SECOND_NS).max(1);
        Self { seconds, told: seconds.min(MAX_SECONDS) }
    }

    /// When that of the seconds that are told ended; the last one ends now.
    fn end(self, second: u64, now: Timestamp) -> Timestamp {
        let ago = i64::try_from((self.told - second) * SECOND_NS).unwrap_or(0);
        Timestamp::from_nanos(now.nanos().saturating_sub(ago))
    }

    /// What of a total is this second's, as if all of it had come evenly.
    fn share(self, total: u64, second: u64) -> u64 {
        let last = self.seconds - self.told + second;
        let until = |second: u64| u128::from(total) * u128::from(second) / u128::from(self.seconds);
        u64::try_from(until(last) - until(last - 1)).unwrap_or(u64::MAX)
    }
}

/// SYNs without ACK among what the initiator sent, as far as it can be told from sums and marks, and handshakes that
/// were completed: one at most.
fn handshakes(totals: &Totals, judged: Judged, sees_replies: bool) -> (u64, u64) {
    let [first, other] = &totals.sent;
    let [initiator, responder] = if judged.is_flipped() { [other, first] } else { [first, other] };
    if totals.transport != Transport::TCP || !initiator.marks.has(Marks::SYN) {
        return (0, 0);
    }
    // It sent nothing else, and may have asked again.
    let syns = if judged.is_attempt() { initiator.packets } else { 1 };
    let is_answered = !sees_replies || responder.marks.has(Marks::SYN_ACK);
    (syns, u64::from(is_answered && initiator.marks.has(Marks::MORE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_seconds_a_minute_at_most() {
        let second = 1_000_000_000;
        for (before, now, seconds, told) in [
            (None, 5 * second, 1, 1),
            (Some(4 * second), 4 * second + 7, 1, 1),
            (Some(0), second + second / 3, 1, 1),
            (Some(0), 2 * second + second / 2, 3, 3),
            (Some(0), 600 * second, 600, 60),
        ] {
            let span = Span::between(before, now);
            assert_eq!((span.seconds, span.told), (seconds, told), "{before:?} {now}");
            let shares: Vec<_> = (1..=told).map(|second| span.share(3_000, second)).collect();
            assert_eq!(shares.iter().sum::<u64>(), 3_000 * told / seconds);
            let [least, most] = [shares.iter().min(), shares.iter().max()].map(Option::unwrap);
            assert!(most - least <= 1, "{shares:?}");
            let wall = Timestamp::from_nanos(1_000_000_000_000);
            assert_eq!(span.end(told, wall), wall);
            let first = wall.nanos() - i64::try_from((told - 1) * second).unwrap();
            assert_eq!(span.end(1, wall).nanos(), first);
        }
        let share = Span::between(Some(0), u64::MAX).share(u64::MAX, 60);
        assert!((1_000_000_000..=1_000_000_001).contains(&share), "{share}");
    }
}
