//! The JSON Schemas of `agent`.

use serde_json::{Value, json};

use super::input::{DEFAULT_TURNS, MAX_LIMIT, MAX_MESSAGES, MAX_TOOLS, MAX_TURNS};
use crate::text::{MAX_MODEL_CHARS, MAX_TEXT_CHARS};

pub(super) fn input() -> Value {
    let text = json!({"type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_CHARS});
    let tool = |name: &str, about: &str| {
        json!({
            "type": "object", "required": [name], "additionalProperties": false,
            "properties": {
                name: {"type": "string", "pattern": "\\S", "maxLength": 100, "description": about},
                "approval": {
                    "type": "boolean", "default": false,
                    "description": "A person is asked before each call: `POST /v1/jobs/{id}/input {\"approve\": true}`.",
                },
            },
        })
    };
    let limit = |about: &str| json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": about});
    json!({
        "type": "object",
        "properties": {
            "model": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_MODEL_CHARS,
                "description": "A model of the configuration that chats. Without it: the kind's default.",
            },
            "instructions": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_CHARS,
                "description": "What the model is told before anything else.",
            },
            "input": text,
            "messages": {
                "type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": {"type": "object"},
                "description": "A conversation so far, as `POST /v1/chat/completions` takes it. In place of `input`.",
            },
            "tools": {
                "type": "array", "maxItems": MAX_TOOLS, "default": [],
                "description": "What the model may call. A kind is called as a job below this one.",
                "items": {"oneOf": [
                    tool("kind", "A kind, built in or registered; its input schema is what the model is shown."),
                    tool("http", "A tool of the configuration, by its name under `[tools]`."),
                ]},
            },
            "max_turns": {
                "type": "integer", "minimum": 1, "maximum": MAX_TURNS, "default": DEFAULT_TURNS,
                "description": "How often the model is called at most.",
            },
            "max_tokens": limit("Tokens of all calls of models together, those of tools included."),
            "max_cost_microusd": limit("Cost of all calls of models, in millionths of a US dollar, where prices are configured."),
        },
        "oneOf": [{"required": ["input"]}, {"required": ["messages"]}],
        "additionalProperties": false,
    })
}

pub(super) fn output() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "required": ["output", "finish", "turns", "tool_calls", "usage", "model", "degraded"],
        "properties": {
            "output": {"type": "string", "description": "The words of the last turn."},
            "finish": {
                "enum": ["stop", "length", "content_filter", "refusal", "max_turns", "max_tokens", "max_cost"],
                "description": "Why the run ended. The last three are limits, met while the model wanted more tools.",
            },
            "turns": count,
            "tool_calls": {"type": "array", "items": {
                "type": "object", "required": ["turn", "call_id", "status"],
                "properties": {
                    "turn": count, "call_id": {"type": "string"}, "kind": {"type": "string"},
                    "http": {"type": "string"}, "job_id": {"type": "string"},
                    "status": {"enum": ["succeeded", "failed", "cancelled", "refused", "invalid", "skipped"]},
                },
            }},
            "usage": {
                "type": "object", "required": ["input_tokens", "output_tokens", "cost_microusd"],
                "properties": {"input_tokens": count, "output_tokens": count, "cost_microusd": count},
            },
            "model": {"type": "string"},
            "degraded": {"type": "boolean"},
        },
    })
}
