//! The decisions of a breaker: no lock, no clock, no user code.

use crate::{
    breaker::{
        settings::{Breaker, BreakerMode, BreakerState},
        window::{Mark, Rolling},
    },
    clock::Tick,
};
use std::{num::NonZeroU64, time::Duration};

/// The right to make one call, and where its result belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) generation: u64,
    /// The number of the probe, of calls in half-open.
    pub(crate) probe: Option<NonZeroU64>,
}

/// The answer to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Go(Permit),
    /// Shadow: the call goes, but would not have.
    WouldReject(Permit),
    Reject {
        retry_after: Duration,
    },
}

/// What a result says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
    /// Nothing: cancelled, throttled, turned away.
    Nothing,
}

/// A change of state, to be told to listeners.
pub(crate) type Moved = Option<(BreakerState, BreakerState)>;

#[derive(Debug)]
pub(crate) struct Core {
    settings: Breaker,
    mode: BreakerMode,
    state: State,
    generation: u64,
    window: Option<Rolling>,
    failures_in_a_row: u32,
    /// Probes that failed since it was last closed: the growth of the open time.
    reopened: u32,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Tick },
    HalfOpen { probes: Vec<Probe>, next_probe: NonZeroU64, successes: u32 },
}

#[derive(Debug)]
struct Probe {
    number: NonZeroU64,
    expires: Tick,
}

impl State {
    fn half_open() -> Self {
        Self::HalfOpen { probes: Vec::new(), next_probe: NonZeroU64::MIN, successes: 0 }
    }
}

impl Core {
    pub(crate) fn new(settings: Breaker) -> Self {
        let window = settings.has_window().then(|| Rolling::new(settings.window));
        Self {
            settings,
            mode: BreakerMode::Auto,
            state: State::Closed,
            generation: 1,
            window,
            failures_in_a_row: 0,
            reopened: 0,
        }
    }

    pub(crate) fn settings(&self) -> &Breaker {
        &self.settings
    }

    pub(crate) fn mode(&self) -> BreakerMode {
        self.mode
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What a person is told: a breaker forced open is open, whatever its results say.
    pub(crate) fn state(&self) -> BreakerState {
        match self.mode {
            BreakerMode::ForcedOpen => BreakerState::Open,
            BreakerMode::ForcedClosed => BreakerState::Closed,
            BreakerMode::Auto | BreakerMode::Shadow => self.own_state(),
        }
    }

    fn own_state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether every call is admitted, so that the shell need not ask.
    pub(crate) fn admits_all(&self) -> bool {
        match self.mode {
            BreakerMode::ForcedClosed => true,
            BreakerMode::ForcedOpen => false,
            BreakerMode::Auto | BreakerMode::Shadow => matches!(self.state, State::Closed),
        }
    }

    /// Whether a success changes nothing, so that the shell need not tell.
    pub(crate) fn ignores_success(&self) -> bool {
        // How slow it was is a part of a success, where slowness counts.
        let window_stays =
            || self.settings.slow.is_none() && self.window.as_ref().is_none_or(Rolling::is_full_of_successes);
        self.mode == BreakerMode::ForcedClosed || (self.admits_all() && self.failures_in_a_row == 0 && window_stays())
    }

    pub(crate) fn admit(&mut self, now: Tick) -> (Admission, Moved) {
        let before = self.own_state();
        match self.mode {
            BreakerMode::ForcedOpen => {
                return (Admission::Reject { retry_after: self.settings.open_for }, None);
            }
            BreakerMode::ForcedClosed => return (Admission::Go(self.permit(None)), None),
            BreakerMode::Auto | BreakerMode::Shadow => {}
        }
        if matches!(self.state, State::Open { until } if now >= until) {
            self.enter(State::half_open());
        }
        let admission = match &mut self.state {
            State::Closed => Admission::Go(self.permit(None)),
            State::Open { until } => Admission::Reject { retry_after: until.since(now) },
            State::HalfOpen { probes, next_probe, .. } => {
                probes.retain(|probe| probe.expires > now);
                if probes.len() < self.settings.probes as usize {
                    let number = *next_probe;
                    *next_probe = next_probe.saturating_add(1);
                    probes.push(Probe { number, expires: now.after(self.settings.probe_ttl) });
                    Admission::Go(self.permit(Some(number)))
                } else {
                    let first = probes.iter().map(|probe| probe.expires).min().unwrap_or(now);
                    Admission::Reject { retry_after: first.since(now).min(self.settings.open_for) }
                }
            }
        };
        let admission = match admission {
            // In no generation at all: the result of a call that should not have gone counts nowhere.
            Admission::Reject { .. } if self.mode == BreakerMode::Shadow => {
                Admission::WouldReject(Permit { generation: 0, probe: None })
            }
            admission => admission,
        };
        (admission, self.moved(before))
    }

    /// Takes the result of a call. Says whether it counted: a result of another generation does not. That of a probe
    /// that took long does, though its place has gone to another meanwhile: it is the answer to the same question.
    pub(crate) fn settle(&mut self, permit: Permit, verdict: Verdict, took: Duration, now: Tick) -> (bool, Moved) {
        let before = self.own_state();
        if permit.generation != self.generation {
            return (false, None);
        }
        let counted = match &mut self.state {
            State::Open { .. } => false,
            State::Closed => {
                self.count(verdict, took, now);
                true
            }
            State::HalfOpen { probes, successes, .. } => {
                // Whoever was let through by force was no probe.
                let Some(number) = permit.probe else { return (false, None) };
                probes.retain(|probe| probe.number != number);
                match verdict {
                    Verdict::Nothing => {}
                    Verdict::Failure => self.open(now),
                    Verdict::Success => {
                        *successes += 1;
                        if *successes >= self.settings.successes {
                            self.close();
                        }
                    }
                }
                true
            }
        };
        (counted, self.moved(before))
    }

    fn count(&mut self, verdict: Verdict, took: Duration, now: Tick) {
        let failed = match verdict {
            Verdict::Nothing => return,
            _ if self.mode == BreakerMode::ForcedClosed => return,
            Verdict::Success => {
                self.failures_in_a_row = 0;
                false
            }
            Verdict::Failure => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                true
            }
        };
        let slow = self.settings.slow.is_some_and(|(slower_than, _)| took >= slower_than);
        let counts = self.window.as_mut().map(|window| window.push(Mark { failed, slow }, now)).unwrap_or_default();
        let least = match self.settings.window {
            crate::breaker::Window::Calls(calls) => self.settings.min_calls.min(calls),
            crate::breaker::Window::Time(_) => self.settings.min_calls,
        };
        // Rates are never zero, so none of many is not enough.
        let reached = |part: u32, rate: f64| f64::from(part) >= rate * f64::from(counts.total);
        let by_rate = counts.total >= least
            && (self.settings.rate.is_some_and(|rate| reached(counts.failed, rate))
                || self.settings.slow.is_some_and(|(_, rate)| reached(counts.slow, rate)));
        let in_a_row = self.settings.consecutive.is_some_and(|most| self.failures_in_a_row >= most);
        if by_rate || in_a_row {
            self.open(now);
        }
    }

