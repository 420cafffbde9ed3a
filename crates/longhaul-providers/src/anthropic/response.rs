//! Reading a whole answer.

use super::errors::{malformed, vendor_error};
use super::wire::{Block, Message, finish};
use crate::chat::{ChatResponse, Content, Dialect, Part, ReasoningContent, ToolCall};
use crate::error::{ProviderError, request_id, sort};
use crate::exchange::{Reply, read_json};
use crate::json::{Extra, Json};

pub(super) fn decode(reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
    if !reply.head.status.is_success() {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    let message: Message = read_json(reply)?;
    if message.kind.as_deref() == Some("error") {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    read(message).map_err(|mut error| {
        error.http_status = Some(reply.head.status.as_u16());
        error.request_id = request_id(reply.head);
        error
    })
}

fn read(message: Message) -> Result<ChatResponse, ProviderError> {
    let blocks = message.content.ok_or_else(|| malformed("it has no content"))?;
    let parts = blocks.iter().map(part).collect::<Result<Vec<_>, _>>()?;
    let raw = message.stop_reason.ok_or_else(|| malformed("it does not say why it ended"))?;
    let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let mut extra = Extra::new();
    for (name, value) in [("stop_details", message.stop_details), ("container", message.container)] {
        if let Some(value) = value {
            extra.insert(name, value);
        }
    }
    Ok(ChatResponse {
        id: message.id,
        model: message.model,
        created: None,
        parts,
        finish: finish(raw, message.stop_sequence, calls),
        usage: message.usage.map(Into::into),
        logprobs: None,
        dialect: Dialect::Anthropic,
        extra,
    })
}

fn part(raw: &Json) -> Result<Part, ProviderError> {
    let block: Block = raw.read().map_err(|error| malformed(&format!("a block of it: {error}")))?;
    if block.is_json_answer() {
        return Ok(Part::text(arguments(block.input.as_ref())));
    }
    let mut extra = Extra::new();
    let content = match block.kind.as_str() {
        "text" => {
            if let Some(citations) = block.citations {
                extra.insert("citations", citations);
            }
            Content::Text(block.text.unwrap_or_default())
        }
        "tool_use" => Content::ToolCall(ToolCall {
            id: block.id.ok_or_else(|| malformed("a tool call without an id"))?,
            name: block.name.ok_or_else(|| malformed("a tool call without a name"))?,
            arguments: arguments(block.input.as_ref()),
            signature: None,
        }),
        "thinking" => Content::Reasoning(ReasoningContent {
            text: block.thinking.unwrap_or_default(),
            signature: block.signature.filter(|signature| !signature.is_empty()),
            ..ReasoningContent::default()
        }),
        "redacted_thinking" => {
            Content::Reasoning(ReasoningContent { encrypted: block.data, ..ReasoningContent::default() })
        }
        // Tools that the provider runs itself, and what is still to come.
        _ => Content::Native(raw.clone()),
    };
    Ok(Part { content, extra })
}

fn arguments(input: Option<&Json>) -> String {
    input.map_or_else(|| "{}".to_owned(), |input| input.as_str().to_owned())
}
