//! What a ledger needs of the disk, or of memory.
//!
//! A backing keeps rows and finds them; it decides nothing. All calls come from the writer thread, one at a time;
//! reading for everybody else goes through [`Reads`], which sees what has been committed.

use std::sync::Arc;

use longhaul_core::{
    ApiKey, Attempt, DocumentId, Event, Job, JobId, KindName, KindSpec, Limit, Pace, Payload, QueueName, Span, State,
    Status, StepName, Tenant, Timestamp,
};

use super::{NumberMap, Touched, lanes::LaneKey};
use crate::{
    Child, Document, Idempotency, JobPage, JobQuery, JobView, Partial, StoreError, StoredStep, Tombstone,
    blob::BlobStore,
};

/// Where a job's row counts. The order is that of the stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// Held back by a limit by key.
    Blocked = -1,
    /// May be claimed.
    Ready = 0,
    /// Queued for later.
    Deferred = 1,
    /// Under a lease.
    Running = 2,
    /// Without a lease, for children or for input.
    Waiting = 3,
    Succeeded = 4,
    Failed = 5,
    Cancelled = 6,
}

impl Phase {
    pub(crate) fn of(job: &Job, now: Timestamp) -> Self {
        match &job.state {
            State::Queued { .. } if job.is_due(now) => Phase::Ready,
            State::Queued { .. } => Phase::Deferred,
            State::Running { .. } => Phase::Running,
            State::Waiting { .. } => Phase::Waiting,
            State::Succeeded => Phase::Succeeded,
            State::Failed => Phase::Failed,
            State::Cancelled => Phase::Cancelled,
        }
    }
}

impl Phase {
    /// What a client is told.
    pub(crate) fn status(self) -> Status {
        match self {
            Phase::Blocked | Phase::Ready | Phase::Deferred => Status::Queued,
            Phase::Running | Phase::Waiting => Status::Running,
            Phase::Succeeded => Status::Succeeded,
            Phase::Failed => Status::Failed,
            Phase::Cancelled => Status::Cancelled,
        }
    }
}

/// The phase of an ended job, as tombstones store it.
pub(crate) fn terminal_number(status: Status) -> i64 {
    match status {
        Status::Succeeded => Phase::Succeeded as i64,
        Status::Failed | Status::Queued | Status::Running => Phase::Failed as i64,
        Status::Cancelled => Phase::Cancelled as i64,
    }
}

/// A ready job's place in its lane: smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    /// As [`longhaul_core::JobSpec::rank`] has it.
    pub(crate) rank: i64,
    pub(crate) no: i64,
}

/// A row as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) no: i64,
    pub(crate) phase: Phase,
    pub(crate) job: Job,
}

/// What a ledger starts from.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) next_no: i64,
    pub(crate) running: Vec<Stored>,
    pub(crate) lanes: Vec<(QueueName, KindName, Tenant)>,
    pub(crate) counts: Vec<QueueCount>,
    pub(crate) paused: Vec<QueueName>,
    /// Limits of kinds that tenants have registered.
    pub(crate) limits: Vec<(Tenant, KindName, Vec<Limit>)>,
    /// Jobs whose children were to be cancelled and live.
    pub(crate) abandoned: Vec<(JobId, Tenant)>,
}

#[derive(Debug)]
pub(crate) struct QueueCount {
    pub(crate) queue: QueueName,
    pub(crate) queued: u64,
    pub(crate) waiting: u64,
}

/// An idempotency key as it was stored.
#[derive(Debug, Clone)]
pub(crate) struct KeptKey {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) jobs: Vec<JobId>,
    pub(crate) keep_until: Timestamp,
}

/// Jobs that ended in one batch and whose retention ends together: one row for all of them, so that finding what has
/// expired costs a commit one row and not each job one index entry.
#[derive(Debug, Clone)]
pub(crate) struct ExpiryBlock {
    pub(crate) id: i64,
    pub(crate) jobs: Vec<i64>,
    /// Only what they have streamed goes; the jobs stay for their own time.
    pub(crate) of_deltas: bool,
}

/// What becomes of the answers that a job keeps.
#[derive(Debug, Clone)]
pub(crate) enum AnswerWrite {
    /// One more, behind the others.
    Keep(Payload),
    /// The oldest has become a step.
    TakeOldest,
}

