//! What the accept loop permits: every bound in one place, each with its default and its reason.

use std::{sync::Arc, time::Duration};

use super::client_addr::{ForwardedHeader, TrustedProxies};

/// The bounds of a listener. [`Default`] gives the documented figures.
///
/// A bound guards against a client that holds a connection without using it: silent, or just fast enough to look
/// alive. All of them together mean that a connection costs memory only as long as it is of use to somebody.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Connections open at once; 16,384. One more is accepted and answered 503 with `Retry-After` (closed, under
    /// TLS), so that a health check sees the truth instead of a hang.
    pub max_connections: usize,
    /// Connections waiting in the kernel to be accepted; 4,096 (the kernel may lower it to `somaxconn`).
    pub backlog: u32,
    /// From the accept to the first byte of a request; 10 s.
    pub first_byte_timeout: Duration,
    /// From the accept to the end of the TLS handshake; 10 s.
    pub tls_handshake_timeout: Duration,
    /// From the first byte of a request's head to its last; 10 s.
    pub head_timeout: Duration,
    /// A request's line and headers; 64 KiB. More is answered 431.
    pub max_head_bytes: usize,
    /// Headers in a request; 100. More is answered 431.
    pub max_headers: usize,
    /// The slowest a request body may arrive while a handler waits for it; 1 KiB/s over 30 s. Slower is answered 408.
    pub body_floor: BodyFloor,
    /// From the end of an answer to the first byte of the next request; 75 s, above the 60 s at which common load
    /// balancers drop an idle connection, so that they close first and never send into a closed one.
    pub idle_timeout: Duration,
    /// A client that takes none of the bytes of an answer for this long is cut off; 60 s.
    pub write_stall_timeout: Duration,
    /// After the shutdown signal: how long running requests may take to end; 30 s. Then they are cut.
    pub drain_timeout: Duration,
    /// After the shutdown signal: how long a connection without a request may still begin one, which is then served
    /// with `connection: close`; 200 ms. It covers requests that were on their way.
    pub drain_grace: Duration,
    /// How long a connection that we closed first is still read, so that the client sees our answer and not a reset;
    /// 2 s.
    pub linger_timeout: Duration,
    /// Whose word about the client's address counts; nobody's.
    pub trusted_proxies: TrustedProxies,
    /// The one header in which those proxies say it; `X-Forwarded-For`.
    pub forwarded_header: ForwardedHeader,
    /// The limits of HTTP/2.
    pub http2: Http2Options,
    /// TLS for every connection of this listener; none.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            backlog: 4_096,
            first_byte_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            max_head_bytes: 64 * 1024,
            max_headers: 100,
            body_floor: BodyFloor::default(),
            idle_timeout: Duration::from_secs(75),
            write_stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_millis(200),
            linger_timeout: Duration::from_secs(2),
            trusted_proxies: TrustedProxies::none(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            http2: Http2Options::default(),
            tls: None,
        }
    }
}

impl ListenerOptions {
    /// The shortest of the deadlines that an open connection can come under.
    pub(super) fn shortest_timeout(&self) -> Duration {
        let shortest = self.first_byte_timeout.min(self.head_timeout).min(self.idle_timeout);
        shortest.min(self.write_stall_timeout).max(Duration::from_millis(1))
    }
}

/// The slowest a request body may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyFloor {
    /// Bytes a second, on average over any window.
    pub min_bytes_per_s: u32,
    /// The window, of time spent waiting for the client. It is judged in sixths.
    pub window: Duration,
}

impl Default for BodyFloor {
    fn default() -> Self {
        Self { min_bytes_per_s: 1024, window: Duration::from_secs(30) }
    }
}

/// The limits of one HTTP/2 connection; together they bound its memory to a few MiB.
#[derive(Debug, Clone)]
pub struct Http2Options {
    /// Requests at once on one connection; 128.
    pub max_concurrent_streams: u32,
    /// Streams that a client opened and reset before we looked at them; 20, then the connection is closed
    /// (CVE-2023-44487, "rapid reset").
    pub max_pending_reset_streams: usize,
    /// Streams that we had to reset because of the client's errors; 256, then the connection is closed
    /// (CVE-2025-8671, "made you reset").
    pub max_error_reset_streams: usize,
    /// Bytes of one request body in flight; 256 KiB.
    pub stream_window_bytes: u32,
    /// Bytes of all request bodies in flight on a connection; 1 MiB.
    pub connection_window_bytes: u32,
    /// Bytes of an answer buffered for a stream; 256 KiB.
    pub max_send_buffer_bytes: usize,
    /// A ping after this much silence, so that a peer that is gone is noticed; 30 s.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take; 20 s.
    pub ping_timeout: Duration,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 128,
            max_pending_reset_streams: 20,
            max_error_reset_streams: 256,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            max_send_buffer_bytes: 256 * 1024,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}
