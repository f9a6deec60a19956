use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::{
    ack::{End, Receipts},
    component::{
        Outputs, Port,
        edge::{Bounds, EdgeSender, WhenFull, edge},
    },
    record::{ObservationPoint, Raw, Records, Timestamp},
};

/// An input whose edges are written to by hand.
struct Rig {
    input: Input,
    edges: Vec<EdgeSender>,
}

fn at(nanos: i64) -> Watermark {
    Watermark { epoch: 0, time: Timestamp::from_nanos(nanos) }
}

fn batch(kind: Kind, nanos: i64) -> Batch {
    Batch { watermark: Some(at(nanos)), ..Batch::unacknowledged(Records::none(kind)) }
}

fn new_edge(meter: &Arc<Meter>) -> (EdgeSender, EdgeReceiver) {
    edge(Bounds::default(), WhenFull::Block, meter)
}

impl Rig {
    fn new(clock: Clock, kinds: &[Kind]) -> Self {
        let meter = Meter::new("reader", "test");
        let (mut input, mut edges) = (Input::new(clock, Arc::clone(&meter)), Vec::new());
        for kind in kinds {
            let (sender, receiver) = new_edge(&meter);
            input.add(receiver, (*kind).into());
            edges.push(sender);
        }
        Self { input, edges }
    }

    async fn send(&self, edge: usize, kind: Kind, nanos: i64) {
        self.edges[edge].send(batch(kind, nanos)).await.unwrap();
    }

    /// What comes until nothing does, each as its kind and time.
    async fn all(&mut self) -> Vec<(Kind, i64)> {
        let mut all = Vec::new();
        while let Ok(Some(batch)) = timeout(Duration::from_secs(1), self.input.recv()).await {
            all.push(seen(&batch));
        }
        all
    }
}

fn seen(batch: &Batch) -> (Kind, i64) {
    (batch.records.kind(), batch.watermark.map_or(-1, |mark| mark.time.nanos()))
}

#[tokio::test(start_paused = true)]
async fn at_one_watermark_kinds_come_in_the_order_of_the_data_whatever_the_order_of_inputs() {
    use Kind::{Alert, Contact, Flow, Packet};
    for clock in [Clock::Event, Clock::Wall] {
        for kinds in [[Packet, Contact, Flow], [Flow, Packet, Contact], [Flow, Contact, Packet]] {
            let mut rig = Rig::new(clock, &kinds);
            for nanos in 1..=3 {
                for (edge, kind) in kinds.into_iter().enumerate() {
                    rig.send(edge, kind, nanos).await;
                }
            }
            rig.edges.clear();
            let all = rig.all().await;
            let place = |kind, nanos| all.iter().position(|it| *it == (kind, nanos)).unwrap();
            for nanos in 1..=3 {
                assert!(
                    place(Packet, nanos) < place(Contact, nanos),
                    "{clock:?} {kinds:?} {all:?}"
                );
                assert!(place(Contact, nanos) < place(Flow, nanos), "{clock:?} {kinds:?} {all:?}");
            }
        }
    }
    let mut rig = Rig::new(Clock::Wall, &[Alert, Flow]);
    rig.send(0, Alert, 1).await;
    rig.send(1, Flow, 2).await;
    rig.edges.clear();
    assert_eq!(rig.all().await, [(Alert, 1), (Flow, 2)], "an earlier time goes first");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lags_behind_keeps_no_other_from_being_read() {
    let mut rig = Rig::new(Clock::Wall, &[Kind::Alert, Kind::Packet]);
    rig.send(0, Kind::Alert, 1_000_000).await;
    let mut before = 0;
    loop {
        rig.send(1, Kind::Packet, before).await;
        if seen(&rig.input.recv().await.unwrap()).0 == Kind::Alert {
            break;
        }
        before += 1;
    }
    assert_eq!(usize::try_from(before).unwrap(), MAX_PASSES);
}

#[tokio::test(start_paused = true)]
async fn batches_outside_event_time_take_their_turn() {
    let mut rig = Rig::new(Clock::Wall, &[Kind::Health, Kind::Packet]);
    for nanos in 1..=2 {
        rig.send(1, Kind::Packet, nanos).await;
        let health = Batch::unacknowledged(Records::none(Kind::Health));
        rig.edges[0].send(health).await.unwrap();
    }
    let kinds: Vec<_> = rig.all().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Health, Kind::Packet, Kind::Health, Kind::Packet]);
}

