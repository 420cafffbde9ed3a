//! What the gateway adds to a call: the same calls directly to a provider, through nginx as a plain proxy, and through
//! Longhaul with its whole stack on, in turns of a few seconds within one run.
//!
//! The provider is a process of this program that answers at once from memory ([`upstream`]), so what is measured is the
//! way and not the model. Turns are interleaved, because a machine that is shared or warms up is never the same for
//! longer than that; figures are medians over rounds. Four things are measured:
//!
//! - **throughput** at saturation, whole and streamed answers of 1 KB and 16 KB;
//! - **latency** of one connection with one call under way;
//! - **delay of streamed pieces**: each carries the time at which it was written;
//! - **cache hits**, against the direct way.
//!
//! Every question is another one, so that the cache is looked up and never hit, except where hits are the subject.

mod client;
mod contenders;
mod measure;
mod report;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

pub use report::GatewayReport;
pub(crate) use upstream::serve as serve_upstream;

use crate::screen::Screen;

/// What to measure.
#[derive(Debug, Clone)]
pub struct GatewayPlan {
    /// Connections at saturation.
    pub clients: usize,
    /// How often each is measured.
    pub rounds: u32,
    /// How long a turn takes.
    pub turn: Duration,
    /// The nginx program; none: it is looked for.
    pub nginx: Option<PathBuf>,
    /// Where temporary directories are made.
    pub directory: PathBuf,
    /// Says what is being measured, on standard error.
    pub progress: bool,
}

/// Runs the plan.
///
/// # Errors
/// When a contender cannot be started, or answers wrongly.
pub fn gateway(plan: &GatewayPlan, screen: &mut Screen) -> anyhow::Result<GatewayReport> {
    super::runtime()?.block_on(super::unless_interrupted(measure::run(plan, screen)))
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the answer's text, roughly.
    bytes: usize,
    /// In pieces.
    streamed: bool,
    /// Between two pieces.
    pace: Duration,
}

impl Shape {
    const fn whole(bytes: usize) -> Self {
        Self { bytes, streamed: false, pace: Duration::ZERO }
    }

    const fn streamed(bytes: usize) -> Self {
        Self { bytes, streamed: true, pace: Duration::ZERO }
    }

    /// The name of the model that answers so: the provider reads it.
    fn model(self) -> String {
        format!("b{}-p{}", self.bytes, self.pace.as_micros())
    }

    /// The shape that a model's name stands for.
    fn of_model(name: &str, streamed: bool) -> Option<Self> {
        let (bytes, pace) = name.strip_prefix('b')?.split_once("-p")?;
        Some(Self { bytes: bytes.parse().ok()?, streamed, pace: Duration::from_micros(pace.parse().ok()?) })
    }

    /// In words.
    fn describe(self) -> String {
        let way = if self.streamed { "streamed" } else { "whole" };
        format!("{} KB {way}", self.bytes / 1_024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_tells_its_shape() {
        let shape = Shape { bytes: 1_024, streamed: true, pace: Duration::from_millis(5) };
        assert_eq!(Shape::of_model(&shape.model(), true), Some(shape));
        assert_eq!(Shape::of_model("gpt-4o", false), None);
    }
}
