//! Writing a request for the provider.

use std::collections::HashMap;

use super::schema::openapi;
use super::{Schemas, Settings, Thinking};
use crate::chat::{
    ChatRequest, Content, Dialect, Effort, ImageSource, Part, Reasoning, ResponseFormat, Role, Tool, ToolChoice,
    ToolResult,
};
use crate::json::{Json, List, Object, to_bytes};
use crate::protocol::{EncodeError, Gaps};

/// The documented word for calls whose seal is lost: those of another provider's model, or told by a protocol that has
/// no place for seals.
const NO_SEAL: &str = "skip_thought_signature_validator";

/// The body, and what was left out of it.
pub(super) fn body(
    settings: &Settings,
    model: &str,
    request: &ChatRequest,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let mut gaps = Gaps::new("gemini", Dialect::Gemini, request.dialect, &settings.access.ignore);
    gaps.rest(request, false)?;
    check(request, &mut gaps)?;
    // Which tool each call so far was of: a result is found by the tool's name.
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (system, turns) = turns(settings, request, &mut gaps)?;
    let mut contents: Vec<(&str, Vec<Json>)> = Vec::with_capacity(turns.len());
    for turn in &turns {
        let mut parts = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            if let Content::ToolCall(call) = &part.content {
                names.insert(&call.id, &call.name);
            }
            parts.push(write_part(part, &names, model, &gaps)?);
        }
        contents.push((turn.role, parts));
    }
    let tools = request.tools.iter().map(|tool| declaration(settings, tool, &gaps)).collect::<Result<Vec<_>, _>>()?;
    let format = response_schema(settings, request, &gaps)?;

    let bytes = to_bytes(|body| {
        if !system.is_empty() {
            body.object("systemInstruction", |object| {
                object.list("parts", |list| system.iter().for_each(|text| write_text(list, text)));
            });
        }
        body.list("contents", |list| {
            for (role, parts) in &contents {
                list.object(|object| {
                    object.field("role", role).field("parts", parts);
                });
            }
        });
        if !tools.is_empty() {
            body.list("tools", |list| {
                list.object(|object| {
                    object.field("functionDeclarations", &tools);
                });
            });
        }
        write_choice(body, request);
        body.object("generationConfig", |config| write_config(config, settings, model, request, format.as_ref()));
        body.some("safetySettings", settings.safety_settings.as_ref());
    });
    Ok((bytes, gaps.into_ignored()))
}

/// What has no word here.
fn check(request: &ChatRequest, gaps: &mut Gaps<'_>) -> Result<(), EncodeError> {
    gaps.hint("user", request.user.is_some());
    gaps.refuse("parallel_tool_calls", request.parallel_tool_calls == Some(false) && !request.tools.is_empty())?;
    for tool in &request.tools {
        match tool {
            Tool::Function { extra, strict, .. } => {
                gaps.hint("strict of a tool", *strict == Some(true));
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
        (Content::Text(_), _) | (Content::Refusal(_) | Content::ToolCall(_), Role::Assistant) => Ok(()),
        (Content::ToolResult(_), Role::User | Role::Tool) => Ok(()),
        (Content::Image(image), Role::User) => {
            gaps.hint("detail of an image", image.detail.is_some());
            Ok(())
        }
        (Content::Image(_), role) => Err(gaps.cannot(format!("an image in a {} message", role.name()))),
        (Content::Reasoning(_), _) => {
            gaps.hint("reasoning of earlier answers", true);
            Ok(())
        }
        (Content::Native(part), _) => gaps.native("a part", part),
        (Content::ToolCall(_) | Content::ToolResult(_) | Content::Refusal(_), role) => Err(EncodeError::Invalid {
            what: format!("a tool call, a tool result or a refusal cannot stand in a {} message", role.name()),
        }),
    }
}

/// One turn: what one side says until the other speaks.
struct Turn<'a> {
    role: &'static str,
    parts: Vec<&'a Part>,
}

fn turns<'a>(
    settings: &Settings,
    request: &'a ChatRequest,
    gaps: &mut Gaps<'_>,
) -> Result<(Vec<&'a str>, Vec<Turn<'a>>), EncodeError> {
    let mut system: Vec<&str> = Vec::new();
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in &request.messages {
        let role = match message.role {
            Role::System | Role::Developer => {
                if !turns.is_empty() && !settings.hoist_late_system {
                    return Err(gaps.cannot("a system message in the middle of a conversation"));
                }
                system.extend(message.parts.iter().filter_map(|part| match &part.content {
                    Content::Text(text) if !text.is_empty() => Some(text.as_str()),
                    _ => None,
                }));
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "model",
        };
        let said = message.parts.iter().filter(|part| match &part.content {
            Content::Text(text) | Content::Refusal(text) => !text.is_empty(),
            Content::Reasoning(_) => false,
            _ => true,
        });
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.parts.extend(said),
            _ => turns.push(Turn { role, parts: said.collect() }),
        }
    }
    turns.retain(|turn| !turn.parts.is_empty());
    if turns.is_empty() {
        return Err(EncodeError::Invalid { what: "the conversation says nothing".to_owned() });
    }
    Ok((system, turns))
}

