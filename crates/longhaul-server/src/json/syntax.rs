//! What is wrong with text that is not JSON, said so that the sender finds it.

use serde_json::error::Category;

/// Explains why `body` is not JSON, from the parser's error.
pub(super) fn explain_syntax(body: &[u8], error: &serde_json::Error) -> String {
    if body.iter().all(u8::is_ascii_whitespace) {
        return "The body is empty; this route needs JSON.".to_owned();
    }
    if body.starts_with(b"\xEF\xBB\xBF") {
        return "The body begins with a byte order mark; send the JSON without it.".to_owned();
    }
    if body.starts_with(b"\xFF\xFE") || body.starts_with(b"\xFE\xFF") || body.iter().take(4).any(|&byte| byte == 0) {
        return "The body looks like UTF-16 or UTF-32; JSON is sent as UTF-8.".to_owned();
    }
    if let Err(utf8) = std::str::from_utf8(body) {
        let (line, column) = position(body, utf8.valid_up_to());
        return format!("The body is not UTF-8: line {line}, column {column} begins no character.");
    }
    let (line, column) = (error.line(), error.column());
    if error.classify() == Category::Eof {
        return format!("The body ends at line {line}, column {column}, before its JSON is complete.");
    }
    let offset = offset(body, line, column);
    let words = without_position(&error.to_string());
    let reason = match words.as_str() {
        "trailing comma" => "a comma stands before a closing bracket",
        "trailing characters" => "something follows the JSON value",
        words if words.starts_with("control character") => {
            "a line break or control character stands in a string; it is written \\n or \\u000a"
        }
        words if words.starts_with("expected") || words.starts_with("key must") || words == "invalid number" => {
            known_mistake(body, offset).unwrap_or(words)
        }
        words => words,
    };
    format!("The body is not JSON: {reason} (line {line}, column {column}).")
}

/// The parser's words without its "at line … column …".
pub(super) fn without_position(message: &str) -> String {
    message.rfind(" at line ").map_or(message, |end| &message[..end]).to_owned()
}

/// What people and other languages write that JSON does not have.
fn known_mistake(body: &[u8], offset: usize) -> Option<&'static str> {
    let begin = body[..offset].iter().rposition(|byte| !byte.is_ascii_alphabetic()).map_or(0, |before| before + 1);
    let word: Vec<u8> = body[begin..].iter().copied().take_while(u8::is_ascii_alphabetic).take(16).collect();
    match word.as_slice() {
        b"NaN" | b"Infinity" | b"Inf" | b"inf" | b"nan" => {
            return Some("JSON has no NaN and no infinity; send null or a string");
        }
        b"undefined" | b"None" | b"nil" | b"NULL" | b"Null" => return Some("nothing is written null in JSON"),
        b"True" | b"False" | b"TRUE" | b"FALSE" => return Some("JSON writes true and false in lower case"),
        _ => {}
    }
    match body.get(offset)? {
        b'\'' => Some("strings and names stand in double quotes, not single ones"),
        b'/' => Some("JSON has no comments"),
        byte if byte.is_ascii_alphabetic() || *byte == b'_' => Some("names and strings stand in double quotes"),
        _ => None,
    }
}

/// The byte at a line and column as the parser counts them: both from 1, columns in bytes.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        None => 0,
        Some(nth) => body.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(nth).map_or(0, |(at, _)| at + 1),
    };
    (start + column.saturating_sub(1)).min(body.len().saturating_sub(1))
}

fn position(body: &[u8], offset: usize) -> (usize, usize) {
    let before = &body[..offset];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = offset - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
    (line, column)
}
