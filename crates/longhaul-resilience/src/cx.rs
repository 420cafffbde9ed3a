//! The context that travels with one call through every layer.
//!
//! A [`Cx`] carries who asks ([`CorrelationId`]), until when (the deadline), by which clock, with which data, and takes
//! down what each layer decided. It is passed by shared reference, because parallel and hedged calls need several
//! children of one parent. Making one allocates nothing.
//!
//! Invariants: a child's deadline is never later than its parent's. What a child took down reaches the parent when the
//! child ends, however it ends. The cached time ([`Cx::now`]) is renewed when a stack is entered, when an innermost
//! step returns and after every wait of a layer, so that seven layers share two clock readings.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::{Clock, Sleep, Tick, Time},
    label::Label,
    sync::{AtomicU32, AtomicU64, Ordering},
    trail::{Decision, Note, Trail},
};

/// Which request a call belongs to. Up to 48 bytes are kept inline; the rest of a longer text is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId {
    len: u8,
    bytes: [u8; Self::MAX_BYTES],
}

impl CorrelationId {
    /// Room for a UUID, a ULID, a W3C trace id, and a prefix.
    pub const MAX_BYTES: usize = 48;
    /// No id.
    pub const NONE: CorrelationId = CorrelationId { len: 0, bytes: [0; Self::MAX_BYTES] };

    /// Takes the first 48 bytes of `text`, cut between characters.
    pub fn new(text: &str) -> Self {
        let len = text.floor_char_boundary(Self::MAX_BYTES.min(text.len()));
        let mut id = Self::NONE;
        id.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        id.len = u8::try_from(len).unwrap_or_default();
        id
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl From<&str> for CorrelationId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

type Data = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// What a call found out about itself, one bit each.
pub(crate) mod flag {
    pub(crate) const HIT: u32 = 1;
    pub(crate) const STALE: u32 = 1 << 1;
    pub(crate) const COALESCED: u32 = 1 << 2;
    pub(crate) const DEGRADED: u32 = 1 << 3;
    pub(crate) const COMMITTED: u32 = 1 << 4;
    /// What goes from a child to its parent.
    pub(crate) const UPWARDS: u32 = HIT | STALE | COALESCED | DEGRADED | COMMITTED;
    /// A retry layer further out already repeats this call.
    pub(crate) const RETRY_OWNED: u32 = 1 << 8;
    /// The caller wants a fresh answer.
    pub(crate) const SKIP_CACHE: u32 = 1 << 9;
    /// What goes from a parent to its child.
    pub(crate) const DOWNWARDS: u32 = RETRY_OWNED | SKIP_CACHE;
}

/// The context of one call. See the [module](self).
///
/// ```
/// use longhaul_resilience::Cx;
/// use std::time::Duration;
///
/// let cx = Cx::new("req-123").timeout(Duration::from_secs(2)).data("tenant-7".to_owned());
/// assert_eq!(cx.correlation_id().as_str(), "req-123");
/// assert!(cx.remaining().unwrap() <= Duration::from_secs(2));
/// assert_eq!(cx.get::<String>().map(String::as_str), Some("tenant-7"));
/// cx.checkpoint("prompt.built");
/// assert_eq!(cx.report().notes[0].layer.as_str(), "prompt.built");
/// ```
#[derive(Debug)]
pub struct Cx {
    id: CorrelationId,
    deadline: Tick,
    time: Time,
    now: AtomicU64,
    flags: AtomicU32,
    retries: AtomicU32,
    data: Option<Arc<Data>>,
    trail: Trail,
}

impl Default for Cx {
    fn default() -> Self {
        Self::from_id(CorrelationId::NONE)
    }
}

impl Cx {
    /// A context without deadline, on the machine's clock.
    pub fn new(id: impl Into<CorrelationId>) -> Self {
        Self::from_id(id.into())
    }

    fn from_id(id: CorrelationId) -> Self {
        Self {
            id,
            deadline: Tick::NEVER,
            time: Time::System,
            now: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            data: None,
            trail: Trail::default(),
        }
    }

    /// Uses another clock. Call it before anything that speaks of time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.time = Time::Shared(clock);
        self
    }

    /// The call must end at `deadline`; an earlier deadline stays.
    pub fn deadline_at(mut self, deadline: Tick) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// The call must end `after` from now; an earlier deadline stays.
    pub fn timeout(self, after: Duration) -> Self {
        let deadline = self.renew().after(after);
        self.deadline_at(deadline)
    }

    /// Attaches a value, found again by its type with [`Cx::get`].
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        let mut data = self.data.take().map(|data| (*data).clone()).unwrap_or_default();
        data.insert(TypeId::of::<T>(), Arc::new(value));
        self.data = Some(Arc::new(data));
        self
    }

