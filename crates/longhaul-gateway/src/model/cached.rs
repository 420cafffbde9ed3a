//! The cache of a model, as its stack uses it and as streams do.
//!
//! Whole answers go through the cache layer. A stream cannot: its answer is there only when it has ended. It looks into
//! the same store before it begins and puts its answer there at its end. What may be given late is given to a stream as to
//! a whole call. Calls in flight are shared by whole calls only.

use std::sync::Arc;
use std::time::Duration;

use longhaul_resilience::cache::{Found, Lifetime, Memory, Store};
use longhaul_resilience::{CacheHandle, Tick};

use crate::call::{Answered, Key};
use crate::settings::CacheSettings;
use crate::target::CallFail;

/// A store that the layer and the streams share.
#[derive(Clone)]
pub(crate) struct SharedMemory(Arc<Memory<Key, Answered>>);

impl Store for SharedMemory {
    type Key = Key;
    type Value = Answered;

    async fn get(&self, key: &Key, now: Tick) -> Option<Found<Answered>> {
        self.0.look_up(key, now)
    }

    async fn put(&self, key: Key, value: Answered, degraded: bool, life: Lifetime, now: Tick) {
        if value.reply.weight() > MAX_KEPT_BYTES {
            // What was kept before is not the newest any more.
            self.0.remove(&key).await;
        } else {
            self.0.put(key, value, degraded, life, now).await;
        }
    }

    async fn remove(&self, key: &Key) -> bool {
        self.0.remove(key).await
    }

    async fn clear(&self) -> usize {
        self.0.clear().await
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A larger answer is not kept: one that is asked for again is rarely a book, and a book takes the room of thousands.
pub(crate) const MAX_KEPT_BYTES: usize = 256 * 1024;

pub(crate) type Handle = CacheHandle<Key, Answered, CallFail, SharedMemory>;

/// The answers of a model that are kept.
pub(crate) struct ModelCache {
    pub(crate) settings: CacheSettings,
    memory: SharedMemory,
    handle: Handle,
}

impl ModelCache {
    pub(crate) fn new(settings: CacheSettings, tracker: &tokio_util::task::TaskTracker) -> Self {
        let weigh = |answered: &Answered| answered.reply.weight();
        let memory = SharedMemory(Arc::new(Memory::weighed(settings.max_entries, settings.max_bytes, weigh)));
        let tracker = tracker.clone();
        let handle = CacheHandle::with_store(settings.policy(), memory.clone()).spawn_with(move |refresh| {
            tracker.spawn(refresh);
        });
        Self { settings, memory, handle }
    }

    /// The same cache with new settings, if it can be the same.
    pub(crate) fn reloaded(&self, settings: CacheSettings) -> Option<Self> {
        let sizes = |settings: &CacheSettings| (settings.max_entries, settings.max_bytes, settings.key);
        (sizes(&self.settings) == sizes(&settings)).then(|| {
            self.handle.reload(settings.policy());
            Self { settings, memory: self.memory.clone(), handle: self.handle.clone() }
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What there is of an answer to this.
    pub(crate) fn look(&self, key: &Key, now: Tick) -> Kept {
        let Some(found) = self.memory.0.look_up(key, now) else { return Kept::Nothing };
        let Some(overdue) = found.age.checked_sub(found.fresh_for) else {
            return Kept::Fresh(found.value, found.degraded);
        };
        if overdue < self.settings.stale_while_revalidate {
            Kept::Refreshable
        } else if overdue < self.settings.stale_if_error {
            Kept::LastResort(found.value, found.degraded)
        } else {
            Kept::Nothing
        }
    }

    /// Where the answer to this is to be kept.
    pub(crate) fn spot(&self, key: Key) -> FreshSpot {
        FreshSpot { key, settings: self.settings, memory: self.memory.clone() }
    }
}

impl std::fmt::Debug for ModelCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelCache").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a stream finds in the cache. An answer comes with whether it is degraded.
pub(crate) enum Kept {
    Fresh(Answered, bool),
    /// Old, to be given while a new one is fetched.
    Refreshable,
    /// Old, to be given if the call fails.
    LastResort(Answered, bool),
    Nothing,
}

/// A place in the cache for an answer that is still being told.
pub(crate) struct FreshSpot {
    key: Key,
    settings: CacheSettings,
    memory: SharedMemory,
}

impl FreshSpot {
    /// Keeps the answer; a degraded one only if the settings say for how long.
    pub(crate) fn keep(self, answered: Answered, degraded: bool, now: Tick) {
        let mut life = self.settings.lifetime();
        if degraded {
            let Some(ttl) = self.settings.degraded_ttl else { return };
            // A degraded answer is never served late: by then the real one should be asked for.
            life = Lifetime { fresh: ttl, grace: Duration::ZERO };
        }
        let put = self.memory.put(self.key, answered, degraded, life, now);
        // The store is memory: it is ready at its first poll.
        let _ = futures_util::FutureExt::now_or_never(put);
    }
}
