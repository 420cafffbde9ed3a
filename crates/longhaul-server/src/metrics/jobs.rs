//! Jobs by kind, attempts by how they ended, and commits: counted from what the store tells of its commits.
//!
//! Only this process's own commits are counted: of several servers that share a database each counts its own, and their
//! sum is the installation's.

use std::array;

use longhaul_core::{Ending, Status};
use longhaul_engine::store::{BatchFigures, Change, EndFigures};

use super::{
    instruments::{Counter, Edges, Histogram},
    named::Named,
    text::{Kind, Page},
};

/// Kinds and queues that clients have made up and that have a label of their own: a prudent installation has dozens.
const NAMES_MOST: usize = 100;

static JOB: Edges = Edges::JOB;
static COMMIT: Edges = Edges::COMMIT;

const ENDS: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Cancelled];

const ENDINGS: [Ending; 8] = [
    Ending::Succeeded,
    Ending::Failed,
    Ending::Crashed,
    Ending::Released,
    Ending::Parked,
    Ending::Cancelled,
    Ending::DeadlineExceeded,
    Ending::Waiting,
];

/// The counters of one kind.
#[derive(Debug)]
struct OfKind {
    submitted: Counter,
    /// In the order of [`ENDS`].
    ended: [Counter; ENDS.len()],
    degraded: Counter,
    cached: Counter,
    crash_loops: Counter,
    /// In the order of [`ENDINGS`].
    attempts: [Counter; ENDINGS.len()],
    queued: Histogram,
    ran: Histogram,
}

impl Default for OfKind {
    fn default() -> Self {
        Self {
            submitted: Counter::default(),
            ended: array::from_fn(|_| Counter::default()),
            degraded: Counter::default(),
            cached: Counter::default(),
            crash_loops: Counter::default(),
            attempts: array::from_fn(|_| Counter::default()),
            queued: Histogram::new(&JOB),
            ran: Histogram::new(&JOB),
        }
    }
}

/// The counters of one queue.
#[derive(Debug, Default)]
pub(super) struct OfQueue {
    submitted: Counter,
    attempts: Counter,
}

/// All jobs and commits.
#[derive(Debug)]
pub(super) struct Jobs {
    kinds: Named<OfKind>,
    queues: Named<OfQueue>,
    commits: Histogram,
    commits_failed: Counter,
    rows: Counter,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            kinds: Named::at_most(NAMES_MOST),
            queues: Named::at_most(NAMES_MOST),
            commits: Histogram::new(&COMMIT),
            commits_failed: Counter::default(),
            rows: Counter::default(),
        }
    }
}

