//! Events: numbered without gaps, in order, above a floor.

use runyard_state::entity::TokenKind;
use runyard_state::{Command, CreateToken, Stamp, State};
use runyard_types::{Digest, DurationMs, Outcome, TimestampMs, decode, encode};

use super::env::TestEnv;
use super::pipelines::TWO;

fn token(id: usize) -> Command {
    Command::CreateToken(CreateToken {
        id: format!("t{id}"),
        kind: TokenKind::User,
        name: String::new(),
        hash: Digest::of(b""),
        ttl: None,
        principal: "ops".into(),
    })
}

fn at(ms: u64) -> Stamp {
    Stamp { wall: TimestampMs(ms), delta: DurationMs(1) }
}

#[test]
fn the_events_of_one_entry_are_numbered_on() {
    let mut state = State::default();
    for id in 0..3 {
        state.apply(1, at(1), token(id));
    }
    state.apply(2, at(2), token(0));
    state.apply(3, at(3), token(3));
    let numbers: Vec<_> = state.events.keys().copied().collect();
    assert_eq!(numbers, [(1, 0), (1, 1), (1, 2), (3, 0)], "a refusal makes none");
}

#[test]
fn the_oldest_go_and_the_floor_says_so() {
    for keep in 0..4 {
        let mut state = State::default();
        state.limits.events = keep;
        for id in 0..6 {
            let applied = state.apply(1 + id as u64 / 3, at(1), token(id));
            let expected = (1 + id as u64 / 3, id as u32 % 3);
            assert_eq!(applied.events[0].number, expected, "keeping {keep}");
            // Also across a restart.
            state = decode("a state", &encode(&state)).expect("a state");
        }
        assert_eq!(state.events.size(), keep as usize);
        let all = [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)];
        assert_eq!(state.events_floor, all[6 - keep as usize], "keeping {keep}");
        let kept: Vec<_> = state.events.keys().copied().collect();
        assert_eq!(kept, all[7 - keep as usize..]);
    }
}

#[test]
fn a_run_tells_its_story_in_order() {
    let mut env = TestEnv::with_nodes(1, 1);
    let before = env.state.events.size();
    env.submit(TWO);
    env.resolve();
    env.work("two-1/train", &["n1"], Outcome::Succeeded);
    env.resolve();
    env.work("two-1/report", &["n1"], Outcome::Succeeded);
    let story: Vec<String> = env
        .state
        .events
        .values()
        .skip(before)
        .map(|event| {
            format!("{} {}: {}", event.kind.name(), event.kind.subject(), event.kind.message())
        })
        .collect();
    insta::assert_snapshot!(story.join("\n"), @r"
    run.submitted two-1: submitted by ann
    task.queued two-1/train: queued
    attempt.placed two-1/train.1: placed on n1 with 1 device(s)
    run.started two-1: started
    attempt.started two-1/train.1: started
    attempt.finished two-1/train.1: succeeded
    task.finished two-1/train: succeeded
    task.queued two-1/report: queued
    attempt.placed two-1/report.1: placed on n1
    attempt.started two-1/report.1: started
    attempt.finished two-1/report.1: succeeded
    task.finished two-1/report: succeeded
    run.finished two-1: succeeded
    ");
}

#[test]
fn the_wall_clock_never_goes_back() {
    let mut state = State::default();
    for (wall, expected) in [(50, 50), (20, 50), (60, 60)] {
        state.apply(wall, at(wall), token(wall as usize));
        assert_eq!(state.clock.wall, TimestampMs(expected));
    }
    assert_eq!(state.clock.elapsed, DurationMs(3));
}
