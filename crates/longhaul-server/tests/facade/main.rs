//! The routes that speak OpenAI's and Anthropic's APIs, the WebSocket and the figures, through the whole router, over
//! simulated providers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

mod anthropic;
mod chat;
mod kit;
mod metrics;
mod models;
mod responses;
mod socket;
mod stats;
