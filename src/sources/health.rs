//! `health`: the sensor reports on itself, so that a silent one is visible where its records go.
//!
//! It reads the accounts that all components keep anyway, and tells the difference to its last
//! report. Its edges shed rather than wait, so a destination that is gone never holds it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    component::{
        Claim, Clock, Component, Configure, Context, Error, Outputs, Port, PortSpec, Signature,
        Source, drain,
    },
    host,
    metrics::{Books, Figures, State},
    record::{ClockState, GateStates, Health, Kind, MapFill, Records},
};

/// The longest interval: a day.
const MAX_SECS: u64 = 86_400;
/// How often it looks whether the other sources have ended.
const LOOK: Duration = Duration::from_millis(200);
/// Reports at regular intervals how the sensor itself is: packets received and lost, records
/// delivered and not, what waits, the clock, the gates. Once more when it is stopped, or when the other sources have
/// ended; what is delivered after that is in no report. A replay has no such reports.
///
/// A report that meets a full buffer is dropped and counted, so it never waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds from report to report (60). For alarms that have to come sooner.
    #[schemars(range(min = 1, max = MAX_SECS))]
    pub interval_secs: u64,
}

/// The source of one config.
#[derive(Debug)]
struct Reporter {
    every: Duration,
    context: Context,
    /// Asks the kernel.
    clock: fn() -> Option<ClockState>,
}

/// The last report: when it was, and what had been counted until then.
#[derive(Debug)]
struct Last {
    at: Instant,
    figures: Figures,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self { interval_secs: 60 }
    }
}

impl Configure for Config {
    fn signature(&self) -> Signature {
        let mut signature = Signature::source(Kind::Health);
        signature.ports = signature.ports.into_iter().map(PortSpec::shedding).collect();
        signature
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim { key: String::new(), what: "self-report of this sensor".to_owned() }]
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let every = Duration::from_secs(self.interval_secs);
        let reporter = Reporter { every, context: context.clone(), clock: host::clock };
        Ok(Component::source(reporter))
    }
}

// === impl Reporter ===

impl Source for Reporter {
    async fn run(self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let started = Instant::now();
        let mut last = Last { at: started, figures: Figures::default() };
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.reset();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.others_ended(), if self.others().next().is_some() => break,
                _ = ticks.tick() => self.report(started, &mut last, &out).await?,
            }
        }
        // Whether they ended or not, the last report is due.
        timeout(drain::LAST_REPORT, self.others_ended()).await.unwrap_or_default();
        self.report(started, &mut last, &out).await
    }
}

impl Reporter {
    /// The states of the other sources.
    fn others(&self) -> impl Iterator<Item = State> {
        self.context.books.other_sources(self.context.meter.id())
    }

    /// Waits until all other sources have ended.
    async fn others_ended(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.others().all(State::is_over) {
                return;
            }
        }
    }

    /// Sends the report of the interval that ends now.
    async fn report(&self, started: Instant, last: &mut Last, out: &Outputs) -> Result<(), Error> {
        let now = Last { at: Instant::now(), figures: self.context.books.figures() };
        let (gates, verdict_map) = gates(&self.context.books);
        let report = Health {
            gates,
            verdict_map,
            clock: (self.clock)(),
            time: Clock::Wall.now(None),
            interval_nanos: nanos(now.at - last.at),
            uptime_nanos: nanos(now.at - started),
            config_hash: Arc::clone(&self.context.config_hash),
            ..since(&last.figures, &now.figures)
        };
        *last = now;
        Ok(out.emit(Port::MAIN, Records::Health(Arc::new(vec![report])), None).await?)
    }
}

