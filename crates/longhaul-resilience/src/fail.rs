//! How a call through a stack can fail: one flat type, however many layers there are.
//!
//! A [`Fail`] says why the stack gave up, which layer of which stack said so, after how many attempts, and keeps the
//! last real error, also when a deadline or a spent budget is what ended the call. A stack whose last alternative
//! cannot fail has the error [`Infallible`] instead.

use std::{convert::Infallible, error::Error, fmt, time::Duration};

use crate::{clock::Tick, label::Label};

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The innermost step said so: the error is its own.
    Inner,
    /// One attempt took longer than it may.
    Timeout {
        /// What it was allowed.
        limit: Duration,
    },
    /// The whole call ran out of time, or the next part would not have fitted.
    Deadline,
    /// A circuit breaker is open.
    Open {
        /// When it will let a probe through.
        retry_after: Duration,
    },
    /// A rate limit of ours would have made the call wait too long.
    Limited {
        /// When there will be room.
        retry_after: Duration,
    },
    /// Too many calls at once, and the queue is full.
    Full,
    /// The shared retry budget does not allow another attempt.
    BudgetSpent,
    /// The service asked for a wait that is not sensible to sleep through: try again at this moment.
    Park {
        /// The moment, on the clock of the call; [`Cx::unix_time_at`](crate::Cx::unix_time_at) makes it wall time.
        until: Tick,
    },
}

/// The failure of a call. `E` is the error of the innermost step.
///
/// One word wide: what is known of a failure lies behind a pointer, so that successes, which are passed on through every
/// layer in the same place, do not drag room for it along.
#[derive(Clone, PartialEq, Eq)]
pub struct Fail<E> {
    known: Box<Known<E>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Known<E> {
    why: Why,
    before: Option<Why>,
    error: Option<E>,
    stack: Label,
    layer: Label,
    attempts: u32,
    had_its_time: bool,
}

impl<E> Fail<E> {
    /// The innermost step failed with `error`.
    #[cold]
    pub fn inner(error: E) -> Self {
        let known = Known {
            why: Why::Inner,
            before: None,
            error: Some(error),
            stack: Label::NONE,
            layer: Label::CALL,
            attempts: 1,
            had_its_time: false,
        };
        Self { known: Box::new(known) }
    }

    /// A layer gave up, without an error from the inside.
    #[cold]
    pub fn local(why: Why, stack: Label, layer: Label) -> Self {
        let known = Known { why, before: None, error: None, stack, layer, attempts: 0, had_its_time: false };
        Self { known: Box::new(known) }
    }

    /// The same failure under a new reason: what went wrong before is kept.
    pub(crate) fn because(mut self, why: Why, stack: Label, layer: Label) -> Self {
        let known = &mut *self.known;
        known.before = Some(std::mem::replace(&mut known.why, why));
        (known.stack, known.layer) = (stack, layer);
        self
    }

    /// Adds what is known of an earlier attempt to a failure that knows of none.
    pub(crate) fn after(mut self, earlier: Option<Fail<E>>) -> Self {
        if let Some(earlier) = earlier.filter(|_| self.known.error.is_none()) {
            self.known.before = self.known.before.or(Some(earlier.known.why));
            self.known.error = earlier.known.error;
        }
        self
    }

    pub(crate) fn attempts_are(mut self, attempts: u32) -> Self {
        self.known.attempts = attempts;
        self
    }

    /// The deadline of the call cut an attempt off that had run for `took`, of the `limit` that an attempt may take. From
    /// half of that on it counts against the service, as an attempt that took all its time would.
    pub fn cut_after(mut self, took: Duration, limit: Duration) -> Self {
        self.known.had_its_time = took >= limit / 2;
        self
    }

    /// Whether an attempt that the deadline of the call cut off counts against the service: see
    /// [`cut_after`](Self::cut_after).
    pub fn had_its_time(&self) -> bool {
        self.known.had_its_time
    }

    /// Why the call failed.
    pub fn why(&self) -> Why {
        self.known.why
    }

    /// What had gone wrong before a layer gave up, if anything.
    pub fn before(&self) -> Option<Why> {
        self.known.before
    }

    /// The last error of the innermost step.
    pub fn error(&self) -> Option<&E> {
        self.known.error.as_ref()
    }

    /// The last error of the innermost step.
    pub fn into_error(self) -> Option<E> {
        self.known.error
    }

    /// The stack whose layer gave up.
    pub fn stack(&self) -> Label {
        self.known.stack
    }

    /// The layer that gave up.
    pub fn layer(&self) -> Label {
        self.known.layer
    }

