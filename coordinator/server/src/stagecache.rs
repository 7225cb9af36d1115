//! The stage cache: what equal work left, kept as action objects in the blob store.

use runyard_state::State;
use runyard_state::entity::{Task, TaskResult, TaskState};
use runyard_types::{AttemptKey, Digest, ProjectName, decode, encode};
use serde::{Deserialize, Serialize};

use crate::core::Core;

/// What is kept under a content key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cached {
    pub(crate) version: u32,
    /// The attempt that did the work.
    pub(crate) attempt: String,
    pub(crate) at_ms: u64,
    pub(crate) result: TaskResult,
}

/// An earlier result that is still whole in the store.
pub(crate) fn find(core: &Core, project: &ProjectName, key: &Digest) -> Option<Cached> {
    let bytes = core.store.ac_get(project, key)?;
    let cached: Cached = decode("a cached result", &bytes).ok()?;
    let whole = cached
        .result
        .outputs
        .values()
        .all(|output| core.store.has_tree(project, output.root).unwrap_or(false));
    whole.then_some(cached)
}

/// Remembers what attempts left that succeeded and whose stage may be cached.
pub(crate) async fn remember(core: &Core, attempts: &[AttemptKey]) {
    let view = core.truth.view();
    let left: Vec<_> = attempts.iter().filter_map(|attempt| left(&view.state, attempt)).collect();
    drop(view);
    if left.is_empty() {
        return;
    }
    let store = core.store.clone();
    let storing = tokio::task::spawn_blocking(move || {
        for (project, key, cached) in left {
            // A result that is not cached costs time, not truth.
            if let Err(error) = store.ac_put(&project, &key, &encode(&cached)) {
                tracing::warn!(attempt = cached.attempt, %error, "the result could not be cached");
            }
        }
    });
    let _ = storing.await;
}

/// What an attempt left, and under which key it is found again.
fn left(state: &State, attempt: &AttemptKey) -> Option<(ProjectName, Digest, Cached)> {
    let (task, ended) = state.attempt(attempt)?;
    let key = task.content_key?;
    if task.state != TaskState::Succeeded || !may_cache(state, task) {
        return None;
    }
    let cached = Cached {
        version: 1,
        attempt: attempt.to_string(),
        at_ms: ended.ended_at.map_or(0, |at| at.0),
        result: task.result.clone(),
    };
    Some((attempt.task.project.clone(), key, cached))
}

fn may_cache(state: &State, task: &Task) -> bool {
    let Some(run) = task.key.run().and_then(|run| state.run(&task.key.project, run)) else {
        return false;
    };
    task.stage
        .as_ref()
        .and_then(|stage| run.pipeline.stage(stage.as_str()))
        .is_some_and(|stage| stage.cache)
}
