//! A disk that a simulation rules, under the same ledger that runs on a real one.
//!
//! A [`SimulatedDisk`] outlives the stores that are opened on it, as a disk outlives a process: to crash one is to drop
//! its store and its writer, and to open the disk again. Each batch meets the [`Fate`] that the simulation chooses. The
//! writer is handed out as a future, so that one thread can run everything in an order that depends on a seed alone.
//!
//! A [`Defect`] makes the disk break a promise on purpose. They are there to show that whoever judges a simulation would
//! notice; nothing else may use them.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use longhaul_core::{DocumentId, JobId, KeyId, QueueName, QueuedFor, Span, State, StepName, Tenant, Timestamp};

use crate::{
    Document, JobStore, Observer, StoreClock, StoreError, Tombstone,
    blob::BlobStore,
    ledger::{
        Backing, ExpiryBlock, Head, KeptKey, LaneKey, LedgerStore, NumberMap, Retention, Start, Stored, Touched,
        WriteSet,
    },
    memory::{MemoryBacking, MemoryReads, Rows},
};

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is durable, and its writer is told so.
    Kept,
    /// Nothing of it is kept, and its writer is told this. A batch that was torn is found so, and is wholly gone.
    Refused(StoreError),
    /// It is durable, and its writer is told this all the same.
    KeptInDoubt(StoreError),
}

/// A promise that the disk breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Says that a batch is durable before it is: what was not synced is lost in a crash.
    AcksBeforeSync,
    /// Now and then stores a job with an older count of its events, so that a number is given out again.
    ReusesSeq,
    /// Never finds jobs whose backoff is over.
    ForgetsRetries,
    /// Opens without the jobs that were running.
    ForgetsRunning,
    /// Does not find idempotency keys.
    ForgetsKeys,
    /// Does not find steps when one is stored again.
    ForgetsSteps,
    /// Does not find the children that outlive their parent.
    ForgetsChildren,
    /// Does not find what has started under a limit.
    ForgetsStarts,
    /// Never finds jobs that a limit has held back.
    ForgetsBlocked,
    /// Does not find deadlines that have passed.
    ForgetsDeadlines,
}

/// Decides what happens to a disk.
pub trait DiskRule: Send + Sync + 'static {
    /// What becomes of the next batch.
    fn batch(&self) -> Fate;

    /// Whether, under [`Defect::AcksBeforeSync`], everything up to now is synced; under [`Defect::ReusesSeq`], whether
    /// to let this batch pass.
    fn is_sound_now(&self) -> bool {
        true
    }

    /// Whether the children of a job can be read at present.
    fn reads_children(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// So many rows were read or written. For whoever counts what work costs.
    fn moved(&self, rows: usize) {
        let _ = rows;
    }

    /// The promise that is broken; none in a simulation that is to pass.
    fn defect(&self) -> Option<Defect> {
        None
    }
}

