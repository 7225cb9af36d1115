//! Nodes and tokens.

use runyard_state::entity::{Eligibility, Liveness, TokenKind};
use runyard_state::{
    Command, CreateToken, JoinNode, NodeHello, Refusal, RevokeToken, SetEligibility, SetLiveness,
};
use runyard_types::{ByteSize, CpuMilli, Digest, DurationMs};

use super::env::{TestEnv, hello, node};
use super::pipelines::TWO;

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
    let unknown = SetLiveness { node: node("n9"), liveness: Liveness::Lost, orphans: None };
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
