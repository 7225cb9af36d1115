//! Two agents that answer as one node: a copied state directory, a cloned image.
//!
//! A restart shows a process nonce that was not seen before, and the old one never comes back. Two
//! processes that live take the session from each other again and again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use runyard_state::entity::Eligibility;
use runyard_state::{Command, SetEligibility};
use runyard_types::NodeName;

use crate::core::Core;

/// Alternations are counted within this time.
const WITHIN_MS: u64 = 60_000;
/// A, B, A, B: three alternations.
const SESSIONS: usize = 4;

/// A process that opened a session, as its hello and its connection describe it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) nonce: u64,
    pub(super) address: String,
    pub(super) boot_id: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A boot id is told to people only so that two hosts with one address can be told apart.
        let boot: String = self.boot_id.chars().take(8).flat_map(char::escape_default).collect();
        write!(f, "process {:016x} at {} (boot {boot})", self.nonce, self.address)
    }
}

/// The last sessions of each node.
#[derive(Debug, Default)]
pub(super) struct Clones {
    nodes: BTreeMap<NodeName, VecDeque<(u64, Process)>>,
    /// The nonce of the process that each node is taken for.
    believed: BTreeMap<NodeName, u64>,
}

impl Clones {
    /// Whether the node is taken for another process than this.
    pub(super) fn is_other(&self, node: &NodeName, nonce: u64) -> bool {
        self.believed.get(node).is_some_and(|believed| *believed != nonce)
    }

    /// From now on the node is taken for this process.
    pub(super) fn believe(&mut self, node: &NodeName, nonce: u64) {
        self.believed.insert(node.clone(), nonce);
    }

    /// Notes a session that `process` opened at `now_ms` of a clock that only goes forward. The two, in
    /// a stable order, if they alternated three times in a minute; the count then begins anew.
    pub(super) fn note(
        &mut self,
        node: &NodeName,
        now_ms: u64,
        process: Process,
    ) -> Option<(Process, Process)> {
        let seen = self.nodes.entry(node.clone()).or_default();
        match seen.back_mut() {
            // Whoever comes again alternates with nobody.
            Some((at_ms, last)) if last.nonce == process.nonce => *at_ms = now_ms,
            _ => seen.push_back((now_ms, process)),
        }
        while seen.len() > SESSIONS
            || seen.front().is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) > WITHIN_MS)
        {
            seen.pop_front();
        }
        let [(_, a), (_, b), (_, c), (_, d)] = seen.make_contiguous() else { return None };
        if a.nonce != c.nonce || b.nonce != d.nonce {
            return None;
        }
        let pair = (c.clone().min(d.clone()), c.clone().max(d.clone()));
        seen.clear();
        Some(pair)
    }
}

/// Names two agents that answer as one node, and keeps new work from both; what runs, runs on.
pub(super) async fn cordon(core: &Core, node: &NodeName, one: &Process, other: &Process) {
    tracing::error!(%node, %one, %other, "two agents answer as this node; it is cordoned");
    let view = core.truth.view();
    let Some(known) = view.state.nodes.get(node) else { return };
    let eligibility = match known.eligibility {
        Eligibility::Open => Eligibility::Cordoned,
        closed @ (Eligibility::Cordoned | Eligibility::Draining) => closed,
    };
    let command = SetEligibility {
        node: node.clone(),
        eligibility,
        reason: format!(
            "two agents answer as this node: {one} and {other}; its state directory was copied. Stop one of them and give it a directory and a join token of its own, then `runyard nodes uncordon {node}`"
        ),
        principal: "coordinator".to_owned(),
    };
    if let Err(error) = core.truth.propose(Command::SetEligibility(command)).await {
        // They go on alternating, and are found again.
        tracing::warn!(%node, %error, "the node could not be cordoned");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(nonce: u64) -> Process {
        Process { nonce, address: format!("10.0.0.{nonce}"), boot_id: "boot".into() }
    }

    /// Whether the sessions of these nonces, a second apart, show a clone at the last of them.
    fn shows(nonces: &[u64], apart_ms: u64) -> Vec<bool> {
        let node: NodeName = "gpu-7".parse().expect("a name");
        let mut clones = Clones::default();
        let note = |(at, nonce): (usize, &u64)| {
            clones.note(&node, at as u64 * apart_ms, process(*nonce)).is_some()
        };
        nonces.iter().enumerate().map(note).collect()
    }

    #[test]
    fn f29_three_alternations_in_a_minute_are_a_clone() {
        assert_eq!(shows(&[1, 2, 1, 2], 5_000), [false, false, false, true]);
        let again = shows(&[1, 2, 1, 2, 1, 2, 1, 2], 5_000);
        assert_eq!(again, [false, false, false, true, false, false, false, true]);
        assert_eq!(shows(&[9, 1, 1, 2, 2, 1, 2], 1_000).iter().filter(|seen| **seen).count(), 1);
    }

    #[test]
    fn f29_restarts_reconnections_and_slow_changes_are_none() {
        for (nonces, apart_ms) in [
            // A crash loop, one process whose connection breaks, an upgrade with a way back.
            (&[1, 2, 3, 4, 5, 6, 7, 8][..], 100),
            (&[1; 50], 100),
            (&[1, 1, 2, 2, 2, 3, 3], 100),
            (&[1, 2, 1], 100),
            // A minute has passed since the first.
            (&[1, 2, 1, 2, 1, 2], 21_000),
        ] {
            assert!(!shows(nonces, apart_ms).contains(&true), "{nonces:?}");
        }
    }

    #[test]
    fn f29_nodes_are_apart_and_the_two_are_named_in_one_order() {
        let mut clones = Clones::default();
        let names: Vec<NodeName> =
            ["a", "b"].iter().map(|name| name.parse().expect("a name")).collect();
        let mut found = Vec::new();
        for (at_ms, nonce) in [(0, 7), (1, 3), (2, 7), (3, 3)] {
            for (node, nonce) in [(&names[0], nonce), (&names[1], 10 - nonce)] {
                found.extend(clones.note(node, at_ms, process(nonce)));
            }
        }
        assert_eq!(found, [(process(3), process(7)), (process(3), process(7))]);
        let text = process(255).to_string();
        assert_eq!(text, "process 00000000000000ff at 10.0.0.255 (boot boot)");
    }
}
