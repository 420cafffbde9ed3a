//! Wakes whoever waits for a job.
//!
//! The store tells of every commit; the hub passes it on to those who watch the job. A notification is a hint: whoever
//! is woken looks again, and whoever is never woken has a time-out of its own. To miss nothing, watch first and look
//! afterwards.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use longhaul_core::JobId;
use longhaul_store::{Change, JobView, Observer};
use tokio::sync::Notify;

use crate::running::Running;

/// Passes changes of jobs on to those who watch them.
#[derive(Default)]
pub struct Hub {
    watchers: Mutex<HashMap<JobId, Arc<Cell>>>,
    running: Arc<Running>,
}

#[derive(Default)]
struct Cell {
    notify: Notify,
    /// How many watch; changed only while the map is locked.
    watched_by: AtomicUsize,
    /// The ended job, when the store had it at hand.
    ended: Mutex<Option<Arc<JobView>>>,
}

impl Hub {
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Cell>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> Watch {
        let mut watchers = self.lock();
        let cell = watchers.entry(job).or_default().clone();
        cell.watched_by.fetch_add(1, Ordering::Relaxed);
        drop(watchers);
        Watch { hub: self.clone(), job, cell }
    }
}

impl Observer for Hub {
    fn committed(&self, changes: &[Change]) {
        self.running.committed(changes);
        let watchers = self.lock();
        if watchers.is_empty() {
            return;
        }
        for change in changes {
            if let Some(cell) = watchers.get(&change.job) {
                if let Some(view) = &change.view {
                    *cell.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
                }
                cell.notify.notify_waiters();
            }
        }
    }
}

/// A view onto the changes of one job, from the moment it was made.
pub(crate) struct Watch {
    hub: Arc<Hub>,
    job: JobId,
    cell: Arc<Cell>,
}

impl Watch {
    /// Begins to listen. What is committed after this call is not missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.cell.notify.notified()
    }

    /// The job as it ended, when that has happened under this watch and was at hand.
    pub(crate) fn ended(&self) -> Option<Arc<JobView>> {
        self.cell.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.hub.lock();
        // Counted apart from the reference counts: those fall only after this has returned.
        if self.cell.watched_by.fetch_sub(1, Ordering::Relaxed) == 1 {
            watchers.remove(&self.job);
        }
    }
}
