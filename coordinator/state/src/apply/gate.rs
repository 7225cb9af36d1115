//! Verdicts and what they move.

use std::sync::Arc;

use runyard_pipeline::{Inconclusive, StageKind};
use runyard_types::{Outcome, Parent, TaskKey};

use crate::command::{ApproveGate, DecideGate, FailTask, Promotion};
use crate::entity::{
    Alias, AliasMove, GateDecision, GateOutcome, GateVerdict, Model, ModelVersion, TaskState,
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
        let DecideGate { task: key, verdict, record, summary, inconclusive, promote } = command;
        self.check_undecided(&key)?;
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
                if let Some(promotion) = promote {
                    self.promote(ctx, &key, &promotion, record, None);
                }
                self.move_task(ctx, &key, TaskState::Succeeded, &summary);
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
        if let Some(promotion) = &promote {
            self.check_promotion(&key, promotion)?;
        }
        let record = gate.record;
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
            if let Some(promotion) = promote {
                self.promote(ctx, &key, &promotion, record, Some(principal));
            }
            self.move_task(ctx, &key, TaskState::Succeeded, &format!("approved: {reason}"));
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
        if !gate || task.state != TaskState::Active || task.gate.is_some() {
            return Err(Refusal::precondition(format!(
                "{key} is no gate that waits for its verdict"
            )));
        }
        Ok(())
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

    /// Registers the promoted output as a new version and moves the alias, which is protected from now on.
    fn promote(
        &mut self,
        ctx: &mut Ctx,
        gate: &TaskKey,
        promotion: &Promotion,
        record: runyard_types::Digest,
        approver: Option<String>,
    ) {
        let project = &gate.project;
        let wall = self.clock.wall;
        let key = (project.clone(), promotion.model.clone());
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
        alias.moves.push(AliasMove { version: number, at: wall, by: by.clone() });
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
    }
}
