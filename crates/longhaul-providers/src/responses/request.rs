//! Writing a request for a provider.

use super::Settings;
use crate::chat::{
    ChatRequest, Content, Dialect, Effort, Message, Part, Reasoning, ReasoningContent, ResponseFormat, Role, Tool,
    ToolChoice, ToolResult,
};
use crate::json::{Extra, List, Object, to_bytes};
use crate::openai::{detail_name, image_url};
use crate::protocol::{Delivery, EncodeError, Gaps};

/// Fields that have a place of their own below, though they are carried.
const PLACED: &[&str] = &["verbosity", "reasoning", "store", "include"];

/// The thoughts of an answer in a form that can be given back: nothing is kept at the provider's.
const SEALED_THOUGHTS: &str = "reasoning.encrypted_content";

/// The body, and what was left out of it.
pub(super) fn body(
    settings: &Settings,
    model: &str,
    request: &ChatRequest,
    delivery: Delivery,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let mut gaps = Gaps::new("openai-responses", Dialect::Responses, request.dialect, &settings.access.ignore);
    gaps.rest(request, false)?;
    check(request, &mut gaps)?;
    let same = gaps.same_dialect();
    let bytes = to_bytes(|body| {
        body.field("model", model);
        body.list("input", |list| {
            request.messages.iter().for_each(|message| write_message(list, message, same));
        });
        write_tools(body, request, same);
        write_text(body, request, &gaps);
        body.some("max_output_tokens", request.max_output_tokens.as_ref());
        body.some("temperature", request.temperature.as_ref());
        body.some("top_p", request.top_p.as_ref());
        match request.extra.get("reasoning").filter(|_| same) {
            Some(reasoning) => {
                body.field("reasoning", reasoning);
            }
            None => write_reasoning(body, request.reasoning.as_ref(), same),
        }
        body.some("user", request.user.as_ref());
        // Whatever is to be remembered is remembered by us.
        body.field("store", &false);
        write_include(body, model, request, same);
        if delivery == Delivery::Streamed {
            body.field("stream", &true);
        }
        for (name, value) in request.extra.beside("text") {
            if gaps.carries(name) && !PLACED.contains(&name) {
                body.field(name, value);
            }
        }
    });
    Ok((bytes, gaps.into_ignored()))
}

fn check(request: &ChatRequest, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    gaps.refuse("stop", !request.stop.is_empty())?;
    gaps.refuse("seed", request.seed.is_some())?;
    gaps.refuse("top_k", request.top_k.is_some())?;
    gaps.refuse("frequency_penalty", request.frequency_penalty.is_some())?;
    gaps.refuse("presence_penalty", request.presence_penalty.is_some())?;
    gaps.refuse("logprobs", request.logprobs.is_some())?;
    for tool in &request.tools {
        match tool {
            Tool::Function { extra, .. } => {
                gaps.extra(extra)?;
            }
            Tool::Native(tool) => gaps.native("a tool", tool)?,
        }
    }
    if let Some(ToolChoice::Native(choice)) = &request.tool_choice {
        gaps.native("a tool choice", choice)?;
    }
    for message in &request.messages {
        gaps.extra(&message.extra)?;
        gaps.hint("name of a message", message.name.is_some());
        for part in &message.parts {
            gaps.part(part)?;
            check_part(part, message.role, gaps)?;
        }
    }
    gaps.extra(&request.extra)?;
    Ok(())
}

fn check_part(part: &Part, role: Role, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    match (&part.content, role) {
        (Content::Text(_), _) | (Content::Image(_), Role::User) => Ok(()),
        (Content::ToolCall(_) | Content::Refusal(_), Role::Assistant) => Ok(()),
        (Content::Image(_), role) => Err(gaps.cannot(format!("an image in a {} message", role.name()))),
        (Content::Reasoning(thought), _) => {
            gaps.hint("reasoning of earlier answers", !(gaps.same_dialect() && is_sealed(thought, &part.extra)));
            Ok(())
        }
        (Content::Native(part), _) => gaps.native("a part", part),
        (Content::ToolResult(result), Role::User | Role::Tool) => check_result(result, gaps),
        (Content::ToolCall(_) | Content::Refusal(_) | Content::ToolResult(_), role) => Err(EncodeError::Invalid {
            what: format!("a tool call, a tool result or a refusal cannot stand in a {} message", role.name()),
        }),
    }
}

