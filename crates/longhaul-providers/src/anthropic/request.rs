//! Writing a request for the provider.

use super::facade::BETAS;
use super::{JSON_TOOL, LateSystem, Settings, Structured, Thinking};
use crate::chat::{
    ChatRequest, Content, Dialect, Effort, Image, ImageSource, Part, ResponseFormat, Role, Tool, ToolChoice, ToolResult,
};
use crate::json::{Json, List, Object, to_bytes};
use crate::protocol::{Delivery, EncodeError, Gaps};

/// The least budget that the API takes.
const MIN_BUDGET: u64 = 1_024;

/// Objects that have a place of their own below, with what is carried of them.
const PLACED: &[&str] = &["metadata", "output_config", "thinking"];

/// The body, and what was left out of it.
pub(super) fn body(
    settings: &Settings,
    model: &str,
    request: &ChatRequest,
    delivery: Delivery,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let mut gaps = Gaps::new("anthropic", Dialect::Anthropic, request.dialect, &settings.access.ignore);
    let carry_extra = check(request, &mut gaps)?;
    gaps.hint(BETAS, carry_extra && request.extra.get(BETAS).is_some() && betas(settings, request).is_none());
    // It goes on from what the last message says, but takes none that ends with a space.
    let can_go_on = request.beginning().is_some_and(|beginning| !beginning.ends_with(char::is_whitespace));
    gaps.rest(request, can_go_on)?;
    let (system, turns) = turns(settings, request, &mut gaps)?;
    let json_tool = json_tool(settings, request, &gaps)?;
    let plan = plan(settings, request, json_tool.is_some(), &mut gaps);
    // Who thinks first begins anew.
    gaps.rest(request, plan.thinking.is_none_or(|(kind, _)| kind == "disabled"))?;
    let same = gaps.same_dialect();

    let bytes = to_bytes(|body| {
        body.field("model", model);
        body.field("max_tokens", &plan.max_tokens);
        write_system(body, &system, same);
        body.list("messages", |list| turns.iter().for_each(|turn| write_turn(list, turn, same)));
        match &json_tool {
            Some(schema) => write_json_tool(body, schema),
            None => write_tools(body, request, same),
        }
        write_output_config(body, request, &plan, same);
        if let Some(thinking) = &plan.thinking {
            body.object("thinking", |object| {
                object.field("type", thinking.0);
                object.some("budget_tokens", thinking.1.as_ref());
                let display = request.reasoning.as_ref().and_then(|reasoning| reasoning.summary.as_deref());
                if thinking.0 != "disabled" && same {
                    object.some("display", display);
                }
                object.fields(request.extra.within("thinking").filter(|_| same));
            });
        }
        body.some("temperature", request.temperature.as_ref());
        body.some("top_p", request.top_p.as_ref());
        body.some("top_k", request.top_k.as_ref());
        if !request.stop.is_empty() {
            body.field("stop_sequences", &request.stop);
        }
        let mut labels = request.extra.within("metadata").filter(|_| same).peekable();
        if request.user.is_some() || labels.peek().is_some() {
            body.object("metadata", |metadata| {
                metadata.some("user_id", request.user.as_ref()).fields(labels);
            });
        }
        if delivery == Delivery::Streamed {
            body.field("stream", &true);
        }
        if carry_extra {
            let is_placed = |name: &str| PLACED.contains(&name.split_once('.').map_or("", |(object, _)| object));
            body.fields(request.extra.iter().filter(|(name, _)| !is_placed(name) && *name != BETAS));
        }
    });
    Ok((bytes, gaps.into_ignored()))
}

/// The header by which a client asks for what is not yet everybody's, unless the settings leave it out.
pub(super) fn betas(settings: &Settings, request: &ChatRequest) -> Option<String> {
    let is_ours = request.dialect == Dialect::Anthropic && !settings.access.ignore.contains(BETAS);
    request.extra.get(BETAS).filter(|_| is_ours)?.read().ok()
}

