//! The config's checks, and the bytes of a bulk body.

use std::{net::IpAddr, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    codec::Codec,
    component::Clock,
    record::{Action, Alert, Endpoint, Flow, Health, Id, Returned, Timestamp, Transport},
};

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

#[test]
fn what_can_not_work_is_refused_with_its_key() {
    let one = json!(["http://localhost:9200"]);
    let cases = [
        (json!({"endpoints": one}), None),
        (json!({"endpoints": []}), Some("endpoints")),
        (json!({"endpoints": ["localhost:9200"]}), Some("endpoints[0]")),
        (json!({"endpoints": ["ftp://localhost"]}), Some("endpoints[0]")),
        (json!({"endpoints": ["http://u:p@localhost"]}), Some("endpoints[0]")),
        (json!({"endpoints": ["ftp://u:hunter2@localhost"]}), Some("endpoints[0]")),
        (json!({"endpoints": ["http://localhost/?pretty"]}), Some("endpoints[0]")),
        (json!({"endpoints": one, "auth": {}}), Some("auth")),
        (json!({"endpoints": one, "auth": {"user": "u"}}), Some("auth")),
        (
            json!({"endpoints": one, "auth": {"user": "u", "password": "p", "api_key": "k"}}),
            Some("auth"),
        ),
        (json!({"endpoints": one, "auth": {"api_key": "k"}}), None),
        (json!({"endpoints": one, "mode": "index"}), Some("index")),
        (json!({"endpoints": one, "mode": "index", "index": "Upper"}), Some("index")),
        (json!({"endpoints": one, "mode": "index", "index": "a-b"}), None),
        (json!({"endpoints": one, "index": "a"}), Some("index")),
        (
            json!({"endpoints": one, "data_stream": {"namespace": "a-b"}}),
            Some("data_stream.namespace"),
        ),
        (json!({"endpoints": one, "data_stream": {"dataset": ""}}), Some("data_stream.dataset")),
        (json!({"endpoints": one, "tls": {"cert": "a.pem"}}), Some("tls.cert")),
        (json!({"endpoints": one, "tls": {"key": "a.pem"}}), Some("tls.key")),
        (json!({"endpoints": one, "auth": {"api_key": ""}}), Some("auth.api_key")),
        (json!({"endpoints": one, "auth": {"token": "hunter2 "}}), Some("auth.token")),
        (
            json!({"endpoints": one, "auth": {"user": "u", "password": "hunter2\nhunter2"}}),
            Some("auth.password"),
        ),
        (json!({"endpoints": one, "proxy": "::"}), Some("proxy")),
        (json!({"endpoints": one, "proxy": ""}), Some("proxy")),
        (json!({"endpoints": one, "proxy": "socks5://u:hunter2@proxy:1080"}), Some("proxy")),
        (json!({"endpoints": one, "proxy": "htp://u:hunter2@proxy:1080"}), Some("proxy")),
        (json!({"endpoints": one, "proxy": "ftp://proxy"}), Some("proxy")),
        (json!({"endpoints": one, "proxy": "proxy:3128"}), None),
        (json!({"endpoints": one, "proxy": "https://u:hunter2@proxy"}), None),
    ];
    for (value, expected) in cases {
        let found = config(value.clone()).check(&Options::default());
        let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, expected.into_iter().collect::<Vec<_>>(), "{value}");
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}

#[test]
fn a_codec_other_than_json_is_refused() {
    let mut options = Options::default();
    options.encoding.codec = Codec::Yaml;
    let found = config(json!({"endpoints": ["http://localhost"]})).check(&options);
    assert_eq!(found[0].key, "encoding.codec");
}

#[test]
fn no_secret_shows_in_a_printed_config() {
    let printed = format!(
        "{:?}",
        config(json!({"auth": {"user": "u", "password": "hunter2", "api_key": "hunter2"},
            "proxy": "http://u:hunter2@proxy"}))
    );
    assert!(!printed.contains("hunter2"), "{printed}");
}

fn flow(sequence: u32) -> Flow {
    let end =
        |address: &str| Endpoint::new(address.parse::<IpAddr>().unwrap(), Some(443)).sent(1, 40);
    Flow {
        sequence,
        start: Timestamp::from_nanos(1_500_000_000),
        end: Timestamp::from_nanos(2_000_000_000),
        ..Flow::new(
            Id::of("flow", "sensor").finish(),
            Transport::TCP,
            end("192.0.2.1"),
            end("192.0.2.2"),
        )
    }
}

fn written(value: Value, options: &Options, records: &Records) -> Vec<Value> {
    let config = config(value);
    let encoder = config.encoder(options, Origin::new("sensor", Clock::Event));
    let actions = Actions::new(&config, encoder, "sensor");
    let mut out = Vec::new();
    for index in 0..records.len() {
        actions.write(records, index, &mut out).unwrap();
    }
    assert!(out.ends_with(b"\n"));
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_flow_is_created_under_its_id_and_sequence() {
    let records = Records::Flows(Arc::new(vec![flow(0), flow(7)]));
    let lines = written(json!({}), &Options::default(), &records);
    let id = Id::of("flow", "sensor").finish();
    let action =
        json!({"create": {"_index": "logs-tidegate.flow-default", "_id": format!("{id}-7")}});
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2], action);
    assert_eq!(lines[3]["@timestamp"], "1970-01-01T00:00:02Z");
    assert_eq!(lines[3]["source"]["ip"], "192.0.2.1");
    assert_eq!(lines[3]["event"]["id"], lines[2]["create"]["_id"]);
}

