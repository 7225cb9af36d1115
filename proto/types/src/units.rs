//! Quantities with their unit in the type: bytes, thousandths of a CPU or device, milliseconds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a quantity written by a person was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is not a number with a known unit.
    #[error("`{text}` is not {what}; write it like {example}")]
    Malformed { text: String, what: &'static str, example: &'static str },
    /// The value does not fit the type.
    #[error("`{text}` is too large for {what}")]
    TooLarge { text: String, what: &'static str },
    /// The value is finer than the unit can hold.
    #[error("`{text}` is finer than a thousandth; {what} is counted in thousandths")]
    TooFine { text: String, what: &'static str },
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The bare number.
            pub const fn get(self) -> $inner { self.0 }
            /// Sum, or `None` on overflow.
            pub fn checked_add(self, other: Self) -> Option<Self> { self.0.checked_add(other.0).map(Self) }
            /// Product with a count, or `None` on overflow.
            pub fn checked_mul(self, count: $inner) -> Option<Self> { self.0.checked_mul(count).map(Self) }
            /// Difference, never below zero.
            pub fn saturating_sub(self, other: Self) -> Self { Self(self.0.saturating_sub(other.0)) }
        }
    };
}

unit!(
    /// A number of bytes.
    ByteSize(u64)
);
unit!(
    /// Thousandths of a CPU.
    CpuMilli(u64)
);
unit!(
    /// Thousandths of a device.
    GpuMilli(u64)
);
unit!(
    /// A span of time in milliseconds.
    DurationMs(u64)
);
unit!(
    /// An instant in milliseconds since 1970-01-01 UTC.
    TimestampMs(u64)
);

/// Splits `text` into its leading decimal number and the rest.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// Parses a plain decimal (`12`, `0.25`) times `scale` exactly, in integers.
///
/// `None` when it is malformed; `Some(Err(()))` when a remainder is left; overflow gives `Some(Ok(None))`.
fn exact_scaled(number: &str, scale: u128) -> Option<Result<Option<u64>, ()>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || number.ends_with('.') || number.starts_with('.') {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) || fraction.len() > 18 {
        return None;
    }
    let Ok(whole) = whole.parse::<u128>() else { return Some(Ok(None)) };
    let denominator = 10u128.pow(fraction.len() as u32);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let Some(numerator) = whole
        .checked_mul(denominator)
        .and_then(|n| n.checked_add(fraction))
        .and_then(|n| n.checked_mul(scale))
    else {
        return Some(Ok(None));
    };
    if numerator % denominator != 0 {
        return Some(Err(()));
    }
    Some(Ok(u64::try_from(numerator / denominator).ok()))
}

impl ByteSize {
    /// Parses `32GB` (10^9), `32GiB` (2^30), `512MB`, `1.5TiB` or a plain count of bytes.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        const WHAT: &str = "a size";
        let malformed =
            || UnitError::Malformed { text: text.into(), what: WHAT, example: "32GB or 512MiB" };
        let (number, unit) = split_number(text.trim());
        let scale: u128 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" | "k" => 1_000,
            "mb" | "m" => 1_000_000,
            "gb" | "g" => 1_000_000_000,
            "tb" | "t" => 1_000_000_000_000,
            "kib" | "ki" => 1 << 10,
            "mib" | "mi" => 1 << 20,
            "gib" | "gi" => 1 << 30,
            "tib" | "ti" => 1 << 40,
            _ => return Err(malformed()),
        };
        match exact_scaled(number, scale).ok_or_else(malformed)? {
            Ok(Some(bytes)) => Ok(Self(bytes)),
            Ok(None) => Err(UnitError::TooLarge { text: text.into(), what: WHAT }),
            Err(()) => Err(malformed()),
        }
    }
}

fn parse_milli(text: &str, what: &'static str, example: &'static str) -> Result<u64, UnitError> {
    match exact_scaled(text.trim(), 1000) {
        None => Err(UnitError::Malformed { text: text.into(), what, example }),
        Some(Err(())) => Err(UnitError::TooFine { text: text.into(), what }),
        Some(Ok(None)) => Err(UnitError::TooLarge { text: text.into(), what }),
        Some(Ok(Some(milli))) => Ok(milli),
    }
}

impl CpuMilli {
    /// Parses `8` or `0.5` CPUs.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        parse_milli(text, "a number of CPUs", "8 or 0.5").map(Self)
    }
}

