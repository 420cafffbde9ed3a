//! What time does to jobs, and what retention takes away.

use longhaul_core::{CANCEL_GRACE, Job, Span, State, Step, Timestamp};

use super::{
    batch::{Batch, Entry, NewTimer},
    load::AFTER_START,
    rows,
};
use crate::{Pruned, StoreError, Swept, ledger::Forget};

/// How much longer a child is kept whose parent lives, before that is looked at again.
const KEPT_FOR_PARENT: Span = Span::from_secs(600);

/// What a sweep does to a job at `now`; none: there is nothing, or only that its delay is over. `may_expire`: whoever
/// holds a lease could have been heard.
fn due_step(job: &Job, now: Timestamp, may_expire: bool) -> Option<Step> {
    let is_overdue = job.spec.deadline_at.is_some_and(|deadline| deadline <= now);
    match &job.state {
        State::Running { .. } if job.cancel_requested_at.is_some_and(|at| at + CANCEL_GRACE <= now) => {
            Some(Step::CancelOverdue)
        }
        State::Queued { .. } | State::Running { .. } | State::Waiting { .. } if is_overdue => {
            Some(Step::DeadlinePassed)
        }
        State::Running { lease, .. } if lease.expires_at <= now && may_expire => Some(Step::Expire),
        State::Running { lease, .. } if lease.expires_at <= now => {
            Some(Step::Beat { token: lease.token, lease_for: AFTER_START, progress: None })
        }
        State::Queued { .. }
        | State::Running { .. }
        | State::Waiting { .. }
        | State::Succeeded
        | State::Failed
        | State::Cancelled => None,
    }
}

impl Batch {
    pub(super) fn sweep(&mut self) -> Result<Swept, StoreError> {
        let (now, due) = (self.now, std::mem::take(&mut self.found.due));
        let mut changed = self.end_leases_of_the_dead(&due.orphans)?;
        let may_expire = self.has_listened_for(AFTER_START);
        for no in due.jobs {
            let Ok(entry) = self.entry(no) else { continue };
            match due_step(&entry.job, now, may_expire) {
                Some(step) => match self.apply(no, step) {
                    Ok(_) => changed += 1,
                    Err(StoreError::Refused(_)) => {}
                    Err(other) => return Err(other),
                },
                None => {
                    // A delay that is over. Another operation of this batch may have changed the job since.
                    if entry.is_due(now) {
                        self.place(no);
                        changed += 1;
                    }
                }
            }
        }
        self.writes.dead_nodes = due.dead;
        self.abandoned.extend(due.abandoned);
        let next = if self.abandoned.is_empty() { due.next } else { Some(now) };
        let live = self.entries.values().filter(|entry| !entry.status().is_terminal());
        let timer = |entry: &Entry| rows::timer(&entry.job, entry.phase?, entry.trimmed, self.deltas_for);
        let in_batch = live.filter_map(timer).filter(|at| *at > now);
        Ok(Swept { changed, next: in_batch.chain(next).min() })
    }

    /// After a start: gives workers elsewhere the time for a sign of life. Says which job was the last, if there was one.
    pub(super) fn extend_unheard(&mut self) -> Result<Option<i64>, StoreError> {
        let unheard = std::mem::take(&mut self.found.unheard);
        for no in &unheard {
            if let Some(token) = self.entry(*no)?.job.lease().map(|lease| lease.token) {
                self.apply(*no, Step::Beat { token, lease_for: AFTER_START, progress: None })?;
            }
        }
        Ok(unheard.last().copied())
    }

    /// Ends the leases that were held in the process of a dead server: they died with it.
    fn end_leases_of_the_dead(&mut self, orphans: &[i64]) -> Result<usize, StoreError> {
        let mut changed = 0;
        for no in orphans {
            let now = self.now;
            let Ok(entry) = self.entry_mut(*no) else { continue };
            if let State::Running { lease, .. } = &mut entry.job.state {
                lease.expires_at = lease.expires_at.min(now);
            }
            match self.apply(*no, Step::Expire) {
                Ok(_) => changed += 1,
                Err(StoreError::Refused(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(changed)
    }

    pub(super) fn prune(&mut self, limit: usize, tombstones_for: Span, forget: bool) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        for no in std::mem::take(&mut self.found.expired) {
            if pruned.jobs + pruned.streams == limit {
                pruned.more = true;
                break;
            }
            let now = self.now;
            let entry = self.entry_mut(no)?;
            let is_over = entry.job.expires_at().is_some_and(|at| at <= now);
            let (parent_no, trimmed) = (entry.parent_no, entry.trimmed);
            if !is_over {
                // Only what it has streamed goes; the job stays for its own time.
                entry.trimmed = true;
                let at = entry.job.expires_at().unwrap_or(now);
                self.writes.trims.push(no);
                self.writes.timers.push(NewTimer { no, at, trimmed: true });
                pruned.streams += 1;
            } else if parent_no.is_some_and(|parent| self.found.living.contains(&parent)) {
                // Its parent has not used it yet.
                self.writes.timers.push(NewTimer { no, at: now + KEPT_FOR_PARENT, trimmed });
            } else {
                pruned.jobs += usize::from(self.erase_entry(no, false)?);
            }
        }
        if pruned.jobs > 0 || forget {
            // As much is forgotten as was removed, so that forgetting keeps pace.
            let tombstones_before = self.now - tombstones_for;
            self.writes.forget = Some(Forget { now: self.now, tombstones_before, limit });
        }
        Ok(pruned)
    }
}
