//! The packets of a capture, through tshark and the parser the `extract` transform uses, or read and
//! decoded by ourselves.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use libtest_mimic::Failed;
use tidegate::{
    capture::{Part, Reader},
    decode::{self, LinkType},
    ek::{Line, Parser, fields},
    record::{ObservationPoint, Packet, Raw},
};

use super::shared::Shared;

/// The packets of a capture of the data folder, checksums unverified, for all cases that ask.
///
/// # Errors
/// As for [`packets`].
pub(crate) fn packets_of_data(capture: &Path) -> Result<Arc<Vec<Packet>>, Failed> {
    static SHARED: Shared<Vec<Packet>> = Shared::new();
    SHARED.get(capture, || packets(capture, false))
}
/// How the packets of a capture are had.
pub(crate) type Read = fn(&Path, bool) -> Result<Vec<Packet>, Failed>;

/// The packets of a capture; `checksums`: tshark verifies those of TCP.
///
/// # Errors
/// When tshark can't be started, or prints no packet and ends badly.
pub(crate) fn packets(capture: &Path, checksums: bool) -> Result<Vec<Packet>, Failed> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "ek"]).args(super::tshark::EACH_PACKET_ALONE);
    command.args(["-o", &format!("tcp.check_checksum:{checksums}")]);
    // Teredo has no port of its own.
    command.args(["--enable-heuristic", "teredo_udp"]);
    command.arg("-r").arg(capture).stdin(Stdio::null());
    for field in fields::BASE {
        command.args(["-e", field]);
    }
    let output = command.output().map_err(|error| format!("can't start {command:?}: {error}"))?;
    if !output.status.success() && output.stdout.is_empty() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {words}", output.status).into());
    }
    let mut parser = Parser::new(&[]);
    let mut packets = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let raw = Raw {
            line: line.to_vec().into(),
            epoch: 0,
            first: 0,
            origin: ObservationPoint::default(),
        };
        match parser.parse(&raw) {
            Ok(Line::Packet(packet)) => packets.push(packet),
            Ok(Line::NotIp(..) | Line::Index) => {}
            Err(error) => {
                let line = String::from_utf8_lossy(line);
                return Err(format!("{}: {error}: {line}", capture.display()).into());
            }
        }
    }
    Ok(packets)
}

/// The packets of a capture by `dissect: headers`; `checksums`: they are verified.
///
/// # Errors
/// When the capture can't be read.
pub(crate) fn by_headers(capture: &Path, checksums: bool) -> Result<Vec<Packet>, Failed> {
    let options = decode::Options { checksums, dns: false };
    let mut reader = Reader::open(capture)?;
    let mut packets = Vec::new();
    while let Part::Frames(frames) = reader.read()? {
        let points = frames.points();
        let decoded = frames.places.iter().filter_map(|place| {
            let frame = decode::Frame {
                origin: points.get(usize::from(place.interface)).copied().unwrap_or_default(),
                time: place.time,
                epoch: 0,
                number: place.number,
                link: LinkType(place.link),
                length: place.length,
                bytes: frames.of(place),
            };
            decode::decode(&frame, &options).ok()
        });
        packets.extend(decoded);
    }
    Ok(packets)
}
