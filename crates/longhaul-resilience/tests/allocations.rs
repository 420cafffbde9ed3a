//! The closed path allocates nothing, the making of the context included.

use std::{alloc::System, time::Duration};

use longhaul_resilience::{
    Adaptive, Breaker, Bulkhead, Cache, Cx, Fallback, Hedge, Limit, Retry, RetryBudget, Stack, Step,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR: Duration = Duration::from_secs(3600);

async fn service(n: u64) -> Result<u64, String> {
    Ok(n)
}

async fn allocations(step: &impl Step<u64, Out = u64>, calls: u64) -> usize {
    // What is made once, such as the names of layers, is made before.
    for n in 0..10 {
        assert!(step.call(&Cx::new("warm"), n).await.is_ok());
    }
    // Counts are those of the whole process, and the test harness has a thread of its own that may allocate at any
    // moment. What the calls themselves allocate shows in every round.
    let mut fewest = usize::MAX;
    for _ in 0..5 {
        let region = Region::new(ALLOCATOR);
        for n in 0..calls {
            assert!(step.call(&Cx::new("00000000-0000-4000-8000-000000000000"), n % 10).await.is_ok());
        }
        fewest = fewest.min(region.change().allocations);
    }
    fewest
}

#[tokio::test]
async fn seven_layers_allocate_nothing_and_neither_does_a_hit() {
    let budget = RetryBudget::default();
    let seven = Stack::named("a-seven")
        .fallback(Fallback::to(service))
        .deadline(HOUR)
        .retry(Retry::default().budget(&budget))
        .limit(Limit::rpm(1 << 40).tpm(1 << 40, |_: &u64| 5).actual(|_: &u64| Some(4)))
        .bulkhead(Bulkhead::new(10))
        .breaker(Breaker::rate(0.5))
        .attempt_timeout(HOUR)
        .around(service);
    assert_eq!(allocations(&seven, 10_000).await, 0);

    let others = Stack::named("a-others").hedge(Hedge::after(HOUR)).adaptive(Adaptive::default()).around(service);
    assert_eq!(allocations(&others, 10_000).await, 0);

    let cached = Stack::named("a-cached").cache(Cache::keyed(|n: &u64| *n).ttl(HOUR)).around(service);
    assert_eq!(allocations(&cached, 10_000).await, 0);
}
