//! Writing a request for a provider.

use super::{Quirks, Rest, Settings};
use crate::chat::{
    ChatRequest, Content, Dialect, Image, ImageDetail, ImageSource, Message, Part, Reasoning, ResponseFormat, Role,
    Tool, ToolChoice, ToolResult,
};
use crate::json::{Extra, List, Object, to_bytes};
use crate::protocol::{Delivery, EncodeError, Gaps};

/// The body, and what was left out of it.
pub(super) fn body(
    settings: &Settings,
    model: &str,
    request: &ChatRequest,
    delivery: Delivery,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let quirks = &settings.quirks;
    let mut gaps = Gaps::new("openai", Dialect::OpenAi, request.dialect, &settings.access.ignore);
    gaps.refuse("top_k", request.top_k.is_some() && !quirks.top_k)?;
    gaps.refuse("logprobs", request.logprobs.is_some() && !quirks.logprobs)?;
    gaps.refuse("parallel_tool_calls", request.parallel_tool_calls == Some(false) && !quirks.parallel_tool_calls)?;
    gaps.hint("user", request.user.is_some() && !quirks.user);
    let reasoning = request.reasoning.as_ref();
    let effort = reasoning.and_then(Reasoning::nearest_effort);
    gaps.refuse("reasoning_effort", effort.is_some() && !quirks.reasoning_effort)?;
    gaps.hint("reasoning.summary", reasoning.is_some_and(|reasoning| reasoning.summary.is_some()));
    gaps.rest(request, quirks.rest != Rest::Never)?;
    gaps.extra(&request.extra)?;

    // Writing cannot fail, so whatever cannot be written is looked for first.
    for message in &request.messages {
        check(message, quirks.reasoning_content, &mut gaps)?;
    }
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

    let same = gaps.same_dialect();
    let bytes = to_bytes(|body| {
        body.field("model", model);
        body.list("messages", |list| {
            let marked =
                request.messages.len().checked_sub(1).filter(|_| request.goes_on && quirks.rest == Rest::Prefix);
            for (at, message) in request.messages.iter().enumerate() {
                write_message(list, message, quirks, (same, marked == Some(at)));
            }
        });
        if !request.tools.is_empty() {
            body.list("tools", |list| request.tools.iter().for_each(|tool| write_tool(list, tool, same)));
        }
        if let Some(choice) = &request.tool_choice {
            write_choice(body, choice, quirks.required_choice);
        }
        if quirks.parallel_tool_calls && !request.tools.is_empty() {
            body.some("parallel_tool_calls", request.parallel_tool_calls.as_ref());
        }
        write_format(body, request, same);
        body.some(quirks.token_limit_field, request.max_output_tokens.as_ref());
        body.some("temperature", request.temperature.as_ref());
        body.some("top_p", request.top_p.as_ref());
        if quirks.top_k {
            body.some("top_k", request.top_k.as_ref());
        }
        if !request.stop.is_empty() {
            body.field("stop", &request.stop);
        }
        body.some(quirks.seed_field, request.seed.as_ref());
        body.some("frequency_penalty", request.frequency_penalty.as_ref());
        body.some("presence_penalty", request.presence_penalty.as_ref());
        if let Some(logprobs) = request.logprobs.filter(|_| quirks.logprobs) {
            body.field("logprobs", &true);
            if logprobs.top > 0 {
                body.field("top_logprobs", &logprobs.top);
            }
        }
        if quirks.reasoning_effort {
            body.some("reasoning_effort", effort.as_ref());
        }
        if quirks.user {
            body.some("user", request.user.as_ref());
        }
        if delivery == Delivery::Streamed {
            body.field("stream", &true);
            if quirks.stream_usage {
                body.object("stream_options", |options| {
                    options.field("include_usage", &true);
                });
            }
        }
        if request.goes_on && quirks.rest == Rest::FinalMessage {
            body.field("add_generation_prompt", &false);
            body.field("continue_final_message", &true);
        }
        body.fields(request.extra.beside("response_format").filter(|(name, _)| gaps.carries(name)));
    });
    Ok((bytes, gaps.into_ignored()))
}

