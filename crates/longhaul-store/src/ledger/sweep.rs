//! What time does to jobs, and what retention takes away.

use longhaul_core::{CANCEL_GRACE, Span, State, Step, Timestamp};

use super::{AFTER_RESTART, Backing, ExpiryBlock, Forget, Ledger};
use crate::{Pruned, StoreError, Swept};

/// How much of one sort a sweep carries out at once; what is left waits for the next, which follows immediately. Keeps
/// a sweep's batch under some ten milliseconds.
const AT_ONCE: usize = 1_000;

/// How often tombstones and idempotency keys are looked through when no job is removed: an idle server stays idle.
const FORGET_EVERY: Span = Span::from_secs(60);

/// How often all gates of limits are looked at, whether or not something has happened to them.
const REVIEW_EVERY: Span = Span::from_secs(60);

/// How much longer a child is kept whose parent lives, before that is looked at again.
const KEPT_FOR_PARENT: Span = Span::from_secs(600);

impl<B: Backing> Ledger<B> {
    pub(crate) fn sweep(&mut self) -> Result<Swept, StoreError> {
        let mut changed = self.sweep_running()?;
        let mut next = self.next_running();
        let now = self.now;
        if self.next_due <= now {
            let (due, then) = self.backing.due(now, AT_ONCE)?;
            // What this batch has deferred is not on disk yet, and may be due before what is.
            self.next_due = then.unwrap_or(Timestamp::from_micros(i64::MAX));
            let in_batch = self.touched.values().filter_map(|entry| match entry.job.state {
                State::Queued { due_at, .. } if due_at > now => Some(due_at),
                _ => None,
            });
            self.next_due = in_batch.fold(self.next_due, Timestamp::min);
            for stored in due {
                let no = self.touch_stored(stored);
                if let Some(entry) = self.touched.get_mut(&no) {
                    entry.changed = true;
                    changed += 1;
                }
                self.place(no);
            }
        }
        if self.next_deadline <= now {
            let (overdue, then) = self.backing.overdue(now, AT_ONCE)?;
            self.next_deadline = then.unwrap_or(Timestamp::from_micros(i64::MAX));
            let in_batch = self.touched.values().filter_map(|entry| entry.job.spec.deadline_at).filter(|at| *at > now);
            self.next_deadline = in_batch.fold(self.next_deadline, Timestamp::min);
            for stored in overdue {
                let no = self.touch_stored(stored);
                // Another operation of this batch may have ended or claimed it.
                match self.apply(no, Step::DeadlinePassed) {
                    Ok(_) => changed += 1,
                    Err(StoreError::Refused(_)) => {}
                    Err(other) => return Err(other),
                }
            }
        }
        if self.has_abandoned() {
            next = Some(now);
        }
        if self.next_review <= now {
            self.next_review = now + REVIEW_EVERY;
            self.review_gates();
        }
        if let Some(at) = self.gates.next(now) {
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        for at in [self.next_due, self.next_deadline] {
            if at < Timestamp::from_micros(i64::MAX) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        Ok(Swept { changed, next })
    }

    /// Leases, deadlines and cancels of running jobs: all of them are in memory.
    fn sweep_running(&mut self) -> Result<usize, StoreError> {
        let now = self.now;
        let mut changed = 0;
        let mut due: Vec<(i64, Step)> = Vec::new();
        for entry in self.running.values() {
            let Some(lease) = entry.job.lease() else { continue };
            if entry.job.cancel_requested_at.is_some_and(|at| at + CANCEL_GRACE <= now) {
                due.push((entry.no, Step::CancelOverdue));
            } else if entry.job.spec.deadline_at.is_some_and(|deadline| deadline <= now) {
                due.push((entry.no, Step::DeadlinePassed));
            } else if lease.expires_at <= now {
                // While nothing could be written, nobody could give a sign of life.
                let is_missed = self.unwritable_since.is_some() || now < self.writable_since + AFTER_RESTART;
                let extend = Step::Beat { token: lease.token, lease_for: AFTER_RESTART, progress: None };
                due.push((entry.no, if is_missed { extend } else { Step::Expire }));
            }
        }
        due.sort_unstable_by_key(|(no, _)| *no);
        for (no, step) in due {
            self.touch_running(no);
            match self.apply(no, step) {
                Ok(_) => changed += 1,
                Err(StoreError::Refused(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(changed)
    }

    fn next_running(&self) -> Option<Timestamp> {
        let of_each = self.running.values().chain(self.touched.values()).filter_map(|entry| {
            let lease = entry.job.lease()?;
            let cancel = entry.job.cancel_requested_at.map(|at| at + CANCEL_GRACE);
            [Some(lease.expires_at), entry.job.spec.deadline_at, cancel].into_iter().flatten().min()
        });
        of_each.min()
    }

    pub(crate) fn prune(&mut self, limit: usize, tombstones_for: Span) -> Result<Pruned, StoreError> {
        let (mut pruned, mut seen) = (Pruned::default(), 0);
        for ExpiryBlock { id, jobs, of_deltas } in self.backing.expired(self.now, limit)? {
            let mut left = jobs.into_iter();
            while seen < limit
                && let Some(no) = left.next()
            {
                if of_deltas {
                    self.writes.trimmed.push(no);
                    pruned.streams += 1;
                    seen += 1;
                } else {
                    let gone = usize::from(self.expire_job(no)?);
                    pruned.jobs += gone;
                    seen += gone;
                }
            }
            let left: Vec<i64> = left.collect();
            if left.is_empty() {
                self.writes.expiry_done.push(id);
            } else {
                pruned.more = true;
                self.writes.expiry_left.push(ExpiryBlock { id, jobs: left, of_deltas });
                break;
            }
        }
        if pruned.jobs > 0 || self.next_forget <= self.now {
            self.next_forget = self.now + FORGET_EVERY;
            // As much is forgotten as was removed, so that forgetting keeps pace.
            let tombstones_before = self.now - tombstones_for;
            self.writes.forget = Some(Forget { now: self.now, tombstones_before, limit });
        }
        Ok(pruned)
    }

    /// False when it was erased by hand before, or is kept for its parent.
    fn expire_job(&mut self, no: i64) -> Result<bool, StoreError> {
        if !self.touched.contains_key(&no) {
            match self.backing.load_no(no)? {
                Some(stored) => self.touch_stored(stored),
                None => return Ok(false),
            };
        }
        self.touch_ancestors(no)?;
        let parent = self.touched.get(&no).and_then(|entry| entry.job.spec.parent);
        let parent = parent.and_then(|id| self.touched_ids.get(&id)).and_then(|no| self.touched.get(no));
        if parent.is_some_and(|parent| !parent.job.status().is_terminal()) {
            // Its parent has not used it yet.
            self.writes.ended.push((self.now + KEPT_FOR_PARENT, no));
            return Ok(false);
        }
        self.erase_touched(no, false)
    }
}
