//! Reliability primitives that compose: retry, timeout, breaker, cache, limits, hedge, fallback.
//!
//! A [`Stack`] puts layers around a call, written from the outermost to the innermost:
//!
//! ```
//! use longhaul_resilience::{
//!     Breaker, Bulkhead, Cache, Class, Cx, Fail, Fallback, Limit, Operation, Retry, Scenario, Stack, cache::normalised,
//! };
//! use std::time::Duration;
//!
//! #[derive(Clone, Debug)]
//! enum ApiError { Unavailable, BadRequest }
//!
//! async fn large(question: String) -> Result<String, ApiError> { Ok(format!("a long answer to {question}")) }
//! async fn small(question: String) -> Result<String, ApiError> { Ok(format!("an answer to {question}")) }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let ask = Stack::named("ask")
//!     .classify(|error: &ApiError| match error {
//!         ApiError::Unavailable => Class::Transient,
//!         ApiError::BadRequest => Class::Permanent,
//!     })
//!     .cache(Cache::keyed(|q: &String| normalised(q)).scenario(Scenario::UserQuery))
//!     .deadline(Duration::from_secs(120))
//!     .fallback(Fallback::to(small).last(|_: &String, _: &Fail<ApiError>| "Please try again later.".to_owned()))
//!     .retry(Retry::exponential(Duration::from_secs(1), Duration::from_secs(10)).max_retries(3))
//!     .breaker(Breaker::consecutive(5).open_for(Duration::from_secs(60)).successes(2))
//!     .limit(Limit::rpm(600).tpm(90_000, |q: &String| q.len() as u64 / 4))
//!     .bulkhead(Bulkhead::new(64))
//!     .attempt_timeout(Operation::Gpt4)
//!     .around(large);
//!
//! let cx = Cx::new("req-123");
//! // The chain ends in a function that always answers, so there is no error to handle.
//! let Ok(answer) = ask.call(&cx, "What is Rust?".to_owned()).await;
//! assert_eq!(cx.report().names(), ["call.ok", "cache.miss"]);
//! assert_eq!(ask.worst_case(), Some(Duration::from_secs(120)));
//! assert_eq!(ask.metrics().total, 1);
//! # });
//! ```
//!
//! For a single layer around a plain function there is one line: see [`Decorate`].
//!
//! # The parts
//!
//! | | |
//! |---|---|
//! | [`Step`] | the one trait: something that can be called with a context and an input |
//! | [`Cx`] | who asks, until when, by which clock; and the record of what each layer decided |
//! | [`Fail`] | one flat failure, however many layers: why, which layer, how many attempts, the last real error |
//! | [`Class`] | the judgement of a result that all layers of a stack share |
//! | [`Stack`] | the builder; [`Stacked`] is what it makes |
//!
//! # The layers
//!
//! | layer | in one line |
//! |---|---|
//! | [`Cache`] | keeps answers; one call for many who ask the same; stale answers while refreshing or on error |
//! | [`Deadline`] | bounds the whole call, and tells every layer within |
//! | [`Fallback`] | alternatives in order; one that always answers makes the error `Infallible` |
//! | [`Retry`] | tries again what may succeed, no earlier than asked, within a shared budget |
//! | [`Breaker`] | fails fast while the service is down, and finds out when it is back |
//! | [`Limit`] | requests and tokens per minute, reserved together, set right to actual use |
//! | [`Bulkhead`] | so many calls at once; [`Adaptive`] finds the number itself |
//! | [`AttemptTimeout`] | bounds one attempt |
//! | [`Hedge`] | a second call beside an unusually slow one |
//! | [`Chaos`] | faults on purpose, from a seed |
//!
//! [`Parallel`] and [`Sequence`] compose steps; [`Mock`] stands in for one in tests. In which order layers belong, and why, is
//! told in [`builder`]. What goes wrong when they are nested otherwise:
//!
//! - two retry layers multiply; only the outermost repeats, unless told otherwise;
//! - a timeout outside a breaker hides hanging calls from it;
//! - a breaker around a fallback sees only answers, and never opens;
//! - a cache inside a retry saves nothing; a limit outside one counts too little.
//!
//! # What holds everywhere
//!
//! - **Dropping a call is safe at any point.** Places, reservations, probes and flights are given back. A cancelled call is
//!   neither success nor failure.
//! - **Time comes from a clock in the context** and only from there. With tokio's time paused, or a [`VirtualClock`], an hour
//!   of retries passes in no time.
//! - **Settings change live** through handles ([`BreakerHandle`], [`LimitHandle`], [`RetryHandle`], [`LiveDuration`], …) and
//!   keep their state.
//! - **No lock is held** across an `.await` or while code of the user's runs, but for cloning a cached value.
//! - **Every queue and buffer has a bound** with a name.
//! - **The closed path allocates nothing.**
//!
//! # Features
//!
//! - `tower` (on): adapters to and from `tower::Service`, see [`tower`].
//! - `metrics`: a [`Recorder`] that writes to the `metrics` facade.
//!
//! The model checker runs the shells with
//! `RUSTFLAGS="--cfg longhaul_loom" cargo test -p longhaul-resilience --lib --release --target-dir target/loom loom`.

#![allow(unexpected_cfgs, reason = "longhaul_loom is set by hand, to run the model checker")]

mod attempts;
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
#[cfg(all(test, longhaul_loom))]
mod loom_tests;
mod meter;
pub mod mock;
pub mod parallel;
pub mod retry;
pub mod sequence;
mod site;
mod stack;
mod step;
mod straight;
mod sync;
pub mod timeout;
#[cfg(feature = "tower")]
pub mod tower;
mod trail;
mod virtual_clock;

pub use attempts::Attempts;
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
pub use histogram::{Counts as HistogramCounts, Histogram};
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
