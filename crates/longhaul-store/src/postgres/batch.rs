//! What one transaction works on: the rows that it has locked, what happens to them, and what is to be written.
//!
//! Everything in here is done in memory, between reading and writing: an operation names beforehand what it [`Needs`],
//! finds that in the batch, and changes jobs by [`Job::step`] alone. A job that several operations of a batch change is
//! written once, in its last state. When the transaction has to be repeated the batch is thrown away, and made again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use longhaul_core::{
    ApiKey, Applied, Attempt, DocumentId, Event, IdSource, Job, JobId, KeyId, KindName, KindSpec, Payload, QueueName,
    Span, State, Status, Step, StepName, Tenant, Timestamp,
};

use super::{
    explain::Elsewhere,
    gates::{Gates, Rules},
    rows::{self, Stored},
};
use crate::{
    Change, Claim, EndFigures, EndedAttempt, Idempotency, Observer, StoreError, Tombstone,
    ledger::{DocumentWrite, Erasure, Forget, KeptKey, LaneKey, NumberMap, Phase},
};

/// What operations have to find in their batch.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Jobs, to be locked with those that stand above them.
    pub(super) jobs: HashSet<(Tenant, JobId)>,
    /// Jobs, to be looked at only.
    pub(super) looked_at: HashSet<(Tenant, JobId)>,
    /// Jobs with the answers that they keep.
    pub(super) answers: HashSet<(Tenant, JobId)>,
    /// Ids of which is asked whether they are taken.
    pub(super) ids: HashSet<(Tenant, JobId)>,
    /// How many numbers for new jobs.
    pub(super) numbers: usize,
    pub(super) idempotency: HashSet<(Tenant, &'static str, [u8; 32])>,
    pub(super) steps: HashSet<(Tenant, JobId, StepName)>,
    pub(super) documents: HashSet<(Tenant, DocumentId)>,
    pub(super) keys: HashSet<KeyId>,
    /// What time has made due.
    pub(super) due: bool,
    /// Leases that run out although nobody could hear their workers, of jobs behind this one.
    pub(super) unheard_after: Option<i64>,
    /// So many ended jobs whose retention is over.
    pub(super) expired: Option<usize>,
    /// How every queue stands.
    pub(super) tallies: bool,
    /// The job that goes next in every queue.
    pub(super) first_in_line: bool,
    /// Who claims, at any server.
    pub(super) claimants: bool,
    /// Claims of all servers wait for it.
    pub(super) pauses: bool,
    /// Jobs that come in under a limit by key: of which kind, with which key, into which queue.
    pub(super) limited: HashSet<(KindName, i64, QueueName)>,
    /// Where the look at all keys with blocked jobs goes on.
    pub(super) review_after: i64,
}

/// What was found of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tombstones: HashMap<(Tenant, JobId), Tombstone>,
    /// Jobs as they are stored, not locked.
    pub(super) looked_at: HashMap<(Tenant, JobId), Job>,
    /// Those of them that a limit by key holds back.
    pub(super) blocked: HashSet<JobId>,
    /// The oldest first.
    pub(super) answers: HashMap<i64, Vec<Payload>>,
    pub(super) ids: HashSet<(Tenant, JobId)>,
    /// In their order, the last first.
    pub(super) numbers: Vec<i64>,
    /// With whether one of its jobs is still there.
    pub(super) idempotency: HashMap<(Tenant, String, [u8; 32]), (KeptKey, bool)>,
    pub(super) steps: HashMap<(i64, StepName), Payload>,
    pub(super) documents: HashSet<(Tenant, DocumentId)>,
    pub(super) keys: HashMap<KeyId, ApiKey>,
    pub(super) due: Due,
    /// Jobs of workers elsewhere whose leases run out soon after a start.
    pub(super) unheard: Vec<i64>,
    pub(super) expired: Vec<i64>,
    /// Those above the expired that live.
    pub(super) living: HashSet<i64>,
    pub(super) tallies: BTreeMap<QueueName, Tally>,
    pub(super) paused: BTreeMap<QueueName, bool>,
    /// When the job that goes next could have run.
    pub(super) first_ready_at: HashMap<QueueName, Timestamp>,
    /// Who has claimed at other servers lately.
    pub(super) elsewhere: Vec<Elsewhere>,
    /// Workers that hold a lease.
    pub(super) busy: HashSet<String>,
}

