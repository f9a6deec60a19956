//! What is asked of librdkafka, and what its answers mean; the real broker is in tests/it/kafka.

use std::net::IpAddr;

use rdkafka::{
    ClientContext as _,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::Headers as _,
};
use serde_json::json;

use super::{client::Reports, *};
use crate::{
    codec::Schema,
    record::{Contact, Endpoint, Flow, Id, Kind, ObservationPoint, Outcome, Timestamp, Transport},
};

fn config(more: &serde_json::Value) -> Config {
    let mut config = json!({"bootstrap_servers": ["127.0.0.1:9092"], "topic": "{kind}"});
    let keys = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(keys);
    serde_json::from_value(config).unwrap()
}

fn problems(more: &serde_json::Value) -> Vec<String> {
    let found = config(more).check(&Options::default());
    found.into_iter().map(|problem| problem.key).collect()
}

#[test]
fn what_the_sink_promises_can_not_be_undone_by_a_property() {
    let theirs = [
        "acks",
        "enable.idempotence",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "queue.buffering.max.kbytes",
        "security.protocol",
        "sasl.password",
        "ssl.key.location",
        "ssl.ca.location",
        "bootstrap.servers",
        "compression.type",
        "transactional.id",
        "partitioner",
        "test.mock.num.brokers",
        "ssl.endpoint.identification.algorithm",
        "plugin.library.paths",
    ];
    for property in theirs {
        let found = problems(&json!({"librdkafka": {property: "1"}}));
        assert_eq!(found, [format!("librdkafka.{property}")]);
    }
    assert_eq!(
        problems(&json!({"librdkafka": {"linger.ms": "50", "message.max.bytes": "9000"}})),
        [""; 0]
    );
    for (property, value) in [("linger.msec", "5"), ("linger.ms", "soon")] {
        let found = problems(&json!({"librdkafka": {property: value}}));
        assert_eq!(found, [format!("librdkafka.{property}")]);
    }
}

#[test]
fn properties_that_librdkafka_does_not_take_together_are_named_beforehand() {
    let cases = [
        ("max.in.flight.requests.per.connection", "6"),
        ("retries", "0"),
        ("queuing.strategy", "lifo"),
    ];
    for (property, value) in cases {
        let more = json!({"librdkafka": {property: value}});
        assert_eq!(problems(&more), ["librdkafka"], "{property}");
        let build = Producers::start(
            config(&more).client_config(&Options::default()),
            Arc::new(State::new(Meter::new("bus", "kafka"))),
        );
        assert!(build.is_err(), "a run takes {property}");
    }
    let fine =
        json!({"tls": {}, "sasl": {"user": "u", "password": "p"}, "librdkafka": {"retries": "3"}});
    assert_eq!(problems(&fine), [""; 0]);
}

#[test]
fn the_name_a_user_gives_a_client_is_the_one_it_has() {
    let name = |more: serde_json::Value| {
        let client = config(&more).client_config(&Options::default());
        client.get("client.id").map(str::to_owned)
    };
    assert_eq!(name(json!({})).as_deref(), Some("tidegate"));
    assert_eq!(name(json!({"librdkafka": {"client.id": "edge-7"}})).as_deref(), Some("edge-7"));
}

#[test]
fn only_where_no_name_of_a_broker_leads_anywhere_are_all_of_them_astray() {
    let down = [Code::AllBrokersDown];
    let cases: [(&[Code], bool); 5] = [
        (&[Code::Resolve], false),
        (&[Code::Resolve, down[0]], true),
        (&[down[0], Code::Resolve], true),
        (&[Code::BrokerTransportFailure, Code::Resolve, down[0]], false),
        (&[Code::BrokerTransportFailure, down[0]], false),
    ];
    for (errors, is_astray) in cases {
        let state = Arc::new(State::new(Meter::new("bus", "kafka")));
        for code in errors {
            Reports(Arc::clone(&state)).error(KafkaError::Global(*code), "so it is");
        }
        assert_eq!(state.astray().is_some(), is_astray, "{errors:?}");
        state.delivered();
        assert_eq!(state.astray(), None);
    }
}

#[test]
fn values_that_can_not_be_are_named() {
    let cases = [
        (json!({"bootstrap_servers": []}), "bootstrap_servers"),
        (json!({"bootstrap_servers": ["ok:1", "broker"]}), "bootstrap_servers[1]"),
        (json!({"bootstrap_servers": ["a b:9092"]}), "bootstrap_servers[0]"),
        (json!({"topic": ""}), "topic"),
        (json!({"topic": "flows/{kind}"}), "topic"),
        (json!({"topic": "{source.ip}"}), "topic"),
        (json!({"topic": "{kind"}), "topic"),
        (json!({"topic": ".."}), "topic"),
        (json!({"namespace": "a b"}), "namespace"),
        (json!({"tls": {"cert": "a.pem"}}), "tls.key"),
        (json!({"sasl": {"mechanism": "plain", "user": "u", "password": "p"}}), "sasl.mechanism"),
        (json!({"sasl": {"user": "u", "password": ""}}), "sasl.password"),
        (json!({"sasl": {"user": "", "password": "p"}}), "sasl.user"),
    ];
    for (more, key) in cases {
        let found = problems(&more);
        assert!(
            found.iter().any(|found| found == key || key == "tls.key" && found == "tls.cert"),
            "{more}: {found:?}"
        );
    }
    let mut options = Options::default();
    options.encoding.codec = Codec::Yaml;
    assert_eq!(config(&json!({})).check(&options)[0].key, "encoding.codec");
}

