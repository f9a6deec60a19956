//! What is asked of librdkafka, and what becomes of messages; a real broker is in tests/it/kafka.

use std::{future::poll_fn, time::Duration};

use proptest::prelude::*;
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{chunk::Gathering, ledger::Part, *};
use crate::{
    ack::{End, Receipts},
    batch::Batch,
    codec::wire,
    component::{
        Outputs, Port,
        edge::{Bounds, EdgeReceiver, WhenFull, edge},
    },
    log_limit::LogLimit,
    metrics::{Meter, Reason},
    record::{Health, Records, Returned, Timestamp},
};

fn config(more: &serde_json::Value) -> Config {
    let mut config = json!({
        "bootstrap_servers": ["127.0.0.1:9092"], "group": "siem", "topics": ["tidegate.flow"],
    });
    let keys = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(keys);
    serde_json::from_value(config).unwrap()
}

#[test]
fn values_that_can_not_be_are_named() {
    let cases = [
        (json!({}), None),
        (json!({"topics": ["a.b_c-D9"], "librdkafka": {"session.timeout.ms": "6000"}}), None),
        (json!({"bootstrap_servers": ["broker"]}), Some("bootstrap_servers[0]")),
        (json!({"group": ""}), Some("group")),
        (json!({"topics": []}), Some("topics")),
        (json!({"topics": ["a", "b c"]}), Some("topics[1]")),
        (json!({"topics": ["^a.*"]}), Some("topics[0]")),
        (json!({"topics": ["..", "a"]}), Some("topics[0]")),
        (json!({"topics": ["a", "a"]}), Some("topics[1]")),
        (
            json!({"sasl": {"mechanism": "plain", "user": "u", "password": "p"}}),
            Some("sasl.mechanism"),
        ),
        (json!({"librdkafka": {"fetch.wait": "1"}}), Some("librdkafka.fetch.wait")),
        (json!({"librdkafka": {"max.poll.interval.ms": "1000"}}), Some("librdkafka")),
    ];
    for (more, expected) in cases {
        let found: Vec<_> = config(&more).check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(found.first().map(String::as_str), expected, "{more}");
    }
}

#[test]
fn what_the_source_promises_can_not_be_undone_by_a_property() {
    for property in [
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "auto.commit.interval.ms",
        "group.id",
        "offset.store.method",
        "test.mock.num.brokers",
        "queued.max.messages.kbytes",
        "security.protocol",
        "sasl.password",
    ] {
        let found = config(&json!({"librdkafka": {property: "1"}})).check();
        assert_eq!(found.first().unwrap().key, format!("librdkafka.{property}"));
    }
    let given = json!({"librdkafka": {"partition.assignment.strategy": "range"}});
    let client = config(&given).client_config();
    assert_eq!(client.get("partition.assignment.strategy"), Some("range"));
    assert_eq!(client.get("auto.offset.reset"), Some("earliest"));
    assert_eq!(
        config(&json!({"start": "latest"})).client_config().get("auto.offset.reset"),
        Some("latest")
    );
}

/// Takes the next batch in which there is something.
async fn next(receiver: &mut EdgeReceiver) -> Batch {
    loop {
        let batch = poll_fn(|cx| receiver.poll_recv(cx)).await.unwrap();
        if !batch.records.is_empty() {
            return batch;
        }
    }
}

#[test]
fn a_stop_does_not_wait_for_a_coordinator_until_the_run_is_cut_off() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(stop_without_a_coordinator());
    // Its thread would be waited for.
    runtime.shutdown_background();
}

