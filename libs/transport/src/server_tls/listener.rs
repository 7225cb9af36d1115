//! The accept loop: admits, shakes hands under a deadline, hands over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::config::{Audience, Configs, TlsConfigError};
use super::conn::{Identity, TlsConn};
use super::crowd::Crowd;
use super::half_open::HalfOpen;
use crate::limits::{HANDSHAKE_TIMEOUT, Room};
use crate::{TlsIdentity, descriptor_limit, task};

/// Connections that wait for the server to take them.
const READY_MAX: usize = 64;
/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a plain HTTP client is told before it is cut off.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 46\r\n\r\nThis port speaks TLS only; use https instead.\n";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("{addr} is taken by another process; stop it or choose another port")]
    Taken { addr: SocketAddr },
    /// The system refused.
    #[error("cannot listen on {addr}")]
    Bind {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The identity cannot serve.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// The connections of a port, as a stream for `serve_with_incoming`. Dropping it closes the port;
/// connections that were handed over live on.
#[derive(Debug)]
pub struct Listener {
    local_addr: SocketAddr,
    ready: mpsc::Receiver<TlsConn>,
    reloader: Reloader,
}

/// Replaces the certificate of a running listener.
#[derive(Debug, Clone)]
pub struct Reloader {
    audience: Audience,
    configs: Arc<watch::Sender<Arc<Configs>>>,
}

impl Reloader {
    /// New connections get `identity` from now on; open ones keep what they have.
    pub fn replace(&self, identity: &TlsIdentity) -> Result<(), TlsConfigError> {
        let configs = Configs::new(self.audience, identity)?;
        self.configs.send_replace(Arc::new(configs));
        Ok(())
    }
}

/// Opens `addr` for `audience`. Port 0 takes a free one, see [`Listener::local_addr`].
pub async fn listen(
    addr: SocketAddr,
    audience: Audience,
    identity: &TlsIdentity,
) -> Result<Listener, ListenError> {
    let configs = Arc::new(Configs::new(audience, identity)?);
    let bind = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { addr },
        _ => ListenError::Bind { addr, source },
    };
    let tcp = TcpListener::bind(addr).await.map_err(bind)?;
    let local_addr = tcp.local_addr().map_err(bind)?;
    let (configs, current) = watch::channel(configs);
    let (sender, ready) = mpsc::channel(READY_MAX);
    task::spawn("tls-accept", accept_loop(tcp, current, sender));
    let reloader = Reloader { audience, configs: Arc::new(configs) };
    Ok(Listener { local_addr, ready, reloader })
}

impl Listener {
    /// The address that was bound, with its port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
    /// A handle by which the certificate is replaced.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
    /// The next connection, for servers that are not tonic's. `None` never comes while the process
    /// lives.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn accept(&mut self) -> Option<TlsConn> {
        self.ready.recv().await
    }
}

impl Stream for Listener {
    type Item = io::Result<TlsConn>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|conn| conn.map(Ok))
    }
}

async fn accept_loop(
    tcp: TcpListener,
    configs: watch::Receiver<Arc<Configs>>,
    ready: mpsc::Sender<TlsConn>,
) {
    let room = Room::of(descriptor_limit());
    let half_open = HalfOpen::new(room.half_open_per_ip, room.half_open);
    let crowd = Crowd::new(room.anonymous_per_ip, room.anonymous);
    let turned_away = Arc::new(AtomicU64::new(0));
    loop {
        let accepted = tokio::select! {
            // Both arms are cancel-safe: a connection not yet accepted stays in the backlog.
            () = ready.closed() => return,
            accepted = tcp.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let slot = half_open.admit(peer.ip());
        let configs = configs.borrow().clone();
        let (ready, crowd, turned_away) = (ready.clone(), crowd.clone(), turned_away.clone());
        task::spawn("tls-handshake", async move {
            let shaken = tokio::select! {
                // Dropping an unfinished handshake closes its socket, which is what is wanted.
                () = slot.evicted.cancelled() => return,
                shaken = timeout(HANDSHAKE_TIMEOUT, Box::pin(handshake(stream, peer, configs))) => shaken,
            };
            drop(slot);
            match shaken {
                Ok(Ok(conn)) => match seated(&crowd, conn, peer.ip()) {
                    // An error means that the server is gone, and the connection with it.
                    Some(conn) => drop(ready.send(conn).await),
                    None => tell_turned_away(&turned_away, peer.ip()),
                },
                Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake refused"),
                Err(_) => tracing::debug!(%peer, "handshake timed out"),
            }
        });
    }
}

/// The connection with its place; `None` where there is none for callers without a certificate.
fn seated(crowd: &Arc<Crowd>, mut conn: TlsConn, ip: IpAddr) -> Option<TlsConn> {
    if conn.info().identity == Identity::Anonymous {
        conn.hold(crowd.enter(ip)?);
    }
    Some(conn)
}

/// Says it for the 1st, 2nd, 4th, 8th …: a flood must not flood the log, too.
fn tell_turned_away(count: &AtomicU64, ip: IpAddr) {
    let count = count.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::warn!(%ip, count, "too many connections without a certificate; closed");
    }
}

async fn handshake(
    mut stream: TcpStream,
    peer: SocketAddr,
    configs: Arc<Configs>,
) -> io::Result<TlsConn> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    // TLS begins with 0x16; a capital letter begins the method of an HTTP request, or h2c's preface.
    if first[0].is_ascii_uppercase() {
        return Err(refuse_plain_http(&mut stream).await);
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = configs.for_name(start.client_hello().server_name());
    TlsConn::new(start.into_stream(config).await?, peer)
}

/// Tells somebody who typed `http://` what to type. The secret that may be in the request is read
/// and forgotten.
async fn refuse_plain_http(stream: &mut TcpStream) -> io::Error {
    let mut request = [0; 4_096];
    let told = async {
        // Unread bytes would turn the close into a reset, and the answer would be lost.
        let _forgotten = stream.read(&mut request).await?;
        stream.write_all(SPEAK_TLS).await?;
        stream.shutdown().await
    };
    match told.await {
        Ok(()) => io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a TLS port"),
        Err(error) => error,
    }
}

/// Errors of `accept` that concern only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
