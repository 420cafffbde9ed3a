//! Two engines on one PostgreSQL database: what is registered at one holds at the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(unix)]

#[path = "../../longhaul-store/tests/postgres/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{Ids, KindName, KindSpec, Limit, Span, Tenant, testing::ManualClock};
use longhaul_engine::{
    Check, Completed, Engine, EngineOptions, Executor, Failure, FieldError, Flaw, Hub, JobContext, JobRequest,
    Rejected, RemoteClaim, SchemaCompiler,
};
use longhaul_store::{Blocker, PostgresOptions, PostgresStore, StoreClock};
use server::Database;
use tokio::sync::Notify;

/// Takes any schema; its check says which one it is of.
struct Named;

impl SchemaCompiler for Named {
    fn compile(&self, schema: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        struct Says(String);
        impl Check for Says {
            fn check(&self, input: &str) -> Vec<FieldError> {
                if input == self.0 {
                    Vec::new()
                } else {
                    vec![FieldError { pointer: String::new(), message: "no".into() }]
                }
            }
        }
        Ok(Arc::new(Says(schema["const"].to_string())))
    }
}

struct Pair {
    here: Engine,
    there: Engine,
    clock: ManualClock,
    tenant: Tenant,
    database: Database,
}

async fn engine(database: &Database, clock: &ManualClock, seed: u64) -> Engine {
    engine_with(database, clock, seed, Vec::new()).await
}

async fn engine_with(database: &Database, clock: &ManualClock, seed: u64, executors: Vec<Arc<dyn Executor>>) -> Engine {
    let (ids, hub) = (Arc::new(Ids::seeded(seed)), Arc::new(Hub::default()));
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: ids.clone() };
    let patience = Span::from_secs(2);
    let options = PostgresOptions { own_time: true, patience, ..PostgresOptions::at(database.url()) };
    let store = PostgresStore::open(&options, time, hub.clone()).await.unwrap();
    let clock = Arc::new(clock.clone());
    Engine::start(EngineOptions::default(), store, hub, executors, Arc::new(Named), clock, ids).await.unwrap()
}

impl Pair {
    async fn new() -> Self {
        let (database, clock) = (Database::new().await, ManualClock::default());
        let (here, there) = (engine(&database, &clock, 1).await, engine(&database, &clock, 2).await);
        Self { here, there, clock, tenant: Tenant::default_tenant(), database }
    }

    async fn register(&self, at: &Engine, spec: KindSpec) {
        at.register_kind(&self.tenant, spec).await.unwrap().unwrap();
    }

    async fn submit(&self, at: &Engine, kind: &str, input: &'static str) -> Result<longhaul_core::JobId, Rejected> {
        let accepted = at.submit(&self.tenant, vec![JobRequest::of(kind, input)], None).await?;
        Ok(accepted.jobs[0])
    }

    async fn claim(&self, at: &Engine, kind: &str) -> Vec<longhaul_core::JobId> {
        let kinds = [KindName::new(kind).unwrap()].into();
        let (tenant, worker) = (self.tenant.clone(), "worker".to_owned());
        let claim = RemoteClaim { tenant, worker, kinds, queues: None, limit: 9, lease_for: Span::from_secs(600) };
        let claimed = at.claim(claim, Span::from_secs(60)).await.unwrap();
        claimed.iter().map(|job| job.held.job).collect()
    }

    /// Waits until `is_so` says so, of what an engine keeps. Each look takes a round trip to the database.
    async fn until(&self, at: &Engine, is_so: impl Fn(&Engine) -> bool) {
        while !is_so(at) {
            at.queues().await.unwrap();
        }
    }

    async fn close(self) {
        for engine in [self.here, self.there] {
            engine.drain(Span::ZERO).await;
            engine.close().await;
        }
    }
}

fn spec(name: &str) -> KindSpec {
    KindSpec::named(KindName::new(name).unwrap())
}

fn by_customer(name: &str) -> KindSpec {
    let limit = Limit { key: Some("/customer".into()), concurrency: Some(1), rate: None };
    KindSpec { limits: vec![limit], ..spec(name) }
}

#[tokio::test]
async fn a_kind_that_one_engine_registers_can_be_submitted_to_the_other_at_once() {
    let pair = Pair::new().await;
    pair.register(&pair.here, spec("resize")).await;
    let job = pair.submit(&pair.there, "resize", "1").await.unwrap();
    assert_eq!(pair.claim(&pair.here, "resize").await, [job]);
    let unknown = pair.submit(&pair.there, "nobodys", "1").await;
    let Err(Rejected::Invalid(findings)) = unknown else { panic!("{unknown:?}") };
    assert!(matches!(&findings[0].flaw, Flaw::UnknownKind { known, .. } if known.contains(&"resize".to_owned())));
    pair.close().await;
}

