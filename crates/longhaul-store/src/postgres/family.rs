//! Parents and children: submitting and spawning them, waiting for them, and cancelling those that were given up.
//!
//! A child's end is counted by its parent in the same transaction; so whoever may end a job has locked those above it.
//! When a job gives up, its live children are cancelled: as many as a transaction takes with it, the rest by the next
//! sweeps of whichever server, which find it written down.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use longhaul_core::{CHILDREN_MOST, JobId, Payload, Refused, Status, Step, StepName, Tenant, Wait};

use super::{
    batch::{AnswerWrite, Batch},
    rows::{self, Cells},
    session::{Fault, Session},
};
use crate::{Held, NewJob, StoreError, ledger::Phase};

/// How many children one transaction cancels: keeps it short.
const CANCELLED_AT_ONCE: i64 = 1_000;

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

impl Batch {
    /// The first of those above a job that is not in the batch: somebody else's at present, or gone.
    pub(super) fn missing_above(&self, no: i64) -> Option<i64> {
        let mut below = no;
        loop {
            let parent = self.entries.get(&below)?.parent_no?;
            if !self.entries.contains_key(&parent) {
                return Some(parent);
            }
            below = parent;
        }
    }

    pub(super) fn spawn(
        &mut self,
        held: &Held,
        step: &StepName,
        children: &[NewJob],
    ) -> Result<Vec<JobId>, StoreError> {
        let no = self.check_lease(held)?;
        if let Some(stored) = self.stored_step(no, step) {
            return ids_of(stored);
        }
        let parent = &self.entry(no)?.job;
        let (depth, first) = (parent.spec.depth + 1, parent.children.total);
        if children.iter().any(|child| child.spec.parent != Some(held.job) || child.spec.tenant != held.tenant) {
            return Err(StoreError::NotFound("parent"));
        }
        let count = u32::try_from(children.len()).unwrap_or(u32::MAX);
        self.apply(no, Step::Spawn { token: held.token, name: step.clone(), children: count })?;
        let ids: Vec<JobId> = children.iter().map(|child| child.spec.id).collect();
        let output = serde_json::to_vec(&ids).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.writes.steps.push((no, step.clone(), Payload::inline(output)));
        for (child, index) in children.iter().zip(first..) {
            let mut spec = child.spec.clone();
            let changed = Arc::make_mut(&mut spec);
            (changed.depth, changed.child_index) = (depth, index);
            self.take_fresh(longhaul_core::Job::submitted(spec), child.input.clone());
        }
        Ok(ids)
    }

    /// The output of a step, when it is stored.
    pub(super) fn stored_step(&self, no: i64, name: &StepName) -> Option<&Payload> {
        let in_batch = self.writes.steps.iter().find(|(job, step, _)| *job == no && step == name);
        in_batch.map(|(_, _, output)| output).or_else(|| self.found.steps.get(&(no, name.clone())))
    }

    // ── waiting and answering ──

    pub(super) fn wait(&mut self, no: i64, held: &Held, wait: &Wait) -> Result<(), StoreError> {
        let is_there = match wait {
            Wait::Input { step, .. } => self.stored_step(no, step).is_some(),
            Wait::Children => false,
        };
        // Looked at before anything is changed.
        let oldest = self.oldest_answer(no);
        let applied = self.apply(no, Step::Wait { token: held.token, wait: wait.clone(), is_there })?;
        if let Some(step) = applied.answered {
            let answer = oldest.ok_or_else(|| StoreError::Corrupt("an answer that is counted is not there".into()))?;
            self.writes.answers.push((no, AnswerWrite::TakeOldest));
            self.writes.steps.push((no, step, answer));
        }
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        tenant: &Tenant,
        id: JobId,
        to: Option<&StepName>,
        answer: &Payload,
    ) -> Result<Status, StoreError> {
        let no = self.find(tenant, id)?;
        match self.apply(no, Step::Answer { to: to.cloned() })?.answered {
            Some(step) => self.writes.steps.push((no, step, answer.clone())),
            None => self.writes.answers.push((no, AnswerWrite::Keep(answer.clone()))),
        }
        Ok(self.entry(no)?.status())
    }

