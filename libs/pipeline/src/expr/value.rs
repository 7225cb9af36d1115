//! Values and their types.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ParamType, ParamValue};

/// A value of an expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Value>),
}

/// The type of a value, or [`Type::Any`] where only the evaluation can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int,
    Float,
    String,
    List,
    Any,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Float => "a float",
            Self::String => "a string",
            Self::List => "a list",
            Self::Any => "of any type",
        })
    }
}

impl Value {
    /// The value's type.
    pub fn kind(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Float(_) => Type::Float,
            Self::String(_) => Type::String,
            Self::List(_) => Type::List,
        }
    }
}

impl From<ParamType> for Type {
    fn from(kind: ParamType) -> Self {
        match kind {
            ParamType::Bool => Self::Bool,
            ParamType::Int => Self::Int,
            ParamType::Float => Self::Float,
            ParamType::String => Self::String,
        }
    }
}

impl From<&ParamValue> for Value {
    fn from(value: &ParamValue) -> Self {
        match value {
            ParamValue::Bool(value) => Self::Bool(*value),
            ParamValue::Int(value) => Self::Int(*value),
            ParamValue::Float(value) => Self::Float(*value),
            ParamValue::String(value) => Self::String(value.clone()),
        }
    }
}
