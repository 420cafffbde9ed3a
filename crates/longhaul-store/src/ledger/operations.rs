//! What callers ask for, as operations on the ledger. Each runs within a batch and is answered after its commit.

use longhaul_core::{
    ApiKey, DocumentId, EventKind, Job, JobId, KeyId, KindSpec, Limits, OutputData, Payload, QueueName, Refused, Stage,
    Status, Step, StepName, Tenant, Usage,
};

use super::{Backing, DocumentWrite, Erasure, Ledger, Touched, family, queues::QueueTally};
use crate::{Beat, BeatAnswer, Held, NewJob, Outcome, QueueState, StoreError, Submit, Submitted, Tombstone};

impl<B: Backing> Ledger<B> {
    pub(crate) fn submit(&mut self, submit: Submit) -> Result<Submitted, StoreError> {
        let Submit { jobs, idempotency, document } = submit;
        let Some(first) = jobs.first() else { return Ok(Submitted::Created) };
        if self.has(&first.spec.tenant, first.spec.id)? {
            // The same call again, after an answer that did not arrive: jobs come all or none.
            return Ok(Submitted::Created);
        }
        if let Some(key) = &idempotency
            && let Some(jobs) = self.replay(&first.spec.tenant, key)?
        {
            return Ok(Submitted::Replayed(jobs));
        }
        let children = family::children_of(&jobs)?;
        if let Some(key) = idempotency {
            // Children are found through those above them.
            let ids = jobs.iter().filter(|job| job.spec.parent.is_none()).map(|job| job.spec.id).collect();
            self.writes.idempotency.push((first.spec.tenant.clone(), key, ids));
        }
        self.writes.documents.extend(document.map(DocumentWrite::Put));
        for job in jobs {
            self.newest_in_batch = self.newest_in_batch.max(job.spec.id);
            let children = children.get(&job.spec.id).copied().unwrap_or(0);
            self.take_in(job, children);
        }
        Ok(Submitted::Created)
    }

    fn has(&mut self, tenant: &Tenant, id: JobId) -> Result<bool, StoreError> {
        let in_memory = self.touched_ids.contains_key(&id) || self.running_ids.contains_key(&id);
        // Ids grow with time: one that is greater than all before is new, and need not be looked for.
        Ok(in_memory || (id <= self.newest && self.backing.exists(tenant, id)?))
    }

    /// The jobs of an earlier call with this key, if there was one.
    fn replay(&mut self, tenant: &Tenant, key: &crate::Idempotency) -> Result<Option<Vec<JobId>>, StoreError> {
        let in_batch = self
            .writes
            .idempotency
            .iter()
            .find(|(whose, other, _)| other.key == key.key && other.route == key.route && whose == tenant);
        if let Some((_, other, jobs)) = in_batch {
            return if other.fingerprint == key.fingerprint {
                Ok(Some(jobs.clone()))
            } else {
                Err(StoreError::IdempotencyMismatch)
            };
        }
        let Some(kept) = self.backing.idempotency(tenant, key.route, &key.key)? else { return Ok(None) };
        if kept.keep_until <= self.now {
            // Its time is over, unless one of its jobs is still there.
            let mut lives = false;
            for id in &kept.jobs {
                lives |= self.has(tenant, *id)?;
            }
            if !lives {
                return Ok(None);
            }
        }
        if kept.fingerprint == key.fingerprint { Ok(Some(kept.jobs)) } else { Err(StoreError::IdempotencyMismatch) }
    }

    pub(super) fn take_in(&mut self, NewJob { spec, input }: NewJob, children: u32) {
        let no = self.next_no;
        self.next_no += 1;
        let job = Job::submitted_with(spec, children);
        self.writes.events.push((no, job.first_event()));
        self.touched_ids.insert(job.spec.id, no);
        let entry = Touched {
            no,
            job,
            input: Some(input),
            output: None,
            fresh: true,
            changed: true,
            output_is_new: false,
            phase: None,
            ended_attempt: None,
        };
        self.touched.insert(no, entry);
        self.place(no);
    }

    // ── under a lease ──

    pub(super) fn touch_held(&mut self, held: &Held) -> Result<i64, StoreError> {
        self.touch(&held.tenant, held.job).map_err(|error| match error {
            // An erased or expired job is nobody's any more.
            StoreError::Gone(_) => StoreError::Refused(Refused::LeaseLost),
            other => other,
        })
    }

