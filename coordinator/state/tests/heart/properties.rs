//! Random sequences of commands, most of them sensible, some forged: what must hold holds after each.

use proptest::prelude::*;
use runyard_pipeline::{Inconclusive, StageKind};
use runyard_state::entity::{Eligibility, GateVerdict, Liveness, TaskState, VersionStatus};
use runyard_state::{
    ApproveGate, CancelRun, Command, DecideGate, FinishAttempt, LoseAttempt, Placement, RemoveNode,
    ReportWorkers, Resolution, ResolveTasks, RetryRun, RevisionFate, RevisionStep, Rollback, Seal,
    SealChannel, SetEligibility, SetLiveness, StopAttempt, WorkerPlacement, WorkerStep,
};
use runyard_types::{AttemptKey, Cause, Digest, Outcome, TaskKey, WorkerKey};

use super::deployments::{advance, report, spec};
use super::env::{TestEnv, begin, error, failure, hello, leaving, node, project, queue};
use super::pipelines::{DIGITS, GANG, GRID, STUBBORN, TWO};

/// One step, as numbers that pick among what there is.
type Draw = (u8, u16, u16);

fn pick<T: Clone>(all: &[T], number: u16) -> Option<T> {
    (!all.is_empty()).then(|| all[number as usize % all.len()].clone())
}

