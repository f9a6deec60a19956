//! What the program counts of what it drops, packet by packet (`BPF_PROG_TEST_RUN`): tables of what comes in and of what
//! is in the map then; the shares of a source and of a processor; a full map; and that nothing is lost between turns.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use libtest_mimic::Failed;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tidegate_ebpf::{
    Denials, Denying, Duties, Gate, Guard, Maps, Watch,
    abi::{ALL, Block, DROP, GUARD, NEW, Outcome as Became, RATE_LIMIT},
    denied::{Aim, Denied, DeniedKey, Tally},
    layout::Settings,
    now_ns,
};

use super::{
    guard::WATCH,
    made::{
        ACK, BAD, ENFORCE, ICMP, ICMPV6, SCTP, SYN, TCP, UDP, extensions, ip4, ip4_with, ip6,
        pinned_to_one_processor, tagged, tcp, udp,
    },
    reference::{changed, kinds},
};
use crate::harness::{
    Case, Outcome, Scene,
    poll::{self, SOON},
};

const SECOND: u64 = 1_000_000_000;
/// In so many ns no share grows by one while a case runs.
const DAY: u64 = 86_400 * SECOND;
/// Room and shares for everything.
const DENYING: Denying = Denying {
    counts: true,
    max_entries: 100_000,
    sources: 1 << 12,
    seed: 0x5eed,
    port_interval_ns: 0,
    port_burst_ns: 1,
    rest_interval_ns: 0,
    rest_burst_ns: 1,
    cpu_interval_ns: 0,
    cpu_burst_ns: 1,
};
const BLOCK: Block = Block {
    deadline_ns: 0,
    hits: 0,
    packets: 0,
    bytes: 0,
    bucket_ns: 0,
    since_ns: 0,
    ttl_ns: 0,
    id: [1; 16],
    offence: 0,
    port: 0,
    action: DROP,
    scope: ALL,
    enforce: 1,
    by: 0,
    score: 0,
    prefix: 0,
    unlisted: 0,
};
const GRE: u8 = 47;
const MORE: u16 = 0x2000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(each_dropped_packet_is_counted_to_where_it_was_for).needs_root(),
        Case::new(what_is_not_dropped_is_not_counted).needs_root(),
        Case::new(each_count_names_the_verdict_that_dropped_it).needs_root(),
        Case::new(of_networks_within_each_other_the_one_that_dropped_it_is_named).needs_root(),
        Case::new(what_the_guard_drops_is_counted_without_a_verdict).needs_root(),
        Case::new(a_scanner_s_further_ports_are_summed_and_others_keep_theirs).needs_root(),
        Case::new(who_sends_to_many_hosts_has_no_more_than_its_share).needs_root(),
        Case::new(a_flood_of_sources_begins_no_more_than_a_processor_may).needs_root(),
        Case::new(a_full_map_refuses_and_what_it_refuses_is_told).needs_root(),
        Case::new(what_is_taken_out_has_all_that_was_counted_to_it).needs_root(),
        Case::new(nothing_is_lost_while_packets_come_in).needs_root().busy(),
        Case::new(random_frames_are_counted_as_the_statistics_have_them).needs_root().busy(),
    ]
}

