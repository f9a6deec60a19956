//! The frames that the program reports, one by one (`BPF_PROG_TEST_RUN`): that each is what passed, which are chosen,
//! and that all are accounted for, whatever becomes of the ring.

use libtest_mimic::Failed;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tidegate_ebpf::{
    Duties, Gate, Maps, Packets, Sampling,
    abi::{ALL, Block, DROP},
    now_ns,
    packets::{FRAME_BYTES, Sampled},
};

use super::{
    made::{self, ENFORCE},
    reference::{changed, kinds},
};
use crate::harness::{
    Case, Outcome, Scene,
    frames::{Way, on_ethernet, udp},
};

/// A ring of 64 KiB.
const EACH: Sampling = Sampling { packets: true, sample: 1, ring_bytes: 1 };
const RING: u64 = 1 << 16;
/// What a frame takes of it: with a header of 16 bytes, and the ring's own of 8.
const RECORD: u64 = 16 + FRAME_BYTES as u64 + 8;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(each_frame_is_reported_as_it_passed).needs_root(),
        Case::new(a_tag_that_the_card_is_to_add_stands_where_it_will_be).needs_root(),
        Case::new(what_is_dropped_is_not_reported_and_what_is_no_ip_is).needs_root(),
        Case::new(one_of_so_many_is_chosen_on_average).needs_root(),
        Case::new(what_comes_at_regular_intervals_is_neither_always_met_nor_never).needs_root(),
        Case::new(a_ring_of_frames_that_overflows_counts_what_it_loses).needs_root(),
        Case::new(after_a_stop_nothing_is_reported).needs_root(),
        Case::new(where_nobody_reads_packets_nothing_is_seen).needs_root(),
    ]
}

/// A frame as it was reported.
#[derive(Debug, PartialEq, Eq)]
struct Reported {
    time_ns: u64,
    length: u32,
    outward: bool,
    bytes: Vec<u8>,
}

fn reporting(sampling: &Sampling) -> Result<(Gate, Maps, Packets), Failed> {
    let duties = Duties { sampling: *sampling, ..Duties::default() };
    let mut gate = Gate::load_for(&ENFORCE, &duties, None)?;
    let (maps, packets) = (gate.take_maps()?, gate.take_packets()?);
    Ok((gate, maps, packets))
}

fn all(packets: &mut Packets) -> Vec<Reported> {
    let mut all = Vec::new();
    let mut drain = || {
        packets.drain(100, |frame| {
            all.push(Reported {
                time_ns: frame.time_ns,
                length: frame.length,
                outward: frame.outward,
                bytes: frame.bytes.to_vec(),
            });
        })
    };
    while drain() > 0 {}
    all
}

/// What was counted, as a whole.
fn sampled(packets: &Packets) -> Result<Sampled, Failed> {
    let sampled = packets.tally()?;
    assert_eq!(sampled.seen, sampled.passed_over + sampled.chosen, "{sampled:?}");
    Ok(sampled)
}

/// Fails unless exactly this frame was reported.
fn is_reported(packets: &mut Packets, frame: &[u8], outward: bool, since: u64) -> Outcome {
    let reported = all(packets);
    let [one] = &reported[..] else {
        return Err(format!("{} frames of one: {frame:02x?}", reported.len()).into());
    };
    let begins = &frame[..frame.len().min(FRAME_BYTES)];
    if one.bytes != begins || one.length as usize != frame.len() || one.outward != outward {
        return Err(format!("{one:?} of {frame:02x?}").into());
    }
    assert!((since..=now_ns()).contains(&one.time_ns), "{} of {since}", one.time_ns);
    Ok(())
}

