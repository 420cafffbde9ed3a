//! Parents and children: who hears of whose end, and what becomes of those whose parent has given up.
//!
//! A child's end is counted by its parent in the same batch, so the two never disagree on disk. When a job ends without an
//! output, or is asked to stop, its live children are cancelled: at most [`CANCELLED_AT_ONCE`] in a batch, the rest by the
//! next ones. What is left to cancel follows from the rows, so a crash in between is made good at the next start.

use std::collections::HashMap;

use longhaul_core::{Applied, CHILDREN_MOST, JobId, Payload, Refused, Status, Step, StepName, Tenant, Usage, Wait};

use super::{AnswerWrite, Backing, Ledger};
use crate::{Held, NewJob, StoreError};

/// How many children one batch cancels: keeps it under some ten milliseconds.
const CANCELLED_AT_ONCE: usize = 1_000;

/// Whether a step can end a job, so that others have to hear of it.
pub(super) fn may_end(step: &Step) -> bool {
    match step {
        Step::Succeed { .. }
        | Step::Fail { .. }
        | Step::Release { .. }
        | Step::Wait { .. }
        | Step::ChildEnded(_)
        | Step::Expire
        | Step::Cancel
        | Step::CancelOverdue
        | Step::DeadlinePassed => true,
        Step::Claim { .. }
        | Step::Beat { .. }
        | Step::Enter { .. }
        | Step::Tell { .. }
        | Step::Spend { .. }
        | Step::Spawn { .. }
        | Step::Answer { .. } => false,
    }
}

/// How many children each job of a call has in it. Parents come before their children, or are not there.
pub(super) fn children_of(jobs: &[NewJob]) -> Result<HashMap<JobId, u32>, StoreError> {
    let mut counts: HashMap<JobId, u32> = HashMap::new();
    if jobs.iter().all(|job| job.spec.parent.is_none()) {
        return Ok(counts);
    }
    for job in jobs {
        if let Some(parent) = job.spec.parent {
            let count = counts.get_mut(&parent).ok_or(StoreError::NotFound("parent"))?;
            *count += 1;
            if *count > CHILDREN_MOST {
                return Err(Refused::TooManyChildren.into());
            }
        }
        counts.insert(job.spec.id, 0);
    }
    Ok(counts)
}

