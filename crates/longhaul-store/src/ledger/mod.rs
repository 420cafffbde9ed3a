//! The ledger: one writer that takes all changes, a batch at a time, and commits each batch once.
//!
//! Callers hand in operations; a single thread collects what has gathered while the last batch was being synced, runs
//! them over rows in memory, writes all touched rows in one transaction, syncs, and only then answers. This is group
//! commit: with many callers the cost of a sync is shared by the batch, and a job that is submitted, claimed and
//! cancelled within a batch is written once, in its last state.
//!
//! Claims may wait *in* the ledger. A job that is submitted while a claim waits is leased in the very batch that takes
//! it in: one row written, one commit, no second trip.
//!
//! What stands in memory is a copy, bounded, and never needed: the rows of running jobs, a window onto the head of every
//! lane, and counts. When a write fails, all of it is thrown away and read again ([`Ledger::reload`]).
//!
//! - [`Backing`] says what a ledger needs of the disk (or of memory).
//! - [`writer`] is the thread, its mailbox, and waiting claims; [`grant`] what is on its way to those.
//! - [`gates`] hold back what limits of kinds leave no room for.
//! - [`queues`] counts. [`lanes`] is the window; [`kept`] what will be claimed next; [`recent`] the ended jobs that somebody will ask for.

mod backing;
mod claims;
mod explain;
mod family;
mod gates;
mod grant;
mod hash;
mod kept;
mod lanes;
mod operations;
mod queues;
mod recent;
mod store;
mod stream;
mod sweep;
mod turns;
mod writer;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use longhaul_core::{
    Applied, Clock, Event, IdSource, Job, JobId, LeaseToken, Payload, QueueName, Span, State, Status, Step, Tenant,
    Timestamp,
};

pub(crate) use backing::{
    AnswerWrite, Backing, DocumentWrite, Erasure, ExpiryBlock, Forget, Head, KeptKey, PaceWrite, Phase, QueueCount,
    Reads, Start, Stored, WriteSet, terminal_number,
};
#[cfg(feature = "postgres")]
pub(crate) use queues::KEPT_LEAST as QUEUES_KEPT_LEAST;
pub(crate) use store::{LedgerStore, Retention};
pub(crate) use stream::partial_of;
pub(crate) use turns::Turns;

use crate::{BatchFigures, Change, EndFigures, EndedAttempt, JobView, Observer, StoreError};
use explain::Seen;
use gates::Gates;
pub(crate) use hash::NumberMap;
use kept::Kept;
pub(crate) use lanes::LaneKey;
use lanes::Lanes;
use queues::Queues;
use recent::Recent;

/// How long the lease of a worker elsewhere holds at least after a start, and every lease after a while in which nothing
/// could be written.
const AFTER_RESTART: Span = Span::from_secs(30);

/// When nothing could be written for so long, signs of life may have been missed.
const MISSED: Span = Span::from_secs(1);

/// Inputs up to this size stay in memory while their job runs, so that an ended job can be shown without reading.
const INPUT_KEPT: u64 = 8 * 1024;

/// Where a store gets time and randomness from.
#[derive(Debug, Clone)]
pub struct StoreClock {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Lease tokens and the places of waits within their backoff.
    pub ids: Arc<dyn IdSource>,
}

/// A job that the current batch works on.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) no: i64,
    pub(crate) job: Job,
    pub(crate) input: Option<Payload>,
    pub(crate) output: Option<Payload>,
    /// Not yet stored: row and input are to be inserted.
    pub(crate) fresh: bool,
    /// The row is to be written.
    pub(crate) changed: bool,
    /// The output is to be inserted.
    pub(crate) output_is_new: bool,
    /// Where the ledger counts it at present; none before it is counted at all. What is stored as deferred counts so
    /// until a sweep has made it ready, whatever the time.
    pub(crate) phase: Option<Phase>,
    /// The attempt that the batch has ended.
    pub(crate) ended_attempt: Option<EndedAttempt>,
}

