//! What the first pass leaves for the second: stages with the places of what is still to be checked.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::{Name, PipelineName, StageName};

use crate::model::{Param, Stage};

/// A file as read, its references not yet followed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: Option<PipelineName>,
    pub(crate) params: BTreeMap<Name, (Param, Range<usize>)>,
    /// The declarations that were refused too: their names are known.
    pub(crate) param_names: Vec<(Name, Range<usize>)>,
    /// In the order of the file.
    pub(crate) stages: Vec<StageDraft>,
}

/// A stage as read.
#[derive(Debug)]
pub(crate) struct StageDraft {
    pub(crate) stage: Stage,
    /// The stage's key.
    pub(crate) span: Range<usize>,
    pub(crate) links: Vec<Link>,
    pub(crate) spans: BTreeMap<Spot, Range<usize>>,
}

/// Parts of a stage whose place the second pass needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spot {
    Condition,
    Run,
    Matrix,
    GateResults,
    Against,
    Promote,
    Checks,
    Launch,
    Input(Name),
    Output(Name),
    Axis(Name),
    Env(String),
}

/// A mention of another stage.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) to: StageName,
    pub(crate) output: Option<Name>,
    pub(crate) span: Range<usize>,
    pub(crate) kind: LinkKind,
}

/// In what a stage is mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Needs,
    Input,
    Results,
    Promote,
    Expression,
}

impl LinkKind {
    /// How a message says that one stage waits for another by it.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Needs => "needs",
            Self::Input => "takes an output of",
            Self::Results => "judges",
            Self::Promote => "promotes an output of",
            Self::Expression => "asks about",
        }
    }
}

impl StageDraft {
    /// The place of a part, or else of the stage.
    pub(crate) fn spot(&self, spot: &Spot) -> Range<usize> {
        self.spans.get(spot).unwrap_or(&self.span).clone()
    }
}
