//! The time that one attempt may take.
//!
//! It stands inside the breaker, so that an attempt that hangs counts against the service: a timeout outside would drop
//! the call before the breaker could see how it ended. Within the attempt the deadline is the attempt's own end, or the
//! whole call's if that is nearer; only the first becomes [`Why::Timeout`] and may be tried again.
//!
//! A service that hangs must not go unnoticed because its callers have less time than an attempt may take. So an attempt
//! that the call's deadline cuts off counts against the service as well, once it has run for half of its time
//! ([`Fail::cut_after`]). A caller who has hardly any time opens no breaker for the others.

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    cut::Cut,
    cx::Cx,
    deadline::LiveDuration,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    meter::Outcome,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    trail::Decision,
};

/// The attempt timeout layer. See the [module](self).
#[derive(Clone, Debug)]
pub struct AttemptTimeout {
    limit: LiveDuration,
}

impl AttemptTimeout {
    /// One attempt may take `limit`.
    pub fn new(limit: impl Into<LiveDuration>) -> Self {
        Self { limit: limit.into() }
    }
}

/// Recommended attempt timeouts by what is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A small, quick chat model: 10 seconds.
    Gpt35,
    /// A large chat model: 30 seconds.
    Gpt4,
    /// A large chat model with long answers: 45 seconds.
    Claude,
    /// A model of one's own: 60 seconds.
    CustomMl,
    /// A database: 5 seconds.
    Database,
    /// Any other service: 15 seconds.
    ExternalApi,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Operation; 6] =
        [Self::Gpt35, Self::Gpt4, Self::Claude, Self::CustomMl, Self::Database, Self::ExternalApi];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt35 => "gpt-3.5",
            Self::Gpt4 => "gpt-4",
            Self::Claude => "claude",
            Self::CustomMl => "custom-ml",
            Self::Database => "database",
            Self::ExternalApi => "external-api",
        }
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// How long one attempt may take.
    pub const fn attempt_timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::Gpt35 => 10,
            Self::Gpt4 => 30,
            Self::Claude => 45,
            Self::CustomMl => 60,
            Self::Database => 5,
            Self::ExternalApi => 15,
        })
    }
}

impl From<Operation> for LiveDuration {
    fn from(operation: Operation) -> Self {
        Self::new(operation.attempt_timeout())
    }
}

impl<S, C> Layer<S, C> for AttemptTimeout {
    type Step = TimeoutStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        TimeoutStep { inner, limit: self.limit, site: Site::new(env, Label::ATTEMPT_TIMEOUT) }
    }
}

/// A step whose attempts end in time.
pub struct TimeoutStep<S, C> {
    inner: S,
    limit: LiveDuration,
    site: Site<C>,
}

impl<I, S, E, C> Step<I> for TimeoutStep<S, C>
where
    I: Send,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<E>> {
        let (started, limit) = (cx.now(), self.limit.nanos());
        let (own_end, deadline) = (started.after_nanos(limit), cx.deadline_tick());
        if started >= deadline {
            return Err(self.site.turn_away(cx, started, (Decision::DeadlineRefused, 0), Why::Deadline));
        }
        let ended = {
            let until = own_end.min(deadline);
            let child = cx.child(until);
            let work = pin!(self.inner.call(&child, input));
            Cut::new(&child, until, work).await
        };
        // Whose end it was decides what may follow: another attempt, or nothing.
        let why = if own_end <= deadline { Why::Timeout { limit: Duration::from_nanos(limit) } } else { Why::Deadline };
        let result = match ended {
            // A deadline further in that was earlier than our end is not ours to explain.
            Ok(Err(fail)) if fail.why() == Why::Deadline && why != Why::Deadline && cx.now() >= own_end => {
                Err(fail.because(why, self.site.env.stack, Label::ATTEMPT_TIMEOUT))
            }
            Ok(result) => {
                self.site.passed(cx, started, &result);
                return result.map_err(|fail| match fail.why() {
                    Why::Deadline if cx.now() >= deadline => {
                        fail.cut_after(cx.now().since(started), Duration::from_nanos(limit))
                    }
                    _ => fail,
                });
            }
            Err(_) if why == Why::Deadline => {
                Err(self.site.fail(why).attempts_are(1).cut_after(cx.now().since(started), Duration::from_nanos(limit)))
            }
            Err(_) => Err(self.site.fail(why).attempts_are(1)),
        };
        self.site.note(cx, if why == Why::Deadline { Decision::DeadlineCut } else { Decision::AttemptTimedOut }, 0);
        self.site.done(cx, started, Outcome::TimedOut);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        let limit = limit.min(self.limit.get());
        Some(self.inner.longest(limit).map_or(limit, |inner| inner.min(limit)))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}
