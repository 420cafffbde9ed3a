//! Alternatives, tried in order when the first choice fails.
//!
//! An answer of an alternative is *degraded*: the record says so, and a cache further out does not keep it as if it were
//! the real one. If all fail, the failure of the first choice is returned, which is the one that a caller can act on.
//!
//! With [`Fallback::last`] the chain ends in a function that always answers, and the error of the stack becomes
//! [`Infallible`]. Such a chain ends every alternative at the deadline itself, so that the last word is spoken in time.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use crate::{
    cut::{Cut, TooLate},
    cx::Cx,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    meter::Outcome,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    trail::Decision,
};

/// A fallback layer: a chain of alternatives.
///
/// ```
/// use longhaul_resilience::{Fallback, Stack};
///
/// async fn large(q: &'static str) -> Result<String, &'static str> { Err("down") }
/// async fn small(q: &'static str) -> Result<String, &'static str> { Err("down as well") }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let ask = Stack::named("ask")
///     .fallback(Fallback::to(small).last(|_question, _why| "Please try again later.".to_owned()))
///     .around(large);
/// // The error is `Infallible`: there is nothing to handle.
/// let Ok(answer) = ask.run("hours?").await;
/// assert_eq!(answer, "Please try again later.");
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Fallback<A> {
    alternatives: A,
}

impl Fallback<Nothing> {
    /// First to `step`.
    pub fn to<S>(step: S) -> Fallback<Or<Nothing, S>> {
        Fallback { alternatives: Or { before: Nothing, step } }
    }

    /// Straight to the last word: see [`Fallback::last`].
    pub fn always<F>(answer: F) -> Fallback<Last<Nothing, F>> {
        Fallback { alternatives: Last { before: Nothing, answer } }
    }
}

impl<A> Fallback<A> {
    /// Then to `step`.
    pub fn then<S>(self, step: S) -> Fallback<Or<A, S>> {
        Fallback { alternatives: Or { before: self.alternatives, step } }
    }

    /// At last to a function of the input and the failure of the first choice, which always answers.
    pub fn last<I, O, E, F: Fn(&I, &Fail<E>) -> O + Send + Sync>(self, answer: F) -> Fallback<Last<A, F>> {
        Fallback { alternatives: Last { before: self.alternatives, answer } }
    }
}

/// No alternative.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

/// `step`, if those before it fail.
#[derive(Clone, Debug)]
pub struct Or<Before, S> {
    before: Before,
    step: S,
}

/// A function that always answers, if those before it fail.
#[derive(Clone, Debug)]
pub struct Last<Before, F> {
    before: Before,
    answer: F,
}

