//! Attempts: only the current one counts, reports only go forward, lost nodes are fenced.

use runyard_state::entity::{Liveness, WorkerPhase};
use runyard_state::{Command, LoseAttempt, Refusal, StopAttempt, WorkerStep};
use runyard_types::{Cause, Outcome};

use super::env::{TestEnv, attempt, error, failure, leaving, worker};
use super::pipelines::{STUBBORN, TWO};

fn running() -> TestEnv {
    let mut env = TestEnv::with_nodes(2, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.run_worker("two-1/train.1:0");
    env
}

#[test]
fn a16_an_old_attempt_can_change_nothing() {
    let mut env = running();
    env.lose_node("n1");
    env.lose("two-1/train.1");
    env.pass(10_000);
    env.place("two-1/train", &["n2"]);
    let old = env.finishing("two-1/train.1", Outcome::Succeeded, leaving("two-1/train"));
    let refusal = env.refusal(old);
    let expected = ("two-1/train.1".to_owned(), "two-1/train.2".to_owned());
    let Refusal::Stale { attempt: found, current } = refusal else { panic!("{refusal}") };
    assert_eq!((found, current), expected);
    let stop = StopAttempt {
        attempt: attempt("two-1/train.1"),
        cause: Cause::Cancelled,
        reason: "no".into(),
        give_back: false,
    };
    assert!(matches!(env.refusal(Command::StopAttempt(stop)), Refusal::Stale { .. }));
    let again = LoseAttempt { attempt: attempt("two-1/train.1"), reason: "again".into() };
    assert!(matches!(env.refusal(Command::LoseAttempt(again)), Refusal::Stale { .. }));
    assert_eq!(env.state_of("two-1/train"), "running");
    assert!(env.task("two-1/train").result.outputs.is_empty());
}

#[test]
fn a16_attempts_that_never_were_can_change_nothing() {
    let mut env = running();
    for key in ["two-1/train.2", "two-1/train.4294967295", "two-1/report.1", "two-2/train.1"] {
        let forged = env.finishing(key, Outcome::Succeeded, leaving("x"));
        let refused = env.refused(forged);
        assert_eq!(refused, format!("there is no attempt `{key}`"));
        for step in [WorkerStep::Running { port: 1 }, WorkerStep::Released] {
            let refused = env.step_from("n1", &format!("{key}:0"), step).unwrap_err().to_string();
            assert_eq!(refused, format!("there is no worker `{key}:0`"));
        }
    }
    let refused = env.step_from("n1", "two-1/train.1:1", WorkerStep::Finished).unwrap_err();
    assert_eq!(refused.to_string(), "there is no worker `two-1/train.1:1`");
}

#[test]
fn a16_a_result_replayed_is_refused() {
    let mut env = running();
    env.finish_with("two-1/train.1", Outcome::Succeeded, leaving("two-1/train"));
    let replayed = env.finishing("two-1/train.1", failure(), Default::default());
    assert_eq!(env.refused(replayed), "attempt two-1/train.1 has ended");
    assert_eq!(env.state_of("two-1/train"), "succeeded");
}

#[test]
fn a16_a_result_names_no_more_logs_than_there_are_workers() {
    let mut env = running();
    let mut finish = env.finishing("two-1/train.1", Outcome::Succeeded, leaving("x"));
    if let Command::FinishAttempt(finish) = &mut finish {
        finish.log_ends = vec![0, 0];
    }
    assert_eq!(env.refused(finish), "attempt two-1/train.1 has 1 workers");
}

#[test]
fn a15_a_node_speaks_only_for_its_own_workers() {
    let mut env = running();
    let steps =
        [WorkerStep::Finished, WorkerStep::Released, WorkerStep::Wedged { reason: "x".into() }];
    for step in steps {
        let refusal = env.step_from("n2", "two-1/train.1:0", step).unwrap_err();
        assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal}");
    }
}

#[test]
fn f28_steps_that_come_twice_late_or_out_of_order_are_refused() {
    use WorkerStep::{Finished, Prepared, Released, Running};
    let all = [Prepared { port: 1 }, Running { port: 2 }, Finished, Released];
    // Every order of four steps: each is taken if and only if it goes forward.
    for order in 0..256_usize {
        let mut env = TestEnv::with_nodes(1, 1);
        env.submit(TWO);
        env.resolve();
        env.place("two-1/train", &["n1"]);
        let mut reached = 0;
        for place in 0..4 {
            let which = order >> (2 * place) & 3;
            let taken = env.step("two-1/train.1:0", all[which].clone());
            // After the release the attempt has ended; before it, only forward.
            assert_eq!(taken.is_ok(), which + 1 > reached, "{order:08b} at {place}: {taken:?}");
            reached = reached.max(which + 1);
        }
        env.check_replay();
    }
}

