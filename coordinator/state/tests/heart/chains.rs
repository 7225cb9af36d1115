//! Attempts that wait on a node for the room of another.

use runyard_state::entity::Eligibility;
use runyard_state::{
    CHAIN_MAX, Command, NodeHello, Placement, SetEligibility, StopAttempt, WorkerPlacement,
    WorkerStep,
};
use runyard_types::{Cause, Outcome};

use super::env::{TestEnv, attempt, error, failure, hello, node, task};

/// Many short tasks of one kind, and others.
const MANY: &str = r"
version: 1
name: many
stages:
  short: { run: 'true', resources: { cpu: 2 }, matrix: { axes: { n: [0, 1, 2, 3, 4, 5, 6, 7] } } }
  other: { run: 'true', resources: { cpu: 2 } }
  devices: { run: 'true', resources: { cpu: 2, gpu: 1 }, matrix: { axes: { n: [0, 1] } } }
";

fn begin() -> TestEnv {
    let mut env = TestEnv::with_nodes(2, 2);
    env.submit(MANY);
    env.resolve();
    env
}

fn used(env: &TestEnv, name: &str) -> u64 {
    env.state.nodes[&node(name)].used.cpu.0
}

fn short(number: usize) -> String {
    format!("many-1/short[{number}]")
}

fn behind(env: &TestEnv) -> usize {
    env.state.nodes.values().map(|node| node.next.len()).sum()
}

#[test]
fn one_behind_another_takes_no_room_and_inherits_that_of_the_one_before() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    let second = env.place_behind(&short(1), "many-1/short[0].1");
    let third = env.place_behind(&short(2), "many-1/short[1].1");
    assert_eq!((used(&env, "n1"), behind(&env)), (2_000, 2));
    assert_eq!(env.state_of(&short(1)), "running", "an attempt of it lives");
    assert!(!env.state.attempt(&second).expect("placed").1.go);

    let early = env.step("many-1/short[1].1:0", WorkerStep::Running { port: 0 });
    assert!(early.is_err_and(|refusal| refusal.to_string().contains("is not released")));
    let early = env.finishing("many-1/short[1].1", Outcome::Succeeded, Default::default());
    assert!(env.refused(early).contains("is not released"));

    env.run_worker("many-1/short[0].1:0");
    env.restart();
    env.work_goes_on("many-1/short[0].1");
    assert_eq!((used(&env, "n1"), behind(&env)), (2_000, 1), "the room goes on to the next");
    let (_, now) = env.state.attempt(&second).expect("placed");
    assert!(now.go && now.after.is_none());
    assert_eq!(now.placed_at.0, env.wall, "it has its room from now on");
    assert!(!env.state.attempt(&third).expect("placed").1.go);

    for key in ["many-1/short[1].1", "many-1/short[2].1"] {
        env.step(&format!("{key}:0"), WorkerStep::Running { port: 0 }).expect("its turn");
        env.work_goes_on(key);
    }
    assert_eq!((used(&env, "n1"), behind(&env)), (0, 0));
    assert!(env.run("many-1").stages.values().any(|progress| progress.is_shorter_than(1_000)));
}

#[test]
fn one_that_goes_before_its_turn_closes_the_gap() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.place_behind(&short(2), "many-1/short[1].1");
    env.cancel("many-1");
    // The one in the middle is gone first, then the last, then the first.
    env.finish("many-1/short[1].1", failure());
    env.release("many-1/short[1].1");
    let last = env.state.attempt(&attempt("many-1/short[2].1")).expect("placed").1;
    assert_eq!(last.after, Some(attempt("many-1/short[0].1")));
    assert_eq!((used(&env, "n1"), behind(&env)), (2_000, 1));
    env.release("many-1/short[2].1");
    assert_eq!(env.state_of(&short(2)), "cancelled");
    assert_eq!((used(&env, "n1"), behind(&env)), (2_000, 0));
    env.release("many-1/short[0].1");
    assert_eq!(used(&env, "n1"), 0);
    assert!(env.state.nodes[&node("n1")].next.is_empty());
}

#[test]
fn what_ended_and_is_not_released_still_inherits_the_room() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.finish("many-1/short[1].1", failure());
    assert_eq!(behind(&env), 1, "it is not gone");
    env.work_goes_on_from("many-1/short[0].1");
    assert_eq!(used(&env, "n1"), 2_000, "its folder and its preparation may be there yet");
    env.release("many-1/short[1].1");
    assert_eq!(used(&env, "n1"), 0);
}

#[test]
fn behind_what_cant_be_killed_nobody_waits() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.place_behind(&short(2), "many-1/short[1].1");
    env.run_worker("many-1/short[0].1:0");
    env.step("many-1/short[0].1:0", WorkerStep::Wedged { reason: "stuck".into() }).expect("said");
    for key in ["many-1/short[1].1", "many-1/short[2].1"] {
        let stop = env.state.attempt(&attempt(key)).expect("placed").1.stop.clone();
        assert!(stop.is_some_and(|stop| stop.reason.contains("given back")), "{key}");
        env.finish(key, error());
        env.release(key);
    }
    for number in [1, 2] {
        assert_eq!(env.state_of(&short(number)), "queued");
        let (errors, not_before) =
            (env.task(&short(number)).errors, env.task(&short(number)).not_before);
        assert_eq!(errors, 0, "it was no try");
        assert!(not_before <= env.state.clock.elapsed, "it need not wait");
    }
    assert!(env.try_place_behind(&short(1), "many-1/short[0].1").is_err());
    env.place(&short(1), &["n2"]);
}

