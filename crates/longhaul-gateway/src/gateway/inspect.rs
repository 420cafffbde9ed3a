//! Looking at a gateway, and acting on it by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longhaul_providers::chat::{ChatRequest, Message, Role};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use longhaul_resilience::{BreakerMode, BreakerState, Cx, HistogramCounts, LayerMetrics, Outcome, StackMetrics, Tick};
use serde::Serialize;

use super::Gateway;
use crate::call::{Ask, Question, Reply};
use crate::model::ConfiguredModel;
use crate::models::UnknownModel;
use crate::rolling::{ModelWindow, covered};
use crate::settings::{LimitSettings, Serves};
use crate::stats::{ModelStats, TargetStats};
use crate::target::Target;

/// A model, as a list of models tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelView {
    /// What clients ask for.
    pub name: String,
    /// `chat` or `embeddings`.
    pub serves: &'static str,
    /// The providers behind it, in the order in which they are asked.
    pub providers: Vec<String>,
}

/// The live state of a model's layers.
#[derive(Debug, Clone, Serialize)]
pub struct StackView {
    /// The model.
    pub model: String,
    /// `chat` or `embeddings`.
    pub serves: &'static str,
    /// The time for a whole call.
    pub timeout_ms: u64,
    /// The longest that a whole call can take.
    pub worst_case_ms: Option<u64>,
    /// Among equals.
    pub choose: &'static str,
    /// Its cache.
    pub cache: Option<CacheView>,
    /// Its targets, in the order of rank.
    pub targets: Vec<TargetView>,
    /// Whether there is a reply when every target fails.
    pub canned: bool,
    /// What it did.
    pub stats: ModelStats,
}

/// The state of a cache.
#[derive(Debug, Clone, Serialize)]
pub struct CacheView {
    /// How many answers it holds.
    pub entries: usize,
    /// How many it can hold.
    pub max_entries: usize,
    /// How long they are fresh.
    pub ttl_ms: u64,
    /// What makes two requests the same.
    pub key: &'static str,
    /// Different calls under way.
    pub in_flight: usize,
}

/// The state of a target's layers.
#[derive(Debug, Clone, Serialize)]
pub struct TargetView {
    /// Its name within the model.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// The model in the provider's words.
    pub upstream_model: String,
    /// Lower ranks are asked first.
    pub rank: u32,
    /// Its share among equals.
    pub weight: u32,
    /// One attempt.
    pub attempt_timeout_ms: u64,
    /// When it is tried again.
    pub retry: RetryView,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Who decides: `auto`, or a hand.
    pub breaker_mode: &'static str,
    /// How long it has been closed, or has not been: probing in between does not begin a new time. Unset while it has
    /// been closed from the start.
    pub breaker_for_ms: Option<u64>,
    /// Its limits.
    pub limit: LimitView,
    /// Its places.
    pub places: PlacesView,
    /// Connections in use and idle, of all that ask this provider.
    pub connections: Option<(usize, usize)>,
    /// What each layer did with whole calls, the outermost first.
    pub layers: Vec<LayerView>,
    /// What each layer did with streams, the outermost first.
    pub stream_layers: Vec<LayerView>,
    /// What it did.
    pub stats: TargetStats,
}

/// What one layer counted.
#[derive(Debug, Clone, Serialize)]
pub struct LayerView {
    /// The layer.
    pub layer: &'static str,
    /// Calls of it that ended.
    pub calls: u64,
    /// That failed further in.
    pub failed: u64,
    /// That it turned away.
    pub rejected: u64,
    /// That it cut off.
    pub timed_out: u64,
    /// That were given up.
    pub cancelled: u64,
    /// Attempts after the first, of a retry layer.
    pub extra: u64,
    /// Half took no longer, in microseconds.
    pub p50_us: Option<u64>,
    /// 99 % took no longer.
    pub p99_us: Option<u64>,
    /// How long all of them took.
    #[serde(skip)]
    pub latency: HistogramCounts,
}

