//! Revisions: their way to all traffic, and back.

use std::collections::BTreeMap;

use runyard_state::entity::{GateVerdict, Model, RevisionSpec, RevisionState, VersionStatus};
use runyard_state::{
    AdvanceRevision, Command, Deploy, RemoveDeployment, Reply, ReportRevision, RevisionFate,
    RevisionStep, Rollback,
};
use runyard_types::{DurationMs, Outcome, Resources};

use super::env::{TestEnv, error, model_root, project, task};
use super::gates::{before_gate, decide};

/// A run whose gate has passed; its deploy stage waits for a revision.
pub(crate) fn promoted(env: &mut TestEnv) -> String {
    let run = before_gate(env);
    let decision = decide(env, &run, GateVerdict::Pass);
    env.ok(Command::DecideGate(Box::new(decision)));
    env.resolve();
    run
}

pub(crate) fn spec(version: u64) -> RevisionSpec {
    RevisionSpec {
        model: "digits".parse().expect("a name"),
        model_version: version,
        model_root: model_root(&format!("digits-{version}/train")),
        alias: Some("champion".parse().expect("a name")),
        code_root: None,
        python: None,
        command: "python serve.py".into(),
        env: BTreeMap::new(),
        resources: Resources::default(),
        replicas: 2,
        ready_path: "/ready".into(),
        ready_within: DurationMs(120_000),
        warm_up: String::new(),
        canary_permille: 200,
        hold: DurationMs(5_000),
        drain: DurationMs(10_000),
        keep_warm: DurationMs(60_000),
    }
}

pub(crate) fn deploy(version: u64, by: Option<&str>) -> Command {
    Command::Deploy(Box::new(Deploy {
        project: project(),
        deployment: "digits".parse().expect("a name"),
        spec: spec(version),
        task: by.map(task),
    }))
}

pub(crate) fn advance(revision: u32, to: RevisionStep) -> Command {
    let deployment = "digits".parse().expect("a name");
    Command::AdvanceRevision(AdvanceRevision { project: project(), deployment, revision, to })
}

pub(crate) fn report(revision: u32, what: RevisionFate) -> Command {
    Command::ReportRevision(ReportRevision {
        project: project(),
        deployment: "digits".parse().expect("a name"),
        revision,
        what,
        requests: 100,
        errors: 20,
    })
}

fn bad() -> RevisionFate {
    RevisionFate::RolledBack { reason: "errors".into(), affected: 7 }
}

fn back(to: Option<u32>) -> Command {
    Command::Rollback(Rollback {
        project: project(),
        deployment: "digits".parse().expect("a name"),
        to,
        principal: "ann".into(),
        reason: "it is slow".into(),
    })
}

fn remove() -> Command {
    let deployment = "digits".parse().expect("a name");
    Command::RemoveDeployment(RemoveDeployment {
        project: project(),
        deployment,
        principal: "ann".into(),
    })
}

/// Deploys the next run's version as its stage does, with the replicas up; the revision's number.
fn rollout(env: &mut TestEnv) -> u32 {
    let run = promoted(env);
    let version = env.champion().expect("promoted");
    let reply = env.ok(deploy(version, Some(&format!("{run}/serve"))));
    let Reply::Revision(number) = reply else { panic!("{reply:?}") };
    for index in 0..2 {
        let attempt = env.place(&format!("digits@{number}/replica[{index}]"), &["n1"]);
        env.run_worker(&format!("{attempt}:0"));
    }
    number
}

/// The same, up to all traffic.
fn serve(env: &mut TestEnv) -> u32 {
    let number = rollout(env);
    if env.deployment().serving.is_some() {
        env.ok(advance(number, RevisionStep::Canary));
    }
    env.ok(advance(number, RevisionStep::Serving));
    number
}

fn states(env: &TestEnv) -> Vec<&'static str> {
    env.deployment().revisions.iter().map(|revision| revision.state.as_str()).collect()
}

fn model(env: &TestEnv) -> &Model {
    env.state.models.first().expect("a model").1
}

fn status(env: &TestEnv, version: u64) -> VersionStatus {
    model(env).version(version).expect("a version").status
}