fn write_text(list: &mut List<'_>, text: &str) {
    list.object(|object| {
        object.text("text", text);
    });
}

fn write_part(part: &Part, names: &HashMap<&str, &str>, model: &str, gaps: &Gaps<'_>) -> Result<Json, EncodeError> {
    let json = |fill: &dyn Fn(&mut Object<'_>)| {
        Json::parse(String::from_utf8(to_bytes(|object| fill(object))).unwrap_or_default())
            .unwrap_or_else(|_| Json::null())
    };
    Ok(match &part.content {
        Content::Text(text) | Content::Refusal(text) => json(&|object| {
            object.text("text", text);
        }),
        Content::Image(image) => match &image.source {
            ImageSource::Data { media_type, base64 } => json(&|object| {
                object.object("inlineData", |data| {
                    data.field("mimeType", media_type).field("data", base64);
                });
            }),
            ImageSource::Url(url) if url.starts_with("gs://") || url.contains("generativelanguage.googleapis.com/") => {
                json(&|object| {
                    object.object("fileData", |data| {
                        data.field("fileUri", url);
                    });
                })
            }
            ImageSource::Url(_) => return Err(gaps.cannot("an image by its URL; send its bytes as a `data:` URL")),
        },
        Content::ToolCall(call) => {
            let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
            let args = Json::parse(text).ok().filter(Json::is_object).ok_or_else(|| EncodeError::Invalid {
                what: format!("the arguments of the call `{}` are not a JSON object", call.id),
            })?;
            let seal = call.signature.as_deref().or((!is_older(model)).then_some(NO_SEAL));
            json(&|object| {
                object.object("functionCall", |function| {
                    function.field("name", &call.name).field("args", &args);
                });
                object.some("thoughtSignature", seal);
            })
        }
        Content::ToolResult(result) => {
            let name = names.get(result.call_id.as_str()).ok_or_else(|| EncodeError::Invalid {
                what: format!("the result of the call `{}` stands without the call", result.call_id),
            })?;
            let response = response(result, gaps)?;
            json(&|object| {
                object.object("functionResponse", |function| {
                    function.field("name", name).field("response", &response);
                });
            })
        }
        Content::Native(value) => value.clone(),
        // Left out before.
        Content::Reasoning(_) => Json::null(),
    })
}

/// A result as the object that the protocol demands: the tool's own, or its text in one.
fn response(result: &ToolResult, gaps: &Gaps<'_>) -> Result<Json, EncodeError> {
    let mut text = String::new();
    for part in &result.parts {
        match &part.content {
            Content::Text(more) => text.push_str(more),
            _ => return Err(gaps.cannot("anything but text in a tool's result")),
        }
    }
    if result.is_error {
        return Ok(Json::of(&serde_json::json!({"error": text})));
    }
    match Json::parse(text.trim().to_owned()) {
        Ok(json) if json.is_object() => Ok(json),
        _ => Ok(Json::of(&serde_json::json!({"result": text}))),
    }
}

