//! The store in memory: sharded, bounded, with second-chance eviction.
//!
//! An entry lives in a slot of a fixed-size ring and is found through a hash table of slot numbers, so each key is kept
//! once. To make room a hand goes round the ring: it takes the first entry that is past its grace or has not been read
//! since the hand last came by, and forgives the others once. A read sets one flag; it moves nothing.
//!
//! A key has one shard, a shard one lock, and every operation takes it once: two operations on a key have an order, and
//! there is nothing between them to see.
//!
//! The bounds hold per shard; caches below [`ENTRIES_PER_SHARD`]` * 2` have one shard and hold exactly what they are told.
//! Besides their number the weight of the entries can be bounded ([`Memory::weighed`]): then as many go as must to make
//! room for one that is heavy, and one that is heavier than a shard may be is not taken.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use crate::{
    cache::store::{Found, Lifetime, Store},
    clock::Tick,
    sync::{Mutex, lock},
};

/// Fewer entries than this are not worth a lock of their own.
const ENTRIES_PER_SHARD: usize = 2048;
/// A shard of less than this would turn away what a store of its size has room for.
const WEIGHT_PER_SHARD: usize = 4 << 20;
/// More locks than this do not help on machines of today.
const MAX_SHARDS: usize = 32;

/// The in-memory [`Store`].
pub struct Memory<K, V> {
    hasher: DefaultHashBuilder,
    shards: Box<[Mutex<Shard<K, V>>]>,
    weigh: fn(&V) -> usize,
}

struct Shard<K, V> {
    table: HashTable<u32>,
    slots: Vec<Slot<K, V>>,
    capacity: usize,
    hand: usize,
    weight: usize,
    max_weight: usize,
}

struct Slot<K, V> {
    hash: u64,
    key: K,
    value: V,
    weight: usize,
    stored_at: Tick,
    life: Lifetime,
    degraded: bool,
    visited: bool,
}

impl<K, V> Slot<K, V> {
    fn is_spent(&self, now: Tick) -> bool {
        now.since(self.stored_at) >= self.life.fresh.saturating_add(self.life.grace)
    }
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    /// A store of at most `max_entries` entries.
    pub fn new(max_entries: usize) -> Self {
        Self::weighed(max_entries, usize::MAX, |_| 0)
    }

    /// A store of at most `max_entries` entries whose values together weigh no more than `max_weight`. What a unit of
    /// weight is, bytes for one, is for `weigh` to say; it is asked once for each value that is put.
    ///
    /// ```
    /// use longhaul_resilience::cache::{Lifetime, Memory, Store as _};
    /// use longhaul_resilience::Tick;
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let memory = Memory::weighed(100, 10, String::len);
    /// let life = Lifetime { fresh: Duration::from_secs(60), grace: Duration::ZERO };
    /// for (key, text) in [("a", "1234"), ("b", "123456"), ("c", "12345678901")] {
    ///     memory.put(key, text.to_owned(), false, life, Tick::ZERO).await;
    /// }
    /// assert_eq!(memory.len(), 2, "the third is too heavy");
    /// # });
    /// ```
    pub fn weighed(max_entries: usize, max_weight: usize, weigh: fn(&V) -> usize) -> Self {
        let max_entries = max_entries.clamp(1, u32::MAX as usize);
        let shards = (max_entries / ENTRIES_PER_SHARD).min(max_weight / WEIGHT_PER_SHARD).clamp(1, MAX_SHARDS);
        let shards = 1 << shards.ilog2();
        let shard = |index| {
            // The remainder goes to the first shards, so that the sum is exact.
            let capacity = max_entries / shards + usize::from(index < max_entries % shards);
            let max_weight = max_weight / shards;
            Mutex::new(Shard { table: HashTable::new(), slots: Vec::new(), capacity, hand: 0, weight: 0, max_weight })
        };
        Self { hasher: DefaultHashBuilder::default(), shards: (0..shards).map(shard).collect(), weigh }
    }

    /// What its values weigh together.
    pub fn weight(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).weight).sum()
    }

    #[allow(clippy::cast_possible_truncation, reason = "some upper bits of the hash pick the shard")]
    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V>> {
        // Not the lowest bits and not the top seven: the table uses those.
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    /// The entry of `key`, unless it is past its grace.
    pub fn look_up(&self, key: &K, now: Tick) -> Option<Found<V>> {
        let hash = self.hasher.hash_one(key);
        let mut shard = lock(self.shard(hash));
        let Shard { table, slots, .. } = &mut *shard;
        let index = *table.find(hash, |&index| slots[index as usize].key == *key)?;
        let slot = &mut slots[index as usize];
        let age = now.since(slot.stored_at);
        if slot.is_spent(now) {
            return None;
        }
        slot.visited = true;
        Some(Found { value: slot.value.clone(), age, fresh_for: slot.life.fresh, degraded: slot.degraded })
    }

    fn insert(&self, key: K, value: V, degraded: bool, life: Lifetime, now: Tick) {
        let hash = self.hasher.hash_one(&key);
        let weight = (self.weigh)(&value);
        let slot = Slot { hash, key, value, weight, stored_at: now, life, degraded, visited: false };
        // What goes for it is dropped after the lock: dropping may run code of the caller's.
        let _gone = lock(self.shard(hash)).insert(slot, now);
    }

    fn take(&self, key: &K) -> bool {
        let hash = self.hasher.hash_one(key);
        let _removed = {
            let mut shard = lock(self.shard(hash));
            let Some(index) = shard.find(hash, key) else { return false };
            shard.remove(index)
        };
        true
    }

    fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    fn forget_all(&self) -> usize {
        let emptied: Vec<_> = self.shards.iter().map(|shard| lock(shard).take_all()).collect();
        emptied.iter().map(Vec::len).sum()
    }
}

