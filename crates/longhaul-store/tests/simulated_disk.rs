//! The simulated disk keeps what every store must, and lets a store be seen while its disk fails.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use longhaul_core::{Ending, JobSpec, Limit, LimitKey, Payload, Span, Status, StepName};
use longhaul_store::{
    Beat, Claim, JobStore, NewJob, Observer, StoreClock, StoreError,
    conformance::{Harness, LEASE, World, claim, kind, poll_once, succeeded, tenant},
    simulation::{DiskRule, Fate, SimulatedDisk},
};
use tokio::runtime::Handle;

/// Lets every batch fare as it was last told.
#[derive(Clone)]
struct Told(Arc<Mutex<Fate>>, Arc<AtomicUsize>, Arc<AtomicBool>);

impl Told {
    fn let_batches_fare(&self, fate: Fate) {
        *self.0.lock().unwrap() = fate;
    }
}

impl DiskRule for Told {
    fn batch(&self) -> Fate {
        self.0.lock().unwrap().clone()
    }

    fn reads_children(&self) -> Result<(), StoreError> {
        match self.2.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("no answer".into())),
            false => Ok(()),
        }
    }

    fn moved(&self, rows: usize) {
        self.1.fetch_add(rows, Ordering::Relaxed);
    }
}

struct Simulated(SimulatedDisk);

fn disk() -> (Simulated, Told) {
    let told = Told(Arc::new(Mutex::new(Fate::Kept)), Arc::default(), Arc::default());
    (Simulated(SimulatedDisk::new(Arc::new(told.clone()))), told)
}

#[async_trait]
impl Harness for Simulated {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        let at_once = Arc::new(|| -> futures::future::BoxFuture<'static, ()> { Box::pin(async {}) });
        let (store, writer) = self.0.open(time, observer, Span::from_secs(86_400), at_once).unwrap();
        Handle::current().spawn(writer);
        store
    }

    fn is_durable(&self) -> bool {
        true
    }
}

longhaul_store::conformance!(disk().0);

#[tokio::test]
async fn a_lease_that_comes_back_while_the_disk_is_full_is_released_when_there_is_room() {
    let (disk, told) = disk();
    let w = World::with(disk).await;
    {
        let mut claiming = pin!(w.store.claim(claim(1)));
        assert!(poll_once(claiming.as_mut()).is_pending());
        w.submit(w.spec()).await;
        told.let_batches_fare(Fate::Refused(StoreError::StorageFull));
        // Granted, and dropped before anybody has looked.
    }
    assert_eq!(w.store.sweep().await.err(), Some(StoreError::StorageFull));
    told.let_batches_fare(Fate::Kept);
    w.store.sweep().await.unwrap();
    let leased = w.take(claim(1)).await;
    assert_eq!(leased.len(), 1, "the job waits for a lease that nobody holds");
    let id = leased[0].held.job;
    let attempts = w.store.attempts(&tenant(), id).await.unwrap();
    assert_eq!(attempts[0].ending, Some(Ending::Released));
    assert_eq!(leased[0].view.job.crashes, 0);
}

#[tokio::test]
async fn a_disk_that_was_full_has_killed_nobody_and_who_is_silent_afterwards_is_gone() {
    let (disk, told) = disk();
    let w = World::with(disk).await;
    let mut held = Vec::new();
    for in_process in [true, false] {
        w.submit(w.spec()).await;
        held.push(w.take(Claim { in_process, ..claim(1) }).await.remove(0).held);
    }
    let beat = || {
        let beats = held.iter().map(|held| Beat { held: held.clone(), lease_for: LEASE, progress: None });
        w.store.heartbeat(beats.collect())
    };
    let statuses = async || (w.status(held[0].job).await, w.status(held[1].job).await);
    let over_at = w.now() + LEASE;
    told.let_batches_fare(Fate::Refused(StoreError::StorageFull));
    for _ in 0..9 {
        w.advance(5);
        assert_eq!(beat().await.err(), Some(StoreError::StorageFull));
        // Before the leases are over there is nothing to write, and afterwards no room for it.
        assert!(w.store.sweep().await.is_ok_and(|swept| swept.changed == 0) || w.now() >= over_at);
    }
    told.let_batches_fare(Fate::Kept);
    w.sweep().await;
    assert_eq!(statuses().await, (Status::Running, Status::Running));
    w.advance(29);
    w.sweep().await;
    assert_eq!(statuses().await, (Status::Running, Status::Running));
    assert!(beat().await.unwrap().iter().all(Result::is_ok));
    w.advance(30);
    w.sweep().await;
    assert_eq!(statuses().await, (Status::Queued, Status::Queued));
    assert_eq!(w.job(held[0].job).await.crashes, 1);
}

