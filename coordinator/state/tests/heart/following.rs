//! What a deployment follows: its alias, by whomever it is moved; and what it leaves alone.

use runyard_state::entity::{GateVerdict, RevisionState};
use runyard_state::{AdvanceRevision, Command, Reply, RevisionStep, SetAlias};
use runyard_types::Outcome;

use super::deployments::{advance, deploy, promoted, spec};
use super::env::{TestEnv, leaving, model_root, project};
use super::gates::decide;
use super::pipelines::DIGITS;

fn set_alias(version: u64) -> Command {
    Command::SetAlias(SetAlias {
        project: project(),
        model: "digits".parse().expect("a name"),
        alias: "champion".parse().expect("a name"),
        version: Some(version),
        principal: "ann".into(),
        override_reason: Some("a test".into()),
    })
}

/// Deploys the champion for the run's deploy stage, with the replicas up.
fn rollout(env: &mut TestEnv, run: &str) -> u32 {
    let version = env.champion().expect("promoted");
    let reply = env.ok(deploy(version, Some(&format!("{run}/serve"))));
    let Reply::Revision(number) = reply else { panic!("{reply:?}") };
    for index in 0..2 {
        let attempt = env.place(&format!("digits@{number}/replica[{index}]"), &["n1"]);
        env.run_worker(&format!("{attempt}:0"));
    }
    number
}

/// A run whose gate is to be decided, and whose training left what another task left.
fn before_gate_leaving(env: &mut TestEnv, key: &str) -> String {
    let run = env.submit(DIGITS).to_string();
    for stage in ["train", "eval"] {
        env.resolve();
        let attempt = env.place(&format!("{run}/{stage}"), &["n1"]);
        env.run_worker(&format!("{attempt}:0"));
        env.finish_with(&attempt.to_string(), Outcome::Succeeded, leaving(key));
        env.release(&attempt.to_string());
        env.close_logs(&attempt.to_string());
    }
    env.resolve();
    run
}

#[test]
fn the_same_model_is_neither_registered_nor_deployed_again() {
    let mut env = TestEnv::with_nodes(1, 1);
    let first = promoted(&mut env);
    let number = rollout(&mut env, &first);
    env.ok(advance(number, RevisionStep::Serving));
    let versions = env.state.models.first().expect("a model").1.versions.len();

    // A second run that leaves the very same bytes, as one from the cache does.
    let run = before_gate_leaving(&mut env, &format!("{first}/train"));
    let mut decision = decide(&env, &run, GateVerdict::Pass);
    if let Some(promotion) = &mut decision.promote {
        promotion.root = model_root(&format!("{first}/train"));
    }
    env.ok(Command::DecideGate(Box::new(decision)));
    env.resolve();
    let model = env.state.models.first().expect("a model").1.clone();
    assert_eq!(model.versions.len(), versions, "no second version of one digest");
    assert_eq!(model.aliases.values().next().expect("an alias").moves.len(), 1);
    let gate = env.task(&format!("{run}/gate")).reason.clone();
    assert!(gate.contains("it is digits@champion already (version 1)"), "{gate}");

    let reply = env.ok(deploy(1, Some(&format!("{run}/serve"))));
    assert_eq!(reply, Reply::Revision(number), "what serves is named");
    assert_eq!(env.deployment().revisions.len(), 1, "no second revision");
    let serve = env.task(&format!("{run}/serve"));
    assert_eq!(serve.state.as_str(), "succeeded");
    assert!(serve.reason.contains("serves just this already"), "{}", serve.reason);
}

#[test]
fn a_changed_command_is_deployed_though_the_model_is_the_same() {
    let mut env = TestEnv::with_nodes(1, 1);
    let first = promoted(&mut env);
    let number = rollout(&mut env, &first);
    env.ok(advance(number, RevisionStep::Serving));
    let mut changed = spec(1);
    changed.command = "python serve.py --fast".into();
    let Command::Deploy(mut command) = deploy(1, None) else { unreachable!("it is a deploy") };
    command.spec = changed;
    assert_eq!(env.ok(Command::Deploy(command)), Reply::Revision(2));
}

#[test]
fn a_cancelled_rollout_gives_its_alias_back_to_what_serves() {
    let mut env = TestEnv::with_nodes(1, 1);
    let first = promoted(&mut env);
    let serving = rollout(&mut env, &first);
    env.ok(advance(serving, RevisionStep::Serving));
    let second = promoted(&mut env);
    assert_eq!(env.champion(), Some(2));
    let rolling = rollout(&mut env, &second);
    env.ok(advance(rolling, RevisionStep::Canary));
    env.cancel(&second);
    assert_eq!(env.deployment().revision(rolling).expect("is there").state, RevisionState::Failed);
    assert_eq!(env.deployment().serving, Some(serving));
    assert_eq!(env.champion(), Some(1), "the next candidate is judged against what serves");
    let model = env.state.models.first().expect("a model").1;
    let last = model.aliases.values().next().and_then(|alias| alias.moves.last()).expect("moves");
    assert!(last.by.contains("cancelled rollout of digits@2") && !last.by_hand, "{}", last.by);
}

#[test]
fn moves_by_hand_are_told_from_those_of_gates() {
    let mut env = TestEnv::with_nodes(1, 1);
    promoted(&mut env);
    promoted(&mut env);
    let last = |env: &TestEnv| {
        let model = env.state.models.first().expect("a model").1;
        let alias = model.aliases.values().next().expect("an alias");
        alias.moves.last().expect("a move").by_hand
    };
    assert!(!last(&env));
    env.ok(set_alias(1));
    assert!(last(&env) && env.champion() == Some(1));
}

#[test]
fn a_warm_revision_may_be_retired_at_any_time() {
    let mut env = TestEnv::with_nodes(1, 1);
    for _ in 0..2 {
        let run = promoted(&mut env);
        let number = rollout(&mut env, &run);
        if number > 1 {
            env.ok(advance(number, RevisionStep::Canary));
        }
        env.ok(advance(number, RevisionStep::Serving));
    }
    let retire = Command::AdvanceRevision(AdvanceRevision {
        project: project(),
        deployment: "digits".parse().expect("a name"),
        revision: 1,
        to: RevisionStep::Retire,
    });
    env.ok(retire);
    assert_eq!(env.deployment().revision(1).expect("is there").state, RevisionState::Retired);
}