fn steps() -> usize {
    std::env::var("RUNYARD_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1) * 300
}

fn play(draws: &[Draw]) -> TestEnv {
    let mut env = TestEnv::with_nodes(3, 2);
    for number in 4..=5 {
        env.join(&format!("n{number}"), 0);
    }
    for (at, draw) in draws.iter().enumerate() {
        if let Some(command) = command(&mut env, *draw) {
            env.apply_after(u64::from(draw.2 % 7) * 300, command);
        }
        if at % 97 == 96 {
            env.restart();
        }
    }
    env
}

/// A command that fits the state as a rule, picked by the draw.
fn command(env: &mut TestEnv, (kind, a, b): Draw) -> Option<Command> {
    let tasks: Vec<TaskKey> = env.state.tasks.keys().cloned().collect();
    let attempts: Vec<AttemptKey> = env.state.unsettled.iter().cloned().collect();
    let queued: Vec<TaskKey> = env.state.queued.iter().cloned().collect();
    let runs: Vec<_> = env.state.runs.keys().map(|(_, name)| name.clone()).collect();
    Some(match kind % 32 {
        0 => {
            let text = pick(&[TWO, STUBBORN, GANG, GRID, DIGITS, DIGITS], a)?;
            Command::SubmitRun(Box::new(env.submission(text)))
        }
        1..=5 => resolve(env, a, b)?,
        6..=9 => place(env, &pick(&queued, a)?, b),
        10..=15 => steps_of(env, &pick(&attempts, a)?, b)?,
        16..=18 => finish(env, pick(&attempts, a)?, b),
        19 => seal(env, &pick(&attempts, a)?, b)?,
        20 => Command::CancelRun(CancelRun {
            project: project(),
            run: pick(&runs, a)?,
            reason: String::new(),
            principal: "ann".into(),
        }),
        21 => Command::RetryRun(RetryRun {
            project: project(),
            run: pick(&runs, a)?,
            stage: None,
            principal: "ann".into(),
        }),
        22 if b.is_multiple_of(4) => Command::SetEligibility(SetEligibility {
            node: node(&format!("n{}", a % 5 + 1)),
            eligibility: pick(
                &[Eligibility::Open, Eligibility::Draining, Eligibility::Open],
                b / 4,
            )?,
            reason: String::new(),
            principal: "ops".into(),
        }),
        22 if b.is_multiple_of(13) => Command::RemoveNode(RemoveNode {
            node: node(&format!("n{}", a % 5 + 1)),
            force: b.is_multiple_of(2),
            principal: "ops".into(),
        }),
        22 => Command::SetLiveness(SetLiveness {
            node: node(&format!("n{}", a % 5 + 1)),
            liveness: pick(&[Liveness::Unreachable, Liveness::Lost, Liveness::Ready], b)?,
        }),
        23 | 24 => {
            let name = format!("n{}", a % 5 + 1);
            let devices = if a % 5 < 3 { 2 } else { 0 };
            Command::NodeHello(Box::new(hello(&name, u64::from(b % 4 + 1), devices)))
        }
        25 => Command::LoseAttempt(LoseAttempt {
            attempt: pick(&attempts, a)?,
            reason: "lost".into(),
        }),
        26 => Command::StopAttempt(StopAttempt {
            attempt: pick(&attempts, a)?,
            cause: pick(&[Cause::Error, Cause::Failure, Cause::Cancelled], b)?,
            reason: "stop".into(),
            give_back: b.is_multiple_of(5),
        }),
        27 => gate(env, a, b)?,
        28..=30 => deployment(env, kind, a, b)?,
        // Forged: attempts and workers that never were, or of a task's past and future.
        _ => forged(&pick(&tasks, a)?, b),
    })
}

fn resolve(env: &TestEnv, a: u16, b: u16) -> Option<Command> {
    let waiting: Vec<TaskKey> = env
        .state
        .resolvable
        .iter()
        .flat_map(|(project, run, stage)| env.state.stage_tasks(project, run, stage))
        .filter(|task| task.state == TaskState::Waiting)
        .map(|task| task.key.clone())
        .collect();
    let key = pick(&waiting, a)?;
    let leaders =
        matches!(env.state.kind_of(&key), Some(StageKind::Gate(_) | StageKind::Deploy(_)));
    let resolution = match b % 16 {
        0 => Resolution::Skip { reason: "no need".into() },
        1 => Resolution::Fail { cause: Cause::Error, reason: "no input".into() },
        2 => begin(),
        3 => Resolution::Restore {
            content_key: Digest::of(b"key"),
            inputs: Vec::new(),
            result: leaving(&key.to_string()),
            reason: "unchanged".into(),
        },
        _ if leaders => begin(),
        _ => queue(),
    };
    Some(Command::ResolveTasks(ResolveTasks { items: vec![(key, resolution)] }))
}

/// Free devices as a rule, sometimes the wrong ones.
fn place(env: &TestEnv, key: &TaskKey, b: u16) -> Command {
    let task = &env.state.tasks[key];
    let count = task.resources.gpu.count as usize;
    let after = behind(env, key, b);
    let of = |before: &AttemptKey| Some(env.state.attempt(before)?.1.workers[0].node.clone());
    let there = after.as_ref().filter(|_| !b.is_multiple_of(17)).and_then(of);
    let workers = (0..task.nodes as u16)
        .map(|rank| {
            let picked = node(&format!("n{}", (b + rank) % 5 + 1));
            let name = there.clone().unwrap_or(picked);
            // One that was removed has none.
            let known = env.state.nodes.get(&name);
            let free = known.into_iter().flat_map(|known| {
                let uuids = known.devices.iter().map(|device| device.uuid.clone());
                uuids.filter(|uuid| b.is_multiple_of(11) || !known.used.devices.contains_key(uuid))
            });
            WorkerPlacement { devices: free.take(count).collect(), node: name }
        })
        .collect();
    Command::Place(vec![Placement { task: key.clone(), workers, after }])
}

/// For whose room it may wait, as a rule.
fn behind(env: &TestEnv, key: &TaskKey, b: u16) -> Option<AttemptKey> {
    let alike = |other: &&AttemptKey| {
        b.is_multiple_of(23)
            || other.task.parent == key.parent
                && env.state.attempt(other).is_some_and(|(_, attempt)| attempt.outcome.is_none())
    };
    let all: Vec<AttemptKey> = env.state.unsettled.iter().filter(alike).cloned().collect();
    pick(&all, b / 4).filter(|_| !b.is_multiple_of(4))
}

fn steps_of(env: &TestEnv, key: &AttemptKey, b: u16) -> Option<Command> {
    let (_, attempt) = env.state.attempt(key)?;
    let all = [
        WorkerStep::Prepared { port: b },
        WorkerStep::Prepared { port: 0 },
        WorkerStep::Running { port: b },
        WorkerStep::Finished,
        WorkerStep::Released,
        WorkerStep::Wedged { reason: "stuck".into() },
        WorkerStep::Released,
    ];
    let (rank, worker) = pick(&attempt.workers.iter().enumerate().collect::<Vec<_>>(), b / 7)?;
    let from = if b.is_multiple_of(13) { node("n1") } else { worker.node.clone() };
    let items = vec![(WorkerKey { attempt: key.clone(), rank: rank as u32 }, pick(&all, b)?)];
    Some(Command::ReportWorkers(ReportWorkers { node: from, items }))
}

fn finish(env: &TestEnv, attempt: AttemptKey, b: u16) -> Command {
    let outcome = match b % 6 {
        0 => failure(),
        1 => error(),
        _ => Outcome::Succeeded,
    };
    let workers = env.state.attempt(&attempt).map_or(1, |(_, attempt)| attempt.workers.len());
    let result = leaving(&attempt.task.to_string());
    let log_ends = vec![u64::from(b % 3) * 10; workers];
    Command::FinishAttempt(Box::new(FinishAttempt {
        attempt,
        outcome,
        exit: None,
        result,
        log_ends,
    }))
}

fn seal(env: &TestEnv, key: &AttemptKey, b: u16) -> Option<Command> {
    let worker = WorkerKey { attempt: key.clone(), rank: u32::from(b % 2) };
    let (_, known) = env.state.worker(&worker)?;
    let from = known.log.to;
    Some(Command::Seal(Seal {
        node: known.node.clone(),
        worker,
        channel: SealChannel::Log,
        from,
        to: from + u64::from(b % 3) * 10,
        manifest: Some(Digest::of(b"manifest")),
        complete: b.is_multiple_of(2),
    }))
}

fn gate(env: &TestEnv, a: u16, b: u16) -> Option<Command> {
    let gates: Vec<TaskKey> = env
        .state
        .active
        .iter()
        .filter(|key| matches!(env.state.kind_of(key), Some(StageKind::Gate(_))))
        .cloned()
        .collect();
    let key = pick(&gates, a)?;
    let run = key.run()?.to_string();
    let promote = Some(super::gates::promotion(&run));
    if env.state.tasks[&key].gate.is_some() && !b.is_multiple_of(7) {
        let (principal, reason) = ("eve".into(), "seen".into());
        return Some(Command::ApproveGate(ApproveGate {
            task: key,
            approve: b.is_multiple_of(2),
            principal,
            reason,
            promote,
        }));
    }
    let verdict = match b % 5 {
        0 => GateVerdict::Fail,
        1 => GateVerdict::Inconclusive,
        _ => GateVerdict::Pass,
    };
    let decision = DecideGate {
        promote,
        inconclusive: Inconclusive::Ask,
        champion: match b % 11 {
            0 => Some(Digest::of(b"one that was replaced")),
            _ => env.state.champion_of(&key),
        },
        ..super::gates::decide(env, &run, verdict)
    };
    Some(Command::DecideGate(Box::new(decision)))
}

fn deployment(env: &TestEnv, kind: u8, a: u16, b: u16) -> Option<Command> {
    let model = env.state.models.first()?.1;
    let waiting = env.state.active.iter().find(|key| {
        matches!(env.state.kind_of(key), Some(StageKind::Deploy(_)))
            && env.state.tasks[*key].revision.is_none()
    });
    if kind.is_multiple_of(2) && (waiting.is_some() || b.is_multiple_of(8)) {
        let version = u64::from(a) % model.versions.len() as u64 + 1;
        let mut spec = spec(version);
        spec.model_root = model.version(version)?.root;
        return Some(Command::Deploy(Box::new(runyard_state::Deploy {
            project: project(),
            deployment: "digits".parse().ok()?,
            spec,
            task: waiting.cloned(),
        })));
    }
    let known = env.state.deployments.first()?.1;
    let number = u32::from(a) % known.revisions.len() as u32 + 1;
    Some(match b % 9 {
        0 => advance(number, RevisionStep::Canary),
        1 | 2 => advance(known.rolling().map_or(number, |r| r.number), RevisionStep::Serving),
        3 => advance(known.rolling().map_or(number, |r| r.number), RevisionStep::Canary),
        4 => advance(number, RevisionStep::Retire),
        5 => report(number, RevisionFate::Failed { reason: "not ready".into() }),
        6 => report(number, RevisionFate::RolledBack { reason: "errors".into(), affected: 1 }),
        7 => Command::Rollback(Rollback {
            project: project(),
            deployment: known.name.clone(),
            to: (a.is_multiple_of(2)).then_some(number),
            principal: "ann".into(),
            reason: "slow".into(),
        }),
        _ if a.is_multiple_of(16) => Command::RemoveDeployment(runyard_state::RemoveDeployment {
            project: project(),
            deployment: known.name.clone(),
            principal: "ann".into(),
        }),
        _ => report(number, RevisionFate::Counted),
    })
}

fn forged(task: &TaskKey, b: u16) -> Command {
    let attempt = AttemptKey { task: task.clone(), number: u32::from(b % 5) };
    match b % 3 {
        0 => Command::FinishAttempt(Box::new(FinishAttempt {
            attempt,
            outcome: Outcome::Succeeded,
            exit: None,
            result: leaving("forged"),
            log_ends: Vec::new(),
        })),
        1 => Command::LoseAttempt(LoseAttempt { attempt, reason: "forged".into() }),
        _ => Command::ReportWorkers(ReportWorkers {
            node: node("n2"),
            items: vec![(WorkerKey { attempt, rank: u32::from(b) }, WorkerStep::Released)],
        }),
    }
}

/// Brings everything to its end, as a leader and its agents would.
fn drain(env: &mut TestEnv) {
    for number in 1..=5 {
        let name = format!("n{number}");
        // One that was removed does not come back.
        if env.state.nodes.contains_key(&node(&name)) {
            env.hello(&name, 100, if number <= 3 { 2 } else { 0 });
        }
    }
    for run in env.state.runs.keys().map(|(_, name)| name.to_string()).collect::<Vec<_>>() {
        if !env.run(&run).state.is_final() {
            env.cancel(&run);
        }
    }
    if env.state.deployments.size() > 0 {
        env.ok(Command::RemoveDeployment(runyard_state::RemoveDeployment {
            project: project(),
            deployment: "digits".parse().expect("a name"),
            principal: "ann".into(),
        }));
    }
    for attempt in env.state.unsettled.iter().map(ToString::to_string).collect::<Vec<_>>() {
        env.release(&attempt);
        env.close_logs(&attempt);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_holds_after_every_command(draws in prop::collection::vec(any::<Draw>(), steps())) {
        let mut env = play(&draws);
        for model in env.state.models.values() {
            for version in &model.versions {
                prop_assert!(version.gate.is_some() || version.status != VersionStatus::Served);
            }
        }
        drain(&mut env);
        env.assert_settled();
        prop_assert!(env.state.runs.values().all(|run| run.state.is_final()));
    }
}

/// The generator reaches what it is meant to reach; else the property above says little.
#[test]
fn random_sequences_reach_every_corner() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRunner};
    let mut seen = std::collections::BTreeMap::<&'static str, u32>::new();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    for _ in 0..24 {
        let draws = prop::collection::vec(any::<Draw>(), 300).new_tree(&mut runner).expect("draws");
        let state = play(&draws.current()).state;
        for event in state.events.values() {
            *seen.entry(event.kind.name()).or_default() += 1;
        }
        // Their turn came, they were given back, or they wait: all have begun behind another.
        for attempt in state.tasks.values().flat_map(|task| &task.attempts) {
            let given_back =
                attempt.stop.as_ref().is_some_and(|stop| stop.reason.starts_with("given back"));
            *seen.entry("given back").or_default() += u32::from(given_back);
            *seen.entry("waits behind").or_default() += u32::from(attempt.is_behind());
        }
    }
    for kind in [
        "run.finished",
        "run.cancelled",
        "run.retried",
        "task.restored",
        "task.skipped",
        "attempt.started",
        "attempt.finished",
        "attempt.stopping",
        "worker.wedged",
        "gate.decided",
        "gate.approved",
        "version.registered",
        "alias.moved",
        "revision.created",
        "revision.moved",
        "deployment.rolled_back",
        "node.liveness",
        "given back",
        "waits behind",
    ] {
        assert!(seen.get(kind).is_some_and(|count| *count > 0), "no {kind} in {seen:#?}");
    }
}
