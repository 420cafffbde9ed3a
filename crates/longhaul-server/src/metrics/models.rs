//! Calls of models, counted from the record that each leaves: in the names of OpenTelemetry's semantic conventions for
//! generative AI where there are such names, as Prometheus spells them, and in names of our own where there are none.
//!
//! All labels are names of the configuration, or closed sets of the program: no client can add one.

use std::{hash::Hash, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use longhaul_gateway::{CacheUse, CallRecord, LayerNote, ProviderCall};

use super::{
    instruments::{Counter, Edges, Histogram},
    text::{Family, Kind, Page},
};

static CALL: Edges = Edges::CALL;
static FIRST_CHUNK: Edges = Edges::FIRST_CHUNK;
static PER_TOKEN: Edges = Edges::PER_TOKEN;
static TOKENS: Edges = Edges::TOKENS;
static WAIT: Edges = Edges::WAIT;

/// Labels as they are looked up: with texts that the record of a call lends.
trait Labels: Hash + Equivalent<Self::Held> {
    /// The same labels, to stay.
    type Held: Clone + Eq + Hash + Ord;

    fn held(&self) -> Self::Held;
}

/// Series by their labels. Every call looks some up, on every core: so without a lock, and without taking hold of anything
/// that the cores share. Labels that are new, which is rare, cost a copy of the map.
#[derive(Debug)]
struct Series<K, T>(ArcSwap<HashMap<K, Arc<T>>>);

impl<K, T> Default for Series<K, T> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::default()))
    }
}

impl<K: Clone + Eq + Hash + Ord, T> Series<K, T> {
    /// Tells the series of `labels` something; it is made if there is none yet.
    fn tell<L: Labels<Held = K> + ?Sized>(&self, labels: &L, new: impl FnOnce() -> T, what: impl FnOnce(&T)) {
        if let Some(series) = self.0.load().get(labels) {
            return what(series);
        }
        let (held, new) = (labels.held(), Arc::new(new()));
        self.0.rcu(|known| {
            let mut all = HashMap::clone(known);
            all.entry(held.clone()).or_insert_with(|| new.clone());
            all
        });
        if let Some(series) = self.0.load().get(labels) {
            what(series);
        }
    }

    fn all(&self) -> Vec<(K, Arc<T>)> {
        let mut all: Vec<_> = self.0.load().iter().map(|(labels, series)| (labels.clone(), series.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

impl Labels for str {
    type Held = Arc<str>;

    fn held(&self) -> Arc<str> {
        self.into()
    }
}

impl Labels for (&'static str, &'static str) {
    type Held = Self;

    fn held(&self) -> Self {
        *self
    }
}

/// Who was called for what, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Called<S> {
    operation: &'static str,
    model: S,
    provider: Option<S>,
    upstream: Option<S>,
    error: Option<&'static str>,
}

impl Equivalent<Called<Arc<str>>> for Called<&str> {
    fn equivalent(&self, held: &Called<Arc<str>>) -> bool {
        *self == held.lent()
    }
}

impl Labels for Called<&str> {
    type Held = Called<Arc<str>>;

    fn held(&self) -> Self::Held {
        let Self { operation, model, provider, upstream, error } = *self;
        Called {
            operation,
            model: model.into(),
            provider: provider.map(Arc::from),
            upstream: upstream.map(Arc::from),
            error,
        }
    }
}

impl Called<Arc<str>> {
    fn lent(&self) -> Called<&str> {
        let Self { operation, model, provider, upstream, error } = self;
        Called { operation, model, provider: provider.as_deref(), upstream: upstream.as_deref(), error: *error }
    }

    fn labels(&self) -> Vec<(&'static str, &str)> {
        let mut labels = vec![("gen_ai_operation_name", self.operation), ("gen_ai_request_model", &*self.model)];
        labels.extend(self.provider.as_deref().map(|name| ("gen_ai_provider_name", name)));
        labels.extend(self.upstream.as_deref().map(|name| ("gen_ai_response_model", name)));
        labels.extend(self.error.map(|code| ("error_type", code)));
        labels
    }
}

#[derive(Debug)]
struct Durations {
    whole: Histogram,
    first_chunk: Histogram,
    per_token: Histogram,
    input_tokens: Histogram,
    output_tokens: Histogram,
}

impl Durations {
    fn new() -> Self {
        Self {
            whole: Histogram::new(&CALL),
            first_chunk: Histogram::new(&FIRST_CHUNK),
            per_token: Histogram::new(&PER_TOKEN),
            input_tokens: Histogram::new(&TOKENS),
            output_tokens: Histogram::new(&TOKENS),
        }
    }
}

const CACHE_USES: [CacheUse; 5] =
    [CacheUse::Hit, CacheUse::Stale, CacheUse::Miss, CacheUse::Coalesced, CacheUse::Bypass];

/// The counters of one model.
#[derive(Debug, Default)]
struct OfModel {
    answered: Counter,
    failed: Counter,
    refused: Counter,
    degraded: Counter,
    retries: Counter,
    cost_microusd: Counter,
    /// In the order of [`CACHE_USES`].
    cache: [Counter; CACHE_USES.len()],
}

/// A target and how an exchange with it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Asked<S> {
    model: S,
    target: S,
    provider: S,
    error: &'static str,
}

impl Equivalent<Asked<Arc<str>>> for Asked<&str> {
    fn equivalent(&self, held: &Asked<Arc<str>>) -> bool {
        let Asked { model, target, provider, error } = held;
        *self == Asked { model: &**model, target, provider, error }
    }
}

impl Labels for Asked<&str> {
    type Held = Asked<Arc<str>>;

    fn held(&self) -> Self::Held {
        let Self { model, target, provider, error } = *self;
        Asked { model: model.into(), target: target.into(), provider: provider.into(), error }
    }
}

/// A layer that stands around all targets of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Around<S> {
    model: S,
    mode: &'static str,
    layer: &'static str,
}

impl Equivalent<Around<Arc<str>>> for Around<&str> {
    fn equivalent(&self, held: &Around<Arc<str>>) -> bool {
        let Around { model, mode, layer } = held;
        *self == Around { model: &**model, mode, layer }
    }
}

impl Labels for Around<&str> {
    type Held = Around<Arc<str>>;