fn each_frame_is_reported_as_it_passed(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut packets) = reporting(&EACH)?;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[29; 32]);
    let kinds = kinds();
    let long: Vec<u8> = (0..3_000_u16).flat_map(u16::to_be_bytes).collect();
    let long = on_ethernet(&udp(Way::There, [4000, 53], &long[..3_000]));
    let mut frames: Vec<_> = (14..=FRAME_BYTES + 20).map(|end| long[..end].to_vec()).collect();
    frames.push(long);
    frames.extend((0..1_000).map(|_| changed(&kinds, &mut random)));
    frames.extend(kinds);
    for frame in &frames {
        let since = now_ns();
        assert!(!gate.run(frame, 1)?.dropped);
        is_reported(&mut packets, frame, false, since)?;
        // The kernel runs no tc program by itself on a frame without a whole IP header.
        if frame.len() >= 54 {
            let since = now_ns();
            gate.run_egress(frame)?;
            is_reported(&mut packets, frame, true, since)?;
        }
    }
    let out = frames.iter().filter(|frame| frame.len() >= 54).count();
    let sampled = sampled(&packets)?;
    assert_eq!(sampled.chosen, (frames.len() + out) as u64);
    assert_eq!((sampled.passed_over, sampled.lost), (0, 0));
    Ok(())
}

fn a_tag_that_the_card_is_to_add_stands_where_it_will_be(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut packets) = reporting(&EACH)?;
    let long = on_ethernet(&udp(Way::There, [4000, 53], &[7; 3_000]));
    // Whole, with room for the tag and without, and far longer.
    for length in [60, 61, 100, FRAME_BYTES - 4, FRAME_BYTES - 3, FRAME_BYTES, 1_000, 3_000] {
        let since = now_ns();
        gate.run_tagged(&long[..length])?;
        let tagged = [&long[..12], &[0x88, 0xa8, 0x60, 0x07], &long[12..length]].concat();
        is_reported(&mut packets, &tagged, true, since)
            .map_err(|failed| format!("{length} bytes: {:?}", failed.message()))?;
    }
    Ok(())
}

fn what_is_dropped_is_not_reported_and_what_is_no_ip_is(_: &Scene) -> Outcome {
    let (mut gate, mut maps, mut packets) = reporting(&EACH)?;
    let bad = made::ip4(made::TCP, &made::tcp(80, made::SYN));
    let drop = |enforce| Block { action: DROP, scope: ALL, enforce, ..Block::default() };
    maps.insert("203.0.113.7/32".parse()?, drop(0))?;
    gate.run(&bad, 1)?;
    assert_eq!(all(&mut packets).len(), 1, "it would have been dropped");
    maps.insert("203.0.113.7/32".parse()?, drop(1))?;
    assert!(gate.run(&bad, 5)?.dropped);
    assert_eq!((all(&mut packets).len(), sampled(&packets)?.seen), (0, 1));
    // What the gate does not read behind, such as PPPoE, and what contradicts itself, passes.
    let session = crate::harness::frames::ethernet(0x8864, &[0x11, 0, 0, 7, 0, 40]);
    let cut = [&bad[..20], &[0; 40]].concat();
    for frame in [crate::harness::frames::arp(), session, made::tagged(3, &bad), cut] {
        gate.run(&frame, 1)?;
        assert_eq!(all(&mut packets).len(), 1, "{frame:02x?}");
    }
    Ok(())
}

/// How far the number of chosen ones of `seen` may be from one of `sample`: distances that are each as likely from 1 to
/// 2N - 1 vary by ((2N - 1)^2 - 1) / 12, so their number among n frames by n times that over N^3 (the renewal theorem).
/// Six times the root of it is passed once in 500 million tries. A processor's first distance adds up to two more.
pub(super) fn tolerance(seen: u64, sample: u32) -> f64 {
    let (n, sample) = (f64::from(u32::try_from(seen).unwrap_or(u32::MAX)), f64::from(sample));
    let variance = ((2.0 * sample - 1.0).powi(2) - 1.0) / 12.0;
    6.0 * (n * variance / sample.powi(3)).sqrt() + 4.0
}

