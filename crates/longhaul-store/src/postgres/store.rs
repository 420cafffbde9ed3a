//! The port over PostgreSQL: hands operations to the writer and reads past it.
//!
//! Everything that talks to the database runs in a small runtime of the store's own. So connections outlive whatever
//! runtime a caller lives in, and a blocking call for a blob may be made from any thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use longhaul_core::{
    ApiKey, Attempt, DocumentId, Event, EventKind, JobId, KeyId, KindName, KindSpec, Limit, Limits, OutputData,
    Payload, QueueName, Span, Stage, Status, StepName, Tenant, Usage,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    batch::{Batch, Needs},
    blobs::PgBlobs,
    explain::Seen,
    nodes,
    operations::Call,
    reads::Reads,
    session::Connections,
    writer::{MAILBOX, Message},
};
use crate::{
    Beat, BeatAnswer, Blocker, Child, Claim, Document, Held, JobPage, JobQuery, JobStore, JobView, Leased, NewJob,
    Outcome, Partial, Pruned, QueueGate, QueueState, StoreError, StoredStep, Submit, Submitted, Swept, blob::BlobStore,
};

/// When fewer places than this are left in the mailbox, no new work is taken in: what is left is for finishing work.
const RESERVED_FOR_FINISHING: usize = MAILBOX / 4;

/// How often tombstones and idempotency keys are looked through when no job is removed: an idle server stays idle.
const FORGET_EVERY: Span = Span::from_secs(60);

/// A store on a PostgreSQL database, as one of possibly many servers.
pub(super) struct Store {
    pub(super) writer: mpsc::Sender<Message>,
    pub(super) reads: Reads,
    pub(super) blobs: PgBlobs,
    pub(super) connections: Connections,
    pub(super) node: i64,
    pub(super) tombstones_for: Span,
    /// How many jobs of a queue may run at once, as the writer has been told.
    pub(super) limits: Mutex<BTreeMap<QueueName, u32>>,
    /// Who claims here.
    pub(super) seen: Arc<Seen>,
    /// When tombstones and idempotency keys are looked through next.
    pub(super) next_forget: Arc<AtomicI64>,
    /// Where the look at all keys with blocked jobs goes on.
    pub(super) review_after: Arc<AtomicI64>,
    /// What goes on beside the writer, until the store is closed.
    pub(super) beside: Mutex<JoinSet<()>>,
    pub(super) runtime: Option<Runtime>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed where a runtime may be dropping this; whoever wants an orderly end closes.
            runtime.shutdown_background();
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store takes no writes any more".into())
}

impl Store {
    /// Runs an operation in the next batch and answers after its commit.
    async fn run<T: Send + 'static>(
        &self,
        needs: impl Fn(&mut Needs) + Send + 'static,
        run: impl FnMut(&mut Batch) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (operation, answer) = Call::boxed(needs, run);
        self.writer.send(Message::Run(operation)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// After a start: gives workers elsewhere the time for a sign of life.
    pub(super) async fn extend_unheard(&self) -> Result<(), StoreError> {
        // Each time a bounded number, and each job once: time goes on meanwhile, so that the first would be due again.
        let mut after = Some(i64::MIN);
        while after.is_some() {
            after = self.run(move |needs| needs.unheard_after = after, Batch::extend_unheard).await?;
        }
        Ok(())
    }

    /// Reads in the store's own runtime.
    async fn read<T: Send + 'static, F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        read: impl FnOnce(Reads) -> F,
    ) -> Result<T, StoreError> {
        let Some(runtime) = &self.runtime else { return Err(closed()) };
        let reading = runtime.spawn(read(self.reads.clone()));
        reading.await.map_err(|error| StoreError::Unavailable(format!("a read did not end: {error}")))?
    }
}