    fn held(&self) -> Self::Held {
        let Self { model, mode, layer } = *self;
        Around { model: model.into(), mode, layer }
    }
}

/// How calls of such a layer ended.
#[derive(Debug, Default)]
struct OfLayer {
    answered: Counter,
    failed: Counter,
    timed_out: Counter,
    cancelled: Counter,
}

/// A decision of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Decided {
    stack: &'static str,
    layer: &'static str,
    decision: &'static str,
}

impl Labels for Decided {
    type Held = Self;

    fn held(&self) -> Self {
        *self
    }
}

/// The word for why a call had no answer.
fn error_type(record: &CallRecord) -> Option<&'static str> {
    if record.cancelled { Some("cancelled") } else { record.error.as_ref().map(|error| error.code) }
}

/// All calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    called: Series<Called<Arc<str>>, Durations>,
    models: Series<Arc<str>, OfModel>,
    asked: Series<Asked<Arc<str>>, Histogram>,
    around: Series<Around<Arc<str>>, OfLayer>,
    decided: Series<Decided, Counter>,
    waited: Series<(&'static str, &'static str), Histogram>,
}

impl Calls {
    pub(super) fn observe(&self, record: &CallRecord) {
        self.count(record);
        self.measure(record);
        self.around(record);
        record.calls.iter().for_each(|call| self.asked(&record.model, call));
        for note in record.layers() {
            self.decided(&note);
        }
    }

    fn count(&self, record: &CallRecord) {
        self.models.tell(&*record.model, OfModel::default, |model| {
            model.retries.add(u64::from(record.retries));
            model.cost_microusd.add(record.cost_microusd.unwrap_or(0));
            // The gateway counts them, apart from those that ended.
            if record.cancelled {
                return;
            }
            let outcome = match &record.error {
                None => &model.answered,
                Some(error) if error.is_refusal() => &model.refused,
                Some(_) => &model.failed,
            };
            outcome.add(1);
            model.degraded.add(u64::from(record.degraded));
            let place = CACHE_USES.iter().position(|how| *how == record.cache);
            if let Some(count) = place.and_then(|place| model.cache.get(place)) {
                count.add(1);
            }
        });
    }

