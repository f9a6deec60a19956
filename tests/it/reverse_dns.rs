//! Names of addresses, from a real unbound and from DNS answers in a capture.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene,
    captures::{self, Capture},
    frames::{self, Way},
    poll,
    tidegate::Tidegate,
    unbound::Unbound,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
const DNS_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// What unbound knows: good names, several of them, hostile ones, one that leads elsewhere, silence.
const ZONES: &str = r#"
  local-data: "4.4.8.8.in-addr.arpa. 300 PTR DNS.Example."
  local-data: "dns.example. 300 A 8.8.4.4"
  local-data: "5.4.8.8.in-addr.arpa. 300 PTR zeta.example."
  local-data: "5.4.8.8.in-addr.arpa. 300 PTR alpha.example."
  local-data: "zeta.example. 300 A 8.8.4.5"
  local-data: "alpha.example. 300 A 8.8.4.5"
  local-data: "6.4.8.8.in-addr.arpa. 300 PTR www.bank.example."
  local-data: "www.bank.example. 300 A 8.8.4.99"
  local-data: "7.4.8.8.in-addr.arpa. 300 PTR evil\027[31m\007.example."
  local-data: "8.4.8.8.in-addr.arpa. 300 PTR 10.0.0.1."
  local-zone: "5.8.8.in-addr.arpa." deny
  local-zone: "6.8.8.in-addr.arpa." refuse
"#;
/// Below it every question ends in SERVFAIL.
const BROKEN: &str = "7.8.8.in-addr.arpa.";

/// What `passive` needs of the source and of `extract`.
const DNS_FIELDS: &str =
    "fields: [dns.qry.name, dns.a, dns.aaaa, dns.count.answers, dns.resp.type]";
/// The same with the field that tells a forged answer.
const DNS_FIELDS_AND_ID: &str =
    "fields: [dns.id, dns.qry.name, dns.a, dns.aaaa, dns.count.answers, dns.resp.type]";

/// An address each packet goes to, and the name it should get.
const DESTINATIONS: [(&str, Option<&str>); 14] = [
    ("8.8.4.4", Some("dns.example")),
    ("8.8.4.5", Some("alpha.example")),
    ("8.8.4.6", None),
    ("8.8.4.7", None),
    ("8.8.4.8", None),
    ("8.8.4.9", None),
    ("8.8.5.1", None),
    ("8.8.6.1", None),
    ("8.8.7.1", None),
    ("10.0.0.1", None),
    ("100.64.0.1", None),
    ("192.0.2.1", None),
    ("224.0.0.251", None),
    ("255.255.255.255", None),
];

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(names_come_from_unbound_and_nothing_private_reaches_it),
        Case::new(with_the_resolver_gone_the_same_records_come_without_names),
        Case::new(private_addresses_are_asked_for_where_the_config_says),
        Case::new(an_address_has_the_name_its_client_asked_for),
        Case::new(flows_have_passive_names_from_packets_that_end_there),
        Case::new(passive_names_are_had_by_headers_without_any_field_named),
        Case::new(every_flow_has_its_name_whatever_the_order_of_inputs),
        Case::new(packets_only_learnt_from_need_the_fields_upstream),
        Case::new(a_slow_or_silent_resolver_is_measured_against_none).slow().alone(),
    ]
}

fn names_come_from_unbound_and_nothing_private_reaches_it(scene: &Scene) -> Outcome {
    let unbound = Unbound::start(scene, ZONES, BROKEN)?;
    let keys = format!("resolvers: ['{}']", unbound.address);
    let records = replayed(scene, &to_destinations(scene)?, &keys, "")?;
    let expected: Vec<_> = DESTINATIONS
        .iter()
        .map(|(address, name)| ((*address).to_owned(), name.map(str::to_owned)))
        .collect();
    assert_eq!(destinations(&records), expected);
    assert!(records.iter().all(|record| record.get("source_name").is_none()));

    let asked = unbound.asked();
    assert!(asked.contains(&"4.4.8.8.in-addr.arpa. PTR".to_owned()), "{asked:?}");
    let foreign: Vec<_> = asked
        .iter()
        .filter(|question| {
            question.contains(".arpa") && !question.contains(".8.8.in-addr.arpa. PTR")
        })
        .collect();
    assert!(foreign.is_empty(), "private questions reached the resolver: {foreign:?}");
    let mut times = BTreeMap::<_, usize>::new();
    for question in asked.iter().filter(|question| question.contains(".4.8.8.in-addr.arpa.")) {
        *times.entry(question).or_default() += 1;
    }
    assert!(times.values().all(|count| *count == 1), "asked more than once: {times:?}");
    Ok(())
}