fn one_of_so_many_is_chosen_on_average(_: &Scene) -> Outcome {
    const RUNS: u32 = 200_000;
    let frame = made::ip4(made::UDP, &made::udp([5, 53]));
    for sample in [0, 1, 2, 10, 1_000] {
        let sampling = Sampling { sample, ring_bytes: 1 << 26, ..EACH };
        let (mut gate, _maps, mut packets) = reporting(&sampling)?;
        gate.run(&frame, RUNS)?;
        let sampled = sampled(&packets)?;
        assert_eq!((sampled.seen, sampled.lost), (RUNS.into(), 0));
        assert_eq!(all(&mut packets).len() as u64, sampled.chosen);
        let chosen = f64::from(u32::try_from(sampled.chosen)?);
        let expected = f64::from(RUNS) / f64::from(sample.max(1));
        let tolerance = if sample <= 1 { 0.0 } else { tolerance(RUNS.into(), sample) };
        assert!(
            (chosen - expected).abs() <= tolerance,
            "1 of {sample}: {chosen} instead of {expected} by {tolerance} at most"
        );
    }
    Ok(())
}

fn what_comes_at_regular_intervals_is_neither_always_met_nor_never(_: &Scene) -> Outcome {
    const ROUNDS: u32 = 400;
    let sampling = Sampling { sample: 10, ring_bytes: 1 << 20, ..EACH };
    let (mut gate, _maps, mut packets) = reporting(&sampling)?;
    // Ten frames in turn: each tenth frame would always be the same one.
    for round in 0..ROUNDS * 10 {
        gate.run(&made::ip4(made::UDP, &made::udp([u16::try_from(round % 10)?, 53])), 1)?;
    }
    let mut met = [0_u32; 10];
    for frame in all(&mut packets) {
        met[usize::from(frame.bytes[35])] += 1;
    }
    // Each is met 40 times on average. Were they chosen independently it would be by 6 more or less.
    assert!(met.iter().all(|times| (4..=76).contains(times)), "{met:?}");
    Ok(())
}

fn a_ring_of_frames_that_overflows_counts_what_it_loses(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut packets) = reporting(&EACH)?;
    let frame = made::ip4(made::UDP, &made::udp([5, 53]));
    gate.run(&frame, 1_000)?;
    let received = all(&mut packets).len() as u64;
    let sampled_before = sampled(&packets)?;
    assert_eq!(sampled_before.chosen, 1_000);
    assert_eq!(sampled_before.chosen, received + sampled_before.lost);
    // One record's length is left free, so that a full ring is told from an empty one.
    assert!((RING / RECORD - 1..=RING / RECORD).contains(&received), "{received} frames");
    // There is room again.
    gate.run(&frame, 100)?;
    assert_eq!(all(&mut packets).len(), 100);
    assert_eq!(sampled(&packets)?.lost, sampled_before.lost);
    Ok(())
}

fn after_a_stop_nothing_is_reported(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut packets) = reporting(&EACH)?;
    let frame = on_ethernet(&udp(Way::There, [4000, 53], b"question"));
    gate.run(&frame, 3)?;
    packets.stop()?;
    let before = sampled(&packets)?;
    gate.run(&frame, 10)?;
    gate.run_egress(&frame)?;
    assert_eq!(sampled(&packets)?, before);
    assert_eq!((before.seen, all(&mut packets).len()), (3, 3), "what was there stays to be read");
    Ok(())
}

fn where_nobody_reads_packets_nothing_is_seen(_: &Scene) -> Outcome {
    let (mut gate, _maps, mut packets) = reporting(&Sampling::default())?;
    let frame = on_ethernet(&udp(Way::There, [4000, 53], b"question"));
    gate.run(&frame, 10)?;
    gate.run_egress(&frame)?;
    assert_eq!((sampled(&packets)?, all(&mut packets).len()), (Sampled::default(), 0));
    Ok(())
}
