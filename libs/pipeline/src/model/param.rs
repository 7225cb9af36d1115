//! Parameters of a pipeline and their values.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    Bool,
    Int,
    Float,
    String,
}

impl fmt::Display for ParamType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::String => "string",
        })
    }
}

/// A value of a parameter. Its text (`Display`) is what `$RUNYARD_PARAM_NAME` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamValue {
    Bool(bool),
    Int(i64),
    /// Always finite.
    Float(f64),
    String(String),
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            // `{:?}` is the shortest text that reads back the same and marks a float as one.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::String(value) => f.write_str(value),
        }
    }
}

impl ParamValue {
    /// The value's type.
    pub fn kind(&self) -> ParamType {
        match self {
            Self::Bool(_) => ParamType::Bool,
            Self::Int(_) => ParamType::Int,
            Self::Float(_) => ParamType::Float,
            Self::String(_) => ParamType::String,
        }
    }
}

/// The declaration of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    pub kind: ParamType,
    /// Absent where a value must be given at submission.
    #[serde(default)]
    pub default: Option<ParamValue>,
    /// The least value allowed, of int and float.
    #[serde(default)]
    pub min: Option<f64>,
    /// The greatest value allowed, of int and float.
    #[serde(default)]
    pub max: Option<f64>,
    /// The only values allowed, if there are any.
    #[serde(default)]
    pub choices: Vec<ParamValue>,
    #[serde(default)]
    pub help: Option<String>,
}
