//! A store in memory, for tests and simulation: nothing survives the process.
//!
//! The same ledger as on disk, over maps. It shows what the ledger does when the disk is not the question.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use longhaul_core::{
    ApiKey, Attempt, BlobRef, DocumentId, Event, EventKind, Job, JobId, KeyId, KindName, KindSpec, Pace, Payload,
    QueueName, StepName, Tenant, Timestamp,
};

use crate::{
    Child, Document, JobPage, JobQuery, JobView, Observer, Partial, StoreClock, StoreError, StoredStep, Tombstone,
    blob::{BlobStore, MemoryBlobs},
    ledger::{
        AnswerWrite, Backing, DocumentWrite, ExpiryBlock, Forget, Head, KeptKey, LaneKey, LedgerStore, NumberMap,
        PaceWrite, Phase, QueueCount, Reads, Retention, Start, Stored, Touched, WriteSet, partial_of,
    },
};

/// Makes stores in memory.
pub struct MemoryStore;

impl MemoryStore {
    /// An empty store.
    pub fn open(time: StoreClock, observer: Arc<dyn Observer>) -> Result<Arc<dyn crate::JobStore>, StoreError> {
        Ok(Arc::new(LedgerStore::start(MemoryBacking::default(), time, observer, Retention::default())?))
    }
}

#[derive(Debug, Clone)]
struct Row {
    phase: Phase,
    job: Job,
    input: Payload,
    output: Option<Payload>,
    events: Vec<Event>,
    attempts: Vec<Attempt>,
    steps: Vec<(StepName, Payload)>,
    answers: VecDeque<Payload>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    jobs: BTreeMap<i64, Row>,
    ids: HashMap<(Tenant, JobId), i64>,
    next_no: i64,
    idempotency: BTreeMap<(Tenant, String, [u8; 32]), KeptKey>,
    tombstones: HashMap<(Tenant, JobId), (Tombstone, Timestamp)>,
    expiry: BTreeMap<i64, (Timestamp, Vec<i64>, bool)>,
    expiry_next: i64,
    paused: BTreeMap<QueueName, bool>,
    kinds: BTreeMap<(Tenant, KindName), KindSpec>,
    keys: BTreeMap<KeyId, ApiKey>,
    documents: HashMap<(Tenant, DocumentId), Document>,
    parts: HashMap<(Tenant, DocumentId, &'static str), Payload>,
    paces: BTreeMap<i64, PaceWrite>,
    /// How often each blob is referred to.
    blob_uses: HashMap<[u8; 32], i64>,
}

/// Keeps rows for as long as one of its clones is there.
#[derive(Clone, Default)]
pub(crate) struct MemoryBacking {
    rows: Arc<RwLock<Rows>>,
    blobs: Arc<MemoryBlobs>,
}

#[derive(Clone)]
pub(crate) struct MemoryReads(Arc<RwLock<Rows>>);

fn read(rows: &RwLock<Rows>) -> RwLockReadGuard<'_, Rows> {
    rows.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(rows: &RwLock<Rows>) -> RwLockWriteGuard<'_, Rows> {
    rows.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(feature = "simulation")]
impl MemoryBacking {
    /// What is kept, for whoever simulates the disk that keeps it.
    pub(crate) fn rows_mut(&self) -> RwLockWriteGuard<'_, Rows> {
        write(&self.rows)
    }
}

#[cfg(feature = "simulation")]
impl Rows {
    /// Damage, for a simulation that wants to see it noticed.
    pub(crate) fn forget_last_event_number(&mut self, no: i64) {
        self.jobs.entry(no).and_modify(|row| row.job.last_seq = row.job.last_seq.saturating_sub(1).max(1));
    }
}

impl Rows {
    fn stored(&self, no: i64) -> Option<Stored> {
        self.jobs.get(&no).map(|row| Stored { no, phase: row.phase, job: row.job.clone() })
    }

    fn row(&self, tenant: &Tenant, id: JobId) -> Result<&Row, StoreError> {
        let key = (tenant.clone(), id);
        match self.ids.get(&key).and_then(|no| self.jobs.get(no)) {
            Some(row) => Ok(row),
            None => Err(match self.tombstones.get(&key) {
                Some((tombstone, _)) => StoreError::Gone(Box::new(tombstone.clone())),
                None => StoreError::NotFound("job"),
            }),
        }
    }

    fn refer(&mut self, payload: &Payload) {
        if let Some(blob) = payload.blob() {
            *self.blob_uses.entry(blob.digest).or_default() += 1;
        }
    }