/// What an insertion drives out: usually one at most, more if it is heavy.
type Gone<K, V> = (Option<Slot<K, V>>, Vec<Slot<K, V>>);

impl<K: Eq, V> Shard<K, V> {
    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        self.table.find(hash, |&index| self.slots[index as usize].key == *key).map(|&index| index as usize)
    }

    /// Puts an entry in, and says what went for it.
    fn insert(&mut self, slot: Slot<K, V>, now: Tick) -> Gone<K, V> {
        let mut gone = Vec::new();
        if let Some(index) = self.find(slot.hash, &slot.key) {
            let weight = self.weight - self.slots[index].weight + slot.weight;
            if weight <= self.max_weight {
                self.weight = weight;
                return (Some(std::mem::replace(&mut self.slots[index], slot)), gone);
            }
            gone.push(self.remove(index));
        }
        if slot.weight > self.max_weight {
            return (Some(slot), gone);
        }
        // Ends: with nobody left there is room.
        while self.weight + slot.weight > self.max_weight {
            let victim = self.victim(now);
            gone.push(self.remove(victim));
        }
        self.weight += slot.weight;
        let (index, evicted) = if self.slots.len() < self.capacity {
            self.slots.push(slot);
            (self.slots.len() - 1, None)
        } else {
            let victim = self.victim(now);
            self.unlink(victim);
            let evicted = std::mem::replace(&mut self.slots[victim], slot);
            self.weight -= evicted.weight;
            (victim, Some(evicted))
        };
        let Self { table, slots, .. } = self;
        if let Ok(index) = u32::try_from(index) {
            table.insert_unique(slots[index as usize].hash, index, |&index| slots[index as usize].hash);
        }
        (evicted, gone)
    }

    fn remove(&mut self, index: usize) -> Slot<K, V> {
        self.unlink(index);
        let removed = self.close_gap(index);
        self.weight -= removed.weight;
        removed
    }

    /// Turns the hand to the next entry that may go. Ends after two rounds at most, for the first clears every flag.
    fn victim(&mut self, now: Tick) -> usize {
        loop {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[index];
            if slot.is_spent(now) || !std::mem::take(&mut slot.visited) {
                return index;
            }
        }
    }

    fn unlink(&mut self, index: usize) {
        let hash = self.slots[index].hash;
        if let Ok(found) = self.table.find_entry(hash, |&other| other as usize == index) {
            found.remove();
        }
    }

    /// Removes a slot that the table no longer knows, by moving the last one into its place.
    fn close_gap(&mut self, index: usize) -> Slot<K, V> {
        let last = self.slots.len() - 1;
        if index != last {
            let hash = self.slots[last].hash;
            let entry =
                self.table.entry(hash, |&other| other as usize == last, |&other| self.slots[other as usize].hash);
            if let (Entry::Occupied(mut found), Ok(index)) = (entry, u32::try_from(index)) {
                *found.get_mut() = index;
            }
        }
        if self.hand >= last {
            self.hand = 0;
        }
        self.slots.swap_remove(index)
    }

    fn take_all(&mut self) -> Vec<Slot<K, V>> {
        self.table.clear();
        (self.hand, self.weight) = (0, 0);
        std::mem::take(&mut self.slots)
    }
}

impl<K, V> Store for Memory<K, V>
where
    K: Hash + Eq + Send + Sync,
    V: Clone + Send + Sync,
{
    type Key = K;
    type Value = V;

    #[inline]
    async fn get(&self, key: &K, now: Tick) -> Option<Found<V>> {
        self.look_up(key, now)
    }

    async fn put(&self, key: K, value: V, degraded: bool, life: Lifetime, now: Tick) {
        self.insert(key, value, degraded, life, now);
    }

    async fn remove(&self, key: &K) -> bool {
        self.take(key)
    }

    async fn clear(&self) -> usize {
        self.forget_all()
    }

    fn len(&self) -> usize {
        self.count()
    }
}