async fn stop_without_a_coordinator() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("tidegate.flow", 1, 1).unwrap();
    let servers = cluster.bootstrap_servers();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let payload = written(&health(7));
    producer.send(BaseRecord::<(), _>::to("tidegate.flow").payload(&payload)).unwrap();
    producer.flush(Duration::from_mins(1)).unwrap();

    let meter = Meter::new("bus", "kafka");
    let receipts = Receipts::default();
    let context = Context { receipts: receipts.clone(), ..Context::alone(Arc::clone(&meter)) };
    let mut out = Outputs::new(PORTS.len(), Arc::clone(&meter), receipts);
    let (sender, mut receiver) = edge(Bounds::default(), WhenFull::Block, &meter);
    out.connect(Port(3), sender);
    let stop = CancellationToken::new();
    let config = config(&json!({"bootstrap_servers": [servers]}));
    let Ok(Component::Source(source, _)) = config.build(&context) else {
        panic!("it is a source");
    };
    let running = tokio::spawn(source(out, stop.clone()));
    let batch = next(&mut receiver).await;
    cluster.broker_down(1).unwrap();
    batch.ack.settle(End::Delivered);
    stop.cancel();
    // librdkafka itself would wait for as long as a session lasts, which is 45 s.
    let ended = tokio::time::timeout(Duration::from_secs(30), running).await;
    assert!(ended.unwrap().unwrap().is_ok());
}

fn gathering() -> Gathering {
    Gathering::new(Part { topic: "t".into(), number: 3 }, 1)
}

fn written(records: &Records) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(records, 0, "agent", &mut bytes).unwrap();
    bytes
}

fn health(secs: i64) -> Records {
    let time = Timestamp::from_nanos(secs * 1_000_000_000);
    Records::Health(Arc::new(vec![Health { time, ..Health::default() }]))
}

#[test]
fn records_go_to_the_ports_of_their_kinds_and_all_else_is_refused_with_a_reason() {
    let log = LogLimit::series();
    let returned = Records::Returned(Arc::new(vec![Returned::new(Kind::Flow, b"{}")]));
    let whole = written(&health(7));
    let mut newer = whole.clone();
    newer[1] = wire::VERSION + 1;
    let mut unknown = whole.clone();
    unknown[2] = 99;
    let mut trailing = whole.clone();
    trailing.push(0);
    let messages: [&[u8]; 9] = [
        &whole,
        b"",
        b"{\"source\": {}}",
        &newer,
        &unknown,
        &whole[..whole.len() - 1],
        &trailing,
        &written(&returned),
        &written(&health(5)),
    ];
    let mut gathered = gathering();
    for (offset, message) in (40..).zip(messages) {
        gathered.take(offset, message, &log);
    }
    let (chunk, time) = gathered.finish(&[false, false, false, true]);
    assert_eq!((chunk.next, time), (49, Some(Timestamp::from_nanos(7_000_000_000))));
    let handed_on: Vec<_> =
        chunk.batches.iter().map(|(port, records)| (*port, records.len())).collect();
    assert_eq!(handed_on, [(Port(3), 1), (Port(3), 1)]);
    let refused = [
        (Reason::NotWire, 2),
        (Reason::NewerWire, 1),
        (Reason::WrongKind, 2),
        (Reason::DamagedWire, 2),
    ];
    assert_eq!(chunk.refused, refused);
}

#[test]
fn what_nobody_reads_is_counted_and_done() {
    let mut gathered = gathering();
    gathered.take(0, &written(&health(7)), &LogLimit::series());
    let (chunk, _) = gathered.finish(&[true, true, true, false]);
    assert!(chunk.batches.is_empty());
    assert_eq!(chunk.refused, [(Reason::Unread, 1)]);
}

proptest! {
    #[test]
    fn each_message_is_handed_on_or_refused_whatever_it_is(
        messages in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| {
                    let mut bytes = written(&health(1));
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    bytes
                }),
            ],
            0..40,
        ),
    ) {
        let mut gathered = gathering();
        let log = LogLimit::series();
        for (offset, message) in (0..).zip(&messages) {
            gathered.take(offset, message, &log);
        }
        let (chunk, _) = gathered.finish(&[true; 4]);
        let handed_on: usize = chunk.batches.iter().map(|(_, records)| records.len()).sum();
        let refused: u64 = chunk.refused.iter().map(|(_, n)| n).sum();
        prop_assert_eq!(handed_on as u64 + refused, messages.len() as u64);
    }
}