impl GpuMilli {
    /// Parses `1` or `0.5` devices.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        parse_milli(text, "a number of devices", "1 or 0.5").map(Self)
    }
}

impl DurationMs {
    /// Parses `1h30m`, `90s`, `250ms`, `2d`; a number without a unit is refused.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        const WHAT: &str = "a duration";
        let malformed =
            || UnitError::Malformed { text: text.into(), what: WHAT, example: "1h30m or 90s" };
        let too_large = || UnitError::TooLarge { text: text.into(), what: WHAT };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(malformed());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, tail) = split_number(rest);
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit_end);
            let scale: u128 = match unit.trim() {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(malformed()),
            };
            let part = match exact_scaled(number, scale).ok_or_else(malformed)? {
                Ok(Some(ms)) => ms,
                Ok(None) => return Err(too_large()),
                Err(()) => return Err(malformed()),
            };
            total = total.checked_add(part).ok_or_else(too_large)?;
            rest = next;
        }
        Ok(Self(total))
    }
}

impl TimestampMs {
    /// Time passed since `earlier`, zero if it lies ahead.
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        for (name, size) in UNITS {
            if self.0 >= size {
                let tenths = (u128::from(self.0) * 10 / u128::from(size)) as u64;
                return match tenths % 10 {
                    0 => write!(f, "{} {name}", tenths / 10),
                    rest => write!(f, "{}.{rest} {name}", tenths / 10),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

fn fmt_milli(value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match value % 1000 {
        0 => write!(f, "{}", value / 1000),
        rest => {
            let fraction = format!("{rest:03}");
            write!(f, "{}.{}", value / 1000, fraction.trim_end_matches('0'))
        }
    }
}

impl fmt::Display for CpuMilli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_milli(self.0, f)
    }
}

impl fmt::Display for GpuMilli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_milli(self.0, f)
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        if ms < 1_000 {
            return write!(f, "{ms}ms");
        }
        let (d, h, m, s) =
            (ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1_000 % 60);
        match (d, h, m) {
            (0, 0, 0) if ms < 10_000 && ms % 1_000 >= 100 => {
                write!(f, "{}.{}s", s, ms % 1_000 / 100)
            }
            (0, 0, 0) => write!(f, "{s}s"),
            (0, 0, _) => write!(f, "{m}m{s:02}s"),
            (0, _, _) => write!(f, "{h}h{m:02}m"),
            _ => write!(f, "{d}d{h:02}h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_decimal_and_binary_units_exactly() {
        assert_eq!(ByteSize::parse("32GB"), Ok(ByteSize(32_000_000_000)));
        assert_eq!(ByteSize::parse("1.5GiB"), Ok(ByteSize(1_610_612_736)));
        assert_eq!(ByteSize::parse("7"), Ok(ByteSize(7)));
        assert!(matches!(ByteSize::parse("0.5"), Err(UnitError::Malformed { .. })));
    }

    #[test]
    fn a6_numbers_that_overflow_or_are_finer_than_a_milli_are_refused() {
        assert!(matches!(CpuMilli::parse("9223372036854775808"), Err(UnitError::TooLarge { .. })));
        assert!(matches!(ByteSize::parse("9e99Gi"), Err(UnitError::Malformed { .. })));
        assert!(matches!(GpuMilli::parse("-1"), Err(UnitError::Malformed { .. })));
        assert!(matches!(GpuMilli::parse("0.0005"), Err(UnitError::TooFine { .. })));
        assert!(matches!(
            ByteSize::parse("99999999999999999999999999TB"),
            Err(UnitError::TooLarge { .. })
        ));
        assert_eq!(GpuMilli::parse("0.25"), Ok(GpuMilli(250)));
    }

    #[test]
    fn durations_add_their_parts() {
        assert_eq!(DurationMs::parse("1h30m"), Ok(DurationMs(5_400_000)));
        assert_eq!(DurationMs::parse("250ms"), Ok(DurationMs(250)));
        assert!(DurationMs::parse("10").is_err());
        assert!(DurationMs::parse("").is_err());
        assert!(DurationMs::parse("99999999999999999999d").is_err());
    }

    #[test]
    fn quantities_print_as_people_write_them() {
        assert_eq!(ByteSize(1_500_000_000).to_string(), "1.5 GB");
        assert_eq!(CpuMilli(1_250).to_string(), "1.25");
        assert_eq!(DurationMs(5_400_000).to_string(), "1h30m");
        assert_eq!(DurationMs(2_350).to_string(), "2.3s");
    }
}