#[test]
fn no_secret_is_shown() {
    let shown = format!(
        "{:?}",
        config(&json!({
            "sasl": {"user": "u", "password": "hunter2"},
            "librdkafka": {"ssl.keystore.password": "hunter2"},
        }))
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_topic_holds_only_what_a_topic_can_hold() {
    let topics = Topics::new("t.{kind}-{namespace}_{observer}", "prod", "h\u{e4}use/1 x").unwrap();
    assert_eq!(topics.of(Kind::Flow), "t.flow-prod_h_use_1_x");
    assert_eq!(topics.of(Kind::Contact), "t.contact-prod_h_use_1_x");
    assert!(Topics::new("{observer}", "prod", &"o".repeat(250)).is_err());
    assert!(Topics::new("{observer}", "prod", "..").is_err());
}

fn flow() -> Flow {
    let (one, other): (IpAddr, IpAddr) =
        ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let mut flow = Flow::new(
        Id::from_bytes([7; 16]),
        Transport::TCP,
        Endpoint::new(one, Some(50_000)),
        Endpoint::new(other, Some(443)),
    );
    (flow.sequence, flow.end) = (3, Timestamp::from_nanos(1_697_554_523_999_999_999));
    flow
}

#[test]
fn a_message_says_what_it_is_beside_its_payload() {
    let records = Records::Flows(Arc::new(vec![flow()]));
    let keys = [
        (Key::CommunityId, Some(flow().community_id.to_string())),
        (Key::FlowId, Some("07".repeat(16))),
        (Key::Source, Some("192.0.2.1".to_owned())),
        (Key::None, None),
    ];
    for (key, expected) in keys {
        let messages = Messages::new(key, Codec::Json, Schema::Ecs, "sensor");
        let message = messages.of(&records, 0);
        let sending = Sending::new(1);
        let record = messages.record("flows", b"{}\n", &message, sending.ticket(0));
        assert_eq!(record.key, expected.as_deref().map(str::as_bytes));
        assert_eq!((record.payload, record.timestamp), (Some(&b"{}"[..]), Some(1_697_554_523_999)));
        let headers = record.headers.unwrap();
        let expected = [
            ("content-type", "application/json"),
            ("schema", "ecs"),
            ("ecs.version", "9.4.0"),
            ("kind", "flow"),
            ("observer", "sensor"),
            ("id", &"07".repeat(16)),
            ("sequence", "3"),
        ];
        let got: Vec<_> = headers
            .iter()
            .map(|header| (header.key, str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        assert_eq!(got, expected);
    }
}

#[test]
fn contacts_are_kept_together_by_their_source_and_health_by_its_sensor() {
    let contact = Contact {
        time: Timestamp::default(),
        origin: ObservationPoint::default(),
        source: "192.0.2.9".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        port: 22,
        source_port: 40_000,
        transport: Transport::TCP,
        outcome: Outcome::Attempt,
        path_proven: false,
    };
    let contacts = Records::Contacts(Arc::new(vec![contact]));
    let health = Records::Health(Arc::new(vec![crate::record::Health::default()]));
    for key in [Key::CommunityId, Key::FlowId, Key::Source] {
        let messages = Messages::new(key, Codec::Wire, Schema::Ecs, "sensor");
        for (records, expected) in [(&contacts, "192.0.2.9"), (&health, "sensor")] {
            let message = messages.of(records, 0);
            let sending = Sending::new(1);
            let record = messages.record("t", b"\n", &message, sending.ticket(0));
            assert_eq!(record.key, Some(expected.as_bytes()));
            // The wire form may end in any byte.
            assert_eq!(record.payload, Some(&b"\n"[..]));
        }
    }
}

#[test]
fn each_report_has_its_meaning() {
    let of = |code| Verdict::of(&KafkaError::MessageProduction(code), "flows");
    // Of a batch nobody knows which message it was; of one that was alone it is this one.
    for code in [RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::InvalidRecord] {
        assert!(of(code).is_suspect() && matches!(of(code).end(), ItemEnd::Retry(_)), "{code:?}");
        assert!(matches!(of(code).alone().end(), ItemEnd::Refused(_)), "{code:?}");
    }
    let beside = of(RDKafkaErrorCode::InvalidDifferentRecord);
    assert!(!beside.is_suspect() && !beside.may_be_there(), "{beside:?}");
    let not_taken = of(RDKafkaErrorCode::PurgeQueue);
    assert!(!not_taken.may_be_there() && not_taken.wants_new_producer().is_some());
    let unclear = of(RDKafkaErrorCode::PurgeInflight);
    assert!(unclear.may_be_there() && unclear.wants_new_producer().is_some());
    let forbidden = of(RDKafkaErrorCode::TopicAuthorizationFailed);
    assert!(forbidden.refusal().is_some() && forbidden.wants_new_producer().is_some());
    // Whatever is not known is sent again, and counted as perhaps twice.
    for code in [RDKafkaErrorCode::Unknown, RDKafkaErrorCode::RequestTimedOut] {
        assert!(of(code).may_be_there());
        assert!(matches!(of(code).end(), ItemEnd::Retry(_)), "{code:?}");
    }
}

#[tokio::test]
async fn a_request_is_done_when_its_last_report_has_come() {
    let sending = Sending::new(2);
    let (first, second) = (sending.ticket(0), sending.ticket(1));
    second.report(Verdict::Refused("large".to_owned()));
    second.report(Verdict::Delivered);
    assert_eq!(sending.left(), 1);
    let waiting = tokio::spawn({
        let sending = sending.clone();
        async move { sending.done().await }
    });
    first.report(Verdict::Delivered);
    waiting.await.unwrap();
    assert_eq!(sending.take()[0], Verdict::Delivered);
}
