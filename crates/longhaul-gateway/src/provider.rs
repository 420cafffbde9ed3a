//! A provider as the gateway holds it: its protocol and its connections.

use std::fmt;
use std::sync::Arc;

use longhaul_providers::Protocol;
use longhaul_providers::anthropic::{self, Anthropic};
use longhaul_providers::chat::Usage;
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsResponse};
use longhaul_providers::exchange::HttpRequest;
use longhaul_providers::gemini::{self, Gemini};
use longhaul_providers::local::{EMBEDDING_MODEL, Local};
use longhaul_providers::openai::{self, OpenAi};
use longhaul_providers::protocol::{Delivery, SettingsError};
use longhaul_providers::responses::{self, Responses};
use longhaul_providers::{ErrorCode, ProviderError};
use longhaul_resilience::Cx;
use tokio_util::task::TaskTracker;

use crate::call::{Answered, Question, Reply, ReplyNotes};
use crate::error::CallError;
use crate::http::{Endpoint, HttpError, Incoming, PLACE_WAIT, Place, Pool};
use crate::served::Served;
use crate::settings::{Access, Flavor, ProviderSettings, Wire};
use crate::simulated::SimLink;

/// Someone who can be asked.
pub(crate) struct Provider {
    pub(crate) name: Arc<str>,
    pub(crate) settings: ProviderSettings,
    pub(crate) link: Link,
}

/// What is between us and the model.
pub(crate) enum Link {
    /// A protocol, over something that carries it.
    Spoken { protocol: Arc<dyn Protocol>, channel: Channel },
    /// Nothing.
    Local(LocalLink),
}

/// What carries a protocol.
pub(crate) enum Channel {
    /// A network.
    Net(Arc<Pool>),
    /// Make-believe.
    Sim(Arc<SimLink>),
}

/// The longest whole answer of the simulated provider.
const MAX_SIMULATED_BYTES: usize = 64 << 20;

impl Channel {
    /// Sends a request and waits for the head of the answer. Who has no place yet waits for one.
    pub(crate) async fn send(
        &self,
        cx: &Cx<'_>,
        place: Option<Place>,
        http: HttpRequest,
        model: &str,
        question: &Question,
        delivery: Delivery,
    ) -> Result<Incoming, HttpError> {
        match self {
            Self::Net(pool) => {
                let place = match place {
                    Some(place) => place,
                    None => pool.place(cx, cx.renew().after(PLACE_WAIT)).await?,
                };
                pool.send(cx, place, http).await
            }
            Self::Sim(sim) => sim.send(cx, model, question, delivery).await,
        }
    }

    pub(crate) fn max_answer_bytes(&self) -> usize {
        match self {
            Self::Net(pool) => pool.max_answer_bytes(),
            Self::Sim(_) => MAX_SIMULATED_BYTES,
        }
    }
}

/// Why a provider cannot be made of its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider `{provider}` {message}")]
pub struct BadProvider {
    /// Its name.
    pub provider: String,
    /// What is wrong, to be read after its name.
    pub message: String,
}

impl Provider {
    /// Opens no connection.
    pub(crate) fn new(name: &str, settings: ProviderSettings, tracker: &TaskTracker) -> Result<Arc<Self>, BadProvider> {
        let bad = |message: String| BadProvider { provider: name.to_owned(), message };
        let link = match protocol(&settings).map_err(bad)? {
            None => Link::Local(LocalLink(Arc::new(Local::default()))),
            Some(protocol) if settings.wire == Wire::Sim => {
                Link::Spoken { protocol, channel: Channel::Sim(Arc::new(SimLink::new(settings.sim.clone()))) }
            }
            Some(protocol) => {
                let default = || protocol.default_base_url().map(Endpoint::parse);
                let endpoint = match settings.base_url.clone().map(Ok).or_else(default) {
                    Some(Ok(endpoint)) => endpoint,
                    Some(Err(error)) => return Err(bad(format!("has a base URL that {error}"))),
                    None => return Err(bad("needs a `base_url`: its protocol has none of its own".to_owned())),
                };
                let pool = Pool::new(endpoint, settings.pool.clone(), tracker.clone())
                    .map_err(|error: HttpError| bad(format!("cannot be connected to: {error}")))?;
                Link::Spoken { protocol, channel: Channel::Net(pool) }
            }
        };
        Ok(Arc::new(Self { name: name.into(), settings, link }))
    }
}