/// What has no word here.
fn check(request: &ChatRequest, gaps: &mut Gaps<'_>) -> Result<bool, EncodeError> {
    gaps.refuse("seed", request.seed.is_some())?;
    gaps.refuse("frequency_penalty", request.frequency_penalty.is_some())?;
    gaps.refuse("presence_penalty", request.presence_penalty.is_some())?;
    gaps.refuse("logprobs", request.logprobs.is_some())?;
    if request.temperature.is_some_and(|temperature| temperature > 1.0) {
        return Err(gaps.cannot("a `temperature` above 1"));
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
    for message in &request.messages {
        gaps.extra(&message.extra)?;
        gaps.hint("name of a message", message.name.is_some());
        for part in &message.parts {
            gaps.part(part)?;
            check_part(part, message.role, gaps)?;
        }
    }
    gaps.extra(&request.extra)
}

fn check_part(part: &Part, role: Role, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    match &part.content {
        Content::Text(_) => Ok(()),
        Content::Image(image) if role == Role::User => {
            gaps.hint("detail of an image", image.detail.is_some());
            Ok(())
        }
        Content::Image(_) => Err(gaps.cannot(format!("an image in a {} message", role.name()))),
        Content::ToolCall(call) if role == Role::Assistant => match Json::parse(arguments(&call.arguments)) {
            Ok(json) if json.is_object() => Ok(()),
            _ => Err(EncodeError::Invalid {
                what: format!("the arguments of the call `{}` are not a JSON object", call.id),
            }),
        },
        Content::ToolResult(result) if matches!(role, Role::User | Role::Tool) => check_result(result, gaps),
        Content::Refusal(_) if role == Role::Assistant => Ok(()),
        // A thought without this provider's seal is of no use to it.
        Content::Reasoning(_) => {
            gaps.hint("reasoning of earlier answers", !is_said(part, gaps.same_dialect()));
            Ok(())
        }
        Content::Native(part) => gaps.native("a part", part),
        Content::ToolCall(_) | Content::ToolResult(_) | Content::Refusal(_) => Err(EncodeError::Invalid {
            what: format!("a tool call, a tool result or a refusal cannot stand in a {} message", role.name()),
        }),
    }
}

fn check_result(result: &ToolResult, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    for part in &result.parts {
        gaps.extra(&part.extra)?;
        match &part.content {
            Content::Text(_) => {}
            Content::Image(image) => gaps.hint("detail of an image", image.detail.is_some()),
            Content::Native(part) => gaps.native("a part in a tool's result", part)?,
            _ => return Err(gaps.cannot("anything but text and images in a tool's result")),
        }
    }
    Ok(())
}

/// One turn: what one side says until the other speaks.
struct Turn<'a> {
    role: &'static str,
    parts: Vec<&'a Part>,
}

/// The operator's words, and the turns. Messages of one side that follow each other are one turn, and results of
/// tools go first in theirs, as the API wants it.
fn turns<'a>(
    settings: &Settings,
    request: &'a ChatRequest,
    gaps: &mut Gaps<'_>,
) -> Result<(Vec<&'a Part>, Vec<Turn<'a>>), EncodeError> {
    let mut system: Vec<&Part> = Vec::new();
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in &request.messages {
        let role = match message.role {
            Role::System | Role::Developer => match settings.late_system {
                _ if turns.is_empty() => "",
                LateSystem::Hoist => "",
                LateSystem::Keep => "system",
                LateSystem::Refuse => return Err(gaps.cannot("a system message in the middle of a conversation")),
            },
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let same = gaps.same_dialect();
        let parts = message.parts.iter().filter(|part| is_said(part, same));
        if role.is_empty() {
            system.extend(parts);
            continue;
        }
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.extend(parts),
            _ => turns.push(Turn { role, parts: parts.collect() }),
        }
    }
    turns.retain(|turn| !turn.parts.is_empty());
    for turn in &mut turns {
        turn.parts.sort_by_key(|part| !matches!(part.content, Content::ToolResult(_)));
    }
    if turns.is_empty() {
        return Err(EncodeError::Invalid { what: "the conversation says nothing".to_owned() });
    }
    Ok((system, turns))
}

/// The API refuses empty texts, and thoughts without its seal.
fn is_said(part: &Part, same: bool) -> bool {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => !text.is_empty(),
        Content::Reasoning(thought) => same && (has(&thought.signature) || has(&thought.encrypted)),
        _ => true,
    }
}

fn has(seal: &Option<String>) -> bool {
    seal.as_ref().is_some_and(|seal| !seal.is_empty())
}

