//! Values for a pipeline's parameters: from texts such as `-p lr=0.1`, checked and typed.

use std::collections::BTreeMap;

use runyard_types::Name;

use crate::diagnostic::{nearest, shown};
use crate::model::{Param, ParamType, ParamValue, Pipeline};

/// Why a parameter's value was refused. Every message names the parameter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// The pipeline has no such parameter.
    #[error("there is no parameter `{name}`{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    Unknown { name: String, suggestion: Option<String> },
    /// No value was given and the declaration has no default.
    #[error("parameter `{name}` has no default: give it with `-p {name}=…`")]
    Missing { name: Name },
    /// It was given more than once.
    #[error("parameter `{name}` is given twice")]
    Twice { name: String },
    /// The text is no value of the type.
    #[error("parameter `{name}`: `{text}` is no {kind}{}", hint(*kind))]
    Type { name: Name, text: String, kind: ParamType },
    /// The value lies outside `min` and `max`.
    #[error("parameter `{name}`: {value} is {} {limit}", if *below { "below the minimum" } else { "above the maximum" })]
    Range { name: Name, value: String, limit: f64, below: bool },
    /// The value is none of the choices.
    #[error("parameter `{name}`: `{value}` is none of {choices}")]
    Choice { name: Name, value: String, choices: String },
}

fn hint(kind: ParamType) -> &'static str {
    match kind {
        ParamType::Bool => " (true or false)",
        ParamType::Int => " (a whole number of 64 bits)",
        ParamType::Float => " (a finite number such as 0.1 or 1e-5)",
        ParamType::String => " (text without NUL)",
    }
}

/// Reads `text` as a value of type `kind`.
pub(crate) fn parse_value(
    name: &Name,
    kind: ParamType,
    text: &str,
) -> Result<ParamValue, ParamError> {
    let value = match kind {
        ParamType::Bool => text.parse().ok().map(ParamValue::Bool),
        ParamType::Int => text.parse().ok().map(ParamValue::Int),
        ParamType::Float => crate::read::parse_float(text).map(ParamValue::Float),
        ParamType::String => (!text.contains('\0')).then(|| ParamValue::String(text.to_owned())),
    };
    value.ok_or_else(|| ParamError::Type { name: name.clone(), text: shown(text), kind })
}

/// Checks a value of the right type against `min`, `max` and `choices`.
pub(crate) fn check_value(
    name: &Name,
    param: &Param,
    value: &ParamValue,
) -> Result<(), ParamError> {
    let outside = |below, limit| ParamError::Range {
        name: name.clone(),
        value: value.to_string(),
        limit,
        below,
    };
    let is_beyond = |limit: f64, below: bool| match value {
        ParamValue::Int(value) => compare_int(*value, limit) == Some(beyond(below)),
        ParamValue::Float(value) => value.partial_cmp(&limit) == Some(beyond(below)),
        ParamValue::Bool(_) | ParamValue::String(_) => false,
    };
    if let Some(min) = param.min.filter(|min| is_beyond(*min, true)) {
        return Err(outside(true, min));
    }
    if let Some(max) = param.max.filter(|max| is_beyond(*max, false)) {
        return Err(outside(false, max));
    }
    if !param.choices.is_empty() && !param.choices.contains(value) {
        let choices: Vec<_> =
            param.choices.iter().map(|c| format!("`{}`", shown(&c.to_string()))).collect();
        return Err(ParamError::Choice {
            name: name.clone(),
            value: shown(&value.to_string()),
            choices: choices.join(", "),
        });
    }
    Ok(())
}

fn beyond(below: bool) -> std::cmp::Ordering {
    if below { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
}

/// One more than the greatest i64, as a float.
pub(crate) const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// Compares exactly, also where the int has more digits than a float holds.
pub(crate) fn compare_int(int: i64, float: f64) -> Option<std::cmp::Ordering> {
    use std::cmp::Ordering;
    if float.is_nan() {
        None
    } else if float >= TWO_63 {
        Some(Ordering::Less)
    } else if float < -TWO_63 {
        Some(Ordering::Greater)
    } else {
        // Within the range of i64, so the whole part converts exactly.
        let whole = float.trunc();
        let by_whole = int.cmp(&(whole as i64));
        Some(
            by_whole.then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)),
        )
    }
}

impl Pipeline {
    /// The value of every parameter: as given, else its default.
    ///
    /// # Errors
    /// All that is wrong: unknown names, texts of the wrong type or outside the limits, and
    /// parameters without a default that were not given.
    pub fn resolve_params<'t>(
        &self,
        given: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<BTreeMap<Name, ParamValue>, Vec<ParamError>> {
        let mut errors = Vec::new();
        let mut texts = BTreeMap::new();
        for (name, text) in given {
            if !self.params.contains_key(name) {
                let suggestion = nearest(name, self.params.keys().map(Name::as_str));
                errors.push(ParamError::Unknown {
                    name: shown(name),
                    suggestion: suggestion.map(str::to_owned),
                });
            } else if texts.insert(name, text).is_some() {
                errors.push(ParamError::Twice { name: name.to_owned() });
            }
        }
        let mut values = BTreeMap::new();
        for (name, param) in &self.params {
            let value = match texts.get(name.as_str()) {
                Some(text) => parse_value(name, param.kind, text)
                    .and_then(|value| check_value(name, param, &value).map(|()| value)),
                None => {
                    param.default.clone().ok_or_else(|| ParamError::Missing { name: name.clone() })
                }
            };
            match value {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(values) } else { Err(errors) }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn ints_compare_with_floats_exactly() {
        assert_eq!(compare_int(i64::MAX, 9.3e18), Some(Ordering::Less));
        assert_eq!(compare_int(i64::MAX, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
        assert_eq!(compare_int(3, 3.5), Some(Ordering::Less));
        assert_eq!(compare_int(-3, -3.5), Some(Ordering::Greater));
        assert_eq!(compare_int(3, 3.0), Some(Ordering::Equal));
        assert_eq!(compare_int(0, f64::NAN), None);
    }
}
