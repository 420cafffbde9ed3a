//! A store against a model that is too simple to be wrong: a list of jobs, looked through from one end to the other.
//!
//! What a step does to a job is for [`Job::step`] to decide, in the model as in the store, and is tested there. The
//! model checks everything around it: which job a claim gets, what is due, what is counted, what is kept, what is told.

mod naive;

use std::{collections::BTreeMap, sync::Arc};

use longhaul_core::{
    Backoff, EventKind, IdSource as _, Ids, JobError, JobId, JobSpec, LogLevel, OnChildFailure, OutputData, Payload,
    QueueName, Refused, RetryPlan, Span, State, Status, Step, StepName, Tenant, Timestamp, Usage, Wait,
};
use naive::{Entry, Model};

use super::{LEASE, World, kind, queue};
use crate::{Beat, Claim, Held, JobQuery, Leased, NewJob, Outcome, StoreError, StoredStep};

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

    /// Nothing, at times.
    fn usage(&self) -> Usage {
        Usage { input_tokens: self.below(3) as u64, ..Usage::default() }
    }

    fn queue(&self) -> QueueName {
        queue(QUEUES[self.below(2)])
    }

    async fn one(&mut self, step: usize) {
        match self.below(100) {
            0..18 => self.submit().await,
            18..25 => self.submit_tree().await,
            25..45 => self.claim(step).await,
            45..68 => self.write(step).await,
            68..72 => self.cancel(step).await,
            72..75 => self.answer(step).await,
            75..78 => self.erase(step).await,
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
            self.model.jobs.push(Entry::new(spec, 0));
        }
    }

    /// A spec without timers: what falls due to a parent and to its child at once may befall either first.
    fn timeless(&self, tenant: &Tenant) -> JobSpec {
        let on_child_failure = [OnChildFailure::Fail, OnChildFailure::Partial][self.below(2)];
        JobSpec { on_child_failure, run_at: None, deadline_at: None, ..self.spec(tenant) }
    }

    async fn submit_tree(&mut self) {
        let tenant = self.tenant();
        let mut specs = vec![self.timeless(&tenant)];
        for _ in 0..1 + self.below(5) {
            let above = specs[self.below(specs.len())].clone();
            let index = specs.iter().filter(|spec| spec.parent == Some(above.id)).count();
            specs.push(JobSpec {
                parent: Some(above.id),
                child_index: index as u32,
                depth: above.depth + 1,
                ..self.timeless(&tenant)
            });
        }
        self.world.submit_all(specs.clone(), None).await.unwrap();
        for spec in &specs {
            let children = specs.iter().filter(|other| other.parent == Some(spec.id)).count();
            self.model.jobs.push(Entry::new(spec.clone(), children as u32));
        }
    }

    async fn answer(&mut self, step: usize) {
        if self.model.jobs.is_empty() {
            return;
        }
        let now = self.world.now();
        let asks = |place: &usize| matches!(self.model.jobs[*place].job.wait(), Some(Wait::Input { .. }));
        let asking = (0..self.model.jobs.len()).find(asks).filter(|_| self.below(3) > 0);
        let place = asking.unwrap_or_else(|| self.below(self.model.jobs.len()));
        let answer = Payload::inline(format!("\"answer {step}\""));
        let spec = self.model.jobs[place].job.spec.clone();
        let to = (self.below(3) == 0).then(|| StepName::new(["ask", "another"][self.below(2)]).unwrap());
        let step_of_job = Step::Answer { to: to.clone() };
        let expected = self.model.apply_with(place, step_of_job, now, Some(answer.clone())).map_err(StoreError::from);
        let got = self.world.store.answer(&spec.tenant, spec.id, to, answer).await;
        assert_eq!(got, expected, "seed {} step {step}", self.seed);
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
            let got: Option<&Leased> = leased.get(number);
            let context = format!("seed {} step {step}", self.seed);
            let mistake = self.model.mistake(&claim, now, got.map(|leased| leased.held.job));
            assert_eq!(mistake, None, "{context}: job {number} of {claim:?}");
            let Some(got) = got else { break };
            let place = self.model.place(got.held.job).unwrap();
            let step = Step::Claim {
                worker: claim.worker.clone(),
                in_process: claim.in_process,
                random: got.held.token.as_i64() as u64 & 0xffff_ffff,
                lease_for: claim.lease_for,
            };
            self.model.apply(place, step, now).unwrap();
            assert_eq!(got.view.job, self.model.jobs[place].job, "{context}");
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
        let (expected, got) = match self.below(14) {
            8..10 => self.wait(&held, step, now).await,
            10..12 => {
                let data = OutputData::Text(format!("<{step}>"));
                let got = self.world.store.append(held.clone(), vec![data.clone()]).await;
                let event = EventKind::OutputDelta { data };
                (self.step_of(&held, Step::Tell { token, event }, now).map(drop), got)
            }
            12 => self.spawn(&held, step, now).await,
            13 => {
                let name = StepName::new(&format!("s{step}")).unwrap();
                let output = Payload::inline(format!("{step}"));
                let usage = self.usage();
                let got = self.world.store.checkpoint(held.clone(), name.clone(), output.clone(), usage).await;
                let event = EventKind::Step { name: name.to_string() };
                let told = self.step_of(&held, Step::Tell { token, event }, now);
                let expected = told.and(self.step_of(&held, Step::Spend { token, usage }, now)).map(drop);
                if expected.is_ok() {
                    self.stored(&held, StoredStep { name, output });
                }
                (expected, got)
            }
            0 => {
                let beat = Beat { held: held.clone(), lease_for: LEASE, progress: None };
                let got = self.world.store.heartbeat(vec![beat]).await.unwrap().remove(0).map(drop);
                (self.step_of(&held, Step::Beat { token, lease_for: LEASE, progress: None }, now).map(drop), got)
            }
            1 => {
                let event = EventKind::Log { level: LogLevel::Warn, message: "hm".into() };
                let usage = self.usage();
                let got = self.world.store.tell(held.clone(), vec![event.clone()], usage).await;
                let told = self.step_of(&held, Step::Tell { token, event }, now);
                let spent = self.step_of(&held, Step::Spend { token, usage }, now);
                (told.and(spent).map(drop), got)
            }
            2 => {
                let ambiguous = self.below(2) == 0;
                let got = self.world.finish(&held, Outcome::Released { ambiguous }).await.map(drop);
                (self.step_of(&held, Step::Release { token, ambiguous }, now).map(drop), got)
            }
            3..6 => {
                let output = format!("{step}");
                let got = self.world.finish(&held, super::succeeded(&output)).await.map(drop);
                let expected = self.step_of(&held, Step::Succeed { token, report: Box::default() }, now).map(drop);
                if expected.is_ok()
                    && let Some(place) = self.model.place(held.job)
                {
                    self.model.jobs[place].output.get_or_insert(Payload::inline(output));
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
        match self.model.place(held.job) {
            Some(place) => Ok(self.model.apply(place, step, now)?),
            None => Err(Refused::LeaseLost.into()),
        }
    }

    fn stored(&mut self, held: &Held, step: StoredStep) {
        if let Some(place) = self.model.place(held.job) {
            self.model.jobs[place].steps.push(step);
        }
    }

    async fn wait(
        &mut self,
        held: &Held,
        step: usize,
        now: Timestamp,
    ) -> (Result<(), StoreError>, Result<(), StoreError>) {
        let wait = match self.below(3) {
            0 => Wait::Children,
            // Sometimes one that was answered before.
            _ => Wait::Input { step: StepName::new(&format!("ask{}", step % 3)).unwrap(), prompt: None },
        };
        let place = self.model.place(held.job);
        let is_there = match (&wait, place) {
            (Wait::Input { step, .. }, Some(place)) => {
                self.model.jobs[place].steps.iter().any(|stored| stored.name == *step)
            }
            _ => false,
        };
        let got = self.world.finish(held, Outcome::Waiting(wait.clone())).await.map(drop);
        (self.step_of(held, Step::Wait { token: held.token, wait, is_there }, now).map(drop), got)
    }

    async fn spawn(
        &mut self,
        held: &Held,
        step: usize,
        now: Timestamp,
    ) -> (Result<(), StoreError>, Result<(), StoreError>) {
        let name = StepName::new(&format!("spawn{step}")).unwrap();
        let specs: Vec<JobSpec> =
            (0..1 + self.below(3)).map(|_| JobSpec { parent: Some(held.job), ..self.timeless(&held.tenant) }).collect();
        let place = self.model.place(held.job);
        let first = place.map_or(0, |place| self.model.jobs[place].job.children.total);
        let depth = place.map_or(0, |place| self.model.jobs[place].job.spec.depth) + 1;
        let input = Payload::inline("{}");
        let jobs: Vec<NewJob> =
            specs.iter().map(|spec| NewJob { spec: Arc::new(spec.clone()), input: input.clone() }).collect();
        let got = self.world.store.spawn(held.clone(), name.clone(), jobs.clone()).await;
        let token = held.token;
        let children = specs.len() as u32;
        let expected = self.step_of(held, Step::Spawn { token, name: name.clone(), children }, now).map(drop);
        if expected.is_ok() {
            let ids: Vec<JobId> = specs.iter().map(|spec| spec.id).collect();
            assert_eq!(got, Ok(ids.clone()));
            // Again, as after an answer that did not arrive.
            assert_eq!(self.world.store.spawn(held.clone(), name.clone(), jobs).await, Ok(ids.clone()));
            let output = Payload::inline(serde_json::to_vec(&ids).unwrap());
            self.stored(held, StoredStep { name, output });
            for (spec, child_index) in specs.into_iter().zip(first..) {
                self.model.jobs.push(Entry::new(JobSpec { depth, child_index, ..spec }, 0));
            }
        }
        (expected, got.map(drop))
    }

    async fn cancel(&mut self, step: usize) {
        if self.model.jobs.is_empty() {
            return;
        }
        let place = self.below(self.model.jobs.len());
        let now = self.world.now();
        let expected = match self.model.apply(place, Step::Cancel, now) {
            Ok(status) => status,
            Err(_) => self.model.jobs[place].job.status(),
        };
        let spec = &self.model.jobs[place].job.spec;
        let got = self.world.store.cancel(&spec.tenant, spec.id).await;
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
            let may_be_there = expires_at + Span::from_secs(1) >= now || job.spec.parent.is_some();
            let must_be_there = job.spec.parent.is_some_and(|parent| self.model.is_live(parent));
            assert!(is_there || !must_be_there, "seed {} step {step}: its parent needs it", self.seed);
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
        let grace = self.world.grace_after_start();
        self.model.end_leases_of_the_dead(now, grace);
    }

    async fn check_counts(&self, step: usize) {
        let mut expected: BTreeMap<QueueName, (u64, u64, u64)> = BTreeMap::new();
        for entry in &self.model.jobs {
            let count = expected.entry(entry.job.spec.queue.clone()).or_default();
            match entry.job.state {
                State::Queued { .. } => count.0 += 1,
                State::Running { .. } => count.1 += 1,
                State::Waiting { .. } => count.2 += 1,
                State::Succeeded | State::Failed | State::Cancelled => {}
            }
        }
        for state in self.world.store.queues().await.unwrap() {
            let counted = (state.queued, state.running, state.waiting);
            let expected = expected.remove(&state.name).unwrap_or_default();
            assert_eq!(counted, expected, "seed {} step {step}: {}", self.seed, state.name);
        }
        assert!(expected.values().all(|counts| *counts == (0, 0, 0)), "seed {} step {step}", self.seed);
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
            assert_eq!(store.steps(tenant, id).await.unwrap(), entry.steps, "{context}");
            let partial = store.partial(tenant, id).await.unwrap();
            assert_eq!(partial.and_then(|partial| partial.text), entry.text(), "{context}");
            let own = self.model.jobs.iter().filter(|child| child.job.spec.parent == Some(id));
            let mut expected: Vec<(u32, JobId, Status, Option<Payload>)> = own
                .map(|child| (child.job.spec.child_index, child.job.spec.id, child.job.status(), child.output.clone()))
                .collect();
            expected.sort_by_key(|(index, ..)| *index);
            let children = store.children(tenant, id, None, 100).await.unwrap();
            let children: Vec<_> =
                children.into_iter().map(|child| (child.index, child.job, child.status, child.output)).collect();
            assert_eq!(children, expected, "{context}");
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
