//! The port: what the engine asks of a store, whichever it is.
//!
//! A call that returns `Ok` has been committed. A call that returns `Err` has changed nothing, but for
//! [`StoreError::Unavailable`], after which the caller cannot know; every write may be repeated then, because writes are
//! fenced by a lease, keyed by an id, or idempotent by nature. Tenants: every call that names a job names its tenant,
//! and somebody else's job is not found.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{
    ApiKey, Applied, Attempt, BlobRef, DocumentId, Ending, Event, EventKind, Full, Job, JobError, JobId, JobSpec,
    KeyId, KindName, KindSpec, LeaseToken, Limit, OutputData, Payload, Progress, QueueName, Report, RetryPlan, Span,
    Stage, Status, StepName, Tenant, Timestamp, TraceContext, Usage, Wait,
};

use crate::StoreError;

/// What every store does.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    // ── the life of jobs ──

    /// Takes jobs in, all or none, each with its first event, and the idempotency key with them. The call may be repeated
    /// with the same ids: jobs that are there already are not taken in again.
    ///
    /// Jobs may be children of others in the same call, which come before them; such a parent waits until its children
    /// have ended ([`Job::submitted_with`]). A parent that is not in the call is [`StoreError::NotFound`].
    async fn submit(&self, submit: Submit) -> Result<Submitted, StoreError>;

    /// Leases at most `claim.limit` due jobs, none of which has a live lease; waits until there is at least one.
    /// Dropping the future is safe: what it was granted at that moment is given back, at no cost to the jobs.
    async fn claim(&self, claim: Claim) -> Result<Vec<Leased>, StoreError>;

    /// Extends leases. One answer for each, in order: a lost lease is an answer, not a failure of the call.
    async fn heartbeat(&self, beats: Vec<Beat>) -> Result<Vec<Result<BeatAnswer, StoreError>>, StoreError>;

    /// Moves a held job between validating and executing.
    async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError>;

    /// Records what the work tells, and what calls of models have taken: that adds up over the job's attempts, however each
    /// ends, so repeating it counts twice. Fenced.
    async fn tell(&self, held: Held, events: Vec<EventKind>, spent: Usage) -> Result<(), StoreError>;

    /// Stores a step's output, once, and counts with it what was `spent` on it. Fenced. Repeating it with the same output
    /// changes nothing.
    async fn checkpoint(&self, held: Held, step: StepName, output: Payload, spent: Usage) -> Result<(), StoreError>;

    /// Ends an attempt. Fenced; repeating a success under the same lease is `Ok`.
    ///
    /// With [`Outcome::Waiting`] the lease is given up until what is waited for comes; when that is there already, the
    /// job is queued at once: all children have ended, the step is stored, or an answer is kept, the oldest of which
    /// becomes the step's output then.
    ///
    /// Whatever ends a job tells its parent in the same commit ([`longhaul_core::Step::ChildEnded`]), and when it ends
    /// without an output, its own live children are cancelled: a bounded number with it, the rest by the next sweeps,
    /// also after a restart.
    ///
    /// `spent` counts with the end, so that repeating this counts it once; a success has more of it in its report.
    async fn finish(&self, held: Held, outcome: Outcome, spent: Usage) -> Result<Status, StoreError>;

    /// Records pieces of the output as events, one each. Fenced.
    async fn append(&self, held: Held, deltas: Vec<OutputData>) -> Result<(), StoreError>;

    /// Takes children of a held job in and stores `step` with their ids as its output, a JSON array, all in one commit.
    /// Fenced. Repeating it takes nothing in and gives back the ids of the first call.
    ///
    /// Each child names the job as its parent and stands one below it; its index follows on from those before.
    async fn spawn(&self, held: Held, step: StepName, children: Vec<NewJob>) -> Result<Vec<JobId>, StoreError>;

    /// Answers a job: the output of the step that it waits with, in the same commit; or kept, when it does not wait
    /// for input yet. One that is `to` a step is taken while the job waits with that, or not at all. Refused when the job
    /// has ended, is being cancelled, or keeps as many as it can.
    async fn answer(
        &self,
        tenant: &Tenant,
        job: JobId,
        to: Option<StepName>,
        answer: Payload,
    ) -> Result<Status, StoreError>;

    /// Asks a job to stop: it is cancelled at once, or its executor is told. Its children are cancelled with it.
    async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError>;

    /// Erases an ended job's payloads, events, attempts and steps and leaves a tombstone.
    async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError>;

    // ── what time does ──

    /// Carries out what has fallen due: expired leases, passed deadlines, overdue cancels, delays that are over; and goes
    /// on with cancelling the children of jobs that have ended without an output.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Removes what its retention no longer keeps, at most `limit` jobs at a time; deltas have a retention of their own.
    /// A child is kept as long as its parent lives.
    async fn prune(&self, limit: usize) -> Result<Pruned, StoreError>;

    // ── reading ──

    /// A job with its payloads.
    async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError>;

    /// A page of jobs, newest first, without payloads.
    async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError>;

    /// A page of a job's events after `after`, in order. Where deltas have been removed, their numbers are missing.
    async fn events(&self, tenant: &Tenant, job: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// All attempts of a job, in order.
    async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError>;

    /// The steps that a job has stored.
    async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError>;

    /// What a job has given out of its output, resets applied; none when that is nothing, or is not kept any more.
    async fn partial(&self, tenant: &Tenant, job: JobId) -> Result<Option<Partial>, StoreError>;

    /// A page of a job's children in the order of their places, those after place `after`. Of a child whose data is gone
    /// nothing is told.
    async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError>;

    /// How many jobs stand before this one in its lane, when there are fewer than 1,000.
    async fn queue_position(&self, tenant: &Tenant, job: JobId) -> Result<Option<u32>, StoreError>;

    /// Why a job is not running; none when it runs or has ended.
    async fn explain(&self, tenant: &Tenant, job: JobId) -> Result<Option<Blocker>, StoreError>;

    // ── queues, kinds, keys, documents ──

    /// How queues stand, by name: all that are limited, paused or hold a job that has not ended, and of those that ran empty
    /// as many as a store remembers. Clients name queues; what this costs is bounded by those in use.
    async fn queues(&self) -> Result<Vec<QueueState>, StoreError>;

    /// Whether a queue gives out jobs at present. A store may answer it at less cost than [`JobStore::queues`].
    async fn queue_gate(&self, queue: &QueueName) -> Result<QueueGate, StoreError> {
        let queues = self.queues().await?;
        Ok(queues.iter().find(|state| state.name == *queue).map_or(QueueGate::Open, QueueState::gate))
    }

    /// Sets how many jobs of a queue may run at once; none: as many as are claimed. Not stored: configuration says it.
    async fn limit_queue(&self, queue: QueueName, concurrency: Option<u32>) -> Result<(), StoreError>;

    /// Sets a tenant's share of each queue: with twice the weight, twice as many of its jobs go first. 1 unless it is
    /// set, at least 1. Not stored: configuration says it.
    async fn weigh_tenant(&self, tenant: Tenant, weight: u32) -> Result<(), StoreError>;

    /// Pauses or resumes a queue, durably.
    async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError>;

    /// Registers a kind for a tenant, or replaces what was registered.
    async fn put_kind(&self, tenant: &Tenant, kind: KindSpec) -> Result<(), StoreError>;

    /// Sets everybody's limits of a kind; none: it has none. Those of a kind that a tenant has registered come with it. Not
    /// stored: configuration says it. Has to have passed [`longhaul_core::check_limits`].
    ///
    /// Of the jobs that a limit is about, no more run at once and no more attempts start in its time than it allows,
    /// whoever claims them, and also after a restart. What it holds back hides nobody else's jobs.
    async fn limit_kind(&self, kind: KindName, limits: Vec<Limit>) -> Result<(), StoreError>;

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

    /// Stores a derived part of a document of the job's tenant, such as its text; replaces it when it is there. Fenced by
    /// the lease: an attempt that was given up for dead cannot overwrite what its successor has stored.
    async fn put_document_part(
        &self,
        held: Held,
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

    /// Whether other servers may change what is stored. Then whoever keeps kinds and keys as they were read once reads
    /// them again when [`Observer::changed_elsewhere`] is told, and from time to time.
    fn is_shared(&self) -> bool {
        false
    }

    /// Where large payloads and uploads are.
    fn blobs(&self) -> &dyn crate::blob::BlobStore;

    /// Stops taking writes, finishes those it has, and closes its files.
    async fn close(&self);
}

/// Told after every commit. Must be quick: it runs on the path of every write.
pub trait Observer: Send + Sync + 'static {
    /// These jobs have changed, and the change is durable.
    fn committed(&self, changes: &[Change]);

    /// Another server has changed kinds or keys, or may have. A hint: it may not be told.
    fn changed_elsewhere(&self) {}

    /// A batch has been written, or could not be.
    fn wrote(&self, batch: BatchFigures) {
        let _ = batch;
    }

    /// Whether [`Change::events`] of this job would be looked at. Asked for every changed job before its commit is told.
    fn wants(&self, job: JobId) -> bool {
        let _ = job;
        false
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn committed(&self, _: &[Change]) {}
}

/// What one batch of writes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFigures {
    /// How many jobs it changed.
    pub jobs: usize,
    /// How long the commit took.
    pub took: Span,
    /// Whether it is durable. Else it has changed nothing, as far as is known.
    pub is_committed: bool,
}

