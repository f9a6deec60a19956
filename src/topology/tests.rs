//! Pipelines of small components: what the spine promises, whatever the components do.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    ack::{End, Receipts},
    batch::{Batch, Watermark},
    component::{
        Carries, Clock, Component, Error, Input, Outbox, Outputs, Port, PortSpec, Signature,
        Source, Transform,
        edge::{Bounds, WhenFull},
    },
    metrics::Meter,
    record::{Kind, Kinds, Raw, Records, Timestamp},
};

const RAW: Kinds = Kinds::of(&[Kind::Raw]);
const PATIENCE: Duration = Duration::from_secs(20);
type Seen = Arc<Mutex<Vec<u64>>>;

/// A pipeline under construction.
struct Pipeline(Plan);

impl Pipeline {
    fn new(clock: Clock) -> Self {
        let receipts = Receipts::default();
        Self(Plan {
            parts: Vec::new(),
            clock,
            receipts,
            data_dir: None,
            renewer: None,
            networks: None,
        })
    }

    fn add(
        &mut self,
        id: &str,
        signature: Signature,
        component: Component,
        inputs: &[(usize, usize)],
    ) -> usize {
        let link = |&(from, port)| Link { from, port: Port(port), carries: RAW };
        self.0.parts.push(Part {
            meter: Meter::new(id, "test"),
            signature,
            component,
            inputs: inputs.iter().map(link).collect(),
            bounds: Bounds::default(),
            when_full: WhenFull::Block,
        });
        self.0.parts.len() - 1
    }

    fn source(&mut self, id: &str, source: impl Source) -> usize {
        self.add(id, Signature::source(Kind::Raw), Component::source(source), &[])
    }

    fn transform(
        &mut self,
        id: &str,
        transform: impl Transform + 'static,
        inputs: &[(usize, usize)],
    ) -> usize {
        let signature = Signature::transform(RAW, Carries::Inputs);
        self.add(id, signature, Component::transform(transform), inputs)
    }

    fn collect(&mut self, id: &str, inputs: &[(usize, usize)]) -> Seen {
        let seen = Seen::default();
        let keep = Arc::clone(&seen);
        let run = move |input| collect(input, keep);
        self.add(id, Signature::sink(RAW), Component::sink(run), inputs);
        seen
    }

    fn bound(&mut self, part: usize, max_events: u32, when_full: WhenFull) {
        self.0.parts[part].bounds = Bounds { max_events, max_bytes: 1 << 20 };
        self.0.parts[part].when_full = when_full;
    }

    async fn run(self) -> Ended {
        Running::start(self.0).ended(PATIENCE).await
    }
}

fn raw(numbers: impl IntoIterator<Item = u64>) -> Records {
    let raw = |number: u64| Raw {
        line: Bytes::new(),
        epoch: 0,
        first: number,
        origin: crate::record::ObservationPoint::default(),
    };
    Records::Raw(Arc::new(numbers.into_iter().map(raw).collect()))
}

fn numbers(records: &Records) -> Vec<u64> {
    match records {
        Records::Raw(records) => records.iter().map(|raw| raw.first).collect(),
        _ => Vec::new(),
    }
}

fn at(nanos: u64) -> Watermark {
    Watermark { epoch: 0, time: Timestamp::default().saturating_add(nanos) }
}

async fn collect(mut input: Input, seen: Seen) -> Result<(), Error> {
    while let Some(batch) = input.recv().await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers(&batch.records));
        input.meter().delivered(batch.records.len() as u64);
        batch.ack.settle(End::Delivered);
    }
    Ok(())
}

/// Sends each number as a batch of its own, its watermark the number.
struct Numbers(Vec<u64>);

impl Source for Numbers {
    async fn run(self, out: Outputs, _: CancellationToken) -> Result<(), Error> {
        for number in self.0 {
            out.emit(Port::MAIN, raw([number]), Some(at(number))).await?;
        }
        Ok(())
    }
}

/// Sends until it is stopped.
struct Endless;

