//! Which jobs run in this process, so that they can be told to stop and their leases be kept.
//!
//! What is committed is heard here before anybody else is told of it ([`Running::committed`]). So whoever watches a job
//! first and then finds it still running here will hear of its end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use longhaul_core::{JobId, Status, Tenant, Timestamp};
use longhaul_store::{Change, Held};
use tokio_util::sync::CancellationToken;

/// Jobs that run in this process.
#[derive(Default)]
pub(crate) struct Running(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// In the order of their ids, so that a run depends on nothing but what comes in.
    jobs: BTreeMap<JobId, Entry>,
    /// Asked to stop between their claim's commit and their start here. Each leaves within the grace of a cancel.
    cancelled_early: HashSet<JobId>,
}

struct Entry {
    held: Held,
    since: Timestamp,
    /// When its lease is over as far as this process knows; none: it was told to stop for that.
    over_at: Option<Timestamp>,
    interrupt: CancellationToken,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, held: Held, since: Timestamp, over_at: Timestamp) -> CancellationToken {
        let interrupt = CancellationToken::new();
        let mut inner = self.lock();
        if !inner.cancelled_early.is_empty() && inner.cancelled_early.remove(&held.job) {
            interrupt.cancel();
        }
        let entry = Entry { held, since, over_at: Some(over_at), interrupt: interrupt.clone() };
        if let Some(before) = inner.jobs.insert(entry.held.job, entry) {
            // It lost its lease and was claimed again within one commit: nobody else has told it.
            before.interrupt.cancel();
        }
        interrupt
    }

    /// Forgets an attempt that has ended; not its successor, should the job already run again here.
    pub(crate) fn remove(&self, held: &Held) {
        let mut inner = self.lock();
        if inner.jobs.get(&held.job).is_some_and(|entry| entry.held.token == held.token) {
            inner.jobs.remove(&held.job);
        }
    }

    /// Hears what has been committed: who has to stop, and who runs no longer.
    pub(crate) fn committed(&self, changes: &[Change]) {
        let mut inner = self.lock();
        let Inner { jobs, cancelled_early } = &mut *inner;
        for change in changes {
            if change.status != Status::Running {
                if let Some(entry) = jobs.remove(&change.job) {
                    // It has ended by itself, or lost its lease: then this is how it learns of it.
                    entry.interrupt.cancel();
                }
                if !cancelled_early.is_empty() {
                    cancelled_early.remove(&change.job);
                }
            } else if change.cancelling {
                match jobs.get(&change.job) {
                    Some(entry) => entry.interrupt.cancel(),
                    None => drop(cancelled_early.insert(change.job)),
                }
            }
        }
    }

    /// Tells a job's executor to stop.
    pub(crate) fn cancel(&self, job: JobId) {
        if let Some(entry) = self.lock().jobs.get(&job) {
            entry.interrupt.cancel();
        }
    }

    /// A lease holds until then.
    pub(crate) fn extend(&self, held: &Held, over_at: Timestamp) {
        if let Some(entry) = self.lock().jobs.get_mut(&held.job).filter(|entry| entry.held.token == held.token) {
            entry.over_at = entry.over_at.max(Some(over_at));
        }
    }

    /// Tells those executors to stop whose leases are over at `now`; says how many.
    pub(crate) fn stop_what_is_over(&self, now: Timestamp) -> usize {
        let mut inner = self.lock();
        let over = inner.jobs.values_mut().filter(|entry| entry.over_at.is_some_and(|at| at <= now));
        over.map(|entry| {
            entry.over_at = None;
            entry.interrupt.cancel();
        })
        .count()
    }

    /// Tells every executor to stop.
    pub(crate) fn cancel_all(&self) {
        self.lock().jobs.values().for_each(|entry| entry.interrupt.cancel());
    }

    pub(crate) fn holds(&self, tenant: &Tenant, job: JobId) -> bool {
        self.lock().jobs.get(&job).is_some_and(|entry| entry.held.tenant == *tenant)
    }

    /// Leases that began before `before`: younger ones need no beat yet.
    pub(crate) fn held_since(&self, before: Timestamp) -> Vec<Held> {
        let inner = self.lock();
        inner.jobs.values().filter(|entry| entry.since <= before).map(|entry| entry.held.clone()).collect()
    }

    /// How many run here.
    pub(crate) fn count(&self) -> usize {
        self.lock().jobs.len()
    }

    /// All leases held here.
    pub(crate) fn all(&self) -> Vec<Held> {
        self.lock().jobs.values().map(|entry| entry.held.clone()).collect()
    }
}
