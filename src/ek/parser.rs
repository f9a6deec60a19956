//! One line in, one packet out, in buffers that are used again.

use std::{fmt, sync::Arc};

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape, fill_tape_padded};

use super::{
    error::Error,
    fields::{READ, place, printed},
    headers::{self, Stack},
    layout::Layouts,
    number::{mac, time, unsigned},
    plain,
    points::Points,
    values::{Names, Values},
};
use crate::record::{self, Extra, ObservationPoint, Packet, Raw, Timestamp};

/// Deepest nesting of a line: an object, `layers`, a field's values, and some to spare for fields
/// that are skipped.
const MAX_DEPTH: usize = 8;
/// A line longer than this gets buffers of its own, so that one long line doesn't hold memory.
const MAX_KEPT_BYTES: usize = 64 << 10;
/// Values kept of an extra field.
const MAX_EXTRA_VALUES: usize = 64;
/// Bytes kept of each.
const MAX_EXTRA_BYTES: usize = 1024;

const NUMBER: usize = place("frame.number");
const TIME: usize = place("frame.time_epoch");
const LEN: usize = place("frame.len");
const CAP_LEN: usize = place("frame.cap_len");
const PROTOCOLS: usize = place("frame.protocols");
const ETH_SRC: usize = place("eth.src");
const ETH_DST: usize = place("eth.dst");

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A frame with an IP layer.
    Packet(Packet),
    /// A frame that aggregates several packets (A-MSDU of IEEE 802.11), in their order: each has the
    /// frame's time, number and lengths. Extra fields are the first one's.
    Packets(Vec<Packet>),
    /// A frame without one, or whose IP header was not captured: its time, and where it was seen.
    NotIp(Timestamp, ObservationPoint),
    /// The `{"index":…}` that tshark writes before each frame.
    Index,
}

/// Reads lines of `-T ek`. Allocates only what a packet keeps.
pub struct Parser {
    names: Names,
    extra: Vec<ExtraField>,
    layouts: Layouts,
    points: Points,
    scratch: Scratch,
    mended: u64,
}

#[derive(Debug)]
struct ExtraField {
    name: Arc<str>,
    /// Its place in the [`Names`]: an extra field may be a field of headers as well.
    at: usize,
}

