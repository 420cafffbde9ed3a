//! Items of a conversation: read into messages, listed for clients.

use serde_json::value::RawValue;

use crate::chat::{Content, Image, Message, Part, ReasoningContent, Role, ToolCall, ToolResult};
use crate::facade::RequestError;
use crate::json::{Extra, Fields, Json, list, text, to_bytes};
use crate::openai::facade::{data_url, read_detail};

/// Reads kept items (of an earlier response's input and output) as messages.
pub fn read_items(items: &[Json]) -> Result<Vec<Message>, RequestError> {
    let items: Vec<_> =
        items.iter().enumerate().map(|(at, item)| (item.raw(), format!("previous_response[{at}]"))).collect();
    read_raw_items(&items)
}

/// Reads items as messages. What the model said in several items is one message, as other protocols have it.
pub(super) fn read_raw_items(items: &[(&RawValue, String)]) -> Result<Vec<Message>, RequestError> {
    let mut messages: Vec<Message> = Vec::new();
    for (raw, at) in items {
        let message = read_item(raw, at.clone())?;
        match messages.last_mut() {
            Some(last) if last.role == message.role && joins(&message, last) => last.parts.extend(message.parts),
            _ => messages.push(message),
        }
    }
    Ok(messages)
}

/// Several items of the model, and several results of tools, are one message.
fn joins(message: &Message, last: &Message) -> bool {
    matches!(message.role, Role::Assistant | Role::Tool) && message.extra.is_empty() && last.extra.is_empty()
}

fn read_item(raw: &RawValue, at: String) -> Result<Message, RequestError> {
    let mut fields = Fields::of(raw, at)?;
    let kind: String = fields.take("type")?.unwrap_or_else(|| "message".to_owned());
    // Ours, given back: of no meaning to a model.
    let id: Option<String> = if kind == "item_reference" { None } else { fields.take("id")? };
    match kind.as_str() {
        "message" => read_message(fields),
        "function_call" => {
            fields.take::<Json>("status")?;
            let call = ToolCall {
                id: fields.require("call_id")?,
                name: fields.require("name")?,
                arguments: fields.take("arguments")?.unwrap_or_default(),
                signature: None,
            };
            let part = Part { content: Content::ToolCall(call), extra: fields.into_extra() };
            Ok(Message::of(Role::Assistant, vec![part]))
        }
        "function_call_output" => {
            fields.take::<Json>("status")?;
            let call_id = fields.require("call_id")?;
            let at = fields.at("output");
            let parts = read_content(fields.require_raw("output")?, &at)?;
            let content = Content::ToolResult(ToolResult { call_id, parts, is_error: false });
            Ok(Message::of(Role::Tool, vec![Part { content, extra: fields.into_extra() }]))
        }
        "reasoning" => {
            let mut texts: Vec<String> = Vec::new();
            for (raw, at) in fields.list("summary")?.unwrap_or_default() {
                texts.push(Fields::of(raw, at)?.require("text")?);
            }
            let thought = ReasoningContent {
                text: texts.join("\n\n"),
                signature: None,
                encrypted: fields.take("encrypted_content")?,
                id,
            };
            fields.take::<Json>("status")?;
            let part = Part { content: Content::Reasoning(thought), extra: fields.into_extra() };
            Ok(Message::of(Role::Assistant, vec![part]))
        }
        "item_reference" => {
            let why = "references to items are not supported; use `previous_response_id`, or send the item";
            Err(fields.fault(why).code("unsupported_value"))
        }
        // Calls of tools that a provider runs itself, in its own words.
        _ => Ok(Message::of(Role::Assistant, vec![Content::Native(Json::from(raw)).into()])),
    }
}

