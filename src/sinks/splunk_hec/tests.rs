//! The config's checks, and the bytes of an event.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    component::Clock,
    record::{Action, Alert, Health, Names, ObservationPoint, Timestamp},
};

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

#[test]
fn what_can_not_work_is_refused_with_its_key() {
    let with = |more: Value| {
        let mut value = json!({"endpoint": "https://localhost:8088", "token": "t"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let cases = [
        (with(json!({})), None),
        (json!({"token": "t"}), Some("endpoint")),
        (with(json!({"endpoint": "localhost"})), Some("endpoint")),
        (with(json!({"endpoint": "https://h/services/collector"})), Some("endpoint")),
        (json!({"endpoint": "https://localhost:8088"}), Some("token")),
        (
            with(json!({"acknowledgements": {"poll_secs": 9, "timeout_secs": 8}})),
            Some("acknowledgements.timeout_secs"),
        ),
        (with(json!({"tls": {"cert": "a.pem"}})), Some("tls.cert")),
        (with(json!({"proxy": "::"})), Some("proxy")),
        (with(json!({"index": ""})), Some("index")),
        (with(json!({"source": ""})), Some("source")),
        (with(json!({"sourcetype": ""})), Some("sourcetype")),
        (with(json!({"host": ""})), Some("host")),
    ];
    for (value, expected) in cases {
        let found = config(value.clone()).check(&Options::default());
        let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, expected.into_iter().collect::<Vec<_>>(), "{value}");
    }
}

#[test]
fn a_request_no_collector_takes_is_refused_beforehand() {
    let config = config(json!({"endpoint": "https://localhost:8088", "token": "t"}));
    for (bytes, problems) in [(5 << 20, 0), ((5 << 20) + 1, 1)] {
        let mut options = Options::default();
        options.batch.max_bytes = Some(bytes);
        let found = config.check(&options);
        assert_eq!(found.len(), problems, "{found:?}");
        assert!(found.iter().all(|problem| problem.key == "batch.max_bytes"), "{found:?}");
    }
}

#[test]
fn no_secret_shows_in_a_printed_config() {
    let printed = format!("{:?}", config(json!({"token": "hunter2"})));
    assert!(!printed.contains("hunter2"), "{printed}");
}

fn health(nanos: i64) -> Records {
    let time = Timestamp::from_nanos(nanos);
    Records::Health(Arc::new(vec![Health { time, packets: 1, ..Health::default() }]))
}

fn event(value: Value, options: &Options, records: &Records) -> (Size, String) {
    let config = config(value);
    let origin = Origin::new("sensor", Clock::Event);
    let encoder = Encoder::new(&options.encoding, config.schema(), origin);
    let envelopes = Envelopes::new(&config, encoder, "sensor");
    let mut out = Vec::new();
    let size = envelopes.write(records, 0, &mut out).unwrap();
    (size, String::from_utf8(out).unwrap())
}

#[test]
fn an_event_has_its_time_in_nanoseconds_and_says_what_it_is() {
    let mut options = Options::default();
    options.encoding.only_fields = vec!["timestamp".to_owned()];
    let (size, text) = event(json!({}), &options, &health(1_700_000_000_000_000_001));
    assert_eq!(size, Size::Fits);
    assert_eq!(
        text,
        concat!(
            r#"{"time":"1700000000.000000001","host":"sensor","sourcetype":"tidegate:health","#,
            r#""event":{"timestamp":"2023-11-14T22:13:20.000000001Z"}}"#,
            "\n"
        )
    );
}

#[test]
fn an_envelope_has_what_the_config_says_and_stays_json() {
    let value = json!({"host": "a\"b", "source": "s", "index": "i", "sourcetype": "st"});
    let (_, text) = event(value, &Options::default(), &health(0));
    let event: Value = serde_json::from_str(&text).unwrap();
    for (key, expected) in [
        ("host", "a\"b"),
        ("source", "s"),
        ("index", "i"),
        ("sourcetype", "st"),
        ("time", "0.000000000"),
    ] {
        assert_eq!(event[key], expected, "{key}");
    }
}

#[test]
fn the_host_is_the_sensor_that_saw_the_record() {
    let agent = Arc::from("agent \"7\"");
    let alert = Alert {
        time: Timestamp::from_nanos(0),
        origin: ObservationPoint::default(),
        source: "192.0.2.1".parse().unwrap(),
        action: Action::Alert,
        risk_score: 50,
        reasons: Vec::new(),
        ordinal: 0,
        names: Names::default(),
        details: Box::default(),
    };
    for mut records in [health(0), Records::Alerts(Arc::new(vec![alert]))] {
        let host = |value: Value, records: &Records| {
            let (_, text) = event(value, &Options::default(), records);
            serde_json::from_str::<Value>(&text).unwrap()["host"].clone()
        };
        assert_eq!(host(json!({}), &records), "sensor");
        records.seen_by(&agent);
        assert_eq!(host(json!({}), &records), "agent \"7\"");
        assert_eq!(host(json!({"host": "ours"}), &records), "ours");

        let config = config(json!({}));
        let options = Options::default();
        let origin = Origin::new("sensor", Clock::Event);
        let encoder = Encoder::new(&options.encoding, config.schema(), origin);
        let (_, text) = event(json!({}), &options, &records);
        let envelopes = Envelopes::new(&config, encoder, "sensor");
        let returned = envelopes.returned(records.kind_of(0), text.as_bytes());
        assert_eq!(returned.time, Some(Timestamp::from_nanos(0)));
    }
}

#[test]
fn a_dead_letter_is_sent_again_with_the_time_it_had_in_the_envelope_of_now() {
    for nanos in [1_700_000_000_000_000_001, 0, -1, 999_999_999] {
        let (_, first) = event(json!({"index": "old"}), &Options::default(), &health(nanos));
        let config = config(json!({"index": "old"}));
        let encoding = &Options::default().encoding;
        let encoder = Encoder::new(encoding, config.schema(), Origin::new("sensor", Clock::Event));
        let old = Envelopes::new(&config, encoder, "sensor");
        let record = old.returned(Kind::Health, first.as_bytes());
        assert_eq!(record.time, Some(Timestamp::from_nanos(nanos)));
        let records = Records::Returned(Arc::new(vec![record]));
        let (_, again) = event(json!({"index": "new"}), &Options::default(), &records);
        assert_eq!(again, first.replace("old", "new"));
    }
}

#[test]
fn an_event_over_the_limit_is_known_before_it_is_sent() {
    let (size, text) = event(
        json!({"host": "h".repeat(1000), "max_event_bytes": 1000}),
        &Options::default(),
        &health(0),
    );
    assert_eq!(size, Size::TooLarge);
    assert!(text.len() > 1000);
}