#[test]
fn an_index_takes_documents_as_they_are_and_the_server_may_choose_ids() {
    let value = json!({"mode": "index", "index": "flows", "id": "auto"});
    let records = Records::Flows(Arc::new(vec![flow(0)]));
    let lines = written(value, &Options::default(), &records);
    assert_eq!(lines[0], json!({"create": {"_index": "flows"}}));
    assert_eq!(lines[1]["source"]["ip"], "192.0.2.1");
}

#[test]
fn a_document_without_fields_still_has_its_time() {
    let mut options = Options::default();
    options.encoding.only_fields = vec!["source.port".to_owned()];
    let time = Timestamp::from_nanos(0);
    let records = Records::Health(Arc::new(vec![Health { time, packets: 1, ..Health::default() }]));
    let lines = written(json!({}), &options, &records);
    assert_eq!(lines[1], json!({"@timestamp": "1970-01-01T00:00:00Z"}));
}

#[test]
fn every_kind_has_a_stream_and_an_id_of_its_own() {
    let alert = Alert {
        time: Timestamp::from_nanos(0),
        origin: crate::record::ObservationPoint::default(),
        source: "192.0.2.1".parse().unwrap(),
        action: Action::Block,
        risk_score: 90,
        reasons: Vec::new(),
        ordinal: 0,
        names: crate::record::Names::default(),
        details: Box::default(),
    };
    let time = Timestamp::from_nanos(0);
    let health = vec![Health { time, packets: 1, ..Health::default() }];
    let batches = [Records::Alerts(Arc::new(vec![alert])), Records::Health(Arc::new(health))];
    let actions: Vec<_> = batches
        .iter()
        .map(|batch| written(json!({}), &Options::default(), batch).remove(0))
        .collect();
    assert_eq!(actions[0]["create"]["_index"], "logs-tidegate.alert-default");
    assert_eq!(actions[1]["create"]["_index"], "logs-tidegate.health-default");
    assert_ne!(actions[0]["create"]["_id"], actions[1]["create"]["_id"]);
}

#[test]
fn a_dead_letter_is_sent_again_as_it_was_to_where_its_kind_goes_now() {
    let item = b"{\"create\":{\"_index\":\"old\",\"_id\":\"ab-7\"}}\n{\"b\":1.0,\"a\":2}\n";
    let record = action::returned(Kind::Flow, item);
    assert_eq!(
        (&*record.document, record.id.as_deref()),
        (&b"{\"b\":1.0,\"a\":2}"[..], Some("ab-7"))
    );
    let again = |value, record: &Returned| {
        let records = Records::Returned(Arc::new(vec![record.clone()]));
        written(value, &Options::default(), &records)
    };
    let lines = again(json!({}), &record);
    let action = json!({"create": {"_index": "logs-tidegate.flow-default", "_id": "ab-7"}});
    assert_eq!(lines, [action, json!({"b": 1.0, "a": 2})]);
    let lines = again(json!({"id": "auto", "mode": "index", "index": "i"}), &record);
    assert_eq!(lines[0], json!({"create": {"_index": "i"}}));
}

#[test]
fn a_dead_letter_that_is_no_json_of_one_line_does_not_get_into_a_body() {
    let config = config(json!({}));
    let encoder = config.encoder(&Options::default(), Origin::new("sensor", Clock::Event));
    let actions = Actions::new(&config, encoder, "sensor");
    for document in ["{}\n{\"delete\":{}}", "{\"a\":", "{}{}", ""] {
        let record = Returned::new(Kind::Flow, document.as_bytes());
        let records = Records::Returned(Arc::new(vec![record]));
        actions.write(&records, 0, &mut Vec::new()).unwrap_err();
    }
}

#[test]
fn a_dead_letter_goes_to_the_stream_it_names_under_an_id_that_stays() {
    let there = br#"{"data_stream":{"dataset":"tidegate.flow","namespace":"old"},"a":1}"#;
    let odd = br#"{"data_stream":{"dataset":"../x","namespace":"old"}}"#;
    let letters = [&there[..], odd, br#"{"a":1}"#];
    let records: Vec<_> =
        letters.iter().map(|document| Returned::new(Kind::Flow, document)).collect();
    let lines = written(
        json!({"data_stream": {"namespace": "new"}}),
        &Options::default(),
        &Records::Returned(Arc::new(records)),
    );
    let indices: Vec<_> =
        lines.iter().step_by(2).map(|line| line["create"]["_index"].as_str().unwrap()).collect();
    let own = "logs-tidegate.flow-new";
    assert_eq!(indices, ["logs-tidegate.flow-old", own, own]);
    let ids: std::collections::BTreeSet<_> =
        lines.iter().step_by(2).map(|line| line["create"]["_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "each document has an id of its own");
}