/// What has started of late under a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaceWrite {
    /// As [`longhaul_core::Pace`] stores it.
    pub(crate) starts: Vec<u8>,
    /// From then on nothing of it counts.
    pub(crate) over_at: Timestamp,
    /// When blocked jobs may become ready by it.
    pub(crate) wakes_at: Option<Timestamp>,
}

/// A job whose data goes.
#[derive(Debug, Clone)]
pub(crate) struct Erasure {
    pub(crate) no: i64,
    pub(crate) tenant: Tenant,
    pub(crate) tombstone: Tombstone,
    /// When: from then on the tombstone is kept for its time.
    pub(crate) gone_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) enum DocumentWrite {
    Put(Document),
    Part(Tenant, DocumentId, &'static str, Payload),
    Delete(Tenant, DocumentId),
}

/// What nobody has to remember any longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forget {
    /// Idempotency keys whose time was over before now go, unless one of their jobs is still there.
    pub(crate) now: Timestamp,
    /// Tombstones of jobs that ended before this go.
    pub(crate) tombstones_before: Timestamp,
    /// At most so many of each, about.
    pub(crate) limit: usize,
}

impl Forget {
    /// How much longer a key is kept whose job is still there: until that goes, as far as can be said today.
    pub(crate) fn keep_until(&self, job: &Job) -> Timestamp {
        const LOOK_AGAIN: Span = Span::from_secs(3_600);
        job.expires_at().unwrap_or(self.now).max(self.now + LOOK_AGAIN)
    }
}

/// What a batch writes besides the rows of touched jobs.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    pub(crate) events: Vec<(i64, Event)>,
    pub(crate) attempts: Vec<(i64, Attempt)>,
    pub(crate) steps: Vec<(i64, StepName, Payload)>,
    pub(crate) idempotency: Vec<(Tenant, Idempotency, Vec<JobId>)>,
    pub(crate) answers: Vec<(i64, AnswerWrite)>,
    pub(crate) ended: Vec<(Timestamp, i64)>,
    /// When what these jobs have streamed goes.
    pub(crate) deltas_ended: Vec<(Timestamp, i64)>,
    /// Jobs whose deltas go now.
    pub(crate) trimmed: Vec<i64>,
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) expiry_done: Vec<i64>,
    /// Expired blocks of which a part is still to be done.
    pub(crate) expiry_left: Vec<ExpiryBlock>,
    pub(crate) pauses: Vec<(QueueName, bool)>,
    pub(crate) kinds: Vec<(Tenant, KindSpec)>,
    pub(crate) keys: Vec<ApiKey>,
    pub(crate) documents: Vec<DocumentWrite>,
    /// Gates whose time to be looked at has come.
    pub(crate) awake: Vec<i64>,
    pub(crate) paces: Vec<(i64, PaceWrite)>,
    pub(crate) forget: Option<Forget>,
}

impl WriteSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.attempts.is_empty()
            && self.steps.is_empty()
            && self.idempotency.is_empty()
            && self.answers.is_empty()
            && self.ended.is_empty()
            && self.deltas_ended.is_empty()
            && self.trimmed.is_empty()
            && self.erasures.is_empty()
            && self.expiry_done.is_empty()
            && self.expiry_left.is_empty()
            && self.pauses.is_empty()
            && self.kinds.is_empty()
            && self.keys.is_empty()
            && self.documents.is_empty()
            && self.awake.is_empty()
            && self.paces.is_empty()
            && self.forget.is_none()
    }

    /// Empties it and keeps what it has allocated for the next batch.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.attempts.clear();
        self.steps.clear();
        self.idempotency.clear();
        self.answers.clear();
        self.ended.clear();
        self.deltas_ended.clear();
        self.trimmed.clear();
        self.erasures.clear();
        self.expiry_done.clear();
        self.expiry_left.clear();
        self.pauses.clear();
        self.kinds.clear();
        self.keys.clear();
        self.documents.clear();
        self.awake.clear();
        self.paces.clear();
        self.forget = None;
    }
}

