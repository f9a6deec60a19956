//! Whom the program's guard holds off, packet by packet, and whom not.

use std::time::Duration;

use libtest_mimic::Failed;
use tidegate_ebpf::{
    Duties, Evidence, Gate, Guard, Maps, Watch,
    abi::{Block, DROP, GUARD, NEW, Outcome, RATE_LIMIT},
    evidence::{Event, Told},
    now_ns,
};

use super::made::{
    ACK, ENFORCE, ICMP, SYN, TCP, UDP, extensions, ip4, ip4_with, ip6, pinned_to_one_processor,
    tagged, tcp, udp,
};
use crate::harness::{
    Case, Outcome as Shown, Scene,
    frames::{Segment, Way, on_ethernet, tcp as exchanged},
    poll,
};

const SECOND: u64 = 1_000_000_000;
const PORTS: u16 = 32;
/// Of so many ports a few may be counted as one: the guard has a bit for each of 1024.
const MOST: u16 = PORTS + 4;
const SYN_ACK: u8 = SYN | ACK;
const RST: u8 = 4;
const FIN: u8 = 1;

pub(super) const WATCH: Watch = Watch {
    contacts: true,
    sees_replies: true,
    is_mirror: false,
    seed: 0x5eed,
    ring_bytes: 1 << 20,
    places: 1 << 12,
    sources: 1 << 8,
    source_interval_ns: 0,
    source_burst_ns: 1,
    cpu_interval_ns: 0,
    cpu_burst_ns: 1,
    guard: Guard {
        distinct_ports: PORTS as u32,
        enforce: true,
        hold_ns: 60 * SECOND,
        sources: 1 << 12,
        ..Guard::OFF
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(of_a_source_that_tries_many_ports_only_new_connections_are_held_off).needs_root(),
        Case::new(few_ports_however_often_are_no_scan).needs_root(),
        Case::new(who_completed_a_connection_is_left_alone).needs_root(),
        Case::new(the_allow_list_frees_at_once_and_before).needs_root(),
        Case::new(a_hold_ends_by_itself_or_when_it_is_taken_back).needs_root(),
        Case::new(a_guard_that_observes_drops_nothing_and_counts).needs_root(),
        Case::new(a_silent_daemon_has_no_guard).needs_root(),
        Case::new(a_flood_of_single_syns_makes_no_state).needs_root(),
        Case::new(a_flood_of_known_sources_displaces_nobody_who_is_held).needs_root(),
        Case::new(only_so_many_are_held_off_in_a_minute).needs_root(),
        Case::new(of_what_is_above_the_rate_of_syns_only_that_is_dropped).needs_root(),
        Case::new(the_guard_s_verdict_is_about_syns_alone).needs_root(),
    ]
}

struct Bench {
    gate: Gate,
    maps: Maps,
    evidence: Evidence,
}

// === impl Bench ===

impl Bench {
    fn new(guard: Guard) -> Result<Self, Failed> {
        let duties = Duties { watch: Watch { guard, ..WATCH }, ..Duties::default() };
        let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
        let (mut maps, evidence) = (gate.take_maps()?, gate.take_evidence()?);
        // However long the case takes.
        maps.beat_at(now_ns() + 3600 * SECOND)?;
        Ok(Self { gate, maps, evidence })
    }

    fn drops(&mut self, frame: &[u8]) -> Result<bool, Failed> {
        Ok(self.gate.run(frame, 1)?.dropped)
    }

    /// At which of these SYNs the first one was dropped.
    fn dropped_at(&mut self, syns: impl Iterator<Item = Vec<u8>>) -> Result<Option<usize>, Failed> {
        for (number, syn) in syns.enumerate() {
            if self.drops(&syn)? {
                return Ok(Some(number + 1));
            }
        }
        Ok(None)
    }

    /// What was told of holds.
    fn held(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.evidence.drain(usize::MAX, |event| events.push(event));
        events.retain(|event| matches!(event.told, Told::Held | Told::Limited));
        events
    }

    fn count(&self, outcome: Outcome) -> Result<u64, Failed> {
        Ok(self.maps.counts()?[outcome as usize].1.packets)
    }
}

fn from(source: [u8; 4], port: u16) -> Vec<u8> {
    ip4_with(source, TCP, &[], 0, &tcp(port, SYN))
}

