//! Captures: those of the data folder, and those the tests write themselves.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use libtest_mimic::Failed;

use super::{
    Case, Outcome, Scene,
    frames::{self, Segment, Way, flags},
    tshark,
};

/// 2023-10-17T14:55:23Z.
pub(crate) const EPOCH_SECONDS: u32 = 1_697_554_523;

/// The capture that `make demo` replays.
const FIRST: &str = "examples/first/first.pcap";

/// A capture file in the making (libpcap's format, link type Ethernet).
#[derive(Debug, Clone)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    per_second: u32,
}

/// A kind of damage done to a capture.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// The last packet is cut in its middle.
    Truncated,
    /// The header of the last packet claims a length that can't be.
    Corrupt,
}

// === impl Capture ===

impl Capture {
    /// With timestamps in microseconds.
    pub(crate) fn micros() -> Self {
        Self::new(0xa1b2_c3d4, 1_000_000)
    }

    /// With timestamps in nanoseconds.
    pub(crate) fn nanos() -> Self {
        Self::new(0xa1b2_3c4d, 1_000_000_000)
    }

    /// The same, of another link type (a `LINKTYPE_` number).
    pub(crate) fn of_link(mut self, link: u16) -> Self {
        self.bytes[20..24].copy_from_slice(&u32::from(link).to_le_bytes());
        self
    }

    fn new(magic: u32, per_second: u32) -> Self {
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0]);
        bytes.extend([0; 8]);
        bytes.extend(262_144_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        Self { bytes, per_second }
    }

    /// Adds a frame, captured whole. `fraction` is in the capture's own unit.
    pub(crate) fn frame(&mut self, seconds: u32, fraction: u32, frame: &[u8]) -> &mut Self {
        self.cut_frame(seconds, fraction, frame, frame.len())
    }

    /// Adds a frame of which only the first bytes were captured.
    pub(crate) fn cut_frame(
        &mut self,
        seconds: u32,
        fraction: u32,
        frame: &[u8],
        captured: usize,
    ) -> &mut Self {
        assert!(fraction < self.per_second, "{fraction} is more than a second");
        let kept = &frame[..captured];
        for number in [seconds, fraction, length(kept), length(frame)] {
            self.bytes.extend(number.to_le_bytes());
        }
        self.bytes.extend(kept);
        self
    }

    /// Does some damage to the last packet.
    pub(crate) fn damaged(mut self, damage: Damage) -> Self {
        match damage {
            Damage::Truncated => self.bytes.truncate(self.bytes.len() - 10),
            Damage::Corrupt => {
                for number in [EPOCH_SECONDS, 0, u32::MAX, u32::MAX] {
                    self.bytes.extend(number.to_le_bytes());
                }
                self.bytes.extend([0xff; 40]);
            }
        }
        self
    }

    /// Its bytes as a file has them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes it.
    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, &self.bytes).expect("the case's folder is writable");
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a frame is short")
}

// === captures of our own ===

/// UDP packets of 100 bytes, one a millisecond, their number in the payload.
pub(crate) fn numbered(packets: u32) -> Capture {
    numbered_as(0..packets)
}

/// The same with these numbers.
pub(crate) fn numbered_as(numbers: std::ops::Range<u32>) -> Capture {
    let mut capture = Capture::micros();
    for number in numbers {
        let mut payload = [0; 58];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let frame = frames::on_ethernet(&frames::udp(Way::There, [40_000, 9_999], &payload));
        capture.frame(EPOCH_SECONDS + number / 1_000, number % 1_000 * 1_000, &frame);
    }
    capture
}

/// One packet of TCP to port 443, 1,280 bytes long, at 2023-10-17T14:55:23Z.
pub(crate) fn one_to_443() -> Capture {
    let segment = Segment {
        ports: [51_234, 443],
        numbers: [1, 1],
        flags: flags::PSH | flags::ACK,
        payload: &[0x17; 1_280 - 54],
    };
    let mut capture = Capture::micros();
    capture.frame(EPOCH_SECONDS, 0, &frames::on_ethernet(&frames::tcp(Way::There, segment)));
    capture
}

