//! What a listener counts about itself, for metrics and the dashboard.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The live counters, shared by the accept loop and its connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) open: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) overdue: AtomicU64,
    pub(super) slow_bodies: AtomicU64,
    pub(super) handshake_failures: AtomicU64,
    pub(super) accept_errors: AtomicU64,
}

/// Reads a listener's counters while it serves. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ListenerStats(pub(super) Arc<Counters>);

/// The counters at one moment. All but `open` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenerCounts {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted and served.
    pub accepted: u64,
    /// Connections refused because all places were taken.
    pub refused: u64,
    /// Connections closed by a deadline: silent, dribbling, idle or not reading.
    pub overdue: u64,
    /// Requests ended because their body arrived below the floor.
    pub slow_bodies: u64,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: u64,
    /// Failures to accept, for want of file descriptors for one.
    pub accept_errors: u64,
}

impl ListenerStats {
    /// The counters now.
    pub fn counts(&self) -> ListenerCounts {
        let Counters { open, accepted, refused, overdue, slow_bodies, handshake_failures, accept_errors } = &*self.0;
        ListenerCounts {
            open: open.load(Relaxed),
            accepted: accepted.load(Relaxed),
            refused: refused.load(Relaxed),
            overdue: overdue.load(Relaxed),
            slow_bodies: slow_bodies.load(Relaxed),
            handshake_failures: handshake_failures.load(Relaxed),
            accept_errors: accept_errors.load(Relaxed),
        }
    }
}
