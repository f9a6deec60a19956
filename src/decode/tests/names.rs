//! DNS messages.

use super::{super::decode, CHECKED, Options, build::*, packet};
use crate::record::Extra;

/// A message about `www.example.org`, with the records of an answer section.
fn message(answers: u16, records: &[u8]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x81, 0x80];
    message.extend([1, answers, 0, 0].map(u16::to_be_bytes).concat());
    message.extend(b"\x03www\x07Example\x03org\0\0\x01\0\x01");
    message.extend(records);
    message
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 1, 44], typed(length(data), data).as_slice()].concat()
}

fn answer() -> Vec<u8> {
    let alias = record(5, &[0xc0, 16]);
    let v4 = record(1, &[93, 184, 216, 34]);
    let v6 = record(28, &DESTINATION6);
    message(3, &[alias, v4, v6].concat())
}

fn texts(extra: &[Extra]) -> Vec<String> {
    let text = |extra: &Extra| format!("{}={}", extra.name, extra.values.join(","));
    extra.iter().map(text).collect()
}

const EXPECTED: [&str; 6] = [
    "dns_id=0x1234",
    "dns_qry_name=www.Example.org",
    "dns_count_answers=3",
    "dns_resp_type=5,1,28",
    "dns_a=93.184.216.34",
    "dns_aaaa=2001:db8:1::20",
];

fn carried(ports: [u16; 2], message: &[u8]) -> Vec<u8> {
    ipv4(17, &udp_between(Over::V4, ports, message))
}

#[test]
fn a_message_shows_its_question_and_the_addresses_of_its_answers() {
    let bytes = on_ethernet(&carried([53, 40_000], &answer()));
    assert_eq!(texts(&packet(1, &bytes).extra), EXPECTED);
    let unread = decode(&frame(1, &bytes), &Options::default()).unwrap();
    assert!(unread.extra.is_empty());
    let question = on_ethernet(&carried([40_000, 53], &message(0, &[])));
    assert_eq!(
        texts(&packet(1, &question).extra).join(" "),
        "dns_id=0x1234 dns_qry_name=www.Example.org dns_count_answers=0"
    );
}

#[test]
fn a_message_that_was_cut_shows_what_came_before() {
    let whole = on_ethernet(&carried([53, 40_000], &answer()));
    for captured in 42..=whole.len() {
        let mut cut = frame(1, &whole[..captured]);
        cut.length = length32(whole.len());
        let shown = texts(&decode(&cut, &CHECKED).unwrap().extra);
        let last = whole.len() - captured;
        assert_eq!(shown.iter().any(|text| text.starts_with("dns_a=")), last <= 28, "{last}");
        assert_eq!(shown.iter().any(|text| text.starts_with("dns_aaaa=")), last == 0, "{last}");
    }
}

#[test]
fn a_message_within_a_tunnel_is_read_and_one_that_is_quoted_is_not() {
    let inside = carried([53, 40_000], &answer());
    let tunnelled = packet(1, &on_ethernet(&ipv4(4, &inside)));
    assert_eq!(texts(&tunnelled.extra), EXPECTED);
    let quoted =
        packet(1, &on_ethernet(&ipv4(1, &icmp(3, 3, &[&[0; 4], inside.as_slice()].concat()))));
    assert_eq!((quoted.inner.len(), quoted.extra.len()), (1, 0));
}

#[test]
fn what_is_no_message_shows_nothing() {
    let mut two = answer();
    two[5] = 2;
    let loops = [&answer()[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    for wrong in [Vec::new(), vec![0xff; 40], two, loops] {
        let packet = packet(1, &on_ethernet(&carried([53, 40_000], &wrong)));
        assert!(packet.extra.is_empty(), "{wrong:02x?}");
    }
    assert!(packet(1, &on_ethernet(&carried([5353, 5353], &answer()))).extra.is_empty());
}