    /// No cache may answer this call; the fresh answer is stored as usual.
    pub fn skip_cache(self) -> Self {
        self.flags.fetch_or(flag::SKIP_CACHE, Ordering::Relaxed);
        self
    }

    /// Which request this is.
    pub fn correlation_id(&self) -> &CorrelationId {
        &self.id
    }

    /// The value of type `T` that was attached.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.data.as_ref()?.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// When the call must have ended, if ever.
    pub fn deadline(&self) -> Option<Tick> {
        (self.deadline != Tick::NEVER).then_some(self.deadline)
    }

    pub(crate) fn deadline_tick(&self) -> Tick {
        self.deadline
    }

    /// The time left until the deadline; what to send along to the next service.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.since(self.renew()))
    }

    /// The time as of the last reading; see the [module](self).
    #[inline]
    pub fn now(&self) -> Tick {
        match self.now.load(Ordering::Relaxed) {
            0 => self.renew(),
            now => Tick::from_nanos(now),
        }
    }

    /// Reads the clock, and remembers what it said.
    #[inline]
    pub fn renew(&self) -> Tick {
        let now = self.time.now();
        self.now.store(now.as_nanos(), Ordering::Relaxed);
        now
    }

    /// Wall time since the Unix epoch, now.
    pub fn unix_time(&self) -> Duration {
        self.time.unix_time()
    }

    /// Wall time since the Unix epoch at `tick`, for handing a moment to another process.
    pub fn unix_time_at(&self, tick: Tick) -> Duration {
        let (unix, now) = (self.time.unix_time(), self.renew());
        if tick >= now { unix.saturating_add(tick.since(now)) } else { unix.saturating_sub(now.since(tick)) }
    }

    /// Waits until `at`.
    pub async fn sleep_until(&self, at: Tick) {
        self.timer(at).await;
        self.renew();
    }

    /// Waits for `wait`.
    pub async fn sleep(&self, wait: Duration) {
        let at = self.renew().after(wait);
        self.sleep_until(at).await;
    }

    pub(crate) fn timer(&self, at: Tick) -> Sleep {
        self.time.sleep_until(at)
    }

    /// Takes down a point that the call has reached. `name` is part of the program, not of the request.
    pub fn checkpoint(&self, name: &str) {
        self.renew();
        self.take_down(Label::NONE, Label::new(name), Decision::Checkpoint, 0);
    }

    /// Output has reached the caller: from here on nothing may repeat this call, neither retry nor hedge nor fallback.
    pub fn commit(&self) {
        self.raise(flag::COMMITTED);
    }

    /// Whether output has reached the caller.
    pub fn is_committed(&self) -> bool {
        self.has(flag::COMMITTED)
    }

    /// The answer is not the one that was wanted first; caches then keep it out, or keep it short.
    pub fn mark_degraded(&self) {
        self.raise(flag::DEGRADED);
    }

    /// Whether the answer came from an alternative.
    pub fn is_degraded(&self) -> bool {
        self.has(flag::DEGRADED)
    }

    pub(crate) fn raise(&self, flags: u32) {
        self.flags.fetch_or(flags, Ordering::Relaxed);
    }

    pub(crate) fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flags != 0
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn take_down(&self, stack: Label, layer: Label, decision: Decision, detail: u64) -> Note {
        let note = Note::new(self.now(), stack, layer, decision, detail);
        self.trail.push(note);
        note
    }

    /// Adds a line to the record: for layers and steps of the user's own.
    pub fn note(&self, stack: Label, layer: Label, decision: Decision, detail: u64) {
        self.take_down(stack, layer, decision, detail);
    }

    /// A context for one part of this call, which ends no later than `deadline`.
    #[inline]
    pub fn child(&self, deadline: Tick) -> Child<'_> {
        Child { parent: self, cx: self.detached(deadline) }
    }

    pub(crate) fn child_with(&self, deadline: Tick, flags: u32) -> Child<'_> {
        let child = self.child(deadline);
        child.cx.raise(flags);
        child
    }

    /// The same call with its own record, for work that may outlive this context.
    pub(crate) fn detached(&self, deadline: Tick) -> Cx {
        Cx {
            id: self.id,
            deadline: self.deadline.min(deadline),
            time: self.time.clone(),
            now: AtomicU64::new(self.now.load(Ordering::Relaxed)),
            flags: AtomicU32::new(self.flags.load(Ordering::Relaxed) & flag::DOWNWARDS),
            retries: AtomicU32::new(0),
            data: self.data.clone(),
            trail: Trail::default(),
        }
    }

    /// The same request without its deadline, for work that nobody waits for.
    pub(crate) fn background(&self) -> Cx {
        Cx { deadline: Tick::NEVER, ..self.detached(Tick::NEVER) }
    }

    /// Takes over what `part` learned and took down.
    pub(crate) fn absorb(&self, part: &Cx) {
        let flags = part.flags.load(Ordering::Relaxed) & flag::UPWARDS;
        if flags != 0 {
            self.raise(flags);
        }
        let retries = part.retries.load(Ordering::Relaxed);
        if retries != 0 {
            self.retries.fetch_add(retries, Ordering::Relaxed);
        }
        // Times only grow, and two children may end out of order.
        let now = part.now.load(Ordering::Relaxed);
        if now > self.now.load(Ordering::Relaxed) {
            self.now.store(now, Ordering::Relaxed);
        }
        if !part.trail.is_empty() {
            part.trail.for_each(|note| self.trail.push(note));
        }
    }

    /// What the call has found out so far.
    pub fn report(&self) -> Report {
        let mut notes = Vec::new();
        self.trail.for_each(|note| notes.push(note));
        Report {
            cached: self.has(flag::HIT | flag::STALE),
            stale: self.has(flag::STALE),
            coalesced: self.has(flag::COALESCED),
            degraded: self.is_degraded(),
            committed: self.is_committed(),
            retries: self.retries.load(Ordering::Relaxed),
            notes,
            notes_lost: self.trail.lost(),
        }
    }
}

