//! The handle: calls to models by name, through everything that the configuration puts around them.
//!
//! A [`Gateway`] is cheap to clone. It holds one [`Snapshot`] of the configuration at a time; a call keeps the snapshot
//! that it began with, so a reload disturbs nobody. Whatever was learned (breakers, limits, meters, connections, cached
//! answers) goes over to the new one as far as it still means the same.
//!
//! Every call leaves a [`CallRecord`], in the answer or in the error, and is counted from it.

mod inspect;
mod snapshot;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longhaul_providers::chat::{ChatRequest, ChatResponse};
use longhaul_providers::embeddings::{EmbeddingsRequest, EmbeddingsResponse};
use longhaul_providers::relay::RelayedAnswer;
use longhaul_resilience::{Clock, Cx, Decision, Dice, Label, SystemClock, Tick};
use tokio_util::task::TaskTracker;

pub use inspect::{
    BreakerHand, BreakerView, CacheView, LayerView, LimitView, ModelFigures, ModelView, ModelsWindow, PlacesView,
    RetryView, StackView, TargetCheck, TargetView, UnknownTarget,
};
use snapshot::Snapshot;
pub use snapshot::{BadGateway, Reloaded};

use crate::call::{Answered, Ask, CallOptions, Question, Reply};
use crate::error::{Failure, GatewayError, failure_of};
use crate::exchanges::Asked;
use crate::model::{ConfiguredModel, Kept, Streamed};
use crate::models::UnknownModel;
use crate::record::{CacheUse, CallRecord, RecordedError};
use crate::settings::{GatewaySettings, OnCut, Serves};
use crate::stream::{ChatStream, Live, Session, Watch};
use crate::target::CallFail;

/// Is told of a call that has ended.
pub type Observer = Arc<dyn Fn(&CallRecord) + Send + Sync>;

/// What a gateway takes from its surroundings.
#[derive(Clone, Default)]
pub struct GatewayOptions {
    /// The clock; the machine's if unset.
    pub clock: Option<Arc<dyn Clock>>,
    /// Makes jitter and weighted choice replay; unpredictable if unset.
    pub seed: Option<u64>,
    /// Is told of every call that has ended, answered or not: for metrics and logs. It should return within
    /// microseconds. Calls that were given up, and names that no model has, leave no record.
    pub observer: Option<Observer>,
    /// Runs what goes on after a call: refreshing a cached answer, reading the last bytes of a stream.
    pub tracker: TaskTracker,
    /// Whether the observer records traces: a call within one that is recorded has then a span of its own, which providers
    /// are told. Else they are told what the caller said.
    pub records_traces: bool,
}

impl GatewayOptions {
    /// The clock of what happens outside a call.
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.as_ref().map_or_else(|| Arc::new(SystemClock) as Arc<dyn Clock>, Arc::clone)
    }
}

impl std::fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayOptions").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Models by name, each behind its layers. See the [module](self).
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    current: RwLock<Arc<Snapshot>>,
    options: GatewayOptions,
    /// Streams that are being read.
    watch: Arc<Watch>,
    /// Draws the ids of spans.
    dice: Dice,
}

/// A whole answer to a conversation.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    /// What was said.
    pub response: Arc<ChatResponse>,
    /// What happened.
    pub record: CallRecord,
}

/// A whole answer to a conversation, by [`Gateway::chat_relayed`].
#[derive(Debug, Clone)]
pub enum Told {
    /// As the provider wrote it.
    Relayed(RelayedAnswer),
    /// In nobody's JSON.
    Response(Arc<ChatResponse>),
}

/// Vectors.
#[derive(Debug, Clone)]
pub struct EmbeddingsAnswer {
    /// One for each input.
    pub response: Arc<EmbeddingsResponse>,
    /// What happened.
    pub record: CallRecord,
}

impl Gateway {
    /// Makes the models of `settings`. Opens no connection.
    ///
    /// # Errors
    /// Everything that is wrong with the settings.
    pub fn new(settings: GatewaySettings, options: GatewayOptions) -> Result<Self, BadGateway> {
        let snapshot = Snapshot::new(settings, &options, None)?;
        let dice = options.seed.map_or_else(Dice::unpredictable, Dice::seeded);
        let watch = Watch::new(options.clock(), options.tracker.clone());
        let current = RwLock::new(Arc::new(snapshot));
        Ok(Self { shared: Arc::new(Shared { current, options, watch, dice }) })
    }

