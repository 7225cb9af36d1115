//! `runyard validate`: a pipeline file, without a cluster.

use std::path::PathBuf;

use super::pipeline_file::{self, DiagnosticFormat};
use crate::context::Env;
use crate::errors::{Error, Exit, Result};
use crate::output::Format;

/// Flags of `validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Refuse warnings, too
    #[arg(long)]
    strict: bool,
    /// How to print what is wrong
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<DiagnosticFormat>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let json = env.printer.format == Some(Format::Json);
    let format = args.format.unwrap_or(match json {
        true => DiagnosticFormat::Json,
        false => DiagnosticFormat::Human,
    });
    let file = pipeline_file::load(env, args.file.as_deref(), format)?;
    let warnings = file.warnings.len();
    if args.strict && warnings > 0 {
        return Err(Error::usage(format!("`{}` has {warnings} warnings", file.name()))
            .help("--strict refuses warnings"));
    }
    let stages = file.pipeline.stages.len();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    env.printer.note(&format!(
        "✓ {} is right: {stages} stage{}, {warnings} warning{}",
        file.name(),
        plural(stages),
        plural(warnings)
    ));
    env.printer.next("runyard plan");
    Ok(Exit::OK)
}
