//! When flows are reported and when they end: time-outs, the limit, the end of the input.

use std::{hash::BuildHasher as _, net::IpAddr, sync::atomic::Ordering};

use super::{NEVER, Table};
use crate::{
    flow::{
        clock::Moment,
        contacts,
        entry::{Class, Progress},
        output::Output,
    },
    record::{EndReason, Flow, Id, ObservationPoint, Outcome, Timestamp, Transport},
};

/// For how long nothing has come when Zeek takes a question to be over.
const OVER_NANOS: u64 = 9_000_000_000;

/// A TCP connection that somebody tried to make.
#[derive(Debug, Clone, Copy)]
pub(in crate::flow) struct Tried {
    pub(in crate::flow) source: (ObservationPoint, IpAddr),
    /// When its SYN was captured, and when that was in the table's time.
    pub(in crate::flow) first: Timestamp,
    pub(in crate::flow) came: Timestamp,
    /// Nothing answered it yet.
    pub(in crate::flow) is_open: bool,
    slot: u32,
}

impl Table {
    /// Ends and reports what is due by `now`.
    pub(in crate::flow) fn advance(&mut self, now: Timestamp, out: &mut Output) {
        while now >= self.earliest {
            let due = self.next_due();
            let at = due.map_or(NEVER, |(_, at)| at);
            if self.survey_at <= at.min(now) && self.survey_at != NEVER {
                self.survey(out);
                continue;
            }
            self.earliest = at.min(self.survey_at);
            if let Some((slot, at)) = due.filter(|(_, at)| *at <= now) {
                self.expire(slot, at, now, out);
            } else {
                return;
            }
        }
    }

    /// When something falls due next.
    pub(in crate::flow) fn deadline(&self) -> Option<Timestamp> {
        let due = self.next_due().map(|(_, at)| at);
        due.into_iter().chain(Some(self.survey_at).filter(|at| *at != NEVER)).min()
    }

    /// Ends the flows of an observation point whose clock was set back; of `None`, all flows.
    pub(in crate::flow) fn set_back(
        &mut self,
        point: Option<ObservationPoint>,
        moment: Moment,
        out: &mut Output,
    ) {
        let of_point =
            |slot: &u32| point.is_none_or(|point| self.flows.get(*slot).key.origin() == point);
        let lists = Class::ALL.into_iter().flat_map(|class| self.waiting.iter(class as usize));
        let slots: Vec<_> = lists.filter(of_point).collect();
        for slot in slots {
            self.end(slot, EndReason::Forced, moment, out);
        }
        // It may be another capture, of other times and perhaps other hosts.
        self.fragments.clear();
        self.roles.clear();
        self.met.clear();
    }

    /// All flows by their slots, each with what its report is ordered by: its end and its id.
    pub(in crate::flow) fn all(&self) -> impl Iterator<Item = (Timestamp, Id, u32)> {
        let slots = Class::ALL.into_iter().flat_map(|class| self.waiting.iter(class as usize));
        slots.map(|slot| {
            let entry = self.flows.get(slot);
            (entry.end(), entry.id(&self.policy), slot)
        })
    }

    /// The attempts of an observation point, or of all, that may yet be answered, and those that have been.
    pub(in crate::flow) fn tried(
        &self,
        point: Option<ObservationPoint>,
    ) -> impl Iterator<Item = Tried> {
        let slots = Class::ALL.into_iter().flat_map(|class| self.waiting.iter(class as usize));
        slots.filter_map(move |slot| {
            let entry = self.flows.get(slot);
            let origin = entry.key.origin();
            let is_open = entry.contact == Progress::Attempted && entry.class == Class::Fresh;
            let is_answered = matches!(entry.contact, Progress::Answered | Progress::Followed);
            let is_tried = entry.key.transport() == Transport::TCP && (is_open || is_answered);
            if !is_tried || point.is_some_and(|point| point != origin) {
                return None;
            }
            let (source, _) = entry.key.end(entry.low_initiates);
            let waits = i64::try_from(self.timeouts[Class::Fresh as usize]).unwrap_or(i64::MAX);
            let came = Timestamp::from_nanos(entry.due.nanos().saturating_sub(waits));
            Some(Tried { source: (origin, source), first: entry.first(), came, is_open, slot })
        })
    }

    /// An attempt has failed, as no answer will be seen.
    pub(in crate::flow) fn fail(&mut self, tried: &Tried, moment: Moment, out: &mut Output) {
        let entry = self.flows.get_mut(tried.slot);
        entry.contact = Progress::TimedOut;
        let time = tried.first.saturating_add(moment.now.since(tried.came));
        out.contact(moment, contacts::of_flow(entry, Outcome::TimedOut, false, time));
    }

