//! A recorder that writes to the `metrics` facade, from where any exporter takes it.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `resilience_calls_total` | counter | `stack`, `layer`, `outcome` |
//! | `resilience_call_seconds` | histogram | `stack`, `layer`, `outcome` |
//! | `resilience_decisions_total` | counter | `stack`, `layer`, `decision` |
//! | `resilience_breaker_state` | gauge: 0 closed, 1 half-open, 2 open | `stack` |

use std::time::Duration;

use crate::{
    label::Label,
    meter::{Outcome, Recorder},
    trail::{Decision, Note},
};

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct MetricsFacade;

impl Recorder for MetricsFacade {
    fn call(&self, stack: Label, layer: Label, outcome: Outcome, latency: Duration) {
        let (stack, layer, outcome) = (stack.as_str(), layer.as_str(), outcome.name());
        metrics::counter!("resilience_calls_total", "stack" => stack, "layer" => layer, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("resilience_call_seconds", "stack" => stack, "layer" => layer, "outcome" => outcome)
            .record(latency.as_secs_f64());
    }

    fn note(&self, note: &Note) {
        let (stack, layer, decision) = (note.stack.as_str(), note.layer.as_str(), note.decision.name());
        metrics::counter!("resilience_decisions_total", "stack" => stack, "layer" => layer, "decision" => decision)
            .increment(1);
        let state = match note.decision {
            Decision::BreakerClosed => 0.0,
            Decision::BreakerHalfOpened => 1.0,
            Decision::BreakerOpened => 2.0,
            _ => return,
        };
        metrics::gauge!("resilience_breaker_state", "stack" => stack).set(state);
    }
}
