//! Composing layers: the builder, read from the outermost layer to the innermost.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    class::{AnyErrorIsTransient, ByError, ByResult, Class},
    cx::Cx,
    dice::Dice,
    inspect::{Inspection, StackMetrics},
    label::Label,
    meter::{Outcome, Recorder},
    site::{Env, Site},
    step::{BoxStep, Step},
    straight::Straight,
    trail::Decision,
};

/// Something that wraps a step into another step.
///
/// Implement it for a layer of one's own and add it with [`Stack::layer`]. `C` is the classifier of the stack.
pub trait Layer<S, C> {
    /// The wrapped step.
    type Step;
    /// Wraps `inner`. The layer may keep `env`, which names the stack and holds its classifier.
    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step;
}

/// No layer yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLayer;

impl<S, C> Layer<S, C> for NoLayer {
    type Step = S;

    fn wrap(self, inner: S, _env: &Arc<Env<C>>) -> S {
        inner
    }
}

/// `Inner` within `Outer`.
#[derive(Clone, Debug)]
pub struct Within<Outer, Inner> {
    outer: Outer,
    inner: Inner,
}

impl<S, C, Outer, Inner> Layer<S, C> for Within<Outer, Inner>
where
    Inner: Layer<S, C>,
    Outer: Layer<Inner::Step, C>,
{
    type Step = Outer::Step;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        self.outer.wrap(self.inner.wrap(inner, env), env)
    }
}

/// A stack under construction. Each method adds a layer *within* those already there.
///
/// ```
/// use longhaul_resilience::{Breaker, Retry, Stack};
/// use std::time::Duration;
///
/// async fn quote(symbol: &'static str) -> Result<u32, std::io::Error> {
///     Ok(symbol.len() as u32)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let quotes = Stack::named("quotes")
///     .deadline(Duration::from_secs(10))
///     .retry(Retry::default())
///     .breaker(Breaker::consecutive(5))
///     .attempt_timeout(Duration::from_secs(2))
///     .around(quote);
/// assert_eq!(quotes.run("ACME").await.unwrap(), 4);
/// assert_eq!(quotes.metrics().total, 1);
/// # });
/// ```
#[must_use = "a stack does nothing until it is put around a step"]
pub struct Stack<L = NoLayer, C = AnyErrorIsTransient> {
    name: Label,
    layers: L,
    classify: C,
    recorder: Option<Arc<dyn Recorder>>,
    dice: Dice,
}

impl Stack {
    /// A stack without layers. The name stands in records, errors and metrics; make it from what the program or its
    /// configuration fixes, because names are kept for the life of the process.
    pub fn named(name: impl Into<Label>) -> Self {
        Self {
            name: name.into(),
            layers: NoLayer,
            classify: AnyErrorIsTransient,
            recorder: None,
            dice: Dice::unpredictable(),
        }
    }
}

impl<L, C> Stack<L, C> {
    /// Adds a layer within the others.
    pub fn layer<N>(self, layer: N) -> Stack<Within<L, N>, C> {
        let Self { name, layers, classify, recorder, dice } = self;
        Stack { name, layers: Within { outer: layers, inner: layer }, classify, recorder, dice }
    }

    /// Judges errors with `classify`. Without it every error is worth another try.
    pub fn classify<E, F: Fn(&E) -> Class + Send + Sync>(self, classify: F) -> Stack<L, ByError<F>> {
        self.classifier(ByError(classify))
    }

    /// Judges answers as well as errors with `classify`.
    pub fn classify_results<Out, E, F>(self, classify: F) -> Stack<L, ByResult<F>>
    where
        F: Fn(Result<&Out, &E>) -> Class + Send + Sync,
    {
        self.classifier(ByResult(classify))
    }

    /// Judges with a classifier of one's own type.
    pub fn classifier<N>(self, classify: N) -> Stack<L, N> {
        let Self { name, layers, recorder, dice, classify: _ } = self;
        Stack { name, layers, classify, recorder, dice }
    }

