//! Where addresses stand in records, and where their names go.

use std::{net::IpAddr, sync::Arc};

use crate::record::{Alert, Flow, HostNames, Names, Packet, Records};

/// A record with addresses.
trait Named: Clone {
    /// The source's, and the destination's if there is one.
    fn addresses(&self) -> (IpAddr, Option<IpAddr>);
    fn names(&self) -> &Names;
    fn names_mut(&mut self) -> &mut Names;
}

/// Calls `visit` with each address of each record and the address on the record's other side.
pub(super) fn addresses(records: &Records, visit: impl FnMut(IpAddr, Option<IpAddr>)) {
    match records {
        Records::Packets(packets) => each(packets, visit),
        Records::Flows(flows) => each(flows, visit),
        Records::Alerts(alerts) => each(alerts, visit),
        Records::Raw(_) | Records::Contacts(_) | Records::Health(_) | Records::Returned(_) => {}
    }
}

/// Gives each address of each record its names, as far as `find` has any and it has none yet.
/// Records shared with another branch are copied only if some name is found.
pub(super) fn name(
    records: &mut Records,
    find: impl Fn(IpAddr, Option<IpAddr>) -> Option<Arc<HostNames>>,
) {
    match records {
        Records::Packets(packets) => fill(packets, find),
        Records::Flows(flows) => fill(flows, find),
        Records::Alerts(alerts) => fill(alerts, find),
        Records::Raw(_) | Records::Contacts(_) | Records::Health(_) | Records::Returned(_) => {}
    }
}

fn each<R: Named>(records: &[R], mut visit: impl FnMut(IpAddr, Option<IpAddr>)) {
    for record in records {
        let (source, destination) = record.addresses();
        visit(source, destination);
        if let Some(destination) = destination {
            visit(destination, Some(source));
        }
    }
}

fn fill<R: Named>(
    records: &mut Arc<Vec<R>>,
    find: impl Fn(IpAddr, Option<IpAddr>) -> Option<Arc<HostNames>>,
) {
    let found = |record: &R| {
        let (source, destination) = record.addresses();
        let Names { source: source_names, destination: destination_names } = record.names().clone();
        Names {
            source: source_names.or_else(|| find(source, destination)),
            destination: destination_names
                .or_else(|| destination.and_then(|address| find(address, Some(source)))),
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

    fn names(&self) -> &Names {
        &self.names
    }

    fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }
}
