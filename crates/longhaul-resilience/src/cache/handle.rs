//! The cache itself: looking up, joining flights, storing, purging.

use std::{collections::HashMap, future::Future, hash::Hash, pin::pin, sync::Arc, time::Duration};

use crate::{
    cache::{
        flight::{End, Flight},
        memory::Memory,
        policy::CachePolicy,
        store::{Found, Lifetime, Store},
    },
    clock::Tick,
    cut::{Cut, TooLate},
    cx::{Cx, SharedCx, flag, mark},
    label::Label,
    step::BoxFuture,
    sync::{Mutex, lock},
    trail::Decision,
};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// The cache had it.
    Hit,
    /// The cache had an old one; a refresh is running.
    Stale,
    /// The call failed, and the cache had an old one.
    StaleOnError,
    /// This caller's call was made.
    Miss,
    /// Another caller's call for the same key answered.
    Coalesced,
    /// The caller wanted a fresh answer.
    Bypassed,
}

impl How {
    /// The name in headers: `hit`, `stale`, `miss`, `coalesced` or `bypass`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale | Self::StaleOnError => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypassed => "bypass",
        }
    }
}

/// A result, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got<V, E> {
    /// The answer or the failure.
    pub result: Result<V, E>,
    /// Where it came from.
    pub how: How,
}

/// A cache, shared by its clones. As a layer it is given to [`Cache::shared`](super::Cache::shared); by itself it goes
/// around any future:
///
/// ```
/// use longhaul_resilience::{CacheHandle, CachePolicy, Cx, How};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let cache = CacheHandle::new(CachePolicy::ttl(Duration::from_secs(300)).max_entries(1_000));
/// let cx = Cx::new("req-1");
/// let load = |_| async { Ok::<_, String>("answer".to_owned()) };
///
/// let first = cache.get_or_run(&cx, "question", load).await;
/// assert_eq!((first.result, first.how), (Ok("answer".to_owned()), How::Miss));
/// let second = cache.get_or_run(&cx, "question", load).await;
/// assert_eq!(second.how, How::Hit);
/// # });
/// ```
///
/// The answer is cloned for everyone who gets it: put a large one into an `Arc`. So is the error, for everyone who
/// waited for the same call; wrap an error that is not `Clone` into an `Arc`.
pub struct CacheHandle<K, V, E, St = Memory<K, V>> {
    cell: Arc<Cell<K, V, E, St>>,
}

struct Cell<K, V, E, St> {
    store: St,
    policy: Mutex<CachePolicy>,
    flights: Mutex<HashMap<K, Flight<Landed<V, E>>>>,
    spawn: Mutex<Option<Spawner>>,
}

/// A refresh in the background that takes longer is given up, so that one that hangs does not hold its key for good. The
/// ready-made stacks take two minutes at most.
const REFRESH_MOST: Duration = Duration::from_secs(600);

type Spawner = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// What a flight brought home.
struct Landed<V, E> {
    result: Result<V, E>,
    degraded: bool,
    /// Whether the call was made; the store may have had the answer in the meantime.
    called: bool,
    /// How many attempts it had when it began.
    attempts: u32,
    /// The record of the call, which goes to the caller who began it.
    cx: SharedCx,
}

impl<V: Clone, E: Clone> Clone for Landed<V, E> {
    fn clone(&self) -> Self {
        let Self { degraded, called, attempts, .. } = *self;
        Self { result: self.result.clone(), degraded, called, attempts, cx: Arc::clone(&self.cx) }
    }
}

impl<K, V, E, St> Clone for CacheHandle<K, V, E, St> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell) }
    }
}

impl<K, V, E, St> std::fmt::Debug for CacheHandle<K, V, E, St> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheHandle").field("policy", &*lock(&self.cell.policy)).finish_non_exhaustive()
    }
}

impl<K, V, E> CacheHandle<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + 'static,
{
    /// A cache in memory.
    pub fn new(policy: CachePolicy) -> Self {
        Self::with_store(policy, Memory::new(policy.max_entries))
    }
}

