//! How far a worker's bytes are in the blob store.

use crate::command::{Seal, SealChannel};
use crate::refusal::Refusal;
use crate::state::{Reply, State};

impl State {
    /// Logs belong to their attempt: its node may seal them however old the attempt is.
    pub(super) fn seal(&mut self, command: &Seal) -> Result<Reply, Refusal> {
        let (attempt, worker) = self
            .worker(&command.worker)
            .ok_or_else(|| Refusal::not_found("worker", &command.worker))?;
        if worker.node != command.node {
            return Err(Refusal::Denied {
                what: format!("worker {} is not on node {}", command.worker, command.node),
            });
        }
        let sealed = match command.channel {
            SealChannel::Log => &worker.log,
            SealChannel::Metrics => &worker.metrics,
        };
        if command.to < command.from || command.from != sealed.to {
            return Err(Refusal::precondition(format!(
                "worker {} is sealed to {}, a seal from {} to {} does not follow",
                command.worker, sealed.to, command.from, command.to
            )));
        }
        // While the attempt lives, a worker that was given up unstarted may yet be started by another life
        // of its agent, and then it has a log after all.
        if sealed.complete && command.to > sealed.to && attempt.outcome.is_some() {
            return Err(Refusal::precondition(format!(
                "worker {} ended its bytes at {}, nothing can follow",
                command.worker, sealed.to
            )));
        }
        self.worker_mut(&command.worker, |worker| {
            let sealed = match command.channel {
                SealChannel::Log => &mut worker.log,
                SealChannel::Metrics => &mut worker.metrics,
            };
            sealed.complete = command.complete || (sealed.complete && sealed.to == command.to);
            sealed.to = command.to;
            if command.manifest.is_some() {
                sealed.manifest = command.manifest;
            }
        })?;
        self.settle(&command.worker.attempt);
        Ok(Reply::Sealed(command.to))
    }
}
