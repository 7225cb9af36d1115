//! What a parsed file says: the types that runs keep. Growth is by optional fields.

mod data;
mod deploy;
mod gate;
mod param;
mod pipeline;
mod stage;

pub use data::{Collect, Input, ModelAt, ModelRef, Output, Source};
pub use deploy::{Canary, Deploy, Protocol, Ready};
pub use gate::{Against, Check, Correction, Gate, Goal, IfNone, Inconclusive, OnFail, Promote};
pub use param::{Param, ParamType, ParamValue};
pub use pipeline::Pipeline;
pub use stage::{
    Args, ErrorRows, Matrix, Missing, Priority, Python, PythonSource, Results, Retry, RetryOn,
    Stage, StageKind,
};
