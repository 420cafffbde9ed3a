//! OpenAI's chat completions, embeddings and models, and everybody who speaks them.
//!
//! Servers that call themselves compatible differ in details, which are [`Quirks`]; a [`Flavor`] is the set of them
//! that fits a product. [`OpenAi`] is the side towards a provider, [`facade`] the side towards OpenAI's own SDKs.

mod embeddings;
mod errors;
pub mod facade;
mod halves;
mod plain;
mod relay;
mod request;
mod response;
mod stream;
mod wire;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use crate::chat::{ChatRequest, ChatResponse, Dialect};
use crate::embeddings::{EmbeddingsRequest, EmbeddingsResponse};
use crate::error::{ProviderError, RateLimits};
use crate::exchange::{Access, Head, HttpRequest, Reply, path_segment, read_json};
use crate::protocol::{Delivery, EncodeError, Encoded, Protocol, SettingsError, StreamDecoder};
use crate::relay::{RelayTo, RelayedAnswer};
use crate::sse::SseStream;

pub(crate) use embeddings::same_shape;
pub(crate) use errors::{from_error, malformed, vendor_error};
pub(crate) use request::{detail_name, image_url};
pub(crate) use wire::{read_signature, write_signature};

/// Products that speak this protocol, each in its own way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavor {
    /// OpenAI itself.
    #[default]
    OpenAi,
    /// OpenAI on Azure: `api-key`, and deployments in the path when an API version is set.
    Azure,
    /// vLLM.
    Vllm,
    /// Ollama.
    Ollama,
    /// llama.cpp's server.
    LlamaCpp,
    /// Groq.
    Groq,
    /// Mistral.
    Mistral,
    /// Any other: what most of them understand.
    Compatible,
}

impl Flavor {
    /// All, with their names in the configuration.
    pub const NAMES: &[(&str, Self)] = &[
        ("openai", Self::OpenAi),
        ("azure", Self::Azure),
        ("vllm", Self::Vllm),
        ("ollama", Self::Ollama),
        ("llama.cpp", Self::LlamaCpp),
        ("groq", Self::Groq),
        ("mistral", Self::Mistral),
        ("compatible", Self::Compatible),
    ];

    /// The flavor of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, flavor)| *flavor)
    }

    /// Where it is when nobody says.
    pub fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Groq => Some("https://api.groq.com/openai/v1"),
            Self::Mistral => Some("https://api.mistral.ai/v1"),
            Self::Ollama => Some("http://127.0.0.1:11434/v1"),
            Self::Vllm => Some("http://127.0.0.1:8000/v1"),
            Self::LlamaCpp => Some("http://127.0.0.1:8080/v1"),
            Self::Azure | Self::Compatible => None,
        }
    }

    /// How it differs.
    pub fn quirks(self) -> Quirks {
        let openai = Quirks {
            token_limit_field: "max_completion_tokens",
            seed_field: "seed",
            required_choice: "required",
            developer_role: true,
            stream_usage: true,
            user: true,
            logprobs: true,
            top_k: false,
            reasoning_effort: true,
            parallel_tool_calls: true,
            reasoning_content: false,
            rest: Rest::Never,
        };
        let compatible =
            Quirks { token_limit_field: "max_tokens", developer_role: false, reasoning_content: true, ..openai };
        match self {
            Self::OpenAi | Self::Azure => openai,
            Self::Vllm | Self::LlamaCpp => Quirks { top_k: true, rest: Rest::FinalMessage, ..compatible },
            Self::Ollama => Quirks { parallel_tool_calls: false, ..compatible },
            Self::Groq => Quirks {
                token_limit_field: "max_completion_tokens",
                logprobs: false,
                // It has another word for it, and refuses fields that it does not know.
                reasoning_content: false,
                rest: Rest::Unasked,
                ..compatible
            },
            Self::Mistral => Quirks {
                seed_field: "random_seed",
                required_choice: "any",
                // It tells the usage unasked and refuses fields that it does not know.
                stream_usage: false,
                user: false,
                logprobs: false,
                reasoning_content: false,
                rest: Rest::Prefix,
                ..compatible
            },
            Self::Compatible => compatible,
        }
    }
}

/// How a server differs from OpenAI's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// What it calls the limit of the answer's tokens.
    pub token_limit_field: &'static str,
    /// What it calls the seed.
    pub seed_field: &'static str,
    /// What it calls a tool choice of "one or more".
    pub required_choice: &'static str,
    /// It knows the role `developer`; others get `system`.
    pub developer_role: bool,
    /// A stream tells its usage when asked by `stream_options`.
    pub stream_usage: bool,
    /// It takes `user`.
    pub user: bool,
    /// It takes `logprobs`.
    pub logprobs: bool,
    /// It takes `top_k`.
    pub top_k: bool,
    /// It takes `reasoning_effort`.
    pub reasoning_effort: bool,
    /// It takes `parallel_tool_calls`.
    pub parallel_tool_calls: bool,
    /// It takes its own thoughts back as `reasoning_content`; some demand them with the results of tools.
    pub reasoning_content: bool,
    /// How the rest of an answer is asked for.
    pub rest: Rest,
}