/// The state behind the writer thread.
pub(crate) struct Ledger<B: Backing> {
    backing: B,
    time: StoreClock,
    now: Timestamp,
    next_no: i64,
    lanes: Lanes,
    queues: Queues,
    kept: Kept,
    /// No job of a greater id has been committed, unless a clock was set back.
    newest: JobId,
    /// The same of the batch at hand.
    newest_in_batch: JobId,
    running: NumberMap<i64, Touched>,
    running_ids: NumberMap<JobId, i64>,
    touched: NumberMap<i64, Touched>,
    touched_ids: NumberMap<JobId, i64>,
    writes: WriteSet,
    /// Nothing deferred falls due before this.
    next_due: Timestamp,
    /// No queued job's deadline passes before this.
    next_deadline: Timestamp,
    /// When tombstones and idempotency keys are looked through next.
    next_forget: Timestamp,
    /// When all gates are looked at next.
    next_review: Timestamp,
    /// Jobs whose live children are still to be cancelled. Not stored: it follows from what is.
    abandoned: BTreeMap<JobId, Tenant>,
    /// Who has claimed lately, and what.
    seen: Seen,
    /// Limits of kinds.
    gates: Gates,
    weights: HashMap<Tenant, u32>,
    /// Which queue's turn it is.
    turns: Turns<QueueName>,
    /// How long deltas are kept after the end.
    deltas_for: Span,
    /// Since when nothing could be written; none: the last batch was.
    unwritable_since: Option<Timestamp>,
    /// When something could be written again.
    writable_since: Timestamp,
    recent: Arc<Recent>,
}

impl<B: Backing> Ledger<B> {
    pub(crate) fn open(
        backing: B,
        time: StoreClock,
        recent: Arc<Recent>,
        deltas_for: Span,
    ) -> Result<Self, StoreError> {
        let now = time.clock.now();
        let mut ledger = Self {
            backing,
            time,
            now,
            next_no: 1,
            lanes: Lanes::default(),
            queues: Queues::default(),
            kept: Kept::default(),
            newest: JobId::floor(now + Span::from_millis(1)),
            newest_in_batch: JobId::floor(now),
            running: NumberMap::default(),
            running_ids: NumberMap::default(),
            touched: NumberMap::default(),
            touched_ids: NumberMap::default(),
            writes: WriteSet::default(),
            next_due: Timestamp::EPOCH,
            next_deadline: Timestamp::EPOCH,
            next_forget: Timestamp::EPOCH,
            next_review: Timestamp::EPOCH,
            abandoned: BTreeMap::new(),
            seen: Seen::default(),
            gates: Gates::default(),
            weights: HashMap::new(),
            turns: Turns::default(),
            deltas_for,
            unwritable_since: None,
            writable_since: Timestamp::EPOCH,
            recent,
        };
        ledger.reload()?;
        Ok(ledger)
    }

    /// Forgets all that is in memory and reads it again.
    fn reload(&mut self) -> Result<(), StoreError> {
        self.touched.clear();
        self.touched_ids.clear();
        self.writes = WriteSet::default();
        self.kept.clear();
        let start = self.backing.start();
        self.backing.done();
        let Start { next_no, running, lanes, counts, paused, limits, abandoned } = start?;
        self.abandoned = abandoned.into_iter().collect();
        self.next_no = next_no;
        self.lanes = Lanes::of(lanes);
        self.queues.start_anew();
        for QueueCount { queue, queued, waiting } in counts {
            let tally = self.queues.of(&queue);
            (tally.queued, tally.waiting) = (queued, waiting);
        }
        for queue in paused {
            self.queues.of(&queue).paused = true;
        }
        self.running.clear();
        self.running_ids.clear();
        for stored in running {
            self.queues.of(&stored.job.spec.queue).running += 1;
            self.running_ids.insert(stored.job.spec.id, stored.no);
            self.running.insert(stored.no, Touched::stored(stored));
        }
        self.reset_gates(limits)?;
        self.backing.done();
        // Whatever is due is found by the first sweep.
        self.next_due = Timestamp::EPOCH;
        self.next_deadline = Timestamp::EPOCH;
        Ok(())
    }