/// The schema of the tool through which JSON is asked for, if it is asked for in that way.
fn json_tool(settings: &Settings, request: &ChatRequest, gaps: &Gaps<'_>) -> Result<Option<Json>, EncodeError> {
    let schema = match (&request.response_format, settings.structured) {
        (ResponseFormat::Text, _) | (ResponseFormat::JsonSchema { .. }, Structured::Native) => return Ok(None),
        (ResponseFormat::JsonSchema { schema, .. }, Structured::Tool) => schema.clone(),
        (ResponseFormat::JsonObject, _) => Json::of(&serde_json::json!({"type": "object"})),
    };
    if request.tools.is_empty() {
        Ok(Some(schema))
    } else {
        Err(gaps.cannot("an answer in JSON without a schema of its own together with tools"))
    }
}

/// What depends on more than one field.
struct Plan<'a> {
    max_tokens: u64,
    effort: Option<&'static str>,
    thinking: Option<(&'static str, Option<u64>)>,
    schema: Option<&'a Json>,
}

fn plan<'a>(settings: &Settings, request: &'a ChatRequest, forced: bool, gaps: &mut Gaps<'_>) -> Plan<'a> {
    let same = gaps.same_dialect();
    let mut plan = Plan {
        max_tokens: request.max_output_tokens.unwrap_or(settings.default_max_tokens),
        effort: None,
        thinking: None,
        schema: match &request.response_format {
            ResponseFormat::JsonSchema { schema, .. } if !forced => Some(schema),
            _ => None,
        },
    };
    let Some(reasoning) = &request.reasoning else { return plan };
    gaps.hint("reasoning.summary", reasoning.summary.is_some() && !same);
    match reasoning.effort {
        Some(Effort::None) => plan.thinking = Some(("disabled", None)),
        Some(effort) => match settings.thinking {
            Thinking::Adaptive => {
                plan.effort = Some(word(effort));
                // In the words of others an effort means to think; here it does not.
                if !same {
                    plan.thinking = Some(("adaptive", None));
                }
            }
            Thinking::Budget => plan.thinking = Some(("enabled", Some(effort.budget_tokens()))),
        },
        None => {}
    }
    if let Some(budget) = reasoning.budget_tokens {
        plan.thinking = Some(("enabled", Some(budget)));
    } else if reasoning.adaptive {
        plan.thinking = Some(("adaptive", None));
    }
    // A forced call, and results of calls whose sealed thoughts are not here, exclude thinking.
    let excluded = forced || (!same && (forces_tool(request) || answers_tools(request)));
    if excluded && plan.thinking.is_some_and(|(kind, _)| kind != "disabled") {
        plan.thinking = None;
        gaps.hint("thinking", true);
    }
    if let Some(("enabled", Some(budget))) = &mut plan.thinking {
        if request.max_output_tokens.is_none() {
            plan.max_tokens = plan.max_tokens.saturating_add(*budget);
        } else if *budget >= plan.max_tokens && plan.max_tokens > MIN_BUDGET && !same {
            *budget = plan.max_tokens - 1;
        } else if *budget >= plan.max_tokens && !same {
            plan.thinking = None;
            gaps.hint("thinking", true);
        }
    }
    plan
}

fn write_output_config(body: &mut Object<'_>, request: &ChatRequest, plan: &Plan<'_>, same: bool) {
    let left = |of| request.extra.within(of).filter(|_| same);
    let mut beside = left("output_config").filter(|(name, _)| !name.starts_with("format.")).peekable();
    if plan.effort.is_none() && plan.schema.is_none() && beside.peek().is_none() {
        return;
    }
    body.object("output_config", |config| {
        config.some("effort", plan.effort);
        if let Some(schema) = plan.schema {
            config.object("format", |format| {
                format.field("type", "json_schema").field("schema", schema);
                format.fields(left("output_config.format"));
            });
        }
        config.fields(beside);
    });
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        other => other.name(),
    }
}

fn forces_tool(request: &ChatRequest) -> bool {
    matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)))
}

fn answers_tools(request: &ChatRequest) -> bool {
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult(_));
    request.messages.last().is_some_and(|message| message.parts.iter().any(is_result))
}

fn write_system(body: &mut Object<'_>, system: &[&Part], same: bool) {
    match system {
        [] => {}
        [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
            body.field("system", text);
        }
        parts => {
            body.list("system", |list| parts.iter().for_each(|part| write_part(list, part, same)));
        }
    }
}

