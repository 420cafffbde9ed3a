//! The record of one call: what each layer decided, in order, with times.
//!
//! Writing a note is one atomic addition and two stores, and allocates nothing until [`INLINE_NOTES`] are used up.
//! After that notes go to a list that ends at [`MAX_SPILLED_NOTES`]; what does not fit is counted, never silently lost.

use std::fmt;

use crate::{
    clock::Tick,
    label::Label,
    sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock},
};

/// Enough for a full stack with a few retries.
const INLINE_NOTES: usize = 12;
/// A call with more decisions than this is a loop, and memory is bounded by configuration, not by loops.
const MAX_SPILLED_NOTES: usize = 244;

macro_rules! decisions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// What a layer decided or saw.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Decision { $($(#[$doc])* $variant),* }

        impl Decision {
            const ALL: &'static [Decision] = &[$(Decision::$variant),*];

            /// The stable name, such as `cache.miss`.
            pub const fn name(self) -> &'static str {
                match self { $(Decision::$variant => $name),* }
            }
        }
    };
}

decisions! {
    /// A checkpoint of the user's own; its name is the note's layer.
    Checkpoint = "checkpoint",
    /// The innermost step answered.
    CallOk = "call.ok",
    /// The innermost step failed.
    CallFailed = "call.failed",
    /// Answered from the cache.
    CacheHit = "cache.hit",
    /// Answered from the cache with an entry past its time, while a refresh runs.
    CacheStale = "cache.stale",
    /// Answered from the cache with an old entry, because the call failed.
    CacheStaleOnError = "cache.stale_on_error",
    /// Not in the cache.
    CacheMiss = "cache.miss",
    /// Waited for the same call of another caller.
    CacheCoalesced = "cache.coalesced",
    /// The caller asked not to read the cache.
    CacheBypassed = "cache.bypassed",
    /// A degraded answer was not stored.
    CacheNotStored = "cache.not_stored",
    /// The deadline had passed before the work could start.
    DeadlineRefused = "deadline.refused",
    /// The deadline cut the work off.
    DeadlineCut = "deadline.cut",
    /// The first choice failed.
    PrimaryFailed = "primary.failed",
    /// Another alternative is tried; the detail is its rank, from 1.
    FallbackStart = "fallback.start",
    /// An alternative answered; the detail is its rank.
    FallbackSuccess = "fallback.success",
    /// An alternative failed; the detail is its rank.
    FallbackFailed = "fallback.failed",
    /// Another attempt follows; the detail is the wait before it, in milliseconds.
    RetryScheduled = "retry.scheduled",
    /// The attempts are used up; the detail is how many there were.
    RetryExhausted = "retry.exhausted",
    /// The shared budget refused another attempt.
    RetryBudgetSpent = "retry.budget_spent",
    /// The wait is longer than it is sensible to sleep; the detail is that wait in milliseconds.
    RetryParked = "retry.parked",
    /// The next attempt would not fit before the deadline.
    RetryNoTime = "retry.no_time",
    /// The breaker is open and turned the call away.
    BreakerRejected = "breaker.rejected",
    /// The breaker would have turned the call away, but only watches.
    BreakerWouldReject = "breaker.would_reject",
    /// The call is a probe of a half-open breaker.
    BreakerProbe = "breaker.probe",
    /// The breaker opened.
    BreakerOpened = "breaker.opened",
    /// The breaker lets probes through.
    BreakerHalfOpened = "breaker.half_opened",
    /// The breaker closed.
    BreakerClosed = "breaker.closed",
    /// The result came from an earlier state of the breaker and moved nothing.
    BreakerStale = "breaker.stale",
    /// The call waited for the rate limit; the detail is the wait in milliseconds.
    LimitWaited = "limit.waited",
    /// The rate limit turned the call away.
    LimitRejected = "limit.rejected",
    /// The call waited for a place; the detail is the wait in milliseconds.
    BulkheadWaited = "bulkhead.waited",
    /// No place and no room in the queue.
    BulkheadRejected = "bulkhead.rejected",
    /// The adaptive limit changed; the detail is the new limit.
    AdaptiveLimit = "adaptive.limit",
    /// One attempt took too long.
    AttemptTimedOut = "attempt_timeout.cut",
    /// A second call started beside the first.
    HedgeStarted = "hedge.started",
    /// The second call answered first.
    HedgeWon = "hedge.won",
    /// A hedge was due, but the extra load is used up.
    HedgeDenied = "hedge.denied",
    /// Chaos injected a fault, a delay or an answer.
    ChaosInjected = "chaos.injected",
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One line of a call's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// When, on the clock of the call.
    pub at: Tick,
    /// The stack that the layer belongs to.
    pub stack: Label,
    /// The layer, or the checkpoint's name.
    pub layer: Label,
    /// What happened.
    pub decision: Decision,
    /// A number that belongs to the decision; at most 2²⁴ − 1.
    pub detail: u32,
}

