//! The stage: what goes in and out, and that the judge waits for nobody.

use std::{fs, future::poll_fn, net::IpAddr, path::Path};

use super::*;
use crate::{
    ack::Receipts,
    component::{
        drain,
        edge::{Bounds, EdgeReceiver, EdgeSender, WhenFull, edge},
    },
    metrics::Meter,
    record::{
        Action, ConnState, Denied, Endpoint, Flow, Id, ObservationPoint, Outcome, Timestamp,
        Transport,
    },
};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

fn failed(port: u16) -> Contact {
    Contact {
        time: at(i64::from(port)),
        origin: ObservationPoint::default(),
        source: [198, 51, 100, 7].into(),
        destination: [10, 0, 0, 1].into(),
        port,
        source_port: 40_000,
        transport: Transport::TCP,
        outcome: Outcome::Refused,
        path_proven: false,
    }
}

fn flow(source: [u8; 4], number: u64) -> Flow {
    let end = |address: [u8; 4], port| Endpoint::new(IpAddr::from(address), Some(port)).sent(1, 60);
    Flow {
        end: at(20),
        ..Flow::new(
            Id::of("flow", "test").number(number).finish(),
            Transport::TCP,
            end(source, 40_000),
            end([10, 0, 0, 1], 80),
        )
    }
}