impl<K, V, E, St> CacheHandle<K, V, E, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + 'static,
    St: Store<Key = K, Value = V> + 'static,
{
    /// A cache over a store of one's own. How much that store holds is its own affair.
    pub fn with_store(policy: CachePolicy, store: St) -> Self {
        let cell =
            Cell { store, policy: Mutex::new(policy), flights: Mutex::new(HashMap::new()), spawn: Mutex::new(None) };
        Self { cell: Arc::new(cell) }
    }

    /// Runs background refreshes through `spawn`, so that a shutdown can wait for them. Without it they run on the
    /// current tokio runtime.
    pub fn spawn_with(self, spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        *lock(&self.cell.spawn) = Some(Arc::new(spawn));
        self
    }

    /// The settings.
    pub fn policy(&self) -> CachePolicy {
        *lock(&self.cell.policy)
    }

    /// Changes the settings. Entries keep the lifetime that they were stored with; the number of entries stays what it
    /// was when the cache was made.
    pub fn reload(&self, policy: CachePolicy) {
        *lock(&self.cell.policy) = policy;
    }

    /// Forgets one entry; says whether there was one.
    pub async fn remove(&self, key: &K) -> bool {
        self.cell.store.remove(key).await
    }

    /// Forgets every entry; says how many there were. Calls in the air still store their answers.
    pub async fn purge(&self) -> usize {
        self.cell.store.clear().await
    }

    /// How many entries are stored, old ones included.
    pub fn len(&self) -> usize {
        self.cell.store.len()
    }

    /// Whether no entry is stored.
    pub fn is_empty(&self) -> bool {
        self.cell.store.is_empty()
    }

    /// How many different calls are in the air.
    pub fn in_flight(&self) -> usize {
        lock(&self.cell.flights).len()
    }

    /// The answer of `key`: from the cache, from the same call of another caller, or from `work`.
    ///
    /// `work` is given the context of the call, which lives as long as the call does. If this caller is dropped, the
    /// call goes on for the others who wait for it.
    ///
    /// # Panics
    /// If the call panics: in this caller if it began the call; the others make the call again themselves.
    pub async fn get_or_run<W, F>(&self, cx: &Cx<'_>, key: K, work: W) -> Got<V, E>
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        self.get_or_run_ref(cx, &key, work).await
    }

    /// [`get_or_run`](Self::get_or_run) for those who want their key back: it is cloned only on a miss.
    pub async fn get_or_run_ref<W, F>(&self, cx: &Cx<'_>, key: &K, work: W) -> Got<V, E>
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        self.get_in_time(cx, key, work, Tick::NEVER, || None).await
    }

    /// [`get_or_run_ref`](Self::get_or_run_ref) until `until`. Then an old answer is given, if there is one that may be;
    /// else what `too_late` says, if it says anything.
    pub(super) async fn get_in_time<W, F>(
        &self,
        cx: &Cx<'_>,
        key: &K,
        work: W,
        until: Tick,
        too_late: impl Fn() -> Option<E> + Send + Sync,
    ) -> Got<V, E>
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let too_late = |how| too_late().map(|fail| Got { result: Err(fail), how });
        if cx.is_marked(mark::SKIP_CACHE) {
            let mut fresh = pin!(self.run_fresh(cx, key, work));
            return match Cut::new(cx, until, fresh.as_mut()).await {
                Ok(got) => got,
                Err(TooLate) => match too_late(How::Bypassed) {
                    Some(got) => got,
                    None => fresh.await,
                },
            };
        }
        let mut work = Some(work);
        let mut last_resort = None;
        let found = {
            let mut looking = pin!(self.cell.store.get(key, cx.now()));
            match Cut::new(cx, until, looking.as_mut()).await {
                Ok(found) => found,
                Err(TooLate) => match too_late(How::Miss) {
                    Some(got) => return got,
                    None => looking.await,
                },
            }
        };
        if let Some(found) = found {
            if found.is_fresh() {
                return served(cx, found, How::Hit);
            }
            let policy = self.policy();
            if found.overdue() < policy.stale_while_revalidate && self.refresh(cx, key, &mut work) {
                return served(cx, found, How::Stale);
            }
            last_resort = Some(found).filter(|found| found.overdue() < policy.stale_if_error);
        }
        let got = {
            let mut flying = pin!(self.fly(cx, key, &mut work));
            match Cut::new(cx, until, flying.as_mut()).await {
                Ok(got) => Some(got),
                // Whether it is the call that failed or our time that is over, an old answer is better than none.
                Err(TooLate) if last_resort.is_some() => None,
                Err(TooLate) => match too_late(How::Miss) {
                    Some(got) => Some(got),
                    None => Some(flying.await),
                },
            }
        };
        match (got, last_resort) {
            (Some(got), None) => got,
            (Some(got), Some(_)) if got.result.is_ok() => got,
            (_, Some(found)) => served(cx, found, How::StaleOnError),
            (None, None) => unreachable!("nothing is left out but for an old answer"),
        }
    }

    async fn run_fresh<W, F>(&self, cx: &Cx<'_>, key: &K, work: W) -> Got<V, E>
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let own = Arc::new(cx.detached());
        let result = work(Arc::clone(&own)).await;
        if let Ok(value) = &result {
            self.cell.keep(key, value, &own).await;
        }
        cx.absorb(&own);
        Got { result, how: How::Bypassed }
    }

    /// Makes the call or waits for the one that is in the air. A failure or a degraded answer of a call that was allowed
    /// less than this caller is not accepted: whoever began it may have had a second left, and we a minute.
    async fn fly<W, F>(&self, cx: &Cx<'_>, key: &K, work: &mut Option<W>) -> Got<V, E>
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        loop {
            let own = || Arc::new(cx.detached());
            let (ticket, begun) = self.board(key, work, own);
            let landed = match ticket.land().await {
                End::Landed(landed) => landed,
                // The call panicked in the hands of the one who began it; we still can make it ourselves.
                End::Lost if !begun => continue,
                End::Lost => panic!("the call behind the cache panicked"),
            };
            cx.renew();
            let is_good = landed.result.is_ok() && !landed.degraded;
            if !begun && !is_good && cx.now() < cx.deadline_tick() && cx.allows_more_than(&landed.cx, landed.attempts) {
                continue;
            }
            if landed.degraded {
                cx.mark_degraded();
            }
            if begun {
                cx.absorb(&landed.cx);
            } else {
                cx.raise(flag::COALESCED);
            }
            let how = match (begun, landed.called) {
                (false, _) => How::Coalesced,
                (true, true) => How::Miss,
                (true, false) => How::Hit,
            };
            return Got { result: landed.result, how };
        }
    }

    /// Makes sure that a refresh is running, if there is anything to run it on.
    fn refresh<W, F>(&self, cx: &Cx<'_>, key: &K, work: &mut Option<W>) -> bool
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let spawn = lock(&self.cell.spawn).clone();
        let runtime = tokio::runtime::Handle::try_current();
        if spawn.is_none() && runtime.is_err() {
            return false;
        }
        // Nobody waits for it, so it has no deadline of a caller's.
        let (ticket, begun) = self.board(key, work, || Arc::new(cx.apart().timeout(REFRESH_MOST)));
        if begun {
            let own = cx.apart().timeout(REFRESH_MOST);
            let flight: BoxFuture<'static, ()> = Box::pin(async move {
                let _ = Cut::new(&own, own.deadline_tick(), pin!(ticket.land())).await;
            });
            match (spawn, runtime) {
                (Some(spawn), _) => spawn(flight),
                (None, Ok(runtime)) => drop(runtime.spawn(flight)),
                (None, Err(_)) => {}
            }
        }
        true
    }

    /// Joins the flight of `key`, or begins one with `work`; says which.
    fn board<W, F>(
        &self,
        key: &K,
        work: &mut Option<W>,
        own_cx: impl FnOnce() -> SharedCx,
    ) -> (Ticket<K, V, E, St>, bool)
    where
        W: FnOnce(SharedCx) -> F + Send,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let (ticket, work) = {
            let mut flights = lock(&self.cell.flights);
            let (flight, work) = match (flights.get(key), work.take()) {
                (None, Some(work)) => {
                    let flight = Flight::new();
                    flights.insert(key.clone(), flight.clone());
                    (flight, Some(work))
                }
                (Some(flight), unused) => {
                    *work = unused;
                    (flight.clone(), None)
                }
                (None, None) => unreachable!("work is taken only by the one who begins, and that one ends its loop"),
            };
            let id = flight.join();
            (Ticket { cell: Arc::clone(&self.cell), key: key.clone(), flight, id }, work)
        };
        let Some(work) = work else { return (ticket, false) };
        // No lock is held while the caller's code runs. If it panics, those who joined meanwhile must not wait for ever.
        let unfinished = LoseOnPanic { flight: &ticket.flight };
        let cx = own_cx();
        let call = work(Arc::clone(&cx));
        std::mem::forget(unfinished);
        let (cell, key, attempts) = (Arc::clone(&self.cell), key.clone(), cx.attempts_left());
        ticket.flight.begin(Box::pin(async move {
            // Another flight may have landed between our look into the store and our boarding.
            if let Some(found) = cell.store.get(&key, cx.now()).await.filter(Found::is_fresh) {
                return Landed { result: Ok(found.value), degraded: found.degraded, called: false, attempts, cx };
            }
            let result = call.await;
            if let Ok(value) = &result {
                cell.keep(&key, value, &cx).await;
            }
            Landed { result, degraded: cx.is_degraded(), called: true, attempts, cx }
        }));
        (ticket, true)
    }
}