#[async_trait]
impl JobStore for Store {
    async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError> {
        let submit = Arc::new(submit);
        let needed = submit.clone();
        let (operation, answer) = Call::boxed(move |needs| needs.submit(&needed), move |batch| batch.submit(&submit));
        if self.writer.capacity() < RESERVED_FOR_FINISHING {
            return Err(StoreError::Overloaded);
        }
        self.writer.try_send(Message::Run(operation)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answer.await.map_err(|_| closed())?
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Leased>, StoreError> {
        let (answer, receive) = oneshot::channel();
        self.writer.send(Message::Claim(claim, answer)).await.map_err(|_| closed())?;
        Ok(receive.await.map_err(|_| closed())??.take())
    }

    async fn heartbeat(&self, beats: Vec<Beat>) -> Result<Vec<Result<BeatAnswer, StoreError>>, StoreError> {
        let beats = Arc::new(beats);
        let needed = beats.clone();
        self.run(
            move |needs| needed.iter().for_each(|beat| needs.held(&beat.held)),
            move |batch| Ok(beats.iter().map(|beat| batch.beat(beat)).collect()),
        )
        .await
    }

    async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError> {
        let needed = held.clone();
        self.run(move |needs| needs.held(&needed), move |batch| batch.enter(&held, stage)).await
    }

    async fn tell(&self, held: Held, events: Vec<EventKind>, spent: Usage) -> Result<(), StoreError> {
        let needed = held.clone();
        self.run(move |needs| needs.held(&needed), move |batch| batch.tell(&held, &events, spent)).await
    }

    async fn checkpoint(&self, held: Held, step: StepName, output: Payload, spent: Usage) -> Result<(), StoreError> {
        let (needed, name) = (held.clone(), step.clone());
        self.run(move |needs| needs.step(&needed, &name), move |batch| batch.checkpoint(&held, &step, &output, spent))
            .await
    }

    async fn finish(&self, held: Held, outcome: Outcome, spent: Usage) -> Result<Status, StoreError> {
        let finish = Arc::new((held, outcome));
        let needed = finish.clone();
        self.run(
            move |needs| needs.finish(&needed.0, &needed.1),
            move |batch| batch.finish(&finish.0, &finish.1, spent),
        )
        .await
    }

    async fn append(&self, held: Held, deltas: Vec<OutputData>) -> Result<(), StoreError> {
        let deltas = deltas.into_iter().map(|data| EventKind::OutputDelta { data });
        self.tell(held, deltas.collect(), Usage::default()).await
    }

    async fn spawn(&self, held: Held, step: StepName, children: Vec<NewJob>) -> Result<Vec<JobId>, StoreError> {
        let spawn = Arc::new((held, step, children));
        let needed = spawn.clone();
        self.run(
            move |needs| {
                needs.step(&needed.0, &needed.1);
                needs.numbers += needed.2.len();
                needs.limited(&needed.2);
            },
            move |batch| batch.spawn(&spawn.0, &spawn.1, &spawn.2),
        )
        .await
    }

    async fn answer(
        &self,
        tenant: &Tenant,
        job: JobId,
        to: Option<StepName>,
        answer: Payload,
    ) -> Result<Status, StoreError> {
        let (tenant, needed) = (tenant.clone(), tenant.clone());
        self.run(move |needs| needs.job(&needed, job), move |batch| batch.answer(&tenant, job, to.as_ref(), &answer))
            .await
    }

    async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError> {
        let (tenant, needed) = (tenant.clone(), tenant.clone());
        self.run(move |needs| needs.job(&needed, job), move |batch| batch.cancel(&tenant, job)).await
    }

    async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError> {
        let (tenant, needed) = (tenant.clone(), tenant.clone());
        self.run(move |needs| needs.job(&needed, job), move |batch| batch.erase(&tenant, job)).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let (after, next) = (self.review_after.load(Ordering::Relaxed), self.review_after.clone());
        self.run(
            move |needs| (needs.due, needs.review_after) = (true, after),
            move |batch| {
                next.store(batch.found.due.review_after, Ordering::Relaxed);
                batch.sweep()
            },
        )
        .await
    }

    async fn prune(&self, limit: usize) -> Result<Pruned, StoreError> {
        let (tombstones_for, next_forget) = (self.tombstones_for, self.next_forget.clone());
        self.run(
            move |needs| needs.expired = needs.expired.max(Some(limit)),
            move |batch| {
                let forget = next_forget.load(Ordering::Relaxed) <= batch.now.as_micros();
                if forget {
                    next_forget.store((batch.now + FORGET_EVERY).as_micros(), Ordering::Relaxed);
                }
                batch.prune(limit, tombstones_for, forget)
            },
        )
        .await
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.job(&tenant, job).await.map(Arc::new) }).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError> {
        self.read(move |reads| async move { reads.jobs(&query).await }).await
    }

    async fn events(&self, tenant: &Tenant, job: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.events(&tenant, job, after, limit).await }).await
    }

    async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.attempts(&tenant, job).await }).await
    }

    async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.steps(&tenant, job).await }).await
    }

    async fn partial(&self, tenant: &Tenant, job: JobId) -> Result<Option<Partial>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.partial(&tenant, job).await }).await
    }

    async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.children(&tenant, parent, after, limit).await }).await
    }

    async fn explain(&self, tenant: &Tenant, job: JobId) -> Result<Option<Blocker>, StoreError> {
        let ahead = self.queue_position(tenant, job).await?;
        let (tenant, needed, seen) = (tenant.clone(), (tenant.clone(), job), self.seen.clone());
        self.run(
            move |needs| {
                needs.looked_at.insert(needed.clone());
                (needs.tallies, needs.claimants) = (true, true);
            },
            move |batch| batch.explain(&tenant, job, ahead, &seen),
        )
        .await
    }

    async fn weigh_tenant(&self, tenant: Tenant, weight: u32) -> Result<(), StoreError> {
        let (done, weighed) = oneshot::channel();
        self.writer.send(Message::Weigh(tenant, weight, done)).await.map_err(|_| closed())?;
        weighed.await.map_err(|_| closed())
    }

    async fn queue_position(&self, tenant: &Tenant, job: JobId) -> Result<Option<u32>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.position(&tenant, job).await }).await
    }

    async fn queues(&self) -> Result<Vec<QueueState>, StoreError> {
        self.run(|needs| (needs.tallies, needs.first_in_line) = (true, true), |batch| Ok(batch.queue_states())).await
    }

    async fn queue_gate(&self, queue: &QueueName) -> Result<QueueGate, StoreError> {
        let concurrency = self.limits.lock().unwrap_or_else(PoisonError::into_inner).get(queue).copied();
        let queue = queue.clone();
        let (paused, running) = self.read(move |reads| async move { reads.queue(&queue).await }).await?;
        Ok(QueueGate::of(paused, concurrency, running))
    }

    async fn limit_queue(&self, queue: QueueName, concurrency: Option<u32>) -> Result<(), StoreError> {
        {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            match concurrency {
                Some(most) => drop(limits.insert(queue.clone(), most)),
                None => drop(limits.remove(&queue)),
            }
        }
        let (done, limited) = oneshot::channel();
        self.writer.send(Message::Limit(queue, concurrency, done)).await.map_err(|_| closed())?;
        limited.await.map_err(|_| closed())
    }

    async fn limit_kind(&self, kind: KindName, limits: Vec<Limit>) -> Result<(), StoreError> {
        let (done, limited) = oneshot::channel();
        self.writer.send(Message::LimitKind(kind, Limits::of(&limits), done)).await.map_err(|_| closed())?;
        limited.await.map_err(|_| closed())
    }

    async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError> {
        self.run(
            |needs| needs.pauses = true,
            move |batch| {
                batch.pause_queue(&queue, paused);
                Ok(())
            },
        )
        .await
    }

    async fn put_kind(&self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.run(
            |_| {},
            move |batch| {
                batch.writes.kinds.push((tenant.clone(), kind.clone()));
                Ok(())
            },
        )
        .await
    }

    async fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        self.read(|reads| async move { reads.kinds().await }).await
    }

    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.run(
            |_| {},
            move |batch| {
                batch.writes.keys.push(key.clone());
                Ok(())
            },
        )
        .await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(|reads| async move { reads.keys().await }).await
    }

    async fn revoke_key(&self, tenant: &Tenant, key: KeyId) -> Result<ApiKey, StoreError> {
        let tenant = tenant.clone();
        self.run(
            move |needs| {
                needs.keys.insert(key);
            },
            move |batch| batch.revoke_key(&tenant, key),
        )
        .await
    }

    async fn document(&self, tenant: &Tenant, document: DocumentId) -> Result<Document, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.document(&tenant, document).await }).await
    }

    async fn put_document_part(
        &self,
        held: Held,
        document: DocumentId,
        part: &'static str,
        content: Payload,
    ) -> Result<(), StoreError> {
        let needed = held.clone();
        self.run(
            move |needs| {
                needs.held(&needed);
                needs.documents.insert((needed.tenant.clone(), document));
            },
            move |batch| batch.put_document_part(&held, document, part, &content),
        )
        .await
    }

    async fn document_part(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        part: &'static str,
    ) -> Result<Option<Payload>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| async move { reads.document_part(&tenant, document, part).await }).await
    }

    async fn delete_document(&self, tenant: &Tenant, document: DocumentId) -> Result<(), StoreError> {
        let (tenant, needed) = (tenant.clone(), (tenant.clone(), document));
        self.run(
            move |needs| {
                needs.documents.insert(needed.clone());
            },
            move |batch| batch.delete_document(&tenant, document),
        )
        .await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn blobs(&self) -> &dyn BlobStore {
        &self.blobs
    }

    async fn close(&self) {
        let (done, is_closed) = oneshot::channel();
        if self.writer.send(Message::Close(done)).await.is_ok() {
            // The writer drops the sender only after its last commit.
            let _ = is_closed.await;
        }
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let (connections, node) = (self.connections.clone(), self.node);
        if let Some(runtime) = &self.runtime {
            let left = runtime.spawn(async move { nodes::leave(&connections, node).await });
            if let Ok(Err(error)) = left.await {
                tracing::warn!(%error, "the other servers could not be told that this one ends");
            }
        }
        self.connections.pool.close();
    }
}
