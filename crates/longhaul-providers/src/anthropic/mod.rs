//! Anthropic's messages: the side towards the provider ([`Anthropic`]), and the side towards its SDKs ([`facade`]).
//!
//! What differs from the neutral model: the operator's words stand outside the conversation, the limit of tokens is
//! mandatory, results of tools are said by the user, tokens from the cache are counted apart, temperature ends at 1.
//! A JSON object without a schema has no word here; it is asked for as the input of a tool that must be called, and
//! the decoders turn that call back into text.

mod errors;
pub mod facade;
mod request;
mod response;
mod stream;
mod wire;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::{ProviderError, RateLimits, sort};
use crate::exchange::{Access, Head, HttpRequest, Reply, read_json};
use crate::protocol::{Delivery, EncodeError, Encoded, Protocol, SettingsError, StreamDecoder};
use crate::sse::SseStream;

/// The version of the API that is spoken.
pub const VERSION: &str = "2023-06-01";

/// The tool through which JSON is asked for where there is no other way.
pub(crate) const JSON_TOOL: &str = "longhaul_json_answer";

/// The settings of a provider that speaks this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key, headers (`anthropic-beta`), what may be left out.
    pub access: Access,
    /// The limit of tokens for requests that have none: the API demands one.
    pub default_max_tokens: u64,
    /// How an effort in words is put.
    pub thinking: Thinking,
    /// How an answer by a schema is asked for.
    pub structured: Structured,
    /// What becomes of a system message in the middle of a conversation.
    pub late_system: LateSystem,
}

impl Settings {
    /// The settings for today's models.
    pub fn of(access: Access) -> Self {
        Self {
            access,
            default_max_tokens: 8_192,
            thinking: Thinking::Adaptive,
            structured: Structured::Native,
            late_system: LateSystem::Refuse,
        }
    }
}

/// How an effort in words is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thinking {
    /// `thinking: adaptive` and `output_config.effort`.
    #[default]
    Adaptive,
    /// `thinking: enabled` with a budget in tokens, as older models want it.
    Budget,
}

/// How an answer by a schema is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Structured {
    /// `output_config.format`.
    #[default]
    Native,
    /// As the input of a tool that must be called, for models without it. Excludes other tools.
    Tool,
}

/// What becomes of a system message behind the first other one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LateSystem {
    /// The request is refused: moved, the message would mean something else.
    #[default]
    Refuse,
    /// It joins the system prompt at the front.
    Hoist,
    /// It is sent where it stands, for models that take it there.
    Keep,
}

/// The protocol, towards one provider.
#[derive(Debug)]
pub struct Anthropic {
    settings: Settings,
    headers: HeaderMap,
}

impl Anthropic {
    /// The protocol with these settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let mut headers = settings.access.headers(HeaderName::from_static("x-api-key"), "")?;
        headers.entry("anthropic-version").or_insert(HeaderValue::from_static(VERSION));
        Ok(Self { settings, headers })
    }
}

/// The headers with what a client wants to try, besides what the configuration does.
fn with_betas(headers: &HeaderMap, betas: &str) -> HeaderMap {
    let mut headers = headers.clone();
    let own = headers.get(facade::BETAS).and_then(|own| own.to_str().ok());
    let all = own.map_or_else(|| betas.to_owned(), |own| format!("{own},{betas}"));
    if let Ok(all) = HeaderValue::try_from(all) {
        headers.insert(facade::BETAS, all);
    }
    headers
}

impl Protocol for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn default_base_url(&self) -> Option<&'static str> {
        Some("https://api.anthropic.com/v1")
    }

    fn encode_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery) -> Result<Encoded, EncodeError> {
        let (body, ignored) = request::body(&self.settings, model, request, delivery)?;
        let headers = match request::betas(&self.settings, request) {
            Some(betas) => &with_betas(&self.headers, &betas),
            None => &self.headers,
        };
        let http = HttpRequest::post("/messages".to_owned(), headers, body, delivery);
        Ok(Encoded { http, ignored })
    }

    fn decode_chat(&self, reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
        response::decode(reply)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(SseStream::new(stream::Events::default()))
    }

    fn encode_models(&self) -> HttpRequest {
        HttpRequest::get("/models?limit=1000", &self.headers)
    }

    fn decode_models(&self, reply: Reply<'_>) -> Result<Vec<String>, ProviderError> {
        #[derive(serde::Deserialize)]
        struct Listed {
            id: String,
        }
        #[derive(serde::Deserialize)]
        struct List {
            data: Vec<Listed>,
        }
        if !reply.head.status.is_success() {
            return Err(self.decode_error(reply));
        }
        let list: List = read_json(reply)?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }

    fn decode_error(&self, reply: Reply<'_>) -> ProviderError {
        sort(Some(reply.head), errors::vendor_error(reply.body))
    }

    fn rate_limits(&self, head: Head<'_>) -> RateLimits {
        RateLimits::anthropic(head)
    }
}
