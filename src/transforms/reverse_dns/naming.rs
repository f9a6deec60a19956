//! Where addresses stand in records, and where their names go.

use std::{net::IpAddr, sync::Arc};

use crate::record::{HostNames, Names, Parties, Record, Records, Timestamp, Visit, VisitMut};

/// An address of a record whose names are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameQuery {
    pub(super) address: IpAddr,
    /// The address on the record's other side.
    pub(super) peer: Option<IpAddr>,
    /// When the one went to the other.
    pub(super) time: Timestamp,
}

/// Calls a function with each address.
struct Each<V>(V);

/// Gives each address the names that a function finds.
struct Fill<F>(F);

/// Calls `visit` with each address of each record.
pub(super) fn addresses(records: &Records, visit: impl FnMut(NameQuery)) {
    records.visit(Each(visit));
}

/// Gives each address of each record its names, as far as `find` has any and it has none yet.
/// Records shared with another branch are copied only if some name is found.
pub(super) fn name(records: &mut Records, find: impl Fn(NameQuery) -> Option<Arc<HostNames>>) {
    records.visit_mut(Fill(find));
}

/// The source and, if there is one, the destination.
fn sides(parties: Parties<'_>) -> (NameQuery, Option<NameQuery>) {
    let Parties { time, source, destination, .. } = parties;
    let query = |address, peer| NameQuery { address, peer, time };
    (query(source, destination), destination.map(|destination| query(destination, Some(source))))
}

// === impl Each ===

impl<R: Record, V: FnMut(NameQuery)> Visit<R, ()> for Each<V> {
    fn visit(mut self, records: &[R]) {
        for (source, destination) in records.iter().filter_map(R::parties).map(sides) {
            (self.0)(source);
            destination.into_iter().for_each(&mut self.0);
        }
    }
}

// === impl Fill ===

impl<F: Fn(NameQuery) -> Option<Arc<HostNames>>> Fill<F> {
    /// The names that the record has or gets.
    fn found(&self, record: &impl Record) -> Names {
        let Some(parties) = record.parties() else { return Names::default() };
        let (source, destination) = sides(parties);
        let Names { source: first, destination: second } = parties.names;
        Names {
            source: first.clone().or_else(|| (self.0)(source)),
            destination: second.clone().or_else(|| destination.and_then(&self.0)),
        }
    }
}

impl<R: Record, F: Fn(NameQuery) -> Option<Arc<HostNames>>> VisitMut<R, ()> for Fill<F> {
    fn visit_mut(self, records: &mut Arc<Vec<R>>) {
        let is_named = |record: &R| self.found(record) != Names::default();
        let Some(first) = records.iter().position(is_named) else { return };
        for record in Arc::make_mut(records).iter_mut().skip(first) {
            let found = self.found(record);
            if let Some(names) = record.names_mut() {
                *names = found;
            }
        }
    }
}
