//! Reading a request for a message.

use serde_json::value::RawValue;

use crate::chat::{
    ChatRequest, Content, Dialect, Effort, Image, ImageSource, Message, Part, Reasoning, ReasoningContent,
    ResponseFormat, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::facade::{ChatCall, RequestError};
use crate::json::{Extra, Fields, Json, list, text};
use crate::openai::facade::{read_effort, read_schema};
use crate::protocol::Delivery;

/// Reads the body of `POST /v1/messages`.
pub fn decode_request(body: &[u8]) -> Result<ChatCall, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model: String = fields.require("model")?;
    let delivery = if fields.take("stream")?.unwrap_or(false) { Delivery::Streamed } else { Delivery::Whole };

    let mut messages = Vec::new();
    if let Some(raw) = fields.raw("system") {
        messages.push(Message::of(Role::System, read_content(raw, "system")?));
    }
    for message in fields.objects("messages")?.ok_or_else(|| fields.missing("messages"))? {
        messages.push(read_message(message?)?);
    }
    if !messages.iter().any(|message| message.role != Role::System) {
        return Err(RequestError::at("messages", "`messages` must not be empty"));
    }
    let goes_on = is_begun(&messages);
    let (tool_choice, parallel_tool_calls) = match fields.raw("tool_choice") {
        Some(raw) => read_choice(raw)?,
        None => (None, None),
    };
    let (effort, response_format) = read_output_config(&mut fields)?;
    let reasoning = read_thinking(&mut fields, effort)?;
    let user = match fields.object("metadata")? {
        Some(mut metadata) => {
            let (user, mut left) = (metadata.take("user_id")?, Extra::new());
            metadata.leave_within("metadata", &mut left);
            fields.put_all(left);
            user
        }
        None => None,
    };
    let request = ChatRequest {
        messages,
        tools: read_tools(&mut fields)?,
        tool_choice,
        parallel_tool_calls,
        response_format,
        max_output_tokens: Some(fields.require("max_tokens")?),
        temperature: fields.take("temperature")?,
        top_p: fields.take("top_p")?,
        top_k: fields.take("top_k")?,
        stop: fields.take("stop_sequences")?.unwrap_or_default(),
        reasoning,
        user,
        dialect: Dialect::Anthropic,
        extra: fields.into_extra(),
        goes_on,
        ..ChatRequest::default()
    };
    Ok(ChatCall { model, delivery, include_usage: true, request })
}

/// Whether the conversation ends with the beginning of the answer: an answer of the model's that nobody has replied to.
fn is_begun(messages: &[Message]) -> bool {
    let last = messages.last().filter(|last| last.role == Role::Assistant);
    last.and_then(|last| last.parts.last()).is_some_and(|part| matches!(part.content, Content::Text(_)))
}

fn read_message(mut fields: Fields<'_>) -> Result<Message, RequestError> {
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let at = fields.at("role");
            return Err(RequestError::at(at.clone(), format!("`{at}`: `{other}` is none of user, assistant, system")));
        }
    };
    let at = fields.at("content");
    let parts = read_content(fields.require_raw("content")?, &at)?;
    Ok(Message { role, parts, name: None, extra: fields.into_extra() })
}

fn read_content(raw: &RawValue, at: &str) -> Result<Vec<Part>, RequestError> {
    if raw.get().starts_with('"') {
        return Ok(vec![Part::text(text(raw, at)?)]);
    }
    let blocks =
        list(raw, at).map_err(|_| RequestError::at(at, format!("`{at}`: expected a text or a list of blocks")))?;
    blocks.into_iter().map(|(raw, at)| read_block(raw, at)).collect()
}

fn read_block(raw: &RawValue, at: String) -> Result<Part, RequestError> {
    let mut fields = Fields::of(raw, at)?;
    let kind: String = fields.require("type")?;
    let content = match kind.as_str() {
        "text" => Content::Text(fields.require_text("text")?),
        "image" => match read_image(&mut fields)? {
            Some(source) => Content::Image(Image { source, detail: None }),
            None => return Ok(Content::Native(Json::from(raw)).into()),
        },
        "tool_use" => {
            let id = fields.require("id")?;
            let name = fields.require("name")?;
            let input = Json::from(fields.require_raw("input")?);
            if !input.is_object() {
                let at = fields.at("input");
                return Err(RequestError::at(at.clone(), format!("`{at}`: expected an object")));
            }
            Content::ToolCall(ToolCall { id, name, arguments: input.as_str().to_owned(), signature: None })
        }
        "tool_result" => {
            let call_id = fields.require("tool_use_id")?;
            let is_error = fields.take("is_error")?.unwrap_or(false);
            let at = fields.at("content");
            let parts = fields.raw("content").map(|raw| read_content(raw, &at)).transpose()?.unwrap_or_default();
            Content::ToolResult(ToolResult { call_id, parts, is_error })
        }
        "thinking" => Content::Reasoning(ReasoningContent {
            text: fields.require("thinking")?,
            // Of a thought that another provider's model had.
            signature: fields.take::<String>("signature")?.filter(|seal| !seal.is_empty()),
            ..ReasoningContent::default()
        }),
        "redacted_thinking" => {
            Content::Reasoning(ReasoningContent { encrypted: Some(fields.require("data")?), ..Default::default() })
        }
        // Documents, search results, tools that the provider runs: in Anthropic's own words.
        _ => return Ok(Content::Native(Json::from(raw)).into()),
    };
    Ok(Part { content, extra: fields.into_extra() })
}