/// When a target is tried again.
#[derive(Debug, Clone, Serialize)]
pub struct RetryView {
    /// Attempts after the first.
    pub max_retries: u32,
    /// The first wait.
    pub initial_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// Rates of a target.
#[derive(Debug, Clone, Serialize)]
pub struct LimitView {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Calls that wait for their turn.
    pub waiting: usize,
}

/// Calls at once.
#[derive(Debug, Clone, Serialize)]
pub struct PlacesView {
    /// As many as there may be; unset is without limit.
    pub limit: Option<u32>,
    /// As many as there are.
    pub in_use: u32,
    /// Waiting.
    pub waiting: usize,
}

/// What every model did in the last minutes, and how its breakers stand.
#[derive(Debug, Clone, Default)]
pub struct ModelsWindow {
    /// How long the window is.
    pub span: Duration,
    /// By name.
    pub models: Vec<ModelFigures>,
}

/// What one model did in the last minutes, and how its breakers stand.
#[derive(Debug, Clone)]
pub struct ModelFigures {
    /// The model.
    pub model: String,
    /// `chat` or `embeddings`.
    pub serves: &'static str,
    /// Attempts under way.
    pub in_flight: u64,
    /// Whether it has a cache.
    pub has_cache: bool,
    /// What ended in the window.
    pub window: ModelWindow,
    /// In the order of rank.
    pub breakers: Vec<BreakerView>,
}

/// How a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakerView {
    /// The target that it protects.
    pub target: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Who decides: `auto`, or a hand.
    pub mode: &'static str,
    /// How long it has been closed, or has not been: probing in between does not begin a new time. Unset while it has
    /// been closed from the start.
    pub for_ms: Option<u64>,
}

/// What a hand does to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerHand {
    /// The results decide.
    Auto,
    /// Nobody passes.
    Open,
    /// Everybody passes.
    Closed,
    /// Probes now, and lets the results decide.
    HalfOpen,
}

impl BreakerHand {
    /// The hand of that name: `auto`, `open`, `closed` or `half_open`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "open" => Some(Self::Open),
            "closed" => Some(Self::Closed),
            "half_open" => Some(Self::HalfOpen),
            _ => None,
        }
    }
}

