//! Where inputs come from and what outputs are.

use std::fmt;

use runyard_types::{AliasName, ModelName, Name, StageName};
use serde::{Deserialize, Serialize};

/// A model version or a movable name for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelAt {
    /// The version of that number, from 1.
    Version(u64),
    /// The version that the alias points to when the run starts.
    Alias(AliasName),
}

impl fmt::Display for ModelAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(number) => write!(f, "{number}"),
            Self::Alias(alias) => write!(f, "{alias}"),
        }
    }
}

/// A registered model at a version or alias, `digits@champion`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ModelRef {
    pub name: ModelName,
    pub at: ModelAt,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.at)
    }
}

/// Where an input's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An output of another stage of the run.
    Output { stage: StageName, output: Name },
    /// A file or folder beside the pipeline file, uploaded when the run is submitted.
    File(String),
    /// An absolute path of the host, read-only, which the node must allow.
    Mount {
        path: String,
        /// The content key takes the content, not a listing of path, size and mtime.
        #[serde(default)]
        digest: bool,
    },
    /// A registered model.
    Model(ModelRef),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output { stage, output } => write!(f, "{stage}.{output}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Mount { path, .. } => write!(f, "mount:{path}"),
            Self::Model(model) => write!(f, "model://{model}"),
        }
    }
}

/// An input of a stage; its path is in `$RUNYARD_INPUT_NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub source: Source,
    /// Where in the workspace it is placed; a place of Runyard's choosing if absent.
    #[serde(default)]
    pub at: Option<String>,
}

/// Whose files make up the output of a gang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collect {
    /// Those of worker 0.
    #[default]
    First,
    /// Those of all workers; two files of one name are an error.
    All,
}

/// An output of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Relative to the workspace, without a trailing `/`.
    pub path: String,
    /// `type:` of the file: `files` unless named; `model` and `dataset` are shown as such.
    pub kind: String,
    #[serde(default)]
    pub from: Collect,
}
