//! What is measured: the same seven layers by this crate and by a peer, and single layers.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::time::Duration;

use longhaul_resilience::{Breaker, Bulkhead, Cache, Fail, Fallback, Limit, Retry, RetryBudget, Stack, Step};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience::{
    bulkhead::BulkheadLayer, cache::CacheLayer, circuitbreaker::CircuitBreakerLayer, fallback::FallbackLayer,
    ratelimiter::RateLimiterLayer, retry::RetryLayer, timelimiter::TimeLimiterLayer,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The service behind every stack: does nothing, at once.
pub(crate) async fn service(n: u64) -> Result<u64, ServiceError> {
    Ok(std::hint::black_box(n))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceError;

impl std::fmt::Display for ServiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the service failed")
    }
}

impl std::error::Error for ServiceError {}

/// So many calls per minute that the limit is never what is measured.
const PLENTY: u64 = 1 << 40;

/// Fallback, overall time, retry with budget, rate, bulkhead, breaker with a sliding window, attempt time.
pub(crate) fn ours_seven() -> impl Step<u64, Out = u64, Err = Fail<ServiceError>> {
    let budget = RetryBudget::default();
    Stack::named("bench-seven")
        .fallback(Fallback::to(service))
        .deadline(HOUR)
        .retry(Retry::default().budget(&budget))
        .limit(Limit::rpm(PLENTY))
        .bulkhead(Bulkhead::new(1000))
        .breaker(Breaker::rate(0.5).window_calls(100))
        .attempt_timeout(HOUR)
        .around(service)
}

/// The order that this crate recommends, with a cache that never hits outermost.
pub(crate) fn ours_recommended() -> impl Step<u64, Out = u64, Err = Fail<ServiceError>> {
    Stack::named("bench-recommended")
        .cache(Cache::keyed(|n: &u64| *n).max_entries(1000))
        .deadline(HOUR)
        .fallback(Fallback::to(service))
        .retry(Retry::default())
        .breaker(Breaker::rate(0.5).window_calls(100))
        .limit(Limit::rpm(PLENTY).tpm(PLENTY, |_: &u64| 10))
        .attempt_timeout(HOUR)
        .around(service)
}

macro_rules! single {
    ($name:ident, $label:literal, $($layer:tt)+) => {
        pub(crate) fn $name() -> impl Step<u64, Out = u64, Err = Fail<ServiceError>> {
            Stack::named($label).$($layer)+.around(service)
        }
    };
}

pub(crate) fn ours_bare() -> impl Step<u64, Out = u64, Err = Fail<ServiceError>> {
    Stack::named("bench-bare").around(service)
}
single!(ours_deadline, "bench-deadline", deadline(HOUR));
single!(ours_retry, "bench-retry", retry(Retry::default()));
single!(ours_limit, "bench-limit", limit(Limit::rpm(PLENTY)));
single!(ours_bulkhead, "bench-bulkhead", bulkhead(Bulkhead::new(1000)));
single!(ours_breaker, "bench-breaker", breaker(Breaker::consecutive(5)));
single!(ours_breaker_window, "bench-breaker-window", breaker(Breaker::rate(0.5).window_calls(100)));
single!(ours_breaker_time, "bench-breaker-time", breaker(Breaker::rate(0.5).window(Duration::from_secs(10))));
single!(ours_timeout, "bench-timeout", attempt_timeout(HOUR));
single!(ours_cache, "bench-cache", cache(Cache::keyed(|n: &u64| *n).ttl(HOUR).max_entries(1000)));

/// The peer's seven, in the same order.
pub(crate) fn tower_resilience_seven() -> impl Service<u64, Response = u64, Error = impl std::fmt::Debug> + Clone {
    let inner = service_fn(service);
    let inner = TimeLimiterLayer::builder().timeout_duration(HOUR).build().layer(inner);
    let inner = tower_resilience_breaker_layer().layer(inner);
    let inner = BulkheadLayer::builder().max_concurrent_calls(1000).build().unwrap().layer(inner);
    let inner = tower_resilience_rate_layer().layer(inner);
    let inner = RetryLayer::<u64, u64, _>::builder().max_attempts(4).build().layer(inner);
    let inner = TimeLimiterLayer::builder().timeout_duration(HOUR).build().layer(inner);
    FallbackLayer::<u64, u64, _>::value(0).layer(inner)
}

fn tower_resilience_breaker_layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(100).build().unwrap()
}

fn tower_resilience_rate_layer() -> RateLimiterLayer {
    RateLimiterLayer::builder().limit_for_period(1 << 30).refresh_period(Duration::from_secs(1)).build().unwrap()
}

pub(crate) fn tower_resilience_breaker() -> impl Service<u64, Response = u64, Error = impl std::fmt::Debug> + Clone {
    tower_resilience_breaker_layer().layer(service_fn(service))
}

pub(crate) fn tower_resilience_cache() -> impl Service<u64, Response = u64, Error = impl std::fmt::Debug> + Clone {
    let layer = CacheLayer::builder().max_size(1000).ttl(HOUR).key_extractor(|n: &u64| *n).build().unwrap();
    layer.layer(service_fn(service))
}

/// What plain tower has: load shedding, a concurrency limit, retry, timeout.
pub(crate) fn tower_four() -> impl Service<u64, Response = u64, Error = impl std::fmt::Debug> + Clone {
    ServiceBuilder::new().load_shed().concurrency_limit(1000).retry(NoRetry).timeout(HOUR).service(service_fn(service))
}

#[derive(Clone)]
struct NoRetry;

impl<E> tower::retry::Policy<u64, u64, E> for NoRetry {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, _: &mut Result<u64, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

pub(crate) async fn call<S>(service: &mut S, n: u64) -> u64
where
    S: Service<u64, Response = u64>,
    S::Error: std::fmt::Debug,
{
    service.ready().await.unwrap().call(n).await.unwrap()
}

/// A prompt of 200 bytes.
pub(crate) fn prompt() -> String {
    "What is the difference between a mutex and a semaphore, and when should I use one or the other? ".repeat(3)[..200]
        .to_owned()
}
