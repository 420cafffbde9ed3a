//! The port: what the engine asks of a store, whichever it is.
//!
//! A call that returns `Ok` has been committed. A call that returns `Err` has changed nothing, but for
//! [`StoreError::Unavailable`], after which the caller cannot know; every write may be repeated then, because writes are
//! fenced by a lease, keyed by an id, or idempotent by nature. Tenants: every call that names a job names its tenant,
//! and somebody else's job is not found.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{
    ApiKey, Attempt, BlobRef, DocumentId, Event, EventKind, Job, JobError, JobId, JobSpec, KeyId, KindName, KindSpec,
    LeaseToken, Payload, Progress, QueueName, Report, RetryPlan, Span, Stage, Status, StepName, Tenant, Timestamp,
};

use crate::StoreError;

/// What every store does.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    // ── the life of jobs ──

    /// Takes jobs in, all or none, each with its first event, and the idempotency key with them. The call may be repeated
    /// with the same ids: jobs that are there already are not taken in again.
    async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError>;

    /// Leases at most `claim.limit` due jobs, none of which has a live lease; waits until there is at least one.
    /// Dropping the future is safe: what it was granted at that moment is given back, at no cost to the jobs.
    async fn claim(&self, claim: Claim) -> Result<Vec<Leased>, StoreError>;

    /// Extends leases. One answer for each, in order: a lost lease is an answer, not a failure of the call.
    async fn heartbeat(&self, beats: Vec<Beat>) -> Result<Vec<Result<BeatAnswer, StoreError>>, StoreError>;

    /// Moves a held job between validating and executing.
    async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError>;

    /// Records what the work tells. Fenced.
    async fn tell(&self, held: Held, events: Vec<EventKind>) -> Result<(), StoreError>;

    /// Stores a step's output, once. Fenced. Repeating it with the same output changes nothing.
    async fn checkpoint(&self, held: Held, step: StepName, output: Payload) -> Result<(), StoreError>;

    /// Ends an attempt. Fenced; repeating a success under the same lease is `Ok`.
    async fn finish(&self, held: Held, outcome: Outcome) -> Result<Status, StoreError>;

    /// Asks a job to stop: it is cancelled at once, or its executor is told.
    async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError>;

    /// Erases an ended job's payloads, events, attempts and steps and leaves a tombstone.
    async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError>;

    // ── what time does ──

    /// Carries out what has fallen due: expired leases, passed deadlines, overdue cancels, delays that are over.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Removes what its retention no longer keeps, at most `limit` jobs at a time.
    async fn prune(&self, limit: usize) -> Result<Pruned, StoreError>;

    // ── reading ──

    /// A job with its payloads.
    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError>;

    /// A page of jobs, newest first, without payloads.
    async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError>;

    /// A page of a job's events after `after`, in order; none once the job is erased.
    async fn events(&self, tenant: &Tenant, job: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// All attempts of a job, in order.
    async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError>;

    /// The steps that a job has stored.
    async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError>;

    /// How many jobs stand before this one in its lane, when there are fewer than 1,000.
    async fn queue_position(&self, tenant: &Tenant, job: JobId) -> Result<Option<u32>, StoreError>;

    // ── queues, kinds, keys, documents ──

    /// How every queue stands.
    async fn queues(&self) -> Result<Vec<QueueState>, StoreError>;

    /// Sets how many jobs of a queue may run at once; none: as many as are claimed. Not stored: configuration says it.
    async fn limit_queue(&self, queue: QueueName, concurrency: Option<u32>) -> Result<(), StoreError>;

    /// Pauses or resumes a queue, durably.
    async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError>;

    /// Registers a kind for a tenant, or replaces what was registered.
    async fn put_kind(&self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError>;

    /// All registered kinds.
    async fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError>;

    /// Stores a key, or what has changed of it.
    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError>;

    /// All keys, revoked ones too.
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Marks a tenant's key as revoked.
    async fn revoke_key(&self, tenant: &Tenant, key: KeyId) -> Result<ApiKey, StoreError>;

    /// A document, by its id.
    async fn document(&self, tenant: &Tenant, document: DocumentId) -> Result<Document, StoreError>;

    /// Stores a derived part of a document, such as its text; replaces it when it is there.
    async fn put_document_part(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        part: &'static str,
        content: Payload,
    ) -> Result<(), StoreError>;

    /// A derived part of a document.
    async fn document_part(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        part: &'static str,
    ) -> Result<Option<Payload>, StoreError>;

    /// Removes a document with everything derived from it.
    async fn delete_document(&self, tenant: &Tenant, document: DocumentId) -> Result<(), StoreError>;

    /// Where large payloads and uploads are.
    fn blobs(&self) -> &dyn crate::blob::BlobStore;

    /// Stops taking writes, finishes those it has, and closes its files.
    async fn close(&self);
}

/// Told after every commit. Must be quick: it runs on the path of every write.
pub trait Observer: Send + Sync + 'static {
    /// These jobs have changed, and the change is durable.
    fn committed(&self, changes: &[Change]);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn committed(&self, _: &[Change]) {}
}

/// A job has changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub job: JobId,
    /// Where it stands now.
    pub status: Status,
    /// Its version now.
    pub version: u64,
    /// The whole of it, when the store had it at hand.
    pub view: Option<Arc<JobView>>,
    /// Whether it is running and has been asked to stop.
    pub cancelling: bool,
}