/// What time has made due, among the batch's jobs.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) jobs: Vec<i64>,
    /// Those held in the process of a server that is dead.
    pub(super) orphans: Vec<i64>,
    pub(super) dead: Vec<i64>,
    /// Those whose children are still to be cancelled.
    pub(super) abandoned: Vec<i64>,
    /// Where the look at all keys with blocked jobs goes on next time.
    pub(super) review_after: i64,
    /// When something else falls due next; now, when there is more.
    pub(super) next: Option<Timestamp>,
}

/// How many jobs a queue holds, or how many more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) queued: i64,
    pub(super) running: i64,
    pub(super) waiting: i64,
}

/// A job that the batch works on.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) no: i64,
    pub(super) job: Job,
    pub(super) node: Option<i64>,
    pub(super) parent_no: Option<i64>,
    pub(super) trimmed: bool,
    pub(super) input: Option<Payload>,
    pub(super) output: Option<Payload>,
    /// Not yet stored.
    pub(super) fresh: bool,
    pub(super) changed: bool,
    pub(super) output_is_new: bool,
    /// Where it is counted as it is stored; none: it is not.
    pub(super) was: Option<Phase>,
    /// Where it is counted; none before it is counted at all.
    pub(super) phase: Option<Phase>,
    /// The attempt that the batch has ended.
    pub(super) ended_attempt: Option<EndedAttempt>,
}

/// What becomes of the answers that a job keeps.
#[derive(Debug)]
pub(super) enum AnswerWrite {
    /// One more, behind the others.
    Keep(Payload),
    /// The oldest has become a step.
    TakeOldest,
}

/// When something of an ended job goes next.
#[derive(Debug)]
pub(super) struct NewTimer {
    pub(super) no: i64,
    pub(super) at: Timestamp,
    /// What it has streamed is removed, now or before.
    pub(super) trimmed: bool,
}

/// What is written besides the rows of changed jobs.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) events: Vec<(i64, Event)>,
    pub(super) attempts: Vec<(i64, Attempt)>,
    pub(super) steps: Vec<(i64, StepName, Payload)>,
    pub(super) answers: Vec<(i64, AnswerWrite)>,
    pub(super) idempotency: Vec<(Tenant, Idempotency, Vec<JobId>)>,
    pub(super) timers: Vec<NewTimer>,
    /// Jobs of which what they have streamed goes.
    pub(super) trims: Vec<i64>,
    pub(super) erasures: Vec<Erasure>,
    pub(super) pauses: Vec<(QueueName, bool)>,
    pub(super) kinds: Vec<(Tenant, KindSpec)>,
    pub(super) keys: Vec<ApiKey>,
    pub(super) documents: Vec<DocumentWrite>,
    pub(super) forget: Option<Forget>,
    pub(super) dead_nodes: Vec<i64>,
    /// Jobs whose children do not have to be cancelled any more.
    pub(super) abandoned_done: Vec<i64>,
    /// Jobs whose children are to be cancelled by the next sweeps.
    pub(super) abandoned_left: Vec<i64>,
    pub(super) claimants: Vec<Claim>,
    pub(super) counts: BTreeMap<QueueName, Tally>,
}

/// The jobs of a transaction and what becomes of them.
pub(super) struct Batch {
    pub(super) now: Timestamp,
    /// From when on this server has had the database without a gap; none: it has it again.
    pub(super) in_touch_since: Option<Timestamp>,
    /// This server.
    pub(super) node: i64,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) limits: Arc<BTreeMap<QueueName, Option<u32>>>,
    /// How long what a job has streamed is kept after its end.
    pub(super) deltas_for: Span,
    /// Jobs whose live children are to be cancelled.
    pub(super) abandoned: BTreeSet<i64>,
    pub(super) found: Found,
    pub(super) gates: Gates,
    pub(super) entries: NumberMap<i64, Entry>,
    numbers_of: NumberMap<JobId, i64>,
    pub(super) writes: Writes,
}

