//! An engine over a store in memory and a clock that stands still, with one kind that does what a test gives it to do.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use longhaul_core::{Clock, Event, Ids, JobId, KindName, KindSpec, Span, Tenant, testing::ManualClock};
use longhaul_engine::{
    Check, Completed, Engine, EngineOptions, Executor, Failure, Follow, Followed, Hub, JobContext, JobRequest,
    SchemaCompiler, Waited,
};
use longhaul_store::{JobStore, JobView, MemoryStore, StoreClock};
use serde_json::Value;

pub(crate) struct NoSchemas;

impl SchemaCompiler for NoSchemas {
    fn compile(&self, _: &Value) -> Result<Arc<dyn Check>, String> {
        Err("is not known here".into())
    }
}

type Act = dyn for<'a> Fn(&'a JobContext, usize) -> BoxFuture<'a, Result<Completed, Failure>> + Send + Sync;

/// Runs a closure, which is told how often it has run before.
pub(crate) struct Actor {
    kind: KindSpec,
    act: Box<Act>,
    pub(crate) runs: AtomicUsize,
}

#[async_trait]
impl Executor for Actor {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        (self.act)(job, run).await
    }
}

pub(crate) fn spec(name: &str) -> KindSpec {
    KindSpec { max_attempts: Some(1), ..KindSpec::named(KindName::new(name).unwrap()) }
}

pub(crate) fn actor(
    name: &str,
    act: impl for<'a> Fn(&'a JobContext, usize) -> BoxFuture<'a, Result<Completed, Failure>> + Send + Sync + 'static,
) -> Arc<Actor> {
    Arc::new(Actor { kind: spec(name), act: Box::new(act), runs: AtomicUsize::new(0) })
}

/// Gives its input back, or fails when that says so.
pub(crate) fn echo() -> Arc<Actor> {
    actor("echo", |job, _| {
        Box::pin(async move {
            if job.input().starts_with(b"\"fail") {
                return Err(Failure::permanent("told_to", "as told"));
            }
            Ok(Completed::with(job.input().clone()))
        })
    })
}

pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) clock: ManualClock,
    pub(crate) tenant: Tenant,
}

pub(crate) async fn stage(actors: Vec<Arc<Actor>>) -> Stage {
    let clock = ManualClock::default();
    let ids = Arc::new(Ids::seeded(11));
    let hub = Arc::new(Hub::default());
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: ids.clone() };
    let store = MemoryStore::open(time, hub.clone()).unwrap();
    let executors = actors.into_iter().map(|actor| actor as Arc<dyn Executor>).collect();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let engine =
        Engine::start(EngineOptions::default(), store.clone(), hub, executors, Arc::new(NoSchemas), shared, ids);
    Stage { engine: engine.await.unwrap(), store, clock, tenant: Tenant::default_tenant() }
}

impl Stage {
    pub(crate) async fn submit(&self, request: JobRequest) -> JobId {
        self.engine.submit(&self.tenant, vec![request], None).await.unwrap().jobs[0]
    }

    pub(crate) async fn look(&self, job: JobId) -> Arc<JobView> {
        self.engine.job(&self.tenant, job).await.unwrap()
    }

    /// Lets a little time pass, and what is due happen.
    pub(crate) async fn pass(&self) {
        // An operation of the store has passed: time does not run away from the thread that writes.
        self.store.queues().await.unwrap();
        tokio::task::yield_now().await;
        self.clock.advance(Span::from_millis(20));
    }

    /// Waits for the end, and moves time on whenever nothing else happens.
    pub(crate) async fn ended(&self, job: JobId) -> Arc<JobView> {
        let waiting = self.engine.wait(&self.tenant, job, Span::from_secs(86_400), None);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                waited = &mut waiting => match waited.unwrap() {
                    Waited::Now(view) => return view,
                    Waited::Unchanged => panic!("it never ended"),
                },
                () = self.pass() => {}
            }
        }
    }

    /// Passes time until it is so.
    pub(crate) async fn until<T>(&self, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        for _ in 0..10_000 {
            if let Some(found) = look().await {
                return found;
            }
            self.pass().await;
        }
        panic!("it never came to that");
    }

    pub(crate) async fn output(&self, view: &JobView) -> Value {
        let json = self.engine.payload(view.output.as_ref().unwrap()).await.unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    /// Everything that a follower is given until it has nothing more to come.
    pub(crate) async fn all(&self, mut follow: Follow) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            tokio::select! {
                biased;
                next = follow.next() => match next {
                    None => return events,
                    Some(Ok(Followed::Events(more))) => events.extend(more.iter().map(|event| (**event).clone())),
                    Some(other) => assert!(matches!(other, Ok(Followed::Lagged)), "{other:?}"),
                },
                () = self.pass() => {}
            }
        }
    }
}
