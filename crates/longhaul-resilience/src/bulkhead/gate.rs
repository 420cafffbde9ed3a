//! The gate: places, the queue before it, and the wakers of whoever waits.
//!
//! With nobody waiting, coming and going are one atomic operation each. The word holds the limit, the places taken and a
//! mark that someone waits; whoever sees the mark goes through the lock.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The places of a bulkhead: shared by its clones, by several stacks if wanted.
#[derive(Clone)]
pub struct BulkheadHandle {
    gate: Arc<Gate>,
}

struct Gate {
    /// Low half: places taken. High half: the limit, and in the top bit whether someone waits.
    word: AtomicU64,
    queue: Mutex<Queue>,
}

struct Queue {
    max_queue: usize,
    next_id: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
    /// Those who have a place and do not know it yet.
    called: BTreeMap<u64, Option<Waker>>,
}

const TAKEN: u64 = (1 << 31) - 1;
const LIMIT_SHIFT: u32 = 32;
const CROWDED: u64 = 1 << 63;

fn taken(word: u64) -> u64 {
    word & TAKEN
}

fn limit(word: u64) -> u64 {
    (word & !CROWDED) >> LIMIT_SHIFT
}

/// What a caller finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Inside,
    Waits(u64),
    Full,
}

impl BulkheadHandle {
    /// The largest limit.
    pub const MAX_LIMIT: u32 = (1 << 30) - 1;

    /// A gate with `limit` places, at least one, and room for `max_queue` who wait.
    pub fn new(limit: u32, max_queue: usize) -> Self {
        let queue = Queue { max_queue, next_id: 0, waiting: BTreeMap::new(), called: BTreeMap::new() };
        let word = u64::from(limit.clamp(1, Self::MAX_LIMIT)) << LIMIT_SHIFT;
        Self { gate: Arc::new(Gate { word: AtomicU64::new(word), queue: Mutex::new(queue) }) }
    }

    /// The number of places.
    #[allow(clippy::cast_possible_truncation, reason = "limits are 31 bits wide")]
    pub fn limit(&self) -> u32 {
        limit(self.gate.word.load(Ordering::Acquire)) as u32
    }

    /// How many places are taken.
    #[allow(clippy::cast_possible_truncation, reason = "counts are 31 bits wide")]
    pub fn in_use(&self) -> u32 {
        taken(self.gate.word.load(Ordering::Acquire)) as u32
    }

    /// How many callers wait.
    pub fn waiting(&self) -> usize {
        lock(&self.gate.queue).waiting.len()
    }

    /// Changes the number of places. Calls under way stay; fewer begin until there is room again.
    pub fn set_limit(&self, limit: u32) {
        let limit = u64::from(limit.clamp(1, Self::MAX_LIMIT));
        let replace = |word: u64| Some((word & (CROWDED | ((1 << LIMIT_SHIFT) - 1))) | limit << LIMIT_SHIFT);
        let _ = self.gate.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, replace);
        self.call_up();
    }

    /// Changes how many may wait; those who wait already stay.
    pub fn set_max_queue(&self, max_queue: usize) {
        lock(&self.gate.queue).max_queue = max_queue;
    }

    #[inline]
    pub(super) fn come(&self) -> Came {
        let enter = |word: u64| (word & CROWDED == 0 && taken(word) < limit(word)).then_some(word + 1);
        match self.gate.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter) {
            Ok(_) => Came::Inside,
            Err(_) => self.queue_up(),
        }
    }

    #[cold]
    fn queue_up(&self) -> Came {
        let mut queue = lock(&self.gate.queue);
        // The mark first: whoever leaves from now on comes through the lock and finds us in the queue.
        self.gate.word.fetch_or(CROWDED, Ordering::AcqRel);
        // A place may have become free before the mark was seen; it is ours if nobody was here before us.
        let enter = |word: u64| (taken(word) < limit(word)).then_some(word + 1);
        let came = if queue.waiting.is_empty()
            && self.gate.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
        {
            Came::Inside
        } else if queue.waiting.len() >= queue.max_queue {
            Came::Full
        } else {
            let id = queue.next_id;
            queue.next_id += 1;
            queue.waiting.insert(id, None);
            Came::Waits(id)
        };
        self.unmark_if_empty(&queue);
        came
    }

    /// Only under the lock: nobody can begin to wait meanwhile.
    fn unmark_if_empty(&self, queue: &Queue) {
        if queue.waiting.is_empty() {
            self.gate.word.fetch_and(!CROWDED, Ordering::AcqRel);
        }
    }

    pub(super) fn poll(&self, id: u64, task: &Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.gate.queue);
        if let Some(waker) = queue.waiting.get_mut(&id) {
            *waker = Some(task.waker().clone());
            return Poll::Pending;
        }
        queue.called.remove(&id);
        Poll::Ready(())
    }

    /// Someone who waited goes away: with the place, if they had been given one.
    pub(super) fn give_up(&self, id: u64) {
        let had_place = {
            let mut queue = lock(&self.gate.queue);
            queue.waiting.remove(&id);
            self.unmark_if_empty(&queue);
            queue.called.remove(&id).is_some()
        };
        if had_place {
            self.leave();
        }
    }

    #[inline]
    pub(super) fn leave(&self) {
        let before = self.gate.word.fetch_sub(1, Ordering::AcqRel);
        if before & CROWDED != 0 {
            self.call_up();
        }
    }

    /// Gives free places to those who wait.
    fn call_up(&self) {
        let mut woken = Vec::new();
        {
            let mut queue = lock(&self.gate.queue);
            let enter = |word: u64| (taken(word) < limit(word)).then_some(word + 1);
            while !queue.waiting.is_empty()
                && self.gate.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
            {
                if let Some((id, waker)) = queue.waiting.pop_first() {
                    queue.called.insert(id, None);
                    woken.extend(waker);
                }
            }
            self.unmark_if_empty(&queue);
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for BulkheadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadHandle").field("limit", &self.limit()).field("in_use", &self.in_use()).finish()
    }
}

