//! What goes wrong for a person: a kind, the chain of causes, a remedy. The kind is the exit code.

mod status;

use std::error::Error as StdError;
use std::fmt;

/// What kind of thing went wrong, each with an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command or the run did not succeed.
    Failed,
    /// Cancelled or declined.
    Cancelled,
    /// Wrong usage or an invalid pipeline.
    Usage,
    /// Not logged in, or a role is missing.
    Auth,
    /// There is no such thing.
    NotFound,
    /// Something else is already there, or a precondition does not hold.
    Conflict,
    /// A gate said no.
    GateRejected,
    /// A wait ended before its condition held.
    Pending,
    /// A gate could not tell.
    GateInconclusive,
    /// No coordinator answered.
    Unreachable,
    /// A bug of ours.
    Internal,
    /// Ctrl-C.
    Interrupted,
    /// Whoever read our output has gone; nothing is wrong.
    OutputClosed,
}

impl Kind {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Usage => "usage",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::GateRejected => "gate_rejected",
            Self::Pending => "pending",
            Self::GateInconclusive => "gate_inconclusive",
            Self::Unreachable => "unreachable",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::OutputClosed => "output_closed",
        }
    }

    /// The exit code; the list stands in the manual and never changes.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed => 1,
            Self::Cancelled => 2,
            Self::Usage => 3,
            Self::Auth => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::GateRejected => 7,
            Self::Pending => 8,
            Self::GateInconclusive => 9,
            Self::Unreachable => 69,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// An error as it is shown: once, with its causes and a remedy.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What every verb returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// How a verb that did its work ended: the exit code of what it reports on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// All is well.
    pub(crate) const OK: Self = Self(0);
    /// The exit code of a kind.
    pub(crate) const fn of(kind: Kind) -> Self {
        Self(kind.code())
    }
}

impl Error {
    /// An error of a kind, told in one sentence that names the thing.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None, source: None }
    }
    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// No such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    /// The command failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }
    /// Adds what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Adds the cause.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
    /// Replaces the sentence.
    pub(crate) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The sentences of the causes, each once.
    fn causes(&self) -> Vec<String> {
        let mut shown = self.message.clone();
        let mut sentences = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            let sentence = error.to_string();
            // Wrappers like to repeat what they wrap.
            if !shown.contains(&sentence) {
                shown.push_str(&sentence);
                sentences.push(sentence);
            }
            cause = error.source();
        }
        sentences
    }

    /// The form for programs: `{"error": {kind, code, message, causes, help}}`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "kind": self.kind.name(),
            "code": self.kind.code(),
            "message": self.message,
            "causes": self.causes(),
            "help": self.help,
        }})
    }

    /// The text for a terminal: the sentence, each cause once, the remedy.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        for cause in self.causes() {
            text.push_str(&format!("  because: {}\n", cause.replace('\n', "\n           ")));
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("  help: {}\n", help.replace('\n', "\n        ")));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

impl From<runyard_proto::JsonError> for Error {
    fn from(error: runyard_proto::JsonError) -> Self {
        Self::new(Kind::Internal, "cannot write a message as JSON").because(error)
    }
}

/// Adds a sentence and a kind to a failed file operation or the like.
pub(crate) trait Context<T> {
    /// What was tried, on what.
    fn context(self, kind: Kind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context(self, kind: Kind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(kind, message()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        use Kind::*;
        let codes = [
            (Failed, 1),
            (Cancelled, 2),
            (Usage, 3),
            (Auth, 4),
            (NotFound, 5),
            (Conflict, 6),
            (GateRejected, 7),
            (Pending, 8),
            (GateInconclusive, 9),
            (Unreachable, 69),
            (Internal, 70),
            (Interrupted, 130),
        ];
        for (kind, code) in codes {
            assert_eq!(kind.code(), code, "{kind:?}");
        }
    }

    #[test]
    fn causes_are_told_once_and_the_remedy_last() {
        let io = std::io::Error::other("disk on fire");
        let text = Error::failed("cannot write `a.yaml`")
            .because(Error::failed("cannot write `a.yaml`").because(io))
            .help("move it away")
            .render();
        assert_eq!(
            text,
            "error: cannot write `a.yaml`\n  because: disk on fire\n  help: move it away\n"
        );
    }
}
