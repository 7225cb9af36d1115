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

/// What a connection without a certificate must have said within [`FIRST_BYTES_WITHIN`]: HTTP/2's
/// preface has as many bytes, and a request of HTTP/1 hardly fewer.
pub const FIRST_BYTES: usize = 24;
/// From the end of the TLS handshake. Without it one byte would hold a connection for ever.
pub const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(5);
/// Connections without a certificate kept per address (IPv6: per /64); a further one is closed.
pub const ANONYMOUS_PER_IP_MAX: usize = 1_024;
/// Connections without a certificate kept in all; a further one is closed.
pub const ANONYMOUS_MAX: usize = 8_192;

/// How many connections a listener keeps, fitted to the process's descriptors: what strangers may hold
/// never takes those that logs, blobs and agents need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub half_open_per_ip: usize,
    pub half_open: usize,
    pub anonymous_per_ip: usize,
    pub anonymous: usize,
}

impl Room {
    /// The room in a process that may open `descriptors`.
    pub fn of(descriptors: u64) -> Self {
        let share = |part: u64, max: usize| {
            usize::try_from(descriptors / part).unwrap_or(usize::MAX).clamp(8, max)
        };
        let (half_open, anonymous) = (share(8, HALF_OPEN_MAX), share(4, ANONYMOUS_MAX));
        Self {
            half_open_per_ip: HALF_OPEN_PER_IP_MAX.min(half_open),
            half_open,
            // One address alone must not fill it.
            anonymous_per_ip: ANONYMOUS_PER_IP_MAX.min(anonymous / 2),
            anonymous,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a38_strangers_never_get_most_of_the_descriptors() {
        for descriptors in [256, 1_024, 4_096, 20_000, 1 << 20] {
            let room = Room::of(descriptors);
            let strangers = (room.half_open + room.anonymous) as u64;
            assert!(strangers * 2 <= descriptors, "{descriptors}: {room:?}");
            assert!(room.anonymous_per_ip * 2 <= room.anonymous, "{room:?}");
            assert!(room.half_open_per_ip <= room.half_open, "{room:?}");
        }
        let plenty = Room::of(1 << 20);
        assert_eq!((plenty.half_open, plenty.anonymous), (HALF_OPEN_MAX, ANONYMOUS_MAX));
        assert_eq!(plenty.anonymous_per_ip, ANONYMOUS_PER_IP_MAX);
    }
}