    /// Sends what happens to `recorder` as well.
    pub fn recorder(self, recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// Makes jitter and chaos replay.
    pub fn seed(self, seed: u64) -> Self {
        Self { dice: Dice::seeded(seed), ..self }
    }

    /// Ends the building: puts the layers around `step`, a plain `async fn` or any [`Step`].
    pub fn around<I, S>(self, step: S) -> Stacked<I, L::Step, C>
    where
        I: Send,
        S: Step<I>,
        L: Layer<Leaf<S, C>, C>,
        L::Step: Step<I>,
    {
        let Self { name, layers, classify, recorder, dice } = self;
        let env = Arc::new(Env { stack: name, classify, recorder, dice, straight: Straight::default() });
        let leaf = Leaf { inner: step, site: Site::new(&env, Label::CALL) };
        let inner = layers.wrap(leaf, &env);
        Stacked { inner, site: Site::new(&env, Label::STACK), input: PhantomData }
    }
}

/// The innermost step: reads the clock when it returns, so that no layer outside has to.
pub struct Leaf<S, C> {
    inner: S,
    site: Site<C>,
}

impl<I: Send, S: Step<I>, C: Send + Sync> Step<I> for Leaf<S, C> {
    type Out = S::Out;
    type Err = S::Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, S::Err> {
        let started = cx.now();
        cx.count_begun();
        let result = self.inner.call(cx, input).await;
        let took_ms = cx.renew().nanos_since(started) / 1_000_000;
        let decision = if result.is_ok() { Decision::CallOk } else { Decision::CallFailed };
        self.site.note(cx, decision, took_ms);
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.inner.longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}

/// A finished stack: a [`Step`] that can be called, asked and put into another stack.
pub struct Stacked<I, S, C = AnyErrorIsTransient> {
    inner: S,
    site: Site<C>,
    input: PhantomData<fn(I)>,
}

impl<I: Send, S: Step<I>, C: Send + Sync> Stacked<I, S, C> {
    /// Calls the stack in a context of its own: no deadline from outside, no correlation id.
    pub async fn run(&self, input: I) -> Result<S::Out, S::Err> {
        self.call(&Cx::default(), input).await
    }

    /// Calls the stack in the context of a request.
    pub fn call(&self, cx: &Cx<'_>, input: I) -> impl Future<Output = Result<S::Out, S::Err>> + Send {
        Step::call(self, cx, input)
    }

    /// What the stack has done so far.
    pub fn metrics(&self) -> StackMetrics {
        let mut inspection = Inspection::default();
        self.inspect(&mut inspection);
        inspection.into_metrics(self.site.env.stack)
    }

    /// The longest that a call can take, or `None` where nothing bounds it.
    ///
    /// A sum over the layers: every attempt at its timeout, every wait at its longest, cut by the deadline. Time that
    /// the machine takes to run the code is not in it.
    pub fn worst_case(&self) -> Option<Duration> {
        self.inner.longest(Duration::MAX)
    }

    /// The name of the stack.
    pub fn name(&self) -> Label {
        self.site.env.stack
    }

    /// Hides the type, for struct fields and for lists of different stacks.
    pub fn boxed(self) -> BoxStep<I, S::Out, S::Err>
    where
        Self: 'static,
        I: 'static,
    {
        BoxStep::new(self)
    }
}

impl<I: Send, S: Step<I>, C: Send + Sync> Step<I> for Stacked<I, S, C> {
    type Out = S::Out;
    type Err = S::Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, S::Err> {
        let started = cx.renew();
        let dropped = CountCancelled { site: &self.site, cx, started };
        let run = self.site.run();
        let within = cx.child_in(&run);
        let result = self.inner.call(&within, input).await;
        dropped.disarm();
        self.site.passed(&within, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.inner.longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}

struct CountCancelled<'a, C> {
    site: &'a Site<C>,
    cx: &'a Cx<'a>,
    started: crate::clock::Tick,
}

impl<C> CountCancelled<'_, C> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl<C> Drop for CountCancelled<'_, C> {
    fn drop(&mut self) {
        self.cx.renew();
        self.site.done(self.cx, self.started, Outcome::Cancelled);
    }
}
