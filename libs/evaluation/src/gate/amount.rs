//! Margins as people write them.

/// A margin or bound that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount; write a number, or points or percent as in `1pt` or `1%` (0.01)")]
pub struct AmountError(pub String);

/// Reads `0.02`, `2pt` or `2%` as 0.02; the plain number is in the metric's own unit.
pub fn parse_amount(text: &str) -> Result<f64, AmountError> {
    let refused = || AmountError(text.to_owned());
    let text = text.trim();
    let points = text.strip_suffix("pt").or_else(|| text.strip_suffix('%'));
    let (digits, divisor) = points.map_or((text, 1.0), |digits| (digits.trim_end(), 100.0));
    // Division keeps 2pt the same number as 0.02, which a product with 0.01 does not.
    let amount = digits.parse::<f64>().map_err(|_| refused())? / divisor;
    if amount.is_finite() { Ok(amount) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_percent_and_plain() {
        assert_eq!(parse_amount("2pt"), Ok(0.02));
        assert_eq!(parse_amount("0.5 %"), Ok(0.005));
        assert_eq!(parse_amount("30"), Ok(30.0));
        for bad in ["", "pt", "inf", "NaN", "2pts", "1e999"] {
            assert!(parse_amount(bad).is_err(), "{bad}");
        }
    }
}
