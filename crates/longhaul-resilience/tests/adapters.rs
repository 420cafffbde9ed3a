//! What stands beside the layers: tower in both directions, stores of one's own, steps in a row, and the hands of a person.

#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tests spawn and look at tokio's paused clock")]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use longhaul_resilience::{
    Breaker, BreakerHandle, BreakerState, Cache, CacheHandle, CachePolicy, Chaos, Clock, Cx, Decision, Fail, Hedge,
    How, Limit, Mock, Sequence, Stack, Step, SystemClock, Tick, Why,
    cache::{Found, Lifetime, Store},
    tower::{FromTower, TowerService},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn elapsed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = SystemClock.now();
    let result = work.await;
    (result, SystemClock.now().since(start))
}

async fn ten_seconds(n: u32) -> Result<u32, String> {
    tokio::time::sleep(secs(10)).await;
    Ok(n)
}

#[tokio::test(start_paused = true)]
async fn a_hit_does_not_wait_for_a_tower_service_that_is_busy() {
    let busy = ServiceBuilder::new().concurrency_limit(1).service(service_fn(ten_seconds));
    let stack = Stack::named("a-hit").cache(Cache::keyed(|n: &u32| *n).ttl(secs(3600))).around(FromTower::new(busy));
    assert_eq!(stack.run(1).await, Ok(1));
    let (_, (hit, took)) = tokio::join!(stack.run(2), elapsed(stack.run(1)));
    assert_eq!((hit, took), (Ok(1), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_what_readiness_had_reserved() {
    let busy = ServiceBuilder::new().concurrency_limit(1).service(service_fn(ten_seconds));
    let stack = Stack::named("a-drop").around(FromTower::new(busy));
    assert!(tokio::time::timeout(secs(1), stack.run(1)).await.is_err());
    assert_eq!(elapsed(stack.run(2)).await, (Ok(2), secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_stack_as_a_tower_service_takes_its_context_from_the_request() {
    let stack = Stack::named("a-service").deadline(secs(60)).around(Mock::<u32, String>::hanging());
    let service = TowerService::new(stack).context(|n: &u64| Cx::new("from-headers").timeout(secs(*n)));
    let (result, took) = elapsed(service.oneshot(5)).await;
    assert_eq!((result.unwrap_err().why(), took), (Why::Deadline, secs(5)));
}

/// A store that is slow, and sometimes out of reach.
#[derive(Clone, Default)]
struct Shelf {
    entries: Arc<Mutex<Entries>>,
    out_of_reach: Arc<AtomicBool>,
}

type Entries = HashMap<u32, (u32, bool, Lifetime, Tick)>;

impl Shelf {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Shelf {
    type Key = u32;
    type Value = u32;

    async fn get(&self, key: &u32, now: Tick) -> Option<Found<u32>> {
        tokio::time::sleep(secs(1)).await;
        if self.out_of_reach.load(Ordering::Relaxed) {
            return None;
        }
        let (value, degraded, life, at) = *self.entries().get(key)?;
        let age = now.since(at);
        (age < life.fresh + life.grace).then_some(Found { value, age, fresh_for: life.fresh, degraded })
    }

    async fn put(&self, key: u32, value: u32, degraded: bool, life: Lifetime, now: Tick) {
        if !self.out_of_reach.load(Ordering::Relaxed) {
            self.entries().insert(key, (value, degraded, life, now));
        }
    }

    async fn remove(&self, key: &u32) -> bool {
        self.entries().remove(key).is_some()
    }

    async fn clear(&self) -> usize {
        std::mem::take(&mut *self.entries()).len()
    }

    fn len(&self) -> usize {
        self.entries().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_of_ones_own_stands_behind_the_cache_and_fails_no_call_when_out_of_reach() {
    let shelf = Shelf::default();
    let service = Mock::<u32, String>::returning(7);
    let cache = CacheHandle::with_store(CachePolicy::ttl(secs(60)), shelf.clone());
    let stack = Stack::named("a-store").cache(Cache::keyed(|n: &u32| *n).shared(cache.clone())).around(service.clone());
    assert_eq!((stack.run(1).await, stack.run(1).await), (Ok(7), Ok(7)));
    assert_eq!((service.calls(), cache.len()), (1, 1));
    shelf.out_of_reach.store(true, Ordering::Relaxed);
    assert_eq!(stack.run(1).await, Ok(7));
    assert_eq!(service.calls(), 2);
    assert_eq!((cache.purge().await, cache.is_empty()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn refreshes_run_where_they_are_told_to() {
    let spawned = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&spawned);
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(10)).stale_while_revalidate(secs(30)))
        .spawn_with(move |refresh| {
            seen.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(refresh);
        });
    let call = |_| async { Ok(1) };
    cache.get_or_run(&Cx::default(), "key", call).await.result.unwrap();
    tokio::time::sleep(secs(15)).await;
    assert_eq!(cache.get_or_run(&Cx::default(), "key", call).await.how, How::Stale);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(cache.get_or_run(&Cx::default(), "key", call).await.how, How::Hit);
    assert_eq!(spawned.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_ends_with_its_first_failure_and_takes_as_long_as_its_parts() {
    let bounded = |name: &str, service: Mock<u32, &'static str>| {
        Stack::named(name).attempt_timeout(secs(5)).around::<u32, _>(service)
    };
    let (works, fails, never) = (Mock::returning(1), Mock::failing("no"), Mock::returning(3));
    let both =
        Sequence::of(bounded("a-one", works.clone()), bounded("a-two", fails)).then(bounded("a-three", never.clone()));
    let fail = both.call(&Cx::new("t"), 9).await.unwrap_err();
    assert_eq!((fail.error(), works.calls(), never.calls()), (Some(&"no"), 1, 0));
    assert_eq!(both.longest(Duration::MAX), Some(secs(15)));
}

#[tokio::test(start_paused = true)]
async fn a_person_can_hold_a_breaker_open_or_closed_or_only_watch_it() {
    let service = Mock::<u32, _>::failing("down");
    let breaker = BreakerHandle::new(Breaker::consecutive(2));
    let stack = Stack::named("a-hand").breaker(breaker.clone()).around::<u32, _>(service.clone());
    let call = async || {
        let cx = Cx::new("t");
        let why = stack.call(&cx, 1).await.unwrap_err().why();
        (why, cx.report().has(Decision::BreakerWouldReject))
    };
    breaker.force_open();
    assert!(matches!(call().await.0, Why::Open { .. }));
    assert_eq!(service.calls(), 0);
    breaker.force_closed();
    for _ in 0..10 {
        assert_eq!(call().await, (Why::Inner, false));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.shadow();
    let seen = [call().await, call().await, call().await];
    assert_eq!(seen, [(Why::Inner, false), (Why::Inner, false), (Why::Inner, true)], "it says so, and lets it go");
    assert_eq!((breaker.state(), service.calls()), (BreakerState::Open, 13));
    breaker.auto();
    assert!(matches!(call().await.0, Why::Open { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_learns_when_a_call_is_unusually_slow() {
    let calls = AtomicU64::new(0);
    let stack =
        Stack::named("a-quantile").hedge(Hedge::at_quantile(0.9, secs(5)).max_extra(1.0)).around(async |_: u32| {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(if n % 50 == 49 { secs(60) } else { Duration::from_millis(100) }).await;
            Ok::<_, String>(1)
        });
    let mut longest = vec![];
    for _ in 0..6 {
        let mut worst = Duration::ZERO;
        for n in 0..48 {
            worst = worst.max(elapsed(stack.run(n)).await.1);
        }
        longest.push(worst);
    }
    assert!(longest.contains(&Duration::from_millis(5_100)), "at first after what it was told: {longest:?}");
    let last = longest.pop().unwrap();
    assert!(
        (Duration::from_millis(200)..Duration::from_millis(230)).contains(&last),
        "then after what it saw: {last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_changes_live_and_keeps_what_was_used() {
    let limit = Limit::rpm(60).burst(1).tpm(6_000, |_: &u32| 10).max_wait(secs(100));
    let handle = limit.handle();
    let stack = Stack::named("a-live").limit(limit).around::<u32, _>(Mock::<u32, String>::returning(1));
    let took = async || elapsed(stack.run(1)).await;
    assert_eq!(took().await.1, Duration::ZERO);
    assert_eq!(took().await.1, secs(1));
    handle.set_rpm(Some(6));
    assert_eq!(took().await.1, secs(10), "nothing was won by the change");
    handle.set_tpm(Some(30));
    assert_eq!(took().await.1, secs(20));
    handle.set_max_wait(secs(1));
    assert!(matches!(took().await.0.unwrap_err().why(), Why::Limited { .. }));
    handle.set_rpm(None);
    handle.set_tpm(None);
    assert_eq!(took().await, (Ok(1), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_hang_by_chaos_ends_at_the_attempt_timeout() {
    let stack = Stack::named("a-hang")
        .attempt_timeout(secs(3))
        .chaos(Chaos::seeded(1).hang(1.0))
        .around::<u32, _>(Mock::<u32, String>::returning(1));
    let (result, took): (Result<u32, Fail<String>>, _) = elapsed(stack.run(1)).await;
    assert_eq!((result.unwrap_err().why(), took), (Why::Timeout { limit: secs(3) }, secs(3)));
}
