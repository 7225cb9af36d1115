//! The readable keys of runs, tasks, attempts and workers: `digits-42/train[3].2`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DeploymentName, IdError, PipelineName, ProjectName, StageName};

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has not the form of the key.
    #[error("`{text}` is not a {what}; it looks like `{example}`")]
    Malformed { text: String, what: &'static str, example: &'static str },
    /// A part of the key is no valid name.
    #[error(transparent)]
    Name(#[from] IdError),
}

/// A run: the pipeline's name and a number counted per pipeline, `digits-42`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunName {
    pub pipeline: PipelineName,
    pub number: u64,
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.pipeline, self.number))
    }
}

impl FromStr for RunName {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let malformed = || malformed(text, "run name", "digits-42");
        let (pipeline, number) = text.rsplit_once('-').ok_or_else(malformed)?;
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number = number.parse().ok().filter(|_| plain).ok_or_else(malformed)?;
        Ok(Self { pipeline: PipelineName::new(pipeline)?, number })
    }
}

fn malformed(text: &str, what: &'static str, example: &'static str) -> KeyError {
    KeyError::Malformed {
        text: text.chars().take(160).flat_map(char::escape_default).collect(),
        what,
        example,
    }
}

/// What a task belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Parent {
    /// A stage of a run.
    Stage { run: RunName, stage: StageName },
    /// A revision of a deployment, whose replicas are its tasks.
    Revision { deployment: DeploymentName, revision: u32 },
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage { run, stage } => write!(f, "{run}/{stage}"),
            Self::Revision { deployment, revision } => write!(f, "{deployment}@{revision}/replica"),
        }
    }
}

/// A task of a project: `digits-42/train`, `digits-42/train[3]`, `digits@2/replica[0]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    pub project: ProjectName,
    pub parent: Parent,
    /// The index in the stage's matrix, or the replica; `None` where a stage has one task.
    pub index: Option<u32>,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => f.pad(&self.parent.to_string()),
            Some(index) => f.pad(&format!("{}[{index}]", self.parent)),
        }
    }
}

impl TaskKey {
    /// Parses a key inside `project`.
    pub fn parse(project: &ProjectName, text: &str) -> Result<Self, KeyError> {
        let malformed = || malformed(text, "task", "digits-42/train[3]");
        let (head, tail) = text.split_once('/').ok_or_else(malformed)?;
        let (stage, index) = match tail.strip_suffix(']') {
            None => (tail, None),
            Some(open) => {
                let (stage, index) = open.split_once('[').ok_or_else(malformed)?;
                (stage, Some(index.parse().map_err(|_| malformed())?))
            }
        };
        let parent = match head.split_once('@') {
            None => Parent::Stage { run: head.parse()?, stage: StageName::new(stage)? },
            Some((deployment, revision)) if stage == "replica" => Parent::Revision {
                deployment: DeploymentName::new(deployment)?,
                revision: revision.parse().map_err(|_| malformed())?,
            },
            Some(_) => return Err(malformed()),
        };
        Ok(Self { project: project.clone(), parent, index })
    }

    /// The run that the task belongs to, if it is not a replica.
    pub fn run(&self) -> Option<&RunName> {
        match &self.parent {
            Parent::Stage { run, .. } => Some(run),
            Parent::Revision { .. } => None,
        }
    }
}

/// One try of a task: `digits-42/train[3].2`. Numbers begin at 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    pub task: TaskKey,
    pub number: u32,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.task, self.number))
    }
}

impl AttemptKey {
    /// Parses a key inside `project`.
    pub fn parse(project: &ProjectName, text: &str) -> Result<Self, KeyError> {
        let malformed = || malformed(text, "attempt", "digits-42/train[3].2");
        let (task, number) = text.rsplit_once('.').ok_or_else(malformed)?;
        let number = number.parse().ok().filter(|&n| n > 0).ok_or_else(malformed)?;
        Ok(Self { task: TaskKey::parse(project, task)?, number })
    }
}

/// The part of an attempt on one node: `digits-42/train[3].2:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerKey {
    pub attempt: AttemptKey,
    /// The rank of the node in the gang (`NODE_RANK`).
    pub rank: u32,
}

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.attempt, self.rank))
    }
}

impl WorkerKey {
    /// Parses a key inside `project`.
    pub fn parse(project: &ProjectName, text: &str) -> Result<Self, KeyError> {
        let malformed = || malformed(text, "worker", "digits-42/train[3].2:0");
        let (attempt, rank) = text.rsplit_once(':').ok_or_else(malformed)?;
        let rank = rank.parse().map_err(|_| malformed())?;
        Ok(Self { attempt: AttemptKey::parse(project, attempt)?, rank })
    }

    /// A folder name for the worker, unique within its project's folder.
    pub fn folder(&self) -> String {
        self.to_string().replace(['/', ':'], "+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_text() {
        let project = ProjectName::default_project();
        for text in [
            "digits-42/train[3].2:0",
            "my-model-1/eval.1:3",
            "churn@7/replica[0].2:0",
            "a.b-3/x.y.12:0",
        ] {
            let key = WorkerKey::parse(&project, text).expect("a valid key");
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let project = ProjectName::default_project();
        for text in [
            "",
            "digits",
            "digits-0/x.1:0",
            "digits-01/x.1:0",
            "d-1/x[.1:0",
            "d-1/x.0:0",
            "d@1/x.1:0",
            "d-1/../x.1:0",
        ] {
            assert!(WorkerKey::parse(&project, text).is_err(), "{text} was accepted");
        }
    }
}
