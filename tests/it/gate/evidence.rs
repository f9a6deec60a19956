//! What the program tells of contacts, packet by packet: tables of what comes in and goes out, and of what is
//! told of it.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use libtest_mimic::Failed;
use tidegate_ebpf::{
    Duties, Evidence, Gate, Guard, Maps, Watch,
    abi::{ALL, Block, DROP},
    evidence::{Event, Socket, Told},
};

use super::made::{ENFORCE, TCP as TCP_NUMBER, extensions, ip4_with, ip6};
use crate::harness::{
    Case, Outcome as Shown, Scene,
    frames::{
        Segment, Way, flags, ipv4_part, on_ethernet, ping, ping6, port_unreachable, tcp, tcp6, udp,
    },
    server,
};

const RST: u8 = 0x04;

/// Everything is told, and nobody has told too much.
const WATCH: Watch = Watch {
    contacts: true,
    sees_replies: true,
    is_mirror: false,
    seed: 0x5eed,
    ring_bytes: 1 << 16,
    places: 1 << 12,
    sources: 1 << 8,
    source_interval_ns: 0,
    source_burst_ns: 1,
    cpu_interval_ns: 0,
    cpu_burst_ns: 1,
    guard: Guard::OFF,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(each_exchange_tells_what_came_of_it).needs_root(),
        Case::new(who_answers_in_our_name_from_outside_is_not_believed).needs_root(),
        Case::new(a_mirror_tells_the_same_of_what_comes_in_both_ways).needs_root(),
        Case::new(without_replies_the_sockets_of_this_host_tell).needs_root(),
        Case::new(dropped_traffic_tells_nothing).needs_root(),
        Case::new(a_ring_that_overflows_counts_what_it_loses).needs_root(),
        Case::new(a_source_has_its_share_and_what_it_began_is_told_to_the_end).needs_root(),
        Case::new(a_place_that_was_taken_over_is_counted).needs_root(),
    ]
}

/// A frame, and whether the host sends it.
#[derive(Debug, Clone)]
enum Frame {
    In(Vec<u8>),
    Out(Vec<u8>),
}

use Frame::{In, Out};

