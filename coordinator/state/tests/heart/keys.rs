//! Idempotency keys: a submission that was acknowledged never runs twice.

use runyard_state::{Command, IdempotencyKey, Reply, SubmitRun};
use runyard_types::{Digest, Uid};

use super::env::{START_MS, TestEnv, ulid};
use super::pipelines::TWO;

const DAY_MS: u64 = 86_400_000;

fn submit(env: &mut TestEnv, submission: &SubmitRun) -> Reply {
    env.ok(Command::SubmitRun(Box::new(submission.clone())))
}

#[test]
fn the_same_key_gives_the_same_run() {
    let mut env = TestEnv::new();
    let submission = env.submission(TWO);
    let Reply::Run { name, uid, existed: false } = submit(&mut env, &submission) else { panic!() };
    env.restart();
    assert_eq!(submit(&mut env, &submission), Reply::Run { name, uid, existed: true });
    assert_eq!(env.state.runs.size(), 1);
    // Another principal's key is another key.
    let mut other = submission;
    other.idempotency.principal = "bob".into();
    let Reply::Run { existed: false, .. } = submit(&mut env, &other) else { panic!() };
}

#[test]
fn the_same_key_with_another_request_is_a_conflict() {
    let mut env = TestEnv::new();
    let mut submission = env.submission(TWO);
    submit(&mut env, &submission);
    submission.idempotency.request = Digest::of(b"another");
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(refused.contains("which became two-1; use a new key"), "{refused}");
}

#[test]
fn a_key_is_remembered_for_longer_than_it_is_accepted() {
    let mut env = TestEnv::new();
    let submission = env.submission(TWO);
    submit(&mut env, &submission);
    env.pass(DAY_MS + 1);
    let Reply::Run { existed: true, .. } = submit(&mut env, &submission) else { panic!() };
    env.pass(7 * DAY_MS);
    // A new submission sweeps out the old keys; then the old one is too old to be taken for new.
    env.submit(TWO);
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(refused.contains("over the") && refused.contains("use a new key"), "{refused}");
    assert_eq!(env.state.runs.size(), 2);
    env.check_replay();
}

#[test]
fn a_key_dated_far_ahead_would_outlive_its_memory_and_is_refused() {
    let mut env = TestEnv::new();
    let mut submission = env.submission(TWO);
    submission.idempotency.key = Uid(ulid(START_MS + 30 * DAY_MS, 1));
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(refused.contains("set this machine's clock"), "{refused}");
}

#[test]
fn a_refused_submission_forgets_no_keys() {
    let mut env = TestEnv::new();
    let first = env.submission(TWO);
    submit(&mut env, &first);
    env.pass(8 * DAY_MS);
    // The state before and after is compared by the environment.
    let mut bad = env.submission(TWO);
    bad.pipeline.stages.clear();
    env.refused(Command::SubmitRun(Box::new(bad)));
}

#[test]
fn all_old_keys_are_forgotten_whoever_they_belong_to() {
    let mut env = TestEnv::new();
    env.state.limits.live_runs = 1_000;
    for number in 0..200 {
        let mut submission = env.submission(TWO);
        submission.idempotency.principal = format!("p{number:03}");
        submit(&mut env, &submission);
        env.pass(DAY_MS / 10);
    }
    let size = |env: &TestEnv| {
        let text = format!("{:?}", env.state);
        text.matches("Remembered").count()
    };
    // Seven days of keys, ten a day.
    assert_eq!(size(&env), 70);
}

#[test]
fn f21_a_clock_that_jumped_ahead_and_was_put_right_shuts_nobody_out() {
    let mut env = TestEnv::new();
    let before = env.submission(TWO);
    submit(&mut env, &before);
    env.wall += 400 * DAY_MS;
    env.pass(10);
    // While it is wrong, it is said what is wrong; who asks again gets what was made.
    let late = SubmitRun { idempotency: at(&env, START_MS + 20, 1), ..before.clone() };
    let refused = env.refused(Command::SubmitRun(Box::new(late)));
    assert!(refused.contains("compare this machine's clock with the coordinator's"), "{refused}");
    let Reply::Run { existed: true, .. } = submit(&mut env, &before) else { panic!() };
    // One whose own clock is as wrong is let in.
    let dated_ahead = env.submission(TWO);
    let Reply::Run { existed: false, .. } = submit(&mut env, &dated_ahead) else { panic!() };

    env.wall -= 400 * DAY_MS;
    let after = env.submission(TWO);
    let Reply::Run { existed: false, .. } = submit(&mut env, &after) else { panic!() };
    assert!(env.state.clock.wall.0 > START_MS + 400 * DAY_MS, "stored time never goes back");
    // What would be taken for new is not forgotten, however long ago it came.
    env.pass(8 * DAY_MS);
    env.submit(TWO);
    env.wall += 400 * DAY_MS - 8 * DAY_MS;
    env.pass(10);
    let Reply::Run { existed: true, .. } = submit(&mut env, &dated_ahead) else { panic!() };
    env.check_replay();
}

#[test]
fn f21_a_clock_that_goes_back_makes_no_forgotten_key_new() {
    let mut env = TestEnv::new();
    let submission = env.submission(TWO);
    submit(&mut env, &submission);
    env.pass(8 * DAY_MS);
    env.submit(TWO);
    env.wall -= 8 * DAY_MS;
    let refused = env.refused(Command::SubmitRun(Box::new(submission)));
    assert!(refused.contains("as old as keys that are forgotten already"), "{refused}");
    assert_eq!(env.state.runs.size(), 2);
}

/// A key of that date.
fn at(env: &TestEnv, ms: u64, number: u128) -> IdempotencyKey {
    let request = Digest::of(b"request");
    let principal = format!("ann-{}", env.index);
    IdempotencyKey { principal, key: Uid(ulid(ms, number)), request }
}