    pub(super) fn check_lease(&self, no: i64, held: &Held) -> Result<(), StoreError> {
        let entry = self.touched.get(&no).ok_or(StoreError::NotFound("job"))?;
        Ok(entry.job.check_lease(held.token)?)
    }

    pub(crate) fn beat(&mut self, beat: Beat) -> Result<BeatAnswer, StoreError> {
        let no = self.touch_held(&beat.held)?;
        self.apply(no, Step::Beat { token: beat.held.token, lease_for: beat.lease_for, progress: beat.progress })?;
        let entry = self.touched.get(&no).ok_or(StoreError::NotFound("job"))?;
        let lease = entry.job.lease().ok_or(Refused::LeaseLost)?;
        Ok(BeatAnswer { lease_expires_at: lease.expires_at, cancel_requested: entry.job.cancel_requested_at.is_some() })
    }

    pub(crate) fn enter(&mut self, held: &Held, stage: Stage) -> Result<(), StoreError> {
        let no = self.touch_held(held)?;
        self.apply(no, Step::Enter { token: held.token, stage }).map(drop)
    }

    pub(crate) fn tell(&mut self, held: &Held, events: Vec<EventKind>, spent: Usage) -> Result<(), StoreError> {
        let no = self.touch_held(held)?;
        self.check_lease(no, held)?;
        for event in events {
            self.apply(no, Step::Tell { token: held.token, event })?;
        }
        self.apply(no, Step::Spend { token: held.token, usage: spent }).map(drop)
    }

    pub(crate) fn checkpoint(
        &mut self,
        held: &Held,
        name: StepName,
        output: Payload,
        spent: Usage,
    ) -> Result<(), StoreError> {
        let no = self.touch_held(held)?;
        self.check_lease(no, held)?;
        if let Some(stored) = self.stored_step(no, &name)? {
            return if stored == output { Ok(()) } else { Err(StoreError::StepExists) };
        }
        self.apply(no, Step::Tell { token: held.token, event: EventKind::Step { name: name.to_string() } })?;
        self.apply(no, Step::Spend { token: held.token, usage: spent })?;
        self.writes.steps.push((no, name, output));
        Ok(())
    }

    /// The output of a step, when it is stored.
    pub(super) fn stored_step(&mut self, no: i64, name: &StepName) -> Result<Option<Payload>, StoreError> {
        let in_batch = self.writes.steps.iter().find(|(job, step, _)| *job == no && step == name);
        match in_batch {
            Some((_, _, output)) => Ok(Some(output.clone())),
            None => self.backing.step(no, name),
        }
    }

    pub(crate) fn append(&mut self, held: &Held, deltas: Vec<OutputData>) -> Result<(), StoreError> {
        let deltas = deltas.into_iter().map(|data| EventKind::OutputDelta { data });
        self.tell(held, deltas.collect(), Usage::default())
    }

    pub(crate) fn finish(&mut self, held: &Held, outcome: Outcome, spent: Usage) -> Result<Status, StoreError> {
        let no = self.touch_held(held)?;
        let token = held.token;
        if !matches!(outcome, Outcome::Succeeded { .. }) {
            // What else can be refused or fail is done before: from here on the end is as good as written.
            self.check_lease(no, held)?;
            self.touch_ancestors(no)?;
        }
        match outcome {
            Outcome::Succeeded { output, mut report } => {
                report.usage = report.usage.and(spent);
                let applied = self.apply(no, Step::Succeed { token, report })?;
                if !applied.repeated
                    && let Some(entry) = self.touched.get_mut(&no)
                {
                    entry.output = Some(output);
                    entry.output_is_new = true;
                }
            }
            Outcome::Failed { error, plan, ambiguous } => {
                let random = self.time.ids.random();
                self.apply(no, Step::Spend { token, usage: spent })?;
                self.apply(no, Step::Fail { token, error, plan, random, ambiguous })?;
            }
            Outcome::Released { ambiguous } => {
                self.apply(no, Step::Spend { token, usage: spent })?;
                self.apply(no, Step::Release { token, ambiguous })?;
            }
            Outcome::Waiting(wait) => self.wait(no, held, wait, spent)?,
        }
        Ok(self.touched.get(&no).map_or(Status::Failed, |entry| entry.job.status()))
    }

