//! Reading a request for a chat completion.

use serde_json::value::RawValue;

use crate::chat::{
    ChatRequest, Content, Dialect, Effort, Image, ImageDetail, ImageSource, Logprobs, Message, Part, Reasoning,
    ResponseFormat, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::facade::{ChatCall, RequestError};
use crate::json::{Extra, Fields, Json, list, one_or_many, text};
use crate::openai::read_signature;
use crate::protocol::Delivery;

/// Reads the body of `POST /v1/chat/completions`.
pub fn decode_request(body: &[u8]) -> Result<ChatCall, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model: String = fields.require("model")?;
    let delivery = if fields.take("stream")?.unwrap_or(false) { Delivery::Streamed } else { Delivery::Whole };
    let include_usage = match fields.object("stream_options")? {
        // `include_obfuscation` pads chunks against eavesdroppers; what we send is not padded.
        Some(mut options) => options.take("include_usage")?.unwrap_or(false),
        None => false,
    };
    refuse_what_is_not_here(&mut fields)?;

    let mut messages = Vec::new();
    for message in fields.objects("messages")?.ok_or_else(|| fields.missing("messages"))? {
        messages.push(read_message(message?)?);
    }
    if messages.is_empty() {
        return Err(RequestError::at("messages", "`messages` must not be empty"));
    }
    let response_format = read_format(&mut fields)?;
    let request = ChatRequest {
        messages,
        tools: read_tools(&mut fields)?,
        tool_choice: fields.raw("tool_choice").map(read_choice).transpose()?,
        parallel_tool_calls: fields.take("parallel_tool_calls")?,
        response_format,
        max_output_tokens: read_limit(&mut fields)?,
        temperature: fields.take("temperature")?,
        top_p: fields.take("top_p")?,
        top_k: fields.take("top_k")?,
        stop: fields.raw("stop").map(|raw| one_or_many(raw, "stop")).transpose()?.unwrap_or_default(),
        seed: fields.take("seed")?,
        frequency_penalty: fields.take("frequency_penalty")?.filter(|penalty: &f64| *penalty != 0.0),
        presence_penalty: fields.take("presence_penalty")?.filter(|penalty: &f64| *penalty != 0.0),
        logprobs: read_logprobs(&mut fields)?,
        reasoning: read_effort(&mut fields, "reasoning_effort")?
            .map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }),
        user: fields.take("user")?,
        dialect: Dialect::OpenAi,
        extra: fields.into_extra(),
        goes_on: false,
    };
    Ok(ChatCall { model, delivery, include_usage, request })
}

/// Fields that cannot be kept even by passing them on, and those that say what goes without saying.
fn refuse_what_is_not_here(fields: &mut Fields<'_>) -> Result<(), RequestError> {
    if fields.take::<u32>("n")?.is_some_and(|n| n != 1) {
        let why = "`n` must be 1: one answer per call; send the call again for another";
        return Err(RequestError::at("n", why).code("unsupported_value"));
    }
    for (old, new) in [("functions", "tools"), ("function_call", "tool_choice")] {
        if fields.has(old) {
            let why = format!("`{old}` was replaced by `{new}`, which is supported");
            return Err(RequestError::at(old, why).code("unsupported_parameter"));
        }
    }
    if fields.take::<Vec<String>>("modalities")?.is_some_and(|modalities| modalities != ["text"]) {
        let why = "`modalities` must be [\"text\"]: answers in sound are not supported";
        return Err(RequestError::at("modalities", why).code("unsupported_value"));
    }
    if fields.has("audio") {
        let why = "`audio` is not supported: answers are text";
        return Err(RequestError::at("audio", why).code("unsupported_parameter"));
    }
    Ok(())
}

fn read_message(mut fields: Fields<'_>) -> Result<Message, RequestError> {
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let at = fields.at("role");
            let why = format!("`{at}`: `{other}` is none of system, developer, user, assistant, tool");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    let at = fields.at("content");
    let content = fields.raw("content");
    let mut parts = match content {
        Some(raw) => read_content(raw, &at)?,
        None => Vec::new(),
    };
    match role {
        Role::Assistant => read_assistant(&mut fields, &mut parts)?,
        Role::Tool => {
            if content.is_none() {
                return Err(fields.missing("content"));
            }
            let call_id = fields.require("tool_call_id")?;
            parts = vec![Content::ToolResult(ToolResult { call_id, parts, is_error: false }).into()];
        }
        Role::System | Role::Developer | Role::User if content.is_none() => return Err(fields.missing("content")),
        Role::System | Role::Developer | Role::User => {}
    }
    Ok(Message { role, parts, name: fields.take("name")?, extra: fields.into_extra() })
}

