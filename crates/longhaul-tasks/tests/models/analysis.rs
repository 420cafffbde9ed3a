//! `analysis` through a chat model.
