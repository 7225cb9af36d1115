//! Logs and metrics: their bytes follow each other, and belong to their attempt.

use runyard_state::{Command, Refusal, Reply, Seal, SealChannel};
use runyard_types::{Digest, Outcome};

use super::env::{TestEnv, error, node, worker};
use super::pipelines::TWO;

fn seal(from: u64, to: u64, complete: bool) -> Seal {
    Seal {
        node: node("n1"),
        worker: worker("two-1/train.1:0"),
        channel: SealChannel::Log,
        from,
        to,
        manifest: (to > from).then(|| Digest::of(&to.to_le_bytes())),
        complete,
    }
}

fn running() -> TestEnv {
    let mut env = TestEnv::with_nodes(2, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.run_worker("two-1/train.1:0");
    env
}

#[test]
fn seals_follow_each_other_without_gap_or_overlap() {
    let mut env = running();
    assert_eq!(env.ok(Command::Seal(seal(0, 10, false))), Reply::Sealed(10));
    for (from, to) in [(0, 10), (9, 20), (11, 20), (10, 9), (u64::MAX, 0)] {
        let refused = env.refused(Command::Seal(seal(from, to, false)));
        assert!(refused.contains("is sealed to 10"), "{refused}");
    }
    let metrics = Seal { channel: SealChannel::Metrics, ..seal(0, 5, false) };
    assert_eq!(env.ok(Command::Seal(metrics)), Reply::Sealed(5), "each channel by itself");
    assert_eq!(env.ok(Command::Seal(seal(10, 20, true))), Reply::Sealed(20));
    assert_eq!(env.ok(Command::Seal(seal(20, 20, true))), Reply::Sealed(20), "told twice");
    let mut finish = env.finishing("two-1/train.1", Outcome::Succeeded, Default::default());
    if let Command::FinishAttempt(finish) = &mut finish {
        finish.log_ends = vec![20];
    }
    env.ok(finish);
    let refused = env.refused(Command::Seal(seal(20, 30, false)));
    assert!(refused.contains("ended its bytes at 20"), "{refused}");
    let log = &env.task("two-1/train").attempts[0].workers[0].log;
    assert_eq!(log.manifest, Some(Digest::of(&20_u64.to_le_bytes())));
}

#[test]
fn a15_a_log_is_sealed_by_its_own_node_however_old_it_is() {
    let mut env = running();
    let stranger = Seal { node: node("n2"), ..seal(0, 10, false) };
    assert!(matches!(env.refusal(Command::Seal(stranger)), Refusal::Denied { .. }));
    env.lose_node("n1");
    env.lose("two-1/train.1");
    env.pass(10_000);
    env.work("two-1/train", &["n2"], error());
    env.ok(Command::Seal(seal(0, 10, true)));
    assert!(env.task("two-1/train").attempts[0].workers[0].log.complete);
}

#[test]
fn an_attempt_is_settled_when_it_is_released_and_its_log_is_whole() {
    let mut env = running();
    env.ok(Command::Seal(seal(0, 10, false)));
    let mut finish = env.finishing("two-1/train.1", Outcome::Succeeded, Default::default());
    if let Command::FinishAttempt(finish) = &mut finish {
        finish.log_ends = vec![25];
    }
    env.ok(finish);
    env.release("two-1/train.1");
    assert_eq!(env.state.unsettled.size(), 1, "15 bytes are still to come");
    env.ok(Command::Seal(seal(10, 25, true)));
    assert!(env.state.unsettled.is_empty());
}

/// Found by the simulation: an agent gives a worker up before it started and closes its empty log; it dies
/// before it says so, and its next life starts the worker.
#[test]
fn a_worker_that_was_given_up_and_then_started_has_a_log() {
    for end_first in [false, true] {
        let mut env = TestEnv::with_nodes(1, 1);
        env.submit(TWO);
        env.resolve();
        env.place("two-1/train", &["n1"]);
        env.ok(Command::Seal(seal(0, 0, true)));
        env.run_worker("two-1/train.1:0");
        let mut finish = env.finishing("two-1/train.1", Outcome::Succeeded, Default::default());
        if let Command::FinishAttempt(finish) = &mut finish {
            finish.log_ends = vec![2_000];
        }
        let log = Command::Seal(seal(0, 2_000, true));
        for command in if end_first { [finish, log] } else { [log, finish] } {
            env.ok(command);
        }
        let log = &env.task("two-1/train").attempts[0].workers[0].log;
        assert_eq!((log.to, log.complete), (2_000, true), "end first: {end_first}");
    }
}
