//! Shares, and how far they can be trusted.

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_964;

/// The Wilson score interval of `hits` in `all`, at 95 % (Wilson 1927).
pub(super) fn wilson(hits: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (float(all), float(hits) / float(all));
    let spread = Z * ((p * (1.0 - p) + Z * Z / (4.0 * n)) / n).sqrt();
    let (middle, scale) = (p + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

/// A share; `None` of nothing.
pub(super) fn share(hits: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| float(hits) / float(all))
}

#[expect(clippy::cast_precision_loss, reason = "counts of sources are small")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// The value below which `percent` of the sorted values lie; `None` of none.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent).div_ceil(100)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        let near = |(low, high): (f64, f64), (l, h): (f64, f64)| {
            assert!((low - l).abs() < 1e-3 && (high - h).abs() < 1e-3, "{low} {high}");
        };
        near(wilson(0, 10), (0.0, 0.2775));
        near(wilson(5, 10), (0.2366, 0.7634));
        near(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!((percentile(&values, 50), percentile(&values, 95)), (Some(3.0), Some(4.0)));
        assert_eq!(percentile(&[], 50), None);
    }
}