/// Keeps rows for a ledger.
pub(crate) trait Backing: Send + 'static {
    /// What reading for everybody else goes through.
    type Reads: Reads;

    fn reads(&self) -> Self::Reads;
    fn blobs(&self) -> Arc<dyn BlobStore>;

    fn start(&mut self) -> Result<Start, StoreError>;
    fn load(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Stored>, StoreError>;
    fn exists(&mut self, tenant: &Tenant, id: JobId) -> Result<bool, StoreError>;
    fn load_no(&mut self, no: i64) -> Result<Option<Stored>, StoreError>;
    fn input(&mut self, no: i64) -> Result<Payload, StoreError>;
    fn step(&mut self, no: i64, name: &StepName) -> Result<Option<Payload>, StoreError>;
    /// The answers that a job keeps, oldest first.
    fn answers(&mut self, no: i64) -> Result<Vec<Payload>, StoreError>;
    /// The first children of a job that have neither ended nor been asked to stop.
    fn live_children(&mut self, parent: JobId, limit: usize) -> Result<Vec<Stored>, StoreError>;
    fn tombstone(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Tombstone>, StoreError>;
    /// The first ready jobs of a lane that come after `after`, in order.
    fn ready(&mut self, lane: &LaneKey, after: Option<Head>, limit: usize) -> Result<Vec<Head>, StoreError>;
    /// Deferred jobs that are due at `now`, soonest first, and when the next one after them is.
    fn due(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError>;
    /// Queued and waiting jobs whose deadline has passed at `now`, and when the next one's does.
    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError>;
    fn idempotency(&mut self, tenant: &Tenant, route: &str, key: &[u8; 32]) -> Result<Option<KeptKey>, StoreError>;
    /// Blocks of ended jobs whose retention is over at `now`, until they hold more than `limit` jobs.
    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ExpiryBlock>, StoreError>;
    fn key(&mut self, tenant: &Tenant, id: longhaul_core::KeyId) -> Result<Option<ApiKey>, StoreError>;
    fn document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError>;

    /// What has started under a gate.
    fn pace(&mut self, gate: i64) -> Result<Option<Pace>, StoreError>;
    /// Gates that are to be looked at by now, and when the next one is.
    fn waking(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<i64>, Option<Timestamp>), StoreError>;
    /// The first gates after this one that have blocked jobs, in order.
    fn blocked_keys(&mut self, after: i64, limit: usize) -> Result<Vec<i64>, StoreError>;
    /// The queues in which a gate has blocked jobs.
    fn blocked_queues(&mut self, key: i64) -> Result<Vec<QueueName>, StoreError>;
    /// The first jobs that a gate blocks in a queue, in order, those after `after`.
    fn blocked(
        &mut self,
        key: i64,
        queue: &QueueName,
        after: Option<Head>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError>;

    /// Writes a batch: all of it durably, or nothing.
    fn write(&mut self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<(), StoreError>;
    /// Ends a batch that wrote nothing: lets go of what reading has held.
    fn done(&mut self);
    /// Called between batches when there is nothing else to do.
    fn close(&mut self);
}

/// Reads what has been committed.
pub(crate) trait Reads: Clone + Send + Sync + 'static {
    /// Whether reading may wait for a disk, and therefore happens on blocking threads.
    const BLOCKS: bool;

    fn job(&self, tenant: &Tenant, id: JobId) -> Result<JobView, StoreError>;
    fn jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError>;
    fn events(&self, tenant: &Tenant, id: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;
    /// Those that ended before the last; the last stands in the job.
    fn attempts(&self, tenant: &Tenant, id: JobId) -> Result<Vec<Attempt>, StoreError>;
    fn steps(&self, tenant: &Tenant, id: JobId) -> Result<Vec<StoredStep>, StoreError>;
    /// What its deltas come to, resets applied.
    fn partial(&self, tenant: &Tenant, id: JobId) -> Result<Option<Partial>, StoreError>;
    fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError>;
    /// None when it is not ready, or `most` or more stand before it.
    fn position(&self, tenant: &Tenant, id: JobId, most: u32) -> Result<Option<u32>, StoreError>;
    fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError>;
    fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;
    fn document(&self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError>;
    fn document_part(&self, tenant: &Tenant, id: DocumentId, part: &str) -> Result<Option<Payload>, StoreError>;
}
