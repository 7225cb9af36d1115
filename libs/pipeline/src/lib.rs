//! The pipeline file: parse, check with source spans, expand to a graph. Pure.
//!
//! [`parse`] reads in two passes and reports everything at once: first the YAML tree becomes typed
//! drafts (`read`), then references, names, expressions and the graph are checked (`check`).
//!
//! Invariant: no clock, no file system, no random source; a hostile file costs bounded time and stack.

mod check;
mod codes;
mod diagnostic;
mod env;
pub mod expr;
mod matrix;
mod model;
mod params;
mod parse;
mod read;
mod schema;
mod select;
mod yaml;

pub use codes::{Code, codes, explain};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use env::{
    command_with_args, input_variable, matrix_variable, param_variable, params_env, variable_suffix,
};
pub use matrix::{MatrixError, Point, RUN_TASKS_MAX, STAGE_TASKS_MAX, expand_matrix};
pub use model::{
    Against, Args, Canary, Check, Collect, Correction, Deploy, ErrorRows, Gate, Goal, IfNone,
    Inconclusive, Input, Matrix, Missing, ModelAt, ModelRef, OnFail, Output, Param, ParamType,
    ParamValue, Pipeline, Priority, Promote, Protocol, Python, PythonSource, Ready, Results, Retry,
    RetryOn, Source, Stage, StageKind,
};
pub use params::ParamError;
pub use parse::{Parsed, parse};
pub use schema::schema;
pub use select::{SelectError, Selection};
