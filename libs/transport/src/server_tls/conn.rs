//! An accepted connection and who is behind it.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use runyard_types::{Digest, NodeName};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::crowd::Ticket;
use super::verify::not_after;
use crate::Role;
use crate::limits::{FIRST_BYTES, FIRST_BYTES_WITHIN};

/// Who is at the other end, as far as TLS can say. `fingerprint` is the BLAKE3 of the key's
/// SubjectPublicKeyInfo; whether that key is known and not revoked is for the state to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular: a user (whose calls carry a token), a browser, an agent-to-be.
    Anonymous,
    /// The agent of a node.
    Agent { node: NodeName, fingerprint: Digest },
    /// An agent whose certificate has run out. It may call Renew and nothing else.
    ExpiredAgent { node: NodeName, fingerprint: Digest },
    /// A coordinator of the group.
    Peer { id: u64, fingerprint: Digest },
}

/// What a request knows of its connection; found in the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    pub peer_addr: SocketAddr,
    /// As it was at the handshake.
    pub identity: Identity,
    /// The end of the certificate that was shown, in milliseconds since 1970 UTC.
    pub not_after_ms: Option<u64>,
}

impl ConnectInfo {
    /// The connection by which `request` came; `None` if it came through no listener of ours.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }

    /// Whether the certificate is over at `now_ms`, milliseconds since 1970 UTC: a connection may
    /// outlive it.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.not_after_ms.is_some_and(|end| now_ms > end)
    }
}

/// A TLS connection whose handshake is done.
pub struct TlsConn {
    stream: Box<TlsStream<TcpStream>>,
    info: ConnectInfo,
    /// Of a caller without a certificate, until it has said enough to be somebody's request.
    opening: Option<Opening>,
    /// Its place among the connections without a certificate.
    ticket: Option<Ticket>,
}

/// How much is awaited still, and until when.
struct Opening {
    missing: usize,
    until: Pin<Box<Sleep>>,
}

impl fmt::Debug for TlsConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConn").field("info", &self.info).finish_non_exhaustive()
    }
}

impl TlsConn {
    pub(super) fn new(stream: TlsStream<TcpStream>, peer_addr: SocketAddr) -> io::Result<Self> {
        let (identity, not_after_ms) = match stream.get_ref().1.peer_certificates() {
            Some([leaf, ..]) => {
                let identity = identity_of(leaf, UnixTime::now())?;
                (identity, not_after(leaf).map(|end| end.as_secs().saturating_mul(1_000)))
            }
            _ => (Identity::Anonymous, None),
        };
        let opening = (identity == Identity::Anonymous).then(|| Opening {
            missing: FIRST_BYTES,
            until: Box::pin(tokio::time::sleep(FIRST_BYTES_WITHIN)),
        });
        let info = ConnectInfo { peer_addr, identity, not_after_ms };
        Ok(Self { stream: Box::new(stream), info, opening, ticket: None })
    }

    /// Holds a place as long as the connection lives.
    pub(super) fn hold(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// Who is at the other end.
    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }
}

/// Reads the identity out of a certificate that the handshake has verified.
fn identity_of(leaf: &CertificateDer<'_>, now: UnixTime) -> io::Result<Identity> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let role = Role::of(leaf).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let parsed = ParsedCertificate::try_from(leaf)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let fingerprint = Digest::of(&parsed.subject_public_key_info());
    let end = not_after(leaf).ok_or_else(|| invalid("the certificate has no end"))?;
    Ok(match role {
        Role::Peer(id) => Identity::Peer { id, fingerprint },
        Role::Agent(node) if now > end => Identity::ExpiredAgent { node, fingerprint },
        Role::Agent(node) => Identity::Agent { node, fingerprint },
    })
}

impl Connected for TlsConn {
    type ConnectInfo = ConnectInfo;
    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for TlsConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(opening) = &mut self.opening else { return polled };
        match &polled {
            Poll::Ready(_) => {
                let read = buffer.filled().len().saturating_sub(before);
                opening.missing = opening.missing.saturating_sub(read);
                if opening.missing == 0 {
                    self.opening = None;
                }
                polled
            }
            Poll::Pending if opening.until.as_mut().poll(cx).is_ready() => {
                let silent = "a connection without a certificate said nothing in time";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, silent)))
            }
            Poll::Pending => polled,
        }
    }
}

impl AsyncWrite for TlsConn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