/// The gates, and the fill of their maps of verdicts together.
fn gates(books: &Books) -> (GateStates, Option<MapFill>) {
    let (mut states, mut fill) = (GateStates::default(), None);
    for gate in books.gates() {
        states.interfaces.push(gate.interface);
        states.modes.push(gate.mode);
        states.attached.push(gate.attached);
        let sum = fill.get_or_insert(MapFill { entries: 0, capacity: 0 });
        sum.entries += gate.verdicts;
        sum.capacity += gate.capacity;
    }
    (states, fill)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The counts between two looks at the books.
fn since(before: &Figures, now: &Figures) -> Health {
    let lost: BTreeMap<_, _> = now
        .lost
        .iter()
        .map(|(cause, n)| (*cause, n.saturating_sub(before.lost.get(cause).copied().unwrap_or(0))))
        .filter(|(_, n)| *n > 0)
        .collect();
    Health {
        packets: now.packets.saturating_sub(before.packets),
        lost: lost.into_iter().collect(),
        unknown_losses: now.unknown_losses.saturating_sub(before.unknown_losses),
        delivered: now.delivered.saturating_sub(before.delivered),
        dead_lettered: now.dead_lettered.saturating_sub(before.dead_lettered),
        filtered: now.filtered.saturating_sub(before.filtered),
        dropped: now.dropped.saturating_sub(before.dropped),
        waiting_events: now.waiting_events,
        waiting_bytes: now.waiting_bytes,
        ..Health::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::{
        ack::End,
        component::{
            Decoding, Input,
            edge::{Bounds, WhenFull, edge},
        },
        metrics::{Books, CAPTURE_LOST, CAPTURE_UNKNOWN_LOSS, DISCARDED, LossCause, Meter, Reason},
    };

    /// A health source beside a source `wire` and a sink `siem` that others play.
    struct Bench {
        wire: Arc<Meter>,
        siem: Arc<Meter>,
        input: Input,
        stop: CancellationToken,
        running: JoinHandle<Result<(), Error>>,
    }

    impl Bench {
        fn start(interval_secs: u64, with_wire: bool) -> Self {
            let meter = Meter::new("self", "health");
            let (wire, siem) = (Meter::new("wire", "tshark"), Meter::new("siem", "console"));
            wire.set_state(State::Running);
            let sources =
                [Arc::clone(&meter)].into_iter().chain(with_wire.then(|| Arc::clone(&wire)));
            let context = Context {
                observer: "sensor".into(),
                decoding: Decoding::default(),
                config_hash: "c0ffee".into(),
                books: Books::new(sources, [Arc::clone(&siem)]),
                ..Context::alone(Arc::clone(&meter))
            };
            let (sender, receiver) = edge(Bounds::default(), WhenFull::DropNewest, &siem);
            let mut out = Outputs::new(1, meter, context.receipts.clone());
            out.connect(Port::MAIN, sender);
            let mut input = Input::new(Clock::Wall, Arc::clone(&siem));
            input.add(receiver, Kind::Health.into());
            let every = Duration::from_secs(interval_secs);
            let clock = || Some(ClockState { offset_nanos: 7, synchronised: false });
            let reporter = Reporter { every, context, clock };
            let stop = CancellationToken::new();
            let running = tokio::spawn(reporter.run(out, stop.clone()));
            Self { wire, siem, input, stop, running }
        }

        async fn next(&mut self) -> Option<Health> {
            let batch = self.input.recv().await?;
            let Records::Health(reports) = batch.records else {
                panic!("only reports come from here");
            };
            batch.ack.settle(End::Delivered);
            Some(reports[0].clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_report_has_the_counts_since_the_one_before() {
        let mut bench = Bench::start(60, true);
        bench.wire.received(100);
        bench.wire.count(CAPTURE_LOST, LossCause::KernelBuffer, 3);
        bench.wire.count(CAPTURE_UNKNOWN_LOSS, (), 1);
        bench.siem.delivered(90);
        bench.siem.count(DISCARDED, Reason::Refused, 4);
        let first = bench.next().await.unwrap();
        assert_eq!((first.packets, first.lost_packets(), first.unknown_losses), (100, 3, 1));
        assert_eq!((first.delivered, first.dropped, &*first.config_hash), (90, 4, "c0ffee"));
        assert_eq!((first.interval_nanos, first.uptime_nanos), (60_000_000_000, 60_000_000_000));
        assert_eq!((first.verdict_map, first.gates), (None, GateStates::default()));
        assert_eq!(first.clock, Some(ClockState { offset_nanos: 7, synchronised: false }));

        bench.wire.received(11);
        bench.wire.count(CAPTURE_LOST, LossCause::FrameGap, 2);
        bench.siem.count(DISCARDED, Reason::Condition, 5);
        bench.siem.dead_lettered(6);
        let second = bench.next().await.unwrap();
        assert_eq!((second.packets, &*second.lost), (11, &[("frame_gap", 2)][..]));
        assert_eq!((second.delivered, second.filtered, second.dead_lettered), (0, 5, 6));
        assert_eq!((second.unknown_losses, second.uptime_nanos), (0, 120_000_000_000));
        assert!(second.time >= first.time);
    }

    #[tokio::test(start_paused = true)]
    async fn each_report_has_the_gates_as_they_say_they_are() {
        let mut bench = Bench::start(60, true);
        // What others than gates say is none of it.
        bench.wire.say(json!({"kafka": {"partitions": 3}}));
        assert_eq!(bench.next().await.unwrap().gates, GateStates::default());
        for (attached, verdicts) in [("native", 3), ("no", 0)] {
            bench.wire.say(json!({"gate": {
                "interface": "eth0", "mode": "enforce", "attached": attached, "program": "tidegate",
                "verdicts": verdicts, "capacity": 65_536, "guard": false,
            }}));
            let report = bench.next().await.unwrap();
            let told: [Vec<&str>; 3] =
                report.gates.lists().map(|list| list.iter().map(|text| &**text).collect());
            assert_eq!(told, [vec!["eth0"], vec!["enforce"], vec![attached]]);
            let fill = MapFill { entries: verdicts, capacity: 65_536 };
            assert_eq!(report.verdict_map, Some(fill));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_it_is_stopped_it_reports_what_the_others_lost_by_stopping() {
        let mut bench = Bench::start(60, true);
        tokio::time::sleep(Duration::from_secs(10)).await;
        bench.stop.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.wire.count(CAPTURE_LOST, LossCause::TsharkFailed, 9);
        bench.wire.set_state(State::Ended);
        let last = bench.next().await.unwrap();
        assert_eq!(&*last.lost, &[("tshark_failed", 9)]);
        assert!((11_000_000_000..11_500_000_000).contains(&last.interval_nanos), "{last:?}");
        assert!(bench.next().await.is_none());
        bench.running.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_last_of_the_other_sources() {
        let mut bench = Bench::start(60, true);
        bench.wire.received(7);
        bench.wire.set_state(State::Ended);
        assert_eq!(bench.next().await.unwrap().packets, 7);
        bench.running.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_does_not_end_does_not_hold_it() {
        let bench = Bench::start(60, true);
        bench.stop.cancel();
        timeout(drain::LAST_REPORT * 2, bench.running).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn alone_it_reports_until_it_is_stopped() {
        let mut bench = Bench::start(1, false);
        for report in 1..=30 {
            assert_eq!(bench.next().await.unwrap().uptime_nanos, report * 1_000_000_000);
        }
        bench.stop.cancel();
        assert!(bench.next().await.is_some());
        bench.running.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_sheds_reports_and_counts_them() {
        let bench = Bench::start(1, false);
        tokio::time::sleep(Duration::from_millis(100_500)).await;
        bench.stop.cancel();
        bench.running.await.unwrap().unwrap();
        let balance = bench.siem.balance();
        assert_eq!(balance.received, 101);
        assert_eq!(balance.dropped.get("buffer_full"), Some(&(101 - 64)));
        assert_eq!(bench.siem.level().waiting().0, 64);
    }
}
