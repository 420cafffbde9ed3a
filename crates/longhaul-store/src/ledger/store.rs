//! The port over a ledger: hands operations to the writer thread and reads past it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use longhaul_core::{
    ApiKey, Attempt, DocumentId, Event, EventKind, JobId, KeyId, KindName, KindSpec, Limit, OutputData, Payload,
    QueueName, Span, Stage, Status, StepName, Tenant, Usage,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    Backing, Ledger, Reads, StoreClock,
    grant::WayBack,
    recent::Recent,
    writer::{MAILBOX, Message, Settle, Writer},
};
use crate::{
    Beat, BeatAnswer, Blocker, Child, Claim, Document, Held, JobPage, JobQuery, JobStore, JobView, Leased, NewJob,
    Observer, Outcome, Partial, Pruned, QueueState, StoreError, StoredStep, Submit, Submitted, Swept, Unobserved,
    blob::BlobStore,
};

/// When fewer places than this are left in the mailbox, no new work is taken in: what is left is for finishing work.
const RESERVED_FOR_FINISHING: usize = MAILBOX / 4;

/// How many reads run at once. Each holds a connection and a blocking thread.
const READS_AT_ONCE: usize = 8;

/// From which place in its lane on a job is told no place.
const POSITION_MOST: u32 = 1_000;

/// How long is kept what a job's own retention says nothing of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// What is left of an erased or expired job.
    pub(crate) tombstones: Span,
    /// What a job has streamed, from its end on.
    pub(crate) deltas: Span,
}

impl Default for Retention {
    /// Tombstones thirty days, deltas one.
    fn default() -> Self {
        Self { tombstones: Span::from_secs(30 * 86_400), deltas: Span::from_secs(86_400) }
    }
}

/// A store made of a ledger over a backing.
pub(crate) struct LedgerStore<B: Backing> {
    writer: mpsc::Sender<Message<B>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    reads: B::Reads,
    reading: Semaphore,
    recent: Arc<Recent>,
    blobs: Arc<dyn BlobStore>,
    tombstones_for: Span,
}

impl<B: Backing> LedgerStore<B> {
    /// Reads what there is, ends the leases of whoever wrote here before, and starts the writer thread.
    pub(crate) fn start(
        backing: B,
        time: StoreClock,
        observer: Arc<dyn Observer>,
        keep: Retention,
    ) -> Result<Self, StoreError> {
        let (store, writer) = Self::assemble(backing, time, observer, keep)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Unavailable(format!("the writer thread did not start: {error}")))?;
        *store.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(store)
    }

    /// As [`LedgerStore::start`], with a writer that somebody else runs.
    pub(crate) fn assemble(
        backing: B,
        time: StoreClock,
        observer: Arc<dyn Observer>,
        keep: Retention,
    ) -> Result<(Self, Writer<B>), StoreError> {
        let reads = backing.reads();
        let blobs = backing.blobs();
        let recent = Arc::new(Recent::default());
        let mut ledger = Ledger::open(backing, time, recent.clone(), keep.deltas)?;
        ledger.begin();
        ledger.end_leases_of_the_dead()?;
        ledger.cancel_abandoned()?;
        ledger.commit(&Unobserved)?;
        let (writer, mailbox) = mpsc::channel(MAILBOX);
        let way_back = WayBack::to(&writer);
        let store = Self {
            writer,
            thread: Mutex::new(None),
            reads,
            reading: Semaphore::new(READS_AT_ONCE),
            recent,
            blobs,
            tombstones_for: keep.tombstones,
        };
        Ok((store, Writer::new(ledger, mailbox, way_back, observer)))
    }

    /// Runs an operation in the next batch and answers after its commit.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Ledger<B>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (message, answer) = Self::message(operation);
        self.writer.send(message).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    fn message<T: Send + 'static>(
        operation: impl FnOnce(&mut Ledger<B>) -> Result<T, StoreError> + Send + 'static,
    ) -> (Message<B>, oneshot::Receiver<Result<T, StoreError>>) {
        let (answer, receive) = oneshot::channel();
        let message = Message::Run(Box::new(move |ledger| {
            let result = operation(ledger);
            let settle: Settle = Box::new(move |committed| {
                // Whoever asked may have stopped waiting; the change is made all the same.
                let _ = answer.send(match committed {
                    Ok(()) => result,
                    Err(error) => Err(error.clone()),
                });
            });
            settle
        }));
        (message, receive)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&B::Reads) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !B::Reads::BLOCKS {
            return read(&self.reads);
        }
        let _permit = self.reading.acquire().await.map_err(|_| closed())?;
        let reads = self.reads.clone();
        tokio::task::spawn_blocking(move || read(&reads))
            .await
            .map_err(|error| StoreError::Unavailable(format!("a read did not end: {error}")))?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store takes no writes any more".into())
}

#[async_trait]
impl<B: Backing> JobStore for LedgerStore<B> {
    async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError> {
        let (message, answer) = Self::message(move |ledger| ledger.submit(submit));
        if self.writer.capacity() < RESERVED_FOR_FINISHING {
            return Err(StoreError::Overloaded);
        }
        self.writer.try_send(message).map_err(|error| match error {
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
        self.run(move |ledger| Ok(beats.into_iter().map(|beat| ledger.beat(beat)).collect())).await
    }

    async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.enter(&held, stage)).await
    }

