//! The JSON Schemas of `analysis`.

use serde_json::{Value, json};

use crate::text::{MAX_MODEL_CHARS, MAX_TEXT_CHARS};

pub(super) fn input() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_CHARS,
                "description": "The text. Either this or `document_id`.",
            },
            "document_id": {
                "type": "string", "pattern": "^doc_[0-9a-fA-F]{32}$",
                "description": "An uploaded document, whose text is analysed as soon as it is there.",
            },
            "analyses": {
                "type": "array", "minItems": 1, "uniqueItems": true,
                "default": ["summary", "keywords", "sentiment"],
                "description": "What to ask; each at most once.",
                "items": {
                    "oneOf": [
                        {"enum": ["summary", "keywords", "sentiment", "entities", "language"]},
                        {
                            "type": "object", "required": ["classify"], "additionalProperties": false,
                            "properties": {"classify": {
                                "type": "object", "required": ["labels"], "additionalProperties": false,
                                "properties": {"labels": labels()},
                            }},
                        },
                        {
                            "type": "object", "required": ["extract"], "additionalProperties": false,
                            "properties": {"extract": {
                                "type": "object", "required": ["schema"], "additionalProperties": false,
                                "properties": {"schema": {"type": "object", "description": "A JSON Schema."}},
                            }},
                        },
                    ],
                },
            },
            "model": {
                "type": "string", "pattern": "\\S", "maxLength": MAX_MODEL_CHARS,
                "description": "A model of the configuration. Without it: the kind's default, in the end `local`.",
            },
            "on_failure": {
                "enum": ["partial", "fail"], "default": "partial",
                "description": "What an analysis that fails does: it is listed in `errors`, or the job fails.",
            },
        },
        "oneOf": [{"required": ["text"]}, {"required": ["document_id"]}],
        "additionalProperties": false,
    })
}

pub(crate) fn labels() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 256, "uniqueItems": true,
        "items": {"type": "string", "pattern": "\\S"},
        "description": "What the text can be. A label may explain itself: `billing: invoice, charge, refund`.",
    })
}

pub(super) fn output() -> Value {
    json!({
        "type": "object",
        "required": ["results", "errors", "degraded", "model"],
        "properties": {
            "results": {
                "type": "object",
                "description": "One entry for each analysis that succeeded.",
                "properties": {
                    "summary": {"type": "string"},
                    "keywords": {"type": "array", "items": {
                        "type": "object", "required": ["term", "score"],
                        "properties": {"term": {"type": "string"}, "score": {"type": "number"}},
                    }},
                    "sentiment": {
                        "type": "object", "required": ["label", "score"],
                        "properties": {
                            "label": {"enum": ["positive", "negative", "neutral", "mixed"]},
                            "score": {"type": "number", "minimum": -1, "maximum": 1},
                        },
                    },
                    "entities": {"type": "array", "items": {
                        "type": "object", "required": ["text", "type", "start", "end"],
                        "description": "`start` and `end` count Unicode scalar values.",
                        "properties": {
                            "text": {"type": "string"}, "type": {"type": "string"},
                            "start": {"type": "integer"}, "end": {"type": "integer"},
                        },
                    }},
                    "language": {
                        "type": "object", "required": ["code", "confidence"],
                        "properties": {"code": {"type": "string"}, "confidence": {"type": "number"}},
                    },
                    "classify": {
                        "type": "object", "required": ["label", "confidence", "scores"],
                        "properties": {
                            "label": {"type": ["string", "null"]}, "confidence": {"type": "number"},
                            "scores": {"type": "array"},
                        },
                    },
                    "extract": {"description": "An instance of the schema that was asked for."},
                },
            },
            "errors": {
                "type": "object",
                "description": "Why an analysis has no result, by its name.",
                "additionalProperties": error(),
            },
            "degraded": {"type": "array", "items": {"type": "string"}},
            "model": {"type": "string"},
        },
    })
}

pub(crate) fn error() -> Value {
    json!({
        "type": "object", "required": ["code", "message"],
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    })
}
