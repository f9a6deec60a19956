//! Time stamps: counts of units since the epoch, whatever the unit.

use crate::record::Timestamp;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The largest power of ten whose units fit 64 bits.
const MAX_POWER_OF_TEN: u8 = 19;

/// The largest power of two whose units fit 64 bits.
const MAX_POWER_OF_TWO: u8 = 63;

/// How an interface of a pcapng counts time (`if_tsresol`, `if_tsoffset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    units_per_second: u64,
    /// Nanoseconds in a unit, where that is a whole number.
    nanos_per_unit: Option<u64>,
    offset_seconds: i64,
}

// === impl Timing ===

impl Timing {
    /// Of a resolution: a negative power of ten, or of two with the highest bit set. With units shorter
    /// than 64 bits can count in a second, hardly any time passes (in Wireshark, too).
    pub(super) fn new(resolution: u8, offset_seconds: i64) -> Self {
        let power = resolution & 0x7f;
        let units_per_second = match resolution & 0x80 {
            0 if power <= MAX_POWER_OF_TEN => 10_u64.pow(power.into()),
            0x80 if power <= MAX_POWER_OF_TWO => 1 << power,
            _ => u64::MAX,
        };
        let nanos = 1_000_000_000;
        let nanos_per_unit =
            (nanos % units_per_second == 0).then_some(nanos / units_per_second).filter(|n| *n > 0);
        Self { units_per_second, nanos_per_unit, offset_seconds }
    }

    /// The time of a count of units, held at the ends of the range.
    pub(super) fn at(self, units: u64) -> Timestamp {
        if let Some(nanos) = self.nanos_per_unit
            && self.offset_seconds == 0
            && let Some(nanos) = units.checked_mul(nanos).and_then(|it| i64::try_from(it).ok())
        {
            return Timestamp::from_nanos(nanos);
        }
        let per_second = u128::from(self.units_per_second);
        let units = u128::from(units);
        // At most 2^64 s, and a fraction below 1 s: neither overflows 128 bits.
        let seconds = (units / per_second).cast_signed() + i128::from(self.offset_seconds);
        let fraction = (units % per_second) * NANOS_PER_SECOND / per_second;
        held(seconds * NANOS_PER_SECOND.cast_signed() + fraction.cast_signed())
    }
}

fn held(nanos: i128) -> Timestamp {
    let least = i128::from(i64::MIN);
    let most = i128::from(i64::MAX);
    Timestamp::from_nanos(i64::try_from(nanos.clamp(least, most)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, offset: i64, units: u64) -> i64 {
        Timing::new(resolution, offset).at(units).nanos()
    }

    #[test]
    fn every_power_of_ten_and_of_two_gives_the_same_half_second() {
        for power in 1..=19_u8 {
            assert_eq!(nanos(power, 0, 10_u64.pow(power.into()) / 2), 500_000_000, "10^-{power}");
        }
        for power in 1..=63_u8 {
            assert_eq!(nanos(0x80 | power, 0, 1 << (power - 1)), 500_000_000, "2^-{power}");
        }
        assert_eq!((nanos(0, 0, 7), nanos(0x80, 0, 7)), (7_000_000_000, 7_000_000_000));
    }

    #[test]
    fn with_units_that_64_bits_cannot_count_hardly_any_time_passes() {
        for resolution in [20, 0x7f, 0xc0, 0xff] {
            assert_eq!(nanos(resolution, 3, 1_000_000_000), 3_000_000_000);
        }
    }

    #[test]
    fn an_offset_is_added_and_times_out_of_range_are_held() {
        assert_eq!(nanos(6, 10, 1), 10_000_001_000);
        assert_eq!(nanos(6, -10, 1), -9_999_999_000);
        assert_eq!(nanos(9, i64::MAX, u64::MAX), i64::MAX);
        assert_eq!(nanos(9, i64::MIN, 0), i64::MIN);
        assert_eq!(nanos(0, 0, u64::MAX), i64::MAX);
        assert_eq!(nanos(9, 0, u64::MAX), i64::MAX);
    }
}