/// One row: what it is, the frames, what is told.
type Row = (&'static str, Vec<Frame>, &'static [&'static str]);

fn watching(watch: &Watch) -> Result<(Gate, Maps, Evidence), Failed> {
    let duties = Duties { watch: *watch, ..Duties::default() };
    let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
    let maps = gate.take_maps()?;
    let evidence = gate.take_evidence()?;
    Ok((gate, maps, evidence))
}

fn events(evidence: &mut Evidence) -> Vec<Event> {
    let mut events = Vec::new();
    while evidence.drain(1_000, |event| events.push(event)) > 0 {}
    events
}

/// An event in a few words: what, the port, whether the path is proven, and whether this host did it.
fn words(event: &Event) -> String {
    let told = match event.told {
        Told::Attempt => "attempt",
        Told::Success => "success",
        Told::Refused => "refused",
        Told::OddFlags => "odd",
        Told::SplitHeader => "split",
        Told::StrayAck => "stray",
        Told::AckProbe => "probe",
        Told::Echo => "echo",
        Told::End => "end",
        Told::Held => "held",
        Told::Limited => "limited",
    };
    let is_own = event.source == IpAddr::from([198, 51, 100, 20]);
    let (proven, own) =
        (if event.proven { " proven" } else { "" }, if is_own { " own" } else { "" });
    format!("{told} {}{proven}{own}", event.destination_port)
}

fn play(gate: &mut Gate, evidence: &mut Evidence, rows: Vec<Row>) -> Shown {
    let mut wrong = Vec::new();
    for (what, frames, expected) in rows {
        for frame in frames {
            match frame {
                In(frame) => assert!(!gate.run(&frame, 1)?.dropped, "{what}: it passes"),
                Out(frame) => gate.run_egress(&frame)?,
            }
        }
        let told: Vec<_> = events(evidence).iter().map(words).collect();
        if told != expected {
            wrong.push(format!("{what}: {told:?} instead of {expected:?}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn segment(ports: [u16; 2], flags: u8, numbers: [u32; 2]) -> Segment<'static> {
    Segment { ports, numbers, flags, payload: b"" }
}

/// A segment from the client to this port of the host.
fn there(from: u16, port: u16, flags: u8, numbers: [u32; 2]) -> Vec<u8> {
    on_ethernet(&tcp(Way::There, segment([from, port], flags, numbers)))
}

fn back(from: u16, port: u16, flags: u8, numbers: [u32; 2]) -> Vec<u8> {
    on_ethernet(&tcp(Way::Back, segment([from, port], flags, numbers)))
}

fn syn(from: u16, port: u16) -> Frame {
    In(there(from, port, flags::SYN, [100, 0]))
}

fn syn_ack(from: u16, port: u16) -> Frame {
    Out(back(from, port, flags::SYN | flags::ACK, [500, 101]))
}

fn ack(from: u16, port: u16, acknowledged: u32) -> Frame {
    In(there(from, port, flags::ACK, [101, acknowledged]))
}

fn refusal(from: u16, port: u16) -> Frame {
    Out(back(from, port, RST | flags::ACK, [0, 101]))
}

fn each_exchange_tells_what_came_of_it(_: &Scene) -> Shown {
    let (mut gate, _maps, mut evidence) = watching(&WATCH)?;
    let rows = [of_tcp(), of_followed_ports(), of_odd_packets(), of_datagrams()].concat();
    play(&mut gate, &mut evidence, rows)?;
    let tally = evidence.tally()?;
    assert_eq!((tally.lost, tally.by_source, tally.by_cpu, tally.displaced), (0, 0, 0, 0));
    Ok(())
}

fn of_tcp() -> Vec<Row> {
    let six = |way, ports, flags, numbers| on_ethernet(&tcp6(way, segment(ports, flags, numbers)));
    let handshake = flags::SYN | flags::ACK;
    vec![
        (
            "a handshake",
            vec![syn(1, 7000), syn_ack(1, 7000), ack(1, 7000, 501), ack(1, 7000, 501)],
            &["attempt 7000", "success 7000 proven"],
        ),
        (
            "over IPv6",
            vec![
                In(six(Way::There, [1, 7000], flags::SYN, [100, 0])),
                Out(six(Way::Back, [1, 7000], handshake, [500, 101])),
                In(six(Way::There, [1, 7000], flags::ACK, [101, 501])),
            ],
            &["attempt 7000", "success 7000 proven"],
        ),
        (
            "another connection to the same port",
            vec![syn(2, 7000), syn_ack(2, 7000), ack(2, 7000, 501)],
            &[],
        ),
        (
            "an ACK that did not see the SYN-ACK",
            vec![syn(1, 7001), syn_ack(1, 7001), ack(1, 7001, 77)],
            &["attempt 7001"],
        ),
        ("an ACK before any answer", vec![syn(1, 7002), ack(1, 7002, 501)], &["attempt 7002"]),
        ("a closed port", vec![syn(1, 7003), refusal(1, 7003)], &["attempt 7003", "refused 7003"]),
        (
            "the same port, once somebody listens",
            vec![syn(2, 7003), syn_ack(2, 7003), ack(2, 7003, 501)],
            &["success 7003 proven"],
        ),
        (
            "a SYN scan of an open port",
            vec![syn(1, 7004), syn_ack(1, 7004), In(there(1, 7004, RST, [101, 0]))],
            &["attempt 7004", "refused 7004 proven"],
        ),
        ("a SYN three times", vec![syn(1, 7005), syn(1, 7005), syn(1, 7005)], &["attempt 7005"]),
        (
            "an error that quotes the SYN",
            vec![
                syn(1, 7006),
                Out(on_ethernet(&port_unreachable(&tcp(
                    Way::There,
                    segment([1, 7006], flags::SYN, [100, 0]),
                )))),
            ],
            &["attempt 7006", "refused 7006"],
        ),
        (
            "a connection of this host",
            vec![
                Out(back(9000, 40_000, flags::SYN, [100, 0])),
                In(there(9000, 40_000, handshake, [500, 101])),
                Out(back(9000, 40_000, flags::ACK, [101, 501])),
            ],
            &["attempt 9000 own", "success 9000 proven own"],
        ),
        (
            "one of this host that is refused",
            vec![
                Out(back(9001, 40_000, flags::SYN, [100, 0])),
                In(there(9001, 40_000, RST | flags::ACK, [0, 101])),
            ],
            &["attempt 9001 own", "refused 9001 own"],
        ),
        (
            "an answer to what this host did not ask",
            vec![In(there(80, 50_000, handshake, [500, 101]))],
            &[],
        ),
        ("a RST out of the blue", vec![In(there(80, 50_001, RST, [1, 0]))], &[]),
    ]
}

fn of_followed_ports() -> Vec<Row> {
    let fin = flags::FIN | flags::ACK;
    let connection = |from| [syn(from, 22), syn_ack(from, 22), ack(from, 22, 501)];
    let ends = |from| [In(there(from, 22, fin, [101, 501])), Out(back(from, 22, fin, [501, 102]))];
    vec![
        (
            "each connection to a port where people log in",
            [&connection(1)[..], &ends(1), &connection(2), &ends(2)].concat(),
            &[
                "attempt 22",
                "success 22 proven",
                "end 22",
                "attempt 22",
                "success 22 proven",
                "end 22",
            ],
        ),
        (
            "one that is reset",
            [&connection(3)[..], &[Out(back(3, 22, RST, [501, 0]))]].concat(),
            &["attempt 22", "success 22 proven", "end 22"],
        ),
    ]
}

fn of_odd_packets() -> Vec<Row> {
    let odd = |flags| In(there(5, 6000, flags, [1, 0]));
    let data = tcp(
        Way::There,
        Segment { ports: [7, 6001], numbers: [1, 1], flags: flags::ACK, payload: b"midstream" },
    );
    let header = tcp(Way::There, segment([8, 6002], flags::SYN, [1, 0]));
    vec![
        (
            "control bits of no sane stack",
            vec![odd(0), odd(flags::FIN), odd(0x29), odd(flags::SYN | flags::FIN)],
            &["odd 6000", "odd 6000", "odd 6000", "odd 6000"],
        ),
        (
            "an ACK to nobody, and what the host says to it",
            vec![In(there(6, 6003, flags::ACK, [1, 1])), Out(back(6, 6003, RST, [1, 0]))],
            &["stray 6003", "probe 6003"],
        ),
        (
            "an ACK of a connection that another namespace has",
            vec![
                In(there(6, 6004, flags::ACK, [1, 1])),
                Out(back(6, 6004, flags::ACK, [1, 1])),
                Out(back(6, 6004, RST, [1, 0])),
            ],
            &["stray 6004"],
        ),
        ("data of a connection from before", vec![In(on_ethernet(&data))], &[]),
        (
            "a TCP header split over fragments",
            vec![In(on_ethernet(&ipv4_part(Way::There, TCP_NUMBER, 9, 0x2000, &header[20..28])))],
            &["split 6002"],
        ),
        (
            "a transport behind more headers than are looked through",
            vec![In(ip6(60, &extensions(65, TCP_NUMBER, &header[20..40])))],
            &["split 0"],
        ),
        (
            "one behind as many as are",
            vec![In(ip6(60, &extensions(63, TCP_NUMBER, &header[20..40])))],
            &["attempt 6002"],
        ),
        ("a ping twice", vec![In(on_ethernet(&ping(1))), In(on_ethernet(&ping(2)))], &["echo 0"]),
        ("a ping over IPv6", vec![In(on_ethernet(&ping6(1)))], &["echo 0"]),
    ]
}

fn of_datagrams() -> Vec<Row> {
    let there = |from, port| udp(Way::There, [from, port], b"ask");
    let back = |from, port| Out(on_ethernet(&udp(Way::Back, [port, from], b"answer")));
    let ask = |from, port| In(on_ethernet(&there(from, port)));
    vec![
        (
            "a question and its answer",
            vec![ask(1, 53), back(1, 53), ask(1, 53), back(1, 53)],
            &["attempt 53", "success 53"],
        ),
        (
            "a question to nobody",
            vec![ask(1, 54), Out(on_ethernet(&port_unreachable(&there(1, 54))))],
            &["attempt 54", "refused 54"],
        ),
        (
            "the answer to a question of this host",
            vec![
                Out(on_ethernet(&udp(Way::Back, [45_000, 55], b"ask"))),
                In(on_ethernet(&udp(Way::There, [55, 45_000], b"answer"))),
            ],
            &["attempt 55 own", "success 55 own"],
        ),
    ]
}

fn who_answers_in_our_name_from_outside_is_not_believed(_: &Scene) -> Shown {
    let handshake = flags::SYN | flags::ACK;
    let forged = |from, port| In(back(from, port, handshake, [500, 101]));
    let ask = udp(Way::There, [1, 53], b"ask");
    let syn_header = tcp(Way::There, segment([1, 7006], flags::SYN, [100, 0]));
    let rows = || {
        vec![
            (
                "a SYN-ACK whose number the sender knows",
                vec![syn(1, 7001), forged(1, 7001), ack(1, 7001, 501)],
                &["attempt 7001"][..],
            ),
            (
                "a refusal",
                vec![syn(1, 7002), In(back(1, 7002, RST | flags::ACK, [0, 101]))],
                &["attempt 7002"],
            ),
            (
                "an answer to a datagram",
                vec![In(on_ethernet(&ask)), In(on_ethernet(&udp(Way::Back, [53, 1], b"answer")))],
                &["attempt 53"],
            ),
            (
                "an error",
                vec![syn(1, 7006), In(on_ethernet(&port_unreachable(&syn_header)))],
                &["attempt 7006"],
            ),
        ]
    };
    let (mut gate, _maps, mut evidence) = watching(&WATCH)?;
    play(&mut gate, &mut evidence, rows())?;
    // The true one still counts.
    let late = vec![syn_ack(1, 7001), ack(1, 7001, 501)];
    play(
        &mut gate,
        &mut evidence,
        vec![("the host's own answer", late, &["success 7001 proven"])],
    )?;
    // Where replies are not seen, the more so.
    let watch = Watch { sees_replies: false, ..WATCH };
    let (mut gate, _maps, mut evidence) = watching(&watch)?;
    let of_tcp = rows().into_iter().filter(|(what, ..)| !what.contains("datagram")).collect();
    play(&mut gate, &mut evidence, of_tcp)
}

fn a_mirror_tells_the_same_of_what_comes_in_both_ways(_: &Scene) -> Shown {
    let (mut gate, _maps, mut evidence) = watching(&Watch { is_mirror: true, ..WATCH })?;
    let inwards = |frame| match frame {
        Out(frame) | In(frame) => In(frame),
    };
    let rows = of_tcp().into_iter().chain(of_followed_ports()).chain(of_datagrams());
    let rows =
        rows.map(|(what, frames, told)| (what, frames.into_iter().map(inwards).collect(), told));
    play(&mut gate, &mut evidence, rows.collect())
}

/// A segment from a port of this machine's loopback address to another.
fn local(from: u16, port: u16, flags: u8) -> Vec<u8> {
    let mut header = [from.to_be_bytes(), port.to_be_bytes()].concat();
    header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    ip4_with([127, 0, 0, 1], TCP_NUMBER, &[], 0, &header)
}

fn without_replies_the_sockets_of_this_host_tell(_: &Scene) -> Shown {
    let (mut gate, _maps, mut evidence) = watching(&Watch { sees_replies: false, ..WATCH })?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let open = listener.local_addr()?.port();
    let closed = server::free_port()?;
    let mut told = |frame: &[u8]| -> Result<Vec<Event>, Failed> {
        gate.run(frame, 1)?;
        Ok(events(&mut evidence))
    };
    let sockets = [(open, Socket::Listening), (closed, Socket::None)];
    for (port, socket) in sockets {
        let attempt = told(&local(1, port, flags::SYN))?;
        assert_eq!(attempt.len(), 1, "{attempt:?}");
        assert_eq!((attempt[0].told, attempt[0].socket), (Told::Attempt, Some(socket)));
    }
    // A connection from before the program: its first ACK meets its socket, and somebody listens.
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, open))?;
    let (_server, peer) = listener.accept()?;
    let joined = told(&local(peer.port(), open, flags::ACK))?;
    assert_eq!(joined.iter().map(words).collect::<Vec<_>>(), [format!("success {open} proven")]);
    // Seen from the other side it is this host's own.
    assert!(told(&local(open, peer.port(), flags::ACK))?.is_empty());
    // Its handshake, as the program would have seen it: the ACK proves the path, for the kernel took it.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = other.local_addr()?.port();
    let second = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    // On a busy machine the kernel may not have its ACK yet when `connect` returns.
    let (_other_server, from) = other.accept().map(|(server, peer)| (server, peer.port()))?;
    assert_eq!(told(&local(from, port, flags::SYN))?.len(), 1);
    let proof = told(&local(from, port, flags::ACK))?;
    assert_eq!(proof.iter().map(words).collect::<Vec<_>>(), [format!("success {port} proven")]);
    // An ACK to nobody, and one to somebody who only listens.
    for port in [closed, open] {
        let stray = told(&local(3, port, flags::ACK))?;
        assert_eq!(stray.iter().map(words).collect::<Vec<_>>(), [format!("stray {port}")]);
    }
    drop((client, second));
    Ok(())
}

fn dropped_traffic_tells_nothing(_: &Scene) -> Shown {
    let (mut gate, mut maps, mut evidence) = watching(&WATCH)?;
    let block = Block { action: DROP, scope: ALL, enforce: 1, ..Block::default() };
    maps.insert("192.0.2.10/32".parse()?, block)?;
    assert!(gate.run(&there(1, 7000, flags::SYN, [1, 0]), 1)?.dropped);
    assert!(events(&mut evidence).is_empty());
    assert_eq!(evidence.tally()?.produced, 0);
    maps.remove("192.0.2.10/32".parse()?)?;
    gate.run(&there(1, 7000, flags::SYN, [1, 0]), 1)?;
    assert_eq!(events(&mut evidence).len(), 1);
    Ok(())
}

fn a_ring_that_overflows_counts_what_it_loses(_: &Scene) -> Shown {
    let (mut gate, _maps, mut evidence) = watching(&WATCH)?;
    let mut received = 0;
    for round in 0..3_u16 {
        for port in 0..1_500 {
            gate.run(&there(1, 1 + round * 1_500 + port, flags::SYN, [1, 0]), 1)?;
        }
        received += events(&mut evidence).len() as u64;
        let tally = evidence.tally()?;
        assert_eq!(tally.produced, 1_500 * (u64::from(round) + 1));
        assert_eq!(tally.produced, received + tally.lost, "{tally:?}");
        assert!(tally.lost > 0, "64 KiB have no room for 1,500 events of 72 bytes");
    }
    Ok(())
}

fn a_source_has_its_share_and_what_it_began_is_told_to_the_end(_: &Scene) -> Shown {
    const SHARE: usize = 10;
    let hour = 3_600_000_000_000;
    let watch = Watch { source_interval_ns: hour, source_burst_ns: hour * SHARE as u64, ..WATCH };
    let (mut gate, _maps, mut evidence) = watching(&watch)?;
    for port in 1..=100 {
        gate.run(&there(1, port, flags::SYN, [1, 0]), 1)?;
        gate.run_egress(&back(1, port, RST | flags::ACK, [0, 2]))?;
    }
    let told = events(&mut evidence);
    let count = |what| told.iter().filter(|event| event.told == what).count();
    assert_eq!((count(Told::Attempt), count(Told::Refused)), (SHARE, SHARE));
    assert_eq!(evidence.tally()?.by_source, 100 - SHARE as u64);
    // Another source has its own.
    gate.run(&local(1, 7000, flags::SYN), 1)?;
    assert_eq!(events(&mut evidence).len(), 1);
    Ok(())
}

fn a_place_that_was_taken_over_is_counted(_: &Scene) -> Shown {
    let (mut gate, _maps, mut evidence) = watching(&Watch { places: 16, ..WATCH })?;
    for port in 1..=200 {
        gate.run(&there(1, port, flags::SYN, [1, 0]), 1)?;
    }
    let told = events(&mut evidence);
    assert_eq!(told.len(), 200, "each is told, whatever place it has");
    assert!(evidence.tally()?.displaced >= 100);
    let mine = told.iter().filter(|event| {
        evidence.place(event.place).is_ok_and(|place| place.is_unanswered(event.mark))
    });
    assert!(mine.count() <= 16, "of those whose place is another's nothing more is known");
    Ok(())
}
