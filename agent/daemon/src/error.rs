//! Why an agent does not run.

use std::io;
use std::path::PathBuf;

/// Why an agent does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another agent has the folder.
    #[error("another agent uses `{}`; stop it, or give this one a state directory of its own", .0.display())]
    Locked(PathBuf),
    /// The folder is a copy of one of this host.
    #[error(
        "`{}` is a copy of `{original}`, made since this host was started: an agent in it would take that one's workers for dead, and kill them. Give this agent a state directory and a join token of its own; if the directory was moved and no agent runs in the old place, remove `{}` and start again",
        path.display(), mark.display()
    )]
    Copied {
        /// The folder.
        path: PathBuf,
        /// Where its agent was.
        original: String,
        /// The file that tells.
        mark: PathBuf,
    },
    /// The folder can't be used.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No identity and no token.
    #[error(
        "this agent has not joined a group yet; make a token with `runyard token create agent` and start it with `--join TOKEN@HOST:PORT`"
    )]
    NotJoined,
    /// The folder is another node's.
    #[error("`{}` is the state of node {found}, not of {wanted}; use its name, or another folder", path.display())]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// The name in its certificate.
        found: String,
        /// The name that was asked for.
        wanted: String,
    },
    /// What tells its workers from others' is lost, and there are workers.
    #[error(
        "`{}` cannot be read ({why}), and `{}` holds workers that only it can tell; put the file back, or, if none of them runs any more, move that folder away",
        path.display(), spaces.display()
    )]
    Forgotten {
        /// The file.
        path: PathBuf,
        /// The workers' folders.
        spaces: PathBuf,
        /// Why it can't be read.
        why: io::Error,
    },
    /// The folder belongs to another group than the token.
    #[error(
        "`{}` belongs to another group than the join token; give this agent a state directory of its own",
        .0.display()
    )]
    OtherGroup(PathBuf),
    /// Joining was refused.
    #[error("the group did not let this agent in: {0}")]
    Refused(String),
    /// The group can't be reached.
    #[error(transparent)]
    Dial(#[from] runyard_transport::DialError),
    /// The identity can't be read, made or kept.
    #[error(transparent)]
    Identity(#[from] runyard_transport::identity::IdentityError),
    /// The devices.
    #[error(transparent)]
    Devices(#[from] runyard_devices::DevicesError),
    /// The binary that becomes a shim.
    #[error(transparent)]
    Launch(#[from] runyard_runtime::LaunchError),
    /// The isolation that this host gives.
    #[error(transparent)]
    Probe(#[from] runyard_runtime::ProbeError),
    /// The cache of inputs.
    #[error(transparent)]
    Cache(#[from] runyard_blobs::cache::CacheError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] runyard_gateway::GatewayError),
    /// The workers that are here.
    #[error(transparent)]
    Workers(#[from] runyard_runtime::WorkerError),
}

impl AgentError {
    pub(crate) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| {
            let source = runyard_transport::explain_denied(&path, source);
            Self::Io { what, path, source }
        }
    }
}
