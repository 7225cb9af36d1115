//! One command a file, and the steps they share.

mod alias;
mod cancel;
mod chain;
mod deploy;
mod finish;
mod gate;
mod node;
mod orphan;
mod place;
mod reference;
mod remove;
mod report;
mod resolve;
mod retry;
mod revision;
mod rollback;
mod seal;
mod submit;
mod token;
mod transition;

pub use chain::CHAIN_MAX;

use crate::command::Command;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(crate) fn dispatch(&mut self, ctx: &mut Ctx, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::SubmitRun(command) => self.submit_run(ctx, *command),
            Command::CancelRun(command) => self.cancel_run(ctx, &command),
            Command::RetryRun(command) => self.retry_run(ctx, &command),
            Command::ResolveTasks(command) => Ok(self.resolve_tasks(ctx, command)),
            Command::AddReferenceTask(command) => self.add_reference_task(ctx, command),
            Command::Place(placements) => Ok(self.place(ctx, placements)),
            Command::ReportWorkers(command) => Ok(self.report_workers(ctx, command)),
            Command::FinishAttempt(command) => self.finish_attempt(ctx, *command),
            Command::LoseAttempt(command) => self.lose_attempt(ctx, command),
            Command::FailTask(command) => self.fail_task(ctx, &command),
            Command::StopAttempt(command) => self.stop_attempt(ctx, &command),
            Command::Seal(command) => self.seal(&command),
            Command::DecideGate(command) => self.decide_gate(ctx, *command),
            Command::ApproveGate(command) => self.approve_gate(ctx, command),
            Command::SetAlias(command) => self.set_alias(ctx, &command),
            Command::Deploy(command) => self.deploy(ctx, *command),
            Command::AdvanceRevision(command) => self.advance_revision(ctx, &command),
            Command::ReportRevision(command) => self.report_revision(ctx, command),
            Command::Rollback(command) => self.rollback(ctx, &command),
            Command::RemoveDeployment(command) => self.remove_deployment(ctx, &command),
            Command::JoinNode(command) => self.join_node(ctx, command),
            Command::NodeHello(command) => self.node_hello(ctx, *command),
            Command::SetLiveness(command) => self.set_liveness(ctx, command),
            Command::SetEligibility(command) => self.set_eligibility(ctx, command),
            Command::SetOrphans(command) => self.set_orphans(ctx, command),
            Command::StopOrphan(command) => self.stop_orphan(ctx, command),
            Command::RemoveNode(command) => self.remove_node(ctx, &command),
            Command::CreateToken(command) => self.create_token(ctx, command),
            Command::RevokeToken(command) => self.revoke_token(ctx, &command),
        }
    }
}
