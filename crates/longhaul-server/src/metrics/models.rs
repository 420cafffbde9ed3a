//! Calls of models, counted from the record that each leaves: in the names of OpenTelemetry's semantic conventions for
//! generative AI where there are such names, as Prometheus spells them, and in names of our own where there are none.
//!
//! All labels are names of the configuration, or closed sets of the program: no client can add one.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

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

/// Series by their labels.
#[derive(Debug)]
struct Series<K, T>(RwLock<HashMap<K, Arc<T>>>);

impl<K, T> Default for Series<K, T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Clone + Eq + Hash + Ord, T> Series<K, T> {
    fn of(&self, labels: &K, new: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(labels) {
            return known.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(labels.clone()).or_insert_with(|| Arc::new(new())).clone()
    }

    fn all(&self) -> Vec<(K, Arc<T>)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = all.iter().map(|(labels, series)| (labels.clone(), series.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// Who was called for what, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Called {
    operation: &'static str,
    model: Arc<str>,
    provider: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    error: Option<&'static str>,
}

impl Called {
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
struct Asked {
    model: Arc<str>,
    target: Arc<str>,
    provider: Arc<str>,
    error: &'static str,
}

/// A layer that stands around all targets of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Around {
    model: Arc<str>,
    mode: &'static str,
    layer: &'static str,
}

/// How calls of such a layer ended.
#[derive(Debug, Default)]
struct OfLayer {
    answered: Counter,
    failed: Counter,
    timed_out: Counter,
}

/// A decision of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Decided {
    stack: &'static str,
    layer: &'static str,
    decision: &'static str,
}

/// All calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    called: Series<Called, Durations>,
    models: Series<Arc<str>, OfModel>,
    asked: Series<Asked, Histogram>,
    around: Series<Around, OfLayer>,
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
        let model = self.models.of(&record.model, OfModel::default);
        let outcome = match &record.error {
            None => &model.answered,
            Some(error) if error.is_refusal() => &model.refused,
            Some(_) => &model.failed,
        };
        outcome.add(1);
        model.degraded.add(u64::from(record.degraded));
        model.retries.add(u64::from(record.retries));
        model.cost_microusd.add(record.cost_microusd.unwrap_or(0));
        let place = CACHE_USES.iter().position(|how| *how == record.cache);
        if let Some(count) = place.and_then(|place| model.cache.get(place)) {
            count.add(1);
        }
    }

    fn measure(&self, record: &CallRecord) {
        let called = Called {
            operation: record.serves,
            model: record.model.clone(),
            provider: record.provider.clone(),
            upstream: record.upstream_model.clone(),
            error: record.error.as_ref().map(|error| error.code),
        };
        let durations = self.called.of(&called, Durations::new);
        durations.whole.record_micros(record.took);
        if let Some(first) = record.first_token {
            durations.first_chunk.record_micros(first);
        }
        // What came from a cache was read and written by no model this time.
        let Some(usage) = record.usage.filter(|_| !record.cache.is_free()) else { return };
        durations.input_tokens.record(usage.input_tokens);
        durations.output_tokens.record(usage.output_tokens);
        if let (Some(first), Some(after_first)) = (record.first_token, usage.output_tokens.checked_sub(1))
            && let Ok(count @ 1..) = u32::try_from(after_first)
        {
            durations.per_token.record_micros(record.took.saturating_sub(first) / count);
        }
    }

    /// The layers around all targets keep no counts of their own, because streams do not go through them: they are counted
    /// from how the call ended. What the cache answered went no further.
    fn around(&self, record: &CallRecord) {
        let mode = if record.streamed { "stream" } else { "whole" };
        let of = |layer| self.around.of(&Around { model: record.model.clone(), mode, layer }, OfLayer::default);
        let ended = |layer: &OfLayer| if record.error.is_some() { &layer.failed } else { &layer.answered }.add(1);
        if record.cache != CacheUse::Off {
            ended(&of("cache"));
        }
        if record.cache.is_free() {
            return;
        }
        // A canned reply may have come after the time was up: that is the fallback's, which stands around its targets.
        let is_cut = record.layers().any(|note| matches!(note.decision, "deadline.cut" | "deadline.refused"));
        let deadline = of("deadline");
        if is_cut {
            deadline.timed_out.add(1)
        } else {
            ended(&deadline)
        }
        ended(&of("fallback"));
    }

    /// Into the family of the layers' calls, whose other samples the gateway has counted.
    pub(super) fn tell_layers(&self, family: &mut Family<'_>) {
        for (Around { model, mode, layer }, of) in self.around.all() {
            let outcomes = [("answered", &of.answered), ("failed", &of.failed), ("timed_out", &of.timed_out)];
            for (outcome, count) in outcomes {
                let labels =
                    [("model", &*model), ("target", ""), ("mode", mode), ("layer", layer), ("outcome", outcome)];
                family.count(&labels, count.get());
            }
        }
    }

    fn asked(&self, model: &Arc<str>, call: &ProviderCall) {
        let asked = Asked {
            model: model.clone(),
            target: call.target.clone(),
            provider: call.provider.clone(),
            error: call.error.unwrap_or_default(),
        };
        self.asked.of(&asked, || Histogram::new(&CALL)).record_micros(call.took);
    }

    fn decided(&self, note: &LayerNote) {
        let LayerNote { stack, layer, decision, detail, .. } = *note;
        self.decided.of(&Decided { stack, layer, decision }, Counter::default).add(1);
        if matches!(decision, "limit.waited" | "bulkhead.waited" | "retry.scheduled") {
            let waited = self.waited.of(&(stack, layer), || Histogram::new(&WAIT));
            waited.record_micros(Duration::from_millis(detail.into()));
        }
    }

    pub(super) fn tell(&self, page: &mut Page) {
        self.tell_conventions(page);
        self.tell_models(page);
        let help = "How long exchanges with providers took, of streams until their end, by target. error_type is empty where \
                    there was none, `cut` where the time was up.";
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
        let mut page = Page::default();
        calls.tell(&mut page);
        let text = page.into_text();
        for (outcome, count) in [("answered", 0), ("failed", 2), ("refused", 2)] {
            let sample = format!("longhaul_model_calls_total{{model=\"smart\",outcome=\"{outcome}\"}} {count}\n");
            assert!(text.contains(&sample), "{text}");
        }
    }
}