    /// How many attempts reached the innermost step, as far as the layers counted.
    pub fn attempts(&self) -> u32 {
        self.known.attempts
    }

    /// How long to wait before another try makes sense, where a layer knows.
    pub fn retry_after(&self, now: Tick) -> Option<Duration> {
        match self.why() {
            Why::Open { retry_after } | Why::Limited { retry_after } => Some(retry_after),
            Why::Park { until } => Some(until.since(now)),
            Why::Inner | Why::Timeout { .. } | Why::Deadline | Why::Full | Why::BudgetSpent => None,
        }
    }

    /// Changes the type of the innermost error.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> Fail<F> {
        let Known { why, before, error, stack, layer, attempts, had_its_time } = *self.known;
        let error = error.map(change);
        Fail { known: Box::new(Known { why, before, error, stack, layer, attempts, had_its_time }) }
    }
}

impl<E: fmt::Debug> fmt::Debug for Fail<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Known { why, before, error, stack, layer, attempts, had_its_time: _ } = &*self.known;
        f.debug_struct("Fail")
            .field("why", why)
            .field("before", before)
            .field("error", error)
            .field("stack", stack)
            .field("layer", layer)
            .field("attempts", attempts)
            .finish()
    }
}

impl<E> From<E> for Fail<E> {
    fn from(error: E) -> Self {
        Self::inner(error)
    }
}

impl<E: fmt::Display> fmt::Display for Fail<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known.why {
            Why::Inner => {}
            Why::Timeout { limit } => write!(f, "no answer within {limit:?}")?,
            Why::Deadline => f.write_str("out of time")?,
            Why::Open { retry_after } => write!(f, "circuit open for another {retry_after:?}")?,
            Why::Limited { retry_after } => write!(f, "rate limited for another {retry_after:?}")?,
            Why::Full => f.write_str("too many calls at once")?,
            Why::BudgetSpent => f.write_str("retry budget spent")?,
            Why::Park { until } => write!(f, "to be tried again at {until:?}")?,
        }
        match (&self.known.error, self.known.why) {
            (Some(error), Why::Inner) => write!(f, "{error}")?,
            (Some(error), _) => write!(f, "; last error: {error}")?,
            (None, _) => {}
        }
        if self.known.why != Why::Inner {
            write!(f, " ({}/{}", self.known.stack, self.known.layer)?;
            if self.known.attempts > 0 {
                write!(f, ", {} attempts", self.known.attempts)?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl<E: Error + 'static> Error for Fail<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.known.error.as_ref().map(|error| error as &(dyn Error + 'static))
    }
}

/// The error type of a step, as far as layers must know it: [`Fail`] or [`Infallible`].
///
/// A deadline or a cache works around both. Around a step that cannot fail they never make a failure up: the step is
/// told the deadline and trusted to answer.
pub trait Failure: Sized + Send {
    /// Whether there are failures at all, known without making one. Where this is wrong, time is lost and nothing else.
    const CAN_FAIL: bool = true;
    /// The failure for a reason of a layer, or `None` where there is no failure.
    fn local(why: Why, stack: Label, layer: Label) -> Option<Self>;
    /// Why, where a layer said so.
    fn reason(&self) -> Why;
}

impl<E: Send> Failure for Fail<E> {
    fn local(why: Why, stack: Label, layer: Label) -> Option<Self> {
        Some(Fail::local(why, stack, layer))
    }

    fn reason(&self) -> Why {
        self.known.why
    }
}

impl Failure for Infallible {
    const CAN_FAIL: bool = false;

    fn local(_: Why, _: Label, _: Label) -> Option<Self> {
        None
    }

    fn reason(&self) -> Why {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_real_error_survives_a_deadline() {
        let fail = Fail::inner("503").because(Why::Deadline, Label::new("s"), Label::RETRY).attempts_are(2);
        assert_eq!(fail.why(), Why::Deadline);
        assert_eq!(fail.before(), Some(Why::Inner));
        assert_eq!(fail.to_string(), "out of time; last error: 503 (s/retry, 2 attempts)");
    }

    #[test]
    fn an_inner_error_reads_as_itself() {
        assert_eq!(Fail::inner("bad key").to_string(), "bad key");
    }

    #[test]
    fn an_earlier_error_is_not_put_over_a_later_one() {
        let late = Fail::inner("new").after(Some(Fail::inner("old")));
        assert_eq!(late.error(), Some(&"new"));
        let local = Fail::local(Why::Deadline, Label::NONE, Label::DEADLINE).after(Some(Fail::inner("old")));
        assert_eq!((local.why(), local.error()), (Why::Deadline, Some(&"old")));
    }
}
