//! What is searched.

use std::collections::BTreeMap;
use std::fmt;

use runyard_types::Name;

/// One value of a hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl fmt::Display for Value {
    /// As a stage gets it in its environment. Floats read back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// How a range of floats is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally likely.
    Linear,
    /// Equal ratios are equally likely; both ends must be above zero.
    Log,
}

/// The values of one hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Dimension {
    /// One of these.
    Choice(Vec<Value>),
    /// A whole number from `min` to `max`, both included.
    Int { min: i64, max: i64 },
    /// A number from `min` up to `max`.
    Float { min: f64, max: f64, scale: Scale },
}

/// A chosen value for each hyperparameter.
pub type Point = BTreeMap<Name, Value>;

/// Why a space was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// There is nothing to search.
    #[error("the search space has no hyperparameter")]
    Empty,
    /// A choice among nothing.
    #[error("`{0}` has no value to choose from")]
    NoValues(Name),
    /// The range is empty or upside down.
    #[error("`{name}` goes from {min} to {max}; the first must be below the second")]
    Range { name: Name, min: String, max: String },
    /// An end of the range, or a choice, is no number.
    #[error("`{0}` has a value that is not finite")]
    NotFinite(Name),
    /// A logarithmic range must be above zero.
    #[error("`{name}` is logarithmic, so it must begin above zero, not at {min}")]
    LogOfZero { name: Name, min: String },
}

/// A checked search space; its hyperparameters are in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Space(BTreeMap<Name, Dimension>);

impl Space {
    /// Checks every dimension.
    pub fn new(dimensions: BTreeMap<Name, Dimension>) -> Result<Self, SpaceError> {
        if dimensions.is_empty() {
            return Err(SpaceError::Empty);
        }
        for (name, dimension) in &dimensions {
            check(name, dimension)?;
        }
        Ok(Self(dimensions))
    }

    /// The hyperparameters by name.
    pub fn dimensions(&self) -> impl Iterator<Item = (&Name, &Dimension)> {
        self.0.iter()
    }
}

fn check(name: &Name, dimension: &Dimension) -> Result<(), SpaceError> {
    let range = |min: &dyn fmt::Display, max: &dyn fmt::Display| SpaceError::Range {
        name: name.clone(),
        min: min.to_string(),
        max: max.to_string(),
    };
    match dimension {
        Dimension::Choice(values) if values.is_empty() => Err(SpaceError::NoValues(name.clone())),
        Dimension::Choice(values) => {
            let finite = |value: &Value| !matches!(value, Value::Float(x) if !x.is_finite());
            if values.iter().all(finite) {
                Ok(())
            } else {
                Err(SpaceError::NotFinite(name.clone()))
            }
        }
        // One value alone is a fixed hyperparameter, which is fine.
        Dimension::Int { min, max } if min > max => Err(range(min, max)),
        Dimension::Int { .. } => Ok(()),
        Dimension::Float { min, max, .. } if !min.is_finite() || !max.is_finite() => {
            Err(SpaceError::NotFinite(name.clone()))
        }
        Dimension::Float { min, max, .. } if min >= max => Err(range(min, max)),
        Dimension::Float { min, scale: Scale::Log, .. } if *min <= 0.0 => {
            Err(SpaceError::LogOfZero { name: name.clone(), min: min.to_string() })
        }
        Dimension::Float { .. } => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    pub(crate) fn space(dimensions: &[(&str, Dimension)]) -> Result<Space, SpaceError> {
        Space::new(dimensions.iter().map(|(n, d)| (name(n), d.clone())).collect())
    }

    #[test]
    fn spaces_that_cannot_be_searched_are_refused_by_name() {
        let float = |min, max, scale| Dimension::Float { min, max, scale };
        assert_eq!(space(&[]), Err(SpaceError::Empty));
        for (dimension, part) in [
            (Dimension::Choice(vec![]), "no value"),
            (Dimension::Choice(vec![Value::Float(f64::NAN)]), "not finite"),
            (Dimension::Int { min: 2, max: 1 }, "from 2 to 1"),
            (float(1.0, 1.0, Scale::Linear), "from 1 to 1"),
            (float(0.0, f64::INFINITY, Scale::Linear), "not finite"),
            (float(0.0, 1.0, Scale::Log), "above zero, not at 0"),
        ] {
            let text = space(&[("lr", dimension)]).expect_err(part).to_string();
            assert!(text.contains("`lr`") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn floats_read_back_as_the_same_number() {
        for x in [0.1, 1e-5, 1.0, 1e300, -0.0, 1.0 / 3.0] {
            let text = Value::Float(x).to_string();
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(x.to_bits()), "{text}");
        }
    }
}