    /// Puts new settings in force, for calls that begin from now on. If they cannot be used, nothing changes.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn reload(&self, settings: GatewaySettings) -> Result<Reloaded, BadGateway> {
        let before = self.snapshot();
        let next = Snapshot::new(settings, &self.shared.options, Some(&before))?;
        let reloaded = next.compared_with(&before);
        *self.shared.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(reloaded)
    }

    /// Asks a model for a whole answer.
    ///
    /// Dropping the future gives the call up, unless others wait for the same answer.
    ///
    /// # Errors
    /// Why there is no answer, with the record of the call.
    pub async fn chat(
        &self,
        model: &str,
        request: Arc<ChatRequest>,
        options: &CallOptions,
    ) -> Result<ChatAnswer, GatewayError> {
        match self.whole(model, Question::Chat(request), options).await? {
            (Reply::Chat(response), record) => Ok(ChatAnswer { response, record }),
            (Reply::Relayed(relayed), record) => Ok(ChatAnswer { response: relayed.response(), record }),
            (Reply::Embeddings(_), _) => unreachable!("a conversation is answered with words"),
        }
    }

    /// As [`chat`](Self::chat), for who can pass an answer on as its provider wrote it: see
    /// [`CallOptions::relay`]. What is not plain enough for that, or from another vendor, comes in nobody's JSON.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn chat_relayed(
        &self,
        model: &str,
        request: Arc<ChatRequest>,
        options: &CallOptions,
    ) -> Result<(Told, CallRecord), GatewayError> {
        let wanted = options.relay.as_ref().map(|to| to.dialect);
        match self.whole(model, Question::Chat(request), options).await? {
            (Reply::Relayed(relayed), record) if wanted == Some(relayed.dialect()) => {
                Ok((Told::Relayed(relayed), record))
            }
            (Reply::Relayed(relayed), record) => Ok((Told::Response(relayed.response()), record)),
            (Reply::Chat(response), record) => Ok((Told::Response(response), record)),
            (Reply::Embeddings(_), _) => unreachable!("a conversation is answered with words"),
        }
    }

    /// Asks a model for vectors, of the length that the model's settings say unless the request does.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn embed(
        &self,
        model: &str,
        request: Arc<EmbeddingsRequest>,
        options: &CallOptions,
    ) -> Result<EmbeddingsAnswer, GatewayError> {
        match self.whole(model, Question::Embeddings(request), options).await? {
            (Reply::Embeddings(response), record) => Ok(EmbeddingsAnswer { response, record }),
            (Reply::Chat(_) | Reply::Relayed(_), _) => unreachable!("texts are answered with vectors"),
        }
    }

    /// Asks a model for an answer in pieces. Returns when the first is there: until then whatever fails is tried again
    /// or elsewhere, unseen.
    ///
    /// # Errors
    /// As [`chat`](Self::chat). What fails later is the stream's last piece.
    pub async fn chat_stream(
        &self,
        model: &str,
        request: Arc<ChatRequest>,
        options: &CallOptions,
    ) -> Result<ChatStream, GatewayError> {
        let question = Question::Chat(request);
        let cx = Arc::new(options.context(self.clock()));
        let began = cx.renew();
        let model = self.model_for(model, question.serves(), &cx, began)?;
        let ask = self.ask(&model, question, options);
        let under_way = UnderWay { model: &model, cx: &cx, ask: &ask, began, streamed: true };
        let (mut keep, mut last_resort) = (None, None);
        let label = Label::new(&model.name);
        if let Some(cache) = model.cache() {
            let kept = if options.skip_cache { Kept::Nothing } else { cache.look(&ask.key, began) };
            match kept {
                Kept::Fresh(answered, degraded) => {
                    under_way.ended();
                    cx.note(label, Label::CACHE, Decision::CacheHit, 0);
                    return Ok(self.replay(&model, &cx, began, &answered, degraded, &ask));
                }
                // The cache layer of whole calls gives it and has a new one fetched.
                Kept::Refreshable => {
                    let answered = model.whole(&cx, Arc::clone(&ask)).await;
                    under_way.ended();
                    return match answered {
                        Ok(answered) => Ok(self.replay(&model, &cx, began, &answered, false, &ask)),
                        Err(fail) => Err(failed(&model, &cx, began, &fail, &ask, true)),
                    };
                }
                Kept::LastResort(answered, degraded) => last_resort = Some((answered, degraded)),
                Kept::Nothing => {}
            }
            let decision = if options.skip_cache { Decision::CacheBypassed } else { Decision::CacheMiss };
            cx.note(label, Label::CACHE, decision, 0);
            keep = Some(cache.spot(ask.key));
        }
        let opened = model.open(&cx, Arc::clone(&ask)).await;
        under_way.ended();
        match opened {
            Ok(Streamed::Opened(opened)) => {
                let session = Session { model: Arc::clone(&model), cx, ask, began, keep };
                Ok(ChatStream::live(Live::new(session, opened), &self.shared.watch))
            }
            Ok(Streamed::Canned { events, answered }) => {
                let mut record = answered_record(&model, &cx, began, &answered);
                record.streamed = true;
                ask.tell(&mut record, &cx, began);
                model.observe(&record);
                Ok(ChatStream::replay(events, record))
            }
            Err(fail) => match last_resort {
                Some((answered, degraded)) => {
                    cx.note(label, Label::CACHE, Decision::CacheStaleOnError, 0);
                    Ok(self.replay(&model, &cx, began, &answered, degraded, &ask))
                }
                None => Err(failed(&model, &cx, began, &fail, &ask, true)),
            },
        }
    }

    fn replay(
        &self,
        model: &ConfiguredModel,
        cx: &Cx<'_>,
        began: Tick,
        answered: &Answered,
        degraded: bool,
        ask: &Ask,
    ) -> ChatStream {
        let mut record = answered_record(model, cx, began, answered);
        ask.tell(&mut record, cx, began);
        record.streamed = true;
        record.degraded |= degraded;
        model.observe(&record);
        ChatStream::replay(answered.reply.to_events(), record)
    }

    async fn whole(
        &self,
        model: &str,
        question: Question,
        options: &CallOptions,
    ) -> Result<(Reply, CallRecord), GatewayError> {
        let cx = options.context(self.clock());
        let began = cx.renew();
        let model = self.model_for(model, question.serves(), &cx, began)?;
        let ask = self.ask(&model, with_dimensions(question, &model), options);
        let under_way = UnderWay { model: &model, cx: &cx, ask: &ask, began, streamed: false };
        let result = model.whole(&cx, Arc::clone(&ask)).await;
        under_way.ended();
        match result {
            Ok(answered) => {
                let mut record = answered_record(&model, &cx, began, &answered);
                ask.tell(&mut record, &cx, began);
                model.observe(&record);
                Ok((answered.reply, record))
            }
            Err(fail) => Err(failed(&model, &cx, began, &fail, &ask, false)),
        }
    }

    /// The longest that a whole call of a model can take; `None` for an unknown model.
    pub fn worst_case(&self, model: &str) -> Option<Duration> {
        self.snapshot().models.get(model)?.worst_case()
    }

    /// The settings in force.
    pub fn settings(&self) -> GatewaySettings {
        self.snapshot().settings.clone()
    }

    fn ask(&self, model: &ConfiguredModel, question: Question, options: &CallOptions) -> Arc<Ask> {
        let key = model.settings.cache.map(|cache| (cache.key, model.fingerprint()));
        // What another target is to go on from must be known piece by piece.
        let relay = options.relay.clone().filter(|_| model.settings.stream.on_cut != OnCut::Continue);
        let ask = Ask::new(question, key, &options.tenant, model.counts_tokens()).relayed(relay);
        if options.trace.is_none() {
            return Arc::new(ask);
        }
        let is_recorded = self.shared.options.records_traces;
        let own = || is_recorded.then(|| self.shared.dice.next_u64());
        Arc::new(ask.traced(Asked::traced(options.trace, own)))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn clock(&self) -> Option<&Arc<dyn Clock>> {
        self.shared.options.clock.as_ref()
    }

    /// The model of this name, if it is for this.
    fn model_for(
        &self,
        name: &str,
        serves: Serves,
        cx: &Cx<'_>,
        began: Tick,
    ) -> Result<Arc<ConfiguredModel>, GatewayError> {
        let snapshot = self.snapshot();
        let failure = match snapshot.models.get(name) {
            Some(model) if model.settings.serves == serves => return Ok(Arc::clone(model)),
            Some(model) => Failure::WrongUse { message: wrong_use(&snapshot, model, serves) },
            None => Failure::UnknownModel(UnknownModel::among(name, snapshot.models.keys().map(String::as_str))),
        };
        let mut record =
            CallRecord::new(&name.chars().take(80).collect::<String>().into(), began, cx.renew(), cx.report());
        let error = GatewayError { failure, provider: None, record: Box::default() };
        let (code, message, class) = (error.code(), error.to_string(), error.class());
        record.error = Some(RecordedError { code, message, http_status: None, class });
        Err(GatewayError { record: Box::new(record), ..error })
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("models", &self.snapshot().models.keys()).finish_non_exhaustive()
    }
}