/// One row: what it is, the frames, what is counted then.
type Row = (&'static str, Vec<Vec<u8>>, &'static [&'static str]);

fn gate(settings: &Settings, denying: &Denying) -> Result<(Gate, Maps, Denials), Failed> {
    let duties = Duties { denying: *denying, ..Duties::default() };
    let mut gate = Gate::load_for(settings, &duties, None)?;
    let (maps, denials) = (gate.take_maps()?, gate.take_denials()?);
    Ok((gate, maps, denials))
}

/// One with a verdict on the bad source, IPv4 and IPv6.
fn against(block: Block, denying: &Denying) -> Result<(Gate, Maps, Denials), Failed> {
    let (gate, mut maps, denials) = gate(&ENFORCE, denying)?;
    for network in ["203.0.113.7/32", "2001:db8:7::7/128"] {
        maps.insert(network.parse()?, block)?;
    }
    Ok((gate, maps, denials))
}

/// Takes out what was counted until now.
fn turn(denials: &mut Denials) -> Result<Vec<(DeniedKey, Denied)>, Failed> {
    denials.turn()?;
    take(denials)
}

fn take(denials: &mut Denials) -> Result<Vec<(DeniedKey, Denied)>, Failed> {
    denials.settle();
    let mut keys = Vec::new();
    denials.former(|key| keys.push(key))?;
    let taken = keys.into_iter().map(|key| Ok((key, denials.take(&key)?.ok_or("it was there")?)));
    taken.collect()
}

fn sums(taken: &[(DeniedKey, Denied)]) -> (u64, u64) {
    taken.iter().fold((0, 0), |(packets, bytes), (_, denied)| {
        (packets + denied.packets, bytes + denied.bytes)
    })
}

/// Fails unless what was taken out has all packets but the untold ones, and these have a reason each.
fn balance(denials: &Denials, taken: &[(DeniedKey, Denied)]) -> Result<Tally, Failed> {
    let tally = denials.tally()?;
    let (packets, bytes) = sums(taken);
    assert_eq!(packets + tally.untold, tally.packets, "{tally:?}");
    assert_eq!(bytes + tally.untold_bytes, tally.bytes, "{tally:?}");
    assert_eq!(
        tally.by_source + tally.by_cpu + tally.full + tally.failed,
        tally.untold,
        "{tally:?}"
    );
    Ok(tally)
}

/// A count in a few words: transport, aim, packets and bytes, the sender's port if it is one, control bits.
fn words((key, denied): &(DeniedKey, Denied)) -> String {
    let aim = match key.aim() {
        Aim::Portless => "-".to_owned(),
        Aim::Port(port) => port.to_string(),
        Aim::Icmp(kind, code) => format!("{kind}/{code}"),
        Aim::Rest => "rest".to_owned(),
    };
    let mut words = vec![format!("{} {aim} {}:{}", key.transport, denied.packets, denied.bytes)];
    if denied.several == 0 && denied.source_port != 0 {
        words.push(format!("from {}", denied.source_port));
    }
    if denied.tcp_flags != 0 {
        words.push(format!("{:#x}", denied.tcp_flags));
    }
    for tag in key.tags().into_iter().filter(|tag| *tag != 0) {
        words.push(format!("vlan{}", tag & 0xfff));
    }
    words.join(" ")
}

fn sorted(taken: &[(DeniedKey, Denied)]) -> Vec<String> {
    let mut all: Vec<_> = taken.iter().map(words).collect();
    all.sort_unstable();
    all
}

/// From another port than [`tcp`]'s 40,000.
fn from_elsewhere(port: u16, flags: u8) -> Vec<u8> {
    let mut header = tcp(port, flags);
    header[..2].copy_from_slice(&41_000_u16.to_be_bytes());
    header
}

fn each_dropped_packet_is_counted_to_where_it_was_for(_: &Scene) -> Outcome {
    let echo = [8, 0, 0, 0, 0, 0, 0, 1];
    let rows: Vec<Row> = vec![
        (
            "a SYN, and again, and what would follow",
            vec![ip4(TCP, &tcp(22, SYN)), ip4(TCP, &tcp(22, SYN)), ip4(TCP, &tcp(22, ACK))],
            &["6 22 3:120 from 40000 0x12"],
        ),
        (
            "two ports, one of them from two",
            vec![
                ip4(TCP, &tcp(22, SYN)),
                ip4(TCP, &from_elsewhere(22, SYN)),
                ip4(TCP, &tcp(80, SYN)),
            ],
            &["6 22 2:80 0x2", "6 80 1:40 from 40000 0x2"],
        ),
        ("a datagram", vec![ip4(UDP, &udp([5000, 53]))], &["17 53 1:28 from 5000"]),
        (
            "pings, and an error of another kind",
            vec![ip4(ICMP, &echo), ip4(ICMP, &echo), ip4(ICMP, &[3, 3, 0, 0, 0, 0, 0, 0])],
            &["1 3/3 1:28", "1 8/0 2:56"],
        ),
        (
            "IPv6",
            vec![
                ip6(TCP, &tcp(443, SYN)),
                ip6(UDP, &udp([5000, 53])),
                ip6(ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 1]),
                ip6(60, &extensions(3, TCP, &tcp(443, SYN))),
            ],
            &["17 53 1:48 from 5000", "58 128/0 1:48", "6 443 2:144 from 40000 0x2"],
        ),
        (
            "SCTP, and what has no ports",
            vec![ip4(SCTP, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]), ip4(GRE, &[0; 8])],
            &["132 2 1:32 from 1", "47 - 1:28"],
        ),
        (
            "fragments: the first has ports, a later one has none",
            vec![
                ip4_with(BAD, UDP, &[], MORE, &udp([5000, 53])),
                ip4_with(BAD, UDP, &[], 1, &[7; 16]),
                ip6(44, &[&[UDP, 0, 0, 8, 0, 0, 0, 7][..], &[7; 8]].concat()),
            ],
            &["17 - 1:36", "17 - 1:56", "17 53 1:28 from 5000"],
        ),
        (
            "headers that are cut off: behind the ports, and before",
            vec![ip4(TCP, &tcp(22, SYN)[..6]), ip4(TCP, &tcp(22, SYN)[..2])],
            &["6 - 1:22", "6 22 1:26 from 40000"],
        ),
        (
            "the same in a VLAN",
            vec![ip4(TCP, &tcp(22, SYN)), tagged(1, &ip4(TCP, &tcp(22, SYN)))],
            &["6 22 1:40 from 40000 0x2", "6 22 1:40 from 40000 0x2 vlan7"],
        ),
    ];
    let (mut gate, _maps, mut denials) = against(BLOCK, &DENYING)?;
    let (mut wrong, mut all, mut sent) = (Vec::new(), Vec::new(), 0);
    for (what, frames, expected) in rows {
        for frame in &frames {
            assert!(gate.run(frame, 1)?.dropped, "{what}: it is dropped");
            sent += 1;
        }
        let taken = turn(&mut denials)?;
        let there = sorted(&taken);
        if there != expected {
            wrong.push(format!("{what}: {there:?} instead of {expected:?}"));
        }
        all.extend(taken);
    }
    assert_eq!(balance(&denials, &all)?.packets, sent);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn what_is_not_dropped_is_not_counted(_: &Scene) -> Outcome {
    let syn = ip4(TCP, &tcp(22, SYN));
    let observed = Settings { enforce: false, ..ENFORCE };
    let guarded = Settings { fail_open_ns: 1, ..ENFORCE };
    for (what, settings, block, allowed) in [
        ("a verdict that is observed", ENFORCE, Block { enforce: 0, ..BLOCK }, false),
        ("a gate that observes", observed, BLOCK, false),
        ("a verdict on another port", ENFORCE, Block { port: 80, ..BLOCK }, false),
        ("a verdict that has ended", ENFORCE, Block { deadline_ns: 1, ..BLOCK }, false),
        ("within its rate", ENFORCE, Block { action: RATE_LIMIT, ..BLOCK }, false),
        ("on the allow list", ENFORCE, BLOCK, true),
        ("a silent daemon", guarded, BLOCK, false),
    ] {
        let (mut gate, mut maps, mut denials) = gate(&settings, &DENYING)?;
        maps.insert("203.0.113.7/32".parse()?, block)?;
        if allowed {
            maps.allow(&["203.0.113.7/32".parse()?])?;
        }
        assert!(!gate.run(&syn, 1)?.dropped, "{what}");
        assert!(turn(&mut denials)?.is_empty(), "{what}");
        assert_eq!(denials.tally()?, Tally::default(), "{what}");
    }
    // Where nobody reads it, not even what is dropped.
    let (mut gate, _maps, mut denials) = against(BLOCK, &Denying::OFF)?;
    assert!(gate.run(&syn, 1)?.dropped);
    assert!(turn(&mut denials)?.is_empty());
    assert_eq!(denials.tally()?, Tally::default());
    Ok(())
}

fn each_count_names_the_verdict_that_dropped_it(_: &Scene) -> Outcome {
    let syn = ip4(TCP, &tcp(22, SYN));
    let (limit, by_guard) = (RATE_LIMIT, GUARD);
    let named = |byte, block| Block { id: [byte; 16], ..block };
    let of_ssh = Block { port: 80, ..BLOCK };
    for (what, address, network, times, expected) in [
        ("the address's", Some(named(1, BLOCK)), Some(named(2, BLOCK)), 1, Some(1)),
        ("the network's", None, Some(named(2, BLOCK)), 1, Some(2)),
        (
            "the network's, as the address's is about other packets",
            Some(named(1, of_ssh)),
            Some(named(2, BLOCK)),
            1,
            Some(2),
        ),
        ("a limit", Some(named(1, Block { action: limit, scope: NEW, ..BLOCK })), None, 9, Some(1)),
        (
            "the network's limit, as the address's drops other packets",
            Some(named(1, of_ssh)),
            Some(named(2, Block { action: limit, scope: NEW, ..BLOCK })),
            9,
            Some(2),
        ),
        (
            "the network's, as the address's is observed",
            Some(named(1, Block { enforce: 0, ..BLOCK })),
            Some(named(2, BLOCK)),
            1,
            Some(2),
        ),
        (
            "the network's, as the address's limit is not reached",
            Some(named(1, Block { action: limit, scope: ALL, ..BLOCK })),
            Some(named(2, BLOCK)),
            1,
            Some(2),
        ),
        (
            "the network's, as the address's limit is over",
            Some(named(1, Block { action: limit, deadline_ns: 1, ..BLOCK })),
            Some(named(2, Block { action: limit, scope: NEW, ..BLOCK })),
            9,
            Some(2),
        ),
        (
            "the guard's",
            Some(named(1, Block { by: by_guard, scope: NEW, ..BLOCK })),
            None,
            1,
            Some(1),
        ),
    ] {
        let (mut gate, mut maps, mut denials) = gate(&ENFORCE, &DENYING)?;
        let both = [("203.0.113.7/32", address), ("203.0.113.0/24", network)];
        for (of, block) in both.into_iter().filter_map(|(of, block)| Some((of, block?))) {
            maps.insert(of.parse()?, block)?;
        }
        for _ in 0..times {
            gate.run(&syn, 1)?;
        }
        let taken = turn(&mut denials)?;
        assert_eq!(taken.len(), 1, "{what}");
        let id = taken[0].1.id;
        assert_eq!((id != [0; 16]).then_some(id[0]), expected, "{what}");
    }
    Ok(())
}

fn of_networks_within_each_other_the_one_that_dropped_it_is_named(_: &Scene) -> Outcome {
    let (mut gate, mut maps, mut denials) = gate(&ENFORCE, &DENYING)?;
    let named = |byte, block| Block { id: [byte; 16], ..block };
    for (network, block) in [
        ("203.0.113.0/25", named(1, Block { port: 80, ..BLOCK })),
        ("203.0.113.0/24", named(2, Block { enforce: 0, ..BLOCK })),
        ("203.0.112.0/23", named(3, Block { deadline_ns: 1, ..BLOCK })),
        ("203.0.0.0/16", named(4, BLOCK)),
        ("203.0.0.0/8", named(5, BLOCK)),
    ] {
        maps.insert(network.parse()?, block)?;
    }
    gate.run(&ip4(TCP, &tcp(22, SYN)), 1)?;
    let taken = turn(&mut denials)?;
    assert_eq!(taken.iter().map(|(_, denied)| denied.id[0]).collect::<Vec<_>>(), [4]);
    Ok(())
}

fn what_the_guard_drops_is_counted_without_a_verdict(_: &Scene) -> Outcome {
    let guard = Guard { alive_ns: 3_600 * SECOND, ..WATCH.guard };
    let watch = Watch { guard, ..WATCH };
    let duties = Duties { watch, denying: DENYING, ..Duties::default() };
    let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
    let (mut maps, mut denials) = (gate.take_maps()?, gate.take_denials()?);
    maps.beat_at(now_ns())?;
    // The second SYN of a source makes it known, so each is sent twice.
    let mut dropped = 0;
    for port in 1..=200_u16 {
        dropped += u64::from(gate.run(&ip4(TCP, &tcp(port, SYN)), 1)?.dropped);
    }
    assert!(dropped > 100, "{dropped} were held off");
    let taken = turn(&mut denials)?;
    assert_eq!(balance(&denials, &taken)?.packets, dropped);
    assert_eq!(taken.len() as u64, dropped, "a port each");
    assert!(taken.iter().all(|(_, denied)| denied.id == [0; 16]));
    Ok(())
}

fn a_scanner_s_further_ports_are_summed_and_others_keep_theirs(_: &Scene) -> Outcome {
    const PORTS: u64 = 64;
    let denying = Denying { port_interval_ns: DAY / PORTS, port_burst_ns: DAY, ..DENYING };
    let (mut gate, mut maps, mut denials) = against(BLOCK, &denying)?;
    maps.insert("203.0.113.9/32".parse()?, BLOCK)?;
    for port in 1..=1_000 {
        gate.run(&ip4(TCP, &tcp(port, SYN)), 1)?;
    }
    // The ports it has keep their counts; and a datagram is no segment.
    gate.run(&ip4(TCP, &tcp(1, SYN)), 1)?;
    gate.run(&ip4(UDP, &udp([5000, 53])), 1)?;
    gate.run(&ip4_with([203, 0, 113, 9], TCP, &[], 0, &tcp(7_777, SYN)), 1)?;
    let taken = turn(&mut denials)?;
    let tally = balance(&denials, &taken)?;
    let of_ports = |last: u8| {
        taken
            .iter()
            .filter(move |(key, _)| key.source[3] == last && matches!(key.aim(), Aim::Port(_)))
    };
    let ports = of_ports(7).count() as u64;
    assert_eq!(ports, PORTS);
    assert_eq!(of_ports(9).map(words).collect::<Vec<_>>(), ["6 7777 1:40 from 40000 0x2"]);
    assert!(of_ports(7).any(words_are("6 1 2:80 from 40000 0x2")), "{:#?}", sorted(&taken));
    let rest: Vec<_> = taken.iter().filter(|one| one.0.aim() == Aim::Rest).collect();
    let of = |transport| rest.iter().filter(move |(key, _)| key.transport == transport);
    assert_eq!(of(TCP).map(|(_, denied)| denied.packets).sum::<u64>(), 1_000 - ports);
    assert_eq!(of(UDP).count(), 1);
    assert_eq!((tally.untold, tally.rest), (0, 1_001 - ports));
    Ok(())
}

fn words_are(expected: &str) -> impl Fn(&(DeniedKey, Denied)) -> bool {
    move |one| words(one) == expected
}

fn who_sends_to_many_hosts_has_no_more_than_its_share(_: &Scene) -> Outcome {
    let denying = Denying {
        port_interval_ns: DAY / 8,
        port_burst_ns: DAY,
        rest_interval_ns: DAY / 4,
        rest_burst_ns: DAY,
        ..DENYING
    };
    let (mut gate, _maps, mut denials) = against(BLOCK, &denying)?;
    for host in 0..=255 {
        let mut frame = ip4(TCP, &tcp(22, SYN));
        frame[33] = host;
        gate.run(&frame, 3)?;
    }
    let taken = turn(&mut denials)?;
    let tally = balance(&denials, &taken)?;
    assert_eq!(taken.len(), 8 + 4);
    assert_eq!((tally.packets, tally.by_source), (3 * 256, 3 * (256 - 12)));
    Ok(())
}

fn a_flood_of_sources_begins_no_more_than_a_processor_may(_: &Scene) -> Outcome {
    let denying = Denying { cpu_interval_ns: DAY / 100, cpu_burst_ns: DAY, ..DENYING };
    let (mut gate, mut maps, mut denials) = gate(&ENFORCE, &denying)?;
    maps.insert("203.0.0.0/16".parse()?, BLOCK)?;
    pinned_to_one_processor(|| {
        for host in 0..=999_u16 {
            let [a, b] = host.to_be_bytes();
            gate.run(&ip4_with([203, 0, a, b], TCP, &[], 0, &tcp(22, SYN)), 2)?;
        }
        Ok(())
    })?;
    let taken = turn(&mut denials)?;
    let tally = balance(&denials, &taken)?;
    assert_eq!((taken.len(), tally.by_cpu), (100, 2 * 900));
    Ok(())
}

fn a_full_map_refuses_and_what_it_refuses_is_told(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut denials) = against(BLOCK, &Denying { max_entries: 10, ..DENYING })?;
    for port in 1..=50 {
        gate.run(&ip4(TCP, &tcp(port, SYN)), 2)?;
    }
    let mut taken = turn(&mut denials)?;
    let there = taken.len() as u64;
    // The kernel has a few more: those that each processor keeps for itself.
    assert!((10..50).contains(&there), "{there}");
    let tally = balance(&denials, &taken)?;
    assert_eq!((tally.packets, tally.full), (100, 2 * (50 - there)));
    // There is room again.
    gate.run(&ip4(TCP, &tcp(60, SYN)), 1)?;
    taken.extend(turn(&mut denials)?);
    assert_eq!(taken.len() as u64, there + 1);
    assert_eq!(balance(&denials, &taken)?.full, tally.full);
    Ok(())
}