fn check_result(result: &ToolResult, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    gaps.hint("is_error of a tool's result", result.is_error);
    for part in &result.parts {
        gaps.extra(&part.extra)?;
        match &part.content {
            Content::Text(_) | Content::Image(_) => {}
            Content::Native(part) => gaps.native("a part in a tool's result", part)?,
            _ => return Err(gaps.cannot("anything but text and images in a tool's result")),
        }
    }
    Ok(())
}

/// One message of ours is one or several items: calls, results and thoughts are items of their own.
fn write_message(list: &mut List<'_>, message: &Message, same: bool) {
    let mut said: Vec<&Part> = Vec::new();
    for part in &message.parts {
        match &part.content {
            Content::Text(_) | Content::Refusal(_) | Content::Image(_) => said.push(part),
            // In what the user says, a native part is a part; in what the model says, an item.
            Content::Native(_) if message.role != Role::Assistant => said.push(part),
            content => {
                write_said(list, message, &mut said, same);
                write_item(list, content, part, same);
            }
        }
    }
    write_said(list, message, &mut said, same);
}

fn write_said(list: &mut List<'_>, message: &Message, said: &mut Vec<&Part>, same: bool) {
    let parts = std::mem::take(said);
    if parts.is_empty() {
        return;
    }
    list.object(|object| {
        object.field("type", "message").field("role", message.role.name());
        match parts.as_slice() {
            [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
                object.text("content", text);
            }
            parts => {
                object.list("content", |list| parts.iter().for_each(|part| write_part(list, part, message.role, same)));
            }
        }
        if same {
            object.extra(&message.extra);
        }
    });
}

fn write_part(list: &mut List<'_>, part: &Part, role: Role, same: bool) {
    if let Content::Native(value) = &part.content {
        list.item(value);
        return;
    }
    list.object(|object| {
        match &part.content {
            Content::Text(text) => {
                object.field("type", if role == Role::Assistant { "output_text" } else { "input_text" });
                object.text("text", text);
            }
            Content::Refusal(text) => {
                object.field("type", "refusal").field("refusal", text);
            }
            Content::Image(image) => {
                object.field("type", "input_image").field("image_url", &image_url(&image.source));
                object.field("detail", image.detail.map_or("auto", detail_name));
            }
            // Items of their own.
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_) | Content::Native(_) => {}
        }
        if same {
            object.extra(&part.extra);
        }
    });
}

fn write_item(list: &mut List<'_>, content: &Content, part: &Part, same: bool) {
    match content {
        Content::ToolCall(call) => list.object(|object| {
            object.field("type", "function_call").field("call_id", &call.id).field("name", &call.name);
            object.field("arguments", if call.arguments.is_empty() { "{}" } else { &call.arguments });
            if same {
                object.extra(&part.extra);
            }
        }),
        Content::ToolResult(result) => list.object(|object| {
            object.field("type", "function_call_output").field("call_id", &result.call_id);
            match result.parts.as_slice() {
                [] => {
                    object.field("output", "");
                }
                [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
                    object.field("output", text);
                }
                parts => {
                    object.list("output", |list| {
                        parts.iter().for_each(|part| write_part(list, part, Role::Tool, same));
                    });
                }
            }
            if same {
                object.extra(&part.extra);
            }
        }),
        Content::Reasoning(thought) if same && is_sealed(thought, &part.extra) => {
            write_thought(list, thought, &part.extra)
        }
        Content::Native(value) => list.item(value),
        // A thought that nobody can read any more: named as left out. The rest are parts.
        Content::Reasoning(_) | Content::Text(_) | Content::Refusal(_) | Content::Image(_) => {}
    }
}

/// Whether a thought stands for itself. By its name alone the provider would look for it where nothing is kept.
fn is_sealed(thought: &ReasoningContent, extra: &Extra) -> bool {
    thought.encrypted.as_ref().is_some_and(|sealed| !sealed.is_empty()) || extra.get("content").is_some()
}

