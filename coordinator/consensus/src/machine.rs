//! What is replicated.

use crate::error::{CannotApply, RestoreError};

/// Turns a captured state into bytes; runs on a thread of its own.
pub type Serialise = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// A deterministic state machine: the same entries in the same order make the same state.
///
/// One thread owns it. Whoever wants to look at the state gets what the machine publishes.
pub trait StateMachine: Send + 'static {
    /// What a proposer gets back.
    type Reply: Send + 'static;

    /// Whether this program can apply the committed entry that comes next; [`apply`](Self::apply) of it
    /// follows. The answer must depend on the bytes and the program only.
    ///
    /// # Errors
    ///
    /// If it cannot: the peer stops before the entry, which stays in the log for a program that can.
    fn admit(&mut self, _index: u64, _data: &[u8]) -> Result<(), CannotApply> {
        Ok(())
    }

    /// Takes one committed entry. `index` grows with each call, not always by one. Must not fail
    /// and must not panic: a refusal is a `Reply`.
    fn apply(&mut self, index: u64, data: &[u8]) -> Self::Reply;

    /// All up to `index` is applied and the replies are about to go out: the place to publish a
    /// new view, so that whoever has a reply sees its effect.
    fn publish(&mut self, _index: u64) {}

    /// Captures the state in O(1), so that serialising it stops nobody.
    fn snapshot(&self) -> Serialise;

    /// Replaces the state by one that [`snapshot`](Self::snapshot) made, perhaps on another peer.
    /// The bytes' checksum was verified.
    ///
    /// # Errors
    ///
    /// If they are of a version that this one does not understand.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}
