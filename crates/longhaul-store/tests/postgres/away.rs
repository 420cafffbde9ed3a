//! A database that is away, or says nothing.

use std::{pin::pin, sync::Arc};

use futures::future::join_all;
use longhaul_core::{Ids, JobId, Span, Status, testing::ManualClock};
use longhaul_store::{
    Claim, JobStore, PostgresOptions, PostgresStore, StoreClock, StoreError, Submitted, Unobserved,
    conformance::{World, claim, poll_once, tenant},
};

use crate::{Postgres, between::Between, nodes::submit, server::Database};

/// How long these stores wait for an answer.
const PATIENCE: Span = Span::from_millis(400);

async fn open(between: &Between, clock: &ManualClock, seed: u64) -> Arc<dyn JobStore> {
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: Arc::new(Ids::seeded(seed)) };
    let options = PostgresOptions { own_time: true, patience: PATIENCE, ..PostgresOptions::at(between.url()) };
    PostgresStore::open(&options, time, Arc::new(Unobserved)).await.unwrap()
}

#[tokio::test]
async fn connections_that_go_silent_cost_nothing_but_time() {
    let database = Database::new().await;
    let (between, w) = (Between::new(&database), World::with(Postgres(database.clone())).await);
    let work = async {
        let store = open(&between, &w.clock, 5).await;
        // As many connections as it has for reading.
        let id = w.submit(w.spec()).await;
        let whose = tenant();
        join_all((0..8).map(|_| store.job(&whose, id))).await;
        for _ in 0..2 {
            between.silence_what_is_open();
            let spec = w.spec();
            let id = spec.id;
            assert_eq!(submit(&*store, vec![spec], None).await, Ok(Submitted::Created));
            assert_eq!(w.history(id).await, ["job.queued"]);
        }
        between.silence_what_is_open();
        assert_eq!(store.job(&tenant(), id).await.unwrap().job.status(), Status::Queued);
    };
    between.serve_during(work).await;
}

#[tokio::test]
async fn a_doorbell_that_went_silent_is_heard_again() {
    let database = Database::new().await;
    let (between, w) = (Between::new(&database), World::with(Postgres(database.clone())).await);
    let work = async {
        let store = open(&between, &w.clock, 5).await;
        let mut waiting = pin!(store.claim(claim(1)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        store.queues().await.unwrap();
        between.silence_what_is_open();
        // Time stands still: the claim does not look by itself.
        let id = w.submit(w.spec()).await;
        assert_eq!(waiting.await.unwrap()[0].held.job, id);
    };
    between.serve_during(work).await;
}

#[tokio::test]
async fn patience_with_a_database_that_takes_connections_and_says_nothing_is_counted_in_time() {
    let database = Database::new().await;
    let (between, w) = (Between::new(&database), World::with(Postgres(database.clone())).await);
    let work = async {
        let store = open(&between, &w.clock, 5).await;
        between.silence();
        let before = between.accepted();
        let refused = submit(&*store, vec![w.spec()], None).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(store.jobs(longhaul_store::JobQuery::newest(tenant(), 9)).await.is_err());
        let tries = between.accepted() - before;
        assert!(tries < 20, "{tries}");
        between.mend();
        assert_eq!(submit(&*store, vec![w.spec()], None).await, Ok(Submitted::Created));
    };
    between.serve_during(work).await;
}

/// Two stores that reach the database the same way, what they run, and what each of them runs.
async fn claimed(between: &Between, w: &World, in_process: bool) -> ([Arc<dyn JobStore>; 2], [JobId; 2]) {
    let stores = [open(between, &w.clock, 5).await, open(between, &w.clock, 6).await];
    let mut jobs = Vec::new();
    for store in &stores {
        submit(&**store, vec![w.spec()], None).await.unwrap();
        let leased = store.claim(Claim { in_process, ..claim(1) }).await.unwrap();
        jobs.push(leased[0].held.job);
    }
    (stores, jobs.try_into().unwrap())
}

#[tokio::test]
async fn a_database_that_was_away_has_killed_no_server_and_no_worker() {
    for (in_process, away_s, grace_s) in [(true, 20, 14), (false, 45, 29)] {
        let database = Database::new().await;
        let (between, w) = (Between::new(&database), World::with(Postgres(database.clone())).await);
        w.store.close().await;
        let work = async {
            let (stores, jobs) = claimed(&between, &w, in_process).await;
            between.cut();
            for store in &stores {
                assert!(store.sweep().await.is_err());
            }
            w.advance(away_s);
            between.mend();
            for store in stores.iter().rev() {
                store.sweep().await.unwrap();
            }
            assert_eq!(statuses(&*stores[0], jobs).await, [Status::Running; 2]);
            w.advance(grace_s);
            stores[0].sweep().await.unwrap();
            assert_eq!(statuses(&*stores[0], jobs).await, [Status::Running; 2]);
            // Whoever gives no sign of life now is gone.
            w.advance(60);
            stores[0].sweep().await.unwrap();
            assert_eq!(statuses(&*stores[0], jobs).await, [Status::Queued; 2]);
        };
        between.serve_during(work).await;
    }
}

async fn statuses(store: &dyn JobStore, jobs: [JobId; 2]) -> [Status; 2] {
    let status = async |job| store.job(&tenant(), job).await.unwrap().job.status();
    [status(jobs[0]).await, status(jobs[1]).await]
}