/// The wire protocol of a provider with its settings; `None` for the built-in algorithms.
fn protocol(settings: &ProviderSettings) -> Result<Option<Arc<dyn Protocol>>, String> {
    let access = || settings.access.clone();
    let made: Result<Arc<dyn Protocol>, SettingsError> = match settings.wire {
        Wire::Local => return Ok(None),
        Wire::OpenAi => {
            let mut wire = openai::Settings::of(settings.flavor, access());
            wire.azure_api_version.clone_from(&settings.api_version);
            OpenAi::new(wire).map(|protocol| Arc::new(protocol) as _)
        }
        // It answers in OpenAI's words, so that its answers go through the same decoders as real ones.
        Wire::Sim => {
            let mut wire = openai::Settings::of(Flavor::Compatible, Access::default());
            // What it says is made up, and so is the rest of it.
            wire.quirks.rest = openai::Rest::Unasked;
            OpenAi::new(wire).map(|protocol| Arc::new(protocol) as _)
        }
        Wire::Responses => {
            let azure = settings.flavor == Flavor::Azure;
            let wire = responses::Settings { access: access(), azure };
            Responses::new(wire).map(|protocol| Arc::new(protocol) as _)
        }
        Wire::Anthropic => Anthropic::new(anthropic::Settings::of(access())).map(|protocol| Arc::new(protocol) as _),
        Wire::Gemini => Gemini::new(gemini::Settings::of(access())).map(|protocol| Arc::new(protocol) as _),
    };
    made.map(Some).map_err(|error| format!("cannot be spoken to: {error}"))
}

impl Provider {
    /// The connections to it, where a network stands between.
    pub(crate) fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.link {
            Link::Spoken { channel: Channel::Net(pool), .. } => Some(pool),
            Link::Spoken { channel: Channel::Sim(_), .. } | Link::Local(_) => None,
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The built-in algorithms: vectors only.
pub(crate) struct LocalLink(Arc<Local>);

impl LocalLink {
    pub(crate) async fn whole(&self, by: &Arc<Served>, question: &Question) -> Result<Answered, CallError> {
        let failed = |code, message: String| CallError::answered(ProviderError::new(code, message), by);
        let Question::Embeddings(request) = question else {
            let message = "the local provider cannot chat: it has no language model";
            return Err(failed(ErrorCode::Unsupported, message.to_owned()));
        };
        let EmbeddingsInput::Texts(_) = &request.input else {
            let message = "the local provider takes texts, not tokens of another model";
            return Err(failed(ErrorCode::Unsupported, message.to_owned()));
        };
        if request.dimensions.is_some_and(|wanted| wanted as usize != self.0.dimensions()) {
            let message = format!("the local provider makes vectors of {} numbers, no others", self.0.dimensions());
            return Err(failed(ErrorCode::Unsupported, message));
        }
        let (local, request) = (Arc::clone(&self.0), Arc::clone(request));
        // It computes without yielding, so not on a thread that others wait for.
        let computed = tokio::task::spawn_blocking(move || match &request.input {
            EmbeddingsInput::Texts(texts) => local.embed(texts),
            EmbeddingsInput::Tokens(_) => Ok(Vec::new()),
        });
        let vectors = match computed.await {
            Ok(Ok(vectors)) => vectors,
            Ok(Err(error)) => return Err(failed(ErrorCode::InvalidRequest, error.to_string())),
            Err(_) => return Err(failed(ErrorCode::ServerError, "the local provider failed".to_owned())),
        };
        let response =
            EmbeddingsResponse { model: Some(EMBEDDING_MODEL.to_owned()), vectors, usage: Some(Usage::default()) };
        let usage = response.usage;
        let reply = Reply::Embeddings(Arc::new(response));
        Ok(Answered { reply, by: Arc::clone(by), usage, notes: Arc::new(ReplyNotes::default()) })
    }
}
