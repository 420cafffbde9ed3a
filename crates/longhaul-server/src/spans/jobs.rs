//! Jobs and their attempts as spans, told by the commits that ended them.
//!
//! The ids of these spans follow from the job's id, see [`longhaul_core::TraceContext`]: whoever ran the attempt had its
//! span's id from the beginning, wherever it was, and has put its own spans below it.

use longhaul_core::{Ending, Status, TraceContext};
use longhaul_engine::store::{Change, EndFigures, EndedAttempt};

use super::{Span, SpanKind, SpanSink};

/// Tells what a commit has ended.
pub(crate) fn tell(sink: &dyn SpanSink, changes: &[Change]) {
    for change in changes {
        let Some(trace) = change.trace.filter(|trace| trace.is_sampled()) else { continue };
        if let Some(attempt) = &change.attempt {
            sink.take(of_attempt(trace, change, attempt));
        }
        if let Some(ended) = &change.ended {
            sink.take(of_job(trace, change, ended));
        }
    }
}

fn of_attempt(trace: TraceContext, change: &Change, attempt: &EndedAttempt) -> Span {
    let context = trace.within_attempt(change.job, attempt.lease);
    let parent = trace.within_job(change.job).span_id;
    let times = (attempt.started_at, attempt.ended_at);
    let is_failure = !matches!(attempt.ending, Ending::Succeeded | Ending::Released | Ending::Waiting | Ending::Parked);
    let error = attempt.error.clone().or_else(|| is_failure.then(|| attempt.ending.as_str().to_owned()));
    base(Span::new(context, Some(parent), "attempt", SpanKind::Consumer, times), change)
        .with("longhaul.attempt.number", attempt.number)
        .with("longhaul.attempt.ending", attempt.ending.as_str())
        .with_some("longhaul.worker", attempt.worker.clone())
        .failed(error.filter(|_| is_failure))
}

fn of_job(trace: TraceContext, change: &Change, ended: &EndFigures) -> Span {
    let times = (ended.ready_at, ended.finished_at);
    let usage = ended.usage;
    let used = |count: u64| (count > 0).then_some(count);
    let error = (change.status != Status::Succeeded).then(|| match change.attempt.as_ref() {
        Some(EndedAttempt { error: Some(error), .. }) => error.clone(),
        _ => change.status.as_str().to_owned(),
    });
    base(Span::new(trace.within_job(change.job), Some(trace.span_id), "job", SpanKind::Internal, times), change)
        .with("longhaul.job.status", change.status.as_str())
        .with_some("longhaul.job.degraded", ended.degraded.then_some(true))
        .with_some("longhaul.job.cached", ended.cached.then_some(true))
        .with_some("gen_ai.usage.input_tokens", used(usage.input_tokens))
        .with_some("gen_ai.usage.output_tokens", used(usage.output_tokens))
        .with_some("longhaul.cost_microusd", used(usage.cost_microusd))
        .failed(error)
}

/// What a job and its attempts are known by.
fn base(mut span: Span, change: &Change) -> Span {
    if let Some(kind) = &change.kind {
        span.name = format!("{} {kind}", span.name).into();
        span = span.with("longhaul.job.kind", kind.to_string());
    }
    span.with("longhaul.job.id", change.job.to_string())
        .with("longhaul.queue", change.queue.to_string())
        .with("longhaul.tenant", change.tenant.to_string())
}