/// Vectors of one model can be compared only if they are of one length, whoever asks for them.
fn with_dimensions(question: Question, model: &ConfiguredModel) -> Question {
    let configured = model.settings.dimensions.and_then(|length| u32::try_from(length).ok());
    match question {
        Question::Embeddings(request) if request.dimensions.is_none() && configured.is_some() => {
            let mut request = Arc::unwrap_or_clone(request);
            request.dimensions = configured;
            Question::Embeddings(Arc::new(request))
        }
        question => question,
    }
}

fn wrong_use(snapshot: &Snapshot, model: &ConfiguredModel, wanted: Serves) -> String {
    let verb = |serves| match serves {
        Serves::Chat => "chat",
        Serves::Embeddings => "embeddings",
    };
    let able: Vec<&str> = snapshot
        .models
        .values()
        .filter(|model| model.settings.serves == wanted)
        .map(|model| &*model.name)
        .take(20)
        .collect();
    let others = match able.as_slice() {
        [] => format!("no model of this configuration is for {}", verb(wanted)),
        names => format!("of this configuration these are: {}", names.join(", ")),
    };
    format!("the model `{}` is for {}, not for {}; {others}", model.name, verb(model.settings.serves), verb(wanted))
}

/// A call that is being made: its record, should its caller leave before its end.
struct UnderWay<'a, 'c> {
    model: &'a ConfiguredModel,
    cx: &'a Cx<'c>,
    ask: &'a Ask,
    began: Tick,
    streamed: bool,
}

