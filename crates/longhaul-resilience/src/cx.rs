//! The context that travels with one call through every layer.
//!
//! A [`Cx`] carries who asks ([`CorrelationId`]), until when (the deadline), by which clock, with which data, and takes
//! down what each layer decided. It is passed by shared reference, because parallel and hedged calls need several
//! children of one parent. Making one allocates nothing.
//!
//! A child ([`Cx::child`]) is two words and some references: it has a deadline of its own and shares everything else, so what
//! is taken down in it stands in the parent's record at once and in order. Data that is attached to a child is the child's
//! alone; output that it commits is the parent's, too.
//!
//! Invariants: a child's deadline is never later than its parent's. The cached time ([`Cx::now`]) is renewed when a stack is entered, when an innermost
//! step returns and after every wait of a layer, so that seven layers share two clock readings.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
    time::Duration,
};

use crate::{
    attempts::Attempts,
    clock::{Clock, Sleep, Tick, Time},
    label::Label,
    straight::Run,
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
    #[inline]
    pub fn new(text: &str) -> Self {
        let len = if text.len() <= Self::MAX_BYTES { text.len() } else { text.floor_char_boundary(Self::MAX_BYTES) };
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
    #[inline]
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

/// What holds for a context and its children, one bit each.
pub(crate) mod mark {
    /// A retry layer further out already repeats this call.
    pub(crate) const RETRY_OWNED: u32 = 1;
    /// The caller wants a fresh answer.
    pub(crate) const SKIP_CACHE: u32 = 1 << 1;
}

/// What a call found out about itself, one bit each.
pub(crate) mod flag {
    pub(crate) const HIT: u32 = 1;
    pub(crate) const STALE: u32 = 1 << 1;
    pub(crate) const COALESCED: u32 = 1 << 2;
    pub(crate) const DEGRADED: u32 = 1 << 3;
    pub(crate) const COMMITTED: u32 = 1 << 4;
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
pub struct Cx<'a> {
    deadline: Tick,
    marks: u32,
    /// The way back through the layers of the stack that this context is in, if it is in one.
    run: Option<&'a Run<'a>>,
    /// Of one of several calls side by side: whether it has committed.
    part: Option<&'a Part<'a>>,
    data: Held<'a>,
    shared: Shared<'a>,
}

/// The context of a call that may outlive the one who asked for it.
pub type SharedCx = Arc<Cx<'static>>;

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a box would be an allocation per call, and a child leaves the room untouched"
)]
enum Shared<'a> {
    Own(Call),
    Parent(&'a Call),
}

/// One of several calls side by side within one: what it commits, the others have not.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    committed: AtomicU32,
    of: Option<&'a Part<'a>>,
}

/// What was attached: here, or further out.
#[derive(Debug)]
enum Held<'a> {
    Own(Option<Arc<Data>>),
    Parent(&'a Option<Arc<Data>>),
}

/// What a context and all its children share.
#[derive(Debug)]
struct Call {
    id: CorrelationId,
    time: Time,
    now: AtomicU64,
    flags: AtomicU32,
    retries: AtomicU32,
    begun: AtomicU32,
    trail: Trail,
}

impl Call {
    #[inline]
    fn new(id: CorrelationId, time: Time, now: Tick) -> Self {
        Self {
            id,
            time,
            now: AtomicU64::new(now.as_nanos()),
            flags: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            trail: Trail::default(),
        }
    }
}

impl Default for Cx<'_> {
    fn default() -> Self {
        Self::from_id(CorrelationId::NONE)
    }
}

impl<'a> Cx<'a> {
    /// A context without deadline, on the machine's clock.
    #[inline]
    pub fn new(id: impl Into<CorrelationId>) -> Self {
        Self::from_id(id.into())
    }

    #[inline]
    fn from_id(id: CorrelationId) -> Self {
        Self {
            deadline: Tick::NEVER,
            marks: 0,
            run: None,
            part: None,
            data: Held::Own(None),
            // In place, and not by `Call::new`: what is passed on by value half undefined is slow to load again.
            shared: Shared::Own(Call {
                id,
                time: Time::System,
                now: AtomicU64::new(0),
                flags: AtomicU32::new(0),
                retries: AtomicU32::new(0),
                begun: AtomicU32::new(0),
                trail: Trail::default(),
            }),
        }
    }

    #[inline]
    fn call(&self) -> &Call {
        match &self.shared {
            Shared::Own(call) => call,
            Shared::Parent(call) => call,
        }
    }

    fn held(&self) -> &Option<Arc<Data>> {
        match &self.data {
            Held::Own(data) => data,
            Held::Parent(data) => data,
        }
    }

