//! The domain of Longhaul, pure: what a job is, how it lives, what it tells.
//!
//! Nothing in this crate reads a clock, a socket, a disk or a source of randomness: callers pass `now`, ids and jitter.
//! That is what lets one function, [`Job::step`], decide every change of a job's state, in every store, in recovery and
//! in simulation alike.
//!
//! What is left to others: keeping jobs (`longhaul-store`), running them (`longhaul-engine`), and everything about
//! models, HTTP and SQL.

mod access;
mod attempt;
mod backoff;
mod clock;
mod error;
mod event;
mod id;
mod job;
mod kind;
mod life;
mod limit;
mod name;
mod payload;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod trace;

pub use access::{ApiKey, Caller, Scope};
pub use attempt::{Attempt, Ending};
pub use backoff::Backoff;
pub use clock::Clock;
pub use error::{JobError, ProviderError};
pub use event::{Event, EventKind, LAYER_MOST, LogLevel, OutputData};
pub use id::{DocumentId, IdError, IdSource, Ids, JobId, KeyId, LeaseToken};
pub use job::{
    ANSWERS_MOST, CHILDREN_MOST, ChildCounts, DEPTH_MOST, Job, JobSpec, Lease, OnChildFailure, Progress, QueuedFor,
    Report, Stage, State, Status, StatusReason, Usage, Wait,
};
pub use kind::KindSpec;
pub use life::{Applied, CANCEL_GRACE, CRASH_LIMIT, ChildEnd, Ended, Refused, RetryPlan, Step};
pub use limit::{
    Bound, Full, LIMIT_MOST, Limit, LimitFlaw, LimitKey, Limits, Pace, RATE_PER_MOST_S, Rate, check_limits,
};
pub use name::{KindName, NameError, QueueName, StepName, Tenant};
pub use payload::{BlobRef, INLINE_LIMIT, Payload};
pub use time::{Span, Timestamp};
pub use trace::{NoTraceContext, TraceContext};
