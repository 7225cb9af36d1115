//! Which stages equal work has done before: the submission is made in a copy of the state, and resolved
//! there by the same code that resolves real ones. Nothing of it is proposed or kept.

use std::collections::BTreeMap;

use runyard_proto::v1::SubmitRequest;
use runyard_state::entity::Run;
use runyard_state::{Command, IdempotencyKey, Reply, Resolution, ResolveTasks, Stamp, State};
use runyard_types::{Digest, DurationMs, StageName, TaskKey, Uid};
use tonic::Status;

use super::submit::Checked;
use crate::core::Core;
use crate::errors::refused;
use crate::reconcile::foresee;

/// What is foreseen of a submission.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    pub(super) stages: BTreeMap<StageName, Stage>,
    pub(super) warnings: Vec<String>,
}

/// What is foreseen of a stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// All its tasks would be restored.
    pub(super) cached: bool,
    pub(super) reason: String,
}

/// The tasks of one stage by what becomes of them, with the first one's reason.
#[derive(Debug, Default)]
struct Tally {
    restored: (u32, String),
    queued: (u32, String),
    skipped: (u32, String),
    failed: (u32, String),
    begun: u32,
}

pub(super) fn predict(
    core: &Core,
    state: &State,
    index: u64,
    checked: &Checked,
    request: &SubmitRequest,
) -> Result<Foreseen, Status> {
    // Cloning is O(1): entities are shared.
    let mut state = state.clone();
    let mut dry = Dry { index };
    let key = Uid::parse(&ulid::Ulid::generate().to_string())
        .ok_or_else(|| Status::internal("a fresh ULID was not understood"))?;
    let idempotency =
        IdempotencyKey { principal: "plan".to_owned(), key, request: Digest::of(b"plan") };
    let git = request.git.clone().unwrap_or_default();
    let command =
        checked.clone().into_command(idempotency, git, request.no_cache, request.priority);
    let name = match dry.apply(&mut state, Command::SubmitRun(Box::new(command))) {
        Ok(Reply::Run { name, .. }) => name,
        Ok(_) => return Err(Status::internal("the plan was answered oddly")),
        Err(refusal) => {
            // It is no error of the file: said, and the rest of the plan goes on without it.
            let status = refused(&refusal);
            let warning = format!("it would be refused now: {}", status.message());
            return Ok(Foreseen { warnings: vec![warning], ..Foreseen::default() });
        }
    };
    let mut tallies: BTreeMap<StageName, Tally> = BTreeMap::new();
    // Each round settles a stage at least, or is the last.
    for _ in 0..=checked.pipeline.stages.len() {
        let Some(run) = state.run(&checked.project, &name).cloned() else { break };
        let items = foresee(core, &state, &run, &request.code_files);
        if items.is_empty() {
            break;
        }
        for (task, resolution) in &items {
            if let Some(stage) = stage_of(task) {
                tallies.entry(stage.clone()).or_default().count(resolution);
            }
        }
        if dry.apply(&mut state, Command::ResolveTasks(ResolveTasks { items })).is_err() {
            break;
        }
    }
    let run = state.run(&checked.project, &name);
    let stages = checked
        .pipeline
        .stages
        .iter()
        .map(|stage| {
            let told = match tallies.get(&stage.name) {
                Some(tally) => tally.told(),
                None => Stage {
                    cached: false,
                    reason: run.map_or_else(String::new, |run| open(run, &stage.name)),
                },
            };
            (stage.name.clone(), told)
        })
        .collect();
    Ok(Foreseen { stages, warnings: Vec::new() })
}

fn stage_of(task: &TaskKey) -> Option<&StageName> {
    match &task.parent {
        runyard_types::Parent::Stage { stage, .. } => Some(stage),
        runyard_types::Parent::Revision { .. } => None,
    }
}

/// Why nothing can be said of a stage yet.
fn open(run: &Run, stage: &StageName) -> String {
    let Some(stage) = run.pipeline.stage(stage.as_str()) else { return String::new() };
    let needs: Vec<String> = stage
        .needs
        .iter()
        .filter(|need| run.stages.get(*need).is_some_and(|progress| !progress.is_final()))
        .map(ToString::to_string)
        .collect();
    match needs.is_empty() {
        true => String::new(),
        false => format!("depends on what {} will leave", needs.join(", ")),
    }
}

/// The copy of the state, moved on.
struct Dry {
    index: u64,
}

impl Dry {
    fn apply(
        &mut self,
        state: &mut State,
        command: Command,
    ) -> Result<Reply, runyard_state::Refusal> {
        self.index += 1;
        let wall = runyard_types::TimestampMs(crate::clock::wall_ms()).max(state.clock.wall);
        let at = Stamp { wall, delta: DurationMs::ZERO };
        state.apply(self.index, at, command).outcome
    }
}

impl Tally {
    fn count(&mut self, resolution: &Resolution) {
        let (slot, reason) = match resolution {
            Resolution::Restore { reason, .. } => (&mut self.restored, reason),
            Resolution::Queue { reason, .. } => (&mut self.queued, reason),
            Resolution::Skip { reason } => (&mut self.skipped, reason),
            Resolution::Fail { reason, .. } => (&mut self.failed, reason),
            Resolution::Begin { .. } => {
                self.begun += 1;
                return;
            }
        };
        if slot.0 == 0 {
            slot.1.clone_from(reason);
        }
        slot.0 += 1;
    }

    fn told(&self) -> Stage {
        let Self { restored, queued, skipped, failed, begun } = self;
        let all = restored.0 + queued.0 + skipped.0 + failed.0 + begun;
        if restored.0 == all {
            return Stage { cached: true, reason: restored.1.clone() };
        }
        let mut parts = Vec::new();
        if restored.0 > 0 {
            parts.push(format!("{} of {all} from the cache", restored.0));
        }
        if queued.0 > 0 {
            parts.push(queued.1.clone());
        }
        if skipped.0 > 0 {
            parts.push(format!("would be skipped: {}", skipped.1));
        }
        if failed.0 > 0 {
            parts.push(format!("would fail: {}", failed.1));
        }
        Stage { cached: false, reason: parts.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use runyard_types::Cause;

    use super::*;

    fn queue(reason: &str) -> Resolution {
        Resolution::Queue {
            content_key: None,
            inputs: Vec::new(),
            env: BTreeMap::new(),
            reason: reason.to_owned(),
        }
    }

    fn restore() -> Resolution {
        Resolution::Restore {
            content_key: Digest::of(b"k"),
            inputs: Vec::new(),
            result: Default::default(),
            reason: "nothing has changed since d-1/a.1".to_owned(),
        }
    }

    #[test]
    fn a_stage_is_told_by_what_becomes_of_its_tasks() {
        let told = |resolutions: &[Resolution]| {
            let mut tally = Tally::default();
            resolutions.iter().for_each(|resolution| tally.count(resolution));
            let stage = tally.told();
            (stage.cached, stage.reason)
        };
        assert_eq!(told(&[restore()]), (true, "nothing has changed since d-1/a.1".to_owned()));
        assert_eq!(
            told(&[restore(), queue("changed: file a.py"), queue("x")]),
            (false, "1 of 3 from the cache; changed: file a.py".to_owned())
        );
        let fail = Resolution::Fail { cause: Cause::Failure, reason: "there is no model".into() };
        assert_eq!(told(&[fail]), (false, "would fail: there is no model".to_owned()));
    }
}
