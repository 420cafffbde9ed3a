//! One line around a plain function: a layer added without touching its body.

use std::time::Duration;

use crate::{
    breaker::{BreakerHandle, BreakerStep},
    cache::{Cache, CachePolicy},
    class::AnyErrorIsTransient,
    label::Label,
    limit::{Limit, LimitStep},
    retry::{RetryHandle, RetryStep},
    stack::{Layer, Leaf, Stack, Stacked},
    step::Step,
    timeout::TimeoutStep,
};

type Any = AnyErrorIsTransient;

/// Adds single layers to any step, which every plain `async fn` is. The layer that is added last stands outermost.
///
/// ```
/// use longhaul_resilience::{Cache, Decorate, Limit, Retry};
/// use std::time::Duration;
///
/// async fn summarize(text: String) -> Result<String, String> {
///     Ok(text.chars().take(20).collect())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let summarize = summarize
///     .limited(Limit::rpm(600))
///     .retried(Retry::default())
///     .cached(Cache::keyed(|text: &String| text.clone()).ttl(Duration::from_secs(300)));
///
/// summarize.run("a long text".to_owned()).await.unwrap();
/// assert_eq!(summarize.metrics().total, 1);
/// # });
/// ```
pub trait Decorate<I: Send>: Step<I> + Sized {
    /// Tried again when it fails.
    fn retried(self, retry: impl Into<RetryHandle>) -> Stacked<I, RetryStep<Leaf<Self, Any>, Any>>
    where
        RetryStep<Leaf<Self, Any>, Any>: Step<I>,
    {
        Stack::named(name_of::<Self>()).retry(retry).around(self)
    }

    /// Cut off after `limit`: one attempt, which may be tried again and counts for a breaker further out.
    fn timed_out(self, limit: Duration) -> Stacked<I, TimeoutStep<Leaf<Self, Any>, Any>>
    where
        TimeoutStep<Leaf<Self, Any>, Any>: Step<I>,
    {
        Stack::named(name_of::<Self>()).attempt_timeout(limit).around(self)
    }

    /// Kept from being called while it is down.
    fn guarded(self, breaker: impl Into<BreakerHandle>) -> Stacked<I, BreakerStep<Leaf<Self, Any>, Any>>
    where
        BreakerStep<Leaf<Self, Any>, Any>: Step<I>,
    {
        Stack::named(name_of::<Self>()).breaker(breaker).around(self)
    }

    /// Kept within a rate.
    fn limited<E, A>(self, limit: Limit<E, A>) -> Stacked<I, LimitStep<Leaf<Self, Any>, E, A, Any>>
    where
        LimitStep<Leaf<Self, Any>, E, A, Any>: Step<I>,
    {
        Stack::named(name_of::<Self>()).limit(limit).around(self)
    }

    /// Its answers kept.
    fn cached<K, F>(self, cache: Cache<I, K, F>) -> Stacked<I, Cached<I, K, F, Self>>
    where
        Cache<I, K, F, CachePolicy>: Layer<Leaf<Self, Any>, Any>,
        Cached<I, K, F, Self>: Step<I>,
    {
        Stack::named(name_of::<Self>()).cache(cache).around(self)
    }

    /// Its calls counted and timed: see [`Stacked::metrics`].
    fn measured(self, name: impl Into<Label>) -> Stacked<I, Leaf<Self, Any>> {
        Stack::named(name).around(self)
    }
}

type Cached<I, K, F, S> = <Cache<I, K, F, CachePolicy> as Layer<Leaf<S, Any>, Any>>::Step;

impl<I: Send, S: Step<I>> Decorate<I> for S {}

/// The name of the function at the heart of a step, as far as its type tells: only a label.
fn name_of<S>() -> Label {
    let full = std::any::type_name::<S>();
    let innermost = full.rsplit("Leaf<").next().unwrap_or(full);
    let path = innermost.split([',', '<', '>']).next().unwrap_or(innermost);
    let path = path.trim_end_matches("::{{closure}}");
    Label::new(path.rsplit("::").next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Retry;

    async fn fetch(n: u32) -> Result<u32, String> {
        Ok(n)
    }

    #[test]
    fn a_stack_is_named_after_the_function_at_its_heart() {
        let once = fetch.retried(Retry::default());
        assert_eq!(once.name().as_str(), "fetch");
        assert_eq!(once.limited(Limit::rpm(60)).name().as_str(), "fetch");
    }
}
