//! `route`: records leave through the port of each condition that holds for them.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;

use super::filter::{KINDS, WRONG_KIND, compile};
use crate::{
    ack::End,
    batch::Batch,
    component::{
        Asks, Carries, Component, Configure, Context, Error, Outbox, Port, PortSpec, Problem,
        Signature, Transform,
    },
    condition::{Asked, Condition, Predicate},
    record::{Records, Timestamp},
};

/// The port of records for which no condition holds.
const UNMATCHED: &str = "_unmatched";
/// Routes at most: a record's ports are the bits of one number, the last being `_unmatched`.
const MAX_ROUTES: usize = 63;
/// Reason under which records count that no route takes, where nobody reads `_unmatched`.
const NO_ROUTE: &str = "unmatched";
/// Reason under which records count whose routes nobody reads.
const NO_READER: &str = "unread";

/// Sends each record to every route whose condition holds for it; the port of a route is
/// `ID.NAME`. Records for which none holds leave through `ID._unmatched`. What nobody reads is counted
/// as filtered.
///
/// Routes may overlap: a record then leaves once through each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The routes, 63 at most: of each its name (letters, digits, `_` and `-`) and its condition, as
    /// that of a `filter`.
    pub routes: BTreeMap<String, Condition>,
}

#[derive(Debug)]
struct Route {
    /// Of each port but the last, which is `_unmatched`.
    predicates: Vec<Predicate>,
    /// The ports of each record of the batch at hand, as bits.
    ways: Vec<u64>,
}

/// What leaves through one port.
struct Part {
    port: Port,
    records: Records,
    /// How many of the records leave through a port before this one as well.
    copies: u64,
}

// === impl Config ===

impl Configure for Config {
    fn signature(&self) -> Signature {
        let names = self.routes.keys().cloned().chain([UNMATCHED.to_owned()]);
        let ports = names.map(|name| PortSpec::named(name, Carries::Inputs)).collect();
        Signature { accepts: KINDS, ports }
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.routes.is_empty() {
            problems.push(
                Problem::new("routes", "there is no route")
                    .hint("give one at least: `routes: { NAME: { field: …, equals: … } }`"),
            );
        }
        if self.routes.len() > MAX_ROUTES {
            let message = format!("{} routes are too many", self.routes.len());
            problems.push(
                Problem::new("routes", message)
                    .hint(format!("give {MAX_ROUTES} at most; a further `route` takes the rest")),
            );
        }
        for (name, condition) in &self.routes {
            let key = format!("routes.{name}");
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name == UNMATCHED {
                let message = format!("`{UNMATCHED}` is the port of what no route takes");
                problems.push(Problem::new(&key, message).hint("give the route another name"));
            } else if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
                let message = format!("{name:?} can't be the name of a route");
                problems
                    .push(Problem::new(&key, message).hint(
                        "a name is made of letters, digits, `_` and `-`, at most 64 of them",
                    ));
            }
            problems.extend(condition.compile(&key).err().into_iter().flatten());
        }
        problems
    }

    fn asks(&self) -> Vec<Asks> {
        let routes = self.routes.iter();
        routes.flat_map(|(name, condition)| condition.asks(&format!("routes.{name}"))).collect()
    }

    fn build(&self, _context: &Context) -> Result<Component, Error> {
        Ok(Component::transform(Route::new(self)?))
    }
}

// === impl Route ===

