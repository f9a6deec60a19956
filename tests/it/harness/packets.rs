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
    decode::{self, LinkType, Skipped},
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

/// The packets of a capture; `checksums`: tshark verifies them.
///
/// # Errors
/// When tshark can't be started, or prints no packet and ends badly.
pub(crate) fn packets(capture: &Path, checksums: bool) -> Result<Vec<Packet>, Failed> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "ek"]).args(super::tshark::EACH_PACKET_ALONE);
    command.args(["-o", "ipv6.tso_support:TRUE"]);
    for protocol in ["ip", "tcp", "udp"] {
        command.args(["-o", &format!("{protocol}.check_checksum:{checksums}")]);
    }
    command.args(["-o", if checksums { "sctp.checksum:crc-32c" } else { "sctp.checksum:none" }]);
    // Teredo has no port of its own.
    command.args(["--enable-heuristic", "teredo_udp"]);
    command.arg("-r").arg(capture).stdin(Stdio::null());
    let of_checksums = if checksums { fields::CHECKSUMS } else { &[] };
    for field in fields::BASE.iter().chain(of_checksums) {
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
            Ok(Line::Packets(several)) => packets.extend(several),
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
    let options = decode::Options { checksums, ..Default::default() };
    let mut reader = Reader::open(capture)?;
    let mut packets = Vec::new();
    while let Part::Frames(frames) = reader.read()? {
        let points = frames.points();
        for place in frames.places.iter() {
            let frame = decode::Frame {
                origin: points.get(usize::from(place.interface)).copied().unwrap_or_default(),
                time: place.time,
                epoch: 0,
                number: place.number,
                link: LinkType(place.link),
                length: place.length,
                bytes: frames.of(place),
            };
            packets.extend(each(&frame, options).unwrap_or_default());
        }
    }
    Ok(packets)
}

/// The packets of a frame: one, or those of an aggregate.
///
/// # Errors
/// [`Skipped`], why there is none.
pub(crate) fn each(
    frame: &decode::Frame<'_>,
    options: decode::Options,
) -> Result<Vec<Packet>, Skipped> {
    match decode::decode(frame, &options) {
        Err(Skipped::SeveralPackets) => decode::each(frame, &options),
        one => one.map(|packet| vec![packet]),
    }
}