/// No such target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTarget {
    /// No such model at all.
    #[error(transparent)]
    Model(#[from] UnknownModel),
    /// The model has none of this name.
    #[error("the model `{model}` has no target `{target}`; it has {}", known.join(", "))]
    Target {
        /// The model.
        model: String,
        /// What was asked for, cut to 80 letters.
        target: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// What one target said to a small question.
#[derive(Debug, Clone, Serialize)]
pub struct TargetCheck {
    /// The model.
    pub model: String,
    /// The target.
    pub target: String,
    /// Its provider.
    pub provider: String,
    /// The model in the provider's words.
    pub upstream_model: String,
    /// How long it took.
    pub took_ms: u64,
    /// What it said: the beginning of its words, or the length of its vector.
    pub said: Option<String>,
    /// The stable name of what went wrong.
    pub code: Option<&'static str>,
    /// What went wrong.
    pub error: Option<String>,
}

impl TargetCheck {
    /// Whether it answered.
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }
}

/// The most words of an answer that a check repeats, in characters.
const MAX_SAID: usize = 60;

impl Gateway {
    /// The configured models.
    pub fn models(&self) -> Vec<ModelView> {
        let snapshot = self.snapshot();
        let view = |model: &Arc<ConfiguredModel>| ModelView {
            name: model.name.to_string(),
            serves: model.settings.serves.name(),
            providers: model.targets.iter().map(|target| target.served.provider.to_string()).collect(),
        };
        snapshot.models.values().map(view).collect()
    }

    /// The live state of a model's layers.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn stack(&self, model: &str) -> Result<StackView, UnknownModel> {
        let model = self.find(model)?;
        let now = self.shared.options.clock().now();
        let settings = &model.settings;
        Ok(StackView {
            model: model.name.to_string(),
            serves: settings.serves.name(),
            timeout_ms: millis(settings.timeout),
            worst_case_ms: model.worst_case().map(millis),
            choose: settings.choose.name(),
            cache: model.cache().map(|cache| CacheView {
                entries: cache.handle().len(),
                max_entries: cache.settings.max_entries,
                ttl_ms: millis(cache.settings.ttl),
                key: cache.settings.key.name(),
                in_flight: cache.handle().in_flight(),
            }),
            targets: model.targets.iter().map(|target| view_of(target, now)).collect(),
            canned: settings.canned.is_some(),
            stats: model.meter().snapshot(),
        })
    }

    /// What a model is for: `chat` or `embeddings`.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn serves(&self, model: &str) -> Result<&'static str, UnknownModel> {
        Ok(self.find(model)?.settings.serves.name())
    }

    /// What every model did.
    pub fn stats(&self) -> BTreeMap<String, ModelStats> {
        let snapshot = self.snapshot();
        snapshot.models.iter().map(|(name, model)| (name.clone(), model.meter().snapshot())).collect()
    }

    /// What every model did in about the last `span`, at most five minutes. The cost does not depend on how many calls
    /// there were.
    pub fn window(&self, span: Duration) -> ModelsWindow {
        let snapshot = self.snapshot();
        let now = self.shared.options.clock().now();
        let figures = |model: &Arc<ConfiguredModel>| ModelFigures {
            model: model.name.to_string(),
            serves: model.settings.serves.name(),
            in_flight: model.targets.iter().map(|target| target.state.meter.in_flight()).sum(),
            has_cache: model.cache().is_some(),
            window: model.meter().window(now, span),
            breakers: model.targets.iter().map(|target| breaker_of(target, now)).collect(),
        };
        ModelsWindow { span: covered(now, span), models: snapshot.models.values().map(figures).collect() }
    }

    /// Puts a hand on a breaker. Any but an opening one also lets go of a target that asked to be left alone for a while.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn set_breaker(&self, model: &str, target: &str, hand: BreakerHand) -> Result<(), UnknownTarget> {
        let model = self.find(model)?;
        let Some(found) = model.targets.iter().find(|known| *known.served.target == *target) else {
            return Err(UnknownTarget::Target {
                model: model.name.to_string(),
                target: target.chars().take(80).collect(),
                known: model.targets.iter().map(|known| known.served.target.to_string()).collect(),
            });
        };
        let breaker = &found.state.breaker;
        if hand != BreakerHand::Open {
            // Who wants it asked again does not want it held back for what it said before.
            found.state.limit.lift_hold();
        }
        match hand {
            BreakerHand::Auto => breaker.auto(),
            BreakerHand::Open => breaker.force_open(),
            BreakerHand::Closed => breaker.force_closed(),
            BreakerHand::HalfOpen => breaker.half_open(),
        }
        Ok(())
    }

    /// Forgets every cached answer of a model; says how many there were.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn purge_cache(&self, model: &str) -> Result<usize, UnknownModel> {
        let model = self.find(model)?;
        Ok(match model.cache() {
            Some(cache) => cache.handle().purge().await,
            None => 0,
        })
    }

    /// Asks every target of a model one small question, past the cache, the breaker and the limits: one attempt each, all
    /// at once. It costs a few tokens.
    ///
    /// # Errors
    /// When there is no such model.
    pub async fn check(&self, model: &str) -> Result<Vec<TargetCheck>, UnknownModel> {
        let model = self.find(model)?;
        let question = small_question(model.settings.serves);
        let checks = model.targets.iter().map(|target| check(self, &model, target, question.clone()));
        Ok(futures_util::future::join_all(checks).await)
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<ConfiguredModel>, UnknownModel> {
        let snapshot = self.snapshot();
        let found = snapshot.models.get(name).map(Arc::clone);
        found.ok_or_else(|| UnknownModel::among(name, snapshot.models.keys().map(String::as_str)))
    }
}

fn small_question(serves: Serves) -> Question {
    match serves {
        Serves::Chat => Question::Chat(Arc::new(ChatRequest {
            messages: vec![Message::text(Role::User, "Answer with the one word: ready")],
            // Some models think before they speak, and fail when they may not.
            max_output_tokens: Some(256),
            ..ChatRequest::default()
        })),
        Serves::Embeddings => Question::Embeddings(Arc::new(EmbeddingsRequest {
            input: EmbeddingsInput::Texts(vec!["ready".to_owned()]),
            ..EmbeddingsRequest::default()
        })),
    }
}

