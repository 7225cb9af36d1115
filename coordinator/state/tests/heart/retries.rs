//! Running again what did not succeed.

use runyard_state::entity::GateVerdict;
use runyard_state::{AddReferenceTask, Command, Reply, Resolution};
use runyard_types::Outcome;

use super::env::{TestEnv, error, failure, model_root, project, retry, stage, task};
use super::pipelines::{DIGITS, TWO};

fn failed_run() -> TestEnv {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.work("two-1/train", &["n1"], failure());
    env.resolve_one(&task("two-1/report"), Resolution::Skip { reason: "train failed".into() });
    assert_eq!(env.run_state("two-1"), "failed");
    env
}

#[test]
fn what_failed_and_what_was_skipped_runs_again() {
    let mut env = failed_run();
    let Reply::Tasks(tasks) = env.retry("two-1", None) else { panic!() };
    assert_eq!(tasks.len(), 2);
    assert_eq!(env.run_state("two-1"), "queued");
    env.resolve();
    assert_eq!(env.work("two-1/train", &["n1"], Outcome::Succeeded), "two-1/train.2");
    env.resolve();
    env.work("two-1/report", &["n1"], Outcome::Succeeded);
    assert_eq!(env.run_state("two-1"), "succeeded");
    env.assert_settled();
    let refused = env.refused(Command::RetryRun(retry("two-1", None)));
    assert_eq!(refused, "run two-1 has nothing to retry: all its tasks succeeded");
}

#[test]
fn one_stage_runs_again_with_what_needs_it() {
    let mut env = failed_run();
    let Reply::Tasks(tasks) = env.retry("two-1", Some("report")) else { panic!() };
    assert_eq!(tasks, [task("two-1/report")]);
    assert_eq!(env.state_of("two-1/train"), "failed");
    env.cancel("two-1");
    let Reply::Tasks(tasks) = env.retry("two-1", Some("train")) else { panic!() };
    assert_eq!(tasks.len(), 2, "report needs train");
}

#[test]
fn a_live_run_and_an_unknown_stage_are_refused() {
    let mut env = TestEnv::new();
    env.submit(TWO);
    let refused = env.refused(Command::RetryRun(retry("two-1", None)));
    assert_eq!(refused, "run two-1 is queued; cancel it first, or wait for its end");
    env.cancel("two-1");
    let refused = env.refused(Command::RetryRun(retry("two-1", Some("deploy"))));
    assert_eq!(refused, "there is no stage `two-1/deploy`");
}

#[test]
fn the_next_attempt_waits_until_the_one_before_is_released() {
    let mut env = TestEnv::with_nodes(2, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.finish("two-1/train.1", failure());
    env.resolve_one(&task("two-1/report"), Resolution::Skip { reason: "train failed".into() });
    env.retry("two-1", None);
    env.resolve();
    let refused = env.try_place("two-1/train", &["n2"]).unwrap_err().to_string();
    assert_eq!(refused, "attempt two-1/train.1 is not released");
    env.release("two-1/train.1");
    env.place("two-1/train", &["n2"]);
}

#[test]
fn a_reference_task_that_failed_runs_again_as_well() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(DIGITS);
    for key in ["digits-1/train", "digits-1/eval"] {
        env.resolve();
        env.work(key, &["n1"], Outcome::Succeeded);
    }
    env.resolve();
    env.ok(Command::AddReferenceTask(reference()));
    env.resolve();
    for _ in 0..4 {
        env.work("digits-1/eval.champion", &["n1"], error());
        env.pass(60_000);
    }
    assert_eq!(env.state_of("digits-1/eval.champion"), "error");
    let decision = super::gates::decide(&env, "digits-1", GateVerdict::CannotTest);
    env.ok(Command::DecideGate(Box::new(decision)));
    env.resolve_one(&task("digits-1/serve"), Resolution::Skip { reason: "no".into() });
    assert_eq!(env.run_state("digits-1"), "failed", "the gate decides, not its reference");
    env.retry("digits-1", None);
    env.resolve();
    assert_eq!(env.state_of("digits-1/eval.champion"), "queued");
    assert_eq!(env.state_of("digits-1/gate"), "running");
}

#[test]
fn a_run_that_is_about_to_end_gets_no_more_tasks() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(DIGITS);
    env.resolve();
    env.place("digits-1/train", &["n1"]);
    env.cancel("digits-1");
    let refused = env.refused(Command::AddReferenceTask(reference()));
    assert_eq!(refused, "run digits-1 is about to end: cancelled by ann: enough");
}

fn reference() -> AddReferenceTask {
    AddReferenceTask {
        project: project(),
        run: "digits-1".parse().expect("a run"),
        stage: stage("eval"),
        name: stage("eval.champion"),
        input: "model".into(),
        root: model_root("champion"),
    }
}
