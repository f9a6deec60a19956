use super::*;
use crate::record::{Checksums, Header, Layer4, Names, Ports, Vlans};

const CLIENT: &str = "192.168.1.10";
const OTHER: &str = "192.168.1.11";
const SERVER: &str = "192.168.1.1";
const ADDRESS: &str = "93.184.216.34";
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
        part: 0,
        origin: crate::record::ObservationPoint::default(),
        frame_bytes: 100,
        captured_bytes: 100,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: crate::record::Marks::default(),
            source: ip(source),
            destination: ip(destination),
            transport: Transport::UDP,
            ip_bytes: 86,
            tunnel: None,
            checksums: Checksums::default(),
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

/// The name `client` knows.
fn known(names: &PassiveNames, address: &str, client: &str, second: i64) -> Option<String> {
    let found = names.names(ip(address), ip(client), at(second))?;
    assert_eq!((found.origin, found.unverified.len()), (NameOrigin::Passive, 0));
    found.name().map(str::to_owned)
}

/// The name one hears of.
fn heard(names: &PassiveNames, address: &str, second: i64) -> Option<String> {
    let found = names.unverified(ip(address), at(second))?;
    assert_eq!((found.origin, found.name()), (NameOrigin::Passive, None));
    found.unverified.first().map(|name| (**name).to_owned())
}

/// The client asks at one second for a name of [`ADDRESS`], and is answered.
fn asked_for(second: i64, name: &str) -> [Packet; 2] {
    [question(second, CLIENT, name), answer(second, CLIENT, name, &[(A, &[ADDRESS])])]
}

#[test]
fn an_address_has_the_name_that_was_asked_for() {
    let fields: &[(&str, &[&str])] = &[(A, &[ADDRESS]), (AAAA, &["2606:2800::1"])];
    let names = learnt(&[
        question(1, CLIENT, "WWW.Example.org"),
        answer(2, CLIENT, "www.example.ORG", fields),
    ]);
    let expected = Some("www.example.org".to_owned());
    assert_eq!(known(&names, ADDRESS, CLIENT, 3), expected);
    assert_eq!(known(&names, "2606:2800::1", CLIENT, 3), expected);
    assert_eq!(known(&names, "93.184.216.35", CLIENT, 3), None);
    assert_eq!(known(&names, ADDRESS, CLIENT, 2 + 86_401), None, "a day later");
}

#[test]
fn each_client_knows_the_name_it_asked_for_and_the_others_only_hear_of_it() {
    let fields: &[(&str, &[&str])] = &[(A, &[ADDRESS])];
    let names = learnt(&[
        question(1, CLIENT, "one.example"),
        question(1, OTHER, "two.example"),
        answer(2, CLIENT, "one.example", fields),
        answer(2, OTHER, "two.example", fields),
    ]);
    assert_eq!(known(&names, ADDRESS, CLIENT, 3).unwrap(), "one.example");
    assert_eq!(known(&names, ADDRESS, OTHER, 3).unwrap(), "two.example");
    assert_eq!(known(&names, ADDRESS, "10.0.0.1", 3), None);
    assert_eq!(heard(&names, ADDRESS, 3).unwrap(), "two.example");
}

#[test]
fn what_counts_is_the_name_asked_for_last_before_a_record_began() {
    let names = learnt(&[asked_for(10, "a.example"), asked_for(20, "b.example")].concat());
    let cases = [
        (9, None),
        (10, Some("a.example")),
        (19, Some("a.example")),
        (20, Some("b.example")),
        (300, Some("b.example")),
    ];
    for (second, name) in cases {
        assert_eq!(known(&names, ADDRESS, CLIENT, second).as_deref(), name, "{second}");
        assert_eq!(heard(&names, ADDRESS, second).as_deref(), name, "{second}");
    }
    let moment = Timestamp::from_nanos(10 * SECOND - 50_000_000);
    let found = names.names(ip(ADDRESS), ip(CLIENT), moment).unwrap();
    assert_eq!(found.name(), Some("a.example"), "packets a moment out of order");
}

#[test]
fn answers_out_of_order_count_by_their_times() {
    let names = learnt(&[asked_for(20, "b.example"), asked_for(10, "a.example")].concat());
    assert_eq!(known(&names, ADDRESS, CLIENT, 15).unwrap(), "a.example");
    assert_eq!(known(&names, ADDRESS, CLIENT, 25).unwrap(), "b.example");
}