fn with_the_resolver_gone_the_same_records_come_without_names(scene: &Scene) -> Outcome {
    let unbound = Unbound::start(scene, ZONES, BROKEN)?;
    let keys = format!("resolvers: ['{}']", unbound.address);
    drop(unbound);
    let records = replayed(scene, &to_destinations(scene)?, &keys, "")?;
    let expected: Vec<_> =
        DESTINATIONS.iter().map(|(address, _)| ((*address).to_owned(), None)).collect();
    assert_eq!(destinations(&records), expected);
    Ok(())
}

fn private_addresses_are_asked_for_where_the_config_says(scene: &Scene) -> Outcome {
    let zones = r#"
  local-zone: "10.in-addr.arpa." transparent
  local-data: "1.0.0.10.in-addr.arpa. 300 PTR nas.lan."
  local-data: "nas.lan. 300 A 10.0.0.1"
"#;
    let unbound = Unbound::start(scene, zones, BROKEN)?;
    let keys = format!("private: '{}', allow: [10.0.0.0/8]", unbound.address);
    let records = replayed(scene, &to_destinations(scene)?, &keys, "")?;
    let named: Vec<_> =
        destinations(&records).into_iter().filter(|(_, name)| name.is_some()).collect();
    assert_eq!(named, [("10.0.0.1".to_owned(), Some("nas.lan".to_owned()))]);
    assert_eq!(unbound.asked(), ["1.0.0.10.in-addr.arpa. PTR", "nas.lan. A"]);
    Ok(())
}

fn an_address_has_the_name_its_client_asked_for(scene: &Scene) -> Outcome {
    let path = asked_for(scene);
    let records = replayed(scene, &path, "ptr: false", DNS_FIELDS)?;
    let named: Vec<_> = destinations(&records)
        .into_iter()
        .filter(|(address, _)| !address.starts_with("192.168."))
        .collect();
    let expected = [
        ("8.8.4.4".to_owned(), Some("www.example.org".to_owned())),
        ("8.8.4.5".to_owned(), None),
        ("8.8.4.6".to_owned(), None),
        ("8.8.4.7".to_owned(), Some("www.example.org".to_owned())),
        ("8.8.4.4".to_owned(), Some("later.example".to_owned())),
        ("8.8.4.4".to_owned(), None),
    ];
    assert_eq!(named, expected, "without ids the first answer counts");
    Ok(())
}

fn flows_have_passive_names_from_packets_that_end_there(scene: &Scene) -> Outcome {
    let path = asked_for(scene);
    let config = pipeline(scene, "ptr: false, packets: learn", DNS_FIELDS_AND_ID);
    let text = fs::read_to_string(&config)?
        .replace("inputs: [packets], ptr", "inputs: [flows, packets], ptr")
        .replace("schema: simple", "schema: ecs");
    let flows = "transforms:\n  flows: { type: flow, inputs: [packets] }";
    let config = scene.write("flows.yaml", text.replace("transforms:", flows));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut named: Vec<_> = replayed_by(scene, &config, &path)?
        .iter()
        .map(|flow| {
            let unverified = text(&flow["tidegate"]["ptr"]["unverified"][0]);
            let name = text(&flow["destination"]["domain"]);
            (text(&flow["destination"]["ip"]), text(&flow["source"]["ip"]), name, unverified)
        })
        .collect();
    named.sort();
    let expected = [
        ("192.168.1.1", "192.168.1.10", "", ""),
        ("8.8.4.4", "192.168.1.10", "later.example", ""),
        ("8.8.4.4", "192.168.1.10", "www.example.org", ""),
        ("8.8.4.4", "192.168.1.11", "", "later.example"),
        ("8.8.4.5", "192.168.1.10", "", ""),
        ("8.8.4.6", "192.168.1.10", "", ""),
        ("8.8.4.7", "192.168.1.10", "", ""),
    ];
    let expected = expected.map(|(to, from, name, unverified)| {
        (to.to_owned(), from.to_owned(), name.to_owned(), unverified.to_owned())
    });
    assert_eq!(named, expected);
    Ok(())
}

