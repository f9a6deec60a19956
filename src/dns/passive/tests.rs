use super::*;
use crate::record::{Header, Layer4, Names, Ports, Vlans};

const CLIENT: &str = "192.168.1.10";
const OTHER: &str = "192.168.1.11";
const SERVER: &str = "192.168.1.1";
const SECOND: i64 = 1_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_nanos(second * SECOND)
}

fn packet(
    second: i64,
    (source, source_port): (&str, u16),
    (destination, destination_port): (&str, u16),
    extra: &[(&str, &[&str])],
) -> Packet {
    let values = |values: &[&str]| values.iter().map(|value| (*value).into()).collect();
    Packet {
        time: at(second),
        epoch: 0,
        number: 1,
        frame_bytes: 100,
        captured_bytes: 100,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            source: ip(source),
            destination: ip(destination),
            transport: Transport::UDP,
            ip_bytes: 86,
            fragment: None,
            layer4: Layer4::Udp(Ports { source: source_port, destination: destination_port }, 58),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: extra
            .iter()
            .map(|(name, texts)| Extra { name: (*name).into(), values: values(texts) })
            .collect(),
        names: Names::default(),
    }
}

fn question(second: i64, client: &str, name: &str) -> Packet {
    packet(second, (client, 40_000), (SERVER, 53), &[(QUERY_NAME, &[name])])
}

fn answer(second: i64, client: &str, name: &str, fields: &[(&str, &[&str])]) -> Packet {
    let mut extra: Vec<(&str, &[&str])> = Vec::new();
    let names = [name];
    extra.push((QUERY_NAME, &names));
    extra.extend_from_slice(fields);
    packet(second, (SERVER, 53), (client, 40_000), &extra)
}

fn learnt(packets: &[Packet]) -> PassiveNames {
    let mut names = PassiveNames::new(1000);
    for packet in packets {
        names.learn(packet);
    }
    names
}

fn name(names: &PassiveNames, address: &str, peer: Option<&str>, second: i64) -> Option<String> {
    let found = names.names(ip(address), peer.map(ip), at(second))?;
    assert_eq!(found.origin, NameOrigin::Passive);
    found.name().map(str::to_owned)
}

#[test]
fn an_address_has_the_name_that_was_asked_for() {
    let fields: &[(&str, &[&str])] = &[(A, &["93.184.216.34"]), (AAAA, &["2606:2800::1"])];
    let names = learnt(&[
        question(1, CLIENT, "WWW.Example.org"),
        answer(2, CLIENT, "www.example.ORG", fields),
    ]);
    let expected = Some("www.example.org".to_owned());
    assert_eq!(name(&names, "93.184.216.34", Some(CLIENT), 3), expected);
    assert_eq!(name(&names, "2606:2800::1", None, 3), expected);
    assert_eq!(name(&names, "93.184.216.35", None, 3), None);
    assert_eq!(name(&names, "93.184.216.34", None, 2 + 86_401), None, "a day later");
}

#[test]
fn each_client_sees_the_name_it_asked_for() {
    let fields: &[(&str, &[&str])] = &[(A, &["93.184.216.34"])];
    let names = learnt(&[
        question(1, CLIENT, "one.example"),
        question(1, OTHER, "two.example"),
        answer(2, CLIENT, "one.example", fields),
        answer(2, OTHER, "two.example", fields),
    ]);
    assert_eq!(name(&names, "93.184.216.34", Some(CLIENT), 3).unwrap(), "one.example");
    assert_eq!(name(&names, "93.184.216.34", Some(OTHER), 3).unwrap(), "two.example");
    assert_eq!(name(&names, "93.184.216.34", Some("10.0.0.1"), 3).unwrap(), "two.example");
}

#[test]
fn an_answer_nobody_asked_for_teaches_nothing() {
    let fields: &[(&str, &[&str])] = &[(A, &["6.6.6.6"])];
    let good = || question(1, CLIENT, "www.bank.example");
    let forged = |name| answer(2, CLIENT, name, fields);
    let mut from_elsewhere = forged("www.bank.example");
    from_elsewhere.outer.source = ip("6.6.6.6");
    let mut to_another_port = forged("www.bank.example");
    to_another_port.outer.layer4 = Layer4::Udp(Ports { source: 53, destination: 40_001 }, 58);
    let cases = [
        ("no question", vec![forged("www.bank.example")]),
        ("another name", vec![good(), forged("www.other.example")]),
        ("another server", vec![good(), from_elsewhere]),
        ("another port", vec![good(), to_another_port]),
        ("too late", vec![good(), answer(40, CLIENT, "www.bank.example", fields)]),
        ("no host name", vec![question(1, CLIENT, "a\u{7}b"), forged("a\u{7}b")]),
    ];
    for (case, packets) in cases {
        assert_eq!(name(&learnt(&packets), "6.6.6.6", None, 3), None, "{case}");
    }
}

#[test]
fn addresses_of_name_servers_are_not_taken_for_the_answer() {
    // Two answers (CNAME, A), one name server, and its address as additional record.
    let exact: &[(&str, &[&str])] =
        &[(A, &["93.184.216.34", "192.5.6.30"]), (ANSWERS, &["2"]), (TYPES, &["5", "1", "2", "1"])];
    let names = learnt(&[
        question(1, CLIENT, "www.example.org"),
        answer(2, CLIENT, "www.example.org", exact),
    ]);
    assert!(name(&names, "93.184.216.34", None, 3).is_some());
    assert_eq!(name(&names, "192.5.6.30", None, 3), None);

    let referral: &[(&str, &[&str])] =
        &[(A, &["192.5.6.30"]), (ANSWERS, &["0"]), (TYPES, &["2", "1"])];
    let names = learnt(&[
        question(1, CLIENT, "www.example.org"),
        answer(2, CLIENT, "www.example.org", referral),
    ]);
    assert_eq!(name(&names, "192.5.6.30", None, 3), None);
}

#[test]
fn block_list_answers_and_nonsense_name_nobody() {
    let fields: &[(&str, &[&str])] =
        &[(A, &["0.0.0.0", "127.0.0.1", "nonsense", ""]), (AAAA, &["::", "1.2.3.4"])];
    let names =
        learnt(&[question(1, CLIENT, "ads.example"), answer(2, CLIENT, "ads.example", fields)]);
    for address in ["0.0.0.0", "127.0.0.1", "::", "1.2.3.4"] {
        assert_eq!(name(&names, address, None, 3), None, "{address}");
    }
}

#[test]
fn a_flood_of_answers_does_not_grow_it() {
    let mut names = PassiveNames::new(100);
    for number in 0..20_000_u32 {
        let asked = format!("n{number}.example");
        let address = Ipv4Addr::from(0x0800_0000 + number).to_string();
        names.learn(&question(1, CLIENT, &asked));
        names.learn(&answer(1, CLIENT, &asked, &[(A, &[address.as_str()])]));
    }
    assert!(names.names.len() <= 100 && names.questions.len() <= MAX_QUESTIONS);
}