/// A job has changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub tenant: Tenant,
    /// Which.
    pub job: JobId,
    /// In which queue.
    pub queue: QueueName,
    /// What it does; none: another server made the change, and has counted it.
    pub kind: Option<KindName>,
    /// Where it stands now.
    pub status: Status,
    /// Its version now.
    pub version: u64,
    /// The whole of it, when the store had it at hand.
    pub view: Option<Arc<JobView>>,
    /// Whether it is running and has been asked to stop.
    pub cancelling: bool,
    /// Whether it was taken in by this commit.
    pub fresh: bool,
    /// When the commit was made, by the store's clock.
    pub at: Timestamp,
    /// What its life came to, when this commit ended it.
    pub ended: Option<EndFigures>,
    /// The attempt that this commit ended: there is never more than one, because a lease that a batch gives is known to
    /// nobody before its commit.
    pub attempt: Option<EndedAttempt>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
    /// The events that came with the change, in order and without a gap, when the observer wants them; none: whoever
    /// needs them reads.
    pub events: Option<Arc<[Event]>>,
}

/// An attempt that is over, in figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// Which of the job's leases it ran under, from 1.
    pub lease: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub ending: Ending,
    /// The code of its error, when it had one.
    pub error: Option<String>,
    /// Who ran it; told of traced jobs only, as nobody else asks.
    pub worker: Option<String>,
}

