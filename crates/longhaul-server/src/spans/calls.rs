//! A call of a model as spans: the call, what its layers did, and each exchange with a provider.
//!
//! ```text
//! chat smart
//! ├─ cache            one for each decision that a layer took; where it waited, as long as it waited
//! ├─ smart/gpt-4o     one for each target that had its turn
//! │  ├─ limit
//! │  ├─ chat gpt-4o   one for each exchange; its id went to the provider in `traceparent`
//! │  ├─ retry
//! │  └─ chat gpt-4o
//! └─ fallback
//! ```

use std::time::Duration;

use longhaul_core::{Span as Length, Timestamp, TraceContext};
use longhaul_gateway::{CallRecord, CallTrace, LayerNote, ProviderCall};

use super::{Span, SpanKind, SpanSink};

/// Of one call so many decisions are told: a loop of retries must not fill the buffer.
const LAYERS_MOST: usize = 64;

/// Tells of a call that has ended, if its trace is recorded.
pub(crate) fn tell(sink: &dyn SpanSink, record: &CallRecord) {
    if let Some((above, own)) = record.trace
        && above.flags & 1 == 1
    {
        Call { record, context: context(above, own), began: moment(record.began_at) }.tell(sink, above.span_id);
    }
}

/// What is passed on to a call: where it stands.
pub(crate) fn trace_of(context: TraceContext) -> CallTrace {
    CallTrace { trace_id: context.trace_id, span_id: context.span_id, flags: context.flags }
}

fn context(above: CallTrace, span_id: u64) -> TraceContext {
    TraceContext { trace_id: above.trace_id, span_id, flags: above.flags }
}

fn moment(since_epoch: Duration) -> Timestamp {
    Timestamp::EPOCH + Length::from(since_epoch)
}

struct Call<'a> {
    record: &'a CallRecord,
    context: TraceContext,
    began: Timestamp,
}

/// A target's turn.
struct Turn {
    /// The name of its stack: model and target.
    stack: String,
    span_id: u64,
    began_us: u64,
    ended_us: u64,
    failed: bool,
}