impl<B: Backing> Ledger<B> {
    /// Brings those above a job into the batch, as far as they are still there.
    pub(super) fn touch_ancestors(&mut self, no: i64) -> Result<(), StoreError> {
        let mut below = no;
        while let Some(entry) = self.touched.get(&below)
            && let Some(parent) = entry.job.spec.parent
        {
            let tenant = entry.job.spec.tenant.clone();
            match self.touch(&tenant, parent) {
                Ok(no) => below = no,
                Err(StoreError::NotFound(_) | StoreError::Gone(_)) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Tells whom it concerns what a step has done to a job.
    pub(super) fn tell_family(&mut self, no: i64, applied: &Applied, is_cancel: bool) -> Result<(), StoreError> {
        let Some(entry) = self.touched.get(&no) else { return Ok(()) };
        let job = &entry.job;
        let has_ended = applied.ended.is_some();
        if (has_ended || is_cancel) && job.abandons_children() {
            self.abandoned.insert(job.spec.id, job.spec.tenant.clone());
        }
        if has_ended
            && let (Some(end), Some(parent)) = (job.child_end(), job.spec.parent)
            && let Some(parent) = self.touched_ids.get(&parent).copied()
        {
            self.apply(parent, end)?;
        }
        Ok(())
    }

    /// Cancels children of jobs that have given up, as many as a batch takes. Runs at the end of every batch.
    pub(crate) fn cancel_abandoned(&mut self) -> Result<(), StoreError> {
        let mut left = CANCELLED_AT_ONCE;
        while left > 0
            && let Some((parent, tenant)) = self.abandoned.pop_first()
        {
            let stored = match self.backing.live_children(parent, left) {
                Ok(stored) => stored,
                Err(error) => {
                    self.abandoned.insert(parent, tenant);
                    return Err(error);
                }
            };
            let all = stored.len() < left;
            let mut live: Vec<i64> = stored.into_iter().map(|stored| self.touch_stored(stored)).collect();
            // What this batch has taken in is not on disk yet.
            let fresh = self.touched.values().filter(|entry| entry.fresh && entry.job.spec.parent == Some(parent));
            live.extend(fresh.map(|entry| entry.no));
            live.sort_unstable();
            live.dedup();
            left -= live.len().clamp(1, left);
            for no in live {
                self.touch_running(no);
                match self.apply(no, Step::Cancel) {
                    // It may have ended in this batch.
                    Ok(_) | Err(StoreError::Refused(_)) => {}
                    Err(other) => {
                        self.abandoned.insert(parent, tenant);
                        return Err(other);
                    }
                }
            }
            if !all {
                // The same rows would be found again: the rest is for the next batch, which sees what this one has done.
                self.abandoned.insert(parent, tenant);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether there are children to cancel that did not fit into a batch.
    pub(super) fn has_abandoned(&self) -> bool {
        !self.abandoned.is_empty()
    }

    pub(crate) fn spawn(
        &mut self,
        held: &Held,
        step: StepName,
        children: Vec<NewJob>,
    ) -> Result<Vec<JobId>, StoreError> {
        let no = self.touch_held(held)?;
        self.check_lease(no, held)?;
        if let Some(stored) = self.stored_step(no, &step)? {
            return ids_of(&stored);
        }
        let Some(parent) = self.touched.get(&no) else { return Err(StoreError::NotFound("job")) };
        let (depth, first) = (parent.job.spec.depth + 1, parent.job.children.total);
        if children.iter().any(|c| c.spec.parent != Some(held.job) || c.spec.tenant != held.tenant) {
            return Err(StoreError::NotFound("parent"));
        }
        let count = u32::try_from(children.len()).unwrap_or(u32::MAX);
        self.apply(no, Step::Spawn { token: held.token, name: step.clone(), children: count })?;
        let ids: Vec<JobId> = children.iter().map(|child| child.spec.id).collect();
        let output = serde_json::to_vec(&ids).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.writes.steps.push((no, step, Payload::inline(output)));
        for (mut child, index) in children.into_iter().zip(first..) {
            let spec = std::sync::Arc::make_mut(&mut child.spec);
            (spec.depth, spec.child_index) = (depth, index);
            self.newest_in_batch = self.newest_in_batch.max(spec.id);
            self.take_in(child, 0);
        }
        Ok(ids)
    }

    // ── waiting and answering ──

    pub(super) fn wait(&mut self, no: i64, held: &Held, wait: Wait, spent: Usage) -> Result<(), StoreError> {
        let is_there = match &wait {
            Wait::Input { step, .. } => self.stored_step(no, step)?.is_some(),
            Wait::Children => false,
        };
        // Read before anything is changed.
        let oldest = match wait {
            Wait::Input { .. } => self.oldest_answer(no)?,
            Wait::Children => None,
        };
        self.apply(no, Step::Spend { token: held.token, usage: spent })?;
        let applied = self.apply(no, Step::Wait { token: held.token, wait, is_there })?;
        if let Some(step) = applied.answered {
            let answer = oldest.ok_or_else(|| StoreError::Corrupt("an answer that is counted is not there".into()))?;
            self.writes.answers.push((no, AnswerWrite::TakeOldest));
            self.writes.steps.push((no, step, answer));
        }
        Ok(())
    }

    pub(crate) fn answer(
        &mut self,
        tenant: &Tenant,
        id: JobId,
        to: Option<StepName>,
        answer: Payload,
    ) -> Result<Status, StoreError> {
        let no = self.touch(tenant, id)?;
        match self.apply(no, Step::Answer { to })?.answered {
            Some(step) => self.writes.steps.push((no, step, answer)),
            None => self.writes.answers.push((no, AnswerWrite::Keep(answer))),
        }
        Ok(self.touched.get(&no).map_or(Status::Running, |entry| entry.job.status()))
    }

    fn oldest_answer(&mut self, no: i64) -> Result<Option<Payload>, StoreError> {
        if self.touched.get(&no).is_none_or(|entry| entry.job.answers == 0) {
            return Ok(None);
        }
        let mut kept = self.backing.answers(no)?;
        let mut taken = 0;
        for (_, change) in self.writes.answers.iter().filter(|(job, _)| *job == no) {
            match change {
                AnswerWrite::Keep(answer) => kept.push(answer.clone()),
                AnswerWrite::TakeOldest => taken += 1,
            }
        }
        Ok(kept.into_iter().nth(taken))
    }
}

fn ids_of(stored: &Payload) -> Result<Vec<JobId>, StoreError> {
    let damaged = || StoreError::Corrupt("a stored step does not hold the ids of children".into());
    match stored {
        Payload::Inline(json) => serde_json::from_slice(json).map_err(|_| damaged()),
        Payload::Blob(_) => Err(damaged()),
    }
}
