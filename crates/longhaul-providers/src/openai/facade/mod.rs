//! The side towards clients: what OpenAI's SDKs send, and what they expect back.
//!
//! A request is read strictly where we must understand it, each fault with its place; fields unknown here travel on to
//! providers of the same protocol. Answers have every field that the SDKs' types require, in OpenAI's order.

mod answer;
mod embeddings;
mod failure;
mod read;
mod stream;

pub use answer::encode_response;
pub use embeddings::{EmbeddingsCall, EncodingFormat, decode_embeddings_request, encode_embeddings};
pub use failure::{ListedModel, encode_failure, encode_model, encode_models};
pub use read::decode_request;
pub use stream::ChatStreamEncoder;

pub(crate) use read::{data_url, read_detail, read_effort, read_schema};