/// A place, given back when dropped.
pub(super) struct Place<'a> {
    pub(super) gate: &'a BulkheadHandle,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// A place in the queue, given up when dropped.
pub(super) struct Turn<'a> {
    gate: &'a BulkheadHandle,
    id: u64,
    gone: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(gate: &'a BulkheadHandle, id: u64) -> Self {
        Self { gate, id, gone: false }
    }

    pub(super) async fn come(mut self) -> Place<'a> {
        std::future::poll_fn(|task| self.gate.poll(self.id, task)).await;
        self.gone = true;
        Place { gate: self.gate }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.gone {
            self.gate.give_up(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_handed_over_in_order() {
        let gate = BulkheadHandle::new(1, 10);
        assert_eq!(gate.come(), Came::Inside);
        let (Came::Waits(first), Came::Waits(second)) = (gate.come(), gate.come()) else { panic!() };
        gate.leave();
        let task = Context::from_waker(Waker::noop());
        assert!(gate.poll(second, &task).is_pending());
        assert!(gate.poll(first, &task).is_ready());
        assert!(matches!(gate.come(), Came::Waits(_)), "nobody overtakes");
    }

    #[test]
    fn the_queue_has_an_end() {
        let gate = BulkheadHandle::new(1, 1);
        gate.come();
        assert!(matches!(gate.come(), Came::Waits(_)));
        assert_eq!(gate.come(), Came::Full);
    }

    #[test]
    fn a_larger_limit_calls_up_those_who_wait_and_a_smaller_one_lets_calls_finish() {
        let gate = BulkheadHandle::new(1, 10);
        gate.come();
        let (Came::Waits(first), Came::Waits(_)) = (gate.come(), gate.come()) else { panic!() };
        gate.set_limit(2);
        assert!(gate.poll(first, &Context::from_waker(Waker::noop())).is_ready());
        assert_eq!((gate.in_use(), gate.waiting()), (2, 1));
        gate.set_limit(1);
        gate.leave();
        assert_eq!((gate.in_use(), gate.waiting()), (1, 1));
        gate.leave();
        assert_eq!((gate.in_use(), gate.waiting()), (1, 0));
    }

    proptest! {
        /// The naive gate: a number and a list.
        #[test]
        fn it_agrees_with_a_number_and_a_list(
            limit in 1u32..5, max_queue in 0usize..6,
            steps in prop::collection::vec((0u8..5, any::<prop::sample::Index>(), 1u32..5), 1..300),
        ) {
            let gate = BulkheadHandle::new(limit, max_queue);
            let (mut limit, mut inside) = (limit, 0u32);
            let mut waiting: VecDeque<u64> = VecDeque::new();
            let mut called: Vec<u64> = vec![];
            for (kind, which, new_limit) in steps {
                match kind {
                    0 | 1 => {
                        let expected = if inside < limit && waiting.is_empty() { inside += 1; "inside" }
                            else if waiting.len() < max_queue { "waits" } else { "full" };
                        match gate.come() {
                            Came::Inside => prop_assert_eq!(expected, "inside"),
                            Came::Waits(id) => { prop_assert_eq!(expected, "waits"); waiting.push_back(id); }
                            Came::Full => prop_assert_eq!(expected, "full"),
                        }
                    }
                    2 if inside > called.len() as u32 => { gate.leave(); inside -= 1; }
                    3 if !waiting.is_empty() || !called.is_empty() => {
                        let n = which.index(waiting.len() + called.len());
                        let id = if n < waiting.len() { waiting.remove(n).unwrap() } else {
                            inside -= 1;
                            called.remove(n - waiting.len())
                        };
                        gate.give_up(id);
                    }
                    4 => { limit = new_limit; gate.set_limit(limit); }
                    _ => {}
                }
                while inside < limit && !waiting.is_empty() {
                    called.push(waiting.pop_front().unwrap());
                    inside += 1;
                }
                prop_assert_eq!(gate.in_use(), inside);
                prop_assert_eq!(gate.waiting(), waiting.len());
                for id in &called {
                    prop_assert!(lock(&gate.gate.queue).called.contains_key(id));
                }
            }
        }
    }
}