/// A picture here or elsewhere; `None` for one that only the provider can find (a file of its own).
fn read_image(fields: &mut Fields<'_>) -> Result<Option<ImageSource>, RequestError> {
    let mut source = fields.object("source")?.ok_or_else(|| fields.missing("source"))?;
    let kind: String = source.require("type")?;
    Ok(match kind.as_str() {
        "base64" => {
            Some(ImageSource::Data { media_type: source.require("media_type")?, base64: source.require("data")? })
        }
        "url" => Some(ImageSource::Url(source.require("url")?)),
        _ => None,
    }
    .filter(|_| source.is_used_up()))
}

fn read_tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, RequestError> {
    let mut tools = Vec::new();
    for (raw, at) in fields.list("tools")?.unwrap_or_default() {
        let mut tool = Fields::of(raw, at)?;
        if tool.take::<String>("type")?.is_some_and(|kind| kind != "custom") {
            tools.push(Tool::Native(Json::from(raw)));
            continue;
        }
        tools.push(Tool::Function {
            name: tool.require("name")?,
            description: tool.take("description")?,
            parameters: Some(read_schema(&mut tool, "input_schema")?.ok_or_else(|| tool.missing("input_schema"))?),
            strict: tool.take("strict")?,
            extra: tool.into_extra(),
        });
    }
    Ok(tools)
}

/// The choice, and whether calls may be many.
fn read_choice(raw: &RawValue) -> Result<(Option<ToolChoice>, Option<bool>), RequestError> {
    let mut fields = Fields::of(raw, "tool_choice".to_owned())?;
    let kind: String = fields.require("type")?;
    let choice = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Function(fields.require("name")?),
        other => {
            let why = format!("`tool_choice.type`: `{other}` is none of auto, any, tool, none");
            return Err(RequestError::at("tool_choice.type", why));
        }
    };
    let parallel = fields.take::<bool>("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let choice = if fields.is_used_up() { choice } else { ToolChoice::Native(Json::from(raw)) };
    Ok((Some(choice), parallel))
}

fn read_output_config(fields: &mut Fields<'_>) -> Result<(Option<Effort>, ResponseFormat), RequestError> {
    let Some(mut config) = fields.object("output_config")? else { return Ok((None, ResponseFormat::Text)) };
    let effort = read_effort(&mut config, "effort")?;
    let format = config.object("format")?;
    let mut left = Extra::new();
    config.leave_within("output_config", &mut left);
    let Some(mut format) = format else {
        fields.put_all(left);
        return Ok((effort, ResponseFormat::Text));
    };
    let kind: String = format.require("type")?;
    if kind != "json_schema" {
        let at = format.at("type");
        return Err(RequestError::at(at.clone(), format!("`{at}`: `{kind}` is not json_schema")));
    }
    let schema = read_schema(&mut format, "schema")?.ok_or_else(|| format.missing("schema"))?;
    format.leave_within("output_config.format", &mut left);
    fields.put_all(left);
    // The neutral model, as OpenAI, wants a name; and what Anthropic promises is what OpenAI calls strict.
    let format =
        ResponseFormat::JsonSchema { name: "answer".to_owned(), description: None, schema, strict: Some(true) };
    Ok((effort, format))
}

fn read_thinking(fields: &mut Fields<'_>, effort: Option<Effort>) -> Result<Option<Reasoning>, RequestError> {
    let Some(mut thinking) = fields.object("thinking")? else {
        return Ok(effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() }));
    };
    let kind: String = thinking.require("type")?;
    let mut reasoning = Reasoning { effort, summary: thinking.take("display")?, ..Reasoning::default() };
    match kind.as_str() {
        "enabled" => reasoning.budget_tokens = Some(thinking.require("budget_tokens")?),
        "adaptive" => reasoning.adaptive = true,
        "disabled" => reasoning.effort = Some(Effort::None),
        other => {
            let at = thinking.at("type");
            let why = format!("`{at}`: `{other}` is none of enabled, adaptive, disabled");
            return Err(RequestError::at(at, why));
        }
    }
    let mut left = Extra::new();
    thinking.leave_within("thinking", &mut left);
    if let Some(effort) = effort.filter(|_| reasoning.effort == Some(Effort::None)) {
        // Effort is more than thinking: of a model that shall not think it says how much to do.
        left.insert("output_config.effort", Json::of(&effort));
    }
    fields.put_all(left);
    Ok(Some(reasoning))
}
