//! An error printed once, and its exit code.

use crate::app::Global;
use crate::errors::{Error, Exit, Kind};

/// Prints an error on stderr: for people, or as JSON where JSON was asked for.
pub(crate) fn report(error: &Error, global: &Global) -> Exit {
    use std::io::Write as _;
    let exit = Exit::of(error.kind);
    if error.kind == Kind::OutputClosed {
        return exit;
    }
    let json =
        global.json || matches!(global.output, Some(super::Format::Json | super::Format::Jsonl));
    let text = match json {
        true => format!("{}\n", error.to_json()),
        false => sanitised(&error.render()),
    };
    // Nobody is left to be told if stderr is closed.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    exit
}

/// Messages may quote what others wrote.
fn sanitised(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", super::plain(line))).collect()
}
