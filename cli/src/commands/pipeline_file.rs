//! Reading a pipeline file, and telling what is wrong with it.

mod clip;
mod diagnostics;

use std::path::{Path, PathBuf};

use runyard_pipeline::{Diagnostic, Pipeline, Severity};

pub(crate) use diagnostics::DiagnosticFormat;

use crate::context::Env;
use crate::errors::{Error, Kind, Result};
use crate::files;

/// The file used where none is named.
pub(crate) const DEFAULT_NAME: &str = "runyard.yaml";

/// A file that is right.
#[derive(Debug)]
pub(crate) struct PipelineFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) pipeline: Pipeline,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl PipelineFile {
    /// The folder that the file's paths are relative to.
    pub(crate) fn folder(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> String {
        shown(&self.path)
    }
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "stdin".into() } else { path.display().to_string() }
}

/// Reads and parses; diagnostics are printed, and errors end the verb.
pub(crate) fn load(
    env: &Env,
    path: Option<&Path>,
    format: DiagnosticFormat,
) -> Result<PipelineFile> {
    let path = path.unwrap_or(Path::new(DEFAULT_NAME)).to_owned();
    let text = files::read_text(&path).map_err(|error| match error.kind {
        Kind::NotFound => error.help("`runyard init` writes one; -f names another"),
        _ => error,
    })?;
    parse(env, path, text, format)
}

/// Parses a text.
pub(crate) fn parse(
    env: &Env,
    path: PathBuf,
    text: String,
    format: DiagnosticFormat,
) -> Result<PipelineFile> {
    let name = shown(&path);
    match runyard_pipeline::parse(&name, &text) {
        Ok(parsed) => {
            diagnostics::print(env, format, &name, &text, &parsed.warnings)?;
            let runyard_pipeline::Parsed { pipeline, warnings } = parsed;
            Ok(PipelineFile { path, text, pipeline, warnings })
        }
        Err(found) => {
            diagnostics::print(env, format, &name, &text, &found)?;
            let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
            let what = if errors == 1 { "an error".to_owned() } else { format!("{errors} errors") };
            let error = Error::usage(format!("`{name}` has {what}"));
            let first = found.iter().find(|d| d.severity == Severity::Error);
            Err(match first {
                Some(first) => error.help(format!("`runyard explain {}` tells more", first.code)),
                None => error,
            })
        }
    }
}
