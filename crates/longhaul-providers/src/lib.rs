//! Providers of models: wire adapters and the built-in offline provider.
