//! Starting a coordinator and stopping it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use runyard_blobs::{BlobService, LocalStore, StoreError};
use runyard_consensus::{Config, Fatal, FatalHook, GroupId, OsDisk, PeerId, StartError};
use runyard_proto::agent::agent_server::AgentServer;
use runyard_proto::agent::enrol_server::EnrolServer;
use runyard_proto::v1::blobs_server::BlobsServer;
use runyard_proto::v1::fleet_server::FleetServer;
use runyard_proto::v1::models_server::ModelsServer;
use runyard_proto::v1::runs_server::RunsServer;
use runyard_state::entity::TokenKind;
use runyard_state::{Command, CreateToken};
use runyard_transport::limits::{MESSAGE_BYTES_MAX, server};
use runyard_transport::server_tls::ListenError;
use runyard_transport::{Audience, listen, raise_descriptor_limit, task};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::{self, Certificate};
use crate::config::{self, InitError, ServerConfig};
use crate::core::{Core, Group};
use crate::live::Live;
use crate::logs::Tails;
use crate::readmodel::ReadModel;
use crate::services::{FleetService, ModelsService, RunsService};
use crate::session::{AgentService, EnrolService};
use crate::truth::{Machine, Published, Truth};
use crate::{access, http, reconcile, revocation};

/// How long the log's replay may take before the start is given up.
const REPLAY_MAX: Duration = Duration::from_secs(600);
/// How long open calls may take to end when the coordinator stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a coordinator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error("cannot start from {}", dir.display())]
    Consensus {
        dir: PathBuf,
        #[source]
        source: Box<StartError>,
    },
    #[error("the log in {} was not replayed within {} s", dir.display(), REPLAY_MAX.as_secs())]
    Replay { dir: PathBuf },
    /// The log has an entry that this program does not understand.
    #[error("{0}")]
    Stopped(String),
    #[error("cannot open the blob store in {}", dir.display())]
    Store {
        dir: PathBuf,
        #[source]
        source: Box<StoreError>,
    },
    #[error("cannot serve users and agents")]
    Listen(#[from] ListenError),
    #[error("cannot make the server's certificate")]
    Certificate(#[from] runyard_transport::ca::CaError),
    #[error(transparent)]
    Renew(#[from] certificate::RenewError),
    #[error("serving broke off")]
    Serve(#[source] tonic::transport::Error),
    #[error("a background thread was lost while {0}")]
    Lost(&'static str),
}

/// A coordinator that serves.
#[derive(Debug)]
pub struct Started {
    /// The address that was bound, with its port.
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    stopped: Arc<OnceLock<String>>,
    core: Core,
}

/// Starts a coordinator; it serves when this returns.
pub async fn start(config: ServerConfig, stop: CancellationToken) -> Result<Started, ServerError> {
    // Before the listener asks how many connections it may keep.
    raise_descriptor_limit();
    let (identity, ca) = config::load(&config.dir)?;
    config::check_writable(&config.dir)?;
    let published = Published::new();
    let machine = Machine::new(Arc::clone(&published));
    let raft_dir = config::raft_dir(&config.dir);
    let group_number = ulid::Ulid::from_string(&identity.group).map_or(0, |group| group.0);
    let stopped = Arc::new(OnceLock::new());
    let consensus = {
        let mut settings =
            Config::new(raft_dir.clone(), GroupId(group_number), PeerId(identity.peer));
        settings.on_fatal = on_fatal(settings.on_fatal, &stopped, &stop);
        let (dir, stopped) = (raft_dir.clone(), Arc::clone(&stopped));
        tokio::task::spawn_blocking(move || {
            let handle = runyard_consensus::start(settings, Arc::new(OsDisk), machine).map_err(
                |source| ServerError::Consensus { dir: dir.clone(), source: Box::new(source) },
            )?;
            match (handle.wait_ready(REPLAY_MAX), stopped.get()) {
                (true, _) => Ok(handle),
                (false, Some(why)) => Err(ServerError::Stopped(why.clone())),
                (false, None) => Err(ServerError::Replay { dir }),
            }
        })
        .await
        .map_err(|_| ServerError::Lost("starting consensus"))??
    };
    let generation = consensus.status().identity.generation;
    for note in &consensus.status().notes {
        tracing::warn!(%note, "found at the start");
    }
    let truth = Truth::new(consensus, published);

    let store_dir = config::store_dir(&config.dir);
    let store = {
        let dir = store_dir.clone();
        tokio::task::spawn_blocking(move || LocalStore::open(&dir))
            .await
            .map_err(|_| ServerError::Lost("opening the blob store"))?
            .map_err(|source| ServerError::Store { dir: store_dir, source: Box::new(source) })?
    };
    let mut hosts = config.hosts.clone();
    hosts.push(config.listen.ip().to_string());
    hosts.push("localhost".to_owned());
    let tls = ca.issue_server(&hosts, SystemTime::now())?;
    let listener = listen(config.listen, Audience::UsersAndAgents, &tls).await?;
    let certificate = Certificate::new(hosts, listener.reloader(), &tls)?;
    let address = listener.local_addr();
    let host = config.hosts.first().cloned().unwrap_or_else(|| address.ip().to_string());
    let read_model = ReadModel::open(&config::read_model_dir(&config.dir));
    let core = Core {
        truth,
        live: Arc::new(Live::new()),
        store: Arc::new(store),
        tails: Arc::new(Tails::default()),
        read_model: Arc::new(read_model),
        group: Arc::new(Group {
            ca,
            id: identity.group.clone(),
            peer: identity.peer,
            generation,
            addresses: if config.hosts.is_empty() {
                vec![format!("{host}:{}", address.port())]
            } else {
                config.hosts.iter().map(|host| format!("{host}:{}", address.port())).collect()
            },
            page: format!("https://{host}:{}/", address.port()),
            program: config.program.clone(),
            started_ms: crate::clock::wall_ms(),
        }),
    };
    put_first_token(&core, &identity).await;

    let tracker = TaskTracker::new();
    reconcile::start(&core, &tracker, &stop);
    drop(task::spawn(
        "read-model",
        tracker.track_future(crate::readmodel::follow(core.clone(), stop.clone())),
    ));
    drop(task::spawn(
        "certificate",
        tracker.track_future(certificate::keep(certificate, core.clone(), stop.clone())),
    ));
    let routes = routes(&core);
    let stopping = stop.clone();
    let serving = task::spawn("serve", async move {
        server()
            .add_routes(routes)
            .serve_with_incoming_shutdown(listener, async move { stopping.cancelled().await })
            .await
    });
    tracing::info!(%address, group = identity.group, "serving");
    Ok(Started { address, serving, tracker, stop, stopped, core })
}

impl Started {
    /// The address of the status page.
    pub fn page(&self) -> &str {
        &self.core.group.page
    }

    /// Serves until the stop token is cancelled, then lets calls end.
    pub async fn wait(self) -> Result<(), ServerError> {
        let Self { serving, tracker, stop, stopped, core, .. } = self;
        let mut serving = serving;
        tokio::select! {
            // Cancel-safe: the handle is kept and awaited below.
            ended = &mut serving => {
                return match ended {
                    Ok(result) => result.map_err(ServerError::Serve),
                    Err(_) => Err(ServerError::Lost("serving")),
                };
            }
            () = stop.cancelled() => {}
        }
        tracker.close();
        // Followers and sessions are open for ever: after the grace they are cut.
        let _ = tokio::time::timeout(DRAIN, tracker.wait()).await;
        serving.abort();
        drop(core);
        stopped.get().map_or(Ok(()), |why| Err(ServerError::Stopped(why.clone())))
    }
}

/// What ends the process where nothing may be written any more; one that is only too old for its log stops in
/// order, and says so.
fn on_fatal(
    abort: FatalHook,
    stopped: &Arc<OnceLock<String>>,
    stop: &CancellationToken,
) -> FatalHook {
    let (stopped, stop) = (Arc::clone(stopped), stop.clone());
    Arc::new(move |fatal| match fatal {
        Fatal::CannotApply { .. } => {
            tracing::error!(error = %fatal, "consensus stops the coordinator");
            let _ = stopped.set(fatal.to_string());
            stop.cancel();
        }
        Fatal::Disk { .. } | Fatal::Broken(_) => abort(fatal),
    })
}

/// The admin's token of `server init`, known from the first start on.
async fn put_first_token(core: &Core, identity: &config::Identity) {
    let (id, hash) = &identity.first_token;
    if core.truth.view().state.tokens.contains_key(id) {
        return;
    }
    let command = CreateToken {
        id: id.clone(),
        kind: TokenKind::User,
        name: "admin".to_owned(),
        hash: *hash,
        ttl: None,
        principal: "server init".to_owned(),
    };
    if let Err(error) = core.truth.propose(Command::CreateToken(command)).await {
        tracing::error!(%error, "the first token could not be stored; restart the server");
    }
}

fn routes(core: &Core) -> tonic::service::Routes {
    let authorise = {
        let core = core.clone();
        Arc::new(move |metadata: &_, extensions: &_, project: &_, _access| {
            access::blobs(&core, metadata, extensions, project)
        })
    };
    let blobs = BlobService::new(Arc::clone(&core.store), authorise);
    let mut routes = tonic::service::Routes::from(http::router(core.clone()));
    routes = routes
        .add_service(
            RunsServer::new(RunsService::new(core.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            FleetServer::new(FleetService::new(core.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            ModelsServer::new(ModelsService::new(core.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(BlobsServer::new(blobs).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(
            EnrolServer::new(EnrolService::new(core.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            AgentServer::new(AgentService::new(core.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        );
    let guard = axum::middleware::from_fn_with_state(core.clone(), revocation::guard);
    tonic::service::Routes::from(routes.into_axum_router().layer(guard))
}