    async fn tell(&self, held: Held, events: Vec<EventKind>, spent: Usage) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.tell(&held, events, spent)).await
    }

    async fn checkpoint(&self, held: Held, step: StepName, output: Payload, spent: Usage) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.checkpoint(&held, step, output, spent)).await
    }

    async fn finish(&self, held: Held, outcome: Outcome, spent: Usage) -> Result<Status, StoreError> {
        self.run(move |ledger| ledger.finish(&held, outcome, spent)).await
    }

    async fn append(&self, held: Held, deltas: Vec<OutputData>) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.append(&held, deltas)).await
    }

    async fn spawn(&self, held: Held, step: StepName, children: Vec<NewJob>) -> Result<Vec<JobId>, StoreError> {
        self.run(move |ledger| ledger.spawn(&held, step, children)).await
    }

    async fn answer(
        &self,
        tenant: &Tenant,
        job: JobId,
        to: Option<StepName>,
        answer: Payload,
    ) -> Result<Status, StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.answer(&tenant, job, to, answer)).await
    }

    async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.cancel(&tenant, job)).await
    }

    async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.erase(&tenant, job)).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.run(Ledger::sweep).await
    }

    async fn prune(&self, limit: usize) -> Result<Pruned, StoreError> {
        let tombstones_for = self.tombstones_for;
        self.run(move |ledger| ledger.prune(limit, tombstones_for)).await
    }

    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError> {
        if let Some(view) = self.recent.get(tenant, job) {
            return Ok(view);
        }
        let tenant = tenant.clone();
        self.read(move |reads| reads.job(&tenant, job).map(Arc::new)).await
    }

    async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError> {
        self.read(move |reads| reads.jobs(&query)).await
    }

    async fn events(&self, tenant: &Tenant, job: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.events(&tenant, job, after, limit)).await
    }

    async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| {
            let job_now = reads.job(&tenant, job)?.job;
            let mut attempts = reads.attempts(&tenant, job)?;
            // Read in this order, an attempt that ended in between stands in both; the history's entry is the newer.
            let current = job_now.last_attempt.as_deref().cloned().or_else(|| running_attempt(&job_now));
            if let Some(current) = current
                && attempts.iter().all(|attempt| attempt.lease != current.lease)
            {
                attempts.push(current);
            }
            Ok(attempts)
        })
        .await
    }

    async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.steps(&tenant, job)).await
    }

    async fn partial(&self, tenant: &Tenant, job: JobId) -> Result<Option<Partial>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.partial(&tenant, job)).await
    }

    async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.children(&tenant, parent, after, limit)).await
    }

    async fn explain(&self, tenant: &Tenant, job: JobId) -> Result<Option<Blocker>, StoreError> {
        let (whose, ahead) = (tenant.clone(), self.queue_position(tenant, job).await?);
        self.run(move |ledger| ledger.explain(&whose, job, ahead)).await
    }

    async fn weigh_tenant(&self, tenant: Tenant, weight: u32) -> Result<(), StoreError> {
        self.run(move |ledger| {
            ledger.weigh(tenant, weight);
            Ok(())
        })
        .await
    }

    async fn queue_position(&self, tenant: &Tenant, job: JobId) -> Result<Option<u32>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.position(&tenant, job, POSITION_MOST)).await
    }

    async fn queues(&self) -> Result<Vec<QueueState>, StoreError> {
        // Answered at once: looking does not depend on whether the batch can be written.
        let (answer, receive) = oneshot::channel();
        let look = Message::Run(Box::new(move |ledger: &mut Ledger<B>| {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(ledger.queue_states());
            let settle: Settle = Box::new(|_| {});
            settle
        }));
        self.writer.send(look).await.map_err(|_| closed())?;
        receive.await.map_err(|_| closed())
    }

    async fn limit_queue(&self, queue: QueueName, concurrency: Option<u32>) -> Result<(), StoreError> {
        self.run(move |ledger| {
            ledger.limit_queue(queue, concurrency);
            Ok(())
        })
        .await
    }

    async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError> {
        self.run(move |ledger| {
            ledger.pause_queue(queue, paused);
            Ok(())
        })
        .await
    }

    async fn put_kind(&self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.put_kind(&tenant, kind)).await
    }

    async fn limit_kind(&self, kind: KindName, limits: Vec<Limit>) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.limit_kind(kind, &limits)).await
    }

    async fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        self.read(Reads::kinds).await
    }

    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.run(move |ledger| {
            ledger.put_key(key);
            Ok(())
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(Reads::keys).await
    }

    async fn revoke_key(&self, tenant: &Tenant, key: KeyId) -> Result<ApiKey, StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.revoke_key(&tenant, key)).await
    }

    async fn document(&self, tenant: &Tenant, document: DocumentId) -> Result<Document, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.document(&tenant, document)?.ok_or(StoreError::NotFound("document"))).await
    }

    async fn put_document_part(
        &self,
        held: Held,
        document: DocumentId,
        part: &'static str,
        content: Payload,
    ) -> Result<(), StoreError> {
        self.run(move |ledger| ledger.put_document_part(&held, document, part, content)).await
    }

    async fn document_part(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        part: &'static str,
    ) -> Result<Option<Payload>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reads| reads.document_part(&tenant, document, part)).await
    }

    async fn delete_document(&self, tenant: &Tenant, document: DocumentId) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.run(move |ledger| ledger.delete_document(&tenant, document)).await
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.blobs
    }

    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.writer.send(Message::Close(done)).await.is_ok() {
            // The writer drops the sender only after it has closed its files.
            let _ = closed.await;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has said that it is done: this waits for its last instructions only.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The attempt that runs, as far as the job's row tells.
fn running_attempt(job: &longhaul_core::Job) -> Option<Attempt> {
    let lease = job.lease()?;
    Some(Attempt {
        number: job.attempt,
        lease: lease.token.count(),
        started_at: lease.since,
        ended_at: None,
        worker: lease.worker.to_string(),
        ending: None,
        error: None,
        ambiguous: false,
    })
}
