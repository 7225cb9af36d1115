//! The limits that hold on every connection, and a server builder that has them.
//!
//! The windows and the frame size come from a measurement: with HTTP/2's defaults a loopback stream
//! moves a tenth of what the machine can, because flow control leaves both ends waiting.

use std::time::Duration;

use tonic::transport::Server;

pub use runyard_proto::MESSAGE_BYTES_MAX;

/// Bytes that one stream may have under way.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes that all streams of a connection may have under way.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest HTTP/2 frame taken, in bytes.
pub const FRAME_BYTES_MAX: u32 = 256 << 10;
/// The largest list of headers taken, in bytes; longer ones (CONTINUATION floods) end the stream.
pub const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Calls that one connection may have open.
pub const STREAMS_MAX: u32 = 1_024;
/// Resets of streams not yet accepted that are taken before a connection is closed (rapid reset).
pub const PENDING_RESETS_MAX: usize = 20;

/// A client pings an idle connection this often.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A client gives up a connection whose ping was not answered for this long.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A server pings less often: each agent pings already.
pub const SERVER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// A server gives up a connection whose ping was not answered for this long.
pub const SERVER_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The time a client gives to one address: name resolution, TCP and TLS together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time a client of the listener has from the accepted TCP connection to the end of the TLS
/// handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Unfinished handshakes kept per address (IPv6: per /64); a further one costs the oldest its place.
pub const HALF_OPEN_PER_IP_MAX: usize = 64;
/// Unfinished handshakes kept in all; a further one costs the oldest its place.
pub const HALF_OPEN_MAX: usize = 1_024;

/// A tonic server with the limits of this module, for `serve_with_incoming` on a
/// [`Listener`](crate::Listener). HTTP/1 is accepted, for browsers and for plain `curl`.
///
/// The size of messages is a setting of each service: give every one
/// `.max_decoding_message_size(MESSAGE_BYTES_MAX)`.
pub fn server() -> Server {
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_keepalive_interval(Some(SERVER_KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(SERVER_KEEPALIVE_TIMEOUT))
}
