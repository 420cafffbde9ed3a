//! What goes wrong with the disk, and when.

use std::sync::{Mutex, MutexGuard};

use futures::future::BoxFuture;
use longhaul_core::{Clock as _, Span, Timestamp};
use longhaul_store::{
    StoreError,
    simulation::{Defect, DiskRule, Fate},
};

use crate::{clock::SimulatedClock, dice::Dice};

/// The disk's troubles.
pub(crate) struct Trouble {
    clock: SimulatedClock,
    dice: Dice,
    defect: Option<Defect>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    full_until: Span,
    /// Now a batch fits, now it does not.
    tight_until: Span,
    slow_until: Span,
    /// The next batch cannot be known to be durable; true: it is, all the same.
    next_in_doubt: Option<bool>,
    /// A batch was in doubt: the store takes no more writes, and somebody must start it again.
    is_broken: bool,
    /// Nothing goes wrong any more.
    is_over: bool,
    /// How often a batch was refused, and how often one was in doubt.
    refused: u64,
    in_doubt: u64,
    /// When batches were in doubt, by the clock on the wall.
    doubts: Vec<Timestamp>,
}

impl Trouble {
    pub(crate) fn new(clock: SimulatedClock, dice: Dice, defect: Option<Defect>) -> Self {
        Self { clock, dice, defect, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// There is no room for `span`.
    pub(crate) fn fill(&self, span: Span) {
        self.lock().full_until = Span::from_micros(self.clock.passed().as_micros() + span.as_micros());
    }

    /// There is room for some batches and not for others for `span`.
    pub(crate) fn run_tight(&self, span: Span) {
        self.lock().tight_until = Span::from_micros(self.clock.passed().as_micros() + span.as_micros());
    }

    /// Every sync takes long for `span`.
    pub(crate) fn slow_down(&self, span: Span) {
        self.lock().slow_until = Span::from_micros(self.clock.passed().as_micros() + span.as_micros());
    }

    /// The next batch will be in doubt.
    pub(crate) fn put_in_doubt(&self, is_kept: bool) {
        self.lock().next_in_doubt = Some(is_kept);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Nobody has it open any more.
    pub(crate) fn reopened(&self) {
        self.lock().is_broken = false;
    }

    pub(crate) fn end(&self) {
        let mut state = self.lock();
        let before = std::mem::take(&mut *state);
        *state = State {
            is_over: true,
            refused: before.refused,
            in_doubt: before.in_doubt,
            doubts: before.doubts,
            ..State::default()
        };
    }

    /// How many batches were refused, and how many were in doubt.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.refused, state.in_doubt)
    }

    /// Whether a batch of that moment was in doubt.
    pub(crate) fn was_in_doubt(&self, at: Timestamp) -> bool {
        self.lock().doubts.contains(&at)
    }

    /// How long the writer is busy before it takes the next batch.
    pub(crate) fn pace(&self, is_stormy: bool) -> BoxFuture<'static, ()> {
        let is_slow = self.lock().slow_until > self.clock.passed();
        let most = match self.dice.below(4) {
            _ if is_slow => Span::from_millis(800),
            0 | 1 => Span::ZERO,
            2 => Span::from_millis(2),
            _ if is_stormy => Span::from_millis(30),
            _ => Span::from_millis(5),
        };
        if most == Span::ZERO {
            return Box::pin(std::future::ready(()));
        }
        let (clock, span) = (self.clock.clone(), self.dice.up_to(most));
        Box::pin(async move { clock.sleep(span).await })
    }
}

impl DiskRule for Trouble {
    fn batch(&self) -> Fate {
        let mut state = self.lock();
        if state.is_over {
            return Fate::Kept;
        }
        if let Some(is_kept) = state.next_in_doubt.take() {
            state.is_broken = true;
            state.in_doubt += 1;
            state.doubts.push(self.clock.now());
            let error = StoreError::Unavailable("the disk did not answer".into());
            return if is_kept { Fate::KeptInDoubt(error) } else { Fate::Refused(error) };
        }
        let now = self.clock.passed();
        if state.full_until > now || (state.tight_until > now && self.dice.percent(40)) {
            state.refused += 1;
            let is_busy = self.dice.percent(20);
            return Fate::Refused(if is_busy { StoreError::Overloaded } else { StoreError::StorageFull });
        }
        Fate::Kept
    }

    fn is_sound_now(&self) -> bool {
        self.dice.percent(60)
    }

    fn defect(&self) -> Option<Defect> {
        self.defect
    }
}
