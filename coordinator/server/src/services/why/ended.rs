//! How a task ended: the reason that decided it, the exit, and where to read on.

use runyard_proto::v1::WhyResponse;
use runyard_state::State;
use runyard_state::entity::{Attempt, GateDecision, Task, TaskState};
use runyard_types::{AttemptKey, ExitReport, Parent, WorkerKey};

/// Of tasks that have all ended, the one that the others' ends follow from: the first that failed, else
/// the first that was cancelled, else the last.
pub(super) fn decisive<'a, 'b>(tasks: &'b [&'a Task]) -> Option<&'b &'a Task> {
    let first = |wanted: &[TaskState]| {
        tasks
            .iter()
            .filter(|task| wanted.contains(&task.state))
            .min_by_key(|task| task.ended_at.map_or(u64::MAX, |at| at.0))
    };
    first(&[TaskState::Failed, TaskState::Error])
        .or_else(|| first(&[TaskState::Cancelled]))
        .or_else(|| tasks.last())
}

pub(super) fn tell(state: &State, task: &Task, answer: &mut WhyResponse) {
    let run = match &task.key.parent {
        Parent::Stage { run, .. } => Some(run.to_string()),
        Parent::Revision { .. } => None,
    };
    answer.sentence = sentence(state, task);
    let again = |run: &Option<String>| match run {
        Some(run) => format!("runyard retry {run}"),
        None => format!("runyard logs {}", task.key),
    };
    answer.next = match task.state {
        _ if task.gate.is_some() => format!("runyard gate show {}", task.key),
        TaskState::Failed | TaskState::Error if task.attempts.is_empty() => again(&run),
        TaskState::Failed | TaskState::Error => format!("runyard logs {}", task.key),
        TaskState::Cancelled => again(&run),
        TaskState::Skipped => run.map(|run| format!("runyard why {run}")).unwrap_or_default(),
        _ => run.map(|run| format!("runyard describe {run}")).unwrap_or_default(),
    };
    let failed = matches!(task.state, TaskState::Failed | TaskState::Error);
    if let (true, Some(attempt)) = (failed, task.attempts.last()) {
        answer.log = decisive_worker(task, attempt).to_string();
    }
}

/// The worker whose log tells why. Of a gang, the others were stopped because one failed, and the wish
/// names that one; where none is named, the first worker's log is as good as any.
fn decisive_worker(task: &Task, attempt: &Attempt) -> WorkerKey {
    let worker = |rank: usize| WorkerKey {
        attempt: AttemptKey { task: task.key.clone(), number: attempt.number },
        rank: rank as u32,
    };
    let stop = attempt.stop.as_ref().map(|stop| stop.reason.as_str()).unwrap_or_default();
    let named = (0..attempt.workers.len())
        .find(|rank| stop.contains(&format!("worker {} ", worker(*rank))));
    worker(named.unwrap_or(0))
}

fn sentence(state: &State, task: &Task) -> String {
    let word = match task.state {
        TaskState::Cancelled => "it was cancelled",
        TaskState::Skipped => "it was skipped",
        TaskState::Failed => "it failed",
        TaskState::Error => "it ended in an error that is not its own",
        _ if task.cached => "it was restored from the cache",
        _ => "it succeeded",
    };
    if let Some(gate) = &task.gate {
        let decision = match gate.decision {
            GateDecision::Passed => "let the candidate pass",
            GateDecision::Rejected => "rejected the candidate",
            GateDecision::Waiting => "waits for an approver",
            GateDecision::Approved => "let the candidate pass, for it was approved",
            GateDecision::Refused => "was refused by an approver",
        };
        let reason =
            if gate.reason.is_empty() { String::new() } else { format!(" ({})", gate.reason) };
        return format!("the gate {decision}: {}{reason}", gate.summary);
    }
    let mut told = word.to_owned();
    let reason = match task.state {
        TaskState::Succeeded if task.cached => &task.cache_reason,
        // Of a run that was cancelled, each task was because the run was.
        TaskState::Cancelled if task.reason.is_empty() => {
            return match cancelled(state, task) {
                Some(reason) if !reason.is_empty() => format!("{told}: {reason}"),
                _ => told,
            };
        }
        _ => &task.reason,
    };
    if !reason.is_empty() {
        told.push_str(&format!(": {reason}"));
    }
    if let Some(attempt) = task.attempts.last()
        && !matches!(task.state, TaskState::Skipped)
    {
        told.push_str(&format!("\n{}", last_attempt(task, attempt)));
    }
    told
}

fn cancelled(state: &State, task: &Task) -> Option<String> {
    state.run(&task.key.project, task.key.run()?)?.cancelled.clone()
}

/// `attempt 2 of 2, on gpu-01: exit code 3 after 12 s`.
fn last_attempt(task: &Task, attempt: &Attempt) -> String {
    let nodes: Vec<String> = attempt.workers.iter().map(|worker| worker.node.to_string()).collect();
    let count = task.attempts.len();
    let number = if count > 1 {
        format!("attempt {} of {count}", attempt.number)
    } else {
        "its one attempt".to_owned()
    };
    let exit = attempt.exit.as_ref().map(exit).unwrap_or_else(|| match attempt.started_at {
        Some(_) => "no exit was reported".to_owned(),
        None => "it never started".to_owned(),
    });
    // The process's own times: the coordinator hears of start and end together, where they are close.
    let ran = attempt.exit.as_ref().map(|exit| exit.ended_at.since(exit.started_at));
    let took = match ran {
        Some(ran) if ran.0 > 0 => format!(" after {ran}"),
        _ => String::new(),
    };
    format!("{number}, on {}: {exit}{took}", nodes.join(", "))
}

fn exit(exit: &ExitReport) -> String {
    match (exit.oom, exit.code, exit.signal) {
        (true, ..) => format!("killed for its memory, of which it had {}", exit.memory_peak),
        (_, _, Some(signal)) => format!("ended by signal {signal}"),
        (_, Some(code), _) => format!("exit code {code}"),
        (false, None, None) => "no exit status".to_owned(),
    }
}