impl EndedAttempt {
    /// None of an attempt that has not ended.
    pub fn of(attempt: &Attempt, is_traced: bool) -> Option<Self> {
        Some(Self {
            number: attempt.number,
            lease: attempt.lease,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at?,
            ending: attempt.ending?,
            error: attempt.error.as_ref().map(|error| error.code.clone()),
            worker: is_traced.then(|| attempt.worker.clone()),
        })
    }

    /// The attempt that a step has ended, if it has ended one.
    pub(crate) fn by(applied: &Applied, job: &Job) -> Option<Self> {
        let last = || applied.ended.and(job.last_attempt.as_deref());
        Self::of(applied.attempt.as_ref().or_else(last)?, job.spec.trace.is_some())
    }
}

/// What the life of a job came to, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndFigures {
    /// When it was submitted, or submitted for: what somebody wanted it to wait is no latency.
    pub ready_at: Timestamp,
    /// When its first attempt began, when one did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The answer did not come from the first target.
    pub degraded: bool,
    /// The answer came from a cache.
    pub cached: bool,
    /// What the answer took.
    pub usage: Usage,
}

impl EndFigures {
    /// None while the job lives.
    pub fn of(job: &Job) -> Option<Self> {
        job.finished_at.map(|finished_at| Self {
            ready_at: job.spec.ready_at(),
            started_at: job.started_at,
            finished_at,
            degraded: job.report.degraded,
            cached: job.report.cached,
            usage: job.report.usage,
        })
    }
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
    /// The call was made before: these are the first one's jobs, in its order, without the children among them.
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
    Released {
        /// Whether it cannot be known if the last outside call took effect.
        ambiguous: bool,
    },
    /// Unfinished, at no cost: it goes on when this has come.
    Waiting(Wait),
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
    /// Of how many jobs the deltas were removed.
    pub streams: usize,
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

/// What a job has given out of its output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partial {
    /// Its text, when it gives text.
    pub text: Option<String>,
    /// Its items, each a JSON text, when it gives items.
    pub items: Option<Vec<Box<str>>>,
    /// The `seq` of the last delta in it.
    pub through_seq: u64,
    /// There is more than [`PARTIAL_MOST`]: this is its beginning.
    pub cut: bool,
}