fn what_is_taken_out_has_all_that_was_counted_to_it(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut denials) = against(BLOCK, &DENYING)?;
    let before = now_ns();
    gate.run(&ip4(TCP, &tcp(22, SYN)), 3)?;
    denials.turn()?;
    // It is of the next turn already, and stays.
    gate.run(&ip4(TCP, &tcp(22, SYN)), 4)?;
    let first = take(&mut denials)?;
    assert_eq!(sorted(&first), ["6 22 3:120 from 40000 0x2"]);
    let denied = first[0].1;
    assert!((before..=now_ns()).contains(&denied.first_ns) && denied.last_ns >= denied.first_ns);
    assert_eq!(denials.take(&first[0].0)?, None);
    let second = turn(&mut denials)?;
    assert_eq!(sorted(&second), ["6 22 4:160 from 40000 0x2"]);
    assert!(second[0].1.first_ns > denied.first_ns, "it is an entry of its own");
    gate.run(&ip4(TCP, &tcp(22, SYN)), 5)?;
    denials.stop()?;
    gate.run(&ip4(TCP, &tcp(22, SYN)), 100)?;
    let last = take(&mut denials)?;
    assert_eq!(sorted(&last), ["6 22 5:200 from 40000 0x2"]);
    let all = [first, second, last].concat();
    assert_eq!(balance(&denials, &all)?.packets, 12);
    Ok(())
}

