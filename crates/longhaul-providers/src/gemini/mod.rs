//! Gemini's `generateContent`, whole and streamed, and its embeddings: the side towards the provider.
//!
//! What differs from the neutral model: the operator's words stand outside the conversation, the model's side is called
//! `model`, results of tools are found by the tool's name and not by the call's id, an answer can be blocked before it begins,
//! and calls carry seals of the thoughts behind them that newer models insist on.

mod errors;
mod request;
mod response;
mod schema;
mod stream;
mod wire;

use http::HeaderMap;
use http::header::HeaderName;

use crate::chat::{ChatRequest, ChatResponse, Dialect};
use crate::embeddings::{EmbeddingsInput, EmbeddingsRequest, EmbeddingsResponse};
use crate::error::{ProviderError, RateLimits, sort};
use crate::exchange::{Access, Head, HttpRequest, Reply, path_segment, read_json};
use crate::json::{Json, Object, to_bytes};
use crate::openai::{malformed, same_shape};
use crate::protocol::{Delivery, EncodeError, Encoded, Gaps, Protocol, SettingsError, StreamDecoder};
use crate::sse::SseStream;

/// The settings of a provider that speaks this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key, headers, what may be left out.
    pub access: Access,
    /// How schemas are written.
    pub schemas: Schemas,
    /// How an effort in words is put.
    pub thinking: Thinking,
    /// A system message behind the first other one joins the system instruction; otherwise such a request is refused.
    pub hoist_late_system: bool,
    /// `safetySettings`, as the API has them, sent with every request.
    pub safety_settings: Option<Json>,
}

impl Settings {
    /// The settings for today's models.
    pub fn of(access: Access) -> Self {
        Self {
            access,
            schemas: Schemas::JsonSchema,
            thinking: Thinking::ByModel,
            hoist_late_system: false,
            safety_settings: None,
        }
    }
}

/// How schemas are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Schemas {
    /// As they are: `responseJsonSchema`, `parametersJsonSchema`.
    #[default]
    JsonSchema,
    /// In the part of OpenAPI that older models read: `responseSchema`, `parameters`.
    OpenApi,
}

/// How an effort in words is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thinking {
    /// As a budget for models up to 2.5, as a level for later ones.
    #[default]
    ByModel,
    /// As `thinkingBudget`.
    Budget,
    /// As `thinkingLevel`.
    Level,
}

/// The protocol, towards one provider.
#[derive(Debug)]
pub struct Gemini {
    settings: Settings,
    headers: HeaderMap,
}

impl Gemini {
    /// The protocol with these settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let headers = settings.access.headers(HeaderName::from_static("x-goog-api-key"), "")?;
        Ok(Self { settings, headers })
    }
}

/// The path of a model's method. A name may say which collection it is of (`tunedModels/…`).
fn path(model: &str, method: &str) -> String {
    let (collection, name) = model.split_once('/').unwrap_or(("models", model));
    format!("/{}/{}:{method}", path_segment(collection), path_segment(name))
}

impl Protocol for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn default_base_url(&self) -> Option<&'static str> {
        Some("https://generativelanguage.googleapis.com/v1beta")
    }

    fn encode_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery) -> Result<Encoded, EncodeError> {
        let (body, ignored) = request::body(&self.settings, model, request)?;
        let path = match delivery {
            Delivery::Whole => path(model, "generateContent"),
            Delivery::Streamed => path(model, "streamGenerateContent?alt=sse"),
        };
        Ok(Encoded { http: HttpRequest::post(path, &self.headers, body, delivery), ignored })
    }

    fn decode_chat(&self, reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
        response::decode(reply)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(SseStream::new(stream::Chunks::default()))
    }

    fn encode_embeddings(&self, model: &str, request: &EmbeddingsRequest) -> Result<Encoded, EncodeError> {
        let mut gaps = Gaps::new(self.name(), Dialect::Gemini, request.dialect, &self.settings.access.ignore);
        let EmbeddingsInput::Texts(texts) = &request.input else {
            return Err(gaps.cannot("input that is cut into tokens"));
        };
        gaps.hint("user", request.user.is_some());
        gaps.extra(&request.extra)?;
        let one = |object: &mut Object<'_>, text: &str| {
            object.object("content", |content| {
                content.list("parts", |parts| {
                    parts.object(|part| {
                        part.field("text", text);
                    });
                });
            });
            object.some("outputDimensionality", request.dimensions.as_ref());
        };
        let (method, body) = match texts.as_slice() {
            [text] => ("embedContent", to_bytes(|body| one(body, text))),
            texts => {
                let name = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
                let body = to_bytes(|body| {
                    body.list("requests", |list| {
                        for text in texts {
                            list.object(|object| {
                                object.field("model", &name);
                                one(object, text);
                            });
                        }
                    });
                });
                ("batchEmbedContents", body)
            }
        };
        let http = HttpRequest::post(path(model, method), &self.headers, body, Delivery::Whole);
        Ok(Encoded { http, ignored: gaps.into_ignored() })
    }

    fn decode_embeddings(&self, reply: Reply<'_>, expected: usize) -> Result<EmbeddingsResponse, ProviderError> {
        #[derive(serde::Deserialize)]
        struct Embedding {
            values: Vec<f32>,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Body {
            embedding: Option<Embedding>,
            embeddings: Option<Vec<Embedding>>,
        }
        if !reply.head.status.is_success() {
            return Err(self.decode_error(reply));
        }
        let body: Body = read_json(reply)?;
        let embeddings = match (body.embeddings, body.embedding) {
            (Some(many), _) => many,
            (None, Some(one)) => vec![one],
            (None, None) => return Err(malformed("it has no embedding")),
        };
        let vectors: Vec<Vec<f32>> = embeddings.into_iter().map(|embedding| embedding.values).collect();
        same_shape(&vectors, expected)?;
        Ok(EmbeddingsResponse { model: None, vectors, usage: None })
    }

    fn encode_models(&self) -> HttpRequest {
        HttpRequest::get("/models?pageSize=1000", &self.headers)
    }

    fn decode_models(&self, reply: Reply<'_>) -> Result<Vec<String>, ProviderError> {
        #[derive(serde::Deserialize)]
        struct Listed {
            name: String,
        }
        #[derive(serde::Deserialize)]
        struct List {
            models: Vec<Listed>,
        }
        if !reply.head.status.is_success() {
            return Err(self.decode_error(reply));
        }
        let list: List = read_json(reply)?;
        let short = |name: String| name.strip_prefix("models/").map(str::to_owned).unwrap_or(name);
        Ok(list.models.into_iter().map(|model| short(model.name)).collect())
    }

    fn decode_error(&self, reply: Reply<'_>) -> ProviderError {
        sort(Some(reply.head), errors::vendor_error(reply.body))
    }

    fn rate_limits(&self, head: Head<'_>) -> RateLimits {
        // Gemini itself has no such headers; proxies before it may.
        RateLimits::openai(head)
    }
}
