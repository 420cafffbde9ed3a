//! Reading a request for a response.

use serde_json::value::RawValue;

use super::input::{normalised, read_items, read_raw_items};
use super::object::Echo;
use crate::chat::{ChatRequest, Dialect, Effort, Message, Reasoning, ResponseFormat, Role, Tool, ToolChoice};
use crate::facade::RequestError;
use crate::json::{Extra, Fields, Json, list};
use crate::openai::facade::{read_effort, read_schema};
use crate::protocol::Delivery;

/// A request for a response, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponsesCall {
    /// The model that the client asks for.
    pub model: String,
    /// How the client wants the answer.
    pub delivery: Delivery,
    /// The answer is not waited for.
    pub background: bool,
    /// The response can be asked for again.
    pub store: bool,
    /// The response that this one goes on from. Its conversation is to be put in by [`go_on_from`](Self::go_on_from).
    pub previous_response_id: Option<String>,
    /// The input as items, each as it will be listed but for its id.
    pub input: Vec<Json>,
    /// What the response repeats of its request.
    pub echo: Echo,
    /// What is asked.
    pub request: ChatRequest,
    /// How many messages of the request are instructions: they stand before any history.
    instructions: usize,
}

impl ResponsesCall {
    /// Puts an earlier conversation, as items of input and output, before the input and behind the instructions
    /// (those of the earlier call do not hold any more).
    pub fn go_on_from(&mut self, items: &[Json]) -> Result<(), RequestError> {
        let history = read_items(items)?;
        self.request.messages.splice(self.instructions..self.instructions, history);
        Ok(())
    }
}

/// Reads the body of `POST /v1/responses`.
pub fn decode_request(body: &[u8]) -> Result<ResponsesCall, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let echo = Echo::of(&fields);
    let model: String = fields.require("model")?;
    let delivery = if fields.take("stream")?.unwrap_or(false) { Delivery::Streamed } else { Delivery::Whole };
    let background = fields.take("background")?.unwrap_or(false);
    let store = fields.take("store")?.unwrap_or(true);
    if background && !store {
        let why = "`store` must not be false of a background response: it could not be asked for";
        return Err(RequestError::at("store", why).code("unsupported_value"));
    }
    let previous_response_id = fields.take("previous_response_id")?;
    // Kept with the response, and of no meaning to a model.
    fields.take::<Json>("metadata")?;
    refuse_what_is_not_here(&mut fields)?;

    let mut messages = Vec::new();
    if let Some(text) = fields.take::<String>("instructions")? {
        messages.push(Message::text(Role::System, text));
    }
    let instructions = messages.len();
    let input = read_input(&mut fields, &mut messages)?;
    let (response_format, verbosity) = read_text(&mut fields)?;
    let (reasoning, reasoning_extra) = read_reasoning(&mut fields)?;

    let mut request = ChatRequest {
        messages,
        tools: read_tools(&mut fields)?,
        tool_choice: fields.raw("tool_choice").map(read_choice).transpose()?,
        parallel_tool_calls: fields.take("parallel_tool_calls")?,
        response_format,
        max_output_tokens: fields.take("max_output_tokens")?,
        temperature: fields.take("temperature")?,
        top_p: fields.take("top_p")?,
        reasoning,
        user: fields.take("user")?,
        dialect: Dialect::Responses,
        extra: fields.into_extra(),
        ..ChatRequest::default()
    };
    for (name, value) in [("verbosity", verbosity), ("reasoning", reasoning_extra)] {
        if let Some(value) = value {
            request.extra.insert(name, value);
        }
    }
    Ok(ResponsesCall { model, delivery, background, store, previous_response_id, input, echo, request, instructions })
}

/// Fields that cannot be kept even by passing them on, and those that say what goes without saying.
fn refuse_what_is_not_here(fields: &mut Fields<'_>) -> Result<(), RequestError> {
    if fields.has("conversation") {
        let why = "`conversation` is not supported; use `previous_response_id`, or send the items";
        return Err(RequestError::at("conversation", why).code("unsupported_parameter"));
    }
    if fields.take::<u8>("top_logprobs")?.is_some_and(|top| top > 0) {
        let why = "`top_logprobs` is not supported here; chat completions have it";
        return Err(RequestError::at("top_logprobs", why).code("unsupported_parameter"));
    }
    if fields.peek("truncation").is_some_and(|word| word == "disabled") {
        fields.take::<Json>("truncation")?;
    }
    // Padding against eavesdroppers; what we send is not padded.
    fields.take::<Json>("stream_options")?;
    if let Some(include) = fields.list("include")? {
        let mut wanted = Vec::new();
        for (raw, at) in include {
            let word: String = serde_json::from_str(raw.get())
                .map_err(|_| RequestError::at(at.clone(), format!("`{at}`: expected a text")))?;
            if word == "message.output_text.logprobs" {
                let why = "log probabilities are not supported here; chat completions have them";
                return Err(RequestError::at(at, why).code("unsupported_value"));
            }
            wanted.push(word);
        }
        fields.put("include", Json::of(&wanted));
    }
    Ok(())
}

