//! From pieces of text on a page to lines and paragraphs.
//!
//! Pieces are taken in the order in which they are drawn, which is the reading order in what printers and word processors
//! write: column after column, row after row. Geometry decides only what stands between one piece and the next: nothing,
//! a space, a tab (cells of a table), a line end or an empty line.

use super::content::Span;
use crate::normalise::end_line;

/// Parts of the font size. A gap wider than this parts words: spaces are 0.2 and more, kerning stays below 0.1.
const WORD_GAP: f64 = 0.16;
/// A gap wider than this parts the cells of a table; justified lines stay below.
const CELL_GAP: f64 = 1.6;
/// Baselines nearer than this are one line, with its superscripts.
const SAME_LINE: f64 = 0.45;
/// Parts of its own width. The same piece is drawn once more for bold letters less far aside than this; the second of two
/// narrow letters stands further on.
const REPEATED: f64 = 0.5;
/// Going back by more than this is no kerning.
const BACK: f64 = 0.6;
/// A step down to the next line of an unknown paragraph is at most this.
const LINE_STEP: f64 = 1.9;
/// Rows of a table have room around them.
const ROW_STEP: f64 = 3.0;
/// A step this much larger than the one before it begins a paragraph.
const PARAGRAPH_STEP: f64 = 1.3;
/// A font this much larger or smaller begins a paragraph: a heading.
const SIZE_CHANGE: f64 = 1.15;

struct Line {
    direction: (f64, f64),
    height: f64,
    start: f64,
    end: f64,
    size: f64,
    /// The last piece of the line, and where it started.
    last: (String, f64),
    /// The step from the line before it in the same paragraph.
    step: Option<f64>,
}

enum Between {
    /// The same piece once more, a little aside: bold by repetition.
    Repeated,
    Nothing,
    Space,
    Cell,
    LineEnd(f64),
    Paragraph,
}

/// The text of a page.
pub(super) fn text(spans: &[Span]) -> String {
    let mut text = String::new();
    let mut line: Option<Line> = None;
    for span in spans {
        let between = line.as_ref().map_or(Between::Paragraph, |line| between(line, span, &text));
        let step = match between {
            Between::Repeated => continue,
            Between::Nothing => None,
            Between::Space => {
                push_once(&mut text, ' ', &span.text);
                None
            }
            Between::Cell => {
                text.truncate(text.trim_end_matches(' ').len());
                push_once(&mut text, '\t', &span.text);
                None
            }
            Between::LineEnd(step) => {
                end_line(&mut text, &span.text);
                Some(step)
            }
            Between::Paragraph => {
                if !text.is_empty() {
                    text.push_str("\n\n");
                }
                None
            }
        };
        let continues = matches!(between, Between::Nothing | Between::Space | Between::Cell);
        text.push_str(&span.text);
        let last = (span.text.clone(), span.start);
        match line.as_mut().filter(|_| continues) {
            Some(line) => {
                line.start = line.start.min(span.start);
                line.end = line.end.max(span.end);
                line.size = line.size.max(span.size);
                line.last = last;
            }
            None => {
                line = Some(Line {
                    direction: span.direction,
                    height: span.height,
                    start: span.start,
                    end: span.end,
                    size: span.size,
                    last,
                    step,
                });
            }
        }
    }
    text
}

fn between(line: &Line, span: &Span, text: &str) -> Between {
    let aligned = line.direction.0 * span.direction.0 + line.direction.1 * span.direction.1 > 0.99;
    if !aligned {
        return Between::Paragraph;
    }
    let (small, large) = (line.size.min(span.size), line.size.max(span.size));
    let down = line.height - span.height;
    if down.abs() < SAME_LINE * large {
        let gap = span.start - line.end;
        let repeats = REPEATED * (span.end - span.start).abs();
        return if line.last.0 == span.text
            && (span.start - line.last.1).abs() < repeats.min(0.2 * small)
            && !span.text.trim().is_empty()
        {
            Between::Repeated
        } else if gap < -BACK * small && goes_left(line, span, small) {
            let back = line.last.1 - span.end;
            if back > CELL_GAP * small {
                Between::Cell
            } else if back > WORD_GAP * small {
                Between::Space
            } else {
                Between::Nothing
            }
        } else if gap < -BACK * small && span.end <= line.start {
            // Drawn from right to left: still one row.
            Between::Cell
        } else if gap < -BACK * small {
            Between::LineEnd(0.0)
        } else if gap > CELL_GAP * small {
            Between::Cell
        } else if gap > WORD_GAP * small {
            Between::Space
        } else {
            Between::Nothing
        };
    }
    if down < 0.0 {
        // Up: another column or box, in which a sentence may go on.
        return if goes_on(text, &span.text) { Between::LineEnd(0.0) } else { Between::Paragraph };
    }
    let row = text.rsplit('\n').next().is_some_and(|last| last.contains('\t'));
    let first = if row { ROW_STEP } else { LINE_STEP } * large;
    let usual = line.step.filter(|&step| step > 0.0).map_or(first, |step| step * PARAGRAPH_STEP);
    let resized = large > small * SIZE_CHANGE;
    if resized || down > usual { Between::Paragraph } else { Between::LineEnd(down) }
}