fn passive_names_are_had_by_headers_without_any_field_named(scene: &Scene) -> Outcome {
    let path = asked_for(scene);
    let by_tshark = pipeline(scene, "ptr: false", DNS_FIELDS_AND_ID);
    let expected = destinations(&replayed_by(scene, &by_tshark, &path)?);
    assert!(expected.iter().any(|(_, name)| name.is_some()), "{expected:?}");
    for keys in ["ptr: false", "ptr: false, packets: learn"] {
        fs::remove_file(scene.path("records.out"))?;
        let config = pipeline(scene, keys, "");
        let text = fs::read_to_string(&config)?
            .replace("mode: file,", "mode: file, dissect: headers,")
            // Packets that end in `named` have no names there: their copies go round it.
            .replace("inputs: [named]", "inputs: [named, packets]");
        let config = if keys.contains("learn") {
            scene.write("headers.yaml", text)
        } else {
            scene.write("headers.yaml", text.replace("inputs: [named, packets]", "inputs: [named]"))
        };
        let records = replayed_by(scene, &config, &path)?;
        if keys.contains("learn") {
            assert_eq!(records.len(), expected.len());
        } else {
            assert_eq!(destinations(&records), expected);
        }
    }
    Ok(())
}

/// A capture in which a client asks for a name, goes to the address in the answer, to that of a name
/// server beside it, and to those in forged answers, one of which came first but has not the
/// question's id. Then it asks for another name of the first address and goes there again, and so
/// does a client that has not asked.
fn asked_for(scene: &Scene) -> PathBuf {
    let mut capture = Capture::micros();
    let mut add = |second, frame: Vec<u8>| {
        capture.frame(captures::EPOCH_SECONDS + second, 0, &frame);
    };
    let server = |last| Ipv4Addr::new(8, 8, 4, last);
    let answers = [
        dns_message(8, "www.example.org", 0x8180, &[(server(7), false)]),
        dns_message(7, "www.example.org", 0x8180, &[(server(4), false), (server(5), true)]),
        dns_message(7, "www.bank.example", 0x8180, &[(server(6), false)]),
    ];
    let question = |id, name| dns_message(id, name, 0x0100, &[]);
    // Two questions, as for A and AAAA, so that without ids two answers count.
    for id in [7, 9] {
        add(0, between(CLIENT, DNS_SERVER, [40_000, 53], &question(id, "WWW.example.ORG")));
    }
    for answer in &answers {
        add(1, between(DNS_SERVER, CLIENT, [53, 40_000], answer));
    }
    for last in 4..=7 {
        add(2, between(CLIENT, server(last), [40_001, 443], b"hello"));
    }
    let later = dns_message(9, "later.example", 0x8180, &[(server(4), false)]);
    add(3, between(CLIENT, DNS_SERVER, [40_000, 53], &question(9, "later.example")));
    add(4, between(DNS_SERVER, CLIENT, [53, 40_000], &later));
    add(5, between(CLIENT, server(4), [40_002, 443], b"hello"));
    add(5, between(OTHER_CLIENT, server(4), [40_002, 443], b"hello"));
    let path = scene.path("passive.pcap");
    capture.write(&path);
    path
}