impl Batch {
    pub(super) fn new(
        now: Timestamp,
        node: i64,
        ids: Arc<dyn IdSource>,
        limits: Arc<BTreeMap<QueueName, Option<u32>>>,
        rules: Rules,
        deltas_for: Span,
    ) -> Self {
        Self {
            now,
            in_touch_since: Some(Timestamp::EPOCH),
            node,
            ids,
            limits,
            deltas_for,
            abandoned: BTreeSet::new(),
            found: Found::default(),
            gates: Gates::under(rules),
            entries: NumberMap::default(),
            numbers_of: NumberMap::default(),
            writes: Writes::default(),
        }
    }

    /// Whether this server has had the database for so long that whoever has not been heard is silent.
    pub(super) fn has_listened_for(&self, span: Span) -> bool {
        self.in_touch_since.is_some_and(|since| since + span <= self.now)
    }

    /// Takes a locked row in, unless the batch knows better already.
    pub(super) fn take_stored(&mut self, stored: Stored) -> i64 {
        let Stored { no, phase, node, parent_no, trimmed, job } = stored;
        self.numbers_of.insert(job.spec.id, no);
        self.entries.entry(no).or_insert(Entry {
            no,
            job,
            node,
            parent_no,
            trimmed,
            input: None,
            output: None,
            fresh: false,
            changed: false,
            output_is_new: false,
            was: Some(phase),
            phase: Some(phase),
            ended_attempt: None,
        });
        no
    }

    /// Takes in a job that is not stored yet.
    pub(super) fn take_fresh(&mut self, job: Job, input: Payload) {
        // As many numbers were asked for as there are jobs.
        let Some(no) = self.found.numbers.pop() else { return };
        self.writes.events.push((no, job.first_event()));
        let parent_no = job.spec.parent.and_then(|parent| self.numbers_of.get(&parent).copied());
        self.numbers_of.insert(job.spec.id, no);
        let entry = Entry {
            no,
            job,
            node: None,
            parent_no,
            trimmed: false,
            input: Some(input),
            output: None,
            fresh: true,
            changed: true,
            output_is_new: false,
            was: None,
            phase: None,
            ended_attempt: None,
        };
        self.entries.insert(no, entry);
        self.place(no);
    }

    /// Whether there is a job of this id, stored or in this batch.
    pub(super) fn has(&self, tenant: &Tenant, id: JobId) -> bool {
        self.numbers_of.contains_key(&id) || self.found.ids.contains(&(tenant.clone(), id))
    }

    /// The number of a job that an operation needed.
    pub(super) fn find(&self, tenant: &Tenant, id: JobId) -> Result<i64, StoreError> {
        let entry = self.numbers_of.get(&id).and_then(|no| self.entries.get(no));
        if let Some(entry) = entry.filter(|entry| entry.job.spec.tenant == *tenant) {
            return Ok(entry.no);
        }
        Err(match self.found.tombstones.get(&(tenant.clone(), id)) {
            Some(tombstone) => StoreError::Gone(Box::new(tombstone.clone())),
            None => StoreError::NotFound("job"),
        })
    }

    pub(super) fn entry(&self, no: i64) -> Result<&Entry, StoreError> {
        self.entries.get(&no).ok_or_else(not_here)
    }

    pub(super) fn entry_mut(&mut self, no: i64) -> Result<&mut Entry, StoreError> {
        self.entries.get_mut(&no).ok_or_else(not_here)
    }

