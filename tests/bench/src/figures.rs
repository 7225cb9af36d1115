//! Sorting, picking and printing.

/// Values of one figure, one from each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(Vec<f64>);

impl Values {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value below which `percent` of all lie (nearest rank); `NaN` of nothing.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        let n = self.0.len();
        if n > 0 && n.is_multiple_of(2) {
            return f64::midpoint(self.0[n / 2 - 1], self.0[n / 2]);
        }
        self.percentile(50.0)
    }

    /// From the lowest to the highest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `median (lowest to highest)`.
    pub(crate) fn spread(&self, digits: usize) -> String {
        let (low, high) = (self.percentile(0.0), self.percentile(100.0));
        format!("{:.digits$} ({low:.digits$} to {high:.digits$})", self.median())
    }

    /// `p50 …, p99 …, most …`.
    pub(crate) fn percentiles(&self, unit: &str) -> String {
        let of = |percent| self.percentile(percent);
        format!(
            "p50 {:.2} {unit}, p99 {:.2} {unit}, most {:.2} {unit}",
            of(50.0),
            of(99.0),
            of(100.0)
        )
    }
}

impl FromIterator<f64> for Values {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// A heading of a row.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// One line: a name and what it is.
pub(crate) fn line(name: &str, text: &str) {
    println!("   {name:<34} {text}");
}

/// What was not measured, and how it could be.
pub(crate) fn skipped(what: &str, why: &str) {
    println!("!! skipped: {what}: {why}");
}

/// Whether a goal is met, beside the figure.
pub(crate) fn goal(name: &str, is: f64, wanted: Goal, digits: usize) {
    let (met, text) = match wanted {
        Goal::AtLeast(limit) => (is >= limit, format!("at least {limit}")),
        Goal::Below(limit) => (is < limit, format!("below {limit}")),
    };
    let mark = if met { "met" } else { "MISSED" };
    println!("   goal {mark:<7} {name}: {is:.digits$} ({text})");
}

/// What the table of goals asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    Below(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank_whatever_the_order() {
        let values: Values = (1..=200).rev().map(f64::from).collect();
        assert_eq!(values.percentile(50.0), 100.0);
        assert_eq!(values.percentile(99.0), 198.0);
        assert_eq!(values.percentile(0.0), 1.0);
        assert_eq!(values.percentile(100.0), 200.0);
        assert_eq!(values.median(), 100.5);
        assert!(Values::default().median().is_nan());
    }

    #[test]
    fn a_spread_shows_the_extremes() {
        let mut values = Values::default();
        for value in [3.0, 1.0, 2.0] {
            values.push(value);
        }
        assert_eq!(values.spread(1), "2.0 (1.0 to 3.0)");
    }
}
