//! The state as consensus replicates it.

use runyard_consensus::{RestoreError, Serialise, StateMachine};
use runyard_state::{Applied, Entry, State};
use runyard_types::{decode, encode};

/// Applies entries to the product's state.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) state: State,
    pub(crate) index: u64,
}

impl StateMachine for Machine {
    type Reply = Vec<Applied>;

    fn apply(&mut self, index: u64, data: &[u8]) -> Vec<Applied> {
        self.index = index;
        let Ok(entry) = decode::<Entry>("a log entry", data) else { return Vec::new() };
        let mut at = entry.at;
        let apply = |command| {
            let applied = self.state.apply(index, at, command);
            // The entry's time passes once, with its first command.
            at.delta = Default::default();
            applied
        };
        entry.commands.into_iter().map(apply).collect()
    }

    fn snapshot(&self) -> Serialise {
        let (state, index) = (self.state.clone(), self.index);
        Box::new(move || encode(&(index, state)))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let form = decode("a snapshot", bytes).map_err(|error| RestoreError(error.to_string()))?;
        (self.index, self.state) = form;
        Ok(())
    }
}