/// Lets every replica that was asked to stop do so.
fn stop_replicas(env: &mut TestEnv) {
    let stopping: Vec<String> = env
        .state
        .active
        .iter()
        .filter_map(|key| {
            let attempt = env.state.tasks[key].attempts.last()?;
            attempt.stop.as_ref()?;
            Some(format!("{key}.{}", attempt.number))
        })
        .collect();
    for key in stopping {
        env.release(&key);
        env.close_logs(&key);
    }
}

fn cluster() -> TestEnv {
    TestEnv::with_nodes(1, 1)
}

#[test]
fn a_revision_goes_from_starting_to_retired() {
    let mut env = cluster();
    assert_eq!(serve(&mut env), 1);
    assert_eq!((env.run_state("digits-1"), states(&env)), ("succeeded", vec!["serving"]));
    assert_eq!(status(&env, 1), VersionStatus::Served);
    let second = rollout(&mut env);
    assert_eq!(states(&env), ["serving", "starting"]);
    assert_eq!(env.state_of("digits-2/serve"), "running");
    env.ok(advance(second, RevisionStep::Canary));
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "canary"], Some(1)));
    env.ok(advance(second, RevisionStep::Serving));
    assert_eq!((states(&env), env.deployment().serving), (vec!["warm", "serving"], Some(2)));
    assert_eq!(env.run_state("digits-2"), "succeeded");
    env.ok(advance(1, RevisionStep::Retire));
    assert_eq!(states(&env), ["retired", "serving"]);
    stop_replicas(&mut env);
    assert_eq!(env.state_of("digits@1/replica[0]"), "cancelled");
    assert_eq!(env.state_of("digits@2/replica[0]"), "running");
    env.ok(remove());
    stop_replicas(&mut env);
    env.assert_settled();
}

#[test]
fn steps_out_of_order_are_refused() {
    let mut env = cluster();
    rollout(&mut env);
    let refused = env.refused(advance(1, RevisionStep::Canary));
    assert_eq!(refused, "digits@1 is starting", "there is nothing to hold it against");
    assert_eq!(env.refused(advance(1, RevisionStep::Retire)), "digits@1 is starting");
    env.ok(advance(1, RevisionStep::Serving));
    for step in [RevisionStep::Canary, RevisionStep::Serving, RevisionStep::Retire] {
        assert_eq!(env.refused(advance(1, step)), "digits@1 is serving");
    }
    assert_eq!(env.refused(advance(2, RevisionStep::Canary)), "there is no revision `digits@2`");
    let refused = env.refused(report(1, RevisionFate::Failed { reason: "late".into() }));
    assert_eq!(refused, "digits@1 is serving");
    rollout(&mut env);
    assert_eq!(env.refused(report(2, bad())), "digits@2 is starting");
    let refused = env.refused(deploy(2, None));
    assert_eq!(refused, "digits is rolling out revision 2; one at a time");
}

#[test]
fn only_a_registered_version_is_deployed_and_only_by_its_stage() {
    let mut env = cluster();
    let run = promoted(&mut env);
    let refused = env.refused(deploy(2, None));
    assert!(refused.starts_with("digits@2 is not "), "{refused}");
    for other in ["gate", "train"] {
        let refused = env.refused(deploy(1, Some(&format!("{run}/{other}"))));
        assert!(refused.contains("is no deploy stage that waits for its revision"), "{refused}");
    }
}

#[test]
fn a_revision_that_never_became_ready_leaves_the_old_one_serving() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    env.ok(report(2, RevisionFate::Failed { reason: "not ready in 120 s".into() }));
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "failed"], Some(1)));
    assert_eq!((env.state_of("digits-2/serve"), env.run_state("digits-2")), ("failed", "failed"));
    assert_eq!(env.deployment().latch, 0);
    stop_replicas(&mut env);
    assert_eq!(env.state_of("digits@2/replica[1]"), "cancelled");
}