    /// Takes references away and says which blobs nothing refers to any more.
    fn release(&mut self, released: &[BlobRef]) -> Vec<BlobRef> {
        let mut unused = Vec::new();
        for blob in released {
            let uses = self.blob_uses.entry(blob.digest).or_default();
            *uses -= 1;
            if *uses <= 0 {
                self.blob_uses.remove(&blob.digest);
                unused.push(*blob);
            }
        }
        unused
    }

    fn in_phase(&self, phase: Phase) -> impl Iterator<Item = (&i64, &Row)> {
        self.jobs.iter().filter(move |(_, row)| row.phase == phase)
    }

    fn blocked_by(&self, key: i64) -> impl Iterator<Item = (&i64, &Row)> {
        self.in_phase(Phase::Blocked).filter(move |(_, row)| row.job.spec.limit_key.is_some_and(|of| of.0 == key))
    }

    /// The ready jobs of a lane, in no order.
    fn lane(&self, lane: &LaneKey) -> impl Iterator<Item = Head> {
        let in_lane = self.in_phase(Phase::Ready).filter(|(_, row)| LaneKey::of(&row.job.spec) == *lane);
        in_lane.map(|(no, row)| Head { rank: row.job.spec.rank(), no: *no })
    }

    /// The soonest jobs by `at` that are due, and when the next one after them is.
    fn soonest(
        &self,
        now: Timestamp,
        limit: usize,
        at: impl Fn(&Row) -> Option<Timestamp>,
    ) -> (Vec<Stored>, Option<Timestamp>) {
        let mut timed: Vec<(Timestamp, i64)> =
            self.jobs.iter().filter_map(|(no, row)| at(row).map(|at| (at, *no))).collect();
        timed.sort_unstable();
        let due = timed.iter().take_while(|(at, _)| *at <= now).count().min(limit);
        let next = timed.get(due).map(|(at, _)| *at);
        (timed[..due].iter().filter_map(|(_, no)| self.stored(*no)).collect(), next)
    }
}

impl Backing for MemoryBacking {
    type Reads = MemoryReads;

    fn reads(&self) -> MemoryReads {
        MemoryReads(self.rows.clone())
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.blobs.clone()
    }

    fn start(&mut self) -> Result<Start, StoreError> {
        let rows = read(&self.rows);
        let mut counts: BTreeMap<QueueName, (u64, u64)> = BTreeMap::new();
        let mut lanes = std::collections::BTreeSet::new();
        for row in rows.jobs.values() {
            let (queued, waiting) = counts.entry(row.job.spec.queue.clone()).or_default();
            *queued += u64::from(row.phase <= Phase::Deferred);
            *waiting += u64::from(row.phase == Phase::Waiting);
        }
        for (_, row) in rows.in_phase(Phase::Ready) {
            let spec = &row.job.spec;
            lanes.insert((spec.queue.clone(), spec.kind.clone(), spec.tenant.clone()));
        }
        Ok(Start {
            next_no: rows.next_no.max(1),
            running: rows.in_phase(Phase::Running).filter_map(|(no, _)| rows.stored(*no)).collect(),
            lanes: lanes.into_iter().collect(),
            counts: (counts.into_iter())
                .map(|(queue, (queued, waiting))| QueueCount { queue, queued, waiting })
                .collect(),
            abandoned: (rows.jobs.values())
                .filter(|row| row.job.abandons_children())
                .map(|row| (row.job.spec.id, row.job.spec.tenant.clone()))
                .collect(),
            limits: (rows.kinds.iter())
                .filter(|(_, kind)| !kind.limits.is_empty())
                .map(|((tenant, name), kind)| (tenant.clone(), name.clone(), kind.limits.clone()))
                .collect(),
            paused: rows.paused.iter().filter(|(_, paused)| **paused).map(|(queue, _)| queue.clone()).collect(),
        })
    }