    /// Ends the leases that this process's predecessor held: it is dead, and they with it. Those of workers elsewhere run
    /// on, and long enough for a sign of life: while there was nobody to hear one, they could not give any.
    pub(crate) fn end_leases_of_the_dead(&mut self) -> Result<(), StoreError> {
        let mut orphans: Vec<i64> = (self.running.values())
            .filter(|entry| entry.job.lease().is_some_and(|lease| lease.in_process))
            .map(|entry| entry.no)
            .collect();
        orphans.sort_unstable();
        let heard_by = self.now + AFTER_RESTART;
        let mut elsewhere: Vec<(i64, LeaseToken)> = (self.running.values())
            .filter_map(|entry| Some((entry.no, entry.job.lease()?)))
            .filter(|(_, lease)| !lease.in_process && lease.expires_at < heard_by)
            .map(|(no, lease)| (no, lease.token))
            .collect();
        elsewhere.sort_unstable_by_key(|(no, _)| *no);
        for (no, token) in elsewhere {
            self.touch_running(no);
            self.apply(no, Step::Beat { token, lease_for: AFTER_RESTART, progress: None })?;
        }
        for no in orphans {
            self.touch_running(no);
            if let Some(entry) = self.touched.get_mut(&no)
                && let State::Running { lease, .. } = &mut entry.job.state
            {
                lease.expires_at = lease.expires_at.min(self.now);
            }
            self.apply(no, Step::Expire)?;
        }
        Ok(())
    }

    // ── finding a job ──

    /// Brings the job into the batch and returns its number.
    fn touch(&mut self, tenant: &Tenant, id: JobId) -> Result<i64, StoreError> {
        if let Some(no) = self.touched_ids.get(&id).copied() {
            let same_tenant = self.touched.get(&no).is_some_and(|entry| entry.job.spec.tenant == *tenant);
            return if same_tenant { Ok(no) } else { Err(StoreError::NotFound("job")) };
        }
        if let Some(no) = self.running_ids.get(&id).copied() {
            let same_tenant = self.running.get(&no).is_some_and(|entry| entry.job.spec.tenant == *tenant);
            if !same_tenant {
                return Err(StoreError::NotFound("job"));
            }
            self.touch_running(no);
            return Ok(no);
        }
        match self.backing.load(tenant, id)? {
            Some(stored) => Ok(self.touch_stored(stored)),
            None => match self.backing.tombstone(tenant, id)? {
                Some(tombstone) => Err(StoreError::Gone(Box::new(tombstone))),
                None => Err(StoreError::NotFound("job")),
            },
        }
    }

    fn touch_running(&mut self, no: i64) {
        if let Some(entry) = self.running.remove(&no) {
            self.running_ids.remove(&entry.job.spec.id);
            self.touched_ids.insert(entry.job.spec.id, no);
            self.touched.insert(no, entry);
        }
    }

    /// Brings a ready job into the batch.
    fn touch_ready(&mut self, no: i64) -> Result<(), StoreError> {
        if self.touched.contains_key(&no) {
            return Ok(());
        }
        if let Some(entry) = self.kept.take(no) {
            self.touched_ids.insert(entry.job.spec.id, no);
            self.touched.insert(no, entry);
            return Ok(());
        }
        match self.backing.load_no(no)? {
            Some(stored) => self.touch_stored(stored),
            None => return Err(StoreError::Corrupt(format!("ready job {no} has no row"))),
        };
        Ok(())
    }

    /// Brings a row that was just read into the batch, unless the batch knows better already.
    fn touch_stored(&mut self, stored: Stored) -> i64 {
        let no = stored.no;
        self.kept.take(no);
        if self.running.contains_key(&no) {
            self.touch_running(no);
        }
        if !self.touched.contains_key(&no) {
            self.touched_ids.insert(stored.job.spec.id, no);
            self.touched.insert(no, Touched::stored(stored));
        }
        no
    }

    // ── changing a job ──

