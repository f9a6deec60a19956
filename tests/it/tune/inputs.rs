//! What `tidegate tune` reads of a capture: names that were resolved, aggregates, frames that it can't read.

use std::fs;

use serde_json::Value;

use super::{REPLAYED, gravest, replayed};
use crate::harness::{
    Case, Outcome, Scene,
    captures::{Capture, EPOCH_SECONDS},
    frames::{self, Segment, Way, flags},
    tidegate::Tidegate,
};

const RESOLVER: [u8; 4] = [10, 0, 0, 53];
/// Who asks for names and goes there, and who goes to the same places without asking.
const ASKS: [u8; 4] = [10, 0, 0, 1];
const SCANS: [u8; 4] = [10, 0, 0, 2];
/// Names whose hosts do not answer: more than a scan takes, and few enough for one who has resolved them.
const DEAD: u8 = 14;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_replay_and_a_tuning_run_know_alike_what_was_resolved),
        Case::new(packets_of_aggregates_are_judged),
        Case::new(a_capture_of_which_nothing_can_be_read_says_so),
    ]
}

fn a_replay_and_a_tuning_run_know_alike_what_was_resolved(scene: &Scene) -> Outcome {
    let capture = scene.folder.join("dead-names.pcap");
    let mut frames = Capture::micros();
    for number in 1..=DEAD {
        let second = EPOCH_SECONDS + 2 * u32::from(number);
        let dead = [198, 51, 100, number];
        let port = 50_000 + u16::from(number);
        let question = frames::udp(Way::There, [port, 53], &dns(number, None));
        let answer = frames::udp(Way::Back, [53, port], &dns(number, Some(dead)));
        frames.frame(second, 0, &between(question, ASKS, RESOLVER));
        frames.frame(second, 1_000, &between(answer, RESOLVER, ASKS));
        for (micros, client) in [(2_000, ASKS), (3_000, SCANS)] {
            frames.frame(second, micros, &between(syn(port, 8_009), client, dead));
        }
        frames.frame(second, 4_000, &between(segment(port, 8_010, flags::FIN), SCANS, dead));
    }
    let last = frames::udp(Way::There, [123, 123], b"later");
    frames.frame(EPOCH_SECONDS + 60, 0, &between(last, ASKS, RESOLVER));
    frames.write(&capture);
    // A judge without packets among its inputs knows nothing of names, in a tuning run too.
    let with_packets =
        REPLAYED.replace("[flows, flows.contacts]", "[flows, flows.contacts, packets]");
    let scans = ("10.0.0.2".to_owned(), 3);
    let labels = scene.write("labels.csv", "src,label\n10.0.0.1,benign\n10.0.0.2,scan\n");
    for (config, expected, wrong) in [
        (with_packets.as_str(), vec![scans.clone()], 0),
        (REPLAYED, vec![("10.0.0.1".to_owned(), 3), scans], 1),
    ] {
        let config = format!("networks: {{ internal: [10.0.0.0/8] }}\n{config}");
        let config = scene.write("tidegate.yaml", config);
        let replayed = replayed(scene, &config, &capture)?;
        let tuned = Tidegate::new(scene, ["tune", "--json", "-c"]).arg(&config).arg(&capture);
        let tuned = tuned.arg("--labels").arg(&labels);
        let told: Value = serde_json::from_str(&tuned.run()?.expect(0)?.stdout)?;
        assert_eq!(gravest(&told), replayed);
        assert_eq!(replayed.into_iter().collect::<Vec<_>>(), expected);
        // Judged once more without a signal, with the same knowledge.
        let without = &told["ablation"]["stealth_flags"];
        assert_eq!(*without, serde_json::json!({ "tp": 1, "fp": wrong }), "{told}");
        fs::remove_file(scene.folder.join("alerts.ndjson"))?;
    }
    Ok(())
}

