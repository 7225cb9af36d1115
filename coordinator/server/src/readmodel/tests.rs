//! The read model against a real state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runyard_state::entity::{GitInfo, TokenKind};
use runyard_state::{
    CancelRun, Command, CreateToken, IdempotencyKey, Reply, Stamp, State, SubmitRun,
};
use runyard_types::{Digest, DurationMs, ProjectName, RunName, TimestampMs, Uid};

use super::error::ReadModelError;
use super::query::{Events, RunQuery};
use super::row::RunRow;
use super::store::ReadModel;

const PIPELINE: &str = "version: 1\nname: NAME\nstages:\n  train:\n    run: echo train\n";

struct World {
    state: State,
    index: u64,
    source: (String, u64),
    project: ProjectName,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::default(),
            index: 0,
            source: ("group".to_owned(), 1),
            project: ProjectName::default_project(),
        }
    }

    fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        let at = Stamp { wall: TimestampMs(1_800_000_000_000 + self.index), delta: DurationMs(1) };
        self.state.apply(self.index, at, command).outcome.expect("the command is sound")
    }

    fn token(&mut self) {
        let id = format!("{:016x}", self.index);
        self.apply(Command::CreateToken(CreateToken {
            id,
            kind: TokenKind::User,
            name: "someone".to_owned(),
            hash: Digest::of(b"x"),
            ttl: None,
            principal: "admin".to_owned(),
        }));
    }

    fn submit(&mut self, pipeline: &str) -> RunName {
        let parsed = runyard_pipeline::parse("runyard.yaml", &PIPELINE.replace("NAME", pipeline))
            .expect("a pipeline");
        let at_ms = 1_800_000_000_000 + self.index + 1;
        let key = Uid(ulid::Ulid::from_parts(at_ms, u128::from(self.index)));
        let reply = self.apply(Command::SubmitRun(Box::new(SubmitRun {
            project: self.project.clone(),
            idempotency: IdempotencyKey {
                principal: "admin".to_owned(),
                key,
                request: Digest::of(b"y"),
            },
            pipeline: parsed.pipeline,
            params: BTreeMap::new(),
            code_root: None,
            files: BTreeMap::new(),
            git: GitInfo::default(),
            no_cache: false,
            priority: 0,
        })));
        match reply {
            Reply::Run { name, .. } => name,
            other => panic!("{other:?}"),
        }
    }

    fn cancel(&mut self, run: &RunName) {
        self.apply(Command::CancelRun(CancelRun {
            project: self.project.clone(),
            run: run.clone(),
            reason: "enough".to_owned(),
            principal: "admin".to_owned(),
        }));
    }

    /// Some history of two pipelines, a third of it cancelled.
    fn history(&mut self, runs: u64) {
        for n in 0..runs {
            let run = self.submit(if n % 2 == 0 { "digits" } else { "letters" });
            if self.index.is_multiple_of(3) {
                self.cancel(&run);
            }
            self.token();
        }
    }

    fn catch_up(&self, model: &ReadModel) -> Result<(), ReadModelError> {
        model.catch_up(&self.source, &self.state)
    }

    /// As the follower does: what is broken is rebuilt, then it goes on.
    fn recover(&self, model: &ReadModel) -> bool {
        match self.catch_up(model) {
            Ok(()) => false,
            Err(error) => {
                model.rebuild(&error);
                self.catch_up(model).expect("the rebuilt model works");
                true
            }
        }
    }
}

type Answers = (Events, Events, Vec<RunRow>, Vec<RunRow>);

fn answers(model: &ReadModel, world: &World) -> Answers {
    let all =
        |state: &str| RunQuery { state: state.to_owned(), limit: 1_000, ..RunQuery::default() };
    (
        model.events(&world.project, "", (0, 0), 10_000).expect("events"),
        model.events(&world.project, "digits-1", (0, 0), 10_000).expect("events of a run"),
        model.runs(&world.project, &all("")).expect("runs").0,
        model.runs(&world.project, &all("cancelled")).expect("cancelled runs").0,
    )
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("read-model");
    (dir, path)
}