    fn oldest_answer(&self, no: i64) -> Option<Payload> {
        let (mut kept, mut taken) = (self.found.answers.get(&no).cloned().unwrap_or_default(), 0);
        for (_, change) in self.writes.answers.iter().filter(|(job, _)| *job == no) {
            match change {
                AnswerWrite::Keep(answer) => kept.push(answer.clone()),
                AnswerWrite::TakeOldest => taken += 1,
            }
        }
        kept.into_iter().nth(taken)
    }
}

fn ids_of(stored: &Payload) -> Result<Vec<JobId>, StoreError> {
    let damaged = || StoreError::Corrupt("a stored step does not hold the ids of children".into());
    match stored {
        Payload::Inline(json) => serde_json::from_slice(json).map_err(|_| damaged()),
        Payload::Blob(_) => Err(damaged()),
    }
}

/// Locks those above these jobs, as far as nobody holds them, and leaves out the jobs that cannot be changed because
/// somebody does: they were locked out of turn, so waiting for the others could be for ever.
pub(super) async fn with_all_above(session: &Session, batch: &mut Batch, jobs: Vec<i64>) -> Result<Vec<i64>, Fault> {
    let missing: BTreeSet<i64> = jobs.iter().filter_map(|no| batch.missing_above(*no)).collect();
    if missing.is_empty() {
        return Ok(jobs);
    }
    let above: Vec<i64> = missing.into_iter().collect();
    for row in session.rows(include_str!("queries/lock_above.sql"), &[&above]).await? {
        batch.take_stored(rows::stored(&mut Cells::of(&row))?);
    }
    let missing: BTreeSet<i64> = jobs.iter().filter_map(|no| batch.missing_above(*no)).collect();
    let held = phases(session, missing.into_iter().collect()).await?;
    let can_be_changed = |no: &i64| batch.missing_above(*no).is_none_or(|above| !held.contains_key(&above));
    Ok(jobs.into_iter().filter(can_be_changed).collect())
}

/// The phases of those of these jobs that are still there.
pub(super) async fn phases(session: &Session, jobs: Vec<i64>) -> Result<HashMap<i64, Phase>, Fault> {
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    let found = session.rows(include_str!("queries/phases.sql"), &[&jobs]).await?;
    let phase = |row| {
        let mut cells = Cells::of(row);
        Ok((cells.next()?, rows::phase_of(cells.next()?)?))
    };
    Ok(found.iter().map(phase).collect::<Result<_, StoreError>>()?)
}

/// Cancels children of jobs that have given up, as many as a transaction takes.
pub(super) async fn cancel_abandoned(session: &Session, batch: &mut Batch) -> Result<(), Fault> {
    let mut left = CANCELLED_AT_ONCE;
    while left > 0 && !batch.abandoned.is_empty() {
        let parents: Vec<i64> = std::mem::take(&mut batch.abandoned).into_iter().collect();
        let found = session.rows(include_str!("queries/children_alive.sql"), &[&parents, &left]).await?;
        let is_all = i64::try_from(found.len()).unwrap_or(left) < left;
        let mut live: Vec<i64> = Vec::with_capacity(found.len());
        for row in &found {
            live.push(batch.take_stored(rows::stored(&mut Cells::of(row))?));
        }
        // What this batch has taken in is not stored yet.
        let is_of_these = |parent: &Option<i64>| parent.is_some_and(|parent| parents.contains(&parent));
        let fresh = batch.entries.values().filter(|entry| entry.fresh && is_of_these(&entry.parent_no));
        live.extend(fresh.map(|entry| entry.no));
        live.sort_unstable();
        live.dedup();
        left -= i64::try_from(live.len()).unwrap_or(left).clamp(1, left);
        for no in live {
            match batch.apply(no, Step::Cancel) {
                // It may have ended in this batch.
                Ok(_) | Err(StoreError::Refused(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        if is_all {
            batch.writes.abandoned_done.extend(parents);
        } else {
            // The same rows would be found again: the rest is for the next transaction.
            batch.abandoned.extend(parents);
            break;
        }
    }
    batch.writes.abandoned_left = batch.abandoned.iter().copied().collect();
    Ok(())
}