fn packets_of_aggregates_are_judged(scene: &Scene) -> Outcome {
    let mut frames = Capture::micros().of_link(105);
    for second in 0..15 {
        let number = u16::try_from(second)?;
        let parts: Vec<u8> = [100, 200]
            .into_iter()
            .flat_map(|first| part(&between(syn(4_000, first + number), ASKS, SCANS)[14..]))
            .collect();
        frames.frame(EPOCH_SECONDS + second, 0, &wlan(&parts));
    }
    let last = part(&between(frames::udp(Way::There, [123, 123], b"later"), ASKS, SCANS)[14..]);
    frames.frame(EPOCH_SECONDS + 60, 0, &wlan(&last));
    let capture = scene.folder.join("aggregates.pcap");
    frames.write(&capture);
    let config = scene.write("tidegate.yaml", REPLAYED);
    let replayed = replayed(scene, &config, &capture)?;
    let told = Tidegate::new(scene, ["tune", "--json"]).arg(&capture).run()?.expect(0)?;
    assert_eq!(gravest(&serde_json::from_str(&told.stdout)?), replayed);
    assert_eq!(replayed.into_iter().collect::<Vec<_>>(), [("10.0.0.1".to_owned(), 3)]);
    Ok(())
}

fn a_capture_of_which_nothing_can_be_read_says_so(scene: &Scene) -> Outcome {
    let tune = |name: &str, capture: &Capture| {
        let path = scene.write(name, capture.bytes());
        Tidegate::new(scene, ["tune"]).arg(&path).run()
    };
    let mut bluetooth = Capture::micros().of_link(201);
    bluetooth.frame(EPOCH_SECONDS, 0, &[4; 40]).frame(EPOCH_SECONDS, 1, &[4; 40]);
    let told = tune("bluetooth.pcap", &bluetooth)?.expect(3)?;
    told.says(&["bluetooth.pcap", "2 frames", "link type 201"])?;
    let mut requests = Capture::micros();
    requests.frame(EPOCH_SECONDS, 0, &frames::arp());
    let told = tune("requests.pcap", &requests)?.expect(3)?;
    told.says(&["requests.pcap", "none of its 1 frames", "carries no IP packet"])?;
    // One packet is enough, and a capture in which nothing came is whole.
    let ping = frames::on_ethernet(&frames::ping(1));
    for (name, capture) in [
        ("one.pcap", requests.frame(EPOCH_SECONDS, 1, &ping)),
        ("none.pcap", &mut Capture::micros()),
    ] {
        let told = tune(name, capture)?.expect(0)?;
        assert!(told.stderr.is_empty(), "{name}: {}", told.stderr);
    }
    assert!(fs::metadata(scene.folder.join("none.pcap"))?.len() == 24);
    Ok(())
}

/// Ethernet around an IPv4 packet from one address to another.
fn between(mut packet: Vec<u8>, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    frames::on_ethernet(&packet)
}

fn syn(from: u16, to: u16) -> Vec<u8> {
    segment(from, to, flags::SYN)
}

fn segment(from: u16, to: u16, flags: u8) -> Vec<u8> {
    frames::tcp(Way::There, Segment { ports: [from, to], numbers: [1, 0], flags, payload: b"" })
}

/// A DNS question of type A for a name that has a number, or its answer.
fn dns(number: u8, answer: Option<[u8; 4]>) -> Vec<u8> {
    let mut message = vec![0x12, number];
    let (flags, answers) = if answer.is_some() { (0x8180, 1) } else { (0x0100, 0) };
    for field in [flags, 1, answers, 0, 0_u16] {
        message.extend(field.to_be_bytes());
    }
    message.extend(format!("\x05dead{}\x07example\0", char::from(b'a' + number)).bytes());
    message.extend([0, 1, 0, 1]);
    if let Some(address) = answer {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
        message.extend(address);
    }
    message
}

/// A packet as a part of an A-MSDU (IEEE 802.11-2020, 9.3.2.2).
fn part(packet: &[u8]) -> Vec<u8> {
    let logical = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], packet].concat();
    let length = u16::try_from(logical.len()).expect("a packet is short");
    let mut part = [&[2; 12][..], &length.to_be_bytes(), &logical].concat();
    part.resize(part.len().next_multiple_of(4), 0);
    part
}

/// A data frame of IEEE 802.11 that says it is an aggregate.
fn wlan(parts: &[u8]) -> Vec<u8> {
    [&[0x88, 1, 0, 0][..], &[2; 18], &[0, 0, 0x80, 0], parts].concat()
}
