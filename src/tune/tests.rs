//! Rows of logs, good and bad.

mod shippers;

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    labels::Labels,
    log::{Event, Rows, State, in_order, timestamp},
    measure::measure,
    open::read,
    table::table,
};
use crate::{
    networks::NetworkSet,
    record::{Outcome, TcpFlags, Timestamp},
    transforms::{flow, score},
};

const HEADING: &str = "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\t\
                       conn_state\thistory\torig_pkts\torig_ip_bytes\tresp_ip_bytes\tlabel";

fn rows() -> Rows {
    let mut rows = Rows::default();
    assert_eq!(rows.parse(HEADING.as_bytes()), Ok(None));
    rows
}

#[test]
fn each_form_of_a_refused_connection_is_read_alike() {
    let tsv =
        "1655071198.444458\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t-\tREJ\tSr\t1\t44\t40\tBenign";
    let zeek = r#"{"ts":1655071198.444458,"id.orig_h":"10.0.0.1","id.orig_p":4,"id.resp_h":"10.0.0.2","id.resp_p":445,"proto":"tcp","conn_state":"REJ","history":"Sr","orig_pkts":1}"#;
    let eve = r#"{"timestamp":"2022-06-12T21:59:58.444458+0000","event_type":"flow","src_ip":"10.0.0.1","src_port":4,"dest_ip":"10.0.0.2","dest_port":445,"proto":"TCP","flow":{"pkts_toserver":1,"pkts_toclient":1,"start":"2022-06-12T21:59:58.444458+0000","state":"closed"},"tcp":{"tcp_flags_ts":"02","tcp_flags_tc":"14"}}"#;
    let packetbeat = r#"{"@timestamp":"2022-06-12T21:59:58.444458Z","event":{"action":"network_flow"},"source":{"ip":"10.0.0.1","packets":1,"bytes":60},"destination":{"ip":"10.0.0.2","port":445,"packets":1,"bytes":54},"network":{"transport":"tcp"}}"#;
    let ours = r#"{"@timestamp":"2022-06-12T21:59:58.444458Z","event":{"action":"network_flow"},"source":{"ip":"10.0.0.1","packets":1},"destination":{"ip":"10.0.0.2","port":445},"network":{"transport":"tcp"},"tidegate":{"flow":{"conn_state":"REJ","final":true}}}"#;
    let nested = r#"{"ts":"2022-06-12T21:59:58.444458Z","id":{"orig_h":"10.0.0.1","orig_p":4,"resp_h":"10.0.0.2","resp_p":445},"proto":"tcp","conn_state":"REJ","history":"Sr","orig_pkts":1}"#;
    let exported = format!(r#"{{"_index":"flows","_id":"1","_source":{ours}}}"#);
    // As Filebeat's modules and the Elastic Agent write them.
    let zeek_in_ecs = r#"{"@timestamp":"2022-06-12T21:59:58.444458Z","event":{"dataset":"zeek.connection","module":"zeek","kind":"event","category":["network"],"type":["connection","start","denied"]},"source":{"ip":"10.0.0.1","packets":1,"bytes":60},"destination":{"ip":"10.0.0.2","port":445,"packets":1,"bytes":40},"network":{"transport":"tcp"},"zeek":{"connection":{"state":"REJ","history":"Sr"}}}"#;
    let eve_in_ecs = r#"{"@timestamp":"2022-06-12T21:59:59Z","event":{"dataset":"suricata.eve","start":"2022-06-12T21:59:58.444458Z"},"source":{"ip":"10.0.0.1","packets":1,"bytes":60},"destination":{"ip":"10.0.0.2","port":445,"packets":1,"bytes":54},"network":{"transport":"tcp"},"suricata":{"eve":{"event_type":"flow","flow":{"state":"closed"},"tcp":{"tcp_flags_ts":"02","tcp_flags_tc":"14"}}}}"#;
    for line in [tsv, zeek, eve, packetbeat, ours, nested, &exported, zeek_in_ecs, eve_in_ecs] {
        let row = rows().parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(row.state, State::Refused, "{line}");
        assert_eq!((row.source.to_string().as_str(), row.port), ("10.0.0.1", 445));
        assert_eq!(row.start, Timestamp::from_nanos(1_655_071_198_444_458_000), "{line}");
    }
}

#[test]
fn states_of_zeek_are_what_came_of_the_contact() {
    let odd = State::Odd(TcpFlags(TcpFlags::SYN | TcpFlags::FIN));
    let cases = [
        ("tcp", "S0", "S", State::TimedOut),
        ("tcp", "S0", "-", State::TimedOut),
        ("tcp", "S0", "SD", State::TimedOut),
        ("tcp", "REJ", "Sr", State::Refused),
        ("tcp", "REJ", "-", State::Refused),
        ("tcp", "REJ", "ShRr", State::Refused),
        ("tcp", "REJ", "SAr", State::Refused),
        ("tcp", "SF", "ShADadFf", State::Success),
        ("tcp", "RSTO", "ShADaR", State::Success),
        ("tcp", "RSTO", "ShR", State::LeftOpen),
        ("tcp", "RSTO", "ShAR", State::Success),
        ("udp", "RSTO", "ShR", State::Success),
        ("tcp", "OTH", "C", State::Unknown),
        ("tcp", "SHR", "h", State::Unknown),
        ("udp", "S0", "D", State::Unknown),
        ("udp", "SF", "Dd", State::Success),
        // Conversations whose handshake was not seen.
        ("tcp", "S0", "SADd", State::Success),
        ("tcp", "S0", "Sh", State::Success),
        ("tcp", "REJ", "SADdar", State::Success),
        ("tcp", "REJ", "ShADr", State::Success),
        ("tcp", "REJ", "SADar", State::Unproven),
        // Of which one direction was seen, or nothing that tells.
        ("tcp", "S0", "SAD", State::Unproven),
        ("tcp", "S0", "SDa", State::Unproven),
        ("tcp", "S0", "SA", State::Unknown),
        ("tcp", "S0", "SaA", State::Unknown),
        ("tcp", "S0", "Sa", State::Unknown),
        // Flags that never go together.
        ("tcp", "S0", "Q", odd),
        ("tcp", "SH", "Q", odd),
        ("tcp", "REJ", "Qr", odd),
        ("tcp", "RSTR", "Qr", odd),
        ("tcp", "RSTO", "QhR", odd),
        // A FIN that nothing went before: of a scan, or of a connection older than the log.
        ("tcp", "SH", "F", State::Closing),
        ("tcp", "OTH", "F", State::Closing),
        ("tcp", "RSTR", "Fr", State::Closing),
        ("tcp", "SH", "FA", State::Unknown),
        ("tcp", "SH", "Fa", State::Unknown),
        ("tcp", "OTH", "FR", State::Unknown),
        ("tcp", "SF", "FfA", State::Success),
        // The responder sent nothing but an RST.
        ("tcp", "RSTR", "SAr", State::Refused),
        ("tcp", "RSTR", "ADFr", State::Unknown),
        ("tcp", "RSTR", "ShADdar", State::Success),
        ("tcp", "RSTR", "-", State::Success),
        ("tcp", "SHR", "^hCadf", State::Unknown),
    ];
    for (proto, state, history, expected) in cases {
        let line = format!(
            "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t445\t{proto}\t-\t{state}\t{history}\t1\t44\t40\t-"
        );
        assert_eq!(rows().parse(line.as_bytes()).unwrap().unwrap().state, expected, "{line}");
    }
}

#[test]
fn a_fin_is_odd_if_it_has_no_options_and_its_source_had_not_reached_the_port() {
    let fin = |port: u16, state: &str, history: &str, packets: u64, bytes: u64| {
        format!(
            "9.5\tC\t10.0.0.1\t4\t10.0.0.2\t{port}\ttcp\t-\t{state}\t{history}\t{packets}\t{bytes}\t0\t-"
        )
    };
    for (row, reached, is_odd) in [
        (fin(1, "SH", "F", 2, 80), None, true),
        (fin(1, "RSTR", "Fr", 1, 40), None, true),
        (fin(1, "RSTR", "Fr", 1, 40), Some(2), true),
        (fin(1, "RSTR", "Fr", 1, 40), Some(1), false),
        (fin(443, "SH", "F", 2, 80), Some(443), false),
        (fin(443, "OTH", "F", 4, 208), None, false),
        (fin(443, "OTH", "F", 0, 0), None, false),
        (fin(443, "OTH", "FA", 4, 160), None, false),
    ] {
        let mut events = Vec::new();
        rows().parse(row.as_bytes()).unwrap().unwrap().events(&mut events);
        if let Some(port) = reached {
            // Rows of the same connection's neighbours, which ended later.
            let row = format!(
                "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t{port}\ttcp\t60\tSF\tShADadFf\t9\t900\t900\t-"
            );
            rows().parse(row.as_bytes()).unwrap().unwrap().events(&mut events);
        }
        in_order(&mut events);
        assert!(events.is_sorted_by_key(Event::time));
        let odd = events.iter().filter(|event| matches!(event, Event::Closing(_))).count();
        assert_eq!(odd == 1, is_odd, "{row} {reached:?}");
    }
}

#[test]
fn states_of_suricata_are_what_came_of_the_contact() {
    let flags = |sent: &str, answered: &str| {
        format!(r#""tcp":{{"tcp_flags_ts":"{sent}","tcp_flags_tc":"{answered}"}}"#)
    };
    let none = r#""tcp":{}"#.to_owned();
    for (state, answers, tcp, expected) in [
        ("closed", 5, flags("1b", "1b"), State::Success),
        ("new", 1, flags("02", "12"), State::Success),
        ("established", 5, none.clone(), State::Success),
        ("new", 1, none.clone(), State::Refused),
        ("new", 40, none.clone(), State::Unknown),
        // Half open, and reset by the source.
        ("closed", 1, flags("06", "12"), State::LeftOpen),
        ("closed", 1, flags("c6", "52"), State::LeftOpen),
        ("closed", 2, flags("06", "1a"), State::Success),
        ("closed", 1, flags("16", "12"), State::Success),
        ("new", 0, none, State::TimedOut),
        ("closed", 1, flags("02", "14"), State::Refused),
        ("closed", 1, flags("c2", "14"), State::Refused),
        ("new", 0, flags("02", "00"), State::TimedOut),
        // Probes by their flags.
        ("new", 0, flags("29", "00"), State::Odd(TcpFlags(0x29))),
        ("new", 1, flags("01", "14"), State::Odd(TcpFlags(1))),
        // No session: picked up late, resumed, or without memory.
        ("new", 0, flags("00", "00"), State::Unknown),
        ("established", 7, flags("00", "00"), State::Unknown),
        // Begun before the log was.
        ("closed", 1, flags("11", "14"), State::Unknown),
        ("established", 5, flags("18", "18"), State::Unknown),
        // One direction alone was seen, or the answer to the SYN was not.
        ("new", 0, flags("1a", "00"), State::Unproven),
        ("closed", 0, flags("1b", "00"), State::Unproven),
        ("new", 0, flags("12", "00"), State::Unknown),
        ("closed", 4, flags("1a", "1c"), State::Success),
    ] {
        let line = format!(
            r#"{{"timestamp":"2022-06-12T21:59:58.444458+0000","event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","dest_port":445,"proto":"TCP","flow":{{"pkts_toclient":{answers},"state":"{state}"}},{tcp}}}"#
        );
        assert_eq!(rows().parse(line.as_bytes()).unwrap().unwrap().state, expected, "{line}");
    }
}

#[test]
fn what_was_reached_unseen_is_a_success_that_proves_no_path() {
    let mut events = Vec::new();
    for (sent, expected) in [("1a", Some((Outcome::Success, false))), ("12", None)] {
        let line = format!(
            r#"{{"timestamp":"2022-06-12T21:59:58.444458+0000","event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","dest_port":443,"proto":"TCP","flow":{{"pkts_toclient":0,"state":"new"}},"tcp":{{"tcp_flags_ts":"{sent}","tcp_flags_tc":"00"}}}}"#
        );
        rows().parse(line.as_bytes()).unwrap().unwrap().events(&mut events);
        let told: Vec<_> = events
            .drain(..)
            .filter_map(|event| match event {
                Event::Contact(contact) => Some((contact.outcome, contact.path_proven)),
                _ => None,
            })
            .collect();
        assert_eq!(told, Vec::from_iter(expected));
    }
}

#[test]
fn rows_that_are_cut_or_of_another_kind_say_why() {
    for line in [
        "1655071198.4\tC\t10.0.0.1\t4\t10.0",
        // What is left of RSTOS0, SR.
        "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t-\tRSTO",
        "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t-\tREJ\tSr\t1\tx\t40\t-",
        "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t0:00:01\tREJ\tSr\t1\t44\t40\t-",
        "1655071198.4",
        "x\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t-\tREJ\tSr\t1\t44\t40\t-",
        "1.5\tC\tten\t4\t10.0.0.2\t445\ttcp\t-\tREJ\tSr\t1\t44\t40\t-",
        "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t99999\ttcp\t-\tREJ\tSr\t1\t44\t40\t-",
        r#"{"ts":1.5,"id.orig_h":"10.0.0.1""#,
        r#"{"ts":1.5,"id.orig_h":"10.0.0.1"}"#,
        r#"{"event_type":"flow"}"#,
        r#"{"@timestamp":"2022-06-12","event":{"action":"network_flow"}}"#,
        r#"{"a":1}"#,
        "plain words",
    ] {
        assert!(rows().parse(line.as_bytes()).is_err(), "{line}");
    }
    let alert = r#"{"@timestamp":"2022-06-12T21:59:59Z","event":{"dataset":"suricata.eve"},"source":{"packets":1},"suricata":{"eve":{"event_type":"alert"}}}"#;
    // What was dropped says nothing against its source, whoever dropped it.
    let stopped = r#"{"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","dest_port":445,"proto":"TCP","flow":{"pkts_toclient":0,"start":"2022-06-12T21:59:58.444458+0000","action":"drop"},"tcp":{"tcp_flags_ts":"02","tcp_flags_tc":"00"}}"#;
    let denied = r#"{"@timestamp":"2022-06-12T21:59:58Z","event":{"action":"dropped","dataset":"tidegate.flow","type":["connection","denied"]},"source":{"ip":"10.0.0.1","packets":3,"bytes":180},"destination":{"ip":"10.0.0.2","port":445,"packets":0,"bytes":0},"network":{"transport":"tcp"},"tidegate":{"flow":{"conn_state":"S0","final":true}}}"#;
    for line in ["", "#close\t2022", r#"{"event_type":"alert"}"#, alert, stopped, denied] {
        assert_eq!(rows().parse(line.as_bytes()), Ok(None), "{line}");
    }
    for (event, state) in [
        // Flows of firewalls: what they kept back, and what they let pass.
        (r#"{"action":"flow_denied","dataset":"firewall.flow"}"#, None),
        (r#"{"action":"Drop","type":["connection"]}"#, None),
        (r#"{"action":"blocked"}"#, None),
        (r#"{"type":["connection","denied"]}"#, None),
        (r#"{"type":"denied"}"#, None),
        (r#"{"action":"rejected"}"#, None),
        (r#"{"module":"tidegate","type":["denied"]}"#, None),
        (r#"{"action":"network_flow","type":["connection","end"]}"#, Some(State::TimedOut)),
    ] {
        let line = format!(
            r#"{{"@timestamp":"2022-06-12T21:59:58Z","event":{event},"source":{{"ip":"10.0.0.1","packets":1,"bytes":60}},"destination":{{"ip":"10.0.0.2","port":445}},"network":{{"transport":"tcp"}}}}"#
        );
        let row = rows().parse(line.as_bytes()).unwrap();
        assert_eq!(row.map(|row| row.state), state, "{line}");
    }
    assert!(Rows::default().parse(b"1.5\tC").is_err(), "no heading came before");
}

#[test]
fn logs_of_other_versions_are_read_by_the_names_of_their_columns() {
    // Fewer columns in another order, as of older versions, and more of them, as of newer ones and of plugins.
    for (heading, line) in [
        (
            "#fields\tts\tid.orig_h\tid.resp_h\tid.resp_p\tproto\tconn_state",
            "1.5\t10.0.0.1\t10.0.0.2\t445\ttcp\tREJ",
        ),
        (
            "#fields\tconn_state\tcommunity_id\tproto\tid.resp_p\tip_proto\tid.resp_h\tid.orig_h\tts",
            "REJ\t1:abc=\ttcp\t445\t6\t10.0.0.2\t10.0.0.1\t1.5",
        ),
    ] {
        let mut rows = Rows::default();
        assert_eq!(rows.parse(heading.as_bytes()), Ok(None));
        let row = rows.parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!((row.state, row.port, row.packets), (State::Refused, 445, 0), "{heading}");
    }
    // A file that was put together of two: what the last heading says holds.
    let mut rows = rows();
    rows.parse(b"#fields\tts\tproto\tid.orig_h").unwrap();
    assert_eq!(rows.parse(b"1.5\ttcp\t10.0.0.1"), Err("it has no conn_state, or is cut"));
    for (name, missing) in [
        ("ts", "it has no ts"),
        ("proto", "it has no proto"),
        ("conn_state", "it has no conn_state, or is cut"),
        // By this Zeek's rows are told apart.
        ("id.orig_h", "it is a row of no log that is read"),
        ("id.resp_h", "it has no id.resp_h"),
        ("id.resp_p", "it has no id.resp_p"),
    ] {
        let mut row: serde_json::Value = serde_json::from_str(
            r#"{"ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":445,"proto":"tcp","conn_state":"REJ","new":[1]}"#,
        )
        .unwrap();
        assert!(rows.parse(row.to_string().as_bytes()).unwrap().is_some());
        row.as_object_mut().unwrap().remove(name);
        assert_eq!(rows.parse(row.to_string().as_bytes()), Err(missing));
    }
}

#[test]
fn what_a_text_says_of_its_own_form_holds() {
    let fields = ["#fields", "ts", "id_orig_h", "id_resp_h", "id_resp_p", "proto", "conn_state"];
    for (separator, written) in [("\t", r"\x09"), (",", r"\x2c"), ("|", "|"), (" ", r"\x20")] {
        let mut rows = Rows::default();
        let heading = [
            format!("#separator {written}"),
            ["#set_separator", ";"].join(separator),
            ["#empty_field", "EMPTY"].join(separator),
            ["#unset_field", "NONE"].join(separator),
            ["#path", "conn"].join(separator),
            [fields.join(separator), "label".to_owned()].join(separator),
        ];
        for line in heading {
            assert_eq!(rows.parse(line.as_bytes()), Ok(None), "{line}");
        }
        let row = ["1.5", "10.0.0.1", "10.0.0.2", "445", "tcp", "REJ"].join(separator);
        for (label, is_malicious) in [
            ("NONE", None),
            ("EMPTY", None),
            ("-", None),
            ("Benign", Some(false)),
            ("Malicious", Some(true)),
        ] {
            let line = [row.as_str(), label].join(separator);
            let row = rows.parse(line.as_bytes()).unwrap().unwrap();
            assert_eq!((row.state, row.is_malicious), (State::Refused, is_malicious), "{line}");
        }
        let unset = ["1.5", "10.0.0.1", "10.0.0.2", "NONE", "tcp", "REJ", "-"].join(separator);
        assert_eq!(rows.parse(unset.as_bytes()), Err("it has no id.resp_p"));
        // Another log behind it in one file: its rows are none, and no mistakes.
        rows.parse(["#path", "dns"].join(separator).as_bytes()).unwrap();
        rows.parse(["#fields", "ts", "query"].join(separator).as_bytes()).unwrap();
        assert_eq!(rows.parse(["1.5", "example"].join(separator).as_bytes()), Ok(None));
    }
}

#[test]
fn labels_that_were_put_behind_blanks_are_read() {
    let mut rows = Rows::default();
    let fields = "#fields\tts\tid.orig_h\tid.resp_h\tid.resp_p\tproto\tconn_state\ttunnel_parents   label   detailed-label";
    assert_eq!(rows.parse(fields.as_bytes()), Ok(None));
    for (last, is_malicious) in [
        ("-   Malicious   PartOfAHorizontalPortScan", Some(true)),
        ("(empty)   Benign   -", Some(false)),
        ("-   (empty)   -", None),
        ("-   -   -", None),
        // As a newer version of the same tool writes it.
        ("-\tmalicious\tDDoS", Some(true)),
        ("-", None),
    ] {
        let line = format!("1.5\t10.0.0.1\t10.0.0.2\t445\ttcp\tREJ\t{last}");
        let row = rows.parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!((row.state, row.is_malicious), (State::Refused, is_malicious), "{last}");
    }
}

#[test]
fn zeeks_objects_are_read_however_they_were_written() {
    let conn = r#"{"_path":"conn","ts":1655071198444.458,"id_orig_h":"10.0.0.1","id_orig_p":4,"id_resp_h":"10.0.0.2","id_resp_p":445,"proto":"tcp","conn_state":"REJ","label":"(empty)"}"#;
    let row = rows().parse(conn.as_bytes()).unwrap().unwrap();
    assert_eq!((row.state, row.port, row.is_malicious), (State::Refused, 445, None));
    assert_eq!(row.start, Timestamp::from_nanos(1_655_071_198_444_458_000));
    for other in [
        r#"{"_path":"dns","ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":53,"proto":"udp","query":"a"}"#,
        r#"{"_path":"weird","ts":1.5,"name":"bad_TCP_checksum"}"#,
        r#"{"_path":"conn_long","ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":22,"proto":"tcp"}"#,
    ] {
        assert_eq!(rows().parse(other.as_bytes()), Ok(None), "{other}");
    }
    let cut = r#"{"_path":"conn","ts":1.5,"id.orig_h":"10.0.0.1"}"#;
    assert!(rows().parse(cut.as_bytes()).is_err());
}

#[test]
fn a_file_that_is_no_log_says_what_it_is_and_one_without_flows_that_it_has_none() {
    const FLOW: &str = r#"{"ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":445,"proto":"tcp","conn_state":"REJ"}"#;
    let folder = tempfile::tempdir().unwrap();
    let faults = |text: &[u8]| {
        let path = folder.path().join("log");
        std::fs::write(&path, text).unwrap();
        let (settings, networks) = (score::Config::default().settings(), Arc::default());
        let policy =
            flow::Config::default().policy(&"tune".into(), &NetworkSet::default()).unwrap();
        let mut labels = Labels::default();
        let input = read(&path, &settings, &networks, &policy, &mut labels, &mut |_| {}).unwrap();
        (input.units, input.faults.join("; "))
    };
    let none = |faults: &str| (0, faults.to_owned());
    assert_eq!(faults(FLOW.as_bytes()), (1, String::new()));
    assert_eq!(faults(format!("\u{feff}{FLOW}\r\n").as_bytes()), (1, String::new()));
    assert_eq!(
        faults(format!("{FLOW}\n{{\"event_type\":\"dns\"}}\n").as_bytes()),
        (1, String::new())
    );
    assert_eq!(
        faults(b"{\"event_type\":\"dns\"}\n{\"event_type\":\"alert\"}\n"),
        none("2 rows are of other kinds, and none of a flow that ended")
    );
    // An hour in which nothing happened.
    assert_eq!(faults(format!("{HEADING}\n#close\t2022\n").as_bytes()), none(""));
    let array =
        "it is a JSON array; a log has an object a line: `jq -c '.[]' FILE` makes one of it";
    assert_eq!(faults(format!("[{FLOW}]").as_bytes()), none(array));
    let spread =
        "it is JSON over several lines; a log has an object a line: `jq -c . FILE` makes one of it";
    for text in ["{\n  \"event_type\": \"flow\"\n}\n", "\n{\r\n\"a\": {\r\n}}"] {
        assert_eq!(faults(text.as_bytes()), none(spread));
    }
    for text in ["1.5\tC\t10.0.0.1\t4\n", "ts,uid,id.orig_h\n1.5,C,10.0.0.1\n", "für später"] {
        let (units, fault) = faults(text.as_bytes());
        assert!(
            units == 0 && fault.starts_with("it is a text, but no log that is read"),
            "{fault}"
        );
    }
    for wide in [b"\xff\xfe{\0", b"\xfe\xff\0{"] {
        assert!(faults(wide).1.starts_with("it is a text in UTF-16"));
    }
    for other in ["\u{1}\u{2}", ""] {
        let (units, fault) = faults(other.as_bytes());
        let is_of_a_capture = !fault.is_empty() && !fault.contains("text");
        assert!(units == 0 && is_of_a_capture, "{fault}");
    }
}

/// A heading with nothing below it looked as if nothing had been read.
#[test]
fn a_table_without_sources_says_so() {
    let settings = score::Config::default().settings();
    let text = table(&measure(&[], &Labels::default(), &settings, ("", 0.01)));
    assert!(text.starts_with("No source would be alerted on, limited or blocked"), "{text}");
    assert!(!text.contains("verdict") && text.contains("recommended threshold none"), "{text}");
}

#[test]
fn times_are_read_exactly() {
    for (text, nanos) in [
        ("1.5", Some(1_500_000_000)),
        ("1", Some(1_000_000_000)),
        ("1655071198.444458", Some(1_655_071_198_444_458_000)),
        ("1655071198444", Some(1_655_071_198_444_000_000)),
        ("1655071198444.458", Some(1_655_071_198_444_458_000)),
        ("9999999999999", None),
        ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
        ("1970-01-01T01:00:01.25+0100", Some(1_250_000_000)),
        ("", None),
        ("1.x", None),
        ("99999999999999999999", None),
        ("9223372036854775807", None),
        ("1655071198444.x", None),
        ("T", None),
        ("éT+éé", None),
    ] {
        assert_eq!(timestamp(text).map(Timestamp::nanos), nanos, "{text}");
    }
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = rows();
        if let Ok(Some(row)) = reader.parse(&line) {
            row.events(&mut Vec::new());
        }
        let mut json = b"{\"id.orig_h\":".to_vec();
        json.extend(line);
        prop_assert!(reader.parse(&json).is_ok() || json.len() > 12);
    }

    #[test]
    fn no_damage_to_a_row_makes_it_panic(at in 0..90_usize, byte: u8, cut: bool) {
        let row = "1655071198.4\tC\t10.0.0.1\t4\t10.0.0.2\t445\ttcp\t0.5\tSF\tSr\t1\t44\t40\t-";
        let mut line = row.as_bytes().to_vec();
        if let Some(place) = line.get_mut(at) {
            *place = byte;
        }
        if cut {
            line.truncate(at);
        }
        let mut events: Vec<Event> = Vec::new();
        if let Ok(Some(row)) = rows().parse(&line) {
            row.events(&mut events);
        }
    }
}