#[test]
fn the_watch_takes_a_canary_back_and_the_alias_with_it() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    env.ok(advance(2, RevisionStep::Canary));
    assert_eq!(env.champion(), Some(2));
    env.ok(report(2, bad()));
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "rolled_back"], Some(1)));
    assert_eq!((env.champion(), status(&env, 2)), (Some(1), VersionStatus::RolledBack));
    assert_eq!((env.deployment().latch, env.run_state("digits-2")), (2, "failed"));
    assert_eq!(env.deployment().revision(2).expect("it").requests, 100);
    for step in [RevisionStep::Canary, RevisionStep::Serving] {
        let refused = env.refused(advance(2, step));
        assert!(refused.contains("was rolled back; revisions up to 2 are refused"), "{refused}");
    }
    assert_eq!(env.refused(report(2, bad())), "digits@2 is rolled_back");
    // The next candidate is judged against version 1, and may serve.
    assert_eq!(serve(&mut env), 3);
    assert_eq!((env.deployment().serving, env.champion()), (Some(3), Some(3)));
    assert_eq!(states(&env), ["warm", "rolled_back", "serving"]);
}

#[test]
fn the_watch_takes_back_what_serves_alone_while_the_one_before_is_warm() {
    let mut env = cluster();
    serve(&mut env);
    serve(&mut env);
    env.ok(report(2, bad()));
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "rolled_back"], Some(1)));
    assert_eq!(env.champion(), Some(1));
    assert_eq!(env.run_state("digits-2"), "succeeded", "its run had ended well");
}

#[test]
fn gateways_go_back_to_what_serves_beside_a_canary_and_else_to_what_is_warm() {
    let mut env = cluster();
    rollout(&mut env);
    assert_eq!(env.deployment().fallback(), None, "nothing has ever served");
    env.ok(advance(1, RevisionStep::Serving));
    assert_eq!(env.deployment().fallback(), Some(1), "there is nothing before it");
    assert_eq!(serve(&mut env), 2);
    assert_eq!((states(&env), env.deployment().fallback()), (vec!["warm", "serving"], Some(1)));
    // The next one is being made ready: still two that could serve. As a canary it is judged by the second.
    rollout(&mut env);
    assert_eq!(env.deployment().fallback(), Some(1));
    env.ok(advance(3, RevisionStep::Canary));
    assert_eq!(env.deployment().fallback(), Some(2));
    env.ok(report(3, bad()));
    // What took over again is not on trial a second time: gateways refuse all up to the latch.
    assert_eq!(states(&env), ["warm", "serving", "rolled_back"]);
    assert_eq!(env.deployment().fallback(), Some(2));
    assert_eq!(serve(&mut env), 4);
    assert_eq!(env.deployment().fallback(), Some(2));
    env.ok(advance(2, RevisionStep::Retire));
    env.ok(advance(1, RevisionStep::Retire));
    assert_eq!(env.deployment().fallback(), Some(4));
}

#[test]
fn a_rollback_leaves_an_alias_alone_that_names_another_version() {
    let mut env = cluster();
    serve(&mut env);
    serve(&mut env);
    promoted(&mut env);
    assert_eq!(env.champion(), Some(3));
    env.ok(report(2, bad()));
    assert_eq!((env.champion(), status(&env, 2)), (Some(3), VersionStatus::RolledBack));
}

#[test]
fn a_rollback_of_settings_alone_is_no_verdict_on_the_model() {
    let mut env = cluster();
    serve(&mut env);
    env.ok(deploy(1, None));
    env.ok(advance(2, RevisionStep::Canary));
    env.ok(report(2, bad()));
    assert_eq!((env.champion(), status(&env, 1)), (Some(1), VersionStatus::Served));
    assert_eq!(env.deployment().serving, Some(1));
}

#[test]
fn a_person_goes_back_to_what_is_warm() {
    let mut env = cluster();
    serve(&mut env);
    let refused = env.refused(back(None));
    assert!(refused.contains("no earlier revision of digits is warm"), "{refused}");
    serve(&mut env);
    serve(&mut env);
    assert_eq!(states(&env), ["warm", "warm", "serving"]);
    for to in [3, 4, 0] {
        let refused = env.refused(back(Some(to)));
        assert!(refused.contains("is not warm; revision 2 can be rolled back to"), "{refused}");
    }
    env.ok(back(Some(1)));
    assert_eq!(states(&env), ["serving", "warm", "rolled_back"]);
    assert_eq!((env.deployment().serving, env.champion()), (Some(1), Some(1)));
}