/// A part of a call. Derefs to its own [`Cx`], and hands what it took down to the parent when dropped.
#[derive(Debug)]
pub struct Child<'a> {
    parent: &'a Cx,
    cx: Cx,
}

impl Deref for Child<'_> {
    type Target = Cx;

    fn deref(&self) -> &Cx {
        &self.cx
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        self.parent.absorb(&self.cx);
    }
}

/// What happened in one call: for answers, headers and records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The answer came out of a cache.
    pub cached: bool,
    /// It came out of a cache past its time.
    pub stale: bool,
    /// The answer was made for another caller who asked the same.
    pub coalesced: bool,
    /// The answer came from an alternative.
    pub degraded: bool,
    /// Output had reached the caller before the end.
    pub committed: bool,
    /// Attempts after the first, over all layers.
    pub retries: u32,
    /// What the layers decided.
    pub notes: Vec<Note>,
    /// Notes that found no room.
    pub notes_lost: u32,
}

impl Report {
    /// Whether some layer decided `decision`.
    pub fn has(&self, decision: Decision) -> bool {
        self.notes.iter().any(|note| note.decision == decision)
    }

    /// The names of the decisions, in order: good to read and to assert on.
    pub fn names(&self) -> Vec<&'static str> {
        let name = |note: &Note| match note.decision {
            Decision::Checkpoint => note.layer.as_str(),
            decision => decision.name(),
        };
        self.notes.iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_clock::VirtualClock;

    fn cx(clock: &VirtualClock) -> Cx {
        Cx::new("t").clock(Arc::new(clock.clone()))
    }

    #[test]
    fn a_long_correlation_id_is_cut_between_characters() {
        let id = CorrelationId::new(&"ä".repeat(40));
        assert_eq!(id.as_str(), "ä".repeat(24));
        assert_eq!(CorrelationId::new(&format!("x{}", "ä".repeat(40))).as_str().len(), 47);
    }

    #[test]
    fn a_child_never_outlives_its_parents_deadline() {
        let clock = VirtualClock::new();
        let parent = cx(&clock).timeout(Duration::from_secs(2));
        assert_eq!(parent.child(Tick::NEVER).deadline(), Some(Tick::from_nanos(2_000_000_000)));
        assert_eq!(parent.child(Tick::from_nanos(5)).deadline(), Some(Tick::from_nanos(5)));
    }

    #[test]
    fn what_a_child_learned_reaches_the_parent_even_when_dropped_early() {
        let clock = VirtualClock::new();
        let parent = cx(&clock);
        parent.checkpoint("one");
        {
            let child = parent.child(Tick::NEVER);
            clock.advance(Duration::from_secs(1));
            child.checkpoint("two");
            child.mark_degraded();
            child.count_retry();
        }
        parent.checkpoint("three");
        let report = parent.report();
        assert_eq!(report.names(), ["one", "two", "three"]);
        assert!(report.degraded);
        assert_eq!(report.retries, 1);
        assert_eq!(report.notes[1].at, Tick::from_nanos(1_000_000_000));
    }

    #[test]
    fn downward_marks_do_not_travel_up() {
        let parent = Cx::default();
        drop(parent.child_with(Tick::NEVER, flag::RETRY_OWNED));
        assert!(!parent.has(flag::RETRY_OWNED));
        assert!(parent.skip_cache().child(Tick::NEVER).has(flag::SKIP_CACHE));
    }

    #[test]
    fn wall_time_of_a_tick_counts_from_now() {
        let clock = VirtualClock::new();
        let cx = cx(&clock);
        let soon = cx.now().after(Duration::from_secs(90));
        assert_eq!(cx.unix_time_at(soon) - clock.unix_time(), Duration::from_secs(90));
    }
}
