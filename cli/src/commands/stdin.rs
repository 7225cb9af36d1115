//! Names given on the command line, or on stdin for `-`.

use std::io::Read;

use crate::errors::{Context, Error, Kind, Result};

/// The most that is read from stdin, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Names as given; `-` stands for those on stdin, separated by white space.
pub(crate) fn names(given: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for name in given {
        if name == "-" {
            names.extend(text()?.split_whitespace().map(str::to_owned));
        } else {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// One name; `-` reads it from stdin.
pub(crate) fn name(given: &str) -> Result<String> {
    let mut names = names(std::slice::from_ref(&given.to_owned()))?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(Error::usage("stdin has no name")),
        (Some(_), false) => Err(Error::usage("stdin has several names; this verb takes one")),
    }
}

/// All of stdin.
pub(crate) fn text() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(BYTES_MAX)
        .read_to_string(&mut text)
        .context(Kind::Failed, || "cannot read stdin".into())?;
    Ok(text)
}
