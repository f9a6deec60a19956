//! Flows of bad input: lengths that lie, fragments that overlap, times at the ends of the range, a
//! flood of attempts. What is wrong with one packet changes nothing about another's flow.

use std::{collections::BTreeSet, fs};

use libtest_mimic::Failed;
use serde_json::Value;
use tidegate::{
    flow::{Output, Policy, Shards},
    record::{
        Checksums, EndReason, Header, Layer4, Names, Packet, Ports, Tcp, TcpFlags, Timestamp,
        Transport, Vlans,
    },
};

use crate::harness::{
    Case, Outcome, Scene,
    captures::{Capture, EPOCH_SECONDS},
    config,
    frames::{self, Segment, Way, flags},
    process,
    tidegate::Tidegate,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(lengths_that_lie_leave_other_flows_as_they_are),
        Case::new(overlapping_fragments_all_count_and_all_once),
        Case::new(times_of_every_age_come_out_as_they_went_in),
        Case::new(a_time_beyond_the_range_costs_its_packet_alone),
        Case::new(a_million_half_open_flows_are_held_to_the_limit).alone(),
    ]
}

fn lengths_that_lie_leave_other_flows_as_they_are(scene: &Scene) -> Outcome {
    let udp = |port| frames::udp(Way::There, [port, 9_999], &[7; 100]);
    let udp6 = |port| frames::udp6(Way::There, [port, 9_999], &[7; 100]);
    let tcp = |port| {
        let numbers = [5, 5];
        let (flags, payload) = (flags::ACK, &[7; 60]);
        frames::tcp(Way::There, Segment { ports: [port, 443], numbers, flags, payload })
    };
    let with = |mut packet: Vec<u8>, at: usize, bytes: &[u8]| {
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let cut = |packet: Vec<u8>, length: u8| with(packet[..length.into()].to_vec(), 2, &[0, length]);
    // A packet, and the flow it makes: port, packets, bytes.
    let lies = [
        // Beyond the frame; none, as offloading leaves it; less than the header.
        (with(udp(1), 2, &60_000_u16.to_be_bytes()), Some((9_999, 128))),
        (with(udp(2), 2, &[0, 0]), Some((9_999, 128))),
        (with(udp(3), 2, &[0, 10]), None),
        // A header of 12 bytes, and one of 60 that reaches into the payload.
        (with(udp(4), 0, &[0x43]), None),
        (with(udp(5), 0, &[0x4f]), Some((0x0707, 128))),
        // UDP lengths of nothing and beyond the packet.
        (with(udp(6), 24, &[0, 0]), Some((9_999, 128))),
        (with(udp(7), 24, &[0xff, 0xff]), Some((9_999, 128))),
        // TCP headers of 4 bytes, beyond the segment, and cut off within the ports.
        (with(tcp(8), 32, &[0x10]), Some((443, 100))),
        (with(tcp(9), 32, &[0xf0]), Some((443, 100))),
        (cut(tcp(10), 23), Some((0, 23))),
        (udp(11)[..19].to_vec(), None),
        (with(frames::ping(12), 2, &[0, 21]), Some((0, 21))),
        // IPv6: beyond the frame, none, and an extension header without end.
        (with(udp6(13), 4, &[0xff, 0xff]), Some((9_999, 148))),
        (with(udp6(14), 4, &[0, 0]), Some((9_999, 148))),
        (with(frames::udp6_behind_extensions([15, 9_999]), 41, &[0xff]), Some((0, 70))),
    ];
    let honest = |way, flags, numbers| {
        frames::tcp(way, Segment { ports: [40_000, 80], numbers, flags, payload: b"" })
    };
    let honest = [
        honest(Way::There, flags::SYN, [1_000, 0]),
        honest(Way::Back, flags::SYN | flags::ACK, [7_000, 1_001]),
        honest(Way::There, flags::ACK, [1_001, 7_001]),
        honest(Way::There, flags::FIN | flags::ACK, [1_001, 7_001]),
        honest(Way::Back, flags::FIN | flags::ACK, [7_001, 1_002]),
    ];
    let mut capture = Capture::micros();
    for (at, (lie, _)) in (0..).zip(&lies) {
        capture.frame(EPOCH_SECONDS, at, &frames::on_ethernet(lie));
        if let Some(honest) = honest.get(at as usize) {
            capture.frame(EPOCH_SECONDS, at, &frames::on_ethernet(honest));
        }
    }
    let mut expected: Vec<_> =
        lies.iter().filter_map(|(_, flow)| *flow).map(|(port, bytes)| (port, 1, bytes)).collect();
    expected.push((80, 5, 200));
    expected.sort_unstable();
    assert_eq!(counted(&replayed(scene, capture.bytes(), "", 0)?), expected);
    Ok(())
}

fn overlapping_fragments_all_count_and_all_once(scene: &Scene) -> Outcome {
    let part = |offset: u16, bytes: &[u8]| frames::ipv4_part(Way::There, 17, 77, offset, bytes);
    let [first, last] = frames::udp_fragments([40_000, 514]);
    let other_first = part(0x2000, &[0x9c, 0x40, 0, 9, 0, 128, 0, 0].repeat(8));
    let parts = [
        &first,
        &part(0x2000 | 4, &[1; 64]), // from the middle of the first into the last
        &last,
        &last,
        &other_first, // the same bytes anew, with another port
        &part(0x2000 | 2, &[2; 8]),
        &part(8, &[3; 64]),
    ];
    let mut capture = Capture::micros();
    for (at, packet) in (0..).zip(parts) {
        capture.frame(EPOCH_SECONDS, at, &frames::on_ethernet(packet));
    }
    // Each goes to the ports of the first one before it.
    let flows = replayed(scene, capture.bytes(), "", 0)?;
    assert_eq!(counted(&flows), [(9, 3, 2 * 84 + 28), (514, 4, 4 * 84)]);
    // As Zeek counts, a packet counts once it is whole: here twice.
    let flows = replayed(scene, capture.bytes(), "profile: zeek", 0)?;
    assert_eq!(flows.iter().map(|flow| number(flow, "packets")).sum::<u64>(), 2, "{flows:?}");
    Ok(())
}

fn times_of_every_age_come_out_as_they_went_in(scene: &Scene) -> Outcome {
    // The last four go back by a day, by a second, not at all and nearly to the beginning.
    let times = [
        (0, 0, "1970-01-01T00:00:00Z"),
        (0, 1, "1970-01-01T00:00:00.000000001Z"),
        (i32::MAX as u32, 999_999_999, "2038-01-19T03:14:07.999999999Z"),
        (i32::MAX as u32 + 1, 0, "2038-01-19T03:14:08Z"),
        (u32::MAX, 999_999_999, "2106-02-07T06:28:15.999999999Z"),
        (u32::MAX - 86_400, 0, "2106-02-06T06:28:15Z"),
        (u32::MAX - 86_401, 0, "2106-02-06T06:28:14Z"),
        (u32::MAX - 86_401, 0, "2106-02-06T06:28:14Z"),
        (1, 0, "1970-01-01T00:00:01Z"),
    ];
    let mut capture = Capture::nanos();
    for (port, (seconds, nanos, _)) in (1..).zip(times) {
        let packet = frames::udp(Way::There, [port, 9_999], b"when");
        capture.frame(seconds, nanos, &frames::on_ethernet(&packet));
    }
    let flows = replayed(scene, capture.bytes(), "", 0)?;
    let mut told: Vec<_> = flows.iter().map(|flow| text(flow, "timestamp")).collect();
    told.sort_unstable();
    let mut expected = times.map(|(_, _, text)| text);
    expected.sort_unstable();
    assert_eq!(told, expected);
    let ids: BTreeSet<_> = flows.iter().map(|flow| text(flow, "flow_id")).collect();
    assert_eq!(ids.len(), times.len(), "each flow has an id of its own");
    Ok(())
}

fn a_time_beyond_the_range_costs_its_packet_alone(scene: &Scene) -> Outcome {
    let frame = |port| frames::on_ethernet(&frames::udp(Way::There, [port, 9_999], b"when"));
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(body.len() + 12).expect("a block is short").to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    };
    let packet = |micros: u64, frame: Vec<u8>| {
        let length = u32::try_from(frame.len()).expect("a frame is short").to_le_bytes();
        let high = u32::try_from(micros >> 32).expect("half of it").to_le_bytes();
        let low = u32::try_from(micros & 0xffff_ffff).expect("half of it").to_le_bytes();
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        block(6, &[&[0; 4], &high[..], &low, &length, &length, &frame, &padding].concat())
    };
    // Seconds of the years 2023, 2262 (the last but one that fit), 2500 and 2023.
    let times = [1_697_554_523, 9_214_646_400, 16_725_225_600, 1_697_554_524];
    let mut capture = block(
        0x0a0d_0d0a,
        &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat(),
    );
    capture.extend(block(1, &[1, 0, 0, 0, 0, 0, 4, 0]));
    for (port, seconds) in (1..).zip(times) {
        capture.extend(packet(seconds * 1_000_000, frame(port)));
    }
    let flows = replayed(scene, &capture, "", 3)?;
    let told: Vec<_> = flows.iter().map(|flow| text(flow, "timestamp")).collect();
    // The one that fits is a jump that no other packet confirms: it counts at the latest time before.
    assert_eq!(told, ["2023-10-17T14:55:23Z", "2023-10-17T14:55:23Z", "2023-10-17T14:55:24Z"]);
    Ok(())
}

