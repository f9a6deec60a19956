//! Event time: nanoseconds since the Unix epoch, in UTC, never through a float.

use std::fmt;

use serde::{Serialize, Serializer};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The digits of the numbers 0 to 99.
const PAIRS: [[u8; 2]; 100] = pairs();

/// A point in event time: nanoseconds since 1970-01-01T00:00:00Z.
///
/// Covers the years 1677 to 2262, so neither 2038 nor the unsigned range of a classic capture's
/// seconds (2106) overflows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text of a [`Timestamp`], at most 35 bytes, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339 {
    bytes: [u8; Rfc3339::MAX],
    len: usize,
}

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0_u8;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
}

// === impl Timestamp ===

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds and nanoseconds (0 to 999,999,999) since the epoch; `None` outside the
    /// years 1677 to 2262.
    pub fn from_parts(seconds: i64, nanos: u32) -> Option<Self> {
        seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(i64::from(nanos)).map(Self)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`, 0 if it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0)
    }

    /// `self` moved on by `nanos`, held at the end of the range.
    #[must_use]
    pub fn saturating_add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add_unsigned(nanos))
    }

    /// Whole seconds since the epoch, rounded down, and the nanoseconds above them.
    pub fn parts(self) -> (i64, u32) {
        let nanos = self.0.rem_euclid(NANOS_PER_SECOND);
        (self.0.div_euclid(NANOS_PER_SECOND), u32::try_from(nanos).unwrap_or(0))
    }

    /// RFC 3339 in UTC, with 0, 3, 6 or 9 fraction digits: the fewest that lose nothing.
    pub fn rfc3339(self) -> Rfc3339 {
        let (seconds, nanos) = self.parts();
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = u32::try_from(seconds.rem_euclid(SECONDS_PER_DAY)).unwrap_or(0);
        let mut text = Rfc3339 { bytes: [0; Rfc3339::MAX], len: 0 };
        text.pair(year / 100);
        text.pair(year % 100);
        text.byte(b'-');
        text.pair(month);
        text.byte(b'-');
        text.pair(day);
        text.byte(b'T');
        text.pair(of_day / 3600);
        text.byte(b':');
        text.pair(of_day / 60 % 60);
        text.byte(b':');
        text.pair(of_day % 60);
        if nanos > 0 {
            text.byte(b'.');
            text.thousand(nanos / 1_000_000);
        }
        if nanos % 1_000_000 > 0 {
            text.thousand(nanos / 1_000 % 1_000);
        }
        if nanos % 1_000 > 0 {
            text.thousand(nanos % 1_000);
        }
        text.byte(b'Z');
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rfc3339().as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.rfc3339().as_str())
    }
}

// === impl Rfc3339 ===

impl Rfc3339 {
    const MAX: usize = 35;

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Two digits.
    fn pair(&mut self, value: u32) {
        let digits = PAIRS.get(value as usize).copied().unwrap_or_default();
        self.bytes[self.len..self.len + 2].copy_from_slice(&digits);
        self.len += 2;
    }

    /// Three digits.
    fn thousand(&mut self, value: u32) {
        self.pair(value / 10);
        self.byte(b"0123456789"[(value % 10) as usize]);
    }
}

/// Year, month and day of a day number since the epoch, from the year 0 on, in the proleptic Gregorian
/// calendar (`civil_from_days`, H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(day: i64) -> (u32, u32, u32) {
    let shifted = u32::try_from(day + 719_468).unwrap_or(0);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fraction_digits_are_the_fewest_that_lose_nothing() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1_697_554_523_000_000_000, "2023-10-17T14:55:23Z"),
            (1_697_554_523_120_000_000, "2023-10-17T14:55:23.120Z"),
            (1_697_554_523_000_001_000, "2023-10-17T14:55:23.000001Z"),
            (1_697_554_523_000_000_001, "2023-10-17T14:55:23.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (2_147_483_648_000_000_000, "2038-01-19T03:14:08Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn the_text_reads_back_as_the_same_instant(nanos: i64) {
            let text = Timestamp::from_nanos(nanos).to_string();
            let read: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(read.as_nanosecond(), i128::from(nanos));
        }
    }
}
