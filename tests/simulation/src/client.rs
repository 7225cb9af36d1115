//! Simulated users: they submit with a key until they have an answer, cancel, and retry.

use std::collections::BTreeMap;

use runyard_consensus::Fatal;
use runyard_state::{CancelRun, Command, IdempotencyKey, Reply, RetryRun, SubmitRun};
use runyard_types::{Digest, ProjectName, RunName, Uid};

use crate::pipelines;
use crate::random::Random;
use crate::server::{START_MS, Server};

/// Runs that may be live at one time.
const LIVE_MAX: usize = 8;

/// All users.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Asked and not answered.
    pending: Vec<SubmitRun>,
    /// What was acknowledged.
    pub(crate) acknowledged: BTreeMap<Uid, RunName>,
}

impl Client {
    /// A user does something; an answer may be lost on its way back.
    pub(crate) fn act(
        &mut self,
        server: &mut Server,
        now: u64,
        random: &mut Random,
        new_work: bool,
        lossy: bool,
    ) -> Result<(), Fatal> {
        let runs: Vec<RunName> = self.acknowledged.values().rev().take(20).cloned().collect();
        let live = server.state().runs.values().rev().take(200).filter(|run| !run.state.is_final());
        let live = live.count();
        match random.below(10) {
            _ if !self.pending.is_empty() => {}
            0 if new_work => {
                let Some(run) = random.pick(&runs).cloned() else { return Ok(()) };
                let (reason, principal) = (String::new(), "ann".to_owned());
                let project = ProjectName::default_project();
                let cancel = CancelRun { project, run, reason, principal };
                server.propose(now, vec![Command::CancelRun(cancel)])?;
            }
            1 if new_work => {
                let Some(run) = random.pick(&runs).cloned() else { return Ok(()) };
                let project = ProjectName::default_project();
                let retry = RetryRun { project, run, stage: None, principal: "ann".into() };
                server.propose(now, vec![Command::RetryRun(retry)])?;
            }
            _ if new_work && live < LIVE_MAX => self.pending.push(self.submission(now, random)),
            _ => {}
        }
        let Some(submission) = self.pending.last().cloned() else { return Ok(()) };
        let uid = submission.idempotency.key;
        let outcomes = server.propose(now, vec![Command::SubmitRun(Box::new(submission))])?;
        if lossy && random.chance(200) {
            return Ok(());
        }
        for outcome in outcomes {
            // One that is too old after a long outage is refused: the user gives it up.
            if let Ok(Reply::Run { name, .. }) = outcome {
                self.acknowledged.insert(uid, name);
            }
            self.pending.pop();
        }
        Ok(())
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    fn submission(&self, now: u64, random: &mut Random) -> SubmitRun {
        let keys = u128::from(random.below(1 << 60));
        let text = pipelines::ALL[random.below(pipelines::ALL.len() as u64) as usize];
        let parsed =
            runyard_pipeline::parse("runyard.yaml", text).expect("our own pipelines parse");
        SubmitRun {
            project: ProjectName::default_project(),
            idempotency: IdempotencyKey {
                principal: "ann".into(),
                key: Uid(ulid::Ulid::from_parts(START_MS + now, keys)),
                request: Digest::of(text.as_bytes()),
            },
            pipeline: parsed.pipeline,
            params: BTreeMap::new(),
            code_root: None,
            files: BTreeMap::new(),
            git: Default::default(),
            no_cache: false,
            priority: 0,
        }
    }
}