    /// Takes a step on a touched job and records all that follows from it.
    fn apply(&mut self, no: i64, step: Step) -> Result<Applied, StoreError> {
        let now = self.now;
        let (may_end, is_cancel) = (family::may_end(&step), matches!(step, Step::Cancel));
        if may_end {
            // Read before anything is changed: whoever has to hear of an end is in the batch.
            self.touch_ancestors(no)?;
        }
        let Some(entry) = self.touched.get_mut(&no) else {
            return Err(StoreError::Corrupt("a job that is not in the batch was to be changed".into()));
        };
        let mut applied = entry.job.step(step, now)?;
        if applied.repeated {
            return Ok(applied);
        }
        entry.changed = true;
        entry.ended_attempt = EndedAttempt::by(&applied, &entry.job).or(entry.ended_attempt.take());
        let first = entry.job.last_seq + 1 - applied.events.len() as u64;
        for (kind, seq) in applied.events.drain(..).zip(first..) {
            self.writes.events.push((no, Event { seq, time: now, attempt: entry.job.attempt, kind }));
        }
        if let Some(attempt) = applied.attempt.take() {
            self.writes.attempts.push((no, attempt));
        }
        if let (Some(_), Some(expires_at)) = (applied.ended, entry.job.expires_at()) {
            self.writes.ended.push((expires_at, no));
            if entry.job.last_delta_seq > 0 && now + self.deltas_for < expires_at {
                self.writes.deltas_ended.push((now + self.deltas_for, no));
            }
        }
        self.place(no);
        if may_end {
            self.tell_family(no, &applied, is_cancel)?;
        }
        Ok(applied)
    }

    /// Moves a touched job to where its state says that it counts.
    fn place(&mut self, no: i64) {
        let Some(entry) = self.touched.get_mut(&no) else { return };
        let to = entry.stands(&mut self.gates, &mut self.backing, self.now);
        let from = entry.phase.replace(to);
        if from == Some(to) {
            return;
        }
        self.gates.moves(&entry.job.spec, from, to);
        let spec = &entry.job.spec;
        let head = entry.head();
        // The names are cloned only where a lane or a queue is new.
        match self.queues.get_mut(&spec.queue) {
            Some(tally) => tally.moves(from, to),
            None => self.queues.of(&spec.queue).moves(from, to),
        }
        if from == Some(Phase::Ready) {
            self.lanes.remove(&LaneKey::of(spec), head);
        }
        if to == Phase::Ready {
            self.lanes.insert(LaneKey::of(spec), head);
        }
        if to == Phase::Deferred
            && let State::Queued { due_at, .. } = entry.job.state
        {
            self.next_due = self.next_due.min(due_at);
        }
        if matches!(to, Phase::Blocked | Phase::Ready | Phase::Deferred | Phase::Waiting)
            && let Some(deadline) = spec.deadline_at
        {
            self.next_deadline = self.next_deadline.min(deadline);
        }
    }

    // ── the batch ──

    pub(crate) fn begin(&mut self) {
        self.now = self.time.clock.now();
        self.gates.begin(self.now);
    }

    /// Commits the batch; afterwards everything that was answered `Ok` is durable.
    pub(crate) fn commit(&mut self, observer: &dyn Observer) -> Result<Vec<Change>, StoreError> {
        self.writes.paces = self.gates.paces(self.now);
        let has_rows = self.touched.values().any(|entry| entry.changed || entry.fresh);
        if has_rows || !self.writes.is_empty() {
            let begun = self.time.clock.now();
            let written = self.backing.write(&self.touched, &self.writes);
            let ended = self.time.clock.now();
            observer.wrote(BatchFigures {
                jobs: self.touched.len(),
                took: ended.since(begun),
                is_committed: written.is_ok(),
            });
            if let Err(error) = written {
                tracing::error!(%error, "a batch could not be written");
                self.unwritable_since.get_or_insert(begun);
                return Err(match self.reload() {
                    Ok(()) => error,
                    Err(again) => StoreError::Unavailable(format!("{error}; then it could not be read again: {again}")),
                });
            }
            // Failed writes, or one that took long: signs of life wait behind it.
            if self.unwritable_since.take().unwrap_or(begun) + MISSED <= ended {
                self.writable_since = ended;
            }
            let mut told = self.told(observer);
            let erased: HashSet<i64> = self.writes.erasures.iter().map(|erasure| erasure.no).collect();
            for erasure in &self.writes.erasures {
                self.recent.remove(&erasure.tombstone.job);
            }
            self.writes.clear();
            self.gates.tidy();
            self.newest = self.newest.max(self.newest_in_batch);
            Ok(self.settle(&erased, &mut told))
        } else {
            self.backing.done();
            Ok(self.settle(&HashSet::new(), &mut NumberMap::default()))
        }
    }

