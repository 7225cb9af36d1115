//! Verdicts and what they move.

use std::sync::Arc;

use runyard_pipeline::{Inconclusive, ModelAt, StageKind};
use runyard_types::{Digest, ModelName, Outcome, Parent, ProjectName, TaskKey};

use crate::command::{ApproveGate, DecideGate, FailTask, Promotion};
use crate::entity::{
    Alias, AliasMove, GateDecision, GateOutcome, GateVerdict, Model, ModelVersion, Task, TaskState,
    VersionStatus,
};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn decide_gate(
        &mut self,
        ctx: &mut Ctx,
        command: DecideGate,
    ) -> Result<Reply, Refusal> {
        let DecideGate { task: key, verdict, record, summary, inconclusive, promote, champion } =
            command;
        self.check_undecided(&key)?;
        self.check_champion(&key, champion, "it is judged again")?;
        if let Some(promotion) = &promote {
            self.check_promotion(&key, promotion)?;
        }
        let decision = match (verdict, inconclusive) {
            (GateVerdict::Pass, _) | (GateVerdict::Inconclusive, Inconclusive::Allow) => {
                GateDecision::Passed
            }
            (GateVerdict::Inconclusive, Inconclusive::Ask) => GateDecision::Waiting,
            (GateVerdict::Fail | GateVerdict::CannotTest, _)
            | (GateVerdict::Inconclusive, Inconclusive::Block) => GateDecision::Rejected,
        };
        let word = match decision {
            GateDecision::Passed => "passed",
            GateDecision::Waiting => "waits for an approver",
            GateDecision::Rejected => "rejected",
            GateDecision::Approved => "approved",
            GateDecision::Refused => "refused",
        };
        self.task_mut(&key)?.gate = Some(GateOutcome {
            verdict,
            decision,
            record,
            summary: summary.clone(),
            approver: None,
            reason: String::new(),
            champion,
        });
        self.emit(
            ctx,
            Some(&key.project),
            EventKind::GateDecided {
                task: key.clone(),
                verdict: verdict.as_str().to_owned(),
                decision: word.to_owned(),
                summary: summary.clone(),
            },
        );
        match decision {
            GateDecision::Passed => {
                let same = promote.and_then(|promotion| {
                    let version = self.promote(ctx, &key, &promotion, record, None)?;
                    Some(already(&promotion, version))
                });
                let told = format!("{summary}{}", same.unwrap_or_default());
                self.move_task(ctx, &key, TaskState::Succeeded, &told);
            }
            GateDecision::Rejected => self.move_task(ctx, &key, TaskState::Failed, &summary),
            GateDecision::Waiting | GateDecision::Approved | GateDecision::Refused => {
                self.task_mut(&key)?.reason =
                    format!("inconclusive, waits for `runyard gate approve {key}`: {summary}");
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn approve_gate(
        &mut self,
        ctx: &mut Ctx,
        command: ApproveGate,
    ) -> Result<Reply, Refusal> {
        let ApproveGate { task: key, approve, principal, reason, promote } = command;
        let task = self.tasks.get(&key).ok_or_else(|| Refusal::not_found("task", &key))?;
        let Some(gate) = task.gate.as_ref().filter(|gate| gate.decision == GateDecision::Waiting)
        else {
            return Err(Refusal::precondition(format!("gate {key} does not wait for an approver")));
        };
        if task.state != TaskState::Active {
            return Err(Refusal::precondition(format!(
                "gate {key} is {} already",
                task.state.as_str()
            )));
        }
        if reason.trim().is_empty() {
            return Err(Refusal::Invalid {
                what: "an approval needs a reason, which is recorded".to_owned(),
            });
        }
        let (record, champion) = (gate.record, gate.champion);
        if approve {
            let remedy = "it is judged again; see `runyard gate show` then";
            self.check_champion(&key, champion, remedy)?;
            if let Some(promotion) = &promote {
                self.check_promotion(&key, promotion)?;
            }
        }
        if let Some(gate) = &mut self.task_mut(&key)?.gate {
            gate.decision = if approve { GateDecision::Approved } else { GateDecision::Refused };
            gate.approver = Some(principal.clone());
            gate.reason.clone_from(&reason);
        }
        self.emit(
            ctx,
            Some(&key.project),
            EventKind::GateApproved {
                task: key.clone(),
                principal: principal.clone(),
                approve,
                reason: reason.clone(),
            },
        );
        if approve {
            let same = promote.and_then(|promotion| {
                let version = self.promote(ctx, &key, &promotion, record, Some(principal))?;
                Some(already(&promotion, version))
            });
            let told = format!("approved: {reason}{}", same.unwrap_or_default());
            self.move_task(ctx, &key, TaskState::Succeeded, &told);
        } else {
            self.move_task(ctx, &key, TaskState::Failed, &format!("refused: {reason}"));
        }
        Ok(Reply::Done)
    }

    /// Ends a gate or deploy stage that has no attempts and could not be carried out.
    pub(super) fn fail_task(
        &mut self,
        ctx: &mut Ctx,
        command: &FailTask,
    ) -> Result<Reply, Refusal> {
        let key = &command.task;
        let task = self.tasks.get(key).ok_or_else(|| Refusal::not_found("task", key))?;
        if task.state != TaskState::Active || !task.attempts.is_empty() || task.revision.is_some() {
            return Err(Refusal::precondition(format!(
                "{key} is not carried out by the leader now"
            )));
        }
        let outcome = Outcome::Ended { cause: command.cause, reason: command.reason.clone() };
        self.move_task(ctx, key, TaskState::of(&outcome), &command.reason);
        Ok(Reply::Done)
    }

    fn check_undecided(&self, key: &TaskKey) -> Result<(), Refusal> {
        let task = self.tasks.get(key).ok_or_else(|| Refusal::not_found("task", key))?;
        let gate = matches!(self.kind_of(key), Some(StageKind::Gate(_)));
        if !gate || task.state != TaskState::Active || !self.is_undecided(task) {
            return Err(Refusal::precondition(format!(
                "{key} is no gate that waits for its verdict"
            )));
        }
        Ok(())
    }

    /// Whether the gate's verdict is due: it has none, or waits for an approver with one against a champion that
    /// was replaced meanwhile.
    pub fn is_undecided(&self, gate: &Task) -> bool {
        gate.gate.as_ref().is_none_or(|outcome| {
            outcome.decision == GateDecision::Waiting
                && outcome.champion != self.champion_of(&gate.key)
        })
    }

    /// The model that a gate compares with, as things stand; `None` where it compares with nothing, or there is
    /// none yet.
    pub fn champion_of(&self, gate: &TaskKey) -> Option<Digest> {
        let Some(StageKind::Gate(definition)) = self.kind_of(gate) else { return None };
        let against = &definition.against.as_ref()?.model;
        let model = self.model(&gate.project, &against.name)?;
        let number = match &against.at {
            ModelAt::Version(number) => *number,
            ModelAt::Alias(alias) => model.aliases.get(alias)?.version,
        };
        Some(model.version(number)?.root)
    }

    /// Of two candidates judged against one champion, the first that passes is the champion of the second.
    fn check_champion(
        &self,
        gate: &TaskKey,
        judged: Option<Digest>,
        then: &str,
    ) -> Result<(), Refusal> {
        let now = self.champion_of(gate);
        if judged == now {
            return Ok(());
        }
        let word = |root: Option<Digest>| root.map_or("none".to_owned(), |root| root.short());
        Err(Refusal::precondition(format!(
            "gate {gate} was judged against the champion {}, which is {} by now; {then}",
            word(judged),
            word(now)
        )))
    }

    /// What is promoted must be what the gate's file names, and what that task left, to the digest.
    fn check_promotion(&self, gate: &TaskKey, promotion: &Promotion) -> Result<(), Refusal> {
        let Some(StageKind::Gate(definition)) = self.kind_of(gate) else {
            return Err(Refusal::precondition(format!("{gate} is no gate")));
        };
        let named = definition.promote.as_ref().filter(|promote| {
            promote.model == promotion.model
                && promote.alias == promotion.alias
                && gate.project == promotion.from.project
                && matches!(&promotion.from.parent, Parent::Stage { run, stage }
                    if Some(run) == gate.run() && *stage == promote.stage)
        });
        let Some(promote) = named else {
            return Err(Refusal::precondition(format!(
                "gate {gate} does not promote {} to {}@{}",
                promotion.from, promotion.model, promotion.alias
            )));
        };
        let from = self
            .tasks
            .get(&promotion.from)
            .ok_or_else(|| Refusal::not_found("task", &promotion.from))?;
        let output = from.result.outputs.get(promote.output.as_str());
        if from.state == TaskState::Succeeded && output.is_some_and(|o| o.root == promotion.root) {
            return Ok(());
        }
        Err(Refusal::precondition(format!(
            "{} has no output {}",
            promotion.from,
            promotion.root.short()
        )))
    }

    /// The version that the alias names already, if it is the promoted one to the digest. A run that was
    /// restored from the cache brings nothing new: no version, no move, nothing to deploy.
    fn already_named(
        &mut self,
        key: &(ProjectName, ModelName),
        promotion: &Promotion,
    ) -> Option<u64> {
        let model = self.models.get(key)?;
        let alias = model.aliases.get(&promotion.alias)?;
        let number = alias.version;
        if model.version(number)?.root != promotion.root {
            return None;
        }
        if !alias.protected {
            let model = self.models.get_mut(key).map(Arc::make_mut)?;
            model.aliases.get_mut(&promotion.alias)?.protected = true;
        }
        Some(number)
    }

    /// Registers the promoted output as a new version and moves the alias, which is protected from now on.
    /// The version, where the alias names that very output already: then nothing is done.
    fn promote(
        &mut self,
        ctx: &mut Ctx,
        gate: &TaskKey,
        promotion: &Promotion,
        record: Digest,
        approver: Option<String>,
    ) -> Option<u64> {
        let project = &gate.project;
        let wall = self.clock.wall;
        let key = (project.clone(), promotion.model.clone());
        if let Some(number) = self.already_named(&key, promotion) {
            return Some(number);
        }
        let mut model = self.models.get(&key).map_or_else(
            || Model {
                project: project.clone(),
                name: promotion.model.clone(),
                versions: Vec::new(),
                aliases: Default::default(),
            },
            |model| Model::clone(model),
        );
        let number = model.versions.len() as u64 + 1;
        model.versions.push(ModelVersion {
            number,
            root: promotion.root,
            task: promotion.from.clone(),
            gate: Some(gate.clone()),
            gate_record: Some(record),
            approver,
            created_at: wall,
            status: VersionStatus::Registered,
        });
        let by = format!("gate {gate}");
        let alias = model.aliases.entry(promotion.alias.clone()).or_insert_with(|| Alias {
            version: 0,
            protected: true,
            moves: Vec::new(),
        });
        let from = (alias.version > 0).then_some(alias.version);
        alias.version = number;
        alias.protected = true;
        alias.moves.push(AliasMove { version: number, at: wall, by: by.clone(), by_hand: false });
        self.models.insert_mut(key, Arc::new(model));
        self.emit(
            ctx,
            Some(project),
            EventKind::VersionRegistered {
                model: promotion.model.clone(),
                version: number,
                task: promotion.from.clone(),
            },
        );
        self.emit(
            ctx,
            Some(project),
            EventKind::AliasMoved {
                model: promotion.model.clone(),
                alias: promotion.alias.to_string(),
                from,
                to: Some(number),
                by,
            },
        );
        None
    }
}

/// What is added to a gate's sentence where its candidate is the champion itself.
fn already(promotion: &Promotion, version: u64) -> String {
    format!("; it is {}@{} already (version {version})", promotion.model, promotion.alias)
}
