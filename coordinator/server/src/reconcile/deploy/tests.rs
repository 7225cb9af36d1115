//! What gateways are told to go back to, and what is made of what they say.

use std::collections::BTreeMap;

use runyard_proto::agent::{RevisionReport, Route};
use runyard_state::entity::TokenKind;
use runyard_state::{CreateToken, JoinNode, NodeHello, Stamp};
use runyard_types::{ByteSize, CpuMilli, Digest, DurationMs, NodeName, Resources, TimestampMs};

use super::*;

const KEEP_WARM_MS: u64 = 60_000;
const LONG_AFTER: u64 = 10 * KEEP_WARM_MS;

fn revision(number: u32, state: RevisionState, requests: u64, errors: u64) -> Revision {
    let spec = RevisionSpec {
        model: "digits".parse().expect("a name"),
        model_version: u64::from(number),
        model_root: Digest::of(&number.to_be_bytes()),
        alias: None,
        code_root: None,
        python: None,
        command: "serve".into(),
        env: BTreeMap::new(),
        resources: Resources::default(),
        replicas: 1,
        ready_path: "/ready".into(),
        ready_within: DurationMs(120_000),
        warm_up: String::new(),
        canary_permille: 200,
        hold: DurationMs(5_000),
        drain: DurationMs(10_000),
        keep_warm: DurationMs(KEEP_WARM_MS),
    };
    Revision {
        number,
        spec,
        state,
        since: DurationMs::ZERO,
        created_at: TimestampMs(0),
        task: None,
        requests,
        errors,
        reason: String::new(),
    }
}

fn deployment(latch: u32, revisions: Vec<Revision>) -> Deployment {
    let serving = revisions.iter().find(|revision| revision.state == RevisionState::Serving);
    Deployment {
        project: runyard_types::ProjectName::default_project(),
        name: "digits".parse().expect("a name"),
        serving: serving.map(|revision| revision.number),
        revisions,
        latch,
    }
}

/// A state with a node that has a gateway, and the deployment.
fn state(deployment: &Deployment) -> State {
    let mut state = State::default();
    let (token, secret) = ("join".to_owned(), Digest::of(b"secret"));
    let create = CreateToken {
        id: token.clone(),
        kind: TokenKind::AgentJoin,
        name: String::new(),
        hash: secret,
        ttl: Some(DurationMs(60_000)),
        principal: "test".into(),
    };
    let join = JoinNode { name: gateway(), fingerprint: secret, token, secret_hash: secret };
    let hello = NodeHello {
        name: gateway(),
        boot_id: "boot".into(),
        session_counter: 1,
        version: "test".into(),
        cpu: CpuMilli(1_000),
        memory: ByteSize(1 << 30),
        devices: Vec::new(),
        labels: BTreeMap::new(),
        networks: Vec::new(),
        isolation: "process".into(),
        address: "127.0.0.1".into(),
        gateway: "127.0.0.1:8080".into(),
        platform: "linux".into(),
        mounts: Vec::new(),
        chains: false,
        workers: Vec::new(),
    };
    let commands = [
        Command::CreateToken(create),
        Command::JoinNode(join),
        Command::NodeHello(Box::new(hello)),
    ];
    for (index, command) in (1..).zip(commands) {
        let at = Stamp { wall: TimestampMs(1_767_225_600_000), delta: DurationMs(1) };
        state.apply(index, at, command).outcome.expect("it is applied");
    }
    let key = (deployment.project.clone(), deployment.name.clone());
    state.deployments.insert_mut(key, std::sync::Arc::new(deployment.clone()));
    state
}

fn gateway() -> NodeName {
    "gateway".parse().expect("a name")
}

/// The only gateway, with an open session.
fn session() -> Live {
    let live = Live::new();
    open(&live);
    live
}

fn open(live: &Live) {
    let (send, _) = tokio::sync::mpsc::channel(1);
    live.open_session(&gateway(), send);
}

fn said(number: u32) -> RevisionReport {
    RevisionReport { revision: number, ready: true, ..RevisionReport::default() }
}

fn say(live: &Live, deployment: &Deployment, report: RevisionReport) {
    let key = (deployment.project.clone(), deployment.name.clone(), report.revision);
    live.set_revision(&gateway(), key, report);
}

