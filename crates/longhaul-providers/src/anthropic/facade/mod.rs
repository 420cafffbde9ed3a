//! The side towards clients: what Anthropic's SDKs send, and what they expect back.

mod answer;
mod read;
mod stream;

pub use answer::{encode_failure, encode_response};
pub use read::decode_request;
pub use stream::MessageStreamEncoder;

/// The header by which clients ask for what is not yet everybody's, and the field of a request that it is carried in.
pub const BETAS: &str = "anthropic-beta";
