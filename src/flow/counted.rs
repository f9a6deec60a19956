//! Flows that somebody else counts, the kernel: sums since each flow began → reports of deltas.
//!
//! Data passes: [`Counters`], a map behind a small trait, looked through every second or so → [`Ledger`], which knows
//! what was reported of each flow, and ends those whose time has come → records. A flow is taken out in three steps,
//! so that no packet is lost between the last look at it and its removal: it is marked, whoever counts stops counting
//! to it, and only then it is read and removed. Where a packet begins another flow of a key, the one that had it comes
//! by itself, and is over.
//!
//! What a flow is, who began it, when it ends and which id it has is as with packets ([`super`]), as far as sums and
//! control bits tell: there is no history, and its state is made of the control bits of both ends.

mod judged;
mod rates;
#[cfg(test)]
mod tests;
mod totals;

use std::{collections::HashMap, error::Error, fmt, hash::Hash};

pub use self::totals::{Marks, Now, Sent, Totals};
use self::{judged::Judged, rates::Rates};
use super::{
    key::{self, Oriented, Place},
    policy::Policy,
};
use crate::record::{
    CommunityId, Contact, EndReason, Endpoint, Flow, FlowTags, Icmp, IcmpPorts, Layer4,
    ObservationPoint, Timestamp, Vlans,
};

/// How many flows [`Counters::past`] may give at once.
pub const MAX_PAST: usize = 8_192;

/// What counts packets by flow.
pub trait Counters: fmt::Debug + Send {
    /// What it knows a flow by.
    type Key: Copy + Eq + Hash + fmt::Debug + Send;
    /// Why it can't be used.
    type Error: Error;

    /// Gives each flow there is. One that begins or is taken out meanwhile may be among them or not.
    ///
    /// # Errors
    /// If it can't be read, perhaps after some were given.
    fn sweep(&mut self, take: &mut dyn FnMut(Self::Key, Totals)) -> Result<(), Self::Error>;

    /// Gives each flow whose key a packet took for another flow, once: [`MAX_PAST`] at most.
    ///
    /// # Errors
    /// If they can't be read, perhaps after some were given.
    fn past(&mut self, take: &mut dyn FnMut(Self::Key, Totals)) -> Result<(), Self::Error>;

    /// Nothing more is to be counted to these flows: their packets have no flow until they are taken out.
    ///
    /// # Errors
    /// If they can't be marked, perhaps after some were.
    fn end(&mut self, keys: &[Self::Key]) -> Result<(), Self::Error>;

    /// Nothing more is to be counted at all.
    ///
    /// # Errors
    /// If it can't be told.
    fn stop(&mut self) -> Result<(), Self::Error>;

    /// Waits until what was begun before [`end`](Self::end) or [`stop`](Self::stop) is counted.
    fn settle(&mut self);

    /// Takes a flow out, with all that was counted to it; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be taken out.
    fn take(&mut self, key: &Self::Key) -> Result<Option<Totals>, Self::Error>;
}

/// What was reported of flows.
#[derive(Debug)]
pub struct Ledger<K> {
    policy: Policy,
    origin: ObservationPoint,
    /// Whether packets of both directions pass by where it counts.
    sees_replies: bool,
    /// Flows of which something was reported before their end, by their key and the time of their first packet: a key
    /// may have had another flow.
    reported: HashMap<(K, u64), Reported>,
    /// Flows that are being taken out, with the time of their first packet, and why.
    ending: HashMap<K, (u64, EndReason)>,
    active: u64,
    sums: Sums,
    /// What is told of sources and ports, if anybody reads it.
    rates: Option<Rates<K>>,
}

/// What all reports together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
}

/// The last report of a flow.
#[derive(Debug, Clone, Copy)]
struct Reported {
    totals: Totals,
    began: Timestamp,
    end: Timestamp,
    sequence: u32,
    at_ns: u64,
}

// === impl Ledger ===

impl<K: Copy + Eq + Hash + fmt::Debug + Send> Ledger<K> {
    /// One for flows that are seen at `origin`.
    pub fn new(policy: Policy, origin: ObservationPoint, sees_replies: bool) -> Self {
        Self {
            policy,
            origin,
            sees_replies,
            reported: HashMap::new(),
            ending: HashMap::new(),
            active: 0,
            sums: Sums::default(),
            rates: None,
        }
    }

    /// The same, which also counts what sources send, of so many flows at most.
    #[must_use]
    pub fn with_rates(self, max_flows: usize) -> Self {
        Self { rates: Some(Rates::new(max_flows)), ..self }
    }

    /// What each source sent since this was last asked, and how often each port was tried: contacts of
    /// [`Outcome::Counts`](crate::record::Outcome::Counts), each as of one second. None without
    /// [`with_rates`](Self::with_rates).
    pub fn tell_rates(&mut self, now: Now, out: &mut dyn FnMut(Contact)) {
        if let Some(rates) = &mut self.rates {
            rates.tell(self.origin, now, out);
        }
    }

