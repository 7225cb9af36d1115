//! The spool: a worker's output on disk, framed by its shim, read by its agent.
//!
//! `spool/` holds segments `<offset of its first byte, 20 digits>.seg` of records. All records of
//! a worker share one offset space, in order of arrival: the bytes of stdout and stderr together,
//! counted from 0, dropped ones included. So a gap in the offsets is a cut, and its size is known.
//! The format is part of the frozen protocol v1.

mod reader;
mod record;
mod writer;

pub use reader::{SpoolError, SpoolReader};
pub use record::{Body, CutReason, Record, Stream};
pub use writer::SpoolWriter;

use std::path::{Path, PathBuf};

/// The file in which the shim keeps the range that the quota has cut so far.
const CUT_FILE: &str = "cut";

fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.seg"))
}

fn segment_start(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}
