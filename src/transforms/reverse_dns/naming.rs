//! Where addresses stand in records, and where their names go.

use std::{net::IpAddr, sync::Arc};

use crate::record::{Alert, Flow, HostNames, Names, Packet, Records, Timestamp};

/// An address of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought {
    pub(super) address: IpAddr,
    /// The address on the record's other side.
    pub(super) peer: Option<IpAddr>,
    /// When the one went to the other.
    pub(super) time: Timestamp,
}

/// A record with addresses.
trait Named: Clone {
    /// The source's, and the destination's if there is one.
    fn addresses(&self) -> (IpAddr, Option<IpAddr>);
    /// When the one went to the other, whenever it is reported.
    fn time(&self) -> Timestamp;
    fn names(&self) -> &Names;
    fn names_mut(&mut self) -> &mut Names;
}

/// Calls `visit` with each address of each record.
pub(super) fn addresses(records: &Records, visit: impl FnMut(Sought)) {
    match records {
        Records::Packets(packets) => each(packets, visit),
        Records::Flows(flows) => each(flows, visit),
        Records::Alerts(alerts) => each(alerts, visit),
        Records::Raw(_)
        | Records::Frames(_)
        | Records::Contacts(_)
        | Records::Health(_)
        | Records::Returned(_) => {}
    }
}

/// Gives each address of each record its names, as far as `find` has any and it has none yet.
/// Records shared with another branch are copied only if some name is found.
pub(super) fn name(records: &mut Records, find: impl Fn(Sought) -> Option<Arc<HostNames>>) {
    match records {
        Records::Packets(packets) => fill(packets, find),
        Records::Flows(flows) => fill(flows, find),
        Records::Alerts(alerts) => fill(alerts, find),
        Records::Raw(_)
        | Records::Frames(_)
        | Records::Contacts(_)
        | Records::Health(_)
        | Records::Returned(_) => {}
    }
}

fn each<R: Named>(records: &[R], mut visit: impl FnMut(Sought)) {
    for (source, destination) in records.iter().map(sides) {
        visit(source);
        destination.into_iter().for_each(&mut visit);
    }
}

/// The source and, if there is one, the destination.
fn sides<R: Named>(record: &R) -> (Sought, Option<Sought>) {
    let ((source, destination), time) = (record.addresses(), record.time());
    let sought = |address, peer| Sought { address, peer, time };
    (sought(source, destination), destination.map(|destination| sought(destination, Some(source))))
}

fn fill<R: Named>(records: &mut Arc<Vec<R>>, find: impl Fn(Sought) -> Option<Arc<HostNames>>) {
    let found = |record: &R| {
        let (source, destination) = sides(record);
        let names = record.names().clone();
        Names {
            source: names.source.or_else(|| find(source)),
            destination: names.destination.or_else(|| destination.and_then(&find)),
        }
    };
    let Some(first) = records.iter().position(|record| found(record) != Names::default()) else {
        return;
    };
    for record in Arc::make_mut(records).iter_mut().skip(first) {
        *record.names_mut() = found(record);
    }
}

impl Named for Packet {
    fn addresses(&self) -> (IpAddr, Option<IpAddr>) {
        (self.outer.source, Some(self.outer.destination))
    }

    fn time(&self) -> Timestamp {
        self.time
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }
}

impl Named for Flow {
    fn addresses(&self) -> (IpAddr, Option<IpAddr>) {
        (self.initiator.address, Some(self.responder.address))
    }

    fn time(&self) -> Timestamp {
        self.began
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }
}

impl Named for Alert {
    fn addresses(&self) -> (IpAddr, Option<IpAddr>) {
        (self.source, None)
    }

    fn time(&self) -> Timestamp {
        self.time
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }
}
