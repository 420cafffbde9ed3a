//! The model: a list of jobs, looked through from one end to the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use longhaul_core::{
    Attempt, CANCEL_GRACE, EventKind, Job, JobId, JobSpec, OutputData, Payload, QueueName, Refused, Span, State,
    Status, Step, Tenant, Timestamp,
};

use crate::{Claim, StoredStep};

pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) output: Option<Payload>,
    pub(super) events: Vec<EventKind>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) steps: Vec<StoredStep>,
    kept: VecDeque<Payload>,
}

impl Entry {
    pub(super) fn new(spec: JobSpec, children: u32) -> Self {
        let job = Job::submitted_with(spec.into(), children);
        let events = vec![job.first_event().kind];
        Self { job, output: None, events, attempts: Vec::new(), steps: Vec::new(), kept: VecDeque::new() }
    }

    /// The text that it has given out and that stands.
    pub(super) fn text(&self) -> Option<String> {
        let mut pieces: Vec<(u64, &str)> = Vec::new();
        for (event, seq) in self.events.iter().zip(1..) {
            match event {
                EventKind::OutputDelta { data: OutputData::Text(text) } => pieces.push((seq, text)),
                EventKind::OutputReset { keep_through } => pieces.retain(|(seq, _)| seq <= keep_through),
                _ => {}
            }
        }
        let text: String = pieces.iter().map(|(_, text)| *text).collect();
        (!pieces.is_empty()).then_some(text)
    }
}

#[derive(Default)]
pub(super) struct Model {
    /// In the order of their submits.
    pub(super) jobs: Vec<Entry>,
    pub(super) gone: HashMap<JobId, (Tenant, Status)>,
    pub(super) paused: BTreeMap<QueueName, bool>,
    pub(super) limits: BTreeMap<QueueName, u32>,
    abandoned: BTreeSet<JobId>,
}

impl Model {
    pub(super) fn place(&self, id: JobId) -> Option<usize> {
        self.jobs.iter().position(|entry| entry.job.spec.id == id)
    }

    pub(super) fn is_live(&self, id: JobId) -> bool {
        self.place(id).is_some_and(|place| !self.jobs[place].job.status().is_terminal())
    }

    /// Takes a step and all that follows from it at once.
    pub(super) fn apply(&mut self, place: usize, step: Step, now: Timestamp) -> Result<Status, Refused> {
        self.apply_with(place, step, now, None)
    }

    /// The same, for a step that comes with an answer.
    pub(super) fn apply_with(
        &mut self,
        place: usize,
        step: Step,
        now: Timestamp,
        answer: Option<Payload>,
    ) -> Result<Status, Refused> {
        self.step(place, step, now, answer)?;
        let status = self.jobs[place].job.status();
        self.cancel_abandoned(now);
        Ok(status)
    }

    fn step(&mut self, place: usize, step: Step, now: Timestamp, answer: Option<Payload>) -> Result<(), Refused> {
        let is_cancel = matches!(step, Step::Cancel);
        let entry = &mut self.jobs[place];
        let applied = entry.job.step(step, now)?;
        if applied.repeated {
            return Ok(());
        }
        entry.events.extend(applied.events);
        entry.attempts.extend(applied.attempt);
        if let Some(name) = applied.answered {
            let output = answer.or_else(|| entry.kept.pop_front()).unwrap();
            entry.steps.push(StoredStep { name, output });
        } else {
            entry.kept.extend(answer);
        }
        let has_ended = applied.ended.is_some();
        if has_ended {
            entry.attempts.extend(entry.job.last_attempt.as_deref().cloned());
        }
        let job = &entry.job;
        if (has_ended || is_cancel) && job.abandons_children() {
            self.abandoned.insert(job.spec.id);
        }
        if has_ended
            && let (Some(end), Some(parent)) = (job.child_end(), job.spec.parent)
            && let Some(parent) = self.place(parent)
        {
            self.step(parent, end, now, None).unwrap();
        }
        Ok(())
    }

