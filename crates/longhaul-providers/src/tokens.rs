//! How many tokens a request will cost, roughly and at once: for limits that must reserve before the answer.
//!
//! No model's tokenizer is at hand, and each model has another. The estimate counts what all of them have in common:
//! words in pieces of about four letters, digits in threes, marks alone, scripts without spaces a token a letter. It errs
//! upwards on ordinary text, as a reservation should; the provider's own count, when it comes, sets the reservation right.

use crate::chat::{ChatRequest, Content, Image, ImageDetail, Part, ResponseFormat, Tool};
use crate::embeddings::{EmbeddingsInput, EmbeddingsRequest};

/// What a message costs beside its text: role and separators.
const PER_MESSAGE: u64 = 4;
/// What a tool costs beside its texts.
const PER_TOOL: u64 = 8;
/// A picture looked at cheaply, and in full, in OpenAI's count; others differ by a factor of two.
const PER_IMAGE_LOW: u64 = 85;
const PER_IMAGE: u64 = 765;

/// About how many tokens a text is.
///
/// ```
/// use longhaul_providers::tokens::estimate;
///
/// assert_eq!(estimate(""), 0);
/// assert_eq!(estimate("Hello, world!"), 6);
/// assert_eq!(estimate("東京は晴れ"), 5);
/// ```
pub fn estimate(text: &str) -> u64 {
    let mut tokens = 0;
    let mut run = Run::None;
    let mut length: u64 = 0;
    let mut rest = text;
    while let Some(&first) = rest.as_bytes().first() {
        // Most of most texts is plain letters: a word at a time, since a prompt may have a hundred thousand of them.
        let (next, weight, read) = if first.is_ascii_alphabetic() {
            let letters = rest.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
            (Run::Word, letters as u64, letters)
        } else {
            let Some(c) = rest.chars().next() else { break };
            let (next, weight) = Run::of(c);
            (next, weight, c.len_utf8())
        };
        if next == run {
            length += weight;
        } else {
            tokens += run.tokens(length);
            (run, length) = (next, weight);
        }
        rest = &rest[read..];
    }
    tokens + run.tokens(length)
}

/// About how many tokens a request is, the answer not counted.
pub fn estimate_request(request: &ChatRequest) -> u64 {
    let messages = request.messages.iter().map(|message| PER_MESSAGE + estimate_parts(&message.parts)).sum::<u64>();
    let tools = request.tools.iter().map(estimate_tool).sum::<u64>();
    let format = match &request.response_format {
        ResponseFormat::JsonSchema { schema, .. } => estimate(schema.as_str()),
        ResponseFormat::Text | ResponseFormat::JsonObject => 0,
    };
    messages + tools + format
}

/// About how many tokens texts to embed are.
pub fn estimate_embeddings(request: &EmbeddingsRequest) -> u64 {
    match &request.input {
        EmbeddingsInput::Texts(texts) => texts.iter().map(|text| estimate(text)).sum(),
        EmbeddingsInput::Tokens(tokens) => tokens.iter().map(|tokens| tokens.len() as u64).sum(),
    }
}

fn estimate_parts(parts: &[Part]) -> u64 {
    parts.iter().map(estimate_part).sum()
}

fn estimate_part(part: &Part) -> u64 {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => estimate(text),
        Content::Image(Image { detail: Some(ImageDetail::Low), .. }) => PER_IMAGE_LOW,
        Content::Image(_) => PER_IMAGE,
        Content::ToolCall(call) => PER_TOOL + estimate(&call.name) + estimate(&call.arguments),
        Content::ToolResult(result) => PER_TOOL + estimate_parts(&result.parts),
        Content::Reasoning(thought) => estimate(&thought.text),
        // Sound and documents, in base64 mostly, of which about one byte in forty becomes a token.
        Content::Native(value) => value.as_str().len() as u64 / 40,
    }
}

fn estimate_tool(tool: &Tool) -> u64 {
    match tool {
        Tool::Function { name, description, parameters, .. } => {
            PER_TOOL
                + estimate(name)
                + description.as_deref().map_or(0, estimate)
                + parameters.as_ref().map_or(0, |schema| estimate(schema.as_str()))
        }
        Tool::Native(value) => PER_TOOL + estimate(value.as_str()),
    }
}

/// Letters that tokenizers keep together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    None,
    Word,
    Digits,
    /// Scripts without spaces.
    Dense,
    Line,
    Mark(char),
    Symbol,
}

impl Run {
    /// The run that a letter belongs to, and how much it weighs there.
    fn of(c: char) -> (Self, u64) {
        match c {
            'a'..='z' | 'A'..='Z' => (Self::Word, 1),
            '0'..='9' => (Self::Digits, 1),
            '\n' => (Self::Line, 1),
            _ if c.is_whitespace() => (Self::None, 0),
            _ if c.is_ascii() => (Self::Mark(c), 1),
            '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
                (Self::Dense, 1)
            }
            // Letters beyond ASCII come in shorter pieces.
            _ if c.is_alphabetic() => (Self::Word, 2),
            _ => (Self::Symbol, 2),
        }
    }

    fn tokens(self, length: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Word | Self::Line | Self::Mark(_) => length.div_ceil(4),
            Self::Digits => length.div_ceil(3),
            Self::Dense | Self::Symbol => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn word_by_word_is_letter_by_letter(text in "([a-zA-Z]{0,12}|[0-9]{0,5}|[ \\n.,-]{0,4}|[äß東京🎈é]{0,3}){0,12}") {
            let (mut tokens, mut run, mut length) = (0, Run::None, 0);
            for c in text.chars() {
                let (next, weight) = Run::of(c);
                if next != run {
                    tokens += run.tokens(length);
                    (run, length) = (next, 0);
                }
                length += weight;
            }
            prop_assert_eq!(estimate(&text), tokens + run.tokens(length));
        }
    }

    #[test]
    fn prose_costs_between_one_and_two_tokens_a_word() {
        for text in [
            "The quick brown fox jumps over the lazy dog.",
            "Ein schöner Tag in München, nicht wahr?",
            "It was the best of times, it was the worst of times, it was the age of wisdom",
        ] {
            let words = text.split(' ').count() as u64;
            let estimate = estimate(text);
            assert!((words..=2 * words).contains(&estimate), "{text}: {estimate} for {words} words");
        }
    }

    #[test]
    fn a_long_line_of_dashes_costs_little() {
        assert!(estimate(&"-".repeat(100)) <= 25);
    }
}
