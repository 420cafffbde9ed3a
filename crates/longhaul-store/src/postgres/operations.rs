//! What callers ask for, as operations on a batch.
//!
//! An operation may be run more than once, each time in a new batch: so it keeps what it was given.

use longhaul_core::{
    ApiKey, DocumentId, EventKind, Job, JobId, KeyId, Payload, QueueName, Refused, Stage, Status, Step, StepName,
    Tenant, Usage, Wait,
};
use tokio::sync::oneshot;

use super::{
    batch::{Batch, Needs},
    family,
};
use crate::{
    Beat, BeatAnswer, Held, Idempotency, NewJob, Outcome, QueueState, StoreError, Submit, Submitted, Tombstone,
    ledger::{DocumentWrite, Erasure, QUEUES_KEPT_LEAST},
};

/// Something to do within a batch, and to answer after its commit.
pub(super) trait Operation: Send {
    /// Says what it must find.
    fn needs(&self, needs: &mut Needs);
    /// Does it, in memory.
    fn run(&mut self, batch: &mut Batch);
    /// Answers whoever asked.
    fn answer(self: Box<Self>, committed: Result<(), &StoreError>);
}

/// An operation made of two closures.
pub(super) struct Call<T, N, R> {
    needs: N,
    run: R,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, N, R> Call<T, N, R>
where
    T: Send + 'static,
    N: Fn(&mut Needs) + Send + 'static,
    R: FnMut(&mut Batch) -> Result<T, StoreError> + Send + 'static,
{
    pub(super) fn boxed(needs: N, run: R) -> (Box<dyn Operation>, oneshot::Receiver<Result<T, StoreError>>) {
        let (answer, receive) = oneshot::channel();
        (Box::new(Self { needs, run, result: None, answer }), receive)
    }
}

impl<T, N, R> Operation for Call<T, N, R>
where
    T: Send,
    N: Fn(&mut Needs) + Send,
    R: FnMut(&mut Batch) -> Result<T, StoreError> + Send,
{
    fn needs(&self, needs: &mut Needs) {
        (self.needs)(needs);
    }

    fn run(&mut self, batch: &mut Batch) {
        self.result = Some((self.run)(batch));
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Err(error), _) => Err(error.clone()),
            (Ok(()), None) => Err(StoreError::Unavailable("the operation was not carried out".into())),
        };
        // Whoever asked may have stopped waiting; the change is made all the same.
        let _ = self.answer.send(result);
    }
}

impl Needs {
    pub(super) fn job(&mut self, tenant: &Tenant, id: JobId) {
        self.jobs.insert((tenant.clone(), id));
    }

    pub(super) fn held(&mut self, held: &Held) {
        self.job(&held.tenant, held.job);
    }

    pub(super) fn step(&mut self, held: &Held, name: &StepName) {
        self.held(held);
        self.steps.insert((held.tenant.clone(), held.job, name.clone()));
    }

    pub(super) fn finish(&mut self, held: &Held, outcome: &Outcome) {
        self.held(held);
        if let Outcome::Waiting(Wait::Input { step, .. }) = outcome {
            self.step(held, step);
            self.answers.insert((held.tenant.clone(), held.job));
        }
    }

    pub(super) fn limited(&mut self, jobs: &[NewJob]) {
        for spec in jobs.iter().map(|job| &job.spec) {
            if let Some(key) = spec.limit_key {
                self.limited.insert((spec.kind.clone(), key.0, spec.queue.clone()));
            }
        }
    }

    pub(super) fn submit(&mut self, submit: &Submit) {
        let Some(first) = submit.jobs.first() else { return };
        let tenant = &first.spec.tenant;
        self.ids.insert((tenant.clone(), first.spec.id));
        self.numbers += submit.jobs.len();
        self.limited(&submit.jobs);
        if let Some(key) = &submit.idempotency {
            self.idempotency.insert((tenant.clone(), key.route, key.key));
        }
    }
}

impl Batch {
    pub(super) fn submit(&mut self, submit: &Submit) -> Result<Submitted, StoreError> {
        let Some(first) = submit.jobs.first() else { return Ok(Submitted::Created) };
        let tenant = &first.spec.tenant;
        if self.has(tenant, first.spec.id) {
            // The same call again, after an answer that did not arrive: jobs come all or none.
            return Ok(Submitted::Created);
        }
        if let Some(key) = &submit.idempotency
            && let Some(jobs) = self.replay(tenant, key)?
        {
            return Ok(Submitted::Replayed(jobs));
        }
        let children = family::children_of(&submit.jobs)?;
        if let Some(key) = &submit.idempotency {
            // Children are found through those above them.
            let ids = submit.jobs.iter().filter(|job| job.spec.parent.is_none()).map(|job| job.spec.id).collect();
            self.writes.idempotency.push((tenant.clone(), key.clone(), ids));
        }
        if let Some(document) = &submit.document {
            self.found.documents.insert((document.tenant.clone(), document.id));
            self.writes.documents.push(DocumentWrite::Put(document.clone()));
        }
        for new in &submit.jobs {
            let children = children.get(&new.spec.id).copied().unwrap_or(0);
            self.take_fresh(Job::submitted_with(new.spec.clone(), children), new.input.clone());
        }
        Ok(Submitted::Created)
    }

