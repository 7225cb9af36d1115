//! What is run: a file, or one command.

use std::path::PathBuf;

use super::adhoc;
use crate::commands::pipeline_file::{self, DiagnosticFormat, PipelineFile};
use crate::context::Env;
use crate::errors::{Error, Result};

/// Flags that say what to run, and which part of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The pipeline file; `-` is stdin [default: runyard.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// A parameter's value
    #[arg(short, long = "param", value_name = "KEY=VALUE")]
    pub(super) params: Vec<String>,
    /// Only this stage and what it needs
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub(super) stage: Vec<String>,
    /// Only this stage and what follows from it
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    pub(super) from: Vec<String>,
    /// Only this stage
    #[arg(long, value_name = "STAGE")]
    pub(super) only: Vec<String>,
    /// Run everything, whatever the cache has
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Refuse what no node of the cluster could run
    #[arg(long)]
    pub(super) strict: bool,
    /// Above (or below) others of the project; 0 is usual
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub(super) priority: i32,
    /// Name of the ad hoc pipeline [default: the folder's]
    #[arg(long, value_name = "NAME", requires = "command")]
    pub(super) name: Option<String>,
    /// GPUs for the command, e.g. 1, H100:2, 24GB:1
    #[arg(long, value_name = "GPUS", requires = "command")]
    pub(super) gpus: Option<String>,
    /// CPUs for the command
    #[arg(long, value_name = "N", requires = "command")]
    pub(super) cpus: Option<String>,
    /// Memory for the command, e.g. 32GB
    #[arg(long, value_name = "SIZE", requires = "command")]
    pub(super) memory: Option<String>,
    /// Nodes for the command
    #[arg(long, value_name = "N", requires = "command")]
    pub(super) nodes: Option<u32>,
    /// Requirements file of the command's Python environment
    #[arg(long, value_name = "FILE", requires = "command")]
    pub(super) python: Option<PathBuf>,
    /// A file or folder that the command writes and that is kept, NAME=PATH
    #[arg(long = "out", value_name = "NAME=PATH", requires = "command")]
    pub(super) outputs: Vec<String>,
    /// A command in place of a file
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Source {
    /// Reads the file, or writes one for the command, and parses it.
    pub(crate) fn load(&self, env: &Env) -> Result<PipelineFile> {
        if self.command.is_empty() {
            return pipeline_file::load(env, self.file.as_deref(), DiagnosticFormat::Human);
        }
        let folder = std::env::current_dir()
            .map_err(|error| Error::failed("the working directory is gone").because(error))?;
        let text = adhoc::pipeline(self, &folder)?;
        pipeline_file::parse(env, PathBuf::from("(command)"), text, DiagnosticFormat::Human)
    }
}