fn write_turn(list: &mut List<'_>, turn: &Turn<'_>, same: bool) {
    list.object(|object| {
        object.field("role", turn.role);
        match turn.parts.as_slice() {
            [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
                object.text("content", text);
            }
            parts => {
                object.list("content", |list| parts.iter().for_each(|part| write_part(list, part, same)));
            }
        }
    });
}

fn write_part(list: &mut List<'_>, part: &Part, same: bool) {
    if let Content::Native(value) = &part.content {
        list.item(value);
        return;
    }
    list.object(|object| {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => {
                object.field("type", "text").text("text", text);
            }
            Content::Image(image) => write_image(object, image),
            Content::ToolCall(call) => {
                object.field("type", "tool_use").field("id", &id(&call.id)).field("name", &call.name);
                // Checked before.
                let input = Json::parse(arguments(&call.arguments)).unwrap_or_else(|_| Json::null());
                object.field("input", &input);
            }
            Content::ToolResult(result) => write_result(object, result, same),
            Content::Reasoning(thought) => match &thought.encrypted {
                Some(data) => {
                    object.field("type", "redacted_thinking").field("data", data);
                }
                None => {
                    object.field("type", "thinking").field("thinking", &thought.text);
                    object.field("signature", &thought.signature);
                }
            },
            // Written above.
            Content::Native(_) => {}
        }
        if same {
            object.extra(&part.extra);
        }
    });
}

fn write_result(object: &mut Object<'_>, result: &ToolResult, same: bool) {
    object.field("type", "tool_result").field("tool_use_id", &id(&result.call_id));
    match result.parts.as_slice() {
        [] => {}
        [Part { content: Content::Text(text), extra }] if extra.is_empty() || !same => {
            object.text("content", text);
        }
        parts => {
            object.list("content", |list| parts.iter().for_each(|part| write_part(list, part, same)));
        }
    }
    if result.is_error {
        object.field("is_error", &true);
    }
}

fn write_image(object: &mut Object<'_>, image: &Image) {
    object.field("type", "image");
    object.object("source", |source| match &image.source {
        ImageSource::Url(url) => {
            source.field("type", "url").field("url", url);
        }
        ImageSource::Data { media_type, base64 } => {
            source.field("type", "base64").field("media_type", media_type).field("data", base64);
        }
    });
}

fn write_tools(body: &mut Object<'_>, request: &ChatRequest, same: bool) {
    if !request.tools.is_empty() {
        body.list("tools", |list| {
            for tool in &request.tools {
                match tool {
                    Tool::Native(value) => list.item(value),
                    Tool::Function { name, description, parameters, strict, extra } => list.object(|object| {
                        object.field("name", name);
                        object.some("description", description.as_ref());
                        match parameters {
                            Some(schema) => object.field("input_schema", schema),
                            None => object.field("input_schema", &serde_json::json!({"type": "object"})),
                        };
                        object.some("strict", strict.filter(|strict| *strict).as_ref());
                        if same {
                            object.extra(extra);
                        }
                    }),
                }
            }
        });
    }
    let serial = request.parallel_tool_calls == Some(false) && !request.tools.is_empty();
    let choice = match &request.tool_choice {
        Some(ToolChoice::Native(value)) => {
            body.field("tool_choice", value);
            return;
        }
        Some(ToolChoice::Auto) => "auto",
        Some(ToolChoice::None) => "none",
        Some(ToolChoice::Required) => "any",
        Some(ToolChoice::Function(_)) => "tool",
        None if serial => "auto",
        None => return,
    };
    body.object("tool_choice", |object| {
        object.field("type", choice);
        if let Some(ToolChoice::Function(name)) = &request.tool_choice {
            object.field("name", name);
        }
        if serial && choice != "none" {
            object.field("disable_parallel_tool_use", &true);
        }
    });
}

fn write_json_tool(body: &mut Object<'_>, schema: &Json) {
    body.list("tools", |list| {
        list.object(|object| {
            object.field("name", JSON_TOOL);
            object.field("description", "Gives the answer. Its input is the whole answer.");
            object.field("input_schema", schema);
        });
    });
    body.object("tool_choice", |object| {
        object.field("type", "tool").field("name", JSON_TOOL);
        object.field("disable_parallel_tool_use", &true);
    });
}

fn arguments(text: &str) -> &str {
    if text.trim().is_empty() { "{}" } else { text }
}

/// An id as the API takes it: letters, digits, `_` and `-`.
fn id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
