//! Providers of models: what stands at the far end of a call.
//!
//! [`local`] is the built-in provider: classical text algorithms that run offline on the CPU. [`analysis`] holds the
//! shapes of the answers, which are the same whoever gives them.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or knows of jobs: a provider turns a request into
//! an answer, and the gateway decides when, how often and for whom.

pub mod analysis;
pub mod local;
mod operation;

pub use operation::Operation;
