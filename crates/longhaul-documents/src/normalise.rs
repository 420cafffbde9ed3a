//! Letters in the form in which people search for them.
//!
//! Compatibility mapping (the K of NFKC) is applied to presentation forms alone: ligatures such as "ﬁ", positional Arabic,
//! wide Latin letters and digits, and narrow kana. Applied to everything it would turn 10½ into 101⁄2 and m² into m2, and the
//! signs of Chinese and Japanese into those of ASCII. The rest is composed (NFC).

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Composes letters, dissolves ligatures, drops control characters and soft hyphens, turns odd spaces into plain ones.
pub(crate) fn normalise(text: &str) -> String {
    let mapped: String = text
        .chars()
        .flat_map(|c| {
            let compatible = is_presentation_form(c).then(|| c.nfkc());
            let plain = compatible.is_none().then(|| replace(c)).flatten();
            compatible.into_iter().flatten().chain(plain)
        })
        .collect();
    match is_nfc_quick(mapped.chars()) {
        IsNormalized::Yes => mapped,
        IsNormalized::No | IsNormalized::Maybe => mapped.nfc().collect(),
    }
}

fn is_presentation_form(c: char) -> bool {
    // Latin, Armenian, Hebrew and Arabic presentation forms; full-width digits and letters; half-width forms.
    matches!(
        u32::from(c),
        0xFB00..=0xFDFF | 0xFE70..=0xFEFC | 0xFF10..=0xFF19 | 0xFF21..=0xFF3A | 0xFF41..=0xFF5A | 0xFF61..=0xFFDC | 0xFFE8..=0xFFEE
    )
}

fn replace(c: char) -> Option<char> {
    match c {
        '\n' | '\t' | '\u{c}' => Some(c),
        // No-break, typographic and ideographic spaces.
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '\u{2028}' | '\u{2029}' | '\u{85}' => Some('\n'),
        '\u{ad}' | '\u{200b}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Removes white space at the ends of lines and of the text, and leaves at most one empty line between others.
pub(crate) fn tidy_lines(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !tidy.is_empty() {
            tidy.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        tidy.push_str(line);
    }
    tidy
}

/// Ends a line, joining a word that was broken at its end.
pub(crate) fn end_line(text: &mut String, next: &str) {
    text.truncate(text.trim_end_matches(' ').len());
    let mut ending = text.chars().rev();
    let hyphen = ending.next().filter(|c| matches!(c, '-' | '\u{2010}' | '\u{ad}'));
    let word_before = ending.take(2).filter(|c| c.is_alphabetic()).count() == 2;
    let word_after = next.chars().next().is_some_and(char::is_lowercase);
    match hyphen {
        Some(hyphen) if word_before && word_after => text.truncate(text.len() - hyphen.len_utf8()),
        _ => text.push('\n'),
    }
}

/// Text that was read in a picture, in the form of all other text: letters composed, lines tidied, words that were broken
/// at a line's end joined.
pub fn read_in_picture(text: &str) -> String {
    let tidy = tidy_lines(&normalise(text));
    let mut joined = String::with_capacity(tidy.len());
    for (index, line) in tidy.split('\n').enumerate() {
        if index > 0 {
            end_line(&mut joined, line);
        }
        joined.push_str(line);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_are_dissolved_and_other_signs_kept() {
        assert_eq!(normalise("eﬃcient ﬁnal, 10½ m² ™ ①"), "efficient final, 10½ m² ™ ①");
        assert_eq!(normalise("ＡＢ１ ｶﾞ"), "AB1 ガ");
        assert_eq!(normalise("你好，世界！（一）：＜５０％＞ ｡"), "你好，世界！（一）：＜50％＞ 。");
    }

    #[test]
    fn letters_are_composed_and_invisible_ones_dropped() {
        assert_eq!(normalise("Zoe\u{308} caf\u{e9}\u{ad}\u{0}\u{200b}\u{a0}x"), "Zoë café x");
    }

    #[test]
    fn words_that_a_line_end_broke_are_joined() {
        let read = read_in_picture("The har-\nbour of Norr-\nVik is\nsmall.  \n\n\nNext e-\nmail\n\x0c");
        assert_eq!(read, "The harbour of Norr-\nVik is\nsmall.\n\nNext e-\nmail");
    }

    #[test]
    fn lines_are_tidied() {
        assert_eq!(tidy_lines("\n\n a  \n\n\n\nb\t\nc\n"), " a\n\nb\nc");
    }
}
