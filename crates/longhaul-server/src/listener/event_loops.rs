//! The threads that serve connections.
//!
//! Each is an event loop: a thread that waits for the sockets of its own connections and runs their tasks. A connection stays
//! on the loop it was given to. So the thread that is told of a byte is the one that reads it, no task goes from thread to
//! thread as in a runtime whose threads take work from each other, and what belongs to a connection stays in the caches of one
//! core. Against one such runtime for everything, a call at one connection takes a quarter less processor time.
//!
//! What runs on a loop must not compute for long, since all connections of the loop wait meanwhile. What takes long is what
//! has a large body: to read it, to check it, to hash it. So a request with more than [`LARGE_BODY`] is worked on in the
//! runtime that the listener runs in, where other threads take over what waits; only its bytes come and go here. Jobs run
//! there anyway.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The largest body, in bytes, that is worked on where its connection is. A prompt of this size takes a millisecond. One
/// whose size is not told counts as large.
pub(super) const LARGE_BODY: u64 = 128 * 1024;

/// Threads that wait for files and for names of hosts on behalf of all loops together: as many as a runtime has by default.
const BLOCKING_THREADS: usize = 512;

/// Of these, each loop may have so many at least.
const LEAST_BLOCKING_THREADS: usize = 16;

/// Threads that serve connections; see the module. They end when this is dropped, and what still runs on them is given up:
/// drop it after everything whose tasks may run there, and whose sockets may have been opened there.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use longhaul_server::listener::{EventLoops, Listener, ListenerOptions};
/// let loops = Arc::new(EventLoops::one_per_core()?);
/// let listener = Listener::bind("127.0.0.1:8080".parse()?, ListenerOptions::default())?.on(Arc::clone(&loops));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EventLoops(Vec<EventLoop>);

#[derive(Debug)]
struct EventLoop {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    _ends: DropGuard,
}

impl EventLoops {
    /// As many as the process may use cores at once.
    ///
    /// # Errors
    /// When the system gives no threads or no descriptors.
    pub fn one_per_core() -> io::Result<Self> {
        Self::start(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// So many.
    ///
    /// # Errors
    /// When the system gives no threads or no descriptors.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let blocking_threads = (BLOCKING_THREADS / count).max(LEAST_BLOCKING_THREADS);
        (0..count.get()).map(|number| EventLoop::start(number, blocking_threads)).collect::<io::Result<_>>().map(Self)
    }

    /// A place for a connection, on the loop that has the fewest.
    pub(super) fn place(&self) -> Option<(Handle, Place)> {
        let freest = self.0.iter().min_by_key(|event_loop| event_loop.connections.load(Relaxed))?;
        Some((freest.handle.clone(), Place::take(&freest.connections)))
    }
}

impl EventLoop {
    fn start(number: usize, blocking_threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(blocking_threads).build()?;
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let ended = end.clone();
        // Not waited for at the end: a task that blocks its thread must not hold up the exit.
        thread::Builder::new()
            .name(format!("connections-{number}"))
            .spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok(Self { handle, connections: Arc::default(), _ends: end.drop_guard() })
    }
}

/// A connection counts as one of its loop's until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_there_are_fewest() {
        let loops = EventLoops::start(NonZeroUsize::new(2).expect("two")).expect("threads");
        let mut places: Vec<(Handle, Place)> = (0..4).filter_map(|_| loops.place()).collect();
        let counts = || loops.0.iter().map(|event_loop| event_loop.connections.load(Relaxed)).collect::<Vec<_>>();
        assert_eq!(counts(), [2, 2]);
        let first = places[0].0.id();
        places.retain(|(handle, _)| handle.id() != first);
        assert_eq!(loops.place().map(|(handle, _)| handle.id()), Some(first));
        drop(places);
        assert_eq!(counts(), [0, 0]);
    }
}