fn syn(port: u16) -> Vec<u8> {
    ip4(TCP, &tcp(port, SYN))
}

fn syn6(port: u16) -> Vec<u8> {
    ip6(TCP, &tcp(port, SYN))
}

fn is_held(at: Option<usize>) -> bool {
    at.is_some_and(|at| (usize::from(PORTS)..=usize::from(MOST)).contains(&at))
}

fn of_a_source_that_tries_many_ports_only_new_connections_are_held_off(_: &Scene) -> Shown {
    let mut bench = Bench::new(WATCH.guard)?;
    let at = bench.dropped_at((1..=100).map(syn))?;
    assert!(is_held(at), "{at:?}");
    let at = bench.dropped_at((1..=100).map(syn6))?;
    assert!(is_held(at), "IPv6: {at:?}");
    let part = |port| ip4_with([203, 0, 113, 9], TCP, &[], 0x2000, &tcp(port, SYN));
    let at = bench.dropped_at((1..=100).map(part))?;
    assert!(is_held(at), "in fragments: {at:?}");
    let optioned = ip4_with([203, 0, 113, 7], TCP, &[1, 1, 1, 0], 0, &tcp(9, SYN));
    for (what, frame, dropped) in [
        ("a SYN", syn(7000), true),
        ("a SYN to a port that it tried before", syn(1), true),
        ("a SYN with ECN bits", ip4(TCP, &tcp(7000, SYN | 0xc0)), true),
        ("a SYN behind IPv4 options", optioned, true),
        ("a SYN behind a tag", tagged(1, &syn(7000)), true),
        ("a SYN over IPv6", syn6(7000), true),
        ("a SYN over IPv6 behind extensions", ip6(60, &extensions(3, TCP, &tcp(9, SYN))), true),
        ("a segment of an open session", ip4(TCP, &tcp(7000, ACK)), false),
        ("its answer to a connection of ours", ip4(TCP, &tcp(7000, SYN_ACK)), false),
        ("a reset", ip4(TCP, &tcp(7000, RST)), false),
        ("an end", ip4(TCP, &tcp(7000, FIN | ACK)), false),
        ("a datagram", ip4(UDP, &udp([5000, 53])), false),
        ("an echo request", ip4(ICMP, &[8, 0, 0, 0, 0, 0, 0, 1]), false),
        ("another source", from([203, 0, 113, 8], 7000), false),
        ("a segment over IPv6", ip6(TCP, &tcp(7000, ACK)), false),
    ] {
        assert_eq!(bench.drops(&frame)?, dropped, "{what}");
    }
    // Each hold is told once; what was dropped tells nothing else.
    let held = bench.held();
    let told: Vec<_> = held.iter().map(|event| (event.told, event.source.to_string())).collect();
    let sources = ["203.0.113.7", "2001:db8:7::7", "203.0.113.9"];
    let expected = sources.map(|one| (Told::Held, one.to_owned()));
    assert_eq!(told, expected);
    let suspect = bench.evidence.suspect(held[0].place)?;
    // With the one that it was held at.
    assert_eq!((suspect.mark, suspect.packets, suspect.bytes), (held[0].mark, 6, 6 * 40 + 4));
    assert_eq!(bench.count(Outcome::DropGuard)?, 10);
    Ok(())
}

fn few_ports_however_often_are_no_scan(_: &Scene) -> Shown {
    let mut bench = Bench::new(WATCH.guard)?;
    let ports = (0..2_000).map(|number| syn(1 + number % (PORTS - 1)));
    assert_eq!(bench.dropped_at(ports)?, None);
    assert!(bench.held().is_empty());
    Ok(())
}

/// A segment of the exchange between the client and port 7000 of the host.
fn segment(way: Way, ports: [u16; 2], flags: u8, numbers: [u32; 2]) -> Vec<u8> {
    on_ethernet(&exchanged(way, Segment { ports, numbers, flags, payload: b"" }))
}

