//! Every combination, in order.

use runyard_types::Name;

use crate::{Dimension, Point, Space, Value};

/// A stage has at most this many tasks.
pub const POINTS_MAX: u64 = 4_096;

/// Why a space has no grid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// A range of floats has no end of values.
    #[error(
        "`{0}` is a range of floats, which a grid cannot list; give its values, or sample at random"
    )]
    Continuous(Name),
    /// Too many combinations.
    #[error("the grid has more than {POINTS_MAX} points; give fewer values, or sample at random")]
    TooLarge,
}

/// All combinations of a space. The last hyperparameter by name varies fastest, like the digits of a
/// number.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    axes: Vec<(Name, Vec<Value>)>,
    len: u64,
}

impl Grid {
    /// The grid of `space`.
    pub fn new(space: &Space) -> Result<Self, GridError> {
        let mut axes = Vec::new();
        let mut len = 1_u64;
        for (name, dimension) in space.dimensions() {
            let count = match dimension {
                Dimension::Choice(values) => values.len() as u64,
                Dimension::Int { min, max } => max.abs_diff(*min).saturating_add(1),
                Dimension::Float { .. } => return Err(GridError::Continuous(name.clone())),
            };
            // Counted before it is listed: a range may have 2^64 values.
            len = len.saturating_mul(count);
            if len > POINTS_MAX {
                return Err(GridError::TooLarge);
            }
            let values = match dimension {
                Dimension::Choice(values) => values.clone(),
                Dimension::Int { min, max } => (*min..=*max).map(Value::Int).collect(),
                Dimension::Float { .. } => Vec::new(),
            };
            axes.push((name.clone(), values));
        }
        Ok(Self { axes, len })
    }

    /// How many points there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a grid is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Point `number`, from 0; `None` past the end.
    pub fn point(&self, number: u64) -> Option<Point> {
        if number >= self.len {
            return None;
        }
        let mut rest = number;
        let mut point = Point::new();
        for (name, values) in self.axes.iter().rev() {
            let count = values.len() as u64;
            let value = values.get(usize::try_from(rest % count).ok()?)?;
            point.insert(name.clone(), value.clone());
            rest /= count;
        }
        Some(point)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Scale;
    use crate::space::tests::space;

    fn text(value: &str) -> Value {
        Value::Text(value.into())
    }

    #[test]
    fn a_grid_lists_each_combination_once_and_in_order() {
        let space = space(&[
            ("depth", Dimension::Int { min: 2, max: 4 }),
            ("solver", Dimension::Choice(vec![text("a"), text("b")])),
        ]);
        let grid = Grid::new(&space.expect("valid")).expect("finite");
        assert_eq!(grid.len(), 6);
        let shown: Vec<String> = (0..7)
            .filter_map(|number| grid.point(number))
            .map(|point| point.values().map(Value::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(shown, ["2 a", "2 b", "3 a", "3 b", "4 a", "4 b"]);
        assert_eq!(shown.iter().collect::<BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn endless_and_huge_grids_are_refused() {
        let float = Dimension::Float { min: 0.0, max: 1.0, scale: Scale::Linear };
        let continuous = Grid::new(&space(&[("lr", float)]).expect("valid"));
        assert!(continuous.expect_err("endless").to_string().contains("`lr`"));
        let wide = |max| Dimension::Int { min: 1, max };
        let at_limit = space(&[("a", wide(64)), ("b", wide(64))]).expect("valid");
        assert_eq!(Grid::new(&at_limit).expect("fits").len(), POINTS_MAX);
        let over = space(&[("a", wide(64)), ("b", wide(65))]).expect("valid");
        assert_eq!(Grid::new(&over), Err(GridError::TooLarge));
        let all = Dimension::Int { min: i64::MIN, max: i64::MAX };
        let huge = space(&[("a", all.clone()), ("b", all)]).expect("valid");
        assert_eq!(Grid::new(&huge), Err(GridError::TooLarge));
    }
}