/// What this protocol cannot say in a message of this role.
fn check(message: &Message, takes_thoughts: bool, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    gaps.extra(&message.extra)?;
    for part in &message.parts {
        gaps.part(part)?;
        match (&part.content, message.role) {
            (Content::Image(_), Role::User) => {}
            (Content::Image(_), role) => return Err(gaps.cannot(format!("an image in a {} message", role.name()))),
            (Content::ToolCall(_) | Content::Refusal(_), Role::Assistant) | (Content::Text(_), _) => {}
            (Content::ToolResult(result), Role::User | Role::Tool) => check_result(result, gaps)?,
            (Content::Reasoning(_), _) => {
                gaps.hint("reasoning of earlier answers", !(takes_thoughts && gaps.same_dialect()));
            }
            (Content::Native(part), _) => gaps.native("a part", part)?,
            (Content::ToolCall(_) | Content::Refusal(_) | Content::ToolResult(_), role) => {
                return Err(EncodeError::Invalid {
                    what: format!("a tool call, a tool result or a refusal cannot stand in a {} message", role.name()),
                });
            }
        }
    }
    Ok(())
}

fn check_result(result: &ToolResult, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    // Tools tell their errors in their text as well; the mark has no place here.
    gaps.hint("is_error of a tool's result", result.is_error);
    for part in &result.parts {
        gaps.extra(&part.extra)?;
        match &part.content {
            Content::Text(_) => {}
            Content::Native(part) => gaps.native("a part in a tool's result", part)?,
            _ => return Err(gaps.cannot("anything but text in a tool's result")),
        }
    }
    Ok(())
}

/// One message of ours is one or several of theirs: results of tools are messages of their own, and stand first,
/// since they answer the message before. `marked`: it is the beginning of the answer.
fn write_message(list: &mut List<'_>, message: &Message, quirks: &Quirks, (same, marked): (bool, bool)) {
    let mut rest: Vec<&Part> = Vec::with_capacity(message.parts.len());
    for part in &message.parts {
        let Content::ToolResult(result) = &part.content else {
            rest.push(part);
            continue;
        };
        list.object(|object| {
            object.field("role", "tool");
            object.field("tool_call_id", &result.call_id);
            write_content(object, result.parts.iter().collect(), same);
            if message.role == Role::Tool {
                object.some("name", message.name.as_ref());
            }
            if same {
                object.extra(&part.extra).extra(&message.extra);
            }
        });
    }
    if rest.is_empty() && (rest.len() < message.parts.len() || message.role == Role::Tool) {
        return;
    }
    let role = match message.role {
        Role::Developer if !quirks.developer_role => Role::System,
        role => role,
    };
    list.object(|object| {
        object.field("role", role.name());
        object.some("name", message.name.as_ref());
        let calls: Vec<_> = rest
            .iter()
            .filter_map(|part| match &part.content {
                Content::ToolCall(call) => Some((call, &part.extra)),
                _ => None,
            })
            .collect();
        if same && quirks.reasoning_content {
            write_thoughts(object, &rest);
        }
        rest.retain(|part| !matches!(part.content, Content::ToolCall(_) | Content::Reasoning(_)));
        if rest.is_empty() && !calls.is_empty() {
            object.field("content", &());
        } else {
            write_content(object, rest, same);
        }
        if !calls.is_empty() {
            object.list("tool_calls", |list| {
                for (call, extra) in calls {
                    list.object(|object| {
                        object.field("id", &call.id);
                        object.field("type", "function");
                        object.object("function", |function| {
                            function.field("name", &call.name);
                            // An empty text is no JSON, and servers that parse it fail.
                            let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
                            function.text("arguments", arguments);
                            if same {
                                function.fields(extra.within("function"));
                            }
                        });
                        // A server that knows no such field passes over it; Google's compatible API wants it.
                        object.some("extra_content", call.signature.as_deref().map(super::write_signature).as_ref());
                        if same {
                            object.fields(extra.beside("function"));
                        }
                    });
                }
            });
        }
        if marked {
            object.field("prefix", &true);
        }
        if same {
            object.extra(&message.extra);
        }
    });
}