impl Jobs {
    /// See [`super::Telemetry::reserve`].
    pub(super) fn reserve<'a>(
        &self,
        queues: impl IntoIterator<Item = &'a str>,
        kinds: impl IntoIterator<Item = &'a str>,
    ) {
        queues.into_iter().for_each(|name| self.queues.reserve(name));
        kinds.into_iter().for_each(|name| self.kinds.reserve(name));
    }

    /// The queues that have names of their own.
    pub(super) fn queues(&self) -> &Named<OfQueue> {
        &self.queues
    }

    pub(super) fn wrote(&self, batch: BatchFigures) {
        if batch.is_committed {
            self.commits.record(batch.took.as_micros());
            self.rows.add(batch.jobs as u64);
        } else {
            self.commits_failed.add(1);
        }
    }

    pub(super) fn committed(&self, changes: &[Change]) {
        // The changes of a commit come in runs of one kind and queue: names are looked up once a run.
        for run in changes.chunk_by(|one, next| one.kind == next.kind && one.queue == next.queue) {
            let counts = |change: &&Change| change.fresh || change.ended.is_some() || change.attempt.is_some();
            let Some(first) = run.iter().find(counts) else { continue };
            let Some(kind) = &first.kind else { continue };
            let (kind, queue) = (self.kinds.of(kind), self.queues.of(&first.queue));
            for change in run {
                kind.count(change);
                queue.submitted.add(u64::from(change.fresh));
                queue.attempts.add(u64::from(change.attempt.is_some()));
            }
        }
    }

    pub(super) fn tell(&self, page: &mut Page) {
        let kinds = self.kinds.all();
        let mut family = page.family(Kind::Counter, "longhaul_jobs_submitted_total", "Jobs taken in, by kind.");
        for (name, kind) in &kinds {
            family.count(&[("kind", name)], kind.submitted.get());
        }
        let mut family = page.family(Kind::Counter, "longhaul_jobs_ended_total", "Jobs that ended, by kind and how.");
        for (name, kind) in &kinds {
            for (status, count) in ENDS.iter().zip(&kind.ended) {
                family.count(&[("kind", name), ("status", status.as_str())], count.get());
            }
        }
        let help = "Jobs that succeeded, though not by their first choice.";
        let mut family = page.family(Kind::Counter, "longhaul_jobs_degraded_total", help);
        for (name, kind) in &kinds {
            family.count(&[("kind", name)], kind.degraded.get());
        }
        let help = "Jobs that succeeded out of a cache.";
        let mut family = page.family(Kind::Counter, "longhaul_jobs_cached_total", help);
        for (name, kind) in &kinds {
            family.count(&[("kind", name)], kind.cached.get());
        }
        let help = "Attempts that ended, by kind and how. `crashed`: the lease ran out, nobody had said a word.";
        let mut family = page.family(Kind::Counter, "longhaul_job_attempts_ended_total", help);
        for (name, kind) in &kinds {
            for (ending, count) in ENDINGS.iter().zip(&kind.attempts) {
                family.count(&[("kind", name), ("ending", ending.as_str())], count.get());
            }
        }
        let help = "Jobs given up because their workers stopped responding again and again.";
        let mut family = page.family(Kind::Counter, "longhaul_job_crash_loops_total", help);
        for (name, kind) in &kinds {
            family.count(&[("kind", name)], kind.crash_loops.get());
        }
        let help = "From a job's submit to its first attempt, of jobs that ended.";
        let mut family = page.family(Kind::Histogram, "longhaul_job_queued_seconds", help);
        for (name, kind) in &kinds {
            family.histogram(&[("kind", name)], &kind.queued.take());
        }
        let help = "From a job's first attempt to its end.";
        let mut family = page.family(Kind::Histogram, "longhaul_job_run_seconds", help);
        for (name, kind) in &kinds {
            family.histogram(&[("kind", name)], &kind.ran.take());
        }
        self.tell_queues(page);
        let help = "How long commits of the store took, on a disk's word that they last.";
        page.family(Kind::Histogram, "longhaul_store_commit_seconds", help).histogram(&[], &self.commits.take());
        let help = "Commits that failed: a full disk, a database that is away.";
        page.counter("longhaul_store_commits_failed_total", help, self.commits_failed.get());
        page.counter("longhaul_store_rows_written_total", "Changes of jobs in commits.", self.rows.get());
    }

    fn tell_queues(&self, page: &mut Page) {
        let queues = self.queues.all();
        let mut family = page.family(Kind::Counter, "longhaul_queue_submitted_total", "Jobs taken in, by queue.");
        for (name, queue) in &queues {
            family.count(&[("queue", name)], queue.submitted.get());
        }
        let help = "Attempts that ended, by queue.";
        let mut family = page.family(Kind::Counter, "longhaul_queue_attempts_ended_total", help);
        for (name, queue) in &queues {
            family.count(&[("queue", name)], queue.attempts.get());
        }
    }
}

impl OfKind {
    fn count(&self, change: &Change) {
        self.submitted.add(u64::from(change.fresh));
        if let Some(attempt) = &change.attempt {
            let place = ENDINGS.iter().position(|ending| *ending == attempt.ending);
            place.and_then(|place| self.attempts.get(place)).map(|count| count.add(1)).unwrap_or_default();
            if attempt.ending == Ending::Crashed && change.status == Status::Failed {
                self.crash_loops.add(1);
            }
        }
        if let Some(ended) = &change.ended {
            self.count_end(change.status, ended);
        }
    }

    fn count_end(&self, status: Status, job: &EndFigures) {
        let place = ENDS.iter().position(|end| *end == status);
        place.and_then(|place| self.ended.get(place)).map(|count| count.add(1)).unwrap_or_default();
        self.degraded.add(u64::from(job.degraded));
        self.cached.add(u64::from(job.cached));
        if let Some(started_at) = job.started_at {
            self.queued.record(started_at.since(job.ready_at).as_micros());
            self.ran.record(job.finished_at.since(started_at).as_micros());
        }
    }
}
