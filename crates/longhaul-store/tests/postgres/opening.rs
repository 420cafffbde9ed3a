//! Opening a database, and what is answered when it misbehaves.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::{join, join_all};
use longhaul_core::{EventKind, Ids, KindSpec, LogLevel, Payload, Span, Usage, testing::ManualClock};
use longhaul_store::{
    Claim, JobQuery, JobStore, NewJob, PostgresOpenError, PostgresOptions, PostgresStore, StoreClock, StoreError,
    Submit, Unobserved,
    conformance::{World, claim, kind, tenant},
};
use tempfile::TempDir;

use crate::{Postgres, between::Between, options, server::Database};

fn time(seed: u64) -> StoreClock {
    StoreClock { clock: Arc::new(ManualClock::default()), ids: Arc::new(Ids::seeded(seed)) }
}

async fn open(options: &PostgresOptions) -> Result<Arc<dyn JobStore>, PostgresOpenError> {
    PostgresStore::open(options, time(3), Arc::new(Unobserved)).await
}

#[tokio::test]
async fn servers_that_start_at_once_on_an_empty_database_all_open_it() {
    let database = Database::new().await;
    let options = options(&database);
    let opened = join_all((0..5).map(|seed| PostgresStore::open(&options, time(seed), Arc::new(Unobserved)))).await;
    for store in opened {
        assert_eq!(store.unwrap().kinds().await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let database = Database::new().await;
    open(&options(&database)).await.unwrap().close().await;
    database.run("INSERT INTO schema_version (version) VALUES (99)").await;
    let Err(PostgresOpenError::Newer { found: 99, known: 3 }) = open(&options(&database)).await else {
        panic!("not refused")
    };
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_brought_up_to_date_with_what_it_holds() {
    let database = Database::new().await;
    let before = concat!(
        include_str!("../../src/postgres/migrations/0001_jobs.sql"),
        include_str!("../../src/postgres/migrations/0002_limits_and_traces.sql"),
        "CREATE TABLE schema_version (version int8 PRIMARY KEY); INSERT INTO schema_version VALUES (1), (2);"
    );
    database.run(before).await;
    let world = World::with(Postgres(database.clone())).await;
    let id = world.submit(world.spec()).await;
    assert_eq!(world.claim_one().await.held.job, id);
    assert_eq!(database.number("SELECT max(version) FROM schema_version").await, 3);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let refused = async |url: &str| open(&PostgresOptions::at(url)).await.err().unwrap().to_string();
    assert!(refused("postgres://[").await.contains("URL"));
    assert!(refused("postgres://h/d?sslrootcert=/nowhere.pem").await.contains("/nowhere.pem"));
    let nobody = TempDir::new().unwrap();
    let url = format!("postgres://longhaul@{}/nobody", nobody.path().display().to_string().replace('/', "%2F"));
    assert!(refused(&url).await.contains("cannot be reached"));
    let database = Database::new().await;
    let url = format!("{}?options=-csearch_path%3Dnowhere", database.url());
    assert!(refused(&url).await.contains("search path"));
}

#[tokio::test]
async fn stores_in_two_schemas_of_a_database_are_apart() {
    let database = Database::new().await;
    database.run("CREATE SCHEMA a; CREATE SCHEMA \"B-b\"").await;
    let at = |schema: &str| PostgresOptions {
        own_time: true,
        ..PostgresOptions::at(format!("{}?options=-csearch_path%3D{schema}", database.url()))
    };
    let (a, b) = (open(&at("a")).await.unwrap(), open(&at("%22B-b%22")).await.unwrap());
    let world = World::with(Postgres(database.clone())).await;
    let spec = KindSpec { name: kind("mine"), ..spec() };
    a.put_kind(&tenant(), spec).await.unwrap();
    assert_eq!(b.kinds().await, Ok(vec![]));
    world.submit(world.spec()).await;
    for store in [a, b] {
        assert_eq!(store.jobs(JobQuery::newest(tenant(), 9)).await.unwrap().jobs, []);
    }
}

fn spec() -> KindSpec {
    KindSpec::named(kind("other"))
}

#[tokio::test]
async fn leases_are_on_the_databases_time() {
    let database = Database::new().await;
    let store = open(&PostgresOptions { own_time: false, ..options(&database) }).await.unwrap();
    let world = World::with(Postgres(database.clone())).await;
    let id = world.submit(world.spec()).await;
    let lease = store.claim(claim(1)).await.unwrap()[0].view.job.lease().unwrap().clone();
    assert_eq!(lease.expires_at.since(lease.since), longhaul_store::conformance::LEASE);
    assert!(lease.since > world.now(), "the clock that was handed in stands at the beginning of 2026");
    assert_eq!(store.sweep().await.unwrap().next, Some(lease.expires_at));
    assert!(world.job(id).await.lease().is_some());
}

#[tokio::test]
async fn a_restart_gives_every_worker_elsewhere_time_once() {
    let database = Database::new().await;
    let own = PostgresOptions { own_time: false, ..options(&database) };
    let store = open(&own).await.unwrap();
    let world = World::with(Postgres(database.clone())).await;
    world.store.close().await;
    // More than one batch of them.
    let jobs = (0..1_500).map(|_| NewJob { spec: Arc::new(world.spec()), input: Payload::inline("{}") }).collect();
    store.submit(Submit { jobs, idempotency: None, document: None }).await.unwrap();
    let mut ends = BTreeMap::new();
    while ends.len() < 1_500 {
        let leased = store.claim(Claim { lease_for: Span::from_secs(5), ..claim(1_500) }).await.unwrap();
        ends.extend(leased.iter().map(|leased| (leased.held.job, leased.view.job.lease().unwrap().expires_at)));
    }
    store.close().await;
    let store = open(&own).await.unwrap();
    for (job, before) in ends {
        let now = store.job(&tenant(), job).await.unwrap().job.lease().unwrap().expires_at;
        assert!(now > before + Span::from_secs(10), "{before:?} {now:?}");
    }
}

#[tokio::test]
async fn what_the_database_refuses_fails_alone() {
    let database = Database::new().await;
    let world = World::with(Postgres(database.clone())).await;
    database.run("ALTER TABLE kind ADD CHECK (name <> 'poison')").await;
    let specs = [world.spec(), world.spec()];
    let submits = join_all(specs.iter().map(|spec| world.submit_all(vec![spec.clone()], None)));
    let (default, poison) = (tenant(), KindSpec { name: kind("poison"), ..spec() });
    let (refused, submits) = join(world.store.put_kind(&default, poison), submits).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(submits.iter().all(Result::is_ok), "{submits:?}");
    assert_eq!(world.take(claim(9)).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_dies_while_it_commits_is_asked_what_became_of_that() {
    let database = Database::new().await;
    let world = World::with(Postgres(database.clone())).await;
    // The connection dies within the commit, before that is done: nothing has happened, and all is done again.
    let sql = "
        CREATE SEQUENCE deaths;
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('deaths') <= 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
          RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION die()";
    database.run(sql).await;
    let id = world.submit(world.spec()).await;
    assert_eq!(world.history(id).await, ["job.queued"]);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_not_made_again() {
    let database = Database::new().await;
    let between = Between::new(&database);
    let work = async {
        let options = PostgresOptions { own_time: true, ..PostgresOptions::at(between.url()) };
        let store = open(&options).await.unwrap();
        let world = World::with(Postgres(database.clone())).await;
        world.submit(world.spec()).await;
        let held = store.claim(claim(1)).await.unwrap().remove(0).held;
        between.swallow_the_next_commit();
        let log = EventKind::Log { level: LogLevel::Info, message: "once".into() };
        let spent = Usage { input_tokens: 7, ..Usage::default() };
        store.tell(held.clone(), vec![log], spent).await.unwrap();
        assert!(between.has_swallowed(), "an answer was lost");
        assert_eq!(world.job(held.job).await.report.usage, spent);
        assert_eq!(world.history(held.job).await, ["job.queued", "job.running", "job.log"]);
    };
    between.serve_during(work).await;
}
