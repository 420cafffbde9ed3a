//! The engine over a store in memory: claims, steps, waits, cancels, time-outs, panics, shutdown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use longhaul_core::{
    Clock, Ending, Ids, JobId, KindName, KindSpec, Span, Status, StepName, Tenant, testing::ManualClock,
};
use longhaul_engine::{
    Check, Completed, Engine, EngineOptions, Executor, Failure, Flaw, Hub, JobContext, JobRequest, Rejected,
    SchemaCompiler, Waited,
};
use longhaul_store::{Held, JobStore, JobView, MemoryStore, Outcome, StoreClock, StoreError};
use tokio::sync::Notify;

struct NoSchemas;

impl SchemaCompiler for NoSchemas {
    fn compile(&self, _: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        Err("is not known here".into())
    }
}

/// Does what its input says, and counts.
struct Puppet {
    kind: KindSpec,
    runs: AtomicUsize,
    steps: AtomicUsize,
    started: Notify,
}

#[async_trait]
impl Executor for Puppet {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        self.started.notify_one();
        match job.parse_input::<String>()?.as_str() {
            "hang" => std::future::pending().await,
            "hang in a step" => {
                let never = std::future::pending::<Result<u32, Failure>>();
                Completed::json(&job.step(StepName::new("call").unwrap(), never).await?)
            }
            "call, then hang" => {
                job.outside(async { Ok(()) }).await?;
                std::future::pending().await
            }
            "call in vain, then hang" => {
                let refused: Result<(), _> = job.outside(async { Err(Failure::permanent("refused", "as told")) }).await;
                refused.unwrap_err();
                std::future::pending().await
            }
            "panic" => panic!("as told"),
            "fail twice" if run < 2 => Err(Failure::transient("told_to", "as told")),
            "step, then hang once" => {
                let counted = async {
                    self.steps.fetch_add(1, Ordering::SeqCst);
                    Ok(7)
                };
                let seven: u32 = job.step(StepName::new("seven").unwrap(), counted).await?;
                if run == 0 {
                    std::future::pending::<()>().await;
                }
                Completed::json(&seven)
            }
            other => Completed::json(&other),
        }
    }
}

struct Stage {
    engine: Engine,
    store: Arc<dyn JobStore>,
    clock: ManualClock,
    puppet: Arc<Puppet>,
    tenant: Tenant,
}

async fn stage(change: impl FnOnce(&mut KindSpec)) -> Stage {
    let mut kind = KindSpec { max_attempts: Some(3), ..KindSpec::named(KindName::new("puppet").unwrap()) };
    change(&mut kind);
    let clock = ManualClock::default();
    let ids = Arc::new(Ids::seeded(11));
    let hub = Arc::new(Hub::default());
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: ids.clone() };
    let store = MemoryStore::open(time, hub.clone()).unwrap();
    let puppet = Arc::new(Puppet { kind, runs: 0.into(), steps: 0.into(), started: Notify::new() });
    let executors: Vec<Arc<dyn Executor>> = vec![puppet.clone()];
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let schemas = Arc::new(NoSchemas);
    let engine = Engine::start(EngineOptions::default(), store.clone(), hub, executors, schemas, shared, ids);
    Stage { engine: engine.await.unwrap(), store, clock, puppet, tenant: Tenant::default_tenant() }
}

impl Stage {
    async fn submit(&self, input: &str) -> JobId {
        let request = JobRequest::of("puppet", format!("{input:?}"));
        self.engine.submit(&self.tenant, vec![request], None).await.unwrap().jobs[0]
    }

    async fn look(&self, job: JobId) -> Arc<JobView> {
        self.engine.job(&self.tenant, job).await.unwrap()
    }

    /// Waits for the end while time stands still.
    async fn ended_now(&self, job: JobId) -> Status {
        match self.engine.wait(&self.tenant, job, Span::from_secs(60), None).await.unwrap() {
            Waited::Now(view) => view.job.status(),
            Waited::Unchanged => panic!("nothing was known of it"),
        }
    }

    /// Waits for the end, and moves time on whenever nothing else happens.
    async fn ended(&self, job: JobId) -> Arc<JobView> {
        let waiting = self.engine.wait(&self.tenant, job, Span::from_secs(86_400), None);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                waited = &mut waiting => match waited.unwrap() {
                    Waited::Now(view) => return view,
                    Waited::Unchanged => panic!("it never ended"),
                },
                // An operation of the store has passed: time does not run away from the thread that writes.
                _ = self.store.queues() => self.clock.advance(Span::from_millis(20)),
            }
        }
    }
}

#[tokio::test]
async fn a_job_runs_and_whoever_waits_gets_its_output() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("hello").await;
    let view = stage.ended(job).await;
    assert_eq!(view.job.status(), Status::Succeeded);
    let output = stage.engine.payload(view.output.as_ref().unwrap()).await.unwrap();
    assert_eq!(&output[..], b"\"hello\"");
}

#[tokio::test]
async fn a_wait_is_answered_however_it_falls_together_with_the_end() {
    let stage = stage(|_| {}).await;
    for round in 0..200 {
        let job = stage.submit("quick").await;
        assert_eq!(stage.ended_now(job).await, Status::Succeeded, "round {round}");
    }
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_is_dropped_and_ends_without_any_time_passing() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("hang").await;
    stage.puppet.started.notified().await;
    assert_eq!(stage.engine.cancel(&stage.tenant, job).await.unwrap(), Status::Running);
    assert_eq!(stage.ended_now(job).await, Status::Cancelled);
}

