//! The rules, one by one, and all of them under random orders.

use std::collections::BTreeMap;

use proptest::prelude::*;
use runyard_types::{Cause, Outcome, ProjectName, WorkerKey};

use super::step::FOLDER_GONE;
use super::*;

fn key(number: u32) -> WorkerKey {
    let text = format!("d-1/train[{number}].1:0");
    WorkerKey::parse(&ProjectName::default_project(), &text).expect("a key")
}

fn at(index: u64) -> Position {
    Position { generation: 1, index }
}

fn wanted(number: u32) -> DesiredWorker {
    DesiredWorker { key: key(number), go: true, started: false, after: None }
}

fn set(index: u64, workers: &[DesiredWorker]) -> DesiredSet {
    DesiredSet { at: at(index), workers: workers.to_vec(), tombstones: Vec::new() }
}

fn stop(number: u32, grace_ms: u64) -> Tombstone {
    Tombstone { key: key(number), reason: "cancelled by alice".into(), grace_ms }
}

fn cancelled() -> Outcome {
    Outcome::Ended { cause: Cause::Cancelled, reason: "cancelled by alice".into() }
}

/// A core and a ledger of what it asked for since last looked at.
struct Env {
    core: Core,
    asked: Vec<Effect>,
}

impl Env {
    fn new() -> Self {
        Self { core: Core::new(Position::default()), asked: Vec::new() }
    }

    fn tell(&mut self, input: Input) -> &mut Self {
        self.asked.extend(self.core.step(input));
        self
    }

    fn desired(&mut self, set: DesiredSet) -> &mut Self {
        self.tell(Input::Desired(set))
    }

    /// A worker that runs, wanted by a set at this index.
    fn running(number: u32, index: u64) -> Self {
        let mut env = Self::new();
        env.desired(set(index, &[wanted(number)]));
        env.tell(Input::Prepared { key: key(number), port: 0 });
        env.tell(Input::Started { key: key(number) });
        env.asked.clear();
        env
    }

    /// What was asked for, in short; the ledger is empty then.
    fn take(&mut self) -> Vec<String> {
        let short = |effect: &Effect| match effect {
            Effect::Persist(at) => format!("persist {}/{}", at.generation, at.index),
            Effect::Prepare(_) => "prepare".into(),
            Effect::CancelPrepare(_) => "cancel".into(),
            Effect::Start(_) => "start".into(),
            Effect::Follow(_) => "follow".into(),
            Effect::Stop { grace_ms, .. } => format!("stop {grace_ms}"),
            Effect::Publish { stopped, .. } => format!("publish stopped={stopped}"),
            Effect::CloseLog(_) => "close".into(),
            Effect::Remove(_) => "remove".into(),
            Effect::Report { status, .. } => format!("report {:?}", status.phase),
            Effect::Orphans(keys) => format!("orphans {}", keys.len()),
        };
        self.asked.drain(..).map(|effect| short(&effect)).collect()
    }

    fn outcome(&self, number: u32) -> Option<Outcome> {
        self.core.status(&key(number))?.outcome
    }
}

#[test]
fn a_worker_goes_from_wanted_to_removed() {
    let mut env = Env::new();
    let only = key(1);
    env.desired(set(5, &[wanted(1)]));
    assert_eq!(env.take(), ["persist 1/5", "prepare"]);
    env.tell(Input::Prepared { key: only.clone(), port: 0 });
    assert_eq!(env.take(), ["start"]);
    env.tell(Input::Started { key: only.clone() });
    assert_eq!(env.take(), ["report Running", "follow"]);
    env.tell(Input::Ended { key: only.clone() });
    assert_eq!(env.take(), ["report Publishing", "publish stopped=false"]);
    env.tell(Input::Published { key: only.clone(), outcome: Outcome::Succeeded });
    assert_eq!(env.take(), ["report Released"]);
    env.desired(set(6, &[]));
    assert_eq!(env.take(), ["persist 1/6"], "its log is not sealed yet");
    env.tell(Input::Sealed { key: only });
    assert_eq!(env.take(), ["remove"]);
}