#[test]
fn it_says_what_the_state_says_and_more_once_the_state_forgets() {
    let (_keep, dir) = dir();
    let mut world = World::new();
    let model = ReadModel::open(&dir);
    let not_ready = model.events(&world.project, "", (0, 0), 1);
    assert!(matches!(not_ready, Err(ReadModelError::NotReady)), "{not_ready:?}");
    world.state.limits.events = 20;
    let mut told = Vec::new();
    for _ in 0..30 {
        let before = world.index;
        world.history(1);
        world.catch_up(&model).expect("it follows");
        told.extend(
            world.state.events.range((before + 1, 0)..).map(|(_, event)| (**event).clone()),
        );
    }
    assert!(world.state.events_floor.0 > 10, "the state forgot");
    let (events, of_run, runs, cancelled) = answers(&model, &world);
    assert_eq!(events.items, told, "nothing is missing, nothing is double");
    assert!(
        of_run
            .items
            .iter()
            .all(|event| event.kind.run().is_some_and(|run| run.to_string() == "digits-1"))
    );
    assert_eq!(
        of_run.items.len(),
        told.iter().filter(|e| e.kind.run().is_some_and(|r| r.to_string() == "digits-1")).count()
    );
    assert_eq!(runs.len(), 30);
    assert!(
        runs.windows(2).all(|pair| pair[0].created_ms > pair[1].created_ms),
        "the newest first"
    );
    for row in &runs {
        let run = world
            .state
            .run(&world.project, &row.name.parse().expect("a name"))
            .expect("it is known");
        assert_eq!(*row, RunRow::of(run));
    }
    assert_eq!(cancelled.len(), runs.iter().filter(|run| run.state == "cancelled").count());
}

#[test]
fn pages_join_without_gap_or_double() {
    let (_keep, dir) = dir();
    let mut world = World::new();
    world.history(25);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    let whole = answers(&model, &world);
    for subject in ["", "digits-1"] {
        let mut joined = Vec::new();
        let mut from = (0, 0);
        loop {
            let page = model.events(&world.project, subject, from, 7).expect("a page");
            if page.items.is_empty() {
                break;
            }
            joined.extend(page.items);
            from = page.next;
        }
        assert_eq!(
            joined,
            if subject.is_empty() { whole.0.items.clone() } else { whole.1.items.clone() }
        );
    }
    let mut joined = Vec::new();
    let mut query = RunQuery { pipeline: "digits".to_owned(), limit: 4, ..RunQuery::default() };
    loop {
        let (items, more) = model.runs(&world.project, &query).expect("a page");
        joined.extend(items);
        let Some(before) = more else { break };
        query.before = before;
    }
    let wanted: Vec<_> = whole.2.iter().filter(|row| row.pipeline == "digits").cloned().collect();
    assert_eq!(joined, wanted);
    query.before = "digits-999".to_owned();
    assert!(matches!(model.runs(&world.project, &query), Err(ReadModelError::Cursor(_))));
}

#[test]
fn batches_may_end_between_the_events_of_one_entry() {
    let mut cut = 0;
    for shift in 0..4 {
        let (_keep, dir) = dir();
        let mut world = World::new();
        for _ in 0..shift {
            world.token();
        }
        world.history(600);
        let numbers: Vec<_> = world.state.events.keys().copied().collect();
        assert!(numbers.len() > 1_000, "more than a batch");
        cut += u32::from(numbers[999].0 == numbers[1_000].0);
        let model = ReadModel::open(&dir);
        world.catch_up(&model).expect("it follows");
        let held = model.events(&world.project, "", (0, 0), 10_000).expect("events").items;
        assert_eq!(held.iter().map(|event| event.number).collect::<Vec<_>>(), numbers);
    }
    assert!(cut > 0, "one of the shifts puts the border inside an entry");
}

#[test]
fn it_goes_on_after_a_restart_and_bridges_what_the_state_forgot() {
    let (_keep, dir) = dir();
    let mut world = World::new();
    world.history(10);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    drop(model);
    world.history(10);
    let model = ReadModel::open(&dir);
    assert!(!world.recover(&model), "what was written before is sound");
    let fresh = ReadModel::open(&dir.with_extension("fresh"));
    world.catch_up(&fresh).expect("it follows");
    assert_eq!(answers(&model, &world), answers(&fresh, &world));
    drop(model);
    // So much happens while it is away that the state lets go of events it never saw.
    world.state.limits.events = 5;
    world.history(10);
    let model = ReadModel::open(&dir);
    assert!(!world.recover(&model));
    let floor = world.state.events_floor;
    let below = model.events(&world.project, "", (1, 0), 10);
    assert!(
        matches!(below, Err(ReadModelError::Compacted { floor: told }) if told == floor),
        "{below:?}"
    );
    let runs = model
        .runs(&world.project, &RunQuery { limit: 1_000, ..RunQuery::default() })
        .expect("runs")
        .0;
    assert_eq!(runs.len(), 30, "runs come from the state, not only from events");
}