fn read_assistant(fields: &mut Fields<'_>, parts: &mut Vec<Part>) -> Result<(), RequestError> {
    if fields.has("function_call") {
        let at = fields.at("function_call");
        return Err(RequestError::at(at, "`function_call` was replaced by `tool_calls`, which is supported"));
    }
    // What clients give back of our own answers, where the protocol has no word for it.
    if let Some(text) = fields.take::<String>("reasoning_content")?.filter(|text| !text.is_empty()) {
        let reasoning = crate::chat::ReasoningContent { text, ..Default::default() };
        parts.insert(0, Content::Reasoning(reasoning).into());
    }
    if let Some(text) = fields.take::<String>("refusal")? {
        parts.push(Content::Refusal(text).into());
    }
    // SDK objects given back whole have this list, and it is empty.
    if fields.has("annotations") {
        fields.take::<Json>("annotations")?;
    }
    for (raw, at) in fields.list("tool_calls")?.unwrap_or_default() {
        let mut call = Fields::of(raw, at)?;
        let id = call.require("id")?;
        let kind = call.take::<String>("type")?.unwrap_or_else(|| "function".to_owned());
        if kind != "function" {
            return Err(call.fault(format_args!("tool calls of type `{kind}` are not supported")));
        }
        let extra_content = call.take::<Json>("extra_content")?;
        let signature = extra_content.as_ref().and_then(read_signature);
        if let Some(extra_content) = extra_content.filter(|_| signature.is_none()) {
            call.put("extra_content", extra_content);
        }
        let mut function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
        let name = function.require("name")?;
        let arguments = function.take("arguments")?.unwrap_or_default();
        let content = Content::ToolCall(ToolCall { id, name, arguments, signature });
        let mut extra = call.into_extra();
        function.leave_within("function", &mut extra);
        parts.push(Part { content, extra });
    }
    Ok(())
}

fn read_content(raw: &RawValue, at: &str) -> Result<Vec<Part>, RequestError> {
    if raw.get().starts_with('"') {
        return Ok(vec![Part::text(text(raw, at)?)]);
    }
    let elements =
        list(raw, at).map_err(|_| RequestError::at(at, format!("`{at}`: expected a text or a list of parts")))?;
    elements.into_iter().map(|(raw, at)| read_part(raw, at)).collect()
}