#[tokio::test]
async fn an_engine_is_told_what_the_other_registers_and_replaces() {
    let pair = Pair::new().await;
    pair.register(&pair.here, spec("resize")).await;
    pair.until(&pair.there, |there| there.kind(&pair.tenant, "resize").is_some()).await;
    let stricter = KindSpec { input_schema: Some(serde_json::json!({"const": 7})), ..spec("resize") };
    pair.register(&pair.here, stricter.clone()).await;
    pair.until(&pair.there, |there| there.kind(&pair.tenant, "resize").is_some_and(|kind| *kind == stricter)).await;
    assert!(pair.submit(&pair.there, "resize", "7").await.is_ok());
    assert!(matches!(pair.submit(&pair.there, "resize", "8").await, Err(Rejected::Invalid(_))));
    // What it was told does not take back what it registers itself.
    pair.register(&pair.there, spec("crop")).await;
    pair.register(&pair.here, spec("turn")).await;
    pair.until(&pair.there, |there| there.kind(&pair.tenant, "turn").is_some()).await;
    assert!(pair.there.kind(&pair.tenant, "crop").is_some());
    pair.close().await;
}

#[tokio::test]
async fn a_limit_by_key_that_one_engine_registers_holds_for_jobs_of_the_other() {
    let pair = Pair::new().await;
    pair.register(&pair.here, spec("translate")).await;
    pair.until(&pair.there, |there| there.kind(&pair.tenant, "translate").is_some()).await;
    pair.register(&pair.here, by_customer("translate")).await;
    pair.until(&pair.there, |there| there.kind(&pair.tenant, "translate").is_some_and(|kind| !kind.limits.is_empty()))
        .await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(pair.submit(&pair.there, "translate", r#"{"customer": "a"}"#).await.unwrap());
    }
    let other = pair.submit(&pair.here, "translate", r#"{"customer": "b"}"#).await.unwrap();
    assert_eq!(pair.claim(&pair.here, "translate").await, [jobs[0], other]);
    let why = pair.there.explain(&pair.tenant, jobs[1]).await.unwrap();
    assert!(matches!(&why, Some(Blocker::KindFull { key: Some(key), .. }) if **key == *"/customer"), "{why:?}");
    pair.close().await;
}

#[tokio::test]
async fn an_engine_that_nobody_tells_anything_looks_by_itself() {
    let pair = Pair::new().await;
    // Not even a submit of the kind makes it look.
    assert!(pair.submit(&pair.there, "resize", "1").await.is_err());
    pair.register(&pair.there, spec("crop")).await;
    // As if the notification had been lost.
    let sql = "INSERT INTO kind (tenant, name, spec)
               SELECT tenant, 'resize', replace(spec, 'crop', 'resize') FROM kind WHERE name = 'crop'";
    pair.database.run(sql).await;
    while pair.there.kind(&pair.tenant, "resize").is_none() {
        pair.clock.advance(Span::from_secs(1));
        pair.there.queues().await.unwrap();
    }
    assert!(pair.submit(&pair.there, "resize", "1").await.is_ok());
    pair.close().await;
}

/// Runs until it is stopped, and says when it begins and when it is.
struct Endless {
    kind: KindSpec,
    begun: Arc<Notify>,
    stopped: Arc<Notify>,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Executor for Endless {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, _: &JobContext) -> Result<Completed, Failure> {
        let _stopped = OnDrop(self.stopped.clone());
        self.begun.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn an_engine_whose_leases_are_over_stops_what_runs_though_no_store_tells_it() {
    let (database, clock) = (Database::new().await, ManualClock::default());
    let (begun, stopped) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let endless = Endless { kind: spec("endless"), begun: begun.clone(), stopped: stopped.clone() };
    let engine = engine_with(&database, &clock, 1, vec![Arc::new(endless)]).await;
    let accepted = engine.submit(&Tenant::default_tenant(), vec![JobRequest::of("endless", "1")], None).await;
    accepted.unwrap();
    begun.notified().await;
    // Nothing more is written, and nobody is told so.
    let blocker = database.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE job IN ACCESS EXCLUSIVE MODE").await.unwrap();
    clock.advance(Span::from_secs(29));
    while clock.next_wake().is_none() {
        tokio::task::yield_now().await;
    }
    clock.advance(Span::from_secs(2));
    stopped.notified().await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    engine.drain(Span::ZERO).await;
    engine.close().await;
}