    fn load(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Stored>, StoreError> {
        let rows = read(&self.rows);
        Ok(rows.ids.get(&(tenant.clone(), id)).and_then(|no| rows.stored(*no)))
    }

    fn load_no(&mut self, no: i64) -> Result<Option<Stored>, StoreError> {
        Ok(read(&self.rows).stored(no))
    }

    fn input(&mut self, no: i64) -> Result<Payload, StoreError> {
        let rows = read(&self.rows);
        rows.jobs.get(&no).map(|row| row.input.clone()).ok_or(StoreError::NotFound("job"))
    }

    fn step(&mut self, no: i64, name: &StepName) -> Result<Option<Payload>, StoreError> {
        let rows = read(&self.rows);
        let steps = rows.jobs.get(&no).map(|row| &row.steps);
        Ok(steps.and_then(|steps| steps.iter().find(|(step, _)| step == name)).map(|(_, output)| output.clone()))
    }

    fn answers(&mut self, no: i64) -> Result<Vec<Payload>, StoreError> {
        Ok(read(&self.rows).jobs.get(&no).map(|row| row.answers.iter().cloned().collect()).unwrap_or_default())
    }

    fn live_children(&mut self, parent: JobId, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let rows = read(&self.rows);
        let live = rows.jobs.iter().filter(|(_, row)| {
            let job = &row.job;
            job.spec.parent == Some(parent) && !job.status().is_terminal() && job.cancel_requested_at.is_none()
        });
        Ok(live.take(limit).filter_map(|(no, _)| rows.stored(*no)).collect())
    }

    fn tombstone(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Tombstone>, StoreError> {
        Ok(read(&self.rows).tombstones.get(&(tenant.clone(), id)).map(|(tombstone, _)| tombstone.clone()))
    }

    fn exists(&mut self, tenant: &Tenant, id: JobId) -> Result<bool, StoreError> {
        Ok(read(&self.rows).ids.contains_key(&(tenant.clone(), id)))
    }

    fn ready(&mut self, lane: &LaneKey, after: Option<Head>, limit: usize) -> Result<Vec<Head>, StoreError> {
        let rows = read(&self.rows);
        let mut heads: Vec<Head> = rows.lane(lane).filter(|head| after.is_none_or(|after| *head > after)).collect();
        heads.sort_unstable();
        heads.truncate(limit);
        Ok(heads)
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        Ok(read(&self.rows).soonest(now, limit, |row| match row.job.state {
            longhaul_core::State::Queued { due_at, .. } if row.phase == Phase::Deferred => Some(due_at),
            _ => None,
        }))
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        Ok(read(&self.rows).soonest(now, limit, |row| {
            row.job.spec.deadline_at.filter(|_| row.phase < Phase::Succeeded && row.phase != Phase::Running)
        }))
    }

    fn idempotency(&mut self, tenant: &Tenant, route: &str, key: &[u8; 32]) -> Result<Option<KeptKey>, StoreError> {
        Ok(read(&self.rows).idempotency.get(&(tenant.clone(), route.to_owned(), *key)).cloned())
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ExpiryBlock>, StoreError> {
        let rows = read(&self.rows);
        let mut due: Vec<_> = rows.expiry.iter().filter(|(_, (at, ..))| *at <= now).collect();
        due.sort_by_key(|(id, (at, ..))| (*at, **id));
        // Each block is one job here.
        let more_than_asked_for = limit.saturating_add(1);
        Ok((due.into_iter().take(more_than_asked_for))
            .map(|(id, (_, jobs, of_deltas))| ExpiryBlock { id: *id, jobs: jobs.clone(), of_deltas: *of_deltas })
            .collect())
    }

    fn key(&mut self, tenant: &Tenant, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        Ok(read(&self.rows).keys.get(&id).filter(|key| key.tenant == *tenant).cloned())
    }

    fn document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
        Ok(read(&self.rows).documents.get(&(tenant.clone(), id)).cloned())
    }

    fn pace(&mut self, gate: i64) -> Result<Option<Pace>, StoreError> {
        Ok(read(&self.rows).paces.get(&gate).and_then(|pace| Pace::from_bytes(&pace.starts)))
    }

    fn waking(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<i64>, Option<Timestamp>), StoreError> {
        let rows = read(&self.rows);
        let waking = rows.paces.iter().filter_map(|(gate, pace)| Some((pace.wakes_at?, *gate)));
        let mut waking: Vec<(Timestamp, i64)> = waking.collect();
        waking.sort_unstable();
        let due = waking.iter().take_while(|(at, _)| *at <= now).count().min(limit);
        Ok((waking[..due].iter().map(|(_, gate)| *gate).collect(), waking.get(due).map(|(at, _)| *at)))
    }

    fn blocked_keys(&mut self, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let rows = read(&self.rows);
        let keys = rows.in_phase(Phase::Blocked).filter_map(|(_, row)| Some(row.job.spec.limit_key?.0));
        let keys: std::collections::BTreeSet<i64> = keys.filter(|key| *key > after).collect();
        Ok(keys.into_iter().take(limit).collect())
    }

    fn blocked_queues(&mut self, key: i64) -> Result<Vec<QueueName>, StoreError> {
        let rows = read(&self.rows);
        let queues = rows.blocked_by(key).map(|(_, row)| row.job.spec.queue.clone());
        let queues: std::collections::BTreeSet<QueueName> = queues.collect();
        Ok(queues.into_iter().collect())
    }

    fn blocked(
        &mut self,
        key: i64,
        queue: &QueueName,
        after: Option<Head>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let rows = read(&self.rows);
        let of_queue = rows.blocked_by(key).filter(|(_, row)| row.job.spec.queue == *queue);
        let heads = of_queue.map(|(no, row)| Head { rank: row.job.spec.rank(), no: *no });
        let mut heads: Vec<Head> = heads.filter(|head| after.is_none_or(|after| *head > after)).collect();
        heads.sort_unstable();
        heads.truncate(limit);
        Ok(heads)
    }

    fn write(&mut self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<(), StoreError> {
        let mut rows = write(&self.rows);
        let mut released = Vec::new();
        for entry in touched.values().filter(|entry| entry.changed) {
            write_job(&mut rows, entry)?;
        }
        write_history(&mut rows, writes);
        write_answers(&mut rows, writes, &mut released);
        write_ends(&mut rows, writes, &mut released);
        write_settings(&mut rows, writes);
        write_documents(&mut rows, writes, &mut released);
        if let Some(forget) = &writes.forget {
            write_forgotten(&mut rows, forget);
        }
        let unused = rows.release(&released);
        drop(rows);
        self.blobs.remove(&unused);
        Ok(())
    }

    fn done(&mut self) {}

    fn close(&mut self) {}
}

fn write_job(rows: &mut Rows, entry: &Touched) -> Result<(), StoreError> {
    let phase = entry.phase.ok_or_else(|| StoreError::Corrupt("a job without a phase".into()))?;
    if entry.fresh {
        let input = entry.input.clone().ok_or_else(|| StoreError::Corrupt("a new job without input".into()))?;
        rows.ids.insert((entry.job.spec.tenant.clone(), entry.job.spec.id), entry.no);
        rows.next_no = rows.next_no.max(entry.no + 1);
        rows.refer(&input);
        let row = Row {
            phase,
            job: entry.job.clone(),
            input,
            output: None,
            events: Vec::new(),
            attempts: Vec::new(),
            steps: Vec::new(),
            answers: VecDeque::new(),
        };
        rows.jobs.insert(entry.no, row);
    }
    if let Some(output) = entry.output.as_ref().filter(|_| entry.output_is_new) {
        rows.refer(output);
    }
    if let Some(row) = rows.jobs.get_mut(&entry.no) {
        row.phase = phase;
        row.job = entry.job.clone();
        if entry.output_is_new {
            row.output.clone_from(&entry.output);
        }
    }
    Ok(())
}

fn write_history(rows: &mut Rows, writes: &WriteSet) {
    for (no, event) in &writes.events {
        rows.jobs.entry(*no).and_modify(|row| row.events.push(event.clone()));
    }
    for (no, attempt) in &writes.attempts {
        rows.jobs.entry(*no).and_modify(|row| row.attempts.push(attempt.clone()));
    }
    for (no, name, output) in &writes.steps {
        rows.refer(output);
        rows.jobs.entry(*no).and_modify(|row| row.steps.push((name.clone(), output.clone())));
    }
    for (tenant, key, jobs) in &writes.idempotency {
        let kept = KeptKey { fingerprint: key.fingerprint, jobs: jobs.clone(), keep_until: key.keep_until };
        rows.idempotency.insert((tenant.clone(), key.route.to_owned(), key.key), kept);
    }
}

fn write_answers(rows: &mut Rows, writes: &WriteSet, released: &mut Vec<BlobRef>) {
    for (no, change) in &writes.answers {
        if let AnswerWrite::Keep(answer) = change {
            rows.refer(answer);
        }
        let Some(row) = rows.jobs.get_mut(no) else { continue };
        match change {
            AnswerWrite::Keep(answer) => row.answers.push_back(answer.clone()),
            AnswerWrite::TakeOldest => released.extend(row.answers.pop_front().as_ref().and_then(Payload::blob)),
        }
    }
}

fn write_ends(rows: &mut Rows, writes: &WriteSet, released: &mut Vec<BlobRef>) {
    let ended = writes.ended.iter().map(|ended| (ended, false));
    for ((at, no), of_deltas) in ended.chain(writes.deltas_ended.iter().map(|ended| (ended, true))) {
        rows.expiry_next += 1;
        let id = rows.expiry_next;
        rows.expiry.insert(id, (*at, vec![*no], of_deltas));
    }
    for no in &writes.trimmed {
        let is_delta = |event: &Event| matches!(event.kind, EventKind::OutputDelta { .. });
        rows.jobs.entry(*no).and_modify(|row| row.events.retain(|event| !is_delta(event)));
    }
    for erasure in &writes.erasures {
        if let Some(row) = rows.jobs.remove(&erasure.no) {
            let steps = row.steps.iter().map(|(_, output)| output).chain(&row.answers);
            released.extend(steps.chain([&row.input]).chain(&row.output).filter_map(Payload::blob));
            let key = (erasure.tenant.clone(), erasure.tombstone.job);
            rows.ids.remove(&key);
            rows.tombstones.insert(key, (erasure.tombstone.clone(), erasure.gone_at));
        }
    }
    for id in &writes.expiry_done {
        rows.expiry.remove(id);
    }
    for block in &writes.expiry_left {
        rows.expiry.entry(block.id).and_modify(|(_, jobs, _)| jobs.clone_from(&block.jobs));
    }
}

fn write_settings(rows: &mut Rows, writes: &WriteSet) {
    for (queue, paused) in &writes.pauses {
        rows.paused.insert(queue.clone(), *paused);
    }
    for (tenant, kind) in &writes.kinds {
        rows.kinds.insert((tenant.clone(), kind.name.clone()), kind.clone());
    }
    for gate in &writes.awake {
        rows.paces.entry(*gate).and_modify(|pace| pace.wakes_at = None);
    }
    rows.paces.extend(writes.paces.iter().cloned());
    for key in &writes.keys {
        rows.keys.insert(key.id, key.clone());
    }
}

fn write_documents(rows: &mut Rows, writes: &WriteSet, released: &mut Vec<BlobRef>) {
    for document in &writes.documents {
        match document {
            DocumentWrite::Put(document) => {
                *rows.blob_uses.entry(document.content.digest).or_default() += 1;
                rows.documents.insert((document.tenant.clone(), document.id), document.clone());
            }
            DocumentWrite::Part(tenant, id, part, content) => {
                rows.refer(content);
                let old = rows.parts.insert((tenant.clone(), *id, *part), content.clone());
                released.extend(old.as_ref().and_then(Payload::blob));
            }
            DocumentWrite::Delete(tenant, id) => {
                let old = rows.documents.remove(&(tenant.clone(), *id));
                released.extend(old.map(|document| document.content));
                rows.parts.retain(|(whose, document, _), content| {
                    let stays = whose != tenant || document != id;
                    released.extend(content.blob().filter(|_| !stays));
                    stays
                });
            }
        }
    }
}

fn write_forgotten(rows: &mut Rows, forget: &Forget) {
    let Rows { jobs, ids, idempotency, tombstones, paces, .. } = rows;
    paces.retain(|_, pace| pace.over_at >= forget.now || pace.wakes_at.is_some());
    tombstones.retain(|_, (_, gone_at)| *gone_at >= forget.tombstones_before);
    idempotency.retain(|(tenant, ..), kept| {
        if kept.keep_until >= forget.now {
            return true;
        }
        let alive = kept.jobs.iter().filter_map(|id| ids.get(&(tenant.clone(), *id)).and_then(|no| jobs.get(no)));
        match alive.map(|row| forget.keep_until(&row.job)).max() {
            Some(until) => kept.keep_until = until,
            None => return false,
        }
        true
    });
}

impl Reads for MemoryReads {
    const BLOCKS: bool = false;

    fn job(&self, tenant: &Tenant, id: JobId) -> Result<JobView, StoreError> {
        let rows = read(&self.0);
        let row = rows.row(tenant, id)?;
        Ok(JobView { job: row.job.clone(), input: row.input.clone(), output: row.output.clone() })
    }

    fn jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError> {
        let rows = read(&self.0);
        let mut all: Vec<&Job> = (rows.jobs.values())
            .map(|row| &row.job)
            .filter(|job| job.spec.tenant == query.tenant && query.before.is_none_or(|before| job.spec.id < before))
            .filter(|job| fits(job, query))
            .collect();
        all.sort_by_key(|job| std::cmp::Reverse(job.spec.id));
        let more = all.len() > query.limit;
        all.truncate(query.limit);
        let next = all.last().filter(|_| more).map(|job| job.spec.id);
        Ok(JobPage { jobs: all.into_iter().cloned().collect(), next })
    }

    fn events(&self, tenant: &Tenant, id: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let rows = read(&self.0);
        let events = rows.row(tenant, id)?.events.iter();
        Ok(events.filter(|event| event.seq > after).take(limit).cloned().collect())
    }

    fn attempts(&self, tenant: &Tenant, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        Ok(read(&self.0).row(tenant, id)?.attempts.clone())
    }

    fn steps(&self, tenant: &Tenant, id: JobId) -> Result<Vec<StoredStep>, StoreError> {
        let rows = read(&self.0);
        let steps = rows.row(tenant, id)?.steps.iter();
        Ok(steps.map(|(name, output)| StoredStep { name: name.clone(), output: output.clone() }).collect())
    }

    fn partial(&self, tenant: &Tenant, id: JobId) -> Result<Option<Partial>, StoreError> {
        let rows = read(&self.0);
        let events = &rows.row(tenant, id)?.events;
        let resets: Vec<(u64, u64)> = (events.iter())
            .filter_map(|event| match event.kind {
                EventKind::OutputReset { keep_through } => Some((keep_through, event.seq)),
                _ => None,
            })
            .collect();
        let deltas = events.iter().filter_map(|event| match &event.kind {
            EventKind::OutputDelta { data } => Some(Ok((event.seq, data.clone()))),
            _ => None,
        });
        partial_of(deltas, &resets)
    }

    fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        let rows = read(&self.0);
        rows.row(tenant, parent)?;
        let own =
            rows.jobs.values().filter(|row| row.job.spec.parent == Some(parent) && row.job.spec.tenant == *tenant);
        let mut children: Vec<Child> = own
            .filter(|row| after.is_none_or(|after| row.job.spec.child_index > after))
            .map(|row| Child {
                index: row.job.spec.child_index,
                job: row.job.spec.id,
                kind: row.job.spec.kind.clone(),
                status: row.job.status(),
                error: row.job.error.clone().filter(|_| row.phase == Phase::Failed),
                output: row.output.clone(),
            })
            .collect();
        children.sort_by_key(|child| child.index);
        children.truncate(limit);
        Ok(children)
    }

    fn position(&self, tenant: &Tenant, id: JobId, most: u32) -> Result<Option<u32>, StoreError> {
        let rows = read(&self.0);
        let row = rows.row(tenant, id)?;
        let own = rows.ids.get(&(tenant.clone(), id)).map(|no| Head { rank: row.job.spec.rank(), no: *no });
        let Some(own) = own.filter(|_| row.phase == Phase::Ready) else { return Ok(None) };
        let before = rows.lane(&LaneKey::of(&row.job.spec)).filter(|head| *head < own).count();
        Ok(u32::try_from(before).ok().filter(|before| *before < most))
    }

    fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        Ok(read(&self.0).kinds.iter().map(|((tenant, _), kind)| (tenant.clone(), kind.clone())).collect())
    }

    fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(read(&self.0).keys.values().cloned().collect())
    }

    fn document(&self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
        Ok(read(&self.0).documents.get(&(tenant.clone(), id)).cloned())
    }

    fn document_part(&self, tenant: &Tenant, id: DocumentId, part: &str) -> Result<Option<Payload>, StoreError> {
        let rows = read(&self.0);
        let found =
            rows.parts.iter().find(|((whose, document, name), _)| whose == tenant && *document == id && *name == part);
        Ok(found.map(|(_, content)| content.clone()))
    }
}

fn fits(job: &Job, query: &JobQuery) -> bool {
    let pairs: serde_json::Map<String, serde_json::Value> =
        job.spec.metadata.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    query.status.is_none_or(|status| job.status() == status)
        && query.kind.as_ref().is_none_or(|kind| job.spec.kind == *kind)
        && query.queue.as_ref().is_none_or(|queue| job.spec.queue == *queue)
        && query.created_after.is_none_or(|after| job.spec.created_at >= after)
        && query.created_before.is_none_or(|before| job.spec.created_at < before)
        && query.metadata.iter().all(|(key, value)| pairs.get(key).and_then(|v| v.as_str()) == Some(value))
}