#[test]
fn a_node_that_is_drained_gives_back_what_only_waits_there() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.ok(Command::SetEligibility(SetEligibility {
        node: node("n1"),
        eligibility: Eligibility::Draining,
        reason: "new kernel".into(),
        principal: "ops".into(),
    }));
    assert!(env.state.attempt(&attempt("many-1/short[0].1")).expect("placed").1.stop.is_none());
    // Its agent says that nothing of it is left, and it never had a result.
    env.release("many-1/short[1].1");
    assert_eq!((env.state_of(&short(1)), env.task(&short(1)).errors), ("queued", 0));
    assert!(
        env.task(&short(1)).reason.contains("node n1 is draining"),
        "{}",
        env.task(&short(1)).reason
    );
    assert_eq!((used(&env, "n1"), behind(&env)), (2_000, 0));
    env.place(&short(1), &["n2"]);
}

#[test]
fn on_a_lost_node_the_one_that_waits_is_no_try_and_the_one_that_ran_is() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.lose_node("n1");
    env.lose("many-1/short[1].1");
    env.lose("many-1/short[0].1");
    assert_eq!((env.task(&short(0)).errors, env.task(&short(1)).errors), (1, 0));
    env.place(&short(1), &["n2"]);
    env.hello("n1", 2, 2);
    env.release("many-1/short[0].1");
    env.release("many-1/short[1].1");
    assert_eq!((used(&env, "n1"), used(&env, "n2")), (0, 2_000));
}

#[test]
fn what_is_given_back_by_the_leader_is_no_try_and_what_runs_is_not_given_back() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    let give_back = |key: &str| {
        Command::StopAttempt(StopAttempt {
            attempt: attempt(key),
            cause: Cause::Error,
            reason: "the one before takes long".into(),
            give_back: true,
        })
    };
    assert!(env.refused(give_back("many-1/short[0].1")).contains("waits for nobody's room"));
    env.ok(give_back("many-1/short[1].1"));
    // Its agent had started it when the word came, and stopped it.
    env.work_goes_on_from("many-1/short[0].1");
    env.run_worker("many-1/short[1].1:0");
    env.finish("many-1/short[1].1", error());
    assert_eq!((env.state_of(&short(1)), env.task(&short(1)).errors), ("queued", 0));
    env.release("many-1/short[1].1");
    assert_eq!(used(&env, "n1"), 0);
}

#[test]
fn a_failure_to_prepare_counts_though_its_turn_had_not_come() {
    let mut env = begin();
    env.place(&short(0), &["n1"]);
    env.place_behind(&short(1), "many-1/short[0].1");
    env.finish("many-1/short[1].1", error());
    assert_eq!(env.task(&short(1)).errors, 1, "else it would be tried for ever");
}

#[test]
fn who_may_wait_behind_whom() {
    let mut env = begin();
    let refused = |env: &mut TestEnv, key: &str, before: &str| {
        env.try_place_behind(key, before).expect_err("refused").to_string()
    };
    env.place(&short(0), &["n1"]);
    let first = "many-1/short[0].1";
    assert!(refused(&mut env, "many-1/other", first).contains("another stage"));
    env.place("many-1/devices[0]", &["n1"]);
    assert!(env.try_place_behind("many-1/devices[1]", "many-1/devices[0].1").is_err());
    let elsewhere = Placement {
        task: task(&short(1)),
        workers: vec![WorkerPlacement { node: node("n2"), devices: Vec::new() }],
        after: Some(attempt(first)),
    };
    assert!(env.try_placement(elsewhere).expect_err("refused").to_string().contains("on n1"));
    for number in 1..=CHAIN_MAX {
        env.place_behind(&short(number), &format!("many-1/short[{}].1", number - 1));
    }
    assert!(refused(&mut env, &short(6), first).contains("does so already"));
    let last = format!("many-1/short[{CHAIN_MAX}].1");
    assert!(refused(&mut env, &short(6), &last).contains("wait for that room already"));
    env.work_goes_on_from(first);
    assert!(refused(&mut env, &short(6), first).contains("has ended"));
}

#[test]
fn an_agent_one_version_behind_is_given_nothing_that_must_wait() {
    let mut env = begin();
    let old = NodeHello { chains: false, ..hello("n1", 2, 2) };
    env.ok(Command::NodeHello(Box::new(old)));
    env.place(&short(0), &["n1"]);
    let refused = env.try_place_behind(&short(1), "many-1/short[0].1").expect_err("refused");
    assert!(refused.to_string().contains("does not know how"), "{refused}");
}
