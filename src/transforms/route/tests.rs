use serde_json::{Value, json};

use super::*;
use crate::{
    ack::Receipts,
    batch::Watermark,
    component::Clock,
    metrics::{Balance, Meter},
    record::{Health, Kind},
};

const MARK: Watermark = Watermark { epoch: 2, time: Timestamp::from_nanos(7) };

/// A transform, and what it is told of its surroundings.
struct Bench {
    transform: Box<dyn Transform>,
    connected: Vec<bool>,
    meter: Arc<Meter>,
    receipts: Receipts,
}

impl Bench {
    fn route(routes: &Value, connected: &[bool]) -> Self {
        let config: Config = serde_json::from_value(json!({"routes": routes})).unwrap();
        assert_eq!(config.check(), []);
        assert_eq!(config.signature().ports.len(), connected.len());
        Self::of(
            Box::new(Route::new(&config, Origin::new("sensor", Clock::Event)).unwrap()),
            connected,
        )
    }

    fn of(transform: Box<dyn Transform>, connected: &[bool]) -> Self {
        let meter = Meter::new("split", "route");
        Self { transform, connected: connected.to_vec(), meter, receipts: Receipts::default() }
    }

    /// Sends records through: of each port the counts of packets that came out. Fails unless there was
    /// just one batch, with the watermark, on each port that is read.
    fn apply(&mut self, records: Arc<Vec<Health>>) -> Vec<Vec<u64>> {
        let batch = Batch {
            records: Records::Health(records),
            ack: self.receipts.open(),
            watermark: Some(MARK),
        };
        self.meter.received(batch.records.len() as u64);
        let mut ready = Vec::new();
        let mut out = Outbox::new(&mut ready, &self.connected, &self.meter, &self.receipts);
        self.transform.apply(batch, Timestamp::default(), &mut out);
        let mut seen = vec![None; self.connected.len()];
        for (Port(port), batch) in ready {
            assert_eq!((batch.watermark, batch.records.kind()), (Some(MARK), Kind::Health));
            let Records::Health(health) = &batch.records else { panic!("{batch:?}") };
            let packets = health.iter().map(|health| health.packets).collect::<Vec<_>>();
            assert!(seen[port].replace(packets).is_none(), "two batches on port {port}");
            batch.ack.settle(End::Delivered);
        }
        let read: Vec<_> = seen.iter().map(Option::is_some).collect();
        assert_eq!(read, self.connected);
        assert_eq!(self.receipts.outstanding(), 0);
        assert_eq!(self.receipts.ended(End::Lost), 0);
        seen.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn balance(&self) -> Balance {
        let balance = self.meter.balance();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        balance
    }
}

fn reports(packets: impl IntoIterator<Item = u64>) -> Arc<Vec<Health>> {
    let report = |packets| Health { packets, ..Health::default() };
    Arc::new(packets.into_iter().map(report).collect())
}

/// `high` from 5, `low` to 6, so that 5 and 6 go both ways; 0 goes nowhere.
fn overlapping() -> Value {
    json!({
        "high": {"field": "tidegate.health.packets", "range": {"gte": 5}},
        "low": {"field": "tidegate.health.packets", "range": {"gte": 1, "lte": 6}},
    })
}

#[test]
fn a_record_goes_to_every_route_that_wants_it_and_counts_as_handed_on_once() {
    for shared in [false, true] {
        let mut bench = Bench::route(&overlapping(), &[true, true, true]);
        let records = reports(0..10);
        let other = shared.then(|| Arc::clone(&records));
        let seen = bench.apply(records);
        assert_eq!(seen, [vec![5, 6, 7, 8, 9], vec![1, 2, 3, 4, 5, 6], vec![0]]);
        let balance = bench.balance();
        assert_eq!((balance.received, balance.passed, balance.made), (10, 10, 2));
        assert_eq!(other.map_or(10, |other| other.len()), 10);
    }
}

#[test]
fn records_that_all_go_the_same_ways_are_shared() {
    let mut bench = Bench::route(&overlapping(), &[true, true, true]);
    assert_eq!(bench.apply(reports([5, 6])), [vec![5, 6], vec![5, 6], vec![]]);
    assert_eq!(bench.apply(reports([0, 0])), [vec![], vec![], vec![0, 0]]);
    assert_eq!(bench.apply(reports([])), [vec![0; 0], vec![], vec![]]);
    let balance = bench.balance();
    assert_eq!((balance.passed, balance.made, balance.filtered), (4, 2, 0));
}

#[test]
fn what_nobody_reads_is_counted_as_filtered() {
    let mut bench = Bench::route(&overlapping(), &[false, true, false]);
    assert_eq!(bench.apply(reports(0..10)), [vec![], vec![1, 2, 3, 4, 5, 6], vec![]]);
    let balance = bench.balance();
    assert_eq!((balance.passed, balance.made, balance.filtered), (6, 0, 4));
    assert_eq!(balance.dropped_total(), 0);
}

#[test]
fn there_are_as_many_ports_as_bits() {
    let route = |n: u64| json!({"field": "tidegate.health.packets", "equals": n});
    let routes: Value =
        (0..63).map(|n| (format!("r{n:02}"), route(n))).collect::<serde_json::Map<_, _>>().into();
    let mut bench = Bench::route(&routes, &[true; 64]);
    let seen = bench.apply(reports(0..64));
    assert_eq!(seen, (0..64).map(|n| vec![n]).collect::<Vec<_>>());
    bench.balance();
}

#[test]
fn what_can_not_be_a_route_is_refused_with_its_key() {
    let fine = json!({"field": "tags", "exists": true});
    let many: Value =
        (0..64).map(|n| (format!("r{n}"), fine.clone())).collect::<serde_json::Map<_, _>>().into();
    let cases = [
        (json!({}), "routes", "there is no route"),
        (many, "routes", "64 routes are too many"),
        (json!({"_unmatched": fine}), "routes._unmatched", "is the port of what no route takes"),
        (json!({"a.b": fine}), "routes.a.b", "can't be the name of a route"),
        (json!({"": fine}), "routes.", "can't be the name of a route"),
        (json!({"a": {"not": {}}}), "routes.a.not", "the condition is empty"),
    ];
    for (routes, key, message) in cases {
        let config: Config = serde_json::from_value(json!({"routes": routes})).unwrap();
        let problems = config.check();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, key);
        assert!(problems[0].message.contains(message), "{problems:?}");
    }
}
