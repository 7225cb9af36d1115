//! A coordinator's directory: who it is, its keys, and its first token.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use runyard_consensus::{Founding, GroupId, OsDisk, PeerId, StartError};
use runyard_transport::ca::{Ca, CaError};
use runyard_transport::token::UserToken;
use runyard_transport::{SecretFileError, certificate_from_pem, certificate_to_pem};
use runyard_types::Digest;
use serde::{Deserialize, Serialize};

/// The size of a log segment; two are always there.
const SEGMENT_BYTES: u64 = 8 << 20;

/// How a coordinator is started.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its directory, made by [`init`].
    pub dir: PathBuf,
    /// The address for users and agents.
    pub listen: std::net::SocketAddr,
    /// Host names and addresses under which it is reached, for its certificate; `listen`'s is added.
    pub hosts: Vec<String>,
    /// The program that is started for a gate's statistics.
    pub program: PathBuf,
}

/// Why a directory was not made, or not read.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("cannot make the log in {}", dir.display())]
    Log {
        dir: PathBuf,
        #[source]
        source: StartError,
    },
    #[error("cannot make the group's certificate authority")]
    Ca(#[from] CaError),
    #[error("cannot use the secret in {}", path.display())]
    Secret {
        path: PathBuf,
        #[source]
        source: SecretFileError,
    },
    #[error("cannot use {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has a group already; start it with `runyard server`, or name another directory", dir.display())]
    Exists { dir: PathBuf },
    #[error("{} has no group; make one with `runyard server init`", dir.display())]
    Missing { dir: PathBuf },
    #[error("{} is damaged: {what}; restore it from a copy", path.display())]
    Damaged { path: PathBuf, what: String },
}

impl InitError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| {
            let source = runyard_transport::explain_denied(&path, error);
            Self::Io { path, source }
        }
    }
}

/// What `server init` made.
#[derive(Debug)]
pub struct Initialised {
    pub group: String,
    /// The first admin's token; it is kept nowhere else in clear but in `admin_file`.
    pub token: String,
    pub ca_pem: String,
    pub pin: String,
    /// The 0600 file with the token.
    pub admin_file: PathBuf,
}

/// The directory's own description.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) group: String,
    pub(crate) peer: u64,
    pub(crate) ca_pem: String,
    /// Name, id and hash of the first token, which the first start puts into the state.
    pub(crate) first_token: (String, Digest),
}

const FORMAT: u32 = 1;

pub(crate) fn raft_dir(dir: &Path) -> PathBuf {
    dir.join("raft")
}

pub(crate) fn store_dir(dir: &Path) -> PathBuf {
    dir.join("blobs")
}

pub(crate) fn read_model_dir(dir: &Path) -> PathBuf {
    dir.join("read-model")
}

fn identity_path(dir: &Path) -> PathBuf {
    dir.join("group.json")
}

fn key_path(dir: &Path) -> PathBuf {
    dir.join("ca.key")
}

/// Makes a new group of one in `dir`. The description is written last: a directory without it is none.
pub fn init(dir: &Path) -> Result<Initialised, InitError> {
    fs_err::create_dir_all(dir).map_err(InitError::io(dir))?;
    set_private(dir)?;
    if identity_path(dir).exists() {
        return Err(InitError::Exists { dir: dir.to_owned() });
    }
    let group = ulid::Ulid::generate();
    let peer = PeerId((ulid::Ulid::generate().0 as u64).max(1));
    let ca = Ca::create(&group.to_string(), SystemTime::now())?;
    let token = UserToken::generate();
    let founding = Founding {
        group: GroupId(group.0),
        peer,
        generation: 1,
        voters: vec![peer],
        segment_bytes: SEGMENT_BYTES,
    };
    runyard_consensus::init(&raft_dir(dir), &OsDisk, &founding)
        .map_err(|source| InitError::Log { dir: dir.to_owned(), source })?;
    let write = |path: &Path, text: &str| {
        runyard_transport::write_secret(path, text)
            .map_err(|source| InitError::Secret { path: path.to_owned(), source })
    };
    write(&key_path(dir), &hex::encode(ca.key_der()))?;
    let admin_file = dir.join("admin.token");
    write(&admin_file, &token.expose())?;
    let ca_pem = certificate_to_pem(ca.certificate());
    let identity = Identity {
        format: FORMAT,
        group: group.to_string(),
        peer: peer.0,
        ca_pem: ca_pem.clone(),
        first_token: (token.id.as_str().to_owned(), token.hash()),
    };
    let text = serde_json::to_string_pretty(&identity).map_err(|error| InitError::Damaged {
        path: identity_path(dir),
        what: error.to_string(),
    })?;
    write(&identity_path(dir), &text)?;
    Ok(Initialised {
        group: identity.group,
        token: token.expose(),
        ca_pem,
        pin: ca.pin().to_string(),
        admin_file,
    })
}

fn set_private(dir: &Path) -> Result<(), InitError> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(InitError::io(dir))
}

/// Fails where this process can't write: said before anything is begun, with the folder's name.
pub(crate) fn check_writable(dir: &Path) -> Result<(), InitError> {
    let inner = [raft_dir(dir), store_dir(dir), read_model_dir(dir)];
    for folder in
        std::iter::once(dir.to_owned()).chain(inner.into_iter().filter(|one| one.exists()))
    {
        let probe = folder.join(format!(".probe.{:016x}", ulid::Ulid::generate().0 as u64));
        fs_err::write(&probe, b"")
            .and_then(|()| fs_err::remove_file(&probe))
            .map_err(InitError::io(&folder))?;
    }
    Ok(())
}

/// Reads who the directory belongs to, with the authority's key.
pub(crate) fn load(dir: &Path) -> Result<(Identity, Ca), InitError> {
    let path = identity_path(dir);
    // A folder that can't be looked into is not an empty one.
    if !path.try_exists().map_err(InitError::io(&path))? {
        return Err(InitError::Missing { dir: dir.to_owned() });
    }
    let read = |path: &Path| {
        runyard_transport::read_secret(path)
            .map_err(|source| InitError::Secret { path: path.to_owned(), source })
    };
    let damaged = |path: &Path, what: String| InitError::Damaged { path: path.to_owned(), what };
    let identity: Identity =
        serde_json::from_str(&read(&path)?).map_err(|error| damaged(&path, error.to_string()))?;
    if identity.format > FORMAT {
        return Err(damaged(
            &path,
            format!("format {} is newer than this program", identity.format),
        ));
    }
    let key_file = key_path(dir);
    let key = hex::decode(read(&key_file)?.trim())
        .map_err(|error| damaged(&key_file, error.to_string()))?;
    let certificate = certificate_from_pem(&identity.ca_pem)
        .map_err(|error| damaged(&path, error.to_string()))?;
    let ca = Ca::from_der(certificate.as_ref(), &key)?;
    Ok((identity, ca))
}