    /// Takes a step on a job and records all that follows from it, also for those above it, which are in the batch with it.
    pub(super) fn apply(&mut self, no: i64, step: Step) -> Result<Applied, StoreError> {
        let (now, is_cancel) = (self.now, matches!(step, Step::Cancel));
        let entry = self.entries.get_mut(&no).ok_or_else(not_here)?;
        let mut applied = entry.job.step(step, now)?;
        if applied.repeated {
            return Ok(applied);
        }
        entry.changed = true;
        entry.ended_attempt = EndedAttempt::by(&applied, &entry.job).or(entry.ended_attempt.take());
        if entry.job.lease().is_none_or(|lease| !lease.in_process) {
            entry.node = None;
        }
        let first = entry.job.last_seq + 1 - applied.events.len() as u64;
        for (kind, seq) in applied.events.drain(..).zip(first..) {
            self.writes.events.push((no, Event { seq, time: now, attempt: entry.job.attempt, kind }));
        }
        if let Some(attempt) = applied.attempt.take() {
            self.writes.attempts.push((no, attempt));
        }
        self.place(no);
        self.tell_family(no, &applied, is_cancel)?;
        Ok(applied)
    }

    /// Tells whom it concerns what a step has done to a job: its parent of its end, its children of its giving up.
    fn tell_family(&mut self, no: i64, applied: &Applied, is_cancel: bool) -> Result<(), StoreError> {
        let entry = self.entry(no)?;
        let has_ended = applied.ended.is_some();
        let gives_up = (has_ended || is_cancel) && entry.job.abandons_children();
        let above = entry.parent_no.filter(|parent| has_ended && self.entries.contains_key(parent));
        let end = above.zip(entry.job.child_end());
        if gives_up {
            self.abandoned.insert(no);
        }
        if let Some((parent, end)) = end {
            self.apply(parent, end)?;
        }
        Ok(())
    }

    /// Counts a job where its state says that it counts.
    pub(super) fn place(&mut self, no: i64) {
        let Some(entry) = self.entries.get_mut(&no) else { return };
        let mut to = Phase::of(&entry.job, self.now);
        if to == Phase::Ready && entry.job.spec.limit_key.is_some() && entry.phase != Some(Phase::Ready) {
            let stays = entry.phase == Some(Phase::Blocked);
            if stays || !self.gates.admits(&entry.job.spec, self.now) {
                to = Phase::Blocked;
            }
        }
        let from = entry.phase.replace(to);
        if from == Some(to) {
            return;
        }
        entry.changed = true;
        self.gates.moves(&entry.job.spec, from, to);
        let tally = self.writes.counts.entry(entry.job.spec.queue.clone()).or_default();
        if let Some(from) = from {
            tally.add(from, -1);
        }
        tally.add(to, 1);
    }

    /// Moves a ready job among the blocked ones, or the other way.
    pub(super) fn block(&mut self, no: i64, is_blocked: bool) -> Result<(), StoreError> {
        let (from, to) = if is_blocked { (Phase::Ready, Phase::Blocked) } else { (Phase::Blocked, Phase::Ready) };
        let entry = self.entries.get_mut(&no).ok_or_else(not_here)?;
        if entry.phase == Some(from) {
            entry.phase = Some(to);
            entry.changed = true;
            self.gates.moves(&entry.job.spec, Some(from), to);
        }
        Ok(())
    }

    /// How a queue stands, counted with what this batch has changed so far.
    pub(super) fn tally(&self, queue: &QueueName) -> Tally {
        let stored = self.found.tallies.get(queue).copied().unwrap_or_default();
        let more = self.writes.counts.get(queue).copied().unwrap_or_default();
        Tally {
            queued: stored.queued + more.queued,
            running: stored.running + more.running,
            waiting: stored.waiting + more.waiting,
        }
    }

    pub(super) fn is_paused(&self, queue: &QueueName) -> bool {
        let in_batch = self.writes.pauses.iter().rev().find(|(name, _)| name == queue).map(|(_, paused)| *paused);
        in_batch.or_else(|| self.found.paused.get(queue).copied()).unwrap_or_default()
    }

    /// Jobs that this batch has made ready, or left so.
    pub(super) fn ready(&self) -> impl Iterator<Item = (LaneKey, i64, i64)> {
        self.entries
            .values()
            .filter(|entry| entry.phase == Some(Phase::Ready))
            .map(|entry| (LaneKey::of(&entry.job.spec), rows::score(&entry.job), entry.no))
    }

