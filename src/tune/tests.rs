//! Rows of logs, good and bad.

use proptest::prelude::*;

use super::log::{Event, Rows, State, timestamp};
use crate::record::Timestamp;

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
    for line in [tsv, zeek, eve, packetbeat, ours] {
        let row = rows().parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(row.state, State::Refused, "{line}");
        assert_eq!((row.source.to_string().as_str(), row.port), ("10.0.0.1", 445));
        assert_eq!(row.start, Timestamp::from_nanos(1_655_071_198_444_458_000), "{line}");
    }
}

#[test]
fn states_of_zeek_are_what_came_of_the_contact() {
    let cases = [
        ("tcp", "S0", "S", State::TimedOut),
        ("tcp", "SF", "ShADadFf", State::Success),
        ("tcp", "RSTO", "ShADaR", State::Success),
        ("tcp", "OTH", "C", State::Unknown),
        ("tcp", "SHR", "h", State::Unknown),
        ("udp", "S0", "D", State::Unknown),
        ("udp", "SF", "Dd", State::Success),
    ];
    for (proto, state, history, expected) in cases {
        let line = format!(
            "1.5\tC\t10.0.0.1\t4\t10.0.0.2\t445\t{proto}\t-\t{state}\t{history}\t1\t44\t40\t-"
        );
        assert_eq!(rows().parse(line.as_bytes()).unwrap().unwrap().state, expected, "{line}");
    }
}

#[test]
fn rows_that_are_cut_or_of_another_kind_say_why() {
    for line in [
        "1655071198.4\tC\t10.0.0.1\t4\t10.0",
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
    for line in ["", "#close\t2022", r#"{"event_type":"alert"}"#] {
        assert_eq!(rows().parse(line.as_bytes()), Ok(None), "{line}");
    }
    assert!(Rows::default().parse(b"1.5\tC").is_err(), "no heading came before");
}

#[test]
fn times_are_read_exactly() {
    for (text, nanos) in [
        ("1.5", Some(1_500_000_000)),
        ("1", Some(1_000_000_000)),
        ("1655071198.444458", Some(1_655_071_198_444_458_000)),
        ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
        ("1970-01-01T01:00:01.25+0100", Some(1_250_000_000)),
        ("", None),
        ("1.x", None),
        ("99999999999999999999", None),
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
