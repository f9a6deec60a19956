//! What the collector wants around an event. It drops the rest of a batch silently where it meets a
//! key it does not know, so there are no others than these.

use std::io::Write;

use super::Config;
use crate::{
    codec::Encoder,
    component::Error,
    record::{Kind, Records, Returned, Timestamp},
};

const OPENING: &[u8] = br#"{"time":""#;
const HOST: &[u8] = br#"","host":"#;

/// Writes records as events in their envelopes, one a line.
#[derive(Debug)]
pub(super) struct Envelopes {
    encoder: Encoder,
    max_bytes: usize,
    /// The config's host; without one it is the sensor that saw the record.
    host: Option<Box<str>>,
    /// This sensor.
    observer: Box<str>,
    /// Of each kind, by [`Kind`]: the envelope between the host and the event.
    middles: [Box<str>; Kind::ALL.len()],
}

/// Whether an event may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Fits,
    TooLarge,
}

// === impl Envelopes ===

impl Envelopes {
    pub(super) fn new(config: &Config, encoder: Encoder, observer: &str) -> Self {
        let middle = |kind: Kind| {
            let sourcetype = match config.sourcetype.as_str() {
                "auto" => format!("tidegate:{kind}"),
                sourcetype => sourcetype.to_owned(),
            };
            let pairs = [
                ("source", config.source.as_deref()),
                ("sourcetype", Some(&sourcetype)),
                ("index", config.index.as_deref()),
            ];
            let pairs = pairs.into_iter().filter_map(|(key, value)| {
                Some(format!("\"{key}\":{},", serde_json::Value::from(value?)))
            });
            format!(",{}\"event\":", pairs.collect::<String>()).into()
        };
        Self {
            encoder,
            max_bytes: config.max_event_bytes as usize,
            host: config.host.as_deref().map(Box::from),
            observer: observer.into(),
            middles: Kind::ALL.map(middle),
        }
    }

    /// Appends the record's event.
    ///
    /// # Errors
    /// When the record has no output form.
    pub(super) fn write(
        &self,
        records: &Records,
        index: usize,
        out: &mut Vec<u8>,
    ) -> Result<Size, Error> {
        let failed = || Error::failure(format!("no {} record {index} to encode", records.kind()));
        let start = out.len();
        let (seconds, nanos) = self.encoder.time(records, index).ok_or_else(failed)?.parts();
        let middle = self.middles.get(records.kind_of(index) as usize).ok_or_else(failed)?;
        // As text: a double has no room for nanoseconds.
        out.extend_from_slice(OPENING);
        match u64::try_from(seconds) {
            Ok(seconds @ 1_000_000_000..=9_999_999_999) => append_digits::<10>(seconds, out),
            _ => write!(out, "{seconds}").map_err(|error| failed().because(error))?,
        }
        out.push(b'.');
        append_digits::<9>(nanos.into(), out);
        out.extend_from_slice(HOST);
        let other = if self.host.is_none() { records.observer(index) } else { None };
        let host = other.as_deref().or(self.host.as_deref()).unwrap_or(&self.observer);
        serde_json::to_writer(&mut *out, host).map_err(|error| failed().because(error))?;
        out.extend_from_slice(middle.as_bytes());
        self.encoder.encode(records, index, out).map_err(|error| failed().because(error))?;
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        out.extend_from_slice(b"}\n");
        Ok(if out.len() - start > self.max_bytes { Size::TooLarge } else { Size::Fits })
    }

    /// The event within an envelope that [`write`](Self::write) wrote, and its time.
    pub(super) fn returned(&self, kind: Kind, item: &[u8]) -> Returned {
        let parts = || {
            let middle = self.middles.get(kind as usize)?;
            let rest = item.strip_prefix(OPENING)?;
            let (time, rest) = rest.split_at(memchr::memchr(b'"', rest)?);
            let rest = behind_text(rest.strip_prefix(HOST)?)?;
            let event = rest.strip_prefix(middle.as_bytes())?.strip_suffix(b"}\n")?;
            let (seconds, nanos) = std::str::from_utf8(time).ok()?.split_once('.')?;
            let time = Timestamp::from_parts(seconds.parse().ok()?, nanos.parse().ok()?)?;
            Some(Returned { time: Some(time), ..Returned::new(kind, event) })
        };
        parts().unwrap_or_else(|| Returned::new(kind, item))
    }
}

/// What follows a JSON string.
fn behind_text(json: &[u8]) -> Option<&[u8]> {
    let mut texts =
        serde_json::Deserializer::from_slice(json).into_iter::<&serde_json::value::RawValue>();
    texts.next()?.ok()?;
    json.get(texts.byte_offset()..)
}

/// Appends the last `N` decimal digits of a number.
fn append_digits<const N: usize>(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    out.extend_from_slice(&digits);
}