/// Tells the layer what an alternative does.
pub trait Witness: Sync {
    /// Alternative number `rank` begins.
    fn begins(&self, cx: &Cx<'_>, rank: u32);
    /// Alternative number `rank` failed.
    fn failed(&self, cx: &Cx<'_>, rank: u32);
}

/// A chain of alternatives. Implemented by what [`Fallback`] builds.
pub trait Alternatives<I, O, E>: Send + Sync {
    /// How the whole chain fails.
    type Err: Send;
    /// How many there are.
    const COUNT: u32;
    /// Whether the chain always answers.
    const ALWAYS: bool;

    /// Tries them in order. `first` is the failure of the first choice; the number is the rank of the one that answered.
    fn run(
        &self,
        cx: &Cx<'_>,
        input: &I,
        first: Fail<E>,
        witness: &impl Witness,
    ) -> impl Future<Output = Result<(O, u32), Self::Err>> + Send;
    /// The longest that all of them can take. See [`Step::longest`].
    fn longest(&self, limit: Duration) -> Option<Duration>;
    /// See [`Step::inspect`].
    fn inspect(&self, into: &mut Inspection);
}

impl<I: Sync, O: Send, E: Send> Alternatives<I, O, E> for Nothing {
    type Err = Fail<E>;
    const COUNT: u32 = 0;
    const ALWAYS: bool = false;

    async fn run(&self, _: &Cx<'_>, _: &I, first: Fail<E>, _: &impl Witness) -> Result<(O, u32), Fail<E>> {
        Err(first)
    }

    fn longest(&self, _: Duration) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn inspect(&self, _: &mut Inspection) {}
}

impl<I, O, E, Before, S> Alternatives<I, O, E> for Or<Before, S>
where
    I: Clone + Send + Sync,
    O: Send,
    E: Send,
    Before: Alternatives<I, O, E, Err = Fail<E>>,
    S: Step<I, Out = O, Err = Fail<E>>,
{
    type Err = Fail<E>;
    const COUNT: u32 = Before::COUNT + 1;
    const ALWAYS: bool = false;

    async fn run(&self, cx: &Cx<'_>, input: &I, first: Fail<E>, witness: &impl Witness) -> Result<(O, u32), Fail<E>> {
        let first = match self.before.run(cx, input, first, witness).await {
            Ok(answer) => return Ok(answer),
            Err(first) => first,
        };
        // An alternative that cannot end in time is not begun, and none follows output that the caller has seen.
        if cx.now() >= cx.deadline_tick() || cx.is_committed() {
            return Err(first);
        }
        witness.begins(cx, Self::COUNT);
        let tried = {
            let work = pin!(self.step.call(cx, input.clone()));
            Cut::new(cx, cx.deadline_tick(), work).await
        };
        match tried {
            Ok(Ok(out)) => Ok((out, Self::COUNT)),
            Ok(Err(_)) | Err(TooLate) => {
                witness.failed(cx, Self::COUNT);
                Err(first)
            }
        }
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        Some(self.before.longest(limit)?.saturating_add(within(self.step.longest(limit), limit)?))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.before.inspect(into);
        self.step.inspect(into);
    }
}

impl<I, O, E, Before, F> Alternatives<I, O, E> for Last<Before, F>
where
    I: Send + Sync,
    O: Send,
    E: Send + Sync,
    Before: Alternatives<I, O, E, Err = Fail<E>>,
    F: Fn(&I, &Fail<E>) -> O + Send + Sync,
{
    type Err = Infallible;
    const COUNT: u32 = Before::COUNT + 1;
    const ALWAYS: bool = true;

    async fn run(
        &self,
        cx: &Cx<'_>,
        input: &I,
        first: Fail<E>,
        witness: &impl Witness,
    ) -> Result<(O, u32), Infallible> {
        match self.before.run(cx, input, first, witness).await {
            Ok(answer) => Ok(answer),
            Err(first) => {
                witness.begins(cx, Self::COUNT);
                Ok(((self.answer)(input, &first), Self::COUNT))
            }
        }
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.before.longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.before.inspect(into);
    }
}

/// What a piece of work takes that is cut off at the deadline, if there is one.
fn within(longest: Option<Duration>, limit: Duration) -> Option<Duration> {
    match longest {
        Some(longest) => Some(longest.min(limit)),
        None => (limit != Duration::MAX).then_some(limit),
    }
}

impl<S, C, A> Layer<S, C> for Fallback<A> {
    type Step = FallbackStep<S, A, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        FallbackStep { inner, alternatives: self.alternatives, site: Site::new(env, Label::FALLBACK) }
    }
}

/// A step with alternatives.
pub struct FallbackStep<S, A, C> {
    inner: S,
    alternatives: A,
    site: Site<C>,
}

impl<C: Send + Sync> Witness for Site<C> {
    fn begins(&self, cx: &Cx<'_>, rank: u32) {
        self.note(cx, Decision::FallbackStart, u64::from(rank));
    }

    fn failed(&self, cx: &Cx<'_>, rank: u32) {
        self.note(cx, Decision::FallbackFailed, u64::from(rank));
    }
}

impl<I, S, E, A, C> Step<I> for FallbackStep<S, A, C>
where
    I: Clone + Send + Sync,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    A: Alternatives<I, S::Out, E>,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = A::Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, A::Err> {
        let started = cx.now();
        let tried = {
            let work = pin!(self.inner.call(cx, input.clone()));
            Cut::new(cx, cx.deadline_tick(), work).await
        };
        let first: Fail<E> = match tried {
            Ok(Ok(out)) => {
                self.site.done(cx, started, Outcome::Ok);
                return Ok(out);
            }
            Ok(Err(fail)) => fail,
            Err(TooLate) => self.site.fail(Why::Deadline),
        };
        self.site.note(cx, Decision::PrimaryFailed, 0);
        let result = self.alternatives.run(cx, &input, first, &self.site).await;
        match result {
            Ok((out, rank)) => {
                cx.mark_degraded();
                self.site.note(cx, Decision::FallbackSuccess, u64::from(rank));
                self.site.done(cx, started, Outcome::Degraded);
                Ok(out)
            }
            Err(fail) => {
                self.site.done(cx, started, Outcome::Failed);
                Err(fail)
            }
        }
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        let first = within(self.inner.longest(limit), limit)?;
        // None begins after the deadline, and each is cut off there: all together end by then.
        Some(first.saturating_add(self.alternatives.longest(limit)?).min(limit))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
        self.alternatives.inspect(into);
    }
}