    /// The jobs of an earlier call with this key, if there was one.
    fn replay(&self, tenant: &Tenant, key: &Idempotency) -> Result<Option<Vec<JobId>>, StoreError> {
        let is_same = |(whose, other, _): &&(Tenant, Idempotency, Vec<JobId>)| {
            other.key == key.key && other.route == key.route && whose == tenant
        };
        let (fingerprint, jobs) = match self.writes.idempotency.iter().find(is_same) {
            Some((_, other, jobs)) => (other.fingerprint, jobs),
            None => match self.found.idempotency.get(&(tenant.clone(), key.route.to_owned(), key.key)) {
                // Its time is over, unless one of its jobs is still there.
                Some((kept, lives)) if kept.keep_until > self.now || *lives => (kept.fingerprint, &kept.jobs),
                _ => return Ok(None),
            },
        };
        if fingerprint == key.fingerprint { Ok(Some(jobs.clone())) } else { Err(StoreError::IdempotencyMismatch) }
    }

    // ── under a lease ──

    fn find_held(&self, held: &Held) -> Result<i64, StoreError> {
        self.find(&held.tenant, held.job).map_err(|error| match error {
            // An erased or expired job is nobody's any more.
            StoreError::Gone(_) => StoreError::Refused(Refused::LeaseLost),
            other => other,
        })
    }

    pub(super) fn check_lease(&self, held: &Held) -> Result<i64, StoreError> {
        let no = self.find_held(held)?;
        self.entry(no)?.job.check_lease(held.token)?;
        Ok(no)
    }

    pub(super) fn beat(&mut self, beat: &Beat) -> Result<BeatAnswer, StoreError> {
        let no = self.find_held(&beat.held)?;
        let (token, progress) = (beat.held.token, beat.progress.clone());
        self.apply(no, Step::Beat { token, lease_for: beat.lease_for, progress })?;
        let job = &self.entry(no)?.job;
        let lease = job.lease().ok_or(Refused::LeaseLost)?;
        Ok(BeatAnswer { lease_expires_at: lease.expires_at, cancel_requested: job.cancel_requested_at.is_some() })
    }

    pub(super) fn enter(&mut self, held: &Held, stage: Stage) -> Result<(), StoreError> {
        let no = self.find_held(held)?;
        self.apply(no, Step::Enter { token: held.token, stage }).map(drop)
    }

    pub(super) fn tell(&mut self, held: &Held, events: &[EventKind], spent: Usage) -> Result<(), StoreError> {
        let no = self.check_lease(held)?;
        for event in events {
            self.apply(no, Step::Tell { token: held.token, event: event.clone() })?;
        }
        self.apply(no, Step::Spend { token: held.token, usage: spent }).map(drop)
    }

    pub(super) fn checkpoint(
        &mut self,
        held: &Held,
        name: &StepName,
        output: &Payload,
        spent: Usage,
    ) -> Result<(), StoreError> {
        let no = self.check_lease(held)?;
        if let Some(stored) = self.stored_step(no, name) {
            return if stored == output { Ok(()) } else { Err(StoreError::StepExists) };
        }
        self.apply(no, Step::Tell { token: held.token, event: EventKind::Step { name: name.to_string() } })?;
        self.apply(no, Step::Spend { token: held.token, usage: spent })?;
        self.writes.steps.push((no, name.clone(), output.clone()));
        Ok(())
    }

    pub(super) fn finish(&mut self, held: &Held, outcome: &Outcome, spent: Usage) -> Result<Status, StoreError> {
        let no = self.find_held(held)?;
        let token = held.token;
        if !matches!(outcome, Outcome::Succeeded { .. }) {
            // Nothing that follows is refused once this is not.
            self.apply(no, Step::Spend { token, usage: spent })?;
        }
        match outcome {
            Outcome::Succeeded { output, report } => {
                let mut report = report.clone();
                report.usage = report.usage.and(spent);
                let applied = self.apply(no, Step::Succeed { token, report })?;
                if !applied.repeated {
                    let entry = self.entry_mut(no)?;
                    entry.output = Some(output.clone());
                    entry.output_is_new = true;
                }
            }
            Outcome::Failed { error, plan, ambiguous } => {
                let random = self.ids.random();
                let (error, plan, ambiguous) = (error.clone(), *plan, *ambiguous);
                self.apply(no, Step::Fail { token, error, plan, random, ambiguous })?;
            }
            Outcome::Released { ambiguous } => {
                self.apply(no, Step::Release { token, ambiguous: *ambiguous })?;
            }
            Outcome::Waiting(wait) => self.wait(no, held, wait)?,
        }
        Ok(self.entry(no)?.status())
    }

