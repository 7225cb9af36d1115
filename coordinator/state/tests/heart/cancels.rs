//! Stopping runs.

use runyard_state::Command;
use runyard_types::{Cause, Outcome};

use super::env::{TestEnv, cancel, error, failure};
use super::pipelines::{STUBBORN, TWO};

#[test]
fn what_has_not_begun_ends_and_what_runs_is_asked_to() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.run_worker("two-1/train.1:0");
    env.cancel("two-1");
    assert_eq!(env.state_of("two-1/report"), "cancelled");
    assert_eq!((env.state_of("two-1/train"), env.run_state("two-1")), ("running", "running"));
    let stop = env.task("two-1/train").attempts[0].stop.clone().expect("asked to stop");
    assert_eq!((stop.cause, stop.reason.as_str()), (Cause::Cancelled, "cancelled by ann: enough"));
    env.cancel("two-1");
    let again = env.task("two-1/train").attempts[0].stop.clone();
    assert_eq!(again, Some(stop), "the first wish stands");
    env.finish("two-1/train.1", failure());
    env.release("two-1/train.1");
    assert_eq!((env.state_of("two-1/train"), env.run_state("two-1")), ("cancelled", "cancelled"));
    env.assert_settled();
    let refused = env.refused(Command::CancelRun(cancel("two-1")));
    assert_eq!(refused, "run two-1 is cancelled already");
    let refused = env.refused(Command::CancelRun(cancel("two-2")));
    assert_eq!(refused, "there is no run `two-2`");
}

#[test]
fn a_cancelled_run_whose_work_was_done_first_keeps_the_result() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.cancel("two-1");
    env.finish("two-1/train.1", Outcome::Succeeded);
    assert_eq!((env.state_of("two-1/train"), env.run_state("two-1")), ("succeeded", "cancelled"));
}

#[test]
fn a_cancelled_attempt_is_not_made_again_whatever_it_ends_by() {
    for end in ["failure", "error", "lost", "released"] {
        let mut env = TestEnv::with_nodes(1, 1);
        env.submit(STUBBORN);
        env.resolve();
        env.place("stubborn-1/train", &["n1"]);
        env.cancel("stubborn-1");
        match end {
            "failure" => env.finish("stubborn-1/train.1", failure()),
            "error" => env.finish("stubborn-1/train.1", error()),
            "lost" => {
                env.lose_node("n1");
                env.lose("stubborn-1/train.1");
            }
            _ => env.release("stubborn-1/train.1"),
        }
        assert_eq!(env.state_of("stubborn-1/train"), "cancelled", "{end}");
        assert_eq!(env.run_state("stubborn-1"), "cancelled", "{end}");
    }
}