#[test]
fn f28_what_is_told_twice_makes_one_event() {
    let mut env = running();
    let wedged = WorkerStep::Wedged { reason: "in D state".into() };
    env.step("two-1/train.1:0", wedged.clone()).expect("news");
    env.step("two-1/train.1:0", wedged).expect_err("no news");
}

#[test]
fn f27_an_attempt_is_given_up_only_when_its_node_is_lost() {
    let mut env = running();
    let lose = |reason: &str| {
        Command::LoseAttempt(LoseAttempt {
            attempt: attempt("two-1/train.1"),
            reason: reason.into(),
        })
    };
    assert_eq!(env.refused(lose("early")), "no node of attempt two-1/train.1 is lost");
    env.liveness("n1", Liveness::Unreachable);
    assert_eq!(env.refused(lose("early")), "no node of attempt two-1/train.1 is lost");
    // Back in time: the same attempt goes on.
    env.hello("n1", 2, 1);
    assert_eq!(env.state_of("two-1/train"), "running");
    env.work_goes_on("two-1/train.1");
}

#[test]
fn f27_a_superseded_attempt_is_stopped_by_a_tombstone_when_its_node_returns() {
    let mut env = running();
    env.lose_node("n1");
    assert!(env.try_place("two-1/train", &["n2"]).is_err(), "it still runs, for all one knows");
    env.lose("two-1/train.1");
    assert_eq!(env.state_of("two-1/train"), "queued");
    env.pass(10_000);
    env.place("two-1/train", &["n2"]);
    assert_eq!(env.state.nodes[&super::env::node("n1")].used.devices.len(), 1, "fenced");
    env.hello("n1", 2, 1);
    let old = &env.task("two-1/train").attempts[0];
    let stop = old.stop.clone().expect("a tombstone");
    assert!(stop.index > 0 && stop.cause == Cause::Error);
    assert_eq!(old.workers[0].phase, WorkerPhase::Running);
    let node = &env.state.nodes[&super::env::node("n1")];
    assert!(node.workers.contains(&worker("two-1/train.1:0")), "so that its agent is told");
    // Its devices are nobody's until it is gone.
    env.submit(STUBBORN);
    env.resolve();
    let refused = env.try_place("stubborn-1/train", &["n1"]).unwrap_err().to_string();
    assert!(refused.contains("needs 1 devices"), "{refused}");
    env.step("two-1/train.1:0", WorkerStep::Released).expect("stopped");
    env.place("stubborn-1/train", &["n1"]);
    env.run_worker("two-1/train.2:0");
    env.finish("two-1/train.2", Outcome::Succeeded);
    assert_eq!(env.state_of("two-1/train"), "succeeded");
    env.check_replay();
}

#[test]
fn f27_no_attempt_begins_while_an_older_one_is_on_a_node_that_is_back() {
    let mut env = TestEnv::with_nodes(3, 1);
    env.submit(STUBBORN);
    env.resolve();
    env.place("stubborn-1/train", &["n1"]);
    env.run_worker("stubborn-1/train.1:0");
    env.lose_node("n1");
    env.lose("stubborn-1/train.1");
    env.pass(10_000);
    env.work("stubborn-1/train", &["n2"], error());
    env.hello("n1", 2, 1);
    env.pass(10_000);
    // The last attempt is released, the one before is not, and its node is heard.
    let refused = env.try_place("stubborn-1/train", &["n3"]).unwrap_err().to_string();
    assert_eq!(refused, "attempt stubborn-1/train.1 is not released");
    env.step("stubborn-1/train.1:0", WorkerStep::Released).expect("stopped");
    env.place("stubborn-1/train", &["n3"]);
}

#[test]
fn what_cant_be_killed_keeps_its_devices_and_holds_nobody_up() {
    let mut env = TestEnv::with_nodes(2, 1);
    env.submit(STUBBORN);
    env.resolve();
    env.place("stubborn-1/train", &["n1"]);
    env.run_worker("stubborn-1/train.1:0");
    env.finish("stubborn-1/train.1", failure());
    env.pass(10_000);
    env.try_place("stubborn-1/train", &["n2"]).expect_err("not released");
    let reason = "in D state".to_owned();
    env.step("stubborn-1/train.1:0", WorkerStep::Wedged { reason }).expect("news");
    env.place("stubborn-1/train", &["n2"]);
    assert_eq!(env.state.nodes[&super::env::node("n1")].used.devices.len(), 1);
    env.step("stubborn-1/train.1:0", WorkerStep::Released).expect("gone after all");
    assert!(env.state.nodes[&super::env::node("n1")].used.devices.is_empty());
}

#[test]
fn a_worker_that_never_started_ends_its_attempt_by_its_release() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.step("two-1/train.1:0", WorkerStep::Released).expect("released");
    let ended = env.task("two-1/train").attempts[0].outcome.clone();
    let reason = "its workers were released without a result".to_owned();
    assert_eq!(ended, Some(Outcome::Ended { cause: Cause::Error, reason }));
    assert_eq!(env.state_of("two-1/train"), "queued", "an error is tried again");
}
