//! Nodes and tokens.

use runyard_state::entity::{Eligibility, Liveness, TokenKind};
use runyard_state::{
    Command, CreateToken, JoinNode, NodeHello, Refusal, RemoveNode, RevokeToken, SetEligibility,
    SetLiveness, SetOrphans, StopOrphan,
};
use runyard_types::{ByteSize, CpuMilli, Digest, DurationMs, Outcome};

use super::env::{TestEnv, hello, node, worker};
use super::pipelines::{GANG, TWO};

fn token(id: &str, kind: TokenKind) -> Command {
    Command::CreateToken(CreateToken {
        id: id.into(),
        kind,
        name: String::new(),
        hash: Digest::of(id.as_bytes()),
        ttl: Some(DurationMs(60_000)),
        principal: "ops".into(),
    })
}

fn join(name: &str, token: &str, secret: &str) -> Command {
    Command::JoinNode(JoinNode {
        name: node(name),
        fingerprint: Digest::of(b"key"),
        token: token.into(),
        secret_hash: Digest::of(secret.as_bytes()),
    })
}

#[test]
fn a_join_token_lets_one_agent_in_once() {
    let mut env = TestEnv::new();
    env.ok(token("t1", TokenKind::AgentJoin));
    env.ok(token("user", TokenKind::User));
    for (id, secret) in [("t1", "wrong"), ("t9", "t9"), ("user", "user")] {
        let refusal = env.refusal(join("n1", id, secret));
        assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal}");
    }
    env.ok(join("n1", "t1", "t1"));
    assert!(matches!(env.refusal(join("n2", "t1", "t1")), Refusal::Denied { .. }));
    env.ok(token("t2", TokenKind::AgentJoin));
    let taken = env.refused(join("n1", "t2", "t2"));
    assert!(taken.contains("there is a node `n1` already"), "{taken}");
    env.ok(join("n2", "t2", "t2"));
    assert_eq!(env.refused(token("t2", TokenKind::User)), "there is a token `t2` already");
}

#[test]
fn expired_and_revoked_tokens_let_nobody_in() {
    let mut env = TestEnv::new();
    env.ok(token("old", TokenKind::AgentJoin));
    env.pass(60_000);
    assert!(matches!(env.refusal(join("n1", "old", "old")), Refusal::Denied { .. }));
    env.ok(token("gone", TokenKind::AgentJoin));
    let revoke =
        |id: &str| Command::RevokeToken(RevokeToken { id: id.into(), principal: "ops".into() });
    env.ok(revoke("gone"));
    env.ok(revoke("gone"));
    assert!(matches!(env.refusal(join("n1", "gone", "gone")), Refusal::Denied { .. }));
    assert_eq!(env.refused(revoke("none")), "there is no token `none`");
}

#[test]
fn an_older_session_is_refused() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.hello("n1", 7, 1);
    let refused = env.refused(Command::NodeHello(Box::new(hello("n1", 6, 1))));
    assert_eq!(refused, "session 6 of node n1 is older than 7");
    let refused = env.refused(Command::NodeHello(Box::new(hello("n9", 1, 1))));
    assert_eq!(refused, "there is no node `n9`");
}

#[test]
fn a_node_that_is_not_ready_or_not_open_takes_nothing() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    for (liveness, word) in [
        (Liveness::Joined, "joined"),
        (Liveness::Unreachable, "unreachable"),
        (Liveness::Lost, "lost"),
    ] {
        env.liveness("n1", liveness);
        let refused = env.try_place("two-1/train", &["n1"]).unwrap_err().to_string();
        assert_eq!(refused, format!("node n1 is {word}"));
    }
    env.liveness("n1", Liveness::Ready);
    let set = |eligibility| {
        Command::SetEligibility(SetEligibility {
            node: node("n1"),
            eligibility,
            reason: "fans".into(),
            principal: "ops".into(),
        })
    };
    for (eligibility, word) in
        [(Eligibility::Cordoned, "cordoned"), (Eligibility::Draining, "draining")]
    {
        env.ok(set(eligibility));
        let refused = env.try_place("two-1/train", &["n1"]).unwrap_err().to_string();
        assert_eq!(refused, format!("node n1 is {word}"));
    }
    env.ok(set(Eligibility::Open));
    env.place("two-1/train", &["n1"]);
    let unknown = SetLiveness { node: node("n9"), liveness: Liveness::Lost };
    assert_eq!(env.refused(Command::SetLiveness(unknown)), "there is no node `n9`");
}

#[test]
fn capacity_is_never_exceeded() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    let refused = env.try_place("two-2/train", &["n1"]).unwrap_err().to_string();
    assert_eq!(refused, "two-2/train needs 1 devices");
    let small = NodeHello { cpu: CpuMilli(500), ..hello("n1", 2, 1) };
    env.ok(Command::NodeHello(Box::new(small)));
    env.release("two-1/train.1");
    let refused = env.try_place("two-2/train", &["n1"]).unwrap_err().to_string();
    assert_eq!(refused, "node n1 has too little CPU left");
    let mut sick = NodeHello { memory: ByteSize(1), ..hello("n1", 3, 1) };
    sick.devices[0].unhealthy = Some("Xid 79".into());
    env.ok(Command::NodeHello(Box::new(sick)));
    let refused = env.try_place("two-2/train", &["n1"]).unwrap_err().to_string();
    assert_eq!(refused, "device n1/GPU-n1-0 is unhealthy: Xid 79");
}

