//! The cluster from async code: its calls block, so each runs on a thread for that.

use std::sync::{Arc, Mutex, PoisonError};

use super::cluster::{Cluster, ClusterError, Options};
use crate::client::{Client, retry};
use crate::context::{Connection, Env};
use crate::errors::{Error, Kind, Result};
use runyard_proto::v1;
use runyard_transport::CredentialsFile;

/// A cluster that several tasks use in turn.
#[derive(Debug, Clone)]
pub(crate) struct Handle(Arc<Mutex<Cluster>>);

impl Handle {
    /// See [`Cluster::open`].
    pub(crate) async fn open(options: Options) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || Cluster::open(options)).await;
        Ok(Self(Arc::new(Mutex::new(opened.map_err(lost)??))))
    }

    /// Works with it on a thread that may block. Calls are one after another.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Cluster) -> T + Send + 'static,
    ) -> Result<T> {
        let cluster = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            // A panic in an earlier call left processes as they are, which is all that counts.
            work(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(lost)
    }

    /// A client with the admin's token.
    pub(crate) async fn client(&self, env: &Env) -> Result<Client> {
        let path = self.with(|cluster| cluster.layout().credentials()).await?;
        let credentials = CredentialsFile::load(&path)?;
        let connection = Connection {
            addresses: credentials.addresses,
            ca: credentials.ca,
            token: credentials.token,
            origin: format!("`{}`", path.display()),
        };
        Client::connect(&connection, &env.project).await
    }
}

/// All nodes.
pub(crate) async fn nodes(client: &Client) -> Result<Vec<v1::Node>> {
    let answer = retry(|| {
        let mut fleet = client.fleet();
        async move { fleet.list_nodes(v1::ListNodesRequest {}).await }
    });
    Ok(answer.await?.items)
}

/// Waits until so many nodes are ready; their names are those that are.
pub(crate) async fn nodes_ready(
    client: &Client,
    wanted: usize,
    patience: std::time::Duration,
) -> Result<Vec<v1::Node>> {
    let give_up = tokio::time::Instant::now() + patience;
    loop {
        let nodes = nodes(client).await?;
        if nodes.iter().filter(|node| node.liveness == "ready").count() >= wanted {
            return Ok(nodes);
        }
        if tokio::time::Instant::now() >= give_up {
            let seen: Vec<String> =
                nodes.iter().map(|node| format!("{} is {}", node.name, node.liveness)).collect();
            let seen = if seen.is_empty() { "none is there".to_owned() } else { seen.join(", ") };
            return Err(Error::failed(format!("not all of {wanted} agents are ready: {seen}"))
                .help("their logs are in the folder `logs` of the cluster's directory"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
}

fn lost(error: tokio::task::JoinError) -> Error {
    Error::new(Kind::Internal, "a call of the cluster broke off").because(error)
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        let (kind, help) = match &error {
            ClusterError::Locked(_) => (Kind::Conflict, "two would start everything twice"),
            ClusterError::Io { .. } => {
                (Kind::Failed, "the directory must be writable by this user; --dir names another")
            }
            ClusterError::Ended { .. } | ClusterError::Slow { .. } => {
                (Kind::Failed, "`runyard doctor` checks this host")
            }
            ClusterError::Undying { .. } => {
                (Kind::Failed, "it waits in the kernel, mostly for a disk")
            }
            ClusterError::Verb { .. } | ClusterError::Damaged { .. } => (Kind::Failed, ""),
        };
        let shown = Self::new(kind, error.to_string()).because(error);
        if help.is_empty() { shown } else { shown.help(help) }
    }
}
