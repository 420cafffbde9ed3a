//! Reliability primitives that compose: retry, timeout, breaker, cache, limits, hedge, fallback.

#![allow(unexpected_cfgs, reason = "longhaul_loom is set by hand, to run the model checker")]

pub mod breaker;
pub mod builder;
pub mod bulkhead;
pub mod cache;
pub mod chaos;
mod class;
mod clock;
mod cut;
pub mod cx;
pub mod deadline;
mod decorate;
mod dice;
#[cfg(feature = "metrics")]
pub mod facade;
mod fail;
pub mod fallback;
pub mod hedge;
mod histogram;
mod inspect;
mod label;
pub mod limit;
mod meter;
pub mod mock;
pub mod parallel;
pub mod retry;
pub mod sequence;
mod site;
mod stack;
mod step;
mod sync;
pub mod timeout;
#[cfg(feature = "tower")]
pub mod tower;
mod trail;
mod virtual_clock;

pub use breaker::{Breaker, BreakerHandle, BreakerMode, BreakerState, Change};
pub use builder::OVERALL_TIMEOUT;
pub use bulkhead::{Adaptive, Bulkhead, BulkheadHandle};
pub use cache::{Cache, CacheHandle, CachePolicy, How, Scenario};
pub use chaos::{Chaos, ChaosSwitch};
pub use class::{AnyErrorIsTransient, ByError, ByResult, Class, Classify, RetryAfter, class_of};
pub use clock::{Clock, Sleep, SystemClock, Tick};
pub use cx::{CorrelationId, Cx, Report, SharedCx};
pub use deadline::{Deadline, LiveDuration};
pub use decorate::Decorate;
pub use dice::Dice;
#[cfg(feature = "metrics")]
pub use facade::MetricsFacade;
pub use fail::{Fail, Failure, Why};
pub use fallback::Fallback;
pub use hedge::Hedge;
pub use histogram::Histogram;
pub use inspect::{Inspection, StackMetrics};
pub use label::Label;
pub use limit::{Limit, LimitHandle};
pub use meter::{LayerMetrics, Outcome, Recorder};
pub use mock::Mock;
pub use parallel::Parallel;
pub use retry::{Jitter, Retry, RetryBudget, RetryHandle};
pub use sequence::Sequence;
pub use site::Env;
pub use stack::{Layer, Leaf, NoLayer, Stack, Stacked, Within};
pub use step::{BoxFuture, BoxStep, Step};
pub use timeout::{AttemptTimeout, Operation};
pub use trail::{Decision, Note};
pub use virtual_clock::VirtualClock;