/// Flows end all along a capture, and each began after the answer with its name: in a replay every one has
/// it, the same bytes each time.
fn every_flow_has_its_name_whatever_the_order_of_inputs(scene: &Scene) -> Outcome {
    const EXCHANGES: u32 = 1_500;
    let mut capture = Capture::micros();
    for number in 0..EXCHANGES {
        let server = Ipv4Addr::from(0x0808_0000 + number);
        let id = u16::try_from(number)?;
        let name = format!("host-{number}.example");
        let frames = [
            between(CLIENT, DNS_SERVER, [40_000, 53], &dns_message(id, &name, 0x0100, &[])),
            between(
                DNS_SERVER,
                CLIENT,
                [53, 40_000],
                &dns_message(id, &name, 0x8180, &[(server, false)]),
            ),
            between(CLIENT, server, [40_001, 443], b"hello"),
        ];
        for (micros, frame) in (0..).zip(&frames) {
            capture.frame(captures::EPOCH_SECONDS + number, micros, frame);
        }
    }
    let path = scene.path("exchanges.pcap");
    capture.write(&path);
    let mut first = None;
    for inputs in ["[flows, packets]", "[packets, flows]"] {
        for workers in [1, 2] {
            let source = format!("{DNS_FIELDS_AND_ID}, workers: {workers}");
            let text = fs::read_to_string(pipeline(scene, "packets: learn, ptr: false", &source))?;
            let flows = format!("flows: {{ type: flow, inputs: [packets], workers: {workers} }}");
            let text = text
                .replace(
                    &format!("inputs: [capture], {source}"),
                    &format!("inputs: [capture], {DNS_FIELDS_AND_ID}"),
                )
                .replace("transforms:", &format!("transforms:\n  {flows}"))
                .replace(
                    "inputs: [packets], packets: learn",
                    &format!("inputs: {inputs}, packets: learn"),
                );
            let config = scene.write("ordered.yaml", text);
            let records = replayed_by(scene, &config, &path)?;
            let named = destinations(&records).into_iter().filter(|(to, name)| {
                let to: Option<Ipv4Addr> = to.parse().ok();
                let number = to.map_or(u32::MAX, |to| to.to_bits().wrapping_sub(0x0808_0000));
                *name == Some(format!("host-{number}.example"))
            });
            assert_eq!(named.count(), EXCHANGES as usize, "{inputs}, {workers} workers");
            let bytes = fs::read(scene.path("records.out"))?;
            fs::remove_file(scene.path("records.out"))?;
            let first = first.get_or_insert_with(|| bytes.clone());
            assert!(*first == bytes, "{inputs}, {workers} workers: other bytes than the first run");
        }
    }
    Ok(())
}

fn packets_only_learnt_from_need_the_fields_upstream(scene: &Scene) -> Outcome {
    let config = pipeline(scene, "packets: learn", "");
    Tidegate::new(scene, ["validate", "--no-environment"])
        .arg(&config)
        .run()?
        .expect(78)?
        .says(&["dns.qry.name", "dns.count.answers"])
}

/// Prints rates of one run. Aim: at least 0.95 of the rate without look-ups, whatever the resolver.
fn a_slow_or_silent_resolver_is_measured_against_none(scene: &Scene) -> Outcome {
    const PACKETS: u32 = 200_000;
    const ADDRESSES: u32 = 5_000;
    let mut capture = Capture::micros();
    for number in 0..PACKETS {
        let destination = Ipv4Addr::from(0x0808_0000 + number % ADDRESSES);
        let frame = between(CLIENT, destination, [40_000, 443], b"hello");
        capture.frame(captures::EPOCH_SECONDS + number / 1000, number % 1000, &frame);
    }
    let path = scene.path("many.pcap");
    capture.write(&path);
    let silent = UdpSocket::bind("127.0.0.1:0")?;
    let slow = slow_resolver(Duration::from_millis(2))?;
    let seconds = |keys: &str| -> Result<f64, Failed> {
        let started = poll::now();
        let records = replayed(scene, &path, keys, "")?;
        assert_eq!(records.len(), PACKETS as usize);
        fs::remove_file(scene.path("records.out"))?;
        Ok(started.elapsed().as_secs_f64())
    };
    // The stage in place, but with nothing to ask.
    let without = seconds("ptr: false")?;
    let with_slow = seconds(&format!("resolvers: ['{slow}']"))?;
    let with_silent = seconds(&format!("resolvers: ['{}']", silent.local_addr()?))?;
    eprintln!(
        "reverse_dns over {PACKETS} packets to {ADDRESSES} addresses: {without:.1} s without look-ups, \
         {:.3} of that rate with a resolver that takes 2 ms, {:.3} with a silent one",
        without / with_slow,
        without / with_silent,
    );
    Ok(())
}

