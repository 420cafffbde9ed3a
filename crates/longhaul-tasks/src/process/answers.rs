//! Where answers are kept: in memory, bounded in number and in bytes.
//!
//! To make room, entries go in the order in which they came; one that was read since is forgiven once (second chance).
//! One lock for all: an entry is found, marked and cloned by reference in well under a microsecond, and nothing is done
//! under the lock that grows with an answer.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use longhaul_core::{Clock, Timestamp};
use longhaul_resilience::{
    Tick,
    cache::{Found, Lifetime, Store},
};

use super::{Bill, key::Key, output::Json};

/// What an entry takes beside its answer: key twice, times, places in map and queue, a bill that is paid.
const OVERHEAD: usize = 224;

/// An answer of a model.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) output: Json,
    pub(super) degraded: bool,
    /// What it took, until somebody has paid for it.
    pub(super) bill: Bill,
}

impl Answer {
    /// One that nothing is owed for.
    pub(super) fn free(output: Json, degraded: bool) -> Self {
        Self { output, degraded, bill: Bill::default() }
    }
}

/// Answers by key. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    entries: HashMap<Key, Entry>,
    /// Every key of `entries` once, oldest first.
    order: VecDeque<Key>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    degraded: bool,
    stored_at: Tick,
    life: Lifetime,
    read: bool,
}

impl Entry {
    fn bytes(&self) -> usize {
        OVERHEAD + self.answer.output.get().len()
    }
}

impl Answers {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let shelf = Shelf { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, max_entries, max_bytes };
        Self { shelf: Arc::new(Mutex::new(shelf)) }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of `key`, if it is still fresh.
    pub(super) fn fresh(&self, key: &Key, now: Tick) -> Option<Answer> {
        let mut shelf = self.lock();
        let entry = shelf.entries.get_mut(key).filter(|entry| now.since(entry.stored_at) < entry.life.fresh)?;
        entry.read = true;
        Some(entry.answer.clone())
    }

    /// How many there are, and the bytes they take.
    pub(super) fn held(&self) -> (usize, usize) {
        let shelf = self.lock();
        (shelf.entries.len(), shelf.bytes)
    }
}

impl Shelf {
    fn put(&mut self, key: Key, entry: Entry) {
        let bytes = entry.bytes();
        if bytes > self.max_bytes {
            return;
        }
        self.bytes += bytes;
        match self.entries.insert(key, entry) {
            Some(replaced) => self.bytes -= replaced.bytes(),
            None => self.order.push_back(key),
        }
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            // Ends: a round through the queue clears every mark.
            let Some(key) = self.order.pop_front() else { break };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.read => {
                    entry.read = false;
                    self.order.push_back(key);
                }
                Some(_) => self.drop_entry(&key),
                None => {}
            }
        }
    }

    fn drop_entry(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes();
        }
    }
}

impl Store for Answers {
    type Key = Key;
    type Value = Answer;

    async fn get(&self, key: &Key, now: Tick) -> Option<Found<Answer>> {
        let mut shelf = self.lock();
        let entry = shelf.entries.get_mut(key)?;
        let age = now.since(entry.stored_at);
        if age >= entry.life.fresh.saturating_add(entry.life.grace) {
            return None;
        }
        entry.read = true;
        Some(Found { value: entry.answer.clone(), age, fresh_for: entry.life.fresh, degraded: entry.degraded })
    }

    async fn put(&self, key: Key, answer: Answer, degraded: bool, life: Lifetime, now: Tick) {
        self.lock().put(key, Entry { answer, degraded, stored_at: now, life, read: false });
    }

    async fn remove(&self, key: &Key) -> bool {
        let mut shelf = self.lock();
        let held = shelf.entries.contains_key(key);
        if held {
            shelf.drop_entry(key);
            shelf.order.retain(|other| other != key);
        }
        held
    }

    async fn clear(&self) -> usize {
        let mut shelf = self.lock();
        let count = shelf.entries.len();
        shelf.entries.clear();
        shelf.order.clear();
        shelf.bytes = 0;
        count
    }

    fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

/// The engine's clock as the cache reads clocks.
pub(super) struct EngineTime(pub(super) Arc<dyn Clock>);

impl longhaul_resilience::Clock for EngineTime {
    fn now(&self) -> Tick {
        let micros = u64::try_from(self.0.now().as_micros()).unwrap_or(0);
        // Zero would read as "not asked yet" to a context.
        Tick::from_nanos(micros.saturating_mul(1_000).max(1))
    }

    fn unix_time(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now().as_micros()).unwrap_or(0))
    }

    fn sleep_until(&self, at: Tick) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.0.clone();
        let at = Timestamp::from_micros(i64::try_from(at.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX));
        Box::pin(async move { clock.sleep_until(at).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Task;

    const LIFE: Lifetime = Lifetime { fresh: Duration::from_secs(300), grace: Duration::ZERO };

    fn key(n: usize) -> Key {
        Key::of(&longhaul_core::Tenant::default_tenant(), "m", &Task::Embed(Arc::new([n.to_string()])))
    }

    fn put(answers: &Answers, n: usize, size: usize) {
        let answer = Answer::free(Json::of(&"x".repeat(size)).unwrap(), false);
        let entry = Entry { answer, degraded: false, stored_at: Tick::from_nanos(1), life: LIFE, read: false };
        answers.lock().put(key(n), entry);
    }

    fn has(answers: &Answers, n: usize) -> bool {
        answers.fresh(&key(n), Tick::from_nanos(2)).is_some()
    }

    #[test]
    fn neither_the_number_nor_the_bytes_grow_beyond_their_bounds() {
        let by_number = Answers::new(3, 1 << 20);
        (0..100).for_each(|n| put(&by_number, n, 10));
        assert_eq!(by_number.held().0, 3);
        let by_bytes = Answers::new(1_000, 10_000);
        (0..100).for_each(|n| put(&by_bytes, n, 1_000));
        assert!(by_bytes.held().1 <= 10_000 && by_bytes.held().0 >= 8, "{:?}", by_bytes.held());
        put(&by_bytes, 200, 20_000);
        assert!(!has(&by_bytes, 200), "larger than all the room there is");
    }

    #[test]
    fn what_is_read_stays_longer_than_what_is_not() {
        let answers = Answers::new(3, 1 << 20);
        (0..3).for_each(|n| put(&answers, n, 10));
        assert!(has(&answers, 0));
        put(&answers, 3, 10);
        assert!(has(&answers, 0) && !has(&answers, 1));
    }

    #[test]
    fn replacing_an_answer_counts_it_once() {
        let answers = Answers::new(3, 1 << 20);
        put(&answers, 1, 500);
        put(&answers, 1, 10);
        let (entries, bytes) = answers.held();
        assert_eq!((entries, bytes), (1, OVERHEAD + 12));
    }

    #[test]
    fn an_old_answer_is_none() {
        let answers = Answers::new(3, 1 << 20);
        put(&answers, 1, 10);
        assert!(answers.fresh(&key(1), Tick::from_nanos(1).after(Duration::from_millis(299_999))).is_some());
        assert!(answers.fresh(&key(1), Tick::from_nanos(1).after(Duration::from_secs(300))).is_none());
    }
}
