//! What the program counts of flows, packet by packet (`BPF_PROG_TEST_RUN`): tables of what comes in and goes out,
//! and of what is in the map then; a full map; errors of it; and that nothing is lost when a flow is taken out.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tidegate_ebpf::{
    Accounting, Denying, Duties, Flows, Gate, Guard, Maps, Sampling, Watch,
    abi::{ALL, Block, DROP, Parsing},
    flows::{self, Account, Counted, Ends, FlowKey},
    layout::Settings,
};

use super::{
    guard::WATCH,
    made::{self, BAD, ENFORCE, ip4_with},
    reference::{changed, kinds},
};
use crate::harness::{
    Case, Outcome, Scene,
    frames::{
        Segment,
        Way::{self, Back, There},
        flags, ipv4_part, on_ethernet, on_vlans, ping, port_unreachable, sctp, tcp, tcp6, udp,
        udp_fragments, udp6, udp6_fragments,
    },
};

const SYN: u8 = flags::SYN;
const ACK: u8 = flags::ACK;
const FIN: u8 = flags::FIN | flags::ACK;
const RST: u8 = 0x04;
const COUNTING: Accounting = Accounting {
    flows: true,
    max_flows: 1_000,
    longest: 1500,
    past_bytes: 1 << 20,
    insert_error: 0,
    insert_fails: 0,
};
const EBUSY: u32 = 16;
const E2BIG: u32 = 7;
const ENOMEM: u32 = 12;
const EEXIST: u32 = 17;
const EINVAL: u32 = 22;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(each_packet_is_counted_to_its_flow_and_its_end).needs_root(),
        Case::new(a_connection_that_uses_the_ends_of_another_is_a_flow_of_its_own).needs_root(),
        Case::new(what_finds_the_ring_full_is_counted_to_the_former_connection).needs_root(),
        Case::new(a_frame_that_claims_more_than_it_has_is_counted_apart).needs_root(),
        Case::new(the_verifier_is_far_from_its_limit).needs_root(),
        Case::new(a_full_table_refuses_and_what_it_refuses_is_unattributed).needs_root(),
        Case::new(each_error_of_an_insert_is_counted_apart).needs_root(),
        Case::new(a_flow_that_is_taken_out_has_all_that_was_counted_to_it).needs_root(),
        Case::new(dropped_packets_and_those_after_a_stop_are_not_counted).needs_root(),
        Case::new(random_frames_are_all_in_flows_or_unattributed).needs_root().busy(),
    ]
}

/// A frame, and whether the host sends it.
#[derive(Debug, Clone)]
enum Frame {
    In(Vec<u8>),
    Out(Vec<u8>),
}

use Frame::{In, Out};

