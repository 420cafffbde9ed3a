//! The port under observation: every call may take its time, and every answer is held against what was answered before.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{
    ApiKey, Attempt, DocumentId, Event, EventKind, JobId, KeyId, KindName, KindSpec, Limit, OutputData, Payload,
    QueueName, Span, Stage, Status, StepName, Tenant, Usage,
};
use longhaul_store::{
    Beat, BeatAnswer, Blocker, Child, Claim, Document, Held, JobPage, JobQuery, JobStore, JobView, Leased, NewJob,
    Outcome, Partial, Pruned, QueueState, StoreError, StoredStep, Submit, Submitted, Swept, blob::BlobStore,
};

use crate::{bugs::Bug, world::World};

/// A store whose answers are watched.
pub(crate) struct Observed {
    pub(crate) inner: Arc<dyn JobStore>,
    pub(crate) world: World,
}

impl Observed {
    /// A call on its way, in one direction or the other. A future can be dropped here.
    async fn way(&self) {
        let world = &self.world;
        match world.dice.below(12) {
            0 => tokio::task::yield_now().await,
            1 => world.idle(Span::from_millis(3)).await,
            2 if world.mishap(10) => world.idle(Span::from_millis(900)).await,
            _ => {}
        }
    }

    /// A write under a lease: refused, when a newer lease was known before it was begun.
    async fn fenced<T, F>(&self, held: Held, what: &str, write: impl FnOnce(Held) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let newest = self.world.book().newest_lease(held.job);
        let mut sent = held.clone();
        if self.world.bug == Some(Bug::DoesNotFence) {
            sent.token = newest.unwrap_or(held.token);
        }
        self.way().await;
        let result = write(sent).await;
        self.judge_fence(&held, newest, what, result.is_ok());
        self.way().await;
        result
    }

    fn judge_fence(&self, held: &Held, newest: Option<longhaul_core::LeaseToken>, what: &str, is_accepted: bool) {
        if newest.is_some_and(|newest| newest > held.token) {
            if is_accepted {
                let (job, lease) = (held.job, held.token.count());
                self.world.accuse("stale write accepted", format!("{what} of {job} under its lease {lease}"));
            } else {
                self.world.book().counts.stale_refused += 1;
            }
        }
    }

    fn judge_step(&self, job: JobId, name: &StepName, output: &Payload) {
        let before = self.world.book().hear_step(job, name.to_string(), output.clone());
        if let Some(before) = before {
            self.world.accuse("step changed", format!("{name} of {job} was {before:?}, then {output:?}"));
        }
    }

    async fn through<T>(&self, call: impl Future<Output = T>) -> T {
        self.way().await;
        let answer = call.await;
        self.way().await;
        answer
    }
}

