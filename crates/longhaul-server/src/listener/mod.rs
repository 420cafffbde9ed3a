//! The accept loop: takes connections and serves HTTP/1.1 and HTTP/2 on them, with or without TLS.
//!
//! It is our own because the usual ones trust the client: a connection that never sends a byte, or a header or a body
//! that trickles, would hold its place for ever, and enough of them hold all places. Here every wait for a client has
//! a deadline, every buffer a bound, and the number of connections a cap; see [`ListenerOptions`].
//!
//! The listener owns sockets and nothing else: it knows no route, and what an answer says is the application's. It
//! answers by itself in four cases only: 503 when all places are taken, 408 to a body below the floor, and the bare
//! 400, 414 and 431 that the HTTP machinery gives to a head that it cannot read.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use longhaul_server::listener::{Listener, ListenerOptions};
//! let shutdown = tokio_util::sync::CancellationToken::new();
//! let listener = Listener::bind("127.0.0.1:8080".parse()?, ListenerOptions::default())?;
//! println!("listening on {}", listener.local_addr());
//! let drained = listener.serve(axum::Router::new(), shutdown).await;
//! # Ok(()) }
//! ```

mod accept;
mod body_rate;
mod client_addr;
mod connection;
mod descriptors;
mod drive;
mod event_loops;
mod options;
mod refuse;
mod service;
mod socket;
mod stats;
mod tls;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
};
use tokio_util::sync::CancellationToken;

pub use body_rate::BodyTooSlow;
pub use client_addr::{BadProxy, ClientAddr, ForwardedHeader, TrustedProxies};
pub use event_loops::EventLoops;
pub use options::{BodyFloor, Http2Options, ListenerOptions};
pub use stats::{ListenerCounts, ListenerStats};
pub use tls::{TlsError, TlsIdentity};

/// What a listener serves: an `axum::Router`, or any service like it. Implemented for everything that fits.
pub trait Application:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Application for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A bound socket that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    options: ListenerOptions,
    stats: ListenerStats,
    event_loops: Option<Arc<EventLoops>>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {reason}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// What is wrong with it, and what to do where that is known.
    pub reason: String,
    /// The system's error.
    pub source: io::Error,
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose requests were still running at the end of the drain time; 0 after a clean stop.
    pub cut_connections: u64,
}

impl Listener {
    /// Binds the address; port 0 takes a free one. Must be called within a Tokio runtime.
    ///
    /// When the process may open fewer files than the cap of connections needs, the cap is lowered and a warning
    /// logged: a refusal says more than a connection that nobody can accept.
    ///
    /// # Errors
    /// [`BindError`] says why the address cannot be had.
    pub fn bind(addr: SocketAddr, mut options: ListenerOptions) -> Result<Self, BindError> {
        options.max_connections = descriptors::affordable(options.max_connections, descriptors::limit());
        let bind = || {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart must not wait for the old connections' TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let socket = socket.listen(options.backlog)?;
            let local_addr = socket.local_addr()?;
            Ok((socket, local_addr))
        };
        match bind() {
            Ok((socket, local_addr)) => {
                let stats = ListenerStats(Arc::default());
                Ok(Self { socket, local_addr, options, stats, event_loops: None })
            }
            Err(source) => Err(bind_error(addr, source)),
        }
    }

    /// Connections are served by `event_loops`, and requests with large bodies by the runtime that [`Self::serve`] runs in;
    /// without them, everything is served by that.
    #[must_use]
    pub fn on(mut self, event_loops: Arc<EventLoops>) -> Self {
        self.event_loops = Some(event_loops);
        self
    }

    /// The address that was bound, with its actual port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The cap of connections, after it was fitted to what the process may open.
    pub fn max_connections(&self) -> usize {
        self.options.max_connections
    }

    /// A reader of this listener's counters.
    pub fn stats(&self) -> ListenerStats {
        self.stats.clone()
    }

    /// Serves until `shutdown` is cancelled; then stops accepting, lets running requests end within the drain time,
    /// and cuts the rest. Connections that became something else (WebSockets) end by their own rules.
    pub async fn serve<S: Application>(self, application: S, shutdown: CancellationToken) -> Drained {
        let roomy = self.event_loops.is_some().then(Handle::current);
        let shared = Arc::new(accept::Shared::new(self.options, self.stats.0, roomy));
        accept::serve(self.socket, application, shared, self.event_loops, shutdown).await
    }
}

fn bind_error(addr: SocketAddr, source: io::Error) -> BindError {
    let reason = match source.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another port".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the system forbids it; ports below 1024 need a privilege, choose a higher one".to_owned()
        }
        _ => source.to_string(),
    };
    BindError { addr, reason, source }
}
