//! Where a task is whose attempt lives: on which nodes, and whether these are heard.

use runyard_proto::v1::WhyResponse;
use runyard_state::State;
use runyard_state::entity::{Attempt, Liveness, Node, Task, WorkerPhase};
use runyard_types::{AttemptKey, Parent, TimestampMs, WorkerKey};

use super::instant;
use crate::reconcile::given_up_at;

pub(super) fn tell(state: &State, task: &Task, answer: &mut WhyResponse) {
    let Some(attempt) = task.attempts.last() else {
        answer.sentence = match task.reason.as_str() {
            "" => "the coordinator carries it out now".to_owned(),
            reason => reason.to_owned(),
        };
        return;
    };
    let key = AttemptKey { task: task.key.clone(), number: attempt.number };
    let unheard: Vec<String> = attempt
        .workers
        .iter()
        .enumerate()
        .filter_map(|(rank, worker)| {
            let node = state.nodes.get(&worker.node)?;
            let worker = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            unheard(state, task, node, &worker)
        })
        .collect();
    if let Some(first) = unheard.first() {
        answer.state = "unknown".to_owned();
        let others = match unheard.len() - 1 {
            0 => String::new(),
            1 => "; so is 1 more of its nodes".to_owned(),
            more => format!("; so are {more} more of its nodes"),
        };
        answer.sentence = format!("{first}{others}");
        let missing = attempt.workers.iter().map(|worker| &worker.node).find(|node| {
            state.nodes.get(*node).is_some_and(|node| node.liveness != Liveness::Ready)
        });
        answer.next = missing.map(|node| format!("runyard nodes get {node}")).unwrap_or_default();
        return;
    }
    answer.sentence = heard(attempt);
    answer.next = format!("runyard logs {}", task.key);
}

/// What is known of a worker on a node that is not heard, and what will become of it.
fn unheard(state: &State, task: &Task, node: &Node, worker: &WorkerKey) -> Option<String> {
    let (since, until) = match node.liveness {
        Liveness::Ready => return None,
        Liveness::Joined => return Some(format!("it is on {}, which was never heard", node.name)),
        Liveness::Unreachable | Liveness::Lost => given_up_at(state, node, worker)?,
    };
    let again = match &worker.attempt.task.parent {
        Parent::Stage { run, .. } => {
            let retry = state
                .run(&task.key.project, run)
                .and_then(|run| run.pipeline.stage(task.stage.as_ref()?.as_str()))
                .map(|stage| stage.retry.clone())
                .unwrap_or_default();
            let wanted = retry.on.contains(&runyard_pipeline::RetryOn::Error);
            wanted && task.errors < retry.max
        }
        // A replica is started again as long as its revision should serve.
        Parent::Revision { .. } => true,
    };
    let fate = match again {
        true => "it will be placed again",
        false => "it will end as an error (its stage allows no further attempt)",
    };
    Some(format!(
        "it is on {}, which is {} since {}; {fate} at {} unless the node returns before (it may run on meanwhile, and is kept then)",
        node.name,
        node.liveness.as_str(),
        instant(TimestampMs(since)),
        instant(TimestampMs(until)),
    ))
}

fn heard(attempt: &Attempt) -> String {
    let nodes = attempt_nodes(attempt).join(", ");
    if let Some(wedged) = attempt.workers.iter().find_map(|w| Some((&w.node, w.wedged.as_ref()?))) {
        return format!("its process on {} can't be ended: {}", wedged.0, wedged.1);
    }
    if let Some(stop) = &attempt.stop {
        return format!("it is being stopped on {nodes}: {}", stop.reason);
    }
    if attempt.is_behind() {
        return format!(
            "it waits on {nodes} for the room of {}",
            attempt.after.as_ref().map(ToString::to_string).unwrap_or_default()
        );
    }
    match attempt.started_at {
        Some(at) => format!("it runs on {nodes} since {}", instant(at)),
        None if attempt.workers.iter().all(|worker| worker.phase == WorkerPhase::Placed) => {
            format!("its environment and inputs are being prepared on {nodes}")
        }
        None if !attempt.go => {
            let late: Vec<String> = attempt
                .workers
                .iter()
                .filter(|worker| worker.phase == WorkerPhase::Placed)
                .map(|worker| worker.node.to_string())
                .collect();
            format!("its gang waits until {} is prepared", late.join(", "))
        }
        None => format!("it is being started on {nodes}"),
    }
}

/// The nodes of an attempt, each once, in the order of its workers.
fn attempt_nodes(attempt: &Attempt) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for worker in &attempt.workers {
        let name = worker.node.to_string();
        if !nodes.contains(&name) {
            nodes.push(name);
        }
    }
    nodes
}
