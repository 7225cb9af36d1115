//! Gangs run whole or not at all (RELIABILITY F43).

use runyard_state::WorkerStep;
use runyard_state::entity::Liveness;
use runyard_types::{Cause, Outcome};

use super::env::{TestEnv, error, leaving};
use super::pipelines::GANG;

const PREPARED: WorkerStep = WorkerStep::Prepared { port: 0 };
const RUNNING: WorkerStep = WorkerStep::Running { port: 0 };

fn placed() -> TestEnv {
    let mut env = TestEnv::with_nodes(4, 2);
    env.submit(GANG);
    env.resolve();
    env.place("gang-1/train", &["n1", "n2"]);
    env
}

fn go(env: &TestEnv) -> bool {
    env.task("gang-1/train").attempts.last().expect("an attempt").go
}

#[test]
fn f43_a_gang_goes_only_after_all_are_prepared() {
    let mut env = placed();
    env.step("gang-1/train.1:0", PREPARED).expect("a step");
    assert!(!go(&env));
    let refused = env.step("gang-1/train.1:0", RUNNING).unwrap_err().to_string();
    assert_eq!(refused, "worker gang-1/train.1:0 may not run: its gang is not prepared");
    env.step("gang-1/train.1:1", PREPARED).expect("a step");
    assert!(go(&env));
    env.step("gang-1/train.1:1", RUNNING).expect("a step");
    env.step("gang-1/train.1:0", RUNNING).expect("a step");
    env.finish_with("gang-1/train.1", Outcome::Succeeded, leaving("x"));
    env.release("gang-1/train.1");
    env.assert_settled();
}

#[test]
fn f43_a_gang_is_placed_whole_or_not_at_all() {
    let mut env = TestEnv::with_nodes(2, 2);
    env.submit(GANG);
    env.resolve();
    for (nodes, expected) in [
        (&["n1"][..], "task gang-1/train needs 2 workers"),
        (&["n1", "n1"], "two workers of gang-1/train on node n1"),
        (&["n1", "n9"], "there is no node `n9`"),
    ] {
        let known = nodes.iter().all(|name| *name != "n9");
        let refused = if known {
            env.try_place("gang-1/train", nodes).unwrap_err().to_string()
        } else {
            expected.to_owned()
        };
        assert_eq!(refused, expected);
        assert!(env.state.nodes.values().all(|node| node.workers.is_empty()));
    }
    env.liveness("n2", Liveness::Unreachable);
    let refused = env.try_place("gang-1/train", &["n1", "n2"]).unwrap_err().to_string();
    assert_eq!(refused, "node n2 is unreachable");
}

#[test]
fn f43_a_worker_that_was_never_prepared_keeps_the_others_from_starting() {
    for last in [WorkerStep::Finished, WorkerStep::Released] {
        let mut env = placed();
        env.step("gang-1/train.1:1", last.clone()).expect("its preparation failed");
        env.step("gang-1/train.1:0", PREPARED).expect("a step");
        assert!(!go(&env), "{last:?} is not prepared");
        let refused = env.finishing("gang-1/train.1", Outcome::Succeeded, leaving("x"));
        let refused = env.refused(refused);
        assert!(refused.contains("its gang was never prepared"), "{refused}");
    }
}

#[test]
fn f43_the_rest_of_a_gang_is_asked_to_stop_when_one_is_gone() {
    let mut env = placed();
    env.step("gang-1/train.1:1", WorkerStep::Released).expect("gone");
    let stop = env.task("gang-1/train").attempts[0].stop.clone().expect("asked to stop");
    assert_eq!(stop.cause, Cause::Error);
    assert!(env.task("gang-1/train").attempts[0].outcome.is_none());
    env.step("gang-1/train.1:0", WorkerStep::Released).expect("gone as well");
    assert_eq!(env.state_of("gang-1/train"), "queued");
    env.pass(10_000);
    env.place("gang-1/train", &["n3", "n4"]);
}

#[test]
fn f43_no_next_attempt_before_every_worker_on_a_reachable_node_is_released() {
    let mut env = placed();
    for rank in ["gang-1/train.1:0", "gang-1/train.1:1"] {
        env.step(rank, PREPARED).expect("a step");
    }
    env.lose_node("n1");
    env.lose("gang-1/train.1");
    let attempt = &env.task("gang-1/train").attempts[0];
    assert!(attempt.stop.is_some() && attempt.outcome.is_some());
    env.pass(10_000);
    let refused = env.try_place("gang-1/train", &["n3", "n4"]).unwrap_err().to_string();
    assert_eq!(refused, "attempt gang-1/train.1 is not released");
    env.step("gang-1/train.1:1", WorkerStep::Released).expect("stopped");
    env.place("gang-1/train", &["n3", "n4"]);
    env.step("gang-1/train.1:0", RUNNING).expect_err("its attempt has ended");
}

#[test]
fn f43_a_gang_that_failed_gives_everything_back() {
    let mut env = placed();
    env.finish("gang-1/train.1", error());
    env.release("gang-1/train.1");
    assert!(env.state.nodes.values().all(|node| node.used.devices.is_empty()));
    env.cancel("gang-1");
    env.assert_settled();
}