fn nothing_is_lost_while_packets_come_in(_: &Scene) -> Outcome {
    const ROUNDS: u64 = 400;
    const AT_ONCE: u32 = 500;
    const TURNS: u32 = 2;
    let (mut gate, _maps, mut denials) = against(BLOCK, &DENYING)?;
    let frames: Vec<_> = (1..=20).map(|port| ip4(TCP, &tcp(port, SYN))).collect();
    let mut taken = Vec::new();
    let turns = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&turns);
    let began = poll::now();
    let sender = thread::spawn(move || -> Result<(Gate, u64), String> {
        let mut rounds = 0;
        for frame in frames.iter().cycle() {
            // On until they have met, however the machine divides its time between the two.
            let have_met = seen.load(Relaxed) >= TURNS || began.elapsed() > SOON;
            if rounds >= ROUNDS && have_met {
                break;
            }
            gate.run(frame, AT_ONCE).map_err(|error| error.to_string())?;
            rounds += 1;
        }
        Ok((gate, rounds))
    });
    while !sender.is_finished() {
        taken.extend(turn(&mut denials)?);
        turns.fetch_add(1, Relaxed);
    }
    let (_gate, rounds) = sender.join().map_err(|_| "the sender panicked")??;
    denials.stop()?;
    taken.extend(take(&mut denials)?);
    let tally = balance(&denials, &taken)?;
    assert_eq!(tally.packets, rounds * u64::from(AT_ONCE));
    assert_eq!(tally.untold, 0);
    let turns = turns.load(Relaxed);
    assert!(turns >= TURNS, "there were {turns} turns");
    Ok(())
}

/// Whatever comes: what is counted here is what the statistics have of it.
fn random_frames_are_counted_as_the_statistics_have_them(scene: &Scene) -> Outcome {
    let denying = Denying { max_entries: 2_000, ..DENYING };
    let (mut gate, mut maps, mut denials) = gate(&ENFORCE, &denying)?;
    for half in ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] {
        maps.insert(half.parse()?, BLOCK)?;
    }
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[23; 32]);
    let kinds = kinds();
    let mut taken = Vec::new();
    for round in 0..if scene.full { 300_000 } else { 30_000 } {
        gate.run(&changed(&kinds, &mut random), 1)?;
        if round % 10_000 == 9_999 {
            taken.extend(turn(&mut denials)?);
        }
    }
    denials.stop()?;
    taken.extend(take(&mut denials)?);
    let tally = balance(&denials, &taken)?;
    let counts: BTreeMap<_, _> = maps.counts()?.into_iter().collect();
    let dropped = counts[&Became::DropNetwork];
    assert_eq!((tally.packets, tally.bytes), (dropped.packets, dropped.bytes));
    assert!(tally.full > 0 && taken.len() > 1_000, "{tally:?}, {} entries", taken.len());
    Ok(())
}
