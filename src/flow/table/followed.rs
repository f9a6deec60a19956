//! Connections that a judge has to follow to their end: those to ports where people log in, and to
//! web servers.

use std::collections::BTreeMap;

use super::Table;
use crate::{
    flow::{
        clock::Moment,
        contacts::{self, is_web_port},
        entry::{Entry, Progress},
        output::Output,
        tally::nobody,
    },
    record::{Contact, Outcome, Timestamp, Transport},
};

/// How often open connections are told.
const INTERVAL_NANOS: i64 = 10_000_000_000;

/// A connection to a web server that was open when last looked at.
#[derive(Debug)]
pub(super) struct Followed {
    slot: u32,
    /// The flow's first packet: the slot may have another flow by now.
    first: Timestamp,
    /// Bytes both ways that were told.
    told: u64,
}

impl Table {
    /// A handshake was completed on a port that matters.
    pub(super) fn follow(&mut self, slot: u32, now: Timestamp) {
        let entry = self.flows.get_mut(slot);
        entry.contact = Progress::Followed;
        let (_, port) = entry.key.end(!entry.low_initiates);
        if !port.is_some_and(is_web_port) {
            return;
        }
        if self.followed.is_empty() {
            let next = (now.nanos().div_euclid(INTERVAL_NANOS) + 1).saturating_mul(INTERVAL_NANOS);
            self.survey_at = Timestamp::from_nanos(next);
            self.earliest = self.earliest.min(self.survey_at);
        }
        self.followed.push(Followed { slot, first: entry.first(), told: 0 });
    }

    /// A followed connection is over.
    pub(super) fn tell_end(
        &mut self,
        slot: u32,
        time: Timestamp,
        moment: Moment,
        out: &mut Output,
    ) {
        let entry = self.flows.get_mut(slot);
        if entry.contact != Progress::Followed {
            return;
        }
        entry.contact = Progress::Answered;
        let [sent_bytes, received_bytes] = entry.total_bytes();
        let duration_nanos = time.since(entry.first());
        let outcome = Outcome::Ended { duration_nanos, sent_bytes, received_bytes };
        out.contact(moment, contacts::of_flow(entry, outcome, true, time));
    }

    /// Tells how many connections each source has open to a web port, and what passed on them.
    pub(super) fn survey(&mut self, out: &mut Output) {
        let at = self.survey_at;
        let mut open = BTreeMap::new();
        let flows = &self.flows;
        self.followed.retain_mut(|followed| {
            let entry: &Entry = flows.get(followed.slot);
            if entry.contact != Progress::Followed || entry.first() != followed.first {
                return false;
            }
            let (source, _) = entry.key.end(entry.low_initiates);
            let (_, port) = entry.key.end(!entry.low_initiates);
            let total = entry.total_bytes().iter().sum::<u64>();
            let key = (entry.key.origin().index(), source, port.unwrap_or(0));
            let (_, count, bytes) = open.entry(key).or_insert((entry.key.origin(), 0_u32, 0_u64));
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(total.saturating_sub(followed.told));
            followed.told = total;
            true
        });
        let moment = Moment { now: at, number: 0, late: false };
        for ((_, source, port), (origin, count, bytes)) in open {
            let contact = Contact {
                time: at,
                origin,
                source,
                destination: nobody(source),
                port,
                source_port: 0,
                transport: Transport::TCP,
                outcome: Outcome::Open { count, bytes },
                path_proven: true,
            };
            out.contact(moment, contact);
        }
        self.survey_at = if self.followed.is_empty() {
            super::NEVER
        } else {
            at.saturating_add(INTERVAL_NANOS.unsigned_abs())
        };
    }
}