/// A stage with an edge of contacts and one of flows, and the readers of its ports.
struct Rig {
    contacts: Option<EdgeSender>,
    flows: Option<EdgeSender>,
    main: EdgeReceiver,
    alerts: EdgeReceiver,
    meter: Arc<Meter>,
    receipts: Receipts,
    running: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Rig {
    /// With room for so many records in each output.
    fn new(clock: Clock, room: u32) -> Self {
        let snapshot = Kept { enabled: false, ..Kept::default() };
        let config = Config { warmup_secs: 0, snapshot, ..Config::default() };
        Self::with(&config, clock, room, Path::new("/nonexistent"))
    }

    /// One that keeps its state in `data_dir`, as the config says.
    fn with(config: &Config, clock: Clock, room: u32, data_dir: &Path) -> Self {
        let meter = Meter::new("scored", "score");
        let data_dir = data_dir.to_owned();
        let context = Context { clock, data_dir, ..Context::alone(meter) };
        let stage = config.stage(&context).unwrap();
        Self::of(stage, &context, room)
    }

    /// Of a stage of one's own.
    fn of(stage: Score, context: &Context, room: u32) -> Self {
        let (clock, meter, receipts) =
            (context.clock, Arc::clone(&context.meter), context.receipts.clone());
        let mut input = Input::new(clock, Arc::clone(&meter));
        let wide = || edge(Bounds::default(), WhenFull::Block, &meter);
        let ((contacts, of_contacts), (flows, of_flows)) = (wide(), wide());
        input.add(of_contacts, Kind::Contact.into());
        input.add(of_flows, Kind::Flow.into());
        let mut out = Outputs::new(2, Arc::clone(&meter), receipts.clone());
        let bounds = Bounds { max_events: room, max_bytes: u32::MAX >> 4 };
        let reader = || edge(bounds, WhenFull::Block, &Meter::new("reader", "test"));
        let ((to_main, main), (to_alerts, alerts)) = (reader(), reader());
        out.connect(Port::MAIN, to_main);
        out.connect(ALERTS, to_alerts);
        let running = tokio::spawn(stage.run(input, out));
        let (contacts, flows) = (Some(contacts), Some(flows));
        Self { contacts, flows, main, alerts, meter, receipts, running }
    }

    async fn send(&self, records: Records, secs: i64) {
        let edge = if records.kind() == Kind::Flow { &self.flows } else { &self.contacts };
        let mark = Watermark { time: at(secs), epoch: 0 };
        let batch = Batch { records, ack: self.receipts.open(), watermark: Some(mark) };
        edge.as_ref().unwrap().send(batch).await.unwrap();
    }

    /// Ends the input, and gives all flows and alerts that are still to come.
    async fn end(mut self) -> (Vec<Flow>, Vec<Alert>) {
        (self.contacts, self.flows) = (None, None);
        let (mut flows, mut alerts) = (Vec::new(), Vec::new());
        let (mut main, mut of_alerts) = (self.main, self.alerts);
        let read_flows = async {
            while let Some(batch) = next(&mut main).await {
                let Records::Flows(part) = &batch.records else { panic!("{batch:?}") };
                flows.extend(part.iter().cloned());
                batch.ack.settle(End::Delivered);
            }
        };
        let read_alerts = async {
            while let Some(batch) = next(&mut of_alerts).await {
                let Records::Alerts(part) = &batch.records else { panic!("{batch:?}") };
                alerts.extend(part.iter().cloned());
                batch.ack.settle(End::Delivered);
            }
        };
        tokio::join!(read_flows, read_alerts);
        self.running.await.unwrap().unwrap();
        self.receipts.settled().await;
        assert_eq!(self.receipts.ended(End::Lost), 0);
        let balance = self.meter.balance();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        (flows, alerts)
    }
}

async fn next(edge: &mut EdgeReceiver) -> Option<Batch> {
    poll_fn(|cx| edge.poll_recv(cx)).await
}

fn contacts(ports: std::ops::Range<u16>) -> Records {
    Records::Contacts(Arc::new(ports.map(failed).collect()))
}

fn flows(list: Vec<Flow>) -> Records {
    Records::Flows(Arc::new(list))
}

#[tokio::test]
async fn a_scan_is_told_and_the_flows_of_its_source_have_its_risk() {
    for clock in [Clock::Event, Clock::Wall] {
        let rig = Rig::new(clock, 1_000);
        rig.send(contacts(1..10), 9).await;
        rig.send(flows(Vec::new()), 9).await;
        // Live the two edges are read in turn: this waits until the contacts were taken.
        while rig.meter.balance().absorbed < 9 {
            tokio::task::yield_now().await;
        }
        rig.send(flows(vec![flow([198, 51, 100, 7], 1), flow([10, 0, 0, 1], 2)]), 20).await;
        let (flows, alerts) = rig.end().await;
        assert_eq!(alerts.len(), 1, "{clock:?}");
        assert_eq!((alerts[0].action, alerts[0].risk_score), (Action::WouldBlock, 95));
        let risks: Vec<_> = flows.iter().map(|flow| flow.risk).collect();
        assert_eq!((risks[0].is_some_and(|risk| risk > 90), risks[1]), (true, None), "{risks:?}");
    }
}

#[tokio::test]
async fn what_was_dropped_is_handed_on_and_raises_no_score() {
    let rig = Rig::new(Clock::Event, 1_000);
    rig.send(contacts(1..10), 9).await;
    let denied = |source, number| Flow {
        denied: Some(Denied { verdict: None }),
        conn_state: ConnState::S0,
        ..flow(source, number)
    };
    // Of one that is judged, before and after a thousand more, and of one that has done nothing else.
    let mut all = vec![flow([198, 51, 100, 7], 1)];
    all.extend((2..1_000).map(|number| denied([198, 51, 100, 7], number)));
    all.push(flow([198, 51, 100, 7], 1_000));
    all.extend((1_001..1_100).map(|number| denied([198, 51, 100, 8], number)));
    rig.send(flows(all.clone()), 20).await;
    let (flows, alerts) = rig.end().await;
    assert_eq!(flows.len(), all.len());
    assert_eq!(flows[999].risk, flows[0].risk);
    assert!(flows[1_000..].iter().all(|flow| flow.risk.is_none()));
    assert_eq!(alerts.len(), 1, "that of the contacts: {alerts:?}");
}

#[tokio::test]
async fn contacts_are_judged_while_both_outputs_are_full() {
    let rig = Rig::new(Clock::Wall, 1);
    for number in 0..3 {
        rig.send(flows(vec![flow([10, 0, 0, 1], number)]), 1).await;
    }
    rig.send(contacts(1..2_000), 2_000).await;
    while rig.meter.counted(VERDICTS).is_empty() || rig.meter.balance().absorbed < 1_999 {
        tokio::task::yield_now().await;
    }
    let (flows, alerts) = rig.end().await;
    assert_eq!(flows.len(), 3);
    assert!(!alerts.is_empty());
}

/// Has each of three sources alerted on, one after the other, where there is room for one alert.
async fn alert_on_three(rig: &Rig) {
    for (source, absorbed) in [(1_u8, 9), (2, 18), (3, 27)] {
        let from = |contact| Contact { source: [198, 51, 100, source].into(), ..contact };
        let contacts = (1..10).map(|port| from(failed(port))).collect();
        rig.send(Records::Contacts(Arc::new(contacts)), 9).await;
        while rig.meter.balance().absorbed < absorbed || rig.meter.balance().made < 1 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn alerts_that_wait_when_it_is_cut_off_are_in_its_account() {
    let rig = Rig::new(Clock::Wall, 1);
    alert_on_three(&rig).await;
    rig.running.abort();
    assert!(rig.running.await.is_err());
    let balance = rig.meter.balance();
    assert_eq!((balance.made, balance.unmade), (1, 2), "{balance:?}");
}

/// They waited behind it, and the run was cut off before a disk that hung.
#[tokio::test(start_paused = true)]
async fn alerts_do_not_wait_for_the_last_snapshot_nor_that_for_ever() {
    let data_dir = tempfile::tempdir().unwrap();
    let config = Config { warmup_secs: 0, ..Config::default() };
    let context = Context {
        data_dir: data_dir.path().to_owned(),
        ..Context::alone(Meter::new("scored", "score"))
    };
    let mut stage = config.stage(&context).unwrap();
    let keeper = stage.keeper.as_mut().unwrap();
    keeper.writing = Some(tokio::spawn(std::future::pending()));
    let rig = Rig::of(stage, &context, 1);
    alert_on_three(&rig).await;
    let ended = tokio::time::timeout(drain::RUN, rig.end()).await;
    let (_, alerts) = ended.expect("it ends before the run is cut off");
    assert_eq!(alerts.len(), 3, "{alerts:?}");
    assert_eq!(context.meter.counted(ERRORS).get("snapshot"), Some(&1));
}

#[tokio::test]
async fn event_time_arrives_at_both_outputs_though_nothing_is_told() {
    let mut rig = Rig::new(Clock::Event, 1_000);
    rig.send(contacts(1..2), 7).await;
    rig.send(flows(vec![flow([10, 0, 0, 1], 1)]), 7).await;
    let mark = Some(Watermark { time: at(7), epoch: 0 });
    for edge in [&mut rig.main, &mut rig.alerts] {
        loop {
            let batch = next(edge).await.unwrap();
            let come = batch.watermark;
            batch.ack.settle(End::Delivered);
            if come == mark {
                break;
            }
        }
    }
    rig.end().await;
}

#[test]
fn what_contradicts_itself_in_the_config_is_said() {
    let config = |text: &str| serde_json::from_str::<Config>(text).unwrap().check();
    assert_eq!(config("{}"), []);
    for (text, key) in [
        (r#"{"levels": {"alert": 90}}"#, "levels"),
        (r#"{"levels": {"clear": 50}}"#, "levels.clear"),
        (r#"{"signals": {"scan": {"theta1": 0.9}}}"#, "signals.scan.theta1"),
        (r#"{"alerts": {"host": "asset"}}"#, "alerts.assets"),
    ] {
        let problems = config(text);
        assert!(problems.iter().any(|problem| problem.key == key), "{text}: {problems:?}");
    }
}

#[test]
fn what_others_saw_blocks_nobody_here() {
    let meter = Meter::new("scored", "score");
    let acts = Block { via: Some("gate".to_owned()), ..Block::default() };
    let config = Config { block: acts, ..Config::default() };
    let build =
        |from_others| config.build(&Context { from_others, ..Context::alone(Arc::clone(&meter)) });
    let refused = build(true).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("block.via acts on this host"), "{refused}");
    assert!(build(false).is_ok());
}

/// What a scan of these ports comes to, by a stage that keeps its state in `data_dir`: the records, and how
/// often a snapshot could not be used.
async fn scanned(data_dir: &Path, ports: std::ops::Range<u16>) -> (Vec<Alert>, u64) {
    let config = Config { warmup_secs: 0, ..Config::default() };
    let rig = Rig::with(&config, Clock::Wall, 1_000, data_dir);
    let meter = Arc::clone(&rig.meter);
    rig.send(contacts(ports), 9).await;
    let (_, alerts) = rig.end().await;
    let unused = meter.counted(ERRORS).into_iter();
    let unused = unused.filter(|(labels, _)| format!("{labels:?}").contains("snapshot"));
    (alerts, unused.map(|(_, count)| count).sum())
}

#[tokio::test]
async fn a_restart_forgets_nobody() {
    let data_dir = tempfile::tempdir().unwrap();
    let (alerts, _) = scanned(data_dir.path(), 1..9).await;
    assert!(alerts.iter().all(|alert| alert.action == Action::Log), "{alerts:?}");
    let (alerts, unused) = scanned(data_dir.path(), 9..10).await;
    assert_eq!((alerts[0].action, unused), (Action::WouldBlock, 0));
    let (alerts, _) = scanned(data_dir.path(), 10..11).await;
    assert_eq!(alerts, [], "it was told before the restart");
}

#[tokio::test]
async fn a_snapshot_that_can_not_be_used_is_said_and_replaced() {
    let data_dir = tempfile::tempdir().unwrap();
    let path = data_dir.path().join("snapshots/scored");
    let kept = async || {
        scanned(data_dir.path(), 1..9).await;
        fs::read(&path).unwrap()
    };
    let good = kept().await;
    let mut newer = good.clone();
    newer[15] += 1;
    let mut other = good.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    for unusable in [&newer[..], &other[..], &good[..good.len() / 2], b"scores: []\n", b""] {
        fs::write(&path, unusable).unwrap();
        let (alerts, unused) = scanned(data_dir.path(), 9..10).await;
        assert_eq!((alerts, unused), (Vec::new(), 1), "{unusable:?}");
        assert_eq!(fs::read(&path).unwrap()[..16], good[..16], "a good one is in its place");
    }
}

#[tokio::test]
async fn a_replay_neither_reads_nor_writes_a_snapshot() {
    let data_dir = tempfile::tempdir().unwrap();
    scanned(data_dir.path(), 1..9).await;
    let before = fs::read(data_dir.path().join("snapshots/scored")).unwrap();
    let rig = Rig::with(&Config::default(), Clock::Event, 1_000, data_dir.path());
    rig.send(contacts(9..10), 9).await;
    assert_eq!(rig.end().await.1, []);
    assert_eq!(fs::read(data_dir.path().join("snapshots/scored")).unwrap(), before);
}
