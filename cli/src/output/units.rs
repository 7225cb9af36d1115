//! Quantities as people read them.

use runyard_types::{ByteSize, CpuMilli, DurationMs};

/// An age in one unit: `5s`, `12m`, `3h`, `8d`; empty for "never".
pub(crate) fn age(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 {
        return String::new();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A duration between two instants; an end of zero means that it still goes on.
pub(crate) fn duration(now_ms: u64, start_ms: u64, end_ms: u64) -> String {
    if start_ms == 0 {
        return String::new();
    }
    let end = if end_ms == 0 { now_ms } else { end_ms };
    DurationMs(end.saturating_sub(start_ms)).to_string()
}

/// `1.5 GB`.
pub(crate) fn bytes(count: u64) -> String {
    ByteSize(count).to_string()
}

/// `2.5` CPUs.
pub(crate) fn cpus(milli: u64) -> String {
    CpuMilli(milli).to_string()
}

/// `93%`.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.0}%", ratio * 100.0)
}

/// A metric's value: four significant digits, no needless zeros.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    // At most nine: the magnitude lies above -5.
    let decimals = (3.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// An instant as RFC 3339 in UTC, to the millisecond; empty for "never".
pub(crate) fn time(at_ms: u64) -> String {
    if at_ms == 0 {
        return String::new();
    }
    match std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(at_ms)) {
        // humantime prints no year past 9999.
        Some(at) if at_ms < 253_402_300_800_000 => humantime::format_rfc3339_millis(at).to_string(),
        _ => format!("{at_ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_keep_one_unit() {
        assert_eq!(age(10_000, 5_000), "5s");
        assert_eq!(age(600_000, 0), "");
        assert_eq!(age(1_000 + 300_000, 1_000), "5m");
        assert_eq!(age(90_000_000_000, 1), "1041d");
        assert_eq!(age(1, 500), "0s", "a clock behind the coordinator's");
    }

    #[test]
    fn numbers_keep_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.91234567, "0.9123"),
            (12.0, "12"),
            (123_456.0, "123456"),
            (-0.05, "-0.05"),
            (1e-7, "1.000e-7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn instants_never_panic() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), format!("{}ms", u64::MAX));
    }
}
