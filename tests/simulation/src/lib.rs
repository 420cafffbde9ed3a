//! Nothing: this package holds tests only. They begin in `tests/main.rs`.
