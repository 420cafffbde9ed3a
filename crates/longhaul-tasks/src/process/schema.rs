//! The JSON Schemas of `process`.

use serde_json::{Value, json};

use super::input::{MAX_EMBED_TEXTS, MAX_ID_CHARS, MAX_ITEMS, MAX_MESSAGES, MAX_TIMEOUT_S};
use crate::{
    analysis::schema::{error, labels},
    text::{MAX_MODEL_CHARS, MAX_TEXT_CHARS},
};

pub(super) fn input() -> Value {
    json!({
        "type": "object",
        "properties": {
            "items": {
                "type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": item(),
                "description": "The questions. They are answered at the same time; each fails alone.",
            },
            "query": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_CHARS,
                "description": "Short for one item with the task `chat`.",
            },
            "model": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_MODEL_CHARS,
                "description": "A model of the configuration. Without it: the kind's default, in the end `local`.",
            },
            "timeout_s": {
                "type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_S, "default": 30,
                "description": "How long the request waits. After that the answer is a receipt, and the job goes on.",
            },
            "cache": {
                "type": "boolean", "default": true,
                "description": "Whether answers may come from the cache.",
            },
        },
        "oneOf": [{"required": ["items"]}, {"required": ["query"]}],
        "additionalProperties": false,
    })
}

fn text() -> Value {
    json!({"type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_CHARS})
}

fn item() -> Value {
    let of = |tasks: &[&str], input: Value| {
        json!({
            "type": "object", "required": ["task", "input"], "additionalProperties": false,
            "properties": {
                "id": {
                    "type": "string", "pattern": "\\S", "maxLength": MAX_ID_CHARS,
                    "description": "Given back with the result; the place in the list, from 0, when left out.",
                },
                "task": {"enum": tasks},
                "input": input,
            },
        })
    };
    let message = json!({"type": "object"});
    json!({
        "oneOf": [
            of(&["summary", "keywords", "sentiment", "entities", "language"], text()),
            of(&["embed"], json!({"anyOf": [
                text(),
                {"type": "array", "minItems": 1, "maxItems": MAX_EMBED_TEXTS, "items": text()},
            ]})),
            of(&["chat"], json!({"anyOf": [
                text(),
                {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": message},
            ]})),
            of(&["classify"], json!({
                "type": "object", "required": ["text", "labels"], "additionalProperties": false,
                "properties": {"text": text(), "labels": labels()},
            })),
            of(&["extract"], json!({
                "type": "object", "required": ["text", "schema"], "additionalProperties": false,
                "properties": {"text": text(), "schema": {"type": "object", "description": "A JSON Schema."}},
            })),
        ],
    })
}

pub(super) fn output() -> Value {
    json!({
        "type": "object",
        "required": ["results", "succeeded", "failed", "model", "latency_ms"],
        "properties": {
            "results": {"type": "array", "items": {
                "type": "object",
                "required": ["id", "status", "cached", "cache", "degraded", "latency_ms"],
                "properties": {
                    "id": {"type": "string"},
                    "status": {"enum": ["succeeded", "failed"]},
                    "output": {"description": "The answer, in the shape of its task."},
                    "error": error(),
                    "cached": {"type": "boolean"},
                    "cache": {"enum": ["hit", "miss", "coalesced", "bypass"]},
                    "degraded": {"type": "boolean"},
                    "latency_ms": {"type": "integer", "minimum": 0},
                },
            }},
            "succeeded": {"type": "integer", "minimum": 0},
            "failed": {"type": "integer", "minimum": 0},
            "model": {"type": "string"},
            "latency_ms": {"type": "integer", "minimum": 0},
        },
    })
}