    /// Looks through all flows, and reports those that have ended or are due, as long as there is `room` for so many;
    /// the others wait where they are counted.
    ///
    /// # Errors
    /// If the counters can't be used; what is missing is done the next time.
    pub fn turn<C: Counters<Key = K>>(
        &mut self,
        counters: &mut C,
        now: Now,
        room: &dyn Fn() -> usize,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), C::Error> {
        let mut active = 0;
        if room() >= MAX_PAST {
            self.take_past(counters, now, out)?;
        }
        counters.sweep(&mut |key, totals| {
            active += 1;
            self.look(key, &totals, now, room, out);
        })?;
        self.active = active;
        if let Some(rates) = &mut self.rates {
            rates.swept(now);
        }
        self.take_out(counters, now, room(), out)
    }

    /// Reports all flows, as nothing more is counted from now on.
    ///
    /// # Errors
    /// If the counters can't be used: then of some flows packets are missing that were counted.
    pub fn finish<C: Counters<Key = K>>(
        &mut self,
        counters: &mut C,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), C::Error> {
        counters.stop()?;
        counters.settle();
        let taken = self.take_past(counters, now, out);
        let swept = counters.sweep(&mut |key, totals| {
            let reason = match self.ending.remove(&key) {
                Some((first_ns, reason)) if first_ns == totals.first_ns => reason,
                _ => self.of_its_own(&totals),
            };
            self.report(key, &totals, reason, now, out);
        });
        self.active = 0;
        // What was not found again ends as it was reported.
        let left: Vec<_> =
            self.reported.iter().map(|((key, _), last)| (*key, last.totals)).collect();
        for (key, totals) in left {
            self.report(key, &totals, EndReason::Forced, now, out);
        }
        taken.and(swept)
    }

    /// Reports flows whose key another one took.
    fn take_past<C: Counters<Key = K>>(
        &mut self,
        counters: &mut C,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), C::Error> {
        counters.past(&mut |key, totals| {
            let reason = self.of_its_own(&totals);
            self.report(key, &totals, reason, now, out);
        })
    }

    /// Why a flow ended that did not end by its time.
    fn of_its_own(&self, totals: &Totals) -> EndReason {
        let judged = Judged::of(totals, &self.policy, self.sees_replies);
        if judged.is_over() { EndReason::EndDetected } else { EndReason::Forced }
    }

    /// Flows that there were at the last look.
    pub fn active(&self) -> u64 {
        self.active
    }

    /// What all reports so far say.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// Looks at one flow.
    fn look(
        &mut self,
        key: K,
        totals: &Totals,
        now: Now,
        room: &dyn Fn() -> usize,
        out: &mut dyn FnMut(Flow),
    ) {
        let last = self.reported.get(&(key, totals.first_ns));
        // It was read while a packet began another one: what it had comes by itself.
        if last.is_some_and(|last| !last.totals.is_within(totals)) {
            return;
        }
        if totals.is_ending {
            self.ending.entry(key).or_insert((totals.first_ns, EndReason::Forced));
            return;
        }
        let judged = Judged::of(totals, &self.policy, self.sees_replies);
        if let Some(rates) = &mut self.rates {
            rates.note(key, totals, judged, self.sees_replies);
        }
        let (since_ns, timeout) = judged.deadline(totals, &self.policy.timeouts);
        if now.counted_ns.saturating_sub(since_ns) >= timeout {
            let reason = if judged.is_over() { EndReason::EndDetected } else { EndReason::Idle };
            self.ending.insert(key, (totals.first_ns, reason));
            return;
        }
        // It went on while there was no room for its end.
        self.ending.remove(&key);
        let Some(active) = self.policy.timeouts.active else { return };
        let reported_ns = last.map_or(totals.first_ns, |last| last.at_ns);
        let has_news = last.is_none_or(|last| last.totals.sent != totals.sent);
        let is_due = has_news && now.counted_ns.saturating_sub(reported_ns) >= active;
        if is_due && room() > 0 {
            self.report(key, totals, EndReason::Active, now, out);
        }
    }

