//! Each kind of header, right, cut and wrong.

mod build;
mod hostile;
mod kinds;
mod lengths;
mod links;
mod names;
mod tunnels;

use self::build::frame;
use super::{Frame, Options, Skipped, decode};
use crate::record::{Header, Packet};

const CHECKED: Options = Options { checksums: true, dns: true, names: false };

fn packet(link: u16, bytes: &[u8]) -> Packet {
    read(&frame(link, bytes))
}

fn read(frame: &Frame<'_>) -> Packet {
    decode(frame, &CHECKED).unwrap_or_else(|why| panic!("{}: {frame:?}", why.name()))
}

fn skipped(link: u16, bytes: &[u8]) -> Skipped {
    decode(&frame(link, bytes), &CHECKED).expect_err("no packet")
}

/// The header of an IP packet that Ethernet carries.
fn header(packet: &[u8]) -> Header {
    self::packet(1, &build::on_ethernet(packet)).outer
}

#[test]
fn each_reason_has_a_name_of_its_own() {
    let mut names: Vec<_> = Skipped::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Skipped::ALL.len());
}