/// How the rest of an answer is asked for, whose beginning is the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It cannot be: an assistant's message is answered with another one.
    Never,
    /// By the message alone.
    Unasked,
    /// By `continue_final_message`, as vLLM has it.
    FinalMessage,
    /// By a mark at the message, `prefix`, as Mistral has it. The answer tells the beginning once more.
    Prefix,
}

/// The settings of a provider that speaks this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Key, headers, what may be left out.
    pub access: Access,
    /// The product.
    pub flavor: Flavor,
    /// Its differences; [`Flavor::quirks`] unless one must be set by hand.
    pub quirks: Quirks,
    /// Azure's `api-version`: set, the model is a deployment in the path; unset, Azure's own `/openai/v1` is spoken.
    pub azure_api_version: Option<String>,
}

impl Settings {
    /// The settings of a flavor.
    pub fn of(flavor: Flavor, access: Access) -> Self {
        Self { access, flavor, quirks: flavor.quirks(), azure_api_version: None }
    }
}

/// The protocol, towards one provider.
///
/// ```
/// use longhaul_providers::chat::{ChatRequest, Message, Role};
/// use longhaul_providers::exchange::{Access, Secret};
/// use longhaul_providers::openai::{Flavor, OpenAi, Settings};
/// use longhaul_providers::protocol::{Delivery, Protocol};
///
/// let access = Access { api_key: Some(Secret::new("sk-test")), ..Access::default() };
/// let openai = OpenAi::new(Settings::of(Flavor::OpenAi, access)).unwrap();
/// let request = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
/// let encoded = openai.encode_chat("gpt-4o", &request, Delivery::Whole).unwrap();
/// assert_eq!(encoded.http.path, "/chat/completions");
/// assert_eq!(&encoded.http.body[..], br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}"#);
/// ```
#[derive(Debug)]
pub struct OpenAi {
    settings: Settings,
    headers: HeaderMap,
}

impl OpenAi {
    /// The protocol with these settings.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let headers = match settings.flavor {
            Flavor::Azure => settings.access.headers(HeaderName::from_static("api-key"), "")?,
            _ => settings.access.headers(AUTHORIZATION, "Bearer ")?,
        };
        Ok(Self { settings, headers })
    }

    fn path(&self, model: &str, operation: &str) -> String {
        match (&self.settings.azure_api_version, self.settings.flavor) {
            (Some(version), Flavor::Azure) => {
                format!("/deployments/{}/{operation}?api-version={}", path_segment(model), path_segment(version))
            }
            _ => format!("/{operation}"),
        }
    }
}

impl Protocol for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn default_base_url(&self) -> Option<&'static str> {
        self.settings.flavor.default_base_url()
    }

    fn encode_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery) -> Result<Encoded, EncodeError> {
        let (body, ignored) = request::body(&self.settings, model, request, delivery)?;
        let http = HttpRequest::post(self.path(model, "chat/completions"), &self.headers, body, delivery);
        Ok(Encoded { http, ignored })
    }

    fn decode_chat(&self, reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
        response::decode(reply)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(SseStream::new(stream::Chunks::default()))
    }

    fn relay_chat(&self, to: &RelayTo, body: &Bytes) -> Option<RelayedAnswer> {
        (to.dialect == Dialect::OpenAi).then(|| plain::answer(body, response::decode_plain))?
    }

    fn relay_stream(&self, to: &RelayTo) -> Option<Box<dyn StreamDecoder>> {
        // Who is not asked for the usage tells it in places of its own.
        let is_ours = to.dialect == Dialect::OpenAi && self.settings.quirks.stream_usage;
        is_ours.then(|| Box::new(relay::Relay::new(to.clone())) as _)
    }

    fn repeats_beginning(&self) -> bool {
        self.settings.quirks.rest == Rest::Prefix
    }

    fn encode_embeddings(&self, model: &str, request: &EmbeddingsRequest) -> Result<Encoded, EncodeError> {
        let (body, ignored) = embeddings::body(&self.settings, model, request)?;
        let http = HttpRequest::post(self.path(model, "embeddings"), &self.headers, body, Delivery::Whole);
        Ok(Encoded { http, ignored })
    }

    fn decode_embeddings(&self, reply: Reply<'_>, expected: usize) -> Result<EmbeddingsResponse, ProviderError> {
        embeddings::decode(reply, expected)
    }

    fn encode_models(&self) -> HttpRequest {
        let path = match (&self.settings.azure_api_version, self.settings.flavor) {
            (Some(version), Flavor::Azure) => format!("/models?api-version={}", path_segment(version)),
            _ => "/models".to_owned(),
        };
        HttpRequest::get(path, &self.headers)
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
        crate::error::sort(Some(reply.head), vendor_error(reply.body))
    }

    fn rate_limits(&self, head: Head<'_>) -> RateLimits {
        RateLimits::openai(head)
    }
}
