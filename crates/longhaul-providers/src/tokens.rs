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
    let bytes = text.as_bytes();
    let (mut tokens, mut run, mut place) = (0, Run::NONE.sort, 0);
    let mut at = 0;
    // Where words end cannot be foretold, so ASCII is counted without a branch: a prompt may have a hundred thousand letters.
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii() {
            let Run { sort, per_token } = ASCII[usize::from(byte)];
            place = if sort == run { place } else { 0 };
            tokens += u64::from((place == 0) & (per_token > 0));
            place = if place + 1 >= per_token { 0 } else { place + 1 };
            run = sort;
            at += 1;
        } else {
            let Some(c) = text[at..].chars().next() else { break };
            let (Run { sort, per_token }, weight) = Run::beyond_ascii(c);
            place = if sort == run { place } else { 0 };
            for _ in 0..weight {
                tokens += u64::from(place == 0);
                place = if place + 1 >= per_token { 0 } else { place + 1 };
            }
            run = sort;
            at += c.len_utf8();
        }
    }
    tokens
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
struct Run {
    /// Letters of the same sort make one run: a sign that stands for all of them.
    sort: u32,
    /// How many of them are a token; 0: they are none.
    per_token: u32,
}

/// The runs of ASCII.
static ASCII: [Run; 128] = {
    let mut runs = [Run::NONE; 128];
    let mut byte: u8 = 0;
    while byte < 128 {
        runs[byte as usize] = Run::of_ascii(byte);
        byte += 1;
    }
    runs
};

impl Run {
    const NONE: Self = Self { sort: b' ' as u32, per_token: 0 };
    const WORD: Self = Self { sort: b'a' as u32, per_token: 4 };
    const DIGITS: Self = Self { sort: b'0' as u32, per_token: 3 };
    /// Scripts without spaces.
    const DENSE: Self = Self { sort: 0x100, per_token: 1 };
    const SYMBOL: Self = Self { sort: 0x101, per_token: 1 };

    const fn of_ascii(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Self::WORD,
            b'0'..=b'9' => Self::DIGITS,
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => Self::NONE,
            // Lines, and marks, each with its like.
            _ => Self { sort: byte as u32, per_token: 4 },
        }
    }

    /// The run that a letter belongs to, and how much it weighs there.
    fn beyond_ascii(c: char) -> (Self, u32) {
        match c {
            _ if c.is_whitespace() => (Self::NONE, 0),
            '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
                (Self::DENSE, 1)
            }
            // Letters beyond ASCII come in shorter pieces.
            _ if c.is_alphabetic() => (Self::WORD, 2),
            _ => (Self::SYMBOL, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, told as it is meant: letter by letter, run by run.
    fn told(text: &str) -> u64 {
        let sort = |c: char| match c {
            'a'..='z' | 'A'..='Z' => ("word", 1),
            '0'..='9' => ("digits", 1),
            '\n' => ("\n", 1),
            _ if c.is_whitespace() => ("none", 0),
            _ if c.is_ascii() => ("mark", 1),
            '東' | '京' => ("dense", 1),
            _ if c.is_alphabetic() => ("word", 2),
            _ => ("symbol", 2),
        };
        let cost = |sort, length: u64| match sort {
            "none" => 0,
            "digits" => length.div_ceil(3),
            "dense" | "symbol" => length,
            _ => length.div_ceil(4),
        };
        let (mut tokens, mut run, mut length) = (0, ("none", ' '), 0);
        for c in text.chars() {
            let (sort, weight) = sort(c);
            let next = (sort, if sort == "mark" { c } else { ' ' });
            if next != run {
                tokens += cost(run.0, length);
                (run, length) = (next, 0);
            }
            length += weight;
        }
        tokens + cost(run.0, length)
    }

    proptest! {
        #[test]
        fn tokens_are_counted_run_by_run(
            text in "([a-zA-Z]{0,12}|[0-9]{0,7}|[ \\n\\t.,-]{0,4}|-{1,9}|\\n{1,6}|\\u{1}{0,5}|[äß東京🎈é\u{a0}]{0,3}){0,12}"
        ) {
            prop_assert_eq!(estimate(&text), told(&text), "{:?}", text);
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