/// How many bytes of a partial output are given back: whoever needs more follows the events.
pub const PARTIAL_MOST: usize = 8 * 1024 * 1024;

/// A child, as its parent sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its place among its siblings, from 0.
    pub index: u32,
    /// Which job it is.
    pub job: JobId,
    /// What it does.
    pub kind: KindName,
    /// Where it stands.
    pub status: Status,
    /// Why it failed, when it did.
    pub error: Option<JobError>,
    /// What it gave, when it succeeded.
    pub output: Option<Payload>,
}

/// Why a job is not running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// It was submitted for later.
    Scheduled {
        /// For when.
        until: Timestamp,
    },
    /// It failed, and waits for the end of its backoff.
    Backoff {
        /// When that is.
        until: Timestamp,
    },
    /// It waits for the time that a provider named.
    Parked {
        /// When that is.
        until: Timestamp,
    },
    /// Its queue is paused.
    QueuePaused {
        /// Which queue.
        queue: QueueName,
    },
    /// As many of its queue run as may.
    QueueFull {
        /// Which queue.
        queue: QueueName,
        /// How many run.
        running: u64,
        /// How many may.
        limit: u32,
    },
    /// A limit of its kind leaves no room.
    KindFull {
        /// Which kind.
        kind: KindName,
        /// Where the value stands in the input that it has in common with those it is limited together with; none: it is
        /// limited with all jobs of its kind.
        key: Option<Box<str>>,
        /// Which limit, and when there is room again, as far as time decides that.
        full: Full,
    },
    /// Nobody has asked for jobs of its kind lately.
    NobodyClaims {
        /// Which kind.
        kind: KindName,
    },
    /// It may run as soon as a worker is free and those before it have gone.
    Turn {
        /// Which queue it stands in.
        queue: QueueName,
        /// How many of the same tenant and kind stand before it, when there are fewer than 1,000.
        ahead: Option<u32>,
        /// How many jobs the queue holds in all.
        queued: u64,
    },
    /// Its children have not ended.
    Children {
        /// How many have not.
        pending: u32,
        /// How many there are.
        total: u32,
    },
    /// Somebody has to answer.
    Input {
        /// The step that the answer becomes.
        step: StepName,
        /// What is asked.
        prompt: Option<String>,
    },
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
    /// How many wait without a worker, for children or for input. They count against no limit.
    pub waiting: u64,
    /// When the ready job that goes next could have run ([`longhaul_core::JobSpec::ready_at`]); none when none is ready.
    /// Where priorities differ an older one may stand behind it. Found without reading the queue; right after a start it
    /// may be missing for some queues until it is asked for again.
    pub first_ready_at: Option<Timestamp>,
}

/// Whether a queue gives out jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueGate {
    /// It does.
    Open,
    /// It is paused.
    Paused,
    /// As many of its jobs run as may.
    Full,
}

impl QueueGate {
    pub(crate) fn of(paused: bool, concurrency: Option<u32>, running: u64) -> Self {
        match concurrency {
            _ if paused => QueueGate::Paused,
            Some(most) if running >= u64::from(most) => QueueGate::Full,
            Some(_) | None => QueueGate::Open,
        }
    }
}

impl QueueState {
    /// Whether it gives out jobs.
    pub fn gate(&self) -> QueueGate {
        QueueGate::of(self.paused, self.concurrency, self.running)
    }
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
