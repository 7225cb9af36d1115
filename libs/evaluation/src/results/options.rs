//! How a stage says its results are to be read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The `results:` keys that change what a file means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResultsOptions {
    /// The column that names the example; found by its usual names when not given.
    pub id: Option<String>,
    /// What a row without an answer counts as.
    pub error_rows: ErrorRows,
    /// What a missing or NaN value means to a gate.
    pub missing: Missing,
}

/// What a row whose `error` column says that it has no answer counts as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRows {
    /// 0 in every metric: no answer is a wrong answer.
    #[default]
    Zero,
    /// The example is left out, of both models.
    Drop,
    /// The results are refused.
    Fail,
}

/// What a value that is missing or NaN means to a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The metric cannot be tested.
    #[default]
    Refuse,
    /// Such examples are left out, of both models, up to this share of the examples.
    DropUpTo(f64),
}

/// A policy that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a policy for rows without an answer.
    #[error("`error-rows: {0}` is not known; write zero, drop or fail")]
    ErrorRows(String),
    /// Not a policy for missing values.
    #[error("`missing: {0}` is not known; write `refuse`, or a share as in `drop <= 1%`")]
    Missing(String),
}

impl FromStr for ErrorRows {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text.trim() {
            "zero" => Ok(Self::Zero),
            "drop" => Ok(Self::Drop),
            "fail" => Ok(Self::Fail),
            other => Err(OptionError::ErrorRows(other.to_owned())),
        }
    }
}

impl FromStr for Missing {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let refused = || OptionError::Missing(text.to_owned());
        let text = text.trim();
        if text == "refuse" {
            return Ok(Self::Refuse);
        }
        let share = text.strip_prefix("drop").map(str::trim_start).ok_or_else(refused)?;
        let share = share.strip_prefix("<=").map(str::trim).ok_or_else(refused)?;
        let (digits, scale) =
            share.strip_suffix('%').map_or((share, 1.0), |digits| (digits.trim(), 0.01));
        let share = digits.parse::<f64>().map_err(|_| refused())? * scale;
        if (0.0..1.0).contains(&share) { Ok(Self::DropUpTo(share)) } else { Err(refused()) }
    }
}

impl fmt::Display for ErrorRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero",
            Self::Drop => "drop",
            Self::Fail => "fail",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_the_file_writes_them() {
        assert_eq!("drop <= 1%".parse(), Ok(Missing::DropUpTo(0.01)));
        assert_eq!("drop<=0.05".parse(), Ok(Missing::DropUpTo(0.05)));
        assert_eq!("refuse".parse(), Ok(Missing::Refuse));
        for bad in ["drop", "drop <= 200%", "drop <= -1%", "drop <= nan", "keep"] {
            assert!(bad.parse::<Missing>().is_err(), "{bad}");
        }
        assert_eq!("fail".parse(), Ok(ErrorRows::Fail));
        assert!("ignore".parse::<ErrorRows>().is_err());
    }
}
