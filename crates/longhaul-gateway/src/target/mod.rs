//! One target: a provider and an upstream model, with their own layers.
//!
//! ```text
//! retry → breaker → limits (requests, tokens, calls at once) → connections → attempt timeout → provider
//! ```
//!
//! A stream goes through the same layers, held by the same handles, with one difference: what is inside the retry lives
//! on after the first token, with all that it holds, until the stream has ended or is dropped. See [`crate::stream`].
//!
//! The state ([`TargetState`]: breaker, limits, meters) outlives the target: a reload of the configuration makes a new
//! target around it.

mod exchange;
mod seat;
mod state;

use std::sync::Arc;

use longhaul_resilience::{BoxStep, Bulkhead, Cx, Fail, Label, Limit, Stack, StackMetrics, Stacked, Step, Tick};

pub(crate) use exchange::{Exchange, Judged};
pub(crate) use seat::Asking;
use seat::Seats;
pub(crate) use state::{TargetKey, TargetState};

use crate::call::{Answered, Ask};
use crate::error::{ByCallError, CallError};
use crate::provider::Provider;
use crate::served::Served;
use crate::settings::{StreamSettings, TargetSettings};
use crate::stats::AttemptEnd;
use crate::stream::{OpenStep, Opened, StreamAsk, StreamEnd, StreamStep};

pub(crate) type CallFail = Fail<CallError>;
pub(crate) type WholeStack = BoxStep<Arc<Ask>, Answered, CallFail>;
pub(crate) type StreamStack = BoxStep<Arc<Ask>, Opened, CallFail>;

/// A provider and an upstream model, ready to be asked.
pub(crate) struct Target {
    pub(crate) served: Arc<Served>,
    pub(crate) settings: TargetSettings,
    pub(crate) state: Arc<TargetState>,
    pub(crate) exchange: Arc<Exchange>,
    whole: WholeStack,
    stream: StreamStack,
    metrics: [Box<dyn Fn() -> StackMetrics + Send + Sync>; 2],
}

impl Target {
    pub(crate) fn new(
        model: &Arc<str>,
        settings: TargetSettings,
        stream: StreamSettings,
        provider: Arc<Provider>,
        state: Arc<TargetState>,
        share: Option<u32>,
        seed: u64,
    ) -> Self {
        state.reload(&settings, share);
        let served = Served::of(model, &settings);
        let label = Label::new(&format!("{model}/{}", settings.name));
        let exchange = Arc::new(Exchange { provider, served: Arc::clone(&served), state: Arc::clone(&state) });
        let whole = whole_stack(label, &exchange, seed);
        let stream = stream_stack(label, &exchange, stream, seed);
        let (of_whole, of_stream) = (Arc::clone(&whole), Arc::clone(&stream));
        Self {
            served,
            settings,
            state,
            exchange,
            whole: BoxStep::new(whole),
            stream: BoxStep::new(stream),
            metrics: [Box::new(move || of_whole.metrics()), Box::new(move || of_stream.metrics())],
        }
    }

    /// How likely it is to be slow; see [`crate::stats`].
    pub(crate) fn load(&self, now: Tick) -> u64 {
        self.state.meter.load(now)
    }

    /// What its layers counted: of whole calls, and of streams.
    pub(crate) fn metrics(&self) -> [StackMetrics; 2] {
        self.metrics.each_ref().map(|read| read())
    }

    pub(crate) fn whole(&self) -> &WholeStack {
        &self.whole
    }

    pub(crate) fn stream(&self) -> &StreamStack {
        &self.stream
    }

    /// How long a whole call can take.
    pub(crate) fn longest(&self, limit: std::time::Duration) -> Option<std::time::Duration> {
        self.whole.longest(limit)
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("served", &self.served).finish_non_exhaustive()
    }
}