impl Call<'_> {
    fn at(&self, micros: u64) -> Timestamp {
        self.began + Length::from_micros(micros)
    }

    /// A number that no other span of the call has.
    fn child(&self, number: usize) -> TraceContext {
        // Exchanges count upwards from 1, everything else downwards from here.
        let number = u64::MAX - number as u64;
        self.context.within(self.context.span_id ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn operation(&self) -> &'static str {
        self.record.serves
    }

    fn tell(&self, sink: &dyn SpanSink, above: u64) {
        let turns = self.turns();
        let notes = self.record.layers().filter(|note| !note.decision.starts_with("call."));
        for (number, note) in notes.take(LAYERS_MOST).enumerate() {
            sink.take(self.layer(number, &note, &turns));
        }
        for call in &self.record.calls {
            sink.take(self.exchange(call, &turns));
        }
        for turn in &turns {
            let times = (self.at(turn.began_us), self.at(turn.ended_us));
            let context = self.context.within(turn.span_id);
            let span = Span::new(context, Some(self.context.span_id), turn.stack.clone(), SpanKind::Internal, times);
            sink.take(span.with("longhaul.layer", "target").failed(turn.failed.then_some("failed")));
        }
        sink.take(self.whole(above));
    }

    fn whole(&self, above: u64) -> Span {
        let record = self.record;
        let times = (self.began, self.began + Length::from(record.took));
        let usage = record.usage.filter(|_| !record.cache.is_free());
        let cost = record.cost_microusd.filter(|cost| *cost > 0);
        Span::new(
            self.context,
            Some(above),
            format!("{} {}", self.operation(), record.model),
            SpanKind::Internal,
            times,
        )
        .with("gen_ai.operation.name", self.operation())
        .with("gen_ai.request.model", record.model.to_string())
        .with_some("gen_ai.provider.name", record.provider.as_deref().map(str::to_owned))
        .with_some("gen_ai.response.model", record.upstream_model.as_deref().map(str::to_owned))
        .with_some("gen_ai.usage.input_tokens", usage.map(|usage| usage.input_tokens))
        .with_some("gen_ai.usage.output_tokens", usage.map(|usage| usage.output_tokens))
        .with_some("longhaul.cost_microusd", cost)
        .with_some("longhaul.target", record.target.as_deref().map(str::to_owned))
        .with("longhaul.cache", record.cache.name())
        .with("longhaul.attempts", record.attempts)
        .with_some("longhaul.degraded", record.degraded.then_some(true))
        .with_some("longhaul.streamed", record.streamed.then_some(true))
        .with_some("longhaul.first_token_us", record.first_token.map(micros))
        .with_some("longhaul.cancelled", record.cancelled.then_some(true))
        .failed(record.error.as_ref().map(|error| error.code))
    }

    fn exchange(&self, call: &ProviderCall, turns: &[Turn]) -> Span {
        let began = micros(call.at);
        let times = (self.at(began), self.at(began + micros(call.took)));
        let context = self.context.within(call.span_id.unwrap_or_default());
        let stack = format!("{}/{}", self.record.model, call.target);
        let parent = turn_at(turns, &stack, began).map_or(self.context.span_id, |turn| turn.span_id);
        let name = format!("{} {}", self.operation(), call.upstream_model);
        Span::new(context, Some(parent), name, SpanKind::Client, times)
            .with("gen_ai.operation.name", self.operation())
            .with("gen_ai.provider.name", call.provider.to_string())
            .with("gen_ai.request.model", call.upstream_model.to_string())
            .with("longhaul.target", call.target.to_string())
            .with_some("http.response.status_code", call.http_status)
            .failed(call.error)
    }

    fn layer(&self, number: usize, note: &LayerNote, turns: &[Turn]) -> Span {
        let parent = turn_at(turns, note.stack, note.at_us).map_or(self.context.span_id, |turn| turn.span_id);
        let (began, ended) = match waited(note) {
            Some(Waited::Before(wait)) => (note.at_us.saturating_sub(wait), note.at_us),
            Some(Waited::After(wait)) => (note.at_us, (note.at_us + wait).min(micros(self.record.took))),
            None => (note.at_us, note.at_us),
        };
        let times = (self.at(began), self.at(ended));
        Span::new(self.child(number), Some(parent), note.layer, SpanKind::Internal, times)
            .with("longhaul.layer", note.layer)
            .with("longhaul.stack", note.stack)
            .with("longhaul.decision", note.decision)
            .with("longhaul.detail", note.detail)
    }

    /// Which targets had their turn, and from when to when: from the first that is known of one until the next one's, or
    /// the end.
    fn turns(&self) -> Vec<Turn> {
        let whole = micros(self.record.took);
        let prefix = format!("{}/", self.record.model);
        let noted = self.record.layers().filter(|note| note.stack.starts_with(&prefix));
        let mut seen: Vec<(u64, String)> = noted.map(|note| (note.at_us, note.stack.to_owned())).collect();
        seen.extend(self.record.calls.iter().map(|call| (micros(call.at), format!("{prefix}{}", call.target))));
        seen.sort_by_key(|(at, _)| *at);
        let mut turns: Vec<Turn> = Vec::new();
        for (at, stack) in seen {
            match turns.last_mut() {
                Some(last) if last.stack == stack => last.ended_us = last.ended_us.max(at),
                before => {
                    if let Some(before) = before {
                        (before.ended_us, before.failed) = (at, true);
                    }
                    let span_id = self.child(LAYERS_MOST + turns.len()).span_id;
                    turns.push(Turn { stack, span_id, began_us: at, ended_us: whole, failed: false });
                }
            }
        }
        if let Some(last) = turns.last_mut() {
            last.ended_us = whole;
            // A canned reply, or none: it was not this target that answered. Who leaves has not waited for that.
            last.failed = !self.record.cancelled
                && (self.record.error.is_some()
                    || self.record.target.as_deref().is_none_or(|target| last.stack != format!("{prefix}{target}")));
        }
        turns
    }
}

fn turn_at<'t>(turns: &'t [Turn], stack: &str, at: u64) -> Option<&'t Turn> {
    let of_stack = || turns.iter().filter(|turn| turn.stack == stack);
    of_stack().rfind(|turn| turn.began_us <= at).or_else(|| of_stack().next())
}

/// How long a layer waited, in microseconds.
enum Waited {
    /// Until it took its decision.
    Before(u64),
    /// From its decision on.
    After(u64),
}

fn waited(note: &LayerNote) -> Option<Waited> {
    let wait = u64::from(note.detail) * 1_000;
    match note.decision {
        "limit.waited" | "bulkhead.waited" => Some(Waited::Before(wait)),
        "retry.scheduled" => Some(Waited::After(wait)),
        _ => None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