    fn open(&mut self, now: Tick) {
        let doublings = self.reopened.min(31);
        let open_for = self.settings.open_for.saturating_mul(1 << doublings);
        let open_for = open_for.min(self.settings.max_open_for.unwrap_or_default().max(self.settings.open_for));
        self.reopened = self.reopened.saturating_add(1);
        self.enter(State::Open { until: now.after(open_for) });
    }

    fn close(&mut self) {
        self.reopened = 0;
        self.enter(State::Closed);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.failures_in_a_row = 0;
        if let Some(window) = &mut self.window {
            window.clear();
        }
    }

    fn permit(&self, probe: Option<NonZeroU64>) -> Permit {
        Permit { generation: self.generation, probe }
    }

    fn moved(&self, before: BreakerState) -> Moved {
        let after = self.own_state();
        (before != after).then_some((before, after))
    }

    /// A person takes over, or hands back. Results of calls under way count no longer.
    pub(crate) fn set_mode(&mut self, mode: BreakerMode) -> Moved {
        let before = self.state();
        if mode != self.mode {
            self.mode = mode;
            self.generation += 1;
            // Probes under way have just lost their generation, and so their places.
            if let State::HalfOpen { probes, .. } = &mut self.state {
                probes.clear();
            }
        }
        let after = self.state();
        (before != after).then_some((before, after))
    }

    /// A person moves the state itself and leaves the rest to the results: `Closed` forgets, `HalfOpen` probes at once.
    pub(crate) fn force(&mut self, state: BreakerState, now: Tick) -> Moved {
        let before = self.state();
        self.mode = BreakerMode::Auto;
        match state {
            BreakerState::Closed => self.close(),
            BreakerState::Open => self.open(now),
            BreakerState::HalfOpen => self.enter(State::half_open()),
        }
        let after = self.state();
        (before != after).then_some((before, after))
    }

    /// New settings, old state: an open breaker stays open until the time that was set when it opened.
    pub(crate) fn reload(&mut self, settings: Breaker) {
        match &mut self.window {
            Some(window) if settings.has_window() => window.resize(settings.window),
            _ => self.window = settings.has_window().then(|| Rolling::new(settings.window)),
        }
        self.settings = settings;
    }
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
