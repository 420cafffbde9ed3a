//! What time does to jobs, and what retention takes away.

use longhaul_core::{CANCEL_GRACE, Span, Step, Timestamp};

use super::{Backing, ExpiryBlock, Ledger};
use crate::{Pruned, StoreError, Swept};

/// How much of one sort a sweep carries out at once; what is left waits for the next, which follows immediately. Keeps
/// a sweep's batch under some ten milliseconds.
const AT_ONCE: usize = 1_000;

/// How often tombstones and idempotency keys are looked through: rarely, so that an idle server writes nothing.
const FORGET_EVERY: Span = Span::from_secs(600);

/// How long tombstones and idempotency keys are kept at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forget {
    pub(crate) tombstones_for: Span,
}

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
                longhaul_core::State::Queued { due_at, .. } if due_at > now => Some(due_at),
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
                due.push((entry.no, Step::Expire));
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
        let of_each = self.running.values().filter_map(|entry| {
            let lease = entry.job.lease()?;
            let cancel = entry.job.cancel_requested_at.map(|at| at + CANCEL_GRACE);
            [Some(lease.expires_at), entry.job.spec.deadline_at, cancel].into_iter().flatten().min()
        });
        of_each.min()
    }

    pub(crate) fn prune(&mut self, limit: usize, forget: Forget) -> Result<Pruned, StoreError> {
        let blocks = self.backing.expired(self.now, limit)?;
        let mut pruned = Pruned::default();
        for ExpiryBlock { id, jobs } in blocks {
            let room = limit - pruned.jobs;
            if room == 0 {
                pruned.more = true;
                break;
            }
            let (now_done, left) = jobs.split_at(jobs.len().min(room));
            for no in now_done {
                // Erased by hand before, its row is gone already.
                if !self.touched.contains_key(no)
                    && let Some(stored) = self.backing.load_no(*no)?
                {
                    self.touch_stored(stored);
                }
                self.erase_touched(*no, false)?;
            }
            pruned.jobs += now_done.len();
            if left.is_empty() {
                self.writes.expiry_done.push(id);
            } else {
                pruned.more = true;
                self.writes.expiry_left.push(ExpiryBlock { id, jobs: left.to_vec() });
            }
        }
        if !pruned.more && self.next_forget <= self.now {
            self.next_forget = self.now + FORGET_EVERY;
            self.writes.forget_before = Some(self.now - forget.tombstones_for);
        }
        Ok(pruned)
    }
}
