//! The layers by name: one method of [`Stack`] each, and the ready-made stacks.
//!
//! The order that is right for most calls to a slow and expensive service, outermost first:
//!
//! 1. **cache**: a hit must not wait for anything further in.
//! 2. **deadline**: bounds everything below, retries and alternatives included.
//! 3. **fallback**: outside the retries, so that an alternative is tried when one target is given up, not at its first
//!    hiccup.
//! 4. **retry**: outside the breaker, so that every attempt counts there, and an open breaker ends the attempts.
//! 5. **breaker**: outside the limits, so that an open circuit uses up no quota.
//! 6. **limits** and **bulkhead**: every attempt takes its own share, as the service counts it.
//! 7. **attempt timeout**: innermost, so that the breaker sees an attempt that hangs. Outside the breaker, a timeout
//!    would drop the call before its end could be counted.

use std::time::Duration;

use crate::{
    breaker::{Breaker, BreakerHandle},
    bulkhead::{Adaptive, Bulkhead},
    cache::Cache,
    chaos::Chaos,
    deadline::{Deadline, LiveDuration},
    fallback::Fallback,
    hedge::Hedge,
    label::Label,
    limit::Limit,
    retry::{Retry, RetryHandle},
    stack::{NoLayer, Stack, Within},
    timeout::{AttemptTimeout, Operation},
};

/// How long a whole call may take in the ready-made stacks, retries and alternatives included.
pub const OVERALL_TIMEOUT: Duration = Duration::from_secs(120);

/// The layers of [`Stack::standard`].
pub type Standard = Within<Within<Within<Within<NoLayer, Deadline>, RetryHandle>, BreakerHandle>, AttemptTimeout>;

impl Stack {
    /// A stack for `operation` with the recommended settings: two minutes in all, three retries from 1 s to 10 s, a
    /// breaker that opens after 5 failures for 60 s, and the attempt timeout of the operation.
    ///
    /// ```
    /// use longhaul_resilience::{Operation, Stack};
    /// use std::time::Duration;
    /// let stack = Stack::standard("gpt-4", Operation::Gpt4).around(async |q: String| Ok::<_, String>(q));
    /// assert_eq!(stack.worst_case(), Some(Duration::from_secs(120)));
    /// ```
    pub fn standard(name: impl Into<Label>, operation: Operation) -> Stack<Standard> {
        Stack::named(name)
            .deadline(OVERALL_TIMEOUT)
            .retry(Retry::default())
            .breaker(Breaker::default())
            .attempt_timeout(operation)
    }
}

impl<L, C> Stack<L, C> {
    /// Keeps answers. See [`Cache`].
    #[allow(clippy::type_complexity, reason = "spelled out like its neighbours")]
    pub fn cache<I, K, F, H>(self, cache: Cache<I, K, F, H>) -> Stack<Within<L, Cache<I, K, F, H>>, C> {
        self.layer(cache)
    }

    /// Bounds the whole call. See [`Deadline`].
    pub fn deadline(self, limit: impl Into<LiveDuration>) -> Stack<Within<L, Deadline>, C> {
        self.layer(Deadline::new(limit))
    }

    /// Tries alternatives. See [`Fallback`].
    pub fn fallback<A>(self, fallback: Fallback<A>) -> Stack<Within<L, Fallback<A>>, C> {
        self.layer(fallback)
    }

    /// Tries again. See [`Retry`].
    pub fn retry(self, retry: impl Into<RetryHandle>) -> Stack<Within<L, RetryHandle>, C> {
        self.layer(retry.into())
    }

    /// Fails fast while the service is down. See [`Breaker`].
    pub fn breaker(self, breaker: impl Into<BreakerHandle>) -> Stack<Within<L, BreakerHandle>, C> {
        self.layer(breaker.into())
    }

    /// Keeps within a rate. See [`Limit`].
    pub fn limit<E, A>(self, limit: Limit<E, A>) -> Stack<Within<L, Limit<E, A>>, C> {
        self.layer(limit)
    }

    /// Keeps within so many calls at once. See [`Bulkhead`].
    pub fn bulkhead(self, bulkhead: Bulkhead) -> Stack<Within<L, Bulkhead>, C> {
        self.layer(bulkhead)
    }

    /// Keeps within as many calls at once as the service takes. See [`Adaptive`].
    pub fn adaptive(self, adaptive: Adaptive) -> Stack<Within<L, Adaptive>, C> {
        self.layer(adaptive)
    }

    /// Starts a second call beside a slow one. See [`Hedge`].
    pub fn hedge(self, hedge: Hedge) -> Stack<Within<L, Hedge>, C> {
        self.layer(hedge)
    }

    /// Bounds one attempt. See [`AttemptTimeout`].
    pub fn attempt_timeout(self, limit: impl Into<LiveDuration>) -> Stack<Within<L, AttemptTimeout>, C> {
        self.layer(AttemptTimeout::new(limit))
    }

    /// Makes faults on purpose. See [`Chaos`].
    pub fn chaos<E, O>(self, chaos: Chaos<E, O>) -> Stack<Within<L, Chaos<E, O>>, C> {
        self.layer(chaos)
    }
}