#[tokio::test]
async fn children_that_could_not_be_read_are_cancelled_by_the_next_batch() {
    let (disk, told) = disk();
    let w = World::with(disk).await;
    let parent = w.submit(w.spec()).await;
    let held = w.claim_one().await.held;
    let child = JobSpec { parent: Some(parent), ..w.spec() };
    let id = child.id;
    let children = vec![NewJob { spec: child.into(), input: Payload::inline("{}") }];
    w.store.spawn(held, StepName::new("children").unwrap(), children).await.unwrap();
    told.2.store(true, Ordering::Relaxed);
    w.store.cancel(&tenant(), parent).await.unwrap();
    assert_eq!(w.status(id).await, Status::Queued);
    told.2.store(false, Ordering::Relaxed);
    w.store.sweep().await.unwrap();
    assert_eq!(w.status(id).await, Status::Cancelled);
}

#[tokio::test]
async fn a_batch_in_doubt_is_there_when_the_disk_is_opened_again() {
    let (disk, told) = disk();
    let mut w = World::with(disk).await;
    let error = StoreError::Unavailable("no answer".into());
    told.let_batches_fare(Fate::KeptInDoubt(error.clone()));
    let spec = w.spec();
    let id = spec.id;
    assert_eq!(w.submit_all(vec![spec], None).await, Err(error));
    told.let_batches_fare(Fate::Kept);
    assert!(matches!(w.submit_all(vec![w.spec()], None).await, Err(StoreError::Unavailable(_))));
    w.reopen().await;
    assert_eq!(w.store.job(&tenant(), id).await.unwrap().job.status(), Status::Queued);
}

/// Rows that it takes to submit, claim and finish a hundred jobs of keys of their own, one after the other, behind so many
/// jobs of one key that is full.
async fn rows_behind(blocked: usize) -> usize {
    let (disk, told) = disk();
    let w = World::with(disk).await;
    let limit = Limit { key: Some("/key".into()), concurrency: Some(1), rate: None };
    w.store.limit_kind(kind("echo"), vec![limit]).await.unwrap();
    let keyed = |key: i64| JobSpec { limit_key: Some(LimitKey(key)), ..w.spec() };
    w.submit_all(vec![keyed(0)], None).await.unwrap();
    w.claim_one().await;
    for _ in 0..blocked / 1_000 {
        w.submit_all((0..1_000).map(|_| keyed(0)).collect(), None).await.unwrap();
    }
    told.1.store(0, Ordering::Relaxed);
    for key in 1..=100 {
        let id = w.submit(keyed(key)).await;
        let leased = w.claim_one().await;
        assert_eq!(leased.held.job, id);
        w.finish(&leased.held, succeeded("1")).await.unwrap();
        w.store.sweep().await.unwrap();
    }
    told.1.load(Ordering::Relaxed)
}

#[tokio::test]
async fn what_a_job_costs_does_not_depend_on_how_many_another_key_holds_back() {
    let (alone, behind) = (rows_behind(0).await, rows_behind(10_000).await);
    println!("{alone} rows behind none, {behind} behind ten thousand");
    assert!(behind <= alone + 100, "{behind} rows, and {alone} where nothing is held back");
}

#[tokio::test]
async fn each_of_a_thousand_jobs_of_a_full_key_is_moved_a_few_times_only() {
    let (disk, told) = disk();
    let w = World::with(disk).await;
    let limit = Limit { key: Some("/key".into()), concurrency: Some(50), rate: None };
    w.store.limit_kind(kind("echo"), vec![limit]).await.unwrap();
    let keyed = || JobSpec { limit_key: Some(LimitKey(7)), ..w.spec() };
    w.submit_all((0..1_000).map(|_| keyed()).collect(), None).await.unwrap();
    let mut done = 0;
    while done < 1_000 {
        let leased = w.take(claim(64)).await;
        assert!(!leased.is_empty() && leased.len() <= 50, "{}", leased.len());
        for leased in leased {
            w.finish(&leased.held, succeeded("1")).await.unwrap();
            done += 1;
        }
    }
    let rows = told.1.load(Ordering::Relaxed);
    println!("{rows} rows for a thousand jobs");
    // Written at the submit, when ready, when leased and at the end; read twice; and what lies ahead is looked at.
    assert!(rows < 1_000 * 40, "{rows}");
}