/// One row: what it is, the frames, the flows that are there then.
type Row = (&'static str, Vec<Frame>, &'static [&'static str]);

fn counting(accounting: &Accounting) -> Result<(Gate, Maps, Flows), Failed> {
    let duties = Duties { accounting: *accounting, ..Duties::default() };
    let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
    let (maps, flows) = (gate.take_maps()?, gate.take_flows()?);
    Ok((gate, maps, flows))
}

fn all(flows: &mut Flows) -> Result<Vec<(FlowKey, Counted)>, Failed> {
    let mut all = Vec::new();
    flows.sweep(|key, counted| all.push((*key, *counted)))?;
    Ok(all)
}

/// Those whose key another connection took, since the last time.
fn past(flows: &mut Flows) -> Result<Vec<(FlowKey, Counted)>, Failed> {
    let mut past = Vec::new();
    flows.past(|key, counted| past.push((*key, *counted)))?;
    Ok(past)
}

fn sums_of(flows: &[(FlowKey, Counted)]) -> (u64, u64) {
    flows.iter().fold((0, 0), |(packets, bytes), (_, counted)| {
        let sum = |both: [u64; 2]| both.iter().sum::<u64>();
        (packets + sum(counted.packets), bytes + sum(counted.bytes))
    })
}

/// Packets and bytes of all flows.
fn sums(flows: &mut Flows) -> Result<(u64, u64), Failed> {
    Ok(sums_of(&all(flows)?))
}

/// Fails unless flows have all packets but the unattributed ones.
fn balance(flows: &mut Flows) -> Result<Account, Failed> {
    balance_with(flows, &[])
}

/// The same, with flows that came by the ring.
fn balance_with(flows: &mut Flows, past: &[(FlowKey, Counted)]) -> Result<Account, Failed> {
    let account = flows.account()?;
    let ((packets, bytes), gone) = (sums(flows)?, sums_of(past));
    let (packets, bytes) = (packets + gone.0, bytes + gone.1);
    assert_eq!(packets + account.unattributed, account.packets, "{account:?}");
    assert_eq!(bytes + account.unattributed_bytes, account.bytes, "{account:?}");
    Ok(account)
}

/// A flow in a few words, from the first packet's sender's side.
fn words(key: &FlowKey, counted: &Counted) -> String {
    let from_low = counted.from_low != 0;
    let ports = match key.ends() {
        Ends::Portless => String::new(),
        Ends::OneWay => format!(" {}/{} one way", key.end(from_low).1, key.end(!from_low).1),
        _ => format!(" {}>{}", key.end(from_low).1, key.end(!from_low).1),
    };
    let side = |low: bool| {
        let at = usize::from(!low);
        let marks = [
            (flows::SYN, "S"),
            (flows::SYN_ACK, "H"),
            (flows::MORE, "A"),
            (flows::PAYLOAD, "D"),
            (flows::RESET, "R"),
            (1, "F"),
            (flows::DAMAGED, "!"),
            (flows::LATER, "/"),
            (flows::ANSWERS, "<"),
        ];
        let set = marks.iter().filter(|(bit, _)| counted.seen[at] & bit != 0);
        let letters: String = set.map(|(_, letter)| *letter).collect();
        format!(" {}:{}{letters}", counted.packets[at], counted.bytes[at])
    };
    let tags = key.tags();
    let set = tags.iter().filter(|tag| **tag != 0);
    let vlans: Vec<String> = set.map(|tag| format!(" vlan{}", tag & 0xfff)).collect();
    let vlans = vlans.concat();
    format!("{}{ports}{vlans}{}{}", key.transport, side(from_low), side(!from_low))
}

fn segment(ports: [u16; 2], flags: u8, payload: &'static [u8]) -> Segment<'static> {
    Segment { ports, numbers: [1, 1], flags, payload }
}

fn there(flags: u8, payload: &'static [u8]) -> Frame {
    In(on_ethernet(&tcp(There, segment([4000, 80], flags, payload))))
}

fn back(flags: u8, payload: &'static [u8]) -> Frame {
    Out(on_ethernet(&tcp(Back, segment([4000, 80], flags, payload))))
}

fn each_packet_is_counted_to_its_flow_and_its_end(_: &Scene) -> Outcome {
    let mut wrong = Vec::new();
    for (what, frames, expected) in [of_tcp(), of_equals(), of_others()].concat() {
        let (mut gate, _maps, mut flows) = counting(&COUNTING)?;
        for frame in frames {
            match frame {
                In(frame) => assert!(!gate.run(&frame, 1)?.dropped, "{what}: it passes"),
                Out(frame) => gate.run_egress(&frame)?,
            }
        }
        let mut there: Vec<_> =
            all(&mut flows)?.iter().map(|(key, counted)| words(key, counted)).collect();
        there.sort_unstable();
        if there != expected {
            wrong.push(format!("{what}: {there:?} instead of {expected:?}"));
        }
        balance(&mut flows)?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn of_tcp() -> Vec<Row> {
    let (fin, handshake) = (flags::FIN | flags::ACK, flags::SYN | flags::ACK);
    let open = [there(flags::SYN, b""), back(handshake, b""), there(flags::ACK, b"")];
    let six = |way| on_ethernet(&tcp6(way, segment([4000, 80], flags::ACK, b"x")));
    vec![
        (
            "a connection",
            [
                &open[..],
                &[there(flags::ACK, b"ask"), back(flags::ACK, b"answer")],
                &[there(fin, b""), back(fin, b""), there(flags::ACK, b"")],
            ]
            .concat(),
            &["6 4000>80 5:203SADF 3:126HADF"],
        ),
        (
            "one that is refused",
            vec![there(flags::SYN, b""), back(RST | flags::ACK, b"")],
            &["6 4000>80 1:40S 1:40R"],
        ),
        (
            "a RST once both have closed",
            vec![there(fin, b""), back(fin, b""), there(RST, b"")],
            &["6 4000>80 2:80AF 1:40AF"],
        ),
        (
            "a RST before the other has closed",
            vec![there(fin, b""), there(RST, b""), back(fin, b"")],
            &["6 4000>80 2:80ARF 1:40AF"],
        ),
        (
            "over IPv6, the server first",
            vec![Out(six(Back)), In(six(There))],
            &["6 80>4000 1:61AD 1:61AD"],
        ),
        (
            "the same ends in two VLANs, one of them in two, and a tag without one",
            vec![
                In(on_vlans(&[7], &tcp(There, segment([1, 2], flags::ACK, b"")))),
                In(on_vlans(&[7, 8], &tcp(There, segment([1, 2], flags::ACK, b"")))),
                In(on_vlans(&[0], &tcp(Back, segment([1, 2], flags::ACK, b"")))),
            ],
            &["6 1>2 vlan7 1:40A 0:0", "6 1>2 vlan7 vlan8 1:40A 0:0", "6 2>1 1:40A 0:0"],
        ),
        (
            "a header that is cut off",
            vec![In(ip4_with(BAD, made::TCP, &[], 0, &[0, 1, 0, 2, 0, 0]))],
            &["6 1>2 1:26! 0:0"],
        ),
    ]
}

/// A segment with these numbers, and what sent it.
fn numbered(way: Way, flags: u8, numbers: [u32; 2]) -> Frame {
    let segment = Segment { ports: [4000, 80], numbers, flags, payload: b"" };
    let frame = on_ethernet(&tcp(way, segment));
    if way == There { In(frame) } else { Out(frame) }
}

/// The handshake of a connection.
fn open() -> [Frame; 3] {
    [
        numbered(There, SYN, [100, 0]),
        numbered(Back, SYN | ACK, [500, 101]),
        numbered(There, ACK, [101, 501]),
    ]
}

fn then(before: &[Frame], after: &[Frame]) -> Vec<Frame> {
    [before, after].concat()
}

/// Rows as [`Row`], with the flows that came by the ring, marked by a `-`, before those that are there.
fn of_ended() -> Vec<Row> {
    let closed =
        then(&open(), &[numbered(There, FIN, [101, 501]), numbered(Back, FIN, [501, 102])]);
    let reset = [numbered(There, SYN, [100, 0]), numbered(Back, RST | ACK, [0, 101])];
    vec![
        (
            "a SYN on one that is closed",
            then(&closed, &[numbered(There, SYN, [900, 0])]),
            &["-6 4000>80 3:120SAF 2:80HAF", "6 4000>80 1:40S 0:0"],
        ),
        (
            "of the side that was asked before",
            then(&closed, &[numbered(Back, SYN, [900, 0])]),
            &["-6 4000>80 3:120SAF 2:80HAF", "6 80>4000 1:40S 0:0"],
        ),
        (
            "with the number it began with: it came late, or again",
            then(&closed, &[numbered(There, SYN, [100, 0])]),
            &["6 4000>80 4:160SAF 2:80HAF"],
        ),
        (
            "after a RST with any number",
            then(&reset, &reset),
            &["-6 4000>80 1:40S 1:40R", "6 4000>80 1:40S 1:40R"],
        ),
        (
            "one that was not answered, with another number",
            vec![numbered(There, SYN, [100, 0]), numbered(There, SYN, [900, 0])],
            &["-6 4000>80 1:40S 0:0", "6 4000>80 1:40S 0:0"],
        ),
        (
            "the same again is a repetition",
            vec![numbered(There, SYN, [100, 0]), numbered(There, SYN, [100, 0])],
            &["6 4000>80 2:80S 0:0"],
        ),
        (
            "a SYN-ACK on one that is closed, whose SYN was not seen",
            then(&closed, &[numbered(Back, SYN | ACK, [800, 901])]),
            &["-6 4000>80 3:120SAF 2:80HAF", "6 80>4000 1:40H 0:0"],
        ),
        (
            "one that was seen from one side, and then from the other",
            vec![
                numbered(There, SYN, [100, 0]),
                numbered(There, ACK, [101, 501]),
                numbered(There, FIN, [101, 620]),
                numbered(Back, SYN | ACK, [500, 101]),
            ],
            &["-6 4000>80 3:120SAF 0:0", "6 80>4000 1:40H 0:0"],
        ),
        (
            "a SYN that its SYN-ACK overtook",
            vec![numbered(Back, SYN | ACK, [500, 101]), numbered(There, SYN, [100, 0])],
            &["6 80>4000 1:40H 1:40S"],
        ),
        (
            "the first SYN of one that was under way",
            vec![numbered(There, ACK, [101, 501]), numbered(There, SYN, [100, 0])],
            &["6 4000>80 2:80SA 0:0"],
        ),
    ]
}

/// The same of SYNs on a connection that is open.
fn of_challenges() -> Vec<Row> {
    vec![
        (
            "on one that is open it counts there",
            then(&open(), &[numbered(There, SYN, [900, 0])]),
            &["6 4000>80 3:120SA 1:40H"],
        ),
        (
            "until it is answered",
            then(
                &open(),
                &[
                    numbered(There, SYN, [900, 0]),
                    numbered(Back, SYN | ACK, [700, 901]),
                    numbered(There, ACK, [901, 701]),
                ],
            ),
            &["-6 4000>80 2:80SA 1:40H", "6 4000>80 2:80SA 1:40H"],
        ),
        (
            "or refused",
            then(&open(), &[numbered(There, SYN, [900, 0]), numbered(Back, RST | ACK, [0, 901])]),
            &["-6 4000>80 2:80SA 1:40H", "6 4000>80 1:40S 1:40R"],
        ),
        (
            "the other side's, answered",
            then(&open(), &[numbered(Back, SYN, [900, 0]), numbered(There, SYN | ACK, [700, 901])]),
            &["-6 4000>80 2:80SA 1:40H", "6 80>4000 1:40S 1:40H"],
        ),
        (
            "a repeated SYN-ACK",
            then(&open(), &[numbered(Back, SYN | ACK, [500, 101])]),
            &["6 4000>80 2:80SA 2:80H"],
        ),
    ]
}

fn a_connection_that_uses_the_ends_of_another_is_a_flow_of_its_own(_: &Scene) -> Outcome {
    let mut wrong = Vec::new();
    for (what, frames, expected) in [of_ended(), of_challenges()].concat() {
        let (mut gate, _maps, mut flows) = counting(&COUNTING)?;
        for frame in frames {
            match frame {
                In(frame) => assert!(!gate.run(&frame, 1)?.dropped, "{what}: it passes"),
                Out(frame) => gate.run_egress(&frame)?,
            }
        }
        let past = past(&mut flows)?;
        let gone = past.iter().map(|(key, counted)| format!("-{}", words(key, counted)));
        let live = all(&mut flows)?;
        let told: Vec<_> =
            gone.chain(live.iter().map(|(key, counted)| words(key, counted))).collect();
        if told != expected {
            wrong.push(format!("{what}: {told:?} instead of {expected:?}"));
        }
        let account = balance_with(&mut flows, &past)?;
        assert_eq!(account.merged, 0, "{what}");
        let ends = past.iter().map(|(_, past)| past.last_ns).max().unwrap_or(0);
        let begins = live.iter().map(|(_, live)| live.first_ns).min().unwrap_or(0);
        assert!(ends <= begins, "{what}: {past:?} {live:?}");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn what_finds_the_ring_full_is_counted_to_the_former_connection(_: &Scene) -> Outcome {
    const SYNS: u32 = 100;
    let (mut gate, _maps, mut flows) = counting(&Accounting { past_bytes: 4096, ..COUNTING })?;
    let syn = |number| match numbered(There, flags::SYN, [number, 0]) {
        In(frame) | Out(frame) => frame,
    };
    for number in 1..=SYNS {
        gate.run(&syn(number), 1)?;
    }
    let gone = past(&mut flows)?;
    let account = balance_with(&mut flows, &gone)?;
    // 136 bytes and 8 of the ring for each.
    assert!((20..=28).contains(&gone.len()), "{} flows", gone.len());
    assert_eq!(account.merged + gone.len() as u64, u64::from(SYNS) - 1);
    assert_eq!(account.unattributed, 0);
    // There is room again.
    gate.run(&syn(1_000), 1)?;
    assert_eq!(past(&mut flows)?.len(), 1);
    Ok(())
}

fn a_frame_that_claims_more_than_it_has_is_counted_apart(_: &Scene) -> Outcome {
    let whole = on_ethernet(&udp(There, [4000, 53], &[7; 40]));
    let cut = &whole[..whole.len() - 10];
    let padded = [&whole[..], &[0; 10]].concat();
    let (mut gate, _maps, mut flows) = counting(&COUNTING)?;
    for (frame, expected) in [(&whole[..], 0), (&padded, 0), (cut, 1)] {
        gate.run(frame, 1)?;
        assert_eq!(flows.account()?.cut, expected, "{} bytes", frame.len());
    }
    gate.run_egress(cut)?;
    gate.run(&on_ethernet(&udp6(There, [4000, 53], b"six"))[..60], 1)?;
    let account = balance(&mut flows)?;
    assert_eq!((account.packets, account.cut, account.oversized), (5, 3, 0));
    // They count with what is there.
    let ip = whole.len() as u64 - 14;
    assert_eq!(account.bytes, 2 * ip + 2 * (ip - 10) + 46);
    Ok(())
}

fn the_verifier_is_far_from_its_limit(_: &Scene) -> Outcome {
    /// The kernel's is a million (`BPF_COMPLEXITY_LIMIT_INSNS`), and what it counts differs from version to version.
    const FAR: u32 = 700_000;
    for is_mirror in [false, true] {
        let guard = Guard { syn_interval_ns: 1_000_000, ..WATCH.guard };
        let watch = Watch { is_mirror, guard, ..WATCH };
        let settings = Settings { fail_open_ns: 30_000_000_000, ..ENFORCE };
        let sampling = Sampling { packets: true, sample: 10, ring_bytes: 1 };
        let denying = Denying { counts: true, ..Denying::OFF };
        let duties = Duties { watch, accounting: COUNTING, sampling, denying };
        let mut gate = Gate::load_for(&settings, &duties, None)?;
        let verified = gate.verified()?;
        eprintln!("instructions that were verified, mirror {is_mirror}: {verified:?}");
        assert!(verified.iter().all(|(_, count)| *count <= FAR), "{verified:?}");
        assert!(
            verified.iter().any(|(_, count)| *count > 10_000),
            "everything is on: {verified:?}"
        );
    }
    Ok(())
}

/// Between two ends that both use the server's port the content of the first datagram tells who asked.
fn of_equals() -> Vec<Row> {
    let ntp = |way, mode: u8| {
        on_ethernet(&udp(way, [123; 2], &[[0x20 | mode].as_slice(), &[0; 47]].concat()))
    };
    let dns = |way, port: u16, flags: u8| {
        on_ethernet(&udp(way, [port; 2], &[&[0, 7, flags][..], &[0; 9]].concat()))
    };
    vec![
        (
            "a server's time first",
            vec![Out(ntp(Back, 4)), In(ntp(There, 3))],
            &["17 123>123 1:76< 1:76"],
        ),
        (
            "a client's time first",
            vec![In(ntp(There, 3)), Out(ntp(Back, 4))],
            &["17 123>123 1:76 1:76"],
        ),
        ("peers' times", vec![In(ntp(There, 1)), Out(ntp(Back, 2))], &["17 123>123 1:76 1:76"]),
        (
            "an answer of DNS first",
            vec![In(dns(Back, 53, 0x80)), Out(dns(There, 53, 0))],
            &["17 53>53 1:40< 1:40"],
        ),
        (
            "a question first, then answers",
            vec![In(dns(There, 53, 0)), Out(dns(Back, 53, 0x80)), Out(dns(Back, 53, 0x84))],
            &["17 53>53 1:40 2:80"],
        ),
        ("what is no DNS", vec![In(dns(There, 53, 0xf8))], &["17 53>53 1:40 0:0"]),
        (
            "a name's registration, answered",
            vec![In(dns(Back, 137, 0xa8))],
            &["17 137>137 1:40< 0:0"],
        ),
        (
            "too short",
            vec![In(on_ethernet(&udp(Back, [123; 2], &[4; 47])))],
            &["17 123>123 1:75 0:0"],
        ),
    ]
}

fn of_others() -> Vec<Row> {
    let ask = udp(There, [4000, 53], b"ask");
    let fragments = udp_fragments([4000, 53]).map(|part| In(on_ethernet(&part)));
    let six = udp6_fragments([4000, 53]).map(|part| In(on_ethernet(&part)));
    vec![
        (
            "a question and its answer",
            vec![In(on_ethernet(&ask)), Out(on_ethernet(&udp(Back, [53, 4000], b"answer")))],
            &["17 4000>53 1:31 1:34"],
        ),
        (
            "an error about it is a flow of its own",
            vec![In(on_ethernet(&ask)), Out(on_ethernet(&port_unreachable(&ask)))],
            &["1 3/3 one way 1:59 0:0", "17 4000>53 1:31 0:0"],
        ),
        (
            "two pings",
            vec![In(on_ethernet(&ping(1))), In(on_ethernet(&ping(2)))],
            &["1 8>0 2:72 0:0"],
        ),
        (
            "a ping and its answer",
            vec![
                In(ip4_with(BAD, made::ICMP, &[], 0, &[8, 0, 0, 0, 0, 0, 0, 0])),
                Out(on_ethernet(&answer_to_ping())),
            ],
            &["1 8>0 1:28 1:28"],
        ),
        ("SCTP", vec![In(on_ethernet(&sctp([5, 6])))], &["132 5>6 1:36 0:0"]),
        (
            "a transport without ports",
            vec![In(ip4_with(BAD, 47, &[], 0, &[0; 12]))],
            &["47 1:32 0:0"],
        ),
        (
            "later fragments have a flow without ports",
            fragments.to_vec(),
            &["17 1:84/ 0:0", "17 4000>53 1:84 0:0"],
        ),
        ("and so over IPv6", six.to_vec(), &["17 1:112/ 0:0", "17 4000>53 1:112 0:0"]),
        (
            "a fragment of TCP that has no whole header",
            vec![In(on_ethernet(&ipv4_part(
                There,
                made::TCP,
                9,
                0x2000,
                &[0, 1, 0, 2, 0, 0, 0, 0],
            )))],
            &["6 1>2 1:28 0:0"],
        ),
        ("what is no IP", vec![In(crate::harness::frames::arp())], &[]),
    ]
}

/// From the host to the client of [`ip4_with`].
fn answer_to_ping() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 7, 0, 0, 64, made::ICMP, 0, 0, 127, 0, 0, 1];
    packet.extend(BAD);
    packet.extend([0; 8]);
    packet
}

fn connection(from: u16) -> Vec<u8> {
    on_ethernet(&tcp(There, segment([from, 80], flags::SYN, b"")))
}

fn a_full_table_refuses_and_what_it_refuses_is_unattributed(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut flows) = counting(&Accounting { max_flows: 64, ..COUNTING })?;
    for from in 1..=200 {
        gate.run(&connection(from), 3)?;
        gate.run_egress(&on_ethernet(&tcp(Back, segment([from, 80], RST, b""))))?;
    }
    let account = balance(&mut flows)?;
    let held = all(&mut flows)?.len() as u64;
    // The kernel keeps a few free entries for each processor.
    assert!((32..=64).contains(&held), "{held} flows");
    assert_eq!(account.packets, 800);
    assert_eq!((account.unattributed, account.full), (800 - 4 * held, 800 - 4 * held));
    assert_eq!((account.busy, account.memory, account.exists, account.other), (0, 0, 0, 0));
    // What has a place goes on being counted, and a place that is free again is used.
    let (key, _) = all(&mut flows)?[0];
    flows.end(&[key])?;
    flows.settle();
    flows.take(&key)?.ok_or("it was there")?;
    gate.run(&connection(1_000), 1)?;
    assert_eq!(all(&mut flows)?.len() as u64, held);
    Ok(())
}

fn each_error_of_an_insert_is_counted_apart(_: &Scene) -> Outcome {
    type Of = fn(&Account) -> u64;
    let rows: [(&str, u32, u32, Of, u64, u64); 6] = [
        ("EBUSY once: tried again", EBUSY, 1, |account| account.busy, 1, 0),
        ("EBUSY twice", EBUSY, 2, |account| account.busy, 2, 1),
        ("E2BIG", E2BIG, 1, |account| account.full, 1, 1),
        ("ENOMEM", ENOMEM, 1, |account| account.memory, 1, 1),
        // Nobody else has put it there: it is not found either.
        ("EEXIST", EEXIST, 1, |account| account.exists, 1, 1),
        ("another", EINVAL, 1, |account| account.other, 1, 1),
    ];
    for (what, insert_error, insert_fails, counted, errors, unattributed) in rows {
        let accounting = Accounting { insert_error, insert_fails, ..COUNTING };
        let (mut gate, _maps, mut flows) = counting(&accounting)?;
        gate.run(&connection(1), 1)?;
        let account = balance(&mut flows)?;
        let all = [account.busy, account.full, account.memory, account.exists, account.other];
        assert_eq!(counted(&account), errors, "{what}: {account:?}");
        assert_eq!(all.iter().sum::<u64>(), errors, "{what}: {account:?}");
        assert_eq!((account.packets, account.unattributed), (1, unattributed), "{what}");
    }
    Ok(())
}

fn a_flow_that_is_taken_out_has_all_that_was_counted_to_it(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut flows) = counting(&COUNTING)?;
    for from in 1..=200 {
        gate.run(&connection(from), 5)?;
    }
    let keys: Vec<_> = all(&mut flows)?.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), 200);
    // Between the last look and the mark packets still count, behind the mark they have no flow.
    gate.run(&connection(7), 2)?;
    flows.end(&keys)?;
    assert!(all(&mut flows)?.iter().all(|(_, counted)| counted.ending != 0));
    gate.run(&connection(7), 3)?;
    flows.settle();
    let mut taken = 0;
    for key in &keys {
        taken += flows.take(key)?.ok_or("it was there")?.packets.iter().sum::<u64>();
        assert_eq!(flows.take(key)?, None);
    }
    let account = flows.account()?;
    assert_eq!((account.packets, taken), (1_005, 1_002));
    assert_eq!((account.unattributed, account.ending), (3, 3));
    gate.run(&connection(7), 1)?;
    assert_eq!(sums(&mut flows)?, (1, 40), "what comes next begins another flow");
    Ok(())
}

fn dropped_packets_and_those_after_a_stop_are_not_counted(_: &Scene) -> Outcome {
    let (mut gate, mut maps, mut flows) = counting(&COUNTING)?;
    let bad = made::ip4(made::TCP, &made::tcp(80, made::SYN));
    gate.run(&bad, 1)?;
    maps.insert(
        "203.0.113.7/32".parse()?,
        Block { action: DROP, scope: ALL, enforce: 1, ..Block::default() },
    )?;
    assert!(gate.run(&bad, 1)?.dropped);
    assert_eq!(flows.account()?.packets, 1);
    flows.stop()?;
    flows.settle();
    gate.run(&connection(1), 10)?;
    gate.run_egress(&connection(1))?;
    assert_eq!(balance(&mut flows)?.packets, 1);
    Ok(())
}

fn random_frames_are_all_in_flows_or_unattributed(scene: &Scene) -> Outcome {
    let (mut gate, _maps, mut flows) = counting(&Accounting { max_flows: 5_000, ..COUNTING })?;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[17; 32]);
    let kinds = kinds();
    let (mut packets, mut bytes, mut keys, mut gone) = (0, 0, BTreeSet::new(), Vec::new());
    for round in 0..if scene.full { 300_000 } else { 30_000 } {
        let frame = changed(&kinds, &mut random);
        let parsed = gate.parse(&frame)?;
        // The kernel runs no tc program by itself on a frame without a whole IP header.
        if round % 2 == 0 || frame.len() < 54 {
            gate.run(&frame, 1)?;
        } else {
            gate.run_egress(&frame)?;
        }
        gone.extend(past(&mut flows)?);
        if parsed.parsing == Parsing::Ok {
            packets += 1;
            bytes += u64::from(parsed.ip_bytes);
            keys.insert([parsed.source, parsed.destination].map(|end| end.to_string()));
        }
    }
    let account = balance_with(&mut flows, &gone)?;
    assert_eq!((account.packets, account.bytes, account.merged), (packets, bytes, 0));
    assert!(!gone.is_empty(), "some used the ends of others");
    assert!(account.unattributed > 0 && keys.len() > 1_000, "{account:?}, {} pairs", keys.len());
    Ok(())
}
