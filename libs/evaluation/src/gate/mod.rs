//! Gates: is a candidate good enough, and no worse than the champion?

mod amount;
mod conditions;
mod decide;
mod estimator;
mod evaluate;
mod format;
mod input;
mod join;
mod markdown;
mod record;
mod sample;
mod seed;
mod spec;
mod text;
mod verdict;

pub use amount::{AmountError, parse_amount};
pub use decide::{RecomputeError, decide};
pub use input::{Against, GateInput, Side};
pub use record::{
    CheckRecord, ConditionKind, ConditionRecord, DecisionRecord, RECORD_FORMAT, RecordError,
    SideRecord, TestRecord,
};
pub use spec::{
    CheckSpec, Correction, GateSpec, Goal, IfNone, Inconclusive, MethodName, OnFail, SpecError,
    Stat,
};
pub(crate) use text::printable;
pub use verdict::Verdict;
