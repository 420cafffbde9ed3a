//! The connections to one provider.
//!
//! A place is taken before a connection is looked for and held as long as the answer is being read. A new connection is
//! opened only when none is idle, so there are never more connections than places. The one that was used last is used
//! first: the others grow old and are closed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use longhaul_providers::exchange::HttpRequest;
use longhaul_resilience::{Cx, Tick};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;

use super::body::AnswerBody;
use super::connection::{Failed, Wire};
use super::endpoint::Endpoint;
use super::error::HttpError;
use super::framing::Framing;
use super::message::Outgoing;
use super::tls::Tls;

/// How many idle connections may turn out dead before a new one is opened: a server that restarts kills all of them.
const MAX_STALE: usize = 8;

/// How long the last bytes of an answer are waited for when nobody wants them, and how many parts there may be.
const DRAIN_FOR: Duration = Duration::from_secs(1);
const MAX_DRAINED_PARTS: usize = 16;

/// The settings of the connections to one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections open at once, idle ones included.
    pub max_connections: usize,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// An idle connection older than this is closed rather than used: the other side closes them, too, and a request that
    /// meets its closing is lost.
    pub idle_timeout: Duration,
    /// The longest whole answer, in bytes.
    pub max_answer_bytes: usize,
    /// PEM certificates that are trusted beside the system's.
    pub extra_roots: Option<Bytes>,
}

impl Default for PoolSettings {
    /// 256 connections, 5 s to connect, a minute idle, 64 MiB.
    fn default() -> Self {
        Self {
            max_connections: 256,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            max_answer_bytes: 64 << 20,
            extra_roots: None,
        }
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Incoming {
    pub(crate) head: http::response::Parts,
    pub(crate) body: AnswerBody,
}

/// The connections to one provider, shared by all who call it.
pub(crate) struct Pool {
    endpoint: Endpoint,
    settings: PoolSettings,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    #[allow(clippy::vec_box, reason = "they come in boxes and go out in boxes")]
    idle: Mutex<Vec<Box<Wire>>>,
    tracker: TaskTracker,
}

impl Pool {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub(crate) fn new(
        endpoint: Endpoint,
        settings: PoolSettings,
        tracker: TaskTracker,
    ) -> Result<Arc<Self>, HttpError> {
        let tls =
            endpoint.is_secure().then(|| Tls::to(endpoint.host(), settings.extra_roots.as_deref())).transpose()?;
        let places = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Arc::new(Self { endpoint, settings, tls, places, idle: Mutex::new(Vec::new()), tracker }))
    }

    pub(crate) fn max_answer_bytes(&self) -> usize {
        self.settings.max_answer_bytes
    }

    /// Connections that are in use now.
    pub(crate) fn in_use(&self) -> usize {
        self.settings.max_connections.saturating_sub(self.places.available_permits())
    }

    /// Connections that wait to be used again.
    pub(crate) fn idle(&self) -> usize {
        self.idle_wires().len()
    }

    /// Sends a request and waits for the head of the answer. Waits for a place if all connections are in use.
    pub(crate) async fn send(self: &Arc<Self>, cx: &Cx<'_>, outgoing: HttpRequest) -> Result<Incoming, HttpError> {
        let place = self.place().await;
        let request = Outgoing::new(&self.endpoint, outgoing)?;
        for _ in 0..MAX_STALE {
            let Some(mut wire) = self.take_idle(cx.now()) else { break };
            match wire.exchange(&request).await {
                Ok(answer) => return Ok(self.incoming(wire, place, answer)),
                // It was closed while it lay idle; the request never left.
                Err(Failed { unsent: true, .. }) => {}
                Err(Failed { error, unsent: false }) => return Err(error),
            }
        }
        let mut wire = self.connect(cx).await?;
        match wire.exchange(&request).await {
            Ok(answer) => Ok(self.incoming(wire, place, answer)),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    fn incoming(
        self: &Arc<Self>,
        wire: Box<Wire>,
        place: OwnedSemaphorePermit,
        (head, framing): (http::response::Parts, Framing),
    ) -> Incoming {
        Incoming { head, body: AnswerBody::new(Arc::clone(self), wire, place, framing) }
    }

    #[allow(clippy::vec_box, reason = "as the field")]
    fn idle_wires(&self) -> MutexGuard<'_, Vec<Box<Wire>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and still stands.
    fn take_idle(&self, now: Tick) -> Option<Box<Wire>> {
        loop {
            let mut wire = self.idle_wires().pop()?;
            if now.since(wire.idle_since) < self.settings.idle_timeout && wire.is_usable() {
                return Some(wire);
            }
        }
    }

    /// Takes a connection back whose answer has been read to its end.
    pub(super) fn give_back(&self, mut wire: Box<Wire>, now: Tick) {
        if !wire.is_clean() {
            return;
        }
        wire.idle_since = now;
        let old: Vec<Box<Wire>> = {
            let mut idle = self.idle_wires();
            let old = idle.iter().take_while(|wire| now.since(wire.idle_since) >= self.settings.idle_timeout).count();
            let old = idle.drain(..old).collect();
            idle.push(wire);
            old
        };
        // Closing may talk to the socket: not under the lock.
        drop(old);
    }

    /// Reads on in the background for a little while, so that a connection whose answer is all but read is not lost.
    pub(super) fn drain_later(&self, mut body: AnswerBody) {
        self.tracker.spawn(async move {
            let cx = Cx::default();
            let mut parts = 0;
            tokio::select! {
                biased;
                () = async { while parts < MAX_DRAINED_PARTS && body.part(&cx).await.is_some() { parts += 1; } } => {}
                () = cx.sleep(DRAIN_FOR) => {}
            }
        });
    }

    async fn connect(&self, cx: &Cx<'_>) -> Result<Box<Wire>, HttpError> {
        let limit = self.settings.connect_timeout;
        tokio::select! {
            biased;
            connected = self.connect_somewhere() => connected,
            () = cx.sleep(limit) => Err(HttpError::ConnectTimeout(limit)),
        }
    }

    async fn connect_somewhere(&self) -> Result<Box<Wire>, HttpError> {
        let failed = |error: &std::io::Error| HttpError::Connect(error.to_string());
        let (host, port) = (self.endpoint.host(), self.endpoint.port());
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(&error))?;
        let mut last = HttpError::Connect(format!("the name {host} has no address"));
        for address in addresses {
            let stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = HttpError::Connect(format!("{address}: {error}"));
                    continue;
                }
            };
            // Requests are written whole, answers come in small pieces: waiting for more only costs time.
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            let stream = match &self.tls {
                None => Either::Left(stream),
                Some(tls) => Either::Right(tls.connect(stream).await?),
            };
            return Ok(Wire::new(stream));
        }
        Err(last)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("in_use", &self.in_use())
            .field("idle", &self.idle())
            .finish()
    }
}