fn read_part(raw: &RawValue, at: String) -> Result<Part, RequestError> {
    let mut fields = Fields::of(raw, at)?;
    let kind: String = fields.require("type")?;
    let mut within = Extra::new();
    let content = match kind.as_str() {
        "text" => Content::Text(fields.require_text("text")?),
        "refusal" => Content::Refusal(fields.require("refusal")?),
        "image_url" => {
            let mut image = fields.object("image_url")?.ok_or_else(|| fields.missing("image_url"))?;
            let url: String = image.require("url")?;
            let source = data_url(&url).map_err(|why| RequestError::at(image.at("url"), why))?;
            let content = Content::Image(Image { source, detail: read_detail(&mut image)? });
            image.leave_within("image_url", &mut within);
            content
        }
        // Audio, files: in OpenAI's own words, for targets that have them.
        "input_audio" | "file" => return Ok(Content::Native(Json::from(raw)).into()),
        other => {
            let at = fields.at("type");
            let why = format!("`{at}`: `{other}` is none of text, image_url, input_audio, file, refusal");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    fields.put_all(within);
    Ok(Part { content, extra: fields.into_extra() })
}

/// A picture by its URL; a `data:` URL is taken apart.
pub(crate) fn data_url(url: &str) -> Result<ImageSource, String> {
    let Some(rest) = url.strip_prefix("data:") else { return Ok(ImageSource::Url(url.to_owned())) };
    match rest.split_once(";base64,") {
        Some((media_type, base64)) if media_type.starts_with("image/") && !base64.is_empty() => {
            Ok(ImageSource::Data { media_type: media_type.to_owned(), base64: base64.to_owned() })
        }
        _ => Err("a `data:` URL of an image must read `data:image/…;base64,…`".to_owned()),
    }
}

/// `detail` of an image.
pub(crate) fn read_detail(fields: &mut Fields<'_>) -> Result<Option<ImageDetail>, RequestError> {
    let Some(word) = fields.take::<String>("detail")? else { return Ok(None) };
    match word.as_str() {
        "auto" => Ok(Some(ImageDetail::Auto)),
        "low" => Ok(Some(ImageDetail::Low)),
        "high" => Ok(Some(ImageDetail::High)),
        "original" => Ok(Some(ImageDetail::Original)),
        other => {
            let at = fields.at("detail");
            let why = format!("`{at}`: `{other}` is none of auto, low, high, original");
            Err(RequestError::at(at, why).code("invalid_value"))
        }
    }
}

/// An effort, by its word.
pub(crate) fn read_effort(fields: &mut Fields<'_>, name: &str) -> Result<Option<Effort>, RequestError> {
    let Some(word) = fields.take::<String>(name)? else { return Ok(None) };
    Effort::parse(&word).map(Some).ok_or_else(|| {
        let at = fields.at(name);
        let why = format!("`{at}`: `{word}` is none of none, minimal, low, medium, high, xhigh, max");
        RequestError::at(at, why).code("invalid_value")
    })
}

fn read_tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, RequestError> {
    let mut tools = Vec::new();
    for (raw, at) in fields.list("tools")?.unwrap_or_default() {
        let mut tool = Fields::of(raw, at)?;
        let kind: String = tool.require("type")?;
        if kind != "function" {
            let at = tool.at("type");
            let why = format!("`{at}`: tools of type `{kind}` are not supported, only `function`");
            return Err(RequestError::at(at, why).code("unsupported_value"));
        }
        let mut function = tool.object("function")?.ok_or_else(|| tool.missing("function"))?;
        let (name, description) = (function.require("name")?, function.take("description")?);
        let (parameters, strict) = (read_schema(&mut function, "parameters")?, function.take("strict")?);
        let mut extra = tool.into_extra();
        function.leave_within("function", &mut extra);
        tools.push(Tool::Function { name, description, parameters, strict, extra });
    }
    Ok(tools)
}

/// A JSON Schema, kept as it was written.
pub(crate) fn read_schema(fields: &mut Fields<'_>, name: &str) -> Result<Option<Json>, RequestError> {
    let at = fields.at(name);
    let Some(schema) = fields.raw(name).map(Json::from) else { return Ok(None) };
    if schema.is_object() { Ok(Some(schema)) } else { Err(RequestError::at(at, "expected a JSON Schema: an object")) }
}

fn read_choice(raw: &RawValue) -> Result<ToolChoice, RequestError> {
    if raw.get().starts_with('"') {
        return match raw.get() {
            "\"auto\"" => Ok(ToolChoice::Auto),
            "\"none\"" => Ok(ToolChoice::None),
            "\"required\"" | "\"any\"" => Ok(ToolChoice::Required),
            other => {
                let why = format!("`tool_choice`: {other} is none of auto, none, required");
                Err(RequestError::at("tool_choice", why).code("invalid_value"))
            }
        };
    }
    let mut fields = Fields::of(raw, "tool_choice".to_owned())?;
    if fields.peek("type").as_deref() != Some("function") {
        return Ok(ToolChoice::Native(Json::from(raw)));
    }
    let mut function = fields.object("function")?.ok_or_else(|| fields.missing("function"))?;
    let name = function.require("name")?;
    let is_all = function.is_used_up() && fields.take::<Json>("type").is_ok() && fields.is_used_up();
    Ok(if is_all { ToolChoice::Function(name) } else { ToolChoice::Native(Json::from(raw)) })
}

fn read_format(fields: &mut Fields<'_>) -> Result<ResponseFormat, RequestError> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(ResponseFormat::Text) };
    let kind: String = format.require("type")?;
    let mut left = Extra::new();
    let read = match kind.as_str() {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let mut schema = format.object("json_schema")?.ok_or_else(|| format.missing("json_schema"))?;
            let read = ResponseFormat::JsonSchema {
                name: schema.require("name")?,
                description: schema.take("description")?,
                schema: read_schema(&mut schema, "schema")?.ok_or_else(|| schema.missing("schema"))?,
                strict: schema.take("strict")?,
            };
            schema.leave_within("response_format.json_schema", &mut left);
            read
        }
        other => {
            let at = format.at("type");
            let why = format!("`{at}`: `{other}` is none of text, json_object, json_schema");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    format.leave_within("response_format", &mut left);
    fields.put_all(left);
    Ok(read)
}

fn read_limit(fields: &mut Fields<'_>) -> Result<Option<u64>, RequestError> {
    let old = fields.take("max_tokens")?;
    let new = fields.take("max_completion_tokens")?;
    match (old, new) {
        (Some(_), Some(_)) => {
            let why = "`max_tokens` and `max_completion_tokens` mean the same: give one of them";
            Err(RequestError::at("max_tokens", why))
        }
        (old, new) => Ok(new.or(old)),
    }
}

fn read_logprobs(fields: &mut Fields<'_>) -> Result<Option<Logprobs>, RequestError> {
    let wanted = fields.take("logprobs")?.unwrap_or(false);
    let top = fields.take::<u8>("top_logprobs")?;
    match (wanted, top) {
        (true, top) => Ok(Some(Logprobs { top: top.unwrap_or(0) })),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(RequestError::at("top_logprobs", "`top_logprobs` needs `logprobs` to be true")),
    }
}
