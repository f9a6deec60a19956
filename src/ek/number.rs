//! The texts tshark writes for numbers, times and addresses.

use std::{net::IpAddr, num::IntErrorKind, str::FromStr};

use super::error::{Error, quoted};
use crate::record::{MacAddress, Timestamp};

/// Digits of a fraction of a second that tshark writes.
const FRACTION_DIGITS: usize = 9;

/// An unsigned number, decimal or with `0x` hexadecimal.
pub(super) fn unsigned<T: TryFrom<u64>>(field: &'static str, text: &str) -> Result<T, Error> {
    let read = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    let too_large =
        || Error::OutOfRange { field, value: quoted(text), range: range(size_of::<T>()) };
    match read {
        Ok(number) => T::try_from(number).map_err(|_| too_large()),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Err(too_large()),
        Err(_) => Err(unreadable(field, text, "whole number")),
    }
}

/// A flag, as tshark 3 and 4.0 (`1`) and later ones (`True`) write it.
pub(super) fn flag(field: &'static str, text: &str) -> Result<bool, Error> {
    match text {
        "0" | "False" => Ok(false),
        "1" | "True" => Ok(true),
        _ => Err(unreadable(field, text, "flag")),
    }
}

/// An address.
pub(super) fn address<A: FromStr + Into<IpAddr>>(
    field: &'static str,
    text: &str,
) -> Result<IpAddr, Error> {
    text.parse().map(A::into).map_err(|_| unreadable(field, text, "IP address"))
}

/// An Ethernet address, `72:5e:64:d7:5f:9c`.
pub(super) fn mac(field: &'static str, text: &str) -> Result<MacAddress, Error> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = |part: &[u8]| match part {
        [high, low] | [high, low, b':'] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let mut bytes = [0; 6];
    let parts = text.as_bytes().chunks(3);
    // Seventeen characters are five parts with a colon and one without.
    let complete = text.len() == 17
        && bytes
            .iter_mut()
            .zip(parts)
            .all(|(read, part)| byte(part).map(|byte| *read = byte).is_some());
    if complete { Ok(MacAddress(bytes)) } else { Err(unreadable(field, text, "Ethernet address")) }
}

/// Seconds since the epoch with a fraction of up to nine digits, perhaps negative.
pub(super) fn time(field: &'static str, text: &str) -> Result<Timestamp, Error> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || fraction.len() > FRACTION_DIGITS || !digits(whole) || !digits(fraction) {
        return Err(unreadable(field, text, "time in seconds"));
    }
    let mut nanos = 0;
    for at in 0..FRACTION_DIGITS {
        let digit = fraction.as_bytes().get(at).map_or(0, |digit| digit - b'0');
        nanos = nanos * 10 + i64::from(digit);
    }
    let sign = if negative { -1 } else { 1 };
    whole
        .parse::<i64>()
        .ok()
        .and_then(|seconds| (sign * seconds).checked_mul(1_000_000_000))
        .and_then(|whole| whole.checked_add(sign * nanos))
        .map(Timestamp::from_nanos)
        .ok_or_else(|| Error::OutOfRange {
            field,
            value: quoted(text),
            range: "the years 1677 to 2262",
        })
}

fn unreadable(field: &'static str, text: &str, expected: &'static str) -> Error {
    Error::Unreadable { field, value: quoted(text), expected }
}

const fn range(bytes: usize) -> &'static str {
    match bytes {
        1 => "0 to 255",
        2 => "0 to 65535",
        4 => "0 to 4294967295",
        _ => "0 to 18446744073709551615",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Label;

    #[test]
    fn a_time_is_read_to_the_nanosecond_and_refused_outside_the_range() {
        let cases = [
            ("1795424011.059808000", Ok(1_795_424_011_059_808_000)),
            ("0.000000000", Ok(0)),
            ("0.000000001", Ok(1)),
            ("5", Ok(5_000_000_000)),
            ("5.25", Ok(5_250_000_000)),
            ("-1.500000000", Ok(-1_500_000_000)),
            ("4294967295.999999999", Ok(4_294_967_295_999_999_999)),
            ("9223372036.854775807", Ok(i64::MAX)),
            ("9223372036.854775808", Err("out_of_range")),
            ("-9223372037.000000000", Err("out_of_range")),
            ("99999999999999999999.0", Err("out_of_range")),
            ("1.0000000000", Err("unreadable_value")),
            ("", Err("unreadable_value")),
            ("-", Err("unreadable_value")),
            ("+1.0", Err("unreadable_value")),
            ("1e9", Err("unreadable_value")),
            ("1.-5", Err("unreadable_value")),
        ];
        for (text, expected) in cases {
            let read = time("t", text).map(Timestamp::nanos);
            assert_eq!(read.map_err(|error| error.reason().name()), expected, "{text}");
        }
    }

    #[test]
    fn a_number_is_read_in_both_notations_and_refused_outside_its_type() {
        let cases = [
            ("0", Ok(0)),
            ("65535", Ok(65_535)),
            ("0x0012", Ok(18)),
            ("0x00000012", Ok(18)),
            ("65536", Err("out_of_range")),
            ("0x10000", Err("out_of_range")),
            ("99999999999999999999999", Err("out_of_range")),
            ("", Err("unreadable_value")),
            ("-1", Err("unreadable_value")),
            ("0x", Err("unreadable_value")),
            ("0x+1", Err("unreadable_value")),
            ("12a", Err("unreadable_value")),
        ];
        for (text, expected) in cases {
            let read = unsigned::<u16>("n", text);
            assert_eq!(read.map_err(|error| error.reason().name()), expected, "{text}");
        }
    }

    #[test]
    fn an_ethernet_address_has_six_pairs_of_digits() {
        assert_eq!(
            mac("m", "72:5e:64:d7:5f:9c"),
            Ok(MacAddress([0x72, 0x5e, 0x64, 0xd7, 0x5f, 0x9c]))
        );
        let wrong = [
            "",
            "72:5e:64:d7:5f",
            "72:5e:64:d7:5f:9c:00",
            "72:5e:64:d7:5f:9",
            "72-5e-64-d7-5f-9c",
            "72:5e:64:d7:5f:+c",
            "72:5e:64:d7:5f:é",
        ];
        for text in wrong {
            assert!(mac("m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_the_other_family_is_refused() {
        assert!(address::<Ipv4Addr>("a", "10.0.0.1").is_ok());
        assert!(address::<Ipv4Addr>("a", "fe80::1").is_err());
        assert!(address::<Ipv6Addr>("a", "::ffff:10.0.0.1").is_ok());
    }

    proptest! {
        #[test]
        fn a_time_written_as_tshark_does_reads_back(nanos in 0..i64::MAX, negative: bool) {
            let sign = if negative { "-" } else { "" };
            let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
            let expected = if negative { -nanos } else { nanos };
            prop_assert_eq!(time("t", &text).map(Timestamp::nanos), Ok(expected));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text: String) {
            drop(unsigned::<u8>("n", &text));
            drop((time("t", &text), mac("m", &text), flag("f", &text)));
        }
    }
}
