//! What a gate is decided from.

use super::spec::GateSpec;
use crate::results::Results;

/// One model and its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// What people call it (`digits@3`).
    pub label: String,
    /// The digest of its artifact.
    pub model: String,
    /// The content key of the evaluation without its swapped model.
    pub evaluation_key: String,
    /// Its results.
    pub results: Results,
}

/// What the candidate is compared with.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a decision holds three at most")]
pub enum Against {
    /// There is no champion yet, or the gate names none.
    Nothing,
    /// Its results.
    Model(Side),
    /// There is one, but it could not be evaluated; the reason, its stderr included.
    Broken(String),
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// The rule.
    pub spec: &'a GateSpec,
    /// The model that wants to be promoted.
    pub candidate: &'a Side,
    /// The live one.
    pub champion: &'a Against,
    /// A fixed older version, to bound what a chain of promotions may lose.
    pub anchor: &'a Against,
    /// Names the random streams.
    pub seed: u64,
    /// How often this evaluation set has been used to judge before. p values grow optimistic as
    /// it does.
    pub set_uses: u32,
}