/// Sealed thoughts are asked for, whatever the client asks for, of models that think: others refuse that.
fn write_include(body: &mut Object<'_>, model: &str, request: &ChatRequest, same: bool) {
    if !same {
        return;
    }
    let asked = request.extra.get("include").and_then(|include| include.read::<Vec<String>>().ok());
    let mut include = asked.unwrap_or_default();
    let thinks = match &request.reasoning {
        Some(reasoning) => reasoning.effort != Some(Effort::None),
        None => request.extra.get("reasoning").is_some() || is_thinker(model),
    };
    if thinks && !include.iter().any(|word| word == SEALED_THOUGHTS) {
        include.push(SEALED_THOUGHTS.to_owned());
    }
    if !include.is_empty() {
        body.field("include", &include);
    }
}

/// A model that thinks without being told to.
fn is_thinker(model: &str) -> bool {
    let is = |family: &str| model.starts_with(family);
    (is("gpt-5") && !model.contains("chat")) || is("o3") || is("o4")
}

fn write_thought(list: &mut List<'_>, thought: &ReasoningContent, extra: &Extra) {
    list.object(|object| {
        object.field("type", "reasoning");
        object.some("id", thought.id.as_ref());
        object.list("summary", |list| {
            if !thought.text.is_empty() {
                list.object(|object| {
                    object.field("type", "summary_text").field("text", &thought.text);
                });
            }
        });
        object.some("encrypted_content", thought.encrypted.as_ref());
        object.extra(extra);
    });
}

fn write_tools(body: &mut Object<'_>, request: &ChatRequest, same: bool) {
    if !request.tools.is_empty() {
        body.list("tools", |list| {
            for tool in &request.tools {
                match tool {
                    Tool::Native(value) => list.item(value),
                    Tool::Function { name, description, parameters, strict, extra } => list.object(|object| {
                        object.field("type", "function").field("name", name);
                        object.some("description", description.as_ref());
                        object.field("parameters", parameters);
                        // Here absent means strict, elsewhere it does not.
                        let strict = if same { *strict } else { Some(strict.unwrap_or(false)) };
                        object.some("strict", strict.as_ref());
                        if same {
                            object.extra(extra);
                        }
                    }),
                }
            }
        });
        body.some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
    }
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => {
            body.field("tool_choice", "auto");
        }
        Some(ToolChoice::None) => {
            body.field("tool_choice", "none");
        }
        Some(ToolChoice::Required) => {
            body.field("tool_choice", "required");
        }
        Some(ToolChoice::Function(name)) => {
            body.object("tool_choice", |object| {
                object.field("type", "function").field("name", name);
            });
        }
        Some(ToolChoice::Native(value)) => {
            body.field("tool_choice", value);
        }
    }
}

fn write_text(body: &mut Object<'_>, request: &ChatRequest, gaps: &Gaps<'_>) {
    let verbosity = request.extra.get("verbosity").filter(|_| gaps.carries("verbosity"));
    let left = |of| request.extra.within(of).filter(|_| gaps.same_dialect());
    let mut beside = left("text").filter(|(name, _)| !name.starts_with("format.")).peekable();
    let mut in_format = left("text.format").peekable();
    let kind = match &request.response_format {
        ResponseFormat::Text => "text",
        ResponseFormat::JsonObject => "json_object",
        ResponseFormat::JsonSchema { .. } => "json_schema",
    };
    let has_format = request.response_format != ResponseFormat::Text || in_format.peek().is_some();
    if !has_format && verbosity.is_none() && beside.peek().is_none() {
        return;
    }
    body.object("text", |text| {
        if has_format {
            text.object("format", |format| {
                format.field("type", kind);
                if let ResponseFormat::JsonSchema { name, description, schema, strict } = &request.response_format {
                    format.field("name", name);
                    format.some("description", description.as_ref());
                    format.field("schema", schema);
                    format.some("strict", strict.as_ref());
                }
                format.fields(in_format);
            });
        }
        text.some("verbosity", verbosity);
        text.fields(beside);
    });
}

fn write_reasoning(body: &mut Object<'_>, reasoning: Option<&Reasoning>, same: bool) {
    let Some(reasoning) = reasoning else { return };
    let effort = reasoning.nearest_effort();
    // The word for a summary is each vendor's own.
    let summary = reasoning.summary.as_deref().filter(|_| same);
    if effort.is_none() && summary.is_none() {
        return;
    }
    body.object("reasoning", |object| {
        object.some("effort", effort.as_ref());
        object.some("summary", summary);
    });
}