fn read_message(mut fields: Fields<'_>) -> Result<Message, RequestError> {
    let role: String = fields.require("role")?;
    let role = match role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        other => {
            let at = fields.at("role");
            let why = format!("`{at}`: `{other}` is none of user, assistant, system, developer");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    fields.take::<Json>("status")?;
    let at = fields.at("content");
    let parts = read_content(fields.require_raw("content")?, &at)?;
    Ok(Message { role, parts, name: None, extra: fields.into_extra() })
}

fn read_content(raw: &RawValue, at: &str) -> Result<Vec<Part>, RequestError> {
    if raw.get().starts_with('"') {
        return Ok(vec![Part::text(text(raw, at)?)]);
    }
    let parts =
        list(raw, at).map_err(|_| RequestError::at(at, format!("`{at}`: expected a text or a list of parts")))?;
    parts.into_iter().map(|(raw, at)| read_part(raw, at)).collect()
}

fn read_part(raw: &RawValue, at: String) -> Result<Part, RequestError> {
    let mut fields = Fields::of(raw, at)?;
    let kind: String = fields.require("type")?;
    let content = match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            // Of an answer given back, and empty as a rule.
            for list in ["annotations", "logprobs"] {
                fields.take::<Json>(list)?;
            }
            Content::Text(fields.require_text("text")?)
        }
        "refusal" => Content::Refusal(fields.require("refusal")?),
        "input_image" => match fields.take::<String>("image_url")? {
            Some(url) => {
                let source = data_url(&url).map_err(|why| RequestError::at(fields.at("image_url"), why))?;
                Content::Image(Image { source, detail: read_detail(&mut fields)? })
            }
            // A file of the provider's own.
            None => return Ok(Content::Native(Json::from(raw)).into()),
        },
        "input_file" | "input_audio" => return Ok(Content::Native(Json::from(raw)).into()),
        other => {
            let at = fields.at("type");
            let why = format!("`{at}`: `{other}` is none of input_text, input_image, input_file, output_text, refusal");
            return Err(RequestError::at(at, why).code("invalid_value"));
        }
    };
    Ok(Part { content, extra: fields.into_extra() })
}

/// An item of the input as it is listed: a message's text as parts, its type and status said.
pub(super) fn normalised(raw: &RawValue) -> Json {
    let item = Json::from(raw);
    let mut fields = Extra::new();
    for (name, value) in item.read_fields() {
        fields.insert(name, value);
    }
    let is_message = fields.get("type").is_none_or(|kind| kind.as_str() == "\"message\"");
    if !is_message || fields.get("role").is_none() {
        return item;
    }
    fields.insert("type", Json::of("message"));
    let said_by_model = fields.get("role").is_some_and(|role| role.as_str() == "\"assistant\"");
    if let Some(text) = fields.get("content").and_then(|content| content.read::<String>().ok()) {
        let part = if said_by_model {
            serde_json::json!([{"type": "output_text", "text": text, "annotations": []}])
        } else {
            serde_json::json!([{"type": "input_text", "text": text}])
        };
        fields.insert("content", Json::of(&part));
    }
    if fields.get("status").is_none() {
        fields.insert("status", Json::of("completed"));
    }
    Json::of(&fields)
}

/// Which items of a list a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Behind the item of this id.
    pub after: Option<String>,
    /// So many, 1 to 100.
    pub limit: usize,
    /// Oldest first; OpenAI's default is the other way round.
    pub ascending: bool,
}

/// The body of `GET /v1/responses/{id}/input_items`. Items without an id of their own get one from the response's.
pub fn encode_input_items(response_id: &str, items: &[Json], page: &Page) -> Vec<u8> {
    let suffix = super::object::suffix(response_id);
    let mut listed: Vec<(String, Json)> = items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let mut fields = Extra::new();
            for (name, value) in item.read_fields() {
                fields.insert(name, value);
            }
            let id = fields.get("id").and_then(|id| id.read::<String>().ok());
            let id = id.unwrap_or_else(|| format!("item_{suffix}_in{at}"));
            fields.insert("id", Json::of(&id));
            (id, Json::of(&fields))
        })
        .collect();
    if !page.ascending {
        listed.reverse();
    }
    let start = match &page.after {
        // An unknown id is behind everything: nothing follows it.
        Some(after) => listed.iter().position(|(id, _)| id == after).map_or(listed.len(), |at| at + 1),
        None => 0,
    };
    let rest = &listed[start..];
    let shown = &rest[..rest.len().min(page.limit)];
    to_bytes(|body| {
        body.field("object", "list");
        body.list("data", |list| shown.iter().for_each(|(_, item)| list.item(item)));
        body.field("first_id", &shown.first().map(|(id, _)| id));
        body.field("last_id", &shown.last().map(|(id, _)| id));
        body.field("has_more", &(shown.len() < rest.len()));
    })
}
