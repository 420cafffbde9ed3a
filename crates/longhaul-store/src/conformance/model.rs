//! A store against a model that is too simple to be wrong: a list of jobs, looked through from one end to the other.
//!
//! What a step does to a job is for [`Job::step`] to decide, in the model as in the store, and is tested there. The
//! model checks everything around it: which job a claim gets, what is due, what is counted, what is kept, what is told.

use std::collections::{BTreeMap, HashMap};

use longhaul_core::{
    Attempt, Backoff, CANCEL_GRACE, EventKind, IdSource as _, Ids, Job, JobError, JobId, JobSpec, LogLevel, Payload,
    QueueName, Refused, RetryPlan, Span, State, Status, Step, Tenant, Timestamp,
};

use super::{LEASE, World, kind, queue};
use crate::{Beat, Claim, Held, JobQuery, Leased, Outcome, StoreError};

const KINDS: [&str; 3] = ["echo", "other", "third"];
const QUEUES: [&str; 2] = ["a", "b"];

/// One seed of many; another can be set by the environment variable `CONFORMANCE_SEED`.
pub async fn a_random_life_agrees_with_a_naive_model(w: World) {
    let seed = std::env::var("CONFORMANCE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    agrees(w, seed, 400).await;
}

/// Lets a store and the model live through the same `steps` random events.
pub async fn agrees(world: World, seed: u64, steps: usize) {
    let mut run = Run { seed, random: Ids::seeded(seed), world, model: Model::default(), held: Vec::new() };
    for step in 0..steps {
        run.one(step).await;
        run.check_counts(step).await;
        if step % 25 == 0 {
            run.check_all(step).await;
        }
    }
    run.check_all(steps).await;
}

struct Entry {
    job: Job,
    output: Option<Payload>,
    events: Vec<EventKind>,
    attempts: Vec<Attempt>,
}

#[derive(Default)]
struct Model {
    /// In the order of their submits.
    jobs: Vec<Entry>,
    gone: HashMap<JobId, (Tenant, Status)>,
    paused: BTreeMap<QueueName, bool>,
    limits: BTreeMap<QueueName, u32>,
}

impl Entry {
    fn apply(&mut self, step: Step, now: Timestamp) -> Result<Status, Refused> {
        let applied = self.job.step(step, now)?;
        self.events.extend(applied.events);
        self.attempts.extend(applied.attempt);
        if applied.ended.is_some() && !applied.repeated {
            self.attempts.extend(self.job.last_attempt.as_deref().cloned());
        }
        Ok(self.job.status())
    }
}

impl Model {
    fn find(&mut self, id: JobId) -> Option<&mut Entry> {
        self.jobs.iter_mut().find(|entry| entry.job.spec.id == id)
    }

    fn running(&self, queue: &QueueName) -> u32 {
        let running = self.jobs.iter().filter(|entry| entry.job.spec.queue == *queue && entry.job.lease().is_some());
        u32::try_from(running.count()).unwrap()
    }

    fn gives_out(&self, queue: &QueueName) -> bool {
        !self.paused.get(queue).copied().unwrap_or_default()
            && self.limits.get(queue).is_none_or(|limit| self.running(queue) < *limit)
    }

    /// The one job that a claim gets next.
    fn next(&self, claim: &Claim, now: Timestamp) -> Option<usize> {
        let fits = |job: &Job| {
            matches!(job.state, State::Queued { .. })
                && job.is_due(now)
                && claim.kinds.contains(&job.spec.kind)
                && claim.tenant.as_ref().is_none_or(|tenant| *tenant == job.spec.tenant)
                && claim.queues.as_ref().is_none_or(|queues| queues.contains(&job.spec.queue))
                && self.gives_out(&job.spec.queue)
        };
        let fitting = self.jobs.iter().enumerate().filter(|(_, entry)| fits(&entry.job));
        fitting.min_by_key(|(number, entry)| (-i16::from(entry.job.spec.priority), *number)).map(|(number, _)| number)
    }

    fn sweep(&mut self, now: Timestamp) {
        for entry in &mut self.jobs {
            let job = &entry.job;
            let overdue = job.spec.deadline_at.is_some_and(|deadline| deadline <= now);
            let step = match &job.state {
                State::Running { .. } if job.cancel_requested_at.is_some_and(|at| at + CANCEL_GRACE <= now) => {
                    Step::CancelOverdue
                }
                State::Queued { .. } | State::Running { .. } if overdue => Step::DeadlinePassed,
                State::Running { lease, .. } if lease.expires_at <= now => Step::Expire,
                _ => continue,
            };
            entry.apply(step, now).unwrap();
        }
    }
}

struct Run {
    seed: u64,
    random: Ids,
    world: World,
    model: Model,
    held: Vec<Held>,
}

impl Run {
    fn below(&self, most: usize) -> usize {
        usize::try_from(self.random.random() % most as u64).unwrap()
    }

    fn tenant(&self) -> Tenant {
        if self.below(4) == 0 { Tenant::new("other").unwrap() } else { super::tenant() }
    }

    fn queue(&self) -> QueueName {
        queue(QUEUES[self.below(2)])
    }

    async fn one(&mut self, step: usize) {
        match self.below(100) {
            0..25 => self.submit().await,
            25..45 => self.claim(step).await,
            45..68 => self.write(step).await,
            68..74 => self.cancel(step).await,
            74..78 => self.erase(step).await,
            78..90 => self.pass_time().await,
            90..93 => self.pause().await,
            93..96 => self.limit().await,
            96..99 => self.prune(step).await,
            _ => self.reopen().await,
        }
    }

    async fn submit(&mut self) {
        let tenant = self.tenant();
        let specs: Vec<JobSpec> = (0..=self.below(4)).map(|_| self.spec(&tenant)).collect();
        self.world.submit_all(specs.clone(), None).await.unwrap();
        for spec in specs {
            let job = Job::submitted(spec.into());
            let events = vec![job.first_event().kind];
            self.model.jobs.push(Entry { job, output: None, events, attempts: Vec::new() });
        }
    }

    fn spec(&self, tenant: &Tenant) -> JobSpec {
        let soon = |most| self.world.now() + Span::from_secs(1 + self.below(most) as u64);
        JobSpec {
            tenant: tenant.clone(),
            kind: kind(KINDS[self.below(3)]),
            queue: self.queue(),
            priority: i8::try_from(self.below(5)).unwrap() - 2,
            max_attempts: 1 + self.random.random() as u32 % 3,
            // Where in the wait a job lands is the store's to draw: here there is nothing to draw from.
            backoff: Backoff { initial_ms: 0, max_ms: 0 },
            retention: Span::from_secs(20 + self.below(200) as u64),
            run_at: (self.below(5) == 0).then(|| soon(60)),
            deadline_at: (self.below(6) == 0).then(|| soon(200)),
            ..self.world.spec()
        }
    }

    async fn claim(&mut self, step: usize) {
        let kinds = if self.below(3) == 0 { vec![kind("other")] } else { KINDS.map(kind).to_vec() };
        let claim = Claim {
            tenant: (self.below(5) == 0).then(|| self.tenant()),
            kinds: kinds.into(),
            queues: (self.below(5) == 0).then(|| [self.queue()].into()),
            in_process: self.below(2) == 0,
            ..super::claim(1 + self.below(6))
        };
        let leased = self.world.take(claim.clone()).await;
        let now = self.world.now();
        for number in 0..claim.limit {
            let expected = self.model.next(&claim, now);
            let got: Option<&Leased> = leased.get(number);
            let expected_id = expected.map(|place| self.model.jobs[place].job.spec.id);
            let context = format!("seed {} step {step}", self.seed);
            assert_eq!(got.map(|leased| leased.held.job), expected_id, "{context}: job {number} of {claim:?}");
            let (Some(place), Some(got)) = (expected, got) else { break };
            let step = Step::Claim {
                worker: claim.worker.clone(),
                in_process: claim.in_process,
                random: got.held.token.as_i64() as u64 & 0xffff_ffff,
                lease_for: claim.lease_for,
            };
            let entry = &mut self.model.jobs[place];
            entry.apply(step, now).unwrap();
            assert_eq!(got.view.job.last_token, entry.job.last_token, "{context}");
            self.held.push(got.held.clone());
        }
    }

    /// A write under a lease that was given some time, and may have been lost since.
    async fn write(&mut self, step: usize) {
        if self.held.is_empty() {
            return;
        }
        let recent = self.held.len() - 1 - self.below(self.held.len().min(8));
        let held = self.held[recent].clone();
        let (token, now) = (held.token, self.world.now());
        let error = JobError { retryable: self.below(4) > 0, ..super::flaky() };
        let (expected, got) = match self.below(8) {
            0 => {
                let beat = Beat { held: held.clone(), lease_for: LEASE, progress: None };
                let got = self.world.store.heartbeat(vec![beat]).await.unwrap().remove(0).map(drop);
                (self.step_of(&held, Step::Beat { token, lease_for: LEASE, progress: None }, now).map(drop), got)
            }
            1 => {
                let event = EventKind::Log { level: LogLevel::Warn, message: "hm".into() };
                let got = self.world.tell(&held, event.clone()).await;
                (self.step_of(&held, Step::Tell { token, event }, now).map(drop), got)
            }
            2 => {
                let got = self.world.finish(&held, Outcome::Released).await.map(drop);
                (self.step_of(&held, Step::Release { token }, now).map(drop), got)
            }
            3..6 => {
                let output = format!("{step}");
                let got = self.world.finish(&held, super::succeeded(&output)).await.map(drop);
                let expected = self.step_of(&held, Step::Succeed { token, report: Box::default() }, now).map(drop);
                if expected.is_ok()
                    && let Some(entry) = self.model.find(held.job)
                {
                    entry.output.get_or_insert(Payload::inline(output));
                }
                (expected, got)
            }
            _ => {
                let span = Span::from_secs(self.below(40) as u64);
                let plan = [RetryPlan::Backoff, RetryPlan::After(span), RetryPlan::Park(now + span)][self.below(3)];
                let ambiguous = self.below(2) == 0;
                let outcome = Outcome::Failed { error: error.clone(), plan, ambiguous };
                let got = self.world.finish(&held, outcome).await.map(drop);
                let step = Step::Fail { token, error, plan, random: 0, ambiguous };
                (self.step_of(&held, step, now).map(drop), got)
            }
        };
        assert_eq!(got, expected, "seed {} step {step}", self.seed);
    }

    fn step_of(&mut self, held: &Held, step: Step, now: Timestamp) -> Result<Status, StoreError> {
        match self.model.find(held.job) {
            Some(entry) => Ok(entry.apply(step, now)?),
            None => Err(Refused::LeaseLost.into()),
        }
    }

    async fn cancel(&mut self, step: usize) {
        if self.model.jobs.is_empty() {
            return;
        }
        let place = self.below(self.model.jobs.len());
        let now = self.world.now();
        let entry = &mut self.model.jobs[place];
        let expected = match entry.apply(Step::Cancel, now) {
            Ok(status) => status,
            Err(_) => entry.job.status(),
        };
        let got = self.world.store.cancel(&entry.job.spec.tenant, entry.job.spec.id).await;
        assert_eq!(got, Ok(expected), "seed {} step {step}", self.seed);
    }

    async fn erase(&mut self, step: usize) {
        if self.model.jobs.is_empty() {
            return;
        }
        let place = self.below(self.model.jobs.len());
        let job = self.model.jobs[place].job.clone();
        let got = self.world.store.erase(&job.spec.tenant, job.spec.id).await;
        let ended = job.status().is_terminal();
        let expected = if ended { Ok(()) } else { Err(Refused::NoOccasion.into()) };
        assert_eq!(got, expected, "seed {} step {step}", self.seed);
        if ended {
            self.bury(place);
        }
    }

    fn bury(&mut self, place: usize) {
        let job = self.model.jobs.remove(place).job;
        self.model.gone.insert(job.spec.id, (job.spec.tenant.clone(), job.status()));
    }

    async fn pass_time(&mut self) {
        self.world.advance(1 + self.below(25) as u64);
        self.world.sweep().await;
        self.model.sweep(self.world.now());
    }

    async fn pause(&mut self) {
        let (queue, paused) = (self.queue(), self.below(2) == 0);
        self.world.store.pause_queue(queue.clone(), paused).await.unwrap();
        self.model.paused.insert(queue, paused);
    }

    async fn limit(&mut self) {
        let queue = self.queue();
        let limit = [None, None, Some(1), Some(3)][self.below(4)];
        self.world.store.limit_queue(queue.clone(), limit).await.unwrap();
        match limit {
            Some(limit) => self.model.limits.insert(queue, limit),
            None => self.model.limits.remove(&queue),
        };
    }

    async fn prune(&mut self, step: usize) {
        self.world.prune().await;
        let now = self.world.now();
        for place in (0..self.model.jobs.len()).rev() {
            let job = &self.model.jobs[place].job;
            let Some(expires_at) = job.expires_at() else { continue };
            let is_there = self.world.store.job(&job.spec.tenant, job.spec.id).await.is_ok();
            // A store may see to it a second late, as retention is no matter of seconds.
            let may_be_there = expires_at + Span::from_secs(1) >= now;
            assert!(is_there || expires_at <= now, "seed {} step {step}: removed too early", self.seed);
            assert!(!is_there || may_be_there, "seed {} step {step}: kept too long", self.seed);
            if !is_there {
                self.bury(place);
            }
        }
    }

    async fn reopen(&mut self) {
        if !self.world.reopen().await {
            return;
        }
        let now = self.world.now();
        self.model.limits.clear();
        for entry in &mut self.model.jobs {
            if let State::Running { lease, .. } = &mut entry.job.state
                && lease.in_process
            {
                lease.expires_at = lease.expires_at.min(now);
                entry.apply(Step::Expire, now).unwrap();
            }
        }
    }

    async fn check_counts(&self, step: usize) {
        let mut expected: BTreeMap<QueueName, (u64, u64)> = BTreeMap::new();
        for entry in &self.model.jobs {
            let count = expected.entry(entry.job.spec.queue.clone()).or_default();
            match entry.job.status() {
                Status::Queued => count.0 += 1,
                Status::Running => count.1 += 1,
                Status::Succeeded | Status::Failed | Status::Cancelled => {}
            }
        }
        for state in self.world.store.queues().await.unwrap() {
            let counted = (state.queued, state.running);
            let expected = expected.remove(&state.name).unwrap_or_default();
            assert_eq!(counted, expected, "seed {} step {step}: {}", self.seed, state.name);
        }
        assert!(expected.values().all(|counts| *counts == (0, 0)), "seed {} step {step}", self.seed);
    }

    async fn check_all(&self, step: usize) {
        let context = format!("seed {} step {step}", self.seed);
        let store = &self.world.store;
        for entry in &self.model.jobs {
            let (tenant, id) = (&entry.job.spec.tenant, entry.job.spec.id);
            let view = store.job(tenant, id).await.unwrap();
            assert_eq!(view.job, entry.job, "{context}");
            assert_eq!(view.output, entry.output, "{context}");
            let events = store.events(tenant, id, 0, 1_000).await.unwrap();
            assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{context}");
            let kinds: Vec<&EventKind> = events.iter().map(|event| &event.kind).collect();
            assert_eq!(kinds, entry.events.iter().collect::<Vec<_>>(), "{context}");
            let mut attempts = store.attempts(tenant, id).await.unwrap();
            if entry.job.lease().is_some() {
                assert_eq!(attempts.pop().and_then(|running| running.ending), None, "{context}");
            }
            assert_eq!(attempts, entry.attempts, "{context}");
        }
        for (id, (tenant, status)) in &self.model.gone {
            match store.job(tenant, *id).await {
                Err(StoreError::Gone(left)) => assert_eq!(left.status, *status, "{context}"),
                other => panic!("{context}: {other:?}"),
            }
        }
        for tenant in [super::tenant(), Tenant::new("other").unwrap()] {
            let own = self.model.jobs.iter().filter(|entry| entry.job.spec.tenant == tenant);
            let mut expected: Vec<JobId> = own.map(|entry| entry.job.spec.id).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            let (mut listed, mut query) = (Vec::new(), JobQuery::newest(tenant, 50));
            loop {
                let page = store.jobs(query.clone()).await.unwrap();
                listed.extend(page.jobs.iter().map(|job| job.spec.id));
                match page.next {
                    Some(next) => query.before = Some(next),
                    None => break,
                }
            }
            assert_eq!(listed, expected, "{context}");
        }
    }
}