#[test]
fn a_folder_stays_until_the_group_no_longer_names_it() {
    let mut env = Env::running(1, 5);
    env.tell(Input::Ended { key: key(1) });
    env.tell(Input::Published { key: key(1), outcome: Outcome::Succeeded });
    env.tell(Input::Sealed { key: key(1) });
    env.take();
    env.desired(set(7, &[wanted(1)]));
    assert_eq!(env.take(), ["persist 1/7"], "the group has not heard of its end");
    env.desired(set(8, &[]));
    assert_eq!(env.take(), ["persist 1/8", "remove"]);
}

#[test]
fn a_gang_waits_for_its_go() {
    let mut env = Env::new();
    let waits = DesiredWorker { go: false, ..wanted(1) };
    env.desired(set(1, std::slice::from_ref(&waits)));
    env.tell(Input::Prepared { key: key(1), port: 4711 });
    assert_eq!(env.take(), ["persist 1/1", "prepare", "report Prepared"]);
    assert_eq!(env.core.status(&key(1)).expect("here").port, 4711);
    env.desired(set(2, &[waits]));
    assert_eq!(env.take(), ["persist 1/2"]);
    env.desired(set(3, &[wanted(1)]));
    assert_eq!(env.take(), ["persist 1/3", "start"]);
    env.desired(set(3, &[wanted(1)]));
    assert_eq!(env.take(), Vec::<String>::new(), "the same set again starts nothing twice");
}

#[test]
fn f28_an_older_set_is_ignored_whatever_it_says() {
    let mut env = Env::running(1, 5);
    let late = DesiredSet { tombstones: vec![stop(1, 0)], ..set(4, &[wanted(2)]) };
    env.desired(late.clone());
    let mut old_term = late;
    old_term.at = Position { generation: 0, index: 99 };
    env.desired(old_term);
    assert_eq!(env.take(), Vec::<String>::new());
    assert_eq!(env.core.seen(), at(5));
    let mut restarted = Core::new(at(5));
    assert!(restarted.step(Input::Desired(set(4, &[wanted(3)]))).is_empty());
    assert_eq!(restarted.step(Input::Desired(set(5, &[wanted(3)]))).len(), 1);
}

#[test]
fn f28_absence_never_kills_and_makes_an_orphan() {
    let mut env = Env::running(1, 5);
    env.desired(set(6, &[]));
    assert_eq!(env.take(), ["persist 1/6", "orphans 1"]);
    env.desired(set(7, &[]));
    assert_eq!(env.take(), ["persist 1/7"], "said once");
    env.desired(set(8, &[wanted(1)]));
    assert_eq!(env.take(), ["persist 1/8", "orphans 0"]);
    assert_eq!(env.core.status(&key(1)).expect("here").phase, Phase::Running);
}

#[test]
fn a_tombstone_stops_the_worker_that_it_names_once() {
    let mut env = Env::running(1, 5);
    let stops = |index, grace| DesiredSet {
        tombstones: vec![stop(1, grace)],
        ..set(index, &[wanted(1), wanted(2)])
    };
    env.desired(stops(6, 1000));
    assert_eq!(env.take(), ["persist 1/6", "prepare", "stop 1000"]);
    env.desired(stops(7, 1000));
    assert_eq!(env.take(), ["persist 1/7"]);
    env.desired(stops(8, 10));
    assert_eq!(env.take(), ["persist 1/8", "stop 10"], "a shorter grace is news");
    env.tell(Input::Ended { key: key(1) });
    assert_eq!(env.take(), ["report Publishing", "publish stopped=true"]);
    let failed = Outcome::Ended { cause: Cause::Failure, reason: "signal 15".into() };
    env.tell(Input::Published { key: key(1), outcome: failed });
    assert_eq!(env.outcome(1), Some(cancelled()));
}