/// A TCP connection to port 443, opened, used and closed by both.
pub(crate) fn connection() -> Capture {
    let mut capture = Capture::micros();
    let steps: [(Way, [u32; 2], u8, &[u8]); 7] = [
        (Way::There, [100, 0], flags::SYN, b""),
        (Way::Back, [300, 101], flags::SYN | flags::ACK, b""),
        (Way::There, [101, 301], flags::ACK, b""),
        (Way::There, [101, 301], flags::PSH | flags::ACK, b"question"),
        (Way::Back, [301, 109], flags::FIN | flags::ACK, b""),
        (Way::There, [109, 302], flags::FIN | flags::ACK, b""),
        (Way::Back, [302, 110], flags::ACK, b""),
    ];
    for (step, (way, numbers, flags, payload)) in (0..).zip(steps) {
        let segment = Segment { ports: [51_234, 443], numbers, flags, payload };
        capture.frame(EPOCH_SECONDS, step, &frames::on_ethernet(&frames::tcp(way, segment)));
    }
    capture
}

/// One frame of every kind, at times that need 0, 3, 6 and 9 digits of fraction, not in order.
pub(crate) fn every_kind() -> Capture {
    let request = frames::udp(Way::There, [40_001, 53], b"question");
    let [part4, rest4] = frames::udp_fragments([40_002, 514]);
    let [part6, rest6] = frames::udp6_fragments([40_003, 514]);
    let syn = Segment { ports: [40_004, 443], numbers: [100, 0], flags: flags::SYN, payload: b"" };
    let whole = [
        frames::on_ethernet(&frames::tcp(Way::There, syn)),
        frames::on_ethernet(&frames::tcp6(Way::There, syn)),
        frames::on_ethernet(&request),
        frames::on_ethernet(&frames::udp6(Way::Back, [53, 40_001], b"answer")),
        frames::on_ethernet(&frames::port_unreachable(&request)),
        frames::on_ethernet(&frames::ping(1)),
        frames::on_ethernet(&frames::ping6(1)),
        frames::on_ethernet(&frames::sctp([2_905, 2_906])),
        frames::on_ethernet(&frames::udp6_behind_extensions([40_005, 5_000])),
        frames::on_ethernet(&part4),
        frames::on_ethernet(&rest4),
        frames::on_ethernet(&part6),
        frames::on_ethernet(&rest6),
        frames::on_ethernet(&frames::six_in_four(&frames::udp6(Way::There, [1, 2], b"in"))),
        frames::on_ethernet(&frames::ipv4(Way::There, 253, b"experimental")),
        frames::on_vlans(&[100], &request),
        frames::on_vlans(&[100, 200], &request),
        frames::arp(),
    ];
    let fractions = [0, 120_000_000, 1_000, 1];
    let mut capture = Capture::nanos();
    for (number, frame) in (0..).zip(&whole) {
        let fraction = fractions[usize::try_from(number % 4).expect("below 4")];
        capture.frame(EPOCH_SECONDS + number, fraction, frame);
    }
    capture
        .frame(EPOCH_SECONDS - 100, 5, &whole[2])
        .frame(0, 0, &whole[0])
        .frame(2_147_483_648, 999_999_999, &whole[1])
        .cut_frame(EPOCH_SECONDS + 60, 0, &whole[0], 30)
        .cut_frame(EPOCH_SECONDS + 61, 0, &whole[0], 36)
        .cut_frame(EPOCH_SECONDS + 62, 0, &whole[8], 60);
    capture
}