impl Source for Endless {
    async fn run(self, out: Outputs, stop: CancellationToken) -> Result<(), Error> {
        let mut number = 0;
        while !stop.is_cancelled() {
            out.emit(Port::MAIN, raw([number]), Some(at(number))).await?;
            number += 1;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Passes numbers on after a change.
struct Map(fn(u64) -> u64);

impl Transform for Map {
    fn apply(&mut self, batch: Batch, _: Timestamp, out: &mut Outbox<'_>) {
        let mapped = raw(numbers(&batch.records).into_iter().map(self.0));
        out.push(Port::MAIN, batch.with(mapped));
    }
}

/// Even numbers to the main port, odd ones to the other.
struct Parity;

impl Transform for Parity {
    fn apply(&mut self, batch: Batch, _: Timestamp, out: &mut Outbox<'_>) {
        let (even, odd) =
            numbers(&batch.records).into_iter().partition::<Vec<_>, _>(|n| n % 2 == 0);
        out.push(Port(1), batch.share().with(raw(odd)));
        out.push(Port::MAIN, batch.with(raw(even)));
    }
}

/// Sums up, and tells the sum every ten nanoseconds of event time and at the end.
#[derive(Default)]
struct Sum {
    sum: u64,
    due: Option<Timestamp>,
}

impl Transform for Sum {
    fn apply(&mut self, batch: Batch, now: Timestamp, out: &mut Outbox<'_>) {
        let seen = numbers(&batch.records);
        out.absorbed(seen.len() as u64);
        self.sum += seen.into_iter().sum::<u64>();
        self.due.get_or_insert(now.saturating_add(10));
        batch.ack.settle(End::Delivered);
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    fn tick(&mut self, _: Timestamp, out: &mut Outbox<'_>) {
        self.due = None;
        out.emit(Port::MAIN, raw([std::mem::take(&mut self.sum)]), None);
    }

    fn drain(&mut self, now: Timestamp, out: &mut Outbox<'_>) -> bool {
        self.tick(now, out);
        false
    }
}

/// Keeps all numbers, and gives them back by tens, a batch each.
#[derive(Default)]
struct Hoard(Vec<u64>);

impl Transform for Hoard {
    fn apply(&mut self, batch: Batch, _: Timestamp, out: &mut Outbox<'_>) {
        self.0.extend(numbers(&batch.records));
        out.absorbed(batch.records.len() as u64);
        batch.ack.settle(End::Delivered);
    }

    fn drain(&mut self, _: Timestamp, out: &mut Outbox<'_>) -> bool {
        for number in self.0.drain(..self.0.len().min(10)) {
            out.emit(Port::MAIN, raw([number]), None);
        }
        !self.0.is_empty()
    }

    fn undrained(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Takes nothing, for ever.
fn stuck() -> Component {
    Component::sink(|input: Input| async move {
        pending::<()>().await;
        drop(input);
        Ok(())
    })
}

fn seen(seen: &Seen) -> Vec<u64> {
    seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[tokio::test]
async fn a_second_port_feeds_its_own_readers_and_the_account_balances() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let source = pipeline.source("source", Numbers((0..10).collect()));
    let signature = Signature::transform(RAW, Carries::Inputs)
        .and(PortSpec::named("odd", Carries::Only(Kind::Raw)));
    let parity = pipeline.add("parity", signature, Component::transform(Parity), &[(source, 0)]);
    let even = pipeline.collect("even", &[(parity, 0)]);
    let odd = pipeline.collect("odd", &[(parity, 1)]);

    let ended = pipeline.run().await;

    assert_eq!(seen(&even), [0, 2, 4, 6, 8]);
    assert_eq!(seen(&odd), [1, 3, 5, 7, 9]);
    assert!(ended.is_clean(), "{}", ended.summary);
    let totals = ended.summary.totals(1.0);
    assert_eq!((totals.records_in, totals.delivered), (10, 10));
}

#[tokio::test]
async fn fan_in_by_event_time_depends_on_the_data_alone() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let slow = pipeline.source("slow", Numbers(vec![1, 4, 5, 9]));
    let other = pipeline.source("other", Numbers(vec![2, 3, 6, 7, 8]));
    let merged = pipeline.collect("merged", &[(slow, 0), (other, 0)]);

    assert!(pipeline.run().await.is_clean());

    // The edge whose watermark is behind is read next: after 1 and 2 it is the first one's turn.
    assert_eq!(seen(&merged), [1, 2, 4, 3, 6, 5, 9, 7, 8]);
}

#[tokio::test]
async fn live_fan_in_reads_every_edge() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let one = pipeline.source("one", Numbers((0..1_000).collect()));
    let other = pipeline.source("other", Numbers((1_000..2_000).collect()));
    let merged = pipeline.collect("merged", &[(one, 0), (other, 0)]);

    assert!(pipeline.run().await.is_clean());

    let mut all = seen(&merged);
    all.sort_unstable();
    assert_eq!(all, (0..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stuck_branch_stalls_the_others_no_earlier_than_its_buffer_is_full() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let source = pipeline.source("source", Numbers((0..100).collect()));
    let stuck = pipeline.add("stuck", Signature::sink(RAW), stuck(), &[(source, 0)]);
    pipeline.bound(stuck, 10, WhenFull::Block);
    let healthy = pipeline.collect("healthy", &[(source, 0)]);

    let running = Running::start(pipeline.0);
    let stop = running.stop_token();
    let ended = tokio::spawn(running.ended(Duration::from_millis(50)));
    while seen(&healthy).len() < 11 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    let ended = ended.await.unwrap();

    assert_eq!(
        ended.unfinished,
        ["healthy", "source", "stuck"],
        "the stuck branch holds up its source"
    );
    let stuck = &ended.summary.accounts[stuck].balance;
    assert_eq!(stuck.held, 11, "what it never took counts as held by it, and what waited for room");
    assert!(!ended.is_clean());
    assert!(ended.summary.lost_receipts >= 10);
}

#[tokio::test]
async fn a_stuck_branch_that_may_shed_stalls_nobody_and_is_counted() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let source = pipeline.source("source", Numbers((0..100).collect()));
    let gate = CancellationToken::new();
    let opened = gate.clone();
    let shedding = pipeline.add(
        "shedding",
        Signature::sink(RAW),
        Component::sink(move |input| async move {
            opened.cancelled().await;
            collect(input, Seen::default()).await
        }),
        &[(source, 0)],
    );
    pipeline.bound(shedding, 10, WhenFull::DropNewest);
    let healthy = pipeline.collect("healthy", &[(source, 0)]);

    let ended = tokio::spawn(pipeline.run());
    while seen(&healthy).len() < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.cancel();
    let ended = ended.await.unwrap();

    let balance = &ended.summary.accounts[shedding].balance;
    assert_eq!((balance.received, balance.delivered), (100, 10));
    assert_eq!(balance.dropped["buffer_full"], 90);
    assert!(balance.holds() && ended.unfinished.is_empty());
    assert!(!ended.is_clean(), "a shed record is no clean end");
}

#[tokio::test]
async fn a_run_is_complete_when_its_aggregates_have_drained_and_all_receipts_are_settled() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let receipts = pipeline.0.receipts.clone();
    let source = pipeline.source("source", Numbers((0..25).collect()));
    let sums = pipeline.transform("sums", Sum::default(), &[(source, 0)]);
    let told = pipeline.collect("told", &[(sums, 0)]);

    let ended = pipeline.run().await;

    // Ticks come at 10 and 21 of event time, the drain brings the rest.
    assert_eq!(seen(&told), [(0..=10).sum::<u64>(), (11..=21).sum(), (22..25).sum()]);
    assert!(ended.is_clean(), "{}", ended.summary);
    let balance = &ended.summary.accounts[sums].balance;
    assert_eq!((balance.received, balance.absorbed, balance.made), (25, 25, 3));
    assert_eq!((receipts.outstanding(), receipts.ended(End::Delivered)), (0, 28));
}

#[tokio::test]
async fn what_an_aggregate_holds_comes_out_part_by_part() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let source = pipeline.source("source", Numbers((0..35).collect()));
    let hoard = pipeline.transform("hoard", Hoard::default(), &[(source, 0)]);
    let mapped = pipeline.transform("mapped", Map(|n| n), &[(hoard, 0)]);
    let told = pipeline.collect("told", &[(mapped, 0)]);

    assert!(pipeline.run().await.is_clean());

    assert_eq!(seen(&told), (0..35).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_run_that_is_cut_off_accounts_for_all_that_was_on_its_way() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let source = pipeline.source("source", Numbers((0..100).collect()));
    let hoard = pipeline.transform("hoard", Hoard::default(), &[(source, 0)]);
    let sink = pipeline.add("stuck", Signature::sink(RAW), stuck(), &[(hoard, 0)]);
    pipeline.bound(sink, 5, WhenFull::Block);

    let running = Running::start(pipeline.0);
    let (abort, components) = (running.abort_token(), running.components().to_vec());
    let ended = tokio::spawn(running.ended(PATIENCE));
    while components[sink].meter.balance().received < 6 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    abort.cancel();
    let summary = ended.await.unwrap().summary;

    // Five in the buffer, one before it, four that were made, ninety that were not.
    assert_eq!(summary.accounts[sink].balance.held, 10, "{summary}");
    assert_eq!(summary.accounts[hoard].balance.unmade, 90, "{summary}");
    assert_eq!(summary.totals(1.0).lost["unfinished"], 100);
    assert!(summary.balances() && !summary.is_clean());
}

#[tokio::test]
async fn a_branch_that_breaks_off_costs_the_others_nothing() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let source = pipeline.source("source", Numbers(vec![1]));
    let broken = Component::sink(|input| async move {
        drop(input);
        Ok(())
    });
    let broken = pipeline.add("broken", Signature::sink(RAW), broken, &[(source, 0)]);
    let healthy = pipeline.collect("healthy", &[(source, 0)]);

    let ended = pipeline.run().await;

    assert_eq!(seen(&healthy), [1]);
    assert_eq!(ended.summary.accounts[broken].balance.held, 1, "{}", ended.summary);
}

#[tokio::test]
async fn neighbouring_transforms_are_fused_and_each_keeps_its_own_account() {
    let mut pipeline = Pipeline::new(Clock::Event);
    let source = pipeline.source("source", Numbers((0..5).collect()));
    let first = pipeline.transform("first", Map(|n| n + 1), &[(source, 0)]);
    let second = pipeline.transform("second", Map(|n| n * 10), &[(first, 0)]);
    let third = pipeline.transform("third", Sum::default(), &[(second, 0)]);
    let told = pipeline.collect("told", &[(third, 0)]);

    let running = Running::start(pipeline.0);
    assert_eq!(running.tasks(), 3, "source, chain and sink");
    let ended = running.ended(PATIENCE).await;

    assert_eq!(seen(&told), [150]);
    let received = |at: usize| ended.summary.accounts[at].balance.received;
    assert_eq!([received(first), received(second), received(third)], [5, 5, 5]);
    assert!(ended.is_clean(), "{}", ended.summary);
}

#[tokio::test]
async fn a_panic_acknowledges_nothing_and_names_the_component() {
    struct Faulty;
    impl Transform for Faulty {
        fn apply(&mut self, batch: Batch, _: Timestamp, out: &mut Outbox<'_>) {
            assert!(numbers(&batch.records) != [3], "as a bug would");
            out.push(Port::MAIN, batch);
        }
    }
    let mut pipeline = Pipeline::new(Clock::Event);
    let source = pipeline.source("source", Numbers((0..10_000).collect()));
    let faulty = pipeline.transform("faulty", Faulty, &[(source, 0)]);
    let passed = pipeline.collect("passed", &[(faulty, 0)]);

    let ended = pipeline.run().await;

    assert_eq!(seen(&passed), [0, 1, 2]);
    assert_eq!(ended.failures[0].component, "faulty");
    assert!(ended.failures[0].error.to_string().contains("panicked"));
    assert!(ended.summary.lost_receipts > 0 && !ended.is_clean());
}

#[tokio::test]
async fn stopping_the_sources_drains_the_rest() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let source = pipeline.source("source", Endless);
    let sums = pipeline.transform("map", Map(|n| n), &[(source, 0)]);
    let passed = pipeline.collect("passed", &[(sums, 0)]);

    let running = Running::start(pipeline.0);
    let stop = running.stop_token();
    let ended = tokio::spawn(running.ended(PATIENCE));
    while seen(&passed).len() < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    let ended = ended.await.unwrap();

    assert!(ended.is_clean(), "{}", ended.summary);
    let totals = ended.summary.totals(1.0);
    assert_eq!(totals.records_in, totals.delivered);
    assert_eq!(seen(&passed), (0..totals.delivered).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sink_that_fails_stops_the_run_and_is_named_as_the_cause() {
    let mut pipeline = Pipeline::new(Clock::Wall);
    let source = pipeline.source("source", Endless);
    pipeline.add(
        "broken",
        Signature::sink(RAW),
        Component::sink(|_| async { Err(Error::failure("the pipe is closed")) }),
        &[(source, 0)],
    );

    let ended = pipeline.run().await;

    assert_eq!(ended.failures[0].component, "broken");
    assert_eq!(ended.failures[1].component, "source");
    assert!(ended.failures[1].error.is_downstream());
}

mod kept;
mod verdicts;