fn orphans(env: &mut TestEnv, keys: &[&str]) {
    let orphans = keys.iter().map(|key| worker(key)).collect();
    env.ok(Command::SetOrphans(SetOrphans { node: node("n1"), orphans }));
}

fn stop_orphan(key: &str) -> Command {
    Command::StopOrphan(StopOrphan {
        node: node("n1"),
        worker: worker(key),
        reason: "of the old group".into(),
        principal: "ops".into(),
    })
}

#[test]
fn f28_workers_that_nobody_knows_stay_until_an_operator_stops_them() {
    let mut env = TestEnv::with_nodes(1, 1);
    orphans(&mut env, &["old-3/train.1:0", "old-4/train.1:0"]);
    let messages = |env: &TestEnv| {
        let last = env.state.events.last().expect("an event").1;
        (last.kind.name(), last.kind.message())
    };
    let (name, message) = messages(&env);
    assert_eq!(name, "node.orphans");
    assert!(message.starts_with("has 2 worker(s) that nobody knows"), "{message}");
    let count = env.state.events.size();
    orphans(&mut env, &["old-4/train.1:0", "old-3/train.1:0"]);
    assert_eq!(env.state.events.size(), count, "said once");

    let refused = env.refused(stop_orphan("old-5/train.1:0"));
    assert_eq!(refused, "there is no orphan `old-5/train.1:0 of node n1`");
    env.ok(stop_orphan("old-3/train.1:0"));
    env.ok(stop_orphan("old-3/train.1:0"));
    // A later list keeps the wish, until the worker is gone.
    orphans(&mut env, &["old-3/train.1:0"]);
    let stop = env.state.nodes[&node("n1")].orphans[&worker("old-3/train.1:0")].clone();
    assert_eq!(stop.expect("asked to stop").reason, "stopped by ops: of the old group");
    orphans(&mut env, &[]);
    assert!(env.state.nodes[&node("n1")].orphans.is_empty());
    assert_eq!(messages(&env).1, "has no unknown worker any more");
}

#[test]
fn a_worker_that_the_state_knows_is_no_orphan() {
    let mut env = TestEnv::with_nodes(1, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    orphans(&mut env, &["two-1/train.1:0"]);
    assert!(env.state.nodes[&node("n1")].orphans.is_empty());
    // Released for the group, and still there for the agent: that one is.
    env.release("two-1/train.1");
    orphans(&mut env, &["two-1/train.1:0"]);
    assert_eq!(env.state.nodes[&node("n1")].orphans.len(), 1);
}

fn remove(name: &str, force: bool) -> Command {
    Command::RemoveNode(RemoveNode { node: node(name), force, principal: "ops".into() })
}

#[test]
fn a_node_is_removed_when_it_is_lost_and_empty() {
    let mut env = TestEnv::with_nodes(2, 1);
    let refused = env.refused(remove("n1", false));
    assert!(refused.contains("node n1 is ready: stop its agent"), "{refused}");
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.lose_node("n1");
    let refused = env.refused(remove("n1", false));
    assert!(refused.contains("has 1 workers") && refused.contains("two-1/train.1:0"), "{refused}");
    env.lose_node("n2");
    env.ok(remove("n2", false));
    assert!(!env.state.nodes.contains_key(&node("n2")));
    assert_eq!(env.refused(remove("n2", true)), "there is no node `n2`");
    let refused = env.refused(Command::NodeHello(Box::new(hello("n2", 9, 1))));
    assert_eq!(refused, "there is no node `n2`");
    // Its name is free.
    env.ok(token("again", TokenKind::AgentJoin));
    env.ok(join("n2", "again", "again"));
}

#[test]
fn a_removed_nodes_work_is_given_up_and_tried_elsewhere() {
    let mut env = TestEnv::with_nodes(2, 1);
    env.submit(TWO);
    env.resolve();
    env.place("two-1/train", &["n1"]);
    env.run_worker("two-1/train.1:0");
    env.ok(remove("n1", true));
    assert_eq!(env.state_of("two-1/train"), "queued");
    let ended = env.task("two-1/train").attempts[0].clone();
    let Some(Outcome::Ended { reason, .. }) = &ended.outcome else { panic!("{ended:?}") };
    assert_eq!(reason, "node n1 was removed by ops");
    assert!(ended.is_released() && ended.workers[0].log.complete);
    env.pass(60_000);
    env.work("two-1/train", &["n2"], Outcome::Succeeded);
    env.resolve();
    env.work("two-1/report", &["n2"], Outcome::Succeeded);
    env.assert_settled();
}

#[test]
fn a_removed_node_takes_its_gang_along_but_not_the_others_devices() {
    let mut env = TestEnv::with_nodes(3, 2);
    env.submit(GANG);
    env.resolve();
    env.place("gang-1/train", &["n1", "n2"]);
    env.ok(remove("n2", true));
    assert_eq!(env.state_of("gang-1/train"), "queued");
    let (attempt, rest) = env.state.worker(&worker("gang-1/train.1:0")).expect("a worker");
    assert!(attempt.stop.is_some(), "the rest is asked to end");
    assert_eq!(rest.devices.len(), 2);
    assert_eq!(env.state.nodes[&node("n1")].used.devices.len(), 2);
    env.pass(60_000);
    let refused = env.try_place("gang-1/train", &["n1", "n3"]).unwrap_err().to_string();
    assert_eq!(refused, "attempt gang-1/train.1 is not released");
}