/// A source gives records to a reader and to one that makes flows of them, which the reader has too: as
/// with `reverse_dns` and `inputs: [flows, packets]`, but with room for one record before the reader.
#[tokio::test(start_paused = true)]
async fn live_records_that_wait_for_room_come_before_the_flows_made_of_them() {
    const RECORDS: i64 = 200;
    for reader_first in [true, false] {
        let meter = Meter::new("reader", "test");
        let (flows, flows_receiver) = new_edge(&meter);
        let one = Bounds { max_events: 1, max_bytes: 1 << 20 };
        let (to_reader, receiver) = edge(one, WhenFull::Block, &meter);
        let mut input = Input::new(Clock::Wall, Arc::clone(&meter));
        input.add(flows_receiver, Kind::Flow.into());
        input.add(receiver, Kind::Raw.into());
        let (to_flow, mut flow) = new_edge(&Meter::new("flow", "test"));
        let mut outputs = Outputs::new(1, Meter::new("source", "test"), Receipts::default());
        let edges = if reader_first { [to_reader, to_flow] } else { [to_flow, to_reader] };
        for edge in edges {
            outputs.connect(Port::MAIN, edge);
        }
        let source = tokio::spawn(async move {
            for nanos in 0..RECORDS {
                let raw = Raw {
                    line: Bytes::new(),
                    epoch: 0,
                    first: 0,
                    origin: ObservationPoint::default(),
                };
                let batch = batch(Kind::Raw, nanos).with(Records::Raw(Arc::new(vec![raw])));
                outputs.send(Port::MAIN, batch).await.unwrap();
            }
        });
        let flow = tokio::spawn(async move {
            while let Some(batch) = poll_fn(|cx| flow.poll_recv(cx)).await {
                flows.send(self::batch(Kind::Flow, seen(&batch).1)).await.unwrap();
            }
        });
        let (mut learnt, mut flows_read) = (-1, 0);
        // What has room is there when the reader begins, and what has none waits.
        tokio::time::sleep(Duration::from_millis(10)).await;
        while let Some(batch) = input.recv().await {
            match seen(&batch) {
                (Kind::Raw, nanos) => learnt = nanos,
                (_, nanos) => {
                    assert!(nanos <= learnt, "flow {nanos} came before its record, {learnt} did");
                    flows_read += 1;
                }
            }
        }
        source.await.unwrap();
        flow.await.unwrap();
        assert_eq!(flows_read, RECORDS);
    }
}

