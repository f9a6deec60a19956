//! Rows of programs that count and say less than Zeek does, and what is said of rows that are left out.

use serde_json::{Value, json};

use super::{super::log::Row, *};
use crate::{
    score::Settings,
    tune::{Gravest, Input, Judged, measure},
};

/// A flow as Packetbeat has it, of TCP from a client to a server.
fn flow(packets: [u64; 2], bytes: [u64; 2]) -> Value {
    json!({
        "@timestamp": "2022-06-12T21:59:58.5Z",
        "event": { "action": "network_flow", "dataset": "flow" },
        "source": { "ip": "10.0.0.1", "port": 50_000, "packets": packets[0], "bytes": bytes[0] },
        "destination": { "ip": "10.0.0.2", "port": 445, "packets": packets[1], "bytes": bytes[1] },
        "network": { "transport": "tcp" },
    })
}

fn parsed(row: &Value) -> Result<Option<Row>, &'static str> {
    Rows::default().parse(row.to_string().as_bytes())
}

fn state(row: &Value) -> State {
    parsed(row).unwrap().unwrap().state
}

fn input(text: &str) -> (Input, Labels) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, text).unwrap();
    let policy = flow::Config::default().policy(&"tune".into(), &NetworkSet::default()).unwrap();
    let (settings, networks) = (settings(), Arc::default());
    let mut labels = Labels::default();
    let input = read(&path, &settings, &networks, &policy, &mut labels, &mut |_| {}).unwrap();
    (input, labels)
}

fn settings() -> Settings {
    score::Config::default().settings().at_once()
}

fn blocked(judged: &Judged) -> usize {
    judged.sources.values().filter(|met| met.verdict == Gravest::Block).count()
}

#[test]
fn counts_alone_tell_a_refusal_from_a_conversation_and_one_direction_from_silence() {
    for (packets, bytes, expected) in [
        ([1, 1], [74, 60], State::Refused),
        // Windows tries again.
        ([2, 2], [132, 108], State::Refused),
        ([3, 3], [198, 162], State::Refused),
        ([5, 5], [330, 300], State::Refused),
        // A SYN, an ACK and a FIN each way, with timestamps and without.
        ([3, 3], [206, 206], State::Success),
        ([3, 3], [174, 174], State::Success),
        ([10, 8], [4_000, 9_000], State::Success),
        ([2, 2], [600, 700], State::Success),
        // Half open, or what is left of a connection.
        ([2, 1], [128, 74], State::Unknown),
        ([2, 2], [132, 132], State::Unknown),
        ([1, 0], [74, 0], State::TimedOut),
        ([7, 0], [518, 0], State::TimedOut),
        ([1, 0], [0, 0], State::TimedOut),
        // Of which one direction passes here.
        ([8, 0], [3_000, 0], State::Unproven),
        ([3, 0], [206, 0], State::Unknown),
        ([600, 0], [39_600, 0], State::Unknown),
    ] {
        assert_eq!(state(&flow(packets, bytes)), expected, "{packets:?} {bytes:?}");
        let eve = json!({
            "event_type": "flow", "timestamp": "2022-06-12T21:59:58.5Z", "proto": "TCP",
            "src_ip": "10.0.0.1", "src_port": 50_000, "dest_ip": "10.0.0.2", "dest_port": 445,
            "flow": {
                "state": "new", "pkts_toserver": packets[0], "pkts_toclient": packets[1],
                "bytes_toserver": bytes[0], "bytes_toclient": bytes[1],
            },
        });
        // Suricata would have said that it is established.
        let expected = if expected == State::Success { State::Unknown } else { expected };
        assert_eq!(state(&eve), expected, "{eve}");
    }
    // IPv6's header is longer by 20 bytes.
    for (packets, bytes, expected) in [
        ([1, 1], [94, 74], State::Refused),
        ([3, 3], [258, 222], State::Refused),
        ([2, 0], [220, 0], State::TimedOut),
    ] {
        let mut row = flow(packets, bytes);
        row["source"]["ip"] = "2001:db8::1".into();
        assert_eq!(state(&row), expected, "{row}");
    }
}

#[test]
fn answers_whose_question_was_not_seen_speak_against_nobody() {
    for ([from, to], expected) in [
        ([443, 50_000], State::Unknown),
        ([80, 1_024], State::Unknown),
        ([8_080, 40_000], State::Unknown),
        ([40_000, 443], State::TimedOut),
        ([80, 80], State::TimedOut),
        ([8_080, 9_000], State::TimedOut),
        ([50_000, 60_000], State::TimedOut),
    ] {
        for (packets, bytes) in [([1, 0], [60, 0]), ([8, 0], [9_000, 0])] {
            let mut row = flow(packets, bytes);
            (row["source"]["port"], row["destination"]["port"]) = (from.into(), to.into());
            let has_data = bytes[0] > 100 && expected == State::TimedOut;
            let expected = if has_data { State::Unproven } else { expected };
            assert_eq!(state(&row), expected, "{row}");
        }
        // The last word of a server to a client that is gone.
        let mut row = flow([1, 1], [66, 54]);
        (row["source"]["port"], row["destination"]["port"]) = (from.into(), to.into());
        let is_unknown = expected == State::Unknown;
        assert_eq!(state(&row) == State::Unknown, is_unknown, "{row}");
    }
}

