//! What is wrong with a configuration, and how a person is shown it.
//!
//! All problems are collected before any is reported, so that a file is repaired in one go. One found in a file shows
//! the line it is on with a caret under the place.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Where a value, and so a problem, comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// Nobody said anything: the value is the default.
    Default,
    /// A place in the file.
    File(FilePlace),
    /// The file as a whole.
    WholeFile {
        /// Its path as it was given.
        path: String,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
    /// A command line flag.
    Flag {
        /// Its name with the dashes.
        name: String,
    },
}

/// A stretch of one line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilePlace {
    /// The path as it was given.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters the caret spans, at least 1.
    #[serde(skip)]
    pub width: usize,
    /// The whole line, without its end. None: it may hold a secret, and is not shown.
    #[serde(skip)]
    pub source: Option<String>,
}

impl FilePlace {
    /// The place of a span of bytes in `text`. A span over several lines is cut at the end of its first.
    #[must_use]
    pub fn of_span(path: &str, text: &str, span: Range<usize>) -> Self {
        let start = floor_char(text, span.start);
        let end = floor_char(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let source = text[line_start..line_end].trim_end_matches('\r');
        Self {
            path: path.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end.min(line_end)].chars().count().max(1),
            source: Some(source.to_owned()),
        }
    }
}

/// The nearest character boundary at or below `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Place {
    /// The same place with the value in its line taken out.
    pub(super) fn without_value(&self) -> Self {
        let Self::File(place) = self else { return self.clone() };
        let before = |source: &String| source.chars().take(place.column - 1).collect::<String>();
        let source = place.source.as_ref().map(|source| format!("{}(not shown)", before(source)));
        Self::File(FilePlace { source, width: 1, ..place.clone() })
    }

    /// The line of a file, where that may be shown.
    pub(super) fn line(&self) -> Option<&str> {
        match self {
            Self::File(place) => place.source.as_deref(),
            _ => None,
        }
    }

    /// The same place without its line.
    pub(super) fn without_line(&self) -> Self {
        let Self::File(place) = self else { return self.clone() };
        Self::File(FilePlace { source: None, ..place.clone() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => write!(f, "{}:{}", place.path, place.line),
            Self::WholeFile { path } => f.write_str(path),
            Self::Env { name } => write!(f, "env {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        match &self.place {
            Place::File(place) => {
                let number = place.line.to_string();
                let gutter = " ".repeat(number.len());
                writeln!(f, "{gutter} --> {}:{}:{}", place.path, place.line, place.column)?;
                if let Some(source) = &place.source {
                    // Tabs stay tabs before the caret, so that it stands under the place whatever their width.
                    let before = source.chars().take(place.column - 1);
                    let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                    writeln!(f, "{gutter} |")?;
                    writeln!(f, "{number} | {source}")?;
                    writeln!(f, "{gutter} | {indent}{}", "^".repeat(place.width))?;
                }
            }
            Place::Default => {}
            place => writeln!(f, "  --> {place}")?,
        }
        if let Some(help) = &self.help {
            writeln!(f, "  help: {help}")?;
        }
        Ok(())
    }
}

/// One or more problems, as an error.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "the configuration has 1 problem"),
            count => write!(f, "the configuration has {count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// The candidate that looks most like `word`, if any looks enough like it to be worth saying.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_becomes_line_and_column_in_characters() {
        let place = FilePlace::of_span("f.toml", "a = 1\nµß = 'x'\n", 6..10);
        assert_eq!((place.line, place.column, place.width), (2, 1, 2));
        assert_eq!(place.source.as_deref(), Some("µß = 'x'"));
    }

    #[test]
    fn a_span_beyond_the_end_is_taken_as_the_end() {
        let place = FilePlace::of_span("f.toml", "a = ", 90..99);
        assert_eq!((place.line, place.column, place.width), (1, 5, 1));
    }

    #[test]
    fn nearest_offers_only_what_is_near() {
        assert_eq!(nearest("listn", ["listen", "cors"]), Some("listen"));
        assert_eq!(nearest("banana", ["listen", "cors"]), None);
    }
}
