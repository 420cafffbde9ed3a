//! A configured model: a name that clients ask for, and everything that stands behind it.
//!
//! ```text
//! cache → deadline → fallback over targets, by rank → (each target's own layers)
//! ```
//!
//! What outlives a reload of the configuration is in [`ModelState`]: the cache and the meters.

mod cached;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use longhaul_providers::chat::StreamEvent;
use longhaul_resilience::{BoxStep, Cache, Cx, Label, Stack, Step};

pub(crate) use cached::{FreshSpot, Kept, MAX_KEPT_BYTES, ModelCache};
pub(crate) use targets::{Targets, Way};

use crate::call::{Answered, Ask, Hashing, Key};
use crate::error::ByCallError;
use crate::gateway::Observer;
use crate::record::CallRecord;
use crate::served::Served;
use crate::settings::{ModelSettings, ProviderSettings};
use crate::stats::ModelMeter;
use crate::stream::Opened;
use crate::target::{CallFail, StreamStack, Target, WholeStack};

/// The living parts of a model.
pub(crate) struct ModelState {
    pub(crate) cache: Option<ModelCache>,
    pub(crate) meter: Arc<ModelMeter>,
    pub(crate) observer: Option<Observer>,
}

/// A model, ready to be asked.
pub(crate) struct ConfiguredModel {
    pub(crate) name: Arc<str>,
    pub(crate) settings: ModelSettings,
    pub(crate) targets: Arc<Targets>,
    state: Arc<ModelState>,
    whole: WholeStack,
    counts_tokens: bool,
    fingerprint: Key,
}

impl ConfiguredModel {
    pub(crate) fn new(
        name: Arc<str>,
        settings: ModelSettings,
        targets: Vec<Target>,
        state: Arc<ModelState>,
        seed: u64,
    ) -> Self {
        let label = Label::new(&name);
        let fingerprint = fingerprint(&targets);
        let targets = Arc::new(Targets::new(label, &name, &settings, targets, seed));
        let stack = Stack::named(label).classifier(ByCallError).seed(seed);
        let around = WholeTargets(Arc::clone(&targets));
        let whole = match &state.cache {
            None => BoxStep::new(stack.around(around)),
            Some(cache) => {
                let layer = Cache::keyed(|ask: &Arc<Ask>| ask.key).shared(cache.handle().clone());
                BoxStep::new(stack.cache(layer).around(around))
            }
        };
        let counts_tokens = settings.targets.iter().any(|target| target.limit.tpm.is_some());
        Self { name, settings, targets, state, whole, counts_tokens, fingerprint }
    }

    /// Counts a call that has ended, and tells whoever listens.
    pub(crate) fn observe(&self, record: &CallRecord) {
        self.state.meter.observe(record);
        if let Some(observer) = &self.state.observer {
            observer(record);
        }
    }

    pub(crate) fn meter(&self) -> &ModelMeter {
        &self.state.meter
    }

    /// Whether any target limits tokens, so that those of a request are worth counting.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.counts_tokens
    }

    /// Names who would answer. An answer of others is not this model's.
    pub(crate) fn fingerprint(&self) -> &Key {
        &self.fingerprint
    }

    pub(crate) fn cache(&self) -> Option<&ModelCache> {
        self.state.cache.as_ref()
    }

    /// A whole answer.
    pub(crate) async fn whole(&self, cx: &Cx<'_>, ask: Arc<Ask>) -> Result<Answered, CallFail> {
        self.whole.call(cx, ask).await
    }

    /// A stream at its first token, or a canned reply.
    pub(crate) async fn open(&self, cx: &Cx<'_>, ask: Arc<Ask>) -> Result<Streamed, CallFail> {
        self.targets.ask::<Streaming>(cx, ask, &[]).await
    }

    /// A stream that goes on where one of the `used` targets broke off.
    pub(crate) async fn reopen(&self, cx: &Cx<'_>, ask: Arc<Ask>, used: &[Arc<Served>]) -> Result<Opened, CallFail> {
        self.targets.ask::<Reopening>(cx, ask, used).await
    }

    /// The longest that a whole call can take.
    pub(crate) fn worst_case(&self) -> Option<Duration> {
        self.whole.longest(Duration::MAX)
    }
}

impl std::fmt::Debug for ConfiguredModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfiguredModel")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Of all targets, in the order in which they are asked: which upstream model, where, and how it is spoken to.
fn fingerprint(targets: &[Target]) -> Key {
    let mut hash = Hashing::default();
    hash.count(targets.len());
    for target in targets {
        let provider = &target.exchange.provider;
        let ProviderSettings { wire, flavor, base_url, api_version, .. } = &provider.settings;
        hash.count(target.settings.rank as usize);
        hash.put(&provider.name);
        hash.put(wire.name());
        hash.put(&format!("{flavor:?}"));
        hash.put(&base_url.as_ref().map(ToString::to_string).unwrap_or_default());
        hash.put(api_version.as_deref().unwrap_or_default());
        hash.put(&target.settings.model);
    }
    hash.finish()
}

/// The targets as the innermost step of the model's stack.
struct WholeTargets(Arc<Targets>);

impl Step<Arc<Ask>> for WholeTargets {
    type Out = Answered;
    type Err = CallFail;

    async fn call(&self, cx: &Cx<'_>, ask: Arc<Ask>) -> Result<Answered, CallFail> {
        self.0.ask::<Whole>(cx, ask, &[]).await
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.0.longest(limit)
    }
}

/// A stream, or a canned reply in its place.
pub(crate) enum Streamed {
    Opened(Opened),
    Canned { events: Vec<StreamEvent>, answered: Answered },
}

/// The whole answer.
pub(crate) struct Whole;

impl Way for Whole {
    type At = Answered;
    type Out = Answered;

    fn stack(target: &Target) -> &WholeStack {
        target.whole()
    }

    fn out(at: Answered) -> Answered {
        at
    }

    fn canned(answered: Answered) -> Option<Answered> {
        Some(answered)
    }
}

/// The first token.
pub(crate) struct Streaming;

impl Way for Streaming {
    type At = Opened;
    type Out = Streamed;

    fn stack(target: &Target) -> &StreamStack {
        target.stream()
    }

    fn out(at: Opened) -> Streamed {
        Streamed::Opened(at)
    }

    fn canned(answered: Answered) -> Option<Streamed> {
        Some(Streamed::Canned { events: answered.reply.to_events(), answered })
    }
}

/// The first token of the rest. A canned reply is no rest of anything.
pub(crate) struct Reopening;

impl Way for Reopening {
    type At = Opened;
    type Out = Opened;

    fn stack(target: &Target) -> &StreamStack {
        target.stream()
    }

    fn out(at: Opened) -> Opened {
        at
    }

    fn canned(_: Answered) -> Option<Opened> {
        None
    }
}