/// A resolver that knows no name, and takes this long to say so each time.
fn slow_resolver(delay: Duration) -> Result<SocketAddr, Failed> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    socket.set_read_timeout(Some(Duration::from_micros(200)))?;
    thread::spawn(move || {
        let mut due = VecDeque::new();
        let mut bytes = [0; 1024];
        loop {
            if let Ok((length @ 12.., client)) = socket.recv_from(&mut bytes) {
                let mut answer = bytes[..length].to_vec();
                // A response, recursion available, NXDOMAIN.
                (answer[2], answer[3]) = (answer[2] | 0x80, 0x83);
                due.push_back((poll::now() + delay, client, answer));
            }
            while let Some((_, client, answer)) = due.pop_front_if(|first| first.0 <= poll::now()) {
                if socket.send_to(&answer, client).is_err() {
                    return;
                }
            }
        }
    });
    Ok(address)
}

/// A capture with a packet to each of the destinations.
fn to_destinations(scene: &Scene) -> Result<PathBuf, Failed> {
    let mut capture = Capture::micros();
    for (second, (destination, _)) in (0..).zip(DESTINATIONS) {
        let frame = between(CLIENT, destination.parse()?, [40_000, 443], b"hello");
        capture.frame(captures::EPOCH_SECONDS + second, 0, &frame);
    }
    let path = scene.path("destinations.pcap");
    capture.write(&path);
    Ok(path)
}

/// A UDP datagram between two addresses.
fn between(source: Ipv4Addr, destination: Ipv4Addr, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = frames::udp(Way::There, ports, payload);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    frames::on_ethernet(&packet)
}

/// A DNS message with this id and one question, and A records of that name in the answer or (`true`) the
/// additional section.
fn dns_message(id: u16, name: &str, flags: u16, records: &[(Ipv4Addr, bool)]) -> Vec<u8> {
    let count = |additional| {
        let records = records.iter().filter(|record| record.1 == additional);
        u16::try_from(records.count()).expect("a few records")
    };
    let mut message = Vec::new();
    for word in [id, flags, 1, count(false), 0, count(true)] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    for (address, _) in records {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
        message.extend(address.octets());
    }
    message
}

fn pipeline(scene: &Scene, keys: &str, source: &str) -> PathBuf {
    let source = if source.is_empty() { String::new() } else { format!(", {source}") };
    let text = format!(
        "data_dir: {state}
sources:
  capture: {{ type: tshark, mode: file, files: [replaced.pcap]{source} }}
transforms:
  packets: {{ type: extract, inputs: [capture]{source} }}
  named: {{ type: reverse_dns, inputs: [packets], {keys} }}
sinks:
  records: {{ type: file, inputs: [named], path: {out}, encoding: {{ schema: simple }} }}
",
        state = scene.path("state").display(),
        out = scene.path("records.out").display(),
    );
    scene.write("named.yaml", text)
}

fn replayed(scene: &Scene, capture: &Path, keys: &str, source: &str) -> Result<Vec<Value>, Failed> {
    replayed_by(scene, &pipeline(scene, keys, source), capture)
}

fn replayed_by(scene: &Scene, config: &Path, capture: &Path) -> Result<Vec<Value>, Failed> {
    Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(capture).run()?.expect(0)?;
    let text = fs::read_to_string(scene.path("records.out"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Destination and its name of each record.
fn destinations(records: &[Value]) -> Vec<(String, Option<String>)> {
    let text = |record: &Value, key| record.get(key)?.as_str().map(str::to_owned);
    let both = |record| {
        (text(record, "destination_ip").unwrap_or_default(), text(record, "destination_name"))
    };
    records.iter().map(both).collect()
}