    pub(super) fn is_empty(&self) -> bool {
        let writes = &self.writes;
        self.entries.values().all(|entry| !entry.changed)
            && writes.events.is_empty()
            && writes.attempts.is_empty()
            && writes.steps.is_empty()
            && writes.answers.is_empty()
            && writes.idempotency.is_empty()
            && writes.timers.is_empty()
            && writes.trims.is_empty()
            && writes.erasures.is_empty()
            && writes.pauses.is_empty()
            && writes.kinds.is_empty()
            && writes.keys.is_empty()
            && writes.documents.is_empty()
            && writes.forget.is_none()
            && writes.dead_nodes.is_empty()
            && writes.abandoned_done.is_empty()
            && writes.abandoned_left.is_empty()
            && writes.claimants.is_empty()
            && !self.gates.is_changed()
    }

    /// Whether other servers keep something that it changes.
    pub(super) fn changes_what_is_kept(&self) -> bool {
        !self.writes.kinds.is_empty() || !self.writes.keys.is_empty()
    }

    /// What to tell of it once it is committed, and whether somebody may find something to claim who did not before.
    pub(super) fn changes(&self, observer: &dyn Observer) -> (Vec<Change>, bool) {
        let erased: HashSet<i64> = self.writes.erasures.iter().map(|erasure| erasure.no).collect();
        let mut changed: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.changed && !erased.contains(&entry.no)).collect();
        changed.sort_unstable_by_key(|entry| entry.no);
        let is_limited = |queue: &QueueName| self.limits.get(queue).copied().flatten().is_some();
        let is_ready = changed.iter().any(|entry| entry.phase == Some(Phase::Ready))
            || self.writes.pauses.iter().any(|(_, paused)| !paused)
            // Nobody who waits for a place of the kind knows of it otherwise.
            || changed.iter().any(|entry| {
                entry.was == Some(Phase::Running)
                    && entry.phase != Some(Phase::Running)
                    && self.gates.rules.limits(&entry.job.spec.kind)
            })
            || self.writes.counts.iter().any(|(queue, tally)| tally.running < 0 && is_limited(queue));
        let wanted = changed.iter().filter(|entry| observer.wants(entry.job.spec.id));
        let mut told: NumberMap<i64, Vec<Event>> = wanted.map(|entry| (entry.no, Vec::new())).collect();
        if !told.is_empty() {
            for (no, event) in &self.writes.events {
                told.entry(*no).and_modify(|events| events.push(event.clone()));
            }
        }
        let changes = changed.into_iter().map(|entry| Change {
            tenant: entry.job.spec.tenant.clone(),
            job: entry.job.spec.id,
            queue: entry.job.spec.queue.clone(),
            kind: Some(entry.job.spec.kind.clone()),
            status: entry.job.status(),
            version: entry.job.version,
            fresh: entry.fresh,
            at: self.now,
            ended: EndFigures::of(&entry.job).filter(|figures| figures.finished_at >= self.now),
            attempt: entry.ended_attempt.clone(),
            trace: entry.job.spec.trace,
            view: None,
            cancelling: entry.job.lease().is_some() && entry.job.cancel_requested_at.is_some(),
            events: told.remove(&entry.no).map(Into::into),
        });
        (changes.collect(), is_ready)
    }
}

fn not_here() -> StoreError {
    StoreError::Corrupt("a job that is not in the batch was to be changed".into())
}

impl Tally {
    fn add(&mut self, phase: Phase, jobs: i64) {
        match phase {
            Phase::Blocked | Phase::Ready | Phase::Deferred => self.queued += jobs,
            Phase::Running => self.running += jobs,
            Phase::Waiting => self.waiting += jobs,
            Phase::Succeeded | Phase::Failed | Phase::Cancelled => {}
        }
    }
}

impl Entry {
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        matches!(self.job.state, State::Queued { .. }) && self.job.is_due(now)
    }

    pub(super) fn status(&self) -> Status {
        self.job.status()
    }
}
