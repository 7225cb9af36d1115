//! What a coordinator's refusal means to a person.

use std::error::Error as StdError;

use super::{Error, Kind};

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let message = match status.message() {
            "" => status.code().description().to_owned(),
            text => text.to_owned(),
        };
        let unreachable = |help: &str| {
            Self::new(Kind::Unreachable, "no coordinator answered").help(help.to_owned())
        };
        let error = match status.code() {
            Code::Ok => Self::new(Kind::Internal, "an answer without a message"),
            Code::Unauthenticated => Self::new(Kind::Auth, message)
                .help("log in with `runyard login ADDRESS`, or set RUNYARD_TOKEN"),
            Code::PermissionDenied => Self::new(Kind::Auth, message)
                .help("`runyard whoami` shows who you are; an admin grants roles"),
            Code::NotFound => Self::not_found(message),
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
                Self::new(Kind::Conflict, message)
            }
            Code::InvalidArgument | Code::OutOfRange => Self::usage(message),
            Code::Unavailable => {
                return unreachable("is it running? `runyard doctor` checks").because(status);
            }
            Code::DeadlineExceeded => {
                return unreachable("the call took too long; `runyard doctor` checks the way")
                    .because(status);
            }
            Code::Cancelled => Self::new(Kind::Interrupted, message),
            Code::ResourceExhausted => Self::failed(message),
            Code::Unimplemented => Self::failed("the coordinator does not know this call")
                .help("it may be older than this program: compare `runyard version`"),
            Code::Unknown if StdError::source(&status).is_some() => {
                return unreachable("`runyard doctor` checks the way").because(status);
            }
            Code::Internal | Code::DataLoss | Code::Unknown => Self::new(Kind::Internal, message),
        };
        match StdError::source(&status) {
            Some(_) => error.because(status),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_server_keep_their_kind() {
        use tonic::{Code, Status};
        let kind = |code| Error::from(Status::new(code, "x")).kind;
        assert_eq!(kind(Code::Unauthenticated), Kind::Auth);
        assert_eq!(kind(Code::PermissionDenied), Kind::Auth);
        assert_eq!(kind(Code::NotFound), Kind::NotFound);
        assert_eq!(kind(Code::FailedPrecondition), Kind::Conflict);
        assert_eq!(kind(Code::AlreadyExists), Kind::Conflict);
        assert_eq!(kind(Code::InvalidArgument), Kind::Usage);
        assert_eq!(kind(Code::Unavailable), Kind::Unreachable);
        assert_eq!(kind(Code::DeadlineExceeded), Kind::Unreachable);
        assert_eq!(kind(Code::Internal), Kind::Internal);
        assert_eq!(kind(Code::ResourceExhausted), Kind::Failed);
    }
}