fn served<V, E>(cx: &Cx<'_>, found: Found<V>, how: How) -> Got<V, E> {
    cx.raise(if how == How::Hit { flag::HIT } else { flag::STALE });
    if found.degraded {
        cx.mark_degraded();
    }
    Got { result: Ok(found.value), how }
}

impl<K: Clone, V: Clone, E, St: Store<Key = K, Value = V>> Cell<K, V, E, St> {
    async fn keep(&self, key: &K, value: &V, cx: &Cx<'_>) {
        let policy = *lock(&self.policy);
        let degraded = cx.is_degraded();
        let fresh = if degraded { policy.degraded_ttl.unwrap_or_default() } else { policy.ttl };
        if fresh.is_zero() {
            cx.take_down(Label::NONE, Label::CACHE, Decision::CacheNotStored, 0);
            return;
        }
        // A degraded answer is never served late: by then the real one should be asked for.
        let grace = if degraded { Duration::ZERO } else { policy.grace() };
        self.store.put(key.clone(), value.clone(), degraded, Lifetime { fresh, grace }, cx.now()).await;
    }
}

/// A place in a flight. Given up when dropped.
struct Ticket<K: Hash + Eq, V, E, St> {
    cell: Arc<Cell<K, V, E, St>>,
    key: K,
    flight: Flight<Landed<V, E>>,
    id: u64,
}

impl<K: Hash + Eq, V, E, St> Ticket<K, V, E, St>
where
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + 'static,
{
    async fn land(&self) -> End<Landed<V, E>> {
        std::future::poll_fn(|task| self.flight.poll(self.id, task)).await
    }
}

impl<K: Hash + Eq, V, E, St> Drop for Ticket<K, V, E, St> {
    fn drop(&mut self) {
        let mut flights = lock(&self.cell.flights);
        let left = self.flight.leave(self.id);
        let over = left.over && flights.get(&self.key).is_some_and(|flight| flight.is(&self.flight));
        let gone = over.then(|| flights.remove(&self.key));
        // The call may run code of anybody's when it is dropped: not under the lock.
        drop(flights);
        drop((gone, left));
    }
}

struct LoseOnPanic<'a, T: Clone + Send + 'static> {
    flight: &'a Flight<T>,
}

impl<T: Clone + Send + 'static> Drop for LoseOnPanic<'_, T> {
    fn drop(&mut self) {
        self.flight.lose();
    }
}