fn a_million_half_open_flows_are_held_to_the_limit(_scene: &Scene) -> Outcome {
    const MAX_FLOWS: u32 = 1_000_000;
    const ATTEMPTS: u32 = 1_500_000;
    let before = resident_bytes();
    let mut table = Shards::new(Policy { max_flows: MAX_FLOWS as usize, ..Policy::default() }, 1);
    let (mut ended, mut longest_idle) = (0, Timestamp::from_nanos(0));
    let mut batch = Vec::new();
    for first in (0..ATTEMPTS).step_by(250) {
        batch.clear();
        batch.extend((first..first + 250).map(syn));
        let mut out = Output::default();
        table.absorb(&batch, &mut out);
        for report in out.flows {
            let flow = report.record;
            assert_eq!(flow.end_reason, EndReason::LackOfResources);
            assert!(flow.end > longest_idle, "{:?} after {longest_idle:?}", flow.end);
            longest_idle = flow.end;
            ended += 1;
        }
        assert!(table.len() <= MAX_FLOWS as usize);
    }
    let bytes = resident_bytes().saturating_sub(before) / u64::from(MAX_FLOWS);
    eprintln!("{ATTEMPTS} attempts, {MAX_FLOWS} of them held: {bytes} bytes a flow");
    assert_eq!(ended, ATTEMPTS - MAX_FLOWS);
    // 320; and what else this process took meanwhile.
    if (100..=340).contains(&bytes) { Ok(()) } else { Err(format!("{bytes} bytes a flow").into()) }
}