#[test]
fn what_ended_well_before_its_stop_came_has_succeeded() {
    let mut env = Env::running(1, 5);
    env.tell(Input::Ended { key: key(1) });
    env.desired(DesiredSet { tombstones: vec![stop(1, 0)], ..set(6, &[wanted(1)]) });
    env.tell(Input::Published { key: key(1), outcome: Outcome::Succeeded });
    assert_eq!(env.outcome(1), Some(Outcome::Succeeded));
}

#[test]
fn a_stop_before_the_start_is_kept_until_it_can_be_carried_out() {
    let stops = |index| DesiredSet { tombstones: vec![stop(1, 7)], ..set(index, &[wanted(1)]) };
    // While it is prepared.
    let mut env = Env::new();
    env.desired(set(1, &[wanted(1)]));
    env.desired(stops(2));
    assert_eq!(env.take(), ["persist 1/1", "prepare", "persist 1/2", "cancel"]);
    let failed = Outcome::Ended { cause: Cause::Error, reason: "cut off".into() };
    env.tell(Input::NotStarted { key: key(1), outcome: failed });
    assert_eq!(env.take(), ["report Released", "close"]);
    assert_eq!(env.outcome(1), Some(cancelled()));
    // Between the order to start and the start.
    let mut env = Env::new();
    env.desired(set(1, &[wanted(1)]));
    env.tell(Input::Prepared { key: key(1), port: 0 });
    env.desired(stops(2));
    env.take();
    env.tell(Input::Started { key: key(1) });
    assert_eq!(env.take(), ["report Running", "follow", "stop 7"]);
    // Prepared, and waiting for its gang.
    let mut env = Env::new();
    env.desired(set(1, &[DesiredWorker { go: false, ..wanted(1) }]));
    env.tell(Input::Prepared { key: key(1), port: 0 });
    env.take();
    env.desired(stops(2));
    assert_eq!(env.take(), ["persist 1/2", "report Released", "close"]);
    assert_eq!(env.outcome(1), Some(cancelled()));
    // Named together with its tombstone, and never seen here.
    let mut env = Env::new();
    env.desired(stops(1));
    assert_eq!(env.take(), ["persist 1/1", "report Released", "close"]);
}

#[test]
fn what_ran_here_and_is_gone_is_never_started_anew() {
    let mut env = Env::new();
    let ran = DesiredWorker { started: true, ..wanted(1) };
    env.desired(set(1, std::slice::from_ref(&ran)));
    assert_eq!(env.take(), ["persist 1/1", "report Released", "close"]);
    let gone = Outcome::Ended { cause: Cause::Error, reason: FOLDER_GONE.into() };
    assert_eq!(env.outcome(1), Some(gone));
    env.desired(set(2, &[ran]));
    assert_eq!(env.take(), ["persist 1/2"]);
    env.tell(Input::Sealed { key: key(1) });
    env.desired(set(3, &[]));
    assert_eq!(env.take(), ["persist 1/3", "remove"]);
}

#[test]
fn f24_what_is_found_at_the_start_goes_on_where_it_was() {
    let mut env = Env::new();
    let lost = Outcome::Ended { cause: Cause::Error, reason: "shim lost".into() };
    env.tell(Input::Found(vec![
        Found { key: key(1), step: FoundStep::Running },
        Found { key: key(2), step: FoundStep::Ended },
        Found { key: key(3), step: FoundStep::Finished(lost.clone()) },
    ]));
    assert_eq!(
        env.take(),
        [
            "follow",
            "report Running",
            "follow",
            "publish stopped=false",
            "report Publishing",
            "follow",
            "report Released"
        ]
    );
    assert_eq!(env.outcome(3), Some(lost));
    let ran = |number| DesiredWorker { started: true, ..wanted(number) };
    env.desired(set(9, &[ran(1), ran(2), ran(3)]));
    assert_eq!(env.take(), ["persist 1/9"], "nothing is started anew");
    env.tell(Input::Ended { key: key(1) });
    assert_eq!(env.take(), ["report Publishing", "publish stopped=false"]);
}