    fn measure(&self, record: &CallRecord) {
        let called = Called {
            operation: record.serves,
            model: &*record.model,
            provider: record.provider.as_deref(),
            upstream: record.upstream_model.as_deref(),
            error: error_type(record),
        };
        self.called.tell(&called, Durations::new, |durations| {
            durations.whole.record_micros(record.took);
            if let Some(first) = record.first_token {
                durations.first_chunk.record_micros(first);
            }
            // What came from a cache was read and written by no model this time.
            let Some(usage) = record.usage.filter(|_| !record.cache.is_free()) else { return };
            durations.input_tokens.record(usage.input_tokens);
            durations.output_tokens.record(usage.output_tokens);
            // Of a stream that was left, tokens are told in arrears or not at all.
            if record.cancelled {
                return;
            }
            if let (Some(first), Some(after_first)) = (record.first_token, usage.output_tokens.checked_sub(1))
                && let Ok(count @ 1..) = u32::try_from(after_first)
            {
                durations.per_token.record_micros(record.took.saturating_sub(first) / count);
            }
        });
    }

    /// The layers around all targets keep no counts of their own, because streams do not go through them: they are counted
    /// from how the call ended. What the cache answered went no further.
    fn around(&self, record: &CallRecord) {
        let mode = if record.streamed { "stream" } else { "whole" };
        let tell = |layer, what: &dyn Fn(&OfLayer)| {
            self.around.tell(&Around { model: &*record.model, mode, layer }, OfLayer::default, what);
        };
        let ended = |layer: &OfLayer| {
            let outcome = match &record.error {
                _ if record.cancelled => &layer.cancelled,
                Some(_) => &layer.failed,
                None => &layer.answered,
            };
            outcome.add(1);
        };
        if record.cache != CacheUse::Off {
            tell("cache", &ended);
        }
        if record.cache.is_free() {
            return;
        }
        // A canned reply may have come after the time was up: that is the fallback's, which stands around its targets.
        let is_cut = record.layers().any(|note| matches!(note.decision, "deadline.cut" | "deadline.refused"));
        tell("deadline", if is_cut { &|layer| layer.timed_out.add(1) } else { &ended });
        tell("fallback", &ended);
    }

    /// Into the family of the layers' calls, whose other samples the gateway has counted.
    pub(super) fn tell_layers(&self, family: &mut Family<'_>) {
        for (Around { model, mode, layer }, of) in self.around.all() {
            let outcomes = [
                ("answered", &of.answered),
                ("failed", &of.failed),
                ("timed_out", &of.timed_out),
                ("cancelled", &of.cancelled),
            ];
            for (outcome, count) in outcomes {
                let labels =
                    [("model", &*model), ("target", ""), ("mode", mode), ("layer", layer), ("outcome", outcome)];
                family.count(&labels, count.get());
            }
        }
    }

    fn asked(&self, model: &str, call: &ProviderCall) {
        let ProviderCall { target, provider, error, took, .. } = call;
        let asked = Asked { model, target: &**target, provider, error: error.unwrap_or_default() };
        self.asked.tell(&asked, || Histogram::new(&CALL), |histogram| histogram.record_micros(*took));
    }

    fn decided(&self, note: &LayerNote) {
        let LayerNote { stack, layer, decision, detail, .. } = *note;
        self.decided.tell(&Decided { stack, layer, decision }, Counter::default, |count| count.add(1));
        if matches!(decision, "limit.waited" | "bulkhead.waited" | "retry.scheduled") {
            let wait = Duration::from_millis(detail.into());
            self.waited.tell(&(stack, layer), || Histogram::new(&WAIT), |waited| waited.record_micros(wait));
        }
    }

    pub(super) fn tell(&self, page: &mut Page) {
        self.tell_conventions(page);
        self.tell_models(page);
        let help = "How long exchanges with providers took, of streams until their end, by target. error_type is empty where \
                    there was none, `cut` where the time was up, `cancelled` where \
                    the caller left.";
        let mut family = page.family(Kind::Histogram, "longhaul_target_attempt_duration_seconds", help);
        for (asked, histogram) in self.asked.all() {
            let Asked { model, target, provider, error } = &asked;
            let labels = [("model", &**model), ("target", target), ("provider", provider), ("error_type", error)];
            family.histogram(&labels, &histogram.take());
        }
        let help = "What layers decided, by stack: a model, or a model and one of its targets.";
        let mut family = page.family(Kind::Counter, "longhaul_layer_decisions_total", help);
        for (Decided { stack, layer, decision }, count) in self.decided.all() {
            family.count(&[("stack", stack), ("layer", layer), ("decision", decision)], count.get());
        }
        let help = "How long calls waited in a layer: for their next attempt, for a rate limit, for a place.";
        let mut family = page.family(Kind::Histogram, "longhaul_layer_wait_seconds", help);
        for ((stack, layer), histogram) in self.waited.all() {
            family.histogram(&[("stack", stack), ("layer", layer)], &histogram.take());
        }
    }

