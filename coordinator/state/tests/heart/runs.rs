//! Accepting runs, resolving their tasks, and how runs end.

use runyard_state::entity::{RunState, TaskResult};
use runyard_state::{Command, Resolution};
use runyard_types::{Cause, Digest, Outcome};

use super::env::{TestEnv, begin, error, failure, queue, task};
use super::pipelines::{DIGITS, GRID, STUBBORN, TWO};

#[test]
fn a_run_goes_from_submission_to_its_end() {
    let mut env = TestEnv::with_nodes(1, 1);
    assert_eq!(env.submit(TWO).to_string(), "two-1");
    assert_eq!((env.run_state("two-1"), env.state_of("two-1/train")), ("queued", "waiting"));
    env.resolve();
    assert_eq!((env.state_of("two-1/train"), env.state_of("two-1/report")), ("queued", "waiting"));
    let attempt = env.work("two-1/train", &["n1"], Outcome::Succeeded);
    assert_eq!((env.run_state("two-1"), env.state_of("two-1/train")), ("running", "succeeded"));
    assert_eq!(env.task("two-1/train").result.outputs.len(), 1);
    env.resolve();
    let other = env.work("two-1/report", &["n1"], Outcome::Succeeded);
    assert_eq!(env.run_state("two-1"), "succeeded");
    assert_eq!((attempt.as_str(), other.as_str()), ("two-1/train.1", "two-1/report.1"));
    env.assert_settled();
    assert_eq!(env.submit(TWO).to_string(), "two-2", "numbers go on");
}

#[test]
fn the_end_of_a_run_follows_from_its_tasks() {
    let ends = [
        (Outcome::Succeeded, queue(), Outcome::Succeeded, "succeeded"),
        (failure(), Resolution::Skip { reason: "train failed".into() }, failure(), "failed"),
        (Outcome::Succeeded, queue(), failure(), "failed"),
        (Outcome::Succeeded, queue(), error(), "error"),
    ];
    for (train, report, end, expected) in ends {
        let mut env = TestEnv::with_nodes(1, 1);
        let text = TWO.replace("needs: train", "needs: train, retry: 0");
        env.submit(&text);
        env.resolve();
        env.work("two-1/train", &["n1"], train);
        let runs = matches!(report, Resolution::Queue { .. });
        env.resolve_one(&task("two-1/report"), report);
        if runs {
            env.work("two-1/report", &["n1"], end);
        }
        assert_eq!(env.run_state("two-1"), expected);
        env.assert_settled();
    }
}

#[test]
fn a_task_is_resolved_once_and_not_before_its_needs_have_ended() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    let early = env.try_resolve(&task("two-1/report"), queue()).unwrap_err().to_string();
    assert_eq!(early, "task two-1/report still waits for train");
    env.resolve();
    let twice = env.try_resolve(&task("two-1/train"), queue()).unwrap_err().to_string();
    assert_eq!(twice, "task two-1/train is queued, not waiting");
    let unknown = env.try_resolve(&task("two-9/train"), queue()).unwrap_err().to_string();
    assert_eq!(unknown, "there is no task `two-9/train`");
}

#[test]
fn workers_run_no_gates_and_the_leader_no_stages() {
    let mut env = TestEnv::new();
    env.submit(DIGITS);
    let refused = env.try_resolve(&task("digits-1/train"), begin()).unwrap_err().to_string();
    assert!(refused.contains("runs on a worker"), "{refused}");
    env.resolve_one(&task("digits-1/train"), Resolution::Skip { reason: String::new() });
    env.resolve_one(&task("digits-1/eval"), Resolution::Skip { reason: String::new() });
    let refused = env.try_resolve(&task("digits-1/gate"), queue()).unwrap_err().to_string();
    assert!(refused.contains("carried out by the leader"), "{refused}");
}

#[test]
fn a_restored_task_succeeds_without_an_attempt() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    let result = super::env::leaving("two-1/train");
    let restore = Resolution::Restore {
        content_key: Digest::of(b"key"),
        inputs: Vec::new(),
        result: result.clone(),
        reason: "nothing has changed".into(),
    };
    env.resolve_one(&task("two-1/train"), restore);
    let train = env.task("two-1/train");
    assert!(train.cached && train.attempts.is_empty() && train.result == result);
    assert!(env.state.resolvable.iter().any(|(_, _, stage)| stage.as_str() == "report"));
}

#[test]
fn outputs_of_an_attempt_that_failed_are_nobodys() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    let mut result = super::env::leaving("two-1/train");
    result.metrics.insert("loss".into(), 3.5);
    env.finish_with("two-1/train.1", failure(), result);
    let left = &env.task("two-1/train").result;
    assert!(left.outputs.is_empty());
    assert_eq!(left.metrics["loss"], 3.5);
}