    // ── from outside ──

    pub(crate) fn cancel(&mut self, tenant: &Tenant, id: JobId) -> Result<Status, StoreError> {
        let no = self.touch(tenant, id)?;
        match self.apply(no, Step::Cancel) {
            Ok(_) | Err(StoreError::Refused(Refused::Terminal)) => {}
            Err(other) => return Err(other),
        }
        Ok(self.touched.get(&no).map_or(Status::Cancelled, |entry| entry.job.status()))
    }

    pub(crate) fn erase(&mut self, tenant: &Tenant, id: JobId) -> Result<(), StoreError> {
        let no = self.touch(tenant, id)?;
        self.erase_touched(no, true).map(drop)
    }

    /// False when this batch has erased it already.
    pub(super) fn erase_touched(&mut self, no: i64, erased: bool) -> Result<bool, StoreError> {
        let Some(entry) = self.touched.get(&no) else { return Ok(false) };
        let Some(finished_at) = entry.job.finished_at else { return Err(Refused::NoOccasion.into()) };
        let tombstone = Tombstone { job: entry.job.spec.id, status: entry.job.status(), finished_at, erased };
        if self.writes.erasures.iter().any(|erasure| erasure.no == no) {
            return Ok(false);
        }
        self.writes.erasures.push(Erasure { no, tenant: entry.job.spec.tenant.clone(), tombstone, gone_at: self.now });
        Ok(true)
    }

    // ── queues, kinds, keys, documents ──

    pub(crate) fn queue_states(&mut self) -> Vec<QueueState> {
        let first = self.first_in_line();
        let mut states: Vec<QueueState> = (self.queues.iter())
            .map(|(name, tally)| {
                let QueueTally { queued, running, waiting, paused, concurrency, .. } = *tally;
                let first_ready_at = first.get(name).copied();
                QueueState { name: name.clone(), paused, concurrency, queued, running, waiting, first_ready_at }
            })
            .collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    pub(crate) fn limit_queue(&mut self, queue: QueueName, concurrency: Option<u32>) {
        self.queues.of(&queue).concurrency = concurrency;
    }

    pub(crate) fn pause_queue(&mut self, queue: QueueName, paused: bool) {
        self.queues.of(&queue).paused = paused;
        self.writes.pauses.push((queue, paused));
    }

    pub(crate) fn put_kind(&mut self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError> {
        self.limit(Some(tenant.clone()), kind.name.clone(), Limits::of(&kind.limits))?;
        self.writes.kinds.push((tenant.clone(), kind));
        Ok(())
    }

    pub(crate) fn put_key(&mut self, key: ApiKey) {
        self.writes.keys.push(key);
    }

    pub(crate) fn revoke_key(&mut self, tenant: &Tenant, id: KeyId) -> Result<ApiKey, StoreError> {
        let mut key = self.backing.key(tenant, id)?.ok_or(StoreError::NotFound("key"))?;
        key.revoked_at.get_or_insert(self.now);
        self.writes.keys.push(key.clone());
        Ok(key)
    }

    pub(crate) fn put_document_part(
        &mut self,
        held: &Held,
        id: DocumentId,
        part: &'static str,
        content: Payload,
    ) -> Result<(), StoreError> {
        let no = self.touch_held(held)?;
        self.check_lease(no, held)?;
        self.find_document(&held.tenant, id)?;
        self.writes.documents.push(DocumentWrite::Part(held.tenant.clone(), id, part, content));
        Ok(())
    }

    pub(crate) fn delete_document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<(), StoreError> {
        self.find_document(tenant, id)?;
        self.writes.documents.push(DocumentWrite::Delete(tenant.clone(), id));
        Ok(())
    }

    fn find_document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<(), StoreError> {
        for change in self.writes.documents.iter().rev() {
            match change {
                DocumentWrite::Put(document) if document.id == id && document.tenant == *tenant => return Ok(()),
                DocumentWrite::Delete(whose, gone) if *gone == id && whose == tenant => {
                    return Err(StoreError::NotFound("document"));
                }
                DocumentWrite::Put(_) | DocumentWrite::Part(..) | DocumentWrite::Delete(..) => {}
            }
        }
        self.backing.document(tenant, id)?.map(drop).ok_or(StoreError::NotFound("document"))
    }
}