#[test]
fn our_own_flows_are_read_by_their_history_as_zeeks_are() {
    for (conn_state, history, bytes, expected) in [
        ("S0", "SAD", 400, State::Unproven),
        ("S0", "S", 44, State::TimedOut),
        ("RSTR", "Fr", 40, State::Closing),
        ("RSTO", "ShR", 84, State::LeftOpen),
        ("REJ", "Sr", 44, State::Refused),
        ("SF", "ShADadFf", 900, State::Success),
    ] {
        let mut row = flow([1, 0], [bytes, 0]);
        row["tidegate"]["flow"] = json!({ "conn_state": conn_state, "history": history });
        assert_eq!(state(&row), expected, "{row}");
    }
    let mut row = flow([1, 0], [44, 0]);
    row["tidegate"]["flow"] = json!({ "conn_state": "S9" });
    assert!(parsed(&row).is_err());
}

#[test]
fn numbers_that_were_written_as_texts_are_numbers_and_ports_are_not_guessed() {
    let mut row = flow([10, 12], [4_000, 9_000]);
    for side in ["source", "destination"] {
        for name in ["port", "packets", "bytes"] {
            let text = row[side][name].to_string();
            row[side][name] = text.into();
        }
    }
    row["destination"]["packets"] = 12.0.into();
    let read = parsed(&row).unwrap().unwrap();
    assert_eq!((read.state, read.port, read.packets), (State::Success, 445, 10));
    assert_eq!(read.bytes, [4_000, 9_000]);
    let eve = r#"{"timestamp":"2022-06-12T21:59:58Z","event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","dest_port":"445","proto":"TCP","flow":{"pkts_toserver":"3","pkts_toclient":"2","state":"established"}}"#;
    let read = Rows::default().parse(eve.as_bytes()).unwrap().unwrap();
    assert_eq!((read.state, read.port, read.packets), (State::Success, 445, 3));
    for (side, name, value) in [
        ("destination", "port", Value::Null),
        ("destination", "port", "many".into()),
        ("destination", "port", 70_000.into()),
        ("source", "packets", "many".into()),
        ("source", "bytes", (-1).into()),
        ("source", "bytes", 1.5.into()),
    ] {
        let mut row = flow([1, 1], [74, 60]);
        row[side][name] = value;
        assert!(parsed(&row).is_err(), "{row}");
    }
    let portless = eve.replace(r#""dest_port":"445","#, "");
    assert!(Rows::default().parse(portless.as_bytes()).is_err());
    let ping = portless.replace("TCP", "ICMP");
    assert!(Rows::default().parse(ping.as_bytes()).unwrap().is_some());
}

#[test]
fn flows_whose_directions_may_be_two_rows_are_named_and_not_judged() {
    let of = |dataset: Option<&str>, action: &str, number: u64| {
        let mut row = flow([12, 0], [6_400, 0]);
        row["event"] = json!({ "action": action, "type": ["connection"] });
        if let Some(dataset) = dataset {
            row["event"]["dataset"] = dataset.into();
        }
        row["source"]["port"] = number.into();
        row["destination"]["port"] = (number + 1).into();
        row["destination"].as_object_mut().unwrap().remove("packets");
        row.to_string() + "\n"
    };
    for (dataset, action) in [
        (Some("aws.vpcflow"), "accept"),
        (Some("gcp.vpcflow"), "accept"),
        (Some("netflow.log"), "netflow_flow"),
        (Some("endpoint.events.network"), "connection_attempted"),
        (None, "flow_allowed"),
    ] {
        let text: String = (0..20).map(|number| of(dataset, action, 40_000 + number)).collect();
        let (input, _) = input(&text);
        let named = format!("20 rows are of {}, which", dataset.unwrap_or("no dataset"));
        assert_eq!((input.units, blocked(&input.judged)), (0, 0), "{dataset:?}");
        assert_eq!(input.faults.len(), 1, "{:?}", input.faults);
        assert!(input.faults[0].starts_with(&named), "{:?}", input.faults);
    }
    // What is no flow is not named: queries, alerts.
    let mut query = flow([1, 1], [80, 90]);
    query["event"] = json!({ "dataset": "dns", "type": ["connection", "protocol"] });
    assert_eq!(parsed(&query), Ok(None));
    let (input, _) = input(&format!("{query}\n{}\n", flow([1, 1], [74, 60])));
    assert_eq!((input.units, input.faults.as_slice()), (1, [].as_slice()));
    // Many names are bounded.
    let text: String = (0..30).map(|number| of(Some(&format!("x{number}")), "a", 1)).collect();
    let (input, _) = self::input(&text);
    assert_eq!(input.faults.len(), 11);
    assert!(input.faults[10].starts_with("20 rows are of other names"), "{:?}", input.faults);
}

#[test]
fn what_is_left_out_as_it_should_be_is_said_once_and_no_fault() {
    let mut dropped = flow([1, 0], [60, 0]);
    dropped["event"]["type"] = json!(["denied"]);
    let mut request = flow([1, 0], [42, 0]);
    request["source"] = json!({ "mac": "00-00-5E-00-53-01", "packets": 1, "bytes": 42 });
    request.as_object_mut().unwrap().remove("network");
    let mut numbered = flow([1, 1], [74, 60]);
    numbered["network"] = json!({ "iana_number": "6" });
    // As they stand in an array that was written out.
    let text = format!("  {dropped}\n\t{dropped}\n {request}\n  {numbered}\n");
    let (input, _) = input(&text);
    assert_eq!((input.units, input.bad_rows, input.faults.len()), (1, 0, 0), "{:?}", input.faults);
    let [dropped, request] = &input.notes[..] else { panic!("{:?}", input.notes) };
    assert!(dropped.starts_with("2 rows of dropped traffic"), "{dropped}");
    assert!(request.starts_with("1 rows without a transport"), "{request}");
}

#[test]
fn a_label_of_a_row_is_benign_malicious_or_none() {
    let text = |label: &str| {
        let rows = (1..=12).map(|port| {
            format!(
                "{port}.5\tC\t10.0.0.1\t4\t10.0.0.2\t{port}\ttcp\t-\tREJ\tSr\t1\t44\t40\t{label}\n"
            )
        });
        format!("{HEADING}\n{}", rows.collect::<String>())
    };
    for (label, expected) in [
        ("Malicious", Some("malicious")),
        ("Botnet", Some("malicious")),
        ("flow=From-Botnet-V42-TCP", Some("malicious")),
        ("C&C", Some("malicious")),
        ("Attack", Some("malicious")),
        ("Benign", Some("benign")),
        ("Background-UDP", Some("benign")),
        ("From-Normal-V42-Grill", Some("benign")),
        ("To-Botnet-V42", None),
        ("non-malicious", None),
        ("abnormal", None),
        ("1", None),
        ("ignore", None),
        ("-", None),
    ] {
        let (input, labels) = input(&text(label));
        let found = labels.of("10.0.0.1".parse().unwrap()).map(|(label, _)| label.to_owned());
        assert_eq!(found.as_deref(), expected, "{label}");
        let is_unclear = expected.is_none() && label != "-" && label != "ignore";
        assert_eq!(input.notes.len(), usize::from(is_unclear), "{label}: {:?}", input.notes);
        assert!(input.faults.is_empty());
    }
}

#[test]
fn a_sweep_of_open_ports_from_one_port_is_seen_in_a_log_and_a_browser_is_not() {
    let judged = |ports: &dyn Fn(u64) -> u64| {
        let row = |number: u64| {
            format!(
                "{number}.5\tC\t10.0.0.1\t{}\t10.0.2.{number}\t443\ttcp\t0.1\tRSTO\tShR\t2\t84\t44\t-\n",
                ports(number)
            )
        };
        let rows: String = (1..100).map(row).collect();
        let (input, _) = input(&format!("{HEADING}\n{rows}"));
        input.judged.sources.into_values().next().unwrap().verdict
    };
    assert_eq!(judged(&|_| 61_000), Gravest::Block);
    assert_eq!(judged(&|number| 50_000 + number), Gravest::Alert);
}

#[test]
fn local_hosts_of_one_64_are_judged_each_by_itself() {
    let row = |number: u64, is_local: bool| {
        json!({
            "ts": 1_700_000_000 + number, "id.orig_h": format!("2001:db8:1::{}", number % 5 + 1),
            "id.resp_h": format!("2001:db8:2::{number}"), "id.resp_p": 443, "proto": "tcp",
            "conn_state": "S0", "history": "S", "local_orig": is_local,
        })
        .to_string()
            + "\n"
    };
    for (is_local, expected) in [(true, 0), (false, 5)] {
        let text: String = (0..15).map(|number| row(number, is_local)).collect();
        let (input, labels) = input(&text);
        assert_eq!(blocked(&input.judged), expected, "{is_local}");
        // Judged again without a signal, by the same networks.
        let measured = measure(&[input], &labels, &settings(), ("", 0.01));
        let named = measured.sources.iter().filter(|source| source.verdict == Gravest::Block);
        assert_eq!(named.count(), expected);
    }
}