/// What is due for a revision long after the last change.
fn due(live: &Live, deployment: &Deployment, number: u32) -> Option<Command> {
    let revision = deployment.revision(number).expect("it is there");
    judge(live, LONG_AFTER, &state(deployment), deployment, revision).0
}

fn route(deployment: &Deployment) -> Route {
    let set = crate::session::desired::desired_set(&state(deployment), 9, 1, &gateway());
    set.routes.into_iter().next().expect("a route")
}

/// The second serves alone, the first is warm.
fn promoted() -> Deployment {
    let (first, second) = (RevisionState::Warm, RevisionState::Serving);
    deployment(0, vec![revision(1, first, 900, 9), revision(2, second, 100, 0)])
}

#[test]
fn the_route_of_a_promoted_revision_names_the_warm_one_as_the_way_back() {
    let route = route(&promoted());
    assert_eq!(route.serving, 1);
    let weights: Vec<(u32, u32)> =
        route.revisions.iter().map(|one| (one.number, one.weight_permille)).collect();
    assert_eq!(weights, [(1, 0), (2, 1_000)]);
    assert_eq!(
        (route.revisions[1].baseline_requests, route.revisions[1].baseline_errors),
        (900, 9)
    );
}

#[test]
fn what_was_rolled_back_is_no_measure_of_the_next() {
    let states = [RevisionState::Warm, RevisionState::RolledBack, RevisionState::Serving];
    let counts = [(500, 1), (400, 390), (0, 0)];
    let revisions = (1..).zip(states).zip(counts);
    let revisions =
        revisions.map(|((n, state), (all, bad))| revision(n, state, all, bad)).collect();
    let route = route(&deployment(2, revisions));
    assert_eq!((route.serving, route.latch), (1, 2));
    let last = route.revisions.last().expect("the third");
    assert_eq!((last.number, last.baseline_requests, last.baseline_errors), (3, 500, 1));
}

#[test]
fn a_gateways_rollback_is_taken_in_before_the_warm_one_could_go() {
    let (live, deployment) = (session(), promoted());
    let back = RevisionReport {
        rolled_back: true,
        reason: "31 of 40 requests failed".into(),
        affected: 31,
        ..said(2)
    };
    say(&live, &deployment, back);
    let Some(Command::ReportRevision(report)) = due(&live, &deployment, 2) else {
        panic!("the rollback is taken in")
    };
    let RevisionFate::RolledBack { reason, affected } = report.what else { panic!("a rollback") };
    assert_eq!((reason.as_str(), affected), ("31 of 40 requests failed", 31));
    assert!(due(&live, &deployment, 1).is_none(), "it serves all: it must not be stopped");
}

#[test]
fn the_warm_one_goes_when_its_time_is_over_and_every_gateway_says_the_next_is_well() {
    let (live, deployment) = (session(), promoted());
    assert!(due(&live, &deployment, 1).is_none(), "the gateway has said nothing yet");
    say(&live, &deployment, RevisionReport { ready: false, ..said(2) });
    assert!(due(&live, &deployment, 1).is_none(), "the next can't be reached, so this one serves");
    say(&live, &deployment, said(2));
    let Some(Command::AdvanceRevision(step)) = due(&live, &deployment, 1) else {
        panic!("it is retired")
    };
    assert_eq!((step.revision, step.to), (1, RevisionStep::Retire));
    let revision = deployment.revision(1).expect("it is there");
    let state = state(&deployment);
    let early = judge(&live, KEEP_WARM_MS - 1, &state, &deployment, revision);
    assert!(early.0.is_none() && early.1.is_some(), "looked at again");
    // A new session: what was said in the one before may be old.
    open(&live);
    assert!(due(&live, &deployment, 1).is_none());
}

#[test]
fn a_canary_that_its_gateway_has_given_up_is_not_promoted() {
    let (first, second) = (RevisionState::Serving, RevisionState::Canary);
    let deployment = deployment(0, vec![revision(1, first, 0, 0), revision(2, second, 0, 0)]);
    let live = session();
    let detail = "not ready within 5m: connection refused";
    say(
        &live,
        &deployment,
        RevisionReport { ready: false, failed: true, detail: detail.into(), ..said(2) },
    );
    let Some(Command::ReportRevision(report)) = due(&live, &deployment, 2) else {
        panic!("it is taken back")
    };
    assert!(matches!(report.what, RevisionFate::RolledBack { reason, .. } if reason == detail));
}
