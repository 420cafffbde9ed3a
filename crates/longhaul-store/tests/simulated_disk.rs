//! The simulated disk keeps what every store must, and lets a store be seen while its disk fails.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    pin::pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use longhaul_core::{Ending, Span, Status};
use longhaul_store::{
    JobStore, Observer, StoreClock, StoreError,
    conformance::{Harness, World, claim, poll_once, tenant},
    simulation::{DiskRule, Fate, SimulatedDisk},
};
use tokio::runtime::Handle;

/// Lets every batch fare as it was last told.
#[derive(Clone)]
struct Told(Arc<Mutex<Fate>>);

impl Told {
    fn let_batches_fare(&self, fate: Fate) {
        *self.0.lock().unwrap() = fate;
    }
}

impl DiskRule for Told {
    fn batch(&self) -> Fate {
        self.0.lock().unwrap().clone()
    }
}

struct Simulated(SimulatedDisk);

fn disk() -> (Simulated, Told) {
    let told = Told(Arc::new(Mutex::new(Fate::Kept)));
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
