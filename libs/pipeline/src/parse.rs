//! From text to a pipeline.

use crate::check;
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::model::Pipeline;
use crate::read::{self, Cx};
use crate::yaml;

/// A file that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub pipeline: Pipeline,
    /// In the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads `source`; `file_name` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with the file and, beside it, its warnings, in the order of the file; at
/// least one is a [`Severity::Error`](crate::Severity::Error). Only a text that is not YAML is reported
/// alone.
pub fn parse(file_name: &str, source: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let mut cx = Cx::new(SourceFile::new(file_name, source));
    let node = match yaml::read(source) {
        Ok(node) => node,
        Err(error) => {
            cx.error(error.code, &error.span, error.message);
            return Err(cx.finish());
        }
    };
    let draft = read::root(&mut cx, &node);
    let pipeline = check::check(&mut cx, draft);
    let refused = cx.has_errors();
    let diagnostics = cx.finish();
    match pipeline {
        Some(pipeline) if !refused => Ok(Parsed { pipeline, warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}