/// Around one whole exchange.
fn whole_stack(
    label: Label,
    exchange: &Arc<Exchange>,
    seed: u64,
) -> Arc<Stacked<Arc<Ask>, impl Step<Arc<Ask>, Out = Answered, Err = CallFail> + 'static, impl Send + Sync + 'static>> {
    let state = &exchange.state;
    let limit = Limit::tokens_only()
        .tpm(1, |ask: &Arc<Ask>| ask.tokens)
        .actual(|answered: &Answered| answered.usage.map(|usage| usage.total()))
        .shared(&state.limit);
    let stack = Stack::named(label)
        .classifier(ByCallError)
        .seed(seed)
        .retry(state.retry.clone())
        .breaker(state.breaker.clone())
        .limit(limit)
        .bulkhead(Bulkhead::new(1).shared(&state.places))
        .layer(Seats(Arc::clone(&exchange.provider)))
        .attempt_timeout(state.attempt_timeout.clone())
        .around(WholeStep { exchange: Arc::clone(exchange) });
    Arc::new(stack)
}

/// Around the opening of a stream, and within that around the stream itself.
fn stream_stack(
    label: Label,
    exchange: &Arc<Exchange>,
    stream: StreamSettings,
    seed: u64,
) -> Arc<Stacked<Arc<Ask>, impl Step<Arc<Ask>, Out = Opened, Err = CallFail> + 'static, impl Send + Sync + 'static>> {
    let state = &exchange.state;
    let limit = Limit::tokens_only()
        .tpm(1, |stream: &StreamAsk| stream.ask.tokens)
        .actual(|end: &StreamEnd| end.usage.map(|usage| usage.total()))
        .shared(&state.limit);
    let inner = Stack::named(label)
        .classifier(ByCallError)
        .seed(seed)
        .breaker(state.breaker.clone())
        .limit(limit)
        .bulkhead(Bulkhead::new(1).shared(&state.places))
        .layer(Seats(Arc::clone(&exchange.provider)))
        .around(StreamStep { exchange: Arc::clone(exchange), settings: stream });
    let inner = BoxStep::new(inner);
    let outer = Stack::named(label)
        .classifier(ByCallError)
        .seed(seed)
        .retry(state.retry.clone())
        .around(OpenStep { inner, settings: stream });
    Arc::new(outer)
}

/// One whole exchange as a step.
struct WholeStep {
    exchange: Arc<Exchange>,
}

impl Step<Arc<Ask>> for WholeStep {
    type Out = Answered;
    type Err = CallFail;

    async fn call(&self, cx: &Cx<'_>, ask: Arc<Ask>) -> Result<Answered, CallFail> {
        let meter = &self.exchange.state.meter;
        let (_under_way, started) = (meter.begin(), cx.now());
        let mut watch = AttemptWatch { exchange: &self.exchange, ask: &ask, cx, started, armed: true };
        let answered = self.exchange.whole(cx, &ask).await;
        watch.armed = false;
        let now = cx.renew();
        ask.asked.end(now, answered.as_ref().err());
        meter.attempt(now.since(started), attempt_end(answered.as_ref().err()), now);
        answered.map_err(Fail::inner)
    }
}

/// An attempt that is dropped because its time is over counts as a failed one; one whose caller left does not.
struct AttemptWatch<'a> {
    exchange: &'a Exchange,
    ask: &'a Ask,
    cx: &'a Cx<'a>,
    started: Tick,
    armed: bool,
}

impl Drop for AttemptWatch<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let now = self.cx.renew();
        self.ask.asked.cut(now);
        if self.cx.deadline().is_some_and(|deadline| now >= deadline) {
            self.exchange.state.meter.attempt(now.since(self.started), AttemptEnd::Failed, now);
        }
    }
}

pub(crate) fn attempt_end(error: Option<&CallError>) -> AttemptEnd {
    match error.map(CallError::class) {
        None | Some(longhaul_resilience::Class::Ok) => AttemptEnd::Ok,
        Some(longhaul_resilience::Class::Throttled(_)) => AttemptEnd::Throttled,
        Some(_) => AttemptEnd::Failed,
    }
}
