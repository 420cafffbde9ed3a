//! Reliability primitives that compose: retry, timeout, breaker, cache, limits, hedge, fallback.

#![allow(unexpected_cfgs, reason = "longhaul_loom is set by hand, to run the model checker")]

mod class;
mod clock;
mod cut;
mod cx;
mod dice;
mod fail;
mod histogram;
mod inspect;
mod label;
mod meter;
mod site;
mod stack;
mod step;
mod sync;
mod trail;
mod virtual_clock;

pub mod cache;

pub use cache::{Cache, CacheHandle, CachePolicy, How};
pub use class::{AnyErrorIsTransient, ByError, ByResult, Class, Classify, RetryAfter, class_of};
pub use clock::{Clock, Sleep, SystemClock, Tick};
pub use cx::{Child, CorrelationId, Cx, Report};
pub use dice::Dice;
pub use fail::{Fail, Failure, Why};
pub use histogram::Histogram;
pub use inspect::{Inspection, StackMetrics};
pub use label::Label;
pub use meter::{LayerMetrics, Outcome, Recorder};
pub use site::Env;
pub use stack::{Layer, Leaf, NoLayer, Stack, Stacked, Within};
pub use step::{BoxFuture, BoxStep, Step};
pub use trail::{Decision, Note};
pub use virtual_clock::VirtualClock;
