//! Embeddings, towards clients.

use crate::chat::Dialect;
use crate::embeddings::{EmbeddingsInput, EmbeddingsRequest, EmbeddingsResponse};
use crate::facade::RequestError;
use crate::json::{Fields, to_bytes};
use crate::openai::embeddings::to_base64;

/// The most inputs of one call, as at OpenAI.
const MAX_INPUTS: usize = 2_048;

/// A request for vectors, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsCall {
    /// The model that the client asks for.
    pub model: String,
    /// How the client wants the vectors written.
    pub format: EncodingFormat,
    /// What is asked.
    pub request: EmbeddingsRequest,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EncodingFormat {
    /// As numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// Reads the body of `POST /v1/embeddings`.
pub fn decode_embeddings_request(body: &[u8]) -> Result<EmbeddingsCall, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model = fields.require("model")?;
    let input = read_input(fields.require_raw("input")?.get())?;
    if input.is_empty() || input.len() > MAX_INPUTS {
        let why = format!("`input` must hold 1 to {MAX_INPUTS} inputs; it holds {}", input.len());
        return Err(RequestError::at("input", why));
    }
    let format = match fields.take::<String>("encoding_format")?.as_deref() {
        None | Some("float") => EncodingFormat::Float,
        Some("base64") => EncodingFormat::Base64,
        Some(other) => {
            let why = format!("`encoding_format`: `{other}` is none of float, base64");
            return Err(RequestError::at("encoding_format", why).code("invalid_value"));
        }
    };
    let request = EmbeddingsRequest {
        input,
        dimensions: fields.take("dimensions")?,
        user: fields.take("user")?,
        dialect: Dialect::OpenAi,
        extra: fields.into_extra(),
    };
    Ok(EmbeddingsCall { model, format, request })
}

/// A text, texts, tokens, or lists of tokens.
fn read_input(raw: &str) -> Result<EmbeddingsInput, RequestError> {
    let fault = || RequestError::at("input", "`input` must be a text, a list of texts, tokens, or lists of tokens");
    let input = if raw.starts_with('"') {
        serde_json::from_str(raw).map(|text| EmbeddingsInput::Texts(vec![text]))
    } else {
        serde_json::from_str(raw)
            .map(EmbeddingsInput::Texts)
            .or_else(|_| serde_json::from_str(raw).map(|tokens| EmbeddingsInput::Tokens(vec![tokens])))
            .or_else(|_| serde_json::from_str(raw).map(EmbeddingsInput::Tokens))
    };
    let input = input.map_err(|_| fault())?;
    let empty = match &input {
        EmbeddingsInput::Texts(texts) => texts.iter().position(String::is_empty),
        EmbeddingsInput::Tokens(tokens) => tokens.iter().position(Vec::is_empty),
    };
    match empty {
        Some(at) => Err(RequestError::at(format!("input[{at}]"), "an input must not be empty")),
        None => Ok(input),
    }
}

/// The body of an answer with vectors.
pub fn encode_embeddings(response: &EmbeddingsResponse, model: &str, format: EncodingFormat) -> Vec<u8> {
    let usage = response.usage.unwrap_or_default();
    to_bytes(|body| {
        body.field("object", "list");
        body.list("data", |list| {
            for (index, vector) in response.vectors.iter().enumerate() {
                list.object(|object| {
                    object.field("object", "embedding");
                    object.field("index", &index);
                    match format {
                        EncodingFormat::Float => object.field("embedding", vector),
                        EncodingFormat::Base64 => object.field("embedding", &to_base64(vector)),
                    };
                });
            }
        });
        body.field("model", model);
        body.object("usage", |object| {
            object.field("prompt_tokens", &usage.input_tokens).field("total_tokens", &usage.total());
        });
    })
}
