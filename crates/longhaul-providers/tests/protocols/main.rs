//! The wire protocols, both sides, against fixtures written from the vendors' published specifications.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod anthropic;
mod between;
mod gemini;
mod openai;
mod responses;
mod sim;
mod support;
