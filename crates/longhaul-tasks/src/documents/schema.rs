//! The JSON Schemas of `document.ingest`.

use serde_json::{Value, json};

use super::input::{CHUNK_TOKENS, MAX_LANGUAGE_CHARS};
use crate::{analysis::schema::error, text::MAX_MODEL_CHARS};

pub(super) fn input() -> Value {
    let choice = |what: &str| {
        json!({
            "description": what,
            "anyOf": [
                {"const": false},
                {
                    "type": "object", "additionalProperties": false,
                    "properties": {"model": {"type": "string", "pattern": "\\S", "maxLength": MAX_MODEL_CHARS}},
                },
            ],
        })
    };
    json!({
        "type": "object",
        "required": ["document_id"],
        "additionalProperties": false,
        "properties": {
            "document_id": {"type": "string", "pattern": "^doc_[0-9a-fA-F]{32}$", "description": "The upload."},
            "chunk": {
                "type": "object", "additionalProperties": false,
                "description": "How the text is cut; `overlap` is at most half of `tokens`, and an eighth of it, at most 64, when left out.",
                "properties": {
                    "tokens": {
                        "type": "integer", "minimum": CHUNK_TOKENS.start(), "maximum": CHUNK_TOKENS.end(),
                        "default": 512,
                    },
                    "overlap": {
                        "type": "integer", "minimum": 0, "maximum": CHUNK_TOKENS.end() / 2, "default": 64,
                    },
                },
            },
            "embed": choice("The model that makes a vector of each piece, or false for none."),
            "ocr": {
                "enum": ["auto", "always", "never"], "default": "auto",
                "description": "When text is read in pictures (OCR): on pages without a text layer or with a scan under a few letters, on all pages, on none.",
            },
            "language": {
                "type": "string", "maxLength": MAX_LANGUAGE_CHARS, "default": "eng",
                "pattern": "^[a-z]{3}(_[a-z]+)?(\\+[a-z]{3}(_[a-z]+)?)*$",
                "description": "The language of text in pictures, for example `eng` or `eng+deu`.",
            },
            "summary": choice("The model that makes a summary, or false for none."),
        },
    })
}

pub(super) fn output() -> Value {
    let ms = json!({"type": "integer", "minimum": 0});
    let warnings = |what: &str| json!({"type": "array", "description": what, "items": error()});
    json!({
        "type": "object",
        "required": ["document_id", "pages", "chunks", "timings_ms"],
        "properties": {
            "document_id": {"type": "string"},
            "pages": {"type": "array", "items": {
                "type": "object", "required": ["page", "chars", "source"],
                "properties": {
                    "page": {"type": "integer", "minimum": 1},
                    "chars": {"type": "integer", "minimum": 0},
                    "source": {"enum": ["text", "ocr"]},
                    "error": error(),
                    "warnings": warnings("What of the page was read with a loss."),
                },
            }},
            "warnings": warnings("What was read with a loss: of the document as a whole; pages say so themselves."),
            "chunks": {"type": "array", "items": {
                "type": "object", "required": ["chunk_id", "page", "text", "tokens"],
                "properties": {
                    "chunk_id": {"type": "string"},
                    "page": {"type": "integer", "minimum": 1},
                    "text": {"type": "string"},
                    "tokens": {"type": "integer", "minimum": 0},
                },
            }},
            "embeddings": {
                "type": "object", "required": ["model", "dimensions", "count"],
                "properties": {
                    "model": {"type": "string"},
                    "dimensions": {"type": "integer", "minimum": 1},
                    "count": {"type": "integer", "minimum": 0},
                },
            },
            "summary": {"type": "string"},
            "summary_error": error(),
            "timings_ms": {
                "type": "object",
                "properties": {
                    "extract": ms, "pages": ms, "chunk": ms, "embed": ms, "summary": ms, "total": ms,
                },
            },
        },
    })
}