fn who_completed_a_connection_is_left_alone(_: &Scene) -> Shown {
    let client = |port| segment(Way::There, [9, port], SYN, [100, 0]);
    // Who says that it has seen the answer, and has not.
    for (acknowledged, is_left_alone) in [(501, true), (77, false)] {
        let mut bench = Bench::new(WATCH.guard)?;
        assert!(!bench.drops(&client(7000))?);
        bench.gate.run_egress(&segment(Way::Back, [9, 7000], SYN_ACK, [500, 101]))?;
        bench.drops(&segment(Way::There, [9, 7000], ACK, [101, acknowledged]))?;
        let at = bench.dropped_at((1..=200).map(client))?;
        assert_eq!(at.is_none(), is_left_alone, "{at:?}");
        // It speaks for nobody else.
        assert!(is_held(bench.dropped_at((1..=100).map(syn))?));
    }
    // Completed while it is held: that was a mistake, and it ends.
    let mut bench = Bench::new(WATCH.guard)?;
    bench.drops(&client(7000))?;
    assert!(bench.dropped_at((1..=100).map(client))?.is_some());
    bench.gate.run_egress(&segment(Way::Back, [9, 7000], SYN_ACK, [500, 101]))?;
    assert!(!bench.drops(&segment(Way::There, [9, 7000], ACK, [101, 501]))?);
    assert!(!bench.drops(&client(300))?);
    Ok(())
}

fn the_allow_list_frees_at_once_and_before(_: &Scene) -> Shown {
    let mut bench = Bench::new(WATCH.guard)?;
    let listed = ["203.0.113.0/24".parse()?, "2001:db8:7::/48".parse()?];
    bench.maps.allow(&listed)?;
    assert_eq!(bench.dropped_at((1..=500).map(syn))?, None);
    assert_eq!(bench.dropped_at((1..=500).map(syn6))?, None);
    assert!(bench.held().is_empty());
    bench.maps.allow(&[])?;
    assert!(bench.dropped_at((1..=100).map(syn))?.is_some());
    assert!(bench.dropped_at((1..=100).map(syn6))?.is_some());
    bench.maps.allow(&listed)?;
    assert!(!bench.drops(&syn(7000))? && !bench.drops(&syn6(7000))?);
    Ok(())
}

fn a_hold_ends_by_itself_or_when_it_is_taken_back(_: &Scene) -> Shown {
    let mut bench = Bench::new(WATCH.guard)?;
    assert!(bench.dropped_at((1..=100).map(syn))?.is_some());
    let event = bench.held()[0];
    bench.evidence.release(event.place, event.mark ^ 2)?;
    assert!(bench.drops(&syn(7000))?, "that was somebody else's");
    bench.evidence.release(event.place, event.mark)?;
    assert!(is_held(bench.dropped_at((1..=100).map(syn))?), "its ports are counted anew");

    let mut bench = Bench::new(Guard { hold_ns: 2 * SECOND, ..WATCH.guard })?;
    // A machine that stands still for two seconds counts anew.
    let mut first = 0;
    poll::until_true("a hold", Duration::from_mins(1), || {
        first += 100;
        bench.dropped_at((first..first + 100).map(syn)).is_ok_and(|at| at.is_some())
    })?;
    poll::until_true("the hold to end", Duration::from_mins(1), || {
        bench.drops(&syn(1)).is_ok_and(|dropped| !dropped)
    })?;
    Ok(())
}

fn a_guard_that_observes_drops_nothing_and_counts(_: &Scene) -> Shown {
    let mut bench = Bench::new(Guard { enforce: false, ..WATCH.guard })?;
    assert_eq!(bench.dropped_at((1..=100).map(syn))?, None);
    let would = bench.count(Outcome::WouldDrop)?;
    assert!((u64::from(100 - MOST)..=u64::from(100 - PORTS + 1)).contains(&would), "{would}");
    assert_eq!(bench.held().len(), 1);
    assert_eq!(bench.count(Outcome::DropGuard)?, 0);
    Ok(())
}

fn a_silent_daemon_has_no_guard(_: &Scene) -> Shown {
    let mut bench = Bench::new(WATCH.guard)?;
    assert!(bench.dropped_at((1..=100).map(syn))?.is_some());
    bench.maps.beat_at(now_ns().saturating_sub(6 * SECOND))?;
    assert_eq!(bench.dropped_at((1..=200).map(syn))?, None);
    Ok(())
}

/// A source of a flood.
fn one_of(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [198, 18, high, low]
}

