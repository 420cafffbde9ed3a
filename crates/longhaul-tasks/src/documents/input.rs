//! The input of `document.ingest`, read.

use longhaul_core::DocumentId;
use longhaul_documents::ChunkOptions;
use longhaul_engine::FieldError;
use longhaul_gateway::Operation;

use crate::{
    analysis::input::document_id,
    calls::Calls,
    fields::{self, Fields, Place},
    text::MAX_MODEL_CHARS,
};

pub(super) const CHUNK_TOKENS: std::ops::RangeInclusive<u64> = 16..=8_192;
pub(super) const MAX_LANGUAGE_CHARS: usize = 40;

/// How to take in which document.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestInput {
    /// The document.
    pub document_id: DocumentId,
    /// How its text is cut.
    pub chunk: ChunkOptions,
    /// The model that makes vectors; none: no vectors.
    pub embed: Option<String>,
    /// When pictures of text are read.
    pub ocr: OcrMode,
    /// The language of pictures of text, as OCR programs name it.
    pub language: String,
    /// The model that makes a summary; none: no summary.
    pub summary: Option<String>,
}

/// When pictures of text are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcrMode {
    /// On pages without a text that can be read.
    Auto,
    /// On every page.
    Always,
    /// Nowhere.
    Never,
}

impl IngestInput {
    pub(super) fn read(json: &str, calls: &Calls, default_model: Option<&str>) -> Result<Self, Vec<FieldError>> {
        fields::read(json, |place| {
            let fields = place.fields()?;
            let document = fields.required("document_id").and_then(|place| document_id(&place));
            let chunk = match fields.optional("chunk") {
                Some(place) => chunk(&place),
                None => Some(ChunkOptions::default()),
            };
            let embed = choice(&fields, "embed", Operation::Embed, calls, default_model);
            let ocr = match fields.optional("ocr") {
                Some(place) => place.word(&["auto", "always", "never"]),
                None => Some("auto"),
            };
            let language = match fields.optional("language") {
                Some(place) => language(&place),
                None => Some("eng".to_owned()),
            };
            let summary = choice(&fields, "summary", Operation::Summary, calls, default_model);
            fields.finish();
            let ocr = match ocr? {
                "always" => OcrMode::Always,
                "never" => OcrMode::Never,
                _ => OcrMode::Auto,
            };
            Some(Self {
                document_id: document?,
                chunk: chunk?,
                embed: embed?,
                ocr,
                language: language?,
                summary: summary?,
            })
        })
    }
}

fn chunk(place: &Place<'_>) -> Option<ChunkOptions> {
    let fields = place.fields()?;
    let default = ChunkOptions::default();
    let number = |name, range, default: usize| match fields.optional(name) {
        Some(place) => place.integer(range).and_then(|number| usize::try_from(number).ok()),
        None => Some(default),
    };
    let tokens = number("tokens", CHUNK_TOKENS, default.tokens);
    let overlap = number("overlap", 0..=CHUNK_TOKENS.end() / 2, default.overlap.min(tokens.unwrap_or(512) / 8));
    fields.finish();
    let options = ChunkOptions { tokens: tokens?, overlap: overlap? };
    // More would make of each word as many as there are tokens in a chunk: text, vectors and calls that are paid for.
    if options.overlap > options.tokens / 2 {
        let message =
            format!("is {}; it must be at most half of the {} tokens of a chunk", options.overlap, options.tokens);
        place.refuse_below("/overlap", message);
        return None;
    }
    Some(options)
}

/// `false`, or an object that may name a model. Gives the name of the model that is meant.
fn choice(
    fields: &Fields<'_>,
    field: &'static str,
    operation: Operation,
    calls: &Calls,
    default_model: Option<&str>,
) -> Option<Option<String>> {
    let mut given = None;
    if let Some(place) = fields.optional(field) {
        match place.value() {
            serde_json::Value::Bool(false) => return Some(None),
            serde_json::Value::Object(_) => {
                let inner = place.fields()?;
                given = match inner.optional("model") {
                    Some(model) => Some(model.text(MAX_MODEL_CHARS)?.to_owned()),
                    None => None,
                };
                inner.finish();
            }
            _ => {
                place.refuse("must be an object that may name a `model`, or false");
                return None;
            }
        }
    }
    match calls.model_for(given.as_deref(), default_model, operation) {
        Ok(model) => Some(Some(model.name().to_owned())),
        Err(error) => {
            let at = if given.is_some() { format!("{field}/model") } else { field.to_owned() };
            fields.refuse(&at, error.message);
            None
        }
    }
}

fn language(place: &Place<'_>) -> Option<String> {
    let text = place.text(MAX_LANGUAGE_CHARS)?;
    let is_code = |code: &str| {
        let (language, script) = code.split_once('_').unwrap_or((code, "x"));
        let lower = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        language.len() == 3 && lower(language) && lower(script)
    };
    if !text.split('+').all(is_code) {
        place.refuse("must be a code of three letters (ISO 639-2), such as \"eng\", or several: \"eng+deu\"");
        return None;
    }
    Some(text.to_owned())
}
