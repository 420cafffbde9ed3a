//! Faults on purpose: errors, delays, hangs and wrong answers, at given rates and from a seed.
//!
//! Put it innermost, where the service is. The same seed brings the same faults in the same order, as long as calls
//! come in the same order.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cx::Cx,
    dice::Dice,
    fail::Fail,
    inspect::Inspection,
    label::Label,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    sync::{AtomicU32, Ordering},
    trail::Decision,
};

/// A chaos layer. `E` is the error of the innermost step, `O` its answer.
///
/// ```
/// use longhaul_resilience::Chaos;
/// use std::time::Duration;
///
/// let chaos: Chaos<&str, String> = Chaos::seeded(7)
///     .fail(0.05, || "503")
///     .delay(0.10, Duration::from_secs(2))
///     .hang(0.01);
/// let switch = chaos.switch();
/// switch.off();
/// # let _ = chaos;
/// ```
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Chaos<E, O> {
    dice: Dice,
    switch: ChaosSwitch,
    fail: Option<(f64, Arc<dyn Fn() -> E + Send + Sync>)>,
    answer: Option<(f64, Arc<dyn Fn() -> O + Send + Sync>)>,
    delay: Option<(f64, Duration)>,
    hang: f64,
}

impl<E, O> Chaos<E, O> {
    /// No faults yet.
    pub fn seeded(seed: u64) -> Self {
        let switch = ChaosSwitch { on: Arc::new(AtomicU32::new(1)) };
        Self { dice: Dice::seeded(seed), switch, fail: None, answer: None, delay: None, hang: 0.0 }
    }

    /// This part of the calls (0 to 1) fails instead of being made.
    pub fn fail(self, rate: f64, error: impl Fn() -> E + Send + Sync + 'static) -> Self {
        Self { fail: Some((rate, Arc::new(error))), ..self }
    }

    /// This part of the calls is answered by `answer` instead of being made.
    pub fn answer(self, rate: f64, answer: impl Fn() -> O + Send + Sync + 'static) -> Self {
        Self { answer: Some((rate, Arc::new(answer))), ..self }
    }

    /// This part of the calls is made later by `delay`.
    pub fn delay(self, rate: f64, delay: Duration) -> Self {
        Self { delay: Some((rate, delay)), ..self }
    }

    /// This part of the calls never ends.
    pub fn hang(self, rate: f64) -> Self {
        Self { hang: rate, ..self }
    }

    /// Turns the faults off and on while the stack runs.
    pub fn switch(&self) -> ChaosSwitch {
        self.switch.clone()
    }
}

impl<E, O> fmt::Debug for Chaos<E, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |fault: Option<f64>| fault.unwrap_or_default();
        f.debug_struct("Chaos")
            .field("fail", &rate(self.fail.as_ref().map(|f| f.0)))
            .field("answer", &rate(self.answer.as_ref().map(|a| a.0)))
            .field("delay", &self.delay)
            .field("hang", &self.hang)
            .finish_non_exhaustive()
    }
}

/// Turns a chaos layer off and on.
#[derive(Clone, Debug)]
pub struct ChaosSwitch {
    on: Arc<AtomicU32>,
}

impl ChaosSwitch {
    /// Faults as set.
    pub fn on(&self) {
        self.on.store(1, Ordering::Relaxed);
    }

    /// No faults.
    pub fn off(&self) {
        self.on.store(0, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0
    }
}

impl<S, C, E, O> Layer<S, C> for Chaos<E, O> {
    type Step = ChaosStep<S, C, E, O>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        ChaosStep { inner, chaos: self, site: Site::new(env, Label::CHAOS) }
    }
}

/// A step with faults.
pub struct ChaosStep<S, C, E, O> {
    inner: S,
    chaos: Chaos<E, O>,
    site: Site<C>,
}

enum Fault<E, O> {
    Hang,
    Fail(E),
    Answer(O),
    Delay(Duration),
}

impl<E, O> Chaos<E, O> {
    fn fault(&self) -> Option<Fault<E, O>> {
        if !self.switch.is_on() {
            return None;
        }
        // One number decides, so that the rates are those of all calls, not of the calls left over by other faults.
        let mut roll = self.dice.unit();
        let mut falls_in = |rate: f64| {
            roll -= rate;
            roll < 0.0
        };
        if falls_in(self.hang) {
            return Some(Fault::Hang);
        }
        if let Some((rate, error)) = &self.fail
            && falls_in(*rate)
        {
            return Some(Fault::Fail(error()));
        }
        if let Some((rate, answer)) = &self.answer
            && falls_in(*rate)
        {
            return Some(Fault::Answer(answer()));
        }
        self.delay.filter(|(rate, _)| falls_in(*rate)).map(|(_, delay)| Fault::Delay(delay))
    }
}

impl<I, S, C, E, O> Step<I> for ChaosStep<S, C, E, O>
where
    I: Send,
    S: Step<I, Out = O, Err = Fail<E>>,
    C: Send + Sync,
    E: Send,
    O: Send,
{
    type Out = O;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<O, Fail<E>> {
        let started = cx.now();
        let fault = self.chaos.fault();
        if fault.is_some() {
            self.site.note(cx, Decision::ChaosInjected, 0);
        }
        let result = match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Fail(error)) => Err(Fail::inner(error)),
            Some(Fault::Answer(answer)) => Ok(answer),
            Some(Fault::Delay(delay)) => {
                cx.sleep(delay).await;
                self.inner.call(cx, input).await
            }
            None => self.inner.call(cx, input).await,
        };
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        if self.chaos.hang > 0.0 {
            return None;
        }
        let delay = self.chaos.delay.map_or(Duration::ZERO, |(_, delay)| delay);
        Some(self.inner.longest(limit)?.saturating_add(delay))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, Some(if self.chaos.switch.is_on() { "on" } else { "off" }.to_owned()));
        self.inner.inspect(into);
    }
}
