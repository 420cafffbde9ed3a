//! The shell around the decisions: one lock, one word that mirrors what callers ask most, and the listeners.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    breaker::{
        decision::{Admission, Core, Moved, Permit, Verdict},
        settings::{Breaker, BreakerMode, BreakerState},
    },
    clock::Tick,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stood.
    pub from: BreakerState,
    /// Where it stands.
    pub to: BreakerState,
}

type Listener = Arc<dyn Fn(Change) + Send + Sync>;

/// A breaker: shared by its clones, by several stacks if wanted, and open to a person's hand.
///
/// ```
/// use longhaul_resilience::{Breaker, BreakerHandle, BreakerState, Stack};
///
/// let breaker = BreakerHandle::new(Breaker::consecutive(3));
/// breaker.on_change(|change| println!("{:?} -> {:?}", change.from, change.to));
/// let stack = Stack::named("orders").breaker(breaker.clone()).around(async |n: u32| Ok::<_, ()>(n));
/// breaker.force_open();
/// assert_eq!(breaker.state(), BreakerState::Open);
/// breaker.auto();
/// # let _ = stack;
/// ```
#[derive(Clone)]
pub struct BreakerHandle {
    cell: Arc<Cell>,
}

struct Cell {
    /// What the closed path needs to know without the lock: see [`mirror`].
    word: AtomicU64,
    core: Mutex<Core>,
    listeners: Mutex<Vec<Listener>>,
}

const ADMITS_ALL: u64 = 1;
const IGNORES_SUCCESS: u64 = 2;
const GENERATION_SHIFT: u32 = 2;

/// The generation, and two answers that hold as long as it is the generation.
fn mirror(core: &Core) -> u64 {
    core.generation() << GENERATION_SHIFT
        | if core.admits_all() { ADMITS_ALL } else { 0 }
        | if core.ignores_success() { IGNORES_SUCCESS } else { 0 }
}

impl From<Breaker> for BreakerHandle {
    fn from(settings: Breaker) -> Self {
        Self::new(settings)
    }
}

impl BreakerHandle {
    /// A closed breaker.
    pub fn new(settings: Breaker) -> Self {
        let core = Core::new(settings);
        let word = AtomicU64::new(mirror(&core));
        Self { cell: Arc::new(Cell { word, core: Mutex::new(core), listeners: Mutex::new(Vec::new()) }) }
    }

    /// Where it stands now. An open breaker is `Open` until a call comes after its time is over.
    pub fn state(&self) -> BreakerState {
        lock(&self.cell.core).state()
    }

    /// Who decides.
    pub fn mode(&self) -> BreakerMode {
        lock(&self.cell.core).mode()
    }

    /// The settings.
    pub fn settings(&self) -> Breaker {
        lock(&self.cell.core).settings().clone()
    }

    /// Changes the settings and keeps the state, the window and the calls under way.
    pub fn reload(&self, settings: Breaker) {
        self.change(|core| {
            core.reload(settings);
            None
        });
    }

    /// Turns every call away, until told otherwise.
    pub fn force_open(&self) {
        self.change(|core| core.set_mode(BreakerMode::ForcedOpen));
    }

    /// Lets every call through, until told otherwise.
    pub fn force_closed(&self) {
        self.change(|core| core.set_mode(BreakerMode::ForcedClosed));
    }

    /// Judges without turning anyone away, until told otherwise.
    pub fn shadow(&self) {
        self.change(|core| core.set_mode(BreakerMode::Shadow));
    }

    /// Lets the results decide again, from the state that it had before.
    pub fn auto(&self) {
        self.change(|core| core.set_mode(BreakerMode::Auto));
    }

    /// Probes at once, and lets the results decide.
    pub fn half_open(&self) {
        self.change(|core| core.force(BreakerState::HalfOpen, Tick::ZERO));
    }

    /// Closes and forgets what was, and lets the results decide.
    pub fn reset(&self) {
        self.change(|core| core.force(BreakerState::Closed, Tick::ZERO));
    }

    /// Calls `listener` after every change of state, with no lock held, on the task that caused it.
    pub fn on_change(&self, listener: impl Fn(Change) + Send + Sync + 'static) {
        lock(&self.cell.listeners).push(Arc::new(listener));
    }

    /// The permit of a call while every call is admitted.
    #[inline(always)]
    pub(crate) fn pass(&self) -> Option<Permit> {
        let word = self.cell.word.load(Ordering::Acquire);
        // If the breaker opens this instant, the call was first: its generation tells its result apart.
        (word & ADMITS_ALL != 0).then_some(Permit { generation: word >> GENERATION_SHIFT, probe: None })
    }

    pub(crate) fn admit(&self, now: Tick) -> (Admission, Moved) {
        match self.pass() {
            Some(permit) => (Admission::Go(permit), None),
            None => self.change_with(|core| core.admit(now)),
        }
    }

    /// Whether such a result changes nothing, and so need not be handed in.
    #[inline(always)]
    pub(crate) fn needs_no(&self, verdict: Verdict, permit: Permit) -> bool {
        let word = self.cell.word.load(Ordering::Acquire);
        let same = word >> GENERATION_SHIFT == permit.generation && permit.probe.is_none();
        match verdict {
            Verdict::Failure => false,
            Verdict::Nothing => same,
            Verdict::Success => same && word & IGNORES_SUCCESS != 0,
        }
    }

    /// Hands the result in; says whether it counted.
    pub(crate) fn settle(&self, permit: Permit, verdict: Verdict, took: Duration, now: Tick) -> (bool, Moved) {
        if self.needs_no(verdict, permit) {
            return (true, None);
        }
        self.change_with(|core| core.settle(permit, verdict, took, now))
    }

    fn change(&self, change: impl FnOnce(&mut Core) -> Moved) {
        self.change_with(|core| ((), change(core)));
    }

    fn change_with<T>(&self, change: impl FnOnce(&mut Core) -> (T, Moved)) -> (T, Moved) {
        let (answer, moved) = {
            let mut core = lock(&self.cell.core);
            let result = change(&mut core);
            self.cell.word.store(mirror(&core), Ordering::Release);
            result
        };
        if let Some((from, to)) = moved {
            let listeners = lock(&self.cell.listeners).clone();
            listeners.iter().for_each(|listener| listener(Change { from, to }));
        }
        (answer, moved)
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("state", &self.state()).field("mode", &self.mode()).finish()
    }
}
