//! One line in, one packet out, in buffers that are used again.

use std::{fmt, sync::Arc};

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape, fill_tape_padded};

use super::{
    error::Error,
    fields::{BASE, base, printed},
    headers,
    layout::Layouts,
    number::{mac, time, unsigned},
    plain,
    values::{Names, Values},
};
use crate::record::{self, Extra, Packet, Raw, Timestamp};

/// Deepest nesting of a line: an object, `layers`, a field's values, and some to spare for fields
/// that are skipped.
const MAX_DEPTH: usize = 8;
/// A line longer than this gets buffers of its own, so that one long line doesn't hold memory.
const MAX_KEPT_BYTES: usize = 64 << 10;
/// Values kept of an extra field.
const MAX_EXTRA_VALUES: usize = 64;
/// Bytes kept of each.
const MAX_EXTRA_BYTES: usize = 1024;

const NUMBER: usize = base("frame.number");
const TIME: usize = base("frame.time_epoch");
const LEN: usize = base("frame.len");
const CAP_LEN: usize = base("frame.cap_len");
const PROTOCOLS: usize = base("frame.protocols");
const MALFORMED: usize = base("_ws.malformed");
const SHORT: usize = base("_ws.short");
const ETH_SRC: usize = base("eth.src");
const ETH_DST: usize = base("eth.dst");

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "every second line is a packet; a box would cost each one"
)]
pub enum Line {
    /// A frame with an IP layer.
    Packet(Packet),
    /// A frame without one, or whose IP header was not captured, and its time.
    NotIp(Timestamp),
    /// The `{"index":…}` that tshark writes before each frame.
    Index,
}

/// Reads lines of `-T ek`. Allocates only what a packet keeps.
pub struct Parser {
    names: Names,
    extra: Vec<ExtraField>,
    layouts: Layouts,
    scratch: Scratch,
    mended: u64,
}

#[derive(Debug)]
struct ExtraField {
    name: Arc<str>,
    /// Its place in the [`Names`]: an extra field may be a base field as well.
    at: usize,
}

/// simd-json's buffers and the padded copy of the line it rewrites.
struct Scratch {
    line: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
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
        let is_base = |name: &&str| BASE.contains(name);
        let further = || extra.iter().map(String::as_str).filter(|name| !is_base(name));
        let place = |name: &str| {
            let mut all = BASE.iter().copied().chain(further());
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
                .and_then(|values| line(&values, raw, &self.extra, &mut self.layouts))
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
) -> Result<Line, Error> {
    let time = time(BASE[TIME], values.required(TIME, 0)?)?;
    let number: u64 = unsigned(BASE[NUMBER], values.required(NUMBER, 0)?)?;
    let number = number.checked_add(raw.first).ok_or_else(|| Error::OutOfRange {
        field: BASE[NUMBER],
        value: number.to_string().into(),
        range: "what 64 bits can count",
    })?;
    let frame_bytes = unsigned(BASE[LEN], values.required(LEN, 0)?)?;
    let captured_bytes = unsigned(BASE[CAP_LEN], values.required(CAP_LEN, 0)?)?;
    let layout = layouts.get(values.required(PROTOCOLS, 0)?);
    let headers = headers::read(&layout, values)?;
    let Some(outer) = headers.outer else {
        return Ok(Line::NotIp(time));
    };
    let address = |field: usize| {
        let text = values.get(field, 0).filter(|_| layout.ethernet);
        text.map(|text| mac(BASE[field], text)).transpose()
    };
    Ok(Line::Packet(Packet {
        time,
        epoch: raw.epoch,
        number,
        frame_bytes,
        captured_bytes,
        source_mac: address(ETH_SRC)?,
        destination_mac: address(ETH_DST)?,
        vlans: headers.vlans,
        outer,
        inner: headers.inner,
        protocol: layout.protocol.clone(),
        damaged: values.get(MALFORMED, 0).is_some() || values.get(SHORT, 0).is_some(),
        extra: extra.iter().filter_map(|field| field.read(values)).collect(),
        names: record::Names::default(),
    }))
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
