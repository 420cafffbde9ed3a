//! What comes back to the writer without being asked for: leases that nobody took, and pins that were let go.
//!
//! A claim's future can be dropped at any moment, also when its answer has been sent and nobody has looked at it. So a
//! grant that is dropped before it is taken goes back to the writer, which releases the jobs at no cost to them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{Held, Leased};

/// Leases that nobody has taken yet.
pub(super) struct Grant {
    leased: Vec<Leased>,
    way_back: Arc<WayBack>,
}

impl Grant {
    pub(super) fn new(leased: Vec<Leased>, way_back: Arc<WayBack>) -> Self {
        Self { leased, way_back }
    }

    pub(super) fn take(mut self) -> Vec<Leased> {
        std::mem::take(&mut self.leased)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.leased.is_empty() {
            self.way_back.lock().held.extend(self.leased.drain(..).map(|leased| leased.held));
            self.way_back.came.notify_one();
        }
    }
}

/// How things come back to the writer.
#[derive(Default)]
pub(super) struct WayBack {
    returned: Mutex<Returned>,
    came: Notify,
}

/// What has come back.
#[derive(Default, Clone)]
pub(super) struct Returned {
    pub(super) held: Vec<Held>,
    /// How many pins of each blob were let go.
    pub(super) unpinned: BTreeMap<[u8; 32], i64>,
}

impl Returned {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.unpinned.is_empty()
    }
}

impl WayBack {
    fn lock(&self) -> MutexGuard<'_, Returned> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unpin(&self, digest: [u8; 32]) {
        *self.lock().unpinned.entry(digest).or_default() += 1;
        self.came.notify_one();
    }

    pub(super) fn take(&self) -> Returned {
        std::mem::take(&mut *self.lock())
    }

    /// Puts back what could not be seen to.
    pub(super) fn put(&self, returned: Returned) {
        let mut inner = self.lock();
        inner.held.extend(returned.held);
        for (digest, pins) in returned.unpinned {
            *inner.unpinned.entry(digest).or_default() += pins;
        }
    }

    /// Ends when something has come.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}