#[test]
fn f34_what_cannot_be_killed_has_its_result_before_it_is_released() {
    for ends_first in [false, true] {
        let mut env = Env::running(1, 5);
        env.tell(Input::Wedged { key: key(1) });
        assert_eq!(env.take(), ["report Publishing", "publish stopped=false"]);
        env.tell(Input::Wedged { key: key(1) });
        if ends_first {
            env.tell(Input::Ended { key: key(1) });
        }
        assert_eq!(env.take(), Vec::<String>::new(), "published once");
        let failed = Outcome::Ended { cause: Cause::Failure, reason: "exit status 1".into() };
        env.tell(Input::Published { key: key(1), outcome: failed.clone() });
        env.tell(Input::Sealed { key: key(1) });
        env.tell(Input::Wedged { key: key(1) });
        assert_eq!(env.outcome(1), Some(failed.clone()));
        if ends_first {
            assert_eq!(env.take(), ["report Released"]);
        } else {
            assert_eq!(env.take(), ["report Finished"]);
            env.desired(DesiredSet { tombstones: vec![stop(1, 0)], ..set(6, &[]) });
            assert_eq!(env.take(), ["persist 1/6", "orphans 1"], "it stays while it is there");
            env.tell(Input::Ended { key: key(1) });
            assert_eq!(env.take(), ["report Released", "remove", "orphans 0"]);
        }
    }
}

#[test]
fn a_worker_that_nobody_knows_is_let_go_after_its_time() {
    let mut env = Env::running(1, 5);
    env.desired(set(6, &[]));
    env.tell(Input::Expired { key: key(1) });
    assert!(!env.take().contains(&"remove".to_owned()), "it runs");
    env.tell(Input::Ended { key: key(1) });
    env.tell(Input::Published { key: key(1), outcome: Outcome::Succeeded });
    assert_eq!(
        env.take(),
        ["report Publishing", "publish stopped=false", "report Released", "orphans 0"]
    );
    env.tell(Input::Expired { key: key(1) });
    assert_eq!(env.take(), ["remove"]);
}

fn behind(number: u32, before: u32) -> DesiredWorker {
    DesiredWorker { after: Some(key(before)), ..wanted(number) }
}

#[test]
fn one_that_waits_for_room_is_prepared_and_starts_when_the_one_before_is_gone() {
    let mut env = Env::new();
    // By name it comes before the one that it waits for.
    env.desired(set(1, &[behind(1, 2), wanted(2)]));
    assert_eq!(env.take(), ["persist 1/1", "prepare", "prepare"]);
    env.tell(Input::Prepared { key: key(1), port: 0 });
    assert_eq!(env.take(), Vec::<String>::new(), "nobody waits to hear that it is prepared");
    env.tell(Input::Prepared { key: key(2), port: 0 });
    env.tell(Input::Started { key: key(2) });
    env.tell(Input::Ended { key: key(2) });
    assert_eq!(
        env.take(),
        ["start", "report Running", "follow", "report Publishing", "publish stopped=false"]
    );
    env.tell(Input::Published { key: key(2), outcome: Outcome::Succeeded });
    assert_eq!(env.take(), ["report Released", "start"], "no word of the group is waited for");
    env.desired(set(2, &[behind(1, 2), wanted(2)]));
    env.tell(Input::Started { key: key(1) });
    assert_eq!(env.take(), ["persist 1/2", "report Running", "follow"], "started once");
}