impl Route {
    fn new(config: &Config) -> Result<Self, Error> {
        let predicates = config.routes.values().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { predicates, ways: Vec::new() })
    }

    /// The ports that anybody reads.
    fn read(&self, out: &Outbox<'_>) -> u64 {
        (0..=self.predicates.len())
            .filter(|at| out.wants(Port(*at)))
            .fold(0, |read, at| read | 1 << at)
    }

    /// The bit of the last port.
    fn unmatched(&self) -> u64 {
        1 << self.predicates.len()
    }

    /// Where a record goes.
    fn way(&self, record: &impl Asked) -> u64 {
        let mut way = 0;
        for (at, predicate) in self.predicates.iter().enumerate() {
            way |= u64::from(predicate.holds(record)) << at;
        }
        if way == 0 { self.unmatched() } else { way }
    }

    /// The records of each port that is read, in their order. `wrap` makes a batch's payload of them.
    fn split<T: Asked + Clone>(
        &mut self,
        records: Arc<Vec<T>>,
        wrap: impl Fn(Arc<Vec<T>>) -> Records,
        read: u64,
        out: &mut Outbox<'_>,
    ) -> Vec<Part> {
        let mut ways = std::mem::take(&mut self.ways);
        ways.clear();
        let (mut unmatched, mut unread) = (0, 0);
        for record in records.iter() {
            let way = self.way(record);
            match way & read {
                0 if way == self.unmatched() => unmatched += 1,
                0 => unread += 1,
                _ => {}
            }
            ways.push(way & read);
        }
        out.filtered_for(NO_ROUTE, unmatched);
        out.filtered_for(NO_READER, unread);

        let outgoing = (0..=self.predicates.len()).filter(|at| read >> at & 1 == 1);
        let part = |at: usize, records: Arc<Vec<T>>| {
            let copies = ways.iter().filter(|way| *way >> at & 1 == 1 && *way & !(!0 << at) != 0);
            Part { port: Port(at), copies: copies.count() as u64, records: wrap(records) }
        };
        // Records that all go the same ways are shared, as any fan-out is.
        let parts = if ways.windows(2).all(|pair| pair[0] == pair[1]) {
            let way = ways.first().copied().unwrap_or(0);
            let shared = |at| {
                let records =
                    if way >> at & 1 == 1 { Arc::clone(&records) } else { Arc::default() };
                part(at, records)
            };
            outgoing.map(shared).collect()
        } else {
            let mut sorted = sort(records, &ways, self.predicates.len() + 1);
            outgoing.map(|at| part(at, Arc::new(std::mem::take(&mut sorted[at])))).collect()
        };
        self.ways = ways;
        parts
    }
}

/// The records of each port: moved, where they go one way only and nobody else holds them.
fn sort<T: Clone>(records: Arc<Vec<T>>, ways: &[u64], ports: usize) -> Vec<Vec<T>> {
    let mut sorted: Vec<Vec<T>> = (0..ports).map(|_| Vec::new()).collect();
    let mut sort = |record: Cow<'_, T>, way: u64| {
        let mut ports = (0..ports).filter(|at| way >> at & 1 == 1);
        let Some(last) = ports.next_back() else { return };
        ports.for_each(|at| sorted[at].push(T::clone(&record)));
        sorted[last].push(record.into_owned());
    };
    match Arc::try_unwrap(records) {
        Ok(owned) => {
            for (record, way) in owned.into_iter().zip(ways) {
                sort(Cow::Owned(record), *way);
            }
        }
        Err(shared) => {
            for (record, way) in shared.iter().zip(ways) {
                sort(Cow::Borrowed(record), *way);
            }
        }
    }
    sorted
}

impl Transform for Route {
    fn apply(&mut self, batch: Batch, _now: Timestamp, out: &mut Outbox<'_>) {
        let Batch { records, ack, watermark } = batch;
        let read = self.read(out);
        let parts = match records {
            Records::Packets(packets) => self.split(packets, Records::Packets, read, out),
            Records::Contacts(contacts) => self.split(contacts, Records::Contacts, read, out),
            Records::Flows(flows) => self.split(flows, Records::Flows, read, out),
            Records::Alerts(alerts) => self.split(alerts, Records::Alerts, read, out),
            Records::Health(health) => self.split(health, Records::Health, read, out),
            records @ (Records::Raw(_) | Records::Frames(_) | Records::Returned(_)) => {
                out.dropped(WRONG_KIND, records.len() as u64);
                ack.settle(End::Dropped);
                return;
            }
        };
        for Part { port, records, copies } in parts {
            out.push_copies(port, Batch { records, ack: ack.share(), watermark }, copies);
        }
        ack.settle(End::Delivered);
    }
}
