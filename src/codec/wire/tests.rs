//! What is written is read back as it was, also what earlier versions wrote.

use std::{env, fs, net::IpAddr, path::PathBuf};

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    codec::{Codec, Encoder, EncodingConfig, Origin, Schema},
    component::Clock,
    metrics::{Label, LossCause},
    record::{
        Action, Checksum, Checksums, ClockState, CommunityId, ConnState, Denied, Destination,
        Details, Direction, EndReason, Endpoint, Extra, FlowTags, Fragment, GateStates, Header,
        History, HostNames, Icmp, Id, Interface, Layer4, MacAddress, MapFill, NameOrigin, Names,
        ObservationPoint, Outcome, Ports, Signal, Tcp, TcpFlags, Timestamp, Transport, TunnelKey,
        VerdictDetails, Vlans, Weight,
    },
};

fn texts() -> impl Strategy<Value = Vec<Box<str>>> {
    vec("\\PC{0,12}".prop_map(Into::into), 0..3)
}

fn names() -> impl Strategy<Value = Names> {
    let of_one = || {
        let origin = select(&[NameOrigin::Passive, NameOrigin::Ptr][..]);
        (origin, texts(), texts()).prop_map(|(origin, reliable, unverified)| {
            Arc::new(HostNames { origin, reliable, unverified })
        })
    };
    (option::of(of_one()), option::of(of_one()))
        .prop_map(|(source, destination)| Names { source, destination })
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

fn point() -> impl Strategy<Value = ObservationPoint> {
    // Few: the numbers of points are given out for the whole process.
    let interface = prop_oneof![
        Just(None),
        select(&["eth0", "\u{e9}\u{0}", ""][..])
            .prop_map(|name| Some(Interface::Named(name.into()))),
        (0..3_u32).prop_map(|number| Some(Interface::Numbered(number))),
    ];
    (select(&["", "wire", "gate"][..]), interface)
        .prop_map(|(source, interface)| ObservationPoint::of(source, interface))
}

fn ports() -> impl Strategy<Value = Ports> {
    any::<(u16, u16)>().prop_map(|(source, destination)| Ports { source, destination })
}

fn layer4() -> impl Strategy<Value = Layer4> {
    prop_oneof![
        Just(Layer4::Opaque),
        (ports(), any::<(u16, u32, u32, Option<u16>, u32)>()).prop_map(
            |(ports, (flags, sequence, acknowledgement, window, payload_bytes))| {
                let flags = TcpFlags(flags);
                Layer4::Tcp(Tcp { ports, flags, sequence, acknowledgement, window, payload_bytes })
            }
        ),
        ports().prop_map(Layer4::TcpPorts),
        (ports(), any::<u32>()).prop_map(|(ports, bytes)| Layer4::Udp(ports, bytes)),
        ports().prop_map(Layer4::Sctp),
        any::<(u8, u8)>().prop_map(|(kind, code)| Layer4::Icmp(Icmp { kind, code })),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let tunnel = prop_oneof![
        any::<u32>().prop_map(TunnelKey::Vni),
        any::<u32>().prop_map(TunnelKey::Teid),
        any::<u32>().prop_map(TunnelKey::Gre),
    ];
    let checksum = select(&[Checksum::Unverified, Checksum::Good, Checksum::Bad][..]);
    let fragment =
        any::<(u32, u32, bool)>().prop_map(|(id, offset, more)| Fragment { id, offset, more });
    let addresses = any::<(IpAddr, IpAddr, u8, u32)>();
    let checksums = (checksum.clone(), checksum);
    (addresses, option::of(tunnel), checksums, option::of(fragment), layer4()).prop_map(
        |(
            (source, destination, transport, ip_bytes),
            tunnel,
            (ip, of_transport),
            fragment,
            layer4,
        )| {
            Header {
                marks: crate::record::Marks::default(),
                source,
                destination,
                tunnel,
                transport: Transport(transport),
                ip_bytes,
                checksums: Checksums { ip, transport: of_transport },
                fragment,
                layer4,
            }
        },
    )
}

fn vlans() -> impl Strategy<Value = Vlans> {
    vec(0..4096_u16, 0..3).prop_map(|ids| {
        let mut vlans = Vlans::default();
        for id in ids {
            vlans.push(id);
        }
        vlans
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let numbers = any::<(u32, u64, u16, u32, u32, bool)>();
    let macs = any::<(Option<[u8; 6]>, Option<[u8; 6]>)>();
    let extra =
        ("\\PC{0,9}", texts()).prop_map(|(name, values)| Extra { name: name.into(), values });
    let protocol = option::of("[a-z]{1,9}");
    let headers = (header(), vec(header(), 0..3));
    (time(), numbers, point(), macs, vlans(), headers, protocol, vec(extra, 0..3), names())
        .prop_map(|(time, numbers, origin, macs, vlans, (outer, inner), protocol, extra, names)| {
            let (epoch, number, part, frame_bytes, captured_bytes, damaged) = numbers;
            Packet {
                time,
                epoch,
                number,
                part,
                origin,
                frame_bytes,
                captured_bytes,
                source_mac: macs.0.map(MacAddress),
                destination_mac: macs.1.map(MacAddress),
                vlans,
                outer,
                inner,
                protocol: protocol.map(Into::into),
                damaged,
                extra,
                names,
            }
        })
}

fn contact() -> impl Strategy<Value = Contact> {
    let outcome = prop_oneof![
        select(
            &[
                Outcome::Attempt,
                Outcome::Success,
                Outcome::Refused,
                Outcome::TimedOut,
                Outcome::SplitHeader,
                Outcome::AckProbe,
                Outcome::Echo,
            ][..]
        ),
        any::<u16>().prop_map(|flags| Outcome::OddFlags(TcpFlags(flags))),
        any::<(u64, u64, u64)>().prop_map(|(duration_nanos, sent_bytes, received_bytes)| {
            Outcome::Ended { duration_nanos, sent_bytes, received_bytes }
        }),
        any::<(u32, u64)>().prop_map(|(count, bytes)| Outcome::Open { count, bytes }),
        any::<(u64, u64, u64)>().prop_map(|(packets, syns, completed)| Outcome::Counts {
            packets,
            syns,
            completed
        }),
    ];
    (time(), point(), any::<(IpAddr, IpAddr, [u16; 2], u8, bool)>(), outcome).prop_map(
        |(time, origin, (source, destination, ports, transport, path_proven), outcome)| Contact {
            time,
            origin,
            source,
            destination,
            port: ports[0],
            source_port: ports[1],
            transport: Transport(transport),
            outcome,
            path_proven,
        },
    )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    any::<(IpAddr, Option<u16>, Option<[u8; 6]>, u64, u64, u16)>().prop_map(
        |(address, port, mac, packets, bytes, flags)| Endpoint {
            address,
            port,
            mac: mac.map(MacAddress),
            packets,
            bytes,
            tcp_flags: TcpFlags(flags),
        },
    )
}

fn flow() -> impl Strategy<Value = Flow> {
    let ids = any::<([u8; 16], [u8; 20], Option<[u8; 16]>)>();
    let related = vec(any::<[u8; 20]>(), 0..3);
    let times = (time(), time(), time());
    let states = (
        select(&ConnState::ALL[..]),
        "[shadfrcgtwiqSHADFRCGTWIQ^]{0,25}",
        select(&EndReason::ALL[..]),
        option::of(select(&Direction::ALL[..])),
    );
    let numbers = any::<(u32, u8, Option<(u8, u8)>, u8, Option<u8>)>();
    let seen = (point(), vlans(), option::of("[a-z]{1,9}"), names());
    (ids, related, times, states, numbers, (endpoint(), endpoint()), seen).prop_map(
        |(ids, related, times, states, numbers, ends, seen)| {
            let (sequence, transport, icmp, tags, risk) = numbers;
            let mut flow = Flow::new(Id::from_bytes(ids.0), Transport(transport), ends.0, ends.1);
            flow.community_id = CommunityId::from_bytes(ids.1);
            flow.parent = ids.2.map(Id::from_bytes);
            flow.related_community_ids = related.into_iter().map(CommunityId::from_bytes).collect();
            (flow.began, flow.start, flow.end) = times;
            flow.history = History::from_letters(&states.1).unwrap();
            (flow.conn_state, flow.end_reason, flow.direction) = (states.0, states.2, states.3);
            flow.icmp = icmp.map(|(kind, code)| Icmp { kind, code });
            (flow.sequence, flow.tags, flow.risk) = (sequence, FlowTags(tags), risk);
            (flow.origin, flow.vlans, flow.names) = (seen.0, seen.1, seen.3);
            flow.question = seen.2.as_ref().map(|name| format!("{name}.example").into());
            flow.server_name = flow.question.clone().filter(|_| sequence % 2 == 0);
            flow.host = flow.question.clone().filter(|_| sequence % 3 == 0);
            flow.protocol = seen.2.map(Into::into);
            flow.denied = (sequence % 5 == 0).then_some(Denied { verdict: flow.parent });
            flow
        },
    )
}

fn details() -> impl Strategy<Value = Details> {
    let signal = || select(&Signal::ALL[..]);
    let facts = any::<(bool, bool, bool, bool, u8)>();
    let destination = option::of(any::<(IpAddr, Option<u16>, u8)>());
    let signals = vec((signal(), any::<(u64, u64, u8)>()), 0..4);
    let verdict = option::of(any::<([u8; 16], u64, u32, bool, Option<u16>)>());
    let host = option::of("[a-z]{1,9}");
    let ids = vec(any::<[u8; 20]>(), 0..3);
    let rest = (any::<Option<IpAddr>>(), host, "[0-9a-f]{0,64}", ids);
    (signal(), facts, destination, signals, verdict, rest).prop_map(
        |(rule, facts, destination, signals, verdict, (asset, host, hash, ids))| Details {
            rule,
            is_alert: facts.0,
            is_in_force: facts.1,
            is_from_inside: facts.2,
            is_spoofable: facts.3,
            confidence: facts.4,
            destination: destination.map(|(address, port, transport)| Destination {
                address,
                port,
                transport: Transport(transport),
            }),
            signals: signals
                .into_iter()
                .map(|(signal, (value, threshold, points))| Weight {
                    signal,
                    value,
                    threshold,
                    points,
                })
                .collect(),
            verdict: verdict.map(|(id, ttl_secs, offence, path_proven, port)| VerdictDetails {
                id: Id::from_bytes(id),
                ttl_secs,
                offence,
                path_proven,
                port,
            }),
            asset,
            host: host.map(Into::into),
            config_hash: hash.into(),
            community_ids: ids.into_iter().map(CommunityId::from_bytes).collect(),
        },
    )
}

fn alert() -> impl Strategy<Value = Alert> {
    let numbers = any::<(IpAddr, u8, u32)>();
    (time(), point(), numbers, select(&Action::ALL[..]), texts(), names(), details()).prop_map(
        |(time, origin, (source, risk_score, ordinal), action, reasons, names, details)| Alert {
            time,
            origin,
            source,
            action,
            risk_score,
            reasons,
            ordinal,
            names,
            details: Box::new(details),
        },
    )
}

fn health() -> impl Strategy<Value = Health> {
    let causes = LossCause::ALL.map(Label::name);
    let lost = vec((select(causes.to_vec()), any::<u64>()), 0..4);
    let optional = any::<(Option<(u64, u64)>, Option<(i64, bool)>)>();
    let words = || vec("[a-z0-9]{0,15}".prop_map(Box::from), 0..3);
    let gates = (words(), words(), words()).prop_map(|(interfaces, modes, attached)| GateStates {
        interfaces,
        modes,
        attached,
    });
    (time(), any::<[u64; 10]>(), lost, optional, gates, "[0-9a-f]{0,64}").prop_map(
        |(time, numbers, lost, (fill, clock), gates, hash)| Health {
            gates,
            time,
            interval_nanos: numbers[0],
            uptime_nanos: numbers[1],
            packets: numbers[2],
            lost,
            unknown_losses: numbers[3],
            delivered: numbers[4],
            dead_lettered: numbers[5],
            filtered: numbers[6],
            dropped: numbers[7],
            waiting_events: numbers[8],
            waiting_bytes: numbers[9],
            verdict_map: fill.map(|(entries, capacity)| MapFill { entries, capacity }),
            clock: clock
                .map(|(offset_nanos, synchronised)| ClockState { offset_nanos, synchronised }),
            config_hash: hash.into(),
            ..Health::default()
        },
    )
}

fn returned() -> impl Strategy<Value = Returned> {
    let id = option::of("[a-z0-9_.-]{1,20}".prop_map(Into::into));
    (select(&Kind::ALL[..]), option::of(time()), id, vec(any::<u8>(), 0..40)).prop_map(
        |(kind, time, id, document)| Returned { kind, time, id, document: Bytes::from(document) },
    )
}

fn of<R: Record>(records: impl Strategy<Value = R>) -> impl Strategy<Value = Records> {
    vec(records, 1..4).prop_map(|records| R::wrap(Arc::new(records)))
}

fn any_records() -> impl Strategy<Value = Records> {
    prop_oneof![of(packet()), of(contact()), of(flow()), of(alert()), of(health()), of(returned()),]
}

fn written(records: &Records) -> Vec<Vec<u8>> {
    let one = |index| {
        let mut out = Vec::new();
        write(records, index, "sensor", &mut out).unwrap();
        out
    };
    (0..records.len()).map(one).collect()
}

/// Records have no equality over all kinds; their text tells all there is.
fn shown(runs: &[(Arc<str>, Records)]) -> String {
    format!("{runs:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_as_it_was(batches in vec(any_records(), 1..4)) {
        let mut reader = Reader::default();
        for bytes in batches.iter().flat_map(written) {
            reader.read(&bytes).unwrap();
        }
        // Neighbours of one kind come as one.
        let mut expected: Vec<(Arc<str>, Records)> = Vec::new();
        let mut alone = Reader::default();
        for batch in &batches {
            for bytes in written(batch) {
                alone.read(&bytes).unwrap();
            }
            let run = alone.take();
            prop_assert_eq!(shown(&run), shown(&[("sensor".into(), batch.clone())]));
            expected.extend(run);
        }
        let read = reader.take();
        prop_assert!(read.windows(2).all(|pair| pair[0].1.kind() != pair[1].1.kind()));
        let total = |runs: &[(Arc<str>, Records)]| runs.iter().map(|run| run.1.len()).sum::<usize>();
        prop_assert_eq!(total(&read), total(&expected));
    }

    #[test]
    fn a_record_that_is_cut_or_longer_is_not_read(records in any_records(), at: prop::sample::Index) {
        let whole = &written(&records)[0];
        let mut reader = Reader::default();
        prop_assert!(reader.read(&whole[..at.index(whole.len())]).is_err());
        let longer = [&whole[..], &[0xc0]].concat();
        prop_assert!(matches!(reader.read(&longer), Err(ReadError::Trailing(1))));
        prop_assert!(reader.take().is_empty());
    }

    #[test]
    fn whatever_the_bytes_are_reading_them_ends(bytes in vec(any::<u8>(), 0..300), kind in 0..9_u8) {
        let mut reader = Reader::default();
        let named = [&[ARRAY_OF_4, VERSION, kind], &bytes[..]].concat();
        for bytes in [&bytes, &named] {
            let read = reader.read(bytes);
            prop_assert_eq!(read.is_ok(), reader.take().len() == 1);
        }
    }
}

/// Two records of each kind: one with as much as there can be, one with as little. They are those that
/// stand in the golden files, so what is there must not change.
fn golden() -> Vec<(&'static str, Records)> {
    [golden_packets(), golden_flows(), golden_reports()].into_iter().flatten().collect()
}

struct Parts {
    names: Names,
    v4: IpAddr,
    v6: IpAddr,
    point: ObservationPoint,
    time: Timestamp,
    vlans: Vlans,
}

fn parts() -> Parts {
    let names = Names {
        source: Some(Arc::new(HostNames {
            origin: NameOrigin::Passive,
            reliable: vec!["client.example".into()],
            unverified: vec!["liar.example".into()],
        })),
        destination: None,
    };
    let mut vlans = Vlans::default();
    vlans.push(7);
    Parts {
        names,
        v4: "192.0.2.1".parse().unwrap(),
        v6: "2001:db8::5".parse().unwrap(),
        point: ObservationPoint::of("wire", Some(Interface::Named("eth0".into()))),
        time: Timestamp::from_nanos(1_697_554_523_000_000_001),
        vlans,
    }
}

fn golden_packets() -> Vec<(&'static str, Records)> {
    let Parts { names, v4, v6, point, time, vlans } = parts();
    let tcp = Layer4::Tcp(Tcp {
        ports: Ports { source: 50_000, destination: 443 },
        flags: TcpFlags(0x12),
        sequence: u32::MAX,
        acknowledgement: 1,
        window: Some(9),
        payload_bytes: 100,
    });
    let header = |layer4, tunnel| Header {
        marks: crate::record::Marks::default(),
        source: v4,
        destination: v6,
        tunnel,
        transport: Transport::TCP,
        ip_bytes: 140,
        checksums: Checksums { ip: Checksum::Good, transport: Checksum::Bad },
        fragment: Some(Fragment { id: 5, offset: 8, more: true }),
        layer4,
    };
    let bare =
        Header { fragment: None, checksums: Checksums::default(), ..header(Layer4::Opaque, None) };
    let packet = |outer, inner: Vec<Header>| Packet {
        time,
        epoch: 2,
        number: 3,
        part: 0,
        origin: ObservationPoint::default(),
        frame_bytes: 154,
        captured_bytes: 128,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer,
        inner,
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    };
    let full = Packet {
        part: 2,
        origin: point,
        source_mac: Some(MacAddress([0, 22, 71, 157, 242, 194])),
        vlans,
        protocol: Some("tls".into()),
        damaged: true,
        extra: vec![Extra { name: "dns_a".into(), values: vec!["192.0.2.7".into()] }],
        names: names.clone(),
        ..packet(header(tcp, Some(TunnelKey::Vni(42))), vec![bare.clone()])
    };
    vec![("packet", Records::Packets(Arc::new(vec![full, packet(bare, Vec::new())])))]
}

fn golden_flows() -> Vec<(&'static str, Records)> {
    let Parts { names, v4, v6, point, time, vlans } = parts();
    let contact = |outcome| Contact {
        time,
        origin: point,
        source: v4,
        destination: v6,
        port: 22,
        source_port: 40_022,
        transport: Transport::TCP,
        outcome,
        path_proven: true,
    };
    let ended = Outcome::Ended { duration_nanos: 5, sent_bytes: 6, received_bytes: 7 };
    let plain = Flow::new(
        Id::from_bytes([7; 16]),
        Transport::UDP,
        Endpoint::new(v4, Some(53_000)).sent(1, 60),
        Endpoint::new(v6, Some(53)),
    );
    let mut whole = plain.clone();
    (whole.sequence, whole.began, whole.end) = (4, time, time);
    (whole.origin, whole.vlans, whole.names) = (point, vlans, names.clone());
    whole.icmp = Some(Icmp { kind: 8, code: 0 });
    (whole.conn_state, whole.end_reason) = (ConnState::Sf, EndReason::Active);
    whole.history = History::from_letters("^ShADadFf").unwrap();
    (whole.protocol, whole.direction) = (Some("dns".into()), Some(Direction::Outbound));
    whole.question = Some("example.com".into());
    whole.server_name = Some("www.example.com".into());
    whole.host = Some("host.example.com".into());
    whole.related_community_ids = vec![CommunityId::from_bytes([1; 20])];
    (whole.parent, whole.tags, whole.risk) =
        (Some(Id::from_bytes([9; 16])), FlowTags::DAMAGED, Some(66));
    whole.denied = Some(Denied { verdict: Some(Id::from_bytes([5; 16])) });
    vec![
        ("contact", Records::Contacts(Arc::new(vec![contact(ended), contact(Outcome::Attempt)]))),
        ("flow", Records::Flows(Arc::new(vec![whole, plain]))),
    ]
}

fn golden_reports() -> Vec<(&'static str, Records)> {
    let Parts { names, v6, point, time, .. } = parts();
    let details = Details {
        rule: Signal::AuthAttempts,
        is_alert: true,
        is_from_inside: true,
        confidence: 80,
        destination: Some(Destination { address: v6, port: Some(22), transport: Transport::TCP }),
        signals: vec![Weight {
            signal: Signal::AuthAttempts,
            value: 31,
            threshold: 20,
            points: 90,
        }],
        verdict: Some(VerdictDetails {
            id: Id::from_bytes([4; 16]),
            ttl_secs: 300,
            offence: 1,
            path_proven: true,
            port: Some(22),
        }),
        asset: Some(v6),
        host: Some("db".into()),
        config_hash: "c0ffee".into(),
        community_ids: vec![CommunityId::from_bytes([2; 20])],
        ..Details::default()
    };
    let alert = |reasons: Vec<Box<str>>, names, details| Alert {
        time,
        origin: point,
        source: v6,
        action: Action::WouldBlock,
        risk_score: 91,
        reasons,
        ordinal: 1,
        names,
        details: Box::new(details),
    };
    let sick = Health {
        time,
        interval_nanos: 60_000_000_000,
        packets: 1,
        lost: vec![("kernel_buffer", 2)],
        verdict_map: Some(MapFill { entries: 1, capacity: 2 }),
        gates: GateStates {
            interfaces: vec!["eth0".into()],
            modes: vec!["enforce".into()],
            attached: vec!["no".into()],
        },
        clock: Some(ClockState { offset_nanos: -3, synchronised: true }),
        config_hash: "c0ffee".into(),
        ..Health::default()
    };
    let again = Returned {
        kind: Kind::Flow,
        time: Some(time),
        id: Some("id-4".into()),
        document: Bytes::from_static(b"{\"a\":1}\n"),
    };
    let alerts = vec![
        alert(vec!["it scans".into()], names, details),
        alert(Vec::new(), Names::default(), Details::default()),
    ];
    vec![
        ("alert", Records::Alerts(Arc::new(alerts))),
        ("health", Records::Health(Arc::new(vec![sick, Health::default()]))),
        ("returned", Records::Returned(Arc::new(vec![again, Returned::new(Kind::Alert, b"")]))),
    ]
}

/// Each record of a golden file is preceded by its length, four bytes, the lowest first.
fn golden_file(version: u8, kind: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("tests/data/wire/v{version}/{kind}.bin"))
}

/// These records as a version knew them.
fn as_of(version: u8, mut records: Records) -> Records {
    if version < 2 {
        match &mut records {
            Records::Contacts(contacts) => {
                for contact in Arc::make_mut(contacts) {
                    contact.source_port = 0;
                }
            }
            Records::Alerts(alerts) => {
                let alerts = Arc::make_mut(alerts).iter_mut();
                alerts.for_each(|alert| alert.details.community_ids.clear());
            }
            _ => {}
        }
    }
    if version < 3
        && let Records::Flows(flows) = &mut records
    {
        for flow in Arc::make_mut(flows) {
            flow.denied = None;
        }
    }
    if version < 4
        && let Records::Health(reports) = &mut records
    {
        for report in Arc::make_mut(reports) {
            report.gates = GateStates::default();
        }
    }
    records
}

#[test]
fn what_each_version_wrote_is_read_as_it_was() {
    for version in 1..=VERSION {
        for (kind, expected) in golden() {
            let expected = as_of(version, expected);
            let path = golden_file(version, kind);
            if version == VERSION && env::var_os("TIDEGATE_UPDATE").is_some() && !path.exists() {
                let lengths = |bytes: Vec<u8>| {
                    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
                    [&length[..], &bytes].concat()
                };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let records: Vec<_> = written(&expected).into_iter().flat_map(lengths).collect();
                fs::write(&path, records).unwrap();
            }
            let bytes =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let (mut rest, mut reader) = (&bytes[..], Reader::default());
            let mut records = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (record, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                records.push(record.to_vec());
                reader.read(record).unwrap();
                rest = after;
            }
            assert_eq!(shown(&reader.take()), shown(&[("sensor".into(), expected.clone())]));
            if version == VERSION {
                assert_eq!(records, written(&expected), "{kind}: what is written has changed");
            }
        }
    }
}

#[test]
fn a_reader_says_what_it_cannot_read() {
    let flow = written(&golden()[2].1).remove(0);
    let changed = |at: usize, byte| {
        let mut bytes = flow.clone();
        bytes[at] = byte;
        Reader::default().read(&bytes).unwrap_err().to_string()
    };
    let newer = format!(
        "it is written in version {} of the wire form, and this program reads up to {VERSION}: update it",
        VERSION + 1
    );
    assert_eq!(changed(1, VERSION + 1), newer);
    // A later version may have more in its array.
    let mut longer = flow.clone();
    (longer[0], longer[1]) = (0x95, VERSION + 1);
    assert_eq!(Reader::default().read(&longer).unwrap_err().to_string(), newer);
    assert_eq!(changed(0, 0x84), "it is no record in the wire form");
    assert_eq!(changed(0, 0x93), "it is no record in the wire form");
    assert_eq!(changed(1, 0), "it is no record in the wire form");
    assert_eq!(
        changed(2, 77),
        "it is a record of the kind number 77, which this program does not know"
    );
    assert_eq!(changed(2, 4), "its alert record is damaged");
    assert_eq!(changed(3, 0xc0), "its flow record is damaged");
}

#[test]
fn raw_lines_and_frames_have_no_wire_form() {
    for kind in Kind::ALL.into_iter().filter(|kind| !KINDS.contains(*kind)) {
        let mut out = vec![1];
        let error = write(&Records::none(kind), 0, "sensor", &mut out).unwrap_err();
        assert!(matches!(error, Error::Kind(of) if of == kind), "{error}");
        assert_eq!(out, [1]);
    }
}

#[test]
fn the_codec_writes_contacts_too_and_takes_no_choice_of_fields() {
    let config = EncodingConfig { codec: Codec::Wire, ..EncodingConfig::default() };
    let encoder = Encoder::new(&config, Schema::Ecs, Origin::new("sensor", Clock::Event));
    let (_, contacts) = &golden()[1];
    let mut out = Vec::new();
    encoder.encode(contacts, 0, &mut out).unwrap();
    assert_eq!(out, written(contacts)[0]);
    assert!(!encoder.is_stamped());
    let narrowed = EncodingConfig {
        schema: Some(Schema::Cim),
        only_fields: vec!["src".into()],
        except_fields: vec!["dest".into()],
        ..config
    };
    let keys: Vec<_> = narrowed.check(Schema::Ecs).into_iter().map(|found| found.key).collect();
    assert_eq!(keys, ["encoding.schema", "encoding.only_fields", "encoding.except_fields"]);
}
