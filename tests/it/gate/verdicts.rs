//! What the program does with single packets: tables of description, packet and action.

use std::net::{TcpListener, TcpStream, UdpSocket};

use libtest_mimic::Failed;
use tidegate_ebpf::{
    Gate, Maps,
    abi::{ALL, Block, DROP, NEW, Outcome, RATE_LIMIT},
    layout::Settings,
    now_ns,
};

use super::made::{
    ACK, BAD, ENFORCE, ICMP, ICMPV6, SCTP, SYN, TCP, UDP, extensions, gate, ip4, ip4_with, ip6,
    ip6_within, tagged, tcp, udp,
};
use crate::harness::{
    Case, Outcome as Shown, Scene, frames,
    poll::{self, SOON},
};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_blocked_source_gets_nothing_in_but_what_always_passes).needs_root(),
        Case::new(a_verdict_on_what_is_new_leaves_open_sessions_alone).needs_root(),
        Case::new(a_verdict_on_a_port_leaves_other_ports_alone).needs_root(),
        Case::new(what_is_not_blocked_passes_whatever_it_is).needs_root(),
        Case::new(every_truncation_of_every_header_passes_or_is_dropped_by_its_source).needs_root(),
        Case::new(a_verdict_on_a_network_holds_for_all_in_it).needs_root(),
        Case::new(no_milder_verdict_opens_what_a_wider_one_closes).needs_root(),
        Case::new(the_allow_list_wins_in_the_kernel_too).needs_root(),
        Case::new(an_allow_entry_counts_for_a_source_that_was_dropped_before).needs_root(),
        Case::new(a_verdict_ends_at_its_deadline_without_the_daemon).needs_root(),
        Case::new(the_program_s_clock_is_the_daemon_s).needs_root(),
        Case::new(counts_hold_beyond_what_one_word_has_room_for).needs_root(),
        Case::new(observe_never_drops_and_counts_what_it_would_have).needs_root(),
        Case::new(a_silent_daemon_opens_the_gate).needs_root(),
        Case::new(a_rate_limit_lets_the_rate_through_and_no_more).needs_root(),
        Case::new(sessions_that_this_host_began_pass).needs_root(),
        Case::new(a_full_map_refuses_and_says_so).needs_root(),
        Case::new(each_outcome_is_counted_once).needs_root(),
    ]
}

