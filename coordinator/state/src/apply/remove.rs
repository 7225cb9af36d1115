//! Nodes that are taken out of the group.

use runyard_types::{AttemptKey, Cause, NodeName, Outcome, WorkerKey};

use crate::command::RemoveNode;
use crate::entity::{Liveness, WorkerPhase};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    /// Nothing of a removed node may come back: what it held is free, what it ran is given up, and the rest of
    /// its logs is lost.
    pub(super) fn remove_node(
        &mut self,
        ctx: &mut Ctx,
        command: &RemoveNode,
    ) -> Result<Reply, Refusal> {
        let RemoveNode { node: name, force, principal } = command;
        let node = self.nodes.get(name).ok_or_else(|| Refusal::not_found("node", name))?;
        let heard = matches!(node.liveness, Liveness::Ready | Liveness::Unreachable);
        if heard && !force {
            return Err(Refusal::precondition(format!(
                "node {name} is {}: stop its agent and wait until it is lost, or use --force, which gives up what runs there",
                node.liveness.as_str()
            )));
        }
        if !node.workers.is_empty() && !force {
            return Err(Refusal::precondition(format!(
                "node {name} has {} workers that may still run there, such as {}: wait until it is back, or use --force, which gives them up",
                node.workers.len(),
                node.workers.first().map(ToString::to_string).unwrap_or_default()
            )));
        }
        let workers: Vec<WorkerKey> = node.workers.iter().cloned().collect();
        let reason = format!("node {name} was removed by {principal}");
        // All ends before anything is released: a freed room must not pass to one that waits there.
        for key in &workers {
            if self.attempt(&key.attempt).is_some_and(|(_, attempt)| attempt.outcome.is_none()) {
                // One that waits for another's room has not begun: that was no try.
                self.give_back(ctx, &key.attempt, &reason);
                let outcome = Outcome::Ended { cause: Cause::Error, reason: reason.clone() };
                self.end_attempt(ctx, &key.attempt, outcome, None)?;
            }
        }
        for key in &workers {
            if let Some((_, worker)) = self.worker(key) {
                let phase = worker.phase;
                self.release_worker(key, phase)?;
            }
        }
        self.close_logs_of(name);
        self.nodes.remove_mut(name);
        let kind = EventKind::NodeRemoved {
            node: name.clone(),
            principal: principal.clone(),
            gave_up: workers.len() as u32,
        };
        self.emit(ctx, None, kind);
        Ok(Reply::Done)
    }

    /// Nobody is left who could seal more of them.
    fn close_logs_of(&mut self, node: &NodeName) {
        let open: Vec<AttemptKey> = self.unsettled.iter().cloned().collect();
        for key in open {
            let ranks = self.attempt(&key).map_or(0, |(_, attempt)| attempt.workers.len());
            for rank in 0..ranks {
                let worker_key = WorkerKey { attempt: key.clone(), rank: rank as u32 };
                let own = self.worker(&worker_key).is_some_and(|(_, worker)| {
                    worker.node == *node
                        && worker.phase == WorkerPhase::Released
                        && !worker.log.complete
                });
                if own {
                    // It is there: it was looked up.
                    let _ = self.worker_mut(&worker_key, |worker| worker.log.complete = true);
                }
            }
            self.settle(&key);
        }
    }
}
