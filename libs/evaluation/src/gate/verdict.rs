//! The four verdicts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a condition, a check or a gate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies on the good side.
    Pass,
    /// The interval lies on the bad side: it is known to be worse than allowed.
    Fail,
    /// The interval straddles the bound; more examples would tell.
    Inconclusive,
    /// The question cannot be answered with these results. Never a pass.
    CannotTest,
}

impl Verdict {
    /// What several come to when all must hold: the gravest of them.
    pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let gravity = |verdict: &Verdict| match verdict {
            Self::Pass => 0,
            Self::Inconclusive => 1,
            Self::CannotTest => 2,
            Self::Fail => 3,
        };
        verdicts.into_iter().max_by_key(gravity).unwrap_or(Self::CannotTest)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::CannotTest => "cannot test",
        })
    }
}