#[test]
fn what_cant_be_killed_keeps_its_room() {
    let mut env = Env::running(2, 1);
    env.desired(set(2, &[wanted(2), behind(1, 2)]));
    env.tell(Input::Prepared { key: key(1), port: 0 });
    env.tell(Input::Wedged { key: key(2) });
    env.tell(Input::Published { key: key(2), outcome: Outcome::Succeeded });
    assert!(!env.take().contains(&"start".to_owned()), "something of it is still there");
    let given_back =
        DesiredSet { tombstones: vec![stop(1, 0)], ..set(3, &[wanted(2), behind(1, 2)]) };
    env.desired(given_back);
    assert_eq!(env.take(), ["persist 1/3", "report Released", "close"]);
    env.tell(Input::Ended { key: key(2) });
    assert_eq!(env.take(), ["report Released"], "it was called off before its turn");
}

#[test]
fn one_that_is_called_off_before_its_turn_gives_no_room_away() {
    let mut env = Env::running(1, 1);
    let all = [wanted(1), behind(2, 1), behind(3, 2)];
    env.desired(set(2, &all));
    env.tell(Input::Prepared { key: key(2), port: 0 });
    env.tell(Input::Prepared { key: key(3), port: 0 });
    env.take();
    env.desired(DesiredSet { tombstones: vec![stop(2, 0)], ..set(3, &all) });
    assert_eq!(env.take(), ["persist 1/3", "report Released", "close"], "the first runs yet");
    // The group has closed the gap.
    env.desired(set(4, &[wanted(1), behind(3, 1)]));
    assert_eq!(env.take(), ["persist 1/4"]);
    env.tell(Input::Ended { key: key(1) });
    env.tell(Input::Published { key: key(1), outcome: Outcome::Succeeded });
    assert_eq!(
        env.take(),
        ["report Publishing", "publish stopped=false", "report Released", "start"]
    );
}

#[test]
fn the_one_before_may_be_gone_without_a_trace() {
    let mut env = Env::new();
    env.desired(set(1, &[behind(1, 9)]));
    env.tell(Input::Prepared { key: key(1), port: 0 });
    assert_eq!(env.take(), ["persist 1/1", "prepare", "start"]);
    // A circle is a coordinator's fault: nobody starts, and nothing hangs.
    let mut env = Env::new();
    env.desired(set(1, &[behind(1, 2), behind(2, 1)]));
    env.tell(Input::Prepared { key: key(1), port: 0 });
    env.tell(Input::Prepared { key: key(2), port: 0 });
    assert_eq!(env.take(), ["persist 1/1", "prepare", "prepare"]);
}

/// What the world does with a worker, so that random orders stay possible ones.
fn answer(effect: &Effect, fails: bool) -> Option<Input> {
    let failed = || Outcome::Ended { cause: Cause::Failure, reason: "exit status 1".into() };
    match effect.clone() {
        Effect::Prepare(key) if fails => Some(Input::NotStarted { key, outcome: failed() }),
        Effect::Prepare(key) => Some(Input::Prepared { key, port: 1 }),
        Effect::Start(key) => Some(Input::Started { key }),
        Effect::Stop { key, .. } => Some(Input::Ended { key }),
        Effect::Publish { key, .. } if fails => Some(Input::Published { key, outcome: failed() }),
        Effect::Publish { key, .. } => Some(Input::Published { key, outcome: Outcome::Succeeded }),
        Effect::CloseLog(key) => Some(Input::Sealed { key }),
        _ => None,
    }
}

#[derive(Debug, Clone)]
enum Move {
    /// Deliver the set of this number, however old, however often.
    Deliver(usize),
    /// Carry out the pending effect of this number; false: badly.
    CarryOut(usize, bool),
    /// A worker ends by itself.
    End(u32),
    /// Something of one can't be killed.
    Wedge(u32),
    Seal(u32),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0usize..12).prop_map(Move::Deliver),
        6 => (0usize..8, any::<bool>()).prop_map(|(n, ok)| Move::CarryOut(n, ok)),
        1 => (0u32..4).prop_map(Move::End),
        1 => (0u32..4).prop_map(Move::Wedge),
        1 => (0u32..4).prop_map(Move::Seal),
    ];
    proptest::collection::vec(one, 0..80)
}

