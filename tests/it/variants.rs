//! The captures made after reports of faults, changed: frames that were cut, and bytes of headers that
//! are others. Whatever they say, nothing panics, the books balance, and no flow is longer or larger
//! than the frames it came from.

use std::{collections::BTreeMap, fs, path::Path};

use libtest_mimic::Failed;
use serde_json::Value;
use tidegate::{
    decode::Options,
    record::{Flow, Packet, Timestamp},
};

use crate::{
    flows::flows,
    harness::{
        Case, Outcome, Scene,
        captures::{self, Capture},
        config,
        packets::each,
        recorded::{Recorded, recorded},
        tidegate::Tidegate,
    },
};

/// Variants that go through tshark, and through the decoder alone.
const BY_TSHARK: usize = 300;
const BY_HEADERS: usize = 20_000;
/// Headers lie within so many bytes of a frame.
const HEADER_BYTES: usize = 128;
/// Between variants in one capture: more than any of them lasts.
const APART_SECONDS: i64 = 100_000;
const SECOND: i64 = 1_000_000_000;

/// A sequence of numbers that is the same each time (xorshift, Marsaglia 2003).
struct Numbers(u64);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(changed_captures_make_no_flow_beyond_their_frames).needs_data(),
        Case::new(frames_cut_or_changed_at_each_byte_are_read).needs_data(),
        Case::new(changed_captures_go_through_tshark).needs_data(),
    ]
}

// === impl Numbers ===

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit.max(1)
    }
}

/// The frames of each capture.
fn reports(scene: &Scene) -> Result<Vec<Vec<Recorded>>, Failed> {
    let folder = scene.data.parent().unwrap_or(Path::new("..")).join("reports");
    captures::below(&folder)?.iter().map(|file| recorded(file)).collect()
}

/// A capture with one of its frames cut, or a byte of its headers another one.
fn variant(captures: &[Vec<Recorded>], numbers: &mut Numbers) -> Vec<Recorded> {
    let mut frames = captures[numbers.below(captures.len())].clone();
    let changed = numbers.below(frames.len());
    let bytes = &mut frames[changed].bytes;
    let at = numbers.below(bytes.len().min(HEADER_BYTES));
    if numbers.below(2) == 0 {
        bytes.truncate(at);
    } else {
        bytes[at] ^= u8::try_from(1 + numbers.below(255)).expect("255 at most");
    }
    frames
}

fn decoded(frames: &[Recorded]) -> Vec<Packet> {
    let options = Options { checksums: true, dns: true, names: true };
    frames.iter().flat_map(|frame| each(&frame.frame(), options).unwrap_or_default()).collect()
}

fn changed_captures_make_no_flow_beyond_their_frames(scene: &Scene) -> Outcome {
    let captures = reports(scene)?;
    let mut numbers = Numbers(0x7469_6465_6761_7465);
    for round in 0..BY_HEADERS {
        let frames = variant(&captures, &mut numbers);
        let packets = decoded(&frames);
        let flows = flows(&packets);
        let counted: u64 = flows.iter().map(Flow::packets).sum();
        assert_eq!(counted, packets.len() as u64, "variant {round}");
        let bytes: u64 = flows.iter().map(Flow::bytes).sum();
        let frame_bytes: u64 = packets.iter().map(|packet| u64::from(packet.frame_bytes)).sum();
        assert!(bytes <= frame_bytes, "variant {round}: {bytes} of {frame_bytes} bytes");
        let times = || packets.iter().map(|packet| packet.time);
        let (first, last) = (times().min(), times().max());
        for flow in &flows {
            let is_within = first <= Some(flow.start) && Some(flow.end) <= last;
            assert!(is_within, "variant {round}: {flow:?} of packets from {first:?} to {last:?}");
        }
    }
    Ok(())
}

fn frames_cut_or_changed_at_each_byte_are_read(scene: &Scene) -> Outcome {
    let mut read = 0;
    let mut read_one = |frame: &Recorded| {
        for packet in decoded(std::slice::from_ref(frame)) {
            assert!(packet.outer.ip_bytes <= packet.frame_bytes, "{packet:?} of {frame:?}");
            read += 1;
        }
    };
    for frames in reports(scene)? {
        for frame in frames {
            for at in 0..frame.bytes.len().min(HEADER_BYTES) {
                let mut changed = frame.clone();
                changed.bytes[at] ^= 0xff;
                read_one(&changed);
                changed.bytes.truncate(at);
                read_one(&changed);
            }
        }
    }
    assert!(read > 10_000, "only {read} packets");
    Ok(())
}

/// Many variants in one capture for each link type, far apart in time.
fn packed(captures: &[Vec<Recorded>]) -> BTreeMap<u16, (Capture, u64)> {
    let mut numbers = Numbers(0x6b65_726e_656c_2121);
    let mut packed = BTreeMap::new();
    for round in 0..BY_TSHARK {
        let later = i64::try_from(round).expect("a few") * APART_SECONDS;
        for frame in variant(captures, &mut numbers) {
            let (capture, frame_bytes) = packed
                .entry(frame.link)
                .or_insert_with(|| (Capture::nanos().of_link(frame.link), 0));
            let time = frame.time.nanos() + later * SECOND;
            let seconds = u32::try_from(time / SECOND).expect("before 2106");
            let fraction = u32::try_from(time % SECOND).expect("below a second");
            let mut whole = frame.bytes.clone();
            let length = usize::try_from(frame.length).expect("32 bits").max(whole.len());
            let there = whole.len();
            whole.resize(length, 0);
            capture.cut_frame(seconds, fraction, &whole, there);
            *frame_bytes += length as u64;
        }
    }
    packed
}

fn changed_captures_go_through_tshark(scene: &Scene) -> Outcome {
    let packed = packed(&reports(scene)?);
    assert!(packed.len() > 1, "one link type only");
    for (link, (capture, frame_bytes)) in packed {
        let file = scene.write(&format!("link-{link}.pcap"), capture.bytes());
        let out = scene.path("records.out");
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let config = config::replay(scene, "", "");
        let text = fs::read_to_string(&config)?
            .replace("transforms:", "transforms:\n  flows: { type: flow, inputs: [packets] }")
            .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
        fs::write(&config, text)?;
        // It ends with 0 only if the books of all components balance and nothing was dropped.
        Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&file).run()?.expect(0)?;
        let mut bytes = 0;
        for line in fs::read_to_string(&out)?.lines() {
            let flow: Value = serde_json::from_str(line)?;
            bytes += flow["packet_size"].as_u64().ok_or("a flow has bytes")?;
            let lasted = Timestamp::from_nanos(flow["duration_ns"].as_i64().unwrap_or(i64::MAX));
            if lasted.nanos() > APART_SECONDS * SECOND {
                return Err(format!("link type {link}: longer than any capture: {flow}").into());
            }
        }
        assert!(bytes <= frame_bytes, "link type {link}: {bytes} of {frame_bytes} bytes");
    }
    Ok(())
}