    /// Ends one flow before its time; if the input has ended with it, nothing says how long it went on.
    pub(in crate::flow) fn force(
        &mut self,
        slot: u32,
        is_cut_off: bool,
        moment: Moment,
        out: &mut Output,
    ) {
        let contact = &mut self.flows.get_mut(slot).contact;
        if is_cut_off && *contact == Progress::Followed {
            *contact = Progress::Answered;
        }
        self.end(slot, EndReason::Forced, moment, out);
    }

    /// Moves a flow to where its class waits.
    pub(super) fn wait(&mut self, slot: u32, class: Class, now: Timestamp) {
        let due = now.saturating_add(self.timeouts[class as usize]);
        let entry = self.flows.get_mut(slot);
        self.waiting.leave(entry.class as usize, slot);
        self.waiting.join(class as usize, slot);
        entry.class = class;
        entry.due = due;
        self.earliest = self.earliest.min(due);
    }

    /// The flow that is due first, and when.
    fn next_due(&self) -> Option<(u32, Timestamp)> {
        let waiting = Class::ALL.into_iter().filter_map(|class| {
            let slot = self.waiting.first(class as usize)?;
            Some((slot, self.flows.get(slot).due))
        });
        let reporting = self.policy.timeouts.active.and_then(|active| {
            let slot = self.reporting.first(0)?;
            Some((slot, self.flows.get(slot).reported.saturating_add(active)))
        });
        waiting.chain(reporting).min_by_key(|(_, at)| *at)
    }

    /// A flow is due: it ends, is reported, or waits on. `now` is when somebody looks.
    fn expire(&mut self, slot: u32, at: Timestamp, now: Timestamp, out: &mut Output) {
        let moment = Moment { now: at, number: 0, late: false };
        let entry = self.flows.get_mut(slot);
        if entry.due > at {
            entry.reported = at;
            self.reporting.renew(0, slot);
            if !self.flows.get(slot).is_quiet() {
                let report = self.report(slot, EndReason::Active);
                out.flow(moment, report);
            }
            return;
        }
        let ended = entry.end();
        let idle_at = ended.saturating_add(self.policy.timeouts.tcp_closed);
        match entry.class {
            Class::Query if now.since(ended) < OVER_NANOS => self.wait(slot, Class::Query, now),
            // Zeek lets a connection go on whose one side sent a RST after it had closed.
            Class::Reset if self.policy.as_zeek && idle_at >= at => {
                self.wait(slot, Class::Reset, at);
            }
            Class::Fresh => {
                if entry.contact == Progress::Attempted {
                    entry.contact = Progress::TimedOut;
                    let time = entry.first().saturating_add(self.timeouts[Class::Fresh as usize]);
                    let contact = contacts::of_flow(entry, Outcome::TimedOut, false, time);
                    out.contact(moment, contact);
                }
                if self.timeouts[Class::Attempt as usize] == 0 {
                    self.end(slot, EndReason::Idle, moment, out);
                } else {
                    self.wait(slot, Class::Attempt, at);
                }
            }
            Class::Closed | Class::Reset => self.end(slot, EndReason::EndDetected, moment, out),
            _ => self.end(slot, EndReason::Idle, moment, out),
        }
    }

    /// Ends the flow that has been idle the longest.
    pub(super) fn evict(&mut self, moment: Moment, out: &mut Output) {
        let longest_idle = Class::ALL
            .into_iter()
            .filter_map(|class| {
                let slot = self.waiting.first(class as usize)?;
                let due = self.flows.get(slot).due.nanos();
                let waited = match class {
                    // Counted from its SYN, with the time in the list before.
                    Class::Attempt => self.policy.timeouts.tcp_attempt,
                    _ => self.timeouts[class as usize],
                };
                Some((due.saturating_sub_unsigned(waited), slot))
            })
            .min();
        self.evicted_at = Some(moment.now);
        match longest_idle {
            Some((_, slot)) => self.end(slot, EndReason::LackOfResources, moment, out),
            None => self.is_crowded = true,
        }
    }

    pub(super) fn end(&mut self, slot: u32, reason: EndReason, moment: Moment, out: &mut Output) {
        let ended = self.flows.get(slot).end();
        self.tell_end(slot, ended, moment, out);
        let report = self.report(slot, reason);
        let entry = self.flows.get_mut(slot);
        entry.rare = None;
        let hash = self.hasher.hash_one(entry.key);
        if reason != EndReason::Forced && entry.is_conversation() {
            self.roles.remember(hash, entry.low_initiates);
        }
        self.waiting.leave(entry.class as usize, slot);
        self.reporting.leave(0, slot);
        self.flows.remove(slot);
        if let Some(shared) = &self.population {
            shared.fetch_sub(1, Ordering::Relaxed);
        }
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        out.flow(moment, report);
    }

    fn report(&mut self, slot: u32, reason: EndReason) -> Flow {
        let entry = self.flows.get_mut(slot);
        let protocol = self.protocols.name(entry.protocol);
        entry.report(reason, &self.policy, protocol)
    }
}
