//! What is needed to list, filter and search: derived from the state's events, deletable at any time.
//!
//! Invariant: nothing is decided by what stands here, and a broken read model stops no write.

mod error;
mod follow;
mod keys;
mod meta;
mod query;
mod row;
mod store;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use error::ReadModelError;
pub(crate) use follow::follow;
pub(crate) use query::RunQuery;
pub(crate) use store::ReadModel;
