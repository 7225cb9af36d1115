//! Why a task does not run, from the scheduler's own predicate; where it is; how it ended.

mod active;
mod ended;

use runyard_proto::v1::{Reason, WhyRequest, WhyResponse};
use runyard_scheduler::{Limits, explain};
use runyard_state::State;
use runyard_state::entity::{Task, TaskState};
use runyard_types::{AttemptKey, TimestampMs};
use tonic::Status;

use super::names;
use crate::reconcile::{cluster, demands};

pub(super) fn why(state: &State, request: &WhyRequest) -> Result<WhyResponse, Status> {
    let project = names::project(&request.project)?;
    let target = names::target(state, &project, &request.target)?;
    let tasks = target.tasks(state);
    // The task that holds the others up: the first that is queued, else waiting, else the last.
    let task = tasks
        .iter()
        .find(|task| task.state == TaskState::Queued)
        .or_else(|| tasks.iter().find(|task| task.state == TaskState::Active))
        .or_else(|| tasks.iter().find(|task| task.state == TaskState::Waiting))
        .or_else(|| ended::decisive(&tasks))
        .ok_or_else(|| Status::not_found(format!("`{}` has no tasks", request.target)))?;
    let mut answer = WhyResponse {
        task: task.key.to_string(),
        state: task.state.as_str().to_owned(),
        nodes_total: state.nodes.size() as u32,
        attempt: task.attempts.last().map_or_else(String::new, |attempt| {
            AttemptKey { task: task.key.clone(), number: attempt.number }.to_string()
        }),
        ..Default::default()
    };
    match task.state {
        TaskState::Queued => queued(state, task, &mut answer),
        TaskState::Waiting => answer.sentence = waiting(state, task),
        TaskState::Active => active::tell(state, task, &mut answer),
        _ => ended::tell(state, task, &mut answer),
    }
    Ok(answer)
}

fn queued(state: &State, task: &Task, answer: &mut WhyResponse) {
    let cluster = cluster(state);
    let queue = demands(state, state.clock.elapsed, usize::MAX).list;
    let limits = Limits { now_ms: state.clock.wall.0, ..Limits::default() };
    let Some(explanation) = explain(&cluster, &queue, &limits, &task.key) else {
        answer.sentence = if task.not_before > state.clock.elapsed {
            let wait = runyard_types::DurationMs(task.not_before.0 - state.clock.elapsed.0);
            format!("it is tried again in {wait}: {}", task.reason)
        } else {
            "its attempt before is not released yet, or its stage runs as many tasks as `max-parallel` allows".to_owned()
        };
        return;
    };
    answer.nodes_total = explanation.nodes_total as u32;
    answer.position = explanation.position.unwrap_or(0) as u32;
    answer.cheapest_change =
        explanation.change.as_ref().map(ToString::to_string).unwrap_or_default();
    answer.reasons = explanation
        .reasons
        .iter()
        .map(|count| Reason {
            reason: count.reason.to_string(),
            nodes: count.nodes as u32,
            examples: count.examples.iter().map(ToString::to_string).collect(),
            holders: count.holders.clone(),
        })
        .collect();
    answer.sentence = if answer.nodes_total == 0 {
        "no node has joined yet; `runyard token create` and `runyard agent --join` add one"
            .to_owned()
    } else if answer.reasons.is_empty() {
        "it is about to be placed".to_owned()
    } else {
        let reasons: Vec<String> = answer
            .reasons
            .iter()
            .map(|reason| format!("{} {}", reason.nodes, reason.reason))
            .collect();
        format!("0/{} nodes can take it now: {}", answer.nodes_total, reasons.join(", "))
    };
}

/// An instant as people read it, UTC to the second.
fn instant(at: TimestampMs) -> String {
    // humantime prints no year past 9999.
    let at = std::time::Duration::from_millis(at.0.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + at).to_string()
}

fn waiting(state: &State, task: &Task) -> String {
    let open = task
        .key
        .run()
        .and_then(|run| state.run(&task.key.project, run))
        .and_then(|run| Some((run, run.pipeline.stage(task.stage.as_ref()?.as_str())?)))
        .map(|(run, stage)| {
            let open = stage
                .needs
                .iter()
                .filter(|need| run.stages.get(*need).is_some_and(|p| !p.is_final()));
            open.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        })
        .unwrap_or_default();
    match open.is_empty() {
        true => "its inputs are being resolved".to_owned(),
        false => format!("it waits for {open}"),
    }
}
