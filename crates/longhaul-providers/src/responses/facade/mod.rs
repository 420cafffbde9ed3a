//! The side towards clients: what OpenAI's SDKs send, and what they expect back.
//!
//! A response is an object that outlives its call: it is polled, its stream is read again from any number on, and it
//! survives the server. So its stream is written by an encoder whose whole state can be read back from the frames that
//! it wrote ([`ResponseStreamEncoder::recover`]), and a whole answer is that same stream, folded.
//!
//! The server keeps what was sent and decides when; here is only the form.

mod ending;
mod input;
mod object;
mod read;
mod recover;
mod stream;

pub use ending::{encode_ending, encode_stream_error, read_event};
pub use input::{Page, encode_input_items, read_items};
pub use object::{Echo, Status, encode_deleted, encode_pending, encode_response};
pub use read::{ResponsesCall, decode_request};
pub use recover::RecoverError;
pub use stream::ResponseStreamEncoder;
