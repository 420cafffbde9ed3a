//! The one trait: something that can be called with a context and an input.
//!
//! Why not `tower::Service`: `&self` and a borrowed context need no clone and no box per call, and there is no
//! readiness to hold while waiting for the request that needs it. Adapters in both directions are in [`crate::tower`].

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{cx::Cx, fail::Fail, inspect::Inspection};

/// An asynchronous step from `I` to `Out`.
///
/// Every plain `async fn(I) -> Result<Out, E>` is one, with the error [`Fail<E>`]; so is every stack.
///
/// ```
/// use longhaul_resilience::{Cx, Step};
///
/// async fn shout(text: String) -> Result<String, std::io::Error> {
///     Ok(text.to_uppercase())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(shout.call(&Cx::new("req-1"), "hi".into()).await.unwrap(), "HI");
/// # });
/// ```
///
/// A step of one's own writes `async fn call`:
///
/// ```
/// use longhaul_resilience::{Cx, Fail, Step};
///
/// struct Doubler;
/// impl Step<u32> for Doubler {
///     type Out = u32;
///     type Err = Fail<String>;
///     async fn call(&self, cx: &Cx<'_>, n: u32) -> Result<u32, Fail<String>> {
///         cx.checkpoint("doubling");
///         n.checked_mul(2).ok_or_else(|| Fail::inner(format!("{n} is too large to double")))
///     }
/// }
/// ```
pub trait Step<I>: Send + Sync {
    /// What it answers.
    type Out: Send;
    /// How it fails: [`Fail<E>`], or [`Infallible`](std::convert::Infallible).
    type Err: Send;

    /// Runs the step. Dropping the future cancels it, and gives back whatever it held.
    fn call(&self, cx: &Cx<'_>, input: I) -> impl Future<Output = Result<Self::Out, Self::Err>> + Send;

    /// The longest that [`call`](Step::call) can take when the deadline of its context is `limit` away, or `None` where
    /// nothing bounds it. Without a deadline the limit is [`Duration::MAX`].
    fn longest(&self, limit: Duration) -> Option<Duration> {
        let _ = limit;
        None
    }

    /// Adds the meters and states of this step and of those within it.
    fn inspect(&self, into: &mut Inspection) {
        let _ = into;
    }
}

impl<I, F, Fut, Out, E> Step<I> for F
where
    I: Send,
    F: Fn(I) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Out, E>> + Send,
    Out: Send,
    E: Send,
{
    type Out = Out;
    type Err = Fail<E>;

    async fn call(&self, _cx: &Cx<'_>, input: I) -> Result<Out, Fail<E>> {
        self(input).await.map_err(Fail::inner)
    }
}

impl<I: Send, S: Step<I>> Step<I> for Arc<S> {
    type Out = S::Out;
    type Err = S::Err;

    fn call(&self, cx: &Cx<'_>, input: I) -> impl Future<Output = Result<S::Out, S::Err>> + Send {
        (**self).call(cx, input)
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        (**self).longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        (**self).inspect(into);
    }
}

/// A future behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait DynStep<I, Out, Err>: Send + Sync {
    fn call_boxed<'a>(&'a self, cx: &'a Cx<'_>, input: I) -> BoxFuture<'a, Result<Out, Err>>
    where
        I: 'a;
    fn longest_boxed(&self, limit: Duration) -> Option<Duration>;
    fn inspect_boxed(&self, into: &mut Inspection);
}

impl<I: Send, S: Step<I>> DynStep<I, S::Out, S::Err> for S {
    fn call_boxed<'a>(&'a self, cx: &'a Cx<'_>, input: I) -> BoxFuture<'a, Result<S::Out, S::Err>>
    where
        I: 'a,
    {
        Box::pin(self.call(cx, input))
    }

    fn longest_boxed(&self, limit: Duration) -> Option<Duration> {
        self.longest(limit)
    }

    fn inspect_boxed(&self, into: &mut Inspection) {
        self.inspect(into);
    }
}

/// Any step with this input, output and error, behind one pointer. Costs one allocation per call.
///
/// For lists of different steps, and for struct fields whose type should be short.
pub struct BoxStep<I, Out, Err> {
    inner: Arc<dyn DynStep<I, Out, Err>>,
}

impl<I, Out, Err> BoxStep<I, Out, Err> {
    /// Hides the type of `step`.
    pub fn new<S>(step: S) -> Self
    where
        I: Send + 'static,
        S: Step<I, Out = Out, Err = Err> + 'static,
        Out: 'static,
        Err: 'static,
    {
        Self { inner: Arc::new(step) }
    }
}

impl<I, Out, Err> Clone for BoxStep<I, Out, Err> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<I, Out, Err> std::fmt::Debug for BoxStep<I, Out, Err> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxStep")
    }
}

impl<I: Send + 'static, Out: Send + 'static, Err: Send + 'static> Step<I> for BoxStep<I, Out, Err> {
    type Out = Out;
    type Err = Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<Out, Err> {
        self.inner.call_boxed(cx, input).await
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.inner.longest_boxed(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.inner.inspect_boxed(into);
    }
}
