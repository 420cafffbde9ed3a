//! Which jobs run in this process, so that they can be told to stop and their leases be kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use longhaul_core::{JobId, Tenant, Timestamp};
use longhaul_store::Held;
use tokio_util::sync::CancellationToken;

/// Jobs that run in this process.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<JobId, Entry>>);

struct Entry {
    held: Held,
    since: Timestamp,
    interrupt: CancellationToken,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, held: Held, since: Timestamp) -> CancellationToken {
        let interrupt = CancellationToken::new();
        self.lock().insert(held.job, Entry { held, since, interrupt: interrupt.clone() });
        interrupt
    }

    /// Forgets an attempt that has ended; not its successor, should the job already run again here.
    pub(crate) fn remove(&self, held: &Held) {
        let mut running = self.lock();
        if running.get(&held.job).is_some_and(|entry| entry.held.token == held.token) {
            running.remove(&held.job);
        }
    }

    /// Tells a job's executor to stop.
    pub(crate) fn cancel(&self, job: JobId) {
        if let Some(entry) = self.lock().get(&job) {
            entry.interrupt.cancel();
        }
    }

    /// Tells every executor to stop.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|entry| entry.interrupt.cancel());
    }

    pub(crate) fn holds(&self, tenant: &Tenant, job: JobId) -> bool {
        self.lock().get(&job).is_some_and(|entry| entry.held.tenant == *tenant)
    }

    /// Leases that began before `before`: younger ones need no beat yet.
    pub(crate) fn held_since(&self, before: Timestamp) -> Vec<Held> {
        self.lock().values().filter(|entry| entry.since <= before).map(|entry| entry.held.clone()).collect()
    }

    /// All leases held here.
    pub(crate) fn all(&self) -> Vec<Held> {
        self.lock().values().map(|entry| entry.held.clone()).collect()
    }
}