    fn tell_conventions(&self, page: &mut Page) {
        let called = self.called.all();
        let mut tell = |name, help, of: fn(&Durations) -> &Histogram| {
            let mut family = page.family(Kind::Histogram, name, help);
            for (labels, durations) in &called {
                let taken = of(durations).take();
                if taken.count() > 0 {
                    family.histogram(&labels.labels(), &taken);
                }
            }
        };
        let help = "How long calls of models took, retries, fallbacks and waits included.";
        tell("gen_ai_client_operation_duration_seconds", help, |all| &all.whole);
        let help = "How long streamed answers took until their first piece.";
        tell("gen_ai_client_operation_time_to_first_chunk_seconds", help, |all| &all.first_chunk);
        let help = "Of streamed answers: how long each token after the first took.";
        tell("gen_ai_server_time_per_output_token_seconds", help, |all| &all.per_token);
        let mut family =
            page.family(Kind::Histogram, "gen_ai_client_token_usage", "Tokens of calls, as their providers counted.");
        for (called, durations) in &called {
            for (sort, histogram) in [("input", &durations.input_tokens), ("output", &durations.output_tokens)] {
                let taken = histogram.take();
                if taken.count() > 0 {
                    let mut labels = called.labels();
                    labels.push(("gen_ai_token_type", sort));
                    family.histogram(&labels, &taken);
                }
            }
        }
    }

    fn tell_models(&self, page: &mut Page) {
        let models = self.models.all();
        let help =
            "Calls of models that ended, by how. `refused`: for what was asked, which is no fault of the model's.";
        let mut family = page.family(Kind::Counter, "longhaul_model_calls_total", help);
        for (model, counters) in &models {
            let OfModel { answered, failed, refused, .. } = &**counters;
            for (outcome, count) in [("answered", answered), ("failed", failed), ("refused", refused)] {
                family.count(&[("model", model), ("outcome", outcome)], count.get());
            }
        }
        let help = "Calls that another than the first target answered.";
        let mut family = page.family(Kind::Counter, "longhaul_model_fallbacks_total", help);
        for (model, counters) in &models {
            family.count(&[("model", model)], counters.degraded.get());
        }
        let mut family =
            page.family(Kind::Counter, "longhaul_model_retries_total", "Attempts after the first of a target.");
        for (model, counters) in &models {
            family.count(&[("model", model)], counters.retries.get());
        }
        let help = "What the caches of models did, of models that have one.";
        let mut family = page.family(Kind::Counter, "longhaul_model_cache_total", help);
        for (model, counters) in models.iter().filter(|(_, of)| of.cache.iter().any(|count| count.get() > 0)) {
            for (how, count) in CACHE_USES.iter().zip(&counters.cache) {
                family.count(&[("model", model), ("result", how.name())], count.get());
            }
        }
        let help = "What calls cost, in US dollars, where the configuration has prices.";
        let mut family = page.family(Kind::Counter, "longhaul_model_cost_usd_total", help);
        for (model, counters) in &models {
            family.value(&[("model", model)], counters.cost_microusd.get() as f64 / 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_gateway::{ErrorClass, RecordedError};

    use super::*;

    #[test]
    fn what_is_refused_for_what_was_asked_is_told_apart_from_what_failed() {
        let calls = Calls::default();
        for class in [ErrorClass::Caller, ErrorClass::Unsupported, ErrorClass::Permanent, ErrorClass::Transient] {
            let mut record = CallRecord::default();
            record.model = "smart".into();
            record.error = Some(RecordedError { code: "x", message: String::new(), http_status: None, class });
            calls.observe(&record);
        }
        let mut left = CallRecord::default();
        (left.model, left.cancelled, left.cost_microusd) = ("smart".into(), true, Some(2_000_000));
        calls.observe(&left);
        let mut page = Page::default();
        calls.tell(&mut page);
        let text = page.into_text();
        for (outcome, count) in [("answered", 0), ("failed", 2), ("refused", 2)] {
            let sample = format!("longhaul_model_calls_total{{model=\"smart\",outcome=\"{outcome}\"}} {count}\n");
            assert!(text.contains(&sample), "{text}");
        }
        // Who leaves is neither, and pays.
        assert!(text.contains("longhaul_model_cost_usd_total{model=\"smart\"} 2\n"), "{text}");
        assert!(text.contains("error_type=\"cancelled\""), "{text}");
    }
}
