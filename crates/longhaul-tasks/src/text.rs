//! Bounds on texts, the same for every kind.

/// Characters of one text: what the local model takes, a book of 1,500 pages.
pub(crate) const MAX_TEXT_CHARS: usize = 4_000_000;

/// Characters of a model's name.
pub(crate) const MAX_MODEL_CHARS: usize = 200;
