//! A sink at work: records go in at one end, and at the other its account of them comes out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::Path,
    sync::Arc,
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{
    ack::{End, Receipts},
    batch::Batch,
    component::{
        Clock, Component, Context, Input,
        edge::{EdgeSender, edge},
    },
    metrics::{Balance, Meter},
    record::{Action, Alert, Endpoint, Flow, Id, Kinds, Names, Records, Timestamp, Transport},
    sinks::{ConfigureSink, options::Options},
};
use tokio::task::JoinHandle;

use super::{
    Scene,
    poll::{self, SOON},
};

/// Records that go in at once.
const BATCH: usize = 1_000;

/// A sink that runs.
pub(crate) struct Delivery {
    edge: EdgeSender,
    meter: Arc<Meter>,
    receipts: Receipts,
    sink: JoinHandle<Result<(), tidegate::component::Error>>,
}

// === impl Delivery ===

impl Delivery {
    /// Starts a sink with these options; must be called within a runtime.
    ///
    /// # Errors
    /// When its config is refused.
    pub(crate) fn start(config: &impl ConfigureSink, options: Value) -> Result<Self, Failed> {
        let options: Options = serde_json::from_value(options)?;
        let problems = [options.check(config.schema()), config.check(&options)].concat();
        if !problems.is_empty() {
            return Err(format!("the config is refused: {problems:?}").into());
        }
        let meter = Meter::new("siem", "under_test");
        let receipts = Receipts::default();
        let context = Context { receipts: receipts.clone(), ..Context::alone(Arc::clone(&meter)) };
        let built = config.build(&options, &context).map_err(|error| error.to_string())?;
        let Component::Sink(run) = built else { return Err("not a sink".into()) };
        let bounds = options.buffer.bounds();
        let (edge, receiver) = edge(bounds, options.buffer.when_full, &meter);
        let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
        input.add(receiver, Kinds::REPORTS);
        Ok(Self { edge, meter, receipts, sink: tokio::spawn(run(input)) })
    }

    /// Sends in alerts in batches, waiting where the sink makes it wait.
    ///
    /// # Errors
    /// When the sink has gone.
    pub(crate) async fn send(&self, alerts: Vec<Alert>) -> Result<(), Failed> {
        for batch in alerts.chunks(BATCH) {
            self.send_records(Records::Alerts(Arc::new(batch.to_vec()))).await?;
        }
        Ok(())
    }

    /// Sends in one batch.
    ///
    /// # Errors
    /// When the sink has gone.
    pub(crate) async fn send_records(&self, records: Records) -> Result<(), Failed> {
        let batch = Batch { records, ack: self.receipts.open(), watermark: None };
        let sent = self.edge.send(batch).await;
        sent.map_err(|gone| format!("the sink ended: {gone:?}").into())
    }

    /// Waits until the sink has counted an error of this type; so many records must all be in its
    /// hands still. To be called off the runtime's own threads.
    ///
    /// # Errors
    /// When it soon counts none, or it holds fewer records.
    pub(crate) fn keeps(&self, records: u32, error: &str) -> Result<(), Failed> {
        poll::until_true(&format!("the error {error}"), SOON, || {
            self.errors().contains_key(error)
        })?;
        let balance = self.meter.balance();
        if balance.held == u64::from(records) {
            return Ok(());
        }
        Err(format!("not all of {records} are held: {balance:?}").into())
    }

    /// Ends the input, waits for the sink to finish, and gives its account.
    ///
    /// # Errors
    /// When it doesn't finish within `limit`, or its account doesn't balance.
    pub(crate) async fn finish(self, limit: Duration) -> Result<Balance, Failed> {
        drop(self.edge);
        let abort = self.sink.abort_handle();
        let Ok(ended) = tokio::time::timeout(limit, self.sink).await else {
            abort.abort();
            let (state, balance) = (self.meter.state(), self.meter.balance());
            return Err(format!("{state:?} after {limit:?}: {balance:?}").into());
        };
        ended?.map_err(|error| error.to_string())?;
        let balance = self.meter.balance();
        if !balance.holds() || balance.held != 0 || self.receipts.outstanding() != 0 {
            return Err(format!("the account doesn't balance: {balance:?}").into());
        }
        if self.receipts.ended(End::Lost) != 0 {
            return Err(format!("a receipt was lost: {balance:?}").into());
        }
        Ok(balance)
    }

    /// Cuts the sink off, with what it holds.
    pub(crate) async fn abandon(self) {
        self.sink.abort();
        drop(self.sink.await);
    }

    /// The errors the sink has counted, by type.
    pub(crate) fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.meter.balance().errors
    }

    /// Records the sink answers for that it has not delivered yet.
    pub(crate) fn held(&self) -> u64 {
        self.meter.balance().held
    }
}

/// So many alerts that nobody mistakes for each other, numbered from 0 by their ordinal; each that
/// `bad` names has a reason that says so.
pub(crate) fn alerts(count: u32, bad: &[u32]) -> Vec<Alert> {
    let alert = |ordinal| Alert {
        time: Timestamp::from_parts(1_700_000_000 + i64::from(ordinal), 1).expect("in range"),
        origin: tidegate::record::ObservationPoint::default(),
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        action: Action::Alert,
        risk_score: 50,
        reasons: bad.contains(&ordinal).then(|| "bad".into()).into_iter().collect(),
        ordinal,
        names: Names::default(),
        details: Box::default(),
    };
    (0..count).map(alert).collect()
}

/// Flows that nobody mistakes for each other, by their numbers.
pub(crate) fn flows(numbers: Range<u32>) -> Records {
    let flow = |number: u32| {
        let id = Id::of("flow", "test").number(number.into()).finish();
        let client = Ipv4Addr::from(0x0a00_0000 | number & 0xffff);
        let initiator = Endpoint::new(client.into(), Some(40_000)).sent(12, 1_400);
        let server = Endpoint::new(Ipv4Addr::new(192, 0, 2, 1).into(), Some(443)).sent(9, 9_000);
        let started = 1_700_000_000_123_456_789 + i64::from(number) * 1_000_000;
        let [start, end] = [started, started + 1_000_000_000].map(Timestamp::from_nanos);
        Flow { start, end, ..Flow::new(id, Transport::TCP, initiator, server) }
    };
    Records::Flows(Arc::new(numbers.map(flow).collect()))
}

/// The options of a sink in a hurry, with a dead-letter file in the case's folder. It waits for an
/// answer as long as any does: on a busy machine a good one may take seconds, and what is sent again
/// for want of it is no fault of the sink's.
pub(crate) fn hasty(scene: &Scene, name: &str) -> Value {
    json!({
        "encoding": {"schema": "simple"},
        "batch": {"timeout_secs": 1},
        "request": {
            "concurrency": 2, "timeout_secs": 60, "retry_initial_secs": 1, "retry_max_secs": 1,
        },
        "dead_letter": {"path": dead_letter(scene, name)},
    })
}

/// Where [`hasty`] has its dead letters.
pub(crate) fn dead_letter(scene: &Scene, name: &str) -> std::path::PathBuf {
    scene.path(&format!("{name}.dead.ndjson"))
}

/// The lines of a dead-letter file; none if there is no file.
pub(crate) fn letters(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}
