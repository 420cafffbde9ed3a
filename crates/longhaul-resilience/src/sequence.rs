//! One step after another: the answer of the first is the input of the second.

use std::time::Duration;

use crate::{cx::Cx, inspect::Inspection, step::Step};

/// `first`, then `second`. Ends with the first failure.
///
/// ```
/// use longhaul_resilience::{Cx, Sequence, Step};
/// async fn parse(text: &'static str) -> Result<u32, std::num::ParseIntError> { text.parse() }
/// async fn double(n: u32) -> Result<u32, std::num::ParseIntError> { Ok(n * 2) }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert_eq!(Sequence::of(parse, double).call(&Cx::default(), "21").await.unwrap(), 42);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Sequence<A, B> {
    first: A,
    second: B,
}

impl<A, B> Sequence<A, B> {
    /// `first`, then `second`.
    pub fn of(first: A, second: B) -> Self {
        Self { first, second }
    }

    /// And then `next`.
    pub fn then<N>(self, next: N) -> Sequence<Self, N> {
        Sequence { first: self, second: next }
    }
}

impl<I, A, B> Step<I> for Sequence<A, B>
where
    I: Send,
    A: Step<I>,
    B: Step<A::Out, Err = A::Err>,
{
    type Out = B::Out;
    type Err = A::Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<B::Out, A::Err> {
        let between = self.first.call(cx, input).await?;
        cx.renew();
        self.second.call(cx, between).await
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        Some(self.first.longest(limit)?.saturating_add(self.second.longest(limit)?))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.first.inspect(into);
        self.second.inspect(into);
    }
}