/// Sets as a group might send: workers come, are told to stop, and are left out.
fn sets() -> impl Strategy<Value = Vec<DesiredSet>> {
    let after = proptest::option::of((0u32..5).prop_map(key));
    let worker = (0u32..4, any::<bool>(), after).prop_map(|(n, go, after)| DesiredWorker {
        go,
        after,
        ..wanted(n)
    });
    let one = (
        proptest::collection::vec(worker, 0..4),
        proptest::collection::vec((0u32..4).prop_map(|n| stop(n, 5)), 0..2),
    );
    proptest::collection::vec(one, 1..12).prop_map(|all| {
        let with_index = |(n, (workers, tombstones)): (usize, (Vec<_>, Vec<_>))| {
            let mut set = set(n as u64 + 1, &workers);
            set.tombstones = tombstones;
            set
        };
        all.into_iter().enumerate().map(with_index).collect()
    })
}

proptest! {
    #[test]
    fn f28_any_order_keeps_the_rules(sets in sets(), moves in moves()) {
        let mut core = Core::new(Position::default());
        let mut pending: Vec<Effect> = Vec::new();
        let mut seen = Position::default();
        let mut named_to_stop: Vec<WorkerKey> = Vec::new();
        let mut starts: BTreeMap<WorkerKey, u32> = BTreeMap::new();
        let mut told: BTreeMap<WorkerKey, Status> = BTreeMap::new();
        let mut after: BTreeMap<WorkerKey, Option<WorkerKey>> = BTreeMap::new();
        for one in moves {
            let input = match one {
                Move::Deliver(n) => {
                    let set = sets[n % sets.len()].clone();
                    if set.at >= seen {
                        seen = set.at;
                        named_to_stop.extend(set.tombstones.iter().map(|stop| stop.key.clone()));
                        after.extend(set.workers.iter().map(|w| (w.key.clone(), w.after.clone())));
                    }
                    Input::Desired(set)
                }
                Move::CarryOut(n, ok) if n < pending.len() => {
                    let effect = pending.remove(n);
                    match answer(&effect, !ok) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                Move::CarryOut(..) => continue,
                Move::End(n) => Input::Ended { key: key(n) },
                Move::Wedge(n) => Input::Wedged { key: key(n) },
                Move::Seal(n) => Input::Sealed { key: key(n) },
            };
            for effect in core.step(input) {
                match &effect {
                    Effect::Stop { key, .. } | Effect::CancelPrepare(key) => {
                        prop_assert!(named_to_stop.contains(key), "stopped unnamed: {key}");
                    }
                    Effect::Start(key) => {
                        *starts.entry(key.clone()).or_default() += 1;
                        prop_assert!(starts[key] == 1, "{key} was started twice");
                        let before = after.get(key).and_then(Option::as_ref);
                        let before = before.and_then(|before| core.status(before));
                        prop_assert!(
                            before.is_none_or(|before| before.phase == Phase::Released),
                            "{key} was started in the room of another"
                        );
                    }
                    Effect::Report { key, status } => {
                        if let Some(before) = told.get(key) {
                            prop_assert!(before.phase <= status.phase, "{key} went back");
                            prop_assert!(before.outcome.is_none() || before.outcome == status.outcome);
                        }
                        told.insert(key.clone(), status.clone());
                    }
                    Effect::Remove(key) => {
                        let last = told.remove(key);
                        prop_assert!(last.is_some_and(|last| last.phase == Phase::Released));
                        prop_assert!(core.status(key).is_none());
                        // Its story is over: a set that names it anew begins another.
                        starts.remove(key);
                    }
                    _ => {}
                }
                pending.push(effect);
            }
            prop_assert_eq!(core.seen(), seen);
        }
    }
}