/// True if a piece stands to the left of the one before it as letters do that are written from right to left.
fn goes_left(line: &Line, span: &Span, small: f64) -> bool {
    let (before, start) = &line.last;
    span.end < start + BACK * small && [before, &span.text].into_iter().any(|text| text.chars().any(is_right_to_left))
}

/// Hebrew, Arabic and their neighbours, and their presentation forms.
fn is_right_to_left(c: char) -> bool {
    matches!(u32::from(c), 0x590..=0x8FF | 0xFB1D..=0xFDFF | 0xFE70..=0xFEFC)
}

/// True if a sentence is open and the next piece begins as its middle.
fn goes_on(text: &str, next: &str) -> bool {
    let open =
        text.trim_end().chars().next_back().is_some_and(|c| c.is_alphabetic() || matches!(c, ',' | '-' | '\u{2010}'));
    open && next.trim_start().chars().next().is_some_and(char::is_lowercase)
}

fn push_once(text: &mut String, separator: char, next: &str) {
    if !text.ends_with([' ', '\t', '\n']) && !next.starts_with([' ', '\t']) {
        text.push(separator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, x: f64, y: f64) -> Span {
        let end = x + text.chars().count() as f64 * 5.0;
        Span { text: text.to_owned(), direction: (1.0, 0.0), start: x, end, height: y, size: 10.0 }
    }

    #[test]
    fn gaps_part_words_and_cells() {
        let spans = [at("one", 0.0, 0.0), at("two", 18.0, 0.0), at("three", 33.5, 0.0), at("cell", 100.0, 0.0)];
        assert_eq!(text(&spans), "one twothree\tcell");
    }

    #[test]
    fn steps_part_lines_and_paragraphs() {
        let spans =
            [at("a", 0.0, 100.0), at("b", 0.0, 88.0), at("c", 0.0, 76.0), at("d", 0.0, 58.0), at("E", 90.0, 100.0)];
        assert_eq!(text(&spans), "a\nb\nc\n\nd\n\nE");
    }

    #[test]
    fn double_spaced_lines_are_one_paragraph() {
        let spans = [at("a", 0.0, 100.0), at("b", 0.0, 82.0), at("c", 0.0, 64.0)];
        assert_eq!(text(&spans), "a\nb\nc");
    }

    #[test]
    fn broken_words_are_joined_and_compounds_kept() {
        assert_eq!(text(&[at("light-", 0.0, 100.0), at("house", 0.0, 88.0)]), "lighthouse");
        assert_eq!(text(&[at("Jean-", 0.0, 100.0), at("Luc", 0.0, 88.0)]), "Jean-\nLuc");
        assert_eq!(text(&[at("4-", 0.0, 100.0), at("fold", 0.0, 88.0)]), "4-\nfold");
    }

    #[test]
    fn superscripts_stay_in_their_line_and_repetition_is_dropped() {
        let mut small = at("2", 5.0, 3.0);
        small.size = 6.0;
        assert_eq!(text(&[at("m", 0.0, 0.0), small]), "m2");
        assert_eq!(text(&[at("bold", 0.0, 0.0), at("bold", 0.4, 0.0)]), "bold");
    }

    #[test]
    fn narrow_letters_that_are_doubled_are_no_repetition() {
        let mut spans: Vec<Span> =
            "bill".chars().zip(0..).map(|(c, i)| at(&c.to_string(), f64::from(i), 0.0)).collect();
        for span in &mut spans {
            span.end = span.start + 1.0;
        }
        assert_eq!(text(&spans), "bill");
        spans.insert(2, Span { start: spans[1].start + 0.3, end: spans[1].end + 0.3, ..spans[1].clone() });
        assert_eq!(text(&spans), "bill", "bold by repetition");
    }

    #[test]
    fn letters_that_are_drawn_from_the_right_are_words() {
        let letters = "שלום_לך___3".chars().zip(0..).filter(|(c, _)| *c != '_');
        let mut spans: Vec<Span> = letters.map(|(c, i)| at(&c.to_string(), 300.0 - 5.0 * f64::from(i), 0.0)).collect();
        assert_eq!(text(&spans), "שלום לך 3");
        spans[6].start = 100.0;
        spans[6].end = 105.0;
        assert_eq!(text(&spans), "שלום לך\t3", "the cell of a table");
    }

    #[test]
    fn a_larger_font_begins_a_paragraph() {
        let mut heading = at("Heading", 0.0, 100.0);
        heading.size = 16.0;
        assert_eq!(text(&[heading, at("words follow", 0.0, 84.0)]), "Heading\n\nwords follow");
    }
}
