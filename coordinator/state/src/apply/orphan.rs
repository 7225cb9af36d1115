//! Workers that a node has and nobody knows. Absence never kills: they run until an operator says otherwise.

use runyard_types::Cause;

use crate::command::{SetOrphans, StopOrphan};
use crate::entity::{Stop, WorkerPhase};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn set_orphans(
        &mut self,
        ctx: &mut Ctx,
        command: SetOrphans,
    ) -> Result<Reply, Refusal> {
        let SetOrphans { node: name, orphans } = command;
        // One that was placed meanwhile is known after all.
        let unknown = |key: &runyard_types::WorkerKey| {
            !self.worker(key).is_some_and(|(_, worker)| {
                worker.node == name && worker.phase != WorkerPhase::Released
            })
        };
        let mut listed: Vec<_> = orphans.into_iter().filter(unknown).collect();
        listed.sort();
        listed.dedup();
        let node = self.node_mut(&name)?;
        if listed.iter().eq(node.orphans.keys()) {
            return Ok(Reply::Done);
        }
        let mut before = std::mem::take(&mut node.orphans);
        node.orphans =
            listed.iter().map(|key| (key.clone(), before.remove(key).flatten())).collect();
        let workers = listed.iter().map(ToString::to_string).collect();
        self.emit(ctx, None, EventKind::NodeOrphans { node: name, workers });
        Ok(Reply::Done)
    }

    pub(super) fn stop_orphan(
        &mut self,
        ctx: &mut Ctx,
        command: StopOrphan,
    ) -> Result<Reply, Refusal> {
        let StopOrphan { node: name, worker, reason, principal } = command;
        let index = ctx.index;
        let node = self.node_mut(&name)?;
        let Some(stop) = node.orphans.get_mut(&worker) else {
            return Err(Refusal::not_found("orphan", format!("{worker} of node {name}")));
        };
        if stop.is_some() {
            return Ok(Reply::Done);
        }
        let why = match reason.trim() {
            "" => format!("stopped by {principal}"),
            reason => format!("stopped by {principal}: {reason}"),
        };
        *stop = Some(Stop { cause: Cause::Cancelled, reason: why, index, given_back: false });
        self.emit(
            ctx,
            None,
            EventKind::OrphanStopping { node: name, worker: worker.to_string(), principal, reason },
        );
        Ok(Reply::Done)
    }
}
