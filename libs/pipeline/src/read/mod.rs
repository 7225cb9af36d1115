//! First pass: the tree becomes typed drafts. Each reader reports what it finds and reads on.

mod cx;
mod data;
mod deploy;
mod draft;
mod gate;
mod matrix;
mod param;
mod python;
mod resources;
mod results;
mod root;
mod scalar;
mod stage;

pub(crate) use cx::Cx;
pub(crate) use draft::{Draft, Link, LinkKind, Spot, StageDraft};
pub(crate) use root::root;
pub(crate) use scalar::parse_float;

/// Every map of the file, for the test that holds the schema against the reader.
#[cfg(test)]
pub(crate) const SHAPES: &[(&str, &cx::Shape)] = &[
    ("File", &root::ROOT),
    ("Defaults", &stage::DEFAULTS),
    ("Stage", &stage::STAGE),
    ("Param", &param::PARAM),
    ("Input", &data::INPUT),
    ("Output", &data::OUTPUT),
    ("Resources", &resources::RESOURCES),
    ("Gpu", &resources::GPU),
    ("Matrix", &matrix::MATRIX),
    ("Retry", &stage::RETRY),
    ("Python", &python::PYTHON),
    ("Results", &results::RESULTS),
    ("Gate", &gate::GATE),
    ("Against", &gate::AGAINST),
    ("Check", &gate::CHECK),
    ("Promote", &gate::PROMOTE),
    ("Deploy", &deploy::DEPLOY),
    ("Ready", &deploy::READY),
    ("Rollout", &deploy::ROLLOUT),
];
