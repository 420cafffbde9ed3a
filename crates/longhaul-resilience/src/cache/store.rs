//! Where entries are kept: a port, so that a shared store can stand behind a cache.

use std::{future::Future, time::Duration};

use crate::clock::Tick;

/// How long an entry is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// So long it is fresh.
    pub fresh: Duration,
    /// So long after that it may still be asked for, and need not be kept longer.
    pub grace: Duration,
}

/// An entry, with its age at the moment of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<V> {
    /// The answer.
    pub value: V,
    /// How long ago it was stored.
    pub age: Duration,
    /// At what age it stops being fresh.
    pub fresh_for: Duration,
    /// Whether it came from an alternative.
    pub degraded: bool,
}

impl<V> Found<V> {
    pub(crate) fn is_fresh(&self) -> bool {
        self.age < self.fresh_for
    }

    /// How long past its time it is.
    pub(crate) fn overdue(&self) -> Duration {
        self.age.saturating_sub(self.fresh_for)
    }
}

/// A keyed store of answers. [`Memory`](super::Memory) is the one that ships.
///
/// A store that cannot be reached finds nothing and forgets what it is given: a cache must never fail a call. Whether
/// an old entry may be served is the cache's decision, not the store's.
pub trait Store: Send + Sync {
    /// What entries are found by.
    type Key;
    /// What is kept.
    type Value;

    /// The entry of `key`, unless it is past its grace.
    fn get(&self, key: &Self::Key, now: Tick) -> impl Future<Output = Option<Found<Self::Value>>> + Send;
    /// Stores an entry in place of any other under `key`.
    fn put(
        &self,
        key: Self::Key,
        value: Self::Value,
        degraded: bool,
        life: Lifetime,
        now: Tick,
    ) -> impl Future<Output = ()> + Send;
    /// Forgets one entry; says whether there was one.
    fn remove(&self, key: &Self::Key) -> impl Future<Output = bool> + Send;
    /// Forgets everything; says how many entries there were.
    fn clear(&self) -> impl Future<Output = usize> + Send;
    /// How many entries it holds, those past their time included.
    fn len(&self) -> usize;
    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