    // ── from outside ──

    pub(super) fn cancel(&mut self, tenant: &Tenant, id: JobId) -> Result<Status, StoreError> {
        let no = self.find(tenant, id)?;
        match self.apply(no, Step::Cancel) {
            Ok(_) | Err(StoreError::Refused(Refused::Terminal)) => {}
            Err(other) => return Err(other),
        }
        Ok(self.entry(no)?.status())
    }

    pub(super) fn erase(&mut self, tenant: &Tenant, id: JobId) -> Result<(), StoreError> {
        let no = self.find(tenant, id)?;
        self.erase_entry(no, true).map(drop)
    }

    /// False when this batch has erased it already.
    pub(super) fn erase_entry(&mut self, no: i64, erased: bool) -> Result<bool, StoreError> {
        let job = &self.entry(no)?.job;
        let Some(finished_at) = job.finished_at else { return Err(Refused::NoOccasion.into()) };
        let tombstone = Tombstone { job: job.spec.id, status: job.status(), finished_at, erased };
        let tenant = job.spec.tenant.clone();
        if self.writes.erasures.iter().any(|erasure| erasure.no == no) {
            return Ok(false);
        }
        self.writes.erasures.push(Erasure { no, tenant, tombstone, gone_at: self.now });
        Ok(true)
    }

    // ── queues, keys, documents ──

    pub(super) fn queue_states(&self) -> Vec<QueueState> {
        let counted = self.found.tallies.keys().chain(self.writes.counts.keys());
        let paused = self.found.paused.keys().chain(self.writes.pauses.iter().map(|(name, _)| name));
        let mut names: Vec<&QueueName> = counted.chain(paused).chain(self.limits.keys()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > QUEUES_KEPT_LEAST {
            // Those that ran empty are told while they are few.
            let is_limited = |name: &QueueName| self.limits.get(name).copied().flatten().is_some();
            let is_empty = |name: &QueueName| {
                let tally = self.tally(name);
                (tally.queued, tally.running, tally.waiting) == (0, 0, 0)
            };
            names.retain(|name| !is_empty(name) || self.is_paused(name) || is_limited(name));
        }
        let count = |jobs: i64| u64::try_from(jobs).unwrap_or(0);
        let state = |name: &QueueName| {
            let tally = self.tally(name);
            QueueState {
                name: name.clone(),
                paused: self.is_paused(name),
                concurrency: self.limits.get(name).copied().flatten(),
                queued: count(tally.queued),
                running: count(tally.running),
                waiting: count(tally.waiting),
                first_ready_at: self.found.first_ready_at.get(name).copied(),
            }
        };
        names.into_iter().map(state).collect()
    }

    pub(super) fn revoke_key(&mut self, tenant: &Tenant, id: KeyId) -> Result<ApiKey, StoreError> {
        let in_batch = self.writes.keys.iter().rev().find(|key| key.id == id);
        let key = in_batch.or_else(|| self.found.keys.get(&id)).filter(|key| key.tenant == *tenant);
        let mut key = key.cloned().ok_or(StoreError::NotFound("key"))?;
        key.revoked_at.get_or_insert(self.now);
        self.writes.keys.push(key.clone());
        Ok(key)
    }

    pub(super) fn put_document_part(
        &mut self,
        held: &Held,
        id: DocumentId,
        part: &'static str,
        content: &Payload,
    ) -> Result<(), StoreError> {
        self.check_lease(held)?;
        self.find_document(&held.tenant, id)?;
        self.writes.documents.push(DocumentWrite::Part(held.tenant.clone(), id, part, content.clone()));
        Ok(())
    }

    pub(super) fn delete_document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<(), StoreError> {
        self.find_document(tenant, id)?;
        self.found.documents.remove(&(tenant.clone(), id));
        self.writes.documents.push(DocumentWrite::Delete(tenant.clone(), id));
        Ok(())
    }

    fn find_document(&self, tenant: &Tenant, id: DocumentId) -> Result<(), StoreError> {
        if self.found.documents.contains(&(tenant.clone(), id)) {
            return Ok(());
        }
        Err(StoreError::NotFound("document"))
    }

    pub(super) fn pause_queue(&mut self, queue: &QueueName, paused: bool) {
        self.writes.pauses.push((queue.clone(), paused));
    }
}
