//! The cache as a layer of a stack.

use std::{hash::Hash, marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    cache::{
        handle::{CacheHandle, Got, How},
        memory::Memory,
        policy::{CachePolicy, Scenario},
        store::Store,
    },
    clock::Tick,
    cx::{Cx, SharedCx},
    fail::{Failure, Why},
    inspect::Inspection,
    label::Label,
    meter::Outcome,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    straight::Run,
    trail::Decision,
};

/// A cache layer: a key function and settings, or a key function and a cache that exists already.
///
/// ```
/// use longhaul_resilience::{Cache, Stack, cache::normalised};
/// use std::time::Duration;
///
/// async fn ask(question: String) -> Result<String, String> {
///     Ok(format!("an answer to {question}"))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ask = Stack::named("ask")
///     .cache(
///         Cache::keyed(|question: &String| normalised(question))
///             .ttl(Duration::from_secs(3600))
///             .max_entries(10_000)
///             .stale_if_error(Duration::from_secs(24 * 3600)),
///     )
///     .around(ask);
/// ask.run("What is Rust?".to_owned()).await.unwrap();
/// ask.run("what is rust".to_owned()).await.unwrap();
/// assert_eq!(ask.metrics().hit_rate, 0.5);
/// # });
/// ```
///
/// The answer and the error must be `Clone`, because several callers may get them, and the input `'static`, because the
/// call may outlive the caller who began it.
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Cache<I, K, F, H = CachePolicy> {
    key: F,
    handle: H,
    types: PhantomData<fn(I) -> K>,
}

impl<I, K, F: Fn(&I) -> K> Cache<I, K, F> {
    /// A cache with the default settings ([`CachePolicy::default`]) and this key function.
    pub fn keyed(key: F) -> Self {
        Self { key, handle: CachePolicy::default(), types: PhantomData }
    }

    /// The settings recommended for `scenario`.
    pub fn scenario(self, scenario: Scenario) -> Self {
        self.policy(scenario.policy())
    }

    /// All settings at once.
    pub fn policy(self, policy: CachePolicy) -> Self {
        Self { handle: policy, ..self }
    }

    /// Answers are fresh for `ttl`.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.handle.ttl = ttl;
        self
    }

    /// See [`CachePolicy::max_entries`].
    pub fn max_entries(self, max_entries: usize) -> Self {
        let policy = self.handle.max_entries(max_entries);
        self.policy(policy)
    }

    /// See [`CachePolicy::stale_while_revalidate`].
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        let policy = self.handle.stale_while_revalidate(window);
        self.policy(policy)
    }

    /// See [`CachePolicy::stale_if_error`].
    pub fn stale_if_error(self, window: Duration) -> Self {
        let policy = self.handle.stale_if_error(window);
        self.policy(policy)
    }

    /// See [`CachePolicy::degraded_ttl`].
    pub fn degraded_ttl(self, ttl: Duration) -> Self {
        let policy = self.handle.degraded_ttl(ttl);
        self.policy(policy)
    }

    /// Uses a cache that exists already: to purge it, to reload its settings, to share it between stacks.
    pub fn shared<V, E, St>(self, cache: CacheHandle<K, V, E, St>) -> Cache<I, K, F, CacheHandle<K, V, E, St>> {
        Cache { key: self.key, handle: cache, types: PhantomData }
    }
}

/// What a cache layer can be made of.
pub trait IntoCache<K, V, E> {
    /// The store behind it.
    type Store;
    /// The cache.
    fn into_cache(self) -> CacheHandle<K, V, E, Self::Store>;
}

impl<K, V, E> IntoCache<K, V, E> for CachePolicy
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + 'static,
{
    type Store = Memory<K, V>;

    fn into_cache(self) -> CacheHandle<K, V, E> {
        CacheHandle::new(self)
    }
}

impl<K, V, E, St> IntoCache<K, V, E> for CacheHandle<K, V, E, St> {
    type Store = St;

    fn into_cache(self) -> Self {
        self
    }
}

impl<I, K, F, H, S, C> Layer<S, C> for Cache<I, K, F, H>
where
    S: Step<I>,
    H: IntoCache<K, S::Out, S::Err>,
{
    type Step = CachedStep<S, F, CacheHandle<K, S::Out, S::Err, H::Store>, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        let site = Site::new(env, Label::CACHE);
        let inner = Arc::new(Inner { step: inner, env: Arc::clone(env) });
        CachedStep { inner, key: self.key, cache: self.handle.into_cache(), site }
    }
}

/// A step behind a cache.
pub struct CachedStep<S, F, H, C> {
    inner: Arc<Inner<S, C>>,
    key: F,
    cache: H,
    site: Site<C>,
}

/// What a call needs that may outlive the caller who began it.
struct Inner<S, C> {
    step: S,
    env: Arc<Env<C>>,
}

impl<I, S, K, F, V, E, St, C> Step<I> for CachedStep<S, F, CacheHandle<K, V, E, St>, C>
where
    I: Send + 'static,
    S: Step<I, Out = V, Err = E> + 'static,
    F: Fn(&I) -> K + Send + Sync,
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Failure + Clone + 'static,
    St: Store<Key = K, Value = V> + 'static,
    C: Send + Sync + 'static,
{
    type Out = V;
    type Err = E;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<V, E> {
        let started = cx.now();
        let key = (self.key)(&input);
        let inner = &self.inner;
        let work = |own: SharedCx| {
            let inner = Arc::clone(inner);
            async move {
                let run = Run::new(&inner.env.straight);
                inner.step.call(&own.child_in(&run), input).await
            }
        };
        // A step that cannot fail cannot be out of time either: it is trusted to answer.
        let until = if E::CAN_FAIL { cx.deadline_tick() } else { Tick::NEVER };
        let got = self.cache.get_in_time(cx, &key, work, until, || self.too_late()).await;
        self.record(cx, started, &got);
        got.result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.inner.step.longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, Some(format!("{} entries", self.cache.len())));
        self.inner.step.inspect(into);
    }
}

impl<S, K, F, V, E, St, C> CachedStep<S, F, CacheHandle<K, V, E, St>, C>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Failure + Clone + 'static,
    St: Store<Key = K, Value = V> + 'static,
{
    fn too_late(&self) -> Option<E> {
        E::local(Why::Deadline, self.site.env.stack, Label::CACHE)
    }

    fn record(&self, cx: &Cx<'_>, started: Tick, got: &Got<V, E>) {
        let decision = match got.how {
            How::Hit => Decision::CacheHit,
            How::Stale => Decision::CacheStale,
            How::StaleOnError => Decision::CacheStaleOnError,
            How::Miss => Decision::CacheMiss,
            How::Coalesced => Decision::CacheCoalesced,
            How::Bypassed => Decision::CacheBypassed,
        };
        self.site.note(cx, decision, 0);
        let outcome = match got.how {
            _ if got.result.is_err() => Outcome::Failed,
            How::Hit => Outcome::Hit,
            How::Stale | How::StaleOnError => Outcome::Stale,
            How::Coalesced => Outcome::Coalesced,
            How::Miss | How::Bypassed => Outcome::Ok,
        };
        self.site.done(cx, started, outcome);
    }
}
