//! The same step over many inputs at once. One failure costs nothing of the others.

use std::{convert::Infallible, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{cx::Cx, inspect::Inspection, step::Step};

/// Runs a step for every input of a list, so many at once, and answers with all results in the order of the inputs.
///
/// ```
/// use longhaul_resilience::{Cx, Parallel, Step};
/// async fn half(n: u32) -> Result<u32, String> {
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let Ok(results) = Parallel::new(half).at_once(8).call(&Cx::default(), vec![2, 3, 4]).await;
/// let halves: Vec<u32> = results.into_iter().flatten().collect();
/// assert_eq!(halves, [1, 2]);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Parallel<S> {
    step: S,
    at_once: usize,
}

/// How many calls run at once unless told otherwise.
const DEFAULT_AT_ONCE: usize = 16;

impl<S> Parallel<S> {
    /// Sixteen at once.
    pub fn new(step: S) -> Self {
        Self { step, at_once: DEFAULT_AT_ONCE }
    }

    /// So many at once, at least one.
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once: at_once.max(1), ..self }
    }
}

impl<I: Send, S: Step<I>> Step<Vec<I>> for Parallel<S> {
    type Out = Vec<Result<S::Out, S::Err>>;
    type Err = Infallible;

    async fn call(&self, cx: &Cx<'_>, inputs: Vec<I>) -> Result<Self::Out, Infallible> {
        let mut results: Vec<Option<Result<S::Out, S::Err>>> = inputs.iter().map(|_| None).collect();
        let committed = cx.is_committed();
        let one = async |index: usize, input: I| {
            // What one has put out already is no reason not to try another again.
            let part = cx.part(committed);
            let result = self.step.call(&cx.as_part(&part), input).await;
            (index, result)
        };
        let mut waiting = inputs.into_iter().enumerate();
        let mut running: FuturesUnordered<_> = waiting.by_ref().take(self.at_once).map(|(n, i)| one(n, i)).collect();
        while let Some((index, result)) = running.next().await {
            results[index] = Some(result);
            if let Some((index, input)) = waiting.next() {
                running.push(one(index, input));
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn inspect(&self, into: &mut Inspection) {
        self.step.inspect(into);
    }

    /// Depends on how many inputs there are, so nothing bounds it.
    fn longest(&self, _: Duration) -> Option<Duration> {
        None
    }
}
