//! The shapes of the figures.

use std::time::Duration;

use longhaul_engine::{Percentiles, Window};
use longhaul_gateway::{BreakerView, HistogramCounts, ModelFigures, ModelWindow};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct JobFigures {
    /// Jobs that wait, of all queues.
    pub(super) queued: u64,
    /// Jobs that run.
    pub(super) running: u64,
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) submitted_per_s: f64,
    pub(super) ended_per_s: f64,
    /// Of those that ended by themselves, the part that failed; null when none did.
    pub(super) error_rate: Option<f64>,
    /// Of those that succeeded, the part that did not come from the first target; null when none did.
    pub(super) fallback_rate: Option<f64>,
    /// Of those that succeeded, the part that came from a cache; null when none did.
    pub(super) hit_rate: Option<f64>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cost_microusd: u64,
}

impl JobFigures {
    /// Of a window of `seconds`; `queued` and `running` are as things stand now.
    pub(super) fn of(window: &Window, seconds: f64, queued: u64, running: u64) -> Self {
        let counts = window.counts;
        Self {
            queued,
            running,
            submitted: counts.submitted,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            submitted_per_s: per(counts.submitted, seconds),
            ended_per_s: per(counts.succeeded + counts.failed + counts.cancelled, seconds),
            error_rate: part(counts.failed, counts.succeeded + counts.failed),
            fallback_rate: part(counts.degraded, counts.succeeded),
            hit_rate: part(counts.cached, counts.succeeded),
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cost_microusd: counts.cost_microusd,
        }
    }
}

/// From the submit to the first attempt, from there to the end, and both.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LatencyFigures {
    // From the submit to the first attempt.
    #[schema(inline)]
    pub(super) queued: PercentileFigures,
    // From the first attempt to the end.
    #[schema(inline)]
    pub(super) ran: PercentileFigures,
    // From the submit to the end.
    #[schema(inline)]
    pub(super) total: PercentileFigures,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct PercentileFigures {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    /// How many were measured.
    pub(super) count: u64,
}

impl From<Percentiles> for PercentileFigures {
    fn from(from: Percentiles) -> Self {
        let ms = |span: longhaul_core::Span| span.as_micros() as f64 / 1_000.0;
        Self { p50: ms(from.p50), p95: ms(from.p95), p99: ms(from.p99), count: from.count }
    }
}

impl From<&HistogramCounts> for PercentileFigures {
    fn from(from: &HistogramCounts) -> Self {
        let at = |q| from.quantile(q).map_or(0.0, |took: Duration| (took.as_secs_f64() * 1e6).round() / 1e3);
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), count: from.total() }
    }
}

/// What a model did in the window: calls of clients and of jobs alike.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ModelFigures)]
pub(crate) struct ModelBody {
    /// Its name.
    pub(super) model: String,
    /// Attempts at providers that are under way.
    pub(super) in_flight: u64,
    /// Calls that ended by themselves.
    pub(super) calls: u64,
    pub(super) calls_per_s: f64,
    /// Of those: without an answer, though what was asked was right.
    pub(super) failed: u64,
    /// Of those: without an answer, because of what was asked. No error of the model's.
    pub(super) refused: u64,
    /// Attempts after the first.
    pub(super) retries: u64,
    /// Of the calls, the part that failed; null when there were none.
    pub(super) error_rate: Option<f64>,
    /// Of the calls, the part that another than the first target answered; null when there were none.
    pub(super) fallback_rate: Option<f64>,
    /// Of the calls that looked into the cache, the part that it answered; null when none did.
    pub(super) hit_rate: Option<f64>,
    /// Calls that looked into the cache.
    pub(super) cache_lookups: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cost_microusd: u64,
    // How long whole calls took.
    #[schema(inline)]
    pub(super) latency_ms: PercentileFigures,
    // How long streams took until their first token.
    #[schema(inline)]
    pub(super) first_token_ms: PercentileFigures,
    /// What its layers decided, and how often.
    #[schema(inline)]
    pub(super) layers: Vec<DecisionFigures>,
    /// How the breakers of its targets stand.
    #[schema(value_type = Vec<BreakerBody>, inline)]
    pub(super) breakers: Vec<BreakerView>,
}

/// How a breaker stands.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the shape of the gateway's own, for the document")]
struct BreakerBody {
    /// The target that it protects.
    target: String,
    /// `closed`, `open` or `half_open`.
    state: String,
    /// `auto`, or a hand: `forced_open`, `forced_closed`.
    mode: String,
    /// How long it has been closed, or has not been; null while it has been closed from the start.
    for_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(crate) struct DecisionFigures {
    /// The layer, such as `retry`.
    layer: &'static str,
    /// What it decided, such as `retry.scheduled`.
    decision: &'static str,
    count: u64,
}

impl ModelBody {
    pub(super) fn of(figures: ModelFigures, seconds: f64) -> Self {
        let ModelFigures { model, in_flight, window, breakers, serves: _, has_cache: _ } = figures;
        let ModelWindow { calls, failed, refused, degraded, looked_up, hits, retries, .. } = window;
        let mut layers: Vec<DecisionFigures> = (window.decisions.into_iter())
            .map(|(layer, decision, count)| DecisionFigures { layer, decision, count })
            .collect();
        layers.sort_unstable();
        Self {
            model,
            in_flight,
            calls,
            calls_per_s: per(calls, seconds),
            failed,
            refused,
            retries,
            error_rate: part(failed, calls),
            fallback_rate: part(degraded, calls),
            hit_rate: part(hits, looked_up),
            cache_lookups: looked_up,
            input_tokens: window.input_tokens,
            output_tokens: window.output_tokens,
            cost_microusd: window.cost_microusd,
            latency_ms: (&window.latency).into(),
            first_token_ms: (&window.first_token).into(),
            layers,
            breakers,
        }
    }
}

pub(crate) fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn part(some: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| some as f64 / of as f64)
}
