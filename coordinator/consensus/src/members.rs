//! Who belongs to the group at one index of its log.

use raft::eraftpb::ConfState;

use crate::log::codec::{Malformed, Reader, put_u32, put_u64};

/// The members of the group as of one index. During a change of membership two majorities are
/// needed: that of `voters` and that of `voters_outgoing`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Peers that vote.
    pub voters: Vec<u64>,
    /// Peers that only follow.
    pub learners: Vec<u64>,
    /// Voters of the membership being left.
    pub voters_outgoing: Vec<u64>,
    /// Peers that become learners when the change is complete.
    pub learners_next: Vec<u64>,
    /// Whether the change completes by itself.
    pub auto_leave: bool,
}

/// More members than any group has; a larger count in a file is damage.
const MEMBERS_MAX: u32 = 1024;

impl Members {
    /// A group whose voters are `voters` and that has no learner.
    pub fn of_voters(voters: Vec<u64>) -> Self {
        Self { voters, ..Self::default() }
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..ConfState::default()
        }
    }

    pub(crate) fn from_raft(from: &ConfState) -> Self {
        Self {
            voters: from.voters.clone(),
            learners: from.learners.clone(),
            voters_outgoing: from.voters_outgoing.clone(),
            learners_next: from.learners_next.clone(),
            auto_leave: from.auto_leave,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for list in [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next] {
            put_u32(out, u32::try_from(list.len()).expect("a group has few members"));
            for id in list {
                put_u64(out, *id);
            }
        }
        out.push(u8::from(self.auto_leave));
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut list = || -> Result<Vec<u64>, Malformed> {
            let count = from.u32()?;
            if count > MEMBERS_MAX {
                return Err(Malformed("a list of members is too long"));
            }
            (0..count).map(|_| from.u64()).collect()
        };
        let (voters, learners) = (list()?, list()?);
        let (voters_outgoing, learners_next) = (list()?, list()?);
        let auto_leave = from.u8()? != 0;
        Ok(Self { voters, learners, voters_outgoing, learners_next, auto_leave })
    }
}