async fn check(gateway: &Gateway, model: &ConfiguredModel, target: &Target, question: Question) -> TargetCheck {
    let cx = Cx::new("check");
    let cx = gateway.clock().map_or_else(Cx::default, |clock| cx.clock(Arc::clone(clock)));
    let limit = target.settings.attempt_timeout;
    let (began, ask) = (cx.renew(), Ask::new(question, None, "", false));
    let answered = tokio::select! {
        biased;
        answered = target.exchange.whole(&cx, &ask) => Some(answered),
        () = cx.sleep(limit) => None,
    };
    let (said, code, error) = match answered {
        None => (None, Some("provider_timeout"), Some(format!("no answer within {limit:?}"))),
        Some(Err(error)) => (None, Some(error.error().code.as_str()), Some(error.error().to_string())),
        Some(Ok(answered)) => {
            let said = match &answered.reply {
                Reply::Chat(response) => response.text().trim().chars().take(MAX_SAID).collect(),
                Reply::Relayed(relayed) => relayed.response().text().trim().chars().take(MAX_SAID).collect(),
                Reply::Embeddings(response) => {
                    format!("a vector of {} numbers", response.vectors.first().map_or(0, Vec::len))
                }
            };
            (Some(said), None, None)
        }
    };
    TargetCheck {
        model: model.name.to_string(),
        target: target.served.target.to_string(),
        provider: target.served.provider.to_string(),
        upstream_model: target.served.upstream.to_string(),
        took_ms: millis(cx.renew().since(began)),
        said,
        code,
        error,
    }
}

fn breaker_of(target: &Target, now: Tick) -> BreakerView {
    let breaker = &target.state.breaker;
    BreakerView {
        target: target.settings.name.clone(),
        state: match breaker.state() {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        },
        mode: match breaker.mode() {
            BreakerMode::Auto => "auto",
            BreakerMode::ForcedOpen => "forced_open",
            BreakerMode::ForcedClosed => "forced_closed",
            BreakerMode::Shadow => "shadow",
        },
        for_ms: target.state.breaker_since(now).map(millis),
    }
}

fn view_of(target: &Target, now: Tick) -> TargetView {
    let (settings, state) = (&target.settings, &target.state);
    let LimitSettings { rpm, tpm, concurrency: _ } = settings.limit;
    let [whole, stream] = target.metrics();
    let breaker = breaker_of(target, now);
    TargetView {
        name: settings.name.clone(),
        provider: settings.provider.clone(),
        upstream_model: settings.model.clone(),
        rank: settings.rank,
        weight: settings.weight,
        attempt_timeout_ms: millis(settings.attempt_timeout),
        retry: RetryView {
            max_retries: settings.retry.max_retries,
            initial_ms: millis(settings.retry.initial),
            max_ms: millis(settings.retry.max),
        },
        breaker: breaker.state,
        breaker_mode: breaker.mode,
        breaker_for_ms: breaker.for_ms,
        limit: LimitView { rpm, tpm, waiting: state.limit.waiting() },
        places: PlacesView {
            limit: state.most_at_once(),
            in_use: state.places.in_use(),
            waiting: state.places.waiting(),
        },
        connections: target.exchange.provider.pool().map(|pool| (pool.in_use(), pool.idle())),
        layers: layers_of(&whole),
        stream_layers: layers_of(&stream),
        stats: state.meter.snapshot(),
    }
}

fn layers_of(metrics: &StackMetrics) -> Vec<LayerView> {
    let micros = |duration: Option<Duration>| duration.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
    let view = |layer: &LayerMetrics| LayerView {
        layer: layer.layer.as_str(),
        calls: layer.calls,
        failed: layer.count(Outcome::Failed),
        rejected: layer.count(Outcome::Rejected),
        timed_out: layer.count(Outcome::TimedOut),
        cancelled: layer.count(Outcome::Cancelled),
        extra: layer.extra,
        p50_us: micros(layer.p50),
        p99_us: micros(layer.p99),
        latency: layer.latency.clone(),
    };
    metrics.layers.iter().map(view).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