    /// For what is set before the call: a child that is changed so becomes a call of its own.
    fn own(&mut self) -> &mut Call {
        if let Shared::Parent(call) = self.shared {
            let now = Tick::from_nanos(call.now.load(Ordering::Relaxed));
            self.shared = Shared::Own(Call::new(call.id, call.time.clone(), now));
        }
        match &mut self.shared {
            Shared::Own(call) => call,
            Shared::Parent(_) => unreachable!("replaced above"),
        }
    }

    /// Uses another clock. Call it before anything that speaks of time. A child with another clock is a call of its own:
    /// its record and its ticks mean nothing to the parent.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.own().time = Time::Shared(clock);
        self
    }

    /// The call must end at `deadline`; an earlier deadline stays.
    pub fn deadline_at(mut self, deadline: Tick) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// The call must end `after` from now; an earlier deadline stays. Nothing is begun that cannot end by then, and the
    /// layers deadline, fallback, cache and attempt timeout cut off what is under way; a stack with none of them trusts its
    /// innermost step to watch [`remaining`](Self::remaining).
    pub fn timeout(self, after: Duration) -> Self {
        let deadline = self.renew().after(after);
        self.deadline_at(deadline)
    }

    /// Attaches a value, found again by its type with [`Cx::get`] here and in the children that are made from now on.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.change_data(|data| drop(data.insert(TypeId::of::<T>(), Arc::new(value))));
        self
    }

    fn change_data(&mut self, change: impl FnOnce(&mut Data)) {
        let mut data = self.held().as_ref().map(|data| (**data).clone()).unwrap_or_default();
        change(&mut data);
        self.data = Held::Own(Some(Arc::new(data)));
    }

    /// No cache may answer this call; the fresh answer is stored as usual.
    pub fn skip_cache(mut self) -> Self {
        self.marks |= mark::SKIP_CACHE;
        self
    }

    /// The call is a part of something that has so many attempts in all: retry layers repeat it while there are any, and
    /// less often if they are set so.
    pub fn attempts(self, attempts: Attempts) -> Self {
        self.data(attempts)
    }

    /// How often this call may be repeated at most, of `wanted` times.
    pub(crate) fn capped_retries(&self, wanted: u32) -> u32 {
        if self.get::<Attempts>().is_none_or(Attempts::may_repeat) { wanted } else { 0 }
    }

    /// Which request this is.
    pub fn correlation_id(&self) -> &CorrelationId {
        &self.call().id
    }

    /// The value of type `T` that was attached.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.held().as_ref()?.get(&TypeId::of::<T>())?.downcast_ref()
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
        match self.call().now.load(Ordering::Relaxed) {
            0 => self.renew(),
            now => Tick::from_nanos(now),
        }
    }

    /// Reads the clock, and remembers what it said.
    #[inline]
    pub fn renew(&self) -> Tick {
        let now = self.call().time.now();
        self.call().now.store(now.as_nanos(), Ordering::Relaxed);
        now
    }

    /// Wall time since the Unix epoch, now.
    pub fn unix_time(&self) -> Duration {
        self.call().time.unix_time()
    }

    /// Wall time since the Unix epoch at `tick`, for handing a moment to another process.
    pub fn unix_time_at(&self, tick: Tick) -> Duration {
        let (unix, now) = (self.call().time.unix_time(), self.renew());
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
        self.call().time.sleep_until(at)
    }

    /// Takes down a point that the call has reached. `name` is part of the program, not of the request.
    pub fn checkpoint(&self, name: &str) {
        self.renew();
        self.take_down(Label::NONE, Label::new(name), Decision::Checkpoint, 0);
    }

    /// Output has reached the caller: from here on nothing may repeat this call, neither retry nor hedge nor fallback.
    /// A breaker that this call probes for counts it as a success from here on, until it fails after all.
    pub fn commit(&self) {
        let mut part = self.part;
        while let Some(inner) = part {
            inner.committed.store(1, Ordering::Relaxed);
            part = inner.of;
        }
        self.raise(flag::COMMITTED);
    }

    /// Whether output has reached the caller. Of several calls side by side each has its own.
    pub fn is_committed(&self) -> bool {
        match self.part {
            Some(part) => part.committed.load(Ordering::Relaxed) != 0,
            None => self.has(flag::COMMITTED),
        }
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
        self.call().flags.fetch_or(flags, Ordering::Relaxed);
    }

    pub(crate) fn has(&self, flags: u32) -> bool {
        self.call().flags.load(Ordering::Relaxed) & flags != 0
    }

    pub(crate) fn count_retry(&self) {
        self.call().retries.fetch_add(1, Ordering::Relaxed);
    }

    /// An innermost step begins: from here on the service may have been asked.
    #[inline]
    pub(crate) fn count_begun(&self) {
        self.call().begun.fetch_add(1, Ordering::Relaxed);
    }

    /// How many innermost steps have begun.
    #[inline]
    pub(crate) fn begun(&self) -> u32 {
        self.call().begun.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn take_down(&self, stack: Label, layer: Label, decision: Decision, detail: u64) -> Note {
        let note = Note::new(self.now(), stack, layer, decision, detail);
        self.call().trail.push(&note);
        note
    }

    /// Adds a line to the record: for layers and steps of the user's own.
    pub fn note(&self, stack: Label, layer: Label, decision: Decision, detail: u64) {
        self.take_down(stack, layer, decision, detail);
    }

    /// A context for one part of this call, which ends no later than `deadline`.
    #[inline]
    pub fn child(&self, deadline: Tick) -> Cx<'_> {
        self.child_with(deadline, 0)
    }

    #[inline]
    pub(crate) fn child_with(&self, deadline: Tick, marks: u32) -> Cx<'_> {
        Cx {
            deadline: self.deadline.min(deadline),
            marks: self.marks | marks,
            run: self.run,
            part: self.part,
            data: Held::Parent(self.held()),
            shared: Shared::Parent(self.call()),
        }
    }

    /// A child whose layers count into `run`.
    #[inline]
    pub(crate) fn child_in<'b>(&'b self, run: &'b Run<'b>) -> Cx<'b> {
        let (part, data, shared) = (self.part, Held::Parent(self.held()), Shared::Parent(self.call()));
        Cx { deadline: self.deadline, marks: self.marks, run: Some(run), part, data, shared }
    }

    /// One of several calls side by side, which begin when this one had `committed` or not; [`Cx::as_part`] makes its
    /// context.
    #[inline]
    pub(crate) fn part(&self, committed: bool) -> Part<'_> {
        Part { committed: AtomicU32::new(u32::from(committed)), of: self.part }
    }

    /// This context for `part`.
    #[inline]
    pub(crate) fn as_part<'b>(&'b self, part: &'b Part<'b>) -> Cx<'b> {
        Cx { part: Some(part), ..self.child(self.deadline) }
    }

    #[inline]
    pub(crate) fn run(&self) -> Option<&Run<'_>> {
        self.run
    }

    pub(crate) fn is_marked(&self, marks: u32) -> bool {
        self.marks & marks != 0
    }

    /// The same call with its own record, for work that may outlive this context. What it takes down is brought home with
    /// [`Cx::absorb`].
    pub fn detached(&self) -> Cx<'static> {
        let call = self.call();
        let own = Call::new(call.id, call.time.clone(), self.now());
        let (data, shared) = (Held::Own(self.held().clone()), Shared::Own(own));
        Cx { deadline: self.deadline, marks: self.marks, run: None, part: None, data, shared }
    }

    /// The same request with its own record and without its deadline, for work that goes on after the call.
    pub fn background(&self) -> Cx<'static> {
        Cx { deadline: Tick::NEVER, ..self.detached() }
    }

    /// [`background`](Self::background) for work that is no part of this call at all: whoever repeats the call does not
    /// repeat this, and it uses none of the call's attempts.
    pub(crate) fn apart(&self) -> Cx<'static> {
        let mut own = self.background();
        own.marks &= !mark::RETRY_OWNED;
        if own.get::<Attempts>().is_some() {
            own.change_data(|data| drop(data.remove(&TypeId::of::<Attempts>())));
        }
        own
    }

    /// How many attempts there are still, if they are counted.
    pub(crate) fn attempts_left(&self) -> u32 {
        self.get::<Attempts>().map_or(u32::MAX, Attempts::left)
    }

    /// Whether a call in this context might have done better than the one in `other`, which began with so many `attempts`:
    /// this one is repeated where that was not, has more attempts, or more than twice the time left. Twice, so that of
    /// many alike who wait for one call not each makes it again when it has failed.
    pub(crate) fn allows_more_than(&self, other: &Cx<'_>, attempts: u32) -> bool {
        let left = |cx: &Cx<'_>| match cx.deadline {
            Tick::NEVER => u64::MAX,
            deadline => deadline.nanos_since(self.now()),
        };
        let repeats = other.is_marked(mark::RETRY_OWNED) && !self.is_marked(mark::RETRY_OWNED);
        repeats || self.attempts_left() > attempts || left(self) / 2 > left(other)
    }

    /// Takes over what `part`, which was detached, learned and took down.
    pub fn absorb(&self, part: &Cx<'_>) {
        let (call, part) = (self.call(), part.call());
        if part.flags.load(Ordering::Relaxed) & flag::COMMITTED != 0 {
            self.commit();
        }
        self.raise(part.flags.load(Ordering::Relaxed));
        call.retries.fetch_add(part.retries.load(Ordering::Relaxed), Ordering::Relaxed);
        call.begun.fetch_add(part.begun.load(Ordering::Relaxed), Ordering::Relaxed);
        call.now.fetch_max(part.now.load(Ordering::Relaxed), Ordering::Relaxed);
        part.trail.for_each(|note| call.trail.push(&note));
    }

    /// What the call has found out so far.
    pub fn report(&self) -> Report {
        let mut notes = Vec::new();
        self.call().trail.for_each(|note| notes.push(note));
        Report {
            cached: self.has(flag::HIT | flag::STALE),
            stale: self.has(flag::STALE),
            coalesced: self.has(flag::COALESCED),
            degraded: self.is_degraded(),
            committed: self.is_committed(),
            retries: self.call().retries.load(Ordering::Relaxed),
            notes,
            notes_lost: self.call().trail.lost(),
        }
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

    fn cx(clock: &VirtualClock) -> Cx<'static> {
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
    fn what_a_child_takes_down_stands_in_the_parents_record_in_order() {
        let clock = VirtualClock::new();
        let parent = cx(&clock);
        parent.checkpoint("one");
        let child = parent.child(Tick::NEVER);
        clock.advance(Duration::from_secs(1));
        child.checkpoint("two");
        child.mark_degraded();
        child.child(Tick::NEVER).count_retry();
        parent.checkpoint("three");
        let report = parent.report();
        assert_eq!(report.names(), ["one", "two", "three"]);
        assert!(report.degraded);
        assert_eq!(report.retries, 1);
        assert_eq!(report.notes[1].at, Tick::from_nanos(1_000_000_000));
    }

    #[test]
    fn what_a_detached_context_learned_is_taken_over_whole() {
        let clock = VirtualClock::new();
        let parent = cx(&clock).data(7u32).timeout(Duration::from_secs(9));
        let part = parent.child(Tick::NEVER).detached();
        assert_eq!((part.get::<u32>(), part.deadline()), (Some(&7), parent.deadline()));
        part.checkpoint("inside");
        part.commit();
        assert!(parent.report().notes.is_empty());
        parent.absorb(&part);
        assert_eq!(parent.report().names(), ["inside"]);
        assert!(parent.is_committed());
    }

    #[test]
    fn what_is_attached_to_a_child_is_its_own_and_what_it_commits_its_parents() {
        let parent = Cx::default().data(7u32);
        let child = parent.child(Tick::NEVER).data("child").attempts(Attempts::new(1));
        assert_eq!((child.get::<u32>(), child.get::<&str>()), (Some(&7), Some(&"child")));
        assert!(parent.get::<&str>().is_none() && parent.get::<Attempts>().is_none());
        let grandchild = child.child(Tick::NEVER);
        assert_eq!(grandchild.get::<&str>(), Some(&"child"));
        grandchild.commit();
        grandchild.mark_degraded();
        grandchild.count_begun();
        grandchild.checkpoint("inside");
        assert!(child.is_committed() && parent.is_committed() && parent.is_degraded());
        assert_eq!((parent.begun(), parent.report().names()), (1, vec!["inside"]));
    }

    #[test]
    fn of_calls_side_by_side_each_has_committed_for_itself_and_for_the_whole() {
        let whole = Cx::default();
        let (one, two) = (whole.part(false), whole.part(false));
        let (one, two) = (whole.as_part(&one), whole.as_part(&two));
        let (inner, other) = (two.part(false), two.part(false));
        let (inner, other) = (two.as_part(&inner), two.as_part(&other));
        inner.child(Tick::NEVER).commit();
        let committed = [&whole, &one, &two, &inner, &other].map(Cx::is_committed);
        assert_eq!(committed, [true, false, true, true, false]);
    }

    #[test]
    fn marks_go_down_and_not_up() {
        let parent = Cx::default();
        let child = parent.child_with(Tick::NEVER, mark::RETRY_OWNED);
        assert!(child.child(Tick::NEVER).is_marked(mark::RETRY_OWNED));
        assert!(!parent.is_marked(mark::RETRY_OWNED));
        assert!(Cx::default().skip_cache().child(Tick::NEVER).is_marked(mark::SKIP_CACHE));
    }

    #[test]
    fn wall_time_of_a_tick_counts_from_now() {
        let clock = VirtualClock::new();
        let cx = cx(&clock);
        let soon = cx.now().after(Duration::from_secs(90));
        assert_eq!(cx.unix_time_at(soon) - clock.unix_time(), Duration::from_secs(90));
    }
}
