//! `process` through a chat model.
