//! Calls of the command line.

use std::path::Path;
use std::process::Output;

/// What a call of the command line came to.
#[derive(Debug)]
pub struct Said {
    /// The call, for messages.
    pub call: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its data.
    pub stdout: String,
    /// All else that it said.
    pub stderr: String,
}

impl Said {
    pub(crate) fn new(call: String, output: Output) -> Self {
        Self {
            call,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Holds it to an exit code.
    ///
    /// # Panics
    /// When it has another one; what it said is in the message.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code} of {self}");
        self
    }

    /// Its data as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}) from {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { call, code, stdout, stderr } = self;
        write!(f, "`{call}`, which exited with {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// Writes files below a folder.
///
/// # Panics
/// When one can't be written.
pub fn write_files(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs_err::create_dir_all(path.parent().expect("it lies below a folder")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }
}