fn a_flood_of_single_syns_makes_no_state(_: &Scene) -> Shown {
    let mut bench = Bench::new(Guard { sources: 16, ..WATCH.guard })?;
    assert_eq!(bench.dropped_at((1..=20).map(syn))?, None);
    assert_eq!(bench.dropped_at((0..5_000).map(|number| from(one_of(number), 80)))?, None);
    let watched = (0..16).map(|index| bench.evidence.suspect(index));
    let watched: Vec<_> = watched.collect::<Result<_, _>>()?;
    assert_eq!(watched.iter().filter(|one| one.mark != 0).count(), 1, "{watched:?}");
    assert_eq!(bench.evidence.tally()?.evicted, 0);
    let at = bench.dropped_at((21..=60).map(syn))?;
    assert!(at.is_some_and(|at| (12..=16).contains(&at)), "it is still known: {at:?}");
    Ok(())
}

fn a_flood_of_known_sources_displaces_nobody_who_is_held(_: &Scene) -> Shown {
    let mut bench = Bench::new(Guard { sources: 16, ..WATCH.guard })?;
    assert!(bench.dropped_at((1..=100).map(syn))?.is_some());
    let twice = (0..2_000).flat_map(|number| vec![from(one_of(number), 80); 2]);
    assert_eq!(bench.dropped_at(twice)?, None);
    assert!(bench.drops(&syn(7000))?, "it is held on");
    assert!(bench.evidence.tally()?.evicted > 1_000);
    Ok(())
}

fn only_so_many_are_held_off_in_a_minute(_: &Scene) -> Shown {
    let hour = 3600 * SECOND;
    let guard = Guard { hold_interval_ns: hour, hold_burst_ns: 2 * hour, ..WATCH.guard };
    let mut bench = Bench::new(guard)?;
    let mut held = 0;
    // The limit is of each processor.
    pinned_to_one_processor(|| {
        for number in 0..10 {
            let at = bench.dropped_at((1..=100).map(|port| from(one_of(number), port)))?;
            held += usize::from(at.is_some());
        }
        Ok(())
    })?;
    assert_eq!((held, bench.held().len()), (2, 2));
    assert!(bench.evidence.tally()?.unheld >= 8);
    Ok(())
}

fn of_what_is_above_the_rate_of_syns_only_that_is_dropped(_: &Scene) -> Shown {
    const BURST: usize = 20;
    let hour = 3600 * SECOND;
    let rate = Guard { syn_interval_ns: hour, syn_burst_ns: hour * BURST as u64, ..WATCH.guard };
    let mut bench = Bench::new(rate)?;
    // The first SYN only makes it known.
    assert_eq!(bench.dropped_at((0..100).map(|_| syn(443)))?, Some(BURST + 2));
    assert!(bench.drops(&syn(443))? && !bench.drops(&ip4(TCP, &tcp(443, ACK)))?);
    assert!(!bench.drops(&from([203, 0, 113, 8], 443))?, "another has its own");
    let told = bench.held();
    assert_eq!(told.iter().map(|event| event.told).collect::<Vec<_>>(), [Told::Limited]);
    assert_eq!(bench.evidence.suspect(told[0].place)?.packets, 2);
    bench.maps.allow(&["203.0.113.7/32".parse()?])?;
    assert!(!bench.drops(&syn(443))?, "unless the allow list has it");
    Ok(())
}

fn the_guard_s_verdict_is_about_syns_alone(_: &Scene) -> Shown {
    let guard =
        Guard { syn_interval_ns: 3600 * SECOND, syn_burst_ns: 3600 * SECOND, ..WATCH.guard };
    let mut bench = Bench::new(guard)?;
    let block = Block { action: DROP, scope: NEW, enforce: 1, by: GUARD, ..Block::default() };
    // What it is limited to it had before.
    let limited = Block { action: RATE_LIMIT, bucket_ns: u64::MAX >> 1, ..block };
    for block in [block, limited] {
        bench.maps.insert("203.0.113.7/32".parse()?, block)?;
        let before = bench.count(Outcome::DropGuard)?;
        for (what, frame, dropped) in [
            ("a SYN", syn(7000), true),
            ("a segment", ip4(TCP, &tcp(7000, ACK)), false),
            ("a datagram", ip4(UDP, &udp([5000, 53])), false),
            ("another SYN", syn(7001), true),
        ] {
            assert_eq!(bench.drops(&frame)?, dropped, "{what}, {block:?}");
        }
        assert_eq!(bench.count(Outcome::DropGuard)? - before, 2);
    }
    Ok(())
}
