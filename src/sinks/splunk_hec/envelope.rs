//! What the collector wants around an event. It drops the rest of a batch silently where it meets a
//! key it does not know, so there are no others than these.

use std::io::Write;

use super::Config;
use crate::{
    codec::Encoder,
    component::Error,
    record::{Kind, Records},
};

/// Writes records as events in their envelopes, one a line.
#[derive(Debug)]
pub(super) struct Envelopes {
    encoder: Encoder,
    max_bytes: usize,
    /// Of each kind, by [`Kind`]: the envelope between the time and the event.
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
        let host = config.host.as_deref().unwrap_or(observer);
        let middle = |kind: Kind| {
            let sourcetype = match config.sourcetype.as_str() {
                "auto" => format!("tidegate:{kind}"),
                sourcetype => sourcetype.to_owned(),
            };
            let pairs = [
                ("host", Some(host)),
                ("source", config.source.as_deref()),
                ("sourcetype", Some(&sourcetype)),
                ("index", config.index.as_deref()),
            ];
            let pairs = pairs.into_iter().filter_map(|(key, value)| {
                Some(format!("\"{key}\":{},", serde_json::Value::from(value?)))
            });
            format!("\",{}\"event\":", pairs.collect::<String>()).into()
        };
        Self { encoder, max_bytes: config.max_event_bytes as usize, middles: Kind::ALL.map(middle) }
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
        let middle = self.middles.get(records.kind() as usize).ok_or_else(failed)?;
        // As text: a double has no room for nanoseconds.
        out.extend_from_slice(br#"{"time":""#);
        match u64::try_from(seconds) {
            Ok(seconds @ 1_000_000_000..=9_999_999_999) => append_digits::<10>(seconds, out),
            _ => write!(out, "{seconds}").map_err(|error| failed().because(error))?,
        }
        out.push(b'.');
        append_digits::<9>(nanos.into(), out);
        out.extend_from_slice(middle.as_bytes());
        self.encoder.encode(records, index, out).map_err(|error| failed().because(error))?;
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        out.extend_from_slice(b"}\n");
        Ok(if out.len() - start > self.max_bytes { Size::TooLarge } else { Size::Fits })
    }
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