/// Jobs to take in.
#[derive(Debug, Clone)]
pub struct Submit {
    /// All of one tenant.
    pub jobs: Vec<NewJob>,
    /// Makes a repeat of the call find the first one's jobs.
    pub idempotency: Option<Idempotency>,
    /// A document that the (single) job works on.
    pub document: Option<Document>,
}

/// One job to take in.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What is asked for.
    pub spec: Arc<JobSpec>,
    /// Its input.
    pub input: Payload,
}

/// An idempotency key as it is kept. Unique on (tenant, route, key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The route that was called.
    pub route: &'static str,
    /// SHA-256 of the key.
    pub key: [u8; 32],
    /// SHA-256 of the request's body.
    pub fingerprint: [u8; 32],
    /// Kept at least until then, and as long as the job.
    pub keep_until: Timestamp,
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The jobs are new.
    Created,
    /// The call was made before: these are the first one's jobs, in its order.
    Replayed(Vec<JobId>),
}

/// Who wants jobs, and which.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who.
    pub worker: Arc<str>,
    /// Whether that is this process itself: its leases end with it.
    pub in_process: bool,
    /// Only this tenant's; none: any tenant's.
    pub tenant: Option<Tenant>,
    /// Only of these kinds.
    pub kinds: Arc<[KindName]>,
    /// Only of these queues; none: of any.
    pub queues: Option<Arc<[QueueName]>>,
    /// At most so many.
    pub limit: usize,
    /// How long the leases hold.
    pub lease_for: Span,
}

/// A job that was leased.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The job and its input, as it stood when it was leased.
    pub view: Arc<JobView>,
    /// The right to write for it.
    pub held: Held,
}

/// A job under a lease: what a fenced write names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose job.
    pub tenant: Tenant,
    /// Which.
    pub job: JobId,
    /// Under which lease.
    pub token: LeaseToken,
}

/// A sign of life.
#[derive(Debug, Clone)]
pub struct Beat {
    /// For which job.
    pub held: Held,
    /// How long the lease shall hold from now.
    pub lease_for: Span,
    /// How far it is, when it says.
    pub progress: Option<Progress>,
}

/// What a sign of life is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeatAnswer {
    /// Until when the lease holds now.
    pub lease_expires_at: Timestamp,
    /// Whether the job shall stop.
    pub cancel_requested: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With an output.
    Succeeded {
        /// The JSON text.
        output: Payload,
        /// What the answer says of itself.
        report: Box<Report>,
    },
    /// With a failure.
    Failed {
        /// Why.
        error: JobError,
        /// What should follow.
        plan: RetryPlan,
        /// Whether it cannot be known if the last outside call took effect.
        ambiguous: bool,
    },
    /// Unfinished, at no cost to the job.
    Released,
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many jobs changed or became ready.
    pub changed: usize,
    /// When something falls due next, as far as is known; now, when there was more than one sweep carries out.
    pub next: Option<Timestamp>,
}

/// What a pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// How many jobs were removed.
    pub jobs: usize,
    /// Whether there is more to remove now.
    pub more: bool,
}

/// A job with its payloads.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// What it was given.
    pub input: Payload,
    /// What it gave.
    pub output: Option<Payload>,
}

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct JobQuery {
    /// Whose.
    pub tenant: Tenant,
    /// Only in these states.
    pub status: Option<Status>,
    /// Only of this kind.
    pub kind: Option<KindName>,
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only those submitted at or after.
    pub created_after: Option<Timestamp>,
    /// Only those submitted before.
    pub created_before: Option<Timestamp>,
    /// Only those with these pairs.
    pub metadata: Vec<(String, String)>,
    /// Only those older than this one: where the last page ended.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

impl JobQuery {
    /// The newest `limit` jobs of a tenant.
    pub fn newest(tenant: Tenant, limit: usize) -> Self {
        Self {
            tenant,
            status: None,
            kind: None,
            queue: None,
            created_after: None,
            created_before: None,
            metadata: Vec::new(),
            before: None,
            limit,
        }
    }
}

/// A page of jobs. It may hold fewer than asked for, even none, and still not be the last: a query looks at a bounded
/// number of jobs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins; none: this was the last.
    pub next: Option<JobId>,
}

/// A step that a job has stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredStep {
    /// Its name.
    pub name: StepName,
    /// What it gave.
    pub output: Payload,
}

/// How a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: QueueName,
    /// Whether it gives out no jobs.
    pub paused: bool,
    /// How many may run at once, when that is limited.
    pub concurrency: Option<u32>,
    /// How many are queued.
    pub queued: u64,
    /// How many run.
    pub running: u64,
}

/// What is left of a job whose data is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Which job it was.
    pub job: JobId,
    /// How it had ended.
    pub status: Status,
    /// When.
    pub finished_at: Timestamp,
    /// Whether somebody erased it; else its retention was over.
    pub erased: bool,
}

/// An uploaded document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whose.
    pub tenant: Tenant,
    /// What the client called it: shown, never used as a path.
    pub file_name: String,
    /// What the client said it is.
    pub content_type: Option<String>,
    /// Its bytes.
    pub content: BlobRef,
    /// The job that takes it in.
    pub job: JobId,
    /// When it came.
    pub created_at: Timestamp,
}
