//! What comes from other peers, and leaves for them.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::{Core, Outputs, tail};
use crate::ids::PeerId;

impl Core {
    /// A message from outside is data to distrust: size, form, addressee and kind are checked.
    pub(super) fn message(&mut self, bytes: &[u8], out: &mut Outputs) {
        if bytes.len() > self.config.max_message_bytes {
            out.refused_messages += 1;
            return;
        }
        let mut message = Message::default();
        let whole = message.merge_from_bytes(bytes).is_ok();
        // Proposals are forwarded by the server, which knows who asks; never by raft.
        let foreign = message.to != self.config.peer.0
            || message.from == self.config.peer.0
            || message.get_msg_type() == MessageType::MsgPropose;
        if !whole || foreign {
            out.refused_messages += 1;
            return;
        }
        // A follower that applies slower than it receives must not fill its memory.
        let full = self.backlog_bytes > self.config.max_backlog_bytes;
        if full && message.get_msg_type() == MessageType::MsgAppend && !message.entries.is_empty() {
            return;
        }
        // Nobody who is still restoring a snapshot stands for election.
        if message.get_msg_type() == MessageType::MsgTimeoutNow && self.restoring.is_some() {
            return;
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.offer(message, out);
        } else {
            self.step_raft(message);
        }
    }

    /// Raft's snapshot message only names the file. It is stepped when the file is here.
    fn offer(&mut self, message: Message, out: &mut Outputs) {
        match tail::mark_of(message.get_snapshot()) {
            Some(mark) if mark.index > self.raw.raft.raft_log.committed => {
                let from = PeerId(message.from);
                self.offered = Some((mark.clone(), message));
                out.fetch_snapshot = Some((from, mark));
            }
            // Already here; raft answers with how far it is.
            Some(_) => self.step_raft(message),
            None => out.refused_messages += 1,
        }
    }

    pub(super) fn step_raft(&mut self, message: Message) {
        // The errors are: a response of a stranger, a local kind. Both are only dropped.
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(%error, "raft message dropped");
        }
    }

    /// Gives leadership to the voter that is furthest and alive.
    pub(super) fn hand_over(&mut self) {
        if !self.leads() {
            return;
        }
        let own = self.config.peer.0;
        let voters = self.members.voters.iter().filter(|id| **id != own);
        let best = voters
            .filter_map(|id| Some((*id, self.raw.raft.prs().get(*id)?)))
            .filter(|(_, progress)| progress.recent_active)
            .max_by_key(|(id, progress)| (progress.matched, std::cmp::Reverse(*id)));
        if let Some((id, _)) = best {
            self.raw.transfer_leader(id);
        }
    }
}