#[test]
fn a_few_names_are_kept_and_one_asked_for_again_and_again_is_one_of_them() {
    let mut names = learnt(&asked_for(0, "first.example"));
    for second in 10..60 {
        for packet in asked_for(second, "often.example") {
            names.learn(&packet);
        }
    }
    assert_eq!(known(&names, ADDRESS, CLIENT, 5).unwrap(), "first.example");
    assert_eq!(known(&names, ADDRESS, CLIENT, 30).unwrap(), "often.example");
    for second in 60..60 + 10 {
        let name = format!("n{second}.example");
        for packet in asked_for(second, &name) {
            names.learn(&packet);
        }
    }
    assert_eq!(known(&names, ADDRESS, CLIENT, 30), None, "forgotten");
    assert_eq!(known(&names, ADDRESS, CLIENT, 66).unwrap(), "n66.example");
    let key = Key { address: ip(ADDRESS), client: Some(ip(CLIENT)) };
    assert_eq!(names.names.get(&key).unwrap().0.len(), MAX_NAMES);
}

#[test]
fn a_question_has_one_answer_and_a_forged_one_behind_it_teaches_nothing() {
    let good = || asked_for(1, "www.bank.example").to_vec();
    let with = |id: &'static str, mut packet: Packet| {
        packet.extra.push(Extra { name: ID.into(), values: vec![id.into()] });
        packet
    };
    let question = || question(1, CLIENT, "www.bank.example");
    let forged = || answer(1, CLIENT, "www.bank.example", &[(A, &["6.6.6.6"])]);
    let again = with("0x0007", question());
    let [_, true_answer] = asked_for(1, "www.bank.example").map(|packet| with("0x0007", packet));
    let cases = [
        ("behind the answer", [good(), vec![forged()]].concat()),
        ("with another id", vec![with("0x0007", question()), with("0x0008", forged())]),
        ("without an id", vec![with("0x0007", question()), forged()]),
        (
            "behind the answer to a question sent twice",
            vec![again.clone(), again, true_answer, with("0x0007", forged())],
        ),
    ];
    for (case, packets) in cases {
        let names = learnt(&packets);
        assert_eq!(known(&names, "6.6.6.6", CLIENT, 3), None, "{case}");
        assert_eq!(heard(&names, "6.6.6.6", 3), None, "{case}");
    }
}

#[test]
fn questions_for_both_families_from_one_port_each_have_their_answer() {
    let answers = [(A, ADDRESS), (AAAA, "2606:2800::1")]
        .map(|(field, address)| answer(2, CLIENT, "www.example.org", &[(field, &[address])]));
    let questions = [1, 1].map(|second| question(second, CLIENT, "www.example.org"));
    let names = learnt(&[questions, answers].concat());
    assert_eq!(known(&names, ADDRESS, CLIENT, 3).unwrap(), "www.example.org");
    assert_eq!(known(&names, "2606:2800::1", CLIENT, 3).unwrap(), "www.example.org");
    assert!(names.questions.is_empty());
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
        let names = learnt(&packets);
        assert_eq!(known(&names, "6.6.6.6", CLIENT, 3), None, "{case}");
        assert_eq!(heard(&names, "6.6.6.6", 3), None, "{case}");
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
    assert!(known(&names, "93.184.216.34", CLIENT, 3).is_some());
    assert_eq!(known(&names, "192.5.6.30", CLIENT, 3), None);

    let referral: &[(&str, &[&str])] =
        &[(A, &["192.5.6.30"]), (ANSWERS, &["0"]), (TYPES, &["2", "1"])];
    let names = learnt(&[
        question(1, CLIENT, "www.example.org"),
        answer(2, CLIENT, "www.example.org", referral),
    ]);
    assert_eq!(known(&names, "192.5.6.30", CLIENT, 3), None);
}

#[test]
fn block_list_answers_and_nonsense_name_nobody() {
    let fields: &[(&str, &[&str])] =
        &[(A, &["0.0.0.0", "127.0.0.1", "nonsense", ""]), (AAAA, &["::", "1.2.3.4"])];
    let names =
        learnt(&[question(1, CLIENT, "ads.example"), answer(2, CLIENT, "ads.example", fields)]);
    for address in ["0.0.0.0", "127.0.0.1", "::", "1.2.3.4"] {
        assert_eq!(known(&names, address, CLIENT, 3), None, "{address}");
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