#[test]
fn a_person_goes_back_from_a_canary_and_what_serves_beside_it() {
    let mut env = cluster();
    serve(&mut env);
    serve(&mut env);
    rollout(&mut env);
    env.ok(advance(3, RevisionStep::Canary));
    env.ok(back(Some(1)));
    assert_eq!(states(&env), ["serving", "rolled_back", "rolled_back"]);
    assert_eq!((env.deployment().serving, env.champion()), (Some(1), Some(1)));
    assert_eq!(env.deployment().latch, 3);
    let refused = env.refused(back(None));
    assert!(refused.contains("no earlier revision"), "{refused}");
}

#[test]
fn a_person_takes_back_a_canary() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    assert_eq!(env.ok(back(None)), Reply::Revision(2));
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "rolled_back"], Some(1)));
}

#[test]
fn a_cancelled_run_takes_its_rollout_with_it() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    env.ok(advance(2, RevisionStep::Canary));
    env.cancel("digits-2");
    assert_eq!(env.run_state("digits-2"), "cancelled");
    assert_eq!((states(&env), env.deployment().serving), (vec!["serving", "failed"], Some(1)));
    stop_replicas(&mut env);
    assert_eq!(env.state_of("digits@2/replica[0]"), "cancelled");
}

#[test]
fn a_removed_deployment_ends_its_rollout_and_may_come_again() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    env.ok(remove());
    assert_eq!(env.run_state("digits-2"), "failed");
    assert_eq!((states(&env), env.deployment().serving), (vec!["retired", "retired"], None));
    stop_replicas(&mut env);
    env.ok(deploy(2, None));
    env.ok(advance(3, RevisionStep::Serving));
    assert_eq!(env.deployment().serving, Some(3));
    env.check_replay();
}

#[test]
fn a_replica_is_started_again_while_its_revision_should_serve() {
    let mut env = cluster();
    serve(&mut env);
    for number in 1..4 {
        let key = format!("digits@1/replica[0].{number}");
        env.finish(&key, error());
        env.release(&key);
        assert_eq!(env.state_of("digits@1/replica[0]"), "queued");
        env.pass(120_000);
        env.place("digits@1/replica[0]", &["n1"]);
    }
    serve(&mut env);
    env.ok(advance(1, RevisionStep::Retire));
    env.finish("digits@1/replica[0].4", error());
    assert_eq!(env.state_of("digits@1/replica[0]"), "cancelled");
    assert_eq!(env.deployment().revision(1).expect("it").state, RevisionState::Retired);
}

#[test]
fn a_deploy_stage_that_is_tried_again_waits_for_its_new_revision() {
    let mut env = cluster();
    serve(&mut env);
    rollout(&mut env);
    env.ok(report(2, RevisionFate::Failed { reason: "not ready".into() }));
    env.retry("digits-2", None);
    env.resolve();
    assert_eq!(env.state_of("digits-2/serve"), "running");
    env.ok(deploy(2, Some("digits-2/serve")));
    env.ok(advance(3, RevisionStep::Canary));
    env.ok(advance(3, RevisionStep::Serving));
    assert_eq!(env.run_state("digits-2"), "succeeded");
}

#[test]
fn a_replica_that_ends_well_is_started_again_too() {
    let mut env = cluster();
    serve(&mut env);
    env.finish("digits@1/replica[0].1", Outcome::Succeeded);
    env.release("digits@1/replica[0].1");
    assert_eq!(env.state_of("digits@1/replica[0]"), "queued", "it is to serve until it is stopped");
    env.pass(120_000);
    env.place("digits@1/replica[0]", &["n1"]);
}

#[test]
fn the_alias_of_a_failed_start_goes_back_to_what_serves() {
    let mut env = cluster();
    serve(&mut env);
    assert_eq!(env.champion(), Some(1));
    rollout(&mut env);
    assert_eq!(env.champion(), Some(2));
    env.ok(report(2, RevisionFate::Failed { reason: "not ready in 120 s".into() }));
    assert_eq!((env.deployment().serving, env.champion()), (Some(1), Some(1)));
}
