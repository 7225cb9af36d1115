//! What each step must leave alone, whatever the command: checked beside the state's own invariants.

use runyard_state::entity::{AliasMove, Task, TaskState, WorkerPhase};
use runyard_state::{Applied, Command, Reply, State, check_invariants};

/// Compares the states before and after a command.
pub(crate) fn check(
    before: &State,
    command: &Command,
    after: &State,
    applied: &Applied,
    index: u64,
) {
    let violations = check_invariants(after);
    assert!(violations.is_empty(), "after {command:?}: {violations:#?}");
    if changes_nothing(applied) {
        let mut same = before.clone();
        same.clock = after.clock;
        assert!(same == *after, "a refusal changed the state: {command:?}: {:?}", applied.outcome);
        assert!(applied.events.is_empty(), "a refusal made events: {:?}", applied.events);
    }
    for (n, event) in applied.events.iter().enumerate() {
        let first = applied.events[0].number.1 as usize;
        assert_eq!(event.number, (index, (first + n) as u32), "a gap in the events of {command:?}");
    }
    assert!(after.clock.wall >= before.clock.wall && after.clock.elapsed >= before.clock.elapsed);
    check_tasks(before, command, after);
    check_models(before, command, after);
    check_deployments(before, after);
}

fn changes_nothing(applied: &Applied) -> bool {
    match &applied.outcome {
        Err(_) => true,
        Ok(Reply::Placed(items)) => items.iter().all(Result::is_err),
        Ok(Reply::Items(items)) => items.iter().all(Result::is_err),
        Ok(_) => false,
    }
}

fn check_tasks(before: &State, command: &Command, after: &State) {
    for (key, old) in before.tasks.iter() {
        let new = after.tasks.get(key).unwrap_or_else(|| panic!("{key} is gone"));
        if std::sync::Arc::ptr_eq(old, new) {
            continue;
        }
        check_attempts(old, new);
        let retried = matches!(command, Command::RetryRun(_));
        assert!(
            !old.state.is_final() || old.state == new.state || retried,
            "{key} went from {:?} to {:?} by {command:?}",
            old.state,
            new.state
        );
        let finished = matches!(
            command,
            Command::FinishAttempt(_)
                | Command::ResolveTasks(_)
                | Command::DecideGate(_)
                | Command::ApproveGate(_)
                | Command::AdvanceRevision(_)
                // Where what it asks for serves already.
                | Command::Deploy(_)
        );
        if new.state == TaskState::Succeeded && old.state != TaskState::Succeeded {
            assert!(finished, "{key} succeeded by {command:?}");
        }
        let result = matches!(
            command,
            Command::FinishAttempt(_) | Command::ResolveTasks(_) | Command::RetryRun(_)
        );
        assert!(old.result == new.result || result, "{key} has another result by {command:?}");
    }
}

fn check_attempts(old: &Task, new: &Task) {
    let key = &old.key;
    assert!(new.attempts.len() >= old.attempts.len(), "{key} lost an attempt");
    for (before, after) in old.attempts.iter().zip(&new.attempts) {
        let name = format!("{key}.{}", before.number);
        assert!(after.go || !before.go, "{name} was called back");
        assert!(before.outcome.is_none() || before.outcome == after.outcome, "{name} ended anew");
        assert!(
            before.ended_at.is_none() || before.ended_at == after.ended_at,
            "{name} ended anew"
        );
        assert_eq!(before.fencing_token, after.fencing_token, "{name}");
        assert!(before.stop.is_none() || after.stop.is_some(), "{name} need not stop after all");
        for (rank, (was, is)) in before.workers.iter().zip(&after.workers).enumerate() {
            assert!(is.phase >= was.phase, "{name}:{rank} went back to {:?}", is.phase);
            assert!(is.log.to >= was.log.to && is.metrics.to >= was.metrics.to, "{name}:{rank}");
            let reopened = was.log.complete && !is.log.complete;
            assert!(!reopened || before.outcome.is_none(), "{name}:{rank} goes on writing");
            assert_eq!((&is.node, &is.devices), (&was.node, &was.devices), "{name}:{rank}");
            let ran_late = is.phase == WorkerPhase::Running && was.phase < WorkerPhase::Running;
            assert!(!ran_late || before.outcome.is_none(), "{name}:{rank} began after its end");
        }
    }
    let tokens: Vec<u64> = new.attempts.iter().map(|attempt| attempt.fencing_token).collect();
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{key}: tokens {tokens:?}");
}

/// A protected alias moves only by its gate, by rollback (a cancelled rollout is one) to what served, or by
/// an override with a reason.
fn check_models(before: &State, command: &Command, after: &State) {
    for (key, old) in before.models.iter() {
        let new = after.models.get(key).unwrap_or_else(|| panic!("{} is gone", key.1));
        assert!(new.versions.len() >= old.versions.len(), "{} lost a version", key.1);
        for (name, alias) in old.aliases.iter().filter(|(_, alias)| alias.protected) {
            let now = new.aliases.get(name);
            if now.is_some_and(|now| now.version == alias.version && now.protected) {
                continue;
            }
            let allowed = match command {
                Command::DecideGate(_) | Command::ApproveGate(_) => true,
                Command::Rollback(_) | Command::ReportRevision(_) | Command::CancelRun(_) => {
                    now.is_none_or(|now| served(before, key, now.moves.last()))
                }
                Command::SetAlias(set) => {
                    set.override_reason.as_deref().is_some_and(|reason| !reason.trim().is_empty())
                }
                _ => false,
            };
            assert!(allowed, "{}@{name} was moved by {command:?}", key.1);
        }
    }
}

fn served(
    before: &State,
    key: &(runyard_types::ProjectName, runyard_types::ModelName),
    to: Option<&AliasMove>,
) -> bool {
    use runyard_state::entity::VersionStatus;
    let version = to.and_then(|to| before.models.get(key)?.version(to.version));
    version.is_some_and(|version| version.status != VersionStatus::Registered)
}

fn check_deployments(before: &State, after: &State) {
    for (key, old) in before.deployments.iter() {
        let new = after.deployments.get(key).unwrap_or_else(|| panic!("{} is gone", key.1));
        assert!(new.latch >= old.latch, "the latch of {} opened", key.1);
        assert!(new.revisions.len() >= old.revisions.len(), "{} lost a revision", key.1);
        for (was, is) in old.revisions.iter().zip(&new.revisions) {
            let over = !was.state.wants_replicas();
            assert!(!over || was.state == is.state, "{}@{} came back", key.1, was.number);
            assert!(is.requests >= was.requests && is.errors >= was.errors);
        }
    }
}