fn write_thoughts(object: &mut Object<'_>, parts: &[&Part]) {
    let thoughts = parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(thought) => Some(thought.text.as_str()),
        _ => None,
    });
    let thoughts: Vec<&str> = thoughts.collect();
    if !thoughts.is_empty() {
        object.text("reasoning_content", &thoughts.concat());
    }
}

/// One text as text, which every server takes; anything else as parts.
fn write_content(object: &mut Object<'_>, parts: Vec<&Part>, same: bool) {
    match parts.as_slice() {
        [] => {
            object.field("content", "");
        }
        [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
            object.text("content", text);
        }
        parts => {
            object.list("content", |list| parts.iter().for_each(|part| write_part(list, part, same)));
        }
    }
}

fn write_part(list: &mut List<'_>, part: &Part, same: bool) {
    if let Content::Native(value) = &part.content {
        list.item(value);
        return;
    }
    list.object(|object| {
        match &part.content {
            Content::Text(text) => {
                object.field("type", "text").text("text", text);
            }
            Content::Refusal(text) => {
                object.field("type", "refusal").field("refusal", text);
            }
            Content::Image(image) => write_image(object, image, same.then_some(&part.extra)),
            // Taken out before, or refused.
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning(_) | Content::Native(_) => {}
        }
        if same {
            object.fields(part.extra.beside("image_url"));
        }
    });
}

fn write_image(object: &mut Object<'_>, image: &Image, extra: Option<&Extra>) {
    object.field("type", "image_url");
    object.object("image_url", |object| {
        object.field("url", &image_url(&image.source));
        object.some("detail", image.detail.map(detail_name));
        object.fields(extra.into_iter().flat_map(|extra| extra.within("image_url")));
    });
}

/// A picture as a URL, its bytes in it if they are here.
pub(crate) fn image_url(source: &ImageSource) -> String {
    match source {
        ImageSource::Url(url) => url.clone(),
        ImageSource::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}

/// OpenAI's word for how closely to look.
pub(crate) fn detail_name(detail: ImageDetail) -> &'static str {
    match detail {
        ImageDetail::Auto => "auto",
        ImageDetail::Low => "low",
        ImageDetail::High => "high",
        ImageDetail::Original => "original",
    }
}

fn write_tool(list: &mut List<'_>, tool: &Tool, same: bool) {
    match tool {
        Tool::Native(value) => list.item(value),
        Tool::Function { name, description, parameters, strict, extra } => list.object(|object| {
            object.field("type", "function");
            object.object("function", |function| {
                function.field("name", name);
                function.some("description", description.as_ref());
                function.some("parameters", parameters.as_ref());
                function.some("strict", strict.as_ref());
                if same {
                    function.fields(extra.within("function"));
                }
            });
            if same {
                object.fields(extra.beside("function"));
            }
        }),
    }
}

fn write_choice(body: &mut Object<'_>, choice: &ToolChoice, required: &str) {
    match choice {
        ToolChoice::Auto => body.field("tool_choice", "auto"),
        ToolChoice::None => body.field("tool_choice", "none"),
        ToolChoice::Required => body.field("tool_choice", required),
        ToolChoice::Function(name) => body.object("tool_choice", |object| {
            object.field("type", "function");
            object.object("function", |function| {
                function.field("name", name);
            });
        }),
        ToolChoice::Native(value) => body.field("tool_choice", value),
    };
}

fn write_format(body: &mut Object<'_>, request: &ChatRequest, same: bool) {
    let left = |of| request.extra.within(of).filter(|_| same);
    let mut beside = left("response_format").filter(|(name, _)| !name.starts_with("json_schema.")).peekable();
    let kind = match &request.response_format {
        ResponseFormat::Text if beside.peek().is_none() => return,
        ResponseFormat::Text => "text",
        ResponseFormat::JsonObject => "json_object",
        ResponseFormat::JsonSchema { .. } => "json_schema",
    };
    body.object("response_format", |object| {
        object.field("type", kind);
        if let ResponseFormat::JsonSchema { name, description, schema, strict } = &request.response_format {
            object.object("json_schema", |object| {
                object.field("name", name);
                object.some("description", description.as_ref());
                object.field("schema", schema);
                object.some("strict", strict.as_ref());
                object.fields(left("response_format.json_schema"));
            });
        }
        object.fields(beside);
    });
}
