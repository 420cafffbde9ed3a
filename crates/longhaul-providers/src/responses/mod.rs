//! OpenAI's responses: the side towards a provider ([`Responses`]), and the side towards OpenAI's SDKs ([`facade`]).
//!
//! A conversation is a list of items here, and an answer too: messages, calls of functions, thoughts. Towards a
//! provider nothing is kept there (`store: false`): what must be remembered is remembered on our side of the wire, where it
//! holds for every provider.

pub mod facade;
mod request;
mod response;
mod stream;
mod wire;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::{ProviderError, RateLimits, sort};
use crate::exchange::{Access, Head, HttpRequest, Reply, read_json};
use crate::openai::vendor_error;
use crate::protocol::{Delivery, EncodeError, Encoded, Protocol, SettingsError, StreamDecoder};
use crate::sse::SseStream;

/// The settings of a provider that speaks this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key, headers, what may be left out.
    pub access: Access,
    /// The key stands under `api-key`, as at Azure.
    pub azure: bool,
}

/// The protocol, towards one provider.
#[derive(Debug)]
pub struct Responses {
    settings: Settings,
    headers: HeaderMap,
}

impl Responses {
    /// The protocol with these settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let headers = if settings.azure {
            settings.access.headers(http::HeaderName::from_static("api-key"), "")?
        } else {
            settings.access.headers(AUTHORIZATION, "Bearer ")?
        };
        Ok(Self { settings, headers })
    }
}

impl Protocol for Responses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn default_base_url(&self) -> Option<&'static str> {
        (!self.settings.azure).then_some("https://api.openai.com/v1")
    }

    fn encode_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery) -> Result<Encoded, EncodeError> {
        let (body, ignored) = request::body(&self.settings, model, request, delivery)?;
        let http = HttpRequest::post("/responses".to_owned(), &self.headers, body, delivery);
        Ok(Encoded { http, ignored })
    }

    fn decode_chat(&self, reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
        response::decode(reply)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(SseStream::new(stream::Events::default()))
    }

    fn encode_models(&self) -> HttpRequest {
        HttpRequest::get("/models", &self.headers)
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
        sort(Some(reply.head), vendor_error(reply.body))
    }

    fn rate_limits(&self, head: Head<'_>) -> RateLimits {
        RateLimits::openai(head)
    }
}