impl<K, V> std::fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} shards)", self.shards.len())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn life(seconds: u64) -> Lifetime {
        Lifetime { fresh: Duration::from_secs(seconds), grace: Duration::ZERO }
    }

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn an_entry_is_found_until_its_time_is_over() {
        let memory = Memory::new(10);
        memory.insert("k", 1, false, life(5), at(0));
        assert_eq!(memory.look_up(&"k", at(4)).map(|f| f.value), Some(1));
        assert_eq!(memory.look_up(&"k", at(5)), None);
    }

    #[test]
    fn an_entry_that_was_read_outlives_one_that_was_not() {
        let memory = Memory::new(2);
        memory.insert("read", 1, false, life(100), at(0));
        memory.insert("unread", 2, false, life(100), at(0));
        memory.look_up(&"read", at(1));
        memory.insert("new", 3, false, life(100), at(1));
        assert!(memory.look_up(&"read", at(1)).is_some());
        assert!(memory.look_up(&"unread", at(1)).is_none());
    }

    #[test]
    fn an_entry_past_its_time_goes_before_one_that_is_fresh() {
        let memory = Memory::new(2);
        memory.insert("fresh", 1, false, life(100), at(0));
        memory.insert("spent", 2, false, life(1), at(0));
        memory.look_up(&"spent", at(0));
        memory.look_up(&"fresh", at(0));
        memory.insert("new", 3, false, life(100), at(5));
        assert!(memory.look_up(&"fresh", at(5)).is_some());
    }

    #[test]
    fn a_large_store_never_holds_more_than_it_may() {
        let memory = Memory::new(10_000);
        for key in 0..50_000u32 {
            memory.insert(key, (), false, life(100), at(0));
        }
        let held = memory.count();
        assert!((9_000..=10_000).contains(&held), "{held}");
        assert_eq!(memory.forget_all(), held);
        assert_eq!(memory.count(), 0);
    }

    #[test]
    fn what_is_heavy_takes_the_room_of_many_and_what_is_too_heavy_is_not_taken() {
        let memory = Memory::weighed(100, 10, |weight: &usize| *weight);
        for key in 0..5 {
            memory.insert(key, 2, false, life(100), at(0));
        }
        assert_eq!((memory.count(), memory.weight()), (5, 10));
        memory.insert(5, 5, false, life(100), at(0));
        assert_eq!((memory.count(), memory.weight()), (3, 9));
        assert!(memory.look_up(&5, at(0)).is_some());
        memory.insert(5, 1, false, life(100), at(0));
        assert_eq!((memory.count(), memory.weight()), (3, 5), "in the place of what it was");
        memory.insert(5, 11, false, life(100), at(0));
        assert_eq!((memory.count(), memory.weight()), (2, 4));
        assert!(memory.look_up(&5, at(0)).is_none(), "and what was there before is old");
        assert_eq!(memory.forget_all(), 2);
        assert_eq!(memory.weight(), 0);
    }

    proptest! {
        /// Whatever is put and removed: no more than it may weigh, and its weight is that of what it holds.
        #[test]
        fn the_weight_is_that_of_what_is_held(
            operations in prop::collection::vec((prop::bool::weighted(0.8), 0u8..24, 0usize..40), 1..300),
        ) {
            let memory = Memory::weighed(8, 64, |weight: &usize| *weight);
            for (puts, key, weight) in operations {
                if puts {
                    memory.insert(key, weight, false, life(10), at(0));
                    prop_assert_eq!(memory.look_up(&key, at(0)).map(|found| found.value), Some(weight));
                } else {
                    memory.take(&key);
                }
                let held: usize = (0..24).filter_map(|key| memory.look_up(&key, at(0))).map(|found| found.value).sum();
                prop_assert_eq!(memory.weight(), held);
                prop_assert!(held <= 64 && memory.count() <= 8);
            }
        }

        /// Whatever is done: what is found is what was put last, the bound holds, and what was removed is gone.
        #[test]
        fn it_agrees_with_a_plain_map(operations in prop::collection::vec((0u8..4, 0u8..24, 0u8..3), 1..300)) {
            let memory = Memory::new(8);
            let mut model: HashMap<u8, (usize, u64)> = HashMap::new();
            let mut clock = 0;
            for (step, (operation, key, wait)) in operations.into_iter().enumerate() {
                clock += u64::from(wait);
                match operation {
                    0 | 1 => {
                        memory.insert(key, step, false, life(10), at(clock));
                        model.insert(key, (step, clock));
                    }
                    2 => {
                        let known = memory.look_up(&key, at(clock)).is_some();
                        let removed = memory.take(&key);
                        prop_assert!(removed || !known);
                        model.remove(&key);
                    }
                    _ => {
                        if let Some(found) = memory.look_up(&key, at(clock)) {
                            let (value, stored) = model[&key];
                            prop_assert_eq!(found.value, value);
                            prop_assert!(clock - stored < 10);
                        }
                    }
                }
                prop_assert!(memory.count() <= 8);
                // An entry put this instant is always found: making room never takes the newcomer.
                if operation < 2 {
                    prop_assert_eq!(memory.look_up(&key, at(clock)).map(|f| f.value), Some(step));
                }
            }
        }
    }
}