/// Details are 24 bits wide.
const MAX_DETAIL: u32 = (1 << 24) - 1;

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "clamped before")]
fn fit(detail: u64) -> u32 {
    detail.min(u64::from(MAX_DETAIL)) as u32
}

impl Note {
    #[inline]
    pub(crate) fn new(at: Tick, stack: Label, layer: Label, decision: Decision, detail: u64) -> Self {
        Self { at, stack, layer, decision, detail: fit(detail) }
    }

    /// Never zero, so that an empty slot can be told: the lowest byte is the decision plus one.
    #[inline]
    fn pack(&self) -> u64 {
        (self.decision as u64 + 1)
            | u64::from(self.detail) << 8
            | u64::from(self.layer.to_bits()) << 32
            | u64::from(self.stack.to_bits()) << 48
    }

    #[allow(clippy::cast_possible_truncation, reason = "taking the fields apart is the point")]
    fn unpack(word: u64, at: u64) -> Option<Self> {
        let decision = *Decision::ALL.get((word as u8).checked_sub(1)? as usize)?;
        Some(Self {
            at: Tick::from_nanos(at),
            stack: Label::from_bits((word >> 48) as u16),
            layer: Label::from_bits((word >> 32) as u16),
            decision,
            detail: (word >> 8) as u32 & MAX_DETAIL,
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decision {
            Decision::Checkpoint => write!(f, "{}", self.layer),
            decision => write!(f, "{}/{decision}({})", self.stack, self.detail),
        }
    }
}

#[derive(Default)]
struct Slot {
    word: AtomicU64,
    at: AtomicU64,
}

/// The notes of one call.
pub(crate) struct Trail {
    next: AtomicU32,
    slots: [Slot; INLINE_NOTES],
    spilled: Mutex<Vec<Note>>,
}

impl Default for Trail {
    #[inline]
    fn default() -> Self {
        Self { next: AtomicU32::new(0), slots: Default::default(), spilled: Mutex::new(Vec::new()) }
    }
}

impl Trail {
    #[inline]
    pub(crate) fn push(&self, note: &Note) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        match self.slots.get(index) {
            Some(slot) => {
                slot.at.store(note.at.as_nanos(), Ordering::Relaxed);
                slot.word.store(note.pack(), Ordering::Release);
            }
            None => self.spill(*note),
        }
    }

    #[cold]
    fn spill(&self, note: Note) {
        let mut spilled = lock(&self.spilled);
        if spilled.len() < MAX_SPILLED_NOTES {
            spilled.push(note);
        }
    }

    /// Calls `each` for every note that is completely written, in the order of writing.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Note)) {
        let used = (self.next.load(Ordering::Acquire) as usize).min(INLINE_NOTES);
        for slot in &self.slots[..used] {
            let word = slot.word.load(Ordering::Acquire);
            if let Some(note) = Note::unpack(word, slot.at.load(Ordering::Relaxed)) {
                each(note);
            }
        }
        if self.next.load(Ordering::Relaxed) as usize > INLINE_NOTES {
            let spilled = lock(&self.spilled).clone();
            spilled.into_iter().for_each(each);
        }
    }

    /// How many notes found no room.
    pub(crate) fn lost(&self) -> u32 {
        let room = u32::try_from(INLINE_NOTES + MAX_SPILLED_NOTES).unwrap_or(u32::MAX);
        self.next.load(Ordering::Relaxed).saturating_sub(room)
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        self.for_each(|note| {
            list.entry(&format_args!("{note}"));
        });
        list.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(detail: u64) -> Note {
        Note::new(Tick::from_nanos(detail), Label::new("s"), Label::RETRY, Decision::RetryScheduled, detail)
    }

    #[test]
    fn every_decision_survives_packing() {
        for &decision in Decision::ALL {
            let note = Note::new(Tick::from_nanos(9), Label::new("s"), Label::BREAKER, decision, 77);
            assert_eq!(Note::unpack(note.pack(), 9), Some(note));
        }
    }

    #[test]
    fn details_saturate() {
        let note = note(u64::MAX);
        assert_eq!(note.detail, MAX_DETAIL);
        assert_eq!(Note::unpack(note.pack(), u64::MAX), Some(note));
    }

    #[test]
    fn notes_keep_their_order_beyond_the_inline_ones_and_the_rest_is_counted() {
        let trail = Trail::default();
        for n in 0..300 {
            trail.push(&note(n));
        }
        let mut seen = Vec::new();
        trail.for_each(|n| seen.push(u64::from(n.detail)));
        assert_eq!(seen, (0..256).collect::<Vec<_>>());
        assert_eq!(trail.lost(), 44);
    }
}