    fn cancel_abandoned(&mut self, now: Timestamp) {
        while let Some(parent) = self.abandoned.pop_first() {
            for place in 0..self.jobs.len() {
                if self.jobs[place].job.spec.parent == Some(parent) {
                    // It may have ended.
                    let _ = self.step(place, Step::Cancel, now, None);
                }
            }
        }
    }

    fn running(&self, queue: &QueueName) -> u32 {
        let running = self.jobs.iter().filter(|entry| entry.job.spec.queue == *queue && entry.job.lease().is_some());
        u32::try_from(running.count()).unwrap()
    }

    fn gives_out(&self, queue: &QueueName) -> bool {
        !self.paused.get(queue).copied().unwrap_or_default()
            && self.limits.get(queue).is_none_or(|limit| self.running(queue) < *limit)
    }

    fn fits(&self, job: &Job, claim: &Claim, now: Timestamp) -> bool {
        matches!(job.state, State::Queued { .. })
            && job.is_due(now)
            && claim.kinds.contains(&job.spec.kind)
            && claim.tenant.as_ref().is_none_or(|tenant| *tenant == job.spec.tenant)
            && claim.queues.as_ref().is_none_or(|queues| queues.contains(&job.spec.queue))
            && self.gives_out(&job.spec.queue)
    }

    /// What is wrong with `got` being what a claim gets next. Among tenants and queues a store may choose; within them it
    /// may not.
    pub(super) fn mistake(&self, claim: &Claim, now: Timestamp, got: Option<JobId>) -> Option<String> {
        let fitting: Vec<(usize, &Entry)> =
            self.jobs.iter().enumerate().filter(|(_, entry)| self.fits(&entry.job, claim, now)).collect();
        let Some(got) = got else {
            return (!fitting.is_empty()).then(|| format!("{} jobs are left out", fitting.len()));
        };
        let Some((place, own)) = fitting.iter().find(|(_, entry)| entry.job.spec.id == got) else {
            return Some(format!("{got} is not to be given out"));
        };
        let own = &own.job.spec;
        let key = |(place, entry): &(usize, &Entry)| (entry.job.spec.rank(), *place);
        let rivals = fitting
            .iter()
            .filter(|(_, entry)| entry.job.spec.queue == own.queue && entry.job.spec.tenant == own.tenant);
        let first = rivals.min_by_key(|rival| key(rival)).unwrap();
        (first.0 != *place).then(|| format!("{} goes before {got}", first.1.job.spec.id))
    }

    /// What befalls many jobs at once befalls all of them before anything follows from it.
    pub(super) fn end_leases_of_the_dead(&mut self, now: Timestamp) {
        for place in 0..self.jobs.len() {
            let State::Running { lease, .. } = &mut self.jobs[place].job.state else { continue };
            if lease.in_process {
                lease.expires_at = lease.expires_at.min(now);
                self.step(place, Step::Expire, now, None).unwrap();
            } else {
                // Nobody could hear a worker elsewhere while the store was closed.
                lease.expires_at = lease.expires_at.max(now + Span::from_secs(30));
            }
        }
        self.cancel_abandoned(now);
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        for place in 0..self.jobs.len() {
            let job = &self.jobs[place].job;
            let overdue = job.spec.deadline_at.is_some_and(|deadline| deadline <= now);
            let step = match &job.state {
                State::Running { .. } if job.cancel_requested_at.is_some_and(|at| at + CANCEL_GRACE <= now) => {
                    Step::CancelOverdue
                }
                State::Queued { .. } | State::Running { .. } | State::Waiting { .. } if overdue => Step::DeadlinePassed,
                State::Running { lease, .. } if lease.expires_at <= now => Step::Expire,
                _ => continue,
            };
            self.step(place, step, now, None).unwrap();
        }
        self.cancel_abandoned(now);
    }
}