#[test]
fn the_first_failure_of_a_matrix_that_says_so_ends_the_rest() {
    let mut env = TestEnv::with_nodes(1, 0);
    env.submit(GRID);
    env.resolve();
    env.place("grid-1/sweep[0]", &["n1"]);
    env.place("grid-1/sweep[1]", &["n1"]);
    env.run_worker("grid-1/sweep[1].1:0");
    env.finish("grid-1/sweep[0].1", failure());
    env.release("grid-1/sweep[0].1");
    assert_eq!(env.state_of("grid-1/sweep[2]"), "cancelled");
    assert_eq!(env.state_of("grid-1/sweep[1]"), "running");
    let stop = env.task("grid-1/sweep[1]").attempts[0].stop.clone().expect("asked to stop");
    assert_eq!(stop.cause, Cause::Cancelled);
    // Even if it then ends by the machine's fault, it is not tried again: nobody wants it.
    env.finish("grid-1/sweep[1].1", error());
    env.release("grid-1/sweep[1].1");
    assert_eq!(env.state_of("grid-1/sweep[1]"), "cancelled");
    env.resolve_one(&task("grid-1/pick"), Resolution::Skip { reason: "sweep failed".into() });
    assert_eq!(env.run_state("grid-1"), "failed");
    env.assert_settled();
}

#[test]
fn attempts_are_made_again_after_a_wait_that_doubles_until_the_limit() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(STUBBORN);
    env.resolve();
    let outcomes =
        [(failure(), 1_000, "queued"), (failure(), 2_000, "queued"), (failure(), 0, "failed")];
    for (number, (outcome, wait, state)) in outcomes.into_iter().enumerate() {
        let key = env.work("stubborn-1/train", &["n1"], outcome);
        assert_eq!(key, format!("stubborn-1/train.{}", number + 1));
        assert_eq!(env.state_of("stubborn-1/train"), state);
        if wait > 0 {
            let refused = env.try_place("stubborn-1/train", &["n1"]).unwrap_err().to_string();
            assert!(refused.contains("waits before it is tried again"), "{refused}");
            env.pass(wait - 100);
            env.try_place("stubborn-1/train", &["n1"]).expect_err("still too early");
            env.pass(100);
        }
    }
    assert_eq!(env.run("stubborn-1").state, RunState::Failed);
    env.assert_settled();
}

#[test]
fn errors_and_failures_are_counted_apart() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(STUBBORN);
    env.resolve();
    for outcome in [failure(), error(), failure(), error()] {
        env.work("stubborn-1/train", &["n1"], outcome);
        assert_eq!(env.state_of("stubborn-1/train"), "queued");
        env.pass(5_000);
    }
    env.work("stubborn-1/train", &["n1"], error());
    assert_eq!(env.state_of("stubborn-1/train"), "error");
}

#[test]
fn a_result_that_came_with_a_failed_try_is_not_told_of_a_task_that_was_then_restored() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.work("two-1/train", &["n1"], failure());
    env.resolve_one(&task("two-1/report"), Resolution::Skip { reason: "no".into() });
    env.retry("two-1", None);
    assert_eq!(env.task("two-1/train").result, TaskResult::default());
}

#[test]
fn a_pipeline_that_could_never_end_is_refused() {
    let mut env = TestEnv::new();
    let mut submission = env.submission(TWO);
    submission.pipeline.stages.clear();
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert_eq!(refused, "pipeline two has no stage");
    let mut submission = env.submission(GRID);
    if let Some(matrix) = &mut submission.pipeline.stages[0].matrix {
        matrix.axes.clear();
    }
    submission.pipeline.stages[1].needs = vec![super::env::stage("nowhere")];
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert_eq!(refused, "stage pick needs nowhere, which is no stage");
}

#[test]
fn new_work_is_refused_at_the_limits_and_old_work_ends() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.state.limits.live_runs = 2;
    env.state.limits.open_tasks = 7;
    env.submit(TWO);
    env.submit(TWO);
    let submission = env.submission(TWO);
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(refused.contains("project default has 2 live runs, its limit is 2"), "{refused}");
    env.cancel("two-1");
    let submission = env.submission(GRID.replace("3]", "3, 4]").as_str());
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(
        refused.contains("holds 2 open tasks and 6 more would pass its limit of 7"),
        "{refused}"
    );
    env.submit(GRID);
    let refused = env.refused(Command::RetryRun(super::env::retry("two-1", None)));
    assert!(refused.contains("live runs"), "{refused}");
    env.cancel("grid-1");
    env.cancel("two-2");
    env.retry("two-1", None);
}