/// What a writer waits for before each batch: how long the last one was synced, for one.
pub type Pace = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    backing: MemoryBacking,
    rule: Arc<dyn DiskRule>,
    /// What has truly been synced, on a disk that lies about it.
    synced: Arc<Mutex<Rows>>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new(rule: Arc<dyn DiskRule>) -> Self {
        Self { backing: MemoryBacking::default(), rule, synced: Arc::default() }
    }

    /// Opens a store on the disk, as a process does that starts: ends the leases of its predecessor, which must be dead.
    /// What a job has streamed is kept for `deltas_for` from its end on. The future is the store's writer: when it is
    /// dropped, what it had not committed is gone.
    pub fn open(
        &self,
        time: StoreClock,
        observer: Arc<dyn Observer>,
        deltas_for: Span,
        pace: Pace,
    ) -> Result<(Arc<dyn JobStore>, BoxFuture<'static, ()>), StoreError> {
        let backing = RuledBacking { disk: self.clone() };
        let keep = Retention { deltas: deltas_for, ..Retention::default() };
        let (store, writer) = LedgerStore::assemble(backing, time, observer, keep)?;
        Ok((Arc::new(store), Box::pin(writer.run_paced(pace))))
    }

    /// The process has died: a disk that said too much loses what it had not synced.
    pub fn crash(&self) {
        if self.rule.defect() == Some(Defect::AcksBeforeSync) {
            self.backing.rows_mut().clone_from(&self.lock_synced());
        }
    }

    fn lock_synced(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&mut self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<(), StoreError> {
        self.backing.write(touched, writes)?;
        match self.rule.defect() {
            Some(Defect::AcksBeforeSync) if self.rule.is_sound_now() => {
                let rows = self.backing.rows_mut().clone();
                *self.lock_synced() = rows;
            }
            Some(Defect::ReusesSeq) if !self.rule.is_sound_now() => {
                for no in touched.keys() {
                    self.backing.rows_mut().forget_last_event_number(*no);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The disk as a ledger sees it.
struct RuledBacking {
    disk: SimulatedDisk,
}

impl RuledBacking {
    fn has(&self, defect: Defect) -> bool {
        self.disk.rule.defect() == Some(defect)
    }

    fn inner(&mut self) -> &mut MemoryBacking {
        &mut self.disk.backing
    }

    /// What was read, counted.
    fn counted<T>(&self, rows: Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
        if let Ok(rows) = &rows {
            self.disk.rule.moved(rows.len());
        }
        rows
    }
}

impl Backing for RuledBacking {
    type Reads = MemoryReads;

    fn reads(&self) -> MemoryReads {
        self.disk.backing.reads()
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.disk.backing.blobs()
    }

    fn start(&mut self) -> Result<Start, StoreError> {
        let mut start = self.inner().start()?;
        if self.has(Defect::ForgetsRunning) {
            start.running.clear();
        }
        Ok(start)
    }

    fn load(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Stored>, StoreError> {
        self.inner().load(tenant, id)
    }

    fn exists(&mut self, tenant: &Tenant, id: JobId) -> Result<bool, StoreError> {
        self.inner().exists(tenant, id)
    }

    fn load_no(&mut self, no: i64) -> Result<Option<Stored>, StoreError> {
        self.disk.rule.moved(1);
        self.inner().load_no(no)
    }

    fn input(&mut self, no: i64) -> Result<longhaul_core::Payload, StoreError> {
        self.disk.rule.moved(1);
        self.inner().input(no)
    }

    fn step(&mut self, no: i64, name: &StepName) -> Result<Option<longhaul_core::Payload>, StoreError> {
        if self.has(Defect::ForgetsSteps) {
            return Ok(None);
        }
        self.inner().step(no, name)
    }

    fn answers(&mut self, no: i64) -> Result<Vec<longhaul_core::Payload>, StoreError> {
        self.inner().answers(no)
    }

    fn live_children(&mut self, parent: JobId, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.disk.rule.reads_children()?;
        if self.has(Defect::ForgetsChildren) {
            return Ok(Vec::new());
        }
        self.inner().live_children(parent, limit)
    }

    fn tombstone(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Tombstone>, StoreError> {
        self.inner().tombstone(tenant, id)
    }

    fn ready(&mut self, lane: &LaneKey, after: Option<Head>, limit: usize) -> Result<Vec<Head>, StoreError> {
        let found = self.inner().ready(lane, after, limit);
        self.counted(found)
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        let (mut due, next) = self.inner().due(now, limit)?;
        if self.has(Defect::ForgetsRetries) {
            due.retain(|stored| !matches!(stored.job.state, State::Queued { why: QueuedFor::Retry, .. }));
        }
        Ok((due, next))
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        if self.has(Defect::ForgetsDeadlines) {
            return Ok((Vec::new(), None));
        }
        self.inner().overdue(now, limit)
    }

    fn idempotency(&mut self, tenant: &Tenant, route: &str, key: &[u8; 32]) -> Result<Option<KeptKey>, StoreError> {
        if self.has(Defect::ForgetsKeys) {
            return Ok(None);
        }
        self.inner().idempotency(tenant, route, key)
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ExpiryBlock>, StoreError> {
        self.inner().expired(now, limit)
    }

    fn key(&mut self, tenant: &Tenant, id: KeyId) -> Result<Option<longhaul_core::ApiKey>, StoreError> {
        self.inner().key(tenant, id)
    }

    fn document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
        self.inner().document(tenant, id)
    }

    fn pace(&mut self, gate: i64) -> Result<Option<longhaul_core::Pace>, StoreError> {
        if self.has(Defect::ForgetsStarts) {
            return Ok(None);
        }
        self.inner().pace(gate)
    }

    fn waking(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<i64>, Option<Timestamp>), StoreError> {
        self.inner().waking(now, limit)
    }

    fn blocked_keys(&mut self, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let found = self.inner().blocked_keys(after, limit);
        self.counted(found)
    }

    fn blocked_queues(&mut self, key: i64) -> Result<Vec<QueueName>, StoreError> {
        if self.has(Defect::ForgetsBlocked) {
            return Ok(Vec::new());
        }
        self.inner().blocked_queues(key)
    }

    fn blocked(
        &mut self,
        key: i64,
        queue: &QueueName,
        after: Option<Head>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let found = self.inner().blocked(key, queue, after, limit);
        self.counted(found)
    }

    fn write(&mut self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<(), StoreError> {
        self.disk.rule.moved(touched.values().filter(|entry| entry.changed).count());
        match self.disk.rule.batch() {
            Fate::Kept => self.disk.keep(touched, writes),
            Fate::Refused(error) => Err(error),
            Fate::KeptInDoubt(error) => self.disk.keep(touched, writes).and(Err(error)),
        }
    }

    fn done(&mut self) {
        self.inner().done();
    }

    fn close(&mut self) {
        self.inner().close();
    }
}