#[async_trait]
impl JobStore for Observed {
    async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError> {
        let jobs: Vec<_> = submit.jobs.iter().map(|job| (job.spec.tenant.clone(), job.spec.id)).collect();
        self.way().await;
        let submitted = self.inner.submit(submit).await?;
        {
            let mut book = self.world.book();
            match &submitted {
                Submitted::Created => jobs.iter().for_each(|(tenant, job)| book.promise(tenant, *job)),
                Submitted::Replayed(_) => book.counts.replays += 1,
            }
        }
        self.way().await;
        Ok(submitted)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Leased>, StoreError> {
        self.way().await;
        loop {
            let asked_in = self.world.book().counts.lives;
            // Nothing may wait behind this: from here on a dropped future takes its leases with it.
            let mut leased = self.inner.claim(claim.clone()).await?;
            if self.world.bug == Some(Bug::DropsGrants) && self.world.dice.percent(10) {
                leased.pop();
            }
            for Leased { view, held } in &leased {
                let job = &view.job;
                self.world.note(format_args!("{} leased to {} as {}", held.job, claim.worker, held.token));
                let since = job.lease().map(|lease| lease.since).unwrap_or_default();
                let is_paused = self.world.book().is_paused(&job.spec.queue, since, asked_in);
                if is_paused {
                    self.world.accuse("pause ignored", format!("{} was leased out of {}", held.job, job.spec.queue));
                }
                self.world.book().grant_lease(held);
                if claim.in_process {
                    self.world.book().take_lease(held.job, held.token.count());
                }
            }
            if !leased.is_empty() {
                return Ok(leased);
            }
        }
    }

    async fn heartbeat(&self, beats: Vec<Beat>) -> Result<Vec<Result<BeatAnswer, StoreError>>, StoreError> {
        let newest: Vec<_> = beats.iter().map(|beat| self.world.book().newest_lease(beat.held.job)).collect();
        let answers = self.through(self.inner.heartbeat(beats.clone())).await?;
        for ((beat, newest), answer) in beats.iter().zip(newest).zip(&answers) {
            self.judge_fence(&beat.held, newest, "a beat", answer.is_ok());
        }
        Ok(answers)
    }

    async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError> {
        self.fenced(held, "a stage", |held| self.inner.enter(held, stage)).await
    }

    async fn tell(&self, held: Held, events: Vec<EventKind>, spent: Usage) -> Result<(), StoreError> {
        self.fenced(held, "an event", |held| self.inner.tell(held, events, spent)).await
    }

    async fn checkpoint(&self, held: Held, step: StepName, output: Payload, spent: Usage) -> Result<(), StoreError> {
        let (job, name, stored) = (held.job, step.clone(), output.clone());
        self.fenced(held, "a step", |held| self.inner.checkpoint(held, step, output, spent)).await?;
        self.judge_step(job, &name, &stored);
        Ok(())
    }

    async fn finish(&self, held: Held, outcome: Outcome, spent: Usage) -> Result<Status, StoreError> {
        self.fenced(held, "an end", |held| self.inner.finish(held, outcome, spent)).await
    }

    async fn append(&self, held: Held, deltas: Vec<OutputData>) -> Result<(), StoreError> {
        if self.world.bug == Some(Bug::AppendsTwice) && self.world.dice.percent(20) {
            self.inner.append(held.clone(), deltas.clone()).await?;
        }
        self.fenced(held, "a piece of output", |held| self.inner.append(held, deltas)).await
    }

    async fn spawn(&self, held: Held, step: StepName, children: Vec<NewJob>) -> Result<Vec<JobId>, StoreError> {
        let (job, name, tenant) = (held.job, step.to_string(), held.tenant.clone());
        let ids = self.fenced(held, "a spawn", |held| self.inner.spawn(held, step, children)).await?;
        let mut book = self.world.book();
        ids.iter().for_each(|child| book.promise(&tenant, *child));
        if let Some(before) = book.hear_spawn(job, name, ids.clone()) {
            book.accuse("spawned twice", format!("{job} has the children {before:?}, then {ids:?}"));
        }
        drop(book);
        Ok(ids)
    }

    async fn answer(
        &self,
        tenant: &Tenant,
        job: JobId,
        to: Option<StepName>,
        answer: Payload,
    ) -> Result<Status, StoreError> {
        if self.world.bug == Some(Bug::IgnoresAnswers) && self.world.dice.percent(30) {
            return Ok(self.inner.job(tenant, job).await?.job.status());
        }
        self.through(self.inner.answer(tenant, job, to, answer)).await
    }

    async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError> {
        if self.world.bug == Some(Bug::IgnoresCancels) {
            return Ok(self.inner.job(tenant, job).await?.job.status());
        }
        self.through(self.inner.cancel(tenant, job)).await
    }

    async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError> {
        self.through(self.inner.erase(tenant, job)).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.inner.sweep().await
    }

    async fn prune(&self, limit: usize) -> Result<Pruned, StoreError> {
        self.inner.prune(limit).await
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError> {
        self.through(self.inner.job(tenant, job)).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError> {
        self.through(self.inner.jobs(query)).await
    }

    async fn events(&self, tenant: &Tenant, job: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.through(self.inner.events(tenant, job, after, limit)).await
    }

    async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError> {
        self.through(self.inner.attempts(tenant, job)).await
    }

    async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError> {
        let known: Vec<String> = self.world.book().steps_of(job).map(str::to_owned).collect();
        let steps = self.through(self.inner.steps(tenant, job)).await?;
        for step in &steps {
            self.judge_step(job, &step.name, &step.output);
        }
        let missing = known.iter().find(|known| !steps.iter().any(|step| step.name.to_string() == **known));
        if let Some(missing) = missing {
            self.world.accuse("step lost", format!("{missing} of {job}"));
        }
        Ok(steps)
    }

    async fn partial(&self, tenant: &Tenant, job: JobId) -> Result<Option<Partial>, StoreError> {
        self.through(self.inner.partial(tenant, job)).await
    }

    async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        self.through(self.inner.children(tenant, parent, after, limit)).await
    }

    async fn explain(&self, tenant: &Tenant, job: JobId) -> Result<Option<Blocker>, StoreError> {
        self.through(self.inner.explain(tenant, job)).await
    }

    async fn weigh_tenant(&self, tenant: Tenant, weight: u32) -> Result<(), StoreError> {
        self.inner.weigh_tenant(tenant, weight).await
    }

    async fn queue_position(&self, tenant: &Tenant, job: JobId) -> Result<Option<u32>, StoreError> {
        self.through(self.inner.queue_position(tenant, job)).await
    }

    async fn queues(&self) -> Result<Vec<QueueState>, StoreError> {
        let queues = self.through(self.inner.queues()).await?;
        for QueueState { name, concurrency, running, .. } in &queues {
            if concurrency.is_some_and(|most| *running > u64::from(most)) {
                self.world.accuse("limit exceeded", format!("{running} run in {name}"));
            }
        }
        Ok(queues)
    }

    async fn limit_queue(&self, queue: QueueName, concurrency: Option<u32>) -> Result<(), StoreError> {
        self.inner.limit_queue(queue, concurrency).await
    }

    async fn limit_kind(&self, kind: KindName, limits: Vec<Limit>) -> Result<(), StoreError> {
        self.inner.limit_kind(kind, limits).await
    }

    async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError> {
        self.world.book().begin_pause(&queue, paused);
        if self.world.bug != Some(Bug::IgnoresPauses) {
            self.through(self.inner.pause_queue(queue.clone(), paused)).await?;
        }
        self.world.book().end_pause(queue, paused, self.world.now());
        Ok(())
    }

    async fn put_kind(&self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError> {
        self.inner.put_kind(tenant, kind).await
    }

    async fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        self.through(self.inner.kinds()).await
    }

    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.inner.put_key(key).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.inner.keys().await
    }

    async fn revoke_key(&self, tenant: &Tenant, key: KeyId) -> Result<ApiKey, StoreError> {
        self.inner.revoke_key(tenant, key).await
    }

    async fn document(&self, tenant: &Tenant, document: DocumentId) -> Result<Document, StoreError> {
        self.inner.document(tenant, document).await
    }

    async fn put_document_part(
        &self,
        held: Held,
        document: DocumentId,
        part: &'static str,
        content: Payload,
    ) -> Result<(), StoreError> {
        self.fenced(held, "a part of a document", |held| self.inner.put_document_part(held, document, part, content))
            .await
    }

    async fn document_part(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        part: &'static str,
    ) -> Result<Option<Payload>, StoreError> {
        self.inner.document_part(tenant, document, part).await
    }

    async fn delete_document(&self, tenant: &Tenant, document: DocumentId) -> Result<(), StoreError> {
        self.inner.delete_document(tenant, document).await
    }

    fn blobs(&self) -> &dyn BlobStore {
        self.inner.blobs()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
