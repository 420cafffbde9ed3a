//! What the ledger does beyond what every store must: how much it commits at once, and what it does when it has too much.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{pin::pin, sync::Arc};

use async_trait::async_trait;
use futures::future::join_all;
use longhaul_core::{JobSpec, Status};
use longhaul_store::{
    JobQuery, JobStore, MemoryStore, Observer, SqliteOptions, SqliteStore, StoreClock, StoreError, Submitted,
    conformance::{Harness, World, claim, poll_once, tenant},
};
use tempfile::TempDir;

enum Either {
    Memory,
    Sqlite(TempDir),
}

#[async_trait]
impl Harness for Either {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        match self {
            Either::Memory => MemoryStore::open(time, observer).unwrap(),
            Either::Sqlite(directory) => {
                SqliteStore::open(&SqliteOptions::at(directory.path()), time, observer).unwrap()
            }
        }
    }

    fn is_durable(&self) -> bool {
        matches!(self, Either::Sqlite(_))
    }
}

async fn worlds() -> [World; 2] {
    [World::with(Either::Memory).await, World::with(Either::Sqlite(TempDir::new().unwrap())).await]
}

#[tokio::test]
async fn a_job_that_a_claim_waits_for_is_written_once_already_running() {
    for w in worlds().await {
        let mut waiting = pin!(w.store.claim(claim(1)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        let id = w.submit(w.spec()).await;
        let told: Vec<_> = w.told_of(id).await.iter().map(|change| (change.status, change.version)).collect();
        assert_eq!(told, [(Status::Running, 2)]);
        assert_eq!(waiting.await.unwrap()[0].held.job, id);
    }
}

#[tokio::test]
async fn a_thousand_submitters_at_once_are_all_served() {
    for w in worlds().await {
        let answers = join_all((0..1_000).map(|_| w.submit_all(vec![w.spec()], None))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Submitted::Created)));
        let mut claimed = 0;
        while claimed < 1_000 {
            claimed += w.take(claim(250)).await.len();
        }
        assert_eq!((claimed, w.take(claim(1)).await.len()), (1_000, 0));
    }
}

#[tokio::test]
async fn what_is_too_much_is_turned_away_and_only_that() {
    for w in worlds().await {
        let specs: Vec<JobSpec> = (0..20_000).map(|_| w.spec()).collect();
        let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
        let answers = join_all(specs.into_iter().map(|spec| w.submit_all(vec![spec], None))).await;
        let (mut taken, mut refused) = (0, 0);
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(Submitted::Created) => taken += 1,
                Err(StoreError::Overloaded) => {
                    refused += 1;
                    if refused % 100 == 0 {
                        assert_eq!(w.store.job(&tenant(), id).await.err(), Some(StoreError::NotFound("job")));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(taken >= 6_000, "{taken}");
        let queued = w.store.queues().await.unwrap()[0].queued;
        assert_eq!(queued, taken);
        assert_eq!(w.store.jobs(JobQuery::newest(tenant(), 1)).await.unwrap().jobs.len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_taken_after_the_close() {
    for w in worlds().await {
        let mut waiting = pin!(w.store.claim(claim(1)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        let id = w.submit(w.spec()).await;
        let mut second = pin!(w.store.claim(claim(1)));
        assert!(poll_once(second.as_mut()).is_pending());
        w.store.close().await;
        assert_eq!(waiting.await.unwrap()[0].held.job, id);
        assert!(matches!(second.await, Err(StoreError::Unavailable(_))));
        assert!(matches!(w.submit_all(vec![w.spec()], None).await, Err(StoreError::Unavailable(_))));
        w.store.close().await;
    }
}