#[test]
fn another_groups_history_is_not_mixed_in() {
    let (_keep, dir) = dir();
    let mut world = World::new();
    world.history(10);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    drop(model);
    let mut other = World { source: ("group".to_owned(), 2), ..World::new() };
    other.history(3);
    let model = ReadModel::open(&dir);
    other.catch_up(&model).expect("it follows");
    assert_eq!(answers(&model, &other).2.len(), 3);
    // The same group put back to an older state.
    drop(model);
    let mut older = World { source: ("group".to_owned(), 2), ..World::new() };
    older.history(1);
    let model = ReadModel::open(&dir);
    older.catch_up(&model).expect("it follows");
    assert_eq!(answers(&model, &older).2.len(), 1);
}

/// The files of sled, by their path.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a folder");
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is inside"));
        std::fs::create_dir_all(target.parent().expect("it has one")).expect("a folder");
        std::fs::copy(&file, target).expect("a copy");
    }
}

#[test]
fn f10_flipped_cut_and_deleted_files_are_rebuilt_to_equal_answers() {
    let (keep, dir) = dir();
    let mut world = World::new();
    world.history(60);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    model.flush().expect("it is written");
    let before = answers(&model, &world);
    drop(model);
    let damaged = keep.path().join("damaged");
    let (mut rebuilt, mut tried) = (0, 0);
    for file in files(&dir) {
        let name = file.strip_prefix(&dir).expect("it is inside").to_owned();
        let bytes = std::fs::read(&file).expect("the file");
        let mut versions: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new())];
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for eighth in 0..8 {
            let at = used * eighth / 8;
            versions.push(Some(bytes[..at].to_vec()));
            if at < bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x55;
                versions.push(Some(flipped));
            }
        }
        for version in versions {
            copy(&dir, &damaged);
            match version {
                None => std::fs::remove_file(damaged.join(&name)).expect("it was there"),
                Some(bytes) => std::fs::write(damaged.join(&name), bytes).expect("it is written"),
            }
            let model = ReadModel::open(&damaged);
            let was_rebuilt = world.recover(&model) || aside_count(keep.path()) > 0;
            rebuilt += u32::from(was_rebuilt);
            tried += 1;
            assert_eq!(answers(&model, &world), before, "{} was damaged", name.display());
            drop(model);
            for old in std::fs::read_dir(keep.path()).expect("the folder").flatten() {
                if old.file_name().to_string_lossy().contains("broken-") {
                    std::fs::remove_dir_all(old.path()).expect("it goes");
                }
            }
        }
    }
    assert!(tried > 15 && rebuilt > 3, "{rebuilt} of {tried} were rebuilt");
}

fn aside_count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).expect("the folder").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().contains("broken-")).count()
}

#[test]
fn f10_lost_rows_are_seen_and_broken_copies_do_not_pile_up() {
    let (keep, dir) = dir();
    let mut world = World::new();
    world.history(5);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    let before = answers(&model, &world);
    drop(model);
    for _ in 0..3 {
        let db = super::store::open(&dir).expect("it opens");
        let lost = db.scan_prefix(super::keys::EVENTS).next().expect("a row").expect("it reads").0;
        db.remove(lost).expect("it goes");
        db.flush().expect("it is on disk");
        drop(db);
        let model = ReadModel::open(&dir);
        let found = world.catch_up(&model).expect_err("a row is missing");
        assert!(found.to_string().contains("events where"), "{found}");
        assert!(
            matches!(model.events(&world.project, "", (0, 0), 1), Err(ReadModelError::NotReady)),
            "no wrong answer"
        );
        assert!(world.recover(&model));
        assert_eq!(answers(&model, &world), before);
        assert_eq!(aside_count(keep.path()), 1);
    }
}

#[test]
fn a_lock_that_is_held_a_moment_longer_does_not_cost_the_rows() {
    let (keep, dir) = dir();
    let mut world = World::new();
    world.history(5);
    let model = ReadModel::open(&dir);
    world.catch_up(&model).expect("it follows");
    drop(model);
    let held = super::store::open(&dir).expect("it opens");
    let late = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(held);
    });
    let model = ReadModel::open(&dir);
    late.join().expect("it lets go");
    world.catch_up(&model).expect("the rows are whole");
    assert_eq!(aside_count(keep.path()), 0, "nothing was broken");
}
