//! Figures for people: shares in percent and points, other numbers with four digits.

/// A value.
pub(crate) fn value(number: f64, is_share: bool) -> String {
    if is_share { format!("{:.2} %", number * 100.0) } else { plain(number) }
}

/// A difference, with its sign.
pub(crate) fn difference(number: f64, is_share: bool) -> String {
    let sign = if number > 0.0 { "+" } else { "" };
    if is_share {
        format!("{sign}{:.2} pt", number * 100.0)
    } else {
        format!("{sign}{}", plain(number))
    }
}

/// A margin or another size without a sign.
pub(crate) fn size(number: f64, is_share: bool) -> String {
    if is_share { format!("{:.2} pt", number * 100.0) } else { plain(number) }
}

/// A p value.
pub(crate) fn p(number: f64) -> String {
    if number < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {number:.4}") }
}

/// Four significant digits, without an exponent where that is readable.
fn plain(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "unbounded" } else { "-unbounded" }.to_owned();
    }
    let magnitude = number.abs();
    let decimals = match magnitude {
        _ if magnitude >= 1000.0 => 0,
        _ if magnitude >= 100.0 => 1,
        _ if magnitude >= 10.0 => 2,
        _ if magnitude >= 1.0 => 3,
        _ if magnitude >= 0.001 => 5,
        _ if magnitude == 0.0 => 0,
        _ => return format!("{number:.3e}"),
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(value(0.9511, true), "95.11 %");
        assert_eq!(difference(-0.0879, true), "-8.79 pt");
        assert_eq!(difference(0.004, true), "+0.40 pt");
        assert_eq!(value(28.4567, false), "28.46");
        assert_eq!(difference(-0.00001234, false), "-1.234e-5");
        assert_eq!(p(1e-9), "p < 0.0001");
    }
}
