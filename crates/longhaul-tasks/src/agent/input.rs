//! The input of `agent`, read.

use longhaul_engine::{FieldError, NamedKind};
use longhaul_gateway::{Operation, nearest};
use longhaul_providers::{
    chat::{Message, Role},
    openai::facade::decode_request,
};
use serde::Deserialize;
use serde_json::json;

use super::HttpTools;
use crate::{
    calls::Calls,
    fields::{self, Fields, Place},
    llm::pointer::field_error,
    text::{MAX_MODEL_CHARS, MAX_TEXT_CHARS},
};

pub(super) const DEFAULT_TURNS: u32 = 16;
/// Turns of one run: each is read back by every attempt after it, and all calls of all of them are fewer than the children
/// that a job can have.
pub(super) const MAX_TURNS: u32 = 128;
pub(super) const MAX_TOOLS: usize = 64;
pub(super) const MAX_MESSAGES: usize = 1_000;
/// The largest number that every JSON reader keeps.
pub(super) const MAX_LIMIT: u64 = (1 << 53) - 1;

/// What an agent is to do, with what, and how far it may go.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentInput {
    /// Whom to ask; none: the default of the kind.
    pub model: Option<String>,
    /// What the model is told first.
    pub instructions: Option<String>,
    /// The conversation so far, at least one message.
    pub messages: Vec<Message>,
    /// What it may call, no tool twice.
    pub tools: Vec<ToolSpec>,
    /// How often the model is called at most.
    pub max_turns: u32,
    /// Tokens of all calls of models together.
    pub max_tokens: Option<u64>,
    /// Cost of all calls of models together.
    pub max_cost_microusd: Option<u64>,
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSpec {
    /// What a call of it is.
    pub uses: Uses,
    /// A person is asked before each call.
    pub approval: bool,
}

/// What a call of a tool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uses {
    /// A job of this kind.
    Kind(String),
    /// A request to the tool of this name in the configuration.
    Http(String),
}

impl Uses {
    /// The name of the kind or tool.
    pub fn name(&self) -> &str {
        match self {
            Self::Kind(name) | Self::Http(name) => name,
        }
    }
}

impl AgentInput {
    pub(super) fn read(
        json: &str,
        calls: &Calls,
        default_model: Option<&str>,
        http: &HttpTools,
    ) -> Result<Self, Vec<FieldError>> {
        fields::read(json, |place| {
            let fields = place.fields()?;
            let model = model(&fields, calls, default_model);
            let instructions = match fields.optional("instructions") {
                Some(place) => place.text(MAX_TEXT_CHARS).map(|text| Some(text.to_owned())),
                None => Some(None),
            };
            let messages = conversation(&fields);
            let tools = match fields.optional("tools") {
                Some(place) => place.list(0..=MAX_TOOLS).and_then(|places| tools(&places, http)),
                None => Some(Vec::new()),
            };
            let max_turns = match fields.optional("max_turns") {
                Some(place) => place.integer(1..=u64::from(MAX_TURNS)).and_then(|turns| u32::try_from(turns).ok()),
                None => Some(DEFAULT_TURNS),
            };
            let max_tokens = limit(&fields, "max_tokens");
            let max_cost_microusd = limit(&fields, "max_cost_microusd");
            fields.finish();
            Some(Self {
                model: model?,
                instructions: instructions?,
                messages: messages?,
                tools: tools?,
                max_turns: max_turns?,
                max_tokens: max_tokens?,
                max_cost_microusd: max_cost_microusd?,
            })
        })
    }
}

fn limit(fields: &Fields<'_>, name: &'static str) -> Option<Option<u64>> {
    match fields.optional(name) {
        Some(place) => place.integer(1..=MAX_LIMIT).map(Some),
        None => Some(None),
    }
}

/// The name of a model that chats and takes tools; `Some(None)` when none is named and the default does.
fn model(fields: &Fields<'_>, calls: &Calls, default: Option<&str>) -> Option<Option<String>> {
    let given = match fields.optional("model") {
        Some(place) => Some(place.text(MAX_MODEL_CHARS)?),
        None => None,
    };
    match calls.model_for(given, default, Operation::Chat) {
        Ok(model) if calls.models.gateway_of(model.name()).is_some() => Some(given.map(str::to_owned)),
        Ok(model) => {
            fields.refuse("model", format!("the model `{}` takes no tools", model.name()));
            None
        }
        Err(error) => {
            fields.refuse("model", error.message);
            None
        }
    }
}