/// What the first example replays: a look-up, then a short conversation over TCP, a ping, a try at a
/// closed port and its refusal, and an ARP request, which is no record.
fn first() -> Capture {
    let mut capture = Capture::micros();
    let mut at = 0;
    let mut add = |packet: &[u8]| {
        at += 7_300;
        capture.frame(EPOCH_SECONDS, at, packet);
    };
    let on = frames::on_ethernet;
    add(&frames::arp());
    add(&on(&frames::udp(Way::There, [40_001, 53], &dns(0x0100, 0))));
    add(&on(&frames::udp(Way::Back, [53, 40_001], &dns(0x8180, 1))));
    let hello = [0x16; 320];
    let answer = [0x17; 1_226];
    let talk: [(Way, u8, [u32; 2], &[u8]); 9] = [
        (Way::There, flags::SYN, [1_000, 0], b""),
        (Way::Back, flags::SYN | flags::ACK, [7_000, 1_001], b""),
        (Way::There, flags::ACK, [1_001, 7_001], b""),
        (Way::There, flags::PSH | flags::ACK, [1_001, 7_001], &hello),
        (Way::Back, flags::PSH | flags::ACK, [7_001, 1_321], &answer),
        (Way::There, flags::ACK, [1_321, 8_227], b""),
        (Way::There, flags::FIN | flags::ACK, [1_321, 8_227], b""),
        (Way::Back, flags::FIN | flags::ACK, [8_227, 1_322], b""),
        (Way::There, flags::ACK, [1_322, 8_228], b""),
    ];
    for (way, flags, numbers, payload) in talk {
        let segment = Segment { ports: [51_234, 443], numbers, flags, payload };
        add(&on(&frames::tcp(way, segment)));
    }
    add(&on(&frames::ping(1)));
    add(&on(&frames::ping6(1)));
    let probe = frames::udp(Way::There, [40_002, 33_434], b"anyone?");
    add(&on(&probe));
    add(&on(&frames::port_unreachable(&probe)));
    capture
}

/// A DNS message about `tidegate.example`, type A, with no answer or one.
fn dns(flags: u16, answers: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34];
    for field in [flags, 1, answers, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    message.extend(b"\x08tidegate\x07example\0");
    message.extend([0, 1, 0, 1]);
    if answers > 0 {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 51, 100, 20]);
    }
    message
}

// === captures of the data folder ===

/// How many packets a capture has.
pub(crate) fn count(capture: &[u8]) -> usize {
    let mut rest = capture.get(24..).unwrap_or_default();
    let mut count = 0;
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let [.., a, b, c, d, _, _, _, _] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(next) = behind.get(length..) else { break };
        (rest, count) = (next, count + 1);
    }
    count
}

/// Every capture below a folder, in the order of their paths.
///
/// # Errors
/// When the folder can't be read.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_capture(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_capture(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    [".pcap", ".pcapng", ".cap", ".trace"].iter().any(|ending| plain.ends_with(ending))
}

// === cases ===

/// The cases about captures.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(tshark_reads_what_the_tests_write),
        Case::new(the_shipped_capture_is_what_its_generator_makes),
    ]
}

fn tshark_reads_what_the_tests_write(scene: &Scene) -> Outcome {
    let path = scene.path("every-kind.pcap");
    every_kind().write(&path);
    let rows =
        tshark::fields(&path, &["frame.time_epoch", "frame.protocols", "ip.checksum.status"])?;
    assert_eq!(rows.len(), 24);
    assert_eq!(rows[3][0], format!("{}.000000001", EPOCH_SECONDS + 3));
    assert_eq!(rows[16][1], "eth:ethertype:vlan:ethertype:vlan:ethertype:ip:udp:dns");
    Ok(())
}

fn the_shipped_capture_is_what_its_generator_makes(_scene: &Scene) -> Outcome {
    let path = Scene::project(FIRST);
    let made = first();
    if env::var_os("TIDEGATE_UPDATE").is_some() {
        made.write(&path);
    }
    if fs::read(&path).ok().as_deref() != Some(made.bytes()) {
        return Err(format!("{FIRST} is out of date; TIDEGATE_UPDATE=1 writes it anew").into());
    }
    Ok(())
}
