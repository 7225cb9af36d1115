//! An accepted connection and who is behind it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use runyard_types::{Digest, NodeName};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::verify::not_after;
use crate::Role;

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
    pub identity: Identity,
}

impl ConnectInfo {
    /// The connection by which `request` came; `None` if it came through no listener of ours.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// A TLS connection whose handshake is done.
pub struct TlsConn {
    stream: Box<TlsStream<TcpStream>>,
    info: ConnectInfo,
}

impl fmt::Debug for TlsConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConn").field("info", &self.info).finish_non_exhaustive()
    }
}

impl TlsConn {
    pub(super) fn new(stream: TlsStream<TcpStream>, peer_addr: SocketAddr) -> io::Result<Self> {
        let identity = match stream.get_ref().1.peer_certificates() {
            Some([leaf, ..]) => identity_of(leaf, UnixTime::now())?,
            _ => Identity::Anonymous,
        };
        Ok(Self { stream: Box::new(stream), info: ConnectInfo { peer_addr, identity } })
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
        Pin::new(&mut self.stream).poll_read(cx, buffer)
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