#[tokio::test(start_paused = true)]
async fn live_a_preferred_kind_is_read_first_and_a_replay_keeps_the_order_of_time() {
    for (clock, expected) in [
        (Clock::Wall, [(Kind::Flow, 2), (Kind::Flow, 4), (Kind::Packet, 1), (Kind::Packet, 3)]),
        (Clock::Event, [(Kind::Packet, 1), (Kind::Flow, 2), (Kind::Packet, 3), (Kind::Flow, 4)]),
    ] {
        let mut rig = Rig::new(clock, &[Kind::Packet, Kind::Flow]);
        rig.input.prefer(Kind::Flow);
        for nanos in [1, 3] {
            rig.send(0, Kind::Packet, nanos).await;
            rig.send(1, Kind::Flow, nanos + 1).await;
        }
        rig.edges.clear();
        assert_eq!(rig.all().await, expected, "{clock:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_can_take_only_the_preferred_kind_gets_no_other() {
    for clock in [Clock::Wall, Clock::Event] {
        let mut rig = Rig::new(clock, &[Kind::Flow, Kind::Contact]);
        rig.input.prefer(Kind::Contact);
        rig.send(0, Kind::Flow, 1).await;
        rig.send(1, Kind::Contact, 1).await;
        assert_eq!(seen(&rig.input.recv_preferred().await), (Kind::Contact, 1));
        let waited = timeout(Duration::from_secs(1), rig.input.recv_preferred()).await;
        assert!(waited.is_err(), "the flow waits");
        assert_eq!(rig.input.recv().await.as_ref().map(seen), Some((Kind::Flow, 1)));
    }
}

/// What a judge does: it reads contacts while the flows it holds have no room, and loses neither.
#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_room_in_a_select_is_not_lost() {
    let mut rig = Rig::new(Clock::Wall, &[Kind::Contact]);
    rig.input.prefer(Kind::Contact);
    let reader = Meter::new("sink", "test");
    let small = Bounds { max_events: 1, max_bytes: 1 << 20 };
    let (sender, mut receiver) = edge(small, WhenFull::Block, &reader);
    let receipts = Receipts::default();
    let mut outputs = Outputs::new(1, Arc::clone(rig.input.meter()), receipts.clone());
    outputs.connect(Port::MAIN, sender);
    let health = |number| {
        let records = Records::Health(Arc::new(vec![crate::record::Health::default()]));
        Batch { records, ack: receipts.open(), watermark: Some(at(number)) }
    };
    outputs.send(Port::MAIN, health(1)).await.unwrap();
    let held = health(2);
    for nanos in 0..5 {
        rig.send(0, Kind::Contact, nanos).await;
        tokio::select! {
            biased;
            () = outputs.room(Port::MAIN, &held) => panic!("there is no room yet"),
            contact = rig.input.recv_preferred() => assert_eq!(seen(&contact), (Kind::Contact, nanos)),
        }
    }
    let first = poll_fn(|cx| receiver.poll_recv(cx)).await.unwrap();
    assert_eq!(seen(&first), (Kind::Health, 1));
    outputs.room(Port::MAIN, &held).await;
    let sent = timeout(Duration::ZERO, outputs.send(Port::MAIN, held)).await;
    assert_eq!(sent, Ok(Ok(())), "what has room does not wait");
    let second = poll_fn(|cx| receiver.poll_recv(cx)).await.unwrap();
    assert_eq!(seen(&second), (Kind::Health, 2));
    for batch in [first, second] {
        batch.ack.settle(End::Delivered);
    }
    assert_eq!((receipts.ended(End::Delivered), receipts.ended(End::Lost)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn room_is_waited_for_on_every_edge_and_not_with_who_sheds_or_has_gone() {
    let meter = Meter::new("reader", "test");
    let mut outputs = Outputs::new(3, Arc::clone(&meter), Receipts::default());
    let (full, mut receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
    for nanos in 0..64 {
        full.send(batch(Kind::Flow, nanos)).await.unwrap();
    }
    let (roomy, _roomy_receiver) = new_edge(&meter);
    outputs.connect(Port(0), roomy);
    outputs.connect(Port(0), full);
    let (shedding, _shedding_receiver) = edge(Bounds::default(), WhenFull::DropNewest, &meter);
    for nanos in 0..64 {
        shedding.send(batch(Kind::Flow, nanos)).await.unwrap();
    }
    outputs.connect(Port(1), shedding);
    let (gone, gone_receiver) = new_edge(&meter);
    drop(gone_receiver);
    outputs.connect(Port(2), gone);
    let has_room = async |port| {
        let batch = batch(Kind::Flow, 99);
        timeout(Duration::from_secs(1), outputs.room(Port(port), &batch)).await.is_ok()
    };
    assert_eq!([has_room(0).await, has_room(1).await, has_room(2).await], [false, true, true]);
    poll_fn(|cx| receiver.poll_recv(cx)).await.unwrap();
    assert!(has_room(0).await);
}