fn read_input(fields: &mut Fields<'_>, messages: &mut Vec<Message>) -> Result<Vec<Json>, RequestError> {
    let raw = fields.require_raw("input")?;
    if raw.get().starts_with('"') {
        let text: String =
            serde_json::from_str(raw.get()).map_err(|error| RequestError::at("input", format!("`input`: {error}")))?;
        let item = serde_json::json!({
            "type": "message", "role": "user", "status": "completed", "content": [{"type": "input_text", "text": text}]
        });
        messages.push(Message::text(Role::User, text));
        return Ok(vec![Json::of(&item)]);
    }
    let items =
        list(raw, "input").map_err(|_| RequestError::at("input", "`input`: expected a text or a list of items"))?;
    messages.append(&mut read_raw_items(&items)?);
    if messages.is_empty() {
        return Err(RequestError::at("input", "`input` must not be empty"));
    }
    Ok(items.into_iter().map(|(raw, _)| normalised(raw)).collect())
}

fn read_tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, RequestError> {
    let mut tools = Vec::new();
    for (raw, at) in fields.list("tools")?.unwrap_or_default() {
        let mut tool = Fields::of(raw, at)?;
        if tool.require::<String>("type")? != "function" {
            // A target that speaks this protocol may have it; any other refuses it by its type.
            tools.push(Tool::Native(Json::from(raw)));
            continue;
        }
        tools.push(Tool::Function {
            name: tool.require("name")?,
            description: tool.take("description")?,
            parameters: read_schema(&mut tool, "parameters")?,
            strict: tool.take("strict")?,
            extra: tool.into_extra(),
        });
    }
    Ok(tools)
}

fn read_choice(raw: &RawValue) -> Result<ToolChoice, RequestError> {
    match raw.get() {
        "\"auto\"" => return Ok(ToolChoice::Auto),
        "\"none\"" => return Ok(ToolChoice::None),
        "\"required\"" => return Ok(ToolChoice::Required),
        text if text.starts_with('"') => {
            let why = format!("`tool_choice`: {text} is none of auto, none, required");
            return Err(RequestError::at("tool_choice", why).code("invalid_value"));
        }
        _ => {}
    }
    let mut fields = Fields::of(raw, "tool_choice".to_owned())?;
    if fields.peek("type").as_deref() == Some("function") {
        let name = fields.require("name")?;
        fields.take::<Json>("type")?;
        if fields.is_used_up() {
            return Ok(ToolChoice::Function(name));
        }
    }
    Ok(ToolChoice::Native(Json::from(raw)))
}

fn read_text(fields: &mut Fields<'_>) -> Result<(ResponseFormat, Option<Json>), RequestError> {
    let Some(mut text) = fields.object("text")? else { return Ok((ResponseFormat::Text, None)) };
    let verbosity = text.take("verbosity")?;
    let format = text.object("format")?;
    let mut left = Extra::new();
    text.leave_within("text", &mut left);
    let Some(mut format) = format else {
        fields.put_all(left);
        return Ok((ResponseFormat::Text, verbosity));
    };
    let kind: String = format.require("type")?;
    let read = match kind.as_str() {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => ResponseFormat::JsonSchema {
            name: format.require("name")?,
            description: format.take("description")?,
            schema: read_schema(&mut format, "schema")?.ok_or_else(|| format.missing("schema"))?,
            strict: format.take("strict")?,
        },
        other => {
            let at = format.at("type");
            let why = format!("`{at}`: `{other}` is none of text, json_object, json_schema");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    format.leave_within("text.format", &mut left);
    fields.put_all(left);
    Ok((read, verbosity))
}

/// The neutral part, and the whole as it was written if there is more to it.
fn read_reasoning(fields: &mut Fields<'_>) -> Result<(Option<Reasoning>, Option<Json>), RequestError> {
    let at = fields.at("reasoning");
    let Some(raw) = fields.raw("reasoning") else { return Ok((None, None)) };
    let mut object = Fields::of(raw, at)?;
    let effort: Option<Effort> = read_effort(&mut object, "effort")?;
    let summary = object.take("summary")?;
    let more = !Extra::is_empty(&object.into_extra());
    let reasoning = Reasoning { effort, summary, ..Reasoning::default() };
    Ok(((reasoning != Reasoning::default()).then_some(reasoning), more.then(|| Json::from(raw))))
}