#[tokio::test]
async fn a_cancel_right_behind_the_submit_is_never_lost() {
    let stage = stage(|_| {}).await;
    for round in 0..200 {
        let job = stage.submit("hang").await;
        stage.engine.cancel(&stage.tenant, job).await.unwrap();
        assert_eq!(stage.ended_now(job).await, Status::Cancelled, "round {round}");
    }
}

#[tokio::test]
async fn a_retryable_failure_is_tried_again_after_its_backoff() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("fail twice").await;
    let view = stage.ended(job).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 3));
    let attempts = stage.engine.attempts(&stage.tenant, job).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(attempts[0].error.as_ref().unwrap().code, "told_to");
}

#[tokio::test]
async fn a_panic_is_its_jobs_failure_and_nobody_elses() {
    let stage = stage(|kind| kind.max_attempts = Some(1)).await;
    let bad = stage.submit("panic").await;
    let good = stage.submit("fine").await;
    assert_eq!(stage.ended(bad).await.job.error.as_ref().unwrap().code, "executor_panicked");
    assert_eq!(stage.ended(good).await.job.status(), Status::Succeeded);
}

#[tokio::test]
async fn an_attempt_that_takes_longer_than_its_kind_allows_fails() {
    let stage = stage(|kind| (kind.timeout_s, kind.max_attempts) = (Some(5), Some(1))).await;
    let job = stage.submit("hang").await;
    assert_eq!(stage.ended(job).await.job.error.as_ref().unwrap().code, "attempt_timeout");
}

#[tokio::test]
async fn beats_keep_the_lease_of_work_that_takes_long() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("hang").await;
    stage.puppet.started.notified().await;
    for _ in 0..600 {
        stage.clock.advance(Span::from_millis(500));
        // An operation of the store has passed: what was asked of it before has been carried out.
        stage.store.queues().await.unwrap();
        tokio::task::yield_now().await;
        stage.store.queues().await.unwrap();
    }
    let view = stage.look(job).await;
    assert_eq!((view.job.status(), view.job.attempt, view.job.crashes), (Status::Running, 1, 0));
}

#[tokio::test]
async fn a_step_that_is_stored_is_not_done_again() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("step, then hang once").await;
    while stage.engine.steps(&stage.tenant, job).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let token = stage.look(job).await.job.last_token.unwrap();
    let held = Held { tenant: stage.tenant.clone(), job, token };
    stage.store.finish(held, Outcome::Released { ambiguous: false }, longhaul_core::Usage::default()).await.unwrap();
    assert_eq!(stage.ended_now(job).await, Status::Succeeded);
    assert_eq!(stage.look(job).await.job.attempt, 1);
    assert_eq!(stage.puppet.runs.load(Ordering::SeqCst), 2);
    assert_eq!(stage.puppet.steps.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_drain_releases_what_outlasts_it_at_no_cost() {
    let stage = stage(|_| {}).await;
    let job = stage.submit("hang").await;
    stage.puppet.started.notified().await;
    stage.engine.drain(Span::ZERO).await;
    let view = stage.look(job).await;
    assert_eq!((view.job.status(), view.job.attempt, view.job.crashes), (Status::Queued, 1, 0));
    let refused = stage.engine.submit(&stage.tenant, vec![JobRequest::of("puppet", "\"late\"")], None).await;
    assert!(matches!(refused, Err(Rejected::ShuttingDown)));
    stage.engine.close().await;
    assert!(matches!(stage.store.cancel(&stage.tenant, job).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_drain_says_of_each_attempt_whether_it_was_cut_in_the_middle_of_a_call() {
    let cases = [
        ("hang", false),
        ("hang in a step", true),
        ("step, then hang once", false),
        ("call, then hang", true),
        ("call in vain, then hang", false),
    ];
    for (input, ambiguous) in cases {
        let stage = stage(|_| {}).await;
        let job = stage.submit(input).await;
        stage.puppet.started.notified().await;
        while input.starts_with("step") && stage.engine.steps(&stage.tenant, job).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stage.engine.drain(Span::ZERO).await;
        let attempts = stage.engine.attempts(&stage.tenant, job).await.unwrap();
        let ends: Vec<_> = attempts.iter().map(|attempt| (attempt.ending, attempt.ambiguous)).collect();
        assert_eq!(ends, [(Some(Ending::Released), ambiguous)], "{input}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_out_of_time_in_the_middle_of_a_call_is_ambiguous() {
    for (input, ambiguous) in [("hang", false), ("hang in a step", true)] {
        let stage = stage(|kind| (kind.timeout_s, kind.max_attempts) = (Some(5), Some(1))).await;
        let job = stage.submit(input).await;
        let last = stage.ended(job).await.job.last_attempt.clone().unwrap();
        assert_eq!((last.error.unwrap().code.as_str(), last.ambiguous), ("attempt_timeout", ambiguous), "{input}");
    }
}

#[tokio::test]
async fn an_unknown_kind_is_refused_with_the_known_ones() {
    let stage = stage(|_| {}).await;
    let refused = stage.engine.submit(&stage.tenant, vec![JobRequest::of("pupet", "1")], None).await;
    let Err(Rejected::Invalid(findings)) = refused else { panic!("{refused:?}") };
    assert!(matches!(&findings[0].flaw, Flaw::UnknownKind { known, .. } if known == &["flow", "puppet"]));
}