/// One row: what the packet is, the packet, whether it is dropped.
type Row = (&'static str, Vec<u8>, bool);

fn play(gate: &mut Gate, rows: &[Row]) -> Shown {
    let mut wrong = Vec::new();
    for (what, frame, dropped) in rows {
        if gate.run(frame, 1)?.dropped != *dropped {
            wrong
                .push(format!("{what}: should be {}", if *dropped { "dropped" } else { "passed" }));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A gate with `block` on the bad source, IPv4 and IPv6.
fn against(block: Block) -> Result<(Gate, Maps), Failed> {
    let (gate, mut maps) = gate(&ENFORCE)?;
    for network in ["203.0.113.7/32", "2001:db8:7::7/128"] {
        maps.insert(network.parse()?, block)?;
    }
    Ok((gate, maps))
}

const BLOCK: Block = Block {
    deadline_ns: 0,
    hits: 0,
    packets: 0,
    bytes: 0,
    bucket_ns: 0,
    since_ns: 0,
    ttl_ns: 0,
    id: [0; 16],
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

fn a_blocked_source_gets_nothing_in_but_what_always_passes(_scene: &Scene) -> Shown {
    let (mut gate, _maps) = against(BLOCK)?;
    let long = ip6(60, &extensions(64, TCP, &tcp(22, SYN)));
    play(
        &mut gate,
        &[
            ("SYN", ip4(TCP, &tcp(22, SYN)), true),
            ("a segment of an open session", ip4(TCP, &tcp(22, ACK)), true),
            ("a datagram", ip4(UDP, &udp([5000, 53])), true),
            ("an echo request", ip4(ICMP, &[8, 0, 0, 0, 0, 0, 0, 1]), true),
            ("SCTP", ip4(SCTP, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]), true),
            ("IPv4 options", ip4_with(BAD, TCP, &[1, 1, 1, 0], 0, &tcp(22, SYN)), true),
            ("the first fragment", ip4_with(BAD, TCP, &[], 0x2000, &tcp(22, SYN)), true),
            ("a later fragment", ip4_with(BAD, TCP, &[], 3, &[0; 40]), true),
            ("a tag", tagged(1, &ip4(TCP, &tcp(22, SYN))), true),
            ("two tags", tagged(2, &ip4(TCP, &tcp(22, SYN))), true),
            ("three tags, more than are read", tagged(3, &ip4(TCP, &tcp(22, SYN))), false),
            ("IPv6", ip6(TCP, &tcp(22, SYN)), true),
            ("64 extension headers", long, true),
            ("65 extension headers", ip6(60, &extensions(65, TCP, &tcp(22, SYN))), true),
            ("IPv6 echo", ip6(ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 1]), true),
            ("neighbour solicitation", ip6_within(255, ICMPV6, &[135, 0, 0, 0]), false),
            ("router advertisement", ip6_within(255, ICMPV6, &[134, 0, 0, 0]), false),
            ("a solicitation from off the link", ip6_within(254, ICMPV6, &[135, 0, 0, 0]), true),
            ("packet too big", ip6(ICMPV6, &[2, 0, 0, 0, 0, 0, 5, 0]), false),
            ("fragmentation needed", ip4(ICMP, &[3, 4, 0, 0, 0, 0, 5, 0]), false),
            ("port unreachable", ip4(ICMP, &[3, 3, 0, 0, 0, 0, 0, 0]), true),
            ("a DHCP offer", ip4(UDP, &udp([67, 68])), false),
            ("a DHCP request", ip4(UDP, &udp([68, 67])), false),
            ("DHCPv6", ip6(UDP, &udp([547, 546])), false),
            ("nearly DHCP", ip4(UDP, &udp([67, 53])), true),
            ("VRRP", ip4(112, &[0x21, 1, 100, 1, 0, 1, 0, 0]), false),
        ],
    )
}

fn a_verdict_on_what_is_new_leaves_open_sessions_alone(_scene: &Scene) -> Shown {
    let (mut gate, _maps) = against(Block { scope: NEW, ..BLOCK })?;
    play(
        &mut gate,
        &[
            ("SYN", ip4(TCP, &tcp(443, SYN)), true),
            ("SYN with ECN bits", ip4(TCP, &tcp(443, SYN | 0xc0)), true),
            ("SYN and ACK", ip4(TCP, &tcp(443, SYN | ACK)), false),
            ("ACK", ip4(TCP, &tcp(443, ACK)), false),
            ("a datagram", ip4(UDP, &udp([5000, 53])), true),
            ("a TCP header cut by a fragment", ip4_with(BAD, TCP, &[], 0x2000, &[0; 8]), true),
            ("a later fragment", ip4_with(BAD, TCP, &[], 3, &[0; 40]), false),
            ("an echo request", ip4(ICMP, &[8, 0, 0, 0, 0, 0, 0, 1]), false),
            ("IPv6 SYN behind extensions", ip6(60, &extensions(3, TCP, &tcp(22, SYN))), true),
            ("IPv6 ACK behind extensions", ip6(60, &extensions(3, TCP, &tcp(22, ACK))), false),
            ("a transport hidden too deep", ip6(60, &extensions(66, TCP, &tcp(22, ACK))), true),
        ],
    )
}

fn a_verdict_on_a_port_leaves_other_ports_alone(_scene: &Scene) -> Shown {
    let (mut gate, _maps) = against(Block { port: 22, ..BLOCK })?;
    play(
        &mut gate,
        &[
            ("SYN to it", ip4(TCP, &tcp(22, SYN)), true),
            ("ACK to it", ip4(TCP, &tcp(22, ACK)), true),
            ("a datagram to it", ip4(UDP, &udp([5000, 22])), true),
            ("SYN to another", ip4(TCP, &tcp(23, SYN)), false),
            ("a datagram from it", ip4(UDP, &udp([22, 5000])), false),
            ("no ports", ip4(ICMP, &[8, 0, 0, 0, 0, 0, 0, 22]), false),
            ("IPv6 to it", ip6(TCP, &tcp(22, SYN)), true),
            ("IPv6 to another", ip6(TCP, &tcp(443, SYN)), false),
            ("behind extensions", ip6(60, &extensions(3, TCP, &tcp(443, SYN))), false),
            ("hidden behind more of them", ip6(60, &extensions(65, TCP, &tcp(443, SYN))), true),
            ("the rest of a fragmented one", ip4_with(BAD, TCP, &[], 3, &[0; 40]), false),
            ("a fragment without ports", ip4_with(BAD, TCP, &[], 0x2000, &[0; 2]), true),
        ],
    )
}

fn what_is_not_blocked_passes_whatever_it_is(_scene: &Scene) -> Shown {
    let (mut gate, maps) = against(BLOCK)?;
    let other = |protocol, payload: &[u8]| ip4_with([203, 0, 113, 8], protocol, &[], 0, payload);
    let mut short_header = ip4(TCP, &tcp(22, SYN));
    short_header[14] = 0x44;
    let mut six_as_four = ip4(TCP, &tcp(22, SYN));
    six_as_four[14] = 0x65;
    play(
        &mut gate,
        &[
            ("another source", other(TCP, &tcp(22, SYN)), false),
            ("ARP", frames::arp(), false),
            ("an unknown ethertype", frames::ethernet(0x88b5, &[7; 60]), false),
            ("a header length below 20", short_header, false),
            ("version 6 behind IPv4's ethertype", six_as_four, false),
            ("14 bytes", frames::ethernet(0x0800, &[]), false),
            (
                "tags without an end",
                tagged(2, &frames::ethernet(0x8100, &[]))[..20].to_vec(),
                false,
            ),
            ("a jumbo frame", other(UDP, &[0; 3000]), false),
        ],
    )?;
    let counts = maps.counts()?;
    assert_eq!(counts[Outcome::Malformed as usize].1.packets, 4);
    assert_eq!(counts[Outcome::NotIp as usize].1.packets, 2);
    assert_eq!(counts[Outcome::Pass as usize].1.packets, 2);
    Ok(())
}

/// A frame that ends early, or whose lengths lie, is dropped where its source can be read and passes where
/// it can't: never anything else.
fn every_truncation_of_every_header_passes_or_is_dropped_by_its_source(_scene: &Scene) -> Shown {
    let (mut gate, maps) = against(BLOCK)?;
    let frames = [
        (ip4(TCP, &tcp(22, SYN)), 14 + 20),
        (ip4_with(BAD, UDP, &[1; 40], 0, &udp([1, 2])), 14 + 20),
        (tagged(2, &ip4(ICMP, &[8, 0, 0, 0])), 22 + 20),
        (ip6(TCP, &tcp(22, SYN)), 14 + 40),
        (ip6(60, &extensions(8, SCTP, &[0; 12])), 14 + 40),
        (ip6(44, &[17, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 2]), 14 + 40),
    ];
    let mut played = 0;
    for (frame, readable) in frames {
        for length in 14..=frame.len() {
            let dropped = gate.run(&frame[..length], 1)?.dropped;
            assert_eq!(dropped, length >= readable, "{length} of {}: {frame:02x?}", frame.len());
            played += 1;
        }
        // Lengths that lie: every value of each byte of the length fields.
        for at in readable - 20..readable {
            for value in 0..=255 {
                let mut lying = frame.clone();
                lying[at] = value;
                gate.run(&lying, 1)?;
                played += 1;
            }
        }
    }
    let counted: u64 = maps
        .counts()?
        .iter()
        .filter(|(outcome, _)| *outcome != Outcome::Fragment)
        .map(|(_, count)| count.packets)
        .sum();
    assert_eq!(counted, played, "each frame is counted once");
    Ok(())
}

fn a_verdict_on_a_network_holds_for_all_in_it(_scene: &Scene) -> Shown {
    let (mut gate, mut maps) = gate(&ENFORCE)?;
    let from = |last| ip4_with([203, 0, 113, last], TCP, &[], 0, &tcp(22, SYN));
    maps.insert("203.0.113.0/25".parse()?, BLOCK)?;
    maps.insert("2001:db8:7::/64".parse()?, BLOCK)?;
    play(
        &mut gate,
        &[
            ("the first", from(0), true),
            ("the last", from(127), true),
            ("beyond it", from(128), false),
            ("IPv6", ip6(TCP, &tcp(22, SYN)), true),
        ],
    )?;
    // One on an address that is not about this packet leaves it to the network's.
    maps.insert("203.0.113.7/32".parse()?, Block { port: 80, ..BLOCK })?;
    play(&mut gate, &[("another port", ip4(TCP, &tcp(22, SYN)), true)])?;
    assert!(maps.remove("203.0.113.0/25".parse()?)?);
    assert!(!maps.remove("203.0.113.0/25".parse()?)?, "it is gone");
    play(
        &mut gate,
        &[
            ("the network is free", from(1), false),
            ("the address's port is not", ip4(TCP, &tcp(80, SYN)), true),
        ],
    )
}

/// Networks, with the verdict on each, and what becomes of each packet of a row of them.
type Nested<'a> = (&'a str, Vec<(&'a str, Block)>, &'a [Outcome]);

fn no_milder_verdict_opens_what_a_wider_one_closes(_scene: &Scene) -> Shown {
    use Outcome::{DropAddress, DropNetwork, DropRate, OutOfScope, Pass, WithinRate, WouldDrop};

    let limited = Block { action: RATE_LIMIT, ..BLOCK };
    let observed = Block { enforce: 0, ..BLOCK };
    let past = Block { deadline_ns: 1, ..BLOCK };
    let of_web = Block { port: 80, ..BLOCK };
    let within = [WithinRate, WithinRate, WithinRate, WithinRate, WithinRate, DropRate];
    let rows: Vec<Nested<'_>> = vec![
        ("the address alone", vec![("7/32", BLOCK), ("0/24", limited)], &[DropAddress]),
        ("a limit on the address", vec![("7/32", limited), ("0/24", BLOCK)], &[DropNetwork]),
        ("an observed one on it", vec![("7/32", observed), ("0/24", BLOCK)], &[DropNetwork]),
        ("one on it that is over", vec![("7/32", past), ("0/24", BLOCK)], &[DropNetwork]),
        ("a limit on the network", vec![("0/25", limited), ("0/24", BLOCK)], &[DropNetwork]),
        ("an observed one on it", vec![("0/25", observed), ("0/24", BLOCK)], &[DropNetwork]),
        ("one on it that is over", vec![("0/25", past), ("0/24", BLOCK)], &[DropNetwork]),
        ("one about other packets", vec![("0/25", of_web), ("0/24", BLOCK)], &[DropNetwork]),
        (
            "all of them",
            vec![
                ("7/32", limited),
                ("6/31", observed),
                ("4/30", past),
                ("0/29", of_web),
                ("0/28", limited),
                ("0/27", observed),
                ("0/26", past),
                ("0/25", of_web),
                ("0/24", BLOCK),
            ],
            &[DropNetwork],
        ),
        ("mild ones alone", vec![("7/32", limited), ("0/24", observed)], &within),
        ("the same about", vec![("7/32", observed), ("0/24", limited)], &[WouldDrop]),
        ("a limit in a wider one", vec![("0/25", of_web), ("0/24", limited)], &within),
        ("nothing in force", vec![("7/32", past), ("0/25", past), ("0/24", past)], &[Pass]),
        ("other packets alone", vec![("7/32", of_web), ("0/24", past)], &[OutOfScope]),
        ("other packets, wider", vec![("0/25", past), ("0/24", of_web)], &[OutOfScope]),
    ];
    let settings =
        Settings { all_interval_ns: 3600 * SECOND, all_burst_ns: 18_000 * SECOND, ..ENFORCE };
    let (mut gate, mut maps) = gate(&settings)?;
    let syn = tcp(22, SYN);
    let families = [("203.0.113.", 0, ip4(TCP, &syn)), ("2001:db8:7::", 96, ip6(TCP, &syn))];
    for (prefix, further, syn) in &families {
        for (what, networks, outcomes) in &rows {
            let networks = networks.iter().map(|(network, block)| {
                let (host, length) = network.split_once('/').ok_or("a network")?;
                let length = length.parse::<u8>()? + further;
                Ok::<_, Failed>((format!("{prefix}{host}/{length}").parse()?, *block))
            });
            let networks = networks.collect::<Result<Vec<_>, _>>()?;
            for (network, block) in &networks {
                maps.insert(*network, *block)?;
            }
            let mut counted = packets(&maps)?;
            for outcome in *outcomes {
                gate.run(syn, 1)?;
                counted[*outcome as usize] += 1;
                assert_eq!(packets(&maps)?, counted, "{what}, {prefix}");
            }
            for (network, _) in networks {
                assert!(maps.remove(network)?);
            }
        }
    }
    Ok(())
}

/// How many packets had each outcome.
fn packets(maps: &Maps) -> Result<Vec<u64>, Failed> {
    Ok(maps.counts()?.iter().map(|(_, count)| count.packets).collect())
}

fn the_allow_list_wins_in_the_kernel_too(_scene: &Scene) -> Shown {
    let (mut gate, mut maps) = gate(&ENFORCE)?;
    maps.insert("203.0.113.0/24".parse()?, BLOCK)?;
    maps.insert("2001:db8:7::/64".parse()?, BLOCK)?;
    maps.allow(&["203.0.113.7/32".parse()?, "2001:db8:7::/65".parse()?])?;
    play(
        &mut gate,
        &[
            ("allowed", ip4(TCP, &tcp(22, SYN)), false),
            ("not", ip4_with([203, 0, 113, 6], TCP, &[], 0, &tcp(22, SYN)), true),
            ("allowed over IPv6", ip6(TCP, &tcp(22, SYN)), false),
        ],
    )?;
    maps.allow(&["198.51.100.0/24".parse()?])?;
    assert_eq!(maps.allowed()?, ["198.51.100.0/24".parse()?]);
    play(
        &mut gate,
        &[
            ("no more", ip4(TCP, &tcp(22, SYN)), true),
            ("no more over IPv6", ip6(TCP, &tcp(22, SYN)), true),
        ],
    )
}

/// The program remembers of an address that it was not on the list: until the list is another.
fn an_allow_entry_counts_for_a_source_that_was_dropped_before(_scene: &Scene) -> Shown {
    let (mut gate, mut maps) = against(BLOCK)?;
    maps.allow(&["198.51.100.0/24".parse()?])?;
    let both = |dropped| {
        [("IPv4", ip4(TCP, &tcp(22, SYN)), dropped), ("IPv6", ip6(UDP, &udp([5, 53])), dropped)]
    };
    for _ in 0..3 {
        play(&mut gate, &both(true))?;
        play(&mut gate, &both(true))?;
        maps.allow(&["203.0.113.0/29".parse()?, "2001:db8:7::/48".parse()?])?;
        play(&mut gate, &both(false))?;
        maps.allow(&[])?;
    }
    play(&mut gate, &both(true))
}

fn a_verdict_ends_at_its_deadline_without_the_daemon(_scene: &Scene) -> Shown {
    let (mut gate, _maps) = against(Block { deadline_ns: now_ns() + 60 * SECOND, ..BLOCK })?;
    play(&mut gate, &[("before it", ip4(TCP, &tcp(22, SYN)), true)])?;
    let (mut gate, maps) = against(Block { deadline_ns: now_ns() - 60 * SECOND, ..BLOCK })?;
    play(&mut gate, &[("after it", ip4(TCP, &tcp(22, SYN)), false)])?;
    let block = maps.block("203.0.113.7/32".parse()?)?.ok_or("it is still there")?;
    assert_eq!(block.packets, 0);
    Ok(())
}

/// It counts the kernel's ticks, from where `CLOCK_MONOTONIC` was when it was loaded: they come as far as that
/// does, late by some ticks.
fn the_program_s_clock_is_the_daemon_s(_scene: &Scene) -> Shown {
    let (mut gate, maps) = gate(&ENFORCE)?;
    let base = maps.daemon()?.clock_ns;
    let mut read = || -> Result<(u64, u64), Failed> {
        let (ticks, now) = gate.clock()?;
        Ok((base.wrapping_add(ticks.wrapping_mul(tidegate_ebpf::tick_ns())), now))
    };
    let (_, begun) = read()?;
    poll::until_true("the program's clock to keep up", SOON, || {
        read().is_ok_and(|(program, now)| {
            let passed = now - begun;
            passed > SECOND / 5 && program.abs_diff(now) < passed / 8
        })
    })
}

fn counts_hold_beyond_what_one_word_has_room_for(_scene: &Scene) -> Shown {
    // Past 2^23 packets the program carries over; and past it again.
    const PACKETS: u32 = 20_000_000;
    let (mut gate, maps) = against(BLOCK)?;
    gate.run(&ip4(TCP, &tcp(22, SYN)), PACKETS)?;
    let block = maps.block("203.0.113.7/32".parse()?)?.ok_or("it is there")?;
    assert_eq!((block.packets, block.bytes), (PACKETS.into(), 40 * u64::from(PACKETS)));
    let blocks = maps.blocks()?;
    assert!(blocks.iter().any(|(_, one)| one.packets == u64::from(PACKETS)), "{blocks:?}");
    Ok(())
}

fn observe_never_drops_and_counts_what_it_would_have(_scene: &Scene) -> Shown {
    let syn = ip4(TCP, &tcp(22, SYN));
    // Neither a mode of the gate nor one of the entry alone arms it.
    for (enforce, entry) in [(false, 1), (false, 0), (true, 0)] {
        let (mut gate, mut maps) = gate(&Settings { enforce, ..ENFORCE })?;
        let network = "203.0.113.7/32".parse()?;
        maps.insert(network, Block { enforce: entry, ..BLOCK })?;
        for _ in 0..3 {
            assert!(!gate.run(&syn, 1)?.dropped, "gate {enforce}, entry {entry}");
        }
        let block = maps.block(network)?.ok_or("it is there")?;
        assert_eq!((block.packets, block.bytes), (3, 3 * 40));
        assert_eq!(maps.counts()?[Outcome::WouldDrop as usize].1.packets, 3);
    }
    Ok(())
}

fn a_silent_daemon_opens_the_gate(_scene: &Scene) -> Shown {
    let settings = Settings { fail_open_ns: 30 * SECOND, ..ENFORCE };
    let (mut gate, mut maps) = gate(&settings)?;
    maps.insert("203.0.113.7/32".parse()?, BLOCK)?;
    let syn = ip4(TCP, &tcp(22, SYN));
    assert!(!gate.run(&syn, 1)?.dropped, "it never said that it lives");
    maps.beat()?;
    assert!(gate.run(&syn, 1)?.dropped, "it lives");
    maps.beat_at(now_ns() - 31 * SECOND)?;
    assert!(!gate.run(&syn, 1)?.dropped, "it is silent");
    assert!(maps.silent_ns()?.is_some_and(|silent| silent >= 31 * SECOND));
    assert_eq!(maps.counts()?[Outcome::FailOpen as usize].1.packets, 2);
    Ok(())
}

fn a_rate_limit_lets_the_rate_through_and_no_more(_scene: &Scene) -> Shown {
    // A packet an hour, five ahead: however slow this runs, five pass.
    let hour = 3600 * SECOND;
    let settings = Settings {
        all_interval_ns: hour,
        all_burst_ns: 5 * hour,
        new_interval_ns: hour,
        new_burst_ns: 2 * hour,
        ..ENFORCE
    };
    for (scope, passing) in [(ALL, 5), (NEW, 2)] {
        let (mut gate, mut maps) = gate(&settings)?;
        let network = "203.0.113.7/32".parse()?;
        maps.insert(network, Block { action: RATE_LIMIT, scope, ..BLOCK })?;
        let syn = ip4(TCP, &tcp(22, SYN));
        let mut passed = 0;
        for _ in 0..20 {
            passed += u64::from(!gate.run(&syn, 1)?.dropped);
        }
        assert_eq!(passed, passing, "scope {scope}");
        let counts = maps.counts()?;
        assert_eq!(counts[Outcome::WithinRate as usize].1.packets, passing);
        assert_eq!(counts[Outcome::DropRate as usize].1.packets, 20 - passing);
    }
    Ok(())
}

/// Both directions between two sockets of this host, as the other end's packets: those of the session that
/// was begun here pass, those of the one that was accepted don't.
fn sessions_that_this_host_began_pass(_scene: &Scene) -> Shown {
    let (mut gate, mut maps) = gate(&ENFORCE)?;
    maps.insert("127.0.0.1/32".parse()?, BLOCK)?;
    maps.insert("::1/128".parse()?, BLOCK)?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = TcpListener::bind(address)?;
        let client = TcpStream::connect(server.local_addr()?)?;
        let (accepted, _) = server.accept()?;
        let (ours, theirs) = (client.local_addr()?.port(), server.local_addr()?.port());
        let segment = |from: u16, to: u16, flags| {
            let mut header = tcp(to, flags);
            header[..2].copy_from_slice(&from.to_be_bytes());
            let mut frame = if address.starts_with('[') {
                ip6(TCP, &header)
            } else {
                ip4_with([127, 0, 0, 1], TCP, &[], 0, &header)
            };
            if address.starts_with('[') {
                frame[22..38].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
            }
            frame
        };
        play(
            &mut gate,
            &[
                ("what the server sends to our client", segment(theirs, ours, ACK), false),
                ("what the client sends to our server", segment(ours, theirs, ACK), true),
                ("a SYN, whatever there is", segment(theirs, ours, SYN), true),
                ("an ACK to nobody", segment(theirs, 1, ACK), true),
            ],
        )?;
        drop((client, accepted));
    }
    let resolver = UdpSocket::bind("127.0.0.1:0")?;
    let server = UdpSocket::bind("127.0.0.1:0")?;
    resolver.connect(server.local_addr()?)?;
    let (ours, theirs) = (resolver.local_addr()?.port(), server.local_addr()?.port());
    let datagram = |ports| ip4_with([127, 0, 0, 1], UDP, &[], 0, &udp(ports));
    play(
        &mut gate,
        &[
            ("an answer to our question", datagram([theirs, ours]), false),
            ("a question to our server", datagram([ours, theirs]), true),
        ],
    )
}

fn a_full_map_refuses_and_says_so(_scene: &Scene) -> Shown {
    let (_gate, mut maps) = gate(&Settings { max_blocks: 8, ..ENFORCE })?;
    let mut refused = 0;
    for last in 0..64 {
        match maps.insert(format!("203.0.113.{last}/32").parse()?, BLOCK) {
            Ok(()) => {}
            Err(tidegate_ebpf::Error::Full("tg_block4")) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(refused, 56);
    assert_eq!(maps.blocks()?.len(), 8);
    Ok(())
}

fn each_outcome_is_counted_once(_scene: &Scene) -> Shown {
    let (mut gate, maps) = against(BLOCK)?;
    for _ in 0..5 {
        gate.run(&ip4(TCP, &tcp(22, SYN)), 1)?;
        gate.run(&ip4(ICMP, &[3, 4, 0, 0, 0, 0, 0, 0]), 1)?;
        gate.run(&ip4_with(BAD, UDP, &[], 3, &[0; 40]), 1)?;
    }
    let counts = maps.counts()?;
    let packets = |outcome: Outcome| counts[outcome as usize].1;
    assert_eq!(packets(Outcome::DropAddress).packets, 10);
    assert_eq!(packets(Outcome::DropAddress).bytes, 5 * (40 + 60));
    assert_eq!(packets(Outcome::Exempt).packets, 5);
    assert_eq!(packets(Outcome::Fragment).packets, 5);
    Ok(())
}