impl UnderWay<'_, '_> {
    /// It has come to an end, of which its own record tells.
    fn ended(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnderWay<'_, '_> {
    fn drop(&mut self) {
        let Self { model, cx, ask, began, streamed } = *self;
        let mut record = CallRecord::new(&model.name, began, cx.renew(), cx.report());
        record.cancelled = true;
        ask.tell(&mut record, cx, began);
        record.streamed = streamed;
        record.ambiguous = ask.asked.was_cut();
        model.observe(&record);
    }
}

fn answered_record(model: &ConfiguredModel, cx: &Cx<'_>, began: Tick, answered: &Answered) -> CallRecord {
    let mut record = CallRecord::new(&model.name, began, cx.renew(), cx.report());
    record.served_by(&answered.by, &answered.notes);
    record.usage = answered.usage;
    record.cost_microusd = match record.cache {
        CacheUse::Hit | CacheUse::Stale | CacheUse::Coalesced => answered.by.price.map(|_| 0),
        CacheUse::Off | CacheUse::Miss | CacheUse::Bypass => {
            answered.usage.zip(answered.by.price).map(|(usage, price)| price.cost_microusd(usage))
        }
    };
    record
}

fn failed(
    model: &ConfiguredModel,
    cx: &Cx<'_>,
    began: Tick,
    fail: &CallFail,
    ask: &Ask,
    streamed: bool,
) -> GatewayError {
    let failure = failure_of(fail, cx);
    let last = fail.error();
    let mut record = CallRecord::new(&model.name, began, cx.renew(), cx.report());
    record.streamed = streamed;
    ask.tell(&mut record, cx, began);
    // What was cut off was under way: nobody knows how far it got.
    record.ambiguous = ask.asked.was_cut() || last.is_some_and(crate::error::CallError::is_ambiguous);
    let provider = last.map(|error| Box::new(error.error().clone()));
    let mut error = GatewayError { failure, provider, record: Box::default() };
    record.failed(error.code(), error.class(), last);
    error.record = Box::new(record);
    let message = error.to_string();
    if let Some(recorded) = &mut error.record.error {
        recorded.message = message;
    }
    model.observe(&error.record);
    error
}