    /// Takes out what is ending, `most` flows of it.
    fn take_out<C: Counters<Key = K>>(
        &mut self,
        counters: &mut C,
        now: Now,
        most: usize,
        out: &mut dyn FnMut(Flow),
    ) -> Result<(), C::Error> {
        let ending = self.ending.iter().take(most).map(|(key, reason)| (*key, *reason));
        let ending: Vec<_> = ending.collect();
        if ending.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = ending.iter().map(|(key, _)| *key).collect();
        counters.end(&keys)?;
        counters.settle();
        for (key, (first_ns, reason)) in ending {
            let totals = counters.take(&key)?;
            self.ending.remove(&key);
            self.active = self.active.saturating_sub(1);
            match totals {
                // Another one had the key since: it is cut in two here.
                Some(totals) if totals.first_ns != first_ns => {
                    self.report(key, &totals, EndReason::Forced, now, out);
                }
                Some(totals) => self.report(key, &totals, reason, now, out),
                // Who else took it out has what was counted since.
                None => {
                    let last = self.reported.get(&(key, first_ns)).map(|last| last.totals);
                    if let Some(totals) = last {
                        self.report(key, &totals, reason, now, out);
                    } else if let Some(rates) = &mut self.rates {
                        rates.forget(key, first_ns);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reports what came since the last report.
    fn report(
        &mut self,
        key: K,
        totals: &Totals,
        reason: EndReason,
        now: Now,
        out: &mut dyn FnMut(Flow),
    ) {
        let last = self.reported.remove(&(key, totals.first_ns));
        if reason != EndReason::Active
            && let Some(rates) = &mut self.rates
        {
            let judged = Judged::of(totals, &self.policy, self.sees_replies);
            rates.note(key, totals, judged, self.sees_replies);
            rates.forget(key, totals.first_ns);
        }
        // A flow that was begun is one when its first packet is counted.
        if last.is_none() && totals.is_empty() {
            return;
        }
        let flow = self.flow(totals, last.as_ref(), reason, now);
        self.sums.packets += flow.packets();
        self.sums.bytes += flow.bytes();
        if reason == EndReason::Active {
            let (began, end) = (flow.began, flow.end);
            let (totals, at_ns) = (*totals, now.counted_ns);
            let sequence = flow.sequence;
            self.reported
                .insert((key, totals.first_ns), Reported { totals, began, end, sequence, at_ns });
        }
        out(flow);
    }

    fn flow(
        &self,
        totals: &Totals,
        last: Option<&Reported>,
        end_reason: EndReason,
        now: Now,
    ) -> Flow {
        let judged = Judged::of(totals, &self.policy, self.sees_replies);
        let header = totals.header();
        let vlans = if self.policy.vlan_in_key { totals.vlans } else { Vlans::default() };
        let place = Place { vlans, origin: self.origin, tunnel: None };
        let oriented = Oriented::of(&header, totals.transport, &totals.layer4, place);
        let began = last.map_or_else(|| now.at(totals.first_ns), |last| last.began);
        let before = last.map_or([Sent::default(); 2], |last| last.totals.sent);
        let is_quiet = totals.sent == before;
        // When an interval's first packet came is not counted: it begins where the last one ended.
        let start = last.map_or(began, |last| last.end);
        let end = if is_quiet { start } else { now.at(totals.last_ns).max(start) };
        let endpoint = |of_first: bool| {
            let at = usize::from(!of_first);
            let (sent, before) = (totals.sent[at], before[at]);
            let (address, port) = oriented.key.end(oriented.from_low == of_first);
            let packets = sent.packets.saturating_sub(before.packets);
            let bytes = sent.bytes.saturating_sub(before.bytes);
            Endpoint { tcp_flags: sent.flags, ..Endpoint::new(address, port).sent(packets, bytes) }
        };
        let (initiator, responder) =
            (endpoint(!judged.is_flipped()), endpoint(judged.is_flipped()));
        let icmp = icmp(totals, judged.is_flipped());
        let id = key::id(&self.policy.observer, &oriented.key, began, 0);
        let direction = self.policy.direction(initiator.address, responder.address);
        let community_id = match icmp {
            Some(icmp) => {
                CommunityId::of_icmp(totals.transport, initiator.address, responder.address, icmp)
            }
            None => CommunityId::of_ports(
                totals.transport,
                (initiator.address, initiator.port),
                (responder.address, responder.port),
            ),
        };
        Flow {
            sequence: last.map_or(0, |last| last.sequence.saturating_add(1)),
            began,
            start,
            end,
            origin: self.origin,
            vlans: totals.vlans,
            icmp,
            conn_state: judged.conn_state(totals),
            end_reason,
            direction,
            community_id,
            tags: tags(totals),
            ..Flow::new(id, totals.transport, initiator, responder)
        }
    }
}

/// Type and code of the initiator's ICMP message.
fn icmp(totals: &Totals, is_flipped: bool) -> Option<Icmp> {
    let Layer4::Icmp(message) = totals.layer4 else { return None };
    if !is_flipped {
        return Some(message);
    }
    let answer = IcmpPorts::of(totals.transport, message).destination;
    Some(Icmp { kind: u8::try_from(answer).unwrap_or(0), ..message })
}

/// What else is to be known of a flow.
fn tags(totals: &Totals) -> FlowTags {
    let mut tags = FlowTags::default();
    let marks = Marks(totals.sent[0].marks.0 | totals.sent[1].marks.0);
    if totals.sent.iter().any(|sent| sent.packets == 0) {
        tags.insert(FlowTags::ONE_WAY);
    }
    if marks.has(Marks::DAMAGED) {
        tags.insert(FlowTags::DAMAGED);
    }
    if marks.has(Marks::LATER) && totals.layer4 == Layer4::Opaque {
        tags.insert(FlowTags::PORTLESS_FRAGMENTS);
    }
    tags
}
