//! What the table gives out, and the order it comes in.

use std::net::IpAddr;

use super::clock::Moment;
use crate::record::{Contact, Flow, ObservationPoint, Outcome, Timestamp};

/// What a table gives out.
#[derive(Debug, Default)]
pub struct Output {
    /// Reports of flows.
    pub flows: Vec<Report<Flow>>,
    /// Contacts, if they are wanted.
    pub contacts: Vec<Report<Contact>>,
    /// Handshakes whose contact was told before, by where they were and with what: they are counted.
    pub handshakes: Vec<(ObservationPoint, IpAddr, u16)>,
    /// Whether contacts are wanted.
    pub wants_contacts: bool,
    /// Packets that counted for nothing, as their IP headers were damaged.
    pub discarded: u64,
    /// Packets of which Zeek makes no connection, and parts of packets but the last ones.
    pub unconnected: u64,
}

/// Something to hand on, and its place in the order that no batch or shard changes.
#[derive(Debug)]
pub struct Report<T> {
    /// When it fell due, in the table's time.
    pub at: Timestamp,
    /// The number of the packet that caused it; 0 for a time-out.
    pub number: u64,
    /// The record.
    pub record: T,
}

// === impl Moment ===

impl Moment {
    fn report<T>(self, record: T) -> Report<T> {
        Report { at: self.now, number: self.number, record }
    }
}

// === impl Output ===

impl Output {
    pub(super) fn flow(&mut self, moment: Moment, record: Flow) {
        self.flows.push(moment.report(record));
    }

    pub(super) fn contact(&mut self, moment: Moment, record: Contact) {
        if self.wants_contacts {
            self.contacts.push(moment.report(record));
        }
    }

    pub(super) fn append(&mut self, mut part: Self) {
        self.flows.append(&mut part.flows);
        self.contacts.append(&mut part.contacts);
        self.handshakes.append(&mut part.handshakes);
        self.discarded += part.discarded;
        self.unconnected += part.unconnected;
    }

    /// Puts the records into the order that no batch or shard changes.
    pub(super) fn sort(&mut self) {
        self.flows.sort_unstable_by(|one, other| {
            let key = |report: &Report<Flow>| {
                let flow = &report.record;
                (report.at, report.number, flow.end, flow.id, flow.sequence)
            };
            key(one).cmp(&key(other))
        });
        self.contacts.sort_by_key(|report| {
            let contact = &report.record;
            (
                report.at,
                report.number,
                contact.source,
                contact.destination,
                contact.port,
                contact.origin.mark(),
                // Contacts say nothing of VLANs, by which flows of two shards may differ alone.
                contact.transport.0,
                contact.time,
                contact.outcome,
            )
        });
        self.contacts.dedup_by(join);
    }
}

/// Adds up what two shards tell of the open connections of one source, at one time.
fn join(later: &mut Report<Contact>, earlier: &mut Report<Contact>) -> bool {
    let of = |report: &Report<Contact>| {
        let contact = &report.record;
        (report.at, contact.origin, contact.source, contact.port)
    };
    let is_same = of(later) == of(earlier);
    match (later.record.outcome, &mut earlier.record.outcome) {
        (Outcome::Open { count: more, bytes: further }, Outcome::Open { count, bytes })
            if is_same =>
        {
            *count = count.saturating_add(more);
            *bytes = bytes.saturating_add(further);
            true
        }
        _ => false,
    }
}