/// An attempt from an address of its own, each a microsecond after the one before.
fn syn(number: u32) -> Packet {
    let [_, b, c, d] = number.to_be_bytes();
    Packet {
        time: Timestamp::from_nanos(i64::from(number) * 1_000 + 1_000),
        epoch: 0,
        number: u64::from(number) + 1,
        part: 0,
        origin: tidegate::record::ObservationPoint::default(),
        frame_bytes: 60,
        captured_bytes: 60,
        source_mac: None,
        destination_mac: None,
        vlans: Vlans::default(),
        outer: Header {
            marks: tidegate::record::Marks::default(),
            source: [10, b, c, d].into(),
            destination: [192, 0, 2, 1].into(),
            transport: Transport::TCP,
            ip_bytes: 40,
            tunnel: None,
            checksums: Checksums::default(),
            fragment: None,
            layer4: Layer4::Tcp(Tcp {
                ports: Ports { source: 40_000, destination: 443 },
                flags: TcpFlags(TcpFlags::SYN),
                sequence: number,
                acknowledgement: 0,
                window: Some(1_000),
                payload_bytes: 0,
            }),
        },
        inner: Vec::new(),
        protocol: None,
        damaged: false,
        extra: Vec::new(),
        names: Names::default(),
    }
}

/// The resident set of this process.
pub(crate) fn resident_bytes() -> u64 {
    let kilobytes = process::status(std::process::id(), "VmRSS");
    let kilobytes = kilobytes.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.expect("a process has a resident set") * 1_024
}

fn number(record: &Value, key: &str) -> u64 {
    record.get(key).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {key} in {record}"))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {record}"))
}

/// Port (0 if there is none), packets and bytes of each flow, sorted.
fn counted(flows: &[Value]) -> Vec<(u64, u64, u64)> {
    let port = |flow: &Value| flow.get("port").and_then(Value::as_u64).unwrap_or(0);
    let count = |flow| (port(flow), number(flow, "packets"), number(flow, "packet_size"));
    let mut counted: Vec<_> = flows.iter().map(count).collect();
    counted.sort_unstable();
    counted
}

/// The flows of a capture; the replay has to end with this code.
fn replayed(scene: &Scene, capture: &[u8], keys: &str, code: i32) -> Result<Vec<Value>, Failed> {
    let path = scene.write("hostile.pcap", capture);
    let out = scene.path("records.out");
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let config = config::replay(scene, "", "");
    let flows = format!("transforms:\n  flows: {{ type: flow, inputs: [packets], {keys} }}");
    let text = fs::read_to_string(&config)?
        .replace("transforms:", &flows)
        .replace("type: file, inputs: [packets]", "type: file, inputs: [flows]");
    fs::write(&config, text)?;
    Tidegate::new(scene, ["replay", "-c"]).arg(&config).arg(&path).run()?.expect(code)?;
    let text = fs::read_to_string(out)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
