//! Providers of models: what stands at the far end of a call.
//!
//! [`chat`] and [`embeddings`] are the neutral model of a call: what is asked and answered, in nobody's JSON. A
//! [`Protocol`] turns it into one vendor's HTTP and back: [`openai`] (and all that speak it), [`responses`],
//! [`anthropic`], [`gemini`]. The same modules hold the other side, the *façades*: they read a request that a client
//! wrote for that vendor's API and write the answer as its SDKs expect it ([`facade`] has what they share).
//! Where both sides speak the same, [`relay`] passes answers on as they came. [`sim`] answers without a network, says so, and fails as it is told. [`local`] is the built-in provider: classical
//! text algorithms that run offline on the CPU; [`analysis`] holds the shapes of its answers.
//!
//! Invariants:
//!
//! - Only this crate knows vendors' JSON.
//! - Nothing is dropped in silence. What a target cannot carry is an [`Unsupported`](protocol::EncodeError) error; what
//!   it may leave out without another answer is named in [`Encoded::ignored`](protocol::Encoded).
//! - Bytes from a provider never panic a decoder, however they are cut.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or knows of jobs: a provider turns a request into
//! an answer, and the gateway decides when, how often and for whom.

pub mod analysis;
pub mod anthropic;
pub mod chat;
pub mod embeddings;
pub mod error;
pub mod exchange;
pub mod facade;
pub mod gemini;
pub mod json;
pub mod local;
pub mod openai;
mod operation;
pub mod protocol;
pub mod relay;
pub mod responses;
pub mod sim;
pub mod sse;
pub mod tokens;

pub use error::{ErrorClass, ErrorCode, ProviderError};
pub use operation::Operation;
pub use protocol::Protocol;
