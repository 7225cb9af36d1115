//! Which entry is whose proposal.

use std::collections::BTreeMap;

use raft::{RawNode, StateRole};

use super::{io::Answer, tail::Tail};
use crate::{error::ProposeError, ids::PeerId};

/// Raft gives proposals no id; but a leader's entry is known by its index and term.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// By index: term and proposal.
    pending: BTreeMap<u64, (u64, u64)>,
    term: u64,
}

impl Proposals {
    pub(super) fn propose(
        &mut self,
        raw: &mut RawNode<Tail>,
        id: u64,
        data: Vec<u8>,
        limit: usize,
    ) -> Result<(), ProposeError> {
        // A follower's raft would forward it silently.
        if raw.raft.state != StateRole::Leader {
            let hint = Some(raw.raft.leader_id).filter(|id| *id != 0).map(PeerId);
            return Err(ProposeError::NotLeader { hint });
        }
        // An empty entry is a new leader's; nobody else may make one.
        if data.is_empty() || data.len() > limit {
            return Err(ProposeError::TooLarge { bytes: data.len(), limit });
        }
        // The one reason left is the bound on what is uncommitted, or a hand-over under way.
        raw.propose(Vec::new(), data).map_err(|_| ProposeError::Busy)?;
        self.term = raw.raft.term;
        self.pending.insert(raw.raft.raft_log.last_index(), (self.term, id));
        Ok(())
    }

    /// The proposal that this committed entry is.
    pub(super) fn committed(&mut self, index: u64, term: u64) -> Option<u64> {
        let (proposed_in, id) = self.pending.remove(&index)?;
        (proposed_in == term).then_some(id)
    }

    /// A leader that is none any more, or leads anew, cannot know what became of its entries.
    pub(super) fn fail_if_deposed(&mut self, term: u64, leads: bool, answers: &mut Vec<Answer>) {
        if leads && term == self.term {
            return;
        }
        let failed = std::mem::take(&mut self.pending).into_values();
        answers.extend(failed.map(|(_, id)| Answer::Refused { id, error: ProposeError::Unknown }));
    }

    pub(super) fn count(&self) -> usize {
        self.pending.len()
    }
}