    /// The events of the batch, by job, of those jobs that somebody follows.
    fn told(&self, observer: &dyn Observer) -> NumberMap<i64, Vec<Event>> {
        let changed = self.touched.values().filter(|entry| entry.changed);
        let wanted = changed.filter(|entry| observer.wants(entry.job.spec.id));
        let mut told: NumberMap<i64, Vec<Event>> = wanted.map(|entry| (entry.no, Vec::new())).collect();
        if !told.is_empty() {
            for (no, event) in &self.writes.events {
                if let Some(events) = told.get_mut(no) {
                    events.push(event.clone());
                }
            }
        }
        told
    }

    /// Gives every touched job back to where it belongs between batches, and tells what has changed.
    fn settle(&mut self, erased: &HashSet<i64>, told: &mut NumberMap<i64, Vec<Event>>) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.touched.len());
        self.touched_ids.clear();
        for (no, mut entry) in self.touched.drain() {
            if erased.contains(&no) {
                continue;
            }
            let changed = std::mem::take(&mut entry.changed);
            let fresh = std::mem::take(&mut entry.fresh);
            let mut change = changed.then(|| Change {
                tenant: entry.job.spec.tenant.clone(),
                job: entry.job.spec.id,
                queue: entry.job.spec.queue.clone(),
                kind: Some(entry.job.spec.kind.clone()),
                status: entry.job.status(),
                version: entry.job.version,
                fresh,
                at: self.now,
                ended: EndFigures::of(&entry.job).filter(|figures| figures.finished_at >= self.now),
                attempt: entry.ended_attempt.take(),
                trace: entry.job.spec.trace,
                view: None,
                cancelling: entry.job.lease().is_some() && entry.job.cancel_requested_at.is_some(),
                events: told.remove(&no).map(Into::into),
            });
            if entry.job.lease().is_some() {
                if entry.input.as_ref().is_some_and(|input| input.size() > INPUT_KEPT) {
                    entry.input = None;
                }
                self.running_ids.insert(entry.job.spec.id, no);
                self.running.insert(no, entry);
            } else if fresh && entry.phase == Some(Phase::Ready) {
                let small = entry.input.as_ref().is_some_and(|input| input.size() <= INPUT_KEPT);
                if small && self.lanes.shows(&entry.job.spec, entry.head()) {
                    self.kept.put(entry);
                }
            } else if let Some(change) = &mut change
                && change.status.is_terminal()
                && let Some(input) = entry.input
                && (change.status != Status::Succeeded || entry.output_is_new)
            {
                let view = Arc::new(JobView { job: entry.job, input, output: entry.output });
                self.recent.put(view.clone());
                change.view = Some(view);
            } else if changed && entry.job.children.total > 0 {
                // A child has ended after its parent: what is shown of the parent is read anew.
                self.recent.remove(&entry.job.spec.id);
            }
            changes.extend(change);
        }
        changes
    }
}

impl Touched {
    /// Its place in its lane.
    pub(crate) fn head(&self) -> Head {
        Head { rank: self.job.spec.rank(), no: self.no }
    }

    fn stored(Stored { no, phase, job }: Stored) -> Self {
        Self {
            no,
            job,
            input: None,
            output: None,
            fresh: false,
            changed: false,
            output_is_new: false,
            phase: Some(phase),
            ended_attempt: None,
        }
    }
}