fn conversation(fields: &Fields<'_>) -> Option<Vec<Message>> {
    match (fields.optional("input"), fields.optional("messages")) {
        (Some(input), None) => input.text(MAX_TEXT_CHARS).map(|text| vec![Message::text(Role::User, text)]),
        (None, Some(place)) => messages(&place),
        (Some(_), Some(place)) => {
            place.refuse("cannot be given together with `input`, which is a short form of one message");
            None
        }
        (None, None) => {
            fields.refuse("input", "is required, or `messages` in its place");
            None
        }
    }
}

/// Messages as OpenAI's chat completions take them.
pub(crate) fn messages(place: &Place<'_>) -> Option<Vec<Message>> {
    place.list(1..=MAX_MESSAGES)?;
    let body = json!({"model": "m", "messages": place.value()}).to_string();
    match decode_request(body.as_bytes()) {
        Ok(call) => Some(call.request.messages),
        Err(error) => {
            let FieldError { pointer, message } = field_error(&error);
            place.refuse_below(pointer.strip_prefix("/messages").unwrap_or_default(), message);
            None
        }
    }
}

fn tools(places: &[Place<'_>], http: &HttpTools) -> Option<Vec<ToolSpec>> {
    let mut specs: Vec<ToolSpec> = Vec::with_capacity(places.len());
    let mut fine = true;
    for place in places {
        match tool(place, http) {
            Some(spec) if specs.iter().any(|other| other.uses == spec.uses) => {
                place.refuse(format!("is {:?}, which another entry is, too", spec.uses.name()));
                fine = false;
            }
            Some(spec) => specs.push(spec),
            None => fine = false,
        }
    }
    fine.then_some(specs)
}

fn tool(place: &Place<'_>, http: &HttpTools) -> Option<ToolSpec> {
    let fields = place.fields()?;
    let (kind, configured) = (fields.optional("kind"), fields.optional("http"));
    let approval = match fields.optional("approval") {
        Some(place) => place.boolean(),
        None => Some(false),
    };
    fields.finish();
    let uses = match (kind, configured) {
        (Some(kind), None) => kind.text(100).map(|name| Uses::Kind(name.to_owned())),
        (None, Some(name)) => http_tool(&name, http),
        (Some(_), Some(name)) => {
            name.refuse("cannot be given together with `kind`: an entry is one tool");
            None
        }
        (None, None) => {
            place.refuse("names no tool: give `kind`, or `http` with a tool of the configuration");
            None
        }
    };
    Some(ToolSpec { uses: uses?, approval: approval? })
}

fn http_tool(place: &Place<'_>, http: &HttpTools) -> Option<Uses> {
    let name = place.text(100)?;
    if http.get(name).is_some() {
        return Some(Uses::Http(name.to_owned()));
    }
    let hint = nearest(name, http.names()).map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    let known: Vec<&str> = http.names().take(20).collect();
    place.refuse(match known.is_empty() {
        true => format!("is {name:?}; no tools are configured: an address is called only if [tools.NAME] has it"),
        false => {
            format!("is {name:?}, which is no tool of the configuration{hint}; configured are {}", known.join(", "))
        }
    });
    None
}

/// The kinds that an input names as tools, as far as it can be read.
pub(super) fn kinds_named(json: &str) -> Vec<NamedKind> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        tools: Vec<serde_json::Value>,
    }
    let Ok(Named { tools }) = serde_json::from_str(json) else { return Vec::new() };
    let named = tools.iter().enumerate().take(MAX_TOOLS).filter_map(|(at, tool)| {
        // A name that is empty is complained of where it is read.
        let kind = tool["kind"].as_str().filter(|kind| !kind.trim().is_empty())?;
        Some(NamedKind { pointer: format!("/tools/{at}/kind"), kind: kind.to_owned() })
    });
    named.collect()
}