fn declaration(settings: &Settings, tool: &Tool, gaps: &Gaps<'_>) -> Result<Json, EncodeError> {
    let Tool::Function { name, description, parameters, .. } = tool else {
        return Err(gaps.cannot("a tool of another protocol"));
    };
    let (field, schema) = match (settings.schemas, parameters) {
        (_, None) => ("", None),
        (Schemas::JsonSchema, Some(schema)) => ("parametersJsonSchema", Some(schema.clone())),
        (Schemas::OpenApi, Some(schema)) => ("parameters", Some(openapi(schema, gaps)?)),
    };
    let bytes = to_bytes(|object| {
        object.field("name", name);
        object.some("description", description.as_ref());
        object.some(field, schema.as_ref());
    });
    Ok(Json::parse(String::from_utf8(bytes).unwrap_or_default()).unwrap_or_else(|_| Json::null()))
}

fn response_schema(
    settings: &Settings,
    request: &ChatRequest,
    gaps: &Gaps<'_>,
) -> Result<Option<(&'static str, Json)>, EncodeError> {
    let ResponseFormat::JsonSchema { schema, .. } = &request.response_format else { return Ok(None) };
    Ok(Some(match settings.schemas {
        Schemas::JsonSchema => ("responseJsonSchema", schema.clone()),
        Schemas::OpenApi => ("responseSchema", openapi(schema, gaps)?),
    }))
}

fn write_choice(body: &mut Object<'_>, request: &ChatRequest) {
    let mode = match &request.tool_choice {
        Some(ToolChoice::Auto) => "AUTO",
        Some(ToolChoice::None) => "NONE",
        Some(ToolChoice::Required | ToolChoice::Function(_)) => "ANY",
        Some(ToolChoice::Native(_)) | None => return,
    };
    body.object("toolConfig", |config| {
        config.object("functionCallingConfig", |calling| {
            calling.field("mode", mode);
            if let Some(ToolChoice::Function(name)) = &request.tool_choice {
                calling.field("allowedFunctionNames", &[name]);
            }
        });
    });
}

fn write_config(
    config: &mut Object<'_>,
    settings: &Settings,
    model: &str,
    request: &ChatRequest,
    format: Option<&(&'static str, Json)>,
) {
    config.some("temperature", request.temperature.as_ref());
    config.some("topP", request.top_p.as_ref());
    config.some("topK", request.top_k.as_ref());
    config.some("maxOutputTokens", request.max_output_tokens.as_ref());
    if !request.stop.is_empty() {
        config.field("stopSequences", &request.stop);
    }
    config.some("seed", request.seed.as_ref());
    config.some("presencePenalty", request.presence_penalty.as_ref());
    config.some("frequencyPenalty", request.frequency_penalty.as_ref());
    if let Some(logprobs) = request.logprobs {
        config.field("responseLogprobs", &true);
        if logprobs.top > 0 {
            config.field("logprobs", &logprobs.top);
        }
    }
    if request.response_format != ResponseFormat::Text {
        config.field("responseMimeType", "application/json");
    }
    if let Some((field, schema)) = format {
        config.field(field, schema);
    }
    if let Some(reasoning) = &request.reasoning {
        write_thinking(config, settings, model, reasoning);
    }
}

fn write_thinking(config: &mut Object<'_>, settings: &Settings, model: &str, reasoning: &Reasoning) {
    let by_budget = match settings.thinking {
        Thinking::Budget => true,
        Thinking::Level => false,
        Thinking::ByModel => is_older(model),
    };
    config.object("thinkingConfig", |thinking| {
        match (reasoning.budget_tokens, reasoning.effort) {
            (Some(budget), _) => {
                thinking.field("thinkingBudget", &budget);
            }
            (None, Some(effort)) if by_budget => {
                thinking.field("thinkingBudget", &effort.budget_tokens());
            }
            (None, Some(effort)) => {
                thinking.field("thinkingLevel", level(effort));
            }
            (None, None) => {}
        }
        let told = reasoning.summary.as_deref().is_some_and(|word| word != "omitted");
        if told || reasoning.budget_tokens.is_some_and(|budget| budget > 0) || reasoning.adaptive {
            thinking.field("includeThoughts", &true);
        }
    });
}

fn level(effort: Effort) -> &'static str {
    match effort {
        // Later models cannot do without; this is the least.
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
        Effort::XHigh | Effort::Max => "HIGH",
    }
}

/// Models up to 2.5: budgets, and no insistence on seals.
fn is_older(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["gemini-1", "gemini-2", "gemma"].iter().any(|older| name.starts_with(older))
}
