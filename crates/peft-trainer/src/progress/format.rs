//! Numbers as a person reads them: three digits that matter and no more.

use std::time::Duration;

/// `42s`, `1m12s`, `2h03m`, `1d04h`: two units, rounded to the nearest second first.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A loss or a score: three decimals, or a power of ten where those would all be 0.
pub fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.2e}") } else { format!("{value:.3}") }
}

/// A learning rate: `9.12e-4`, or `0`.
pub fn rate(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") }
}

/// An amount: `940`, `12.3k`, `1.2M`.
pub fn count(value: f64) -> String {
    match value {
        // What would round to 1000 belongs to the next unit.
        _ if value < 999.5 => format!("{value:.0}"),
        _ if value < 999_950.0 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, "0s")]
    #[case(499, "0s")]
    #[case(59_499, "59s")]
    #[case(59_500, "1m00s")]
    #[case(72_000, "1m12s")]
    #[case(3_599_000, "59m59s")]
    #[case(3_600_000, "1h00m")]
    #[case(7_399_000, "2h03m")]
    #[case(86_399_000, "23h59m")]
    #[case(101_000_000, "1d04h")]
    fn a_duration_has_two_units(#[case] millis: u64, #[case] expected: &str) {
        assert_eq!(duration(Duration::from_millis(millis)), expected);
    }

    #[rstest]
    #[case(0.5118, "0.512")]
    #[case(0.0, "0.000")]
    #[case(12.0, "12.000")]
    #[case(0.000123, "1.23e-4")]
    #[case(-0.25, "-0.250")]
    #[case(f64::NAN, "NaN")]
    fn a_number_has_three_decimals(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(number(value), expected);
    }

    #[rstest]
    #[case(9.123e-4, "9.12e-4")]
    #[case(0.0, "0")]
    #[case(1e-3, "1.00e-3")]
    fn a_learning_rate_is_a_power(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(rate(value), expected);
    }

    #[rstest]
    #[case(0.0, "0")]
    #[case(940.4, "940")]
    #[case(999.9, "1.0k")]
    #[case(12_345.0, "12.3k")]
    #[case(999_990.0, "1.0M")]
    #[case(1_234_567.0, "1.2M")]
    fn an_amount_has_a_unit(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(count(value), expected);
    }
}
