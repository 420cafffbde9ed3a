//! Vectors, towards a provider: as numbers or in base64, which both of OpenAI's SDKs ask for unasked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Settings;
use super::errors::{malformed, stream_error, vendor_error};
use super::wire::UsageWire;
use crate::chat::Dialect;
use crate::embeddings::{EmbeddingsInput, EmbeddingsRequest, EmbeddingsResponse};
use crate::error::{ProviderError, sort};
use crate::exchange::{Reply, read_json};
use crate::json::{Integer, Json, to_bytes};
use crate::protocol::{EncodeError, Gaps};

pub(super) fn body(
    settings: &Settings,
    model: &str,
    request: &EmbeddingsRequest,
) -> Result<(Vec<u8>, Vec<String>), EncodeError> {
    let mut gaps = Gaps::new("openai", Dialect::OpenAi, request.dialect, &settings.access.ignore);
    gaps.hint("user", request.user.is_some() && !settings.quirks.user);
    let carry_extra = gaps.extra(&request.extra)?;
    let bytes = to_bytes(|body| {
        body.field("model", model);
        match &request.input {
            EmbeddingsInput::Texts(texts) => body.field("input", texts),
            EmbeddingsInput::Tokens(tokens) => body.field("input", tokens),
        };
        body.some("dimensions", request.dimensions.as_ref());
        // Numbers, since not every compatible server knows base64; either is read.
        body.field("encoding_format", "float");
        if settings.quirks.user {
            body.some("user", request.user.as_ref());
        }
        if carry_extra {
            body.extra(&request.extra);
        }
    });
    Ok((bytes, gaps.into_ignored()))
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Option<Vec<Embedding>>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(default)]
    error: Option<Json>,
}

#[derive(Deserialize)]
struct Embedding {
    #[serde(default)]
    index: Option<Integer>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

pub(super) fn decode(reply: Reply<'_>, expected: usize) -> Result<EmbeddingsResponse, ProviderError> {
    if !reply.head.status.is_success() {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    let list: List = read_json(reply)?;
    if let Some(error) = &list.error {
        return Err(stream_error(error));
    }
    let mut data = list.data.ok_or_else(|| malformed("it has no data"))?;
    // In the order of the request, which `index` tells; servers that leave it out keep the order.
    data.sort_by_key(|embedding| embedding.index.unwrap_or_default().0);
    let vectors = data.into_iter().map(|embedding| read_vector(embedding.embedding)).collect::<Result<Vec<_>, _>>()?;
    same_shape(&vectors, expected)?;
    Ok(EmbeddingsResponse { model: list.model, vectors, usage: list.usage.map(Into::into) })
}

/// As many vectors as were asked for, all of one length.
pub(crate) fn same_shape(vectors: &[Vec<f32>], expected: usize) -> Result<(), ProviderError> {
    if vectors.len() != expected {
        return Err(malformed(&format!("{expected} vectors were asked for, {} came", vectors.len())));
    }
    let length = vectors.first().map_or(0, Vec::len);
    if expected > 0 && (length == 0 || vectors.iter().any(|vector| vector.len() != length)) {
        return Err(malformed("its vectors are empty or differ in length"));
    }
    Ok(())
}

fn read_vector(vector: Vector) -> Result<Vec<f32>, ProviderError> {
    match vector {
        Vector::Numbers(numbers) => Ok(numbers),
        Vector::Base64(text) => {
            let bytes = STANDARD.decode(text).map_err(|_| malformed("a vector that is no base64"))?;
            let (numbers, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(malformed("a vector that is cut within a number"));
            }
            Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
    }
}

/// A vector in base64, as OpenAI's SDKs read it: little-endian 32-bit floats.
pub(super) fn to_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
