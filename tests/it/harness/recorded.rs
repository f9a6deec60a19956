//! The frames of a capture file, read without tshark and without the code under test.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use flate2::read::MultiGzDecoder;
use libtest_mimic::Failed;
use tidegate::{
    decode::{Frame, LinkType},
    record::{ObservationPoint, Timestamp},
};

/// A frame as a capture file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// When it was captured; 1970 if the file does not say.
    pub(crate) time: Timestamp,
    /// The link type of its interface.
    pub(crate) link: u16,
    /// Its length on the wire.
    pub(crate) length: u32,
    /// What was captured.
    pub(crate) bytes: Vec<u8>,
}

/// Numbers in a file's byte order.
#[derive(Debug, Clone, Copy)]
struct Order {
    is_big: bool,
}

/// An interface of a pcapng file.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u16,
    snap_length: u32,
    /// Units of time stamps in a second.
    per_second: u64,
    offset: i64,
}

// === impl Recorded ===

impl Recorded {
    /// As the decoder takes it.
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame {
            origin: ObservationPoint::default(),
            time: self.time,
            epoch: 0,
            number: self.number,
            link: LinkType(self.link),
            length: self.length,
            bytes: &self.bytes,
        }
    }
}

/// The frames of a file, up to its end or to where it is cut.
///
/// # Errors
/// When it can't be read, or is no capture.
pub(crate) fn recorded(path: &Path) -> Result<Vec<Recorded>, Failed> {
    let name = path.display();
    let mut bytes = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes.clear();
        MultiGzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
    }
    let frames = match bytes.first_chunk() {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => blocks(&bytes),
        Some(magic) => records(&bytes, *magic),
        None => None,
    };
    Ok(frames.ok_or_else(|| format!("{name} is no capture"))?)
}

// === impl Order ===

impl Order {
    fn short(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

// === pcap ===

fn records(bytes: &[u8], magic: [u8; 4]) -> Option<Vec<Recorded>> {
    let (is_big, unit) = match magic {
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1_000),
        [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1_000),
        [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
        _ => return None,
    };
    let order = Order { is_big };
    let link = u16::try_from(order.long(bytes, 20)? & 0xffff).ok()?;
    let mut frames = Vec::new();
    let mut rest = bytes.get(24..)?;
    while let Some(frame) = record(order, rest) {
        let (seconds, fraction, captured, length) = frame;
        let (bytes, behind) = rest[16..].split_at(captured);
        frames.push(Recorded {
            number: frames.len() as u64 + 1,
            time: Timestamp::from_nanos(i64::from(seconds) * 1_000_000_000 + fraction * unit),
            link,
            length,
            bytes: bytes.to_vec(),
        });
        rest = behind;
    }
    Some(frames)
}

fn record(order: Order, rest: &[u8]) -> Option<(u32, i64, usize, u32)> {
    let captured = order.long(rest, 8)? as usize;
    let length = order.long(rest, 12)?;
    rest.get(16..)?.get(..captured)?;
    Some((order.long(rest, 0)?, order.long(rest, 4)?.into(), captured, length))
}

// === pcapng ===

fn blocks(bytes: &[u8]) -> Option<Vec<Recorded>> {
    let mut frames = Vec::new();
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut order = Order { is_big: false };
    let mut rest = bytes;
    while rest.len() >= 12 {
        if rest.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            order.is_big = rest.get(8..12)? == [0x1a, 0x2b, 0x3c, 0x4d];
            interfaces.clear();
        }
        let length = order.long(rest, 4)? as usize;
        let Some(body) = rest.get(8..length.saturating_sub(4)) else { break };
        let frame = match order.long(rest, 0)? {
            1 => {
                interfaces.push(interface(order, body)?);
                None
            }
            3 => simple(order, body, interfaces.first()?),
            6 => enhanced(order, body, &interfaces),
            _ => None,
        };
        frames.extend(frame.map(|frame| Recorded { number: frames.len() as u64 + 1, ..frame }));
        rest = rest.get(length..)?;
    }
    Some(frames)
}

fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let mut interface = Interface {
        link: order.short(body, 0)?,
        snap_length: order.long(body, 4)?,
        per_second: 1_000_000,
        offset: 0,
    };
    let mut at = 8;
    while let (Some(code), Some(length)) = (order.short(body, at), order.short(body, at + 2)) {
        match code {
            9 => {
                let resolution = *body.get(at + 4)?;
                let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
                interface.per_second = base.checked_pow(u32::from(resolution & 0x7f))?;
            }
            14 => interface.offset = i64::from(order.long(body, at + 4)?),
            _ => {}
        }
        at += 4 + usize::from(length).next_multiple_of(4);
    }
    Some(interface)
}

fn simple(order: Order, body: &[u8], interface: &Interface) -> Option<Recorded> {
    let length = order.long(body, 0)?;
    let most = if interface.snap_length == 0 { length } else { interface.snap_length };
    let bytes = body.get(4..)?.get(..length.min(most) as usize)?.to_vec();
    Some(Recorded { number: 0, time: Timestamp::default(), link: interface.link, length, bytes })
}

fn enhanced(order: Order, body: &[u8], interfaces: &[Interface]) -> Option<Recorded> {
    let interface = interfaces.get(order.long(body, 0)? as usize)?;
    let units = u64::from(order.long(body, 4)?) << 32 | u64::from(order.long(body, 8)?);
    let (seconds, rest) = (units / interface.per_second, units % interface.per_second);
    let fraction = u128::from(rest) * 1_000_000_000 / u128::from(interface.per_second);
    let whole = i64::try_from(seconds).ok()? + interface.offset;
    let bytes = body.get(20..)?.get(..order.long(body, 12)? as usize)?.to_vec();
    Some(Recorded {
        number: 0,
        time: Timestamp::from_nanos(whole * 1_000_000_000 + i64::try_from(fraction).ok()?),
        link: interface.link,
        length: order.long(body, 16)?,
        bytes,
    })
}
