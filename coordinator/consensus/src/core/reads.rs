//! Linearizable reads by ReadIndex: many reads, one question to the majority.

use std::collections::{BTreeMap, VecDeque};

use raft::{RawNode, ReadState, StateRole};

use super::{io::Answer, leads_new_term, tail::Tail};
use crate::error::ReadError;

/// Reads that may wait for a leader or a majority at once.
const READS_MAX: usize = 10_000;

/// Elections' lengths that a read may wait.
const PATIENCE: u64 = 5;

/// The reads that wait.
#[derive(Debug)]
pub(super) struct Reads {
    peer: u64,
    incarnation: u64,
    election_ticks: u64,
    counter: u64,
    now: u64,
    /// Not asked yet: (read, tick).
    waiting: VecDeque<(u64, u64)>,
    /// Asked, by counter.
    asked: BTreeMap<u64, Question>,
    count: usize,
    term: u64,
}

#[derive(Debug)]
struct Question {
    reads: Vec<(u64, u64)>,
    at: u64,
}

impl Reads {
    pub(super) fn new(peer: u64, incarnation: u64, election_ticks: usize) -> Self {
        Self {
            peer,
            incarnation,
            election_ticks: election_ticks as u64,
            counter: 0,
            now: 0,
            waiting: VecDeque::new(),
            asked: BTreeMap::new(),
            count: 0,
            term: 0,
        }
    }

    pub(super) fn add(&mut self, id: u64, answers: &mut Vec<Answer>) {
        if self.count >= READS_MAX {
            answers.push(Answer::ReadRefused { id, error: ReadError::Busy });
            return;
        }
        self.count += 1;
        self.waiting.push_back((id, self.now));
    }

    /// Asks for all reads that wait, if there is somebody to ask. Raft drops a question silently
    /// when the leader is new or unknown, so it is asked only when it can be heard, and again
    /// when the term changed or no answer came.
    pub(super) fn ask(&mut self, raw: &mut RawNode<Tail>) {
        let raft = &raw.raft;
        if raft.term != self.term {
            self.term = raft.term;
            let lost = std::mem::take(&mut self.asked).into_values();
            self.waiting.extend(lost.flat_map(|question| question.reads));
        }
        let heard =
            leads_new_term(raw) || (raft.state == StateRole::Follower && raft.leader_id != 0);
        if !heard || self.waiting.is_empty() {
            return;
        }
        self.counter += 1;
        let reads = std::mem::take(&mut self.waiting).into();
        self.asked.insert(self.counter, Question { reads, at: self.now });
        raw.read_index(self.context(self.counter));
    }

    pub(super) fn confirmed(&mut self, states: Vec<ReadState>, answers: &mut Vec<Answer>) {
        for state in states {
            let Some(counter) = self.counter_of(&state.request_ctx) else { continue };
            let Some(question) = self.asked.remove(&counter) else { continue };
            self.count -= question.reads.len();
            let index = state.index;
            answers.extend(question.reads.iter().map(|(id, _)| Answer::ReadAt { id: *id, index }));
        }
    }

    pub(super) fn tick(&mut self, answers: &mut Vec<Answer>) {
        self.now += 1;
        let unheard = self.now.saturating_sub(self.election_ticks);
        let again: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, q)| q.at < unheard)
            .map(|(counter, _)| *counter)
            .collect();
        for counter in again {
            if let Some(question) = self.asked.remove(&counter) {
                self.waiting.extend(question.reads);
            }
        }
        let oldest = self.now.saturating_sub(PATIENCE * self.election_ticks);
        let before = self.waiting.len();
        self.waiting.retain(|(id, since)| {
            let late = *since < oldest;
            if late {
                answers.push(Answer::ReadRefused { id: *id, error: ReadError::Timeout });
            }
            !late
        });
        self.count -= before - self.waiting.len();
    }

    /// Unique over all peers and starts, so that no late answer is taken for another question's.
    fn context(&self, counter: u64) -> Vec<u8> {
        [self.peer, self.incarnation, counter].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn counter_of(&self, context: &[u8]) -> Option<u64> {
        let (prefix, counter) = context.split_at_checked(16)?;
        let counter = u64::from_le_bytes(counter.try_into().ok()?);
        (prefix == &self.context(counter)[..16]).then_some(counter)
    }
}