/// simd-json's buffers and the padded copy of the line it rewrites.
struct Scratch {
    line: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

/// What the packets of a frame have in common.
#[derive(Debug)]
struct Frame {
    time: Timestamp,
    number: u64,
    epoch: u32,
    origin: ObservationPoint,
    bytes: u32,
    captured_bytes: u32,
}

/// Why a line could not be read as it is.
enum Failure {
    /// It holds invalid UTF-8.
    Utf8,
    /// It is wrong.
    Line(Error),
}

// === impl Parser ===

impl Parser {
    /// A parser that also keeps the values of these fields (tshark's dotted names).
    pub fn new(extra: &[String]) -> Self {
        let is_read = |name: &&str| READ.contains(name);
        let further = || extra.iter().map(String::as_str).filter(|name| !is_read(name));
        let place = |name: &str| {
            let mut all = READ.iter().copied().chain(further());
            all.position(|known| known == name)
        };
        Self {
            names: Names::new(further()),
            extra: extra
                .iter()
                .filter_map(|name| {
                    Some(ExtraField { name: printed(name).into(), at: place(name)? })
                })
                .collect(),
            layouts: Layouts::default(),
            points: Points::default(),
            scratch: Scratch::new(),
            mended: 0,
        }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// [`Error`] when it is not what `tshark -T ek -e` writes for the base fields.
    pub fn parse(&mut self, raw: &Raw) -> Result<Line, Error> {
        if raw.line.starts_with(br#"{"index""#) {
            return Ok(Line::Index);
        }
        self.read(&raw.line, raw).or_else(|failure| match failure {
            Failure::Line(error) => Err(error),
            Failure::Utf8 => {
                self.mended += 1;
                let mended = String::from_utf8_lossy(&raw.line);
                self.read(mended.as_bytes(), raw).map_err(|failure| match failure {
                    Failure::Line(error) => error,
                    Failure::Utf8 => not_json(raw, "invalid UTF-8"),
                })
            }
        })
    }

    /// How many lines held invalid UTF-8 since this was last asked; they were read all the same,
    /// with U+FFFD in its place.
    pub fn take_mended(&mut self) -> u64 {
        std::mem::take(&mut self.mended)
    }

    fn read(&mut self, text: &[u8], raw: &Raw) -> Result<Line, Failure> {
        let mut own = (text.len() > MAX_KEPT_BYTES).then(Scratch::new);
        let scratch = own.as_mut().unwrap_or(&mut self.scratch);
        let mut tape = std::mem::replace(&mut scratch.tape, Tape(Vec::new())).reset();
        let filled = if plain::fill(text, &mut tape.0) {
            Ok(())
        } else {
            scratch.line.clear();
            scratch.line.extend_from_slice(text);
            scratch.line.resize(text.len() + INPUT_PADDING, 0);
            fill_tape_padded(&mut scratch.line, text.len(), &mut scratch.buffers, &mut tape)
        };
        let line = match filled {
            Ok(()) => self
                .names
                .find(&tape)
                .and_then(|values| {
                    line(&values, raw, &self.extra, &mut self.layouts, &mut self.points)
                })
                .map_err(Failure::Line),
            Err(error) => match error.error() {
                ErrorType::InvalidUtf8 => Err(Failure::Utf8),
                cause => Err(Failure::Line(not_json(raw, &format!("{cause:?}")))),
            },
        };
        scratch.tape = tape.reset();
        line
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("extra", &self.extra)
            .field("mended", &self.mended)
            .finish_non_exhaustive()
    }
}

fn not_json(raw: &Raw, cause: &str) -> Error {
    Error::NotJson { bytes: raw.line.len(), cause: cause.to_owned() }
}

fn line(
    values: &Values<'_, '_>,
    raw: &Raw,
    extra: &[ExtraField],
    layouts: &mut Layouts,
    points: &mut Points,
) -> Result<Line, Error> {
    // A simple packet block of pcapng has no time: 0, as in libpcap.
    let time = values.get(TIME, 0).map(|text| time(READ[TIME], text)).transpose()?;
    let time = time.unwrap_or_default();
    let number: u64 = unsigned(READ[NUMBER], values.required(NUMBER, 0)?)?;
    let number = number.checked_add(raw.first).ok_or_else(|| Error::OutOfRange {
        field: READ[NUMBER],
        value: number.to_string().into(),
        range: "what 64 bits can count",
    })?;
    let bytes = unsigned(READ[LEN], values.required(LEN, 0)?)?;
    let captured_bytes = unsigned(READ[CAP_LEN], values.required(CAP_LEN, 0)?)?;
    let layout = layouts.get(values.required(PROTOCOLS, 0)?);
    let headers = headers::read(&layout, values, bytes)?;
    let origin = points.of(raw.origin, values)?;
    let Some(first) = headers.first else {
        return Ok(Line::NotIp(time, origin));
    };
    let frame = Frame { time, number, epoch: raw.epoch, origin, bytes, captured_bytes };
    let packet = Packet {
        protocol: layout.protocol.clone(),
        extra: extra.iter().filter_map(|field| field.read(values)).collect(),
        ..frame.packet(first, values, 0)?
    };
    if headers.further.is_empty() {
        return Ok(Line::Packet(packet));
    }
    let mut packets = vec![packet];
    for (part, stack) in (1..).zip(headers.further) {
        packets.push(frame.packet(stack, values, part)?);
    }
    Ok(Line::Packets(packets))
}

// === impl Frame ===

impl Frame {
    /// One of the frame's packets.
    fn packet(&self, stack: Stack, values: &Values<'_, '_>, part: u16) -> Result<Packet, Error> {
        let address = |field: usize| {
            let text = values.get(field, 0).filter(|_| stack.ethernet);
            text.map(|text| mac(READ[field], text)).transpose()
        };
        Ok(Packet {
            time: self.time,
            epoch: self.epoch,
            number: self.number,
            part,
            origin: self.origin,
            frame_bytes: self.bytes,
            captured_bytes: self.captured_bytes,
            source_mac: address(ETH_SRC)?,
            destination_mac: address(ETH_DST)?,
            vlans: stack.vlans,
            outer: stack.outer,
            inner: stack.inner,
            protocol: None,
            damaged: stack.damaged,
            extra: Vec::new(),
            names: record::Names::default(),
        })
    }
}

// === impl ExtraField ===

impl ExtraField {
    fn read(&self, values: &Values<'_, '_>) -> Option<Extra> {
        let values: Vec<Box<str>> = values
            .all(self.at)
            .take(MAX_EXTRA_VALUES)
            .map(|value| {
                let end = value.floor_char_boundary(MAX_EXTRA_BYTES);
                value.get(..end).unwrap_or_default().into()
            })
            .collect();
        (!values.is_empty()).then(|| Extra { name: Arc::clone(&self.name), values })
    }
}

// === impl Scratch ===

impl Scratch {
    fn new() -> Self {
        Self {
            line: Vec::new(),
            buffers: Buffers::with_max_depth(0, MAX_DEPTH),
            tape: Tape(Vec::new()),
        }
    }
}
